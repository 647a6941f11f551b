//! Making a probe's calls: each for one grant, none that changes anything, and no more than a bounded number.
//!
//! What comes back is looked at here for everything that every reply shows: clocks, times, quota headers, and the shapes
//! of ids, references and times in the records. Nothing of a record's content is kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use serde_json::Value;
use skin_assist_core::{
    domain::{AccessToken, Firm},
    ports::{CallKind, EhrError, StateError},
    stages::Quota,
};
use url::Url;

use super::{report::Latency, shapes::Shapes};
use crate::{client::EhrClient, reply, urls::ServiceRoot, view::View};

/// More calls are never made.
const MOST_CALLS: u32 = 70;

/// A call that was refused for the quota is made again at most this often in one probe.
const MOST_REFUSED_FOR_QUOTA: u32 = 3;

/// So many entries are asked for where a few are enough.
const A_FEW: u32 = 10;

/// An id that no record has.
pub(super) const NOBODY: &str = "skin-assist-probe-0";

/// Another one.
pub(super) const NOBODY_ELSE: &str = "skin-assist-probe-1";

/// What came of a call.
#[derive(Debug)]
pub(super) enum Got<T> {
    /// An answer.
    It(T),
    /// The EHR does not do this: a 4xx or 501.
    Refused(u16),
    /// No answer, which says nothing.
    NoAnswer(&'static str),
}

/// A page of a search.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) resource: &'static str,
    pub(super) url: Url,
    pub(super) next: Option<String>,
    pub(super) total: Option<u64>,
    records: Vec<Value>,
}

impl Found {
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn records(&self) -> impl DoubleEndedIterator<Item = View<'_>> {
        self.records.iter().map(View::of)
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.records()
            .map(|record| record.text("id").unwrap_or_default().into_owned())
            .collect()
    }
}

/// Asks one EHR.
pub(super) struct Asker<'a> {
    pub(super) client: &'a EhrClient,
    pub(super) firm: &'a Firm,
    pub(super) service: ServiceRoot,
    pub(super) shapes: Shapes,
    pub(super) calls: u32,
    /// Each call, as it may be shown, and what came.
    pub(super) evidence: Vec<String>,
    pub(super) quota_headers: BTreeMap<String, String>,
    /// How a 429 said when to come back.
    pub(super) retry_after: BTreeSet<&'static str>,
    pub(super) refused_for_quota: u32,
    /// The last page of a search links to what was there before.
    pub(super) goes_in_a_circle: bool,
    /// Where even a few entries are more than the EHR takes.
    at_most: BTreeMap<&'static str, u32>,
    token: &'a AccessToken,
    quota: Quota<'a>,
    took_ms: Vec<u64>,
    ahead_ms: Vec<i64>,
}

impl<'a> Asker<'a> {
    pub(super) fn new(
        client: &'a EhrClient,
        firm: &'a Firm,
        token: &'a AccessToken,
        quota: Quota<'a>,
    ) -> Result<Self, EhrError> {
        Ok(Self {
            client,
            firm,
            service: client.connection.service(firm)?,
            shapes: Shapes::default(),
            calls: 0,
            evidence: Vec::new(),
            quota_headers: BTreeMap::new(),
            retry_after: BTreeSet::new(),
            refused_for_quota: 0,
            goes_in_a_circle: false,
            at_most: BTreeMap::new(),
            token,
            quota,
            took_ms: Vec::new(),
            ahead_ms: Vec::new(),
        })
    }

    /// A day so many days away from today.
    pub(super) fn day(&self, days: i32) -> String {
        self.quota.clock.now().date_plus_days(days)
    }

    /// A `_count` of a few, which the EHR takes.
    pub(super) fn a_few(&self, resource: &str) -> String {
        let most = self.at_most.get(resource).copied().unwrap_or(A_FEW);
        most.min(A_FEW).to_string()
    }

    /// Notes that the EHR takes no larger `_count`.
    pub(super) fn take_at_most(&mut self, resource: &'static str, count: u32) {
        self.at_most.insert(resource, count);
    }

    /// What was noted of the calls made since this was last called.
    pub(super) fn take_evidence(&mut self) -> Vec<String> {
        std::mem::take(&mut self.evidence)
    }

    /// One page.
    pub(super) async fn search(
        &mut self,
        resource: &'static str,
        parameters: &[(&str, &str)],
    ) -> Result<Got<Found>, StateError> {
        let url = self.service.search(resource, parameters);
        let what = format!("{resource}?{}", shown(parameters));
        self.page(resource, url, what).await
    }

    /// The page that a link leads to. The link was checked to stay within the firm's service.
    pub(super) async fn follow(&mut self, resource: &'static str, next: Url) -> Result<Got<Found>, StateError> {
        self.page(resource, next, format!("{resource}, the next page")).await
    }

    async fn page(&mut self, resource: &'static str, url: Url, what: String) -> Result<Got<Found>, StateError> {
        let got = self.get(&url, what).await?;
        let found = match got {
            Got::It(body) => self.found(resource, url, &body),
            Got::Refused(status) => Got::Refused(status),
            Got::NoAnswer(why) => Got::NoAnswer(why),
        };
        if let (Got::It(found), Some(line)) = (&found, self.evidence.last_mut()) {
            _ = write!(line, ", {} entries", found.len());
        }
        Ok(found)
    }

    fn found(&mut self, resource: &'static str, url: Url, body: &Value) -> Got<Found> {
        let bundle = View::of(body);
        if !bundle.get("resourceType").is("Bundle") {
            return Got::NoAnswer("what came is not a Bundle");
        }
        let entries = body.get("entry").and_then(Value::as_array).into_iter().flatten();
        let mut records = Vec::new();
        for entry in entries {
            let record = View::of(entry).get("resource");
            if record.get("resourceType").is("OperationOutcome") && reply::outcome_error(record).is_some() {
                return Got::NoAnswer("the page says that it is not whole");
            }
            let is_match = record.get("resourceType").is(resource);
            if let Some(record) = entry.get("resource").filter(|_| is_match) {
                records.push(record.clone());
            }
        }
        self.shapes.look_at(resource, &self.service, &records);
        let mut links = bundle.each("link");
        let next = links.find(|link| link.get("relation").is("next"));
        Got::It(Found {
            resource,
            url,
            next: next.and_then(|link| link.text("url")).map(std::borrow::Cow::into_owned),
            total: bundle.unsigned("total"),
            records,
        })
    }

    /// One resource, or whatever is there.
    pub(super) async fn get(&mut self, url: &Url, what: String) -> Result<Got<Value>, StateError> {
        self.ask(Method::GET, url, &[], Bytes::new(), what)
            .await
            .map(|(got, _)| got)
    }

    /// One GET with one more header, and the headers of what came.
    pub(super) async fn get_with(
        &mut self,
        url: &Url,
        further: (HeaderName, HeaderValue),
        what: String,
    ) -> Result<Option<HeaderMap>, StateError> {
        let asked = self.ask(Method::GET, url, &[further], Bytes::new(), what).await?;
        Ok(asked.1)
    }

    /// A batch Bundle of searches.
    pub(super) async fn batch(&mut self, bundle: &Value, what: String) -> Result<Got<Value>, StateError> {
        let Ok(media_type) = HeaderValue::from_str(&self.client.connection.profile.request.media_type) else {
            return Ok(Got::NoAnswer("the media type cannot be sent"));
        };
        let further = [(header::CONTENT_TYPE, media_type)];
        let root = self.service.root();
        let asked = self
            .ask(Method::POST, &root, &further, bundle.to_string().into(), what)
            .await;
        asked.map(|(got, _)| got)
    }

    async fn ask(
        &mut self,
        method: Method,
        url: &Url,
        further: &[(HeaderName, HeaderValue)],
        body: Bytes,
        what: String,
    ) -> Result<(Got<Value>, Option<HeaderMap>), StateError> {
        loop {
            if self.calls >= MOST_CALLS {
                return Ok((Got::NoAnswer("it was not asked: enough calls were made"), None));
            }
            let request = self
                .client
                .request(self.firm, method.clone(), url, self.token, further, body.clone());
            let Ok(request) = request else {
                return Ok((Got::NoAnswer("the request cannot be sent"), None));
            };
            let (status, headers, outcome) = self.exchange(request).await?;
            if let Err(error) = &outcome {
                self.quota.notice(error).await?;
            }
            if matches!(outcome, Err(EhrError::OverQuota { .. })) && self.refused_for_quota <= MOST_REFUSED_FOR_QUOTA {
                continue;
            }
            let got = match outcome {
                Ok(reply) => Got::It(reply.body),
                Err(EhrError::Unauthorized) => Got::NoAnswer("the token is not taken (401)"),
                Err(EhrError::OverQuota { .. }) => Got::NoAnswer("it is over the quota (429)"),
                Err(EhrError::Forbidden) => Got::Refused(403),
                Err(EhrError::NotFound { status } | EhrError::Rejected { status }) => Got::Refused(status),
                Err(_) if status == Some(501) => Got::Refused(501),
                Err(EhrError::Unavailable { what } | EhrError::Malformed { what }) => Got::NoAnswer(what),
                Err(_) => Got::NoAnswer("it has no answer"),
            };
            self.evidence.push(match (&got, status) {
                (Got::NoAnswer(why), _) => format!("{what}: {why}"),
                (_, Some(status)) => format!("{what}: {status}"),
                (_, None) => what,
            });
            return Ok((got, headers));
        }
    }

    async fn exchange(
        &mut self,
        request: Request<Bytes>,
    ) -> Result<(Option<u16>, Option<HeaderMap>, Result<reply::Reply, EhrError>), StateError> {
        self.quota.take(CallKind::Context).await?;
        let sent = self.quota.clock.now();
        let (head, outcome) = self.client.exchange_with_head(request).await;
        let took = self.quota.clock.now().since(sent);
        self.calls += 1;
        let status = head.as_ref().map(|head| head.status.as_u16());
        tracing::debug!(event = "probe.asked", firm = %self.firm.id, status);
        let Some(head) = head else {
            return Ok((None, None, outcome));
        };
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.took_ms.push(took_ms);
        if let Some(theirs) = reply::server_time(&head.headers) {
            // `Date` is cut to the second, and was written about half way through the call.
            let ours = sent.as_millis().saturating_add_unsigned(took_ms / 2);
            self.ahead_ms.push(theirs.as_millis() + 500 - ours);
        }
        self.note_quota(&head.headers, status);
        Ok((status, Some(head.headers), outcome))
    }

    fn note_quota(&mut self, headers: &HeaderMap, status: Option<u16>) {
        for (name, value) in headers {
            let is_of_quota = name.as_str().starts_with("x-ratelimit-")
                || name.as_str().starts_with("x-rate-limit-")
                || name.as_str().starts_with("ratelimit");
            let value = value.to_str().unwrap_or_default();
            let is_plain = value.len() <= 60 && value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
            // What is left of a quota is of the moment; the first value is as good as any.
            if is_of_quota && is_plain && self.quota_headers.len() < 10 {
                let entry = self.quota_headers.entry(name.as_str().to_owned());
                entry.or_insert_with(|| value.to_owned());
            }
        }
        if status == Some(429) {
            self.refused_for_quota += 1;
            let value = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
            self.retry_after.insert(match value {
                None => "nothing",
                Some(text) if text.trim().parse::<f64>().is_ok() => "seconds",
                Some(_) => "a date",
            });
        }
    }

    pub(super) fn latency(&self) -> Option<Latency> {
        let mut took = self.took_ms.clone();
        took.sort_unstable();
        Some(Latency {
            median_ms: *took.get(took.len() / 2)?,
            worst_ms: *took.last()?,
        })
    }

    /// By how many milliseconds the EHR's clock is ahead, as half of the calls have it.
    pub(super) fn ahead_ms(&self) -> Option<i64> {
        let mut ahead = self.ahead_ms.clone();
        ahead.sort_unstable();
        ahead.get(ahead.len() / 2).copied()
    }
}

/// Parameters as they may be shown: values that name a record, or the instant of a record's change, are left out.
fn shown(parameters: &[(&str, &str)]) -> String {
    let names_a_record = |name: &str| matches!(name, "patient" | "encounter" | "identifier" | "_id");
    let parts = parameters.iter().map(|(name, value)| {
        if names_a_record(name) {
            let values = value.split(',').map(|value| match value {
                value if value.contains("skin-assist-probe") => "none-such",
                _ => "known",
            });
            format!("{name}={}", values.collect::<Vec<_>>().join(","))
        } else if let (true, Some(prefix)) = (value.contains('T'), value.get(..2)) {
            format!("{name}={prefix}(an instant)")
        } else {
            format!("{name}={value}")
        }
    });
    parts.collect::<Vec<_>>().join("&")
}

/// What a search parameter does, seen by a search that has to find something and one that must find nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// It filters.
    Filters,
    /// It is taken and passed over: everything is returned.
    Ignored,
    /// It is refused.
    Refused(u16),
    /// Nobody can tell.
    NotKnown(&'static str),
}

impl Effect {
    pub(super) fn works(&self) -> bool {
        *self == Self::Filters
    }

    /// Whether it is known not to work.
    pub(super) fn fails(&self) -> bool {
        matches!(self, Self::Ignored | Self::Refused(_))
    }

    /// As the end of "the EHR …".
    pub(super) fn says(&self) -> String {
        match self {
            Self::Filters => "filters by it".to_owned(),
            Self::Ignored => "ignores it and returns everything".to_owned(),
            Self::Refused(status) => format!("refuses it ({status})"),
            Self::NotKnown(why) => format!("not known: {why}"),
        }
    }
}

impl Asker<'_> {
    /// Tells filtered from ignored from refused: `some` has to find something, `none` must find nothing.
    pub(super) async fn effect(
        &mut self,
        resource: &'static str,
        some: &[(&str, &str)],
        none: &[(&str, &str)],
    ) -> Result<(Effect, Option<Found>), StateError> {
        let found = match self.search(resource, some).await? {
            Got::It(found) => found,
            Got::Refused(status) => return Ok((Effect::Refused(status), None)),
            Got::NoAnswer(why) => return Ok((Effect::NotKnown(why), None)),
        };
        let effect = match self.search(resource, none).await? {
            Got::It(nothing) if !nothing.is_empty() => Effect::Ignored,
            _ if found.is_empty() => Effect::NotKnown("nothing there that it would find"),
            // A value that cannot be may be refused where one that can be is not.
            Got::It(_) | Got::Refused(_) => Effect::Filters,
            Got::NoAnswer(why) => Effect::NotKnown(why),
        };
        Ok((effect, Some(found)))
    }
}
