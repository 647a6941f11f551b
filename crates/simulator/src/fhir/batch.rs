//! `POST {service}`: a batch Bundle of reads and searches, one call for all of them.
//!
//! Every entry is answered for itself: one that fails has its own status and `OperationOutcome`, and the others are not
//! touched by it. Nothing is written in a batch.

use http::{Method, StatusCode};
use serde_json::Value;
use skin_assist_core::time::Timestamp;

use crate::{ehr::Prepared, quota::CallKind, reply::Refusal, state::State};

use super::{Call, Target, answer::Answer, bundle::batch_response, parameters::Parameters};

/// The address of one entry, below the service.
struct Entry {
    path: String,
    query: String,
}

/// The entries of a batch; those that are no reads are errors.
fn entries(base: &str, body: &[u8]) -> Result<Vec<Result<Entry, Refusal>>, Refusal> {
    let bundle: Value =
        serde_json::from_slice(body).map_err(|error| Refusal::bad(format!("the body is not JSON: {error}")))?;
    if bundle["resourceType"] != "Bundle" || bundle["type"] != "batch" {
        return Err(Refusal::bad("the body is to be a Bundle of type batch"));
    }
    let listed = bundle["entry"].as_array().map_or(&[][..], Vec::as_slice);
    Ok(listed.iter().map(|stated| entry(base, &stated["request"])).collect())
}

fn entry(base: &str, request: &Value) -> Result<Entry, Refusal> {
    if request["method"] != "GET" {
        return Err(Refusal::method("a batch takes GET only"));
    }
    let url = request["url"].as_str().ok_or_else(|| Refusal::missing("request.url"))?;
    let below = url.strip_prefix(base).unwrap_or(url);
    let (path, query) = below.split_once('?').unwrap_or((below, ""));
    Ok(Entry {
        path: format!("/{}", path.trim_start_matches('/')),
        query: query.to_owned(),
    })
}

impl State {
    /// What the entries have in common, or everything else.
    pub(crate) fn batch_kind(&self, prefix: &str, body: &[u8]) -> CallKind {
        let base = self.fhir_base(prefix);
        let mut kinds = entries(&base, body)
            .unwrap_or_default()
            .into_iter()
            .map(|entry| match entry {
                Ok(entry) => Target::of(&self.options.dialect, &Method::GET, &entry.path).kind(),
                Err(_) => CallKind::Context,
            });
        match kinds.next() {
            Some(first) if kinds.all(|kind| kind == first) => first,
            _ => CallKind::Context,
        }
    }

    pub(crate) fn process_batch(&mut self, now: Timestamp, prefix: &str, call: &Call) -> Result<Answer, Refusal> {
        let base = self.fhir_base(prefix);
        let mut answered = Vec::new();
        let mut gaps = Vec::new();
        for entry in entries(&base, call.body)? {
            let answer = entry.and_then(|entry| self.process_entry(now, prefix, &entry, call));
            let (status, resource) = match answer {
                Ok(answer) => {
                    let below = format!("/entry/{}/resource", answered.len());
                    gaps.extend(answer.gaps.into_iter().map(|mut gap| {
                        gap.pointer.insert_str(0, &below);
                        gap
                    }));
                    (answer.status, answer.resource)
                }
                Err(refusal) => (refusal.status, refusal.into_outcome()),
            };
            answered.push((status, resource));
        }
        Ok(Answer {
            status: StatusCode::OK,
            gaps,
            ..Answer::ok(batch_response(answered))
        })
    }

    fn process_entry(&mut self, now: Timestamp, prefix: &str, entry: &Entry, call: &Call) -> Result<Answer, Refusal> {
        let target = Target::of(&self.options.dialect, &Method::GET, &entry.path);
        let within = Call {
            parameters: Parameters::of(&entry.query),
            ..*call
        };
        if target == Target::Batch {
            return Err(Refusal::method("a batch cannot hold a batch"));
        }
        match self.process(now, prefix, &target, &within)? {
            Prepared::Answer(answer) => Ok(answer),
            _ => Err(Refusal::bad("this cannot be a part of a batch")),
        }
    }
}
