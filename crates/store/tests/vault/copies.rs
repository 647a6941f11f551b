//! Backups, and what they hold of a firm that was shredded after they were made.

use skin_assist_store::{CopyError, OpenError};
use skin_assist_vault::{KeyRing, Kind, WrappingKey};

use super::*;

fn restore(place: &Place, from: &Path, replace: bool) -> Result<skin_assist_store::Contents, CopyError> {
    SqliteStore::restore(&place.state(), &place.firm_keys(), &key(7), from, &key(7), replace)
}

/// How many values of a firm in a backup open with its key in a file of keys: tried without the program, on whatever is stored.
fn opened_by_hand(backup: &Path, firm_keys: &[u8], firm: &str) -> usize {
    let wrapping = WrappingKey::derive(&[7; 32]);
    let ring = KeyRing::read(std::str::from_utf8(firm_keys).unwrap(), &wrapping).unwrap();
    let keys: Vec<_> = ring.firms().map(|firm| ring.key(firm).unwrap()).collect();
    let kinds = ["item", "encounter", "patient", "practitioner", "credential", "audit"].map(Kind::named);
    texts(&raw(backup, 7))
        .iter()
        .filter(|(_, _, owner, _)| owner.as_deref() == Some(firm))
        .filter(|(.., text)| {
            keys.iter()
                .any(|key| kinds.iter().any(|kind| key.open(*kind, text).is_ok()))
        })
        .count()
}

/// The promise: who removes a firm with --shred makes unreadable what every backup has of it, and nothing else.
#[test]
fn a_backup_of_two_firms_gives_back_the_one_that_was_not_shredded() {
    let place = Place::new();
    let store = place.open();
    fill(&store, "elm");
    fill(&store, "oak");
    let backup = place.path("backup.db");
    let contents = store.back_up(&backup, &key(7)).unwrap();
    assert_eq!(contents.rows["document_watch"], 2);
    assert_eq!(contents.sealed["elm"], contents.sealed["oak"]);
    assert!(contents.sealed["elm"] > 8, "{contents:?}");
    let before = fs::read(place.firm_keys()).unwrap();

    store.shred_firm(&FirmId::new("elm"), "operator", at(1)).unwrap();
    drop(store);
    let contents = restore(&place, &backup, true).unwrap();
    assert_eq!(contents.shredded, ["elm"]);
    let store = place.open();
    is_readable(&store, "oak");
    assert_eq!(firms(&store), ["oak"]);
    let status = block_on(store.firms()).unwrap()[0].status;
    assert_eq!(
        status,
        FirmStatus::Paused,
        "the charts may have what it does not know of"
    );
    let records = block_on(store.records()).unwrap();
    let unreadable = records.iter().filter(|record| record.subject == "[shredded]").count();
    assert_eq!(unreadable, 1, "what was read of the shredded firm");
    drop(store);

    // And by hand, from the backup itself, with the state's key: it is there, and nothing opens it.
    let texts = texts(&raw(&backup, 7));
    assert!(
        texts
            .iter()
            .any(|(table, _, firm, _)| table == "credentials" && firm.as_deref() == Some("elm"))
    );
    for word in of_the_ehr("elm").iter().chain(&of_the_ehr("oak")) {
        assert!(
            texts.iter().all(|(.., text)| !text.contains(word)),
            "{word} can be read"
        );
    }
    let after = fs::read(place.firm_keys()).unwrap();
    assert_eq!(opened_by_hand(&backup, &after, "elm"), 0);
    assert!(opened_by_hand(&backup, &after, "oak") > 8);
    // What made the difference is the key: with a copy of the keys from before, which nobody may keep, it would open.
    assert!(opened_by_hand(&backup, &before, "elm") > 8);
}

/// A backup is made while others work, and holds what had been recorded by then.
#[test]
fn a_backup_is_one_file_that_is_put_back_as_it_was() {
    let place = Place::new();
    let (store, other) = (place.open(), place.open());
    fill(&store, "elm");
    let backup = place.path("backup.db");
    let made = store.back_up(&backup, &key(7)).unwrap();
    fill(&other, "oak");
    let names = |name: &str| -> Vec<_> {
        let entries = fs::read_dir(place.folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|found| found.starts_with(name)).collect()
    };
    assert_eq!(names("backup"), ["backup.db"]);
    let again = store.back_up(&backup, &key(7));
    assert!(matches!(again, Err(CopyError::Exists { .. })), "{again:?}");

    let refused = restore(&place, &backup, false);
    assert!(matches!(refused, Err(CopyError::Exists { .. })), "{refused:?}");
    let refused = restore(&place, &backup, true);
    assert!(matches!(refused, Err(CopyError::InUse { .. })), "{refused:?}");
    assert_eq!(firms(&store), ["elm", "oak"]);
    drop((store, other));
    let restored = restore(&place, &backup, true).unwrap();
    assert_eq!(restored, made);
    assert_eq!(names("state"), ["state.db"]);
    let store = place.open();
    assert_eq!(firms(&store), ["elm"]);
    is_readable(&store, "elm");
    assert_eq!(due(&store), 0, "it is paused");
    block_on(store.set_firm_status(&FirmId::new("elm"), FirmStatus::Active)).unwrap();
    assert_eq!(due(&store), 1);

    // To where there is no state.
    let elsewhere = place.path("elsewhere.db");
    SqliteStore::restore(&elsewhere, &place.firm_keys(), &key(7), &backup, &key(7), false).unwrap();
    let store = SqliteStore::open_with(&elsewhere, &place.firm_keys(), &key(7)).unwrap();
    is_readable(&store, "elm");
}

#[test]
fn a_backup_does_not_lie_where_the_firm_keys_are() {
    let place = Place::new();
    let store = place.open();
    fill(&store, "elm");
    for to in [place.path("keys/backup.db"), place.path("keys/../keys/backup.db")] {
        let refused = store.back_up(&to, &key(7));
        assert!(matches!(refused, Err(CopyError::BesideFirmKeys { .. })), "{refused:?}");
        assert!(!to.exists());
    }
}

/// Nothing is put back of a backup that is not whole, or not ours, and the state is what it was.
#[test]
fn a_damaged_backup_is_refused() {
    let place = Place::new();
    let store = place.open();
    fill(&store, "elm");
    let backup = place.path("backup.db");
    store.back_up(&backup, &key(7)).unwrap();
    fill(&store, "oak");
    drop(store);
    let whole = fs::read(&backup).unwrap();
    let mut damaged = whole.clone();
    let place_of_damage = whole.len() / 2;
    damaged[place_of_damage] ^= 1;
    fs::write(&backup, damaged).unwrap();
    let refused = restore(&place, &backup, true);
    assert!(matches!(refused, Err(CopyError::Damaged { .. })), "{refused:?}");
    fs::write(&backup, &whole[..whole.len() / 2 / 4096 * 4096]).unwrap();
    assert!(restore(&place, &backup, true).is_err(), "a half");
    fs::write(&backup, &whole).unwrap();
    let refused = SqliteStore::restore(&place.state(), &place.firm_keys(), &key(7), &backup, &key(8), true);
    assert!(
        matches!(refused, Err(CopyError::Open(OpenError::WrongKey { .. }))),
        "{refused:?}"
    );
    assert_eq!(firms(&place.open()), ["elm", "oak"]);
    restore(&place, &backup, true).unwrap();
    assert_eq!(firms(&place.open()), ["elm"]);
}

/// Keys that do not belong to the backup are noticed before anything is replaced.
#[test]
fn a_backup_whose_firm_keys_are_lost_is_refused() {
    let place = Place::new();
    let store = place.open();
    let empty = fs::read(place.firm_keys()).unwrap();
    fill(&store, "elm");
    let backup = place.path("backup.db");
    store.back_up(&backup, &key(7)).unwrap();
    drop(store);
    fs::remove_file(place.state()).unwrap();
    fs::write(place.firm_keys(), empty).unwrap();
    let refused = restore(&place, &backup, false);
    assert!(
        matches!(refused, Err(CopyError::Open(OpenError::FirmKeys { .. }))),
        "{refused:?}"
    );
    assert!(!place.state().exists(), "nothing was put back");
}
