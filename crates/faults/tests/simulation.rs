//! The simulation as the ordinary tests run it: 300 seeds, in parts that run at the same time; and each safeguard is missed.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

use skin_assist_faults::{Mutation, report::Summary, simulate};

/// Seeds of each of the parts.
const PART: u64 = 75;

/// Plays one of the parts.
fn part(number: u64) -> Summary {
    let mut summary = Summary::default();
    for seed in number * PART..(number + 1) * PART {
        let outcome = simulate(seed + 1, Mutation::None);
        assert_eq!(outcome.violations, [], "replay: cargo xtask faults --seed {}", seed + 1);
        summary.add(&outcome);
    }
    assert!(summary.fewest_photos >= 200, "{} photos", summary.fewest_photos);
    summary
}

#[test]
fn nothing_is_lost_doubled_or_starved_in_the_first_seeds() {
    let summary = part(0);
    // The whole of 300 seeds is looked at for this by `cargo xtask faults`; a quarter has most of it.
    let never = summary.never_fired();
    assert!(never.len() <= 4, "never fired: {never:?}");
}

#[test]
fn nor_in_the_second() {
    part(1);
}

#[test]
fn nor_in_the_third() {
    part(2);
}

#[test]
fn nor_in_the_fourth() {
    part(3);
}

#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(simulate(7, Mutation::None), simulate(7, Mutation::None));
}

/// A seed of the table in docs/faults.md for each safeguard: `cargo xtask faults --mutations` finds them.
#[test]
fn without_a_safeguard_something_breaks() {
    for mutation in Mutation::ALL {
        let noticed = (1..=40).any(|seed| !simulate(seed, mutation).violations.is_empty());
        assert!(noticed, "{} is not missed", mutation.name());
    }
}
