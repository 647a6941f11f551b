//! The real binary when it is asked to stop, when its disk is full, and when an EHR refuses.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

#[path = "support/process.rs"]
mod process;

use std::time::Duration;

use http::StatusCode;
use process::{Installation, Served};
use skin_assist::clock::SystemClock;
use skin_assist_core::{polling::PolicyName, time::Clock as _};
use skin_assist_simulator::{CallKind, EncounterSpec, FailNext, FirmSpec, Options, PhotoSpec, PracticeEhr};

/// A practice with one visit, connected.
struct Practice {
    served: Served,
    installation: Installation,
    visit: String,
}

impl Practice {
    fn open() -> Self {
        let served = Served::start(PracticeEhr::new(Options::default()));
        let ehr = &served.ehr;
        ehr.add_firm(FirmSpec::new("elm")).unwrap();
        let installation = Installation::connected(ehr);
        let visit = ehr.open_encounter(SystemClock.now(), "elm", EncounterSpec::default());
        Self {
            visit: visit.unwrap(),
            served,
            installation,
        }
    }

    fn file_photo(&self, seed: u64) {
        let photo = PhotoSpec::synthetic("PHOTO-LESION", seed, None);
        let filed = self
            .served
            .ehr
            .attach_photo(SystemClock.now(), "elm", &self.visit, photo);
        filed.unwrap();
    }

    fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        for _ in 0..900 {
            if is_so() {
                return;
            }
            self.served.sleep(Duration::from_millis(100));
        }
        panic!("{what}: not within 90 s; the log:\n{}", self.installation.log());
    }

    fn drafts(&self) -> u64 {
        self.served.ehr.report().compositions
    }

    fn uncertain(&self) -> usize {
        let uncertain = self.installation.json(&["uncertain", "list", "--json"]);
        uncertain.as_array().unwrap().len()
    }
}

#[test]
fn asked_to_stop_it_waits_for_the_answer_to_a_draft() {
    let practice = Practice::open();
    // The EHR has the draft at once, and says so later.
    let delay = Duration::from_secs(4);
    let ehr = &practice.served.ehr;
    ehr.set_faults(|faults| _ = faults.delays.insert(CallKind::Draft, delay));
    practice.file_photo(1);
    let engine = practice.installation.start();
    practice.wait_until("a post", || practice.drafts() == 1);
    assert_eq!(engine.terminate(), Some(0));
    assert!(!practice.installation.log().contains("run.cut-short"));
    assert_eq!(practice.uncertain(), 0);
    let status = practice.installation.json(&["status", "--json"]);
    assert_eq!(status["firms"][0]["delivered"], 1, "{status}");
}

#[test]
fn asked_twice_it_ends_at_once_and_the_draft_is_listed() {
    let practice = Practice::open();
    let ehr = &practice.served.ehr;
    ehr.set_faults(|faults| _ = faults.delays.insert(CallKind::Draft, Duration::from_secs(25)));
    practice.file_photo(2);
    let engine = practice.installation.start();
    practice.wait_until("a post", || practice.drafts() == 1);
    let since = SystemClock.now();
    engine.ask_to_stop();
    practice.served.sleep(Duration::from_millis(500));
    engine.ask_to_stop();
    assert_eq!(engine.exit_code(), Some(0));
    let took = SystemClock.now().since(since);
    assert!(took < Duration::from_secs(15), "it took {took:?}");
    assert!(practice.installation.log().contains("run.cut-short"));
    // Its lease runs out; then the draft is uncertain, and is not posted again.
    let engine = practice.installation.start();
    practice.wait_until("an uncertain draft", || practice.uncertain() == 1);
    assert_eq!((practice.drafts(), engine.terminate()), (1, Some(0)));
}

#[cfg(target_os = "linux")]
#[test]
fn on_a_full_disk_it_waits_without_spinning_and_goes_on_when_there_is_room() {
    let practice = Practice::open();
    let engine = practice.installation.start_on_a_disk_that_may_fill();
    practice.file_photo(3);
    practice.wait_until("a first draft", || practice.drafts() == 1);
    // Less than its files have already: whatever it writes to them has to grow beyond.
    engine.limit_files(Some(32_768));
    let full = "state.unavailable";
    practice.file_photo(4);
    practice.wait_until("a full disk", || practice.installation.log().contains(full));
    let lines = || practice.installation.log().lines().count();
    let before = lines();
    practice.served.sleep(Duration::from_secs(4));
    let since = lines() - before;
    assert!((1..150).contains(&since), "{since} lines in 4 s");
    let drafts_meanwhile = practice.drafts();
    engine.limit_files(None);
    practice.file_photo(5);
    practice.wait_until("the other drafts", || practice.drafts() >= 3);
    assert_eq!(engine.terminate(), Some(0));
    assert!(drafts_meanwhile <= 2);
    // Those of which it could not be recorded that they arrived are uncertain, and none is there twice.
    let report = practice.served.ehr.report();
    assert_eq!((report.compositions, report.duplicates()), (3, 0));
    assert_eq!(
        practice.installation.json(&["dead-letters", "list", "--json"]),
        serde_json::json!([])
    );
}

/// Commands on a file system of two megabytes, full at first and again later. Prints what each says and its exit code.
#[cfg(target_os = "linux")]
const ON_A_SMALL_DISK: &str = r#"
    mount -t tmpfs -o size=2m none small || exit 77
    add() {
        "$0" firm add "$1" --url-prefix "$1" --client-id client --client-secret-file client.secret 2>&1
        echo "$1 ended with $?."
    }
    fill() { head -c 4000000 /dev/zero > small/filler 2>/dev/null; }
    fill; add elm
    rm small/filler; add elm
    fill; add oak
    rm small/filler; add oak
    "$0" firm list
"#;

#[cfg(target_os = "linux")]
#[test]
fn where_there_is_no_room_a_command_says_so_and_changes_nothing() {
    const NOT_HERE: i32 = 77;
    let installation = Installation::new();
    let config = "[state]\nkey_file = \"state.key\"\nfile = \"small/state.sqlite\"\n";
    std::fs::write(&installation.config, config).unwrap();
    std::fs::create_dir(installation.path("small")).unwrap();
    std::fs::write(installation.path("client.secret"), "secret").unwrap();
    let output = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK])
        .arg(env!("CARGO_BIN_EXE_skin-assist"))
        .current_dir(installation.folder.path())
        .env("SKIN_ASSIST_CONFIG", &installation.config)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    if output.status.code() == Some(NOT_HERE) || said.is_empty() {
        println!(
            "NOT RUN: no file system can be mounted here: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        return;
    }
    let ended: Vec<_> = said.lines().filter(|line| line.contains(" ended with ")).collect();
    assert_eq!(
        ended,
        [
            "elm ended with 1.",
            "elm ended with 0.",
            "oak ended with 1.",
            "oak ended with 0."
        ],
        "{said}"
    );
    assert_eq!(said.matches("make room on the disk").count(), 2, "{said}");
    let (_, listed) = said.split_once("PRACTICE").unwrap();
    assert!(listed.contains("\nelm ") && listed.contains("\noak "), "{said}");
}

/// What an operator sees of a practice whose every poll is refused: not that all is well.
#[test]
fn a_practice_that_cannot_be_read_is_named_with_the_reason() {
    let practice = Practice::open();
    let (ehr, installation) = (&practice.served.ehr, &practice.installation);
    ehr.set_faults(|faults| {
        faults.failures.push(FailNext {
            kind: CallKind::Encounter,
            status: StatusCode::FORBIDDEN,
            remaining: u32::MAX,
        });
    });
    let engine = installation.start();
    let firm = || installation.json(&["status", "--json"])["firms"][0].clone();
    practice.wait_until("a practice that fails", || !firm()["failing"].is_null());
    let failing = firm()["failing"].clone();
    assert_eq!(failing["firm"], "elm", "{failing}");
    let said = installation.succeed(&["status"]);
    assert!(
        said.contains("FAILING") && said.contains("elm has not been read since"),
        "{said}"
    );
    ehr.set_faults(|faults| faults.failures.clear());
    practice.wait_until("that it is served again", || firm()["failing"].is_null());
    assert_eq!(engine.terminate(), Some(0));
}

/// Under every policy: a console says otherwise that nobody polls.
#[test]
fn whoever_polls_says_so() {
    for policy in PolicyName::ALL {
        let practice = Practice::open();
        let installation = &practice.installation;
        let config = std::fs::read_to_string(&installation.config).unwrap();
        let config = config + &format!("[polling]\npolicy = \"{policy}\"\n");
        std::fs::write(&installation.config, config).unwrap();
        let engine = installation.start();
        practice.wait_until("a poller", || {
            installation.json(&["status", "--json"])["pollers"][0]["firms"] == 1
        });
        assert_eq!(engine.terminate(), Some(0));
    }
}
