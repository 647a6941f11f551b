//! SageMaker's own part, as far as it matters: `InvokeEndpoint` in front of a container, whose errors it wraps.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Router, body::Body, extract::State};
use bytes::Bytes;
use http::{Request, Response};
use skin_assist_aws::{connection::Connection, sagemaker::SageMakerVision};
use skin_assist_core::domain::Route;
use skin_assist_testkit::vision;
use skin_assist_transport::Transport;

use crate::support::{Served, packs, transport};

/// Who stands in front of which container.
#[derive(Clone)]
struct Front {
    container: String,
    transport: Arc<dyn Transport>,
}

/// `POST /endpoints/{name}/invocations`, as SageMaker's runtime answers it.
async fn invoke(State(front): State<Front>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if !parts.uri.path().starts_with("/endpoints/lesions-and-rashes/") {
        return answer(
            400,
            "ValidationError",
            r#"{"Message": "Endpoint of account 1 not found."}"#,
        );
    }
    let body = axum::body::to_bytes(body, 30_000_000).await.unwrap();
    let mut inner = Request::post(format!("{}/invocations", front.container))
        .body(body)
        .unwrap();
    for (name, value) in &parts.headers {
        if name.as_str().starts_with("x-amzn-sagemaker") {
            inner.headers_mut().insert(name, value.clone());
        }
    }
    let reply = front.transport.send(inner, 10_000_000).await.unwrap();
    if reply.status().is_success() {
        return reply.map(Body::from);
    }
    let wrapped = serde_json::json!({
        "Message": "Received an error from primary",
        "OriginalStatusCode": reply.status().as_u16(),
        "OriginalMessage": String::from_utf8_lossy(reply.body()),
    });
    answer(424, "ModelError", &wrapped.to_string())
}

fn answer(status: u16, code: &str, body: &str) -> Response<Body> {
    let response = Response::builder().status(status).header("x-amzn-errortype", code);
    response
        .body(Body::from(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap()
}

async fn front(container: &Served) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let front = Front {
        container: container.url(),
        transport: transport(),
    };
    let router = Router::new().fallback(invoke).with_state(front);
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

fn endpoints(name: &str) -> BTreeMap<Route, String> {
    Route::ALL.into_iter().map(|route| (route, name.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_keep_what_every_vision_model_promises() {
    let packs = packs();
    let container = Served::start(packs.clone(), 4).await;
    let connection = Connection::to_emulator(&front(&container).await);
    let sage_maker = SageMakerVision::connect(&connection, endpoints("lesions-and-rashes"))
        .await
        .unwrap();
    vision::check(&sage_maker, &*packs).await;
    let missing = SageMakerVision::connect(&connection, endpoints("typo"))
        .await
        .unwrap_err();
    assert!(missing.hint().contains("model.endpoint-missing"), "{}", missing.hint());
}
