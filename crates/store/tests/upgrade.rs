//! A state file that the program of each earlier edition wrote is brought to the present one, with all that is in it.
//!
//! `states` has a file of each edition from the fourth on, made by the program of that edition with `testkit::conformance::busy`
//! (`crates/store/examples/state_for_upgrades.rs`); files of editions before that are put together in `file.rs`. The present edition's own is
//! there too, so that it is at hand when there is a next one.

// Helpers of tests, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::executor::block_on;
use rusqlite::Connection;
use skin_assist_core::{
    domain::{Delivery, DocumentStep, FirmId, FirmStatus, Mode},
    ports::{Audit, AuditAction, Credentials, Deliveries, DocumentQueue, EncounterWatches, Firms, Operations},
    time::Timestamp,
};
use skin_assist_store::{SqliteStore, StateKey};
use tempfile::TempDir;

/// The edition that this program writes.
const LATEST: u32 = 7;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_767_600_000_000) + Duration::from_secs(seconds)
}

fn key() -> StateKey {
    StateKey::from_bytes([7; 32])
}

/// The files, by edition.
fn states() -> Vec<(u32, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/states");
    let edition = |edition| (edition, folder.join(format!("edition-{edition}.state")));
    (4..=LATEST).map(edition).collect()
}

/// A copy of a state, with the keys of its firms where it has them.
fn copy(state: &Path, folder: &Path) -> PathBuf {
    let copy = folder.join("state.sqlite");
    fs::copy(state, &copy).unwrap();
    let beside = |path: &Path| PathBuf::from(format!("{}.firm-keys", path.display()));
    if beside(state).is_file() {
        fs::copy(beside(state), beside(&copy)).unwrap();
    }
    copy
}

fn edition(state: &Path) -> u32 {
    let file = Connection::open(state).unwrap();
    file.execute_batch(&format!("PRAGMA key = \"x'{}'\";", "07".repeat(32)))
        .unwrap();
    file.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

#[test]
fn a_state_of_each_edition_is_brought_to_the_present_one_with_all_that_is_in_it() {
    for (written, state) in states() {
        assert_eq!(edition(&state), written);
        let folder = TempDir::new().unwrap();
        let state = copy(&state, folder.path());
        let store = SqliteStore::open(&state, &key()).unwrap();
        assert_eq!(edition(&state), LATEST, "of edition {written}");
        is_all_there(&store, written);
        drop(store);
        // And once more, now that it is of the present edition.
        is_all_there(&SqliteStore::open(&state, &key()).unwrap(), written);
    }
}

fn is_all_there(store: &SqliteStore, written: u32) {
    let (a, b) = (FirmId::new("a"), FirmId::new("b"));
    let firms = block_on(store.firms()).unwrap();
    let firms: Vec<_> = firms
        .iter()
        .map(|firm| (firm.id.as_str(), firm.status, firm.mode))
        .collect();
    assert_eq!(
        firms,
        [
            ("a", FirmStatus::Active, Mode::Draft),
            ("b", FirmStatus::Paused, Mode::Draft)
        ],
        "of edition {written}"
    );
    let credential = block_on(store.credential(&b)).unwrap().unwrap();
    assert_eq!(credential.client_id, "b-client");
    assert!(block_on(store.cursor(&a)).unwrap().is_some());
    assert!(block_on(store.cursor(&b)).unwrap().is_none());
    let watched = &block_on(store.watch_list(&a, at(900))).unwrap()[0];
    assert_eq!(watched.watch.encounter.patient.as_str(), "patient-of-e");

    let results = block_on(store.firm_results(&a)).unwrap();
    let stand = |document: &str| {
        let of_it = results
            .iter()
            .find(|result| result.photos[0].document.as_str() == document);
        of_it.unwrap_or_else(|| panic!("the result of {document} of edition {written}"))
    };
    for document in ["delivered", "retracted"] {
        let Delivery::Delivered { reference, .. } = &stand(document).delivery else {
            panic!("{document} of edition {written}: {:?}", stand(document).delivery);
        };
        assert_eq!(reference.0, format!("Composition/{document}"));
    }
    assert!(matches!(stand("kept-back").delivery, Delivery::Withheld { .. }));
    assert!(matches!(stand("uncertain").delivery, Delivery::Uncertain { .. }));
    let note = stand("delivered").note.expose();
    assert_eq!(note.sections[0].paragraphs, ["a nevus"]);
    assert_eq!(
        stand("delivered").findings.expose().ranked[0].label.id,
        "melanocytic-nevus"
    );
    assert_eq!(block_on(store.uncertain()).unwrap().len(), 1);
    assert_eq!(block_on(store.retracted_drafts()).unwrap().len(), 1);
    let given_up = block_on(store.dead_letters()).unwrap();
    assert_eq!(given_up.len(), 1, "of edition {written}");

    let trail = block_on(store.records()).unwrap();
    let told = trail.iter().find(|record| record.action == AuditAction::FirmChanged);
    assert_eq!(told.unwrap().subject, "mode draft");
}

/// What was under way goes on, and what is done is not done again.
#[test]
fn work_goes_on_where_it_was() {
    for (written, state) in states() {
        let folder = TempDir::new().unwrap();
        let store = SqliteStore::open(&copy(&state, folder.path()), &key()).unwrap();
        let lease_for = Duration::from_secs(30);
        for (step, document) in [(DocumentStep::Download, "found"), (DocumentStep::Infer, "downloaded")] {
            let leases = block_on(store.acquire_documents(step, at(1000), lease_for, 9)).unwrap();
            let leased: Vec<&str> = leases.iter().map(|lease| lease.item().document.as_str()).collect();
            assert_eq!(leased, [document], "of edition {written}");
        }
        let drafts = block_on(store.acquire_results(at(1000), lease_for, 9)).unwrap();
        assert!(
            drafts.is_empty(),
            "of edition {written}: nothing is posted a second time"
        );
    }
}
