//! `GET DocumentReference`, and `GET DocumentReference/{id}`.
//!
//! What a search has to be about, and whether an entry says where the bytes are, is the dialect's. A SUBSETTED entry says
//! what kind of document there is; reading the document tells the rest. Notes that were written back are listed too,
//! after the files.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use skin_assist_core::time::Timestamp;

use crate::{
    dialect::{AttachmentForm, DocumentScope, DraftTarget},
    reply::Refusal,
    state::{Document, DocumentVersion, Firm, Horizon, State, StoredDraft},
};

use super::{
    Call,
    answer::{Answer, Element, Gap},
    bundle::{Listing, SortKeys, on_page},
    category_coding, category_system,
    parameters::{DateCondition, Parameters, Token},
    referenced_ids, validation,
};

/// What is looked for.
struct Query {
    ids: Option<Vec<String>>,
    patients: Option<Vec<String>>,
    encounters: Option<Vec<String>>,
    categories: Option<Vec<Token>>,
    statuses: Option<Vec<String>>,
    media_types: Option<Vec<Token>>,
    identifiers: Option<Vec<Token>>,
    description: Option<String>,
    dates: Vec<DateCondition>,
    last_updated: Vec<DateCondition>,
}

/// A match: an index in the firm's table of documents, or of drafts.
#[derive(Debug, Clone, Copy)]
enum Match {
    File(usize, DocumentVersion),
    Note(usize),
}

/// Whether one of the values asked for is met, or none was asked for.
fn met<Value>(asked: Option<&Vec<Value>>, is_met: impl FnMut(&Value) -> bool) -> bool {
    asked.is_none_or(|asked| asked.iter().any(is_met))
}

impl Query {
    /// What a file and a note have in common.
    fn is_about(&self, id: &str, patient: &str, encounter: Option<&str>, description: &str) -> bool {
        met(self.ids.as_ref(), |asked| asked == id)
            && met(self.patients.as_ref(), |asked| asked == patient)
            && met(self.encounters.as_ref(), |asked| Some(asked.as_str()) == encounter)
            && self
                .description
                .as_ref()
                .is_none_or(|start| description.to_lowercase().starts_with(start))
    }

    fn is_dated(&self, date: Timestamp, last_updated: Timestamp) -> bool {
        self.dates.iter().all(|condition| condition.holds(date))
            && self.last_updated.iter().all(|condition| condition.holds(last_updated))
    }

    fn meets_file(&self, state: &State, category_system: &str, file: &Document, version: DocumentVersion) -> bool {
        self.is_about(&file.id, &file.patient, Some(&file.encounter), &file.description)
            && met(self.categories.as_ref(), |token| {
                token.matches(category_system, &file.category)
            })
            && met(self.statuses.as_ref(), |status| status == version.status)
            && met(self.media_types.as_ref(), |token| token.matches("", &file.media_type))
            && met(self.identifiers.as_ref(), |token| {
                token.matches("filename", &file.file_name())
            })
            && self.is_dated(state.shown(file.attached_at), state.shown(version.last_updated))
    }

    fn meets_note(&self, state: &State, note: &StoredDraft) -> bool {
        let resource = &note.resource;
        let has = |concept: &Value, token: &Token| {
            let codings = concept["coding"].as_array().into_iter().flatten();
            let text = |coding: &Value, name: &str| coding[name].as_str().unwrap_or_default().to_owned();
            codings
                .into_iter()
                .any(|coding| token.matches(&text(coding, "system"), &text(coding, "code")))
        };
        let posted = state.shown(note.posted_at);
        self.is_about(
            &note.id,
            &note.patient,
            note.encounter.as_deref(),
            resource["description"].as_str().unwrap_or_default(),
        ) && met(self.categories.as_ref(), |token| {
            let concepts = resource["category"].as_array().into_iter().flatten();
            concepts.into_iter().any(|concept| has(concept, token))
        }) && met(self.statuses.as_ref(), |status| resource["status"] == **status)
            && met(self.media_types.as_ref(), |token| has(&resource["type"], token))
            && met(self.identifiers.as_ref(), |token| {
                validation::identifiers(resource).any(|(system, value)| token.matches(system, value))
            })
            && self.is_dated(posted, posted)
    }
}

impl State {
    fn document_query(&self, prefix: &str, parameters: &Parameters) -> Result<Query, Refusal> {
        let rules = &self.options.dialect.documents.search;
        let base = self.fhir_base(prefix);
        let references = |name: &str, resource: &str| {
            let stated = parameters.any(name, &rules.lists)?;
            Ok::<_, Refusal>(stated.map(|stated| referenced_ids(&base, resource, &stated)))
        };
        Ok(Query {
            ids: parameters.any("_id", &rules.lists)?,
            patients: references("patient", "Patient")?,
            encounters: references("encounter", "Encounter")?,
            categories: parameters.tokens("category", &rules.lists)?,
            statuses: parameters.any("status", &rules.lists)?,
            media_types: parameters.tokens("type", &rules.lists)?,
            identifiers: parameters.tokens("identifier", &rules.lists)?,
            description: parameters.one("description")?.map(str::to_lowercase),
            dates: parameters.dates("date", rules, self.calendar())?,
            last_updated: parameters.dates("_lastUpdated", rules, self.calendar())?,
        })
    }

    /// The indexes of the documents that can match, in the order in which they were attached.
    fn candidates(firm: &Firm, query: &Query) -> Vec<usize> {
        let (index, keys) = match (&query.encounters, &query.patients) {
            (Some(encounters), _) => (&firm.documents_by_encounter, encounters),
            (None, Some(patients)) => (&firm.documents_by_patient, patients),
            (None, None) => return (0..firm.documents.all().len()).collect(),
        };
        let found: BTreeSet<usize> = keys
            .iter()
            .filter_map(|key| index.get(key))
            .flatten()
            .copied()
            .collect();
        found.into_iter().collect()
    }

    pub(crate) fn search_documents(&mut self, now: Timestamp, prefix: &str, call: &Call) -> Result<Answer, Refusal> {
        let rules = &self.options.dialect.documents;
        let (whole, attachments) = (rules.whole_entries, self.options.dialect.attachments);
        call.parameters.only(&rules.search.parameters)?;
        self.check_session(now, &call.parameters)?;
        let stated = |name: &str| call.parameters.all(name).next().is_some();
        match rules.scope {
            DocumentScope::Patient if !stated("patient") => return Err(Refusal::missing("patient")),
            DocumentScope::PatientOrEncounter if !stated("patient") && !stated("encounter") => {
                return Err(Refusal::missing("patient or encounter"));
            }
            _ => {}
        }
        let parameters = call.parameters.without(&self.quirks.ignored_parameters);
        let page = parameters.page(&rules.search)?;
        let sort = parameters.sort()?;
        let query = self.document_query(prefix, &parameters)?;
        let system = category_system(&self.fhir_base(prefix));
        let Some(firm) = self.firm(prefix) else {
            return Err(Refusal::not_found("no such firm"));
        };
        let horizon = self.horizon(now);
        let files = Self::candidates(firm, &query).into_iter().filter_map(|index| {
            let file = firm.documents.at(index).filter(|file| file.removed_at.is_none())?;
            let version = file.as_seen(horizon)?;
            let matches = query.meets_file(self, &system, file, version);
            matches.then_some(Match::File(index, version))
        });
        let is_note = |note: &StoredDraft| {
            note.target == DraftTarget::DocumentReference
                && self.options.dialect.drafts.readable
                && self.is_draft_visible(now, note)
                && query.meets_note(self, note)
        };
        let notes = firm.drafts.iter().enumerate().filter(|(_, note)| is_note(note));
        let mut matches: Vec<Match> = files.chain(notes.map(|(index, _)| Match::Note(index))).collect();
        self.put_in_order(&mut matches, sort, |found| match found {
            Match::File(index, version) => {
                let file = firm.documents.at(*index);
                SortKeys {
                    id: file.map_or("", |file| &file.id),
                    last_updated: version.last_updated,
                    date: file.map_or(version.last_updated, |file| file.attached_at),
                }
            }
            Match::Note(index) => {
                let note = firm.drafts.get(*index);
                let posted = note.map_or(now, |note| note.posted_at);
                SortKeys {
                    id: note.map_or("", |note| &note.id),
                    last_updated: posted,
                    date: posted,
                }
            }
        });
        let listed = on_page(&matches, self.page_shown(page, matches.len()));
        let mut gaps = Vec::new();
        let mut entries = Vec::new();
        for found in &listed {
            let (id, mut resource) = match found {
                Match::File(index, version) => {
                    let Some(file) = firm.documents.at(*index) else {
                        continue;
                    };
                    let mut resource = self.document_resource(firm, file, *version);
                    if whole {
                        resource["content"] = self.document_content(now, prefix, file);
                        if attachments == AttachmentForm::Inline {
                            let pointer = format!("/entry/{}/resource/content/0/attachment", entries.len());
                            gaps.push(Gap::new(&pointer, Element::SizeAndData, file));
                        }
                    }
                    (&file.id, resource)
                }
                Match::Note(index) => {
                    let Some(note) = firm.drafts.get(*index) else { continue };
                    let mut resource = self.draft_resource(note);
                    if let (false, Some(elements)) = (whole, resource.as_object_mut()) {
                        elements.remove("content");
                    }
                    (&note.id, resource)
                }
            };
            if !whole {
                resource["meta"]["tag"] = json!([{
                    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
                    "code": "SUBSETTED",
                    "display": "Resource encoded in summary mode",
                }]);
            }
            entries.push((self.address(prefix, "DocumentReference", id), resource));
        }
        let listing = Listing {
            now,
            firm: prefix,
            resource: "DocumentReference",
            parameters: &call.parameters,
            page,
            matches: matches.len(),
            exact_totals: call.exact_totals(),
        };
        let bundle = self.searchset(&listing, entries);
        let handed_out = !gaps.is_empty();
        if let Ok(firm) = self.firm_mut(prefix) {
            for found in listed {
                if let Match::File(index, _) = found
                    && let Some(file) = firm.documents.at_mut(index)
                {
                    file.first_listed_at = file.first_listed_at.or(Some(now));
                    if handed_out {
                        file.downloaded_at = file.downloaded_at.or(Some(now));
                    }
                }
            }
        }
        Ok(Answer {
            gaps,
            ..Answer::ok(bundle)
        })
    }

    pub(crate) fn read_document(&mut self, now: Timestamp, prefix: &str, id: &str) -> Result<Answer, Refusal> {
        if self.options.dialect.drafts.readable
            && let Ok(note) = self.read_draft(prefix, DraftTarget::DocumentReference, id)
        {
            return Ok(note);
        }
        let not_found = || Refusal::not_found(format!("DocumentReference {id} is not known"));
        let inline = self.options.dialect.attachments == AttachmentForm::Inline;
        let firm = self.firm_mut(prefix).map_err(|_| not_found())?;
        let document = firm.documents.get_mut(id).ok_or_else(not_found)?;
        if document.removed_at.is_some() {
            return Err(not_found());
        }
        document.read_at = document.read_at.or(Some(now));
        if inline {
            document.downloaded_at = document.downloaded_at.or(Some(now));
        }
        let firm = self.firm(prefix).ok_or_else(not_found)?;
        let document = firm.documents.get(id).ok_or_else(not_found)?;
        let version = document.as_seen(Horizon::EVERYTHING).ok_or_else(not_found)?;
        let mut resource = self.document_resource(firm, document, version);
        resource["content"] = self.document_content(now, prefix, document);
        // The size is the picture's true one, so the picture is made now; the client fetches it next in any case.
        let element = if inline { Element::SizeAndData } else { Element::Size };
        Ok(Answer {
            gaps: vec![Gap::new("/content/0/attachment", element, document)],
            ..Answer::ok(resource)
        })
    }

    /// Where the bytes are.
    fn document_content(&self, now: Timestamp, prefix: &str, document: &Document) -> Value {
        let url = match self.options.dialect.attachments {
            AttachmentForm::PreSigned => Some(self.presign(now, &document.object)),
            AttachmentForm::RelativeBinary => Some(format!("Binary/{}", document.object)),
            AttachmentForm::AbsoluteBinary => Some(self.address(prefix, "Binary", &document.object)),
            AttachmentForm::Inline => None,
        };
        let mut attachment = json!({
            "contentType": document.media_type,
            "title": document.file_name(),
            "creation": self.shown(document.attached_at),
        });
        if let Some(url) = url {
            attachment["url"] = json!(url);
        }
        json!([{ "attachment": attachment }])
    }

    /// What search and read have in common.
    fn document_resource(&self, firm: &Firm, document: &Document, version: DocumentVersion) -> Value {
        let prefix = &firm.spec.prefix;
        let base = self.fhir_base(prefix);
        let category: Vec<Value> = firm
            .spec
            .categories
            .iter()
            .filter(|category| category.code == document.category)
            .map(|category| json!({ "coding": [category_coding(&base, category)] }))
            .collect();
        let mut resource = json!({
            "resourceType": "DocumentReference",
            "id": document.id,
            "meta": {},
            "identifier": [{ "system": "filename", "value": document.file_name() }],
            "status": version.status,
            "type": { "text": document.media_type },
            "category": category,
            "subject": { "reference": self.reference(prefix, "Patient", &document.patient) },
            "date": self.shown(document.attached_at),
            "description": document.description,
            "context": {
                "encounter": [{
                    "reference": self.reference(prefix, "Encounter", &document.encounter),
                }],
            },
        });
        if let Some(replaced) = &document.replaces {
            resource["relatesTo"] = json!([{
                "code": "replaces",
                "target": { "reference": self.reference(prefix, "DocumentReference", replaced) },
            }]);
        }
        self.stamp(&mut resource, version.last_updated, version.number);
        resource
    }
}
