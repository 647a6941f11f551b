//! Clinic days on the production policies and quota: what must hold whatever the trace, and what must hold when
//! something goes wrong. A few practices with as many calls for each as in the benchmarks, so that a run takes a moment.

mod burst;
mod conditions;
mod invariants;
mod sweeps;

use skin_assist_core::polling::{PolicyName, PolicySettings};
use skin_assist_simulator::clinic_days::{
    Conditions, GenerateOptions, Outcome, Scenario, SearchKind, Trace, generate, play,
};

const HOUR: f64 = 3600.0;
const DAY: f64 = 24.0 * HOUR;

fn days(firms: u32, seed: u64) -> Trace {
    generate(&GenerateOptions {
        firms,
        days: 2,
        seed,
        burst: None,
    })
}

fn scenario(policy: PolicyName, budget_per_minute: u32) -> Scenario {
    Scenario {
        budget_per_minute,
        hint: 0.5,
        policy,
        search: SearchKind::Patient,
        least_price: PolicySettings::USE_THE_QUOTA,
        without: None,
        seed: 1,
        sweeps: None,
        conditions: Conditions::default(),
    }
}

fn played(trace: &Trace, scenario: &Scenario) -> Outcome {
    play(trace, scenario, |_| {})
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// What holds whatever goes wrong: the quota is kept, and every call is accounted for.
#[track_caller]
fn assert_in_order(outcome: &Outcome, scenario: &Scenario) {
    let what = format!("{} on {}", scenario.policy, scenario.budget_per_minute);
    let ledger = &outcome.ledger;
    assert_eq!(outcome.over_quota, 0, "{what}");
    assert!(
        ledger.most_in_a_window <= scenario.budget_per_minute as usize,
        "{what}: {} calls arrived within a minute",
        ledger.most_in_a_window
    );
    assert_eq!(
        ledger.granted,
        ledger.arrived.total() + ledger.on_their_way,
        "{what}: each token is one call"
    );
    let lost = ledger.refused_in_storms + ledger.failed;
    let (read, draft) = (ledger.arrived.read, ledger.arrived.draft);
    assert!(
        read <= ledger.found + lost,
        "{what}: {read} reads of {} photos",
        ledger.found
    );
    assert!(
        draft <= ledger.found + lost,
        "{what}: {draft} drafts of {} photos",
        ledger.found
    );
    if outcome.missed == 0 && lost == 0 && ledger.put_off == 0 {
        // The play ends soon after the last photo is found.
        assert!(
            read + 8 >= ledger.found,
            "{what}: {read} reads of {} photos",
            ledger.found
        );
    }
    let of_firms = outcome.learned.firms.values().flat_map(|counts| counts.values());
    for count in outcome.learned.shared.values().flatten().chain(of_firms) {
        for value in [count.events, count.exposure] {
            assert!(value.is_finite() && value >= 0.0, "{what}: {value} was learned");
        }
    }
}
