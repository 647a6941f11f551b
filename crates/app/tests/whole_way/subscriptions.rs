//! Subscribers of what happens in charts: killed at any moment, on engines that are killed, too; down for hours; silent.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{Either, join, select};
use http::{Request, Response, StatusCode};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use skin_assist::{
    config::Config,
    console::{AccessOptions, Bounds, Console, ConsoleOptions, Serving},
    driver::{Telling, stop_signal},
};
use skin_assist_core::{
    domain::{ChartEventKind, Notice, Subscription, SubscriptionFormat, SubscriptionId, SubscriptionStatus},
    ports::{NotTold, Subscribers},
    time::{Clock as _, Timestamp, VirtualClock},
};
use skin_assist_simulator::{CallKind, DocumentSpec, EncounterSpec, FailNext, PhotoSpec};
use skin_assist_subscribers::{Webhooks, encode_key, fhir, sign};
use skin_assist_transport::{Transport, TransportError};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    CLINIC, MINUTE,
    support::{Setting, World, after_turns},
};

const FIRM: &str = "derm";
const ID: &str = "a1b2c3";
const TOKEN: &str = "the subscriber's own token";
/// The SHA-256 of [`TOKEN`].
fn token_digest() -> String {
    use sha2::{Digest as _, Sha256};
    hex::encode(Sha256::digest(TOKEN.as_bytes()))
}

pub(crate) fn subscription(format: SubscriptionFormat, now: Timestamp) -> Subscription {
    Subscription::requested(
        SubscriptionId::new(ID),
        "https://subscriber.example/hook".to_owned(),
        format,
        encode_key(&[9; 32]),
        token_digest(),
        now,
    )
}

/// When a subscriber that is killed loses what it was told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Care {
    /// Never: it answers when it has kept it.
    First,
    /// When it is killed right after its answer: it keeps it then.
    Later,
}

/// What a subscriber has, and how it fares.
struct Fate {
    random: StdRng,
    /// One of so many exchanges kills it; 0 for none.
    killed_one_in: u32,
    down_until: Timestamp,
    /// What it answers, where that is not that it took it.
    answers: Option<StatusCode>,
    kept: BTreeMap<u64, Value>,
    /// Every exchange: when, and what was sent.
    told: Vec<(Timestamp, Value)>,
    kills: u32,
}

/// A subscriber: in front of it the network, which loses answers.
#[derive(Clone)]
struct Subscriber {
    clock: VirtualClock,
    care: Care,
    fate: Arc<Mutex<Fate>>,
}

impl Subscriber {
    fn new(world: &World, care: Care, seed: u64, killed_one_in: u32) -> Self {
        Self {
            clock: world.clock.clone(),
            care,
            fate: Arc::new(Mutex::new(Fate {
                random: StdRng::seed_from_u64(seed),
                killed_one_in,
                down_until: Timestamp::ALWAYS,
                answers: None,
                kept: BTreeMap::new(),
                told: Vec::new(),
                kills: 0,
            })),
        }
    }

    fn fate(&self) -> MutexGuard<'_, Fate> {
        self.fate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn telling(&self, world: &World) -> Telling {
        Telling {
            clock: Arc::new(world.clock.clone()),
            state: world.state.clone(),
            subscribers: Arc::new(Webhooks::new(Arc::new(self.clone()))),
            give_up_after: Duration::from_secs(24 * 3600),
            observer: {
                let events = world.events.clone();
                Arc::new(move |event| events.lock().unwrap().push(event.clone()))
            },
        }
    }

    fn numbers(&self) -> Vec<u64> {
        self.fate().kept.keys().copied().collect()
    }
}

/// Refuses what is not signed as it was agreed, and gives the message.
fn verified(request: &Request<Bytes>) -> Value {
    let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
    let timestamp = header("webhook-timestamp").parse().unwrap();
    let key = encode_key(&[9; 32]);
    let expected = sign(&key, &header("webhook-id"), timestamp, request.body()).unwrap();
    assert_eq!(header("webhook-signature"), expected);
    serde_json::from_slice(request.body()).unwrap()
}

/// The number of the event that a message tells of, if it tells of one.
fn number_of(message: &Value) -> Option<u64> {
    match message["resourceType"].as_str() {
        None => message["data"]["number"].as_u64(),
        Some(_) => parameter(message, "notification-event").map(|event| {
            let number = event["part"]
                .as_array()
                .unwrap()
                .iter()
                .find(|part| part["name"] == "event-number");
            number.unwrap()["valueString"].as_str().unwrap().parse().unwrap()
        }),
    }
}

fn parameter<'a>(bundle: &'a Value, name: &str) -> Option<&'a Value> {
    let parameters = bundle["entry"][0]["resource"]["parameter"].as_array().unwrap();
    parameters.iter().find(|parameter| parameter["name"] == name)
}

#[async_trait]
impl Transport for Subscriber {
    async fn send(&self, request: Request<Bytes>, _: usize) -> Result<Response<Bytes>, TransportError> {
        let lost = TransportError::Unknown {
            what: "the connection broke",
            status: None,
        };
        self.clock
            .sleep_until(self.clock.now() + Duration::from_millis(40))
            .await;
        let now = self.clock.now();
        let (message, is_killed) = {
            let mut fate = self.fate();
            if now < fate.down_until {
                return Err(TransportError::NotSent {
                    what: "the connection was refused",
                });
            }
            let message = verified(&request);
            fate.told.push((now, message.clone()));
            if let Some(status) = fate.answers {
                return Ok(Response::builder().status(status).body(Bytes::new()).unwrap());
            }
            let one_in = fate.killed_one_in;
            let is_killed = one_in > 0 && fate.random.random_range(0..one_in) == 0;
            if is_killed {
                fate.kills += 1;
                let down = fate.random.random_range(1..400);
                fate.down_until = now + Duration::from_secs(down);
            }
            (message, is_killed)
        };
        // Killed before it keeps it, after it kept it, or after it answered.
        let moment = self.fate().random.random_range(0..3);
        let keeps = !is_killed || moment > 0 && self.care == Care::First;
        if keeps && let Some(number) = number_of(&message) {
            self.fate().kept.insert(number, message);
        }
        let answers = !is_killed || moment == 2;
        if answers {
            Ok(Response::new(Bytes::new()))
        } else {
            Err(lost)
        }
    }
}

/// Runs an engine and what tells subscribers; both die after so many turns. Whether they did before `duration` was over.
fn crash_after(world: &World, telling: &Telling, turns: usize, duration: Duration) -> bool {
    world.clock.run(async {
        let engine = world.engine();
        let (_stopper, stop) = stop_signal();
        let until = world.clock.now() + duration;
        let both = async {
            join(engine.run(stop.clone()), telling.run(stop)).await;
        };
        let crash = pin!(after_turns(both, turns));
        matches!(select(crash, world.clock.sleep_until(until)).await, Either::Left(_))
    })
}

/// Runs both, then stops them as an operator would.
fn run_for(world: &World, telling: &Telling, duration: Duration) {
    world.clock.run(async {
        let engine = world.engine();
        let (stopper, stop) = stop_signal();
        let stopping = async {
            world.clock.sleep_until(world.clock.now() + duration).await;
            stopper.stop();
        };
        futures::join!(engine.run(stop.clone()), telling.run(stop), stopping);
    });
}

fn subscribe(world: &World, subscription: &Subscription) {
    world.clock.run(world.state.add_subscription(subscription)).unwrap();
}

fn standing(world: &World) -> Subscription {
    let id = SubscriptionId::new(ID);
    world.clock.run(world.state.subscription(&id)).unwrap().unwrap()
}

/// A clinic, with a subscriber that is killed now and then, on engines that are, too.
fn clinic(
    seed: u64,
    subscriber: impl FnOnce(&World) -> (Subscriber, Telling),
    format: SubscriptionFormat,
) -> (World, Subscriber) {
    let world = World::new(seed, 2);
    subscribe(&world, &subscription(format, world.clock_now()));
    let (subscriber, telling) = subscriber(&world);
    let mut random = StdRng::seed_from_u64(seed);
    let mut left = 8;
    while left > 0 && crash_after(&world, &telling, random.random_range(50..6000), CLINIC) {
        left -= 1;
    }
    run_for(&world, &telling, CLINIC + 20 * MINUTE);
    world.assert_delivered_once(15);
    (world, subscriber)
}

/// No gap.
const NONE: [u64; 0] = [];

/// Every number of the subscription that the subscriber does not have.
fn gaps(world: &World, subscriber: &Subscriber) -> Vec<u64> {
    let had: BTreeSet<u64> = subscriber.numbers().into_iter().collect();
    (1..=standing(world).events)
        .filter(|number| !had.contains(number))
        .collect()
}

#[test]
fn a_subscriber_that_is_killed_at_random_has_every_event() {
    let mut kills = 0;
    for seed in 0..4 {
        let with = |world: &World| {
            let subscriber = Subscriber::new(world, Care::First, seed, 12);
            (subscriber.clone(), subscriber.telling(world))
        };
        let (world, subscriber) = clinic(seed, with, SubscriptionFormat::CloudEvents);
        assert_eq!(gaps(&world, &subscriber), NONE, "seed {seed}");
        let fate = subscriber.fate();
        kills += fate.kills;
        // In order, but for what is told again: a number is never told before the one below it.
        let mut highest = 0;
        for number in fate.told.iter().filter_map(|(_, message)| number_of(message)) {
            assert!(number <= highest + 1, "{number} was told after {highest}");
            highest = highest.max(number);
        }
        // What it has is what happened.
        let of_kind = |kind: ChartEventKind| {
            let kind = format!("example.skin-assist.{kind}");
            fate.kept
                .values()
                .filter(|event| event["type"] == kind.as_str())
                .count()
        };
        let journeys = world
            .clock
            .run(world.state.journeys(None, Timestamp::ALWAYS, 1000))
            .unwrap();
        assert!(journeys.len() >= 5);
        assert_eq!(of_kind(ChartEventKind::PhotoDetected), journeys.len());
        let overview = world.clock.run(world.state.overview(world.clock_now())).unwrap();
        let (delivered, uncertain) = overview.iter().fold((0, 0), |(delivered, uncertain), firm| {
            (delivered + firm.delivered, uncertain + firm.uncertain)
        });
        assert_eq!(of_kind(ChartEventKind::DraftDelivered) as u64, delivered);
        assert_eq!(of_kind(ChartEventKind::DraftUncertain) as u64, uncertain);
    }
    assert!(kills >= 10, "{kills} kills prove nothing");
}

/// Of photos before and after their drafts, on an EHR that goes on listing them; a letter was never told of.
#[test]
fn a_subscriber_is_told_once_of_each_photo_that_is_retracted() {
    for format in [SubscriptionFormat::FhirR4Backport, SubscriptionFormat::CloudEvents] {
        let world = World::empty_with(1, Setting::of("fhir-r4"));
        world.open_firm(FIRM);
        let wanted = Subscription {
            kinds: [ChartEventKind::PhotoRetracted].into(),
            ..subscription(format, world.clock_now())
        };
        subscribe(&world, &wanted);
        let subscriber = Subscriber::new(&world, Care::First, 0, 0);
        let telling = subscriber.telling(&world);
        let ehr = &world.ehr;
        let visit = ehr
            .open_encounter(world.clock_now(), FIRM, EncounterSpec::default())
            .unwrap();
        let letter = DocumentSpec::pdf("PHOTO-LESION", "letter");
        let letter = ehr.attach_document(world.clock_now(), FIRM, &visit, letter).unwrap();
        let attach = |seed| {
            let photo = PhotoSpec::synthetic("PHOTO-LESION", seed, None);
            ehr.attach_photo(world.clock_now(), FIRM, &visit, photo).unwrap()
        };
        let retract = |document: &str| ehr.retract_document(world.clock_now(), FIRM, document).unwrap();
        let drafted = attach(1);
        run_for(&world, &telling, 5 * MINUTE);
        assert_eq!(world.report().compositions, 1);
        assert_eq!(subscriber.numbers(), NONE);
        retract(&letter);
        retract(&drafted);
        run_for(&world, &telling, 10 * MINUTE);
        assert_eq!(subscriber.numbers(), [1]);
        // It is found, and gone again before it can be read.
        ehr.set_faults(|faults| {
            faults.failures = [CallKind::Photo, CallKind::Read]
                .map(|kind| FailNext {
                    kind,
                    status: StatusCode::SERVICE_UNAVAILABLE,
                    remaining: 1000,
                })
                .into();
        });
        let unread = attach(2);
        run_for(&world, &telling, 2 * MINUTE);
        retract(&unread);
        run_for(&world, &telling, 10 * MINUTE);
        assert_eq!(world.report().compositions, 1);
        assert_eq!(subscriber.numbers(), [1, 2]);
        assert_eq!(standing(&world).events, 2);
        let fate = subscriber.fate();
        let [first, second] = [1, 2].map(|number| fate.kept[&number].to_string());
        assert!(first.contains(&format!("DocumentReference/{drafted}")) && first.contains("Composition/"));
        assert!(second.contains(&format!("DocumentReference/{unread}")) && !second.contains("Composition/"));
        for told in [first, second] {
            assert!(
                told.contains(&format!("Encounter/{visit}")) && !told.contains("Patient"),
                "{told}"
            );
            let is_typed = told.contains("example.skin-assist.photo-retracted");
            assert_eq!(is_typed, format == SubscriptionFormat::CloudEvents);
        }
    }
}

/// Takes whatever a subscriber answers for an answer that it took it: as if the cursor moved before the 2xx.
struct Believing(Webhooks);

#[async_trait]
impl Subscribers for Believing {
    async fn tell(&self, subscription: &Subscription, notice: &Notice, now: Timestamp) -> Result<(), NotTold> {
        _ = self.0.tell(subscription, notice, now).await;
        Ok(())
    }
}

#[test]
fn that_would_be_noticed_if_it_were_told_too_early() {
    let with = |world: &World| {
        let subscriber = Subscriber::new(world, Care::First, 1, 12);
        let believing = Believing(Webhooks::new(Arc::new(subscriber.clone())));
        let telling = Telling {
            subscribers: Arc::new(believing),
            ..subscriber.telling(world)
        };
        (subscriber, telling)
    };
    let (world, subscriber) = clinic(1, with, SubscriptionFormat::CloudEvents);
    assert_ne!(gaps(&world, &subscriber), NONE);
}

/// What the console answers to who shows this token.
fn ask(world: &World, path: &str, token: &str) -> (u16, Value) {
    let listen = (Ipv4Addr::LOCALHOST, 0).into();
    let options = ConsoleOptions {
        listen,
        access: AccessOptions::default(),
        standing_for: Duration::ZERO,
        bounds: Bounds::default(),
        config: Config::defaults().unwrap(),
    };
    let console = Console::new(world.state.clone(), Arc::new(world.clock.clone()), options).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut serving = Serving::start(console, listen, |_| {});
        let address = serving.address().await.unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_default())
    })
}

/// The numbers and the status bundle of `$events`.
fn numbers_of_events(bundle: &Value) -> Vec<u64> {
    let parameters = bundle["entry"][0]["resource"]["parameter"].as_array().unwrap().iter();
    let events = parameters.filter(|parameter| parameter["name"] == "notification-event");
    events
        .map(|event| event["part"][0]["valueString"].as_str().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn a_subscriber_that_lost_what_it_took_asks_for_it() {
    for format in [SubscriptionFormat::FhirR4Backport, SubscriptionFormat::CloudEvents] {
        let with = |world: &World| {
            let subscriber = Subscriber::new(world, Care::Later, 3, 6);
            (subscriber.clone(), subscriber.telling(world))
        };
        let (world, subscriber) = clinic(3, with, format);
        let missing = gaps(&world, &subscriber);
        assert_ne!(missing, NONE, "it lost nothing: that proves nothing");
        let events = standing(&world).events;
        for (first, last) in missing.iter().map(|number| (*number, *number)) {
            let number = if format == SubscriptionFormat::FhirR4Backport {
                let path =
                    format!("/fhir/Subscription/{ID}/$events?eventsSinceNumber={first}&eventsUntilNumber={last}");
                let (status, bundle) = ask(&world, &path, TOKEN);
                assert_eq!(status, 200);
                assert_eq!(parameter(&bundle, "type").unwrap()["valueCode"], "query-event");
                assert_eq!(bundle["entry"].as_array().unwrap().len(), 2);
                numbers_of_events(&bundle)[0]
            } else {
                let path = format!("/api/v1/subscriptions/{ID}/events?after={}&limit=1", first - 1);
                let (status, events) = ask(&world, &path, TOKEN);
                assert_eq!(status, 200);
                number_of(&events[0]).unwrap()
            };
            subscriber.fate().kept.insert(number, Value::Null);
        }
        assert_eq!(gaps(&world, &subscriber), NONE);
        // Another's token, or another's subscription, is none.
        let path = format!("/fhir/Subscription/{ID}/$status");
        assert_eq!(ask(&world, &path, "another token").0, 401);
        assert_eq!(ask(&world, "/api/v1/subscriptions", TOKEN).0, 401);
        assert_eq!(ask(&world, "/fhir/Subscription/another/$status", TOKEN).0, 401);
        if format == SubscriptionFormat::FhirR4Backport {
            let (status, bundle) = ask(&world, &path, TOKEN);
            assert_eq!((status, bundle["type"].as_str()), (200, Some("searchset")));
            let told = parameter(&bundle, "events-since-subscription-start").unwrap();
            assert_eq!(told["valueString"], events.to_string());
            let (status, resource) = ask(&world, &format!("/fhir/Subscription/{ID}"), TOKEN);
            assert_eq!((status, &resource["status"]), (200, &Value::from("active")));
            assert_eq!(resource["criteria"], fhir::TOPIC);
        }
    }
}

#[test]
fn a_fhir_subscriber_gets_a_handshake_and_id_only_bundles() {
    let world = World::new(5, 1);
    let wanted = Subscription {
        kinds: [ChartEventKind::PhotoDetected, ChartEventKind::DraftDelivered].into(),
        heartbeat_seconds: 600,
        ..subscription(SubscriptionFormat::FhirR4Backport, world.clock_now())
    };
    subscribe(&world, &wanted);
    let subscriber = Subscriber::new(&world, Care::First, 0, 0);
    run_for(&world, &subscriber.telling(&world), CLINIC + 60 * MINUTE);
    let fate = subscriber.fate();
    let kinds: Vec<&str> = fate
        .told
        .iter()
        .map(|(_, bundle)| parameter(bundle, "type").unwrap()["valueCode"].as_str().unwrap())
        .collect();
    assert_eq!(
        (kinds[0], kinds.iter().filter(|kind| **kind == "handshake").count()),
        ("handshake", 1)
    );
    assert!(kinds.contains(&"heartbeat") && kinds.contains(&"event-notification"));
    for (at, bundle) in &fate.told {
        assert_eq!(
            (&bundle["resourceType"], &bundle["type"]),
            (&"Bundle".into(), &"history".into())
        );
        assert_eq!(
            bundle["timestamp"].as_str().map(str::len),
            Some("2026-03-02T14:00:00.000Z".len())
        );
        assert!(at.to_string().as_str() > bundle["timestamp"].as_str().unwrap());
        let entries = bundle["entry"].as_array().unwrap();
        // bdl-3 and bdl-4 of FHIR: in a history each entry has a request and a response.
        assert!(
            entries
                .iter()
                .all(|entry| entry["request"]["method"].is_string() && entry["response"]["status"].is_string())
        );
        let status = &entries[0]["resource"];
        assert_eq!(status["resourceType"], "Parameters");
        let profile =
            "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-subscription-status-r4";
        assert_eq!(status["meta"]["profile"][0], profile);
        assert_eq!(
            parameter(bundle, "subscription").unwrap()["valueReference"]["reference"],
            format!("Subscription/{ID}")
        );
        let Some(event) = parameter(bundle, "notification-event") else {
            assert_eq!(entries.len(), 1);
            continue;
        };
        let number = number_of(bundle).unwrap().to_string();
        assert_eq!(
            parameter(bundle, "events-since-subscription-start").unwrap()["valueString"],
            number
        );
        let part = |name: &str| {
            event["part"]
                .as_array()
                .unwrap()
                .iter()
                .find(|part| part["name"] == name)
                .unwrap()
        };
        let focus = &part("focus")["valueReference"]["reference"];
        assert_eq!(entries[1]["request"]["url"], *focus);
        assert!(entries[1].get("resource").is_none(), "ids alone");
        let resource = focus.as_str().unwrap().split('/').next().unwrap();
        assert!(["DocumentReference", "Composition"].contains(&resource), "{resource}");
        assert!(bundle.to_string().find("Patient").is_none());
    }
    drop(fate);
    assert_eq!(gaps(&world, &subscriber), NONE);
}

#[test]
fn a_subscriber_that_is_down_is_tried_less_and_less_often_and_given_up_while_drafts_go_on() {
    let world = World::new(6, 1);
    subscribe(
        &world,
        &subscription(SubscriptionFormat::CloudEvents, world.clock_now()),
    );
    let subscriber = Subscriber::new(&world, Care::First, 0, 0);
    let telling = Telling {
        give_up_after: 30 * MINUTE,
        ..subscriber.telling(&world)
    };
    run_for(&world, &telling, MINUTE);
    assert_eq!(standing(&world).status, SubscriptionStatus::Active);
    let before = subscriber.fate().told.len();
    subscriber.fate().answers = Some(StatusCode::SERVICE_UNAVAILABLE);
    run_for(&world, &telling, CLINIC);
    world.assert_delivered_once(0);
    let attempts: Vec<Timestamp> = subscriber.fate().told[before..].iter().map(|(at, _)| *at).collect();
    let waits: Vec<u64> = attempts
        .windows(2)
        .map(|pair| pair[1].since(pair[0]).as_secs())
        .collect();
    for (wait, least) in waits.iter().zip([1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]) {
        assert!((least..=least + 2).contains(wait), "{waits:?}");
    }
    assert!((11..=16).contains(&attempts.len()), "{attempts:?}");
    let failed = standing(&world);
    assert_eq!(failed.status, SubscriptionStatus::Error);
    assert_eq!(
        failed.reason.map(|reason| reason.code().to_owned()).as_deref(),
        Some("subscriber.refused")
    );
    let given_up = world.clock.run(world.state.given_up_notifications()).unwrap();
    assert_eq!(given_up.len(), 1);
    // An operator has a look, and it is back.
    subscriber.fate().answers = None;
    let id = SubscriptionId::new(ID);
    world
        .clock
        .run(world.state.resume_subscription(&id, world.clock_now()))
        .unwrap();
    run_for(&world, &telling, 5 * MINUTE);
    assert_eq!(gaps(&world, &subscriber), [given_up[0].number]);
    world
        .clock
        .run(world.state.replay_notification(&id, given_up[0].number))
        .unwrap();
    run_for(&world, &telling, MINUTE);
    assert_eq!(gaps(&world, &subscriber), NONE);
    // One that wants no more is left alone at once.
    subscriber.fate().answers = Some(StatusCode::GONE);
    world
        .clock
        .run(world.state.resume_subscription(&id, world.clock_now()))
        .unwrap();
    run_for(&world, &telling, MINUTE);
    assert_eq!(standing(&world).status, SubscriptionStatus::Error);
}
