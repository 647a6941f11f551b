//! What is believed about one firm: how its encounter poll is worth a call, and how much of the quota it uses.

use std::collections::BTreeMap;

use super::provider::Provider;
use crate::{
    domain::{EncounterId, FirmId, PractitionerId},
    polling::share::{Decayed, Share},
};

/// Openings are counted over this time, in seconds.
const OPENING_MEMORY: f64 = 1800.0;

/// A firm. Times are in seconds by our clock.
#[derive(Debug)]
pub(super) struct Practice {
    pub(super) id: FirmId,
    pub(super) served: bool,
    pub(super) queue: usize,
    /// Of when its last encounter poll is.
    pub(super) polled: f64,
    /// When the latest photo was filed whose visit is not known.
    pub(super) stray: f64,
    pub(super) under_way: bool,
    pub(super) documents_under_way: bool,
    pub(super) generation: u32,
    pub(super) documents_generation: u32,
    pub(super) resting_until: f64,
    pub(super) visits: BTreeMap<EncounterId, u32>,
    pub(super) providers: Vec<Provider>,
    provider_names: BTreeMap<Option<PractitionerId>, usize>,
    /// Pages of an encounter poll, on average.
    pub(super) pages: f64,
    /// Visits with a photo of which the next encounter poll tells whether it bumped them.
    pub(super) unproved: Vec<u32>,
    /// Weighted photos a second that its visits bring, and what it is worth a second to learn that visits ended; as of
    /// `summed`.
    pub(super) intensity: f64,
    pub(super) endings: f64,
    pub(super) summed: f64,
    /// Visits of which much is to be expected; the others are summed up now and then.
    pub(super) lively: Vec<u32>,
    pub(super) quiet_intensity: f64,
    /// The quiet ones that a search for several visits asks for first.
    pub(super) longest_waiting: Vec<u32>,
    /// Of when the last search for all that changed is, and of when the last one whose answer was booked for quiet visits too.
    pub(super) looked: f64,
    pub(super) looked_at_quiet: f64,
    pub(super) sorted: f64,
    /// What a search for several of its visits would clear, as of when that was worked out.
    pub(super) together: Together,
    openings: Decayed,
    pub(super) share: Share,
}

/// What a search for several visits of a firm, or for all, would clear.
#[derive(Debug, Clone, Copy)]
pub(super) struct Together {
    pub(super) mass: f64,
    pub(super) growth: f64,
    /// One of them has to be looked at whatever is expected of it.
    pub(super) forced: bool,
    pub(super) at: f64,
}

impl Default for Together {
    fn default() -> Self {
        Self {
            mass: 0.0,
            growth: 1e-12,
            forced: false,
            at: f64::NEG_INFINITY,
        }
    }
}

impl Practice {
    /// A firm of which nothing is known: its encounters are to be polled at once.
    pub(super) fn new(id: FirmId, queue: usize, now: f64) -> Self {
        Self {
            id,
            served: true,
            queue,
            polled: now - super::UNPOLLED,
            stray: f64::NEG_INFINITY,
            under_way: false,
            documents_under_way: false,
            generation: 0,
            documents_generation: 0,
            resting_until: f64::NEG_INFINITY,
            visits: BTreeMap::new(),
            providers: Vec::new(),
            provider_names: BTreeMap::new(),
            pages: 1.0,
            unproved: Vec::new(),
            intensity: 0.0,
            endings: 0.0,
            summed: f64::NEG_INFINITY,
            lively: Vec::new(),
            quiet_intensity: 0.0,
            longest_waiting: Vec::new(),
            looked: now,
            looked_at_quiet: f64::NEG_INFINITY,
            sorted: f64::NEG_INFINITY,
            together: Together::default(),
            openings: Decayed::default(),
            share: Share::new(now),
        }
    }

    /// The place of a provider among the firm's.
    pub(super) fn provider(&mut self, name: Option<&PractitionerId>) -> usize {
        let providers = &mut self.providers;
        *self.provider_names.entry(name.cloned()).or_insert_with(|| {
            providers.push(Provider::default());
            providers.len() - 1
        })
    }

    /// The providers by name.
    pub(super) fn providers_by_name(&mut self) -> impl Iterator<Item = (Option<&PractitionerId>, &mut Provider)> {
        let mut names: Vec<_> = self.provider_names.iter().collect();
        names.sort_by_key(|(_, place)| **place);
        names
            .into_iter()
            .map(|(name, _)| name.as_ref())
            .zip(&mut self.providers)
    }

    /// Openings a second. Never quite none: a day begins with an opening.
    pub(super) fn opening_rate(&self, now: f64) -> f64 {
        (self.openings.value(now, OPENING_MEMORY) + 0.05) / OPENING_MEMORY
    }

    /// A visit opened.
    pub(super) fn opened(&mut self, now: f64) {
        self.openings.add(1.0, now, OPENING_MEMORY);
    }
}
