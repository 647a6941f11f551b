//! The simulation as the ordinary tests run it: a few seeds; and what is removed is missed.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

use skin_assist_faults::{Mutation, Only, report::Summary, simulate, simulate_only};

/// Seeds of the ordinary tests. One takes two seconds of a core, so that `cargo xtask faults` is where many are played.
const SEEDS: u64 = 4;

#[test]
fn nothing_is_lost_doubled_or_starved() {
    let mut summary = Summary::default();
    for seed in 1..=SEEDS {
        let outcome = simulate(seed, Mutation::None);
        assert_eq!(outcome.violations, [], "replay: cargo xtask faults --seed {seed}");
        summary.add(&outcome);
    }
    assert!(summary.fewest_photos >= 200, "{} photos", summary.fewest_photos);
    assert!(summary.faults.len() >= 15, "{:?}", summary.faults);
}

#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(simulate(2, Mutation::None), simulate(2, Mutation::None));
}

/// Those that the first seeds miss; `cargo xtask faults --mutations` plays all of them.
#[test]
fn without_a_safeguard_something_breaks() {
    let missed = [
        (Mutation::Fence, 2),
        (Mutation::Intent, 3),
        (Mutation::ResultKey, 1),
        (Mutation::Retraction, 1),
    ];
    for (mutation, seed) in missed {
        let outcome = simulate(seed, mutation);
        assert!(!outcome.violations.is_empty(), "{} is not missed", mutation.name());
    }
}

/// What the store grants is called at once, or not at all.
#[test]
fn a_slow_disk_makes_no_call_too_many() {
    let outcome = simulate_only(1, Only::SlowDisk);
    assert_eq!(outcome.violations, []);
    assert!(outcome.faults["slow disk"] > 1_000, "{:?}", outcome.faults);
}

/// Whoever stood still before a look finds its lease lost before the look, not after it.
#[test]
fn a_standstill_before_a_look_pays_for_no_second_one() {
    let outcome = simulate_only(1, Only::StandsStillAfter("count_look"));
    assert_eq!(outcome.violations, []);
    assert!(outcome.faults["process stands still"] >= 3, "{:?}", outcome.faults);
}
