//! What the models saw, drawn on the photo: read anew from the EHR, for a reason, and nothing of it kept; and the draft about it.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

#[path = "support/process.rs"]
mod process;

use std::time::Duration;

use process::{Installation, Served};
use skin_assist::clock::SystemClock;
use skin_assist_core::time::Clock as _;
use skin_assist_simulator::{EncounterSpec, FirmSpec, Options, PhotoFault, PhotoSpec, PracticeEhr};

#[test]
fn what_the_models_saw_is_drawn_on_the_photo_for_a_reason_and_on_no_other_photo() {
    let served = Served::start(PracticeEhr::new(Options::default()));
    let ehr = &served.ehr;
    ehr.add_firm(FirmSpec::new("elm")).unwrap();
    let installation = Installation::connected(ehr);
    let now = SystemClock.now();
    let visit = ehr.open_encounter(now, "elm", EncounterSpec::default()).unwrap();
    let photo = PhotoSpec::synthetic("PHOTO-LESION", 1, None);
    let document = ehr.attach_photo(now, "elm", &visit, photo).unwrap();
    let running = installation.start();
    for _ in 0..900 {
        if ehr.report().compositions > 0 {
            break;
        }
        served.sleep(Duration::from_millis(100));
    }
    assert_eq!(running.terminate(), Some(0));

    let photos = installation.json(&["photos", "--json"]);
    let known = photos[0]["document"].as_str().unwrap().to_owned();
    let out = installation.path("picture.png");
    let out = out.to_str().unwrap();
    let picture = ["picture", "elm", &known, "--out", out, "--because"];
    let with = |reason: &'static str| {
        picture
            .iter()
            .copied()
            .chain([reason, "--ticket", "QA-7"])
            .collect::<Vec<_>>()
    };
    let refused = installation.fail(&with("curiosity"));
    assert!(
        refused.contains("say why you read it") && refused.contains("quality-review"),
        "{refused}"
    );
    installation.succeed(&with("quality-review"));
    let written = std::fs::read(out).unwrap();
    assert!(written.starts_with(b"\x89PNG"), "a picture");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(out).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "others can read a patient's photo");
    }
    let read = installation.succeed(&["audit", "export", "--firm", "elm"]);
    let subject = format!("{known} because quality-review QA-7");
    assert!(
        read.lines()
            .any(|entry| entry.contains("photo-read") && entry.contains(&subject)),
        "{read}"
    );

    // The draft is read for a reason, too.
    let draft = ["draft", "elm", &known, "--json", "--because"];
    let refused = installation.fail(&[&draft[..], &["curiosity"]].concat());
    assert!(refused.contains("say why you read it"), "{refused}");
    let shown = installation.json(&[&draft[..], &["complaint"]].concat());
    assert_eq!(shown["delivery"]["state"], "delivered", "{shown}");
    assert!(!shown["sections"].as_array().unwrap().is_empty() && !shown["findings"]["ranked"].is_null());
    let pack = shown["versions"]["models"][0]["pack"].as_str().unwrap();
    let said = installation.succeed(&["draft", "elm", &known, "--because", "complaint"]);
    for part in [
        shown["title"].as_str().unwrap(),
        pack,
        shown["reference_code"].as_str().unwrap(),
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let trail = installation.succeed(&["audit", "export", "--firm", "elm"]);
    let reads = trail
        .lines()
        .filter(|entry| entry.contains("result-read") && entry.contains("because complaint"));
    assert_eq!(reads.count(), 2, "{trail}");
    let unknown = installation.fail(&["draft", "elm", "nothing", "--because", "fault"]);
    assert!(
        unknown.contains("no photo `nothing`") && unknown.contains("hint: "),
        "{unknown}"
    );

    // The clinic replaced the file in its place.
    std::fs::remove_file(out).unwrap();
    ehr.set_photo_fault("elm", &document, Some(PhotoFault::Truncated))
        .unwrap();
    let refused = installation.fail(&with("fault"));
    assert!(refused.contains("another photo now than the models saw"), "{refused}");
    assert!(!std::fs::exists(out).unwrap());
}
