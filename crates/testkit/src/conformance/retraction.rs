//! A document that is retracted in the EHR (entered in error, wrong patient): what was not delivered is cancelled, and
//! nothing brings it back.

use skin_assist_core::{
    domain::{DocumentStep, JourneyState, Stage},
    ports::{StateError, UncertainResolution},
};

use super::{
    Bench,
    fixtures::{
        REASON, acquired, at, document_lease, download, infer, journey, one_document, one_result, photo, reference,
        result_lease, results_due, retract,
    },
};

pub(super) async fn before_the_result(bench: Bench) {
    for downloaded in [false, true] {
        let store = bench.store().await;
        let firm = one_document(&store).await;
        if downloaded {
            download(&store, at(0)).await;
        }
        retract(&store, &firm, "d", at(1)).await;
        assert_eq!(journey(&store).await.state, JourneyState::Retracted);
        for step in [DocumentStep::Download, DocumentStep::Infer] {
            assert!(acquired(&store, step, at(1000)).await.is_empty());
        }
        let overview = &store.overview(at(1)).await.unwrap()[0];
        assert_eq!(
            (
                overview.waiting_download,
                overview.waiting_inference,
                overview.dead_letters
            ),
            (0, 0, 0)
        );
        retract(&store, &firm, "d", at(2)).await;
        assert_eq!(journey(&store).await.state, JourneyState::Retracted);
    }
}

/// Who works on it loses the lease.
pub(super) async fn under_a_lease(bench: Bench) {
    let store = bench.store().await;
    let firm = one_document(&store).await;
    let lease = document_lease(&store, DocumentStep::Download, at(0)).await;
    retract(&store, &firm, "d", at(1)).await;
    let outcome = store.record_photo(lease, &photo(at(2))).await;
    assert!(matches!(outcome, Err(StateError::LeaseLost)), "{outcome:?}");
    assert_eq!(journey(&store).await.state, JourneyState::Retracted);
}

pub(super) async fn before_the_post(bench: Bench) {
    for leased in [false, true] {
        let store = bench.store().await;
        let (firm, _) = one_result(&store).await;
        let lease = if leased {
            Some(result_lease(&store, at(0)).await)
        } else {
            None
        };
        retract(&store, &firm, "d", at(1)).await;
        if let Some(lease) = lease {
            let outcome = store.record_intent(&lease, None, at(2)).await;
            assert!(matches!(outcome, Err(StateError::LeaseLost)), "{outcome:?}");
        }
        assert_eq!(journey(&store).await.state, JourneyState::Retracted);
        assert_eq!(results_due(&store, at(1000)).await, 0);
        assert_eq!(store.overview(at(1)).await.unwrap()[0].waiting_delivery, 0);
    }
}

/// The post may be under way: its acknowledgement is still recorded, but it is not posted again.
pub(super) async fn after_an_intent(bench: Bench) {
    let store = bench.store().await;
    let (firm, _) = one_result(&store).await;
    let lease = result_lease(&store, at(0)).await;
    store.record_intent(&lease, None, at(1)).await.unwrap();
    retract(&store, &firm, "d", at(2)).await;
    assert_eq!(journey(&store).await.state, JourneyState::WriteBack);
    store.record_delivered(lease, &reference(1), at(3)).await.unwrap();
    assert_eq!(journey(&store).await.state, JourneyState::Delivered);

    // The EHR certainly does not have it: there is nothing to post again.
    for buried in [false, true] {
        let store = bench.store().await;
        let (firm, _) = one_result(&store).await;
        let lease = result_lease(&store, at(0)).await;
        store.record_intent(&lease, None, at(1)).await.unwrap();
        retract(&store, &firm, "d", at(2)).await;
        if buried {
            store.bury_delivery(lease, &REASON, at(3)).await.unwrap();
        } else {
            store.retry_delivery(lease, at(3)).await.unwrap();
        }
        assert_eq!(journey(&store).await.state, JourneyState::Retracted);
        assert_eq!(results_due(&store, at(1000)).await, 0);
        assert!(store.dead_letters().await.unwrap().is_empty());
    }

    // Interrupted, found to be absent by a search, and about to be posted once more.
    let store = bench.store().await;
    let (firm, _) = one_result(&store).await;
    let lease = result_lease(&store, at(0)).await;
    store.record_intent(&lease, None, at(1)).await.unwrap();
    retract(&store, &firm, "d", at(2)).await;
    let lease = result_lease(&store, at(30)).await;
    let outcome = store.record_intent(&lease, None, at(31)).await;
    assert!(matches!(outcome, Err(StateError::LeaseLost)), "{outcome:?}");
    assert_eq!(journey(&store).await.state, JourneyState::Retracted);
    assert_eq!(results_due(&store, at(1000)).await, 0);
}

/// It stays uncertain, because it may be in the chart; but it is not posted again.
pub(super) async fn while_uncertain(bench: Bench) {
    let store = bench.store().await;
    let (firm, result) = one_result(&store).await;
    let lease = result_lease(&store, at(0)).await;
    store.record_uncertain(lease, &REASON, at(1)).await.unwrap();
    retract(&store, &firm, "d", at(2)).await;
    assert_eq!(journey(&store).await.state, JourneyState::Uncertain);
    store
        .resolve(&firm, &result.assessment.id, &UncertainResolution::PostAgain, at(3))
        .await
        .unwrap();
    assert_eq!(journey(&store).await.state, JourneyState::Retracted);
    assert_eq!(results_due(&store, at(1000)).await, 0);
}

pub(super) async fn after_delivery(bench: Bench) {
    let store = bench.store().await;
    let (firm, _) = one_result(&store).await;
    let lease = result_lease(&store, at(0)).await;
    store.record_delivered(lease, &reference(1), at(1)).await.unwrap();
    let before = journey(&store).await;
    retract(&store, &firm, "d", at(2)).await;
    assert_eq!(journey(&store).await, before, "what is delivered stays delivered");
}

/// A draft that is or may be in the chart: the clinic has to know, once, until an operator took note.
pub(super) async fn after_the_post_is_an_alarm(bench: Bench) {
    for (ending, alarms) in [
        ("delivered", 1),
        ("uncertain", 1),
        ("intended", 1),
        ("pending", 0),
        ("withheld", 0),
    ] {
        let store = bench.store().await;
        let (firm, result) = one_result(&store).await;
        let id = &result.assessment.id;
        let lease = result_lease(&store, at(0)).await;
        match ending {
            "delivered" => store.record_delivered(lease, &reference(1), at(1)).await.unwrap(),
            "uncertain" => store.record_uncertain(lease, &REASON, at(1)).await.unwrap(),
            "intended" => store.record_intent(&lease, None, at(1)).await.unwrap(),
            "pending" => store.release_delivery(lease, at(1)).await.unwrap(),
            _ => store.record_withheld(lease, &REASON, at(1)).await.unwrap(),
        }
        for (turn, expected) in [(2, alarms), (3, 0)] {
            let noticed = retract(&store, &firm, "d", at(turn)).await;
            assert_eq!(noticed.len(), expected, "{ending}, look {turn}");
        }
        let listed = store.retracted_drafts().await.unwrap();
        assert_eq!(listed.len(), alarms, "{ending}");
        assert_eq!(
            store.overview(at(3)).await.unwrap()[0].retracted,
            alarms as u64,
            "{ending}"
        );
        if let Some(draft) = listed.first() {
            assert_eq!((draft.document.as_str(), &draft.assessment), ("d", id));
            assert_eq!(draft.reference_code, result.assessment.reference_code());
            assert_eq!(draft.reference.is_some(), ending == "delivered");
            assert_eq!(draft.noticed_at, at(2));
            store.acknowledge_retraction(&firm, id, at(4)).await.unwrap();
        }
        assert!(store.retracted_drafts().await.unwrap().is_empty());
        let again = store.acknowledge_retraction(&firm, id, at(5)).await;
        assert!(matches!(again, Err(StateError::NotFound { .. })), "{again:?}");
    }
}

/// Where posting again is the way to ask whether an earlier post was taken, nobody knows after a retraction.
pub(super) async fn while_an_earlier_post_is_unsettled(bench: Bench) {
    let store = bench.store().await;
    let (firm, _) = one_result(&store).await;
    let lease = result_lease(&store, at(0)).await;
    store.record_intent(&lease, None, at(1)).await.unwrap();
    retract(&store, &firm, "d", at(2)).await;
    let lease = result_lease(&store, at(30)).await;
    let outcome = store.record_intent(&lease, Some(&REASON), at(31)).await;
    assert!(matches!(outcome, Err(StateError::LeaseLost)), "{outcome:?}");
    assert_eq!(journey(&store).await.state, JourneyState::Uncertain);
    assert_eq!(store.retracted_drafts().await.unwrap().len(), 1);
    assert_eq!(results_due(&store, at(1000)).await, 0);
}

/// A replay would bring it back: the letter goes.
pub(super) async fn of_what_was_given_up(bench: Bench) {
    let store = bench.store().await;
    let firm = one_document(&store).await;
    let lease = document_lease(&store, DocumentStep::Download, at(0)).await;
    store
        .bury_document(lease, Stage::DownloadPhoto, &REASON, at(1))
        .await
        .unwrap();
    retract(&store, &firm, "d", at(2)).await;
    assert!(store.dead_letters().await.unwrap().is_empty());
    assert_eq!(journey(&store).await.state, JourneyState::Retracted);

    let store = bench.store().await;
    let (firm, _) = one_result(&store).await;
    let lease = result_lease(&store, at(0)).await;
    store.bury_delivery(lease, &REASON, at(1)).await.unwrap();
    retract(&store, &firm, "d", at(2)).await;
    assert!(store.dead_letters().await.unwrap().is_empty());
    assert_eq!(journey(&store).await.state, JourneyState::Retracted);

    // Withheld: a later change of mode must not bring it back either.
    let store = bench.store().await;
    let (firm, _) = one_result(&store).await;
    let lease = result_lease(&store, at(0)).await;
    store.record_withheld(lease, &REASON, at(1)).await.unwrap();
    retract(&store, &firm, "d", at(2)).await;
    assert_eq!(journey(&store).await.state, JourneyState::Retracted);
}

pub(super) async fn of_an_unknown_document(bench: Bench) {
    let store = bench.store().await;
    let firm = one_document(&store).await;
    retract(&store, &firm, "unknown", at(1)).await;
    download(&store, at(2)).await;
    infer(&store, at(2)).await;
    assert_eq!(journey(&store).await.state, JourneyState::WriteBack);
}
