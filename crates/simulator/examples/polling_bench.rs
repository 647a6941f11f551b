//! How long the adaptive policy takes for a decision and for an answer, with many practices on one quota; one JSON object a
//! line: name, value, unit.
//!
//! `cargo run --release -p skin-assist-simulator --example polling_bench`. The answers are as they come on a clinic day: one
//! look in 170 shows a photo, encounter polls show changes, finishes and new visits.

// A measurement reads the clock and prints.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use skin_assist_core::{
    domain::{Encounter, EncounterId, EncounterStatus, FirmId, PatientId, PractitionerId},
    polling::{Answer, Decision, NewPhotos, Observation, PolicyName, PolicySettings, PollCall, PollPolicy, ServedFirm},
    time::Timestamp,
};

const FIRMS: usize = 1_000;
const VISITS_EACH: usize = 50;
const DECISIONS: usize = 200_000;
/// Not measured: until the price has found its level.
const WARM_UP: usize = 50_000;
/// 10,000 calls a minute.
const BETWEEN_CALLS: Duration = Duration::from_millis(6);
const ROUND_TRIP: Duration = Duration::from_millis(225);
const A_LOOK_SHOWS_A_PHOTO: f64 = 1.0 / 170.0;

/// Seconds in `count` pieces of work.
#[derive(Default)]
struct Stopwatch {
    total: Duration,
    count: u32,
}

impl Stopwatch {
    fn measure<T>(&mut self, measured: bool, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let outcome = work();
        if measured {
            self.total += start.elapsed();
            self.count += 1;
        }
        outcome
    }

    fn say(&self, name: &str) {
        let mean_us = self.total.as_secs_f64() * 1e6 / f64::from(self.count.max(1));
        println!("{{\"name\":\"{name}\",\"value\":{mean_us:.3},\"unit\":\"µs\"}}");
    }
}

/// The charts of a practice: the latest of its visits may still change.
struct Practice {
    id: FirmId,
    visits: Vec<Encounter>,
}

impl Practice {
    fn open(&mut self, status: EncounterStatus, at: Timestamp) {
        let number = self.visits.len();
        self.visits.push(Encounter {
            id: EncounterId::new(format!("{}/{number}", self.id)),
            patient: PatientId::new(format!("p{number}")),
            practitioner: Some(PractitionerId::new(format!("d{}", number % 7))),
            status,
            last_updated: Some(at),
        });
    }

    /// What an encounter poll shows: some visits that changed, and now and then a new one.
    fn changed(&mut self, random: &mut ChaCha8Rng, now: Timestamp) -> Vec<Encounter> {
        if random.random_bool(0.2) {
            self.open(EncounterStatus::Open, now);
        }
        let latest = self.visits.len().saturating_sub(5);
        let mut shown = Vec::new();
        for visit in &mut self.visits[latest..] {
            if random.random_bool(0.3) {
                visit.last_updated = Some(now - Duration::from_millis(random.random_range(0..60_000)));
                if random.random_bool(0.1) {
                    visit.status = EncounterStatus::Finished;
                }
            }
            shown.push(visit.clone());
        }
        shown
    }
}

fn answer(now: Timestamp) -> Answer {
    Answer {
        as_of: now - ROUND_TRIP / 2,
        server_time: Some(now - ROUND_TRIP / 2),
        pages: 1,
    }
}

fn number_of(firm: &FirmId) -> usize {
    firm.as_str().trim_start_matches("firm-").parse().unwrap_or(0)
}

fn begin(policy: &mut dyn PollPolicy, random: &mut ChaCha8Rng, now: Timestamp) -> Vec<Practice> {
    let mut practices: Vec<Practice> = (0..FIRMS)
        .map(|number| Practice {
            id: FirmId::new(format!("firm-{number}")),
            visits: Vec::new(),
        })
        .collect();
    let served = practices.iter().map(|practice| ServedFirm {
        firm: practice.id.clone(),
        quota: "benchmark".to_owned(),
    });
    policy.observe(Observation::Firms(served.collect()), now);
    for practice in &mut practices {
        let mut opened: Vec<u64> = (0..VISITS_EACH).map(|_| random.random_range(0..8 * 3600)).collect();
        opened.sort_unstable_by(|a, b| b.cmp(a));
        for ago in opened {
            let is_over = ago > 1800 && random.random_bool(0.9);
            let status = if is_over {
                EncounterStatus::Finished
            } else {
                EncounterStatus::Open
            };
            practice.open(status, now - Duration::from_secs(ago));
        }
        let seen = Observation::EncountersSeen {
            firm: practice.id.clone(),
            encounters: practice.visits.clone(),
            answer: answer(now),
        };
        policy.observe(seen, now);
    }
    practices
}

fn main() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut now = Timestamp::from_millis(1_767_600_000_000);
    let mut policy = PolicyName::Adaptive.build(PolicySettings::one_by_one());
    let mut practices = begin(&mut *policy, &mut random, now);
    let watched = policy.figures().encounters;
    let [mut decisions, mut looks, mut polls, mut ends] = [(); 4].map(|()| Stopwatch::default());
    let mut under_way: VecDeque<(Timestamp, PollCall)> = VecDeque::new();
    let mut made = 0;
    while made < WARM_UP + DECISIONS {
        now = now + BETWEEN_CALLS;
        let measured = made >= WARM_UP;
        while under_way.front().is_some_and(|(answered, _)| *answered <= now) {
            let Some((_, call)) = under_way.pop_front() else { break };
            let firm = call.firm().clone();
            if let PollCall::Documents { encounters, .. } = &call {
                let show = |encounter: &EncounterId| NewPhotos {
                    encounter: encounter.clone(),
                    filed_at: if random.random_bool(A_LOOK_SHOWS_A_PHOTO) {
                        vec![Some(now - Duration::from_secs(10))]
                    } else {
                        Vec::new()
                    },
                };
                let shown = Observation::DocumentsSeen {
                    firm,
                    looks: encounters.iter().map(show).collect(),
                    answer: answer(now),
                };
                looks.measure(measured, || policy.observe(shown, now));
            } else {
                let encounters = practices[number_of(&firm)].changed(&mut random, now);
                let shown = Observation::EncountersSeen {
                    firm,
                    encounters,
                    answer: answer(now),
                };
                polls.measure(measured, || policy.observe(shown, now));
            }
            ends.measure(measured, || policy.observe(Observation::Ended(call), now));
        }
        match decisions.measure(measured, || policy.next(now)) {
            Decision::Poll(call) => {
                made += 1;
                under_way.push_back((now + ROUND_TRIP, call));
            }
            Decision::Wait(until) => now = until.min(now + Duration::from_secs(1)),
        }
    }
    println!("{{\"name\":\"encounters watched\",\"value\":{watched},\"unit\":\"\"}}");
    decisions.say("which call is next");
    looks.say("the answer of a look");
    polls.say("the answer of an encounter poll");
    ends.say("the end of a call");
}
