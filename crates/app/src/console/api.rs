//! The HTTP API for tools of integrators: what the commands print with `--json`, over HTTP. It only reads, and tells nothing of a
//! patient. `api/openapi.json` describes it; a test compares the two.

use axum::{
    extract::{Path, Query, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use skin_assist_core::{domain::FirmId, ports::StateError, time::Timestamp};

use super::{
    pages::{Trouble, View},
    reply,
};
use crate::{commands::uncertain, failure::Failure};

/// The description, as it is served.
pub(super) const DESCRIPTION: &str = include_str!("api/openapi.json");

/// What one answer lists at most.
pub(super) const MOST: usize = 1000;
/// What it lists where nobody says.
pub(super) const USUAL: usize = 100;

/// Why there is no answer, as RFC 9457 has it.
pub(super) struct Problem {
    status: StatusCode,
    title: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, title: impl Into<String>) -> Self {
        Self {
            status,
            title: title.into(),
        }
    }
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Self {
        Self::new(trouble.status(), trouble.said())
    }
}

impl From<StateError> for Problem {
    fn from(error: StateError) -> Self {
        Trouble::from(error).into()
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Trouble::from(failure).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let said = json!({ "type": "about:blank", "title": self.title, "status": self.status.as_u16() });
        reply(self.status, "application/problem+json", said.to_string())
    }
}

pub(super) type Answer = Result<Response, Problem>;

pub(super) fn answer(document: &impl Serialize) -> Answer {
    match serde_json::to_string(document) {
        Ok(text) => Ok(reply(StatusCode::OK, "application/json", text)),
        Err(_) => Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the answer cannot be written",
        )),
    }
}

/// What a list is asked for with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    practice: Option<String>,
    since: Option<String>,
    limit: Option<usize>,
}

impl Wanted {
    fn limit(&self) -> Result<usize, Problem> {
        match self.limit {
            None => Ok(USUAL),
            Some(limit @ 1..=MOST) => Ok(limit),
            Some(_) => {
                let said = format!("limit is a number from 1 to {MOST}");
                Err(Problem::new(StatusCode::BAD_REQUEST, said))
            }
        }
    }
}

/// How every practice stands.
pub(super) async fn practices(view: View) -> Answer {
    answer(&view.console.standing().await?.firms)
}

/// How one stands.
pub(super) async fn practice(view: View, Path(id): Path<String>) -> Answer {
    let stand = view.console.standing().await?;
    match stand.firms.iter().find(|overview| overview.firm.id.as_str() == id) {
        Some(overview) => answer(overview),
        None => Err(Trouble::not_found("practice").into()),
    }
}

/// The latest photos and their ways.
pub(super) async fn photos(view: View, wanted: Result<Query<Wanted>, QueryRejection>) -> Answer {
    let wanted = query(wanted)?;
    let since = match &wanted.since {
        None => Timestamp::ALWAYS,
        Some(text) => Timestamp::parse_rfc3339(text).map_err(|_| {
            let said = "since is a time, such as 2026-01-31T00:00:00Z";
            Problem::new(StatusCode::BAD_REQUEST, said)
        })?,
    };
    let limit = wanted.limit()?;
    let firm = wanted.practice.map(FirmId::new);
    let mut journeys = view.console.state.journeys(firm.as_ref(), since, limit).await?;
    for journey in &mut journeys {
        // A patient's.
        journey.top_finding = None;
    }
    answer(&journeys)
}

/// What waits or is worked on.
pub(super) async fn queue(view: View, wanted: Result<Query<Wanted>, QueryRejection>) -> Answer {
    let limit = query(wanted)?.limit()?;
    answer(&view.console.state.queued(limit).await?)
}

/// What was given up.
pub(super) async fn dead_letters(view: View) -> Answer {
    answer(&view.console.state.dead_letters().await?)
}

/// Drafts that may or may not be in a chart.
pub(super) async fn uncertain(view: View) -> Answer {
    answer(&uncertain::entries(&*view.console.state).await?)
}

/// Drafts whose photo was retracted.
pub(super) async fn retractions(view: View) -> Answer {
    answer(&view.console.state.retracted_drafts().await?)
}

/// How the quotas stand.
pub(super) async fn quotas(view: View) -> Answer {
    answer(&view.console.standing().await?.quotas)
}

/// What there is here.
pub(super) async fn description() -> Response {
    reply(StatusCode::OK, "application/json", DESCRIPTION.to_owned())
}

fn query(wanted: Result<Query<Wanted>, QueryRejection>) -> Result<Wanted, Problem> {
    let refused = |_| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "the query cannot be read: it has practice, since and limit",
        )
    };
    wanted.map(|Query(wanted)| wanted).map_err(refused)
}
