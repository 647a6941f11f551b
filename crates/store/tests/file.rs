//! The state file: keys, strangers, encryption, several processes, and crashes.

// Helpers of tests, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use futures::executor::block_on;
use rusqlite::Connection;
use skin_assist_core::{
    audit::{AuditFault, ChainVerifier, INSTALLATION},
    domain::{
        AssessmentId, CategoryCode, Cursor, DocumentId, DocumentStep, DocumentWatch, Encounter, EncounterId,
        EncounterStatus, Firm, FirmId, FirmStatus, Mode, NewCredential, PatientId, Route,
    },
    phi::Secret,
    ports::{
        Audit, AuditAction, AuditChain, AuditRecord, AuditTrail, CallGrants, DocumentQueue, EncounterWatches,
        FirmAdministration, Firms, InferenceRecords, Operations, StateError, WatchLists,
    },
    time::Timestamp,
};
use skin_assist_store::{OpenError, SqliteStore, StateKey};
use tempfile::TempDir;

const DIGITS: &str = "0707070707070707070707070707070707070707070707070707070707070707";
const PATIENT: &str = "patient-Quagmire-4711";

fn key() -> StateKey {
    StateKey::parse(&Secret::new(DIGITS.into())).unwrap()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_767_600_000_000) + Duration::from_secs(seconds)
}

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, &key()).unwrap()
}

/// A state with a firm, a patient's encounter and a photo that is due.
fn fill(store: &SqliteStore) {
    let firm = Firm {
        id: FirmId::new("a"),
        url_prefix: "a".into(),
        status: FirmStatus::Active,
        mode: Mode::Silent,
        intended_use: None,
        categories: BTreeMap::new(),
        api_key: None,
        connected_at: at(0),
        photos_since: at(0),
    };
    block_on(store.add_firm(
        &firm,
        &NewCredential::secret("client", Secret::new("hunter2-secret".into())),
    ))
    .unwrap();
    let seen = Encounter {
        id: EncounterId::new("e"),
        patient: PatientId::new(PATIENT),
        practitioner: None,
        status: EncounterStatus::Open,
        last_updated: Some(at(0)),
    };
    block_on(store.record_encounters(&firm.id, None, Cursor(at(0)), &[seen], at(0))).unwrap();
    let lease_for = Duration::from_secs(30);
    let lease = block_on(store.acquire_encounters(&firm.id, &[EncounterId::new("e")], at(0), lease_for))
        .unwrap()
        .remove(0);
    let found = DocumentWatch {
        firm: firm.id.clone(),
        document: DocumentId::new("d"),
        encounter: EncounterId::new("e"),
        patient: PatientId::new(PATIENT),
        practitioner: None,
        category: CategoryCode::new("c"),
        route: Route::Solitary,
        assessment: AssessmentId::new("x"),
        attached_at: None,
        detected_at: at(0),
        gathers_until: None,
        closed: None,
        photo: None,
    };
    block_on(store.record_documents(lease, &[found], &[], at(0))).unwrap();
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// What a crash at this moment would leave: the file and its log, copied to another folder.
fn crash(path: &Path, folder: &Path) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    let copy = folder.join("state.db");
    fs::copy(path, &copy).unwrap();
    fs::copy(beside(path, "-wal"), beside(&copy, "-wal")).unwrap();
    fs::copy(beside(path, ".firm-keys"), beside(&copy, ".firm-keys")).unwrap();
    copy
}

fn refused(path: &Path, key: &StateKey) -> OpenError {
    let error = SqliteStore::open(path, key).unwrap_err();
    assert!(!error.hint().is_empty());
    error
}

#[test]
fn what_was_recorded_is_there_after_a_crash_and_after_a_close() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    let store = open(&path);
    fill(&store);
    // Nothing was closed and nothing checkpointed: the log alone has it.
    let crashed = open(&crash(&path, &folder.path().join("crashed")));
    drop(store);
    for store in [crashed, open(&path)] {
        assert_eq!(block_on(store.firms()).unwrap().len(), 1);
        let leases = store.acquire_documents(DocumentStep::Download, at(0), Duration::from_secs(30), 10);
        assert_eq!(block_on(leases).unwrap()[0].item().patient, PatientId::new(PATIENT));
    }
}

#[test]
fn a_wrong_key_is_refused_and_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    let store = open(&path);
    fill(&store);
    let crashed = crash(&path, &folder.path().join("crashed"));
    drop(store);
    for path in [&path, &crashed] {
        let log = beside(path, "-wal");
        let before = (fs::read(path).unwrap(), fs::read(&log).ok());
        for _ in 0..2 {
            let error = refused(path, &StateKey::from_bytes([8; 32]));
            assert!(matches!(error, OpenError::WrongKey { .. }), "{error:?}");
            assert!(!format!("{error:?} {error}").contains("0808"));
        }
        assert!(
            before == (fs::read(path).unwrap(), fs::read(&log).ok()),
            "the file or its log was changed"
        );
        assert_eq!(block_on(open(path).firms()).unwrap().len(), 1);
    }
}

#[test]
fn strangers_are_refused_and_not_changed() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);

    let error = refused(&path("missing/state.db"), &key());
    assert!(matches!(error, OpenError::NotAccessible { .. }), "{error:?}");

    let error = refused(folder.path(), &key());
    assert!(matches!(error, OpenError::NotAStateFile { .. }), "{error:?}");

    fs::write(path("text"), "not a database\n".repeat(100)).unwrap();
    let error = refused(&path("text"), &key());
    assert!(
        matches!(
            error,
            OpenError::NotAStateFile {
                what: "it is not a database",
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(
        fs::read_to_string(path("text")).unwrap(),
        "not a database\n".repeat(100)
    );

    // Nobody can tell random pages from a file with another key.
    let noise: Vec<u8> = (0..8192_u32)
        .map(|place| (place.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    fs::write(path("noise"), &noise).unwrap();
    let error = refused(&path("noise"), &key());
    assert!(matches!(error, OpenError::WrongKey { .. }), "{error:?}");
    assert_eq!(fs::read(path("noise")).unwrap(), noise);

    Connection::open(path("plain"))
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    let before = fs::read(path("plain")).unwrap();
    let error = refused(&path("plain"), &key());
    let what = "it is a database that is not encrypted";
    assert!(
        matches!(error, OpenError::NotAStateFile { what: found, .. } if found == what),
        "{error:?}"
    );
    assert_eq!(fs::read(path("plain")).unwrap(), before);

    let other = Connection::open(path("other")).unwrap();
    other
        .execute_batch(&format!("PRAGMA key = \"x'{DIGITS}'\"; CREATE TABLE t (x);"))
        .unwrap();
    drop(other);
    let before = fs::read(path("other")).unwrap();
    let error = refused(&path("other"), &key());
    let what = "it is the database of another program";
    assert!(
        matches!(error, OpenError::NotAStateFile { what: found, .. } if found == what),
        "{error:?}"
    );
    assert_eq!(fs::read(path("other")).unwrap(), before);
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    drop(open(&path));
    let newer = Connection::open(&path).unwrap();
    newer
        .execute_batch(&format!("PRAGMA key = \"x'{DIGITS}'\"; PRAGMA user_version = 999;"))
        .unwrap();
    drop(newer);
    let before = fs::read(&path).unwrap();
    let error = refused(&path, &key());
    assert!(matches!(error, OpenError::NewerSchema { found: 999, .. }), "{error:?}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

/// A file as a program of an earlier edition left it, empty.
fn earlier_edition(path: &Path, edition: usize) -> Connection {
    let earlier = Connection::open(path).unwrap();
    earlier
        .execute_batch(&format!("PRAGMA key = \"x'{DIGITS}'\"; PRAGMA journal_mode = wal;"))
        .unwrap();
    let editions = [
        include_str!("../migrations/0001_state.sql"),
        include_str!("../migrations/0002_polling.sql"),
        include_str!("../migrations/0003_language.sql"),
        include_str!("../migrations/0004_assessments.sql"),
        "",
    ];
    for migration in &editions[..edition] {
        earlier.execute_batch(migration).unwrap();
    }
    let application = 0x536b_4173;
    earlier
        .execute_batch(&format!(
            "PRAGMA application_id = {application}; PRAGMA user_version = {edition};"
        ))
        .unwrap();
    earlier
}

/// The file of an earlier version keeps what it has, and gets what was not there.
#[test]
fn a_file_of_the_first_edition_is_brought_to_the_latest() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    let earlier = earlier_edition(&path, 1);
    earlier
        .execute_batch(&format!(
            "UPDATE fence_floor SET floor = 7;
             INSERT INTO firms (firm, url_prefix, status, mode, categories, connected_at, photos_since) VALUES
                 ('a', 'a', 'active', 'silent', '{{}}', 0, 0), ('b', 'b', 'paused', 'silent', '{{}}', 0, 0);
             INSERT INTO credentials (firm, client_id, client_secret, fence) VALUES
                 ('a', 'client', 'secret', 0), ('b', 'client', 'secret', 0);
             INSERT INTO encounter_watch (firm, encounter, patient, status, first_seen_at, expires_at, fence)
                 VALUES ('a', 'e', '{PATIENT}', 'open', {now}, {now} + 86400000, 3);
             INSERT INTO document_watch (firm, document, step, available_at, fence, encounter, patient, category, route,
                     assessment, attached_at, detected_at)
                 VALUES ('a', 'd', 'download', 0, 0, 'e', '{PATIENT}', 'c', 'solitary', 'x', {now} - 2000, {now});
             INSERT INTO call_grants (quota, tokens, at, held_until) VALUES ('q', 2.5, {now}, 0);",
            now = at(0).as_millis(),
        ))
        .unwrap();
    drop(earlier);

    let store = open(&path);
    let (a, b) = (FirmId::new("a"), FirmId::new("b"));
    let watched = &block_on(store.watch_list(&a, at(0))).unwrap()[0];
    assert_eq!(watched.watch.encounter.patient, PatientId::new(PATIENT));
    let filed_at = at(0) - Duration::from_secs(2);
    assert_eq!((watched.photos, watched.latest_photo_at), (1, Some(filed_at)));
    let quota = &block_on(store.quotas()).unwrap()[0];
    assert_eq!((quota.bucket.tokens, quota.bucket.share, quota.refused), (2.5, 1.0, 0));
    assert!(quota.granted.is_empty());
    // The list of each firm is there, as it would be if the firm had been added now.
    let lease_for = Duration::from_secs(30);
    let lists = || block_on(store.acquire_watch_lists(at(0), lease_for, 10)).unwrap();
    let leases = lists();
    assert_eq!((leases.len(), &leases[0].item().firm), (1, &a), "the other is paused");
    assert_eq!(leases[0].fence().0, 8);
    block_on(store.set_firm_status(&b, FirmStatus::Active)).unwrap();
    assert_eq!(lists()[0].item().firm, b);
    block_on(store.remove_firm(&a)).unwrap();
    drop(store);
    assert_eq!(block_on(open(&path).firms()).unwrap().len(), 1, "it opens again");
}

/// Photos on their way and results of the third edition are what they were, each assessed by itself.
#[test]
fn a_file_of_the_third_edition_keeps_its_photos_and_results() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    let earlier = earlier_edition(&path, 3);
    let digest = "0".repeat(64);
    earlier
        .execute_batch(&format!(
            "INSERT INTO firms (firm, url_prefix, status, mode, categories, connected_at, photos_since) VALUES
                 ('a', 'a', 'active', 'silent', '{{}}', 0, 0);
             INSERT INTO document_watch (firm, document, step, available_at, fence, attempt, looks, encounter, patient,
                     category, route, assessment, detected_at, photo_digest, photo_bytes, downloaded_at) VALUES
                 ('a', 'waits', 'infer', {now}, 7, 2, 3, 'e', '{PATIENT}', 'c', 'widespread', 'x', {now}, '{digest}', 5, {now}),
                 ('a', 'done', 'done', NULL, 8, 0, 1, 'e', '{PATIENT}', 'c', 'widespread', 'y', {now}, '{digest}', 5, {now});
             INSERT INTO assist_results (firm, assessment, delivery, delivery_at, reference, fence, result_key, assessed_at,
                     subject, photos, versions, findings, note) VALUES
                 ('a', 'y', 'delivered', {now}, 'Composition/1', 1, 'k', {now},
                  '{{\"id\": \"y\", \"firm\": \"a\", \"encounter\": \"e\", \"patient\": \"{PATIENT}\",
                     \"practitioner\": null, \"category\": \"c\", \"route\": \"widespread\", \"documents\": [\"done\"]}}',
                  '[{{\"document\": \"done\", \"digest\": \"{digest}\", \"attached_at\": null, \"detected_at\": \"{today}\",
                     \"downloaded_at\": \"{today}\"}}]',
                  '{{\"models\": [], \"synthesis\": \"s\", \"pipeline\": \"p\"}}',
                  '{{\"route\": \"widespread\", \"image\": {{\"width\": 1, \"height\": 1, \"format\": \"jpeg\",
                     \"quality\": {{\"sharpness\": 1.0, \"brightness\": 0.5}}}}, \"regions\": [], \"ranked\": [],
                     \"abstention\": null, \"models\": []}}',
                  '{{\"title\": \"t\", \"sections\": [], \"instructions\": [], \"regions\": []}}');",
            now = at(0).as_millis(),
            today = at(0),
        ))
        .unwrap();
    drop(earlier);

    let store = open(&path);
    let firm = FirmId::new("a");
    let lease_for = Duration::from_secs(30);
    let mut leases = block_on(store.acquire_documents(DocumentStep::Infer, at(0), lease_for, 9)).unwrap();
    let lease = leases.remove(0);
    assert!(leases.is_empty());
    let watch = lease.item();
    assert_eq!(
        (watch.document.as_str(), lease.fence().0, lease.attempt()),
        ("waits", 8, 3)
    );
    assert_eq!((watch.gathers_until, &watch.closed), (None, &None));
    assert_eq!(block_on(store.count_look(&lease, &watch.document)).unwrap(), 4);
    let result = &block_on(store.firm_results(&firm)).unwrap()[0];
    assert_eq!(result.assessment.earlier, None);
    assert!(result.photo_findings.expose().is_empty());
    assert_eq!(result.photos[0].not_assessed, None);
    let earlier = block_on(store.earlier_draft(&firm, &result.assessment.id)).unwrap();
    assert_eq!(earlier.map(|earlier| earlier.date), Some(at(0)));
    let journeys = block_on(store.journeys(None, Timestamp::ALWAYS, 9)).unwrap();
    assert_eq!(
        journeys
            .iter()
            .map(|journey| journey.document.as_str())
            .collect::<Vec<_>>(),
        ["done", "waits"],
        "in the order in which they were found"
    );
}

/// The trail of before stays, in chains, in its order; and from then on a change of it is found.
#[test]
fn the_trail_of_an_earlier_edition_is_put_into_chains() {
    let folder = TempDir::new().unwrap();
    for edition in [1, 4] {
        let path = folder.path().join(format!("{edition}.db"));
        let earlier = earlier_edition(&path, edition);
        earlier
            .execute_batch(&format!(
                "INSERT INTO audit (at, firm, actor, action, subject) VALUES
                     ({now}, 'b', 'infer', 'inferred', 'd1'),
                     ({now} - 5, 'a', 'operator', 'firm-changed', 'mode draft'),
                     ({now} + 5, 'b', 'write-back', 'draft-written', 'x')",
                now = at(0).as_millis(),
            ))
            .unwrap();
        drop(earlier);
        let store = open(&path);
        let told: Vec<_> = block_on(store.records())
            .unwrap()
            .into_iter()
            .map(|record| (record.firm.to_string(), record.action, record.subject))
            .collect();
        let expected = [
            ("b", AuditAction::Inferred, "d1"),
            ("a", AuditAction::FirmChanged, "mode draft"),
            ("b", AuditAction::DraftWritten, "x"),
            (INSTALLATION, AuditAction::TrailChained, "3 entries of before"),
        ];
        let expected = expected.map(|(firm, action, subject)| (firm.to_owned(), action, subject.to_owned()));
        assert_eq!(told, expected);
        block_on(store.record(&AuditRecord {
            at: at(9),
            firm: FirmId::new("b"),
            actor: "infer".into(),
            action: AuditAction::Inferred,
            subject: "d2".into(),
        }))
        .unwrap();
        let faults = |store: &SqliteStore| -> Vec<AuditFault> {
            let chains = block_on(store.audit_chains()).unwrap();
            assert_eq!(
                chains.iter().map(|chain| chain.head.number).collect::<Vec<_>>(),
                [1, 1, 3]
            );
            let check = |chain: AuditChain| {
                let firm = chain.base.firm.clone();
                let mut verifier = ChainVerifier::new(chain.base, []);
                for entry in block_on(store.audit_entries(&firm, 0, 9)).unwrap().entries {
                    verifier.entry(&entry);
                }
                verifier.end().faults
            };
            chains.into_iter().flat_map(check).collect()
        };
        assert_eq!(faults(&store), []);
        drop(store);
        let other = Connection::open(&path).unwrap();
        other
            .execute_batch(&format!(
                "PRAGMA key = \"x'{DIGITS}'\"; DROP TRIGGER audit_is_not_changed;
                 UPDATE audit SET subject = 'y' WHERE firm = 'b' AND number = 2;"
            ))
            .unwrap();
        drop(other);
        assert_eq!(faults(&open(&path)), [AuditFault::Changed { number: 2 }]);
    }
}

/// An empty file is one that was about to be created.
#[test]
fn an_empty_file_becomes_a_state() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    fs::write(&path, "").unwrap();
    fill(&open(&path));
    assert_eq!(block_on(open(&path).firms()).unwrap().len(), 1);
}

#[cfg(unix)]
#[test]
fn the_file_and_what_lies_beside_it_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    let store = open(&path);
    fill(&store);
    for suffix in ["", "-wal", "-shm", ".firm-keys"] {
        let file = beside(&path, suffix);
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600,
            "{}",
            file.display()
        );
    }
}

#[test]
fn nothing_readable_is_on_disk() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    let store = open(&path);
    fill(&store);
    let open_files = [fs::read(&path).unwrap(), fs::read(beside(&path, "-wal")).unwrap()];
    drop(store);
    let closed = fs::read(&path).unwrap();
    for bytes in open_files.iter().chain([&closed]) {
        for readable in [
            PATIENT,
            "hunter2-secret",
            "CREATE TABLE",
            "encounter_watch",
            "SQLite format 3",
        ] {
            let found = bytes
                .windows(readable.len())
                .any(|window| window == readable.as_bytes());
            assert!(!found, "{readable:?} can be read");
        }
    }
    assert!(closed.len() >= 4096);
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["state.db", "state.db.firm-keys"],
        "nothing else is left when it is closed"
    );
}

/// Waits for another process for a while, not for ever.
#[test]
fn a_file_that_stays_locked_is_unavailable() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    let store = open(&path);
    fill(&store);
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch(&format!("PRAGMA key = \"x'{DIGITS}'\"; BEGIN IMMEDIATE;"))
        .unwrap();
    let outcome = block_on(store.set_firm_status(&FirmId::new("a"), FirmStatus::Paused));
    assert!(matches!(outcome, Err(StateError::Unavailable(_))), "{outcome:?}");
    assert_eq!(
        block_on(store.firms()).unwrap()[0].status,
        FirmStatus::Active,
        "reading goes on meanwhile"
    );
    other.execute_batch("COMMIT").unwrap();
    block_on(store.set_firm_status(&FirmId::new("a"), FirmStatus::Paused)).unwrap();
}

const CHILD: &str = "SKIN_ASSIST_STORE_TEST_FILE";

/// What the processes of the tests below do, when their variable is set: records numbers for ever, and says each when it
/// is recorded.
#[test]
#[allow(clippy::disallowed_methods)]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let store = open(Path::new(&path));
    for number in 0.. {
        let record = AuditRecord {
            at: at(0),
            firm: FirmId::new("a"),
            actor: std::process::id().to_string(),
            action: AuditAction::PhotoRead,
            subject: number.to_string(),
        };
        block_on(store.record(&record)).unwrap();
        println!("recorded {number}");
    }
}

fn spawn(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Several processes create one file at the same time, write to it, and are killed in the middle of it: what any of them
/// was told is recorded is there.
#[test]
fn processes_share_a_file_and_a_kill_loses_nothing_that_was_acknowledged() {
    let folder = TempDir::new().unwrap();
    for round in 0..5 {
        let path = folder.path().join(format!("state-{round}.db"));
        let mut children: Vec<Child> = (0..4).map(|_| spawn(&path)).collect();
        let mut outputs: Vec<_> = children
            .iter_mut()
            .map(|child| BufReader::new(child.stdout.take().unwrap()).lines())
            .collect();
        let mut acknowledged = vec![None; children.len()];
        for (child, output) in outputs.iter_mut().enumerate() {
            let recorded = output.by_ref().map(Result::unwrap).filter_map(|line| number(&line));
            acknowledged[child] = recorded.take(10 + round).last();
        }
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let records = block_on(open(&path).records()).unwrap();
        for ((child, output), acknowledged) in children.iter().zip(outputs).zip(acknowledged) {
            let last = output
                .map_while(Result::ok)
                .filter_map(|line| number(&line))
                .last()
                .or(acknowledged)
                .unwrap();
            let actor = child.id().to_string();
            let subjects: Vec<u64> = records
                .iter()
                .filter(|record| record.actor == actor)
                .map(|record| record.subject.parse().unwrap())
                .collect();
            // One more than acknowledged may be there: recorded, and killed before it was said.
            assert!(
                subjects.len() as u64 > last,
                "{} records of {}",
                subjects.len(),
                last + 1
            );
            assert!(
                subjects
                    .iter()
                    .enumerate()
                    .all(|(place, number)| place as u64 == *number)
            );
        }
    }
}

/// The number that a child says is recorded; a kill may cut the line.
fn number(line: &str) -> Option<u64> {
    // The test harness may print before it on the same line.
    line.split("recorded ").nth(1)?.parse().ok()
}

#[test]
fn two_stores_on_one_file_see_each_other() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    let (one, other) = (open(&path), open(&path));
    fill(&one);
    assert_eq!(block_on(other.overview(at(0))).unwrap()[0].waiting_download, 1);
    let leases = other.acquire_documents(DocumentStep::Download, at(0), Duration::from_secs(30), 10);
    assert_eq!(block_on(leases).unwrap().len(), 1);
    let leases = one.acquire_documents(DocumentStep::Download, at(0), Duration::from_secs(30), 10);
    assert_eq!(block_on(leases).unwrap().len(), 0);
}
