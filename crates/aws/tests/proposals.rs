//! Items by name on DynamoDB: the contract of proposals, against a dynoxide server of this process's own.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use skin_assist_aws::{
    connection::Connection,
    dynamodb::{DynamoStore, FirmKeys},
};
use skin_assist_core::ports::ProposingStore;
use skin_assist_testkit::{conformance::proposals, servers::Server};

#[tokio::test]
async fn items_can_be_proposed_by_name() {
    let server = Server::dynoxide();
    let states = AtomicUsize::new(0);
    proposals::check(async || {
        let prefix = format!("state-{}-", states.fetch_add(1, Ordering::Relaxed));
        let store = DynamoStore::new(
            &Connection::to_emulator(server.endpoint()),
            prefix,
            FirmKeys::for_emulator(),
        );
        store.create_tables().await.unwrap();
        Arc::new(store) as Arc<dyn ProposingStore>
    })
    .await;
}
