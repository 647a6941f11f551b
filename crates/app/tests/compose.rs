//! The trial of deploy/compose, without containers: its services are started as processes, in its order, with its commands and variables, until
//! there is a result. What it does not show is what a container runtime does: the image, the network, the volume's owner.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::Duration,
};

use serde::Deserialize;
use skin_assist::clock::SystemClock;
use skin_assist_core::time::Clock as _;

const COMPOSE: &str = include_str!("../../../deploy/compose/compose.yaml");
const CONTAINERFILE: &str = include_str!("../../../deploy/container/Containerfile");

/// Where the volume is in the containers.
const VOLUME: &str = "/var/lib/skin-assist";

/// Enough for the first result.
const PATIENCE: Duration = Duration::from_secs(150);

#[derive(Deserialize)]
struct Compose {
    services: serde_yaml_ng::Mapping,
}

#[derive(Deserialize)]
struct Service {
    command: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    depends_on: BTreeMap<String, Dependency>,
    healthcheck: Option<Healthcheck>,
}

#[derive(Deserialize)]
struct Dependency {
    condition: String,
}

#[derive(Deserialize)]
struct Healthcheck {
    test: Vec<String>,
}

/// The processes of a trial; none outlives it.
#[derive(Default)]
struct Trial(Vec<Child>);

impl Drop for Trial {
    fn drop(&mut self) {
        for child in &mut self.0 {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

fn services() -> Vec<(String, Service)> {
    let mut compose: serde_yaml_ng::Value = serde_yaml_ng::from_str(COMPOSE).unwrap();
    compose.apply_merge().unwrap();
    let compose: Compose = serde_yaml_ng::from_value(compose).unwrap();
    let read = |(name, service)| {
        (
            serde_yaml_ng::from_value(name).unwrap(),
            serde_yaml_ng::from_value(service).unwrap(),
        )
    };
    compose.services.into_iter().map(read).collect()
}

/// What a container would run, with the volume in a folder and the console at another port.
fn command(arguments: &[String], environment: &BTreeMap<String, String>, folder: &Path, port: u16) -> Command {
    let here = |text: &String| {
        text.replace(VOLUME, folder.to_str().unwrap())
            .replace("0.0.0.0:8470", &format!("0.0.0.0:{port}"))
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_skin-assist"));
    command
        .args(arguments.iter().map(here))
        .envs(environment.iter().map(|(name, value)| (name, here(value))))
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn the_trial_of_the_compose_file_comes_to_a_result() {
    // The state is where the image says.
    assert!(CONTAINERFILE.contains("SKIN_ASSIST_STATE__FILE=/var/lib/skin-assist/skin-assist.sqlite"));
    let of_the_image = BTreeMap::from([(
        "SKIN_ASSIST_STATE__FILE".to_owned(),
        format!("{VOLUME}/skin-assist.sqlite"),
    )]);
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let until = SystemClock.now() + PATIENCE;
    let in_time = || assert!(SystemClock.now() < until, "there is no result yet");
    let mut trial = Trial::default();
    let mut begun: Vec<String> = Vec::new();
    for (name, service) in services() {
        for (other, dependency) in &service.depends_on {
            assert!(begun.contains(other), "{name} needs {other}, which stands below it");
            let known = ["service_healthy", "service_completed_successfully"];
            assert!(
                known.contains(&dependency.condition.as_str()),
                "{}",
                dependency.condition
            );
        }
        let mut environment = of_the_image.clone();
        environment.extend(service.environment);
        let mut starts = command(&service.command, &environment, folder.path(), port);
        if let Some(Healthcheck { test }) = service.healthcheck {
            trial.0.push(starts.stdout(Stdio::null()).spawn().unwrap());
            assert_eq!((test[0].as_str(), test[1].as_str()), ("CMD", "skin-assist"));
            while !command(&test[2..], &of_the_image, folder.path(), port)
                .output()
                .unwrap()
                .status
                .success()
            {
                in_time();
                sleep(Duration::from_millis(200));
            }
        } else if service.command == ["run"] {
            trial.0.push(starts.stderr(Stdio::null()).spawn().unwrap());
            let look = ["review", "list", "harborview"].map(str::to_owned);
            loop {
                let output = command(&look, &environment, folder.path(), port).output().unwrap();
                assert!(output.status.success(), "{}", said(&output));
                if said(&output).contains("SA-") {
                    break;
                }
                in_time();
                sleep(Duration::from_millis(500));
            }
            let mut health = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            write!(
                health,
                "GET /healthz HTTP/1.1\r\nHost: trial\r\nConnection: close\r\n\r\n"
            )
            .unwrap();
            let mut answer = String::new();
            health.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        } else {
            let output = starts.output().unwrap();
            assert!(output.status.success(), "{name}: {}", said(&output));
        }
        begun.push(name);
    }
    assert_eq!(begun.last().map(String::as_str), Some("run"), "nothing was run");
}
