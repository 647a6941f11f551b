//! What DynamoDB answers in production and no emulator does: conflicts, throttling, parts that were not done.

use std::{collections::VecDeque, sync::Arc};

use aws_config::retry::RetryConfig;
use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use skin_assist_core::{
    domain::{EncounterId, EncounterStatus, FirmStatus},
    ports::{EncounterWatches as _, FirmAdministration as _, Firms as _},
    time::Timestamp,
};

use skin_assist_vault::{self as vault, KeyRing};

use super::{
    sealed::{ENCOUNTER, PATIENT},
    *,
};
use crate::connection::emulator;

/// Answers as it was told, and keeps what it was asked.
#[derive(Debug, Clone, Default)]
struct Scripted {
    answers: Arc<Mutex<VecDeque<(u16, String)>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl HttpConnector for Scripted {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned();
        lock(&self.asked).push(body);
        let (status, body) = lock(&self.answers).pop_front().expect("nothing more is asked");
        let status = StatusCode::try_from(status).unwrap();
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::from(body))))
    }
}

/// With a key of the firm `a`.
fn ring() -> KeyRing {
    let mut ring = KeyRing::derived_from(&[7; 32]);
    ring.add_derived("a");
    ring
}

/// A value of the firm `a` as it is stored.
fn stored(kind: vault::Kind, plain: &str) -> String {
    ring().key("a").unwrap().seal(kind, plain)
}

/// Where an encounter is.
fn item(id: &str) -> String {
    format!("encounter#{}", stored(ENCOUNTER, id))
}

/// An encounter's row.
fn row(id: &str, status: &str) -> String {
    format!(
        r#"{{"part": {{"S": "a"}}, "item": {{"S": "{}"}}, "patient": {{"S": "{}"}}, "status": {{"S": "{status}"}},
            "first_seen_at": {{"N": "5"}}, "expires_at": {{"N": "9"}}, "seen": {{"N": "1"}}}}"#,
        item(id),
        stored(PATIENT, "p")
    )
}

/// The row of the cursor, after so many changes, of which the last were of the encounters 1 and 2.
fn cursor(changes: u64) -> String {
    format!(
        r#"{{"Item": {{"part": {{"S": "a"}}, "cursor": {{"N": "1"}}, "changes": {{"N": "{changes}"}},
            "changed": {{"L": [{{"S": "{}"}}, {{"S": "{}"}}]}}}}}}"#,
        stored(ENCOUNTER, "1"),
        stored(ENCOUNTER, "2")
    )
}

/// A store to which this is answered, one after the other.
fn store(answers: &[(u16, &str)]) -> (DynamoStore, Scripted) {
    let script = Scripted::default();
    lock(&script.answers).extend(answers.iter().map(|(status, body)| (*status, (*body).to_owned())));
    let connector = script.clone();
    let client: SharedHttpClient = http_client_fn(move |_, _| SharedHttpConnector::new(connector.clone()));
    let keys = FirmKeys::for_emulator();
    keys.hold(ring(), Timestamp::from_millis(0));
    let config = emulator("http://127.0.0.1:9", client, RetryConfig::disabled());
    (DynamoStore::new(&Connection { config }, "t-", keys), script)
}

const CONFLICT: &str = r#"{"__type": "com.amazonaws.dynamodb.v20120810#TransactionConflictException", "message": "m"}"#;
const THROTTLED: &str =
    r#"{"__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException", "message": "Jane Roe"}"#;
const REFUSED: &str =
    r#"{"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException", "message": "m"}"#;

fn canceled(codes: &[&str]) -> String {
    let reasons: Vec<String> = codes.iter().map(|code| format!(r#"{{"Code": "{code}"}}"#)).collect();
    format!(
        r#"{{"__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException", "message": "m",
            "CancellationReasons": [{}]}}"#,
        reasons.join(", ")
    )
}

#[tokio::test]
async fn a_write_that_met_a_transaction_is_sent_again() {
    let firm = FirmId::new("a");
    let (store, script) = store(&[(400, CONFLICT), (400, CONFLICT), (200, "{}")]);
    store
        .set_categories(&firm, &std::collections::BTreeMap::new())
        .await
        .unwrap();
    assert_eq!(lock(&script.asked).len(), 3);
}

#[tokio::test]
async fn a_transaction_that_met_another_is_sent_again_and_one_that_was_refused_is_not() {
    let firm = FirmId::new("a");
    let conflict = canceled(&["None", "TransactionConflict"]);
    // And then what waits of the firm is asked for.
    let (store_one, script) = store(&[(400, &conflict), (200, "{}"), (200, "{}")]);
    store_one.set_firm_status(&firm, FirmStatus::Paused).await.unwrap();
    assert_eq!(lock(&script.asked).len(), 3);

    // What does not hold does not hold, whatever else there was.
    let refused = canceled(&["ConditionalCheckFailed", "TransactionConflict"]);
    let (store_two, script) = store(&[(400, &refused)]);
    let outcome = store_two.set_firm_status(&firm, FirmStatus::Paused).await;
    assert!(matches!(outcome, Err(StateError::NotFound { .. })), "{outcome:?}");
    assert_eq!(lock(&script.asked).len(), 1);
}

#[tokio::test]
async fn others_who_never_stop_make_the_store_unavailable() {
    let firm = FirmId::new("a");
    let answers = vec![(400, CONFLICT); CONFLICTS as usize];
    let (store, _) = store(&answers);
    let outcome = store.set_categories(&firm, &std::collections::BTreeMap::new()).await;
    assert!(matches!(outcome, Err(StateError::Unavailable(_))), "{outcome:?}");
}

#[tokio::test]
async fn throttling_is_transient_and_named_by_its_code_alone() {
    let firm = FirmId::new("a");
    let throttled_transaction = canceled(&["None", "ThrottlingError"]);
    let (store, _) = store(&[
        (400, THROTTLED),
        (400, THROTTLED),
        (400, &throttled_transaction),
        (500, "{}"),
    ]);
    let outcomes = [
        store.firm(&firm).await.map(drop),
        store.set_categories(&firm, &std::collections::BTreeMap::new()).await,
        store.set_firm_status(&firm, FirmStatus::Paused).await,
        store.firms().await.map(drop),
    ];
    let expected = [
        "ProvisionedThroughputExceededException",
        "ProvisionedThroughputExceededException",
        "ThrottlingError",
        "",
    ];
    for (outcome, expected) in outcomes.into_iter().zip(expected) {
        let Err(StateError::Unavailable(cause)) = outcome else {
            panic!("{outcome:?}");
        };
        let text = format!("{cause} {cause:?}");
        assert!(text.contains(expected) && !text.contains("Roe"), "{text}");
    }
}

#[tokio::test]
async fn a_refused_write_is_not_sent_again() {
    let (store, script) = store(&[(400, REFUSED)]);
    let outcome = store
        .set_categories(&FirmId::new("a"), &std::collections::BTreeMap::new())
        .await;
    assert!(matches!(outcome, Err(StateError::NotFound { .. })), "{outcome:?}");
    assert_eq!(lock(&script.asked).len(), 1);
}

/// DynamoDB reads as much of a batch as it can at once, and pages as much as it likes.
#[tokio::test]
async fn what_was_not_read_is_asked_for_again() {
    let key = format!(r#"{{"part": {{"S": "a"}}, "item": {{"S": "{}"}}}}"#, item("2"));
    let first = format!(
        r#"{{"Responses": {{"t-EncounterWatch": [{}]}}, "UnprocessedKeys": {{"t-EncounterWatch": {{"Keys": [{key}]}}}}}}"#,
        row("1", "open")
    );
    let second = format!(
        r#"{{"Responses": {{"t-EncounterWatch": [{}]}}, "UnprocessedKeys": {{}}}}"#,
        row("2", "open")
    );
    let (store_one, script) = store(&[(200, &first), (200, &second), (200, "{}")]);
    let ids = ["2", "1"].map(EncounterId::new);
    let watches = store_one.watches_of(&FirmId::new("a"), &ids).await.unwrap();
    let names: Vec<&str> = watches.iter().map(|watch| watch.encounter.id.as_str()).collect();
    assert_eq!(names, ["2", "1"]);
    assert!(lock(&script.asked)[1].contains(&item("2")) && !lock(&script.asked)[1].contains(&item("1")));

    let page = format!(r#"{{"Items": [{}], "LastEvaluatedKey": {key}}}"#, row("1", "open"));
    let last = format!(r#"{{"Items": [{}]}}"#, row("2", "open"));
    let empty = format!(r#"{{"Items": [], "LastEvaluatedKey": {key}}}"#);
    let (store_two, script) = store(&[
        (200, &cursor(2)),
        (200, &page),
        (200, &empty),
        (200, &last),
        (200, "{}"),
    ]);
    let listed = store_two
        .watch_list(&FirmId::new("a"), Timestamp::from_millis(0))
        .await
        .unwrap();
    assert_eq!(listed.len(), 2, "a page with nothing in it is not the end");
    assert!(lock(&script.asked)[2].contains("ExclusiveStartKey"));
}

/// What did not change is not read again, and of what did no more than that.
#[tokio::test]
async fn what_is_known_is_not_read_again() {
    let all = format!(r#"{{"Items": [{}, {}]}}"#, row("1", "open"), row("2", "open"));
    let one = format!(
        r#"{{"Responses": {{"t-EncounterWatch": [{}]}}, "UnprocessedKeys": {{}}}}"#,
        row("2", "finished")
    );
    let (before, same, after, long_after) = (cursor(7), cursor(7), cursor(8), cursor(11));
    let none = (200, "{}");
    let answers = [
        vec![(200, before.as_str()), (200, &all), none],
        vec![(200, &same), none],
        vec![(200, &after), (200, &one), none],
        // More changes than the row names: all is read.
        vec![(200, &long_after), (200, &all), none],
    ]
    .concat();
    let (store, script) = store(&answers);
    for (turn, expected) in [
        [EncounterStatus::Open, EncounterStatus::Open],
        [EncounterStatus::Open, EncounterStatus::Open],
        [EncounterStatus::Open, EncounterStatus::Finished],
        [EncounterStatus::Open, EncounterStatus::Open],
    ]
    .into_iter()
    .enumerate()
    {
        let listed = store
            .watch_list(&FirmId::new("a"), Timestamp::from_millis(0))
            .await
            .unwrap();
        let shown: Vec<EncounterStatus> = listed.iter().map(|watched| watched.watch.encounter.status).collect();
        assert_eq!(shown, expected, "turn {turn}");
    }
    let asked = lock(&script.asked).clone();
    assert_eq!(asked.len(), answers.len());
    assert!(asked[6].contains(&item("2")) && !asked[6].contains(&item("1")));
}
