//! A deployment on AWS under virtual time: cycles as the state machine runs them, events as streams and the bucket deliver
//! them.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

use std::{cell::Cell, time::Duration};

use futures::{
    FutureExt as _,
    future::{LocalBoxFuture, join, join_all},
};
use serde_json::{Value, json};
use skin_assist::{
    driver::{Engine, Event, SweepMemory},
    functions::{EventKeys, FunctionError, FunctionName, Functions},
};
use skin_assist_core::{domain::Stage, ports::RetentionLimits, time::Clock as _};

use super::support::World;

const MINUTE: Duration = Duration::from_secs(60);

/// As in the template.
const SWEEP_EVERY_S: u64 = 17;

const KEYS: EventKeys = EventKeys {
    firm: "part",
    item: "item",
    result_prefix: "result#",
    photo: |firm, document| format!("{firm}/{document}"),
};

/// Shorter than in the template: a day's results are past their time on the next.
const RETENTION: RetentionLimits = RetentionLimits {
    results: Some(Duration::from_secs(24 * 60 * 60)),
    audit: Some(Duration::from_secs(24 * 60 * 60)),
};

/// How the deployment's events fare.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Events {
    Delivered,
    Lost,
    Doubled,
}

/// The functions of an environment of its own, with what the template says.
pub(crate) fn functions(world: &World, shard_size: usize) -> Functions {
    Functions {
        engine: Engine {
            photos: world.bucket.clone(),
            ..world.engine()
        },
        proposals: world.state.clone(),
        keys: KEYS,
        shard_size,
        sweep_for: Duration::from_secs(14),
        memory: SweepMemory::default(),
        retention: RETENTION,
    }
}

/// A function's invocation, in an environment of its own.
pub(crate) async fn invoke(world: &World, function: FunctionName, event: Value) -> Result<Value, FunctionError> {
    let deadline = world.clock_now() + Duration::from_secs(20);
    functions(world, 2).invoke(function, &event, deadline).await
}

/// What runs functions when they are called.
pub(crate) trait Platform {
    fn invoke(&self, function: FunctionName, event: Value) -> LocalBoxFuture<'_, Result<Value, FunctionError>>;
}

/// Each invocation in an environment of its own.
struct Fresh<'a>(&'a World);

impl Platform for Fresh<'_> {
    fn invoke(&self, function: FunctionName, event: Value) -> LocalBoxFuture<'_, Result<Value, FunctionError>> {
        invoke(self.0, function, event).boxed_local()
    }
}

pub(crate) fn stream_record(number: usize, firm: &str, item: &str) -> Value {
    json!({
        "eventID": number.to_string(), "eventName": "INSERT", "eventSource": "aws:dynamodb",
        "dynamodb": {
            "Keys": { "part": { "S": firm }, "item": { "S": item } },
            "SequenceNumber": number.to_string(), "StreamViewType": "KEYS_ONLY",
        },
    })
}

pub(crate) fn object_record(firm: &str, document: &str) -> Value {
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
pub(crate) struct Deployment<'a> {
    world: &'a World,
    platform: &'a dyn Platform,
    events: Events,
    seen: Cell<usize>,
}

impl<'a> Deployment<'a> {
    pub(crate) const fn new(world: &'a World, platform: &'a dyn Platform, events: Events) -> Self {
        Self {
            world,
            platform,
            events,
            seen: Cell::new(0),
        }
    }

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
            let answer = self.platform.invoke(function, json!({ "Records": [record] })).await;
            match answer {
                Ok(answer) if answer["batchItemFailures"] == json!([]) => return,
                Ok(_) | Err(FunctionError::ItemBusy) => {}
                Err(error) => panic!("{function}: {error}"),
            }
            self.world.clock.sleep_until(self.world.clock_now() + MINUTE / 30).await;
        }
        panic!("{function} never took its record");
    }

    /// A sweep; for how long the state machine pauses after it, unless it ends the cycle of the shard.
    async fn sweep(&self, shard: &Value) -> Option<Duration> {
        let mut event = shard.clone();
        event["sweep_every_seconds"] = SWEEP_EVERY_S.into();
        let began = self.world.clock_now();
        let answer = self.platform.invoke(FunctionName::PollDocuments, event).await.unwrap();
        let pause = answer["pause_seconds"].as_u64().unwrap();
        let took = self.world.clock_now().since(began).as_secs();
        assert_eq!(pause, SWEEP_EVERY_S.saturating_sub(took).max(1));
        self.deliver().await;
        (answer["idle"] == false).then(|| Duration::from_secs(pause))
    }

    /// One execution of the state machine.
    pub(crate) async fn cycle(&self) {
        let polling = async {
            let discovered = self
                .platform
                .invoke(FunctionName::DiscoverFirms, json!({}))
                .await
                .unwrap();
            let shards: Vec<Value> = discovered["shards"].as_array().unwrap().iter().map(handed_on).collect();
            join_all(shards.iter().map(async |shard| {
                for function in [FunctionName::RefreshCredentials, FunctionName::PollEncounters] {
                    self.platform.invoke(function, shard.clone()).await.unwrap();
                }
                for sweep in 1..=3 {
                    let pause = self.sweep(shard).await;
                    match pause {
                        Some(pause) if sweep < 3 => self.world.clock.sleep_until(self.world.clock_now() + pause).await,
                        _ => return,
                    }
                }
            }))
            .await;
        };
        let proposing = async {
            let due = self.platform.invoke(FunctionName::ProposeDue, json!({})).await.unwrap();
            for batch in due["batches"].as_array().unwrap() {
                let function = batch["step"].as_str().unwrap().parse().unwrap();
                let items = json!({ "items": batch["items"] });
                self.platform.invoke(function, items).await.unwrap();
            }
        };
        join(polling, proposing).await;
    }

    /// A cycle each minute. One that takes longer overlaps the next, as it does in a deployment.
    pub(crate) fn run(world: &World, events: Events, duration: Duration) {
        let platform = Fresh(world);
        let deployment = Deployment::new(world, &platform, events);
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
