//! What the practice knows: firms, patients, visits, documents, drafts; and the changes that can happen to them.
//!
//! Invariants: records are only ever added or changed in place, so that an index stays good; a `lastUpdated` is the time
//! of the event and never goes back; ids are unique within a firm and repeat between firms on purpose.

use std::collections::{HashMap, VecDeque};

use hmac::{Hmac, Mac};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use sha2::{Digest, Sha256};
use skin_assist_core::time::Timestamp;

use crate::{
    faults::{Faults, PhotoFault},
    oauth::Token,
    picture::Condition,
    quota::{Counters, Window},
    report::{Placement, Region},
    script::{ScriptAction, ScriptEvent},
    specification::{
        DocumentSpec, EncounterSpec, EncounterStatus, Error, ExpectedRoute, FirmSpec, Options, PhotoContent, PhotoSpec,
    },
};

/// Everything behind the practice's lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) options: Options,
    /// In the order in which they were added.
    pub(crate) firms: Vec<Firm>,
    pub(crate) tokens: HashMap<String, Token>,
    pub(crate) tokens_issued: u64,
    pub(crate) windows: HashMap<String, Window>,
    pub(crate) counters: Counters,
    pub(crate) faults: Faults,
    /// Events to come, earliest first.
    pub(crate) schedule: VecDeque<(Timestamp, ScriptEvent)>,
    pub(crate) scheduled: usize,
    pub(crate) schedule_ends_at: Option<Timestamp>,
    /// Object key to (firm's index, document's index).
    pub(crate) objects: HashMap<String, (usize, usize)>,
}

/// A practice.
#[derive(Debug)]
pub(crate) struct Firm {
    pub(crate) spec: FirmSpec,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) secret_revoked: bool,
    pub(crate) secrets_issued: u32,
    pub(crate) api_key: String,
    pub(crate) patients: Table<Patient>,
    pub(crate) encounters: Table<Encounter>,
    pub(crate) documents: Table<Document>,
    /// Patient id to indexes of documents.
    pub(crate) documents_by_patient: HashMap<String, Vec<usize>>,
    pub(crate) compositions: Vec<StoredComposition>,
}

/// Records in the order in which they were added, found by id.
#[derive(Debug)]
pub(crate) struct Table<Record> {
    records: Vec<Record>,
    index: HashMap<String, usize>,
    next_number: u64,
}

impl<Record> Table<Record> {
    fn starting_at(next_number: u64) -> Self {
        Self {
            records: Vec::new(),
            index: HashMap::new(),
            next_number,
        }
    }

    pub(crate) fn all(&self) -> &[Record] {
        &self.records
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Record> {
        self.index.get(id).and_then(|index| self.records.get(*index))
    }

    pub(crate) fn at(&self, index: usize) -> Option<&Record> {
        self.records.get(index)
    }

    pub(crate) fn at_mut(&mut self, index: usize) -> Option<&mut Record> {
        self.records.get_mut(index)
    }

    pub(crate) fn position(&self, id: &str) -> Option<usize> {
        self.index.get(id).copied()
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut Record> {
        self.position(id).and_then(|index| self.at_mut(index))
    }

    /// The next number whose id is free.
    fn next_id(&mut self, format: impl Fn(u64) -> String) -> String {
        loop {
            let id = format(self.next_number);
            self.next_number += 1;
            if !self.index.contains_key(&id) {
                return id;
            }
        }
    }

    fn add(&mut self, id: &str, record: Record) -> usize {
        let index = self.records.len();
        self.index.insert(id.to_owned(), index);
        self.records.push(record);
        index
    }
}

/// A made-up person.
#[derive(Debug, Clone)]
pub(crate) struct Patient {
    pub(crate) id: String,
    pub(crate) given: &'static str,
    pub(crate) family: &'static str,
    pub(crate) gender: &'static str,
    pub(crate) birth_date: String,
    pub(crate) last_updated: Timestamp,
}

/// A visit.
#[derive(Debug, Clone)]
pub(crate) struct Encounter {
    pub(crate) id: String,
    pub(crate) patient: String,
    pub(crate) practitioner: String,
    pub(crate) status: EncounterStatus,
    pub(crate) opened_at: Timestamp,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) last_updated: Timestamp,
}

/// A document: a photo or something else.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) id: String,
    pub(crate) encounter: String,
    pub(crate) patient: String,
    pub(crate) category: String,
    pub(crate) route: ExpectedRoute,
    pub(crate) media_type: String,
    pub(crate) is_photo: bool,
    pub(crate) description: String,
    pub(crate) content: PhotoContent,
    pub(crate) fault: Option<PhotoFault>,
    /// The object store's key.
    pub(crate) object: String,
    pub(crate) attached_at: Timestamp,
    pub(crate) first_listed_at: Option<Timestamp>,
    pub(crate) read_at: Option<Timestamp>,
    pub(crate) downloaded_at: Option<Timestamp>,
}

impl Document {
    /// What the picture shows, where it is known.
    pub(crate) fn condition(&self) -> Option<Condition> {
        match self.content {
            PhotoContent::Synthetic { condition, .. } => condition,
            PhotoContent::Bytes(_) => None,
        }
    }

    pub(crate) fn file_name(&self) -> String {
        let extension = match self.media_type.as_str() {
            "image/jpeg" => "jpg",
            "application/pdf" => "pdf",
            _ => "bin",
        };
        let number = self.id.rsplit('|').next().unwrap_or(&self.id);
        format!("{}-{number}.{extension}", self.category.to_lowercase())
    }
}

/// A draft as it was posted.
#[derive(Debug, Clone)]
pub(crate) struct StoredComposition {
    pub(crate) id: String,
    pub(crate) posted_at: Timestamp,
    pub(crate) identifier: Option<String>,
    pub(crate) placement: Placement,
    pub(crate) encounter: Option<String>,
    pub(crate) images: Vec<DraftImage>,
    /// The whole resource, unknown elements included.
    pub(crate) resource: Value,
}

/// A photo that a draft names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DraftImage {
    pub(crate) document: String,
    pub(crate) regions: Vec<Region>,
}

const GIVEN_NAMES: [&str; 12] = [
    "Avery", "Blake", "Casey", "Devon", "Emery", "Finley", "Harper", "Jamie", "Kendall", "Logan", "Morgan", "Quinn",
];
const FAMILY_NAMES: [&str; 8] = [
    "Testperson",
    "Sampleton",
    "Placeholder",
    "Mockingbird",
    "Fictional",
    "Exampleby",
    "Notareal",
    "Demofield",
];

impl State {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            firms: Vec::new(),
            tokens: HashMap::new(),
            tokens_issued: 0,
            windows: HashMap::new(),
            counters: Counters::default(),
            faults: Faults::default(),
            schedule: VecDeque::new(),
            scheduled: 0,
            schedule_ends_at: None,
            objects: HashMap::new(),
        }
    }

    /// Thirty-two bytes that follow from the seed and these words.
    pub(crate) fn derive(&self, words: &[&str]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.options.seed.to_be_bytes());
        for word in words {
            hash.update((word.len() as u64).to_be_bytes());
            hash.update(word.as_bytes());
        }
        hash.finalize().into()
    }

    /// HMAC-SHA-256 under a key that follows from the seed, in hexadecimal.
    pub(crate) fn sign(&self, text: &str) -> String {
        // HMAC takes keys of any length; the error cannot occur, and without a key nothing would verify.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.derive(&["signing key"])) else {
            return String::new();
        };
        mac.update(text.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    pub(crate) fn firm_position(&self, prefix: &str) -> Option<usize> {
        self.firms.iter().position(|firm| firm.spec.prefix == prefix)
    }

    pub(crate) fn firm(&self, prefix: &str) -> Option<&Firm> {
        self.firms.iter().find(|firm| firm.spec.prefix == prefix)
    }

    pub(crate) fn firm_mut(&mut self, prefix: &str) -> Result<&mut Firm, Error> {
        self.firms
            .iter_mut()
            .find(|firm| firm.spec.prefix == prefix)
            .ok_or_else(|| Error::UnknownFirm(prefix.to_owned()))
    }

    pub(crate) fn add_firm(&mut self, spec: FirmSpec) -> Result<(), Error> {
        if self.firm(&spec.prefix).is_some() {
            return Err(Error::FirmExists(spec.prefix));
        }
        let firm = Firm {
            client_id: format!("client-{}", spec.prefix),
            client_secret: self.secret(&spec.prefix, 1),
            secret_revoked: false,
            secrets_issued: 1,
            api_key: spec.api_key.clone().unwrap_or_else(|| self.options.api_key.clone()),
            patients: Table::starting_at(30_001),
            encounters: Table::starting_at(5_001),
            documents: Table::starting_at(139_977),
            documents_by_patient: HashMap::new(),
            compositions: Vec::new(),
            spec,
        };
        self.windows.entry(firm.api_key.clone()).or_default();
        self.firms.push(firm);
        Ok(())
    }

    fn secret(&self, prefix: &str, number: u32) -> String {
        let bytes = self.derive(&["client secret", prefix, &number.to_string()]);
        hex::encode(bytes.get(..16).unwrap_or(&bytes))
    }

    /// A new secret in place of the old one, which is worth nothing from now on.
    pub(crate) fn rotate_secret(&mut self, prefix: &str) -> Result<(), Error> {
        let number = self.firm_mut(prefix)?.secrets_issued + 1;
        let secret = self.secret(prefix, number);
        let firm = self.firm_mut(prefix)?;
        firm.secrets_issued = number;
        firm.client_secret = secret;
        firm.secret_revoked = false;
        Ok(())
    }

    fn new_patient(&self, prefix: &str, id: &str, now: Timestamp) -> Patient {
        let mut random = ChaCha8Rng::from_seed(self.derive(&["patient", prefix, id]));
        let pick = |names: &[&'static str], random: &mut ChaCha8Rng| {
            let index = random.random_range(0..names.len());
            names.get(index).copied().unwrap_or("Test")
        };
        Patient {
            id: id.to_owned(),
            given: pick(&GIVEN_NAMES, &mut random),
            family: pick(&FAMILY_NAMES, &mut random),
            gender: pick(&["female", "male", "female", "male", "other"], &mut random),
            birth_date: format!(
                "{}-{:02}-{:02}",
                random.random_range(1936..2019),
                random.random_range(1..=12),
                random.random_range(1..=28)
            ),
            last_updated: now,
        }
    }

    pub(crate) fn open_encounter(
        &mut self,
        now: Timestamp,
        prefix: &str,
        spec: EncounterSpec,
    ) -> Result<String, Error> {
        let firm = self.firm_mut(prefix)?;
        let id = match spec.id {
            Some(id) if firm.encounters.get(&id).is_some() => {
                return Err(Error::IdExists {
                    firm: prefix.to_owned(),
                    id,
                });
            }
            Some(id) => id,
            None => firm.encounters.next_id(|number| number.to_string()),
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
            .unwrap_or_else(|| firm.patients.next_id(|number| number.to_string()));
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
            None => firm.documents.next_id(|number| format!("file|{number}")),
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
            first_listed_at: None,
            read_at: None,
            downloaded_at: None,
        };
        let firm = self.firm_mut(prefix)?;
        let index = firm.documents.add(&id, document);
        firm.documents_by_patient.entry(patient).or_default().push(index);
        self.objects.insert(object, (firm_position, index));
        if attachment.touches_encounter {
            self.change_encounter(now, prefix, encounter, None)?;
        }
        Ok(id)
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

impl Firm {
    /// The words for a category's code.
    pub(crate) fn category_display<'firm>(&'firm self, code: &'firm str) -> &'firm str {
        self.spec
            .categories
            .iter()
            .find(|category| category.code == code)
            .map_or(code, |category| category.display.as_str())
    }

    /// "Given Family", as the chart shows a clinician.
    pub(crate) fn practitioner_name(&self, id: &str) -> Option<String> {
        self.spec
            .practitioners
            .iter()
            .find(|practitioner| practitioner.id == id)
            .map(|practitioner| format!("{} {}", practitioner.given, practitioner.family))
    }

    /// The drafts that name this document, first to last.
    pub(crate) fn drafts_for<'firm>(
        &'firm self,
        document: &'firm str,
    ) -> impl Iterator<Item = (&'firm StoredComposition, &'firm DraftImage)> {
        self.compositions.iter().filter_map(move |composition| {
            composition
                .images
                .iter()
                .find(|image| image.document == document)
                .map(|image| (composition, image))
        })
    }
}
