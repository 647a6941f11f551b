//! The Open Inference Protocol v2: a pack is a model that takes an encoded image and answers findings as JSON.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderName, Method, Response, StatusCode};
use serde_json::{Map, Value, json};
use skin_assist_core::wire::{self, DescribedModel, SentError};
use skin_assist_endpoints::inference::{
    FINDINGS, PHOTO, ROUTE_PARAMETER,
    protocol::{self, BYTES, HEADER_LENGTH, Malformed, Tensor},
};

use super::{Incoming, ModelServer, health, json, reply};

const HEADER_LENGTH_NAME: HeaderName = HeaderName::from_static(HEADER_LENGTH);

/// Answers what comes below `/v2`.
pub(super) async fn answer(
    server: &ModelServer,
    path: &[&str],
    incoming: &mut Incoming,
) -> Result<Response<Body>, SentError> {
    let method = incoming.head.method.clone();
    match (&method, path) {
        (&Method::GET, [] | [""]) => json(&json!({
            "name": "skin-assist", "version": env!("CARGO_PKG_VERSION"),
            "extensions": ["binary_tensor_data", "model_repository"],
        })),
        (&Method::GET, ["health", "live"]) => Ok(health(true)),
        (&Method::GET, ["health", "ready"]) => Ok(health(server.is_ready())),
        (&Method::POST, ["repository", "index"]) => json(&index(server)),
        (_, ["models", name, rest @ ..]) => {
            let (version, rest) = match rest {
                ["versions", version, rest @ ..] => (Some(*version), rest),
                rest => (None, rest),
            };
            let model = model(server, name, version)?;
            match (&method, rest) {
                (&Method::GET, []) => json(&metadata(&model)),
                (&Method::GET, ["ready"]) => Ok(health(server.is_ready())),
                (&Method::POST, ["infer"]) => infer(server, &model, incoming).await,
                (_, [] | ["ready" | "infer"]) => Err(wire::refused(405, "the method is not one of this address")),
                _ => Err(wire::refused(404, "there is nothing here")),
            }
        }
        _ => Err(wire::refused(404, "there is nothing here")),
    }
}

fn index(server: &ModelServer) -> Vec<Value> {
    let state = if server.is_ready() { "READY" } else { "UNAVAILABLE" };
    let entry = |model: DescribedModel| json!({ "name": model.pack, "version": model.version, "state": state });
    server.description().models.into_iter().map(entry).collect()
}

fn model(server: &ModelServer, name: &str, version: Option<&str>) -> Result<DescribedModel, SentError> {
    let mut models = server.description().models.into_iter();
    models
        .find(|model| model.pack == name && version.is_none_or(|version| version == model.version))
        .ok_or_else(|| wire::refused(404, "there is no such model, or not of this version"))
}

fn metadata(model: &DescribedModel) -> Value {
    let tensor = |name: &str| json!([{ "name": name, "datatype": BYTES, "shape": [1] }]);
    json!({
        "name": model.pack, "versions": [model.version], "platform": "skin-assist-pack",
        "inputs": tensor(PHOTO), "outputs": tensor(FINDINGS),
        "parameters": { ROUTE_PARAMETER: model.route },
    })
}

async fn infer(
    server: &ModelServer,
    model: &DescribedModel,
    incoming: &mut Incoming,
) -> Result<Response<Body>, SentError> {
    let refused = |Malformed(what)| wire::refused(400, what);
    let length = incoming.text(&HEADER_LENGTH_NAME).map(str::to_owned);
    let (_slot, body) = server.take(incoming).await?;
    let (envelope, inputs) = protocol::read_request(length.as_deref(), &body).map_err(refused)?;
    let photo = photo(&inputs).map_err(refused)?;
    if envelope.wanted.iter().any(|(name, _)| name != FINDINGS) {
        return Err(wire::refused(400, "the model has the one output `findings`"));
    }
    // Held by the photo alone from here on.
    drop((inputs, body));
    let findings = server.look(model.route, photo).await?;
    let findings = wire::sent_findings(&findings).map_err(|error| wire::sent(&error))?;
    let text = String::from_utf8(findings).map_err(|_| wire::refused(500, "the findings are no text"))?;
    let mut message = Map::new();
    message.insert("model_name".to_owned(), json!(model.pack));
    message.insert("model_version".to_owned(), json!(model.version));
    if let Some(id) = envelope.id {
        message.insert("id".to_owned(), json!(id));
    }
    let wanted = envelope.wanted.first().and_then(|(_, binary)| *binary);
    let is_binary = wanted.unwrap_or(envelope.binary_output);
    let (body, length) = protocol::write_text_response(message, FINDINGS, &text, is_binary);
    let content_type = if length.is_some() {
        "application/octet-stream"
    } else {
        "application/json"
    };
    let mut response = reply(StatusCode::OK, content_type, body);
    if let Some(length) = length {
        response.headers_mut().insert(HEADER_LENGTH_NAME, length.into());
    }
    Ok(response)
}

fn photo(inputs: &[Tensor]) -> Result<Bytes, Malformed> {
    match inputs {
        [photo] if photo.name == PHOTO => photo.to_single(),
        _ => Err(Malformed("the model has the one input `photo`")),
    }
}
