//! Hostile answers through the real network: each is refused, with a reason of its own, and in bounded time.

pub(crate) mod cases;
mod ssrf;

use std::{collections::BTreeMap, sync::Arc, thread, time::Duration};

use cases::{CASES, Case, prepare, serve};
use skin_assist_core::{
    phi::Secret,
    ports::{ChartReader as _, EhrError, EncounterQuery},
};
use skin_assist_ehr::{EhrClient, EhrConnection, Limits};
use skin_assist_transport::{HttpOptions, ReqwestTransport};

use crate::script::{at, firm, profile, token};

/// In production a minute; the wait for each byte is longer than that between two of them, so that only the deadline for the whole
/// helps.
pub(crate) fn impatient() -> HttpOptions {
    HttpOptions {
        connect_timeout: Duration::from_millis(500),
        read_timeout: Duration::from_secs(2),
        total_timeout: Duration::from_secs(3),
        allow_loopback_http: true,
        ..HttpOptions::default()
    }
}

/// Polls the encounters of a server on this machine.
fn poll(port: u16) -> Result<usize, EhrError> {
    let connection = EhrConnection {
        profile: profile(),
        base_url: format!("http://127.0.0.1:{port}").parse().unwrap(),
        token_url: Some(format!("http://127.0.0.1:{port}/token").parse().unwrap()),
        further_api_keys: BTreeMap::new(),
        api_key: Secret::new("the-api-key".into()),
        photo_hosts: Vec::new(),
        allow_loopback_http: true,
        limits: Limits::default(),
    };
    let [api, photos] = [(); 2].map(|()| Arc::new(ReqwestTransport::for_api(&impatient()).unwrap()));
    let client = EhrClient::new(connection, api, photos).unwrap();
    let query = EncounterQuery {
        changed_since: at("2026-01-05T09:00:00Z"),
    };
    let (firm, token) = (firm("derm-a"), token());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let page = runtime
        .unwrap()
        .block_on(client.encounters(&firm, &token, &query, None));
    page.map(|page| page.items.len())
}

/// How an answer is refused, in words, and with which reason code.
fn refused(case: &Case) -> (String, String) {
    let (port, _) = serve(case.answer).unwrap();
    let error = poll(port).expect_err(case.name);
    (error.to_string(), error.reason().code().to_owned())
}

#[test]
fn every_hostile_answer_is_refused_with_its_reason() {
    prepare();
    // Side by side: most of their time is waiting.
    thread::scope(|scope| {
        let running: Vec<_> = CASES.iter().map(|case| (case, scope.spawn(|| refused(case)))).collect();
        let wrong: Vec<_> = running
            .into_iter()
            .filter_map(|(case, refused)| {
                let (error, code) = refused.join().unwrap();
                let known = matches!(code.as_str(), "ehr.malformed" | "ehr.unavailable");
                (!error.ends_with(case.refused) || !known).then(|| format!("{}: {code}: {error}", case.name))
            })
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    });
}

#[test]
fn the_table_is_in_the_documentation() {
    let documented = include_str!("../../../../../docs/hostile-input.md");
    for case in CASES {
        let row = format!("| {} | ", case.name);
        let line = documented.lines().find(|line| line.starts_with(&row));
        assert!(line.is_some_and(|line| line.contains(case.refused)), "{}", case.name);
    }
    for (name, _) in ssrf::CORPUS {
        assert!(documented.contains(&format!("| {name} |")), "{name}");
    }
}
