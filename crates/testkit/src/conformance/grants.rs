//! The quota that all workers share.

use std::{collections::BTreeMap, time::Duration};

use futures::FutureExt;
use skin_assist_core::{
    ports::{CallKind, Grant, QuotaKey},
    quota::Allowance,
    time::Timestamp,
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
async fn granted(store: &Store, name: &str, now: Timestamp) -> usize {
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
    // Each is counted once, when its process has asked for the next one.
    for (number, store) in (0..).zip(&handles) {
        let asked = store.take(&quota("q"), CallKind::Read, at(200 + 10 * number)).await;
        assert_eq!(asked.unwrap(), Grant::Granted);
    }
    let counted: u64 = handles[0].quotas().await.unwrap()[0].granted.values().sum();
    assert_eq!(counted, total as u64 + handles.len() as u64);
}

pub(super) async fn a_hold_holds_everybody(bench: Bench) {
    let store = bench.store().await;
    assert_eq!(granted(&store, "q", at(0)).await, 0);
    store.hold(&quota("q"), at(60), at(70)).await.unwrap();
    store.hold(&quota("q"), at(60), at(65)).await.unwrap();
    for kind in [CallKind::Encounter, CallKind::Draft] {
        assert_eq!(
            store.take(&quota("q"), kind, at(69)).await.unwrap(),
            Grant::Wait(at(70))
        );
    }
    assert!(granted(&store, "q", at(80)).await > 0);
    // Also a quota that nobody has used yet.
    store.hold(&quota("new"), at(85), at(100)).await.unwrap();
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

/// Once for all that come together; nobody is held, and what was gathered stays.
pub(super) async fn a_late_grant_slows_everybody_down(bench: Bench) {
    let store = bench.store().await;
    let figures = async || store.quotas().await.unwrap()[0].clone();
    assert_eq!(granted(&store, "q", at(0)).await, 0);
    for _ in 0..2 {
        store.slow_down(&quota("q"), at(60)).await.unwrap();
    }
    let slowed = figures().await;
    assert!((slowed.bucket.share - 0.5).abs() < 1e-9, "{}", slowed.bucket.share);
    assert_eq!(slowed.refused, 0, "the EHR refused nothing");
    assert!(granted(&store, "q", at(62)).await > 0, "nobody is held");
    // A quota that was refused so often that it is slower already does not become faster.
    store.hold(&quota("q"), at(62), at(63)).await.unwrap();
    let before = figures().await.bucket.share;
    store.slow_down(&quota("q"), at(62)).await.unwrap();
    assert!(figures().await.bucket.share <= before);
}

/// Once for calls that were under way together; and slowly it recovers.
pub(super) async fn a_refusal_halves_the_rate(bench: Bench) {
    let store = bench.store().await;
    let share = async || store.quotas().await.unwrap()[0].bucket.share;
    assert_eq!(granted(&store, "q", at(0)).await, 0);
    assert!((share().await - 1.0).abs() < 1e-9);
    // How many calls there are in the ten seconds after `from`, asking often enough that no token is lost.
    let in_ten_seconds = async |from: u64| {
        let mut calls = 0;
        for tenth in 1..=100 {
            calls += granted(&store, "q", at(from) + tenth * Duration::from_millis(100)).await;
        }
        calls
    };
    granted(&store, "q", at(100)).await;
    let whole = in_ten_seconds(100).await;
    for until in [at(111), at(112), at(110)] {
        store.hold(&quota("q"), at(110), until).await.unwrap();
    }
    assert!(
        (share().await - 0.5).abs() < 1e-9,
        "three refusals at once, one halving"
    );
    let halved = in_ten_seconds(112).await;
    assert!(
        halved * 3 < whole * 2,
        "{whole} calls before a refusal, {halved} after it"
    );
    let before = share().await;
    store.hold(&quota("q"), at(122), at(123)).await.unwrap();
    assert!((share().await - before / 2.0).abs() < 1e-9);
    granted(&store, "q", at(1000)).await;
    let recovered = in_ten_seconds(1000).await;
    assert!(
        recovered + 1 >= whole,
        "{whole} calls before a refusal, {recovered} long after it"
    );
}

/// By kind, what was granted and nothing else; and refusals by the EHR. In the order of names. A process may count calls when it asks for the
/// next one only.
pub(super) async fn calls_and_refusals_are_counted(bench: Bench) {
    let store = bench.store().await;
    assert!(store.quotas().await.unwrap().is_empty());
    assert_eq!(granted(&store, "r", at(0)).await, 0);
    let mut expected = BTreeMap::new();
    for (number, kind) in [
        CallKind::Encounter,
        CallKind::Document,
        CallKind::Draft,
        CallKind::Document,
    ]
    .into_iter()
    .enumerate()
    {
        let now = at(10 * (1 + number as u64));
        assert_eq!(store.take(&quota("r"), kind, now).await.unwrap(), Grant::Granted);
        *expected.entry(kind).or_insert(0) += 1;
    }
    for later in 0..8 {
        let asked = store.take(&quota("r"), CallKind::Draft, at(50 + later)).await.unwrap();
        assert_eq!(asked, Grant::Granted);
        *expected.entry(CallKind::Draft).or_insert(0) += 1;
    }
    store.hold(&quota("q"), at(60), at(70)).await.unwrap();
    store.hold(&quota("q"), at(61), at(71)).await.unwrap();
    let wait = store.take(&quota("q"), CallKind::Draft, at(62)).await.unwrap();
    assert_eq!(wait, Grant::Wait(at(71)));
    let quotas = store.quotas().await.unwrap();
    let figures: Vec<_> = quotas
        .iter()
        .map(|figures| (figures.name.as_str(), figures.granted.clone(), figures.refused))
        .collect();
    assert_eq!(figures, [("q", BTreeMap::new(), 2), ("r", expected, 0)]);
    assert_eq!(quotas[0].bucket.held_until, at(71));
    assert_eq!(quotas[1].bucket.at, at(57), "when it was last used");
}

pub(super) async fn quotas_do_not_share(bench: Bench) {
    let store = bench.store().await;
    for name in ["q", "r"] {
        assert_eq!(granted(&store, name, at(0)).await, 0);
    }
    let burst = granted(&store, "q", at(60)).await;
    assert_eq!(burst, Allowance::of(600, MINUTE).burst as usize);
    store.hold(&quota("q"), at(60), at(600)).await.unwrap();
    assert_eq!(granted(&store, "r", at(60)).await, burst);
}
