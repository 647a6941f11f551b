//! Keys and backups as an operator meets them: the state's key is changed, a practice is removed for good, a backup is put back.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

#[path = "support/process.rs"]
mod process;

use std::fs;

use process::Installation;

/// Two practices, and a folder for backups.
fn with_two_practices() -> Installation {
    let installation = Installation::new();
    fs::create_dir(installation.path("backups")).unwrap();
    fs::write(installation.path("client.secret"), "secret").unwrap();
    let secret = installation.path("client.secret").to_str().unwrap().to_owned();
    for id in ["elm", "oak"] {
        let client = ["--client-id", "client", "--client-secret-file", &secret];
        installation.succeed(&[&["firm", "add", id, "--url-prefix", id][..], &client].concat());
    }
    installation
}

fn in_backups(installation: &Installation, name: &str) -> String {
    installation.path("backups").join(name).to_str().unwrap().to_owned()
}

#[test]
fn a_practice_that_was_shredded_does_not_come_back_with_a_backup() {
    let installation = with_two_practices();
    let backup = in_backups(&installation, "one.db");
    let beside_the_keys = installation.path("one.db");
    let error = installation.fail(&["backup", beside_the_keys.to_str().unwrap()]);
    assert!(
        error.contains("the folder of the firm keys") && error.contains("hint"),
        "{error}"
    );
    let told = installation.succeed(&["backup", &backup]);
    assert!(told.contains("2 practices") && told.contains("read back"), "{told}");

    let error = installation.fail(&["firm", "remove", "elm", "--shred"]);
    assert!(error.contains("lost for good"), "{error}");
    let told = installation.succeed(&["firm", "remove", "elm", "--shred", "--yes"]);
    assert!(
        told.contains("destroyed its key") && told.contains("state.key.firm-keys"),
        "{told}"
    );
    let error = installation.fail(&["restore", &backup]);
    assert!(error.contains("exists") && error.contains("--replace"), "{error}");
    let told = installation.succeed(&["restore", &backup, "--replace"]);
    assert!(told.contains("`elm` was shredded") && told.contains("paused"), "{told}");
    let firms = installation.json(&["firm", "list", "--json"]);
    assert_eq!(firms.as_array().unwrap().len(), 1, "{firms}");
    assert_eq!(
        (&firms[0]["id"], &firms[0]["status"]),
        (&"oak".into(), &"paused".into())
    );
    installation.succeed(&["firm", "resume", "oak"]);

    // Removed in the ordinary way, it comes back; and can be shredded afterwards.
    installation.succeed(&["firm", "remove", "oak", "--yes"]);
    installation.succeed(&["restore", &backup, "--replace"]);
    assert!(installation.succeed(&["firm", "list"]).contains("oak"));
    installation.succeed(&["firm", "remove", "oak", "--yes"]);
    installation.succeed(&["firm", "remove", "oak", "--shred", "--yes"]);
    let contents = installation.json(&["restore", &backup, "--replace", "--json"]);
    assert_eq!(contents["shredded"], serde_json::json!(["elm", "oak"]));

    // The trail is whole although nobody can read any more what of it was the practices' own.
    installation.succeed(&["audit", "verify"]);
    assert!(installation.succeed(&["audit", "export"]).contains("\"restored\""));
}

#[test]
fn the_key_of_the_state_is_changed_and_an_interrupted_change_is_finished() {
    let installation = with_two_practices();
    let backup = in_backups(&installation, "before.db");
    installation.succeed(&["backup", &backup]);
    let key = || fs::read_to_string(installation.path("state.key")).unwrap();
    let before = key();
    let told = installation.succeed(&["key", "rotate"]);
    assert!(told.contains("state.key.old-1"), "{told}");
    assert_ne!(key(), before);
    assert_eq!(
        fs::read_to_string(installation.path("state.key.old-1")).unwrap(),
        before
    );
    assert!(!installation.path("state.key.next").exists());
    assert!(installation.succeed(&["firm", "list"]).contains("elm"));
    let error = installation.fail(&["restore", &backup, "--replace"]);
    assert!(error.contains("the key does not open"), "{error}");
    let old = installation.path("state.key.old-1").to_str().unwrap().to_owned();
    installation.succeed(&["restore", &backup, "--replace", "--key-file", &old]);

    // As a kill leaves it after the pages were written and before the key was put into its place.
    let after = key();
    fs::write(installation.path("state.key.next"), &after).unwrap();
    fs::write(installation.path("state.key"), &before).unwrap();
    assert!(
        installation.succeed(&["firm", "list"]).contains("elm"),
        "every command finds the new key"
    );
    let error = installation.fail(&["backup", &in_backups(&installation, "after.db")]);
    assert!(error.contains("key rotate"), "{error}");
    let told = installation.succeed(&["key", "rotate"]);
    assert!(told.contains("finished now"), "{told}");
    assert_eq!(key(), after);
    assert!(!installation.path("state.key.next").exists());
    assert!(
        !installation.path("state.key.old-2").exists(),
        "the old key is kept once"
    );
    installation.succeed(&["backup", &in_backups(&installation, "after.db")]);
    let trail = installation.succeed(&["audit", "export"]);
    for action in ["\"key-changed\"", "\"backed-up\""] {
        assert!(trail.contains(action), "{action} is not in the trail");
    }
    let rotated = installation.json(&["key", "rotate", "--json"]);
    assert_eq!(rotated["begun_before"], false);
    let kept = rotated["old_key_file"].as_str().unwrap();
    assert_eq!(fs::read_to_string(kept).unwrap(), after);
    installation.succeed(&["audit", "verify"]);
}
