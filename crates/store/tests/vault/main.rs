//! Keys: that of the state file and its rotation, those of firms and their destruction, and backups, which have neither.

// Helpers of tests, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

mod copies;
mod firm_keys;
mod rotation;
mod sealing;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::executor::block_on;
use rusqlite::{Connection, types::ValueRef};
use skin_assist_core::{
    domain::{
        AssessmentId, CategoryCode, Cursor, DocumentId, DocumentStep, DocumentWatch, Encounter, EncounterId,
        EncounterStatus, Firm, FirmId, FirmStatus, Mode, NewCredential, PatientId, PractitionerId, Route,
    },
    phi::Secret,
    ports::{Audit, AuditAction, AuditRecord, Credentials, DocumentQueue, EncounterWatches, FirmAdministration, Firms},
    time::Timestamp,
};
use skin_assist_store::{SqliteStore, StateKey};
use tempfile::TempDir;

const LEASE: Duration = Duration::from_secs(30);

fn key(byte: u8) -> StateKey {
    StateKey::from_bytes([byte; 32])
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_767_600_000_000) + Duration::from_secs(seconds)
}

/// A folder with a state file and, in a folder of its own, the firm keys.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("keys")).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn state(&self) -> PathBuf {
        self.path("state.db")
    }

    fn firm_keys(&self) -> PathBuf {
        self.path("keys/firm-keys")
    }

    fn open(&self) -> SqliteStore {
        SqliteStore::open_with(&self.state(), &self.firm_keys(), &key(7)).unwrap()
    }
}

/// What `fill` stores of a firm that comes from its EHR: none of it may be readable without the firm's key.
fn of_the_ehr(firm: &str) -> Vec<String> {
    [
        "client",
        "secret",
        "encounter",
        "patient",
        "practitioner",
        "document",
        "assessment",
    ]
    .into_iter()
    .map(|what| named(firm, what))
    .collect()
}

fn named(firm: &str, what: &str) -> String {
    format!("{what}-of-{firm}-4711")
}

/// Connects a firm, with a visit, a photo that is due, and a record of who read it.
fn fill(store: &SqliteStore, name: &str) {
    let firm = Firm {
        id: FirmId::new(name),
        url_prefix: name.into(),
        status: FirmStatus::Active,
        mode: Mode::Silent,
        intended_use: None,
        categories: BTreeMap::new(),
        api_key: None,
        connected_at: at(0),
        photos_since: at(0),
    };
    let credential = NewCredential::secret(named(name, "client"), Secret::new(named(name, "secret")));
    block_on(store.add_firm(&firm, &credential)).unwrap();
    let practitioner = Some(PractitionerId::new(named(name, "practitioner")));
    let encounter = EncounterId::new(named(name, "encounter"));
    let seen = Encounter {
        id: encounter.clone(),
        patient: PatientId::new(named(name, "patient")),
        practitioner: practitioner.clone(),
        status: EncounterStatus::Open,
        last_updated: Some(at(0)),
    };
    block_on(store.record_encounters(&firm.id, None, Cursor(at(0)), &[seen], at(0))).unwrap();
    let lease = block_on(store.acquire_encounters(&firm.id, std::slice::from_ref(&encounter), at(0), LEASE))
        .unwrap()
        .remove(0);
    let document = DocumentId::new(named(name, "document"));
    let found = DocumentWatch {
        firm: firm.id.clone(),
        document: document.clone(),
        encounter,
        patient: PatientId::new(named(name, "patient")),
        practitioner,
        category: CategoryCode::new("c"),
        route: Route::Solitary,
        assessment: AssessmentId::new(named(name, "assessment")),
        attached_at: None,
        detected_at: at(0),
        gathers_until: None,
        closed: None,
        photo: None,
    };
    block_on(store.record_documents(lease, &[found], &[], at(0))).unwrap();
    for (action, subject) in [
        (AuditAction::PhotoRead, document.as_str()),
        (AuditAction::FirmChanged, "mode silent"),
    ] {
        let record = AuditRecord {
            at: at(0),
            firm: firm.id.clone(),
            actor: "test".into(),
            action,
            subject: subject.to_owned(),
        };
        block_on(store.record(&record)).unwrap();
    }
}

/// The program can read what `fill` stored of the firm.
fn is_readable(store: &SqliteStore, name: &str) {
    let firm = FirmId::new(name);
    let credential = block_on(store.credential(&firm)).unwrap().unwrap();
    assert_eq!(credential.client_id, named(name, "client"));
    assert_eq!(credential.client_secret.expose(), named(name, "secret"));
    let watched = block_on(store.watch_list(&firm, at(0))).unwrap();
    assert_eq!(watched.len(), 1);
    assert_eq!(watched[0].photos, 1);
    assert_eq!(watched[0].watch.encounter.patient.as_str(), named(name, "patient"));
    let records = block_on(store.records()).unwrap();
    let read = records
        .iter()
        .rfind(|record| record.firm == firm && record.action == AuditAction::PhotoRead);
    assert_eq!(read.unwrap().subject, named(name, "document"));
}

/// The names of the firms that there are.
fn firms(store: &SqliteStore) -> Vec<String> {
    let firms = block_on(store.firms()).unwrap();
    firms.into_iter().map(|firm| firm.id.as_str().to_owned()).collect()
}

fn due(store: &SqliteStore) -> usize {
    block_on(store.acquire_documents(DocumentStep::Download, at(0), LEASE, 10))
        .unwrap()
        .len()
}

/// The file as whoever has the state's key sees it, without the program.
fn raw(path: &Path, byte: u8) -> Connection {
    let connection = Connection::open(path).unwrap();
    let digits = hex::encode([byte; 32]);
    connection
        .execute_batch(&format!("PRAGMA key = \"x'{digits}'\";"))
        .unwrap();
    connection
}

/// Every text of every table, with the name of its table, its column and its firm.
fn texts(connection: &Connection) -> Vec<(String, String, Option<String>, String)> {
    let mut names = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        .unwrap();
    let tables: Vec<String> = names
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut texts = Vec::new();
    for table in tables {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let firm = row.get::<_, String>("firm").ok();
            for (place, column) in columns.iter().enumerate() {
                if let ValueRef::Text(text) = row.get_ref(place).unwrap() {
                    let text = String::from_utf8(text.to_vec()).unwrap();
                    texts.push((table.clone(), column.clone(), firm.clone(), text));
                }
            }
        }
    }
    texts
}
