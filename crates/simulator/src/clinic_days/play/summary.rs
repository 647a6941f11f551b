//! What a play came to.

use std::{collections::HashMap, time::Duration};

use skin_assist_core::time::Timestamp;

use super::{
    super::{
        chart::instant,
        outcome::{LiveDelay, Outcome, PhotoDelay, mean, quantile},
    },
    Player, SearchKind,
};

impl Player<'_> {
    /// Of the measured photos: whether each was filed while its visit was in progress, and when that ended.
    pub(super) fn outcome(mut self, live_of: &HashMap<u32, (bool, Option<Timestamp>)>) -> Outcome {
        let day = Duration::from_secs(86_400);
        let (mut live, mut by_firm, mut weighted) = (Vec::new(), HashMap::<u32, Vec<f64>>::new(), Vec::new());
        let mut photos = Vec::new();
        let (mut missed, mut in_progress) = (0, 0_usize);
        let mut documents: Vec<_> = live_of.iter().collect();
        documents.sort_by_key(|(document, _)| **document);
        for (document, (is_live, finish)) in documents {
            let photo = &self.photos[document];
            let found = photo.found.filter(|found| *found < photo.filed + day);
            let delay = found.map_or(day, |found| found.since(photo.filed)).as_secs_f64();
            missed += usize::from(found.is_none());
            photos.push(PhotoDelay {
                firm: photo.firm,
                filed: photo.filed.since(instant(0.0)).as_secs_f64(),
                live: *is_live,
                delay_s: delay,
            });
            weighted.push((if *is_live { 1.0 } else { 0.25 }, delay));
            if *is_live {
                live.push(delay);
                by_firm.entry(photo.firm).or_default().push(delay);
                in_progress += usize::from(found.is_some_and(|found| finish.is_none_or(|finish| found <= finish)));
            }
        }
        let live_delays = live.clone();
        live.sort_by(f64::total_cmp);
        let mut firm_delays: Vec<_> = by_firm.into_iter().collect();
        firm_delays.sort_by_key(|(firm, _)| *firm);
        let mut means: Vec<f64> = firm_delays.iter().map(|(_, delays)| mean(delays)).collect();
        means.sort_by(f64::total_cmp);
        let weights: f64 = weighted.iter().map(|(weight, _)| weight).sum();
        let sum: f64 = weighted.iter().map(|(weight, delay)| weight * delay).sum();
        Outcome {
            policy: self.scenario.policy.to_string(),
            search: match self.scenario.search {
                SearchKind::Patient => "patient",
                SearchKind::EncounterList => "encounter-list",
                SearchKind::Batch => "batch",
                SearchKind::System => "system",
            }
            .to_owned(),
            firms: self.firms.len(),
            budget_per_minute: self.scenario.budget_per_minute,
            hint: self.scenario.hint,
            live: LiveDelay {
                mean_s: mean(&live),
                p50_s: quantile(&live, 0.5),
                p90_s: quantile(&live, 0.9),
                p99_s: quantile(&live, 0.99),
            },
            weighted_mean_s: if weights > 0.0 { sum / weights } else { 0.0 },
            lower_bound_s: None,
            missed,
            detected_in_progress: if live.is_empty() {
                1.0
            } else {
                in_progress as f64 / live.len() as f64
            },
            calls: self.counter.measured,
            calls_per_document: if weighted.is_empty() {
                0.0
            } else {
                self.counter.measured.total() as f64 / weighted.len() as f64
            },
            over_quota: self.counter.over_quota,
            worst_over_median_firm: match (means.last(), quantile(&means, 0.5)) {
                (Some(worst), median) if median > 0.0 => worst / median,
                _ => 1.0,
            },
            wall_s: 0.0,
            live_delays,
            calls_over_day: self.counter.over_day,
            firm_delays,
            weighted,
            learned: self.policy.gained(),
            photos,
            ledger: self.counter.ledger,
        }
    }
}
