//! A worker that lost its lease without noticing changes nothing, by any transition that takes a lease.
//!
//! Each transition is tried by a worker whose lease expired and was granted to another. It has to be refused with
//! `LeaseLost`, leave no trace, and leave the other's lease as good as it was.

use std::collections::BTreeSet;

use futures::{FutureExt, future::BoxFuture};
use skin_assist_core::{
    domain::{
        AssessmentId, AssistResult, ClosedAssessment, Credential, Cursor, DocumentStep, DocumentWatch, EncounterWatch,
        FirmId, Stage, WatchList,
    },
    lease::Lease,
    ports::{Changes, StateError, StateStore},
    time::Timestamp,
};

use super::{
    Bench,
    fixtures::{
        LEASE, REASON, Store, add_firm, at, document, document_lease, download, encounter_lease, findings, firm,
        issued, look, one_document, one_result, photo, picture, reference, result, result_key, result_lease,
        watch_encounters, watch_list_lease,
    },
};

type Outcome = Result<(), StateError>;

/// A transition under its name.
struct Transition<T>(
    &'static str,
    for<'a> fn(&'a dyn StateStore, Lease<T>) -> BoxFuture<'a, Outcome>,
);

/// Tries one transition with a lost lease; what was wrong, if anything.
async fn attempt<T>(store: &Store, firm: &FirmId, transition: &Transition<T>, lost: Lease<T>) -> Option<&'static str> {
    let before = picture(store, firm, at(40)).await;
    let outcome = (transition.1)(store.as_ref(), lost).await;
    let unchanged = picture(store, firm, at(40)).await == before;
    (!matches!(outcome, Err(StateError::LeaseLost)) || !unchanged).then_some(transition.0)
}

fn verdict(accepted: &[&'static str]) {
    assert!(
        accepted.is_empty(),
        "accepted from a worker that had lost its lease: {}",
        accepted.join(", ")
    );
}

pub(super) async fn encounters(bench: Bench) {
    let transitions: [Transition<EncounterWatch>; 3] = [
        Transition("record_documents", |store, lease| {
            async move {
                let found = document(&lease.item().firm, "e", "d", at(35));
                store.record_documents(lease, &[found], &[], at(35)).await.map(|_| ())
            }
            .boxed()
        }),
        Transition("record_documents (nothing found)", |store, lease| {
            async move { store.record_documents(lease, &[], &[], at(35)).await.map(|_| ()) }.boxed()
        }),
        Transition("release_encounter", |store, lease| {
            store.release_encounter(lease, at(35)).boxed()
        }),
    ];
    let mut accepted = Vec::new();
    for transition in &transitions {
        let store = bench.store().await;
        let firm = add_firm(&store, "a").await;
        watch_encounters(&store, &firm, &["e"], at(0)).await;
        let lost = encounter_lease(&store, &firm, "e", at(0)).await;
        let live = encounter_lease(&store, &firm, "e", at(0) + LEASE).await;
        assert!(live.fence() > lost.fence(), "a later lease has a higher fence");
        accepted.extend(attempt(&store, &firm, transition, lost).await);
        let others = store
            .acquire_encounters(&firm, &[live.item().encounter.id.clone()], at(40), LEASE)
            .await;
        if !others.unwrap().is_empty() || store.release_encounter(live, at(40)).await.is_err() {
            accepted.push(transition.0);
        }
    }
    verdict(&accepted);
}

/// What a first search for all changed documents showed that found nothing.
fn nothing(next: Timestamp) -> Changes {
    Changes {
        looks: Vec::new(),
        retracted: Vec::new(),
        as_of: next,
        categories: firm("a").categories,
        from: None,
        next: Cursor(next),
    }
}

pub(super) async fn watch_lists(bench: Bench) {
    let transitions: [Transition<WatchList>; 6] = [
        Transition("record_looks", |store, lease| {
            async move {
                let found = document(&lease.item().firm, "e", "d", at(35));
                let looks = [look("e", &[&found], &[])];
                store.record_looks(&lease, &looks, at(35)).await.map(drop)
            }
            .boxed()
        }),
        Transition("record_looks (nothing found)", |store, lease| {
            async move {
                let looks = [look("e", &[], &[])];
                store.record_looks(&lease, &looks, at(35)).await.map(drop)
            }
            .boxed()
        }),
        Transition("record_changes", |store, lease| {
            async move {
                let found = document(&lease.item().firm, "e", "d", at(35));
                let changes = Changes {
                    looks: vec![look("e", &[&found], &[])],
                    ..nothing(at(35))
                };
                store.record_changes(&lease, &changes, at(35)).await.map(drop)
            }
            .boxed()
        }),
        Transition("record_changes (nothing found)", |store, lease| {
            async move { store.record_changes(&lease, &nothing(at(35)), at(35)).await.map(drop) }.boxed()
        }),
        Transition("renew_watch_lists", |store, lease| {
            async move {
                let renewed = store.renew_watch_lists(vec![lease], at(35), LEASE).await?;
                if renewed.is_empty() {
                    Err(StateError::LeaseLost)
                } else {
                    Ok(())
                }
            }
            .boxed()
        }),
        // It passes over what is lost without a word: whether the other's lease is as good as it was is seen below.
        Transition("release_watch_lists", |store, lease| {
            async move {
                store.release_watch_lists(vec![lease], at(35)).await?;
                Err(StateError::LeaseLost)
            }
            .boxed()
        }),
    ];
    let mut accepted = Vec::new();
    for transition in &transitions {
        let store = bench.store().await;
        let firm = add_firm(&store, "a").await;
        watch_encounters(&store, &firm, &["e"], at(0)).await;
        let lost = watch_list_lease(&store, at(0)).await;
        let live = watch_list_lease(&store, at(0) + LEASE).await;
        assert!(live.fence() > lost.fence(), "a later lease has a higher fence");
        accepted.extend(attempt(&store, &firm, transition, lost).await);
        let others = store.acquire_watch_lists(at(40), LEASE, 10).await.unwrap();
        let kept = store.record_looks(&live, &[], at(40)).await.is_ok();
        let renewed = store.renew_watch_lists(vec![live], at(40), LEASE).await.unwrap();
        if !others.is_empty() || !kept || renewed.len() != 1 {
            accepted.push(transition.0);
        }
    }
    verdict(&accepted);
}

pub(super) async fn documents(bench: Bench) {
    let transitions: [Transition<DocumentWatch>; 9] = [
        Transition("record_photo", |store, lease| {
            async move { store.record_photo(lease, &photo(at(35))).await }.boxed()
        }),
        Transition("record_photo_lost", |store, lease| {
            async move {
                let lost = [lease.item().document.clone()];
                store.record_photo_lost(lease, &lost, at(35)).await
            }
            .boxed()
        }),
        Transition("retry_document", |store, lease| {
            store.retry_document(lease, at(35)).boxed()
        }),
        Transition("release_document", |store, lease| {
            store.release_document(lease, at(35)).boxed()
        }),
        Transition("bury_document", |store, lease| {
            async move { store.bury_document(lease, Stage::Infer, &REASON, at(35)).await }.boxed()
        }),
        Transition("close_assessment", |store, lease| {
            async move {
                let closed = ClosedAssessment {
                    id: AssessmentId::new("of a zombie"),
                    companions: BTreeSet::new(),
                    earlier: None,
                };
                store.close_assessment(&lease, &closed).await.map(drop)
            }
            .boxed()
        }),
        Transition("count_look", |store, lease| {
            async move { store.count_look(&lease, &lease.item().document).await.map(drop) }.boxed()
        }),
        Transition("record_findings", |store, lease| {
            async move {
                store
                    .record_findings(&lease, &result_key(&lease.item().document), &findings(), at(35))
                    .await
            }
            .boxed()
        }),
        Transition("record_result", |store, lease| {
            async move {
                let result = result(lease.item(), "from a zombie", at(35));
                store.record_result(lease, &result).await
            }
            .boxed()
        }),
    ];
    let mut accepted = Vec::new();
    for transition in &transitions {
        for step in [DocumentStep::Download, DocumentStep::Infer] {
            let store = bench.store().await;
            let firm = one_document(&store).await;
            if step == DocumentStep::Infer {
                download(&store, at(0)).await;
            }
            let lost = document_lease(&store, step, at(0)).await;
            let live = document_lease(&store, step, at(0) + LEASE).await;
            assert!(live.fence() > lost.fence(), "a later lease has a higher fence");
            accepted.extend(attempt(&store, &firm, transition, lost).await);
            let taken = store.acquire_documents(step, at(40), LEASE, 10).await.unwrap();
            if !taken.is_empty() || store.release_document(live, at(40)).await.is_err() {
                accepted.push(transition.0);
            }
        }
    }
    verdict(&accepted);
}

pub(super) async fn results(bench: Bench) {
    let transitions: [Transition<AssistResult>; 8] = [
        Transition("record_intent", |store, lease| {
            async move { store.record_intent(&lease, None, at(35)).await }.boxed()
        }),
        Transition("record_delivered", |store, lease| {
            async move { store.record_delivered(lease, &reference(1), at(35)).await }.boxed()
        }),
        Transition("record_uncertain", |store, lease| {
            async move { store.record_uncertain(lease, &REASON, at(35)).await }.boxed()
        }),
        Transition("record_withheld", |store, lease| {
            async move { store.record_withheld(lease, &REASON, at(35)).await }.boxed()
        }),
        Transition("retry_delivery", |store, lease| {
            store.retry_delivery(lease, at(35)).boxed()
        }),
        Transition("retry_search", |store, lease| store.retry_search(lease, at(35)).boxed()),
        Transition("release_delivery", |store, lease| {
            store.release_delivery(lease, at(35)).boxed()
        }),
        Transition("bury_delivery", |store, lease| {
            async move { store.bury_delivery(lease, &REASON, at(35)).await }.boxed()
        }),
    ];
    let mut accepted = Vec::new();
    for transition in &transitions {
        for intended in [false, true] {
            let store = bench.store().await;
            let (firm, _) = one_result(&store).await;
            let lost = result_lease(&store, at(0)).await;
            if intended {
                store.record_intent(&lost, None, at(1)).await.unwrap();
            }
            let live = result_lease(&store, at(0) + LEASE).await;
            assert!(live.fence() > lost.fence(), "a later lease has a higher fence");
            accepted.extend(attempt(&store, &firm, transition, lost).await);
            let taken = store.acquire_results(at(40), LEASE, 10).await.unwrap();
            let delivery = live.item().delivery.clone();
            if !taken.is_empty()
                || store.release_delivery(live, at(40)).await.is_err()
                || result_lease(&store, at(40)).await.item().delivery != delivery
            {
                accepted.push(transition.0);
            }
        }
    }
    verdict(&accepted);
}

pub(super) async fn refreshes(bench: Bench) {
    let transitions: [Transition<Credential>; 3] = [
        Transition("record_token", |store, lease| {
            async move { store.record_token(lease, &issued("old", 60)).await }.boxed()
        }),
        Transition("record_refusal", |store, lease| {
            async move { store.record_refusal(lease, &REASON, at(60)).await }.boxed()
        }),
        Transition("release_refresh", |store, lease| {
            store.release_refresh(lease, at(35)).boxed()
        }),
    ];
    let mut accepted = Vec::new();
    for transition in &transitions {
        let store = bench.store().await;
        let firm = add_firm(&store, "a").await;
        let lost = store.acquire_refresh(&firm, at(0), LEASE).await.unwrap().unwrap();
        let live = store
            .acquire_refresh(&firm, at(0) + LEASE, LEASE)
            .await
            .unwrap()
            .unwrap();
        assert!(live.fence() > lost.fence(), "a later lease has a higher fence");
        accepted.extend(attempt(&store, &firm, transition, lost).await);
        let taken = store.acquire_refresh(&firm, at(40), LEASE).await.unwrap();
        if taken.is_some() || store.release_refresh(live, at(40)).await.is_err() {
            accepted.push(transition.0);
        }
    }
    verdict(&accepted);
}
