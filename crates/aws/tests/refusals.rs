//! What AWS refuses: a role whose credentials have expired, one that may not, a table or an endpoint that is not there. Each is an
//! error with a name, after a bounded number of requests, that quotes nothing of what the service said.

// Helpers of tests, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    error::Error as _,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use skin_assist_aws::{
    connection::Connection,
    dynamodb::{DynamoStore, FirmKeys},
    sagemaker::{Error, SageMakerVision},
};
use skin_assist_core::{
    domain::Route,
    ports::{CallGrants as _, CallKind, Class, QuotaKey, StateError, VisionError},
    time::Timestamp,
};

/// What the service says beside its code: it may hold a row, or whose it is.
const SAID: &str = "Jane Roe 1961-04-05";

/// A service that refuses every request, and counts them.
fn refusing(status: u16, code: &'static str, message: &'static str) -> (Connection, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).unwrap_or(0) > 2 {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            if reader.read_exact(&mut body).is_err() {
                continue;
            }
            counted.fetch_add(1, Ordering::Relaxed);
            let reply = format!("{{\"__type\":\"{code}\",\"message\":\"{message}\"}}");
            let head = "content-type: application/x-amz-json-1.0\r\nconnection: close";
            let length = reply.len();
            _ = write!(
                reader.get_mut(),
                "HTTP/1.1 {status} Refused\r\n{head}\r\nx-amzn-errortype: {code}\r\ncontent-length: {length}\r\n\r\n{reply}"
            );
        }
    });
    (Connection::to_emulator(&endpoint), asked)
}

async fn asked_of_a_table(connection: &Connection) -> StateError {
    let key = QuotaKey {
        name: "q".to_owned(),
        calls: 600,
        window: Duration::from_secs(60),
    };
    let store = DynamoStore::new(connection, "refusals-", FirmKeys::for_emulator());
    let taken = store.take(&key, CallKind::Read, Timestamp::from_millis(0)).await;
    taken.unwrap_err()
}

#[tokio::test]
async fn what_a_table_refuses_is_tried_again_later_and_says_with_which_code() {
    for (status, code) in [
        (400, "ExpiredTokenException"),
        (400, "UnrecognizedClientException"),
        (400, "AccessDeniedException"),
        (400, "ResourceNotFoundException"),
        (400, "ProvisionedThroughputExceededException"),
        (500, "InternalServerError"),
    ] {
        let (connection, asked) = refusing(status, code, SAID);
        let error = asked_of_a_table(&connection).await;
        assert_eq!(error.class(), Class::Transient(None), "{code}");
        let cause = error.source().unwrap().to_string();
        assert_eq!(cause, format!("DynamoDB answered {code}"));
        let shown = format!("{error} {error:?} {cause}");
        assert!(!shown.contains("Jane"), "{code}: {shown}");
        let asked = asked.load(Ordering::Relaxed);
        assert!((1..=8).contains(&asked), "{code}: {asked} requests");
    }
}

async fn asked_of_an_endpoint(connection: &Connection) -> VisionError {
    let endpoints = BTreeMap::from([(Route::Solitary, "lesions".to_owned())]);
    match SageMakerVision::connect(connection, endpoints).await {
        Err(Error::Asked { endpoint, source }) => {
            assert_eq!(endpoint, "lesions");
            source
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_told_from_one_that_may_not_be_used() {
    let missing = "Endpoint lesions of account 111122223333 not found.";
    let (connection, asked) = refusing(400, "ValidationError", missing);
    let error = asked_of_an_endpoint(&connection).await;
    assert!(matches!(error, VisionError::EndpointMissing { .. }), "{error:?}");
    assert_eq!(asked.load(Ordering::Relaxed), 1, "it is not asked again");
    assert!(!format!("{error} {error:?}").contains("111122223333"));

    let (connection, _) = refusing(403, "AccessDeniedException", SAID);
    let error = asked_of_an_endpoint(&connection).await;
    assert!(matches!(error, VisionError::EndpointDenied { .. }), "{error:?}");

    let (connection, _) = refusing(403, "ExpiredTokenException", SAID);
    let error = asked_of_an_endpoint(&connection).await;
    assert!(matches!(error, VisionError::Unavailable { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("Jane"));
}
