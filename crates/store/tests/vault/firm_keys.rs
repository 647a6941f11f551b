//! The file of firm keys: shredding, two processes, a file that is lost.

use std::error::Error as _;

use skin_assist_core::ports::{Deliveries as _, StateError};
use skin_assist_store::{FirmKeysError, OpenError};

use super::*;

#[test]
fn a_shredded_firm_is_gone_and_its_audit_trail_says_no_more_than_that() {
    let place = Place::new();
    let store = place.open();
    fill(&store, "elm");
    fill(&store, "oak");
    let elm = FirmId::new("elm");
    store.shred_firm(&elm, "operator", at(1)).unwrap();
    assert_eq!(firms(&store), ["oak"]);
    is_readable(&store, "oak");
    let records = block_on(store.records()).unwrap();
    let of_elm: Vec<&str> = records
        .iter()
        .filter(|record| record.firm == elm)
        .map(|record| record.subject.as_str())
        .collect();
    assert_eq!(of_elm, ["[shredded]", "mode silent", "shredding begun", "shredded"]);
    let last = records.last().unwrap();
    assert_eq!((last.actor.as_str(), last.at), ("operator", at(1)));
    let again = store.shred_firm(&elm, "operator", at(2));
    assert!(matches!(again, Err(StateError::NotFound { .. })), "{again:?}");
    assert_eq!(
        block_on(store.records()).unwrap(),
        records,
        "of what was not done nothing is said"
    );

    // Another practice of the same name has another key.
    fill(&store, "elm");
    is_readable(&store, "elm");
    drop(store);
    let store = place.open();
    is_readable(&store, "elm");
    assert_eq!(due(&store), 2);
}

/// What was removed without being shredded keeps its key, and can be shredded later.
#[test]
fn a_removed_firm_can_be_shredded_afterwards() {
    let place = Place::new();
    let store = place.open();
    fill(&store, "elm");
    let elm = FirmId::new("elm");
    block_on(store.remove_firm(&elm)).unwrap();
    let subject = |store: &SqliteStore| block_on(store.records()).unwrap()[0].subject.clone();
    assert_eq!(subject(&store), named("elm", "document"));
    store.shred_firm(&elm, "operator", at(1)).unwrap();
    assert_eq!(subject(&store), "[shredded]");
}

/// No transaction takes back that a key was destroyed: whatever becomes of the rest, it is in the trail who began with it.
#[test]
fn a_shredding_that_is_cut_off_is_recorded() {
    let place = Place::new();
    let store = place.open();
    fill(&store, "elm");
    let cut_off = "CREATE TRIGGER cut_off BEFORE DELETE ON firms BEGIN SELECT raise(ABORT, 'cut off'); END";
    raw(&place.state(), 7).execute_batch(cut_off).unwrap();
    let elm = FirmId::new("elm");
    assert!(store.shred_firm(&elm, "operator", at(1)).is_err());
    drop(store);
    raw(&place.state(), 7).execute_batch("DROP TRIGGER cut_off").unwrap();
    let store = place.open();
    assert_eq!(firms(&store), [""; 0], "its key is gone, and its rows go");
    let records = block_on(store.records()).unwrap();
    let last = records.last().unwrap();
    assert_eq!((&last.firm, last.actor.as_str()), (&elm, "operator"));
    assert_eq!(last.subject, "shredding begun", "and not that it was done");
}

/// A process that has worked with a key until now does not go on with it.
#[test]
fn another_process_notices_that_a_firm_was_shredded() {
    let place = Place::new();
    let (one, other) = (place.open(), place.open());
    fill(&one, "elm");
    fill(&other, "oak");
    is_readable(&one, "oak");
    is_readable(&other, "elm");
    let lease = block_on(other.acquire_documents(DocumentStep::Download, at(0), LEASE, 1))
        .unwrap()
        .remove(0);
    let leased = lease.item().firm.clone();
    one.shred_firm(&leased, "operator", at(1)).unwrap();
    assert!(!firms(&other).contains(&leased.as_str().to_owned()));
    let lost = block_on(other.retry_document(lease, at(2)));
    assert!(matches!(lost, Err(StateError::LeaseLost)), "{lost:?}");
    assert_eq!(block_on(other.acquire_results(at(0), LEASE, 9)).unwrap().len(), 0);
    fill(&other, leased.as_str());
    is_readable(&one, leased.as_str());
}

/// The process ends, or the machine, when the key is gone and the rows are not yet.
#[test]
fn a_crash_between_the_key_and_the_rows_is_made_good() {
    let place = Place::new();
    let store = place.open();
    fill(&store, "elm");
    fill(&store, "oak");
    drop(store);
    let before = place.path("before.db");
    fs::copy(place.state(), &before).unwrap();
    place.open().shred_firm(&FirmId::new("elm"), "operator", at(1)).unwrap();
    fs::copy(&before, place.state()).unwrap();
    let store = place.open();
    assert_eq!(firms(&store), ["oak"]);
    is_readable(&store, "oak");
    assert_eq!(due(&store), 1);
}

/// The same, seen by a process that goes on: it looks at the file of keys before each transaction.
#[test]
fn a_crash_of_another_process_is_made_good_by_one_that_goes_on() {
    let place = Place::new();
    let store = place.open();
    fill(&store, "elm");
    fill(&store, "oak");
    // The keys as they are after a shredding, made on a copy of the state: this process sees no row change.
    let copy = place.path("copy.db");
    store.back_up(&copy, &key(7)).unwrap();
    let shredding = SqliteStore::open_with(&copy, &place.firm_keys(), &key(7)).unwrap();
    shredding.shred_firm(&FirmId::new("elm"), "operator", at(1)).unwrap();
    assert_eq!(due(&store), 1, "of the other firm alone");
    assert_eq!(firms(&store), ["oak"]);
}

fn refused(place: &Place) -> FirmKeysError {
    let error = SqliteStore::open_with(&place.state(), &place.firm_keys(), &key(7)).unwrap_err();
    assert!(!error.hint().is_empty());
    match error {
        OpenError::FirmKeys { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

/// Nothing is made in the place of a file of keys that is missing or too old: that would lose for good what is only misplaced.
#[test]
fn a_file_of_keys_that_is_lost_or_another_is_refused() {
    let place = Place::new();
    let store = place.open();
    fill(&store, "elm");
    let older = fs::read(place.firm_keys()).unwrap();
    fill(&store, "oak");
    let kept = fs::read(place.firm_keys()).unwrap();

    fs::remove_file(place.firm_keys()).unwrap();
    let outcome = block_on(store.firms());
    assert!(matches!(outcome, Err(StateError::Unavailable(_))), "{outcome:?}");
    drop(store);
    let error = refused(&place);
    assert!(matches!(error, FirmKeysError::Missing { .. }), "{error:?}");
    assert!(!place.firm_keys().exists());

    fs::write(place.firm_keys(), older).unwrap();
    let error = refused(&place);
    assert!(
        matches!(&error, FirmKeysError::KeyMissing { firm, .. } if firm == "oak"),
        "{error:?}"
    );

    let other = Place::new();
    drop(SqliteStore::open_with(&other.state(), &other.firm_keys(), &key(8)).unwrap());
    fs::copy(other.firm_keys(), place.firm_keys()).unwrap();
    let error = refused(&place);
    assert!(
        matches!(error, FirmKeysError::Unusable { .. }) && error.source().is_some(),
        "{error:?}"
    );

    fs::write(place.firm_keys(), kept).unwrap();
    let store = place.open();
    is_readable(&store, "elm");
    is_readable(&store, "oak");
}

/// What replaced a file overwrites it: the key is not in the blocks that another name may still lead to.
#[test]
fn the_file_that_had_a_destroyed_key_is_overwritten() {
    let place = Place::new();
    let store = place.open();
    fill(&store, "elm");
    let another_name = place.path("another-name");
    fs::hard_link(place.firm_keys(), &another_name).unwrap();
    assert!(fs::read_to_string(&another_name).unwrap().contains("elm"));
    store.shred_firm(&FirmId::new("elm"), "operator", at(1)).unwrap();
    assert!(fs::read(&another_name).unwrap().iter().all(|byte| *byte == 0));
}
