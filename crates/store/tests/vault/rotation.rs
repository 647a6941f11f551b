//! The change of the state file's key, also when it is killed in the middle.

use std::{
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::Instant,
};

use skin_assist_core::domain::CategoryUse;
use skin_assist_store::{OpenError, RotationError};

use super::*;

fn rotate(place: &Place, old: u8, new: u8) -> Result<(), RotationError> {
    SqliteStore::rotate_key(&place.state(), &place.firm_keys(), &key(old), &key(new))
}

fn with(place: &Place, byte: u8) -> Result<SqliteStore, OpenError> {
    SqliteStore::open_with(&place.state(), &place.firm_keys(), &key(byte))
}

#[test]
fn after_a_rotation_the_new_key_opens_and_the_old_does_not() {
    let place = Place::new();
    fill(&place.open(), "elm");
    let backup = place.path("backup.db");
    place.open().back_up(&backup, &key(7)).unwrap();
    rotate(&place, 7, 8).unwrap();
    let refused = with(&place, 7).unwrap_err();
    assert!(matches!(refused, OpenError::WrongKey { .. }), "{refused:?}");
    let store = with(&place, 8).unwrap();
    is_readable(&store, "elm");
    fill(&store, "oak");
    drop(store);
    // Again with the same keys: it was done.
    rotate(&place, 7, 8).unwrap();
    // The firm keys are not wrapped for the old key any more.
    let ring = fs::read_to_string(place.firm_keys()).unwrap();
    let opens = |byte: u8| {
        let wrapping = skin_assist_vault::WrappingKey::derive(&[byte; 32]);
        skin_assist_vault::KeyRing::read(&ring, &wrapping).is_ok()
    };
    assert_eq!((opens(7), opens(8)), (false, true));
    // A backup from before opens with the key from before, and is put back under the new one.
    let restored = SqliteStore::restore(&place.state(), &place.firm_keys(), &key(8), &backup, &key(7), true).unwrap();
    assert!(restored.sealed["elm"] > 8);
    let store = with(&place, 8).unwrap();
    is_readable(&store, "elm");
    assert_eq!(firms(&store), ["elm"]);
}

#[test]
fn a_state_that_is_in_use_keeps_its_key() {
    let place = Place::new();
    let store = place.open();
    fill(&store, "elm");
    let refused = rotate(&place, 7, 8).unwrap_err();
    assert!(matches!(refused, RotationError::InUse { .. }), "{refused:?}");
    is_readable(&store, "elm");
    is_readable(&place.open(), "elm");
    let refused = rotate(&place, 9, 8).unwrap_err();
    assert!(
        matches!(refused, RotationError::Open(OpenError::WrongKey { .. })),
        "{refused:?}"
    );
}

const CHILD: &str = "SKIN_ASSIST_ROTATION_TEST_FOLDER";

/// What the process of the test below does, when its variable is set.
#[test]
#[allow(clippy::disallowed_methods)]
fn child() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let folder = Path::new(&folder);
    println!("begins");
    let (state, keys) = (folder.join("state.db"), folder.join("keys/firm-keys"));
    SqliteStore::rotate_key(&state, &keys, &key(7), &key(8)).unwrap();
}

type Output = Lines<BufReader<ChildStdout>>;

fn spawn(place: &Place) -> (Child, Output) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "rotation::child", "--nocapture"])
        .env(CHILD, place.folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Until it has come to the beginning.
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        output
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains("begins"))
    );
    // Who drops the other end of what it writes into ends it.
    (child, output)
}

/// Killed at many moments of the rotation: one of the two keys opens the state, with everything in it, and the same rotation again
/// finishes it. Goes on until a kill has come while pages were being written.
#[test]
#[allow(clippy::disallowed_methods)]
fn a_kill_in_the_middle_leaves_a_state_that_one_of_both_keys_opens() {
    const ROUNDS: u32 = 60;
    let place = Place::new();
    let store = place.open();
    fill(&store, "elm");
    // Some thousand pages.
    let categories = (0..200_000).map(|number| (CategoryCode::new(format!("category-{number}")), CategoryUse::Ignored));
    let categories: BTreeMap<_, _> = categories.collect();
    block_on(store.set_categories(&FirmId::new("elm"), &categories)).unwrap();
    drop(store);
    let whole = (fs::read(place.state()).unwrap(), fs::read(place.firm_keys()).unwrap());

    let begun = Instant::now();
    let (mut child, _output) = spawn(&place);
    assert!(child.wait().unwrap().success());
    let takes = begun.elapsed();

    let (mut under_way, mut with_old, mut with_new) = (0, 0, 0);
    for round in 0..ROUNDS {
        fs::write(place.state(), &whole.0).unwrap();
        fs::write(place.firm_keys(), &whole.1).unwrap();
        let (mut child, _output) = spawn(&place);
        // Spread over the time that it takes, in an order that meets the middle early.
        thread::sleep(takes * (round * 7 % 20) / 20);
        child.kill().unwrap();
        child.wait().unwrap();
        let journal = place.path("state.db-journal");
        under_way += u32::from(journal.exists() && fs::metadata(&journal).unwrap().len() > 0);
        match with(&place, 7) {
            Ok(store) => {
                with_old += 1;
                is_readable(&store, "elm");
            }
            Err(OpenError::WrongKey { .. }) => {
                with_new += 1;
                is_readable(&with(&place, 8).unwrap(), "elm");
            }
            Err(other) => panic!("{other:?}"),
        }
        rotate(&place, 7, 8).unwrap();
        let store = with(&place, 8).unwrap();
        is_readable(&store, "elm");
        assert_eq!(block_on(store.firms()).unwrap()[0].categories, categories);
        if round >= 5 && under_way > 0 && with_old > 0 {
            return;
        }
    }
    panic!("no kill came while pages were written: {under_way} {with_old} {with_new} in {takes:?}");
}
