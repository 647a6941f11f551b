//! What the practice knows: firms, patients, visits, documents, drafts.
//!
//! Invariants: records are only ever added or changed in place, so that an index stays good; a `lastUpdated` is the time
//! of the event and never goes back; ids are unique within a firm and repeat between firms on purpose.

mod events;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use hmac::{Hmac, Mac};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use sha2::{Digest, Sha256};
use skin_assist_core::time::Timestamp;

use crate::{
    dialect::DraftTarget,
    faults::{Faults, PhotoFault},
    oauth::Token,
    picture::Condition,
    quirks::Quirks,
    quota::{Counters, Window},
    report::{Placement, Region},
    script::ScriptEvent,
    specification::{EncounterStatus, Error, ExpectedRoute, FirmSpec, Options, PhotoContent, ResultSpec},
};

/// Everything behind the practice's lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) options: Options,
    /// In the order in which they were added.
    pub(crate) firms: Vec<Firm>,
    pub(crate) tokens: HashMap<String, Token>,
    pub(crate) tokens_issued: u64,
    /// Firm and `jti` of every client assertion that was good for a token.
    pub(crate) assertions_seen: HashSet<(String, String)>,
    pub(crate) windows: HashMap<String, Window>,
    pub(crate) counters: Counters,
    pub(crate) faults: Faults,
    pub(crate) quirks: Quirks,
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
    /// Encounter id to indexes of documents.
    pub(crate) documents_by_encounter: HashMap<String, Vec<usize>>,
    pub(crate) drafts: Vec<StoredDraft>,
    pub(crate) results: Vec<LaboratoryResult>,
}

/// An earlier result.
#[derive(Debug, Clone)]
pub(crate) struct LaboratoryResult {
    pub(crate) id: String,
    pub(crate) spec: ResultSpec,
    pub(crate) filed_at: Timestamp,
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

/// What a search at some time sees of what happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Horizon {
    now: Timestamp,
    delay: Duration,
    is_uneven: bool,
}

impl Horizon {
    /// Of whoever reads a record by its id.
    pub(crate) const EVERYTHING: Self = Self {
        now: Timestamp::from_millis(0),
        delay: Duration::ZERO,
        is_uneven: false,
    };

    /// Whether it sees what changed then.
    pub(crate) fn sees(self, changed: Timestamp) -> bool {
        if self.delay.is_zero() {
            // Whatever the clocks say.
            return true;
        }
        let delay = if self.is_uneven {
            // Spread over times that lie close together (multiplicative hashing; Knuth, The Art of Computer Programming 3, 6.4).
            let spread = (changed.as_millis() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
            self.delay.mul_f64(spread as f64 / f64::from(u32::MAX))
        } else {
            self.delay
        };
        changed + delay <= self.now
    }
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
    /// When it vanished from the chart.
    pub(crate) removed_at: Option<Timestamp>,
    /// What it was before each change, first to last; these have no earlier ones themselves.
    pub(crate) earlier: Vec<Encounter>,
}

impl Encounter {
    /// The latest version that is seen, and its number from 1.
    pub(crate) fn as_seen(&self, horizon: Horizon) -> Option<(&Self, usize)> {
        let present = (self, self.earlier.len() + 1);
        let earlier = self.earlier.iter().enumerate().rev();
        std::iter::once(present)
            .chain(earlier.map(|(index, version)| (version, index + 1)))
            .find(|(version, _)| horizon.sees(version.last_updated))
    }
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
    /// When another document took its place, and which one.
    pub(crate) superseded: Option<(Timestamp, String)>,
    /// The document whose place it took.
    pub(crate) replaces: Option<String>,
    /// When it was entered in error.
    pub(crate) retracted_at: Option<Timestamp>,
    /// When it vanished from the chart with its encounter.
    pub(crate) removed_at: Option<Timestamp>,
    pub(crate) first_listed_at: Option<Timestamp>,
    pub(crate) read_at: Option<Timestamp>,
    pub(crate) downloaded_at: Option<Timestamp>,
}

/// How a document stood at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DocumentVersion {
    /// `DocumentReference.status`.
    pub(crate) status: &'static str,
    pub(crate) last_updated: Timestamp,
    /// From 1.
    pub(crate) number: usize,
}

impl Document {
    /// How it stands as far as it is seen, if it is.
    pub(crate) fn as_seen(&self, horizon: Horizon) -> Option<DocumentVersion> {
        let happened = |at: &Timestamp| horizon.sees(*at);
        if !happened(&self.attached_at) {
            return None;
        }
        let superseded = self.superseded.as_ref().map(|(at, _)| *at).filter(happened);
        let retracted = self.retracted_at.filter(happened);
        Some(DocumentVersion {
            status: match (retracted, superseded) {
                (Some(_), _) => "entered-in-error",
                (None, Some(_)) => "superseded",
                (None, None) => "current",
            },
            last_updated: self
                .attached_at
                .max(superseded.unwrap_or(self.attached_at))
                .max(retracted.unwrap_or(self.attached_at)),
            number: 1 + usize::from(superseded.is_some()) + usize::from(retracted.is_some()),
        })
    }

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
pub(crate) struct StoredDraft {
    pub(crate) target: DraftTarget,
    pub(crate) id: String,
    pub(crate) patient: String,
    pub(crate) posted_at: Timestamp,
    /// When it was last changed, and how often it was written: its version.
    pub(crate) changed_at: Timestamp,
    pub(crate) version: usize,
    pub(crate) identifier: Option<String>,
    pub(crate) placement: Placement,
    pub(crate) encounter: Option<String>,
    pub(crate) images: Vec<DraftImage>,
    pub(crate) provenance: Option<Vec<String>>,
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
            assertions_seen: HashSet::new(),
            windows: HashMap::new(),
            counters: Counters::default(),
            faults: Faults::default(),
            quirks: Quirks::default(),
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

    /// This instant as the EHR's own clock shows it.
    pub(crate) fn shown(&self, at: Timestamp) -> Timestamp {
        Timestamp::from_millis(
            at.as_millis()
                .saturating_add(self.quirks.clock_skew_seconds.saturating_mul(1_000)),
        )
    }

    /// How far the practice's day is ahead of UTC.
    pub(crate) fn day_offset_minutes(&self) -> i32 {
        let dialect = self.options.dialect.day_offset_minutes;
        self.quirks.day_offset_minutes.unwrap_or(dialect)
    }

    /// What a search sees of what happened.
    pub(crate) fn horizon(&self, now: Timestamp) -> Horizon {
        Horizon {
            now,
            delay: self.quirks.visibility_delay,
            is_uneven: self.quirks.visibility_is_uneven,
        }
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
            documents_by_encounter: HashMap::new(),
            drafts: Vec::new(),
            results: Vec::new(),
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
}

impl StoredDraft {
    /// `Composition/{id}` or `DocumentReference/{id}`, the id as it is.
    pub(crate) fn reference(&self) -> String {
        format!("{}/{}", self.target.name(), self.id)
    }
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
    ) -> impl Iterator<Item = (&'firm StoredDraft, &'firm DraftImage)> {
        self.drafts.iter().filter_map(move |draft| {
            draft
                .images
                .iter()
                .find(|image| image.document == document)
                .map(|image| (draft, image))
        })
    }
}
