//! The functions of the AWS deployment under virtual time: cycles as the state machine runs them, events as streams and the
//! bucket deliver them, on a state in memory. What the emulator shows with the shipped template in minutes, this shows for a
//! whole clinic in a moment, with every event lost, doubled or late.

use std::{cell::Cell, collections::BTreeSet, time::Duration};

use futures::future::{join, join_all};
use serde_json::{Value, json};
use skin_assist::{
    driver::{Engine, Event},
    functions::{EventKeys, FunctionError, FunctionName, Functions},
};
use skin_assist_core::{
    domain::{DocumentId, DocumentStep, FirmId, Stage},
    time::Clock as _,
};

use crate::{CLINIC, MINUTE, support::World};

/// As in the template.
const SWEEP_EVERY_S: u64 = 17;

const KEYS: EventKeys = EventKeys {
    firm: "part",
    item: "item",
    result_prefix: "result#",
    photo: |firm, document| format!("{firm}/{document}"),
};

/// How the deployment's events fare.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Events {
    Delivered,
    Lost,
    Doubled,
}

fn functions(world: &World) -> Functions {
    Functions {
        engine: Engine {
            photos: world.bucket.clone(),
            ..world.engine()
        },
        proposals: world.state.clone(),
        keys: KEYS,
        shard_size: 2,
        sweep_for: Duration::from_secs(14),
    }
}

/// A function's invocation, in an environment of its own.
async fn invoke(world: &World, function: FunctionName, event: Value) -> Result<Value, FunctionError> {
    let deadline = world.clock_now() + Duration::from_secs(20);
    functions(world).invoke(function, &event, deadline).await
}

fn stream_record(number: usize, firm: &str, item: &str) -> Value {
    json!({
        "eventID": number.to_string(), "eventName": "INSERT", "eventSource": "aws:dynamodb",
        "dynamodb": {
            "Keys": { "part": { "S": firm }, "item": { "S": item } },
            "SequenceNumber": number.to_string(), "StreamViewType": "KEYS_ONLY",
        },
    })
}

fn object_record(firm: &str, document: &str) -> Value {
    json!({
        "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
        "s3": { "bucket": { "name": "photos" }, "object": { "key": format!("{firm}/{document}"), "size": 1 } },
    })
}

/// What streams and bucket say about what happened, by the function that is told.
async fn told(world: &World, events: &[Event]) -> Vec<(FunctionName, Value)> {
    let mut records = Vec::new();
    for (number, event) in events.iter().enumerate() {
        match event {
            Event::Detected { firm, document, .. } => records.push((
                FunctionName::DownloadPhoto,
                stream_record(number, firm.as_str(), document.as_str()),
            )),
            Event::Advanced { firm, document, stage } if *stage == Stage::DownloadPhoto => {
                records.push((FunctionName::Infer, object_record(firm.as_str(), document.as_str())));
            }
            Event::Advanced { stage, .. } if *stage == Stage::Infer => {
                // The stream names what was inserted: results that are due.
                let due = world.state.due_results(world.clock_now(), 1000).await.unwrap();
                records.extend(due.into_iter().map(|(firm, assessment, _)| {
                    let item = format!("result#{assessment}");
                    (FunctionName::WriteBack, stream_record(number, firm.as_str(), &item))
                }));
            }
            _ => {}
        }
    }
    records
}

/// A shard as the state machine hands it on.
fn handed_on(shard: &Value) -> Value {
    let machine = include_str!("../../../../deploy/aws/state-machine.asl.json");
    let machine: Value = serde_json::from_str(machine).unwrap();
    let selector = &machine["States"]["Cycle"]["Branches"][0]["States"]["EachShard"]["ItemSelector"];
    let selected = selector.as_object().unwrap().iter().filter_map(|(key, path)| {
        let name = path.as_str()?.strip_prefix("$$.Map.Item.Value.")?;
        Some((key.strip_suffix(".$")?.to_owned(), shard[name].clone()))
    });
    selected.collect()
}

/// A deployment: cycles and events on a world.
struct Deployment<'a> {
    world: &'a World,
    events: Events,
    seen: Cell<usize>,
}

impl Deployment<'_> {
    /// Delivers what happened since the last time, until nothing more happens of it.
    async fn deliver(&self) {
        if self.events == Events::Lost {
            return;
        }
        loop {
            let new: Vec<Event> = {
                let events = self.world.events.lock().unwrap();
                let new = events[self.seen.get()..].to_vec();
                self.seen.set(events.len());
                new
            };
            let told = told(self.world, &new).await;
            if told.is_empty() {
                return;
            }
            let times = if self.events == Events::Doubled { 2 } else { 1 };
            let each = told.iter().flat_map(|told| std::iter::repeat_n(told, times));
            join_all(each.map(|(function, record)| self.until_taken(*function, record))).await;
        }
    }

    /// Delivers a record, again and again while it is returned.
    async fn until_taken(&self, function: FunctionName, record: &Value) {
        for _ in 0..30 {
            let answer = invoke(self.world, function, json!({ "Records": [record] })).await;
            match answer {
                Ok(answer) if answer["batchItemFailures"] == json!([]) => return,
                Ok(_) | Err(FunctionError::ItemBusy) => {}
                Err(error) => panic!("{function}: {error}"),
            }
            self.world.clock.sleep_until(self.world.clock_now() + MINUTE / 30).await;
        }
        panic!("{function} never took its record");
    }

    /// A sweep; for how long the state machine pauses after it.
    async fn sweep(&self, shard: &Value) -> Duration {
        let mut event = shard.clone();
        event["sweep_every_seconds"] = SWEEP_EVERY_S.into();
        let began = self.world.clock_now();
        let answer = invoke(self.world, FunctionName::PollDocuments, event).await.unwrap();
        let pause = answer["pause_seconds"].as_u64().unwrap();
        let took = self.world.clock_now().since(began).as_secs();
        assert_eq!(pause, SWEEP_EVERY_S.saturating_sub(took).max(1));
        self.deliver().await;
        Duration::from_secs(pause)
    }

    /// One execution of the state machine.
    async fn cycle(&self) {
        let polling = async {
            let discovered = invoke(self.world, FunctionName::DiscoverFirms, json!({}))
                .await
                .unwrap();
            let shards: Vec<Value> = discovered["shards"].as_array().unwrap().iter().map(handed_on).collect();
            join_all(shards.iter().map(async |shard| {
                for function in [FunctionName::RefreshCredentials, FunctionName::PollEncounters] {
                    invoke(self.world, function, shard.clone()).await.unwrap();
                }
                let mut pause = self.sweep(shard).await;
                for _ in 0..2 {
                    self.world.clock.sleep_until(self.world.clock_now() + pause).await;
                    pause = self.sweep(shard).await;
                }
            }))
            .await;
        };
        let proposing = async {
            let due = invoke(self.world, FunctionName::ProposeDue, json!({})).await.unwrap();
            for batch in due["batches"].as_array().unwrap() {
                let function = batch["step"].as_str().unwrap().parse().unwrap();
                let items = json!({ "items": batch["items"] });
                invoke(self.world, function, items).await.unwrap();
            }
        };
        join(polling, proposing).await;
    }

    /// A cycle each minute. One that takes longer overlaps the next, as it does in a deployment.
    fn run(world: &World, events: Events, duration: Duration) {
        let deployment = Deployment {
            world,
            events,
            seen: Cell::new(0),
        };
        let minutes = duration.as_secs() / 60;
        world.clock.run(async {
            let began = world.clock_now();
            join_all((0..minutes).map(async |minute| {
                world.clock.sleep_until(began + MINUTE * minute as u32).await;
                deployment.cycle().await;
            }))
            .await;
        });
    }
}

#[test]
fn cycles_and_events_bring_each_photo_one_draft() {
    for seed in 1..=2 {
        let world = World::new(seed, 3);
        Deployment::run(&world, Events::Delivered, CLINIC);
        let report = world.assert_delivered_once(0);
        assert!(report.expected().count() >= 15);
        assert_eq!(report.refused_429, 0);
        assert_eq!(world.vision.looks(), report.expected().count() as u64);
        for photo in report.expected() {
            let detected = photo.first_listed_at.unwrap().since(photo.attached_at);
            assert!(detected < 5 * MINUTE, "{} was found after {detected:?}", photo.document);
        }
    }
}

#[test]
fn an_event_that_is_lost_loses_no_photo() {
    let world = World::new(3, 3);
    Deployment::run(&world, Events::Lost, CLINIC + 5 * MINUTE);
    let report = world.assert_delivered_once(0);
    assert!(report.expected().count() >= 15);
    assert_eq!(world.vision.looks(), report.expected().count() as u64);
}

#[test]
fn an_event_that_comes_twice_makes_no_second_draft() {
    let world = World::new(4, 3);
    Deployment::run(&world, Events::Doubled, CLINIC);
    let report = world.assert_delivered_once(0);
    assert!(report.expected().count() >= 15);
    assert_eq!(
        world.vision.looks(),
        report.expected().count() as u64,
        "an inference was paid twice"
    );
}

/// A world with one photo found and waiting for download, and its id.
fn one_photo(seed: u64) -> (World, FirmId, DocumentId) {
    let world = World::new(seed, 1);
    let found = |world: &World| {
        let events = world.events.lock().unwrap();
        events.iter().find_map(|event| match event {
            Event::Detected { firm, document, .. } => Some((firm.clone(), document.clone())),
            _ => None,
        })
    };
    for _ in 0..60 {
        Deployment::run(&world, Events::Lost, MINUTE);
        if let Some((firm, document)) = found(&world) {
            return (world, firm, document);
        }
    }
    panic!("no photo in an hour");
}

#[test]
fn a_record_whose_item_is_under_a_lease_is_returned() {
    let (world, firm, document) = one_photo(5);
    world.clock.run(async {
        let lease = world
            .state
            .acquire_documents(DocumentStep::Download, world.clock_now(), Duration::from_secs(30), 1)
            .await
            .unwrap();
        let (firm, document) = match lease.first() {
            Some(lease) => (&lease.item().firm, &lease.item().document),
            None => (&firm, &document),
        };
        assert_eq!(lease.len(), 1);
        let record = stream_record(7, firm.as_str(), document.as_str());
        let malformed = json!({ "dynamodb": { "SequenceNumber": "8", "Keys": {} } });
        let unknown = stream_record(9, firm.as_str(), "no-such-document");
        let event = json!({ "Records": [record, malformed, unknown] });
        let answer = invoke(&world, FunctionName::DownloadPhoto, event).await.unwrap();
        assert_eq!(
            answer["batchItemFailures"],
            json!([{ "itemIdentifier": "7" }, { "itemIdentifier": "8" }]),
            "leased and malformed come again, one that is gone does not"
        );
        let object = json!({ "Records": [object_record(firm.as_str(), document.as_str())] });
        assert_eq!(
            invoke(&world, FunctionName::Infer, object).await,
            Err(FunctionError::ItemBusy),
            "its download is under way"
        );
    });
}

#[test]
fn a_malformed_event_has_a_name_and_changes_nothing() {
    let world = World::new(6, 1);
    let malformed = [
        (FunctionName::RefreshCredentials, json!({})),
        (FunctionName::PollEncounters, json!({ "firms": ["a"] })),
        (FunctionName::PollDocuments, json!({ "firms": "a" })),
        (
            FunctionName::DownloadPhoto,
            json!({ "items": [{ "firm": "a", "assessment": "b" }] }),
        ),
        (
            FunctionName::DownloadPhoto,
            json!({ "items": [{ "firm": "a", "document": "b", "more": 1 }] }),
        ),
        (FunctionName::Infer, json!({ "Records": [{ "s3": { "object": {} } }] })),
        (FunctionName::WriteBack, json!(null)),
    ];
    world.clock.run(async {
        for (function, event) in malformed {
            let outcome = invoke(&world, function, event).await;
            assert_eq!(outcome, Err(FunctionError::InputMalformed), "{function}");
        }
        assert_eq!(
            invoke(
                &world,
                FunctionName::WriteBack,
                json!({ "Records": [stream_record(1, "a", "note#x")] })
            )
            .await,
            Ok(json!({ "batchItemFailures": [{ "itemIdentifier": "1" }] })),
            "a record that the filter should have held back"
        );
    });
    assert_eq!("no-such".parse::<FunctionName>(), Err(FunctionError::FunctionUnknown));
    let names: BTreeSet<_> = FunctionName::ALL.into_iter().map(FunctionName::as_str).collect();
    assert_eq!(names.len(), FunctionName::ALL.len());
}

#[test]
fn shards_name_every_firm_once() {
    let world = World::new(7, 5);
    world.clock.run(async {
        let discovered = invoke(&world, FunctionName::DiscoverFirms, json!({})).await.unwrap();
        let shards = discovered["shards"].as_array().unwrap();
        let sizes: Vec<_> = shards
            .iter()
            .map(|shard| shard["firms"].as_array().unwrap().len())
            .collect();
        assert_eq!(sizes, [2, 2, 1]);
        let firms: BTreeSet<_> = shards
            .iter()
            .flat_map(|shard| shard["firms"].as_array().unwrap())
            .map(|firm| firm.as_str().unwrap())
            .collect();
        assert_eq!(firms.len(), 5);
        let every = shards[0]["encounters_every_s"].as_u64().unwrap();
        assert_eq!(every, 60, "a quarter of 120 calls a minute is enough for 5 firms");
    });
}

#[test]
fn times_are_kept() {
    let world = World::new(8, 2);
    Deployment::run(&world, Events::Delivered, 3 * MINUTE);
    let ended = world.clock_now().since(crate::support::MORNING);
    assert!(ended < 3 * MINUTE, "a cycle takes less than a minute: {ended:?}");
}
