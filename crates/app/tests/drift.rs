//! How findings and photos change over weeks, as the command and the console show it: from results that were made up for it.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

#[path = "support/process.rs"]
mod process;

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use process::Installation;
use skin_assist::{
    clock::SystemClock,
    config::{Config, Environment},
    console::{AccessOptions, Bounds, Console, ConsoleOptions, Role, Serving},
    wiring,
};
use skin_assist_core::{
    domain::{
        AgeBand, AssessedPhoto, Assessment, AssistResult, Bands, CategoryCode, CategoryUse, Cursor, Delivery,
        DocumentId, DocumentStep, DocumentWatch, DraftNote, Encounter, EncounterId, EncounterStatus, Findings, Firm,
        FirmId, FirmStatus, Mode, NewCredential, PatientId, PhotoBytes, PhotoDigest, ResultKey, Route, StoredPhoto,
        Versions,
    },
    phi::{Phi, Secret},
    ports::{StateStore, VisionModel as _},
    time::Timestamp,
};
use skin_assist_testkit::scripted::ScriptedVision;

const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const LEASE: Duration = Duration::from_secs(30);
/// Results of a week.
const RESULTS: u8 = 40;

/// Tuesdays, the first one 2026-01-06.
fn week(number: u32) -> Timestamp {
    Timestamp::from_millis(1_767_700_800_000) + WEEK * number
}

fn firm() -> Firm {
    Firm {
        id: FirmId::new("elm"),
        url_prefix: "elm".to_owned(),
        status: FirmStatus::Active,
        mode: Mode::Silent,
        intended_use: None,
        categories: BTreeMap::from([(CategoryCode::new("PHOTO"), CategoryUse::Solitary)]),
        api_key: None,
        connected_at: week(0),
        photos_since: week(0),
    }
}

fn photo(number: u8) -> PhotoBytes {
    Phi::new(Bytes::from(vec![0xff, 0xd8, number]))
}

fn result(watch: &DocumentWatch, findings: Findings, photo: &StoredPhoto, assessed_at: Timestamp) -> AssistResult {
    AssistResult {
        assessment: Assessment::of(watch),
        key: ResultKey::new(&watch.assessment, [&photo.digest], &findings.models),
        photos: vec![AssessedPhoto {
            document: watch.document.clone(),
            digest: photo.digest.clone(),
            attached_at: None,
            detected_at: watch.detected_at,
            downloaded_at: photo.downloaded_at,
            not_assessed: None,
        }],
        versions: Versions {
            models: findings.models.clone(),
            synthesis: "composer 1".to_owned(),
            pipeline: "0.1.0".to_owned(),
            language: None,
        },
        findings: Phi::new(findings),
        photo_findings: Phi::new(Vec::new()),
        note: Phi::new(DraftNote {
            title: format!("Skin photo, {}", AgeBand::of_years(40).display()),
            sections: Vec::new(),
            instructions: Vec::new(),
            regions: Vec::new(),
            bands: Bands::default(),
        }),
        assessed_at,
        delivery: Delivery::Pending,
    }
}

/// Forty results in each of these weeks, whose first class is as probable as `of` says of a week and a share from 0 to 1.
async fn record_results(state: &dyn StateStore, weeks: impl Iterator<Item = u32>, of: fn(u32, f32) -> f32) {
    let (firm, vision) = (firm().id, ScriptedVision::new(Arc::new(SystemClock), Duration::ZERO));
    let visit = EncounterId::new("visit");
    for number in weeks {
        let now = week(number);
        let encounter = Encounter {
            id: visit.clone(),
            patient: PatientId::new("patient"),
            practitioner: None,
            status: EncounterStatus::Open,
            last_updated: Some(now),
        };
        let cursor = state.cursor(&firm).await.unwrap();
        state
            .record_encounters(&firm, cursor, Cursor(now), &[encounter], now)
            .await
            .unwrap();
        let found: Vec<DocumentWatch> = (0..RESULTS)
            .map(|place| document(&firm, &visit, number, place))
            .collect();
        let mut leases = state
            .acquire_encounters(&firm, std::slice::from_ref(&visit), now, LEASE)
            .await
            .unwrap();
        state
            .record_documents(leases.remove(0), &found, &[], now)
            .await
            .unwrap();
        for lease in state
            .acquire_documents(DocumentStep::Download, now, LEASE, 100)
            .await
            .unwrap()
        {
            let bytes = photo(0);
            let stored = StoredPhoto {
                digest: PhotoDigest::of(&bytes),
                bytes: 3,
                downloaded_at: now,
            };
            state.record_photo(lease, &stored).await.unwrap();
        }
        let leases = state
            .acquire_documents(DocumentStep::Infer, now, LEASE, 100)
            .await
            .unwrap();
        assert_eq!(leases.len(), usize::from(RESULTS));
        for (place, lease) in leases.into_iter().enumerate() {
            let share = place as f32 / f32::from(RESULTS);
            let mut findings = vision.look(Route::Solitary, &photo(0)).await.unwrap();
            findings.ranked[0].probability = of(number, share);
            findings.image.quality.brightness = 0.4 + share / 10.0;
            let stored = lease.item().photo.clone().unwrap();
            let made = result(lease.item(), findings, &stored, now);
            state.record_result(lease, &made).await.unwrap();
        }
    }
}

fn document(firm: &FirmId, visit: &EncounterId, week_number: u32, place: u8) -> DocumentWatch {
    let document = DocumentId::new(format!("photo-{week_number}-{place}"));
    DocumentWatch {
        firm: firm.clone(),
        assessment: Assessment::identity(firm, visit, [&document]),
        patient: PatientId::new("patient"),
        document,
        encounter: visit.clone(),
        practitioner: None,
        category: CategoryCode::new("PHOTO"),
        route: Route::Solitary,
        attached_at: None,
        detected_at: week(week_number),
        gathers_until: None,
        closed: None,
        photo: None,
    }
}

/// Five weeks alike, and one in which the models are far less sure.
fn less_sure_in_the_sixth(number: u32, share: f32) -> f32 {
    if number < 5 {
        0.5 + 0.4 * share
    } else {
        0.2 + 0.2 * share
    }
}

fn get(address: SocketAddr, path: &str, token: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Sends a form with headers of its own, and gives status, headers and body.
async fn send(address: SocketAddr, path: &str, headers: String, body: String) -> (u16, String, String) {
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    let sent = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_owned(), body.to_owned())
    };
    tokio::task::spawn_blocking(sent).await.unwrap()
}

async fn console(config: Config, state: Arc<dyn StateStore>) -> (Serving, SocketAddr) {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let tokens = [(Role::Viewer, "looks"), (Role::Operator, "repairs")];
    let options = ConsoleOptions {
        listen,
        access: AccessOptions {
            everybody: None,
            tokens: tokens.map(|(role, token)| (role, Secret::new(token.to_owned()))).into(),
            is_remote: false,
            openid_connect: None,
        },
        standing_for: Duration::ZERO,
        bounds: Bounds::default(),
        config,
    };
    let console = Console::new(state, Arc::new(SystemClock), options).unwrap();
    let mut serving = Serving::start(console, listen, |_| {});
    let address = serving.address().await.unwrap();
    (serving, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_week_in_which_the_models_answer_otherwise_is_seen() {
    let installation = Installation::new();
    let config = Config::read(Some(&installation.config), &Environment::new()).unwrap();
    let state: Arc<dyn StateStore> = wiring::state(&config).await.unwrap();
    let credential = NewCredential::secret("client", Secret::new("secret".to_owned()));
    state.add_firm(&firm(), &credential).await.unwrap();
    assert!(
        installation
            .succeed(&["models", "drift", "elm"])
            .contains("No result yet.")
    );
    record_results(&*state, 0..6, less_sure_in_the_sixth).await;

    let drift = installation.json(&["models", "drift", "elm", "--json"]);
    let model = &drift["models"][0];
    assert_eq!(
        (&model["route"], &model["model"]),
        (&"solitary".into(), &"scripted-solitary 1".into())
    );
    assert_eq!(model["weeks"].as_array().unwrap().len(), 6);
    assert_eq!(model["weeks"][0]["from"], "2026-01-05", "its Monday");
    let of = |name: &str| -> Vec<serde_json::Value> {
        let measures = model["measures"].as_array().unwrap();
        let found = measures.iter().find(|measure| measure["measure"] == name);
        found.unwrap_or_else(|| panic!("{name} is not in {model}"))["weeks"]
            .as_array()
            .unwrap()
            .clone()
    };
    let tops = of("top-probability");
    assert_eq!(tops[0]["photos"], 40);
    assert!(
        tops[..4]
            .iter()
            .all(|week| week["stability"].is_null() && week["is_baseline"] == true)
    );
    let verdicts: Vec<_> = tops[4..].iter().map(|week| &week["stability"]["verdict"]).collect();
    assert_eq!(verdicts, ["stable", "much"]);
    assert!(tops[5]["stability"]["index"].as_f64().unwrap() > 0.25);
    assert!(
        (tops[5]["median"].as_f64().unwrap() - 0.295).abs() < 1e-6,
        "{}",
        tops[5]
    );
    let brightness = of("brightness");
    assert_eq!(
        brightness[5]["stability"]["verdict"], "stable",
        "the photos are as they were"
    );
    assert!(
        of("sharpness")[5]["stability"].is_null(),
        "all are equally sharp: nothing to compare with"
    );
    let text = installation.succeed(&["models", "drift", "elm"]);
    assert!(text.contains("much change") && text.contains("2026-02-09"), "{text}");
    assert!(
        !text.contains("nevus") && !drift.to_string().contains("nevus"),
        "nothing of what was seen"
    );

    let (_serving, address) = console(config, Arc::clone(&state)).await;
    let asked = |token: &'static str| tokio::task::spawn_blocking(move || get(address, "/models?practice=elm", token));
    assert_eq!(
        asked("looks").await.unwrap().0,
        403,
        "results are an operator's to read"
    );
    let (status, page) = asked("repairs").await.unwrap();
    assert_eq!(status, 200);
    assert!(
        !page.contains("data-live"),
        "results are read, and that is recorded, at each event"
    );
    let label =
        "aria-label=\"Probability of the first class: 6 weeks, 240 photos, changed in the weeks from 2026-02-09\"";
    assert!(page.contains(label), "{page}");
    assert!(page.contains("<rect class=\"lost\""), "the week stands out");
    assert!(page.contains("<td>much change</td>"), "and in the table");
    assert!(
        !page.contains("nevus") && !page.contains("photo-5"),
        "nothing of a photo"
    );
    let entries = state.records().await.unwrap();
    let read = entries
        .iter()
        .filter(|entry| entry.subject == "all, for figures of weeks");
    assert_eq!(read.count(), 4, "each look is recorded, and none of who may not");
}

/// The console's report of a silent trial is the command's, and why somebody has it made is recorded.
#[tokio::test(flavor = "multi_thread")]
async fn results_are_compared_with_what_was_coded_in_the_console_as_by_the_command() {
    let installation = Installation::new();
    let config = Config::read(Some(&installation.config), &Environment::new()).unwrap();
    let state: Arc<dyn StateStore> = wiring::state(&config).await.unwrap();
    let credential = NewCredential::secret("client", Secret::new("secret".to_owned()));
    state.add_firm(&firm(), &credential).await.unwrap();
    record_results(&*state, 0..1, |_, share| share).await;
    let coded = "encounter,system,code,group\nvisit,icd-10-cm,D22.5,type III\n";
    let file = installation.path("coded.csv");
    std::fs::write(&file, coded).unwrap();
    let (_serving, address) = console(config, Arc::clone(&state)).await;
    let (_, head, _) = send(
        address,
        "/sign-in",
        String::new(),
        "name=Ada+Roe&token=repairs".to_owned(),
    )
    .await;
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let asked = tokio::task::spawn_blocking({
        let cookie = cookie.clone();
        move || {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(
                stream,
                "GET /models HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n"
            )
            .unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        }
    });
    let page = asked.await.unwrap();
    let form = page.split("name=\"form\" value=\"").nth(1).unwrap();
    let form = form.split('"').next().unwrap().to_owned();
    let compare = async |form: &str, reason: &str, coded: &str| {
        let field = |name: &str, value: &str| {
            format!("--part\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let fields = [
            ("form", form),
            ("practice", "elm"),
            ("reason", reason),
            ("ticket", "QA-7"),
        ];
        let fields: String = fields.iter().map(|(name, value)| field(name, value)).collect();
        let file = "--part\r\nContent-Disposition: form-data; name=\"diagnoses\"; filename=\"coded.csv\"\r\n\r\n";
        let headers = format!("Cookie: {cookie}\r\nContent-Type: multipart/form-data; boundary=part\r\n");
        let body = format!("{fields}{file}{coded}\r\n--part--\r\n");
        let (status, _, page) = send(address, "/models/agreement", headers, body).await;
        (status, page)
    };
    assert_eq!(compare("guessed", "quality-review", coded).await.0, 403);
    let (status, page) = compare(&form, "curiosity", coded).await;
    assert_eq!(status, 422);
    assert!(page.contains("say why you read it"), "{page}");
    let reads = async || {
        let records = state.records().await.unwrap();
        let reads = records
            .into_iter()
            .filter(|record| record.subject.starts_with("all, for a report"));
        reads.map(|record| (record.actor, record.subject)).collect::<Vec<_>>()
    };
    assert!(reads().await.is_empty(), "nothing was read");
    let (status, page) = compare(&form, "quality-review", coded).await;
    assert_eq!(status, 200, "{page}");
    assert_eq!(
        reads().await,
        [(
            "console operator Ada Roe".to_owned(),
            "all, for a report because quality-review QA-7".to_owned()
        )]
    );
    let said = installation.succeed(&["silent-report", "elm", "--diagnoses", file.to_str().unwrap()]);
    assert!(
        said.contains("| all | 40 |") && said.contains("| group type III | 40 |"),
        "{said}"
    );
    assert!(page.contains(said.trim_end()), "{page}\nis not\n{said}");
    let (status, page) = compare(&form, "quality-review", "encounter,code\n").await;
    assert_eq!(status, 422);
    assert!(page.contains("its first line is neither"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_four_weeks_are_those_with_results() {
    let installation = Installation::new();
    let config = Config::read(Some(&installation.config), &Environment::new()).unwrap();
    let state: Arc<dyn StateStore> = wiring::state(&config).await.unwrap();
    let credential = NewCredential::secret("client", Secret::new("secret".to_owned()));
    state.add_firm(&firm(), &credential).await.unwrap();
    // A week without results counts as none of the first four.
    record_results(&*state, [0, 2, 3, 4, 5].into_iter(), |_, share| share).await;
    let drift = installation.json(&["models", "drift", "elm", "--json"]);
    let weeks = drift["models"][0]["measures"][0]["weeks"].as_array().unwrap().clone();
    let first: Vec<bool> = weeks
        .iter()
        .map(|week| week["is_baseline"].as_bool().unwrap())
        .collect();
    assert_eq!(first, [true, true, true, true, false]);
    assert_eq!(installation.fail(&["models", "drift", "oak"]).matches("oak").count(), 1);
}
