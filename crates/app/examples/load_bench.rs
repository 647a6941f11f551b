//! What `skin-assist run` uses and how soon it answers, with many practices at once and in real time: the program itself, its
//! state in a sealed file, against the practice EHR and scripted models over HTTP. Those, and who asks the console, are in this
//! process, so that their work is not counted as the program's.
//!
//! Prints JSON lines `{"name", "value", "unit", "goal"}`; `goal` is there where there is one. `cargo xtask bench load` runs it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark prints, uses a stopwatch, and may end"
)]

#[path = "load_bench/console.rs"]
mod console;
#[path = "load_bench/engine.rs"]
mod engine;

use std::{collections::BTreeMap, net::TcpListener, path::PathBuf, sync::Arc, thread, time::Duration};

use bytes::Bytes;
use clap::{Parser, ValueEnum};
use console::{Console, Page};
use engine::Engine;
use skin_assist::{
    clock::SystemClock,
    config::{Config, Environment},
    model_server::{self, ServerOptions},
    wiring,
};
use skin_assist_core::{
    domain::{CategoryCode, CategoryUse, Firm, FirmId, FirmStatus, Mode, NewCredential},
    phi::Secret,
    time::{Clock as _, Timestamp},
};
use skin_assist_simulator::{
    EncounterSpec, FirmSpec, Options, PhotoContent, PhotoReport, PhotoSpec, PracticeEhr,
    http_server::{Server, ServerOptions as EhrOptions},
};
use skin_assist_testkit::scripted::ScriptedVision;

/// Visits of a practice that patients are in: those that photos are attached to. The others are over and still watched.
const IN_PROGRESS: usize = 4;
/// What a clinic day is behind at the beginning.
const DAY_SO_FAR: Duration = Duration::from_secs(8 * 60 * 60);
/// How long photos of the last minutes may take to their drafts.
const PATIENCE: Duration = Duration::from_secs(900);
/// How long the program may take until it watches all.
const MOST_FOR_THE_WATCH: Duration = Duration::from_secs(1200);
/// As phones write them.
const PHOTO_BYTES: usize = 3_000_000;

#[derive(Clone, Copy, ValueEnum)]
enum Scenario {
    /// A day of many practices: much to watch, few photos.
    Watch,
    /// Very many photos.
    Drafts,
}

impl Scenario {
    /// Photos attached in an hour: of a practice about ten in a day; or a twentieth more than the drafts that are the goal.
    const fn photos_per_hour(self) -> u32 {
        match self {
            Self::Watch => 1_250,
            Self::Drafts => 10_500,
        }
    }
}

#[derive(Parser)]
struct Arguments {
    #[arg(long, value_enum)]
    scenario: Scenario,
    /// The program that is measured.
    #[arg(long)]
    program: PathBuf,
    /// How long is measured.
    #[arg(long, default_value_t = 180)]
    seconds: u64,
    /// How long before that photos come already: visits that were never looked at go first, and 50,000 looks take their time.
    #[arg(long, default_value_t = 600)]
    warm_up: u64,
    #[arg(long, default_value_t = 1000)]
    firms: usize,
    /// Visits under watch, of each practice.
    #[arg(long, default_value_t = 50)]
    visits: usize,
    /// What the EHR allows, and the program makes use of.
    #[arg(long, default_value_t = 6000)]
    calls_per_minute: u32,
}

/// A visit that photos are attached to.
struct Visit {
    firm: String,
    encounter: String,
}

fn report(name: &str, value: f64, unit: &str, goal: Option<&str>) {
    println!(
        "{}",
        serde_json::json!({ "name": name, "value": value, "unit": unit, "goal": goal })
    );
}

/// Practices in the middle of a day.
fn practices(ehr: &PracticeEhr, arguments: &Arguments, now: Timestamp) -> Vec<Visit> {
    let names: Vec<String> = (0..arguments.firms)
        .map(|number| format!("practice{number:04}"))
        .collect();
    for name in &names {
        ehr.add_firm(FirmSpec::new(name)).unwrap();
    }
    let mut open = Vec::new();
    for visit in 0..arguments.visits {
        let at =
            now - DAY_SO_FAR + DAY_SO_FAR / u32::try_from(arguments.visits).unwrap() * u32::try_from(visit).unwrap();
        for firm in &names {
            let encounter = ehr.open_encounter(at, firm, EncounterSpec::default()).unwrap();
            if visit + IN_PROGRESS < arguments.visits {
                ehr.finish_encounter(at, firm, &encounter).unwrap();
            } else {
                let firm = firm.clone();
                open.push(Visit { firm, encounter });
            }
        }
    }
    open
}

/// The configuration as an operator writes it, and the practices in the state.
async fn installation(
    folder: &std::path::Path,
    ehr: &PracticeEhr,
    models: std::net::SocketAddr,
    calls_per_minute: u32,
    now: Timestamp,
) -> (PathBuf, std::net::SocketAddr) {
    // Free when it was looked for.
    let console = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let names = ehr.firms();
    let first = ehr.credentials(&names[0]).unwrap();
    let file = folder.join("skin-assist.toml");
    let config = format!(
        "[state]\nkey_file = \"state.key\"\n\
         [ehr]\nbase_url = \"{}\"\ntoken_url = \"{}\"\napi_key_file = \"api.key\"\nphoto_hosts = [\"127.0.0.1\"]\n\
         allow_loopback_http = true\ncalls_per_minute = {calls_per_minute}\n\
         [models]\nremote_url = \"http://{models}\"\n[console]\nlisten = \"{console}\"\n[log]\nlevel = \"warn\"\n",
        first.api_base, first.token_url
    );
    std::fs::write(&file, config).unwrap();
    std::fs::write(folder.join("api.key"), &first.api_key).unwrap();
    std::fs::write(folder.join("state.key"), "07".repeat(32)).unwrap();
    let config = Config::read(Some(&file), &Environment::default()).unwrap();
    let state = wiring::state(&config).await.unwrap();
    for name in &names {
        let credentials = ehr.credentials(name).unwrap();
        let firm = Firm {
            id: FirmId::new(name.as_str()),
            url_prefix: name.clone(),
            status: FirmStatus::Active,
            mode: Mode::Draft,
            intended_use: None,
            categories: BTreeMap::from([(CategoryCode::new("PHOTO-LESION"), CategoryUse::Solitary)]),
            api_key: None,
            connected_at: now,
            photos_since: now,
        };
        let credential = NewCredential::secret(&credentials.client_id, Secret::new(credentials.client_secret));
        state.add_firm(&firm, &credential).await.unwrap();
    }
    (file, console)
}

/// Attaches photos at a steady rate, to one practice after the other, until the value is dropped.
fn attach(ehr: PracticeEhr, visits: Vec<Visit>, per_hour: u32) -> tokio::task::JoinHandle<()> {
    let mut jpeg = vec![0_u8; PHOTO_BYTES];
    jpeg[..2].copy_from_slice(&[0xff, 0xd8]);
    let content = PhotoContent::Bytes(Bytes::from(jpeg));
    let mut next = tokio::time::interval(Duration::from_secs(3600) / per_hour);
    tokio::spawn(async move {
        for (seed, visit) in visits.iter().cycle().enumerate() {
            next.tick().await;
            let photo = PhotoSpec {
                content: content.clone(),
                ..PhotoSpec::synthetic("PHOTO-LESION", seed as u64, None)
            };
            ehr.attach_photo(SystemClock.now(), &visit.firm, &visit.encounter, photo)
                .unwrap();
        }
    })
}

/// By nearest rank.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

fn report_delays(photos: &[&PhotoReport], what: &str, until: impl Fn(&PhotoReport) -> Option<Timestamp>) {
    let delay = |photo: &PhotoReport| until(photo).map(|at| at.since(photo.attached_at).as_secs_f64());
    // One that waits still counts as one that waits for ever: figures of those alone that were found would flatter.
    let mut delays: Vec<f64> = photos
        .iter()
        .map(|photo| delay(photo).unwrap_or(f64::INFINITY))
        .collect();
    delays.sort_by(f64::total_cmp);
    let ended = delays.iter().filter(|delay| delay.is_finite()).count();
    report(
        &format!("{what}, of the photos filed"),
        share(ended, photos.len()),
        "%",
        None,
    );
    for percent in [50, 99] {
        report(
            &format!("filed to {what}, p{percent}"),
            percentile(&delays, percent),
            "s",
            None,
        );
    }
}

fn share(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

async fn all_watched(console: Console, engine: &mut Engine, visits: usize) {
    let began = SystemClock.now();
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(engine.is_running(), "the program ended");
        let watched = tokio::task::spawn_blocking(move || console.watched()).await.unwrap();
        if watched.is_some_and(|watched| watched >= visits as u64) {
            return;
        }
        let waited = SystemClock.now().since(began);
        assert!(
            waited < MOST_FOR_THE_WATCH,
            "{watched:?} of {visits} visits are watched"
        );
    }
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir().unwrap();
    let now = SystemClock.now();
    let ehr = PracticeEhr::new(Options {
        quota_per_minute: arguments.calls_per_minute,
        ..Options::default()
    });
    let _served = Server::start(ehr.clone(), EhrOptions::default()).await.unwrap();
    let visits = practices(&ehr, &arguments, now);
    let options = ServerOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        slots: 64,
        photo_bytes: 30_000_000,
    };
    let vision = ScriptedVision::new(Arc::new(SystemClock), Duration::ZERO);
    let models = model_server::Server::start(Arc::new(vision), Arc::new(SystemClock), options)
        .await
        .unwrap();
    let calls = arguments.calls_per_minute;
    let (config, listen) = installation(folder.path(), &ehr, models.address(), calls, now).await;
    let mut engine = Engine::start(&arguments.program, &config);
    let console = Console::at(listen);
    eprintln!("{} practices are connected", arguments.firms);
    all_watched(console, &mut engine, arguments.firms * arguments.visits).await;
    let watched_after = SystemClock.now().since(now);
    eprintln!("all visits are watched after {:.0} s", watched_after.as_secs_f64());

    let attaching = attach(ehr.clone(), visits, arguments.scenario.photos_per_hour());
    tokio::time::sleep(Duration::from_secs(arguments.warm_up)).await;
    eprintln!("measuring for {} s", arguments.seconds);
    let (began, before) = (SystemClock.now(), ehr.report());
    let length = Duration::from_secs(arguments.seconds);
    let known = ehr.clone();
    let asking = thread::spawn(move || console.ask_for(length, || asked_for(&known)));
    let used = engine.watch(length).await;
    let (ended, after) = (SystemClock.now(), ehr.report());
    let answers = asking.join().unwrap();
    let seconds = ended.since(began).as_secs_f64();
    let within = |at: Timestamp| began <= at && at < ended;

    report("practices", arguments.firms as f64, "", None);
    report(
        "visits under watch",
        (arguments.firms * arguments.visits) as f64,
        "",
        None,
    );
    report("processor", used.cores, "cores", Some("at most 1"));
    report(
        "resident memory, most while measured",
        used.megabytes,
        "MB",
        Some("at most 512"),
    );
    report(
        "resident memory, most ever",
        used.most_megabytes,
        "MB",
        Some("at most 512"),
    );
    report(
        "calls to the EHR",
        (after.calls.total() - before.calls.total()) as f64 / seconds,
        "1/s",
        None,
    );
    report(
        "calls refused by the EHR's quota",
        (after.refused_429 - before.refused_429) as f64,
        "",
        None,
    );
    for (page, mut milliseconds) in answers {
        milliseconds.sort_by(f64::total_cmp);
        report(
            &format!("console, {page}, p50"),
            percentile(&milliseconds, 50),
            "ms",
            None,
        );
        report(
            &format!("console, {page}, p99"),
            percentile(&milliseconds, 99),
            "ms",
            Some("at most 100"),
        );
    }
    // What was filed last gets the time that it needs, while photos go on coming.
    let waiting = SystemClock.now();
    let last = loop {
        let last = ehr.report();
        let open = last
            .photos
            .iter()
            .any(|photo| within(photo.attached_at) && photo.drafts.is_empty());
        if !open || SystemClock.now().since(waiting) > PATIENCE {
            break last;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    attaching.abort();
    let filed: Vec<_> = last.photos.iter().filter(|photo| within(photo.attached_at)).collect();
    report("photos filed", filed.len() as f64 * 3600.0 / seconds, "1/h", None);
    let drafts = last.photos.iter().flat_map(|photo| &photo.drafts);
    let written = drafts.filter(|draft| within(draft.posted_at)).count();
    let goal = matches!(arguments.scenario, Scenario::Drafts).then_some("at least 10000");
    report("drafts written", written as f64 * 3600.0 / seconds, "1/h", goal);
    report_delays(&filed, "found", |photo| photo.first_listed_at);
    report_delays(&filed, "draft", |photo| {
        photo.drafts.first().map(|draft| draft.posted_at)
    });
    assert_eq!(last.duplicates(), 0, "a draft was written twice");
    engine.stop();
}

/// The page that is asked for, of whichever practice and photo have it: the photo is one with a draft.
fn asked_for(ehr: &PracticeEhr) -> Vec<(Page, String)> {
    let report = ehr.report();
    let drafted = report.photos.iter().rfind(|photo| !photo.drafts.is_empty());
    let firm = drafted.map_or_else(|| "practice0000".to_owned(), |photo| photo.firm.clone());
    let mut pages = vec![
        (Page::Overview, "/".to_owned()),
        (Page::Practice, format!("/practices/{firm}")),
        (Page::Queues, "/queues".to_owned()),
        (Page::Photos, "/photos".to_owned()),
        (Page::Subscriptions, "/subscriptions".to_owned()),
        (Page::Trust, "/trust".to_owned()),
        (Page::Models, "/models".to_owned()),
    ];
    if let Some(photo) = drafted {
        let document = photo.document.replace('|', "%7C");
        pages.push((Page::Photo, format!("/photos/{firm}/{document}")));
    }
    pages
}
