//! What subscribers ask, and what tells of subscriptions: what they missed, and how they stand.
//!
//! A subscriber shows its own token, which is good for its own subscription and for nothing else; whoever may look at the console may look at
//! these, too.

use std::ops::RangeInclusive;

use axum::{
    extract::{Path, Query, rejection::QueryRejection},
    response::Response,
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use skin_assist_core::{
    domain::{ChartEvent, FirmId, Subscription, SubscriptionFormat, SubscriptionId},
    ports::StateError,
};
use skin_assist_subscribers::{cloud_events, fhir};
use url::Url;

use super::{
    api::{Answer, MOST, Problem, USUAL, answer},
    pages::View,
    reply,
};

/// The subscription that a path is about.
pub(super) fn named_in(path: &str) -> Option<SubscriptionId> {
    let rest = path
        .strip_prefix("/fhir/Subscription/")
        .or_else(|| path.strip_prefix("/api/v1/subscriptions/"))?;
    rest.split('/')
        .next()
        .filter(|id| !id.is_empty())
        .map(SubscriptionId::new)
}

/// No event has a larger number: every reader of JSON can tell it from its neighbours.
const LARGEST_NUMBER: u64 = (1 << 53) - 1;

/// After which event, and how many.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct After {
    after: Option<u64>,
    limit: Option<usize>,
}

impl After {
    fn read(wanted: Result<Query<Self>, QueryRejection>) -> Result<(u64, usize), Problem> {
        let refused = || {
            let said = format!("the query has after, a number of an event, and limit, a number from 1 to {MOST}");
            Problem::new(StatusCode::BAD_REQUEST, said)
        };
        let Query(wanted) = wanted.map_err(|_| refused())?;
        match (wanted.after.unwrap_or_default(), wanted.limit.unwrap_or(USUAL)) {
            (after @ 0..=LARGEST_NUMBER, limit @ 1..=MOST) => Ok((after, limit)),
            _ => Err(refused()),
        }
    }
}

/// An event as the API tells it.
fn shown(event: &ChartEvent) -> Value {
    json!({
        "practice": event.firm, "number": event.number, "at": event.at, "kind": event.kind,
        "focus": event.focus, "context": event.context,
    })
}

/// The events of a practice.
pub(super) async fn events(view: View, Path(id): Path<String>, wanted: Result<Query<After>, QueryRejection>) -> Answer {
    let (after, limit) = After::read(wanted)?;
    let state = &view.console.state;
    let firm = FirmId::new(id);
    if state.firm(&firm).await?.is_none() {
        return Err(Problem::new(StatusCode::NOT_FOUND, "there is no such practice"));
    }
    let events = match state.events(&firm, after, limit).await {
        Err(error @ StateError::NotKept { .. }) => {
            return Err(Problem::new(StatusCode::NOT_FOUND, error.to_string()));
        }
        events => events?,
    };
    answer(&events.iter().map(shown).collect::<Vec<_>>())
}

/// Where a subscriber is: its scheme, host and port. The rest of its address may be a secret.
pub(super) fn whereabouts(subscription: &Subscription) -> String {
    match Url::parse(&subscription.endpoint) {
        Ok(url) => url.origin().ascii_serialization(),
        Err(_) => String::new(),
    }
}

/// A subscription as somebody may see it.
fn seen_by(view: &View, mut subscription: Subscription) -> Subscription {
    if !view.person.may_see_endpoints() {
        subscription.endpoint = whereabouts(&subscription);
    }
    subscription
}

/// How subscriptions stand.
pub(super) async fn list(view: View) -> Answer {
    let subscriptions = view.console.state.subscriptions().await?;
    let seen = subscriptions
        .into_iter()
        .map(|subscription| seen_by(&view, subscription));
    answer(&seen.collect::<Vec<_>>())
}

async fn subscription(view: &View, id: &str) -> Result<Option<Subscription>, StateError> {
    let found = view.console.state.subscription(&SubscriptionId::new(id)).await?;
    Ok(found.map(|subscription| seen_by(view, subscription)))
}

/// The events of a subscription, as CloudEvents.
pub(super) async fn cloud_events(
    view: View,
    Path(id): Path<String>,
    wanted: Result<Query<After>, QueryRejection>,
) -> Answer {
    let (after, limit) = After::read(wanted)?;
    let Some(subscription) = subscription(&view, &id).await? else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "there is no such subscription"));
    };
    let numbers = after.saturating_add(1)..=u64::MAX;
    let notifications = view
        .console
        .state
        .notifications(&subscription.id, numbers, limit)
        .await?;
    let events: Vec<_> = notifications
        .iter()
        .map(|notification| cloud_events::event(&subscription, notification))
        .collect();
    answer(&events)
}

/// A FHIR resource.
fn resource(status: StatusCode, resource: &Value) -> Response {
    reply(status, fhir::MEDIA_TYPE, resource.to_string())
}

fn unknown() -> Response {
    let outcome = fhir::outcome("not-found", "there is no such subscription");
    resource(StatusCode::NOT_FOUND, &outcome)
}

fn unavailable() -> Response {
    let outcome = fhir::outcome("transient", "the state cannot be read");
    resource(StatusCode::SERVICE_UNAVAILABLE, &outcome)
}

/// The subscription, where it is one of FHIR's; the answer otherwise.
async fn of_fhir(view: &View, id: &str) -> Result<Subscription, Response> {
    match subscription(view, id).await {
        Ok(Some(subscription)) if subscription.format == SubscriptionFormat::FhirR4Backport => Ok(subscription),
        Ok(_) => Err(unknown()),
        Err(_) => Err(unavailable()),
    }
}

/// The subscription as a resource.
pub(super) async fn fhir_subscription(view: View, Path(id): Path<String>) -> Response {
    match of_fhir(&view, &id).await {
        Ok(subscription) => resource(StatusCode::OK, &fhir::subscription(&subscription)),
        Err(refused) => refused,
    }
}

/// `$status`.
pub(super) async fn fhir_status(view: View, Path(id): Path<String>) -> Response {
    match of_fhir(&view, &id).await {
        Ok(subscription) => resource(StatusCode::OK, &fhir::status_answer(&subscription, view.now)),
        Err(refused) => refused,
    }
}

/// Of which events, by the names of the backport.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Numbers {
    events_since_number: Option<u64>,
    events_until_number: Option<u64>,
    /// Whatever is asked for, ids alone are told.
    #[allow(dead_code, reason = "it is a parameter that is known")]
    content: Option<String>,
}

impl Numbers {
    fn numbers(&self) -> Option<RangeInclusive<u64>> {
        let (since, until) = (self.events_since_number, self.events_until_number);
        let are_possible = since.max(until).is_none_or(|number| number <= LARGEST_NUMBER);
        are_possible.then(|| since.unwrap_or_default()..=until.unwrap_or(LARGEST_NUMBER))
    }
}

/// `$events`.
pub(super) async fn fhir_events(
    view: View,
    Path(id): Path<String>,
    wanted: Result<Query<Numbers>, QueryRejection>,
) -> Response {
    let subscription = match of_fhir(&view, &id).await {
        Ok(subscription) => subscription,
        Err(refused) => return refused,
    };
    let Some(numbers) = wanted.ok().and_then(|Query(wanted)| wanted.numbers()) else {
        let said = "the query has eventsSinceNumber and eventsUntilNumber, numbers of events";
        return resource(StatusCode::BAD_REQUEST, &fhir::outcome("invalid", said));
    };
    match view.console.state.notifications(&subscription.id, numbers, MOST).await {
        Ok(told) => resource(StatusCode::OK, &fhir::events_answer(&subscription, &told, view.now)),
        Err(_) => unavailable(),
    }
}
