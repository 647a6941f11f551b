//! The handle on a practice EHR: requests go in with the time, outcomes come out; events happen when they are due.
//!
//! Invariants: nothing here reads a clock or does I/O; a photo is rendered outside of the lock; the same requests and
//! events at the same times give the same outcomes.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::json;
use skin_assist_core::time::Timestamp;
use url::Url;

use crate::{
    chart,
    dialect::Dialect,
    faults::{Faults, PhotoFault},
    fhir::Answer,
    finish::Finish,
    photos::{PhotoCache, RenderedPhoto},
    quirks::Quirks,
    quota::CallKind,
    reply::{self, Host, Outcome, Reply},
    report::{DocumentReport, DraftReport, PhotoReport, Region, Report, UnmatchedDraft},
    script::ClinicScript,
    specification::{
        Credentials, DocumentSpec, EncounterSpec, EncounterStatus, Endpoints, Error, FirmSpec, Options, PhotoContent,
        PhotoSpec, ResultSpec, Review,
    },
    state::{Firm, State},
};

/// A practice EHR. Clones are handles on the same one.
#[derive(Debug, Clone)]
pub struct PracticeEhr {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    photos: PhotoCache,
}

/// How far the scripts that are being played have got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScriptProgress {
    /// Events that have happened.
    pub happened: usize,
    /// Events in all.
    pub total: usize,
    /// When the next event is due.
    pub next_at: Option<Timestamp>,
    /// When the last event is or was due.
    pub ends_at: Option<Timestamp>,
}

impl ScriptProgress {
    /// Whether nothing is left to happen.
    pub const fn is_over(&self) -> bool {
        self.happened == self.total
    }
}

/// What a request comes to, before the photo that it may need is there.
pub(crate) enum Prepared {
    Response(Response<Bytes>),
    Dropped,
    Photo(PendingPhoto),
    Answer(Answer),
}

/// A reply that needs a photo's bytes.
pub(crate) struct PendingPhoto {
    pub(crate) key: String,
    pub(crate) content: PhotoContent,
    pub(crate) reply: Box<dyn FnOnce(RenderedPhoto) -> Response<Bytes> + Send>,
}

impl PracticeEhr {
    /// An EHR without any firm.
    pub fn new(options: Options) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State::new(options)),
                photos: PhotoCache::default(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request that arrives at `now`. Events that are due by then happen first.
    ///
    /// This may take some hundred milliseconds when a photo of camera size has to be rendered; an asynchronous caller
    /// that minds runs it where blocking is allowed.
    pub fn handle(&self, now: Timestamp, host: Host, request: &Request<Bytes>) -> Outcome {
        let (after, prepared, finish) = {
            let mut state = self.state();
            state.advance(now);
            state.respond(now, host, request)
        };
        let response = match prepared {
            Prepared::Response(response) => response,
            Prepared::Dropped => {
                return Outcome {
                    after,
                    reply: Reply::Dropped,
                };
            }
            Prepared::Photo(pending) => {
                let photo = self.shared.photos.get(&pending.key, &pending.content);
                (pending.reply)(photo)
            }
            Prepared::Answer(answer) => answer.into_response(&self.shared.photos),
        };
        let reply = Reply::Response(finish.apply(response));
        Outcome { after, reply }
    }

    /// Lets the scheduled events happen that are due by `now`.
    pub fn advance(&self, now: Timestamp) {
        self.state().advance(now);
    }

    /// Which of the EHR's hosts this URL is on, if any.
    pub fn host_of(&self, url: &Url) -> Option<Host> {
        let endpoints = self.endpoints();
        let on = |base: &str| Url::parse(base).is_ok_and(|base| base.origin() == url.origin());
        // The token endpoint may share the API's host, as it does over HTTP; its path decides then.
        if on(&endpoints.token) && (endpoints.token != endpoints.api || is_token_path(url.path())) {
            Some(Host::Token)
        } else if on(&endpoints.api) {
            Some(Host::Api)
        } else if on(&endpoints.photos) {
            Some(Host::Photos)
        } else {
            None
        }
    }

    /// Where the hosts are.
    pub fn endpoints(&self) -> Endpoints {
        self.state().options.endpoints.clone()
    }

    /// Says where the hosts are; URLs in replies follow from now on.
    pub fn set_endpoints(&self, endpoints: Endpoints) {
        self.state().options.endpoints = endpoints;
    }

    /// Opens a practice.
    pub fn add_firm(&self, spec: FirmSpec) -> Result<Credentials, Error> {
        let prefix = spec.prefix.clone();
        self.state().add_firm(spec)?;
        self.credentials(&prefix)
    }

    /// The URL prefixes of all firms, in the order in which they were added.
    pub fn firms(&self) -> Vec<String> {
        let state = self.state();
        state.firms.iter().map(|firm| firm.spec.prefix.clone()).collect()
    }

    /// What a client needs to connect to this firm.
    pub fn credentials(&self, firm: &str) -> Result<Credentials, Error> {
        let state = self.state();
        let found = state.firm(firm).ok_or_else(|| Error::UnknownFirm(firm.to_owned()))?;
        let endpoints = &state.options.endpoints;
        Ok(Credentials {
            firm: firm.to_owned(),
            name: found.spec.name.clone(),
            api_base: endpoints.api.clone(),
            fhir_base: state.fhir_base(firm),
            token_url: state.token_url(),
            legacy_token_url: format!("{}{}", endpoints.api, state.options.dialect.legacy_token_path(firm)),
            photo_base: endpoints.photos.clone(),
            client_id: found.client_id.clone(),
            client_secret: found.client_secret.clone(),
            api_key: found.api_key.clone(),
            categories: found.spec.categories.clone(),
        })
    }

    /// Opens a visit; gives the Encounter's id.
    pub fn open_encounter(&self, now: Timestamp, firm: &str, spec: EncounterSpec) -> Result<String, Error> {
        self.state().open_encounter(now, firm, spec)
    }

    /// Changes something about a visit that a client sees only as a new `lastUpdated`.
    pub fn touch_encounter(&self, now: Timestamp, firm: &str, encounter: &str) -> Result<(), Error> {
        self.state().change_encounter(now, firm, encounter, None)
    }

    /// Sets a visit's status; a finished one may be opened again this way.
    pub fn set_encounter_status(
        &self,
        now: Timestamp,
        firm: &str,
        encounter: &str,
        status: EncounterStatus,
    ) -> Result<(), Error> {
        self.state().change_encounter(now, firm, encounter, Some(status))
    }

    /// Finishes a visit.
    pub fn finish_encounter(&self, now: Timestamp, firm: &str, encounter: &str) -> Result<(), Error> {
        self.set_encounter_status(now, firm, encounter, EncounterStatus::Finished)
    }

    /// Attaches a photo to a visit; gives the DocumentReference's id.
    pub fn attach_photo(&self, now: Timestamp, firm: &str, encounter: &str, spec: PhotoSpec) -> Result<String, Error> {
        self.state().attach_photo(now, firm, encounter, spec)
    }

    /// Attaches a document that is no photo; gives the DocumentReference's id.
    pub fn attach_document(
        &self,
        now: Timestamp,
        firm: &str,
        encounter: &str,
        spec: DocumentSpec,
    ) -> Result<String, Error> {
        self.state().attach_document(now, firm, encounter, spec)
    }

    /// Attaches a photo in the place of a document, which is superseded from now on; gives the new one's id.
    pub fn replace_photo(&self, now: Timestamp, firm: &str, document: &str, spec: PhotoSpec) -> Result<String, Error> {
        self.state().replace_photo(now, firm, document, spec)
    }

    /// Marks a document as entered in error. It stays listed, with that status.
    pub fn retract_document(&self, now: Timestamp, firm: &str, document: &str) -> Result<(), Error> {
        self.state().retract_document(now, firm, document)
    }

    /// Files an earlier result of tissue.
    pub fn file_result(&self, now: Timestamp, firm: &str, spec: ResultSpec) -> Result<(), Error> {
        self.state().file_result(now, firm, spec)
    }

    /// A clinician signs a draft (`status` = `final`) or writes something into its title, or takes it off the chart. Its reference is
    /// that of the report. False where there is no such draft.
    pub fn review_draft(&self, now: Timestamp, firm: &str, reference: &str, review: Review) -> bool {
        self.state().review_draft(now, firm, reference, review)
    }

    /// A draft as the chart has it now.
    pub fn draft(&self, firm: &str, reference: &str) -> Option<serde_json::Value> {
        self.state().draft(firm, reference)
    }

    /// Takes a visit and its documents off the chart: they are neither listed nor read any more.
    pub fn remove_encounter(&self, now: Timestamp, firm: &str, encounter: &str) -> Result<(), Error> {
        self.state().remove_encounter(now, firm, encounter)
    }

    /// Breaks a photo's file, or mends it.
    pub fn set_photo_fault(&self, firm: &str, document: &str, fault: Option<PhotoFault>) -> Result<(), Error> {
        let mut state = self.state();
        let record = state
            .firm_mut(firm)?
            .documents
            .get_mut(document)
            .ok_or_else(|| Error::UnknownDocument {
                firm: firm.to_owned(),
                document: document.to_owned(),
            })?;
        record.fault = fault;
        Ok(())
    }

    /// Where the lesions of a generated photo really are; nothing for bytes that a test brought. Renders the photo.
    pub fn true_lesions(&self, firm: &str, document: &str) -> Result<Vec<Region>, Error> {
        let (key, content) = {
            let state = self.state();
            let found = state.firm(firm).ok_or_else(|| Error::UnknownFirm(firm.to_owned()))?;
            let record = found.documents.get(document).ok_or_else(|| Error::UnknownDocument {
                firm: firm.to_owned(),
                document: document.to_owned(),
            })?;
            (record.object.clone(), record.content.clone())
        };
        Ok(self.shared.photos.get(&key, &content).lesions.to_vec())
    }

    /// Plays a script from `start` on: adds its firms, where they are not there yet, and schedules its events at
    /// `start + at / speed`.
    pub fn play(&self, script: &ClinicScript, start: Timestamp, speed: f64) -> Result<(), Error> {
        if !(speed.is_finite() && speed > 0.0) {
            return Err(Error::Speed(speed.to_string()));
        }
        let mut state = self.state();
        for firm in &script.firms {
            if state.firm(&firm.prefix).is_none() {
                state.add_firm(firm.clone())?;
            }
        }
        let scale = |at: Duration| start + Duration::from_secs_f64(at.as_secs_f64() / speed);
        state.schedule(script.events.iter().map(|event| (scale(event.at), event.clone())));
        Ok(())
    }

    /// How far the scripts have got.
    pub fn script_progress(&self) -> ScriptProgress {
        let state = self.state();
        ScriptProgress {
            happened: state.scheduled - state.schedule.len(),
            total: state.scheduled,
            next_at: state.schedule.front().map(|(at, _)| *at),
            ends_at: state.schedule_ends_at,
        }
    }

    /// The faults in force.
    pub fn faults(&self) -> Faults {
        self.state().faults.clone()
    }

    /// Changes the faults in force.
    pub fn set_faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.state().faults);
    }

    /// How the EHR speaks.
    pub fn dialect(&self) -> Dialect {
        self.state().options.dialect.clone()
    }

    /// The quirks in force.
    pub fn quirks(&self) -> Quirks {
        self.state().quirks.clone()
    }

    /// Changes the quirks in force.
    pub fn set_quirks(&self, change: impl FnOnce(&mut Quirks)) {
        change(&mut self.state().quirks);
    }

    /// The firm's client secret is worth nothing from now on; tokens issued already stay good.
    pub fn revoke_secret(&self, firm: &str) -> Result<(), Error> {
        self.state().firm_mut(firm)?.secret_revoked = true;
        Ok(())
    }

    /// Gives the firm's client a new secret in place of the old one.
    pub fn rotate_secret(&self, firm: &str) -> Result<Credentials, Error> {
        self.state().rotate_secret(firm)?;
        self.credentials(firm)
    }

    /// The firm's access tokens are worth nothing from now on.
    pub fn revoke_tokens(&self, firm: &str) {
        self.state().tokens.retain(|_, token| token.firm != firm);
    }

    /// What really happened so far.
    pub fn report(&self) -> Report {
        let state = self.state();
        let counters = state.counters;
        let busiest = state.windows.values().map(crate::quota::Window::busiest);
        Report {
            photos: state.firms.iter().flat_map(photo_reports).collect(),
            other_documents: state.firms.iter().flat_map(document_reports).collect(),
            unmatched_drafts: state.firms.iter().flat_map(unmatched_drafts).collect(),
            compositions: state.firms.iter().map(|firm| firm.drafts.len() as u64).sum(),
            calls: counters.calls,
            token_calls: counters.token,
            photo_requests: counters.photo,
            refused_429: counters.refused_429,
            max_calls_in_window: busiest.max().unwrap_or_default() as u64,
        }
    }
}

fn photo_reports(firm: &Firm) -> impl Iterator<Item = PhotoReport> {
    let photos = firm.documents.all().iter().filter(|document| document.is_photo);
    photos.map(|document| PhotoReport {
        firm: firm.spec.prefix.clone(),
        document: document.id.clone(),
        encounter: document.encounter.clone(),
        category: document.category.clone(),
        route: document.route,
        condition: document.condition().map(|condition| condition.id().to_owned()),
        attached_at: document.attached_at,
        retracted_at: document.retracted_at,
        replaced_by: document.superseded.as_ref().map(|(_, by)| by.clone()),
        removed_at: document.removed_at,
        first_listed_at: document.first_listed_at,
        read_at: document.read_at,
        photo_downloaded_at: document.downloaded_at,
        drafts: firm
            .drafts_for(&document.id)
            .map(|(draft, image)| DraftReport {
                reference: draft.reference(),
                posted_at: draft.posted_at,
                identifier: draft.identifier.clone(),
                placement: draft.placement,
                regions: image.regions.clone(),
                provenance: draft.provenance.clone(),
            })
            .collect(),
    })
}

fn document_reports(firm: &Firm) -> impl Iterator<Item = DocumentReport> {
    let others = firm.documents.all().iter().filter(|document| !document.is_photo);
    others.map(|document| DocumentReport {
        firm: firm.spec.prefix.clone(),
        document: document.id.clone(),
        category: document.category.clone(),
        media_type: document.media_type.clone(),
        read_at: document.read_at,
    })
}

fn unmatched_drafts(firm: &Firm) -> impl Iterator<Item = UnmatchedDraft> {
    let names_a_photo = |document: &str| firm.documents.get(document).is_some_and(|document| document.is_photo);
    firm.drafts
        .iter()
        .filter(move |draft| !draft.images.iter().any(|image| names_a_photo(&image.document)))
        .map(|draft| UnmatchedDraft {
            firm: firm.spec.prefix.clone(),
            reference: draft.reference(),
            posted_at: draft.posted_at,
            identifier: draft.identifier.clone(),
        })
}

pub(crate) fn is_token_path(path: &str) -> bool {
    path.starts_with("/realms/")
}

impl State {
    fn respond(&mut self, now: Timestamp, host: Host, request: &Request<Bytes>) -> (Duration, Prepared, Finish) {
        let path = request.uri().path();
        let legacy_firm = match host {
            Host::Api => self.legacy_token_firm(path),
            _ => None,
        };
        match host {
            Host::Api if path == "/" || path == "/chart" || path.starts_with("/chart/") => {
                (Duration::ZERO, chart::respond(self, request), self.finish(now))
            }
            Host::Token => self.outside_quota(now, CallKind::Token, |state| {
                Prepared::Response(state.token_endpoint(now, request))
            }),
            Host::Photos => self.outside_quota(now, CallKind::Photo, |state| state.photo_host(now, request)),
            Host::Api => match legacy_firm {
                Some(firm) => self.outside_quota(now, CallKind::Token, |state| {
                    Prepared::Response(state.legacy_token_endpoint(now, &firm, request))
                }),
                None => self.api(now, request),
            },
        }
    }

    fn outside_quota(
        &mut self,
        now: Timestamp,
        kind: CallKind,
        process: impl FnOnce(&mut Self) -> Prepared,
    ) -> (Duration, Prepared, Finish) {
        self.counters.count(kind);
        let after = self.faults.delays.get(&kind).copied().unwrap_or_default();
        let mut finish = self.finish(now);
        let prepared = match (self.faults.take_failure(kind), kind) {
            (Some(status), CallKind::Photo) => Prepared::Response(reply::object_store_error(
                status,
                "ServiceUnavailable",
                "Please try again",
            )),
            (Some(status), _) => {
                Prepared::Response(reply::json(status, &json!({ "error": "temporarily_unavailable" })))
            }
            (None, _) => {
                finish.spoilt = self.quirks.take_spoilt(kind);
                process(self)
            }
        };
        (after, prepared, finish)
    }

    /// The status that a failure to come has for this call, and the reply to it.
    pub(crate) fn injected_failure(&mut self, kind: CallKind) -> Option<Response<Bytes>> {
        let status = self.faults.take_failure(kind)?;
        if status == StatusCode::TOO_MANY_REQUESTS {
            self.counters.refused_429 += 1;
        } else {
            self.counters.count(kind);
        }
        Some(reply::gateway(status, status.canonical_reason().unwrap_or("Error")))
    }
}
