//! A practice whose photos are told of to a collector. Beside `process`, which names what it is connected with.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

use skin_assist::clock::SystemClock;
use skin_assist_core::time::Clock as _;
use skin_assist_simulator::{EncounterSpec, FirmSpec, Options, PhotoSpec, PracticeEhr};

use crate::process::{Installation, Served};

/// A practice with two photos in its charts, connected.
pub(crate) fn two_photos() -> (Served, Installation) {
    let served = Served::start(PracticeEhr::new(Options::default()));
    served.ehr.add_firm(FirmSpec::new("elm")).unwrap();
    let installation = Installation::connected(&served.ehr);
    let visit = served
        .ehr
        .open_encounter(SystemClock.now(), "elm", EncounterSpec::default())
        .unwrap();
    for seed in [1, 2] {
        let photo = PhotoSpec::synthetic("PHOTO-LESION", seed, None);
        served
            .ehr
            .attach_photo(SystemClock.now(), "elm", &visit, photo)
            .unwrap();
    }
    (served, installation)
}

/// Names the collector in the configuration.
pub(crate) fn tell(installation: &Installation, endpoint: &str, more: &str) {
    let config = std::fs::read_to_string(&installation.config).unwrap();
    let telemetry = format!(
        "[telemetry]\notlp_endpoint = \"{endpoint}\"\notlp_every_seconds = 1\nallow_loopback_http = true\n{more}\n"
    );
    std::fs::write(&installation.config, config + &telemetry).unwrap();
}
