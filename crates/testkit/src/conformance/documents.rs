//! Photos on their way to a result.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::FutureExt;
use skin_assist_core::{
    domain::{
        AssessmentId, DeadLetterSubject, DocumentId, DocumentStep, FirmId, FirmStatus, JourneyState, Mode,
        ModelVersion, ResultKey, Stage,
    },
    ports::{StateError, StateStore},
};

use super::{
    Bench,
    fixtures::{
        LEASE, REASON, acquired, add_firm, at, document, document_lease, download, find_documents, findings, infer,
        journey, one_document, photo, record_documents, result, result_key, result_lease, results_due, seconds,
    },
};

const MILLISECOND: Duration = Duration::from_millis(1);

pub(super) async fn what_is_due_longest_comes_first(bench: Bench) {
    let store = bench.store().await;
    let (a, b) = (add_firm(&store, "a").await, add_firm(&store, "b").await);
    find_documents(&store, &a, &["third"], at(3)).await;
    find_documents(&store, &b, &["first"], at(1)).await;
    find_documents(&store, &a, &["fourth"], at(4)).await;
    find_documents(&store, &b, &["second"], at(2)).await;
    assert!(
        acquired(&store, DocumentStep::Download, at(1) - MILLISECOND)
            .await
            .is_empty(),
        "none is due yet"
    );
    let leases = store
        .acquire_documents(DocumentStep::Download, at(3), LEASE, 2)
        .await
        .unwrap();
    let names: Vec<&str> = leases.iter().map(|lease| lease.item().document.as_str()).collect();
    assert_eq!(names, ["first", "second"], "no more than asked for");
    assert_eq!(acquired(&store, DocumentStep::Download, at(3)).await, ["third"]);
    assert!(
        store
            .acquire_documents(DocumentStep::Download, at(9), LEASE, 0)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(acquired(&store, DocumentStep::Download, at(9)).await, ["fourth"]);
}

pub(super) async fn each_step_has_its_own_queue(bench: Bench) {
    let store = bench.store().await;
    one_document(&store).await;
    assert!(acquired(&store, DocumentStep::Infer, at(0)).await.is_empty());
    let lease = document_lease(&store, DocumentStep::Download, at(0)).await;
    assert_eq!(
        lease.item(),
        &document(&lease.item().firm, "e", "d", at(0)),
        "it comes back as it was recorded"
    );
    store.record_photo(lease, &photo(at(5))).await.unwrap();
    assert!(acquired(&store, DocumentStep::Download, at(100)).await.is_empty());
    let lease = document_lease(&store, DocumentStep::Infer, at(5)).await;
    assert_eq!(
        lease.item().photo,
        Some(photo(at(5))),
        "it waits for the models at once, and names its bytes"
    );
    store
        .record_photo_lost(lease, &[DocumentId::new("d")], at(6))
        .await
        .unwrap();
    assert!(acquired(&store, DocumentStep::Infer, at(100)).await.is_empty());
    let lease = document_lease(&store, DocumentStep::Download, at(6)).await;
    assert_eq!(lease.item().photo, None);
    store.record_photo(lease, &photo(at(7))).await.unwrap();
    infer(&store, at(8)).await;
    for step in [DocumentStep::Download, DocumentStep::Infer] {
        assert!(
            acquired(&store, step, at(100_000)).await.is_empty(),
            "a result finishes its document"
        );
    }
}

pub(super) async fn a_lease_is_exclusive_and_expires(bench: Bench) {
    let store = bench.store().await;
    one_document(&store).await;
    let first = document_lease(&store, DocumentStep::Download, at(0)).await;
    assert_eq!((first.attempt(), first.locked_until()), (1, at(30)));
    assert!(
        acquired(&store, DocumentStep::Download, at(30) - MILLISECOND)
            .await
            .is_empty()
    );
    let second = document_lease(&store, DocumentStep::Download, at(30)).await;
    assert!(second.fence() > first.fence());
    assert_eq!(second.attempt(), 2);
    // It does not ask whether the lease has expired, only whether somebody else has it.
    store.record_photo(second, &photo(at(90))).await.unwrap();
    assert_eq!(journey(&store).await.state, JourneyState::Infer);
}

pub(super) async fn attempts_count_since_the_last_progress(bench: Bench) {
    let store = bench.store().await;
    one_document(&store).await;
    let mut fence = skin_assist_core::lease::Fence(0);
    for (attempt, retry_at) in [(1, at(10)), (2, at(20))] {
        let lease = document_lease(&store, DocumentStep::Download, retry_at - seconds(10)).await;
        assert_eq!(lease.attempt(), attempt);
        assert!(lease.fence() > fence, "the fence only grows");
        fence = lease.fence();
        store.retry_document(lease, retry_at).await.unwrap();
        assert!(
            acquired(&store, DocumentStep::Download, retry_at - MILLISECOND)
                .await
                .is_empty(),
            "due then only"
        );
    }
    for _ in 0..2 {
        let lease = document_lease(&store, DocumentStep::Download, at(20)).await;
        assert_eq!(lease.attempt(), 3, "a release does not count");
        store.release_document(lease, at(20)).await.unwrap();
    }
    download(&store, at(20)).await;
    let lease = document_lease(&store, DocumentStep::Infer, at(20)).await;
    assert_eq!(lease.attempt(), 1, "a photo is progress");
    store
        .record_photo_lost(lease, &[DocumentId::new("d")], at(20))
        .await
        .unwrap();
    let lease = document_lease(&store, DocumentStep::Download, at(20)).await;
    assert_eq!(lease.attempt(), 2, "the attempt that found the bytes gone counts");
    assert!(lease.fence() > fence);
    store
        .retry_document(lease, skin_assist_core::time::Timestamp::NEVER)
        .await
        .unwrap();
    assert!(
        acquired(&store, DocumentStep::Download, at(1_000_000_000))
            .await
            .is_empty()
    );
}

pub(super) async fn a_known_document_stays_as_it_is(bench: Bench) {
    let store = bench.store().await;
    let firm = one_document(&store).await;
    download(&store, at(1)).await;
    let mut again = document(&firm, "e", "d", at(9));
    again.assessment = AssessmentId::new("another");
    let other = document(&firm, "e", "d2", at(9));
    assert_eq!(
        record_documents(&store, &firm, &[again.clone(), other.clone(), other], &[], at(9))
            .await
            .new
            .len(),
        1
    );
    let lease = document_lease(&store, DocumentStep::Infer, at(9)).await;
    assert_eq!(
        (lease.item().detected_at, lease.item().photo.as_ref()),
        (at(0), Some(&photo(at(1))))
    );
    assert_ne!(lease.item().assessment, again.assessment);
    store.bury_document(lease, Stage::Infer, &REASON, at(9)).await.unwrap();
    assert_eq!(
        record_documents(&store, &firm, &[again], &[], at(10)).await.new.len(),
        0,
        "what was given up is known too"
    );
    assert!(acquired(&store, DocumentStep::Infer, at(1000)).await.is_empty());
}

pub(super) async fn concurrent_workers_share_no_document(bench: Bench) {
    let handles = bench.0.fresh().await;
    for id in ["a", "b"] {
        let firm = add_firm(&handles[0], id).await;
        let names: Vec<String> = (0..60).map(|number| format!("d{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        find_documents(&handles[0], &firm, &names, at(0)).await;
    }
    let leased = bench
        .race(&handles, 6, |store| {
            async move {
                let mut mine = Vec::new();
                loop {
                    let leases = store
                        .acquire_documents(DocumentStep::Download, at(0), LEASE, 7)
                        .await
                        .unwrap();
                    if leases.is_empty() {
                        return mine;
                    }
                    for lease in leases {
                        mine.push((lease.item().firm.clone(), lease.item().document.clone()));
                        store.record_photo(lease, &photo(at(0))).await.unwrap();
                    }
                }
            }
            .boxed()
        })
        .await;
    let leased: Vec<_> = leased.into_iter().flatten().collect();
    assert_eq!(leased.len(), 120, "each document is leased");
    assert_eq!(leased.iter().collect::<HashSet<_>>().len(), 120, "none twice");
}

/// Nothing of a firm that is paused or off is acquired, whatever it was doing when it was stopped; who holds a lease may finish.
pub(super) async fn a_paused_firm_waits(bench: Bench) {
    for by_mode in [false, true] {
        a_stopped_firm_waits(&bench, by_mode).await;
    }
    // Both have to be taken back.
    let store = bench.store().await;
    let a = add_firm(&store, "a").await;
    find_documents(&store, &a, &["download"], at(0)).await;
    store.set_firm_status(&a, FirmStatus::Paused).await.unwrap();
    store.set_mode(&a, Mode::Off, None).await.unwrap();
    for (status, mode) in [(FirmStatus::Paused, Mode::Draft), (FirmStatus::Active, Mode::Off)] {
        store.set_firm_status(&a, status).await.unwrap();
        store.set_mode(&a, mode, None).await.unwrap();
        assert!(acquired(&store, DocumentStep::Download, at(1)).await.is_empty());
        assert!(store.acquire_watch_lists(at(1), LEASE, 10).await.unwrap().is_empty());
    }
    store.set_mode(&a, Mode::Silent, None).await.unwrap();
    assert_eq!(acquired(&store, DocumentStep::Download, at(1)).await, ["download"]);
    assert_eq!(store.acquire_watch_lists(at(1), LEASE, 10).await.unwrap().len(), 1);
}

async fn stop(store: &Arc<dyn StateStore>, firm: &FirmId, by_mode: bool, stopped: bool) {
    let (status, mode) = if stopped {
        (FirmStatus::Paused, Mode::Off)
    } else {
        (FirmStatus::Active, Mode::Draft)
    };
    if by_mode {
        store.set_mode(firm, mode, None).await.unwrap();
    } else {
        store.set_firm_status(firm, status).await.unwrap();
    }
}

async fn a_stopped_firm_waits(bench: &Bench, by_mode: bool) {
    let store = bench.store().await;
    let (a, b) = (add_firm(&store, "a").await, add_firm(&store, "b").await);
    for id in ["result", "infer", "leased", "download"] {
        find_documents(&store, &a, &[id], at(0)).await;
        if id == "download" {
            break;
        }
        if id != "leased" {
            download(&store, at(0)).await;
        }
        if id == "result" {
            infer(&store, at(0)).await;
        }
        if id == "leased" {
            // Found, and its step ended while the firm is paused: see below.
            let lease = document_lease(&store, DocumentStep::Download, at(0)).await;
            store.retry_document(lease, at(1)).await.unwrap();
        }
    }
    let lease = document_lease(&store, DocumentStep::Infer, at(0)).await;
    let result = result(lease.item(), "made while paused", at(2));
    stop(&store, &a, by_mode, true).await;
    store.record_result(lease, &result).await.unwrap();
    find_documents(&store, &a, &["found while paused"], at(2)).await;
    find_documents(&store, &b, &["of another firm"], at(9)).await;
    assert_eq!(
        acquired(&store, DocumentStep::Download, at(10)).await,
        ["of another firm"]
    );
    assert!(acquired(&store, DocumentStep::Infer, at(10)).await.is_empty());
    assert_eq!(results_due(&store, at(10)).await, 0);
    let overview = &store.overview(at(10)).await.unwrap()[0];
    assert_eq!(
        (
            overview.waiting_download,
            overview.waiting_inference,
            overview.waiting_delivery
        ),
        (3, 0, 2),
        "what waits is counted while it waits"
    );

    stop(&store, &a, by_mode, false).await;
    let names = acquired(&store, DocumentStep::Download, at(10)).await;
    assert_eq!(
        names,
        ["download", "leased", "found while paused"],
        "they waited where they were"
    );
    assert_eq!(results_due(&store, at(10)).await, 2);
}

pub(super) async fn findings_are_found_again(bench: Bench) {
    let store = bench.store().await;
    let firm = one_document(&store).await;
    download(&store, at(0)).await;
    let lease = document_lease(&store, DocumentStep::Infer, at(0)).await;
    let key = result_key(&lease.item().document);
    assert!(store.findings(&firm, &key).await.unwrap().is_none());
    store.record_findings(&lease, &key, &findings(), at(1)).await.unwrap();
    store.record_findings(&lease, &key, &findings(), at(2)).await.unwrap();
    assert_eq!(
        store.findings(&firm, &key).await.unwrap(),
        Some(findings()),
        "exactly, to the last bit"
    );
    let other = ResultKey::new(
        &AssessmentId::new("d"),
        [&photo(at(0)).digest],
        &[ModelVersion {
            pack: "reference-solitary".into(),
            version: "2".into(),
        }],
    );
    assert!(
        store.findings(&firm, &other).await.unwrap().is_none(),
        "another model's are others"
    );
    // The lease is kept: the worker goes on under it.
    assert!(acquired(&store, DocumentStep::Infer, at(2)).await.is_empty());
    store.retry_document(lease, at(3)).await.unwrap();
    document_lease(&store, DocumentStep::Infer, at(3)).await;
    assert_eq!(store.findings(&firm, &key).await.unwrap(), Some(findings()));
}

pub(super) async fn what_is_given_up_is_a_dead_letter_and_can_be_replayed(bench: Bench) {
    let store = bench.store().await;
    let firm = one_document(&store).await;
    for step in [DocumentStep::Download, DocumentStep::Infer] {
        let stage = if step == DocumentStep::Infer {
            Stage::Infer
        } else {
            Stage::DownloadPhoto
        };
        let lease = document_lease(&store, step, at(0)).await;
        store.retry_document(lease, at(0)).await.unwrap();
        let lease = document_lease(&store, step, at(0)).await;
        let fence = lease.fence();
        store.bury_document(lease, stage, &REASON, at(1)).await.unwrap();
        assert!(acquired(&store, step, at(1000)).await.is_empty());
        assert_eq!(journey(&store).await.state, JourneyState::DeadLetter);
        let letters = store.dead_letters().await.unwrap();
        assert_eq!(letters.len(), 1);
        let letter = &letters[0];
        assert_eq!(
            (&letter.firm, &letter.subject),
            (&firm, &DeadLetterSubject::Document(DocumentId::new("d")))
        );
        assert_eq!(
            (letter.stage, &letter.reason, letter.attempts, letter.at),
            (stage, &REASON, 2, at(1))
        );
        assert_eq!(store.overview(at(1)).await.unwrap()[0].dead_letters, 1);

        store.replay(letter.id, at(2)).await.unwrap();
        assert!(store.dead_letters().await.unwrap().is_empty());
        let twice = store.replay(letter.id, at(2)).await;
        assert!(matches!(twice, Err(StateError::NotFound { .. })), "{twice:?}");
        let lease = document_lease(&store, step, at(2)).await;
        assert_eq!(lease.attempt(), 1, "its attempts are forgotten");
        assert!(lease.fence() > fence, "its fence is not");
        store.release_document(lease, at(0)).await.unwrap();
        if step == DocumentStep::Download {
            download(&store, at(0)).await;
        }
    }
}

/// Two documents that name one assessment: the first result stays, both documents are finished, one draft is posted.
pub(super) async fn a_second_result_changes_nothing(bench: Bench) {
    let store = bench.store().await;
    let firm = add_firm(&store, "a").await;
    let assessment = AssessmentId::new("one");
    for id in ["d1", "d2"] {
        let mut watch = document(&firm, "e", id, at(0));
        watch.assessment = assessment.clone();
        record_documents(&store, &firm, &[watch], &[], at(0)).await;
        download(&store, at(0)).await;
        let lease = document_lease(&store, DocumentStep::Infer, at(0)).await;
        let result = result(lease.item(), id, at(1));
        store.record_result(lease, &result).await.unwrap();
    }
    assert!(acquired(&store, DocumentStep::Infer, at(1000)).await.is_empty());
    let lease = result_lease(&store, at(1)).await;
    assert_eq!(lease.item().note.expose().sections[0].paragraphs, ["d1"]);
    assert_eq!(store.overview(at(1)).await.unwrap()[0].waiting_delivery, 1);
}
