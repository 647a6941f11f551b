//! How fast the store is on a real, encrypted file, one JSON object a line: name, value, unit.
//!
//! `cargo run --release -p skin-assist-store --example store_bench [folder]`: the folder's disk decides, since each
//! transaction waits for it; without a folder it is the system's temporary one.

// A measurement reads the clock and prints.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::executor::block_on;
use skin_assist_core::{
    domain::{
        AssessmentId, CategoryCode, Cursor, DocumentId, DocumentStep, DocumentWatch, Encounter, EncounterId,
        EncounterStatus, Firm, FirmId, FirmStatus, Mode, NewCredential, PatientId, PhotoBytes, PhotoDigest, Route,
        StoredPhoto,
    },
    phi::Secret,
    ports::{CallGrants, CallKind, DocumentQueue, EncounterWatches, FirmAdministration, QuotaKey},
    time::Timestamp,
};
use skin_assist_store::{SqliteStore, StateKey};

const DOCUMENTS: usize = 100_000;
const ENCOUNTERS: usize = 10_000;
const LEASE: Duration = Duration::from_secs(30);

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_767_600_000_000) + Duration::from_secs(seconds)
}

fn say(name: &str, value: f64, unit: &str) {
    println!("{{\"name\":\"{name}\",\"value\":{value:.3},\"unit\":\"{unit}\"}}");
}

/// Says how many of `count` things `work` did in a second.
fn measure(name: &str, count: usize, unit: &str, work: impl FnOnce()) {
    let start = Instant::now();
    work();
    say(name, count as f64 / start.elapsed().as_secs_f64(), unit);
}

fn encounters(from: usize, count: usize, version: Timestamp) -> Vec<Encounter> {
    (from..from + count)
        .map(|number| Encounter {
            id: EncounterId::new(format!("encounter-{number}")),
            patient: PatientId::new(format!("patient-{number}")),
            practitioner: None,
            status: EncounterStatus::Open,
            last_updated: Some(version),
        })
        .collect()
}

fn document(firm: &FirmId, number: usize) -> DocumentWatch {
    DocumentWatch {
        firm: firm.clone(),
        document: DocumentId::new(format!("file|{number}")),
        encounter: EncounterId::new("encounter-0"),
        patient: PatientId::new("patient-0"),
        practitioner: None,
        category: CategoryCode::new("clinical-photo"),
        route: Route::Solitary,
        assessment: AssessmentId::new(format!("{number:032x}")),
        attached_at: Some(at(0)),
        detected_at: at(0),
        gathers_until: None,
        closed: None,
        photo: None,
    }
}

fn main() {
    let folder = match std::env::args_os().nth(1) {
        Some(folder) => tempfile::TempDir::new_in(folder).unwrap(),
        None => tempfile::TempDir::new().unwrap(),
    };
    let store = SqliteStore::open(&folder.path().join("state.db"), &StateKey::from_bytes([7; 32])).unwrap();
    let firm = Firm {
        id: FirmId::new("bench"),
        url_prefix: "bench".into(),
        status: FirmStatus::Active,
        mode: Mode::Silent,
        intended_use: None,
        categories: BTreeMap::new(),
        api_key: None,
        connected_at: at(0),
        photos_since: at(0),
    };
    block_on(store.add_firm(&firm, &NewCredential::secret("client", Secret::new("secret".into())))).unwrap();
    let firm = firm.id;

    let poll = |expected: Option<u64>, next: u64, from: usize, version: u64| {
        let seen = encounters(from, 50, at(version));
        let cursor = expected.map(|seconds| Cursor(at(seconds)));
        block_on(store.record_encounters(&firm, cursor, Cursor(at(next)), &seen, at(next))).unwrap()
    };
    poll(None, 0, 0, 0);
    let cycle = |name: &str, version: u64| {
        measure(name, ENCOUNTERS, "rows/s", || {
            for from in (0..ENCOUNTERS).step_by(50) {
                poll(Some(0), 0, from, version);
            }
        });
    };
    cycle("store.encounters_observed_new", 0);
    cycle("store.encounters_observed_unchanged", 0);
    cycle("store.encounters_observed_changed", 1);

    for from in (0..DOCUMENTS).step_by(1000) {
        let ids = [EncounterId::new("encounter-0")];
        let lease = block_on(store.acquire_encounters(&firm, &ids, at(0), LEASE))
            .unwrap()
            .remove(0);
        let found: Vec<_> = (from..from + 1000).map(|number| document(&firm, number)).collect();
        block_on(store.record_documents(lease, &found, &[], at(0))).unwrap();
    }
    let acquire = |now, limit| block_on(store.acquire_documents(DocumentStep::Download, now, LEASE, limit)).unwrap();
    measure("store.leases_acquired_in_batches_of_50", DOCUMENTS, "leases/s", || {
        for _ in 0..DOCUMENTS / 50 {
            assert_eq!(acquire(at(0), 50).len(), 50);
        }
    });
    assert!(acquire(at(0), 1).is_empty());

    let photo = StoredPhoto {
        digest: PhotoDigest::of(&PhotoBytes::default()),
        bytes: 0,
        downloaded_at: at(60),
    };
    let finish = |batch: usize, count: usize| {
        for _ in 0..count / batch {
            let leases = acquire(at(60), batch);
            assert_eq!(leases.len(), batch);
            for lease in leases {
                block_on(store.record_photo(lease, &photo)).unwrap();
            }
        }
    };
    measure(
        "store.leases_acquired_and_finished_in_batches_of_50",
        5000,
        "leases/s",
        || finish(50, 5000),
    );
    measure(
        "store.leases_acquired_and_finished_one_by_one",
        3000,
        "leases/s",
        || finish(1, 3000),
    );

    let quota = QuotaKey {
        name: "bench".into(),
        calls: 1000,
        window: Duration::from_secs(60),
    };
    measure("store.grants", 3000, "grants/s", || {
        for turn in 0..3000 {
            block_on(store.take(&quota, CallKind::Document, at(turn / 10))).unwrap();
        }
    });

    measure("store.pauses_of_a_firm_with_100k_photos", 1, "pauses/s", || {
        block_on(store.set_firm_status(&firm, FirmStatus::Paused)).unwrap();
    });
}
