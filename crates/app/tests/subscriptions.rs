//! Subscriptions as an operator makes and ends them.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

#[path = "support/process.rs"]
mod process;
#[path = "support/subscriber.rs"]
mod subscriber;

use std::process::Command;

use process::Installation;
use serde_json::Value;
use subscriber::Subscriber;

const ENDPOINT: &str = "https://subscriber.example/hook";

#[test]
fn an_operator_makes_and_ends_a_subscription() {
    let installation = Installation::new();
    assert_eq!(
        installation.json(&["subscription", "list", "--json"]),
        serde_json::json!([])
    );
    let made = installation.json(&[
        "subscription",
        "add",
        "--endpoint",
        ENDPOINT,
        "--format",
        "cloudevents",
        "--event",
        "photo-detected",
        "--json",
    ]);
    let id = made["subscription"]["id"].as_str().unwrap();
    let (key, token) = (made["signing_key"].as_str().unwrap(), made["token"].as_str().unwrap());
    assert!(key.starts_with("whsec_") && token.len() == 64);
    assert_eq!(made["subscription"]["kinds"], serde_json::json!(["photo-detected"]));
    let said = installation.succeed(&[
        "subscription",
        "add",
        "--endpoint",
        ENDPOINT,
        "--format",
        "fhir-r4-backport",
    ]);
    assert!(said.contains("whsec_"), "{said}");

    // They are shown that once.
    let listed = installation.succeed(&["subscription", "list", "--json"]);
    let shown = installation.succeed(&["subscription", "show", id]);
    for secret in [key, token] {
        assert!(!listed.contains(secret) && !shown.contains(secret));
    }
    assert!(
        shown.contains("requested") && shown.contains("Events: photo-detected."),
        "{shown}"
    );
    for (command, status) in [("pause", "off"), ("resume", "requested")] {
        let changed = installation.json(&["subscription", command, id, "--json"]);
        assert_eq!(changed["status"], status);
        assert_eq!(installation.json(&["subscription", "show", id, "--json"]), changed);
    }
    let nothing = installation.succeed(&["subscription", "dead-letters"]);
    assert_eq!(nothing, "No notification was given up.\n");
    let missing = installation.fail(&["subscription", "replay", id, "7"]);
    assert!(missing.contains("notification that was given up"), "{missing}");
    let removed = installation.json(&["subscription", "remove", id, "--json"]);
    assert_eq!(removed, serde_json::json!({ "removed": id }));
    let unknown = installation.fail(&["subscription", "remove", id]);
    assert!(unknown.contains("hint: `skin-assist subscription list`"), "{unknown}");

    // Each change is in the trail, and none that failed.
    let trail = installation.succeed(&["audit", "export"]);
    let changes = trail.lines().filter(|line| line.contains("\"subscription-changed\""));
    let told: Vec<_> = changes.filter(|line| line.contains(id)).collect();
    assert_eq!(told.len(), 4, "{told:?}");
    for (word, line) in ["added", "paused", "resumed", "removed"].iter().zip(told) {
        assert!(line.contains(&format!("{id} {word}")), "{line}");
    }
}

#[test]
fn an_endpoint_is_public_and_behind_tls_unless_it_is_allowed() {
    let installation = Installation::new();
    let add = |endpoint: &str| {
        installation.output(&["subscription", "add", "--endpoint", endpoint, "--format", "cloudevents"])
    };
    for (endpoint, problem) in [
        ("http://subscriber.example/", "only https is allowed"),
        ("http://127.0.0.1:9/", "only https is allowed"),
        ("https://10.0.0.1/", "a private address"),
        ("https://169.254.169.254/latest", "a private address"),
        ("https://me:secret@subscriber.example/", "a user name"),
    ] {
        let refused = add(endpoint);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{endpoint}");
        assert!(said.contains(problem) && said.contains("hint: "), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
    assert_eq!(
        installation.json(&["subscription", "list", "--json"]),
        serde_json::json!([])
    );
    let config = "[state]\nkey_file = \"state.key\"\n[subscriptions]\nallow_loopback_http = true\n";
    std::fs::write(&installation.config, config).unwrap();
    assert!(add("http://127.0.0.1:9/").status.success());
    assert!(!add("https://10.0.0.1/").status.success());
}

#[test]
fn the_demonstration_tells_a_subscriber_everything() {
    let subscriber = Subscriber::start(0, 0);
    let program = env!("CARGO_BIN_EXE_skin-assist");
    let words = "demo --exit-when-done --json --speed 20 --minutes 2 --policy round-robin";
    let output = Command::new(program)
        .args(words.split(' '))
        .args(["--subscriber", &subscriber.endpoint])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let told = subscriber.told();
    assert_eq!(told.messages[0]["type"], "example.skin-assist.subscription-handshake");
    let numbers: Vec<u64> = told.events.keys().copied().collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    assert_eq!(document["totals"]["photos"], told.of_type("photo-detected").len());
    assert_eq!(document["totals"]["drafts"], told.of_type("draft-delivered").len());
    let output = Command::new(program)
        .args(["demo", "--subscriber", "http://subscriber.example/"])
        .output();
    let said = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(said.contains("only https is allowed"), "{said}");
}
