//! How long a photo takes from detected to delivered, without the models: the real driver, stages, EHR client and
//! encrypted store on disk, against the practice EHR in process, with models that answer at once.
//!
//! Prints JSON lines `{"name", "value", "unit"}`. `cargo xtask bench` runs it.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and may end"
)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use skin_assist::{
    clock::SystemClock,
    driver::{Engine, Quotas, Workers, stop_signal},
};
use skin_assist_core::{
    domain::{
        CategoryCode, CategoryUse, Firm, FirmId, FirmStatus, GatheringWindows, JourneyState, Mode, NewCredential,
    },
    phi::Secret,
    photos::MemoryPhotos,
    polling::{PolicyName, PolicySettings},
    ports::{FirmAdministration as _, Operations as _},
    synthesis::{Composer, Knowledge},
    time::Clock,
};
use skin_assist_ehr::{EhrClient, EhrConnection, HostPattern, Limits, Profile};
use skin_assist_simulator::{EncounterSpec, FirmSpec, Options, PhotoContent, PhotoSpec, PracticeEhr};
use skin_assist_store::{SqliteStore, StateKey};
use skin_assist_testkit::{PracticeTransport, scripted::ScriptedVision};
use url::Url;

/// Enough that no call waits for the quota.
const CALLS_PER_MINUTE: u32 = 10_000_000;
const BURSTS: usize = 20;
const BURST: usize = 25;

fn report(name: &str, value: f64, unit: &str) {
    println!("{}", serde_json::json!({ "name": name, "value": value, "unit": unit }));
}

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let practice = PracticeEhr::new(Options {
        quota_per_minute: CALLS_PER_MINUTE,
        ..Options::default()
    });
    let credentials = practice.add_firm(FirmSpec::new("elm")).unwrap();
    let store = SqliteStore::open(&folder.path().join("bench.sqlite"), &StateKey::from_bytes([7; 32])).unwrap();
    let state = Arc::new(store);
    let firm = Firm {
        id: FirmId::new("elm"),
        url_prefix: "elm".to_owned(),
        status: FirmStatus::Active,
        mode: Mode::Draft,
        intended_use: None,
        categories: BTreeMap::from([(CategoryCode::new("PHOTO-LESION"), CategoryUse::Solitary)]),
        api_key: None,
        connected_at: clock.now(),
        photos_since: clock.now(),
    };
    state
        .add_firm(
            &firm,
            &NewCredential::secret(&credentials.client_id, Secret::new(credentials.client_secret.clone())),
        )
        .await
        .unwrap();
    let photo_host = Url::parse(&credentials.photo_base)
        .unwrap()
        .host_str()
        .unwrap()
        .to_owned();
    let connection = EhrConnection {
        profile: Profile::shipped("modmed-ema").unwrap(),
        base_url: Url::parse(&credentials.api_base).unwrap(),
        token_url: Some(Url::parse(&credentials.token_url).unwrap()),
        further_api_keys: BTreeMap::new(),
        api_key: Secret::new(credentials.api_key.clone()),
        photo_hosts: vec![HostPattern::parse(&photo_host).unwrap()],
        allow_loopback_http: false,
        limits: Limits::default(),
    };
    let transport = Arc::new(PracticeTransport::new(practice.clone(), Arc::clone(&clock)));
    let ehr = Arc::new(EhrClient::new(connection, Arc::clone(&transport) as _, transport).unwrap());
    let engine = Engine {
        photos: Arc::new(MemoryPhotos::new(500_000_000, Arc::clone(&clock))),
        state: Arc::clone(&state) as _,
        token_endpoint: ehr.clone(),
        ehr,
        vision: Arc::new(ScriptedVision::new(Arc::clone(&clock), Duration::ZERO)),
        language: Arc::new(Composer::new(Knowledge::shipped().unwrap())),
        quotas: Quotas {
            name: "bench".to_owned(),
            calls: CALLS_PER_MINUTE,
            window: Duration::from_secs(60),
            each_firm: false,
        },
        policy: PolicyName::Adaptive,
        settings: PolicySettings::one_by_one(),
        windows: GatheringWindows::default(),
        workers: Workers {
            poll: 4,
            download: 4,
            infer: 4,
            write_back: 4,
        },
        observer: Arc::new(|_| {}),
        clock: Arc::clone(&clock),
    };
    let (stopper, stop) = stop_signal();
    let running = tokio::spawn(async move { engine.run(stop).await });

    // A JPEG of the size that phones write; its content does not matter without models.
    let mut jpeg = vec![0_u8; 3_000_000];
    jpeg[..2].copy_from_slice(&[0xff, 0xd8]);
    let content = PhotoContent::Bytes(Bytes::from(jpeg));
    let mut attached = 0;
    let begun = clock.now();
    for _ in 0..BURSTS {
        let visit = practice
            .open_encounter(clock.now(), "elm", EncounterSpec::default())
            .unwrap();
        for seed in 0..BURST {
            let photo = PhotoSpec {
                content: content.clone(),
                ..PhotoSpec::synthetic("PHOTO-LESION", seed as u64, None)
            };
            practice.attach_photo(clock.now(), "elm", &visit, photo).unwrap();
            attached += 1;
        }
        while practice.report().compositions < attached {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let seconds = clock.now().since(begun).as_secs_f64();
    stopper.stop();
    running.await.unwrap();

    let journeys = state
        .journeys(None, skin_assist_core::time::Timestamp::ALWAYS, usize::MAX)
        .await
        .unwrap();
    let delivered = journeys
        .iter()
        .filter(|journey| journey.state == JourneyState::Delivered);
    let mut millis: Vec<f64> = delivered
        .map(|journey| journey.delivered_at.unwrap().since(journey.detected_at).as_secs_f64() * 1000.0)
        .collect();
    assert_eq!(millis.len() as u64, attached);
    millis.sort_by(f64::total_cmp);
    report(
        "detected to delivered, bursts of 25, p50",
        millis[millis.len() / 2],
        "ms",
    );
    report(
        "detected to delivered, bursts of 25, p99",
        millis[millis.len() * 99 / 100],
        "ms",
    );
    report("drafts delivered, attach to chart", attached as f64 / seconds, "1/s");
}
