//! Two processes of the real binary on one state in DynamoDB, over HTTP; one of them is killed in the midst of it.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

#[path = "support/process.rs"]
mod process;

use std::time::Duration;

use process::{Installation, Served};
use skin_assist::clock::SystemClock;
use skin_assist_aws::{
    connection::Connection,
    dynamodb::{DynamoStore, FirmKeys},
};
use skin_assist_core::time::Clock as _;
use skin_assist_simulator::{ClinicScript, Options, PhotoReport, PracticeEhr, ScriptOptions};
use skin_assist_testkit::servers::Server;

/// Longer than the longest lease, with time for what is then due.
const PATIENCE: Duration = Duration::from_secs(150);

#[test]
fn two_processes_share_one_state_and_one_may_die() {
    let server = Server::dynoxide();
    let store = DynamoStore::new(
        &Connection::in_place_to_emulator(server.endpoint()),
        "skin-assist-",
        FirmKeys::for_emulator(),
    );
    futures::executor::block_on(store.create_tables()).unwrap();
    let seed = 20_262;
    let ehr = PracticeEhr::new(Options {
        seed,
        ..Options::default()
    });
    let served = Served::start(ehr.clone());
    let script = ClinicScript::generate(
        seed,
        &ScriptOptions {
            firms: 2,
            visits_per_firm: 10,
            duration: Duration::from_secs(600),
            photo_width: 480,
            photo_height: 360,
            ..ScriptOptions::default()
        },
    );
    for firm in &script.firms {
        ehr.add_firm(firm.clone()).unwrap();
    }
    let state = format!(
        "store = \"dynamodb\"\nkey_file = \"state.key\"\n[aws]\nregion = \"us-east-1\"\nendpoint = \"{}\"",
        server.endpoint()
    );
    let installation = Installation::connected_on(&ehr, &state);
    let says = installation.json(&["doctor", "--json"]);
    let checks = says.as_array().unwrap();
    let of_state = checks.iter().find(|check| check["what"] == "state").unwrap();
    assert_eq!(of_state["verdict"], "well", "{of_state}");

    ehr.play(&script, SystemClock.now(), 30.0).unwrap();
    let (mut first, second) = (installation.start(), installation.start());
    served.sleep(Duration::from_secs(12));
    assert!(
        first.is_running(),
        "{}",
        std::fs::read_to_string(installation.path("run.log")).unwrap()
    );
    let pollers = installation.json(&["status", "--json"])["pollers"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(pollers, 2, "both are at work");
    second.kill();
    let since = SystemClock.now();
    loop {
        served.sleep(Duration::from_millis(500));
        // One that was being posted by the process that was killed may be in the chart or not: then it is listed.
        let uncertain = installation.json(&["uncertain", "list", "--json"]);
        let is_listed = |photo: &PhotoReport| {
            let has = |entry: &serde_json::Value| {
                let documents = entry["documents"].as_array().unwrap();
                entry["firm"] == photo.firm && documents.iter().any(|document| *document == photo.document)
            };
            uncertain.as_array().unwrap().iter().any(has)
        };
        let report = ehr.report();
        let open = report.missing().filter(|photo| !is_listed(photo)).count();
        if ehr.script_progress().is_over() && open == 0 {
            break;
        }
        assert!(
            SystemClock.now().since(since) < PATIENCE,
            "{open} photos have no draft; {}",
            std::fs::read_to_string(installation.path("run.log")).unwrap()
        );
    }
    assert_eq!(first.terminate(), Some(0), "SIGTERM ends the engine cleanly");

    let report = ehr.report();
    assert!(
        report.expected().count() >= 15,
        "a clinic with too few photos proves nothing"
    );
    for photo in report.expected() {
        let drafts = photo.drafts.len();
        assert!(drafts <= 1, "{} of {} has {drafts} drafts", photo.document, photo.firm);
    }
    assert!(report.unmatched_drafts.is_empty());
    assert_eq!(
        installation.json(&["dead-letters", "list", "--json"]),
        serde_json::json!([])
    );
    // What operators do goes through the same store.
    let firm = report.photos[0].firm.clone();
    installation.succeed(&["firm", "pause", &firm]);
    installation.succeed(&["firm", "resume", &firm]);
    assert_eq!(
        installation.json(&["firm", "list", "--json"]).as_array().unwrap().len(),
        2
    );
    let kept = installation.succeed(&["retention", "show"]);
    for part in ["365 days", "2190 days", "not counted"] {
        assert!(kept.contains(part), "{kept}");
    }
    let removed = installation.succeed(&["retention", "apply"]);
    assert!(removed.contains("Removed 0 results and 0 entries"), "{removed}");
    installation.succeed(&["audit", "verify"]);
}
