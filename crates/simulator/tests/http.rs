//! The HTTP edge over real sockets, with the plainest client there is.

#![allow(
    clippy::unwrap_used,
    reason = "this is all test; a helper may fail the test it helps"
)]

use std::{
    fmt::Write as _,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use skin_assist_core::time::Timestamp;
use skin_assist_simulator::{
    Credentials, Dialect, EncounterSpec, FirmSpec, Options, PhotoSpec, PracticeEhr,
    http_server::{Error, Server, ServerOptions},
};

/// Sends a request, closes, and reads all there is; nothing when the connection broke before a status line.
fn exchange(url: &str, method: &str, headers: &[(&str, &str)], body: &str) -> Option<String> {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    write!(head, "content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut reply = Vec::new();
    // A reset is one of the ways in which a broken connection shows.
    let _ = stream.read_to_end(&mut reply);
    (!reply.is_empty()).then(|| String::from_utf8_lossy(&reply).into_owned())
}

async fn call(url: String, method: &'static str, headers: Vec<(&'static str, String)>, body: String) -> Option<String> {
    tokio::task::spawn_blocking(move || {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        exchange(&url, method, &headers, &body)
    })
    .await
    .unwrap()
}

async fn token(credentials: &Credentials) -> String {
    let body = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}",
        credentials.client_id, credentials.client_secret
    );
    let form = vec![("content-type", "application/x-www-form-urlencoded".to_owned())];
    let reply = call(credentials.token_url.clone(), "POST", form, body).await.unwrap();
    let after = reply.split_once("\"access_token\":\"").unwrap().1;
    after.split('"').next().unwrap().to_owned()
}

fn authorised(credentials: &Credentials, token: &str) -> Vec<(&'static str, String)> {
    vec![
        ("authorization", format!("Bearer {token}")),
        ("x-api-key", credentials.api_key.clone()),
        ("content-type", "application/fhir+json".to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_photo_is_found_read_and_downloaded() {
    let ehr = PracticeEhr::new(Options::default());
    ehr.add_firm(FirmSpec::new("alpha")).unwrap();
    let now = Timestamp::parse_rfc3339("2026-01-05T14:00:00Z").unwrap();
    let encounter = ehr.open_encounter(now, "alpha", EncounterSpec::default()).unwrap();
    ehr.attach_photo(now, "alpha", &encounter, PhotoSpec::synthetic("PHOTO-RASH", 1, None))
        .unwrap();
    let server = Server::start(ehr.clone(), ServerOptions::default()).await.unwrap();
    let credentials = ehr.credentials("alpha").unwrap();
    assert_ne!(server.endpoints().api, server.endpoints().photos);
    let token = token(&credentials).await;
    let headers = authorised(&credentials, &token);
    let read = format!("{}/DocumentReference/file%7C139977", credentials.fhir_base);
    let reply = call(read, "GET", headers, String::new()).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    let resource: serde_json::Value = serde_json::from_str(reply.split_once("\r\n\r\n").unwrap().1).unwrap();
    let url = resource["content"][0]["attachment"]["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with(&credentials.photo_base));
    let photo = call(url, "GET", vec![], String::new()).await.unwrap();
    assert!(photo.starts_with("HTTP/1.1 200"));
    assert!(photo.contains("content-type: image/jpeg"));
    let chart = call(server.chart_url(), "GET", vec![], String::new()).await.unwrap();
    assert!(chart.starts_with("HTTP/1.1 200"));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_reply_closes_the_connection_without_a_byte() {
    let ehr = PracticeEhr::new(Options::default());
    ehr.add_firm(FirmSpec::new("alpha")).unwrap();
    let now = Timestamp::parse_rfc3339("2026-01-05T14:00:00Z").unwrap();
    ehr.open_encounter(now, "alpha", EncounterSpec::default()).unwrap();
    let server = Server::start(ehr.clone(), ServerOptions::default()).await.unwrap();
    let credentials = ehr.credentials("alpha").unwrap();
    let token = token(&credentials).await;
    let section = |code: &str| {
        serde_json::json!({
            "code": { "coding": [{ "system": "http://loinc.org", "code": code }], "text": "text" },
        })
    };
    let body = serde_json::json!({
        "resourceType": "Composition",
        "status": "preliminary",
        "type": { "coding": [{ "system": "http://loinc.org", "code": "11488-4" }] },
        "category": [{ "coding": [{ "system": "http://loinc.org", "code": "LP173421-1" }] }],
        "subject": { "reference": "Patient/30001" },
        "date": "2026-01-05",
        "author": [{ "reference": "Practitioner/201" }],
        "title": "Title",
        "section": [section("18776-5"), section("69730-0")],
    })
    .to_string();
    ehr.set_faults(|faults| faults.drop_composition_replies = 1);
    let url = format!("{}/Composition", credentials.fhir_base);
    let headers = authorised(&credentials, &token);
    assert_eq!(call(url.clone(), "POST", headers.clone(), body.clone()).await, None);
    assert_eq!(ehr.report().compositions, 1);
    let again = call(url, "POST", headers, body).await.unwrap();
    assert!(again.starts_with("HTTP/1.1 201"), "{again}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_are_compressed_for_those_who_accept_it() {
    let ehr = PracticeEhr::new(Options {
        dialect: Dialect::fhir_r4(),
        ..Options::default()
    });
    ehr.add_firm(FirmSpec::new("alpha")).unwrap();
    let server = Server::start(ehr.clone(), ServerOptions::default()).await.unwrap();
    let url = format!("{}/metadata", ehr.credentials("alpha").unwrap().fhir_base);
    let accepting = vec![("accept-encoding", "gzip, br".to_owned())];
    let ask = |headers| call(url.clone(), "GET", headers, String::new());
    assert!(!ask(accepting.clone()).await.unwrap().contains("content-encoding"));
    ehr.set_quirks(|quirks| quirks.gzip = true);
    let packed = ask(accepting).await.unwrap();
    assert!(packed.contains("content-encoding: gzip") && !packed.contains("CapabilityStatement"));
    assert!(ask(vec![]).await.unwrap().contains("CapabilityStatement"));
    server.shutdown().await;
}

#[tokio::test]
async fn only_loopback_is_served_and_a_stop_closes_the_port() {
    let ehr = PracticeEhr::new(Options::default());
    let everywhere = ServerOptions {
        api: ([0, 0, 0, 0], 0).into(),
        ..ServerOptions::default()
    };
    let refused = Server::start(ehr.clone(), everywhere).await;
    assert!(matches!(refused, Err(Error::NotLoopback(_))));
    let server = Server::start(ehr, ServerOptions::default()).await.unwrap();
    let host = server.endpoints().api.strip_prefix("http://").unwrap().to_owned();
    server.shutdown().await;
    assert!(TcpStream::connect(host).is_err());
}
