//! Asking an EHR what it really does, and comparing that with the profile in use.
//!
//! Invariants: nothing is changed in the EHR; each call is paid for by one grant of the quota, and their number is bounded;
//! a report has counts, forms, codes and host names, and neither ids nor anything else of a patient. What a server says it
//! does is written down and not believed: a search counts as working when one that has to find something does, and one
//! that must find nothing does not.
//!
//! Where the EHR has nothing yet that could tell, the finding says "not known". A call that fails ends its own check only.

mod asking;
mod capability;
mod changes;
mod codes;
mod documents;
mod encounters;
mod pages;
mod proposal;
mod report;
mod shapes;

use http::{HeaderValue, header};
use skin_assist_core::{
    domain::{AccessToken, Firm},
    ports::{EhrError, StateError},
    stages::Quota,
};

use self::{
    asking::{Asker, Effect, Got, NOBODY},
    documents::Documents,
    encounters::Encounters,
    pages::Sample,
    report::{Notes, nothing},
};
use crate::{
    client::EhrClient,
    compose::IDENTIFIER_SYSTEM,
    profile::{DraftSearchRule, DraftTarget},
    token::Grant,
    view::View,
};

pub use report::{Code, Difference, Finding, Latency, ProbeReport, Verdict};

/// A clock that differs by more is worth a word.
const TOLERATED_SKEW_MS: i64 = 30_000;

/// A probe could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The firm cannot be asked anything.
    #[error(transparent)]
    Ehr(#[from] EhrError),
    /// The quota could not be had.
    #[error(transparent)]
    State(#[from] StateError),
}

impl EhrClient {
    /// Whether this process asked for the firm's latest token itself, so that a probe can say what the reply was like.
    pub fn has_seen_token(&self, firm: &Firm) -> bool {
        self.token_memory.life_stated(&firm.id).is_some()
    }

    /// Asks the EHR of a firm what it really does, by calls that change nothing, each for one grant of `quota`.
    ///
    /// # Errors
    /// [`ProbeError`] when the firm has no address, or the quota cannot be had. An EHR that does not answer is a finding.
    pub async fn probe(&self, firm: &Firm, token: &AccessToken, quota: Quota<'_>) -> Result<ProbeReport, ProbeError> {
        let mut notes = Notes::new(&self.connection.profile);
        let mut asker = Asker::new(self, firm, token, quota)?;
        self.token_finding(firm, token, &mut notes);
        let statement = match capability::probe(&mut asker, &mut notes).await? {
            Ok(statement) => statement,
            Err(why) => {
                let evidence = asker.take_evidence();
                notes.find(
                    codes::REACHABLE,
                    Verdict::Differs,
                    format!("the EHR does not answer: {why}"),
                    evidence,
                );
                let ehr = format!("does not answer there: {why}");
                let service = notes.profile().urls.service.clone();
                notes.differ(codes::REACHABLE, "urls.service", service, ehr, nothing);
                return Ok(notes.into_report(asker.calls, None));
            }
        };
        let encounters = encounters::probe(&mut asker, &mut notes, statement.is_some()).await?;
        if !reachable(&mut notes, &asker, statement.is_some(), &encounters) {
            return Ok(notes.into_report(asker.calls, asker.latency()));
        }
        let documents = documents::probe(&mut asker, &mut notes, &encounters.visits).await?;
        page_through(&mut asker, &mut notes, &encounters, &documents).await?;
        let draft = draft_search(&mut asker, &mut notes).await?;
        categories(&mut asker, &mut notes).await?;
        patient(&mut asker, &mut notes, &encounters).await?;
        gzip(&mut asker, &mut notes).await?;
        if let Some(statement) = &statement {
            let draft = draft.as_ref().map(|(resource, effect)| (*resource, effect));
            capability::conclude(&mut notes, statement, &encounters, &documents, draft);
        }
        shapes(&mut notes, &asker);
        let latency = asker.latency();
        around(&mut notes, &asker, latency);
        Ok(notes.into_report(asker.calls, latency))
    }

    fn token_finding(&self, firm: &Firm, token: &AccessToken, notes: &mut Notes) {
        let rules = &self.connection.profile.token;
        let method = match rules.grant {
            Grant::Password => "the grant password",
            Grant::ClientCredentials => rules.client_authentication.registered_name(),
        };
        let life = token.expires_at.since(token.issued_at).as_secs();
        let (verdict, stated) = match self.token_memory.life_stated(&firm.id) {
            Some(true) => (Verdict::Well, "as its reply says"),
            Some(false) => (
                Verdict::Notice,
                "as the profile's token.default_lifetime_s has it: the reply has no expires_in",
            ),
            None => (Verdict::Well, "it was there already"),
        };
        let seen = format!("a token was obtained by {method}; it lives {life} s ({stated})");
        notes.find(codes::TOKEN, verdict, seen, Vec::new());
    }
}

/// Whether there is a FHIR service at the address.
fn reachable(notes: &mut Notes, asker: &Asker<'_>, has_statement: bool, encounters: &Encounters) -> bool {
    let root = asker.service.root();
    let scheme = if root.scheme() == "https" {
        "https, with the certificate verified"
    } else {
        "http to this very machine"
    };
    let host = root.host_str().unwrap_or_default().to_owned();
    let wrong = match (encounters.refused, encounters.no_answer) {
        (Some(404), _) if !has_statement => Some("has no FHIR service at this path (404)".to_owned()),
        (_, Some(why)) => Some(format!("gives no answer at this path: {why}")),
        _ => None,
    };
    if let Some(wrong) = wrong {
        let seen = format!("{host} is there over {scheme}, and {wrong}");
        notes.find(codes::REACHABLE, Verdict::Differs, seen, Vec::new());
        let service = notes.profile().urls.service.clone();
        notes.differ(codes::REACHABLE, "urls.service", service, wrong, nothing);
        return false;
    }
    let seen = format!("{host} answers over {scheme}");
    notes.find(codes::REACHABLE, Verdict::Well, seen, Vec::new());
    true
}

/// Pages of encounters, or of documents where there are too few.
async fn page_through(
    asker: &mut Asker<'_>,
    notes: &mut Notes,
    encounters: &Encounters,
    documents: &Documents,
) -> Result<(), StateError> {
    let patient = documents.sample.as_ref().map(|sample| sample.visit.patient.to_string());
    let scope: Vec<_> = patient.iter().map(|patient| ("patient", patient.as_str())).collect();
    let of_patient = documents.sample.as_ref().filter(|sample| sample.of_patient);
    let candidates = [
        encounters.page.as_ref().map(|page| Sample { scope: &[], page }),
        of_patient.map(|sample| Sample {
            scope: &scope,
            page: &sample.page,
        }),
    ];
    let several = candidates
        .iter()
        .flatten()
        .find(|sample| sample.page.len() >= 2)
        .copied();
    // What links on from one page is not seen whole, and neither is a full page.
    let whole = candidates.iter().rev().flatten().find(|sample| {
        let size = match sample.page.resource {
            "Encounter" => notes.profile().encounters.page_size,
            _ => notes.profile().documents.page_size,
        };
        !sample.page.is_empty() && sample.page.len() < size as usize && sample.page.next.is_none()
    });
    pages::probe(asker, notes, several, whole.copied()).await
}

/// Whether a draft could be looked for, by an identifier that none has.
async fn draft_search(asker: &mut Asker<'_>, notes: &mut Notes) -> Result<Option<(&'static str, Effect)>, StateError> {
    let rules = notes.profile().draft.clone();
    let resource = match rules.target {
        DraftTarget::Composition => "Composition",
        DraftTarget::DocumentReference => "DocumentReference",
        DraftTarget::None => return Ok(None),
    };
    let identifier = format!("{IDENTIFIER_SYSTEM}|{NOBODY}");
    let parameters = [("identifier", identifier.as_str())];
    let effect = match asker.search(resource, &parameters).await? {
        Got::It(found) if !found.is_empty() => Effect::Ignored,
        Got::It(_) => match asker.search(resource, &[("_count", "1")]).await? {
            Got::It(some) if !some.is_empty() => Effect::Filters,
            _ => Effect::NotKnown("it is taken, and there is nothing yet that it could leave out"),
        },
        Got::Refused(status) => Effect::Refused(status),
        Got::NoAnswer(why) => Effect::NotKnown(why),
    };
    let uses = rules.search == DraftSearchRule::Identifier;
    let what = format!("{resource} by identifier");
    let (verdict, seen) = match &effect {
        Effect::Filters if uses => (Verdict::Well, format!("{what}: the EHR {}", effect.says())),
        Effect::Filters => (Verdict::Offered, format!("{what}: the EHR {}", effect.says())),
        Effect::NotKnown(_) => (Verdict::NotKnown, format!("{what}: {}", effect.says())),
        _ if uses => (Verdict::Differs, format!("{what}: the EHR {}", effect.says())),
        _ => (Verdict::Well, format!("{what}: the EHR {}", effect.says())),
    };
    notes.find(codes::DRAFT_SEARCH, verdict, seen, asker.take_evidence());
    if uses && effect.fails() {
        notes.differ(
            codes::DRAFT_SEARCH,
            "draft.search",
            "identifier",
            effect.says(),
            |profile| {
                profile.draft.search = DraftSearchRule::Unsupported;
            },
        );
    }
    Ok(Some((resource, effect)))
}

/// The practice's list of categories.
async fn categories(asker: &mut Asker<'_>, notes: &mut Notes) -> Result<(), StateError> {
    let Some(id) = notes.profile().categories.value_set.clone() else {
        return Ok(());
    };
    let code = codes::CATEGORIES;
    let Ok(url) = asker.service.instance("ValueSet", &id) else {
        return Ok(());
    };
    let (verdict, seen) = match asker.get(&url, format!("ValueSet/{id}")).await? {
        Got::It(body) if View::of(&body).get("resourceType").is("ValueSet") => {
            let count = crate::view::categories(View::of(&body)).len();
            (Verdict::Well, format!("the value set lists {count} categories"))
        }
        Got::It(_) => (Verdict::Notice, "what came is no ValueSet".to_owned()),
        Got::NoAnswer(why) => (Verdict::NotKnown, format!("not known: {why}")),
        Got::Refused(status) => {
            let ehr = format!("has no such value set ({status})");
            notes.differ(code, "categories.value_set", id, ehr, |profile| {
                profile.categories.value_set = None;
            });
            (Verdict::Differs, format!("there is no such value set ({status})"))
        }
    };
    notes.find(code, verdict, seen, asker.take_evidence());
    Ok(())
}

/// Whether age and sex can be had. Which they are is not looked at.
async fn patient(asker: &mut Asker<'_>, notes: &mut Notes, encounters: &Encounters) -> Result<(), StateError> {
    let code = codes::PATIENT;
    let visit = encounters.visits.first();
    let Some(url) = visit.and_then(|visit| asker.service.instance("Patient", visit.patient.as_str()).ok()) else {
        notes.find(code, Verdict::NotKnown, "not known: no encounter yet", Vec::new());
        return Ok(());
    };
    let (verdict, seen) = match asker.get(&url, "Patient/known".to_owned()).await? {
        Got::It(body) => {
            let patient = View::of(&body);
            let given = |key| {
                if patient.text(key).is_some() {
                    "given"
                } else {
                    "not given"
                }
            };
            let seen = format!(
                "one patient can be read; birthDate is {}, gender is {}",
                given("birthDate"),
                given("gender")
            );
            (Verdict::Well, seen)
        }
        Got::Refused(status) => {
            let seen = format!("a patient cannot be read ({status}): drafts will say that age and sex are not known");
            (Verdict::Notice, seen)
        }
        Got::NoAnswer(why) => (Verdict::NotKnown, format!("not known: {why}")),
    };
    notes.find(code, verdict, seen, asker.take_evidence());
    Ok(())
}

/// Whether replies are compressed. The transport leaves a reply alone when the request says itself what it accepts.
async fn gzip(asker: &mut Asker<'_>, notes: &mut Notes) -> Result<(), StateError> {
    let url = asker.service.collection("metadata");
    let accept = (header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    let headers = asker.get_with(&url, accept, "metadata, compressed".to_owned()).await?;
    asker.take_evidence();
    let encoding = headers
        .as_ref()
        .and_then(|headers| headers.get(header::CONTENT_ENCODING));
    let (verdict, seen) = match (headers.is_some(), encoding) {
        (false, _) => (Verdict::NotKnown, "not known: it was not answered"),
        (true, Some(encoding)) if encoding.as_bytes().eq_ignore_ascii_case(b"gzip") => {
            (Verdict::Well, "replies are compressed")
        }
        (true, _) => (Verdict::Well, "replies are not compressed"),
    };
    notes.find(codes::GZIP, verdict, seen, Vec::new());
    Ok(())
}

/// Ids and references.
fn shapes(notes: &mut Notes, asker: &Asker<'_>) {
    let shapes = &asker.shapes;
    if shapes.ids == 0 {
        notes.find(
            codes::REFERENCES,
            Verdict::NotKnown,
            "not known: no encounter yet",
            Vec::new(),
        );
        notes.find(codes::IDS, Verdict::NotKnown, "not known: no encounter yet", Vec::new());
        return;
    }
    let forms: Vec<_> = shapes.references.keys().copied().collect();
    let seen = if forms.is_empty() {
        "records name no patient".to_owned()
    } else {
        format!("references are {}", forms.join(", and "))
    };
    notes.find(codes::REFERENCES, Verdict::Well, seen, Vec::new());
    let odd: Vec<_> = shapes
        .odd_characters
        .iter()
        .map(|c| match c {
            ' ' => "a space".to_owned(),
            c if c.is_ascii_graphic() => c.to_string(),
            _ => "what is not ASCII".to_owned(),
        })
        .collect();
    let seen = if odd.is_empty() {
        format!("ids have letters, digits, - and . ({} at most)", shapes.longest_id)
    } else {
        format!(
            "ids also have {} ({} characters at most)",
            odd.join(" "),
            shapes.longest_id
        )
    };
    notes.find(codes::IDS, Verdict::Well, seen, Vec::new());
}

/// Clock, quota, latency: what every reply shows.
fn around(notes: &mut Notes, asker: &Asker<'_>, latency: Option<Latency>) {
    let (verdict, seen) = match asker.ahead_ms() {
        None => (Verdict::NotKnown, "not known: replies have no Date".to_owned()),
        Some(ahead) if ahead.abs() > TOLERATED_SKEW_MS => {
            let side = if ahead > 0 { "ahead of" } else { "behind" };
            let seen = format!("the EHR's clock is {} s {side} ours", ahead.abs() / 1000);
            (Verdict::Notice, seen)
        }
        Some(ahead) => {
            let seen = format!("the EHR's clock and ours agree within {} s", ahead.abs() / 1000 + 1);
            (Verdict::Well, seen)
        }
    };
    notes.find(codes::CLOCK, verdict, seen, Vec::new());
    let mut seen: Vec<_> = asker
        .quota_headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    if seen.is_empty() {
        seen.push("no reply says how many calls are left".to_owned());
    }
    let mut verdict = Verdict::Well;
    if asker.refused_for_quota > 0 {
        verdict = Verdict::Notice;
        let says: Vec<_> = asker.retry_after.iter().copied().collect();
        seen.push(format!(
            "{} calls were refused for the quota (429); Retry-After: {}",
            asker.refused_for_quota,
            says.join(", ")
        ));
    }
    notes.find(codes::QUOTA, verdict, seen.join("; "), Vec::new());
    if let Some(latency) = latency {
        let seen = format!(
            "half of the calls took at most {} ms, the slowest {} ms",
            latency.median_ms, latency.worst_ms
        );
        notes.find(codes::LATENCY, Verdict::Well, seen, Vec::new());
    }
}
