//! What operators' tools ask a running system: health, readiness, metrics; and that nobody else is answered.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

#[path = "console/bounds.rs"]
mod bounds;
#[path = "support/process.rs"]
mod process;
#[path = "console/repairs.rs"]
mod repairs;
#[path = "console/sessions.rs"]
mod sessions;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use process::{Installation, Served};
use sha2::{Digest as _, Sha256};
use skin_assist::{
    clock::SystemClock,
    config::Config,
    console::{AccessOptions, Bounds, Console, ConsoleOptions, Role, Serving},
};
use skin_assist_core::{
    domain::{
        Cursor, Encounter, EncounterId, EncounterStatus, Firm, FirmId, FirmStatus, Mode, NewCredential, Notice,
        PatientId, Reason, Subscription, SubscriptionFormat, SubscriptionId, SubscriptionStatus,
    },
    phi::Secret,
    ports::{Audit as _, AuditAction, EncounterWatches as _, FirmAdministration as _, Subscriptions as _},
    time::Clock,
};
use skin_assist_simulator::{ClinicScript, Options, PracticeEhr, ScriptOptions};
use skin_assist_store::{SqliteStore, StateKey};

const RULES: &str = include_str!("../../../deploy/monitoring/alerts.yaml");
const DASHBOARD: &str = include_str!("../../../deploy/monitoring/dashboard.json");
/// Exported from their first event on, since their labels are not known before. Unit tests of the metrics show them.
const WHEN_IT_HAPPENS: [&str; 4] = [
    "skin_assist_notices_total",
    "skin_assist_firm_rests_total",
    "skin_assist_step_reasons_total",
    "skin_assist_firm_detection_seconds",
];
const DOCUMENT: &str = include_str!("../../../docs/telemetry.md");

/// Status, headers and body of one request.
fn get(address: SocketAddr, path: &str, headers: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let host = if headers.contains("Host:") {
        String::new()
    } else {
        format!("Host: {address}\r\n")
    };
    write!(
        stream,
        "GET {path} HTTP/1.1\r\n{host}Connection: close\r\n{headers}\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

/// The names of metrics as an answer declares them, with what a counter and a histogram add to theirs.
fn exported(metrics: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for declared in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = declared.split_once(' ').unwrap();
        let endings: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            "info" => &["_info"],
            _ => &[""],
        };
        names.extend(endings.iter().map(|ending| format!("{name}{ending}")));
    }
    names
}

/// The names of metrics that a text mentions.
fn mentioned(text: &str) -> BTreeSet<String> {
    let is_of_a_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
    text.split(|letter| !is_of_a_name(letter))
        // `skin_assist:` is what a rule records.
        .filter(|word| word.starts_with("skin_assist_") && !word.contains(':'))
        .map(str::to_owned)
        .collect()
}

/// The metrics that a text asks for by labels, each with those labels.
fn selected(text: &str) -> Vec<(String, Vec<String>)> {
    let text = text.replace("\\\"", "\"");
    let mut selected = Vec::new();
    for (at, _) in text.match_indices("skin_assist_") {
        let rest = &text[at..];
        let mut words = rest.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let name = words.next().unwrap();
        let Some(labels) = rest[name.len()..].strip_prefix('{') else {
            continue;
        };
        let labels = labels.split_once('}').unwrap().0;
        selected.push((
            name.to_owned(),
            labels.split(',').map(|label| label.trim().to_owned()).collect(),
        ));
    }
    selected
}

/// Whether there is a series of this name that has all of these labels.
fn has_series(metrics: &str, name: &str, labels: &[String]) -> bool {
    let series = metrics
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
    let mut series = series.filter_map(|rest| rest.split_once('}'));
    series.any(|(own, _)| labels.iter().all(|label| own.split(',').any(|own| own == label)))
}

/// Name, kind and labels of each metric in the tables of a text.
fn documented_metrics(text: &str) -> Vec<(String, &str, BTreeSet<String>)> {
    let rows = text.lines().filter(|line| line.starts_with("| `skin_assist_"));
    let cells = rows.map(|row| row.split('|').skip(1).map(str::trim).collect::<Vec<_>>());
    cells
        .map(|cells| {
            let labels = cells[2].split('`').skip(1).step_by(2).map(str::to_owned).collect();
            (cells[0].trim_matches('`').to_owned(), cells[1], labels)
        })
        .collect()
}

/// The labels that a metric's series have, whatever its kind; those that the kind brings are left out.
fn labels_of(metrics: &str, name: &str) -> BTreeSet<String> {
    let series = metrics.lines().filter_map(|line| line.strip_prefix(name));
    let series = series.filter_map(|rest| {
        let labels = ["_bucket", "_sum", "_count", ""]
            .iter()
            .find_map(|ending| rest.strip_prefix(ending)?.strip_prefix('{'));
        labels?.split_once('}')
    });
    let names = series.flat_map(|(labels, _)| {
        let names = labels.split(',').filter_map(|label| label.split_once('='));
        names.map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    });
    names.filter(|name| name != "le").collect()
}

/// The value of a metric with exactly these labels.
fn value(metrics: &str, metric: &str) -> Option<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(metric))?;
    line.trim().parse().ok()
}

#[test]
fn a_running_system_says_how_it_is_and_what_it_did() {
    let ehr = PracticeEhr::new(Options::default());
    let served = Served::start(ehr.clone());
    let options = ScriptOptions {
        firms: 1,
        visits_per_firm: 2,
        duration: Duration::from_secs(60),
        photo_width: 320,
        photo_height: 240,
        ..ScriptOptions::default()
    };
    let script = ClinicScript::generate(7, &options);
    for firm in &script.firms {
        ehr.add_firm(firm.clone()).unwrap();
    }
    let installation = Installation::connected(&ehr);
    let nobody = [
        "subscription",
        "add",
        "--endpoint",
        "https://subscriber.invalid/",
        "--format",
        "cloudevents",
    ];
    installation.succeed(&nobody);
    let config = std::fs::read_to_string(&installation.config).unwrap();
    let config = config.replace("level = \"warn\"", "level = \"warn,skin_assist::console=info\"");
    std::fs::write(&installation.config, config).unwrap();
    ehr.play(&script, SystemClock.now(), 30.0).unwrap();
    let engine = installation.start();
    let address = loop {
        served.sleep(Duration::from_millis(100));
        let log = std::fs::read_to_string(installation.path("run.log")).unwrap();
        let said = log.lines().find(|line| line.contains("console.started"));
        if let Some(address) = said.and_then(|line| line.split("address=").nth(1)) {
            break address.split_whitespace().next().unwrap().parse().unwrap();
        }
    };
    // What the state tells may be five seconds old, and what a poller says of itself is in it some seconds after its start.
    let patience = SystemClock.now() + Duration::from_secs(90);
    let (metrics, names) = loop {
        served.sleep(Duration::from_millis(500));
        let (status, head, metrics) = get(address, "/metrics", "");
        assert_eq!(status, 200);
        assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"));
        let is_over = ehr.script_progress().is_over();
        let drafts = value(&metrics, "skin_assist_photo_to_draft_seconds_count{from=\"filed\"}").unwrap();
        let is_done = is_over && ehr.report().compositions > 0 && drafts >= ehr.report().compositions as f64;
        let mut names = exported(&metrics);
        names.extend(WHEN_IT_HAPPENS.map(str::to_owned));
        let are_all_there = [RULES, DASHBOARD].iter().all(|text| mentioned(text).is_subset(&names));
        if is_done && (are_all_there || SystemClock.now() > patience) {
            break (metrics, names);
        }
    };
    assert_eq!(get(address, "/healthz", "").0, 200);
    let (status, _, ready) = get(address, "/readyz", "");
    assert_eq!((status, ready.as_str()), (200, "{\"ready\":true,\"reasons\":[]}"));
    assert!(metrics.ends_with("# EOF\n"));
    let delivered = "skin_assist_steps_total{stage=\"write-back\",outcome=\"delivered\"}";
    assert!(value(&metrics, delivered).unwrap() > 0.0);
    assert_eq!(value(&metrics, "skin_assist_firms{standing=\"served\"}"), Some(1.0));
    // A subscriber that does not answer: nothing is taken, and it falls behind.
    let listed = installation.json(&["subscription", "list", "--json"]);
    let of = |metric: &str, more: &str| {
        let id = listed[0]["id"].as_str().unwrap();
        value(
            &metrics,
            &format!("skin_assist_{metric}{{subscription=\"{id}\"{more}}}"),
        )
        .unwrap()
    };
    assert_eq!(
        value(&metrics, "skin_assist_subscriptions{status=\"requested\"}"),
        Some(1.0)
    );
    assert!(of("notices_total", ",outcome=\"failed\"") > 0.0);
    assert!(of("subscription_behind_seconds", "") > 0.0);
    let waiting = of("subscription_waiting_events", "");
    assert!(waiting > 0.0 && waiting <= of("subscription_events_total", ""));
    assert!(value(&metrics, "skin_assist_process_resident_memory_bytes").unwrap() > 1e6);

    for (what, text) in [("rule", RULES), ("panel", DASHBOARD)] {
        let unknown: Vec<_> = mentioned(text).difference(&names).cloned().collect();
        assert!(unknown.is_empty(), "a {what} asks for what nobody exports: {unknown:?}");
    }
    let without_series: Vec<_> = [RULES, DASHBOARD]
        .iter()
        .flat_map(|text| selected(text))
        .filter(|(name, labels)| {
            !WHEN_IT_HAPPENS.iter().any(|late| name.starts_with(late)) && !has_series(&metrics, name, labels)
        })
        .collect();
    assert_eq!(without_series, [], "a rule or a panel asks for labels that nothing has");
    // Of a histogram the documentation has the name alone.
    let documented = mentioned(DOCUMENT);
    let of_a_histogram = |name: &str| {
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|ending| name.strip_suffix(ending));
        base.is_some_and(|base| documented.contains(base))
    };
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !documented.contains(*name) && !of_a_histogram(name))
        .collect();
    assert!(missing.is_empty(), "not in docs/telemetry.md: {missing:?}");
    for (name, kind, labels) in documented_metrics(DOCUMENT) {
        if WHEN_IT_HAPPENS.contains(&name.as_str()) {
            continue;
        }
        let declared = name.trim_end_matches("_total").trim_end_matches("_info");
        assert!(
            metrics.contains(&format!("# TYPE {declared} {kind}\n")),
            "{name} is no {kind}"
        );
        assert_eq!(labels_of(&metrics, &name), labels, "labels of {name}");
    }
    assert_eq!(engine.terminate(), Some(0));
}

/// A console over an empty state, served; nothing runs behind it.
async fn empty(token: Option<&str>, folder: &std::path::Path) -> (Serving, SocketAddr) {
    let state = SqliteStore::open(&folder.join("state.sqlite"), &StateKey::from_bytes([3; 32])).unwrap();
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let options = options(listen, token);
    let console = Console::new(Arc::new(state), Arc::new(SystemClock), options).unwrap();
    let mut serving = Serving::start(console, listen, |_| {});
    let address = serving.address().await.unwrap();
    (serving, address)
}

/// Open to everybody's looks without a token, as `run` does it on this machine.
fn options(listen: SocketAddr, token: Option<&str>) -> ConsoleOptions {
    let token = token.map(|token| (Role::Viewer, Secret::new(token.to_owned())));
    ConsoleOptions {
        listen,
        access: AccessOptions {
            everybody: token.is_none().then_some(Role::Viewer),
            tokens: token.into_iter().collect(),
            ..AccessOptions::default()
        },
        standing_for: Duration::from_secs(5),
        bounds: Bounds::default(),
        config: Config::defaults().unwrap(),
    }
}

async fn ask(address: SocketAddr, path: &'static str, headers: &'static str) -> (u16, String, String) {
    tokio::task::spawn_blocking(move || get(address, path, headers))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_this_machine_s_names_are_answered_and_a_token_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (_serving, address) = empty(Some("a token"), folder.path()).await;
    let (status, ..) = ask(
        address,
        "/metrics",
        "Host: clinic.example.com\r\nAuthorization: Bearer a token\r\n",
    )
    .await;
    assert_eq!(status, 421, "a page whose name leads here has a browser ask");
    let (status, head, _) = ask(address, "/metrics", "").await;
    assert_eq!(status, 401);
    assert!(head.contains("www-authenticate: bearer"));
    let (status, ..) = ask(address, "/metrics", "Authorization: Bearer a toke\r\n").await;
    assert_eq!(status, 401);
    let (status, head, _) = ask(address, "/metrics", "Authorization: Bearer a token\r\n").await;
    assert_eq!(status, 200);
    assert!(head.contains("cache-control: no-store"));
    assert_eq!(
        ask(address, "/nothing", "Authorization: Bearer a token\r\n").await.0,
        404
    );
    // A load balancer has no token.
    assert_eq!(ask(address, "/healthz", "").await.0, 200);
}

/// Sends a form, and gives status, headers and body.
async fn send(address: SocketAddr, path: &str, headers: &str, body: &str) -> (u16, String, String) {
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

/// Pages, sessions and forms; interop/console/check.py goes through them in a browser.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_changes_anything_without_a_session_and_its_form() {
    let folder = tempfile::tempdir().unwrap();
    let (_serving, address) = empty(Some("a token"), folder.path()).await;
    let (status, head, _) = ask(address, "/", "Accept: text/html\r\n").await;
    assert_eq!(status, 303, "a person is led to the sign-in");
    assert!(head.contains("location: /sign-in"));
    let (status, head, page) = ask(address, "/", "Authorization: Bearer a token\r\n").await;
    assert_eq!(status, 200);
    assert!(page.contains("No practice is connected yet"));
    assert!(head.contains("content-security-policy: default-src 'none'"));
    assert!(
        !page.contains("<script>") && !page.contains("style="),
        "the policy lets neither run"
    );
    let token = "Authorization: Bearer a token\r\n";
    for path in [
        "/connect",
        "/dead-letters/replay",
        "/practices/elm/mode",
        "/photos/elm/d/read",
    ] {
        assert_eq!(send(address, path, "", "").await.0, 401, "{path}: nobody");
        assert_eq!(
            send(address, path, token, "form=").await.0,
            403,
            "{path}: a token is no session"
        );
    }

    let known = "name=Ada+Roe&token=a+token";
    let (status, ..) = send(address, "/sign-in", "Sec-Fetch-Site: cross-site\r\n", known).await;
    assert_eq!(status, 403, "another site's form");
    let (status, _, page) = send(address, "/sign-in", "", "name=Ada+Roe&token=guessed").await;
    assert_eq!((status, page.contains("nobody has this token")), (401, true));
    let (status, _, page) = send(address, "/sign-in", "", "name=%3Cb%3E&token=a+token").await;
    assert_eq!((status, page.contains("<b>")), (422, false));
    let (status, head, _) = send(address, "/sign-in", "", known).await;
    assert_eq!(status, 303);
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.contains("; HttpOnly; SameSite=Strict"));
    let session = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    let (status, ..) = send(address, "/sign-out", &session, "").await;
    assert_eq!(status, 403, "without the session's own form");
    let (status, _, page) = send(address, "/connect", &session, "form=").await;
    assert_eq!(status, 403);
    assert!(page.contains("this needs the role admin; you are viewer"), "{page}");
    let (status, ..) = send(address, "/connect", &session.replace('=', "=0"), "").await;
    assert_eq!(status, 401, "no session of ours");
}

/// A state with a practice, `elm`.
async fn with_a_practice(folder: &std::path::Path) -> (Arc<SqliteStore>, Firm) {
    let state = SqliteStore::open(&folder.join("state.sqlite"), &StateKey::from_bytes([3; 32])).unwrap();
    let now = SystemClock.now();
    let firm = Firm {
        id: FirmId::new("elm"),
        url_prefix: "elm".to_owned(),
        status: FirmStatus::Active,
        mode: Mode::Silent,
        intended_use: None,
        categories: BTreeMap::new(),
        api_key: None,
        connected_at: now,
        photos_since: now,
    };
    let credential = NewCredential::secret("elm-client".to_owned(), Secret::new("elm-secret".to_owned()));
    state.add_firm(&firm, &credential).await.unwrap();
    (Arc::new(state), firm)
}

/// The same, and a subscription that gave an event up and waits for another.
async fn with_a_dead_letter(folder: &std::path::Path) -> Arc<SqliteStore> {
    const REASON: Reason = Reason::new("subscriber.refused", "the subscriber has to answer");
    let (state, firm) = with_a_practice(folder).await;
    let now = SystemClock.now();
    let subscription = Subscription::requested(
        SubscriptionId::new("a1b2c3"),
        "https://subscriber.example:8443/a-secret-path?key=another".to_owned(),
        SubscriptionFormat::CloudEvents,
        Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()),
        "d1ge57".to_owned(),
        now,
    );
    state.add_subscription(&subscription).await.unwrap();
    let seen = |id: &str| Encounter {
        id: EncounterId::new(id),
        patient: PatientId::new("mrs-canary"),
        practitioner: None,
        status: EncounterStatus::Open,
        last_updated: Some(now),
    };
    let visits = [seen("one"), seen("two")];
    state
        .record_encounters(&firm.id, None, Cursor(now), &visits, now)
        .await
        .unwrap();
    let lease_for = Duration::from_secs(30);
    let lease = state.acquire_subscriptions(now, lease_for, 1).await.unwrap().remove(0);
    state.record_told(&lease, &Notice::Handshake, now).await.unwrap();
    let first = state.next_notice(&lease, now).await.unwrap().unwrap();
    state.give_up_telling(lease, &first, &REASON, now).await.unwrap();
    state
}

/// A console over this state, served, that an operator and an admin can sign in to; nothing runs behind it.
async fn served(
    state: &Arc<SqliteStore>,
    clock: Arc<dyn Clock>,
    adapt: impl FnOnce(&mut ConsoleOptions),
) -> (Serving, SocketAddr) {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut options = options(listen, None);
    for (role, token) in [(Role::Operator, "operate"), (Role::Admin, "rule")] {
        options.access.tokens.push((role, Secret::new(token.to_owned())));
    }
    adapt(&mut options);
    let console = Console::new(Arc::clone(state) as _, clock, options).unwrap();
    let mut serving = Serving::start(console, listen, |_| {});
    let address = serving.address().await.unwrap();
    (serving, address)
}

/// The header that brings the session of who signs in with a token.
async fn sign_in(address: SocketAddr, token: &str) -> String {
    let (_, head, _) = send(address, "/sign-in", "", &format!("name=Ada+Roe&token={token}")).await;
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    format!("Cookie: {}\r\n", cookie.split(';').next().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_looks_after_subscribers() {
    let folder = tempfile::tempdir().unwrap();
    let state = with_a_dead_letter(folder.path()).await;
    let (_serving, address) = served(&state, Arc::new(SystemClock), |_| {}).await;

    let (status, _, page) = ask(address, "/subscriptions", "").await;
    assert_eq!(status, 200);
    for shown in [
        "a1b2c3",
        "subscriber.example:8443",
        "up to 1 of 2",
        "1 wait",
        "subscriber.refused",
        "encounter-found",
    ] {
        assert!(page.contains(shown), "{shown} is not in {page}");
    }
    for secret in ["a-secret-path", "another", "whsec_", "d1ge57", "mrs-canary"] {
        assert!(!page.contains(secret), "{secret}");
    }
    assert!(
        !page.contains("action=\"/subscriptions"),
        "a viewer is offered a change"
    );
    assert!(ask(address, "/", "").await.2.contains("1 subscribers are told no more"));

    let session = async |token: &str| {
        let session = sign_in(address, token).await;
        let (_, _, page) = ask(address, "/subscriptions", session.clone().leak()).await;
        let form = page.split("name=\"form\" value=\"").nth(1).unwrap();
        (session, form.split('"').next().unwrap().to_owned(), page)
    };
    let (operator, form, page) = session("operate").await;
    assert!(page.contains(">Resume<") && page.contains(">Put back<") && !page.contains(">Remove<"));
    let change = async |session: &str, form: &str, path: &str, fields: &str| {
        let sent = format!("form={form}&subscription=a1b2c3&{fields}");
        send(address, path, session, &sent).await
    };
    let standing = async || state.subscription(&SubscriptionId::new("a1b2c3")).await.unwrap();
    for (path, fields) in [
        ("/subscriptions/change", "change=resume"),
        ("/subscriptions/replay", "number=1"),
    ] {
        let before = standing().await;
        let forged = change(&operator, "guessed", path, fields).await;
        assert_eq!(forged.0, 403, "another session's form");
        assert_eq!(change("", &form, path, fields).await.0, 403, "who only looks");
        assert_eq!(standing().await, before);
        let (status, head, _) = change(&operator, &form, path, fields).await;
        assert_eq!(status, 303, "{path}");
        assert!(head.contains("location: /subscriptions"));
    }
    let resumed = standing().await.unwrap();
    assert_eq!(
        (resumed.status, resumed.waiting_from),
        (SubscriptionStatus::Requested, Some(1))
    );
    assert!(state.given_up_notifications().await.unwrap().is_empty());
    assert_eq!(
        change(&operator, &form, "/subscriptions/replay", "number=1").await.0,
        422,
        "it is put back"
    );
    assert_eq!(
        change(&operator, &form, "/subscriptions/change", "change=pause")
            .await
            .0,
        303
    );
    assert_eq!(standing().await.unwrap().status, SubscriptionStatus::Off);
    for fields in ["change=ask", "change=remove"] {
        assert_eq!(
            change(&operator, &form, "/subscriptions/change", fields).await.0,
            403,
            "{fields}"
        );
    }
    let (admin, form, _) = session("rule").await;
    let (status, _, page) = change(&admin, &form, "/subscriptions/change", "change=ask").await;
    assert_eq!((status, page.contains("2 events")), (200, true), "{page}");
    assert!(standing().await.is_some());
    assert_eq!(
        change(&admin, &form, "/subscriptions/change", "change=remove").await.0,
        303
    );
    assert!(standing().await.is_none());
    let (_, _, page) = ask(address, "/subscriptions", "").await;
    assert!(page.contains("skin-assist subscription add --endpoint"), "{page}");

    let records = state.records().await.unwrap();
    let changes: Vec<_> = records
        .iter()
        .filter(|record| record.action == AuditAction::SubscriptionChanged)
        .map(|record| (record.actor.as_str(), record.subject.as_str()))
        .collect();
    assert_eq!(
        changes,
        [
            ("console operator Ada Roe", "a1b2c3 resumed"),
            ("console operator Ada Roe", "a1b2c3 replays 1"),
            ("console operator Ada Roe", "a1b2c3 paused"),
            ("console admin Ada Roe", "a1b2c3 removed"),
        ]
    );
}

/// The rest of a subscriber's address may be a secret: who only looks is told where it is, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_s_whole_address_is_told_to_itself_and_to_who_looks_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let (state, _) = with_a_practice(folder.path()).await;
    let token = "the subscriber's own";
    let subscription = Subscription::requested(
        SubscriptionId::new("a1b2c3"),
        "https://subscriber.example:8443/a-secret-path?key=another".to_owned(),
        SubscriptionFormat::FhirR4Backport,
        Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()),
        hex::encode(Sha256::digest(token)),
        SystemClock.now(),
    );
    state.add_subscription(&subscription).await.unwrap();
    let (_serving, address) = served(&state, Arc::new(SystemClock), |options| {
        options
            .access
            .tokens
            .push((Role::Viewer, Secret::new("look".to_owned())));
    })
    .await;
    let (list, resource) = ("/api/v1/subscriptions", "/fhir/Subscription/a1b2c3");
    for (who, path, is_told) in [
        ("", list, false),
        ("", resource, false),
        ("look", list, false),
        ("look", resource, false),
        ("operate", list, true),
        ("operate", resource, true),
        ("rule", list, true),
        ("rule", resource, true),
        (token, resource, true),
    ] {
        let shown = if who.is_empty() {
            String::new()
        } else {
            format!("Authorization: Bearer {who}\r\n")
        };
        let (status, _, answer) = ask(address, path, shown.leak()).await;
        let endpoint = if is_told {
            "\"https://subscriber.example:8443/a-secret-path?key=another\""
        } else {
            "\"https://subscriber.example:8443\""
        };
        assert_eq!(status, 200, "{who} at {path}");
        assert!(answer.contains(endpoint), "{who} at {path}: {answer}");
    }
}

/// What the description says there is, is there, and answers as it says; and what is there is described.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_as_it_is_described() {
    let folder = tempfile::tempdir().unwrap();
    let (_serving, address) = empty(None, folder.path()).await;
    let (status, _, description) = ask(address, "/api/v1/openapi.json", "").await;
    assert_eq!(status, 200);
    let description: serde_json::Value = serde_json::from_str(&description).unwrap();
    let paths = description["paths"].as_object().unwrap();
    for path in paths.keys() {
        let asked = path.replace("{practice}", "nobody").replace("{subscription}", "none");
        let (status, head, body) = ask(address, asked.leak(), "").await;
        if path.starts_with("/fhir/") {
            assert_eq!(status, 404, "{path}");
            assert!(head.contains("content-type: application/fhir+json"), "{path}");
            assert!(body.contains("\"there is no such subscription\""), "{path}");
        } else if path.contains("{subscription}") {
            assert_eq!(status, 404, "{path}");
            assert!(body.contains("\"there is no such subscription\""), "{path}");
        } else if path.contains('{') {
            assert_eq!(status, 404, "{path}");
            assert!(head.contains("content-type: application/problem+json"), "{path}");
            assert_eq!(
                body,
                r#"{"status":404,"title":"there is no such practice","type":"about:blank"}"#
            );
        } else {
            assert_eq!((status, body.as_str()), (200, "[]"), "{path}");
        }
    }
    let routes = include_str!("../src/console.rs").split(".route(").skip(1);
    let routes: BTreeSet<&str> = routes.filter_map(|route| route.split('"').nth(1)).collect();
    let described: BTreeSet<&str> = paths
        .keys()
        .map(String::as_str)
        .chain(["/api/v1/openapi.json"])
        .collect();
    let is_of_the_api = |route: &&str| route.starts_with("/api/") || route.starts_with("/fhir/");
    let of_the_api: BTreeSet<&str> = routes.into_iter().filter(is_of_the_api).collect();
    assert_eq!(of_the_api, described);
    for wrong in ["limit=0", "limit=1001", "limit=x", "since=yesterday", "order=id"] {
        let asked: &'static str = format!("/api/v1/photos?{wrong}").leak();
        let (status, head, _) = ask(address, asked, "").await;
        assert_eq!(status, 400, "{wrong}");
        assert!(head.contains("content-type: application/problem+json"), "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_engine_it_is_alive_and_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let (_serving, address) = empty(None, folder.path()).await;
    assert_eq!(ask(address, "/healthz", "").await.0, 200);
    let (status, _, body) = ask(address, "/readyz", "").await;
    assert_eq!(
        (status, body.as_str()),
        (503, "{\"ready\":false,\"reasons\":[\"starting\"]}")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_had_when_it_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let listen = taken.local_addr().unwrap();
    let state = SqliteStore::open(&folder.path().join("state.sqlite"), &StateKey::from_bytes([3; 32])).unwrap();
    let console = Console::new(Arc::new(state), Arc::new(SystemClock), options(listen, None)).unwrap();
    let mut serving = Serving::start(console, listen, |_| {});
    let waited = tokio::time::timeout(Duration::from_millis(200), serving.address()).await;
    assert!(waited.is_err(), "two listen at one address");
    drop(taken);
    assert_eq!(serving.address().await, Some(listen));
    assert_eq!(ask(listen, "/healthz", "").await.0, 200);
}

#[test]
fn it_is_not_opened_to_other_machines_without_a_token() {
    let installation = Installation::new();
    let status = |console: &str| {
        let config = format!("[state]\nkey_file = \"state.key\"\n[console]\n{console}\n");
        std::fs::write(&installation.config, config).unwrap();
        installation.output(&["status"])
    };
    for (console, problem) in [
        ("listen = \"0.0.0.0:8470\"", "there is no token"),
        ("listen = \"8470\"", "console.listen is no address"),
    ] {
        let refused = status(console);
        assert_eq!(refused.status.code(), Some(1));
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains(problem) && said.contains("hint: "), "{said}");
    }
    for console in ["listen = \"\"", "listen = \"0.0.0.0:8470\"\ntoken_file = \"token\""] {
        assert!(status(console).status.success(), "{console}");
    }
}
