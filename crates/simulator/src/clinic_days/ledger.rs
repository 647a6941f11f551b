//! What is counted while a trace is played: calls as the EHR sees them, and who waited for how long.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use skin_assist_core::{domain::WATCH_LIFE, ports::CallKind, time::Timestamp};

use super::outcome::{CallCounts, Ledger};

/// Quarters of an hour in a day.
const QUARTERS: usize = 96;

const WINDOW: Duration = Duration::from_secs(60);

/// How long a visit is watched, and since when nobody has looked.
#[derive(Debug)]
struct Watched {
    unseen_since: Timestamp,
    version: Option<Timestamp>,
    until: Timestamp,
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub(super) struct Counter {
    pub(super) ledger: Ledger,
    /// Calls that the EHR refused because there were too many of them.
    pub(super) over_quota: u64,
    /// Calls since the measurement began, and those of each quarter of an hour.
    pub(super) measured: CallCounts,
    pub(super) over_day: Vec<[u32; 4]>,
    arrivals: VecDeque<Timestamp>,
    admitted: VecDeque<Timestamp>,
    polled: HashMap<u32, Timestamp>,
    visits: HashMap<usize, Watched>,
}

fn forget(times: &mut VecDeque<Timestamp>, now: Timestamp) {
    while times.front().is_some_and(|first| *first + WINDOW <= now) {
        times.pop_front();
    }
}

impl Counter {
    /// Nothing counted yet; calls are shown over a day.
    pub(super) fn for_a_day() -> Self {
        Self {
            over_day: vec![[0; 4]; QUARTERS],
            ..Self::default()
        }
    }

    /// A call arrives at the EHR.
    pub(super) fn arrived(&mut self, kind: CallKind, measured_from: Timestamp, now: Timestamp) {
        self.ledger.arrived.count(kind);
        self.ledger.on_their_way -= 1;
        forget(&mut self.arrivals, now);
        self.arrivals.push_back(now);
        self.ledger.most_in_a_window = self.ledger.most_in_a_window.max(self.arrivals.len());
        if now >= measured_from {
            let place = self.measured.count(kind);
            let quarter = (now.since(measured_from).as_secs() / 900) as usize;
            if let Some(counts) = self.over_day.get_mut(quarter) {
                counts[place] += 1;
            }
        }
    }

    /// Whether the EHR lets a call in, which allows `budget` of them in any window.
    pub(super) fn admit(&mut self, budget: u32, now: Timestamp) -> bool {
        forget(&mut self.admitted, now);
        let admits = self.admitted.len() < budget as usize;
        if admits {
            self.admitted.push_back(now);
        } else {
            self.over_quota += 1;
        }
        admits
    }

    /// An encounter poll of a practice was answered as of `now`.
    pub(super) fn polled(&mut self, firm: u32, now: Timestamp) {
        if let Some(before) = self.polled.insert(firm, now) {
            let waited = now.since(before).as_secs_f64();
            self.ledger.longest_unpolled_s = self.ledger.longest_unpolled_s.max(waited);
        }
    }

    /// An encounter poll showed a visit: it is under watch from now on, and as long as it changes.
    pub(super) fn shown(&mut self, visit: usize, version: Option<Timestamp>, now: Timestamp) {
        let watched = self.visits.entry(visit).or_insert(Watched {
            unseen_since: now,
            version: None,
            until: now,
        });
        if watched.version != version {
            if watched.until < now {
                // Its watch was over: nobody had to look.
                watched.unseen_since = now;
            }
            watched.version = version;
            watched.until = now + WATCH_LIFE;
        }
    }

    /// A visit was looked at.
    pub(super) fn looked(&mut self, visit: usize, now: Timestamp) {
        if let Some(watched) = self.visits.get_mut(&visit) {
            let waited = now.min(watched.until).since(watched.unseen_since).as_secs_f64();
            self.ledger.longest_unseen_s = self.ledger.longest_unseen_s.max(waited);
            watched.unseen_since = now;
        }
    }

    /// The end of the play: who still waits has waited until now.
    pub(super) fn end(&mut self, now: Timestamp) {
        for firm in self.polled.keys().copied().collect::<Vec<_>>() {
            self.polled(firm, now);
        }
        for visit in self.visits.keys().copied().collect::<Vec<_>>() {
            self.looked(visit, now);
        }
    }
}
