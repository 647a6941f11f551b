//! A patient who does not exist, on a day on which everything fails that can: nothing of them is in a prompt, a log line, a figure,
//! an error, a dead letter, or anywhere on disk outside the encryption.

use std::{fmt::Debug, fs, net::Ipv4Addr, path::Path, sync::Arc, time::Duration};

use http::StatusCode;
use skin_assist::{
    config::Config,
    console::{AccessOptions, Bounds, Console, ConsoleOptions, Role, Serving},
};
use skin_assist_core::{
    domain::{ChartEventKind, Notice, SubscriptionFormat},
    synthesis::Spending,
    time::Timestamp,
};
use skin_assist_simulator::{
    CallKind, EncounterSpec, FailNext, PhotoFault, PhotoSpec, RetryAfter, Spoilt, SpoiltReply,
};
use skin_assist_store::{SqliteStore, StateKey};
use skin_assist_subscribers::{cloud_events, fhir};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    language::{CANARY, Chat, Log, run_for},
    subscriptions,
    support::{Setting, World},
};

const MINUTE: Duration = Duration::from_secs(60);

const KINDS: [CallKind; 5] = [
    CallKind::Encounter,
    CallKind::Document,
    CallKind::Read,
    CallKind::Draft,
    CallKind::Context,
];

/// All that is known of the patient, as servers quote it.
fn quoted() -> String {
    CANARY.join(", ")
}

/// Photos of the canary patient: some that are good, and one of each kind that is not.
fn attach(world: &World) {
    let now = world.clock_now();
    let spec = EncounterSpec {
        patient: Some(CANARY[4].to_owned()),
        ..EncounterSpec::default()
    };
    let visit = world.ehr.open_encounter(now, "elm", spec).unwrap();
    let faults = [
        PhotoFault::NotAnImage,
        PhotoFault::Truncated,
        PhotoFault::Missing,
        PhotoFault::Oversize { bytes: 40_000_000 },
    ];
    let good = std::iter::repeat_n(None, 10);
    for (seed, fault) in (0..).zip(good.chain(faults.map(Some))) {
        let photo = PhotoSpec {
            description: format!("{}: left forearm", quoted()),
            fault,
            ..PhotoSpec::synthetic("PHOTO-LESION", seed, None)
        };
        world.ehr.attach_photo(now, "elm", &visit, photo).unwrap();
    }
}

/// Calls of each kind are refused and spoilt in turn, a draft is lost, a token revoked, and all that says why quotes the patient.
fn trouble(world: &World) {
    // Those for a draft first: what cannot be settled here ends with the first.
    let refused = |kind| match kind {
        CallKind::Draft => vec![500, 429, 400],
        _ => vec![400, 403, 429, 500],
    };
    let spoilt = |kind| match kind {
        CallKind::Draft => vec![Spoilt::OutcomeAsBody],
        _ => vec![
            Spoilt::OutcomeAsBody,
            Spoilt::HtmlPage,
            Spoilt::HtmlBadGateway,
            Spoilt::Truncated,
        ],
    };
    let failure = |kind, status| FailNext {
        kind,
        status: StatusCode::from_u16(status).unwrap(),
        remaining: 1,
    };
    let reply = |kind, form| SpoiltReply {
        kind,
        form,
        remaining: 1,
    };
    let each = |kind| refused(kind).into_iter().map(move |status| failure(kind, status));
    world.ehr.set_faults(|faults| {
        faults.drop_composition_replies = 1;
        faults.failures = KINDS.into_iter().flat_map(each).collect();
    });
    let each = |kind| spoilt(kind).into_iter().map(move |form| reply(kind, form));
    world.ehr.set_quirks(|quirks| {
        quirks.quoted = Some(quoted());
        quirks.retry_after = RetryAfter::Seconds(2);
        quirks.revoke_token_after = Some(12);
        quirks.spoilt_replies = KINDS.into_iter().flat_map(each).collect();
    });
}

/// The bytes of every file of a folder.
fn files(folder: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
}

/// What the console answers at each of these after all that happened, to who may see everything that needs no reason.
fn answers(world: &World, paths: &[String]) -> Vec<String> {
    let listen = (Ipv4Addr::LOCALHOST, 0).into();
    let options = ConsoleOptions {
        listen,
        access: AccessOptions {
            everybody: Some(Role::Admin),
            ..AccessOptions::default()
        },
        standing_for: Duration::ZERO,
        bounds: Bounds::default(),
        config: Config::defaults().unwrap(),
    };
    let console = Console::new(world.state.clone(), Arc::new(world.clock.clone()), options).unwrap();
    let observe = console.observer();
    world.events.lock().unwrap().iter().for_each(|event| observe(event));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut serving = Serving::start(console, listen, |_| {});
        let address = serving.address().await.unwrap();
        let mut answers = Vec::new();
        for path in paths {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
            answers.push(answer);
        }
        answers
    })
}

/// Every page of the console that is read, and every answer of its API.
fn pages(world: &World) -> Vec<String> {
    let pages = [
        "/",
        "/practices/elm",
        "/photos",
        "/queues",
        "/subscriptions",
        "/trust",
        "/trust/entries?practice=elm",
        "/models?practice=elm",
        "/api/v1/practices",
        "/api/v1/photos",
        "/api/v1/queue",
        "/api/v1/dead-letters",
        "/api/v1/uncertain",
        "/api/v1/retractions",
        "/api/v1/quotas",
        "/api/v1/practices/elm/events?limit=1000",
        "/api/v1/subscriptions",
        "/api/v1/subscriptions/a1b2c3/events?limit=1000",
    ];
    let mut pages: Vec<String> = pages.map(str::to_owned).into();
    let journeys = world.state.journeys(None, Timestamp::ALWAYS, 1000);
    for journey in world.clock.run(journeys).unwrap() {
        let document: String = url::form_urlencoded::byte_serialize(journey.document.as_str().as_bytes()).collect();
        pages.push(format!("/photos/elm/{document}"));
    }
    pages
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn the_canary_patient_is_nowhere_whatever_fails() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.sqlite");
    let state = Arc::new(SqliteStore::open(&path, &StateKey::from_bytes([7; 32])).unwrap());
    let setting = Setting {
        // Calls are plenty, so that the patient's context is read.
        quota: (1500, MINUTE),
        ..Setting::modmed()
    };
    let world = World::empty_on(state.clone(), 41, setting);
    world.open_firm("elm");
    let subscription = subscriptions::subscription(SubscriptionFormat::CloudEvents, world.clock_now());
    world.clock.run(world.state.add_subscription(&subscription)).unwrap();
    attach(&world);
    let log = Log::default();
    // A model that says all it can make of the prompt, and more.
    let chat = Chat::saying(&format!("The patient is {}.", quoted()));
    trouble(&world);
    run_for(&world, &chat, Spending::default(), &log, 8);
    let held = files(folder.path());

    // It was a day on which all of this happened; otherwise nothing is proved.
    let text = log.text();
    for happened in [
        "ehr.read-failed",
        "firm.resting",
        "quota.refused",
        "context.unavailable",
        "photo.not-downloaded",
        "language.answer-refused",
        "language-model.answers-refused",
        "draft.unknown",
        "draft.not-taken",
        "draft.uncertain",
        "draft.delivered",
        "item.waiting",
        "item.dead-letter",
        "token.issued",
    ] {
        assert!(text.contains(happened), "{happened} did not happen");
    }
    let asked = chat.asked.lock().unwrap().clone();
    assert!(!asked.is_empty());
    let letters = world.clock.run(world.state.dead_letters()).unwrap();
    assert!(letters.len() >= 3, "{letters:?}");
    let uncertain = world.clock.run(world.state.uncertain()).unwrap();
    assert!(!uncertain.is_empty());

    let notifications = world.state.notifications(&subscription.id, 0..=u64::MAX, 1000);
    let notifications = world.clock.run(notifications).unwrap();
    for kind in [
        ChartEventKind::PhotoDetected,
        ChartEventKind::DraftUncertain,
        ChartEventKind::GivenUp,
    ] {
        assert!(
            notifications.iter().any(|told| told.event.kind == kind),
            "{kind} did not happen"
        );
    }
    let told = notifications.into_iter().map(|notification| {
        let (notice, now) = (Notice::Event(notification), world.clock_now());
        format!(
            "{} {}",
            fhir::body(&subscription, &notice, now),
            cloud_events::body(&subscription, &notice, now)
        )
    });
    let told: Vec<_> = told.collect();
    let metrics = answers(&world, &["/metrics".to_owned()]).remove(0);
    let pages = pages(&world);
    assert!(pages.len() > 20, "{pages:?}");
    let pages = answers(&world, &pages).join("\n");
    for told in [
        "were given up",
        "may or may not be in a chart",
        "SA-",
        "result-recorded",
    ] {
        assert!(pages.contains(told), "{told} is on no page");
    }
    for told in [
        "skin_assist_photo_to_draft_seconds_count{from=\"filed\"}",
        "skin_assist_step_reasons_total{",
        "skin_assist_firm_rests_total{",
        "skin_assist_firm_dead_letters{firm=\"elm\"}",
    ] {
        assert!(metrics.contains(told), "{told} is not in {metrics}");
    }
    let now = world.clock_now();
    let shown = |value: &dyn Debug| format!("{value:?}");
    for (place, text) in [
        ("a prompt", asked.join("\n")),
        ("the log", text),
        ("the metrics", metrics),
        ("a notification", told.join("\n")),
        ("a page", pages),
        ("an event", shown(&world.events.lock().unwrap())),
        ("a dead letter", shown(&letters)),
        (
            "the audit trail",
            shown(&world.clock.run(world.state.records()).unwrap()),
        ),
        // All numbers that this program tells: `status --json` is made of them.
        (
            "the figures",
            shown(&world.clock.run(world.state.overview(now)).unwrap()),
        ),
        ("the figures", shown(&world.clock.run(world.state.quotas()).unwrap())),
        (
            "the figures",
            shown(&world.clock.run(world.state.pollers(now)).unwrap()),
        ),
        (
            "the figures",
            shown(
                &world
                    .clock
                    .run(world.state.journeys(None, Timestamp::ALWAYS, 1000))
                    .unwrap(),
            ),
        ),
        // Notes and findings are protected values, and are not printed by accident.
        (
            "a result's protected parts",
            shown(
                &uncertain
                    .iter()
                    .map(|result| (&result.note, &result.findings))
                    .collect::<Vec<_>>(),
            ),
        ),
    ] {
        for canary in CANARY {
            assert!(!text.contains(canary), "{canary} is in {place}");
        }
    }
    // What the state holds of them is in the file, and cannot be read there: neither while it is open nor when it is closed.
    drop((world, state));
    let closed = files(folder.path());
    assert!(held.iter().chain(&closed).map(Vec::len).sum::<usize>() > 100_000);
    for bytes in held.iter().chain(&closed) {
        for canary in CANARY {
            assert!(!holds(bytes, canary), "{canary} can be read on disk");
        }
    }
}
