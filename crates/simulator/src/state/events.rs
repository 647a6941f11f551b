//! The changes that can happen in a practice, as a person or a script makes them.
//!
//! Invariants: an event never makes a `lastUpdated` go back; what is gone from the chart stays in the tables, marked, so
//! that the report can still tell of it.

use skin_assist_core::time::Timestamp;

use crate::{
    faults::PhotoFault,
    script::{ScriptAction, ScriptEvent},
    specification::{DocumentSpec, EncounterSpec, EncounterStatus, Error, PhotoContent, PhotoSpec},
};

use super::{Document, Encounter, State};

impl State {
    pub(crate) fn open_encounter(
        &mut self,
        now: Timestamp,
        prefix: &str,
        spec: EncounterSpec,
    ) -> Result<String, Error> {
        let odd_ids = self.quirks.odd_ids;
        let firm = self.firm_mut(prefix)?;
        let id = match spec.id {
            Some(id) if firm.encounters.get(&id).is_some() => {
                return Err(Error::IdExists {
                    firm: prefix.to_owned(),
                    id,
                });
            }
            Some(id) => id,
            None => firm.encounters.next_id(|number| spelt(odd_ids, number.to_string())),
        };
        let known = |practitioner: &str| firm.spec.practitioners.iter().any(|known| known.id == practitioner);
        let practitioner = spec
            .practitioner
            .or_else(|| firm.spec.practitioners.first().map(|first| first.id.clone()))
            .unwrap_or_default();
        if !known(&practitioner) {
            return Err(Error::UnknownPractitioner {
                firm: prefix.to_owned(),
                practitioner,
            });
        }
        let patient_id = spec
            .patient
            .unwrap_or_else(|| firm.patients.next_id(|number| spelt(odd_ids, number.to_string())));
        let is_new = firm.patients.get(&patient_id).is_none();
        let patient = is_new.then(|| self.new_patient(prefix, &patient_id, now));
        let firm = self.firm_mut(prefix)?;
        if let Some(patient) = patient {
            firm.patients.add(&patient_id, patient);
        }
        firm.encounters.add(
            &id,
            Encounter {
                id: id.clone(),
                patient: patient_id,
                practitioner,
                status: spec.status,
                opened_at: now,
                finished_at: (spec.status == EncounterStatus::Finished).then_some(now),
                last_updated: now,
                removed_at: None,
                earlier: Vec::new(),
            },
        );
        Ok(id)
    }

    /// Sets the status, when given, and bumps `lastUpdated`.
    pub(crate) fn change_encounter(
        &mut self,
        now: Timestamp,
        prefix: &str,
        encounter: &str,
        status: Option<EncounterStatus>,
    ) -> Result<(), Error> {
        let record = self
            .firm_mut(prefix)?
            .encounters
            .get_mut(encounter)
            .ok_or_else(|| Error::UnknownEncounter {
                firm: prefix.to_owned(),
                encounter: encounter.to_owned(),
            })?;
        let mut before = record.clone();
        let mut earlier = std::mem::take(&mut before.earlier);
        earlier.push(before);
        record.earlier = earlier;
        if let Some(status) = status {
            record.status = status;
            record.finished_at = (status == EncounterStatus::Finished).then_some(now);
        }
        record.last_updated = record.last_updated.max(now);
        Ok(())
    }

    pub(crate) fn attach_photo(
        &mut self,
        now: Timestamp,
        prefix: &str,
        encounter: &str,
        spec: PhotoSpec,
    ) -> Result<String, Error> {
        self.attach(
            now,
            prefix,
            encounter,
            Attachment {
                id: spec.id,
                category: spec.category,
                media_type: "image/jpeg".to_owned(),
                is_photo: true,
                description: spec.description,
                content: spec.content,
                touches_encounter: spec.touches_encounter,
                fault: spec.fault,
            },
        )
    }

    pub(crate) fn attach_document(
        &mut self,
        now: Timestamp,
        prefix: &str,
        encounter: &str,
        spec: DocumentSpec,
    ) -> Result<String, Error> {
        self.attach(
            now,
            prefix,
            encounter,
            Attachment {
                id: spec.id,
                category: spec.category,
                is_photo: spec.media_type.starts_with("image/"),
                media_type: spec.media_type,
                description: spec.description,
                content: PhotoContent::Bytes(spec.content),
                touches_encounter: spec.touches_encounter,
                fault: None,
            },
        )
    }

    fn attach(
        &mut self,
        now: Timestamp,
        prefix: &str,
        encounter: &str,
        attachment: Attachment,
    ) -> Result<String, Error> {
        let odd_ids = self.quirks.odd_ids;
        let firm_position = self
            .firm_position(prefix)
            .ok_or_else(|| Error::UnknownFirm(prefix.to_owned()))?;
        let firm = self.firm_mut(prefix)?;
        let patient = firm
            .encounters
            .get(encounter)
            .map(|encounter| encounter.patient.clone())
            .ok_or_else(|| Error::UnknownEncounter {
                firm: prefix.to_owned(),
                encounter: encounter.to_owned(),
            })?;
        let route = firm
            .spec
            .categories
            .iter()
            .find(|category| category.code == attachment.category)
            .map(|category| category.route)
            .ok_or_else(|| Error::UnknownCategory {
                firm: prefix.to_owned(),
                category: attachment.category.clone(),
            })?;
        let id = match attachment.id {
            Some(id) if firm.documents.get(&id).is_some() => {
                return Err(Error::IdExists {
                    firm: prefix.to_owned(),
                    id,
                });
            }
            Some(id) => id,
            None => firm
                .documents
                .next_id(|number| spelt(odd_ids, format!("file|{number}"))),
        };
        let key = self.derive(&["object", prefix, &id]);
        let object = hex::encode(key.get(..20).unwrap_or(&key));
        let document = Document {
            id: id.clone(),
            encounter: encounter.to_owned(),
            patient: patient.clone(),
            category: attachment.category,
            route,
            media_type: attachment.media_type,
            is_photo: attachment.is_photo,
            description: attachment.description,
            content: attachment.content,
            fault: attachment.fault,
            object: object.clone(),
            attached_at: now,
            superseded: None,
            replaces: None,
            retracted_at: None,
            removed_at: None,
            first_listed_at: None,
            read_at: None,
            downloaded_at: None,
        };
        let firm = self.firm_mut(prefix)?;
        let index = firm.documents.add(&id, document);
        firm.documents_by_patient.entry(patient).or_default().push(index);
        let of_encounter = firm.documents_by_encounter.entry(encounter.to_owned());
        of_encounter.or_default().push(index);
        self.objects.insert(object, (firm_position, index));
        if attachment.touches_encounter {
            self.change_encounter(now, prefix, encounter, None)?;
        }
        Ok(id)
    }

    fn document_mut(&mut self, prefix: &str, document: &str) -> Result<&mut Document, Error> {
        self.firm_mut(prefix)?
            .documents
            .get_mut(document)
            .ok_or_else(|| Error::UnknownDocument {
                firm: prefix.to_owned(),
                document: document.to_owned(),
            })
    }

    /// Attaches a photo in the place of a document, which is superseded.
    pub(crate) fn replace_photo(
        &mut self,
        now: Timestamp,
        prefix: &str,
        document: &str,
        spec: PhotoSpec,
    ) -> Result<String, Error> {
        let encounter = self.document_mut(prefix, document)?.encounter.clone();
        let id = self.attach_photo(now, prefix, &encounter, spec)?;
        self.document_mut(prefix, &id)?.replaces = Some(document.to_owned());
        self.document_mut(prefix, document)?.superseded = Some((now, id.clone()));
        Ok(id)
    }

    /// Marks a document as entered in error.
    pub(crate) fn retract_document(&mut self, now: Timestamp, prefix: &str, document: &str) -> Result<(), Error> {
        let record = self.document_mut(prefix, document)?;
        record.retracted_at = record.retracted_at.or(Some(now));
        Ok(())
    }

    /// Takes a visit and its documents off the chart.
    pub(crate) fn remove_encounter(&mut self, now: Timestamp, prefix: &str, encounter: &str) -> Result<(), Error> {
        let firm = self.firm_mut(prefix)?;
        let record = firm
            .encounters
            .get_mut(encounter)
            .ok_or_else(|| Error::UnknownEncounter {
                firm: prefix.to_owned(),
                encounter: encounter.to_owned(),
            })?;
        record.removed_at = record.removed_at.or(Some(now));
        for index in firm.documents_by_encounter.get(encounter).cloned().unwrap_or_default() {
            if let Some(document) = firm.documents.at_mut(index) {
                document.removed_at = document.removed_at.or(Some(now));
            }
        }
        Ok(())
    }

    /// Applies the scheduled events that are due, each at its own time.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        while self.schedule.front().is_some_and(|(at, _)| *at <= now) {
            let Some((at, event)) = self.schedule.pop_front() else {
                break;
            };
            let firm = event.firm.clone();
            if let Err(error) = self.apply(at, event) {
                // A script names ids that a test may have used already; the clinic goes on without the event.
                tracing::warn!(%firm, %error, "a scripted event could not happen");
            }
        }
    }

    fn apply(&mut self, at: Timestamp, event: ScriptEvent) -> Result<(), Error> {
        let firm = event.firm;
        match event.action {
            ScriptAction::Open(spec) => self.open_encounter(at, &firm, spec).map(|_| ()),
            ScriptAction::Change { encounter } => self.change_encounter(at, &firm, &encounter, None),
            ScriptAction::Finish { encounter } => {
                self.change_encounter(at, &firm, &encounter, Some(EncounterStatus::Finished))
            }
            ScriptAction::AttachPhoto { encounter, photo } => {
                self.attach_photo(at, &firm, &encounter, photo).map(|_| ())
            }
            ScriptAction::AttachDocument { encounter, document } => {
                self.attach_document(at, &firm, &encounter, document).map(|_| ())
            }
        }
    }

    /// Adds events to come. Those at the same time keep the order in which they were added.
    pub(crate) fn schedule(&mut self, events: impl Iterator<Item = (Timestamp, ScriptEvent)>) {
        let before = self.schedule.len();
        self.schedule.extend(events);
        self.scheduled += self.schedule.len() - before;
        self.schedule.make_contiguous().sort_by_key(|(at, _)| *at);
        let last = self.schedule.back().map(|(at, _)| *at);
        self.schedule_ends_at = self.schedule_ends_at.max(last);
    }
}

struct Attachment {
    id: Option<String>,
    category: String,
    media_type: String,
    is_photo: bool,
    description: String,
    content: PhotoContent,
    touches_encounter: bool,
    fault: Option<PhotoFault>,
}

/// An id as the EHR gives it; on request with every character in it that an address has to encode.
fn spelt(odd: bool, id: String) -> String {
    if odd { format!("\u{fc}|{id} +%") } else { id }
}
