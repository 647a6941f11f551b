//! The call quota: any 60 s or as the dialect has it, per API key, over all firms that share it. And the count of calls by
//! kind.
//!
//! A refused call does not use up quota (a client that hammers is not locked out for good), but it is counted as an
//! attempt: the busiest window of the report counts what the client sent, admitted or not.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};
use skin_assist_core::time::Timestamp;

use crate::dialect::QuotaWindow;

/// What a call is for. `Token` and `Photo` are on other hosts and outside the quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallKind {
    /// `GET Encounter`.
    Encounter,
    /// `GET DocumentReference`, and a batch of such searches.
    Document,
    /// `GET DocumentReference/{id}` and `GET Binary/{id}`.
    Read,
    /// `POST Composition` and `POST DocumentReference`.
    Draft,
    /// Everything else on the API.
    Context,
    /// The token endpoint.
    Token,
    /// A pre-signed photo URL.
    Photo,
}

/// Calls that were not answered 429, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Calls {
    /// `GET Encounter`.
    pub encounter: u64,
    /// `GET DocumentReference`, and batches of such searches.
    pub document: u64,
    /// `GET DocumentReference/{id}` and `GET Binary/{id}`.
    pub read: u64,
    /// `POST Composition` and `POST DocumentReference`.
    pub draft: u64,
    /// Everything else on the API.
    pub context: u64,
}

impl Calls {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.encounter + self.document + self.read + self.draft + self.context
    }
}

/// What was asked of the EHR so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) calls: Calls,
    pub(crate) token: u64,
    pub(crate) photo: u64,
    pub(crate) refused_429: u64,
}

impl Counters {
    pub(crate) fn count(&mut self, kind: CallKind) {
        let counter = match kind {
            CallKind::Encounter => &mut self.calls.encounter,
            CallKind::Document => &mut self.calls.document,
            CallKind::Read => &mut self.calls.read,
            CallKind::Draft => &mut self.calls.draft,
            CallKind::Context => &mut self.calls.context,
            CallKind::Token => &mut self.token,
            CallKind::Photo => &mut self.photo,
        };
        *counter += 1;
    }
}

/// One API key's calls in the present window, and in the last 60 s.
#[derive(Debug, Default)]
pub(crate) struct Window {
    admitted: VecDeque<Timestamp>,
    attempted: VecDeque<Timestamp>,
    busiest: usize,
}

impl Window {
    /// What the report's busiest window is long.
    const LENGTH: Duration = Duration::from_mins(1);

    /// Counts an attempt and says whether it is within the quota.
    pub(crate) fn admit(&mut self, now: Timestamp, limit: u32, rule: QuotaWindow) -> bool {
        let is_over = |first: Timestamp| match rule {
            QuotaWindow::Sliding(length) => first + length <= now,
            QuotaWindow::Fixed(length) => {
                let length = i64::try_from(length.as_millis()).unwrap_or(i64::MAX).max(1);
                first.as_millis().div_euclid(length) != now.as_millis().div_euclid(length)
            }
        };
        while self.admitted.front().is_some_and(|first| is_over(*first)) {
            self.admitted.pop_front();
        }
        let attempted = &mut self.attempted;
        while attempted.front().is_some_and(|first| *first + Self::LENGTH <= now) {
            attempted.pop_front();
        }
        self.attempted.push_back(now);
        self.busiest = self.busiest.max(self.attempted.len());
        let admitted = self.admitted.len() < limit as usize;
        if admitted {
            self.admitted.push_back(now);
        }
        admitted
    }

    /// How many calls are left just after one was admitted.
    pub(crate) fn remaining(&self, limit: u32) -> u32 {
        limit.saturating_sub(u32::try_from(self.admitted.len()).unwrap_or(u32::MAX))
    }

    /// The most attempts there ever were in 60 s.
    pub(crate) fn busiest(&self) -> usize {
        self.busiest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_slides() {
        let mut window = Window::default();
        let at = Timestamp::from_millis;
        let mut admit = |millis: i64| window.admit(at(millis), 2, QuotaWindow::Sliding(Duration::from_mins(1)));
        assert!(admit(0));
        assert!(admit(30_000));
        assert!(!admit(59_999));
        assert!(admit(60_000), "the first call has left the window");
        assert!(!admit(60_001), "a refusal has not used up quota, the second call has");
        assert!(admit(90_000));
        assert_eq!(window.busiest(), 4);
    }

    #[test]
    fn a_fixed_window_shuts_out_until_the_next() {
        let mut window = Window::default();
        let hour = QuotaWindow::Fixed(Duration::from_hours(1));
        let mut admit = |seconds: i64| window.admit(Timestamp::from_millis(seconds * 1_000), 1, hour);
        assert!(admit(3_599));
        assert!(admit(3_600), "a new hour");
        assert!(!admit(3_700));
        assert!(!admit(7_199));
        assert!(admit(7_200));
    }
}
