//! What the server answers, request by request.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};
use skin_assist_core::{
    domain::{Findings, Route},
    wire,
};
use skin_assist_endpoints::inference::protocol::{self, Tensor};
use skin_assist_testkit::vision;

use crate::support::{Gated, PHOTO_BYTES, Served, packs};

const ATTRIBUTES: &str = "X-Amzn-SageMaker-Custom-Attributes";

fn read(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_takes_a_photo_and_its_route() {
    let served = Served::start(packs(), 4).await;
    assert_eq!(served.get("/ping").await.status(), 200);
    let photo = vision::photo(Route::Widespread, 3).into_exposed();
    let by_header = [(ATTRIBUTES, "route=widespread")];
    let answer = served.send("POST", "/invocations", &by_header, photo.clone()).await;
    assert_eq!(answer.status(), 200);
    let findings: Findings = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(findings.route, Route::Widespread);
    let by_query = served
        .send("POST", "/invocations?route=widespread", &[], photo.clone())
        .await;
    assert_eq!(by_query.body(), answer.body());

    let refused = served.send("POST", "/invocations", &[], photo.clone()).await;
    assert_eq!(refused.status(), 400, "two packs: which is meant?");
    let refused = served.send("POST", "/invocations?route=both", &[], photo).await;
    assert_eq!(refused.status(), 400);
    for (what, bytes, code) in vision::refused_files() {
        let refused = served.send("POST", "/invocations", &by_header, bytes).await;
        assert_eq!(refused.status(), 422, "{what}");
        assert_eq!(read(&refused)["code"], code, "{what}");
    }
    let described = served
        .send("POST", "/invocations", &[(ATTRIBUTES, "describe")], "{}")
        .await;
    let description: wire::Description = serde_json::from_slice(described.body()).unwrap();
    let routes: Vec<Route> = description.models.iter().map(|model| model.route).collect();
    assert_eq!(routes, Route::ALL);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_with_one_pack_needs_no_route() {
    let gated = Gated::default();
    gated.open();
    let served = Served::start(Arc::new(gated), 1).await;
    let answer = served.send("POST", "/invocations", &[], "a photo").await;
    assert_eq!(
        (answer.status().as_u16(), &read(&answer)["route"]),
        (200, &json!("solitary"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_open_inference_protocol_is_spoken_in_both_forms() {
    let packs = packs();
    let name = packs.versions(Route::Solitary)[0].pack.clone();
    let version = packs.versions(Route::Solitary)[0].version.clone();
    let served = Served::start(packs, 4).await;
    let server = read(&served.get("/v2").await);
    assert!(
        server["extensions"]
            .as_array()
            .unwrap()
            .contains(&json!("binary_tensor_data"))
    );
    for path in ["/v2/health/live", "/v2/health/ready"] {
        assert_eq!(served.get(path).await.status(), 200, "{path}");
    }
    let model = format!("/v2/models/{name}");
    let metadata = read(&served.get(&model).await);
    assert_eq!(metadata["versions"], json!([version]));
    assert_eq!(
        metadata["inputs"],
        json!([{ "name": "photo", "datatype": "BYTES", "shape": [1] }])
    );
    assert_eq!(metadata["parameters"]["route"], "solitary");
    assert_eq!(served.get(&format!("{model}/ready")).await.status(), 200);
    assert_eq!(
        served.get(&format!("{model}/versions/{version}/ready")).await.status(),
        200
    );
    assert_eq!(served.get(&format!("{model}/versions/none/ready")).await.status(), 404);

    // A photo as binary data, findings in the JSON.
    let photo = vision::photo(Route::Solitary, 5).into_exposed();
    let (body, length) = protocol::write_request(&[Tensor::single("photo", &photo)], &[]);
    let length = length.to_string();
    let infer = format!("{model}/infer");
    let in_json = served
        .send("POST", &infer, &[(protocol::HEADER_LENGTH, &length)], body)
        .await;
    assert_eq!(in_json.status(), 200);
    assert_eq!(read(&in_json)["model_version"], json!(version));
    let text = read(&in_json)["outputs"][0]["data"][0].as_str().unwrap().to_owned();
    let findings = wire::findings(Route::Solitary, text.as_bytes()).unwrap();

    // The photo in the JSON, as base64 text; findings as binary data.
    let request = json!({
        "id": "mine", "parameters": { "binary_data_output": true },
        "inputs": [{
            "name": "photo", "shape": [1], "datatype": "BYTES",
            "parameters": { "content_type": "base64" }, "data": [base64(&photo)],
        }],
    });
    let binary = served.send("POST", &infer, &[], request.to_string()).await;
    assert_eq!(binary.status(), 200);
    let length = binary.headers()[protocol::HEADER_LENGTH].to_str().unwrap();
    let outputs = protocol::read_response(Some(length), binary.body()).unwrap();
    let same = wire::findings(Route::Solitary, &outputs[0].to_single().unwrap()).unwrap();
    assert_eq!(same, findings);
    let header = &binary.body()[..length.parse().unwrap()];
    assert!(String::from_utf8_lossy(header).contains(r#""id":"mine""#));
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_protocol_is_the_callers_mistake() {
    let gated = Gated::default();
    gated.open();
    let served = Served::start(Arc::new(gated.clone()), 1).await;
    let tensor = |name: &str, datatype: &str, shape: Value| {
        json!({ "inputs": [{ "name": name, "datatype": datatype, "shape": shape, "data": ["Doe"] }] }).to_string()
    };
    let infer = "/v2/models/pack/infer";
    let wanted = json!({
        "inputs": [{ "name": "photo", "datatype": "BYTES", "shape": [1], "data": ["Doe"] }],
        "outputs": [{ "name": "embedding" }],
    });
    let cases = [
        ("GET", "/", String::new(), 404),
        ("GET", "/v3", String::new(), 404),
        ("GET", "/invocations", String::new(), 405),
        ("DELETE", "/v2/models/pack", String::new(), 405),
        ("GET", "/v2/models/pack/elsewhere", String::new(), 404),
        ("GET", infer, String::new(), 405),
        (
            "POST",
            "/v2/models/none/infer",
            tensor("photo", "BYTES", json!([1])),
            404,
        ),
        ("POST", infer, "Doe".to_owned(), 400),
        ("POST", infer, "{}".to_owned(), 400),
        ("POST", infer, tensor("picture", "BYTES", json!([1])), 400),
        ("POST", infer, tensor("photo", "INT8", json!([1])), 400),
        ("POST", infer, tensor("photo", "BYTES", json!([2])), 400),
        ("POST", infer, wanted.to_string(), 400),
    ];
    for (method, path, body, status) in cases {
        let answer = served.send(method, path, &[], body.clone()).await;
        assert_eq!(answer.status(), status, "{method} {path} {body}");
        assert!(!String::from_utf8_lossy(answer.body()).contains("Doe"));
    }
    assert_eq!(gated.begun(), 0, "none got as far as the models");
    let large = served.send("POST", "/invocations", &[], vec![0; PHOTO_BYTES + 1]).await;
    assert_eq!(
        (large.status().as_u16(), &read(&large)["code"]),
        (413, &json!("photo.too-many-bytes"))
    );
    let huge = served
        .send("POST", "/invocations", &[], vec![0; 20 * PHOTO_BYTES])
        .await;
    assert_eq!(huge.status(), 413);
    let huge = served
        .send("POST", "/v2/models/none/infer", &[], vec![0; 20 * PHOTO_BYTES])
        .await;
    assert_eq!(huge.status(), 404);
    assert_eq!(gated.begun(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_outcomes_under_few_labels() {
    let served = Served::start(packs(), 4).await;
    let photo = vision::photo(Route::Solitary, 7).into_exposed();
    let look = "/invocations?route=solitary";
    assert_eq!(served.send("POST", look, &[], photo).await.status(), 200);
    assert_eq!(served.send("POST", look, &[], "words").await.status(), 422);
    let text = served.text("/metrics").await;
    for line in [
        "skin_assist_looks_total{route=\"solitary\",outcome=\"findings\"} 1",
        "skin_assist_looks_total{route=\"solitary\",outcome=\"photo-refused\"} 1",
        "skin_assist_looks_total{route=\"widespread\",outcome=\"findings\"} 0",
        "skin_assist_look_seconds_count{route=\"solitary\"} 2",
        "skin_assist_look_seconds_bucket{le=\"+Inf\",route=\"solitary\"} 2",
        "skin_assist_slots 4",
        "skin_assist_slots_used 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let labels = line
            .split_once('{')
            .map_or("", |(_, rest)| rest.split('}').next().unwrap_or_default());
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let name = label.split('=').next().unwrap();
            assert!(["route", "outcome", "le", "pack", "version"].contains(&name), "{line}");
        }
        assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
    }
}
