//! What polling learned.

use std::collections::BTreeMap;

use futures::FutureExt;
use skin_assist_core::{
    domain::FirmId,
    polling::{Count, Learned},
};

use super::{
    Bench,
    fixtures::{Store, add_firm, at, firm_id, seconds},
};

/// Half as much is left after it.
const HALF_LIFE: std::time::Duration = Learned::HALF_LIFE;

const fn count(events: f64) -> Count {
    Count {
        events,
        exposure: 8.0 * events,
    }
}

/// Of all firms together.
fn shared(events: &[f64]) -> Learned {
    Learned {
        shared: BTreeMap::from([("table".to_owned(), events.iter().copied().map(count).collect())]),
        firms: BTreeMap::new(),
    }
}

/// Of one firm.
fn of_firm(firm: &str, events: f64) -> Learned {
    Learned {
        shared: BTreeMap::new(),
        firms: BTreeMap::from([(firm_id(firm), BTreeMap::from([("count".to_owned(), count(events))]))]),
    }
}

async fn learned(store: &Store, firms: &[&str]) -> Learned {
    let firms: Vec<FirmId> = firms.iter().copied().map(firm_id).collect();
    store.learned(&firms).await.unwrap()
}

/// What pollers learned one after the other, and at the same time.
pub(super) async fn what_pollers_learned_adds_up(bench: Bench) {
    let handles = bench.0.fresh().await;
    let store = &handles[0];
    assert!(learned(store, &["a", "b"]).await.is_empty());
    for id in ["a", "b"] {
        add_firm(store, id).await;
    }
    let mut expected = Learned::default();
    for gained in [
        shared(&[1.0, 2.0]),
        of_firm("a", 1.0),
        Learned {
            firms: of_firm("b", 5.0).firms,
            ..shared(&[0.5, 0.5, 4.0])
        },
        of_firm("a", 2.0),
        Learned::default(),
    ] {
        store.add_learned(&gained, at(0)).await.unwrap();
        expected.add(&gained);
    }
    assert_eq!(learned(store, &["a", "b", "unknown"]).await, expected);
    expected.firms.remove(&firm_id("b"));
    assert_eq!(learned(store, &["a"]).await, expected, "of the firms asked for");
    expected.firms.clear();
    assert_eq!(learned(store, &[]).await, expected);

    bench
        .race(&handles, 6, |store| {
            async move {
                for _ in 0..10 {
                    store.add_learned(&shared(&[1.0]), at(0)).await.unwrap();
                    store.add_learned(&of_firm("a", 1.0), at(0)).await.unwrap();
                }
            }
            .boxed()
        })
        .await;
    let learned = learned(store, &["a"]).await;
    assert_eq!(learned.shared["table"], [count(61.5), count(2.5), count(4.0)]);
    assert_eq!(learned.firms[&firm_id("a")]["count"], count(63.0));
}

/// By the time since it was added to, each part by its own.
pub(super) async fn what_is_old_fades(bench: Bench) {
    let store = bench.store().await;
    for id in ["a", "b"] {
        add_firm(&store, id).await;
    }
    let close = |found: Count, events: f64| {
        assert!((found.events - events).abs() < 1e-9, "{found:?}, not {events}");
        assert!((found.exposure - 8.0 * events).abs() < 1e-9, "{found:?}, not {events}");
    };
    store.add_learned(&shared(&[4.0]), at(0)).await.unwrap();
    store.add_learned(&of_firm("a", 4.0), at(0)).await.unwrap();
    let later = at(0) + HALF_LIFE;
    store.add_learned(&of_firm("b", 4.0), later).await.unwrap();
    store.add_learned(&shared(&[1.0]), later).await.unwrap();
    close(learned(&store, &[]).await.shared["table"][0], 3.0);
    let later = later + HALF_LIFE;
    for id in ["a", "b"] {
        store.add_learned(&of_firm(id, 1.0), later).await.unwrap();
    }
    let known = learned(&store, &["a", "b"]).await;
    close(known.firms[&firm_id("a")]["count"], 2.0);
    close(known.firms[&firm_id("b")]["count"], 3.0);
    close(known.shared["table"][0], 3.0);
    // A clock that went back neither fades anything nor makes what follows fade twice.
    store
        .add_learned(&of_firm("a", 1.0), later - seconds(60))
        .await
        .unwrap();
    store.add_learned(&of_firm("a", 1.0), later).await.unwrap();
    close(learned(&store, &["a"]).await.firms[&firm_id("a")]["count"], 4.0);
}

/// What all firms together taught stays.
pub(super) async fn a_firms_part_goes_with_it(bench: Bench) {
    let store = bench.store().await;
    let a = add_firm(&store, "a").await;
    add_firm(&store, "b").await;
    store.add_learned(&shared(&[1.0]), at(0)).await.unwrap();
    for id in ["a", "b"] {
        store.add_learned(&of_firm(id, 2.0), at(0)).await.unwrap();
    }
    store.remove_firm(&a).await.unwrap();
    for again in [false, true] {
        if again {
            add_firm(&store, "a").await;
        }
        let known = learned(&store, &["a", "b"]).await;
        assert_eq!(known.shared, shared(&[1.0]).shared);
        assert_eq!(known.firms, of_firm("b", 2.0).firms);
    }
}

/// It was removed while it was polled.
pub(super) async fn an_unknown_firm_is_passed_over(bench: Bench) {
    let store = bench.store().await;
    add_firm(&store, "b").await;
    let mut gained = shared(&[1.0]);
    for id in ["a", "b", "c"] {
        gained.firms.extend(of_firm(id, 2.0).firms);
    }
    store.add_learned(&gained, at(0)).await.unwrap();
    for id in ["a", "c"] {
        add_firm(&store, id).await;
    }
    let known = learned(&store, &["a", "b", "c"]).await;
    assert_eq!(known.firms, of_firm("b", 2.0).firms);
    assert_eq!(known.shared, shared(&[1.0]).shared, "the rest is recorded");
}
