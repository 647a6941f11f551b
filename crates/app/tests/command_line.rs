//! The command line as its user meets it: the demonstration, the operator's commands, and bad input.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

#[path = "support/process.rs"]
mod process;

use std::{fs, process::Command, time::Duration};

use process::{Installation, Served, write_photo};
use skin_assist::clock::SystemClock;
use skin_assist_core::time::Clock as _;
use skin_assist_simulator::{EncounterSpec, FirmSpec, Options, PhotoFault, PhotoSpec, PracticeEhr};

#[test]
fn the_demonstration_gives_every_photo_exactly_one_draft() {
    for seed in ["1", "2"] {
        let output = Command::new(env!("CARGO_BIN_EXE_skin-assist"))
            .args([
                "demo",
                "--exit-when-done",
                "--json",
                "--speed",
                "40",
                "--minutes",
                "5",
                "--seed",
                seed,
            ])
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "seed {seed}: {error}");
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let totals = &document["totals"];
        let photos = totals["photos"].as_u64().unwrap();
        assert!(photos >= 4, "a clinic of {photos} photos proves nothing");
        assert_eq!(totals["drafts"], photos);
        assert_eq!(
            (&totals["duplicates"], &totals["uncertain"], &totals["dead_letters"]),
            (&0.into(), &0.into(), &0.into())
        );
        assert_eq!(totals["refused_429"], 0);
        assert_eq!(
            (&totals["calls"]["read"], &totals["calls"]["draft"]),
            (&photos.into(), &photos.into())
        );
        for photo in document["documents"].as_array().unwrap() {
            let at = |key: &str| {
                photo[key]
                    .as_str()
                    .unwrap_or_else(|| panic!("{key} is missing: {photo}"))
                    .to_owned()
            };
            let times = [
                "attached_at",
                "detected_at",
                "downloaded_at",
                "assessed_at",
                "delivered_at",
            ]
            .map(at);
            assert!(times.is_sorted(), "{times:?}");
            assert!(at("reference").starts_with("Composition/"));
        }
    }
}

#[test]
fn an_operator_connects_a_practice_and_repairs_what_failed() {
    let ehr = PracticeEhr::new(Options::default());
    let served = Served::start(ehr.clone());
    ehr.add_firm(FirmSpec::new("elm")).unwrap();
    let installation = Installation::connected(&ehr);
    let categories = installation.succeed(&["categories", "list", "elm"]);
    assert!(
        categories.contains("PHOTO-LESION") && categories.contains("solitary"),
        "{categories}"
    );
    assert!(installation.succeed(&["firm", "list"]).contains("draft"));
    assert!(installation.succeed(&["config", "check"]).contains("sound"));
    let checked = installation.json(&["config", "check", "--json"]);
    let parts = checked["settings"].as_array().unwrap();
    assert!(
        checked["sound"] == true && parts.iter().any(|setting| setting["part"] == "EHR"),
        "{checked}"
    );
    let doctor = installation.succeed(&["doctor"]);
    assert!(
        doctor.contains("inference runtime") && doctor.contains("1 practices"),
        "{doctor}"
    );

    let now = SystemClock.now();
    let visit = ehr.open_encounter(now, "elm", EncounterSpec::default()).unwrap();
    let photo = |seed, fault| PhotoSpec {
        fault,
        ..PhotoSpec::synthetic("PHOTO-LESION", seed, None)
    };
    let faults = [
        (Some(PhotoFault::NotAnImage), "photo.unsupported-format"),
        (Some(PhotoFault::Truncated), "photo.broken"),
        (Some(PhotoFault::HugeDimensions), "photo.too-many-pixels"),
        (Some(PhotoFault::Oversize { bytes: 31_000_000 }), "photo.too-many-bytes"),
        (None, ""),
    ];
    let mut documents = Vec::new();
    for (seed, (fault, _)) in faults.iter().enumerate() {
        documents.push(
            ehr.attach_photo(now, "elm", &visit, photo(seed as u64, fault.clone()))
                .unwrap(),
        );
    }
    let engine = installation.start();
    let letters = wait_for(&served, || {
        let letters = installation
            .json(&["dead-letters", "list", "--json"])
            .as_array()
            .unwrap()
            .clone();
        (letters.len() == 4 && ehr.report().compositions == 1).then_some(letters)
    });
    for (document, (_, reason)) in documents.iter().zip(&faults).take(4) {
        let letter = letters
            .iter()
            .find(|letter| letter["subject"]["document"] == **document)
            .unwrap();
        assert_eq!(letter["reason"]["code"], *reason);
    }
    let status = installation.succeed(&["status"]);
    for shown in ["photo.broken", "Dead letters:", "photograph again"] {
        assert!(status.contains(shown), "{status}");
    }

    // The photos are taken again under the same document; one letter by number, then the rest.
    for document in &documents {
        ehr.set_photo_fault("elm", document, None).unwrap();
    }
    let number = letters[0]["id"].to_string();
    let shown = installation.succeed(&["dead-letters", "show", &number]);
    assert!(
        shown.contains("  reason: photo.") && shown.contains("  hint: "),
        "{shown}"
    );
    assert_eq!(
        installation.json(&["dead-letters", "show", &number, "--json"]),
        letters[0]
    );
    assert!(
        installation
            .fail(&["dead-letters", "show", "4711"])
            .contains("there is no dead letter 4711")
    );
    let dry = installation.succeed(&["dead-letters", "replay", "--all", "--limit", "2", "--dry-run"]);
    assert!(dry.contains("Nothing was changed. Would be put back: 2."), "{dry}");
    let dry = installation.json(&["dead-letters", "replay", "--all", "--limit", "2", "--dry-run", "--json"]);
    let [first, _] = dry.as_array().unwrap().as_slice() else {
        panic!("two: {dry}")
    };
    assert_eq!(
        (&first["id"], &first["put_back"]),
        (&letters[0]["id"], &false.into()),
        "{dry}"
    );
    assert_eq!(
        installation.json(&["dead-letters", "list", "--json"]),
        serde_json::json!(letters)
    );
    assert!(
        installation
            .succeed(&["dead-letters", "replay", &number])
            .contains("Put back: 1.")
    );
    let two = ["dead-letters", "replay", "--all", "--limit", "2"];
    assert!(installation.succeed(&two).contains("Put back: 2."));
    assert!(
        installation
            .succeed(&["dead-letters", "replay", "--all"])
            .contains("Put back: 1.")
    );
    wait_for(&served, || (ehr.report().compositions == 5).then_some(()));
    assert_eq!(ehr.report().duplicates(), 0);

    // A lost reply leaves a draft uncertain, for an operator to resolve.
    ehr.set_faults(|faults| faults.drop_composition_replies = 1);
    ehr.attach_photo(SystemClock.now(), "elm", &visit, photo(9, None))
        .unwrap();
    let uncertain = wait_for(&served, || {
        installation
            .json(&["uncertain", "list", "--json"])
            .as_array()
            .unwrap()
            .first()
            .cloned()
    });
    assert!(installation.succeed(&["status"]).contains("draft.reply-lost"));
    let assessment = uncertain["assessment"].as_str().unwrap();
    let posted = ehr.report().photos.last().unwrap().drafts[0].reference.clone();
    let resolve = [
        "uncertain",
        "resolve",
        "elm",
        assessment,
        "--delivered",
        &posted,
        "--json",
    ];
    assert_eq!(
        installation.json(&resolve),
        serde_json::json!({ "firm": "elm", "assessment": assessment, "resolution": "delivered" })
    );
    assert_eq!(
        installation.json(&["uncertain", "list", "--json"]),
        serde_json::json!([])
    );
    assert_eq!(ehr.report().duplicates(), 0);

    // With --json a command that changes a practice prints what the list has of it then.
    let listed = || installation.json(&["firm", "list", "--json"])[0].clone();
    let paused = installation.json(&["firm", "pause", "elm", "--json"]);
    assert_eq!((&paused["status"], &paused), (&"paused".into(), &listed()));
    assert!(installation.succeed(&["status"]).contains("paused"));
    assert_eq!(installation.json(&["firm", "resume", "elm", "--json"]), listed());
    let silent = installation.json(&["firm", "mode", "elm", "silent", "--json"]);
    assert_eq!((&silent["mode"], &silent), (&"silent".into(), &listed()));
    let set = installation.json(&["categories", "set", "elm", "PHOTO-RASH=ignored", "--json"]);
    assert_eq!((&set["categories"]["PHOTO-RASH"], &set), (&"ignored".into(), &listed()));
    assert_eq!(engine.terminate(), Some(0));
    assert!(installation.fail(&["firm", "remove", "elm"]).contains("--yes"));
    let removed = installation.json(&["firm", "remove", "elm", "--yes", "--json"]);
    assert_eq!(removed, serde_json::json!({ "removed": "elm", "shredded": false }));
    assert_eq!(installation.json(&["status", "--json"])["firms"], serde_json::json!([]));
}

#[test]
fn photos_are_assessed_without_an_ehr() {
    let installation = Installation::new();
    let (sound, broken) = (installation.path("sound.jpg"), installation.path("broken.jpg"));
    write_photo(&sound, 3);
    fs::write(&broken, &fs::read(&sound).unwrap()[..4000]).unwrap();
    let sound_path = sound.to_str().unwrap();
    let documents = installation.json(&["assess", sound_path, "--route", "widespread", "--json"]);
    let findings = &documents[0]["findings"];
    // EXIF orientation 6 was stored turned: upright it is 640 by 480 again.
    assert_eq!(
        (&findings["image"]["width"], &findings["image"]["height"]),
        (&640.into(), &480.into())
    );
    assert_eq!(findings["ranked"].as_array().unwrap().len(), 4);

    let output = installation.output(&["assess", sound_path, broken.to_str().unwrap(), "--route", "solitary"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("640 by 480") && text.contains("photo.broken") && text.contains("hint:"),
        "{text}"
    );
}

#[test]
fn bad_input_is_named_with_a_hint() {
    let installation = Installation::new();
    let missing = installation.path("missing.toml");
    let cases: &[(&str, &[&str], &str)] = &[
        (
            "[state]\nfile = \"s.sqlite\"\n",
            &["status"],
            "there is no key for the state file",
        ),
        (
            "[state]\nkey_file = \"absent.key\"\n",
            &["status"],
            "the key of the state file cannot be read",
        ),
        (
            "[state]\nkey_file = \"skin-assist.toml\"\n",
            &["status"],
            "the key of the state file is no key",
        ),
        ("[state]\nkey = \"x\"\n", &["status"], "unknown key `state.key`"),
        (
            "[state]\nkey_file = \"state.key\"\nfile = \"no/such/folder/s.sqlite\"\n",
            &["status"],
            "the state cannot be used",
        ),
        (
            "[state]\nkey_file = \"state.key\"\n[console]\nlisten = \"\"\n",
            &["run"],
            "ehr.base_url is not configured",
        ),
        (
            "[state]\nkey_file = \"state.key\"\n",
            &["firm", "pause", "elm"],
            "there is no practice `elm`",
        ),
        (
            "[models]\ndirectory = \"nowhere\"\n",
            &["assess", "x.jpg", "--route", "solitary"],
            "the folder of model packs",
        ),
        (
            "[models]\nruntime = \"onnxruntime\"\nonnx_runtime_library = \"absent.so\"\n",
            &["assess", "x.jpg", "--route", "solitary"],
            "the inference runtime cannot be used",
        ),
        (
            "[language]\nkind = \"openai\"\n",
            &["config", "check"],
            "language.model is not configured",
        ),
        (
            "[language]\nbudget_per_firm_and_day = 2.0\n",
            &["config", "check"],
            "has no price to count with",
        ),
        (
            "[ehr]\nprofile = \"epic\"\n[state]\nkey_file = \"state.key\"\n",
            &["config", "check"],
            "",
        ),
    ];
    for (config, arguments, expected) in cases {
        fs::write(&installation.config, config).unwrap();
        let error = installation.fail(arguments);
        assert!(
            error.starts_with("error: ") && error.contains(expected) && error.contains("hint: "),
            "{expected}:\n{error}"
        );
    }
    let error = installation.fail(&["--config", missing.to_str().unwrap(), "status"]);
    assert!(error.contains("cannot be read") && error.contains("hint: "), "{error}");
}

#[test]
fn what_is_kept_back_is_reviewed_and_compared() {
    let ehr = PracticeEhr::new(Options::default());
    let served = Served::start(ehr.clone());
    ehr.add_firm(FirmSpec::new("elm")).unwrap();
    let installation = Installation::connected(&ehr);
    installation.succeed(&["firm", "mode", "elm", "silent"]);
    assert!(installation.succeed(&["review", "list", "elm"]).contains("No result"));
    let now = SystemClock.now();
    let visit = ehr.open_encounter(now, "elm", EncounterSpec::default()).unwrap();
    ehr.attach_photo(now, "elm", &visit, PhotoSpec::synthetic("PHOTO-LESION", 1, None))
        .unwrap();
    let engine = installation.start();
    let kept = wait_for(&served, || {
        let kept = installation.json(&["review", "list", "elm", "--json"]);
        let kept = kept.as_array().unwrap().clone();
        (kept.len() == 1).then_some(kept)
    });
    drop(engine);
    assert_eq!(kept[0]["encounter"], *visit);
    assert_eq!((ehr.report().compositions, ehr.report().calls.draft), (0, 0));
    let code = kept[0]["reference_code"].as_str().unwrap();
    let show = ["review", "show", "elm", code];
    let refused = |more: &[&str]| installation.fail(&[&show, more].concat());
    let without = installation.output(&show);
    assert_eq!(without.status.code(), Some(2), "nobody reads without a reason");
    assert!(String::from_utf8(without.stderr).unwrap().contains("--because"));
    assert!(refused(&["--because", "curiosity"]).contains("reasons are clinical-question"));
    assert!(refused(&["--because", "fault", "--ticket", "Mrs. Canary"]).contains("a ticket has letters"));
    let reads = || {
        let trail = installation.succeed(&["audit", "export", "--firm", "elm"]);
        let reads = trail.lines().filter(|line| line.contains("result-read"));
        reads.map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(reads().is_empty(), "{:?}", reads());
    let because = ["--because", "quality-review", "--ticket", "QA-7"];
    let shown = installation.succeed(&[&show[..], &because].concat());
    let reads = reads();
    assert!(
        reads.len() == 1 && reads[0].contains("because quality-review QA-7"),
        "{reads:?}"
    );
    assert!(
        shown.contains("AI-generated draft, not reviewed by a clinician."),
        "{shown}"
    );
    assert!(
        installation
            .fail(&["review", "show", "elm", "SA-0000", "--because", "fault"])
            .contains("hint: ")
    );

    let coded = installation.path("coded.csv");
    fs::write(
        &coded,
        format!("encounter,system,code,group\n{visit},icd-10-cm,D22.5,type III\n"),
    )
    .unwrap();
    let arguments = ["silent-report", "elm", "--diagnoses", coded.to_str().unwrap()];
    let report = installation.succeed(&arguments);
    assert!(
        report.contains("| all | 1 |") && report.contains("| group type III | 1 |"),
        "{report}"
    );
    assert_eq!(installation.succeed(&arguments), report, "byte for byte");
}

#[test]
fn a_practice_proves_itself_as_the_profile_asks() {
    let installation = Installation::new();
    let shipped = skin_assist_ehr::Profile::shipped_text("modmed-ema").unwrap();
    let profile = |name: &str, rules: &str| {
        let plain = "grant = \"client-credentials\"\nclient_authentication = \"client-secret-post\"";
        assert!(shipped.contains(plain));
        fs::write(installation.path(name), shipped.replacen(plain, rules, 1)).unwrap();
        let config = format!("[state]\nkey_file = \"state.key\"\n[ehr]\nprofile = \"{name}\"\n");
        fs::write(&installation.config, config).unwrap();
    };
    let path = |name: &str| installation.path(name).to_str().unwrap().to_owned();
    fs::write(installation.path("secret"), "s3cret").unwrap();
    let (key, secret) = (path("client.pem"), path("secret"));
    let printed: serde_json::Value = serde_json::from_str(&installation.succeed(&["key", "client", &key])).unwrap();
    let key_id = printed["keys"][0]["kid"].as_str().unwrap();
    assert_eq!(printed["keys"][0]["alg"], "ES384");
    let again: serde_json::Value = serde_json::from_str(&installation.succeed(&["key", "public", &key])).unwrap();
    assert_eq!(again, printed);
    assert!(
        installation
            .fail(&["key", "client", &path("new.pem"), "--algorithm", "RS384"])
            .contains("openssl genpkey -algorithm RSA")
    );
    assert!(
        installation
            .fail(&["key", "public", &secret])
            .contains("not a private key in PEM")
    );

    let by_secret = ["--client-id", "c", "--client-secret-file", &secret];
    let by_key = ["--client-id", "c", "--private-key-file", &key, "--key-id", key_id];
    let by_password = ["--user-name", "u", "--password-file", &secret];
    let jwt = |algorithm: &str| {
        format!(
            "grant = \"client-credentials\"\nclient_authentication = \"private-key-jwt\"\nsigning_algorithm = \"{algorithm}\""
        )
    };
    let add = |id: &'static str, proof: &[&str]| {
        let mut arguments = vec!["firm", "add", id, "--url-prefix", id];
        arguments.extend(proof);
        arguments.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let run = |arguments: Vec<String>, succeeds: bool| {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        if succeeds {
            installation.succeed(&arguments)
        } else {
            installation.fail(&arguments)
        }
    };
    profile("jwt.toml", &jwt("ES384"));
    for wrong in [&by_secret[..], &by_password, &["--client-id", "c"], &[]] {
        let error = run(add("elm", wrong), false);
        assert!(
            error.contains("hint: give --client-id ID --private-key-file FILE --key-id ID"),
            "{error}"
        );
    }
    run(add("elm", &by_key), true);
    profile("rsa.toml", &jwt("RS384"));
    let error = run(add("oak", &by_key), false);
    assert!(
        error.contains("it is not a key for RS384") && error.contains("rsa_keygen_bits"),
        "{error}"
    );
    profile(
        "password.toml",
        "grant = \"password\"\nclient_authentication = \"none\"",
    );
    let error = run(add("oak", &by_key), false);
    assert!(
        error.contains("hint: give --user-name NAME --password-file FILE"),
        "{error}"
    );
    run(add("oak", &by_password), true);
    profile(
        "secret.toml",
        "grant = \"client-credentials\"\nclient_authentication = \"client-secret-basic\"",
    );
    let error = run(add("ash", &by_password), false);
    assert!(
        error.contains("hint: give --client-id ID --client-secret-file FILE"),
        "{error}"
    );
    installation.succeed(&[
        "firm",
        "credential",
        "oak",
        "--client-id",
        "c",
        "--client-secret-file",
        &secret,
    ]);
}

#[test]
fn a_wrong_key_opens_nothing_and_changes_nothing() {
    let installation = Installation::new();
    installation.succeed(&["status"]);
    let state = installation.path("skin-assist.sqlite");
    let before = fs::read(&state).unwrap();
    let other = installation.path("other.key");
    installation.succeed(&["key", "generate", other.to_str().unwrap()]);
    assert!(
        installation
            .fail(&["key", "generate", other.to_str().unwrap()])
            .contains("never overwritten")
    );
    fs::write(&installation.config, "[state]\nkey_file = \"other.key\"\n").unwrap();
    let error = installation.fail(&["status"]);
    assert!(
        error.contains("the key does not open the state file") && error.contains("hint: "),
        "{error}"
    );
    assert_eq!(fs::read(&state).unwrap(), before);
}

#[test]
fn a_model_pack_with_a_changed_file_is_refused() {
    let installation = Installation::new();
    let pack = installation.path("packs/widespread");
    fs::create_dir_all(&pack).unwrap();
    let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/reference-widespread");
    for file in ["pack.toml", "classifier.onnx"] {
        fs::copy(format!("{reference}/{file}"), pack.join(file)).unwrap();
    }
    let mut onnx = fs::read(pack.join("classifier.onnx")).unwrap();
    let last = onnx.len() - 1;
    onnx[last] ^= 1;
    fs::write(pack.join("classifier.onnx"), onnx).unwrap();
    fs::write(&installation.config, "[models]\ndirectory = \"packs\"\n").unwrap();
    let error = installation.fail(&["assess", "x.jpg", "--route", "widespread"]);
    assert!(
        error.contains("SHA-256") && error.contains("classifier.onnx") && error.contains("hint: "),
        "{error}"
    );
}

#[test]
fn model_packs_are_listed_verified_and_explained() {
    let installation = Installation::new();
    let listed = installation.json(&["models", "list", "--json"]);
    let ids: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|pack| pack["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["reference-solitary", "reference-widespread"]);
    assert!(
        installation
            .succeed(&["models", "list"])
            .contains("Not for clinical use")
    );

    let packs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models");
    let reports = installation.json(&["models", "verify", packs, "--json"]);
    for report in reports.as_array().unwrap() {
        let checks = report["checks"].as_array().unwrap();
        assert!(checks.iter().all(|check| check["verdict"] != "failed"), "{report}");
        assert!(checks.iter().any(|check| check["what"] == "shapes, rten"), "{report}");
    }
    let empty = installation.path("empty");
    fs::create_dir(&empty).unwrap();
    let error = installation.fail(&["models", "verify", empty.to_str().unwrap()]);
    assert!(error.contains("no model pack") && error.contains("hint: "), "{error}");
    fs::write(empty.join("pack.toml"), "format_version = 1\n").unwrap();
    let output = installation.output(&["models", "verify", empty.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("!!  manifest and files")
    );

    let (photo, picture) = (installation.path("photo.jpg"), installation.path("picture.png"));
    write_photo(&photo, 3);
    let (photo, picture) = (photo.to_str().unwrap(), picture.to_str().unwrap());
    let explain = ["models", "explain", photo, "--route", "solitary", "--out", picture];
    assert!(
        installation
            .succeed(&explain)
            .contains("keep it where photos may be kept")
    );
    assert!(fs::read(picture).unwrap().starts_with(b"\x89PNG"));
    let error = installation.fail(&explain);
    assert!(error.contains("does not exist yet"), "nothing is overwritten: {error}");
}

#[test]
fn an_ehr_that_is_down_is_waited_for() {
    let ehr = PracticeEhr::new(Options::default());
    let served = Served::start(ehr.clone());
    ehr.add_firm(FirmSpec::new("elm")).unwrap();
    let installation = Installation::connected(&ehr);
    ehr.set_faults(|faults| faults.outage = true);
    let mut engine = installation.start();
    let log = || fs::read_to_string(installation.path("run.log")).unwrap();
    wait_for(&served, || {
        (log().contains("hint") && log().contains("resting")).then_some(())
    });
    assert!(engine.is_running());
    ehr.set_faults(|faults| faults.outage = false);
    let now = SystemClock.now();
    let visit = ehr.open_encounter(now, "elm", EncounterSpec::default()).unwrap();
    ehr.attach_photo(now, "elm", &visit, PhotoSpec::synthetic("PHOTO-RASH", 1, None))
        .unwrap();
    wait_for(&served, || (ehr.report().compositions == 1).then_some(()));
    assert_eq!(engine.terminate(), Some(0));
}

#[test]
fn a_backfill_shows_its_cost_first_and_takes_photos_from_before() {
    let ehr = PracticeEhr::new(Options::default());
    let _served = Served::start(ehr.clone());
    ehr.add_firm(FirmSpec::new("elm")).unwrap();
    let installation = Installation::connected(&ehr);
    ehr.add_firm(FirmSpec::new("oak")).unwrap();
    let now = SystemClock.now();
    for (hours, seed) in [(30, 1), (70, 2), (500, 3)] {
        let then = now - Duration::from_secs(hours * 3600);
        let visit = ehr.open_encounter(then, "oak", EncounterSpec::default()).unwrap();
        ehr.attach_photo(then, "oak", &visit, PhotoSpec::synthetic("PHOTO-LESION", seed, None))
            .unwrap();
    }
    let oak = ehr.credentials("oak").unwrap();
    fs::write(installation.path("oak.secret"), &oak.client_secret).unwrap();
    let secret = installation.path("oak.secret").to_str().unwrap().to_owned();
    let add = |more: &[&str]| {
        let client = ["--client-id", &oak.client_id, "--client-secret-file", &secret];
        let arguments = [&["firm", "add", "oak", "--url-prefix", "oak"][..], &client, more].concat();
        installation.output(&arguments)
    };
    let told = |output: std::process::Output| {
        let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (output.status.code(), text)
    };

    // The first poll reaches back a day further than the photos: 30 and 70 hours, not 500.
    let (code, text) = told(add(&["--backfill", "2d"]));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("brings 2 visits") && text.contains("add --yes"), "{text}");
    assert!(
        !installation
            .json(&["firm", "list", "--json"])
            .to_string()
            .contains("oak")
    );
    let cost = add(&["--backfill", "2d", "--json"]);
    let cost: serde_json::Value = serde_json::from_slice(&cost.stdout).unwrap();
    assert_eq!(
        (&cost["visits"], &cost["calls_to_list"]),
        (&2.into(), &1.into()),
        "{cost}"
    );
    let (code, text) = told(add(&["--backfill", "two days"]));
    assert!(code == Some(2) && text.contains("such as 2d or 36h"), "{text}");
    let (code, text) = told(add(&["--api-key", "second"]));
    assert!(code == Some(1) && text.contains("further_api_key_files"), "{text}");

    let (code, text) = told(add(&["--backfill", "2d", "--yes"]));
    assert_eq!(code, Some(0), "{text}");
    let firms = installation.json(&["firm", "list", "--json"]);
    let oak = firms
        .as_array()
        .unwrap()
        .iter()
        .find(|firm| firm["id"] == "oak")
        .unwrap();
    let at = |key: &str| skin_assist_core::time::Timestamp::parse_rfc3339(oak[key].as_str().unwrap()).unwrap();
    assert_eq!(
        at("connected_at").since(at("photos_since")),
        Duration::from_secs(48 * 3600)
    );
}

#[test]
fn a_photo_retracted_after_its_draft_is_shown_until_an_operator_takes_note() {
    let ehr = PracticeEhr::new(Options::default());
    let served = Served::start(ehr.clone());
    ehr.add_firm(FirmSpec::new("elm")).unwrap();
    let installation = Installation::connected(&ehr);
    let engine = installation.start();
    let now = SystemClock.now();
    let visit = ehr.open_encounter(now, "elm", EncounterSpec::default()).unwrap();
    let photo = PhotoSpec::synthetic("PHOTO-RASH", 1, None);
    let document = ehr.attach_photo(now, "elm", &visit, photo).unwrap();
    wait_for(&served, || (ehr.report().compositions == 1).then_some(()));
    ehr.retract_document(SystemClock.now(), "elm", &document).unwrap();
    let listed = wait_for(&served, || {
        let listed = installation.json(&["retractions", "list", "--json"]);
        (listed.as_array().unwrap().len() == 1).then(|| listed[0].clone())
    });
    assert_eq!(listed["document"], document.as_str());
    assert!(listed["reference"].as_str().unwrap().starts_with("Composition/"));
    assert!(installation.succeed(&["status"]).contains("photo was retracted"));
    let assessment = listed["assessment"].as_str().unwrap();
    assert_eq!(
        installation.json(&["retractions", "acknowledge", "elm", assessment, "--json"]),
        serde_json::json!({ "firm": "elm", "assessment": assessment })
    );
    assert!(installation.succeed(&["retractions", "list"]).contains("No draft"));
    let error = installation.fail(&["retractions", "acknowledge", "elm", assessment]);
    assert!(error.contains("retraction"), "{error}");
    assert_eq!(engine.terminate(), Some(0));
}

/// Asks until there is an answer.
fn wait_for<T>(served: &Served, ask: impl Fn() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(answer) = ask() {
            return answer;
        }
        served.sleep(Duration::from_millis(100));
    }
    panic!("it did not happen within a minute");
}
