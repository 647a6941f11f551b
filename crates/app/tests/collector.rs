//! What the running program tells a collector that none of us wrote: Rotel, which `cargo xtask collector` installs and names. Not among the
//! tests that are run without being named, since few machines have it.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

#[path = "support/process.rs"]
mod process;
#[path = "support/telemetry.rs"]
mod told;

use std::{collections::BTreeSet, time::Duration};

#[test]
#[allow(clippy::disallowed_methods, reason = "the collector is named to this test alone")]
fn a_collector_of_others_understands_it() {
    let program = std::env::var("TEST_COLLECTOR").expect("hint: `cargo xtask collector` names it");
    let (served, installation) = told::two_photos();
    let free = || {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let (http, grpc, heard) = (free(), free(), installation.path("heard"));
    let mut collector = std::process::Command::new(program)
        .args(["start", "--exporter", "blackhole", "--debug-log-verbosity", "detailed"])
        .args(["--debug-log", "traces", "--debug-log", "metrics", "--disable-batching"])
        .args(["--otlp-http-endpoint", &http, "--otlp-grpc-endpoint", &grpc])
        .stdout(std::fs::File::create(&heard).unwrap())
        .spawn()
        .unwrap();
    told::tell(&installation, &format!("http://{http}"), "");
    let running = installation.start();
    // Names and traces of the spans, as it writes what it understood.
    let spans = || {
        let text = std::fs::read_to_string(&heard).unwrap();
        let mut spans: BTreeSet<(String, String)> = BTreeSet::new();
        let mut trace = String::new();
        for line in text.lines() {
            match line.split_once(':').map(|(name, value)| (name.trim(), value.trim())) {
                Some(("Trace ID", id)) => id.clone_into(&mut trace),
                Some(("Name", name)) => _ = spans.insert((name.to_owned(), trace.clone())),
                _ => {}
            }
        }
        spans
    };
    for _ in 0..900 {
        if spans().iter().filter(|(name, _)| name == "photo").count() >= 2 {
            break;
        }
        served.sleep(Duration::from_millis(100));
    }
    assert_eq!(running.terminate(), Some(0));
    collector.kill().unwrap();
    collector.wait().unwrap();
    let spans = spans();
    let traces: BTreeSet<&String> = spans.iter().map(|(_, trace)| trace).collect();
    assert_eq!(traces.len(), 2, "{spans:?}");
    for trace in traces {
        for name in ["photo", "find", "download-photo", "infer", "write-back"] {
            assert!(spans.contains(&(name.to_owned(), trace.clone())), "{name}: {spans:?}");
        }
    }
    let understood = std::fs::read_to_string(&heard).unwrap();
    assert!(
        understood.contains("-> Name: skin_assist_photo_to_draft_seconds"),
        "{understood}"
    );
    let log = installation.log();
    assert!(!log.contains("telemetry."), "it was refused:\n{log}");
}
