//! What the model server counts, as OpenMetrics text. The values of labels are few and ours: routes, outcomes, packs.

use std::{fmt, time::Duration};

use prometheus_client::{
    encoding::text::{encode_eof, encode_registry},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use skin_assist_core::{
    domain::{Findings, Route},
    ports::VisionError,
    wire::Description,
};
use tokio::sync::Semaphore;

use super::ServerOptions;

/// What all names begin with.
const PREFIX: &str = "skin_assist";

/// Upper bounds of the histogram of looks, in seconds.
const BOUNDS_S: [f64; 9] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

const OUTCOMES: [&str; 4] = ["findings", "photo-refused", "model-failed", "unavailable"];

type Labels<const COUNT: usize> = [(&'static str, String); COUNT];

#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    looks: Family<Labels<2>, Counter>,
    seconds: Family<Labels<1>, Histogram, fn() -> Histogram>,
    turned_away: Counter,
}

fn route_label(route: Route) -> (&'static str, String) {
    ("route", route.to_string())
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let seconds: fn() -> Histogram = || Histogram::new(BOUNDS_S);
        let metrics = Self {
            looks: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            turned_away: Counter::default(),
            registry: Registry::default(),
        };
        // All there are from the beginning: what has not happened yet is 0.
        for route in Route::ALL {
            for outcome in OUTCOMES {
                drop(
                    metrics
                        .looks
                        .get_or_create(&[route_label(route), ("outcome", outcome.to_owned())]),
                );
            }
            drop(metrics.seconds.get_or_create(&[route_label(route)]));
        }
        registry.register(
            "looks",
            "Photos looked at, by route and outcome.",
            metrics.looks.clone(),
        );
        registry.register_with_unit(
            "look",
            "How long looks took, waiting included.",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register(
            "turned_away",
            "Requests that found no slot free.",
            metrics.turned_away.clone(),
        );
        Self { registry, ..metrics }
    }

    /// A request that found no slot.
    pub(super) fn turned_away(&self) {
        self.turned_away.inc();
    }

    /// A look has ended.
    pub(super) fn looked(&self, route: Route, outcome: &Result<Findings, VisionError>, took: Duration) {
        let [findings, photo_refused, model_failed, unavailable] = OUTCOMES;
        let outcome = match outcome {
            Ok(_) => findings,
            Err(VisionError::Photo(_)) => photo_refused,
            Err(VisionError::Model { .. }) => model_failed,
            Err(_) => unavailable,
        };
        self.looks
            .get_or_create(&[route_label(route), ("outcome", outcome.to_owned())])
            .inc();
        self.seconds
            .get_or_create(&[route_label(route)])
            .observe(took.as_secs_f64());
    }

    /// Everything as text: what was counted, and how the server stands.
    pub(super) fn text(
        &self,
        description: &Description,
        options: &ServerOptions,
        slots: &Semaphore,
    ) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        let mut registry = Registry::with_prefix(PREFIX);
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let (all, used): (Gauge, Gauge) = (Gauge::default(), Gauge::default());
        all.set(number(options.slots));
        used.set(number(options.slots - slots.available_permits()));
        registry.register("slots", "Photos that may be held at a time.", all);
        registry.register("slots_used", "Photos that are held.", used);
        let models: Family<Labels<3>, Gauge> = Family::default();
        for model in &description.models {
            let (pack, version) = (("pack", model.pack.clone()), ("version", model.version.clone()));
            models.get_or_create(&[route_label(model.route), pack, version]).set(1);
        }
        registry.register("model", "1 for each model that is served.", models);
        encode_registry(&mut text, &registry)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}
