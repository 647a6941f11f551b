//! `kill -9` of the real binary at random moments, two processes on one state file, over HTTP; now and then a disk that is full, or a process
//! that may only read. `cargo xtask chaos --kills 200` plays it for longer.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

#[path = "support/process.rs"]
mod process;
#[path = "support/subscriber.rs"]
mod subscriber;

use std::time::Duration;

use process::{Installation, Running, Served};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use skin_assist::clock::SystemClock;
use skin_assist_core::time::Clock as _;
use skin_assist_simulator::{CallKind, ClinicScript, Options, PhotoReport, PracticeEhr, Report, ScriptOptions};
use subscriber::{Subscriber, Told};

/// How often, unless `CHAOS_KILLS` says otherwise.
const KILLS: u32 = 8;

/// At one kill of so many the disk of the process that is killed has been full for a while, at another one a third process could only read.
const EPISODE_EVERY: u32 = 4;

/// One message of so many kills the subscriber.
const SUBSCRIBER_KILLED_ONE_IN: u32 = 10;

/// Less than the files of a state have: every write that makes them grow fails.
#[cfg(target_os = "linux")]
const FULL_DISK_BYTES: u64 = 32_768;

#[allow(clippy::disallowed_methods, reason = "how long the test is, and nothing else")]
fn kills() -> u32 {
    // Not one of the program's own variables: it refuses those that it does not know.
    std::env::var("CHAOS_KILLS").map_or(KILLS, |kills| kills.parse().unwrap())
}

/// Longer than the longest lease, with time for what is then due.
const RECOVERY: Duration = Duration::from_secs(150);

/// By then an engine that took over from one that was killed has written a draft, if there is one to write.
const A_LEASE_AND_A_DRAFT: Duration = Duration::from_secs(30);

#[test]
fn killed_at_any_moment_it_delivers_once_or_lists_as_uncertain() {
    let seed = 20_261;
    let kills = kills();
    let ehr = PracticeEhr::new(Options {
        seed,
        ..Options::default()
    });
    let served = Served::start(ehr.clone());
    let script = ClinicScript::generate(
        seed,
        &ScriptOptions {
            firms: 2,
            visits_per_firm: kills.max(12) as usize,
            duration: Duration::from_secs(50 * u64::from(kills.max(12))),
            photo_width: 480,
            photo_height: 360,
            ..ScriptOptions::default()
        },
    );
    for firm in &script.firms {
        ehr.add_firm(firm.clone()).unwrap();
    }
    // Slow posts give a kill the chance to fall between a post and its acknowledgement.
    ehr.set_faults(|faults| _ = faults.delays.insert(CallKind::Draft, Duration::from_millis(400)));
    let installation = Installation::connected(&ehr);
    let subscriber = Subscriber::start(seed, SUBSCRIBER_KILLED_ONE_IN);
    let subscription = subscribe(&installation, &subscriber);
    ehr.play(&script, SystemClock.now(), 30.0).unwrap();

    let mut random = StdRng::seed_from_u64(seed);
    let (mut worked, mut before, mut episodes) = (0, 0, Episodes::default());
    let mut engines = [installation.start_on_a_disk_that_may_fill(), installation.start()];
    for kill in 1..=kills {
        served.sleep(Duration::from_millis(random.random_range(300..4000)));
        if kill % 3 == 0 {
            // On a busy machine engines would be killed before they got to work.
            let since = SystemClock.now();
            while ehr.report().compositions == before && SystemClock.now().since(since) < A_LEASE_AND_A_DRAFT {
                served.sleep(Duration::from_millis(100));
            }
        }
        for engine in &mut engines {
            assert!(engine.is_running(), "{}", installation.log());
        }
        if kill % EPISODE_EVERY == 1 {
            episodes.full_disk(&engines[0], &served, &mut random);
        }
        if kill % EPISODE_EVERY == 3 {
            episodes.read_only(&installation, &served);
        }
        let which = if kill % EPISODE_EVERY == 1 {
            0
        } else {
            random.random_range(0..2)
        };
        let next = if which == 0 {
            installation.start_on_a_disk_that_may_fill()
        } else {
            installation.start()
        };
        std::mem::replace(&mut engines[which], next).kill();
        let drafts = ehr.report().compositions;
        worked += u32::from(drafts > before);
        before = drafts;
    }
    for engine in engines {
        engine.kill();
    }
    let engine = installation.start();
    let since = SystemClock.now();
    loop {
        served.sleep(Duration::from_millis(500));
        let uncertain = installation.json(&["uncertain", "list", "--json"]);
        let report = ehr.report();
        let open = report.expected().filter(|photo| photo.drafts.is_empty()).count();
        let listed = uncertain.as_array().unwrap().clone();
        let is_listed = |photo: &PhotoReport| {
            let has = |entry: &serde_json::Value| {
                let documents = entry["documents"].as_array().unwrap();
                entry["firm"] == photo.firm && documents.iter().any(|document| *document == photo.document)
            };
            listed.iter().any(has)
        };
        // Each photo by name: one that is uncertain and did arrive must not stand for one that was lost.
        let is_told = report.expected().all(|photo| {
            let [found, drafted, in_doubt] = subscriber.told().of_photo(photo);
            found > 0 && drafted + in_doubt > 0
        });
        if ehr.script_progress().is_over() && report.missing().all(is_listed) && is_told {
            break;
        }
        assert!(
            SystemClock.now().since(since) < RECOVERY,
            "{open} photos have no draft; uncertain: {listed:?}; the subscriber was told: {is_told}"
        );
    }
    assert_eq!(engine.terminate(), Some(0), "SIGTERM ends the engine cleanly");

    let report = ehr.report();
    assert!(
        report.expected().count() >= 20,
        "a clinic with too few photos proves nothing"
    );
    for photo in report.expected() {
        assert!(
            photo.drafts.len() <= 1,
            "{} of {} has {} drafts",
            photo.document,
            photo.firm,
            photo.drafts.len()
        );
    }
    let told = subscriber.told();
    let standing = installation.json(&["subscription", "show", &subscription, "--json"]);
    assert_was_told(&told, &standing, &report);
    println!(
        "{kills} kills, {} of a subscriber, {} full disks, {} processes that could only read: {} photos, {} drafts, {} events, {} listed \
         as uncertain",
        told.kills,
        episodes.full_disks,
        episodes.readers,
        report.expected().count(),
        report.compositions,
        told.events.len(),
        installation
            .json(&["uncertain", "list", "--json"])
            .as_array()
            .unwrap()
            .len()
    );
    assert!(!cfg!(target_os = "linux") || episodes.full_disks > 0);
    if episodes.readers == 0 {
        println!("NOT RUN: a process that can only read (no mount namespace can be had here)");
    }
    assert!(worked >= 2, "only {worked} of the engines that were killed got to work");
    assert!(report.unmatched_drafts.is_empty());
    assert_eq!(
        installation.json(&["dead-letters", "list", "--json"]),
        serde_json::json!([])
    );
}

/// Has the subscriber told of everything; gives the subscription.
fn subscribe(installation: &Installation, subscriber: &Subscriber) -> String {
    let config = std::fs::read_to_string(&installation.config).unwrap();
    let allowed = "[subscriptions]\nallow_loopback_http = true\n";
    std::fs::write(&installation.config, config + allowed).unwrap();
    let add = ["subscription", "add", "--format", "cloudevents", "--json", "--endpoint"];
    let made = installation.json(&[&add[..], &[&*subscriber.endpoint]].concat());
    made["subscription"]["id"].as_str().unwrap().to_owned()
}

/// It has every event under its number but what still waits for it, and was told once of each photo that was found, and of each draft once
/// that it is there.
fn assert_was_told(told: &Told, standing: &serde_json::Value, report: &Report) {
    let numbers: Vec<u64> = told.events.keys().copied().collect();
    let [events, waiting] = ["events", "waiting"].map(|figure| standing[figure].as_u64().unwrap());
    let last = *numbers.last().unwrap();
    assert_eq!(numbers, (1..=last).collect::<Vec<_>>());
    assert!(events - waiting <= last && last <= events, "{last}: {standing}");
    for photo in report.expected() {
        let [found, drafted, in_doubt] = told.of_photo(photo);
        let name = &photo.document;
        assert_eq!(found, 1, "{name} was found");
        assert!(
            drafted == 1 || drafted == 0 && in_doubt == 1,
            "{name}: {drafted} and {in_doubt}"
        );
    }
}

/// What else happened to the state file.
#[derive(Default)]
struct Episodes {
    full_disks: u32,
    readers: u32,
}

impl Episodes {
    /// The disk is full for a process, which may be killed before there is room again.
    #[cfg(target_os = "linux")]
    fn full_disk(&mut self, engine: &Running, served: &Served, random: &mut StdRng) {
        engine.limit_files(Some(FULL_DISK_BYTES));
        served.sleep(Duration::from_millis(random.random_range(300..3000)));
        if random.random_bool(0.5) {
            engine.limit_files(None);
            served.sleep(Duration::from_millis(random.random_range(0..1000)));
        }
        self.full_disks += 1;
    }

    #[cfg(not(target_os = "linux"))]
    fn full_disk(&mut self, _: &Running, _: &Served, _: &mut StdRng) {}

    /// A process beside the others on a file system that is mounted so that it can only read. It ends, and says why.
    fn read_only(&mut self, installation: &Installation, served: &Served) {
        let Some(mut reader) = installation.start_where_it_can_only_read() else {
            return;
        };
        for _ in 0..50 {
            if !reader.is_running() {
                break;
            }
            served.sleep(Duration::from_millis(100));
        }
        assert!(!reader.is_running(), "it goes on where it can write nothing");
        assert_eq!(reader.exit_code(), Some(1));
        let said = std::fs::read_to_string(installation.path("read-only.log")).unwrap();
        assert!(
            said.contains("is read-only") && said.contains("hint: let this user write"),
            "{said}"
        );
        self.readers += 1;
    }
}
