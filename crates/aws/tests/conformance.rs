//! The conformance suite on DynamoDB: against a dynoxide server of this process's own, each state under a prefix of its own
//! and with three stores on it.

// Helpers of tests, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::BoxFuture;
use skin_assist_aws::{
    connection::Connection,
    dynamodb::{DynamoStore, FirmKeys},
};
use skin_assist_core::ports::StateStore;
use skin_assist_testkit::{
    conformance::{
        Backend, check, check_some,
        mutations::{Mutated, Mutation},
    },
    servers::Server,
};
use tokio::runtime::{Handle, Runtime};

struct OnDynamo {
    server: Server,
    states: AtomicUsize,
    runtime: Handle,
}

impl OnDynamo {
    fn new(runtime: &Runtime) -> Arc<Self> {
        Arc::new(Self {
            server: Server::dynoxide(),
            states: AtomicUsize::new(0),
            runtime: runtime.handle().clone(),
        })
    }
}

#[async_trait]
impl Backend for OnDynamo {
    async fn fresh(&self) -> Vec<Arc<dyn StateStore>> {
        let prefix = format!("state-{}-", self.states.fetch_add(1, Ordering::Relaxed));
        let open = || {
            DynamoStore::new(
                &Connection::to_emulator(self.server.endpoint()),
                prefix.as_str(),
                FirmKeys::for_emulator(),
            )
        };
        let first = open();
        first.create_tables().await.unwrap();
        vec![Arc::new(first), Arc::new(open()), Arc::new(open())]
    }

    async fn at_once(&self, tasks: Vec<BoxFuture<'static, ()>>) {
        // On a thread each, so that they are as different as processes; their requests run on the runtime.
        tokio::task::block_in_place(|| {
            std::thread::scope(|scope| {
                for task in tasks {
                    scope.spawn(|| self.runtime.block_on(task));
                }
            });
        });
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn a_state_that_three_stores_share_conforms() {
    let runtime = runtime();
    let backend = OnDynamo::new(&runtime);
    let report = runtime.block_on(runtime.spawn(check(backend.clone()))).unwrap();
    report.assert_passed();
    runtime.block_on(nothing_can_be_read(backend.server.endpoint()));
}

/// The texts of each table that are stored as they are, beside numbers and what is true or not. Everything else has to be sealed.
const PLAIN: &[(&str, &[&str])] = &[
    ("Credentials", &["reason_code", "reason_hint"]),
    (
        "EncounterWatch",
        // Of looks, digests under the firm's key.
        &["status", "documents_categories", "figures", "counts", "looks"],
    ),
    ("DocumentWatch", &["step", "category", "route", "queue"]),
    (
        "AssistResults",
        &["note", "delivery", "reason_code", "reason_hint", "attention", "queue"],
    ),
    (
        "DeadLetters",
        &["firm", "kind", "step", "stage", "reason_code", "reason_hint"],
    ),
];

/// As texts are sealed: 16 bytes that authenticate, and what is sealed, in base64 for URLs.
fn is_sealed(text: &str) -> bool {
    text.len() >= 22
        && text
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter))
}

fn tells_nothing(value: &AttributeValue) -> bool {
    match value {
        AttributeValue::S(text) => is_sealed(text),
        AttributeValue::B(bytes) => bytes.as_ref().len() >= 16,
        AttributeValue::L(list) => list.iter().all(tells_nothing),
        AttributeValue::N(_) | AttributeValue::Bool(_) => true,
        _ => false,
    }
}

/// What of a sort key is about something in an EHR, in segments.
fn named_in(table: &str, item: &str) -> Vec<String> {
    let behind = |prefix: &str| item.strip_prefix(prefix).map(str::to_owned);
    let first_behind = |prefix: &str| item.strip_prefix(prefix)?.split('#').next().map(str::to_owned);
    match table {
        "DocumentWatch" => vec![item.to_owned()],
        "EncounterWatch" => behind("encounter#").into_iter().collect(),
        "AssistResults" => {
            let visit = item
                .strip_prefix("visit#")
                .and_then(|rest| rest.split('#').nth(2).map(str::to_owned));
            let prefixes = ["note#", "visit#", "findings#"];
            prefixes
                .into_iter()
                .filter_map(first_behind)
                .chain(behind("result#"))
                .chain(visit)
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Whoever reads the tables without the keys of firms reads nothing that came from an EHR: after all that the suite did.
async fn nothing_can_be_read(endpoint: &str) {
    let client = aws_sdk_dynamodb::Client::new(Connection::to_emulator(endpoint).sdk());
    let (mut rows, mut from) = (0, None);
    loop {
        let listed = client
            .list_tables()
            .set_exclusive_start_table_name(from)
            .send()
            .await
            .unwrap();
        for name in listed.table_names() {
            let table = name.rsplit('-').next().unwrap();
            let Some((_, plain)) = PLAIN.iter().find(|(known, _)| *known == table) else {
                continue;
            };
            let scanned = client.scan().table_name(name).send().await.unwrap();
            for row in scanned.items() {
                rows += 1;
                let item = row["item"].as_s().unwrap();
                for named in named_in(table, item) {
                    assert!(is_sealed(&named), "{table}: {item}");
                }
                for (attribute, value) in row {
                    let may_be_read = ["part", "item"].iter().chain(*plain).any(|known| known == attribute);
                    assert!(may_be_read || tells_nothing(value), "{table}: {attribute} is {value:?}");
                }
            }
        }
        from = listed.last_evaluated_table_name().map(str::to_owned);
        if from.is_none() {
            break;
        }
    }
    assert!(rows > 500, "{rows} rows");
}

/// That it is the stores' conditions that the suite sees, and not the emulator's kindness.
#[test]
fn the_suite_notices_a_store_that_ignores_fences() {
    let runtime = runtime();
    let backend = Arc::new(Mutated::new(OnDynamo::new(&runtime), Mutation::FenceIgnored));
    let zombies = async { check_some(backend, |name| name.starts_with("zombies")).await };
    let report = runtime.block_on(zombies);
    assert_eq!((report.ran, report.failures.len()), (5, 5), "{:?}", report.failures);
}
