//! What the model server counts, in Prometheus's text format. The values of labels are few and ours: routes, outcomes, packs.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use skin_assist_core::{
    domain::{Findings, Route},
    ports::VisionError,
    wire::Description,
};
use tokio::sync::Semaphore;

use super::ServerOptions;

/// Upper bounds of the histogram of looks, in milliseconds.
const BOUNDS_MS: [u64; 9] = [25, 50, 100, 250, 500, 1_000, 2_500, 10_000, 60_000];

const OUTCOMES: [&str; 4] = ["findings", "photo-refused", "model-failed", "unavailable"];

#[derive(Debug, Default)]
pub(super) struct Metrics {
    routes: [RouteMetrics; Route::ALL.len()],
    turned_away: AtomicU64,
}

#[derive(Debug, Default)]
struct RouteMetrics {
    outcomes: [AtomicU64; OUTCOMES.len()],
    /// By the first bound that they keep; the last is for those that keep none.
    looks: [AtomicU64; BOUNDS_MS.len() + 1],
    total_ms: AtomicU64,
}

impl Metrics {
    /// A request that found no slot.
    pub(super) fn turned_away(&self) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }

    /// A look has ended.
    pub(super) fn looked(&self, route: Route, outcome: &Result<Findings, VisionError>, took: Duration) {
        let outcome = match outcome {
            Ok(_) => 0,
            Err(VisionError::Photo(_)) => 1,
            Err(VisionError::Model { .. }) => 2,
            Err(_) => 3,
        };
        let metrics = &self.routes[route as usize];
        metrics.outcomes[outcome].fetch_add(1, Ordering::Relaxed);
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MS.partition_point(|bound| *bound < took_ms);
        metrics.looks[bucket].fetch_add(1, Ordering::Relaxed);
        metrics.total_ms.fetch_add(took_ms, Ordering::Relaxed);
    }

    pub(super) fn text(&self, description: &Description, options: &ServerOptions, slots: &Semaphore) -> String {
        let mut text = String::new();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        head(
            &mut text,
            "looks_total",
            "counter",
            "Photos looked at, by route and outcome.",
        );
        for (route, metrics) in Route::ALL.into_iter().zip(&self.routes) {
            for (outcome, counter) in OUTCOMES.into_iter().zip(&metrics.outcomes) {
                let value = count(counter);
                line(
                    &mut text,
                    "looks_total",
                    &format!("route=\"{route}\",outcome=\"{outcome}\""),
                    value,
                );
            }
        }
        head(
            &mut text,
            "look_seconds",
            "histogram",
            "How long looks took, waiting included.",
        );
        for (route, metrics) in Route::ALL.into_iter().zip(&self.routes) {
            let mut within = 0;
            for (bucket, counter) in metrics.looks.iter().enumerate() {
                within += count(counter);
                let bound = BOUNDS_MS
                    .get(bucket)
                    .map_or_else(|| "+Inf".to_owned(), |bound| (*bound as f64 / 1e3).to_string());
                line(
                    &mut text,
                    "look_seconds_bucket",
                    &format!("route=\"{route}\",le=\"{bound}\""),
                    within,
                );
            }
            let seconds = count(&metrics.total_ms) as f64 / 1e3;
            line(&mut text, "look_seconds_sum", &format!("route=\"{route}\""), seconds);
            line(&mut text, "look_seconds_count", &format!("route=\"{route}\""), within);
        }
        head(
            &mut text,
            "turned_away_total",
            "counter",
            "Requests that found no slot free.",
        );
        line(&mut text, "turned_away_total", "", count(&self.turned_away));
        head(&mut text, "slots", "gauge", "Photos that may be held at a time.");
        line(&mut text, "slots", "", options.slots);
        head(&mut text, "slots_used", "gauge", "Photos that are held.");
        line(&mut text, "slots_used", "", options.slots - slots.available_permits());
        head(&mut text, "model", "gauge", "1 for each model that is served.");
        for model in &description.models {
            let (pack, version) = (escaped(&model.pack), escaped(&model.version));
            let labels = format!("route=\"{}\",pack=\"{pack}\",version=\"{version}\"", model.route);
            line(&mut text, "model", &labels, 1);
        }
        text
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    _ = writeln!(
        text,
        "# HELP skin_assist_{name} {help}\n# TYPE skin_assist_{name} {kind}"
    );
}

fn line(text: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    _ = if labels.is_empty() {
        writeln!(text, "skin_assist_{name} {value}")
    } else {
        writeln!(text, "skin_assist_{name}{{{labels}}} {value}")
    };
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
