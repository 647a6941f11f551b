//! How much memory hostile answers cost: `cargo run -p skin-assist-ehr --example hostile_memory`.
//!
//! Each case runs in a process of its own, which polls a server in this one and prints the peak of its resident memory
//! (`VmHWM`, Linux). The first case is an honest answer: what is above it is the attack's.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement, run by hand"
)]
#![allow(dead_code, reason = "shared with the tests, which count connections")]

#[path = "../tests/ehr/hostile/cases.rs"]
mod cases;

use std::{collections::BTreeMap, process::Command, sync::Arc, time::Instant};

use cases::{CASES, prepare, serve};
use skin_assist_core::{
    domain::{AccessToken, Firm, FirmId, FirmStatus, Mode},
    phi::Secret,
    ports::{ChartReader as _, EncounterQuery},
    time::Timestamp,
};
use skin_assist_ehr::{EhrClient, EhrConnection, Limits, Profile};
use skin_assist_transport::{HttpOptions, ReqwestTransport};

fn main() {
    let port = std::env::args().nth(1);
    if let Some(port) = port {
        poll(port.parse().unwrap());
        println!("{}", peak_kilobytes());
        return;
    }
    prepare();
    println!("| what is sent | peak, MB | seconds |\n| --- | --- | --- |");
    for case in CASES {
        let (port, _) = serve(case.answer).unwrap();
        let began = Instant::now();
        let child = Command::new(std::env::current_exe().unwrap())
            .arg(port.to_string())
            .output();
        let printed = String::from_utf8(child.unwrap().stdout).unwrap();
        let kilobytes: f64 = printed.trim().parse().unwrap();
        let seconds = began.elapsed().as_secs_f64();
        println!("| {} | {:.0} | {seconds:.1} |", case.name, kilobytes / 1024.0);
    }
}

fn peak_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// One poll as `skin-assist run` makes it, but for less patience.
fn poll(port: u16) {
    let at = |text| Timestamp::parse_rfc3339(text).unwrap();
    let options = HttpOptions {
        total_timeout: std::time::Duration::from_secs(5),
        allow_loopback_http: true,
        ..HttpOptions::default()
    };
    let transport = Arc::new(ReqwestTransport::for_api(&options).unwrap());
    let connection = EhrConnection {
        profile: Profile::shipped("modmed-ema").unwrap(),
        base_url: format!("http://127.0.0.1:{port}").parse().unwrap(),
        token_url: Some(format!("http://127.0.0.1:{port}/token").parse().unwrap()),
        further_api_keys: BTreeMap::new(),
        api_key: Secret::new("key".into()),
        photo_hosts: Vec::new(),
        allow_loopback_http: true,
        limits: Limits::default(),
    };
    let client = EhrClient::new(connection, Arc::clone(&transport) as _, transport).unwrap();
    let firm = Firm {
        id: FirmId::new("a"),
        url_prefix: "a".into(),
        status: FirmStatus::Active,
        mode: Mode::Draft,
        intended_use: None,
        categories: BTreeMap::new(),
        api_key: None,
        connected_at: at("2026-01-05T08:00:00Z"),
        photos_since: at("2026-01-05T08:00:00Z"),
    };
    let token = AccessToken {
        secret: Secret::new("token".into()),
        issued_at: at("2026-01-05T10:00:00Z"),
        expires_at: at("2026-01-05T11:00:00Z"),
    };
    let query = EncounterQuery {
        changed_since: at("2026-01-05T09:00:00Z"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let page = runtime
        .unwrap()
        .block_on(client.encounters(&firm, &token, &query, None));
    assert!(page.is_err(), "every case is refused");
}
