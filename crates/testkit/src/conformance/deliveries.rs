//! Results on their way into the chart.

use std::{collections::HashSet, time::Duration};

use futures::FutureExt;
use skin_assist_core::{
    domain::{DeadLetterSubject, Delivery, FirmStatus, JourneyState, Mode, Stage},
    ports::{StateError, UncertainResolution},
};

use super::{
    Bench,
    fixtures::{
        LEASE, REASON, add_firm, at, download, find_documents, firm_id, infer, journey, one_result, reference,
        result_lease, results_due,
    },
};

const MILLISECOND: Duration = Duration::from_millis(1);

pub(super) async fn a_result_comes_back_as_it_was_recorded(bench: Bench) {
    let store = bench.store().await;
    let (_, result) = one_result(&store).await;
    assert_eq!(results_due(&store, at(0) - MILLISECOND).await, 0);
    let lease = result_lease(&store, at(0)).await;
    assert_eq!(lease.item(), &result, "exactly, to the last bit");
    assert_eq!((lease.attempt(), lease.locked_until()), (1, at(30)));
    assert_eq!(results_due(&store, at(30) - MILLISECOND).await, 0);
    let again = result_lease(&store, at(30)).await;
    assert!(again.fence() > lease.fence());
    assert_eq!(again.attempt(), 2);
}

pub(super) async fn a_delivery_ends_with_its_reference(bench: Bench) {
    let store = bench.store().await;
    one_result(&store).await;
    assert_eq!(journey(&store).await.state, JourneyState::WriteBack);
    let lease = result_lease(&store, at(0)).await;
    store.record_intent(&lease, None, at(1)).await.unwrap();
    assert_eq!(results_due(&store, at(1)).await, 0, "the lease is kept");
    assert_eq!(journey(&store).await.state, JourneyState::WriteBack);
    store.record_delivered(lease, &reference(81), at(2)).await.unwrap();
    let journey = journey(&store).await;
    assert_eq!(
        (journey.state, journey.delivered_at),
        (JourneyState::Delivered, Some(at(2)))
    );
    assert_eq!(journey.reference, Some(reference(81)));
    assert_eq!(results_due(&store, at(100_000)).await, 0, "it is never acquired again");
    let overview = &store.overview(at(2)).await.unwrap()[0];
    assert_eq!((overview.waiting_delivery, overview.delivered), (0, 1));
}

/// A crash between intent and acknowledgement: the next worker is told that nobody knows.
pub(super) async fn an_intent_outlives_its_lease(bench: Bench) {
    let store = bench.store().await;
    one_result(&store).await;
    let lease = result_lease(&store, at(0)).await;
    store.record_intent(&lease, None, at(3)).await.unwrap();
    let lease = result_lease(&store, at(30)).await;
    assert_eq!(
        lease.item().delivery,
        Delivery::Intended {
            at: at(3),
            updates: None
        }
    );
    assert_eq!(lease.attempt(), 2);
    store.record_intent(&lease, None, at(31)).await.unwrap();
    store.record_delivered(lease, &reference(1), at(32)).await.unwrap();
    assert_eq!(journey(&store).await.state, JourneyState::Delivered);
}

pub(super) async fn a_retry_withdraws_the_intent(bench: Bench) {
    let store = bench.store().await;
    one_result(&store).await;
    let lease = result_lease(&store, at(0)).await;
    store.record_intent(&lease, None, at(1)).await.unwrap();
    store.retry_delivery(lease, at(60)).await.unwrap();
    assert_eq!(results_due(&store, at(60) - MILLISECOND).await, 0);
    let lease = result_lease(&store, at(60)).await;
    assert_eq!((&lease.item().delivery, lease.attempt()), (&Delivery::Pending, 2));
}

pub(super) async fn a_release_keeps_the_intent(bench: Bench) {
    let store = bench.store().await;
    one_result(&store).await;
    for _ in 0..2 {
        let lease = result_lease(&store, at(0)).await;
        assert_eq!(
            (&lease.item().delivery, lease.attempt()),
            (&Delivery::Pending, 1),
            "a release does not count"
        );
        store.release_delivery(lease, at(0)).await.unwrap();
    }
    let lease = result_lease(&store, at(0)).await;
    store.record_intent(&lease, None, at(1)).await.unwrap();
    store.release_delivery(lease, at(9)).await.unwrap();
    assert_eq!(results_due(&store, at(9) - MILLISECOND).await, 0);
    let lease = result_lease(&store, at(9)).await;
    assert_eq!(
        (&lease.item().delivery, lease.attempt()),
        (
            &Delivery::Intended {
                at: at(1),
                updates: None
            },
            1
        )
    );
}

/// It is listed, never acquired, and only an operator ends it, in one of three ways.
pub(super) async fn an_uncertain_result_waits_for_an_operator(bench: Bench) {
    for resolution in [
        UncertainResolution::Delivered(reference(5)),
        UncertainResolution::PostAgain,
        UncertainResolution::Discard,
    ] {
        let store = bench.store().await;
        let (firm, result) = one_result(&store).await;
        let id = &result.assessment.id;
        let resolved = store.resolve(&firm, id, &resolution, at(0)).await;
        assert!(
            matches!(resolved, Err(StateError::NotFound { .. })),
            "it is not uncertain: {resolved:?}"
        );
        let lease = result_lease(&store, at(0)).await;
        let fence = lease.fence();
        store.record_intent(&lease, None, at(1)).await.unwrap();
        store.record_uncertain(lease, &REASON, at(2)).await.unwrap();
        assert_eq!(results_due(&store, at(100_000)).await, 0);
        let listed = store.uncertain().await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(
            listed[0].delivery,
            Delivery::Uncertain {
                reason: REASON,
                at: at(2)
            }
        );
        assert_eq!(
            (&listed[0].assessment, &listed[0].note),
            (&result.assessment, &result.note)
        );
        assert_eq!(journey(&store).await.state, JourneyState::Uncertain);
        assert_eq!(store.overview(at(2)).await.unwrap()[0].uncertain, 1);

        store.resolve(&firm, id, &resolution, at(60)).await.unwrap();
        assert!(store.uncertain().await.unwrap().is_empty());
        match resolution {
            UncertainResolution::Delivered(_) => {
                let journey = journey(&store).await;
                assert_eq!(
                    (journey.reference, journey.delivered_at),
                    (Some(reference(5)), Some(at(60)))
                );
                assert_eq!(results_due(&store, at(100_000)).await, 0);
            }
            UncertainResolution::PostAgain => {
                let lease = result_lease(&store, at(60)).await;
                assert_eq!((&lease.item().delivery, lease.attempt()), (&Delivery::Pending, 1));
                assert!(lease.fence() > fence);
            }
            UncertainResolution::Discard => {
                assert_eq!(journey(&store).await.state, JourneyState::Discarded);
                assert_eq!(store.dead_letters().await.unwrap(), [], "there is nothing to put back");
                let discarded = Delivery::Discarded { at: at(60) };
                let found = store.result(&firm, id).await.unwrap().map(|result| result.delivery);
                assert_eq!(found.as_ref(), Some(&discarded));
                let listed = store.firm_results(&firm).await.unwrap();
                assert_eq!(listed[0].delivery, discarded);
                assert_eq!(store.delivery_of(&firm, id).await.unwrap(), Some(discarded));
                assert_eq!(results_due(&store, at(100_000)).await, 0);
            }
        }
    }
}

pub(super) async fn a_withheld_result_is_not_posted(bench: Bench) {
    let store = bench.store().await;
    one_result(&store).await;
    let lease = result_lease(&store, at(0)).await;
    store.record_withheld(lease, &REASON, at(1)).await.unwrap();
    assert_eq!(results_due(&store, at(100_000)).await, 0);
    assert_eq!(journey(&store).await.state, JourneyState::Withheld);
    assert_eq!(store.overview(at(1)).await.unwrap()[0].withheld, 1);
}

/// Whatever became of their drafts, and of this firm alone.
pub(super) async fn results_of_a_firm_are_listed(bench: Bench) {
    let store = bench.store().await;
    let (firm, result) = one_result(&store).await;
    add_firm(&store, "other").await;
    let listed = store.firm_results(&firm).await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&result));
    let lease = result_lease(&store, at(0)).await;
    store.record_withheld(lease, &REASON, at(1)).await.unwrap();
    let withheld = Delivery::Withheld {
        reason: REASON,
        at: at(1),
    };
    let listed = store.firm_results(&firm).await.unwrap();
    assert_eq!(listed[0].delivery, withheld);
    assert_eq!(listed[0].note, result.note);
    assert_eq!(store.firm_results(&firm_id("other")).await.unwrap(), []);
}

pub(super) async fn what_is_given_up_is_a_dead_letter_and_can_be_replayed(bench: Bench) {
    let store = bench.store().await;
    let (firm, result) = one_result(&store).await;
    let lease = result_lease(&store, at(0)).await;
    let fence = lease.fence();
    store.record_intent(&lease, None, at(1)).await.unwrap();
    store.bury_delivery(lease, &REASON, at(2)).await.unwrap();
    assert_eq!(results_due(&store, at(100_000)).await, 0);
    assert_eq!(journey(&store).await.state, JourneyState::DeadLetter);
    let buried = Delivery::Buried { at: at(2) };
    let listed = store.firm_results(&firm).await.unwrap();
    assert_eq!(listed[0].delivery, buried);
    let id = &result.assessment.id;
    assert_eq!(store.delivery_of(&firm, id).await.unwrap(), Some(buried));
    let letters = store.dead_letters().await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(
        letters[0].subject,
        DeadLetterSubject::Result(result.assessment.id.clone())
    );
    assert_eq!(
        (letters[0].stage, letters[0].attempts, letters[0].at),
        (Stage::WriteBack, 1, at(2))
    );

    // Paused firms' letters may be replayed; they wait until the firm is resumed.
    store.set_firm_status(&firm, FirmStatus::Paused).await.unwrap();
    store.replay(letters[0].id, at(3)).await.unwrap();
    assert_eq!(results_due(&store, at(3)).await, 0);
    store.set_firm_status(&firm, FirmStatus::Active).await.unwrap();
    assert!(store.dead_letters().await.unwrap().is_empty());
    let lease = result_lease(&store, at(3)).await;
    assert_eq!(
        (lease.item(), lease.attempt()),
        (&result, 1),
        "it is what it was, and its attempts are forgotten"
    );
    assert!(lease.fence() > fence);
}

pub(super) async fn concurrent_writers_share_no_result(bench: Bench) {
    let handles = bench.0.fresh().await;
    let firm = add_firm(&handles[0], "a").await;
    for number in 0..40 {
        find_documents(&handles[0], &firm, &[&format!("d{number}")], at(0)).await;
        download(&handles[0], at(0)).await;
        infer(&handles[0], at(0)).await;
    }
    let leased = bench
        .race(&handles, 6, |store| {
            async move {
                let mut mine = Vec::new();
                loop {
                    let leases = store.acquire_results(at(0), LEASE, 3).await.unwrap();
                    if leases.is_empty() {
                        return mine;
                    }
                    for lease in leases {
                        mine.push(lease.item().assessment.id.clone());
                        store.record_intent(&lease, None, at(0)).await.unwrap();
                        store.record_delivered(lease, &reference(1), at(0)).await.unwrap();
                    }
                }
            }
            .boxed()
        })
        .await;
    let leased: Vec<_> = leased.into_iter().flatten().collect();
    assert_eq!(leased.len(), 40, "each result is leased");
    assert_eq!(leased.iter().collect::<HashSet<_>>().len(), 40, "none twice");
}

/// Whoever finds the intent knows which draft to look at; what comes after it forgets that.
pub(super) async fn an_intent_names_what_it_changes(bench: Bench) {
    let changed = reference(1).in_version("3");
    let intended = |updates| Delivery::Intended { at: at(1), updates };
    for end in ["crashed", "retried", "posted", "delivered"] {
        let store = bench.store().await;
        let (firm, result) = one_result(&store).await;
        let id = &result.assessment.id;
        assert_eq!(store.delivery_of(&firm, id).await.unwrap(), Some(Delivery::Pending));
        let lease = result_lease(&store, at(0)).await;
        store.record_update_intent(&lease, &changed, at(1)).await.unwrap();
        let expected = match end {
            "crashed" => intended(Some(changed.clone())),
            "retried" => {
                store.retry_delivery(lease, at(2)).await.unwrap();
                Delivery::Pending
            }
            "posted" => {
                store.record_intent(&lease, None, at(1)).await.unwrap();
                intended(None)
            }
            _ => {
                let written = changed.in_version("4");
                store.record_delivered(lease, &written, at(2)).await.unwrap();
                Delivery::Delivered {
                    reference: written,
                    at: at(2),
                }
            }
        };
        assert_eq!(
            store.delivery_of(&firm, id).await.unwrap(),
            Some(expected.clone()),
            "{end}"
        );
        if end != "delivered" {
            let lease = result_lease(&store, at(100)).await;
            assert_eq!(lease.item().delivery, expected, "{end}");
            store.record_withheld(lease, &REASON, at(101)).await.unwrap();
        }
        let other = skin_assist_core::domain::AssessmentId::new("another");
        assert_eq!(store.delivery_of(&firm, &other).await.unwrap(), None);
    }
}

/// Whatever the writer believes: an intent is recorded only of a firm that is served and in draft mode now, and a lease from before a
/// change to anything else is lost even when the firm is switched back.
pub(super) async fn where_drafts_are_not_permitted_none_begins(bench: Bench) {
    for change in ["silent", "off", "paused"] {
        let store = bench.store().await;
        let (firm, result) = one_result(&store).await;
        let switch = async |forbid: bool| match (change, forbid) {
            ("paused", true) => store.set_firm_status(&firm, FirmStatus::Paused).await.unwrap(),
            ("paused", false) => store.set_firm_status(&firm, FirmStatus::Active).await.unwrap(),
            ("off", true) => store.set_mode(&firm, Mode::Off, None).await.unwrap(),
            (_, true) => store.set_mode(&firm, Mode::Silent, None).await.unwrap(),
            (_, false) => store.set_mode(&firm, Mode::Draft, None).await.unwrap(),
        };
        let pending = async || {
            let delivery = store.delivery_of(&firm, &result.assessment.id).await.unwrap();
            assert_eq!(delivery, Some(Delivery::Pending), "{change}: nothing was recorded");
        };
        let before = result_lease(&store, at(0)).await;
        switch(true).await;
        for outcome in [
            store.record_intent(&before, None, at(1)).await,
            store.record_update_intent(&before, &reference(1), at(1)).await,
        ] {
            let refused = matches!(outcome, Err(StateError::DraftsNotPermitted | StateError::LeaseLost));
            assert!(refused, "{change}: {outcome:?}");
        }
        pending().await;
        switch(false).await;
        let outcome = store.record_intent(&before, None, at(2)).await;
        assert!(matches!(outcome, Err(StateError::LeaseLost)), "{change}: {outcome:?}");
        pending().await;
        let lease = result_lease(&store, at(30)).await;
        if change == "silent" {
            // Leased by somebody who does not know yet.
            store.release_delivery(lease, at(31)).await.unwrap();
            switch(true).await;
            let lease = result_lease(&store, at(31)).await;
            let outcome = store.record_intent(&lease, None, at(32)).await;
            assert!(
                matches!(outcome, Err(StateError::DraftsNotPermitted)),
                "{change}: {outcome:?}"
            );
            pending().await;
            store.record_withheld(lease, &REASON, at(33)).await.unwrap();
            continue;
        }
        // A write that has begun is finished, whatever is switched meanwhile.
        store.record_intent(&lease, None, at(31)).await.unwrap();
        switch(true).await;
        store.record_delivered(lease, &reference(1), at(32)).await.unwrap();
        assert_eq!(journey(&store).await.state, JourneyState::Delivered, "{change}");
    }
}
