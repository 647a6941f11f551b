//! What holds for every trace, budget, seed, policy and round-trip time.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use skin_assist_core::polling::PolicyName;
use skin_assist_simulator::clinic_days::{EventKind, Outcome, Scenario, SearchKind};

use super::{assert_in_order, days, played, scenario};

const CASES: u64 = 9;

fn any_scenario(random: &mut ChaCha8Rng, policy: PolicyName) -> Scenario {
    let least: f64 = random.random_range(20.0..500.0);
    let mut scenario = Scenario {
        hint: [0.0, 0.5, 1.0][random.random_range(0..3)],
        seed: random.random(),
        ..scenario(policy, random.random_range(10..70))
    };
    if policy == PolicyName::Adaptive {
        let kinds = [
            SearchKind::Patient,
            SearchKind::Patient,
            SearchKind::EncounterList,
            SearchKind::System,
        ];
        scenario.search = kinds[random.random_range(0..kinds.len())];
    }
    // A call takes half of it on the way there: more than a second is more than the quota's arithmetic allows for.
    scenario.conditions.round_trip_ms = least..random.random_range(least + 1.0..1000.0);
    scenario
}

#[test]
fn the_quota_is_kept_and_the_books_balance() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for case in 0..CASES {
        let policy = PolicyName::ALL[case as usize % PolicyName::ALL.len()];
        let trace = days(random.random_range(1..=2), random.random());
        let scenario = any_scenario(&mut random, policy);
        let outcome = played(&trace, &scenario);
        assert_in_order(&outcome, &scenario);
        // Found are photos of all days, the photos measured are those of day 1.
        let photos = trace
            .events
            .iter()
            .filter(|event| event.kind == EventKind::Attach)
            .count() as u64;
        assert!(outcome.ledger.found <= photos, "case {case}: a photo was found twice");
        assert!(
            outcome.ledger.found as usize + outcome.missed >= outcome.photos.len(),
            "case {case}"
        );
        assert_eq!(outcome.missed, 0, "case {case}: {scenario:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_play() {
    let trace = days(1, 3);
    for policy in PolicyName::ALL {
        let mut scenario = scenario(policy, 25);
        let everything = |outcome: Outcome| format!("{outcome:?}");
        let first = everything(played(&trace, &scenario));
        assert!(first == everything(played(&trace, &scenario)), "{policy}");
        scenario.seed += 1;
        assert!(
            first != everything(played(&trace, &scenario)),
            "{policy}: calls take as long"
        );
    }
}

#[test]
fn nobody_is_starved() {
    const LONGEST_UNSEEN_S: f64 = 16.0 * 3600.0;
    const LONGEST_UNPOLLED_S: f64 = 300.0;
    for (policy, budget) in [(PolicyName::Adaptive, 75), (PolicyName::Adaptive, 20)] {
        let scenario = scenario(policy, budget);
        let outcome = played(&days(3, 5), &scenario);
        let ledger = outcome.ledger;
        // What is overdue comes before all polls, but has to wait for a grant and for whoever is overdue too.
        let grant_s = 60.0 / f64::from(budget);
        assert!(
            ledger.longest_unpolled_s < LONGEST_UNPOLLED_S + 20.0 * grant_s,
            "on {budget}: a practice was not polled for {} s",
            ledger.longest_unpolled_s
        );
        assert!(
            ledger.longest_unseen_s < LONGEST_UNSEEN_S + 300.0 * grant_s,
            "on {budget}: a visit was not looked at for {} s",
            ledger.longest_unseen_s
        );
        assert_eq!(outcome.missed, 0);
    }
}
