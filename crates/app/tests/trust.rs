//! What a compliance officer checks with commands: the audit trail, retention, and that no process leaves its memory behind.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

#[path = "support/process.rs"]
mod process;

use std::fs;

use process::{Installation, Served};
use serde_json::Value;
use skin_assist_simulator::{FirmSpec, Options, PracticeEhr};

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_audit_trail_is_verified_anchored_and_exported() {
    let ehr = PracticeEhr::new(Options::default());
    let _served = Served::start(ehr.clone());
    ehr.add_firm(FirmSpec::new("elm")).unwrap();
    let installation = Installation::connected(&ehr);
    let anchor = installation.path("anchor.jsonl");
    let anchor = anchor.to_str().unwrap();
    let heads = installation.succeed(&["audit", "head"]);
    fs::write(anchor, &heads).unwrap();
    installation.succeed(&["firm", "pause", "elm"]);
    let whole = installation.succeed(&["audit", "verify", "--anchor", anchor]);
    assert!(whole.contains("elm") && whole.contains("whole"), "{whole}");
    assert!(installation.succeed(&["audit", "verify"]).contains("Without an anchor"));

    let exported = lines(&installation.succeed(&["audit", "export", "--firm", "elm"]));
    let told: Vec<&str> = exported
        .iter()
        .map(|entry| entry["subject"].as_str().unwrap())
        .collect();
    let changes = ["connected", "categories", "paused"];
    assert!(changes.iter().all(|change| told.contains(change)), "{told:?}");
    assert!(
        told.iter().any(|subject| subject.starts_with("mode draft by ")),
        "{told:?}"
    );
    assert_eq!(exported.last().unwrap()["action"], "trail-exported");
    assert!(exported[0]["actor"].as_str().unwrap().starts_with("operator uid "));
    let later = installation.succeed(&["audit", "export", "--since", "2100-01-01T00:00:00Z"]);
    assert_eq!(later, "");
    assert!(
        installation
            .fail(&["audit", "export", "--since", "yesterday"])
            .contains("is no time")
    );
    assert!(
        installation
            .fail(&["audit", "export", "--firm", "oak"])
            .contains("no audit trail")
    );

    // An anchor of what is not there any more, of another history, of a chain that is gone; and none at all.
    let head = &lines(&heads)[0];
    let with = |key: &str, value: Value| {
        let mut other = head.clone();
        other[key] = value;
        fs::write(anchor, other.to_string()).unwrap();
        let output = installation.output(&["audit", "verify", "--anchor", anchor]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = with("number", 99.into());
    assert_eq!(code, Some(1));
    assert!(text.contains("TOUCHED") && text.contains("had 99"), "{text}");
    let (code, text) = with("hash", "1:0".into());
    assert_eq!(code, Some(1));
    assert!(text.contains("is not the one that the anchor names"), "{text}");
    let (code, text) = with("firm", "oak".into());
    assert_eq!(code, Some(1));
    assert!(text.contains("oak") && text.contains("ends with entry 0"), "{text}");
    fs::write(anchor, "").unwrap();
    assert!(
        installation
            .fail(&["audit", "verify", "--anchor", anchor])
            .contains("is empty")
    );
    fs::write(anchor, "a poem").unwrap();
    assert!(
        installation
            .fail(&["audit", "verify", "--anchor", anchor])
            .contains("is no anchor")
    );
}

/// By whom, and with which configuration; and another configuration is another one.
#[test]
fn each_start_is_in_the_trail_with_its_configuration() {
    let ehr = PracticeEhr::new(Options::default());
    let served = Served::start(ehr.clone());
    ehr.add_firm(FirmSpec::new("elm")).unwrap();
    let installation = Installation::connected(&ehr);
    let started = || -> Vec<String> {
        let entries = lines(&installation.succeed(&["audit", "export"]));
        let started = entries.iter().filter(|entry| entry["action"] == "started");
        started
            .map(|entry| entry["subject"].as_str().unwrap().to_owned())
            .collect()
    };
    let run = |times: usize| {
        let engine = installation.start();
        for _ in 0..600 {
            if started().len() == times {
                break;
            }
            served.sleep(std::time::Duration::from_millis(100));
        }
        assert_eq!(engine.terminate(), Some(0));
    };
    run(1);
    run(2);
    let config = fs::read_to_string(&installation.config).unwrap();
    fs::write(&installation.config, format!("{config}[retention]\nresults_days = 7\n")).unwrap();
    run(3);
    let started = started();
    assert_eq!(started[0], started[1]);
    assert_ne!(started[1], started[2]);
    assert!(started[0].contains(&format!("version {} configuration ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn retention_is_shown_and_applied() {
    let installation = Installation::new();
    let shown = installation.succeed(&["retention", "show"]);
    for part in ["24 hours", "365 days", "2190 days", "retention.results_days"] {
        assert!(shown.contains(part), "{shown}");
    }
    let events = shown.lines().find(|line| line.starts_with("events of charts"));
    assert!(events.is_some_and(|events| events.contains("7 days")), "{shown}");
    assert!(
        installation
            .succeed(&["retention", "apply"])
            .contains("Removed 0 results")
    );
    let removed = installation.json(&["retention", "apply", "--json"]);
    assert_eq!((&removed["results"], &removed["more"]), (&0.into(), &false.into()));
    let config = fs::read_to_string(&installation.config).unwrap();
    let with = |keys: &str| fs::write(&installation.config, format!("{config}[retention]\n{keys}\n")).unwrap();
    with("results_days = 0\naudit_days = 30");
    let limits = &installation.json(&["retention", "show", "--json"])["limits"];
    assert_eq!(
        (&limits["results_days"], &limits["audit_days"]),
        (&Value::Null, &30.into())
    );
    with("results_days = 36501");
    assert!(installation.fail(&["retention", "show"]).contains("out of range"));
}

/// Started by a shell that would allow it, and brought down by a signal that would make one.
#[cfg(target_os = "linux")]
#[test]
fn no_process_leaves_a_core_dump() {
    use std::{
        io::{BufRead as _, BufReader},
        os::unix::process::ExitStatusExt as _,
        process::{Command, Stdio},
    };

    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -S -c $(ulimit -H -c); exec \"$0\" practice-ehr"])
        .arg(env!("CARGO_BIN_EXE_skin-assist"))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    // Kept until the end: a program whose reader has gone away ends by itself.
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    assert!(line.contains("practice EHR"), "{line}");
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let core: Vec<&str> = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(core[4..6], ["0", "0"], "{core:?}");
    let aborted = Command::new("kill")
        .args(["-ABRT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(aborted.success());
    let status = child.wait().unwrap();
    drop(output);
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Both halves of a client certificate, and files that are what they are said to be.
#[test]
fn certificates_that_cannot_be_used_are_refused_at_the_start() {
    let installation = Installation::new();
    let check = |keys: &str| {
        let config = format!(
            "[state]\nkey_file = \"state.key\"\n[ehr]\nbase_url = \"https://ehr.example\"\ntoken_url = \"https://ehr.example/t\"\n{keys}\n"
        );
        fs::write(&installation.config, config).unwrap();
        installation.fail(&["config", "check"])
    };
    let certificate = include_str!("../../transport/tests/tls/client.pem");
    fs::write(installation.path("client.pem"), certificate).unwrap();
    fs::write(installation.path("client.key"), "no key").unwrap();
    for (keys, problem) in [
        ("client_certificate_file = \"client.pem\"", "belong together"),
        ("ca_file = \"missing.pem\"", "cannot be read"),
        ("ca_file = \"client.key\"", "no certificate"),
        (
            "client_certificate_file = \"client.pem\"\nclient_key_file = \"client.key\"",
            "HTTP cannot be set up",
        ),
    ] {
        let error = check(keys);
        assert!(error.contains(problem), "{keys}: {error}");
    }
    // There is no key that would let a certificate pass that does not hold.
    for keys in [
        "verify = false",
        "insecure = true",
        "accept_invalid_certificates = true",
    ] {
        assert!(check(keys).contains("unknown key"));
    }
}
