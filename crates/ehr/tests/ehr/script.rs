//! A transport that plays a script, and the things that most tests need.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    sync::{Arc, Mutex},
};

use ::http::{Request, Response};
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use skin_assist_core::{
    domain::{AccessToken, Firm, FirmId, FirmStatus, Mode},
    phi::Secret,
    time::Timestamp,
};
use skin_assist_ehr::{EhrClient, EhrConnection, HostPattern, Limits, Profile};
use skin_assist_transport::{Transport, TransportError};

pub(crate) type Answer = Result<Response<Bytes>, TransportError>;

/// Gives the scripted answers in order and remembers what it was asked.
#[derive(Default)]
pub(crate) struct Script {
    answers: Mutex<VecDeque<Answer>>,
    requests: Mutex<Vec<(Request<Bytes>, usize)>>,
}

impl Script {
    pub(crate) fn of(answers: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        Arc::new(Self {
            answers: Mutex::new(answers.into_iter().collect()),
            requests: Mutex::default(),
        })
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.requests
            .lock()
            .unwrap()
            .iter()
            .map(|(request, _)| request.uri().to_string())
            .collect()
    }

    /// The one request that was made.
    pub(crate) fn request(&self) -> Request<Bytes> {
        let requests = self.requests.lock().unwrap();
        assert_eq!(requests.len(), 1, "one request expected");
        requests[0].0.clone()
    }

    /// All that were made.
    pub(crate) fn requests(&self) -> Vec<Request<Bytes>> {
        let requests = self.requests.lock().unwrap();
        requests.iter().map(|(request, _)| request.clone()).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

#[async_trait]
impl Transport for Script {
    async fn send(&self, request: Request<Bytes>, limit_bytes: usize) -> Answer {
        self.requests.lock().unwrap().push((request, limit_bytes));
        self.answers
            .lock()
            .unwrap()
            .pop_front()
            .expect("a request that is not in the script")
    }
}

pub(crate) const SERVICE: &str = "https://ehr.example/base/firm/derm-a/ema/fhir/v2";

// Answers are written as the transport gives them.
#[allow(clippy::unnecessary_wraps)]
pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    Ok(response.body(body.into()).unwrap())
}

/// 200 with JSON, on Monday 5 January 2026, 10:00.
pub(crate) fn json(body: &Value) -> Answer {
    reply(200, &[("date", "Mon, 05 Jan 2026 10:00:00 GMT")], body.to_string())
}

pub(crate) fn status(status: u16) -> Answer {
    reply(status, &[], r#"{"message":"about patient Jane Roe"}"#)
}

pub(crate) fn lost() -> Answer {
    Err(TransportError::Unknown {
        what: "the connection broke",
        status: None,
    })
}

pub(crate) fn not_sent() -> Answer {
    Err(TransportError::NotSent {
        what: "the connection was refused",
    })
}

pub(crate) fn profile() -> Profile {
    Profile::shipped("modmed-ema").unwrap()
}

/// The shipped profile with a line replaced.
pub(crate) fn profile_with(from: &str, to: &str) -> Profile {
    let text = Profile::shipped_text("modmed-ema").unwrap();
    assert!(text.contains(from), "{from}");
    Profile::from_toml(&text.replacen(from, to, 1)).unwrap()
}

pub(crate) fn connection(profile: Profile) -> EhrConnection {
    EhrConnection {
        profile,
        base_url: "https://ehr.example/base/".parse().unwrap(),
        token_url: Some("https://login.example/realms/a/token".parse().unwrap()),
        further_api_keys: std::collections::BTreeMap::new(),
        api_key: Secret::new("the-api-key".into()),
        photo_hosts: vec![HostPattern::parse("photos.example").unwrap()],
        allow_loopback_http: false,
        limits: Limits::default(),
    }
}

pub(crate) fn client_with(profile: Profile, api: &Arc<Script>, photos: &Arc<Script>) -> EhrClient {
    EhrClient::new(connection(profile), Arc::clone(api) as _, Arc::clone(photos) as _).unwrap()
}

/// A client of the shipped profile whose EHR gives these answers.
pub(crate) fn client(answers: impl IntoIterator<Item = Answer>) -> (EhrClient, Arc<Script>) {
    let script = Script::of(answers);
    (client_with(profile(), &script, &Script::of([])), script)
}

pub(crate) fn firm(prefix: &str) -> Firm {
    Firm {
        id: FirmId::new("derm"),
        url_prefix: prefix.into(),
        status: FirmStatus::Active,
        mode: Mode::Draft,
        intended_use: None,
        categories: BTreeMap::new(),
        api_key: None,
        connected_at: at("2026-01-05T08:00:00Z"),
        photos_since: at("2026-01-05T08:00:00Z"),
    }
}

pub(crate) fn token() -> AccessToken {
    AccessToken {
        secret: Secret::new("the-token".into()),
        issued_at: at("2026-01-05T10:00:00Z"),
        expires_at: at("2026-01-05T10:15:00Z"),
    }
}

pub(crate) fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    futures::executor::block_on(future)
}
