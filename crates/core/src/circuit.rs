//! Circuit breakers: a host that fails again and again is left alone, and asked again with one request at a time.
//!
//! # Invariants
//! - A circuit is *closed* while its host answers. [`FAILURES_TO_OPEN`] failures in a row, without one answer in between, open it.
//!   While it is *open* nothing is sent. When its time is over it is *half-open*: one request goes as a probe, the others still
//!   wait. The probe's answer closes it; its failure opens it for twice as long, at most for [`LONGEST_OPEN`].
//! - What must not be sent on trial (a draft: its lost reply would leave it uncertain) is not the probe, unless nothing else was sent for
//!   [`PROBE_BY_ANY`]: a process may have nothing but drafts left to send, and would keep them for ever.
//! - An answer is any reply that is not a 5xx: a host that refuses is there.
//!
//! # When it fails
//! Nothing of it outlives the process, and it is wrong for a minute at the most: then somebody probes. A clock that was set back
//! does not keep a circuit open for longer than that. Who is refused has sent nothing, and says so.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// So many failures in a row open a circuit.
pub const FAILURES_TO_OPEN: u32 = 5;

/// For how long it is open at first.
pub const FIRST_OPEN: Duration = Duration::from_secs(5);

/// For how long it is open at the most.
pub const LONGEST_OPEN: Duration = Duration::from_secs(60);

/// A request that was given up after so long counts as a failure: the host did not answer in that time.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A probe of which nothing was heard for so long is taken for lost, and another one goes.
const PROBE_LASTS: Duration = Duration::from_secs(90);

/// After so long without a probe, what was not to be one is.
pub const PROBE_BY_ANY: Duration = Duration::from_secs(60);

/// When to ask again while a probe is under way.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// More hosts than any configuration has: a server that names ever new ones fills no memory.
const MOST_HOSTS: usize = 1_000;

/// How a request stands to a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// One of many.
    Call,
    /// The one on which it depends whether the circuit closes.
    Probe,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There was a reply, and it was no 5xx.
    Answered,
    /// No connection, no whole reply in time, or a 5xx.
    Failed,
    /// It was given up before anything could be known.
    NotKnown,
}

/// What an outcome changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The circuit was closed and is open now.
    Opened {
        /// Until when nothing is sent.
        until: Timestamp,
        /// How many requests failed in a row.
        failures: u32,
    },
    /// A probe failed: it stays open.
    StaysOpen {
        /// Until when nothing is sent.
        until: Timestamp,
    },
    /// The host answers again.
    Closed,
}

/// A host that is left alone at present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestingHost {
    /// Its name, and its port where that is not the scheme's own.
    pub host: String,
    /// When it is asked again.
    pub until: Timestamp,
    /// How many requests have failed since its last answer.
    pub failures: u32,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed,
    Open { until: Timestamp },
    Probing { since: Timestamp },
}

#[derive(Debug, Clone, Copy)]
struct Circuit {
    state: State,
    failures: u32,
    open_for: Duration,
}

impl Circuit {
    const CLOSED: Self = Self {
        state: State::Closed,
        failures: 0,
        open_for: FIRST_OPEN,
    };

    /// Until when a request has to wait, if it has to.
    fn rests_until(&self, may_probe: bool, now: Timestamp) -> Option<Timestamp> {
        match self.state {
            State::Closed => None,
            // A time further away than any that was set: the clock went back.
            State::Open { until } if until > now && until <= now + LONGEST_OPEN => Some(until),
            State::Probing { since } if since <= now && now < since + PROBE_LASTS => Some(now + PROBE_PAUSE),
            State::Open { until: over_at } => Self::waits_for_a_probe(may_probe, over_at, now),
            State::Probing { since } => Self::waits_for_a_probe(may_probe, since + PROBE_LASTS, now),
        }
    }

    /// Until when a request has to wait for a probe, which could be made since `over_at`.
    fn waits_for_a_probe(may_probe: bool, over_at: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let went_back = over_at > now + LONGEST_OPEN + PROBE_LASTS;
        let is_probe = may_probe || went_back || now >= over_at + PROBE_BY_ANY;
        (!is_probe).then_some(now + PROBE_PAUSE)
    }

    fn ended(&mut self, permit: Permit, outcome: Outcome, now: Timestamp) -> Option<Change> {
        let is_open = !matches!(self.state, State::Closed);
        match outcome {
            Outcome::Answered => {
                *self = Self::CLOSED;
                is_open.then_some(Change::Closed)
            }
            Outcome::NotKnown => {
                if permit == Permit::Probe {
                    // The next one may be the probe.
                    self.state = State::Open { until: now };
                }
                None
            }
            Outcome::Failed => {
                self.failures = self.failures.saturating_add(1);
                if is_open && permit == Permit::Call {
                    // It was begun before the circuit opened.
                    return None;
                }
                if is_open {
                    self.open_for = (self.open_for * 2).min(LONGEST_OPEN);
                } else if self.failures < FAILURES_TO_OPEN {
                    return None;
                }
                let until = now + self.open_for;
                self.state = State::Open { until };
                Some(if is_open {
                    Change::StaysOpen { until }
                } else {
                    Change::Opened {
                        until,
                        failures: self.failures,
                    }
                })
            }
        }
    }
}

/// The circuits of all hosts that a process sends to. Hosts that answer are not kept.
#[derive(Debug, Default)]
pub struct Circuits(Mutex<BTreeMap<String, Circuit>>);

impl Circuits {
    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Circuit>> {
        // No code that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks to send a request to `host`; `may_probe` says whether it may be sent on trial.
    ///
    /// # Errors
    /// When to ask again: nothing may be sent now.
    pub fn ask(&self, host: &str, may_probe: bool, now: Timestamp) -> Result<Permit, Timestamp> {
        let mut circuits = self.held();
        let Some(circuit) = circuits.get_mut(host) else {
            return Ok(Permit::Call);
        };
        if let Some(until) = circuit.rests_until(may_probe, now) {
            return Err(until);
        }
        Ok(match circuit.state {
            State::Closed => Permit::Call,
            State::Open { .. } | State::Probing { .. } => {
                circuit.state = State::Probing { since: now };
                Permit::Probe
            }
        })
    }

    /// Notes what became of a request that had this permit.
    pub fn ended(&self, host: &str, permit: Permit, outcome: Outcome, now: Timestamp) -> Option<Change> {
        let mut circuits = self.held();
        if !circuits.contains_key(host) {
            if outcome != Outcome::Failed || circuits.len() >= MOST_HOSTS {
                return None;
            }
            circuits.insert(host.to_owned(), Circuit::CLOSED);
        }
        let circuit = circuits.get_mut(host)?;
        let change = circuit.ended(permit, outcome, now);
        if outcome == Outcome::Answered {
            circuits.remove(host);
        }
        change
    }

    /// Until when a request to `host` would have to wait, if it would. Takes no permit.
    pub fn rests_until(&self, host: &str, may_probe: bool, now: Timestamp) -> Option<Timestamp> {
        self.held().get(host)?.rests_until(may_probe, now)
    }

    /// The hosts that are left alone, in the order of their names.
    pub fn resting(&self, now: Timestamp) -> Vec<RestingHost> {
        let resting = |(host, circuit): (&String, &Circuit)| {
            circuit.rests_until(false, now).map(|until| RestingHost {
                host: host.clone(),
                until,
                failures: circuit.failures,
            })
        };
        self.held().iter().filter_map(resting).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "ehr.example";

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn fail(circuits: &Circuits, times: u32, now: Timestamp) -> Option<Change> {
        let mut change = None;
        for _ in 0..times {
            change = circuits.ended(HOST, Permit::Call, Outcome::Failed, now);
        }
        change
    }

    fn opened(now: Timestamp) -> Circuits {
        let circuits = Circuits::default();
        fail(&circuits, FAILURES_TO_OPEN, now);
        circuits
    }

    #[test]
    fn failures_in_a_row_open_and_an_answer_in_between_does_not_let_them() {
        let circuits = Circuits::default();
        assert_eq!(fail(&circuits, FAILURES_TO_OPEN - 1, at(0)), None);
        assert_eq!(circuits.ended(HOST, Permit::Call, Outcome::Answered, at(0)), None);
        assert_eq!(fail(&circuits, FAILURES_TO_OPEN - 1, at(1)), None);
        assert_eq!(circuits.ask(HOST, true, at(1)), Ok(Permit::Call));
        let (until, failures) = (at(1) + FIRST_OPEN, FAILURES_TO_OPEN);
        assert_eq!(fail(&circuits, 1, at(1)), Some(Change::Opened { until, failures }));
        assert_eq!(circuits.ask(HOST, true, at(2)), Err(until));
        assert_eq!(circuits.ask("another.example", true, at(2)), Ok(Permit::Call));
    }

    #[test]
    fn one_probe_at_a_time_and_never_what_must_not_go_on_trial() {
        let circuits = opened(at(0));
        assert_eq!(circuits.ask(HOST, false, at(5)), Err(at(6)), "a draft is no probe");
        assert_eq!(circuits.ask(HOST, true, at(5)), Ok(Permit::Probe));
        assert_eq!(circuits.ask(HOST, true, at(5)), Err(at(6)));
        assert_eq!(circuits.rests_until(HOST, true, at(7)), Some(at(8)));
        let change = circuits.ended(HOST, Permit::Probe, Outcome::Answered, at(8));
        assert_eq!(change, Some(Change::Closed));
        assert_eq!(circuits.ask(HOST, false, at(8)), Ok(Permit::Call));
        assert!(circuits.held().is_empty(), "a host that answers is not kept");
    }

    #[test]
    fn where_nothing_else_is_sent_a_draft_is_the_probe_after_a_minute() {
        let circuits = opened(at(0));
        let over_at = at(0) + FIRST_OPEN;
        let almost = over_at + PROBE_BY_ANY - Duration::from_secs(1);
        assert_eq!(circuits.ask(HOST, false, almost), Err(almost + PROBE_PAUSE));
        assert_eq!(circuits.ask(HOST, false, over_at + PROBE_BY_ANY), Ok(Permit::Probe));
        // The probe is lost with whoever made it.
        let over_at = over_at + PROBE_BY_ANY + PROBE_LASTS;
        assert_eq!(circuits.ask(HOST, false, over_at), Err(over_at + PROBE_PAUSE));
        assert_eq!(circuits.ask(HOST, false, over_at + PROBE_BY_ANY), Ok(Permit::Probe));
        // Set back by a day.
        assert_eq!(circuits.ask(HOST, false, at(-86_400)), Ok(Permit::Probe));
    }

    #[test]
    fn a_host_that_stays_away_is_asked_ever_more_rarely_but_each_minute() {
        let circuits = opened(at(0));
        let (mut now, mut probes, mut waits) = (at(0), 0, Vec::new());
        while now < at(3600) {
            match circuits.ask(HOST, true, now) {
                Err(until) => {
                    waits.push(until.since(now).as_secs());
                    now = until;
                }
                Ok(permit) => {
                    assert_eq!(permit, Permit::Probe);
                    probes += 1;
                    let change = circuits.ended(HOST, permit, Outcome::Failed, now);
                    assert!(matches!(change, Some(Change::StaysOpen { .. })), "{change:?}");
                }
            }
        }
        assert_eq!(waits[..6], [5, 10, 20, 40, 60, 60]);
        assert!((60..70).contains(&probes), "{probes} probes in an hour");
    }

    #[test]
    fn what_was_begun_before_it_opened_neither_prolongs_it_nor_is_a_probe() {
        let circuits = opened(at(0));
        assert_eq!(circuits.ended(HOST, Permit::Call, Outcome::Failed, at(4)), None);
        assert_eq!(circuits.ask(HOST, true, at(5)), Ok(Permit::Probe));
        let change = circuits.ended(HOST, Permit::Call, Outcome::Answered, at(5));
        assert_eq!(change, Some(Change::Closed), "the host answers");
    }

    #[test]
    fn a_probe_that_was_given_up_or_lost_leaves_its_place_to_another() {
        let circuits = opened(at(0));
        assert_eq!(circuits.ask(HOST, true, at(5)), Ok(Permit::Probe));
        assert_eq!(circuits.ended(HOST, Permit::Probe, Outcome::NotKnown, at(6)), None);
        assert_eq!(circuits.ask(HOST, true, at(6)), Ok(Permit::Probe));
        assert!(circuits.ask(HOST, true, at(6 + 89)).is_err());
        assert_eq!(circuits.ask(HOST, true, at(6 + 90)), Ok(Permit::Probe));
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_nothing_open() {
        let circuits = opened(at(3600));
        assert!(circuits.ask(HOST, true, at(3601)).is_err());
        assert_eq!(circuits.ask(HOST, true, at(0)), Ok(Permit::Probe));
        assert_eq!(circuits.ask(HOST, true, at(-3600)), Ok(Permit::Probe));
    }

    #[test]
    fn those_at_rest_are_told_and_ever_new_names_fill_no_memory() {
        let circuits = opened(at(0));
        let resting = circuits.resting(at(1));
        let host = HOST.to_owned();
        let (until, failures) = (at(0) + FIRST_OPEN, FAILURES_TO_OPEN);
        assert_eq!(resting, [RestingHost { host, until, failures }]);
        for number in 0..2 * MOST_HOSTS {
            circuits.ended(&format!("h{number}.example"), Permit::Call, Outcome::Failed, at(1));
        }
        assert_eq!(circuits.held().len(), MOST_HOSTS);
    }
}
