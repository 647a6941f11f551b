//! What a running system measures, as Prometheus reads it (OpenMetrics text). docs/telemetry.md lists every metric.
//!
//! Two sources: what this process did, counted as it happens; and how the state stands, shared by all processes, read when it
//! is asked for. Labels are bounded: firms, quotas, subscriptions, and words and reason codes of this software. Nothing of a patient.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
};

use prometheus_client::{
    encoding::text::{encode_eof, encode_registry},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};
use skin_assist_core::{
    domain::{GivenUpNotification, PollerFigures, Stage, Subscription, SubscriptionId, SubscriptionStatus},
    ports::{Overview, QuotaFigures, Standing},
    stages::{Ending, Told},
    time::Timestamp,
};

use crate::{
    driver::{Event, Outcome, Stepped},
    silence::Silence,
};

/// What all names begin with.
const PREFIX: &str = "skin_assist";

/// Upper bounds of how long a step takes, in seconds: a lease is at most 60.
const STEP_BOUNDS_S: [f64; 11] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0];

/// Upper bounds of how long a photo waits for its draft, in seconds. The objective's bound, 60, is one of them.
const DRAFT_BOUNDS_S: [f64; 14] = [
    1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 300.0, 900.0, 3600.0,
];

/// A gauge of real numbers.
type Real = Gauge<f64, AtomicU64>;
type Labels<const COUNT: usize> = [(&'static str, String); COUNT];
type Histograms<const COUNT: usize> = Family<Labels<COUNT>, Histogram, fn() -> Histogram>;

/// What this process has done.
pub(super) struct Counted {
    registry: Registry,
    detected: Counter,
    retracted: Counter,
    resting: Family<Labels<1>, Counter>,
    steps: Family<Labels<2>, Counter>,
    reasons: Family<Labels<3>, Counter>,
    step_seconds: Histograms<1>,
    draft_seconds: Histograms<1>,
    notices: Family<Labels<2>, Counter>,
    /// When firms were looked after last, and when that last went well.
    looked_after: Mutex<LookedAfter>,
}

/// When the engine looked after its firms.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LookedAfter {
    /// The last time, however it went.
    pub(super) last: Option<Timestamp>,
    /// The last time that the state could be used.
    pub(super) well: Option<Timestamp>,
}

impl Counted {
    pub(super) fn new() -> Self {
        let mut counted = Self {
            registry: Registry::with_prefix(PREFIX),
            detected: Counter::default(),
            retracted: Counter::default(),
            resting: Family::default(),
            steps: Family::default(),
            reasons: Family::default(),
            step_seconds: Family::new_with_constructor(|| Histogram::new(STEP_BOUNDS_S)),
            draft_seconds: Family::new_with_constructor(|| Histogram::new(DRAFT_BOUNDS_S)),
            notices: Family::default(),
            looked_after: Mutex::default(),
        };
        // What has not happened yet is zero, not missing: an alert rule cannot tell a rate from nothing.
        for stage in [Stage::DownloadPhoto, Stage::Infer, Stage::WriteBack] {
            for outcome in Outcome::ALL {
                drop(counted.steps.get_or_create(&step(stage, outcome)));
            }
            drop(counted.step_seconds.get_or_create(&[("stage", stage.to_string())]));
        }
        for from in [FILED, DETECTED] {
            drop(counted.draft_seconds.get_or_create(&[("from", from.to_owned())]));
        }
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        counted.registry.register("build", "What is running.", build);
        counted.registry.register(
            "photos_detected",
            "Photos found by this process.",
            counted.detected.clone(),
        );
        counted.registry.register(
            "photos_retracted",
            "Photos retracted whose draft is or may be in the chart, as this process saw them.",
            counted.retracted.clone(),
        );
        counted.registry.register(
            "firm_rests",
            "How often a practice's polls rested after an error, by reason.",
            counted.resting.clone(),
        );
        counted.registry.register(
            "steps",
            "Steps of the pipeline, by stage and outcome.",
            counted.steps.clone(),
        );
        counted.registry.register(
            "step_reasons",
            "Steps that did not go on, by stage, outcome and reason code.",
            counted.reasons.clone(),
        );
        counted.registry.register_with_unit(
            "step",
            "How long steps of the pipeline took, however they ended.",
            Unit::Seconds,
            counted.step_seconds.clone(),
        );
        counted.registry.register_with_unit(
            "photo_to_draft",
            "From a photo's filing (by the EHR's clock) or finding until its draft was in the chart.",
            Unit::Seconds,
            counted.draft_seconds.clone(),
        );
        counted.registry.register(
            "notices",
            "Attempts of this process to tell subscribers (events, handshakes, heartbeats), by outcome.",
            counted.notices.clone(),
        );
        counted
    }

    /// Takes note of what happened.
    pub(super) fn observe(&self, event: &Event) {
        match event {
            Event::LookedAfter { at, is_usable } => {
                let mut looked_after = self.looked_after.lock().unwrap_or_else(PoisonError::into_inner);
                looked_after.last = Some(*at);
                if *is_usable {
                    looked_after.well = Some(*at);
                }
            }
            Event::Detected { .. } => _ = self.detected.inc(),
            Event::Retracted(_) => _ = self.retracted.inc(),
            Event::Resting { reason, .. } => {
                let labels = [("reason", reason.code().to_owned())];
                self.resting.get_or_create(&labels).inc();
            }
            Event::Stepped(stepped) => self.stepped(stepped),
            Event::SubscriberTold { subscription, told } => self.told(subscription, told),
            // Each of these is a step that was taken, and counted as one.
            Event::Advanced { .. }
            | Event::Delivered { .. }
            | Event::Withheld { .. }
            | Event::Uncertain { .. }
            | Event::Waiting { .. }
            | Event::Buried { .. } => {}
        }
    }

    fn stepped(&self, stepped: &Stepped) {
        let labels = step(stepped.stage, stepped.outcome);
        self.steps.get_or_create(&labels).inc();
        if let Some(reason) = &stepped.reason {
            let [stage, outcome] = labels;
            let labels = [stage, outcome, ("reason", reason.code().to_owned())];
            self.reasons.get_or_create(&labels).inc();
        }
        let took = stepped.ended_at.since(stepped.began_at).as_secs_f64();
        self.step_seconds
            .get_or_create(&[("stage", stepped.stage.to_string())])
            .observe(took);
        // Of several that were judged together the first stands for all.
        if stepped.outcome == Outcome::Delivered
            && let Some(photo) = stepped.photos.first()
        {
            let since = [(FILED, photo.filed_at), (DETECTED, Some(photo.detected_at))];
            for (from, at) in since {
                let Some(at) = at else { continue };
                self.draft_seconds
                    .get_or_create(&[("from", from.to_owned())])
                    .observe(stepped.ended_at.since(at).as_secs_f64());
            }
        }
    }

    /// All outcomes are there from a subscription's first notice on.
    fn told(&self, subscription: &SubscriptionId, told: &Told) {
        let (failed, given_up) = match told.ending {
            Ending::Waiting(_) => (1, 0),
            Ending::GivenUp(_) => (0, 1),
            Ending::Taken | Ending::LeaseLost => (0, 0),
        };
        for (outcome, notices) in [("taken", told.taken), ("failed", failed), ("given-up", given_up)] {
            let labels = [
                ("subscription", subscription.to_string()),
                ("outcome", outcome.to_owned()),
            ];
            self.notices.get_or_create(&labels).inc_by(notices);
        }
    }

    /// When the engine looked after its firms.
    pub(super) fn looked_after(&self) -> LookedAfter {
        *self.looked_after.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const FILED: &str = "filed";
const DETECTED: &str = "detected";

fn step(stage: Stage, outcome: Outcome) -> Labels<2> {
    [("stage", stage.to_string()), ("outcome", outcome.as_str().to_owned())]
}

/// How the state stood.
#[derive(Debug, Clone, Default)]
pub(super) struct Stand {
    /// Every firm in numbers.
    pub(super) firms: Vec<Overview>,
    /// Those that are quieter than they should be.
    pub(super) silences: Arc<Vec<Silence>>,
    /// Every quota.
    pub(super) quotas: Vec<QuotaFigures>,
    /// Who polls.
    pub(super) pollers: Vec<PollerFigures>,
    /// Who is told what happens.
    pub(super) subscriptions: Vec<Subscription>,
    /// What subscribers were not told in the end.
    pub(super) given_up: Vec<GivenUpNotification>,
}

/// Everything as text: what this process counted, and how the state stands, if it could be read.
pub(super) fn text(counted: &Counted, standing: Option<&Stand>, now: Timestamp) -> Result<String, fmt::Error> {
    let mut text = String::new();
    encode_registry(&mut text, &counted.registry)?;
    let mut registry = Registry::with_prefix(PREFIX);
    let readable: Gauge = Gauge::default();
    readable.set(i64::from(standing.is_some()));
    registry.register(
        "state_readable",
        "1 when the state could be read for this answer.",
        readable,
    );
    if let Some(bytes) = resident_bytes() {
        let resident: Gauge = Gauge::default();
        resident.set(bytes);
        registry.register_with_unit(
            "process_resident_memory",
            "Memory of this process.",
            Unit::Bytes,
            resident,
        );
    }
    if let Some(standing) = standing {
        firms(&mut registry, standing);
        quotas(&mut registry, standing);
        subscriptions(&mut registry, standing, now);
    }
    encode_registry(&mut text, &registry)?;
    encode_eof(&mut text)?;
    Ok(text)
}

fn firms(registry: &mut Registry, standing: &Stand) {
    let standings: Family<Labels<1>, Gauge> = Family::default();
    for word in Standing::WORDS {
        drop(standings.get_or_create(&[("standing", word.to_owned())]));
    }
    let served: Family<Labels<1>, Gauge> = Family::default();
    let quiet: Family<Labels<1>, Gauge> = Family::default();
    let watched: Family<Labels<1>, Gauge> = Family::default();
    let waiting: Family<Labels<2>, Gauge> = Family::default();
    let drafts: Family<Labels<2>, Gauge> = Family::default();
    let dead: Family<Labels<1>, Gauge> = Family::default();
    let read_up_to: Family<Labels<1>, Real> = Family::default();
    let detection: Family<Labels<2>, Real> = Family::default();
    for firm in &standing.firms {
        let name = || ("firm", firm.firm.id.to_string());
        let word = firm.standing().as_str();
        standings.get_or_create(&[("standing", word.to_owned())]).inc();
        served
            .get_or_create(&[name()])
            .set(i64::from(firm.standing() == Standing::Served));
        let is_quiet = standing.silences.iter().any(|silence| silence.firm == firm.firm.id);
        quiet.get_or_create(&[name()]).set(i64::from(is_quiet));
        watched.get_or_create(&[name()]).set(number(firm.watched_encounters));
        for (step, items) in [
            ("download", firm.waiting_download),
            ("infer", firm.waiting_inference),
            ("write-back", firm.waiting_delivery),
        ] {
            waiting
                .get_or_create(&[name(), ("step", step.to_owned())])
                .set(number(items));
        }
        for (state, count) in [
            ("delivered", firm.delivered),
            ("withheld", firm.withheld),
            ("uncertain", firm.uncertain),
            ("retracted", firm.retracted),
        ] {
            drafts
                .get_or_create(&[name(), ("state", state.to_owned())])
                .set(number(count));
        }
        dead.get_or_create(&[name()]).set(number(firm.dead_letters));
        if let Some(cursor) = firm.cursor {
            read_up_to
                .get_or_create(&[name()])
                .set(cursor.0.as_millis() as f64 / 1e3);
        }
        if firm.detection.photos > 0 {
            for (quantile, millis) in [("0.5", firm.detection.p50_ms), ("0.95", firm.detection.p95_ms)] {
                detection
                    .get_or_create(&[name(), ("quantile", quantile.to_owned())])
                    .set(millis as f64 / 1e3);
            }
        }
    }
    registry.register("firms", "Practices, by how they stand.", standings);
    registry.register("firm_served", "1 for a practice that is served.", served);
    registry.register(
        "firm_quiet",
        "1 for a practice from which fewer photos come than its own past predicts.",
        quiet,
    );
    registry.register("firm_watched_encounters", "Encounters under watch.", watched);
    registry.register("firm_waiting_items", "Photos and results that wait, by step.", waiting);
    registry.register(
        "firm_drafts",
        "Results that are kept, by how their drafts stand.",
        drafts,
    );
    registry.register(
        "firm_dead_letters",
        "What was given up and waits for an operator.",
        dead,
    );
    registry.register_with_unit(
        "firm_read_up_to_timestamp",
        "How far encounters were read, by the EHR's clock.",
        Unit::Seconds,
        read_up_to,
    );
    registry.register_with_unit(
        "firm_detection",
        "From filing to finding, of photos found in the last 24 hours, by the documents' own times.",
        Unit::Seconds,
        detection,
    );
}

fn quotas(registry: &mut Registry, standing: &Stand) {
    let share: Family<Labels<1>, Real> = Family::default();
    let tokens: Family<Labels<1>, Real> = Family::default();
    let price: Family<Labels<1>, Real> = Family::default();
    let granted: Family<Labels<2>, Counter> = Family::default();
    let refused: Family<Labels<1>, Counter> = Family::default();
    for quota in &standing.quotas {
        let name = || ("quota", quota.name.clone());
        share.get_or_create(&[name()]).set(quota.bucket.share);
        tokens.get_or_create(&[name()]).set(quota.bucket.tokens);
        for (kind, calls) in &quota.granted {
            granted
                .get_or_create(&[name(), ("kind", kind.to_string())])
                .inc_by(*calls);
        }
        refused.get_or_create(&[name()]).inc_by(quota.refused);
    }
    let mut prices: BTreeMap<&str, f64> = BTreeMap::new();
    for (quota, price) in standing.pollers.iter().flat_map(|poller| &poller.prices) {
        let highest = prices.entry(quota).or_default();
        *highest = highest.max(*price);
    }
    for (quota, highest) in prices {
        price.get_or_create(&[("quota", quota.to_owned())]).set(highest);
    }
    registry.register(
        "quota_calls_granted",
        "Calls granted since the state was made, by kind.",
        granted,
    );
    registry.register(
        "quota_calls_refused",
        "Calls that the EHR refused for the quota.",
        refused,
    );
    registry.register(
        "quota_rate_share",
        "Part of the rate in use: 1, or less after a refusal.",
        share,
    );
    registry.register("quota_tokens", "Calls at hand when the quota was last used.", tokens);
    registry.register(
        "quota_price",
        "What a poll has to be worth, in expected photos times seconds: low means that the quota is plenty.",
        price,
    );
    let pollers: Gauge = Gauge::default();
    pollers.set(number(standing.pollers.len() as u64));
    registry.register("pollers", "Processes that poll.", pollers);
}

fn subscriptions(registry: &mut Registry, standing: &Stand, now: Timestamp) {
    let statuses: Family<Labels<1>, Gauge> = Family::default();
    for status in SubscriptionStatus::ALL {
        drop(statuses.get_or_create(&[("status", status.to_string())]));
    }
    let events: Family<Labels<1>, Counter> = Family::default();
    let waiting: Family<Labels<1>, Gauge> = Family::default();
    let behind: Family<Labels<1>, Real> = Family::default();
    let dead: Family<Labels<1>, Gauge> = Family::default();
    for subscription in &standing.subscriptions {
        let name = || [("subscription", subscription.id.to_string())];
        let status = [("status", subscription.status.to_string())];
        statuses.get_or_create(&status).inc();
        events.get_or_create(&name()).inc_by(subscription.events);
        waiting.get_or_create(&name()).set(number(subscription.waiting));
        // What an operator paused is behind on purpose.
        if subscription.status != SubscriptionStatus::Off {
            let age = subscription.waiting_since.map(|since| now.since(since));
            behind.get_or_create(&name()).set(age.unwrap_or_default().as_secs_f64());
        }
        let given_up = standing
            .given_up
            .iter()
            .filter(|letter| letter.subscription == subscription.id);
        dead.get_or_create(&name()).set(number(given_up.count() as u64));
    }
    registry.register("subscriptions", "Subscriptions, by how they stand.", statuses);
    registry.register(
        "subscription_events",
        "Events that a subscription has had since it was made.",
        events,
    );
    registry.register(
        "subscription_waiting_events",
        "Events that the subscriber is still to be told of.",
        waiting,
    );
    registry.register_with_unit(
        "subscription_behind",
        "How old the oldest event is that the subscriber is still to be told of; 0 where there is none.",
        Unit::Seconds,
        behind,
    );
    registry.register(
        "subscription_dead_letters",
        "Events that were given up, are still kept, and wait for an operator.",
        dead,
    );
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Memory of this process, where the system tells.
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use skin_assist_core::{
        domain::{ChartEventKind, DocumentId, Firm, FirmId, FirmStatus, Mode, Reason, SubscriptionFormat},
        phi::Secret,
        ports::DetectionLatency,
    };

    use super::*;
    use crate::driver::SteppedPhoto;

    #[test]
    fn how_soon_a_practice_s_photos_are_found_is_told() {
        let firm = Firm {
            id: FirmId::new("oak".to_owned()),
            url_prefix: "oak".to_owned(),
            status: FirmStatus::Active,
            mode: Mode::Silent,
            intended_use: None,
            categories: BTreeMap::new(),
            api_key: None,
            connected_at: Timestamp::from_millis(0),
            photos_since: Timestamp::from_millis(0),
        };
        let overview = Overview {
            firm,
            credential_refused: Some(Reason::new("ehr.scope-refused", "ask the practice")),
            failing: None,
            cursor: None,
            watched_encounters: 7,
            waiting_download: 0,
            waiting_inference: 2,
            waiting_delivery: 0,
            delivered: 0,
            uncertain: 1,
            withheld: 0,
            retracted: 0,
            dead_letters: 0,
            detection: DetectionLatency {
                photos: 3,
                p50_ms: 1_500,
                p95_ms: 9_000,
            },
        };
        let silence = Silence {
            firm: overview.firm.id.clone(),
            photos: 0,
            hours: 4,
            usual: 12.0,
        };
        let standing = Stand {
            firms: vec![overview],
            silences: Arc::new(vec![silence]),
            ..Stand::default()
        };
        let text = text(&Counted::new(), Some(&standing), Timestamp::from_millis(0)).unwrap();
        for line in [
            "skin_assist_firm_detection_seconds{firm=\"oak\",quantile=\"0.95\"} 9.0",
            "skin_assist_firms{standing=\"stopped\"} 1",
            "skin_assist_firms{standing=\"served\"} 0",
            "skin_assist_firm_served{firm=\"oak\"} 0",
            "skin_assist_firm_quiet{firm=\"oak\"} 1",
            "skin_assist_firm_waiting_items{firm=\"oak\",step=\"infer\"} 2",
            "skin_assist_firm_drafts{firm=\"oak\",state=\"uncertain\"} 1",
            "skin_assist_state_readable 1",
        ] {
            assert!(text.lines().any(|said| said == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn how_far_a_subscriber_is_behind_is_told_unless_it_was_paused() {
        const REASON: Reason = Reason::new("subscriber.refused", "look");
        let at = Timestamp::from_millis;
        let subscription = |id: &str, status| Subscription {
            status,
            events: 9,
            waiting: 3,
            waiting_from: Some(6),
            waiting_since: Some(at(1_000)),
            ..Subscription::requested(
                SubscriptionId::new(id),
                "https://subscriber.example/secret".to_owned(),
                SubscriptionFormat::CloudEvents,
                Secret::new("key".to_owned()),
                String::new(),
                at(0),
            )
        };
        let given_up = GivenUpNotification {
            subscription: SubscriptionId::new("one"),
            number: 2,
            kind: ChartEventKind::PhotoDetected,
            at: at(2_000),
            reason: REASON,
        };
        let standing = Stand {
            subscriptions: vec![
                subscription("one", SubscriptionStatus::Active),
                subscription("two", SubscriptionStatus::Off),
            ],
            given_up: vec![given_up],
            ..Stand::default()
        };
        let counted = Counted::new();
        for (taken, ending) in [
            (4, Ending::Taken),
            (2, Ending::Waiting(REASON)),
            (0, Ending::Waiting(REASON)),
            (0, Ending::GivenUp(REASON)),
        ] {
            counted.observe(&Event::SubscriberTold {
                subscription: SubscriptionId::new("one"),
                told: Told { taken, ending },
            });
        }
        let text = text(&counted, Some(&standing), at(61_000)).unwrap();
        for line in [
            "skin_assist_notices_total{subscription=\"one\",outcome=\"taken\"} 6",
            "skin_assist_notices_total{subscription=\"one\",outcome=\"failed\"} 2",
            "skin_assist_notices_total{subscription=\"one\",outcome=\"given-up\"} 1",
            "skin_assist_subscriptions{status=\"active\"} 1",
            "skin_assist_subscriptions{status=\"error\"} 0",
            "skin_assist_subscription_events_total{subscription=\"one\"} 9",
            "skin_assist_subscription_waiting_events{subscription=\"two\"} 3",
            "skin_assist_subscription_behind_seconds{subscription=\"one\"} 60.0",
            "skin_assist_subscription_dead_letters{subscription=\"one\"} 1",
            "skin_assist_subscription_dead_letters{subscription=\"two\"} 0",
        ] {
            assert!(text.lines().any(|said| said == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("behind_seconds{subscription=\"two\"}") && !text.contains("subscriber.example"));
    }

    #[test]
    fn what_happens_is_counted_with_its_reason() {
        const REASON: Reason = Reason::new("ehr.unavailable", "wait");
        let at = Timestamp::from_millis;
        let counted = Counted::new();
        let stepped = Stepped {
            stage: Stage::WriteBack,
            outcome: Outcome::Waiting,
            reason: Some(REASON),
            began_at: at(1_000),
            ended_at: at(3_000),
            firm: FirmId::new("oak"),
            photos: vec![SteppedPhoto {
                document: DocumentId::new("file|1"),
                filed_at: Some(at(0)),
                detected_at: at(500),
            }],
        };
        counted.observe(&Event::Stepped(Box::new(stepped.clone())));
        counted.observe(&Event::Resting {
            firm: FirmId::new("oak".to_owned()),
            until: at(9_000),
            reason: REASON,
        });
        counted.observe(&Event::Stepped(Box::new(Stepped {
            outcome: Outcome::Delivered,
            reason: None,
            ended_at: at(50_000),
            ..stepped
        })));
        let text = text(&counted, None, at(0)).unwrap();
        for line in [
            "skin_assist_firm_rests_total{reason=\"ehr.unavailable\"} 1",
            "skin_assist_step_reasons_total{stage=\"write-back\",outcome=\"waiting\",reason=\"ehr.unavailable\"} 1",
            "skin_assist_steps_total{stage=\"write-back\",outcome=\"waiting\"} 1",
            "skin_assist_step_seconds_sum{stage=\"write-back\"} 51.0",
            "skin_assist_photo_to_draft_seconds_bucket{le=\"45.0\",from=\"filed\"} 0",
            "skin_assist_photo_to_draft_seconds_bucket{le=\"60.0\",from=\"filed\"} 1",
            "skin_assist_photo_to_draft_seconds_sum{from=\"detected\"} 49.5",
            "skin_assist_state_readable 0",
        ] {
            assert!(text.lines().any(|said| said == line), "{line} is not in\n{text}");
        }
        assert!(
            !text.contains("oak"),
            "a practice has no label of its own where photos are counted"
        );
    }
}
