//! Keeping no longer than the policy says, as far as the rows show it: what stays of a result, what an interruption leaves, how much one call
//! does.

// Helpers of tests, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

use std::{collections::HashMap, sync::Arc, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, PutRequest, WriteRequest},
};
use skin_assist_aws::{
    connection::Connection,
    dynamodb::{DynamoStore, FirmKeys},
};
use skin_assist_core::{
    audit::ChainVerifier,
    domain::FirmId,
    ports::{AuditTrail as _, Removed, Retention as _, RetentionLimits, StateError, StateStore},
    time::Timestamp,
};
use skin_assist_testkit::{conformance::busy, servers::Server};

const DAY: Duration = Duration::from_secs(86_400);

/// After all that [`busy`] did.
fn later(days: u32) -> Timestamp {
    Timestamp::from_millis(1_767_600_000_000) + days * DAY
}

type Row = HashMap<String, AttributeValue>;

/// A state that something of everything is in.
struct Busy {
    store: Arc<DynamoStore>,
    raw: Client,
    _server: Server,
}

impl Busy {
    async fn new() -> Self {
        let server = Server::dynoxide();
        let connection = Connection::to_emulator(server.endpoint());
        let store = Arc::new(DynamoStore::new(&connection, "kept-", FirmKeys::for_emulator()));
        store.create_tables().await.unwrap();
        let port: Arc<dyn StateStore> = store.clone();
        busy(&port).await;
        Self {
            store,
            raw: Client::new(connection.sdk()),
            _server: server,
        }
    }

    async fn remove(&self, results: Option<Duration>, audit: Option<Duration>, now: Timestamp) -> Removed {
        let limits = RetentionLimits { results, audit };
        self.store.remove_expired(&limits, now).await.unwrap()
    }

    /// The rows of the firm whose item begins so.
    async fn rows(&self, table: &str, beginning: &str) -> Vec<Row> {
        let scanned = self.raw.scan().table_name(format!("kept-{table}")).send().await;
        let mut rows = scanned.unwrap().items.unwrap();
        rows.retain(|row| text(row, "part") == "a" && text(row, "item").starts_with(beginning));
        rows
    }

    async fn put(&self, table: &str, row: Row) {
        let put = self.raw.put_item().table_name(format!("kept-{table}"));
        put.set_item(Some(row)).send().await.unwrap();
    }
}

fn text<'a>(row: &'a Row, attribute: &str) -> &'a str {
    row[attribute].as_s().unwrap()
}

#[tokio::test]
async fn of_a_removed_result_stays_that_its_photo_was_assessed() {
    let state = Busy::new().await;
    assert_eq!(state.rows("AssistResults", "visit#").await.len(), 4);
    // As a worker leaves them that was cut off before it wrote the result: each as if it was said twice.
    for mut row in state.rows("AssistResults", "visit#").await {
        let mut item: Vec<&str> = text(&row, "item").split('#').collect();
        let own = item.len() - 2;
        item[own] = "0123456789abcdef";
        let item = item.join("#");
        row.insert("item".to_owned(), AttributeValue::S(item));
        state.put("AssistResults", row).await;
    }
    // Two are in the chart or kept back. One is to be taken out of the chart, and one is uncertain.
    let removed = state.remove(Some(DAY), None, later(2)).await;
    assert_eq!((removed.results, removed.more), (2, false));
    assert_eq!(state.rows("AssistResults", "result#").await.len(), 2);
    let photos = state.rows("DocumentWatch", "").await;
    let blank: Vec<&Row> = photos.iter().filter(|row| text(row, "category").is_empty()).collect();
    assert_eq!((photos.len(), blank.len()), (7, 2));
    for row in blank {
        assert_eq!(text(row, "step"), "done");
        assert!(!row.contains_key("practitioner") && !row.contains_key("visit"));
    }
    // What no result names is found within four weeks, and what one names stays.
    for day in 2..30 {
        state.remove(Some(DAY), None, later(day)).await;
    }
    let said = state.rows("AssistResults", "visit#").await;
    assert_eq!(said.len(), 2);
    for head in state.rows("AssistResults", "result#").await {
        assert!(
            said.iter()
                .any(|row| text(row, "item").starts_with(text(&head, "note")))
        );
    }
}

#[tokio::test]
async fn a_damaged_row_holds_up_nothing_but_its_result_and_is_reported() {
    let state = Busy::new().await;
    let head = state.rows("AssistResults", "result#").await;
    let of_it = |row: &Row| text(row, "delivery") == "withheld";
    let note = text(head.iter().find(|row| of_it(row)).unwrap(), "note");
    let mut said = state.rows("AssistResults", note).await.remove(0);
    said.insert("of".to_owned(), AttributeValue::N("2".to_owned()));
    state.put("AssistResults", said).await;
    let limits = RetentionLimits {
        results: Some(DAY),
        audit: Some(DAY),
    };
    let outcome = state.store.remove_expired(&limits, later(2)).await;
    assert!(matches!(outcome, Err(StateError::Corrupt { .. })), "{outcome:?}");
    let left = state.rows("AssistResults", "result#").await;
    assert!(left.len() == 3 && left.iter().any(of_it));
    assert!(state.rows("Audit", "").await.len() <= 2);
}

#[tokio::test]
async fn an_interrupted_removal_of_entries_verifies_and_is_finished_by_the_next() {
    let state = Busy::new().await;
    let firm = FirmId::new("a");
    let before = state.rows("Audit", "").await;
    let removed = state.remove(None, Some(DAY), later(2)).await;
    assert_eq!(removed.audit_entries, before.len() as u64);
    // The base moved, and some of the entries were not deleted.
    let left = before.len() / 2;
    for row in before.into_iter().take(left) {
        state.put("Audit", row).await;
    }
    let chains = state.store.audit_chains().await.unwrap();
    let chain = chains.into_iter().find(|chain| chain.head.firm == firm).unwrap();
    let mut verifier = ChainVerifier::new(chain.base, []);
    for entry in state.store.audit_entries(&firm, 0, 100).await.unwrap().entries {
        verifier.entry(&entry);
    }
    let report = verifier.end();
    assert_eq!(
        (report.faults, report.entries, report.head),
        (Vec::new(), 1, chain.head)
    );
    let removed = state.remove(None, Some(DAY), later(2)).await;
    assert_eq!(removed.audit_entries, left as u64);
    assert_eq!(state.rows("Audit", "").await.len(), 1, "and nothing more was said");
}

#[tokio::test]
async fn one_call_removes_so_much_and_the_next_goes_on() {
    const ENTRIES: usize = 10_200;
    let state = Busy::new().await;
    let known = state.rows("Audit", "").await.len();
    let template = state.rows("Audit", "").await.remove(0);
    let entries: Vec<WriteRequest> = (known + 1..=ENTRIES)
        .map(|number| {
            let mut row = template.clone();
            row.insert("item".to_owned(), AttributeValue::S(format!("{number:020}")));
            let put = PutRequest::builder().set_item(Some(row)).build().unwrap();
            WriteRequest::builder().put_request(put).build()
        })
        .collect();
    for entries in entries.chunks(25) {
        let batch = entries.to_vec();
        let sent = state.raw.batch_write_item().request_items("kept-Audit", batch).send();
        assert!(sent.await.unwrap().unprocessed_items.unwrap_or_default().is_empty());
    }
    let removed = state.remove(None, Some(DAY), later(2)).await;
    assert!(removed.more);
    assert_eq!(removed.audit_entries, 10_000);
    assert_eq!(state.rows("Audit", "000").await.len(), ENTRIES - 10_000 + 1);
    let removed = state.remove(None, Some(DAY), later(2)).await;
    assert_eq!((removed.audit_entries, removed.more), (ENTRIES as u64 - 10_000, false));
    // What was said of both.
    assert_eq!(state.rows("Audit", "").await.len(), 2);
}
