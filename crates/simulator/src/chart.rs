//! The chart page (being built).

use bytes::Bytes;
use http::{Request, StatusCode};
use skin_assist_core::time::Timestamp;

use crate::{ehr::Prepared, reply, state::State};

pub(crate) fn respond(_state: &State, _now: Timestamp, _request: &Request<Bytes>) -> Prepared {
    Prepared::Response(reply::html(StatusCode::OK, String::new()))
}
