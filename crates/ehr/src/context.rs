//! The minimum about a visit's patient: which parts an EHR has says its profile, and what comes through is age band, sex, and
//! terms of the knowledge file. The birth date, names and all else of what was read go no further than this room.
//!
//! What was read is remembered for the visit, in memory and bounded: an EHR's quota is not spent twice on the same. The site comes
//! along when the photo's document is read for its bytes, and costs no call in the process that did so.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use skin_assist_core::{
    domain::{
        AccessToken, ContextTerm, DocumentId, EncounterId, Firm, FirmId, Laterality, PatientFacts, PatientId,
        PriorResult,
    },
    phi::Phi,
    ports::{ContextPart, ContextSubject, EhrError, PatientContext},
    synthesis::{Knowledge, SNOMED_CT},
};

use crate::{
    client::{EhrClient, expected},
    view::{self, View},
};

/// How much is remembered: parts of visits.
const MOST_REMEMBERED: usize = 2000;

/// The largest page of a list. What is on further pages is not read.
const PAGE_SIZE: &str = "100";

/// SNOMED CT, left and right as qualifiers.
const LEFT: &str = "7771000";
const RIGHT: &str = "24028007";

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    firm: FirmId,
    part: ContextPart,
    patient: Option<(PatientId, EncounterId)>,
    document: Option<DocumentId>,
}

impl Key {
    fn of(firm: &FirmId, subject: &ContextSubject<'_>, part: ContextPart) -> Self {
        let is_document = part == ContextPart::Document;
        Self {
            firm: firm.clone(),
            part,
            patient: (!is_document).then(|| (subject.patient.clone(), subject.encounter.clone())),
            document: is_document.then(|| subject.document.clone()),
        }
    }
}

/// What was read, the oldest first to go.
#[derive(Default)]
pub(crate) struct ContextMemory(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    facts: HashMap<Key, PatientFacts>,
    order: VecDeque<Key>,
}

impl ContextMemory {
    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        // No code that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, key: Key, facts: PatientFacts) {
        let mut remembered = self.remembered();
        if remembered.facts.insert(key.clone(), facts).is_none() {
            remembered.order.push_back(key);
        }
        if remembered.order.len() > MOST_REMEMBERED
            && let Some(oldest) = remembered.order.pop_front()
        {
            remembered.facts.remove(&oldest);
        }
    }

    fn get(&self, key: &Key) -> Option<PatientFacts> {
        self.remembered().facts.get(key).cloned()
    }
}

impl EhrClient {
    /// Notes what a document that was read for its bytes tells of the site.
    pub(crate) fn note_site(&self, firm: &FirmId, document: &DocumentId, resource: View<'_>) {
        let key = Key {
            firm: firm.clone(),
            part: ContextPart::Document,
            patient: None,
            document: Some(document.clone()),
        };
        self.context.put(key, self.site(resource));
    }

    fn site(&self, document: View<'_>) -> PatientFacts {
        match &*self.knowledge {
            Some(knowledge) => site(document, knowledge),
            None => PatientFacts::default(),
        }
    }

    /// Hands each resource that is listed of the patient to `each`; whether that is all.
    async fn listed(
        &self,
        firm: &Firm,
        token: &AccessToken,
        resource: &'static str,
        patient: &PatientId,
        narrowed: (&'static str, &'static str),
        mut each: impl FnMut(View<'_>) + Send,
    ) -> Result<bool, EhrError> {
        let query = [("patient", patient.as_str()), narrowed, ("_count", PAGE_SIZE)];
        let url = self.connection.service(firm)?.search(resource, &query);
        let reply = self.get(firm, token, resource, &url).await?;
        let bundle = View::of(&reply.body);
        if !bundle.get("resourceType").is("Bundle") {
            return Err(EhrError::Malformed {
                what: "it is not a Bundle",
            });
        }
        for entry in bundle.each("entry").map(|entry| entry.get("resource")) {
            // A server that ignores what it was asked must not put one patient's history under another's name.
            let whose = entry.reference::<PatientId>("subject", "Patient");
            if entry.get("resourceType").is(resource) && whose.is_some_and(|whose| whose == *patient) {
                each(entry);
            }
        }
        Ok(!bundle.each("link").any(|link| link.get("relation").is("next")))
    }
}

fn text(view: View<'_>, key: &str) -> String {
    view.text(key).map(std::borrow::Cow::into_owned).unwrap_or_default()
}

/// The codes of a concept, each with its system and its words; its text last, without a code.
fn codes(concept: View<'_>) -> Vec<[String; 3]> {
    let words = text(concept, "text");
    let mut codes: Vec<_> = concept
        .each("coding")
        .map(|coding| {
            let display = format!("{} {words}", text(coding, "display"));
            [text(coding, "system"), text(coding, "code"), display]
        })
        .collect();
    codes.push([String::new(), String::new(), words]);
    codes
}

/// The side that SNOMED CT qualifiers among these codes say.
fn side(codes: impl IntoIterator<Item = impl AsRef<str>>) -> Option<Laterality> {
    codes.into_iter().find_map(|code| match code.as_ref() {
        LEFT => Some(Laterality::Left),
        RIGHT => Some(Laterality::Right),
        _ => None,
    })
}

/// A result that counts, of a condition of the knowledge file: it may be of the site that matters.
#[derive(Debug)]
struct SiteUnknown;

/// What an earlier result found and where, if it counts, and the finding is of the knowledge file.
fn prior_result(observation: View<'_>, knowledge: &Knowledge) -> Result<Option<PriorResult>, SiteUnknown> {
    let status = observation.get("status");
    if !["final", "amended", "corrected"]
        .into_iter()
        .any(|counts| status.is(counts))
    {
        return Ok(None);
    }
    let finding = codes(observation.get("valueCodeableConcept"))
        .iter()
        .find_map(|[system, code, _]| knowledge.condition_of_code(system, code));
    let Some(finding) = finding else {
        return Ok(None);
    };
    let site = codes(observation.get("bodySite"));
    let snomed = || {
        site.iter()
            .filter(|[system, ..]| system == SNOMED_CT)
            .map(|[_, code, _]| code)
    };
    let words = site.last().map(|[.., words]| words.as_str()).unwrap_or_default();
    Ok(Some(PriorResult {
        site: snomed()
            .find_map(|code| knowledge.site_of_code(code))
            .or_else(|| knowledge.site_of_text(words))
            .ok_or(SiteUnknown)?,
        laterality: side(snomed()).or_else(|| Knowledge::laterality_of_text(words)),
        finding,
    }))
}

/// The site of a document: by code where there is one (R5), else by its description or its file's title.
fn site(document: View<'_>, knowledge: &Knowledge) -> PatientFacts {
    let codings = || {
        let concepts = document.each("bodySite").flat_map(|site| [site, site.get("concept")]);
        let snomed = concepts
            .flat_map(|concept| concept.each("coding"))
            .filter(|coding| coding.text("system").as_deref() == Some(SNOMED_CT));
        snomed.filter_map(|coding| coding.text("code"))
    };
    let texts = [
        document.text("description"),
        document
            .each("content")
            .next()
            .and_then(|content| content.get("attachment").text("title")),
    ];
    let description = texts.into_iter().flatten().find(|text| !text.trim().is_empty());
    let of_text = |text: &str| knowledge.site_of_text(text);
    let laterality = side(codings());
    PatientFacts {
        site: codings()
            .find_map(|code| knowledge.site_of_code(&code))
            .or_else(|| description.as_deref().and_then(of_text)),
        laterality: laterality.or_else(|| description.as_deref().and_then(Knowledge::laterality_of_text)),
        description: description.map(|text| Phi::new(text.into_owned())),
        ..PatientFacts::default()
    }
}

/// Why the patient came: the words of R4's `reasonCode`, and where they say that it is.
fn reason(visit: View<'_>, knowledge: &Knowledge) -> PatientFacts {
    let words = visit.each("reasonCode").flat_map(|concept| {
        let displays = concept.each("coding").filter_map(|coding| coding.text("display"));
        concept.text("text").into_iter().chain(displays)
    });
    let text = words.collect::<Vec<_>>().join("; ");
    PatientFacts {
        site: knowledge.site_of_text(&text),
        laterality: Knowledge::laterality_of_text(&text),
        description: (!text.is_empty()).then(|| Phi::new(text)),
        ..PatientFacts::default()
    }
}

/// Each term once. Nothing at all is only known to be nothing where all was read.
fn terms(found: impl Iterator<Item = ContextTerm>, is_all: bool) -> Option<Vec<ContextTerm>> {
    let mut terms: Vec<ContextTerm> = Vec::new();
    for term in found {
        if !terms.contains(&term) {
            terms.push(term);
        }
    }
    (is_all || !terms.is_empty()).then_some(terms)
}

#[async_trait]
impl PatientContext for EhrClient {
    fn parts(&self) -> Vec<ContextPart> {
        self.connection.profile.context.reads.clone()
    }

    fn remembered(&self, firm: &FirmId, subject: &ContextSubject<'_>, part: ContextPart) -> Option<Phi<PatientFacts>> {
        self.context.get(&Key::of(firm, subject, part)).map(Phi::new)
    }

    async fn read_context(
        &self,
        firm: &Firm,
        token: &AccessToken,
        subject: &ContextSubject<'_>,
        part: ContextPart,
    ) -> Result<Phi<PatientFacts>, EhrError> {
        let patient = subject.patient;
        let knowledge = self.knowledge.as_ref().as_ref();
        let facts = match part {
            ContextPart::Patient => {
                let url = self.connection.service(firm)?.instance("Patient", patient.as_str())?;
                let reply = self.get(firm, token, "Patient", &url).await?;
                let resource = expected(&reply, "Patient", patient.as_str())?;
                view::patient_facts(resource, reply.server_time)
            }
            ContextPart::Document => {
                let id = subject.document.as_str();
                let url = self.connection.service(firm)?.instance("DocumentReference", id)?;
                let reply = self.get(firm, token, "DocumentReference", &url).await?;
                self.site(expected(&reply, "DocumentReference", id)?)
            }
            ContextPart::Visit => {
                let id = subject.encounter.as_str();
                let url = self.connection.service(firm)?.instance("Encounter", id)?;
                let reply = self.get(firm, token, "Encounter", &url).await?;
                let visit = expected(&reply, "Encounter", id)?;
                if visit
                    .reference::<PatientId>("subject", "Patient")
                    .is_none_or(|whose| whose != *patient)
                {
                    return Err(EhrError::Malformed {
                        what: "it is not the resource that was asked for",
                    });
                }
                knowledge.map_or_else(PatientFacts::default, |knowledge| reason(visit, knowledge))
            }
            ContextPart::Problems => {
                let state = ("clinical-status", "active");
                let mut found = Vec::new();
                let each = |problem: View<'_>| found.extend(codes(problem.get("code")));
                let is_all = self.listed(firm, token, "Condition", patient, state, each).await?;
                let history = |[system, code, _]: &[String; 3]| knowledge?.history(system, code);
                PatientFacts {
                    history: terms(found.iter().filter_map(history), is_all),
                    ..PatientFacts::default()
                }
            }
            ContextPart::MedicationStatements | ContextPart::MedicationRequests => {
                let resource = if part == ContextPart::MedicationStatements {
                    "MedicationStatement"
                } else {
                    "MedicationRequest"
                };
                let state = ("status", "active");
                let mut found = Vec::new();
                let each = |entry: View<'_>| found.extend(codes(entry.get("medicationCodeableConcept")));
                let is_all = self.listed(firm, token, resource, patient, state, each).await?;
                let medication = |[system, code, name]: &[String; 3]| knowledge?.medication(system, code, name);
                PatientFacts {
                    medications: terms(found.iter().filter_map(medication), is_all),
                    ..PatientFacts::default()
                }
            }
            ContextPart::PriorResults => {
                let category = ("category", "laboratory");
                let (mut found, mut is_any_elsewhere) = (Vec::new(), false);
                let each = |observation: View<'_>| match knowledge.map(|known| prior_result(observation, known)) {
                    Some(Ok(result)) => found.extend(result),
                    Some(Err(SiteUnknown)) => is_any_elsewhere = true,
                    None => {}
                };
                let is_all = self.listed(firm, token, "Observation", patient, category, each).await?;
                PatientFacts {
                    prior_results: (is_all || !found.is_empty()).then_some(found),
                    prior_results_incomplete: !is_all || is_any_elsewhere,
                    ..PatientFacts::default()
                }
            }
        };
        self.context.put(Key::of(&firm.id, subject, part), facts.clone());
        Ok(Phi::new(facts))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn term(text: &str) -> ContextTerm {
        ContextTerm(text.to_owned())
    }

    #[test]
    fn the_site_is_by_code_or_by_words() {
        let knowledge = Knowledge::shipped().unwrap();
        let by_words = json!({ "description": "Mole, LEFT forearm (close-up)" });
        let facts = site(View::of(&by_words), &knowledge);
        assert_eq!(
            (facts.site, facts.laterality),
            (Some(term("forearm")), Some(Laterality::Left))
        );
        let by_code = json!({ "description": "back", "bodySite": [{ "concept": { "coding": [
            { "system": "http://snomed.info/sct", "code": "56459004" }, { "system": "http://snomed.info/sct", "code": "24028007" }] } }] });
        let facts = site(View::of(&by_code), &knowledge);
        assert_eq!(
            (facts.site, facts.laterality),
            (Some(term("foot")), Some(Laterality::Right))
        );
        let neither = json!({ "content": [{ "attachment": { "title": "IMG_0042.jpg" } }] });
        let facts = site(View::of(&neither), &knowledge);
        assert_eq!((facts.site, facts.laterality), (None, None));
        assert!(facts.description.is_some());
    }

    #[test]
    fn the_visits_reason_tells_where() {
        let visit =
            json!({ "reasonCode": [{ "text": "growing spot, right ear" }, { "coding": [{ "display": "Rash" }] }] });
        let facts = reason(View::of(&visit), &Knowledge::shipped().unwrap());
        assert_eq!(
            (facts.site, facts.laterality),
            (Some(term("ear")), Some(Laterality::Right))
        );
        assert_eq!(
            facts.description,
            Some(Phi::new("growing spot, right ear; Rash".to_owned()))
        );
    }

    #[test]
    fn the_memory_is_bounded_and_each_visits_own() {
        let memory = ContextMemory::default();
        let key = |number: usize| Key {
            firm: FirmId::new("a"),
            part: ContextPart::Patient,
            patient: Some((PatientId::new("p"), EncounterId::new(number.to_string()))),
            document: None,
        };
        for number in 0..MOST_REMEMBERED + 5 {
            memory.put(key(number), PatientFacts::default());
        }
        assert!(memory.get(&key(0)).is_none() && memory.get(&key(4)).is_none());
        assert!(memory.get(&key(5)).is_some());
        assert_eq!(memory.remembered().facts.len(), MOST_REMEMBERED);
    }

    #[test]
    fn nothing_is_known_to_be_nothing_only_where_all_was_read() {
        assert_eq!(terms([].into_iter(), true), Some(vec![]));
        assert_eq!(terms([].into_iter(), false), None);
        let twice = [term("psoriasis"), term("psoriasis")].into_iter();
        assert_eq!(terms(twice, false).map(|terms| terms.len()), Some(1));
    }
}
