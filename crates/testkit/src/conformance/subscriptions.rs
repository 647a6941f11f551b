//! Events and subscriptions, for stores that keep them. Not every store has to, so these rules are checked by themselves.

use std::{collections::BTreeSet, sync::Arc};

use futures::executor::block_on;
use skin_assist_core::{
    domain::{
        ChartEvent, ChartEventKind, DocumentStep, EVENT_LIFE, FirmId, Notice, ResourceReference, Subscription,
        SubscriptionFormat, SubscriptionId, SubscriptionStatus,
    },
    lease::Lease,
    phi::Secret,
    ports::StateError,
    time::Timestamp,
};

use super::{
    Backend,
    fixtures::{
        LEASE, REASON, Store, add_firm, at, document_lease, download, find_documents, firm_id, infer, reference,
        result_lease, retract, watch_encounters,
    },
};

/// Checks the contract of [`skin_assist_core::ports::Subscriptions`] on new, empty states.
pub async fn check(backend: &dyn Backend) {
    each_transition_tells_what_it_did(backend.fresh().await.remove(0)).await;
    a_retraction_is_told_once(backend).await;
    a_transition_that_fails_tells_nothing(backend.fresh().await.remove(0)).await;
    each_subscription_counts_by_itself(backend.fresh().await.remove(0)).await;
    nothing_is_told_before_the_handshake(backend.fresh().await.remove(0)).await;
    what_was_not_taken_is_told_again(backend.fresh().await.remove(0)).await;
    a_silence_is_told(backend.fresh().await.remove(0)).await;
    what_is_given_up_is_listed_and_can_be_replayed(backend.fresh().await.remove(0)).await;
    a_paused_subscription_collects(backend.fresh().await.remove(0)).await;
    events_are_forgotten_after_their_time(backend.fresh().await.remove(0)).await;
    they_go_with_the_firm(backend.fresh().await.remove(0)).await;
    concurrent_processes_share_no_subscription(backend.fresh().await).await;
}

fn subscription(id: &str) -> Subscription {
    Subscription::requested(
        SubscriptionId::new(id),
        "https://subscriber.example/hook".to_owned(),
        SubscriptionFormat::CloudEvents,
        Secret::new(format!("whsec-{id}")),
        format!("digest-{id}"),
        at(0),
    )
}

/// Leases the one subscription that has something to be told.
async fn lease(store: &Store, now: Timestamp) -> Lease<Subscription> {
    let mut leases = store.acquire_subscriptions(now, LEASE, 100).await.unwrap();
    assert_eq!(leases.len(), 1, "one subscription is due and free");
    leases.remove(0)
}

async fn none_is_due(store: &Store, now: Timestamp) -> bool {
    store.acquire_subscriptions(now, LEASE, 100).await.unwrap().is_empty()
}

/// A subscription whose subscriber answered the handshake at 1 s.
async fn active(store: &Store, subscription: &Subscription) {
    store.add_subscription(subscription).await.unwrap();
    let lease = lease(store, at(1)).await;
    store.record_told(&lease, &Notice::Handshake, at(1)).await.unwrap();
    store.release_subscription(lease, at(1)).await.unwrap();
}

async fn state_of(store: &Store, id: &str) -> Subscription {
    store.subscription(&SubscriptionId::new(id)).await.unwrap().unwrap()
}

fn seen(events: &[ChartEvent]) -> Vec<(u64, ChartEventKind, &str)> {
    events
        .iter()
        .map(|event| (event.number, event.kind, event.focus.as_str()))
        .collect()
}

/// Each event has the next number of its firm, is of the transition's time, and names resources alone.
async fn each_transition_tells_what_it_did(store: Store) {
    use ChartEventKind::{DraftDelivered, EncounterChanged, EncounterFound, GivenUp, PhotoDetected};
    let firm = add_firm(&store, "a").await;
    watch_encounters(&store, &firm, &["e"], at(0)).await;
    // The same again is no news.
    let known = store.cursor(&firm).await.unwrap();
    let same = super::fixtures::encounter("e", Some(at(0)));
    let next = skin_assist_core::domain::Cursor(at(1));
    store
        .record_encounters(&firm, known, next, &[same], at(1))
        .await
        .unwrap();
    watch_encounters(&store, &firm, &["e"], at(2)).await;
    find_documents(&store, &firm, &["dead"], at(3)).await;
    let before = store.events(&firm, 0, 100).await.unwrap();
    let found = before.len() as u64;
    let kinds: Vec<_> = before.iter().map(|event| event.kind).collect();
    assert_eq!(kinds[..2], [EncounterFound, EncounterChanged]);
    let photo = before.last().unwrap();
    assert_eq!((photo.kind, photo.at), (PhotoDetected, at(3)));
    assert_eq!(photo.focus.as_str(), "DocumentReference/dead");
    assert_eq!(photo.context, [ResourceReference::recorded("Encounter/e".to_owned())]);

    let lease = document_lease(&store, DocumentStep::Download, at(4)).await;
    let stage = skin_assist_core::domain::Stage::DownloadPhoto;
    store.bury_document(lease, stage, &REASON, at(4)).await.unwrap();
    find_documents(&store, &firm, &["d"], at(4)).await;
    download(&store, at(5)).await;
    infer(&store, at(5)).await;
    let lease = result_lease(&store, at(6)).await;
    store.record_intent(&lease, None, at(6)).await.unwrap();
    store.record_delivered(lease, &reference(1), at(7)).await.unwrap();
    let after = store.events(&firm, found, 100).await.unwrap();
    assert_eq!(
        seen(&after),
        [
            (found + 1, GivenUp, "DocumentReference/dead"),
            (found + 2, PhotoDetected, "DocumentReference/d"),
            (found + 3, DraftDelivered, "Composition/1")
        ]
    );
    let context: Vec<_> = after[2].context.iter().map(ResourceReference::as_str).collect();
    assert_eq!(context, ["Encounter/e", "DocumentReference/d"]);
    assert_eq!(store.events(&firm, found, 1).await.unwrap().len(), 1);
    assert!(store.events(&firm_id("other"), 0, 100).await.unwrap().is_empty());
}

/// However far the photo has come, and however often it is listed so; of a document that was never told of, nothing.
async fn a_retraction_is_told_once(backend: &dyn Backend) {
    for ending in ["found", "given up", "judged", "kept back", "intended", "delivered"] {
        let store = backend.fresh().await.remove(0);
        let firm = add_firm(&store, "a").await;
        find_documents(&store, &firm, &["d"], at(1)).await;
        if ending == "given up" {
            let lease = document_lease(&store, DocumentStep::Download, at(2)).await;
            let stage = skin_assist_core::domain::Stage::DownloadPhoto;
            store.bury_document(lease, stage, &REASON, at(2)).await.unwrap();
        } else if ending != "found" {
            download(&store, at(2)).await;
            infer(&store, at(2)).await;
        }
        match ending {
            "kept back" => {
                let lease = result_lease(&store, at(3)).await;
                store.record_withheld(lease, &REASON, at(3)).await.unwrap();
            }
            "intended" | "delivered" => {
                let lease = result_lease(&store, at(3)).await;
                store.record_intent(&lease, None, at(3)).await.unwrap();
                if ending == "delivered" {
                    store.record_delivered(lease, &reference(1), at(3)).await.unwrap();
                }
            }
            _ => {}
        }
        let before = store.events(&firm, 0, 100).await.unwrap().len() as u64;
        for turn in 4..=6 {
            retract(&store, &firm, "d", at(turn)).await;
            retract(&store, &firm, "unknown", at(turn)).await;
        }
        let after = store.events(&firm, before, 100).await.unwrap();
        let told = (before + 1, ChartEventKind::PhotoRetracted, "DocumentReference/d");
        assert_eq!(seen(&after), [told], "{ending}");
        assert_eq!(after[0].at, at(4), "{ending}");
        let context: Vec<_> = after[0].context.iter().map(ResourceReference::as_str).collect();
        let stands: &[&str] = if ending == "delivered" {
            &["Encounter/e", "Composition/1"]
        } else {
            &["Encounter/e"]
        };
        assert_eq!(context, stands, "{ending}");
    }
}

/// A write under a lost lease, or a cursor that moved, leaves no event.
async fn a_transition_that_fails_tells_nothing(store: Store) {
    let firm = add_firm(&store, "a").await;
    find_documents(&store, &firm, &["d"], at(0)).await;
    download(&store, at(1)).await;
    infer(&store, at(1)).await;
    let lost = result_lease(&store, at(2)).await;
    let held = result_lease(&store, at(2) + LEASE).await;
    let before = store.events(&firm, 0, 100).await.unwrap();
    let outcome = store.record_delivered(lost, &reference(1), at(60)).await;
    assert!(matches!(outcome, Err(StateError::LeaseLost)));
    let cursor = skin_assist_core::domain::Cursor(at(999));
    let seen = [super::fixtures::encounter("new", Some(at(60)))];
    let outcome = store
        .record_encounters(&firm, Some(cursor), cursor, &seen, at(60))
        .await;
    assert!(matches!(outcome, Err(StateError::CursorMoved)));
    assert_eq!(store.events(&firm, 0, 100).await.unwrap(), before);
    store.record_uncertain(held, &REASON, at(61)).await.unwrap();
    let after = store.events(&firm, before.len() as u64, 100).await.unwrap();
    assert_eq!(seen_kinds(&after), [ChartEventKind::DraftUncertain]);
}

fn seen_kinds(events: &[ChartEvent]) -> Vec<ChartEventKind> {
    events.iter().map(|event| event.kind).collect()
}

/// Numbers have no gap, whatever a subscription leaves out, and begin with it.
async fn each_subscription_counts_by_itself(store: Store) {
    let (a, b) = (add_firm(&store, "a").await, add_firm(&store, "b").await);
    watch_encounters(&store, &a, &["before"], at(0)).await;
    let all = subscription("all");
    let some = Subscription {
        firms: [b.clone()].into(),
        kinds: [ChartEventKind::EncounterChanged].into(),
        ..subscription("some")
    };
    for subscription in [&all, &some] {
        store.add_subscription(subscription).await.unwrap();
    }
    let outcome = store.add_subscription(&all).await;
    assert!(matches!(outcome, Err(StateError::Exists { .. })));
    for turn in 1..=3 {
        for firm in [&a, &b] {
            watch_encounters(&store, firm, &["e"], at(turn)).await;
        }
    }
    let numbers = async |id: &str| -> Vec<(u64, FirmId, u64)> {
        let notifications = store
            .notifications(&SubscriptionId::new(id), 0..=u64::MAX, 100)
            .await
            .unwrap();
        let named = notifications.into_iter();
        named
            .map(|told| (told.number, told.event.firm, told.event.number))
            .collect()
    };
    let expected = [(1, &a, 2), (2, &b, 1), (3, &a, 3), (4, &b, 2), (5, &a, 4), (6, &b, 3)];
    assert_eq!(
        numbers("all").await,
        expected.map(|(number, firm, of_firm)| (number, firm.clone(), of_firm))
    );
    assert_eq!(numbers("some").await, [(1, b.clone(), 2), (2, b.clone(), 3)]);
    assert_eq!(
        (
            state_of(&store, "all").await.events,
            state_of(&store, "some").await.waiting
        ),
        (6, 2)
    );
    let part = store.notifications(&all.id, 2..=5, 3).await.unwrap();
    assert_eq!(part.iter().map(|told| told.number).collect::<Vec<_>>(), [2, 3, 4]);
    let listed = store.subscriptions().await.unwrap();
    assert_eq!(
        listed.iter().map(|listed| listed.id.as_str()).collect::<Vec<_>>(),
        ["all", "some"]
    );
    let kept = &listed[1];
    assert_eq!(
        (&kept.firms, &kept.kinds, &kept.endpoint),
        (&some.firms, &some.kinds, &some.endpoint)
    );
    assert_eq!(kept.signing_key.expose(), "whsec-some");
    assert_eq!(kept.token_digest, "digest-some");
    store.remove_subscription(&all.id).await.unwrap();
    assert_eq!(numbers("all").await, []);
    let outcome = store.remove_subscription(&all.id).await;
    assert!(matches!(outcome, Err(StateError::NotFound { .. })));
}

async fn nothing_is_told_before_the_handshake(store: Store) {
    let firm = add_firm(&store, "a").await;
    store.add_subscription(&subscription("s")).await.unwrap();
    watch_encounters(&store, &firm, &["e"], at(0)).await;
    let held = lease(&store, at(1)).await;
    assert_eq!(held.attempt(), 1);
    assert!(none_is_due(&store, at(30)).await, "it is leased");
    assert_eq!(store.next_notice(&held, at(2)).await.unwrap(), Some(Notice::Handshake));
    store.record_told(&held, &Notice::Handshake, at(2)).await.unwrap();
    let told = state_of(&store, "s").await;
    assert_eq!(
        (told.status, told.answered_at),
        (SubscriptionStatus::Active, Some(at(2)))
    );
    let next = store.next_notice(&held, at(2)).await.unwrap();
    assert_eq!(next.as_ref().and_then(Notice::number), Some(1));
}

/// Told is what was taken, and nothing else; in order, whoever tells.
async fn what_was_not_taken_is_told_again(store: Store) {
    let firm = add_firm(&store, "a").await;
    active(&store, &subscription("s")).await;
    assert!(none_is_due(&store, at(1)).await, "there is nothing to tell");
    watch_encounters(&store, &firm, &["one", "two", "three"], at(2)).await;
    let held = lease(&store, at(2)).await;
    let first = store.next_notice(&held, at(2)).await.unwrap().unwrap();
    assert_eq!(first.number(), Some(1));
    // Nobody knows whether it was taken.
    store.retry_telling(held, &REASON, at(3), at(10)).await.unwrap();
    let failing = state_of(&store, "s").await;
    assert_eq!((failing.failing_since, failing.reason), (Some(at(3)), Some(REASON)));
    assert!(
        none_is_due(&store, at(9)).await,
        "it is tried again then, and not before"
    );
    let lost = lease(&store, at(10)).await;
    assert_eq!(lost.attempt(), 2, "attempts count while nothing is taken");
    // Its worker dies.
    let held = lease(&store, at(10) + LEASE).await;
    for outcome in [
        store.next_notice(&lost, at(50)).await.map(drop),
        store.record_told(&lost, &first, at(50)).await,
        store.retry_telling(lost, &REASON, at(50), at(51)).await,
    ] {
        assert!(matches!(outcome, Err(StateError::LeaseLost)), "{outcome:?}");
    }
    for number in 1..=3 {
        let next = store.next_notice(&held, at(50)).await.unwrap().unwrap();
        assert_eq!(next.number(), Some(number));
        store.record_told(&held, &next, at(50)).await.unwrap();
    }
    assert_eq!(store.next_notice(&held, at(51)).await.unwrap(), None);
    store.release_subscription(held, at(51)).await.unwrap();
    let told = state_of(&store, "s").await;
    assert_eq!((told.failing_since, told.reason, told.waiting), (None, None, 0));
    assert!(none_is_due(&store, at(1000)).await);
    // What was told can be asked for.
    assert_eq!(store.notifications(&told.id, 1..=3, 10).await.unwrap().len(), 3);
}

async fn a_silence_is_told(store: Store) {
    let heartbeat = Subscription {
        heartbeat_seconds: 60,
        ..subscription("s")
    };
    active(&store, &heartbeat).await;
    assert!(none_is_due(&store, at(60)).await);
    let held = lease(&store, at(61)).await;
    assert_eq!(store.next_notice(&held, at(61)).await.unwrap(), Some(Notice::Heartbeat));
    store.record_told(&held, &Notice::Heartbeat, at(62)).await.unwrap();
    assert_eq!(store.next_notice(&held, at(62)).await.unwrap(), None);
    store.release_subscription(held, at(62)).await.unwrap();
    assert!(none_is_due(&store, at(121)).await);
    lease(&store, at(122)).await;
}

async fn what_is_given_up_is_listed_and_can_be_replayed(store: Store) {
    let firm = add_firm(&store, "a").await;
    active(&store, &subscription("s")).await;
    watch_encounters(&store, &firm, &["one", "two"], at(2)).await;
    let id = SubscriptionId::new("s");
    let held = lease(&store, at(2)).await;
    let notice = store.next_notice(&held, at(2)).await.unwrap().unwrap();
    store.give_up_telling(held, &notice, &REASON, at(3)).await.unwrap();
    assert_eq!(state_of(&store, "s").await.status, SubscriptionStatus::Error);
    assert!(none_is_due(&store, at(1000)).await);
    let listed = store.given_up_notifications().await.unwrap();
    assert_eq!((listed.len(), listed[0].number, listed[0].at), (1, 1, at(3)));
    assert_eq!((&listed[0].subscription, &listed[0].reason), (&id, &REASON));
    // It goes on behind what was given up.
    store.resume_subscription(&id, at(4)).await.unwrap();
    let held = lease(&store, at(4)).await;
    assert_eq!(held.attempt(), 1);
    store.record_told(&held, &Notice::Handshake, at(4)).await.unwrap();
    let next = store.next_notice(&held, at(4)).await.unwrap().unwrap();
    assert_eq!(next.number(), Some(2));
    // Until that is replayed: then it comes first.
    store.replay_notification(&id, 1).await.unwrap();
    assert!(store.given_up_notifications().await.unwrap().is_empty());
    let next = store.next_notice(&held, at(4)).await.unwrap().unwrap();
    assert_eq!(next.number(), Some(1));
    let outcome = store.replay_notification(&id, 1).await;
    assert!(matches!(outcome, Err(StateError::NotFound { .. })));
}

async fn a_paused_subscription_collects(store: Store) {
    let firm = add_firm(&store, "a").await;
    active(&store, &subscription("s")).await;
    watch_encounters(&store, &firm, &["one"], at(2)).await;
    let id = SubscriptionId::new("s");
    let held = lease(&store, at(2)).await;
    let notice = store.next_notice(&held, at(2)).await.unwrap().unwrap();
    store.pause_subscription(&id).await.unwrap();
    let outcome = store.record_told(&held, &notice, at(3)).await;
    assert!(
        matches!(outcome, Err(StateError::LeaseLost)),
        "whoever told it lost the lease"
    );
    watch_encounters(&store, &firm, &["two"], at(4)).await;
    let paused = state_of(&store, "s").await;
    assert_eq!((paused.status, paused.waiting), (SubscriptionStatus::Off, 2));
    assert!(none_is_due(&store, at(1000)).await);
    store.resume_subscription(&id, at(1000)).await.unwrap();
    let held = lease(&store, at(1000)).await;
    assert_eq!(
        store.next_notice(&held, at(1000)).await.unwrap(),
        Some(Notice::Handshake)
    );
}

async fn events_are_forgotten_after_their_time(store: Store) {
    let firm = add_firm(&store, "a").await;
    active(&store, &subscription("s")).await;
    watch_encounters(&store, &firm, &["one"], at(2)).await;
    watch_encounters(&store, &firm, &["two"], at(3)).await;
    store.sweep_expired(at(2) + EVENT_LIFE).await.unwrap();
    let numbers = async || {
        let events = store.events(&firm, 0, 10).await.unwrap();
        events.iter().map(|event| event.number).collect::<Vec<_>>()
    };
    assert_eq!(numbers().await, [2]);
    let left = state_of(&store, "s").await;
    assert_eq!((left.events, left.waiting), (2, 1));
    store.sweep_expired(at(3) + EVENT_LIFE).await.unwrap();
    watch_encounters(&store, &firm, &["three"], at(5) + EVENT_LIFE).await;
    assert_eq!(numbers().await, [3], "numbers go on");
}

async fn they_go_with_the_firm(store: Store) {
    let firm = add_firm(&store, "a").await;
    active(&store, &subscription("s")).await;
    watch_encounters(&store, &firm, &["one"], at(2)).await;
    store.remove_firm(&firm).await.unwrap();
    assert!(store.events(&firm, 0, 10).await.unwrap().is_empty());
    assert_eq!(state_of(&store, "s").await.waiting, 0);
    assert!(none_is_due(&store, at(100)).await);
}

async fn concurrent_processes_share_no_subscription(handles: Vec<Store>) {
    for number in 0..20 {
        let subscription = subscription(&format!("s{number}"));
        handles[0].add_subscription(&subscription).await.unwrap();
    }
    let granted: Vec<SubscriptionId> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..6)
            .map(|turn| {
                let store = Arc::clone(&handles[turn % handles.len()]);
                scope.spawn(move || block_on(store.acquire_subscriptions(at(1), LEASE, 5)).unwrap())
            })
            .collect();
        let leases = workers.into_iter().flat_map(|worker| worker.join().unwrap());
        leases.map(|lease| lease.item().id.clone()).collect()
    });
    assert_eq!(granted.iter().collect::<BTreeSet<_>>().len(), granted.len());
    assert_eq!(granted.len(), 20);
}
