//! The FHIR API: who may call it, what can be called, and nothing else.
//!
//! The order of refusals is a gateway's: the API key (403), the quota (429), the token (401), the token's firm (403); then
//! what the resource itself has to say. Where no API key is needed the token comes first, and its firm's quota after it.
//! Unknown paths are 404, unknown search parameters and values 400: a practice EHR is strict, so that a client's mistake
//! is seen here and not at the vendor's.

mod answer;
mod batch;
mod binary;
mod bundle;
mod capability;
mod composition;
mod context;
mod document_reference;
mod draft;
mod encounter;
mod note;
mod observation;
mod parameters;
mod validation;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header::AUTHORIZATION};
use serde_json::{Value, json};
use skin_assist_core::time::Timestamp;

use crate::{
    calendar,
    dialect::{Dialect, DraftTarget, ReferenceForm},
    ehr::Prepared,
    finish::Finish,
    quirks::LastUpdatedForm,
    quota::CallKind,
    reply::{self, Refusal},
    specification::CategorySpec,
    state::State,
};

pub(crate) use answer::Answer;
pub(crate) use composition::{BODY_SECTION, NOTES_SECTION, section_markups, section_texts};
pub(crate) use note::text as note_text;
use parameters::{Calendar, Parameters};

/// What a request on the API is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    EncounterSearch,
    EncounterRead(String),
    DocumentSearch,
    DocumentRead(String),
    BinaryRead(String),
    DraftCreate(DraftTarget),
    CompositionSearch,
    CompositionRead(String),
    CompositionUpdate(String),
    ObservationSearch,
    Batch,
    PatientRead(String),
    PractitionerRead(String),
    DocumentCategories,
    Metadata,
    Discovery,
    WrongMethod(&'static str),
    Unknown,
}

impl Target {
    /// What is at a path below the service.
    fn of(dialect: &Dialect, method: &Method, path: &str) -> Self {
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
        let drafts = &dialect.drafts;
        let taken = |target: DraftTarget| drafts.targets.contains(&target);
        if let ["Composition", id] = words.as_slice()
            && *method == Method::PUT
            && drafts.updatable
            && taken(DraftTarget::Composition)
        {
            return Self::CompositionUpdate((*id).to_owned());
        }
        let (get, post) = match words.as_slice() {
            [""] if dialect.batch => (None, Some(Self::Batch)),
            ["Encounter"] => (Some(Self::EncounterSearch), None),
            ["Encounter", id] if dialect.encounter_read => (Some(Self::EncounterRead((*id).to_owned())), None),
            ["DocumentReference"] => {
                let target = DraftTarget::DocumentReference;
                let create = taken(target).then_some(Self::DraftCreate(target));
                (Some(Self::DocumentSearch), create)
            }
            ["DocumentReference", id] => (Some(Self::DocumentRead((*id).to_owned())), None),
            ["Binary", id] if dialect.has_binaries() => (Some(Self::BinaryRead((*id).to_owned())), None),
            ["Composition"] if taken(DraftTarget::Composition) => (
                drafts.readable.then_some(Self::CompositionSearch),
                Some(Self::DraftCreate(DraftTarget::Composition)),
            ),
            ["Composition", id] if taken(DraftTarget::Composition) && drafts.readable => {
                (Some(Self::CompositionRead((*id).to_owned())), None)
            }
            ["Observation"] if dialect.laboratory => (Some(Self::ObservationSearch), None),
            ["Patient", id] => (Some(Self::PatientRead((*id).to_owned())), None),
            ["Practitioner", id] => (Some(Self::PractitionerRead((*id).to_owned())), None),
            ["ValueSet", "document-category"] => (Some(Self::DocumentCategories), None),
            ["metadata"] => (Some(Self::Metadata), None),
            [".well-known", "smart-configuration"] if dialect.token.discovery => (Some(Self::Discovery), None),
            _ => return Self::Unknown,
        };
        let offered = match (&get, &post) {
            (Some(_), Some(_)) => "GET, POST",
            (None, Some(_)) => "POST",
            _ => "GET",
        };
        let found = match *method {
            Method::GET => get,
            Method::POST => post,
            _ => None,
        };
        found.unwrap_or(Self::WrongMethod(offered))
    }

    fn kind(&self) -> CallKind {
        match self {
            Self::EncounterSearch => CallKind::Encounter,
            Self::DocumentSearch => CallKind::Document,
            Self::DocumentRead(_) | Self::BinaryRead(_) => CallKind::Read,
            Self::DraftCreate(_) | Self::CompositionUpdate(_) => CallKind::Draft,
            _ => CallKind::Context,
        }
    }
}

/// A request, or one entry of a batch.
#[derive(Debug)]
pub(crate) struct Call<'request> {
    parameters: Parameters,
    headers: &'request HeaderMap,
    body: &'request [u8],
}

impl<'request> Call<'request> {
    fn of(request: &'request Request<Bytes>) -> Self {
        Self {
            parameters: Parameters::of(request.uri().query().unwrap_or_default()),
            headers: request.headers(),
            body: request.body(),
        }
    }

    fn header(&self, name: &str) -> Option<&'request str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether the client asked for true totals.
    fn exact_totals(&self) -> bool {
        let flag = self.header("content-flag");
        flag.is_some_and(|value| value.eq_ignore_ascii_case("Pagination_optimization_disabled"))
    }
}

impl State {
    /// The base of a firm's FHIR API.
    pub(crate) fn fhir_base(&self, firm: &str) -> String {
        let service = self.options.dialect.service_of(firm);
        format!("{}{service}", self.options.endpoints.api)
    }

    /// Where a resource is.
    fn address(&self, firm: &str, resource: &str, id: &str) -> String {
        format!("{}/{resource}/{}", self.fhir_base(firm), encode_id(id))
    }

    /// A reference, in the form that is in force.
    fn reference(&self, firm: &str, resource: &str, id: &str) -> String {
        let form = self.quirks.references.unwrap_or(self.options.dialect.references);
        match form {
            ReferenceForm::Absolute => self.address(firm, resource, id),
            ReferenceForm::Relative => format!("{resource}/{}", encode_id(id)),
            ReferenceForm::Versioned => format!("{resource}/{}/_history/3", encode_id(id)),
        }
    }

    fn calendar(&self) -> Calendar {
        Calendar {
            day_offset_minutes: self.day_offset_minutes(),
            days_only: self.quirks.compares_days_only,
        }
    }

    /// Writes `meta.lastUpdated` and `meta.versionId`, as far as the EHR tells them.
    fn stamp(&self, resource: &mut Value, last_updated: Timestamp, version: usize) {
        let shown = self.shown(last_updated);
        let stated = match self.quirks.last_updated {
            LastUpdatedForm::Exact => Some(json!(shown)),
            LastUpdatedForm::Day => {
                let day = calendar::day(shown, self.day_offset_minutes());
                Some(json!(day.to_string()))
            }
            LastUpdatedForm::Missing => None,
        };
        if let Some(stated) = stated {
            resource["meta"]["lastUpdated"] = stated;
        }
        if self.options.dialect.version_ids {
            resource["meta"]["versionId"] = json!(version.to_string());
        }
    }

    /// The firm named in the path, if any, and the target.
    fn target(&self, request: &Request<Bytes>) -> (Option<String>, Target) {
        let dialect = &self.options.dialect;
        let path = request.uri().path();
        // The first vendor tells its capabilities below the service's last two segments alone, too.
        if path == "/fhir/v2/metadata" && dialect.service_path.ends_with("/fhir/v2") {
            return (None, Target::of(dialect, request.method(), "/metadata"));
        }
        let Some((firm, below)) = dialect.firm_in(path) else {
            return (None, Target::Unknown);
        };
        let Ok(firm) = percent_encoding::percent_decode_str(firm).decode_utf8() else {
            return (None, Target::Unknown);
        };
        let target = Target::of(dialect, request.method(), below);
        (Some(firm.into_owned()), target)
    }

    /// A call on the API: refused, failed on purpose, or processed; and counted.
    pub(crate) fn api(&mut self, now: Timestamp, request: &Request<Bytes>) -> (Duration, Prepared, Finish) {
        let unpacked = unpack_cursor(request);
        let request = unpacked.as_ref().unwrap_or(request);
        let (firm, target) = self.target(request);
        let kind = match (&target, &firm) {
            (Target::Batch, Some(firm)) => self.batch_kind(firm, request.body()),
            _ => target.kind(),
        };
        let after = self.faults.delays.get(&kind).copied().unwrap_or_default();
        let mut finish = self.finish(now);
        let is_open = target == Target::Discovery || (target == Target::Metadata && self.options.dialect.open_metadata);
        let prepared = match firm.as_deref().filter(|firm| is_open && self.firm(firm).is_some()) {
            Some(firm) => self.open_call(firm, &target),
            None => self.guarded(now, kind, firm.as_deref(), &target, request, &mut finish),
        };
        (after, prepared, finish)
    }

    /// A call that needs no token, and is outside the quota.
    fn open_call(&mut self, firm: &str, target: &Target) -> Prepared {
        if let Some(failure) = self.injected_failure(CallKind::Context) {
            return Prepared::Response(failure);
        }
        self.counters.count(CallKind::Context);
        Prepared::Answer(Answer::ok(match target {
            Target::Discovery => return Prepared::Response(self.smart_configuration()),
            _ => self.read_metadata(firm),
        }))
    }

    fn too_many(&mut self) -> Prepared {
        self.counters.refused_429 += 1;
        Prepared::Response(reply::gateway(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests"))
    }

    /// Counts an attempt under this key and says whether it is within the quota; nothing for a key that nobody has.
    fn admit(&mut self, now: Timestamp, key: &str, finish: &mut Finish) -> Option<bool> {
        let limit = self.options.quota_per_minute;
        let rule = self.options.dialect.quota_window;
        let window = self.windows.get_mut(key)?;
        let admitted = window.admit(now, limit, rule);
        if self.quirks.rate_limit_headers {
            finish.rate_limit = Some((limit, window.remaining(limit)));
        }
        Some(admitted)
    }

    fn guarded(
        &mut self,
        now: Timestamp,
        kind: CallKind,
        firm: Option<&str>,
        target: &Target,
        request: &Request<Bytes>,
        finish: &mut Finish,
    ) -> Prepared {
        let needs_key = self.options.dialect.needs_api_key;
        let admitted = if needs_key {
            let key = header(request, "x-api-key");
            key.and_then(|key| self.admit(now, key, finish))
        } else {
            let issued_to = bearer(request).and_then(|token| self.tokens.get(token));
            let firm = issued_to.and_then(|token| self.firm(&token.firm));
            let key = firm.map(|firm| firm.api_key.clone());
            key.and_then(|key| self.admit(now, &key, finish))
        };
        if admitted == Some(false) {
            return self.too_many();
        }
        if let Some(failure) = self.injected_failure(kind) {
            return Prepared::Response(failure);
        }
        self.counters.count(kind);
        if needs_key && admitted.is_none() {
            return Prepared::Response(reply::gateway(StatusCode::FORBIDDEN, "Forbidden"));
        }
        let firm = match self.authorise(now, firm, request) {
            Ok(firm) => firm,
            Err(refused) => return Prepared::Response(*refused),
        };
        finish.spoilt = self.quirks.take_spoilt(kind);
        let is_lost = finish.spoilt.is_some_and(crate::quirks::Spoilt::replaces_the_body);
        if is_lost && kind != CallKind::Draft {
            return Prepared::Response(reply::fhir(StatusCode::OK, &json!({})));
        }
        self.process(now, &firm, target, &Call::of(request))
            .unwrap_or_else(|refusal| Prepared::Response(refusal.into_response()))
    }

    /// The firm that the call is for, when its token and key are good for it.
    fn authorise(
        &mut self,
        now: Timestamp,
        firm: Option<&str>,
        request: &Request<Bytes>,
    ) -> Result<String, Box<Response<Bytes>>> {
        let unauthorised = || {
            let refusal = reply::gateway(StatusCode::UNAUTHORIZED, "Unauthorized");
            Box::new(reply::with_header(refusal, http::header::WWW_AUTHENTICATE, "Bearer"))
        };
        let bearer = bearer(request).ok_or_else(unauthorised)?;
        let token = self
            .tokens
            .get(bearer)
            .filter(|token| token.expires_at > now)
            .ok_or_else(unauthorised)?
            .clone();
        let issued_to = self.firm(&token.firm).ok_or_else(unauthorised)?;
        let has_key =
            !self.options.dialect.needs_api_key || header(request, "x-api-key") == Some(issued_to.api_key.as_str());
        if !has_key || firm.is_some_and(|firm| firm != token.firm) {
            return Err(Box::new(reply::gateway(StatusCode::FORBIDDEN, "Forbidden")));
        }
        if self.quirks.take_revocation() {
            self.tokens.remove(bearer);
            return Err(unauthorised());
        }
        Ok(token.firm)
    }

    fn process(&mut self, now: Timestamp, firm: &str, target: &Target, call: &Call) -> Result<Prepared, Refusal> {
        Ok(Prepared::Answer(match target {
            Target::EncounterSearch => self.search_encounters(now, firm, call)?,
            Target::EncounterRead(id) => self.read_encounter(firm, id)?,
            Target::DocumentSearch => self.search_documents(now, firm, call)?,
            Target::DocumentRead(id) => self.read_document(now, firm, id)?,
            Target::BinaryRead(id) => return self.read_binary(now, firm, id, call),
            Target::DraftCreate(draft) => return self.create_draft(now, firm, *draft, call),
            Target::CompositionSearch => self.search_compositions(now, firm, call)?,
            Target::CompositionRead(id) => self.read_draft(firm, DraftTarget::Composition, id)?,
            Target::CompositionUpdate(id) => return self.update_draft(now, firm, id, call),
            Target::ObservationSearch => self.search_observations(now, firm, call)?,
            Target::Batch => self.process_batch(now, firm, call)?,
            Target::PatientRead(id) => Answer::ok(self.read_patient(firm, id)?),
            Target::PractitionerRead(id) => Answer::ok(self.read_practitioner(firm, id)?),
            Target::DocumentCategories => Answer::ok(self.read_document_categories(firm)?),
            Target::Metadata => Answer::ok(self.read_metadata(firm)),
            Target::WrongMethod(offered) => {
                let refusal = Refusal::method(format!("only {offered} is supported here"));
                return Ok(Prepared::Response(reply::with_header(
                    refusal.into_response(),
                    http::header::ALLOW,
                    offered,
                )));
            }
            Target::Discovery | Target::Unknown => return Err(Refusal::not_found("there is nothing at this path")),
        }))
    }
}

/// The request that a cursor stands for, when it brings one.
fn unpack_cursor(request: &Request<Bytes>) -> Option<Request<Bytes>> {
    let path = request.uri().path();
    let query = request.uri().query()?;
    let cursor = url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == parameters::CURSOR)
        .map(|(_, cursor)| cursor)?;
    let search = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor.as_bytes()).ok()?).ok()?;
    let resource = search.split('?').next().unwrap_or_default();
    // A cursor is followed at the service's root or at the resource itself.
    let service = path.strip_suffix(resource).unwrap_or(path).trim_end_matches('/');
    let mut unpacked = Request::new(request.body().clone());
    *unpacked.method_mut() = request.method().clone();
    *unpacked.headers_mut() = request.headers().clone();
    *unpacked.uri_mut() = format!("{service}/{search}").parse().ok()?;
    Some(unpacked)
}

fn header<'request>(request: &'request Request<Bytes>, name: &str) -> Option<&'request str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

fn bearer(request: &Request<Bytes>) -> Option<&str> {
    header(request, AUTHORIZATION.as_str())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
}

/// An id as it stands in a URL's path: the bar is encoded.
fn encode_id(id: &str) -> String {
    percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// The id in a reference to this type of resource: absolute on this EHR's base, relative, with a version, or bare.
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
    let id = id.split_once("/_history/").map_or(id, |(id, _)| id);
    let decoded = percent_encoding::percent_decode_str(id).decode_utf8().ok()?;
    (!decoded.is_empty() && !decoded.contains('/')).then(|| decoded.into_owned())
}

/// The ids in these references; one that is none of this EHR's is empty, and matches nothing.
fn referenced_ids(base: &str, resource: &str, references: &[String]) -> Vec<String> {
    let id = |reference: &String| referenced_id(base, resource, reference).unwrap_or_default();
    references.iter().map(id).collect()
}

/// The system of a firm's document categories.
fn category_system(base: &str) -> String {
    format!("{base}/ValueSet/document-category")
}

fn category_coding(base: &str, category: &CategorySpec) -> Value {
    json!({
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
        assert_eq!(id("Patient/7/_history/3").as_deref(), Some("7"));
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
            let path = format!("/DocumentReference/{path}");
            assert_eq!(
                Target::of(&Dialect::modmed_ema(), &Method::GET, &path),
                Target::DocumentRead("file|139977".to_owned())
            );
        }
    }
}
