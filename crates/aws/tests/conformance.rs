//! The conformance suite on DynamoDB: against a dynoxide server of this process's own, each state under a prefix of its own
//! and with three stores on it.

// Helpers of tests, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use skin_assist_aws::{connection::Connection, dynamodb::DynamoStore};
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
        let open = || DynamoStore::new(&Connection::to_emulator(self.server.endpoint()), prefix.as_str());
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
    let report = runtime.block_on(runtime.spawn(check(backend))).unwrap();
    report.assert_passed();
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
