//! The simulation as the ordinary tests run it: a few seeds; and what is removed is missed.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

use skin_assist_faults::{Mutation, report::Summary, simulate};

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

/// Those that the first seeds miss; `cargo xtask faults --mutations` plays all of them. Which seed it is depends on everything that the
/// program does.
#[test]
fn without_a_safeguard_something_breaks() {
    for mutation in [
        Mutation::Fence,
        Mutation::Intent,
        Mutation::ResultKey,
        Mutation::Retraction,
    ] {
        let is_missed = (1..=8).any(|seed| !simulate(seed, mutation).violations.is_empty());
        assert!(is_missed, "{} is not missed", mutation.name());
    }
}
