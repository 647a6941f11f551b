//! Packs whose models run on a server of tensors, which knows nothing of photos.

use std::{collections::HashMap, sync::Arc};

use axum::{Router, body::Body, extract::State};
use bytes::Bytes;
use http::{Request, Response};
use serde_json::json;
use skin_assist::{config::Config, wiring};
use skin_assist_core::{
    domain::Route,
    ports::{Class, VisionModel},
};
use skin_assist_endpoints::inference::protocol::{self, HEADER_LENGTH};
use skin_assist_models::{pack::LoadedPack, runtime::Tensor};
use skin_assist_testkit::vision;
use tokio::task::JoinHandle;

use crate::support::packs;

/// The reference packs' models by name, each with its pack and whether it is the detector.
struct Tensors {
    models: HashMap<String, (Arc<LoadedPack>, bool)>,
    is_binary: bool,
    /// Classifiers answer with a class more than they have.
    with_one_more: bool,
}

impl Tensors {
    fn of_the_reference_packs(is_binary: bool) -> Self {
        let config = Config::defaults().unwrap();
        let runtime = wiring::runtime(&config).unwrap();
        let mut models = HashMap::new();
        for pack in wiring::packs(&config).unwrap() {
            let id = pack.manifest().id.clone();
            let pack = Arc::new(pack.load(&runtime).unwrap());
            if pack.detector().is_some() {
                models.insert(format!("{id}-detector"), (Arc::clone(&pack), true));
            }
            models.insert(format!("{id}-classifier"), (pack, false));
        }
        Self {
            models,
            is_binary,
            with_one_more: false,
        }
    }

    async fn answer(State(tensors): State<Arc<Self>>, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 50_000_000).await.unwrap();
        let path: Vec<&str> = parts.uri.path().split('/').skip(1).collect();
        let name = match path.as_slice() {
            ["v2"] => {
                let extensions = if tensors.is_binary {
                    vec!["binary_tensor_data"]
                } else {
                    vec![]
                };
                return Response::new(
                    json!({ "name": "tensors", "extensions": extensions })
                        .to_string()
                        .into(),
                );
            }
            ["v2", "models", name, "infer"] => *name,
            _ => "",
        };
        let Some((pack, is_detector)) = tensors.models.get(name) else {
            return Response::builder().status(404).body(Body::empty()).unwrap();
        };
        let length = parts.headers.get(HEADER_LENGTH).map(|length| length.to_str().unwrap());
        assert_eq!(length.is_some(), tensors.is_binary);
        let (envelope, inputs) = protocol::read_request(length, &body).unwrap();
        let input = Tensor {
            shape: inputs[0].shape.clone(),
            data: inputs[0].to_floats().unwrap(),
        };
        let model = if *is_detector {
            pack.detector().unwrap()
        } else {
            pack.classifier()
        };
        let mut answer = model.session().unwrap().run(&input).unwrap();
        if tensors.with_one_more && !is_detector {
            answer.shape[1] += 1;
            answer.data.push(0.0);
        }
        let mut output = json!({ "name": envelope.wanted[0].0, "datatype": "FP32", "shape": answer.shape });
        if !tensors.is_binary {
            output["data"] = json!(answer.data);
            return Response::new(json!({ "outputs": [output] }).to_string().into());
        }
        output["parameters"] = json!({ "binary_data_size": 4 * answer.data.len() });
        let header = json!({ "outputs": [output] }).to_string();
        let mut body = header.clone().into_bytes();
        body.extend(answer.data.iter().flat_map(|value| value.to_le_bytes()));
        let response = Response::builder().header(HEADER_LENGTH, header.len());
        response.body(Body::from(Bytes::from(body))).unwrap()
    }

    async fn serve(self) -> (String, JoinHandle<()>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(Self::answer).with_state(Arc::new(self));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (url, task)
    }
}

async fn connected(url: &str) -> Result<Arc<dyn VisionModel>, String> {
    let mut config = Config::defaults().unwrap();
    config.models.tensor_url = url.to_owned();
    wiring::models(&config).await.map_err(|failure| failure.report())
}

#[tokio::test(flavor = "multi_thread")]
async fn models_on_a_server_of_tensors_keep_what_every_vision_model_promises() {
    for is_binary in [true, false] {
        let (url, task) = Tensors::of_the_reference_packs(is_binary).serve().await;
        let there = connected(&url).await.unwrap();
        vision::check(&*there, &*packs()).await;
        task.abort();
        // An outage there is no verdict on the photo here.
        let photo = vision::photo(Route::Widespread, 1);
        loop {
            let error = there.look(Route::Widespread, &photo).await;
            // Connections that were accepted are served to their end.
            let Err(error) = error else { continue };
            assert_eq!(error.class(), Class::Transient(None), "{error}");
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_other_models_is_named_at_the_start() {
    let mut tensors = Tensors::of_the_reference_packs(true);
    tensors.models.remove("reference-widespread-classifier");
    let (url, _task) = tensors.serve().await;
    let failure = connected(&url).await.err().unwrap();
    assert!(
        failure.contains("hint: the server has to have a model reference-widespread-classifier"),
        "{failure}"
    );

    // A model of another pack than this one.
    let mut tensors = Tensors::of_the_reference_packs(true);
    tensors.with_one_more = true;
    let (url, _task) = tensors.serve().await;
    let failure = connected(&url).await.err().unwrap();
    assert!(failure.contains("another shape"), "{failure}");
}
