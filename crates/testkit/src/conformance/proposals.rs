//! Items by name, for stores that events may propose items of. Not every store has to be one, so these rules are checked by
//! themselves.

use std::{sync::Arc, time::Duration};

use skin_assist_core::{
    domain::{AssessmentId, DocumentId, DocumentStep, DocumentWatch, FirmStatus},
    ports::{Proposed, ProposingStore},
};

use super::fixtures::{LEASE, Store, add_firm, at, document, find_documents, infer, photo, record_documents};

/// Checks the contract of [`skin_assist_core::ports::Proposals`] on new, empty states.
pub async fn check(fresh: impl AsyncFn() -> Arc<dyn ProposingStore>) {
    a_document_is_leased_by_its_name(fresh().await).await;
    a_document_that_waits_for_further_ones_is_proposed_when_it_is_due(fresh().await).await;
    a_result_is_leased_by_its_name(fresh().await).await;
    what_is_due_is_listed(fresh().await).await;
}

async fn a_document_is_leased_by_its_name(store: Arc<dyn ProposingStore>) {
    let state: Store = store.clone();
    let (a, b) = (add_firm(&state, "a").await, add_firm(&state, "b").await);
    find_documents(&state, &a, &["first", "second"], at(0)).await;
    find_documents(&state, &b, &["second"], at(0)).await;
    let named = |document: &str, step, now| {
        let (store, firm, document) = (store.clone(), a.clone(), DocumentId::new(document));
        async move {
            store
                .acquire_document(&firm, &document, step, now, LEASE)
                .await
                .unwrap()
        }
    };
    let Proposed::Leased(lease) = named("second", DocumentStep::Download, at(5)).await else {
        panic!("it is due and free");
    };
    assert_eq!((&lease.item().firm, lease.item().document.as_str()), (&a, "second"));
    assert_eq!((lease.attempt(), lease.locked_until()), (1, at(5) + LEASE));
    for step in [DocumentStep::Download, DocumentStep::Infer] {
        assert_eq!(
            named("second", step, at(6)).await,
            Proposed::NotBefore(at(5) + LEASE),
            "it is under a lease, for this step or the one before"
        );
    }
    assert_eq!(
        named("first", DocumentStep::Infer, at(6)).await,
        Proposed::Settled,
        "it waits for another step"
    );
    assert_eq!(named("no-such", DocumentStep::Download, at(6)).await, Proposed::Settled);
    state.record_photo(lease, &photo(at(7))).await.unwrap();
    assert_eq!(named("second", DocumentStep::Download, at(8)).await, Proposed::Settled);
    let Proposed::Leased(lease) = named("second", DocumentStep::Infer, at(8)).await else {
        panic!("its bytes are there");
    };
    state.retry_document(lease, at(100)).await.unwrap();
    assert_eq!(
        named("second", DocumentStep::Infer, at(99)).await,
        Proposed::NotBefore(at(100))
    );
    assert!(matches!(
        named("second", DocumentStep::Infer, at(100)).await,
        Proposed::Leased(lease) if lease.attempt() == 2
    ));
    state.set_firm_status(&a, FirmStatus::Paused).await.unwrap();
    assert_eq!(
        named("first", DocumentStep::Download, at(101)).await,
        Proposed::Settled,
        "a paused firm's photos wait"
    );
}

/// The event about its bytes is done with; nobody waits for the window to pass.
async fn a_document_that_waits_for_further_ones_is_proposed_when_it_is_due(store: Arc<dyn ProposingStore>) {
    let state: Store = store.clone();
    let firm = add_firm(&state, "a").await;
    let watch = DocumentWatch {
        gathers_until: Some(at(30)),
        ..document(&firm, "e", "d", at(0))
    };
    record_documents(&state, &firm, &[watch], &[], at(0)).await;
    let named = |step, now| {
        let (store, firm) = (store.clone(), firm.clone());
        async move {
            store
                .acquire_document(&firm, &DocumentId::new("d"), step, now, LEASE)
                .await
                .unwrap()
        }
    };
    let Proposed::Leased(lease) = named(DocumentStep::Download, at(0)).await else {
        panic!("it is due and free");
    };
    assert_eq!(
        named(DocumentStep::Infer, at(1)).await,
        Proposed::NotBefore(at(30)),
        "its download is about to end"
    );
    state.record_photo(lease, &photo(at(2))).await.unwrap();
    assert_eq!(named(DocumentStep::Infer, at(3)).await, Proposed::Settled);
    assert!(
        store
            .due_documents(DocumentStep::Infer, at(29), 10)
            .await
            .unwrap()
            .is_empty()
    );
    let due = store.due_documents(DocumentStep::Infer, at(30), 10).await.unwrap();
    assert_eq!(due, [(firm.clone(), DocumentId::new("d"), at(30))]);
    let Proposed::Leased(_lease) = named(DocumentStep::Infer, at(30)).await else {
        panic!("its window has passed");
    };
    assert_eq!(
        named(DocumentStep::Infer, at(31)).await,
        Proposed::NotBefore(at(30) + LEASE),
        "it is at the models"
    );
}

async fn a_result_is_leased_by_its_name(store: Arc<dyn ProposingStore>) {
    let state: Store = store.clone();
    let firm = add_firm(&state, "a").await;
    find_documents(&state, &firm, &["d"], at(0)).await;
    let lease = super::fixtures::document_lease(&state, DocumentStep::Download, at(0)).await;
    state.record_photo(lease, &photo(at(1))).await.unwrap();
    infer(&state, at(2)).await;
    let (_, assessment, since) = store.due_results(at(10), 9).await.unwrap().remove(0);
    assert!(since <= at(10));
    let named = |assessment: &AssessmentId, now| {
        let (store, firm, assessment) = (store.clone(), firm.clone(), assessment.clone());
        async move { store.acquire_result(&firm, &assessment, now, LEASE).await.unwrap() }
    };
    let Proposed::Leased(lease) = named(&assessment, at(10)).await else {
        panic!("it is due and free");
    };
    assert_eq!(lease.item().assessment.id, assessment);
    assert_eq!(named(&assessment, at(11)).await, Proposed::NotBefore(at(10) + LEASE));
    assert_eq!(named(&AssessmentId::new("no-such"), at(11)).await, Proposed::Settled);
    state.retry_delivery(lease, at(50)).await.unwrap();
    assert_eq!(named(&assessment, at(49)).await, Proposed::NotBefore(at(50)));
    let Proposed::Leased(lease) = named(&assessment, at(50)).await else {
        panic!("it is due again");
    };
    let reference = skin_assist_core::domain::DraftReference("r".to_owned());
    state.record_delivered(lease, &reference, at(51)).await.unwrap();
    assert_eq!(
        named(&assessment, at(500)).await,
        Proposed::Settled,
        "it is in the chart"
    );
}

async fn what_is_due_is_listed(store: Arc<dyn ProposingStore>) {
    let state: Store = store.clone();
    let (a, b) = (add_firm(&state, "a").await, add_firm(&state, "b").await);
    find_documents(&state, &a, &["third"], at(3)).await;
    find_documents(&state, &b, &["first"], at(1)).await;
    find_documents(&state, &a, &["second"], at(2)).await;
    let due = async |step, now, limit| -> Vec<(String, Duration)> {
        let due = store.due_documents(step, now, limit).await.unwrap();
        let tell = |(_, document, since): (_, DocumentId, _)| (document.to_string(), at(100).since(since));
        due.into_iter().map(tell).collect()
    };
    let named = |name: &str, second: u64| (name.to_owned(), Duration::from_secs(100 - second));
    assert_eq!(
        due(DocumentStep::Download, at(2), 9).await,
        [named("first", 1), named("second", 2)]
    );
    assert_eq!(
        due(DocumentStep::Download, at(9), 2).await,
        [named("first", 1), named("second", 2)]
    );
    assert!(due(DocumentStep::Infer, at(9), 9).await.is_empty());
    let leases = state
        .acquire_documents(DocumentStep::Download, at(9), LEASE, 1)
        .await
        .unwrap();
    assert_eq!(leases.len(), 1);
    assert_eq!(
        due(DocumentStep::Download, at(10), 9).await,
        [named("second", 2), named("third", 3)],
        "what is under a lease is not due"
    );
    assert!(store.due_results(at(10), 9).await.unwrap().is_empty());
    state.set_firm_status(&a, FirmStatus::Paused).await.unwrap();
    assert!(
        due(DocumentStep::Download, at(10), 9).await.is_empty(),
        "those of a paused firm are passed over"
    );
}
