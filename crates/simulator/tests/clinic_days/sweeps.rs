//! Polls in sweeps, each by a policy that knows only what the store knows, as functions make them.

use std::time::Duration;

use skin_assist_core::polling::PolicyName;
use skin_assist_simulator::clinic_days::{Scenario, SearchKind, Sweeps};

use super::{assert_in_order, days, played, scenario};

const FIRMS: u32 = 2;
const BUDGET: u32 = 50;

fn swept(lasting: u64, search: SearchKind) -> Scenario {
    Scenario {
        hint: 1.0,
        search,
        sweeps: Some(Sweeps {
            every: Duration::from_secs(20),
            lasting: Duration::from_secs(lasting),
            cycle: Duration::from_secs(60),
        }),
        ..scenario(PolicyName::Adaptive, BUDGET)
    }
}

#[test]
fn a_policy_that_begins_anew_every_twenty_seconds_has_forgotten_little() {
    let trace = days(FIRMS, 31);
    for search in [SearchKind::Patient, SearchKind::System] {
        let all_the_time = Scenario {
            sweeps: None,
            ..swept(20, search)
        };
        let usual = played(&trace, &all_the_time).live.mean_s;
        let scenario = swept(20, search);
        let outcome = played(&trace, &scenario);
        assert_in_order(&outcome, &scenario);
        assert_eq!(outcome.missed, 0);
        // A bump that a sweep saw and did not look into is seen by the next one too: otherwise the delay is four times as long. One
        // photo in a hundred that waits for minutes makes it nearly twice as long on some days.
        let anew = outcome.live.mean_s;
        assert!(anew < 2.5 * usual, "{search:?}: {anew} s, not {usual} s");
    }
}

#[test]
fn short_sweeps_lose_nothing() {
    let trace = days(FIRMS, 32);
    let scenario = swept(5, SearchKind::Patient);
    let outcome = played(&trace, &scenario);
    assert_in_order(&outcome, &scenario);
    assert_eq!(outcome.missed, 0);
}

/// With a price that seconds of a cycle are weighed by, what is left out is paid for by little delay.
#[test]
fn what_pauses_save_costs_little() {
    let trace = days(FIRMS, 33);
    let economical = |cycle: u64| {
        let scenario = swept(14, SearchKind::Patient);
        let sweeps = scenario.sweeps.map(|sweeps| Sweeps {
            cycle: Duration::from_secs(cycle),
            ..sweeps
        });
        let scenario = Scenario {
            least_price: 0.004,
            sweeps,
            ..scenario
        };
        let outcome = played(&trace, &scenario);
        assert_in_order(&outcome, &scenario);
        assert_eq!(outcome.missed, 0);
        outcome
    };
    // A pause that ends with the sweep is none.
    let (without, with) = (economical(20), economical(60));
    let calls =
        |outcome: &skin_assist_simulator::clinic_days::Outcome| outcome.calls.document + outcome.calls.encounter;
    assert!(calls(&with) < calls(&without), "no pause was made");
    assert!(
        with.weighted_mean_s < without.weighted_mean_s + 3.0,
        "{} s, not {} s",
        with.weighted_mean_s,
        without.weighted_mean_s
    );
}
