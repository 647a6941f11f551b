//! SageMaker's container contract: `POST /invocations` with a photo as the body gives findings as JSON. `GET /ping` is the
//! server's own.
//!
//! `X-Amzn-SageMaker-Custom-Attributes`, or the query, says `route=solitary` or `route=widespread`; a container with one pack
//! needs neither. The attribute `describe` is answered with the models instead ([`skin_assist_core::wire::Description`]):
//! so whoever calls knows them before a photo is looked at.

use axum::body::Body;
use http::{HeaderName, Response, StatusCode};
use skin_assist_core::{
    domain::Route,
    wire::{self, SentError},
};

use super::{Incoming, ModelServer, json, reply};

/// The header in which SageMaker hands on what the caller says beside the body.
pub(super) const CUSTOM_ATTRIBUTES: HeaderName = HeaderName::from_static("x-amzn-sagemaker-custom-attributes");

pub(super) async fn invocations(server: &ModelServer, incoming: &mut Incoming) -> Result<Response<Body>, SentError> {
    let attributes = incoming.text(&CUSTOM_ATTRIBUTES).unwrap_or_default().to_owned();
    let query = incoming.head.uri.query().unwrap_or_default();
    let said: Vec<&str> = attributes
        .split([';', ','])
        .chain(query.split('&'))
        .map(str::trim)
        .collect();
    if said.contains(&wire::DESCRIBE) {
        return json(&server.description());
    }
    let named = said.iter().find_map(|said| said.strip_prefix(wire::ROUTE));
    let route = match named {
        Some(name) => Route::ALL
            .into_iter()
            .find(|route| route.as_str() == name)
            .ok_or_else(|| wire::refused(400, "the route is solitary or widespread"))?,
        None => only_route(server)?,
    };
    let (_slot, photo) = server.take(incoming).await?;
    let findings = server.look(route, photo).await?;
    let body = wire::sent_findings(&findings).map_err(|error| wire::sent(&error))?;
    Ok(reply(StatusCode::OK, "application/json", body.into()))
}

fn only_route(server: &ModelServer) -> Result<Route, SentError> {
    let mut routes: Vec<Route> = server.description().models.iter().map(|model| model.route).collect();
    routes.dedup();
    match routes.as_slice() {
        [route] => Ok(*route),
        _ => Err(wire::refused(
            400,
            "say route=solitary or route=widespread: there is not one pack here that could be meant",
        )),
    }
}
