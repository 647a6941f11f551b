//! The quota that all workers share.

use std::time::Duration;

use futures::FutureExt;
use skin_assist_core::{
    ports::{CallKind, Grant, QuotaKey},
    quota::Allowance,
};

use super::{
    Bench,
    fixtures::{Store, at, seconds},
};

const MINUTE: Duration = Duration::from_secs(60);

fn quota(name: &str) -> QuotaKey {
    QuotaKey {
        name: name.into(),
        calls: 600,
        window: MINUTE,
    }
}

/// How many calls are granted at once.
async fn granted(store: &Store, name: &str, now: skin_assist_core::time::Timestamp) -> usize {
    let mut count = 0;
    while store.take(&quota(name), CallKind::Read, now).await.unwrap() == Grant::Granted {
        count += 1;
    }
    count
}

/// A restart must not add a burst to what was called just before.
pub(super) async fn a_new_quota_starts_empty(bench: Bench) {
    let store = bench.store().await;
    let Grant::Wait(until) = store.take(&quota("q"), CallKind::Read, at(0)).await.unwrap() else {
        panic!("a new quota granted a call at once");
    };
    assert!(until > at(0) && until < at(1));
    assert!(granted(&store, "q", at(1)).await > 0);
}

/// Never more than burst + rate · time, however many ask.
pub(super) async fn workers_share_one_quota(bench: Bench) {
    let handles = bench.0.fresh().await;
    let allowance = Allowance::of(600, MINUTE);
    assert_eq!(granted(&handles[0], "q", at(0)).await, 0);
    let counts = bench
        .race(&handles, 6, |store| {
            async move {
                let mut count = 0_u32;
                for turn in 0..60 {
                    // Ten seconds pass, a quarter of a second at a time for a while, then none.
                    let now = at(100) + seconds(turn.min(40)) / 4;
                    let kind = if turn % 2 == 0 {
                        CallKind::Document
                    } else {
                        CallKind::Draft
                    };
                    count += u32::from(store.take(&quota("q"), kind, now).await.unwrap() == Grant::Granted);
                }
                count
            }
            .boxed()
        })
        .await;
    let total = f64::from(counts.iter().sum::<u32>());
    let most = allowance.burst + allowance.rate * 10.0;
    assert!(total <= most + 1e-6, "{total} calls granted, {most} allowed");
    assert!(total >= allowance.burst, "only {total} calls granted");
}

pub(super) async fn a_hold_holds_everybody(bench: Bench) {
    let store = bench.store().await;
    assert_eq!(granted(&store, "q", at(0)).await, 0);
    store.hold(&quota("q"), at(70)).await.unwrap();
    store.hold(&quota("q"), at(65)).await.unwrap();
    for kind in [CallKind::Encounter, CallKind::Draft] {
        assert_eq!(
            store.take(&quota("q"), kind, at(69)).await.unwrap(),
            Grant::Wait(at(70))
        );
    }
    assert!(granted(&store, "q", at(80)).await > 0);
    // Also a quota that nobody has used yet.
    store.hold(&quota("new"), at(100)).await.unwrap();
    assert_eq!(
        store.take(&quota("new"), CallKind::Read, at(90)).await.unwrap(),
        Grant::Wait(at(100))
    );
    assert_eq!(
        granted(&store, "new", at(100)).await,
        0,
        "a hold does not end in a burst"
    );
    assert!(granted(&store, "new", at(110)).await > 0);
}

pub(super) async fn quotas_do_not_share(bench: Bench) {
    let store = bench.store().await;
    for name in ["q", "r"] {
        assert_eq!(granted(&store, name, at(0)).await, 0);
    }
    let burst = granted(&store, "q", at(60)).await;
    assert_eq!(burst, Allowance::of(600, MINUTE).burst as usize);
    store.hold(&quota("q"), at(600)).await.unwrap();
    assert_eq!(granted(&store, "r", at(60)).await, burst);
}
