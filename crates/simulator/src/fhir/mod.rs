//! The FHIR API: who may call it, what can be called, and nothing else.
//!
//! The order of refusals is a gateway's: the API key (403), the quota (429), the token (401), the token's firm (403); then
//! what the resource itself has to say. Unknown paths are 404, unknown search parameters and values 400: a practice EHR
//! is strict, so that a client's mistake is seen here and not at the vendor's.

mod bundle;
mod composition;
mod context;
mod document_reference;
mod encounter;
mod parameters;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::AUTHORIZATION};
use serde_json::Value;
use skin_assist_core::time::Timestamp;

use crate::{
    ehr::Prepared,
    quota::CallKind,
    reply::{self, Refusal},
    specification::CategorySpec,
    state::State,
};

pub(crate) use composition::{BODY_SECTION, NOTES_SECTION, section_markup, section_text};
use parameters::Parameters;

/// What a request on the API is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    EncounterSearch,
    DocumentSearch,
    DocumentRead(String),
    CompositionCreate,
    PatientRead(String),
    PractitionerRead(String),
    DocumentCategories,
    Metadata,
    WrongMethod(&'static str),
    Unknown,
}

impl Target {
    fn kind(&self) -> CallKind {
        match self {
            Self::EncounterSearch => CallKind::Encounter,
            Self::DocumentSearch => CallKind::Document,
            Self::DocumentRead(_) => CallKind::Read,
            Self::CompositionCreate => CallKind::Draft,
            _ => CallKind::Context,
        }
    }
}

/// The firm named in the path, if any, and the target.
fn target(request: &Request<Bytes>) -> (Option<String>, Target) {
    let path = request.uri().path();
    let segments: Option<Vec<String>> = path
        .trim_start_matches('/')
        .split('/')
        .map(|segment| {
            percent_encoding::percent_decode_str(segment)
                .decode_utf8()
                .ok()
                .map(std::borrow::Cow::into_owned)
        })
        .collect();
    let segments = segments.unwrap_or_default();
    let words: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (firm, resource) = match words.as_slice() {
        ["firm", firm, "ema", "fhir", "v2", resource @ ..] => (Some((*firm).to_owned()), resource),
        ["fhir", "v2", "metadata"] => (None, ["metadata"].as_slice()),
        _ => return (None, Target::Unknown),
    };
    let found = match resource {
        ["Encounter"] => Target::EncounterSearch,
        ["DocumentReference"] => Target::DocumentSearch,
        ["DocumentReference", id] => Target::DocumentRead((*id).to_owned()),
        ["Composition"] => Target::CompositionCreate,
        ["Patient", id] => Target::PatientRead((*id).to_owned()),
        ["Practitioner", id] => Target::PractitionerRead((*id).to_owned()),
        ["ValueSet", "document-category"] => Target::DocumentCategories,
        ["metadata"] => Target::Metadata,
        _ => Target::Unknown,
    };
    let allowed = match found {
        Target::Unknown | Target::WrongMethod(_) => return (firm, found),
        Target::CompositionCreate => Method::POST,
        _ => Method::GET,
    };
    if *request.method() == allowed {
        (firm, found)
    } else if allowed == Method::POST {
        (firm, Target::WrongMethod("POST"))
    } else {
        (firm, Target::WrongMethod("GET"))
    }
}

impl State {
    /// The base of a firm's FHIR API.
    pub(crate) fn fhir_base(&self, firm: &str) -> String {
        format!("{}/firm/{firm}/ema/fhir/v2", self.options.endpoints.api)
    }

    /// An absolute reference.
    fn reference(&self, firm: &str, resource: &str, id: &str) -> String {
        format!("{}/{resource}/{}", self.fhir_base(firm), encode_id(id))
    }

    /// A call on the API: refused, failed on purpose, or processed; and counted.
    pub(crate) fn api(&mut self, now: Timestamp, request: &Request<Bytes>) -> (Duration, Prepared) {
        let (firm, target) = target(request);
        let kind = target.kind();
        let after = self.faults.delays.get(&kind).copied().unwrap_or_default();
        let prepared = self.guarded(now, kind, firm.as_deref(), &target, request);
        (after, prepared)
    }

    fn guarded(
        &mut self,
        now: Timestamp,
        kind: CallKind,
        firm: Option<&str>,
        target: &Target,
        request: &Request<Bytes>,
    ) -> Prepared {
        let key = header(request, "x-api-key");
        let window = key.and_then(|key| self.windows.get_mut(key));
        let admitted = window.map(|window| window.admit(now, self.options.quota_per_minute));
        if admitted == Some(false) {
            self.counters.refused_429 += 1;
            return Prepared::Response(reply::gateway(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests"));
        }
        if let Some(failure) = self.injected_failure(kind) {
            return Prepared::Response(failure);
        }
        self.counters.count(kind);
        if admitted.is_none() {
            return Prepared::Response(reply::gateway(StatusCode::FORBIDDEN, "Forbidden"));
        }
        match self.authorise(now, firm, request) {
            Err(refused) => Prepared::Response(*refused),
            Ok(firm) => self
                .process(now, &firm, target, request)
                .unwrap_or_else(|refusal| Prepared::Response(refusal.into_response())),
        }
    }

    /// The firm that the call is for, when its token and key are good for it.
    fn authorise(
        &self,
        now: Timestamp,
        firm: Option<&str>,
        request: &Request<Bytes>,
    ) -> Result<String, Box<Response<Bytes>>> {
        let unauthorised = || {
            let refusal = reply::gateway(StatusCode::UNAUTHORIZED, "Unauthorized");
            Box::new(reply::with_header(refusal, http::header::WWW_AUTHENTICATE, "Bearer"))
        };
        let bearer = header(request, AUTHORIZATION.as_str())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        let token = bearer
            .and_then(|token| self.tokens.get(token))
            .filter(|token| token.expires_at > now)
            .ok_or_else(unauthorised)?;
        let issued_to = self.firm(&token.firm).ok_or_else(unauthorised)?;
        let forbidden = || Box::new(reply::gateway(StatusCode::FORBIDDEN, "Forbidden"));
        if firm.is_some_and(|firm| firm != token.firm)
            || header(request, "x-api-key") != Some(issued_to.api_key.as_str())
        {
            return Err(forbidden());
        }
        Ok(token.firm.clone())
    }

    fn process(
        &mut self,
        now: Timestamp,
        firm: &str,
        target: &Target,
        request: &Request<Bytes>,
    ) -> Result<Prepared, Refusal> {
        let parameters = Parameters::of(request);
        let ok = |value: Value| Ok(Prepared::Response(reply::fhir(StatusCode::OK, &value)));
        match target {
            Target::EncounterSearch => ok(self.search_encounters(firm, &parameters, exact_totals(request))?),
            Target::DocumentSearch => ok(self.search_documents(now, firm, &parameters, exact_totals(request))?),
            Target::DocumentRead(id) => self.read_document(now, firm, id),
            Target::CompositionCreate => self.create_composition(now, firm, request),
            Target::PatientRead(id) => ok(self.read_patient(firm, id)?),
            Target::PractitionerRead(id) => ok(self.read_practitioner(firm, id)?),
            Target::DocumentCategories => ok(self.read_document_categories(firm)?),
            Target::Metadata => ok(self.read_metadata(firm)),
            Target::WrongMethod(allowed) => {
                let refusal = Refusal::method(format!("only {allowed} is supported here"));
                Ok(Prepared::Response(reply::with_header(
                    refusal.into_response(),
                    http::header::ALLOW,
                    allowed,
                )))
            }
            Target::Unknown => Err(Refusal::not_found("there is nothing at this path")),
        }
    }
}

fn header<'request>(request: &'request Request<Bytes>, name: &str) -> Option<&'request str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

/// Whether the client asked for true totals.
fn exact_totals(request: &Request<Bytes>) -> bool {
    header(request, "content-flag").is_some_and(|value| value.eq_ignore_ascii_case("Pagination_optimization_disabled"))
}

/// An id as it stands in a URL's path: the bar is encoded.
fn encode_id(id: &str) -> String {
    percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// The id in a reference to this type of resource, absolute on this EHR's base, relative, or bare.
fn referenced_id(base: &str, resource: &str, reference: &str) -> Option<String> {
    let relative = reference
        .strip_prefix(base)
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(reference);
    let id = match relative.split_once('/') {
        Some((found, id)) if found == resource => id,
        Some(_) => return None,
        None => relative,
    };
    let decoded = percent_encoding::percent_decode_str(id).decode_utf8().ok()?;
    (!decoded.is_empty() && !decoded.contains('/')).then(|| decoded.into_owned())
}

/// The system of a firm's document categories.
fn category_system(base: &str) -> String {
    format!("{base}/ValueSet/document-category")
}

fn category_coding(base: &str, category: &CategorySpec) -> Value {
    serde_json::json!({
        "system": category_system(base),
        "code": category.code,
        "display": category.display,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_resolve_on_this_base_only() {
        let base = "https://ehr.example/firm/a/ema/fhir/v2";
        let id = |reference: &str| referenced_id(base, "Patient", reference);
        assert_eq!(id("Patient/7").as_deref(), Some("7"));
        assert_eq!(id("7").as_deref(), Some("7"));
        assert_eq!(id(&format!("{base}/Patient/7")).as_deref(), Some("7"));
        assert_eq!(id("https://ehr.example/firm/b/ema/fhir/v2/Patient/7"), None);
        assert_eq!(id("Practitioner/7"), None);
        assert_eq!(
            referenced_id(base, "DocumentReference", "DocumentReference/file%7C1").as_deref(),
            Some("file|1")
        );
    }

    #[test]
    fn ids_with_a_bar_are_read_either_way() {
        for path in ["file%7C139977", "file|139977"] {
            let request = Request::get(format!("/firm/a/ema/fhir/v2/DocumentReference/{path}"))
                .body(Bytes::new())
                .unwrap();
            assert_eq!(
                target(&request),
                (Some("a".to_owned()), Target::DocumentRead("file|139977".to_owned()))
            );
        }
    }
}
