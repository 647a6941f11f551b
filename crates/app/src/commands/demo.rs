//! `skin-assist demo`: the whole way, on a practice EHR, with the same wiring as `run`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use skin_assist_core::{
    domain::{
        CategoryCode, CategoryUse, DocumentId, Firm, FirmId, FirmStatus, IntendedUseRecord, Journey, JourneyState,
        Mode, NewCredential, SubscriptionFormat,
    },
    phi::Secret,
    ports::StateStore,
    time::{Clock as _, Timestamp},
};
use skin_assist_simulator::{
    ClinicScript, Credentials, ExpectedRoute, Options, PracticeEhr, Report, ScriptOptions,
    http_server::{Server, ServerOptions},
};
use tokio::sync::mpsc;

use super::{key::random, print_json, run::Signals, state_failed, subscription::requested};
use crate::{
    cli::DemoArguments,
    clock::SystemClock,
    config::Config,
    console::{AccessOptions, Bounds, Console, ConsoleOptions, Role, Serving},
    driver::{Event, Observer, stop_signal},
    failure::{Failure, Hinted as _, WithHint as _},
    telemetry, wiring,
};

/// How often the demonstration looks whether everything has arrived.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Events that may wait to be printed: more than a clinic has.
const MOST_EVENTS: usize = 100_000;

/// A port of this machine that the system chooses.
const HERE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

/// How long after the clinic's end a photo may take. The published schedule looks each encounter over within a minute.
const PATIENCE: Duration = Duration::from_secs(150);

/// The exit code of a demonstration that was ended before every photo had its draft, as shells have it for Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Shows the whole way on a practice EHR.
pub(crate) async fn demo(arguments: DemoArguments) -> Result<ExitCode, Failure> {
    let mut signals = Signals::listen()?;
    let folder = tempfile::tempdir()
        .failed(|| "a temporary folder cannot be made".to_owned())
        .hint("check the disk, and TMPDIR")?;
    let ehr = PracticeEhr::new(Options {
        seed: arguments.seed,
        ..Options::default()
    });
    let server = Server::start(ehr.clone(), ServerOptions::default())
        .await
        .failed(|| "the practice EHR cannot be served".to_owned())?;
    let options = ScriptOptions {
        duration: Duration::from_secs(u64::from(arguments.minutes.max(1)) * 60),
        ..ScriptOptions::default()
    };
    let script = ClinicScript::generate(arguments.seed, &options);

    let mut config = Config::defaults()?;
    "error".clone_into(&mut config.log.level);
    telemetry::begin(&config.log)?;
    config.state.file = folder.path().join("demo.sqlite").display().to_string();
    config.ehr.base_url.clone_from(&server.endpoints().api);
    config.ehr.photo_hosts = vec!["127.0.0.1".to_owned()];
    config.ehr.allow_loopback_http = true;
    // In compressed time a window of real seconds would span minutes of the clinic.
    config.assessments.widespread_window_seconds = 0;
    config.polling.policy = arguments.policy;
    config.subscriptions.allow_loopback_http = true;
    config.ehr.calls_per_minute = Options::default().quota_per_minute;

    for firm in &script.firms {
        ehr.add_firm(firm.clone())
            .failed(|| "a practice cannot be made".to_owned())?;
    }
    let firms = ehr
        .firms()
        .iter()
        .map(|firm| ehr.credentials(firm))
        .collect::<Result<Vec<_>, _>>()
        .failed(|| "the practices have no credentials".to_owned())?;
    let first = firms
        .first()
        .ok_or_else(|| Failure::new("the practice EHR has no practice"))?;
    config.ehr.token_url.clone_from(&first.token_url);
    let config = config.with_secrets(random()?.to_text(), Secret::new(first.api_key.clone()));

    let state = wiring::state(&config).await?;
    for firm in &firms {
        connect(&*state, firm).await?;
    }
    let signing_key = match &arguments.subscriber {
        Some(endpoint) => Some(subscribe(&config, &*state, endpoint).await?),
        None => None,
    };
    let console = console(&config, &state)?;
    let mut serving = Serving::start(Arc::clone(&console), HERE, |_| {});
    let console_url = serving.address().await.map(|address| format!("http://{address}/"));
    let (events, happened) = mpsc::channel(MOST_EVENTS);
    let told = console.observer();
    let observer: Observer = Arc::new(move |event: &Event| {
        told(event);
        // The demonstration may have ended: then nobody listens any more. What it is too busy to print is missing on the screen alone.
        drop(events.try_send(event.clone()));
    });
    let mut engine = wiring::engine(&config, Arc::clone(&state), Arc::clone(&observer)).await?;
    // A visit of twenty minutes is over in seconds here, and photos come that much sooner.
    engine.settings.pace = options.pace() * arguments.speed;
    let telling = wiring::telling(&config, Arc::clone(&state), observer)?;

    let mut show = Show {
        quiet: arguments.json,
        ehr,
        state,
        happened,
        shown: BTreeSet::new(),
        expected: script.expected_photos(),
    };
    show.say(&format!(
        "Practice EHR at {}, {} practices, {} photos to come within {:.0} s. Policy: {}.",
        server.chart_url(),
        firms.len(),
        show.expected,
        options.duration.as_secs_f64() / arguments.speed,
        arguments.policy,
    ));
    if let Some(console_url) = &console_url {
        show.say(&format!("The console of Skin Assist is at {console_url}"));
    }
    if let Some(signing_key) = &signing_key {
        show.say(&format!(
            "What the subscriber is told is signed with {}",
            signing_key.expose()
        ));
    }
    show.ehr
        .play(&script, SystemClock.now(), arguments.speed)
        .failed(|| "the clinic cannot be played".to_owned())
        .hint("--speed is a number above 0")?;
    let charts = server.chart_url();
    let (stopper, stop) = stop_signal();
    // Dropping the stopper, at the end of this whatever it is, stops the engine.
    let directed = async move {
        let _stopper = stopper;
        let ending = show.until_done(&mut signals).await?;
        if ending != Ending::Interrupted {
            show.summary().await?;
            if !arguments.exit_when_done {
                show.say(&format!(
                    "\nSee the charts at {charts} and the console at {} - Ctrl-C ends the demonstration.",
                    console_url.as_deref().unwrap_or("-"),
                ));
                signals.asked_to_stop().await;
            }
        }
        Ok::<_, Failure>((ending, show))
    };
    let ((), (), outcome) = futures::join!(engine.run(stop.clone()), telling.run(stop), directed);
    let (ending, show) = outcome?;
    let code = match ending {
        Ending::Interrupted => ExitCode::from(INTERRUPTED),
        Ending::Done | Ending::OutOfPatience => {
            // Read again after the engine has stopped: nothing can be added any more.
            let (document, complete) = show.document().await?;
            if arguments.json {
                print_json(&document)?;
            }
            if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
    };
    server.shutdown().await;
    Ok(code)
}

/// Tells a subscriber of everything; the key that this is signed with.
async fn subscribe(config: &Config, state: &dyn StateStore, endpoint: &str) -> Result<Secret, Failure> {
    let (subscription, _) = requested(config, endpoint, SubscriptionFormat::CloudEvents)?;
    state.add_subscription(&subscription).await.map_err(state_failed)?;
    Ok(subscription.signing_key)
}

/// The console, as `run` serves it. Everything here is made up, so that everybody on this machine may do everything.
fn console(config: &Config, state: &Arc<dyn StateStore>) -> Result<Arc<Console>, Failure> {
    let options = ConsoleOptions {
        listen: HERE,
        access: AccessOptions {
            everybody: Some(Role::Admin),
            ..AccessOptions::default()
        },
        standing_for: LOOK_EVERY,
        bounds: Bounds::default(),
        config: config.clone(),
    };
    Console::new(Arc::clone(state), Arc::new(SystemClock), options)
}

/// Connects a practice as `firm add`, `categories set` and `firm mode` would. The record says what it is.
async fn connect(state: &dyn StateStore, credentials: &Credentials) -> Result<(), Failure> {
    let categories = credentials.categories.iter().filter_map(|category| {
        let used = match category.route {
            ExpectedRoute::Solitary => CategoryUse::Solitary,
            ExpectedRoute::Widespread => CategoryUse::Widespread,
            ExpectedRoute::Ignored => return None,
        };
        Some((CategoryCode::new(&category.code), used))
    });
    let now = SystemClock.now();
    let firm = Firm {
        id: FirmId::new(&credentials.firm),
        url_prefix: credentials.firm.clone(),
        status: FirmStatus::Active,
        mode: Mode::Draft,
        intended_use: Some(IntendedUseRecord {
            recorded_by: "demonstration, synthetic patients only".to_owned(),
            recorded_at: now,
            document_sha256: "0".repeat(64),
        }),
        categories: categories.collect::<BTreeMap<_, _>>(),
        api_key: None,
        connected_at: now,
        photos_since: now,
    };
    let secret = Secret::new(credentials.client_secret.clone());
    state
        .add_firm(&firm, &NewCredential::secret(&credentials.client_id, secret))
        .await
        .map_err(state_failed)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Done,
    OutOfPatience,
    Interrupted,
}

/// What the terminal shows, and what it is counted from.
struct Show {
    quiet: bool,
    ehr: PracticeEhr,
    state: Arc<dyn StateStore>,
    happened: mpsc::Receiver<Event>,
    shown: BTreeSet<(FirmId, DocumentId)>,
    expected: usize,
}

impl Show {
    fn say(&self, line: &str) {
        if !self.quiet {
            say!("{line}");
        }
    }

    /// Until the clinic is over and each photo has come to an end.
    async fn until_done(&mut self, signals: &mut Signals) -> Result<Ending, Failure> {
        let mut over_since: Option<Timestamp> = None;
        loop {
            tokio::select! {
                () = signals.asked_to_stop() => return Ok(Ending::Interrupted),
                Some(event) = self.happened.recv() => self.tell(&event).await?,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if !self.ehr.script_progress().is_over() {
                continue;
            }
            let now = SystemClock.now();
            if self.everything_ended().await? {
                while let Ok(event) = self.happened.try_recv() {
                    self.tell(&event).await?;
                }
                return Ok(Ending::Done);
            }
            if now.since(*over_since.get_or_insert(now)) > PATIENCE {
                return Ok(Ending::OutOfPatience);
            }
        }
    }

    /// Whether each photo has its draft, or was given up or discarded, or is uncertain.
    async fn everything_ended(&self) -> Result<bool, Failure> {
        let journeys = self.journeys().await?;
        let over = |state| {
            matches!(
                state,
                JourneyState::Delivered | JourneyState::Uncertain | JourneyState::DeadLetter | JourneyState::Discarded
            )
        };
        let is_over = journeys.len() >= self.expected && journeys.values().all(|journey| over(journey.state));
        Ok(is_over && self.everything_told().await?)
    }

    /// Whether the subscriber, if there is one, was told of everything, or does not answer.
    async fn everything_told(&self) -> Result<bool, Failure> {
        let subscriptions = self.state.subscriptions().await.map_err(state_failed)?;
        let mut subscriptions = subscriptions.iter();
        Ok(subscriptions.all(|subscription| subscription.waiting == 0 || subscription.reason.is_some()))
    }

    async fn journeys(&self) -> Result<BTreeMap<(FirmId, DocumentId), Journey>, Failure> {
        let journeys = self
            .state
            .journeys(None, Timestamp::ALWAYS, usize::MAX)
            .await
            .map_err(state_failed)?;
        Ok(journeys
            .into_iter()
            .map(|journey| ((journey.firm.clone(), journey.document.clone()), journey))
            .collect())
    }

    async fn tell(&mut self, event: &Event) -> Result<(), Failure> {
        match event {
            Event::Delivered { .. } => {
                for (key, journey) in self.journeys().await? {
                    if journey.state == JourneyState::Delivered && self.shown.insert(key) {
                        self.say(&draft_line(&journey, self.shown.len(), self.expected));
                    }
                }
            }
            Event::Uncertain {
                firm,
                assessment,
                reason,
            } => {
                self.say(&format!("  {firm}: the draft of {assessment} is uncertain ({reason})"));
            }
            Event::Buried {
                firm,
                subject,
                stage,
                reason,
            } => {
                self.say(&format!(
                    "  {firm}: {subject} was given up at {stage} ({reason}): {}",
                    reason.hint()
                ));
            }
            Event::Resting { firm, reason, .. } => self.say(&format!("  {firm} rests: {reason}")),
            Event::LookedAfter { .. }
            | Event::Stepped(_)
            | Event::Detected { .. }
            | Event::Advanced { .. }
            | Event::Withheld { .. }
            | Event::Waiting { .. }
            | Event::SubscriberTold { .. }
            | Event::Retracted(_) => {}
        }
        Ok(())
    }

    async fn summary(&self) -> Result<(), Failure> {
        let report = self.ehr.report();
        let journeys = self.journeys().await?;
        let mut delays: Vec<f64> = journeys.values().filter_map(seconds_to_draft).collect();
        delays.sort_by(f64::total_cmp);
        let median = delays.get(delays.len() / 2).copied().unwrap_or_default();
        let slowest = delays.last().copied().unwrap_or_default();
        let calls = &report.calls;
        self.say(&format!(
            "\n{} photos, {} with a draft, {} without, {} drafts too many. From attach to draft: median {median:.1} s, \
             slowest {slowest:.1} s.\nCalls, as the EHR counted them: {} encounter, {} document, {} read, {} draft, {} \
             context; {} refused for the quota.",
            report.expected().count(),
            report.expected().filter(|photo| !photo.drafts.is_empty()).count(),
            report.missing().count(),
            report.duplicates(),
            calls.encounter,
            calls.document,
            calls.read,
            calls.draft,
            calls.context,
            report.refused_429,
        ));
        Ok(())
    }

    /// The JSON document, and whether each photo has exactly one draft. The totals are the EHR's.
    async fn document(&self) -> Result<(Value, bool), Failure> {
        let report = self.ehr.report();
        let journeys = self.journeys().await?;
        let documents: Vec<_> = report
            .expected()
            .map(|photo| {
                let key = (FirmId::new(&photo.firm), DocumentId::new(&photo.document));
                let journey = journeys.get(&key);
                json!({
                    "firm": photo.firm,
                    "document": photo.document,
                    "route": journey.map(|journey| journey.route),
                    "top_finding": journey.and_then(|journey| journey.top_finding.clone()),
                    "attached_at": photo.attached_at,
                    "detected_at": journey.map(|journey| journey.detected_at),
                    "downloaded_at": journey.and_then(|journey| journey.downloaded_at),
                    "assessed_at": journey.and_then(|journey| journey.assessed_at),
                    "delivered_at": journey.and_then(|journey| journey.delivered_at),
                    "reference": photo.drafts.first().map(|draft| draft.reference.clone()),
                })
            })
            .collect();
        let uncertain = self.state.uncertain().await.map_err(state_failed)?.len();
        let dead_letters = self.state.dead_letters().await.map_err(state_failed)?.len();
        let totals = json!({
            "photos": report.expected().count(),
            "drafts": report.compositions,
            "duplicates": report.duplicates(),
            "uncertain": uncertain,
            "dead_letters": dead_letters,
            "calls": {
                "encounter": report.calls.encounter,
                "document": report.calls.document,
                "read": report.calls.read,
                "draft": report.calls.draft,
                "context": report.calls.context,
            },
            "refused_429": report.refused_429,
        });
        Ok((
            json!({ "documents": documents, "totals": totals }),
            is_complete(&report),
        ))
    }
}

/// Whether each photo has exactly one draft and there is no other.
fn is_complete(report: &Report) -> bool {
    let (missing, strays) = (report.missing().count(), report.unmatched_drafts.len());
    let ignored = report
        .photos
        .iter()
        .filter(|photo| photo.route == ExpectedRoute::Ignored);
    missing == 0 && report.duplicates() == 0 && strays == 0 && ignored.flat_map(|photo| &photo.drafts).count() == 0
}

fn seconds_to_draft(journey: &Journey) -> Option<f64> {
    Some(journey.delivered_at?.since(journey.attached_at?).as_secs_f64())
}

fn draft_line(journey: &Journey, number: usize, of: usize) -> String {
    let seconds = seconds_to_draft(journey).map_or_else(|| "?".to_owned(), |seconds| format!("{seconds:.1}"));
    let finding = journey.top_finding.as_deref().unwrap_or("no assessment");
    let reference = journey.reference.as_ref().map(ToString::to_string).unwrap_or_default();
    format!(
        "  {number:>3}/{of}  {:<12} {:<10} {finding:<28} {seconds:>5} s from attach to draft  {reference}",
        journey.firm.as_str(),
        journey.route
    )
}
