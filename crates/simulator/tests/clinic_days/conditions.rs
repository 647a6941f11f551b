//! Whatever goes wrong, nothing is missed, nothing is over the quota, and delays recover.

use std::{sync::LazyLock, time::Duration};

use skin_assist_core::polling::PolicyName;
use skin_assist_simulator::clinic_days::{Conditions, Outcome, Scenario, Span, Trace};

use super::{DAY, HOUR, assert_in_order, days, mean, played, scenario};

const FIRMS: u32 = 2;
const BUDGET: u32 = 50;

static TRACE: LazyLock<Trace> = LazyLock::new(|| days(FIRMS, 11));
static UNDISTURBED: LazyLock<Outcome> = LazyLock::new(|| disturbed(PolicyName::Adaptive, Conditions::default()));

fn disturbed(policy: PolicyName, conditions: Conditions) -> Outcome {
    let scenario = Scenario {
        conditions,
        ..scenario(policy, BUDGET)
    };
    let outcome = played(&TRACE, &scenario);
    assert_in_order(&outcome, &scenario);
    assert_eq!(outcome.missed, 0, "{policy}");
    outcome
}

/// Delays of photos filed within a span, in seconds.
fn mean_of(outcome: &Outcome, span: &Span) -> f64 {
    let photos = outcome.photos.iter().filter(|photo| span.contains(&photo.filed));
    let delays: Vec<f64> = photos.map(|photo| photo.delay_s).collect();
    assert!(delays.len() >= 20, "{} photos prove nothing", delays.len());
    mean(delays.into_iter())
}

#[test]
fn the_ehrs_clock_is_minutes_ahead_or_behind() {
    for minutes in [-7, 7] {
        let outcome = disturbed(
            PolicyName::Adaptive,
            Conditions {
                clock_ahead_ms: minutes * 60_000,
                whole_seconds: true,
                ..Conditions::default()
            },
        );
        let ratio = outcome.live.mean_s / UNDISTURBED.live.mean_s;
        assert!(ratio < 1.2, "{minutes} minutes ahead: {ratio} times the delay");
    }
    for policy in [PolicyName::Reference, PolicyName::RoundRobin] {
        let conditions = Conditions {
            clock_ahead_ms: -10 * 60_000,
            ..Conditions::default()
        };
        disturbed(policy, conditions);
    }
}

#[test]
fn searches_by_time_compare_days() {
    for policy in PolicyName::ALL {
        let conditions = Conditions {
            searches_compare_days: true,
            ..Conditions::default()
        };
        let outcome = disturbed(policy, conditions);
        if policy == PolicyName::Adaptive {
            // Each encounter poll is several pages now.
            let ratio = outcome.live.mean_s / UNDISTURBED.live.mean_s;
            assert!(ratio < 2.0, "{ratio} times the delay");
        }
    }
}

#[test]
fn records_become_visible_two_minutes_late() {
    const LATE: Duration = Duration::from_secs(120);
    for policy in PolicyName::ALL {
        let conditions = Conditions {
            visible_after: LATE,
            ..Conditions::default()
        };
        let outcome = disturbed(policy, conditions);
        assert!(outcome.photos.iter().all(|photo| photo.delay_s >= LATE.as_secs_f64()));
        if policy == PolicyName::Adaptive {
            let more = outcome.live.mean_s - UNDISTURBED.live.mean_s;
            assert!(more < 2.0 * LATE.as_secs_f64(), "{more} s more");
        }
    }
}

#[test]
fn a_storm_of_refusals_passes() {
    let storm = DAY + 12.0 * HOUR..DAY + 12.0 * HOUR + 300.0;
    for policy in PolicyName::ALL {
        let conditions = Conditions {
            storms: vec![storm.clone()],
            ..Conditions::default()
        };
        let outcome = disturbed(policy, conditions);
        let refused = outcome.ledger.refused_in_storms;
        // Each refusal holds everybody for five seconds; what was on its way is refused with it.
        assert!((1..300).contains(&refused), "{policy}: {refused} calls were refused");
        if policy == PolicyName::Adaptive {
            let after = storm.end + 1800.0..storm.end + 2.0 * HOUR;
            let (disturbed, undisturbed) = (mean_of(&outcome, &after), mean_of(&UNDISTURBED, &after));
            assert!(disturbed < 2.0 * undisturbed, "{disturbed} s, not {undisturbed} s");
        }
    }
}

#[test]
fn an_outage_of_an_hour_is_made_up_for() {
    let outage = DAY + 12.0 * HOUR..DAY + 13.0 * HOUR;
    for policy in PolicyName::ALL {
        let conditions = Conditions {
            outages: vec![outage.clone()],
            ..Conditions::default()
        };
        let outcome = disturbed(policy, conditions);
        let failed = outcome.ledger.failed;
        // Each practice is tried about once a minute.
        let tries = u64::from(FIRMS) * 60;
        assert!((10..6 * tries).contains(&failed), "{policy}: {failed} calls failed");
        if policy == PolicyName::Adaptive {
            let after = outage.end + 1800.0..outage.end + 2.0 * HOUR;
            let (disturbed, undisturbed) = (mean_of(&outcome, &after), mean_of(&UNDISTURBED, &after));
            assert!(disturbed < 2.0 * undisturbed, "{disturbed} s, not {undisturbed} s");
        }
    }
}
