//! `skin-assist probe` as its user meets it: the binary against a practice EHR over HTTP.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

#[path = "support/process.rs"]
mod process;

use std::fs;

use process::{Installation, Served};
use skin_assist::clock::SystemClock;
use skin_assist_core::time::Clock as _;
use skin_assist_ehr::{ChangeParameter, Profile};
use skin_assist_simulator::{EncounterSpec, FirmSpec, Options, PhotoSpec, PracticeEhr};

/// A practice with some visits, each with a photo.
fn practice() -> (PracticeEhr, Served, Installation) {
    let ehr = PracticeEhr::new(Options::default());
    let served = Served::start(ehr.clone());
    ehr.add_firm(FirmSpec::new("elm")).unwrap();
    let now = SystemClock.now();
    for seed in 0..4 {
        let visit = ehr.open_encounter(now, "elm", EncounterSpec::default()).unwrap();
        ehr.attach_photo(now, "elm", &visit, PhotoSpec::synthetic("PHOTO-LESION", seed, None))
            .unwrap();
    }
    let installation = Installation::connected(&ehr);
    (ehr, served, installation)
}

#[test]
fn an_ehr_that_fits_ends_with_0_and_one_that_does_not_with_1() {
    let (ehr, _served, installation) = practice();
    ehr.set_quirks(|quirks| quirks.gzip = true);
    let calls_before = ehr.report().calls.total();
    let text = installation.succeed(&["probe", "--firm", "elm"]);
    for shown in [
        "Nothing contradicts the profile `modmed-ema`.",
        "127.0.0.1 answers over http to this very machine",
        "a token was obtained by client_secret_post; it lives 900 s (as its reply says)",
        "replies are compressed",
        "FHIR 4.0.1",
        "Nothing was changed.",
    ] {
        assert!(text.contains(shown), "{shown}\n{text}");
    }
    let document = installation.json(&["probe", "--firm", "elm", "--json"]);
    assert_eq!(
        (&document["fits"], &document["differences"]),
        (&true.into(), &serde_json::json!([]))
    );
    let calls = ehr.report().calls;
    assert_eq!(calls.total() - calls_before, 2 * document["calls"].as_u64().unwrap());
    assert_eq!(
        (calls.draft, ehr.report().compositions, ehr.report().refused_429),
        (0, 0, 0)
    );
    let shapes = document["findings"].as_array().unwrap();
    assert!(
        shapes
            .iter()
            .all(|finding| finding["code"].is_string() && finding["seen"].is_string())
    );

    ehr.set_quirks(|quirks| {
        quirks.ignored_parameters.insert("_lastUpdated");
    });
    let file = installation.path("proposed.toml");
    let file = file.to_str().unwrap();
    let output = installation.output(&["probe", "--firm", "elm", "--profile-out", file]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("encounters.changed.parameter: the profile says _lastUpdated, the EHR ignores it"),
        "{text}"
    );
    let proposed = fs::read_to_string(file).unwrap();
    assert!(proposed.contains("# encounters.changed.parameter: the profile says _lastUpdated"));
    let profile = Profile::from_toml(&proposed).unwrap();
    assert_eq!(profile.encounters.changed.parameter, ChangeParameter::Date);
    let error = installation.fail(&["probe", "--firm", "elm", "--profile-out", file]);
    assert!(error.contains("exists already") && error.contains("hint: "), "{error}");
    assert_eq!(fs::read_to_string(file).unwrap(), proposed);

    // With the proposed profile the two agree.
    let config = fs::read_to_string(&installation.config).unwrap();
    let config = config.replace("[ehr]\n", "[ehr]\nprofile = \"proposed.toml\"\n");
    fs::write(&installation.config, config).unwrap();
    installation.succeed(&["config", "check"]);
    installation.succeed(&["probe", "--firm", "elm"]);
}

#[test]
fn a_practice_is_probed_when_it_is_connected() {
    let (ehr, _served, installation) = practice();
    let oak = ehr.add_firm(FirmSpec::new("oak")).unwrap();
    let secret = installation.path("oak.secret");
    fs::write(&secret, &oak.client_secret).unwrap();
    let proof = [
        "--client-id",
        &oak.client_id,
        "--client-secret-file",
        secret.to_str().unwrap(),
    ];
    let add = ["firm", "add", "oak", "--url-prefix", "oak", "--probe"];
    let text = installation.succeed(&[&add[..], &proof].concat());
    assert!(text.contains("Connected `oak`"), "{text}");
    assert!(text.contains("not known: no encounter yet"), "{text}");
    assert!(text.contains("Nothing contradicts the profile"), "{text}");

    let error = installation.fail(&["probe", "--firm", "ash"]);
    assert!(error.contains("there is no practice `ash`"), "{error}");
    ehr.revoke_secret("oak").unwrap();
    let error = installation.fail(&["probe", "--firm", "oak"]);
    assert!(
        error.contains("refuses the credential") && error.contains("hint: "),
        "{error}"
    );
    ehr.set_faults(|faults| faults.outage = true);
    installation.fail(&["probe", "--firm", "elm"]);
}
