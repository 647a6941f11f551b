//! However much one practice has to do, the others go on.

use std::collections::HashSet;

use skin_assist_core::polling::PolicyName;
use skin_assist_simulator::clinic_days::{EventKind, Outcome, Trace, TraceEvent};

use super::{DAY, HOUR, assert_in_order, days, played, scenario};

const FIRMS: u32 = 6;
const BUDGET: u32 = 150;
/// Who files more.
const BUSY: u32 = 0;
const FACTOR: u32 = 100;
/// What becomes of the others' delay at the most. Some of it cannot be helped: with six practices, reads and drafts of the
/// photos that the burst brings take a good part of the quota, and they go before polls. Without the restraint on who
/// suddenly wants more than ever, the burst takes almost all of the rest, and the delay is five times as long.
const MOST: f64 = 3.0;

/// The practice has so many times its visits, with their photos, of those that open within an hour of day 1.
fn with_burst(trace: &Trace) -> Trace {
    let hour = DAY + 12.0 * HOUR..DAY + 13.0 * HOUR;
    let begins = |event: &&TraceEvent| event.kind == EventKind::Open && event.firm == BUSY && hour.contains(&event.t);
    let multiplied: HashSet<u32> = trace.events.iter().filter(begins).map(|event| event.enc).collect();
    let largest = |number: fn(&TraceEvent) -> Option<u32>| trace.events.iter().filter_map(number).max().unwrap_or(0);
    let (visits, mut document) = (largest(|event| Some(event.enc)), largest(|event| event.doc));
    let mut events: Vec<TraceEvent> = Vec::new();
    for event in &trace.events {
        events.push(event.clone());
        if !multiplied.contains(&event.enc) {
            continue;
        }
        for number in 1..FACTOR {
            document += u32::from(event.doc.is_some());
            events.push(TraceEvent {
                t: event.t + 0.37 * f64::from(number),
                // Numbers that no other visit has.
                enc: visits + event.enc * FACTOR + number,
                doc: event.doc.and(Some(document)),
                ..event.clone()
            });
        }
    }
    events.sort_by(|a, b| a.t.total_cmp(&b.t));
    Trace { events }
}

/// The delay that 95 % of the others' live photos are below.
fn p95_of_others(outcome: &Outcome) -> f64 {
    let others = outcome.photos.iter().filter(|photo| photo.firm != BUSY && photo.live);
    let mut delays: Vec<f64> = others.map(|photo| photo.delay_s).collect();
    delays.sort_by(f64::total_cmp);
    delays[delays.len() * 95 / 100]
}

#[test]
fn a_practice_with_a_hundred_times_its_load_does_not_stop_the_others() {
    let usual = days(FIRMS, 21);
    let burst = with_burst(&usual);
    let scenario = scenario(PolicyName::Adaptive, BUDGET);
    let [before, after] = [&usual, &burst].map(|trace| {
        let outcome = played(trace, &scenario);
        assert_in_order(&outcome, &scenario);
        outcome
    });
    let (before, after) = (p95_of_others(&before), p95_of_others(&after));
    assert!(after < MOST * before, "{before} s became {after} s");
}
