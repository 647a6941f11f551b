//! What language models cost.

use futures::FutureExt;
use skin_assist_core::ports::LanguageSpent;

use super::{
    Bench,
    fixtures::{add_firm, at, firm_id},
};

const DAY: u64 = 86_400;

const SPENT: LanguageSpent = LanguageSpent {
    assessments: 1,
    calls: 2,
    input_tokens: 1000,
    output_tokens: 100,
    cost_micros: 4500,
};

/// What several workers spend at the same time is all counted, each firm's and each day's by itself.
pub(super) async fn what_is_spent_adds_up(bench: Bench) {
    let handles = bench.0.fresh().await;
    let store = &handles[0];
    for id in ["a", "b"] {
        add_firm(store, id).await;
    }
    let (a, b) = (firm_id("a"), firm_id("b"));
    assert_eq!(
        store.language_spent(&a, at(10)).await.unwrap(),
        LanguageSpent::default()
    );
    bench
        .race(&handles, 6, |store| {
            async move {
                for turn in 0..5 {
                    let now = at(10 + turn);
                    store.add_language_spent(&firm_id("a"), now, &SPENT).await.unwrap();
                }
            }
            .boxed()
        })
        .await;
    store.add_language_spent(&b, at(10), &SPENT).await.unwrap();
    store.add_language_spent(&a, at(DAY + 10), &SPENT).await.unwrap();
    let expected = LanguageSpent {
        assessments: 30,
        calls: 60,
        input_tokens: 30_000,
        output_tokens: 3000,
        cost_micros: 135_000,
    };
    assert_eq!(store.language_spent(&a, at(20)).await.unwrap(), expected);
    assert_eq!(store.language_spent(&b, at(20)).await.unwrap(), SPENT);
    assert_eq!(store.language_spent(&a, at(DAY + 20)).await.unwrap(), SPENT);
}

/// It goes with the firm, and nothing is kept of a firm that is not there.
pub(super) async fn it_goes_with_the_firm(bench: Bench) {
    let store = bench.store().await;
    add_firm(&store, "a").await;
    let (a, other) = (firm_id("a"), firm_id("other"));
    for firm in [&a, &other] {
        store.add_language_spent(firm, at(10), &SPENT).await.unwrap();
    }
    store.remove_firm(&a).await.unwrap();
    for id in ["a", "other"] {
        add_firm(&store, id).await;
        let spent = store.language_spent(&firm_id(id), at(10)).await.unwrap();
        assert_eq!(spent, LanguageSpent::default(), "{id}");
    }
}
