//! What a deployment on AWS consumes: its cycles and functions on a simulated clinic day, every request to DynamoDB counted by
//! the capacity that the emulator says it took, every invocation by its length.
//!
//! `aws_cost FIRMS CALLS_PER_MINUTE SHARD_SIZE LEAST_PRICE SWEEP_SECONDS MINUTES` prints one JSON object: what so many minutes of the
//! clinic and of the night took. `cargo xtask aws-cost` runs it with what the template says, and puts prices to it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a benchmark prints, and may end"
)]
#![allow(clippy::disallowed_methods, reason = "the processor's time is no clock's of the run")]
#![allow(dead_code, reason = "shared with the tests, which use more of it")]

#[path = "../tests/whole_way/deployment.rs"]
mod deployment;
#[path = "../tests/whole_way/support.rs"]
mod support;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use deployment::{Deployment, Events, Platform, functions};
use futures::{
    FutureExt as _,
    future::{LocalBoxFuture, join_all},
};
use serde::Serialize;
use serde_json::Value;
use skin_assist::functions::{FunctionError, FunctionName, Functions};
use skin_assist_aws::{
    connection::Connection,
    dynamodb::{DynamoStore, FirmKeys},
    inline::Meter,
};
use skin_assist_core::time::Clock as _;
use skin_assist_simulator::{
    ClinicScript,
    clinic_days::{EventKind, GenerateOptions, Trace, generate},
};
use skin_assist_testkit::servers::Server;
use support::{Setting, World};

const MINUTE: Duration = Duration::from_secs(60);

/// Seconds of a day when its measured hours begin: 11:00, in the midst of the clinic, and 23:00.
const BUSY_AT: f64 = 11.0 * 3600.0;
const NIGHT_AT: f64 = 23.0 * 3600.0;
/// The day starts with the practices.
const DAY_BEGINS_AT: f64 = 7.0 * 3600.0;

/// Between measured hours a cycle runs so often, for the state to be what it would be: with many practices less often, which play
/// for long. Just before a measured hour each runs.
const SPARSE: Duration = Duration::from_secs(300);
const SPARSER: Duration = Duration::from_secs(1200);
const MANY: u32 = 50;
const ALL_BEFORE: Duration = Duration::from_secs(600);

/// What the functions and tables took.
#[derive(Debug, Default, Clone, Serialize)]
struct Consumption {
    /// Invocations by function.
    invocations: BTreeMap<String, u64>,
    /// Seconds that they lasted by the EHR's and the scheduler's clock, by function.
    seconds: BTreeMap<String, f64>,
    /// Seconds of a processor, the practice EHR's in this process included.
    processor_seconds: BTreeMap<String, f64>,
    /// Requests to DynamoDB, by function.
    requests: BTreeMap<String, u64>,
    /// Write units, by function, operation and table.
    write_units: BTreeMap<String, f64>,
    /// Read units, by function, operation and table.
    read_units: BTreeMap<String, f64>,
    /// Photos that were found.
    photos: u64,
    /// Executions of the state machine, and the seconds that they lasted.
    executions: u64,
    execution_seconds: f64,
    /// Calls to the EHR.
    calls: u64,
}

type Shared = Arc<Mutex<(Option<&'static str>, Consumption)>>;

/// What kind of row of the watch an update is about, for those that are written often.
fn kind_of_row(request: &[u8]) -> &'static str {
    let request: Value = serde_json::from_slice(request).unwrap_or_default();
    let of_key = |attribute: &str| request["Key"][attribute]["S"].as_str().unwrap_or_default().to_owned();
    match (of_key("part").as_str(), of_key("item").as_str()) {
        ("watch-lists", _) => " (lease)",
        (_, item) if item.starts_with("looks") => " (looks)",
        _ => "",
    }
}

/// Adds what the answer says was consumed.
fn count(consumption: &Shared, operation: &str, request: &[u8], answer: &[u8]) {
    let mut shared = consumption.lock().unwrap();
    let Some(function) = shared.0 else { return };
    *shared.1.requests.entry(function.to_owned()).or_default() += 1;
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    // A condition that fails takes what the write would have, and the answer does not say: the least it can be.
    let consumed = &answer["ConsumedCapacity"];
    let tables: Vec<Value> = match consumed {
        Value::Array(tables) => tables.clone(),
        Value::Object(_) => vec![consumed.clone()],
        _ => vec![serde_json::json!({ "TableName": "-(refused)", "CapacityUnits": 1.0 })],
    };
    let reads = matches!(
        operation,
        "GetItem" | "BatchGetItem" | "Query" | "Scan" | "TransactGetItems"
    );
    for table in tables {
        let name = table["TableName"].as_str().unwrap_or_default();
        let name = name.split_once('-').map_or(name, |(_, name)| name);
        let units = table["CapacityUnits"].as_f64().unwrap_or_default();
        let key = format!("{function} {operation} {name}{}", kind_of_row(request));
        let into = if reads {
            &mut shared.1.read_units
        } else {
            &mut shared.1.write_units
        };
        *into.entry(key).or_default() += units;
    }
}

/// For how long this thread has had a processor: not while it waited for the emulator, or for other programs. As Linux accounts for it, which
/// is some milliseconds late, at the beginning as at the end.
fn processor_time() -> Duration {
    let accounted = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(accounted.split(' ').next().unwrap().parse().unwrap())
}

/// Runs functions in environments that stay warm, and counts.
struct Metered<'a> {
    world: &'a World,
    environments: RefCell<BTreeMap<&'static str, &'static Functions>>,
    shard_size: usize,
    least_price: f64,
    sweep_for: Duration,
    consumption: Shared,
}

impl Metered<'_> {
    fn environment(&self, function: FunctionName) -> &'static Functions {
        self.environments
            .borrow_mut()
            .entry(function.as_str())
            .or_insert_with(|| {
                let mut functions = functions(self.world, self.shard_size);
                functions.engine.settings.least_price = self.least_price;
                functions.sweep_for = self.sweep_for;
                Box::leak(Box::new(functions))
            })
    }
}

impl Platform for Metered<'_> {
    fn invoke(&self, function: FunctionName, event: Value) -> LocalBoxFuture<'_, Result<Value, FunctionError>> {
        async move {
            let began = self.world.clock_now();
            let deadline = began + Duration::from_secs(20);
            let environment = self.environment(function);
            let mut work = pin!(environment.invoke(function, &event, deadline));
            let processor = Cell::new(Duration::ZERO);
            let answer = poll_fn(|context| {
                let before = self.consumption.lock().unwrap().0.replace(function.as_str());
                let ran_before = processor_time();
                let polled = work.as_mut().poll(context);
                processor.set(processor.get() + processor_time().saturating_sub(ran_before));
                self.consumption.lock().unwrap().0 = before;
                polled
            })
            .await;
            let mut shared = self.consumption.lock().unwrap();
            let name = function.as_str().to_owned();
            *shared.1.invocations.entry(name.clone()).or_default() += 1;
            *shared.1.seconds.entry(name.clone()).or_default() += self.world.clock_now().since(began).as_secs_f64();
            *shared.1.processor_seconds.entry(name).or_default() += processor.get().as_secs_f64();
            answer
        }
        .boxed_local()
    }
}

/// One day as two: the first has a whole clinic, so that the watch lists are as long as they get.
fn days(firms: u32) -> Trace {
    let mut trace = generate(&GenerateOptions {
        firms,
        days: 2,
        seed: 5,
        burst: None,
    });
    // The script begins when the first day's practices open.
    trace.events.retain(|event| event.t >= DAY_BEGINS_AT);
    for event in &mut trace.events {
        event.t -= DAY_BEGINS_AT;
    }
    trace
}

fn main() {
    let numbers: Vec<f64> = std::env::args().skip(1).map(|text| text.parse().unwrap()).collect();
    let [firms, calls, shard_size, least_price, sweep_seconds, minutes] = numbers[..] else {
        panic!("aws_cost FIRMS CALLS_PER_MINUTE SHARD_SIZE LEAST_PRICE SWEEP_SECONDS MINUTES")
    };
    let (firms, calls, minutes) = (firms as u32, calls as u32, minutes as u32);
    let sparse = if firms < MANY { SPARSE } else { SPARSER };
    let consumption: Shared = Arc::default();
    let told = Arc::clone(&consumption);
    let meter: Meter = Arc::new(move |operation, request, answer| count(&told, operation, request, answer));
    let server = Server::dynoxide();
    let store = Arc::new(DynamoStore::new(
        &Connection::metered_to_emulator(server.endpoint(), meter),
        "cost-",
        FirmKeys::for_emulator(),
    ));
    futures::executor::block_on(store.create_tables()).unwrap();
    let trace = days(firms);
    let attached = |from: f64, to: f64| {
        let within = |t: f64| (from..to).contains(&(t + DAY_BEGINS_AT));
        trace
            .events
            .iter()
            .filter(|event| event.kind == EventKind::Attach && within(event.t))
            .count()
    };
    let day = 86_400.0;
    eprintln!(
        "{} events, {} photos in the measured hour of the clinic",
        trace.events.len(),
        attached(day + BUSY_AT, day + BUSY_AT + 3600.0)
    );
    let script = ClinicScript::of_trace(&trace, 5, 0.5, (64, 48));
    let setting = Setting {
        quota: (calls, MINUTE),
        ..Setting::modmed()
    };
    let world = World::playing(store, 5, setting, script);
    let platform = Metered {
        world: &world,
        environments: RefCell::default(),
        shard_size: shard_size as usize,
        least_price,
        sweep_for: Duration::from_secs_f64(sweep_seconds),
        consumption: Arc::clone(&consumption),
    };
    let deployment = Deployment::new(&world, &platform, Events::Delivered);
    let begins = world.clock_now();
    let at = |seconds: f64| begins + Duration::from_secs_f64(seconds - DAY_BEGINS_AT);
    let run_until = |until, every: Duration| {
        world.clock.run(async {
            while world.clock_now() < until {
                let next = world.clock_now() + every;
                deployment.cycle().await;
                world.clock.sleep_until(next).await;
            }
        });
    };
    let mut hours = BTreeMap::new();
    for (name, from) in [("busy", day + BUSY_AT), ("night", day + NIGHT_AT)] {
        run_until(at(from) - ALL_BEFORE, sparse);
        run_until(at(from), MINUTE);
        eprintln!("{name}: measured from here on");
        consumption.lock().unwrap().1 = Consumption::default();
        let photos = || world.vision.looks();
        let (looked_at, granted) = (photos(), calls_made(&world));
        let executions = Cell::new((0_u64, Duration::ZERO));
        world.clock.run(async {
            let began = world.clock_now();
            join_all((0..minutes).map(async |minute: u32| {
                world.clock.sleep_until(began + MINUTE * minute).await;
                let started = world.clock_now();
                deployment.cycle().await;
                let (count, lasted) = executions.get();
                executions.set((count + 1, lasted + world.clock_now().since(started)));
            }))
            .await;
        });
        let mut hour = consumption.lock().unwrap().1.clone();
        hour.photos = photos() - looked_at;
        hour.executions = executions.get().0;
        hour.execution_seconds = executions.get().1.as_secs_f64();
        hour.calls = calls_made(&world) - granted;
        hours.insert(name, hour);
    }
    println!("{}", serde_json::to_string(&hours).unwrap());
}

fn calls_made(world: &World) -> u64 {
    let quotas = world.clock.run(world.state.quotas()).unwrap();
    quotas.iter().flat_map(|quota| quota.granted.values()).sum()
}
