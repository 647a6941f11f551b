//! Watch lists as what is leased to pollers, looks under such a lease, and the pollers at work.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use futures::FutureExt;
use skin_assist_core::{
    domain::{
        CategoryCode, DocumentId, DocumentStep, EncounterId, FailingFirm, FirmId, FirmStatus, JourneyState,
        PollerFigures, PollerId, Reason, WATCH_LIFE, WatchList,
    },
    lease::Lease,
    ports::{Look, RecordedDocuments},
    time::Timestamp,
};

use super::{
    Bench,
    fixtures::{
        LEASE, Store, acquired, add_firm, at, document, document_lease, encounter_lease, firm, journey, look,
        one_result, reference, result_lease, seconds, secret, watch_encounters, watch_list_lease, watching,
    },
};

const MILLISECOND: Duration = Duration::from_millis(1);

/// Leases up to `limit` watch lists.
async fn leased(store: &Store, now: Timestamp, limit: usize) -> Vec<Lease<WatchList>> {
    store.acquire_watch_lists(now, LEASE, limit).await.unwrap()
}

/// Whose lists these are.
fn firms(leases: &[Lease<WatchList>]) -> Vec<&str> {
    leases.iter().map(|lease| lease.item().firm.as_str()).collect()
}

/// A state with the firm `a`, its encounter `e` watched from 0, and its watch list leased at 0.
async fn one_list(store: &Store) -> (FirmId, Lease<WatchList>) {
    let firm = add_firm(store, "a").await;
    watch_encounters(store, &firm, &["e"], at(0)).await;
    (firm, watch_list_lease(store, at(0)).await)
}

pub(super) async fn a_lease_is_exclusive_and_expires(bench: Bench) {
    let store = bench.store().await;
    assert!(leased(&store, at(0), 10).await.is_empty(), "there is no firm");
    for id in ["a", "b"] {
        add_firm(&store, id).await;
    }
    assert!(leased(&store, at(0), 0).await.is_empty());
    let leases = leased(&store, at(0), 10).await;
    assert_eq!(leases.len(), 2, "the list of each firm");
    assert!(
        leases
            .iter()
            .all(|lease| lease.attempt() == 1 && lease.locked_until() == at(30))
    );
    assert!(leased(&store, at(30) - MILLISECOND, 10).await.is_empty());
    for again in leased(&store, at(30), 10).await {
        let before = leases.iter().find(|lease| lease.item() == again.item()).unwrap();
        assert!(again.fence() > before.fence() && again.attempt() == 2);
    }
}

pub(super) async fn those_free_for_longest_come_first(bench: Bench) {
    let store = bench.store().await;
    for id in ["a", "b", "c"] {
        add_firm(&store, id).await;
    }
    for lease in leased(&store, at(0), 10).await {
        let freed_at = match lease.item().firm.as_str() {
            "c" => at(5),
            "a" => at(6),
            _ => at(7),
        };
        store.release_watch_lists(vec![lease], freed_at).await.unwrap();
    }
    assert_eq!(firms(&leased(&store, at(10), 2).await), ["c", "a"]);
    assert_eq!(firms(&leased(&store, at(10), 2).await), ["b"]);
}

pub(super) async fn those_of_some_firms_are_granted_alone(bench: Bench) {
    let store = bench.store().await;
    for id in ["a", "b", "c", "p"] {
        add_firm(&store, id).await;
    }
    store
        .set_firm_status(&FirmId::new("p"), FirmStatus::Paused)
        .await
        .unwrap();
    let of = |ids: &[&str]| ids.iter().map(|id| FirmId::new(*id)).collect::<Vec<_>>();
    let some = of(&["c", "a", "p", "not connected"]);
    let first = store.acquire_watch_lists_of(&some, at(0), LEASE).await.unwrap();
    assert_eq!(firms(&first), ["c", "a"]);
    assert!(
        first
            .iter()
            .all(|lease| lease.locked_until() == at(30) && lease.attempt() == 1)
    );
    assert!(
        store
            .acquire_watch_lists_of(&some, at(29), LEASE)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(firms(&leased(&store, at(29), 10).await), ["b"], "the others are free");
    let again = store.acquire_watch_lists_of(&of(&["a"]), at(30), LEASE).await.unwrap();
    let before = first.iter().find(|lease| lease.item().firm.as_str() == "a").unwrap();
    assert!(again[0].fence() > before.fence());
}

pub(super) async fn concurrent_pollers_share_no_firm(bench: Bench) {
    let handles = bench.0.fresh().await;
    for number in 0..40 {
        add_firm(&handles[0], &format!("firm-{number:02}")).await;
    }
    let leases = bench
        .race(&handles, 6, |store| {
            async move {
                let mut mine = Vec::new();
                loop {
                    let leases = leased(&store, at(0), 3).await;
                    if leases.is_empty() {
                        return mine;
                    }
                    mine.extend(leases.iter().map(|lease| lease.item().firm.clone()));
                }
            }
            .boxed()
        })
        .await;
    let leases: Vec<FirmId> = leases.into_iter().flatten().collect();
    assert_eq!(leases.len(), 40, "each firm is somebody's");
    assert_eq!(leases.iter().collect::<HashSet<_>>().len(), 40, "none is two pollers'");
}

pub(super) async fn a_renewal_keeps_list_and_fence(bench: Bench) {
    let store = bench.store().await;
    add_firm(&store, "a").await;
    assert!(
        store
            .renew_watch_lists(Vec::new(), at(0), LEASE)
            .await
            .unwrap()
            .is_empty()
    );
    let lease = watch_list_lease(&store, at(0)).await;
    let fence = lease.fence();
    let renewed = store.renew_watch_lists(vec![lease], at(20), LEASE).await.unwrap();
    assert_eq!(firms(&renewed), ["a"]);
    assert_eq!((renewed[0].fence(), renewed[0].locked_until()), (fence, at(50)));
    assert!(leased(&store, at(50) - MILLISECOND, 10).await.is_empty());
    // It does not ask whether the lease has expired, only whether somebody else has it.
    let renewed = store.renew_watch_lists(renewed, at(60), LEASE).await.unwrap();
    assert_eq!((renewed[0].fence(), renewed[0].locked_until()), (fence, at(90)));
    assert_eq!(
        store.record_looks(&renewed[0], &[], at(61)).await.unwrap(),
        RecordedDocuments::default()
    );
    assert!(leased(&store, at(90) - MILLISECOND, 10).await.is_empty());
    assert!(watch_list_lease(&store, at(90)).await.fence() > fence);
}

/// The others of the same renewal are renewed, and whoever has it now keeps it.
pub(super) async fn a_lost_lease_is_not_renewed(bench: Bench) {
    let store = bench.store().await;
    for id in ["a", "b"] {
        add_firm(&store, id).await;
    }
    let mut leases = leased(&store, at(0), 10).await;
    let place = leases
        .iter()
        .position(|lease| lease.item().firm.as_str() == "b")
        .unwrap();
    let b = store
        .renew_watch_lists(vec![leases.remove(place)], at(10), LEASE)
        .await
        .unwrap();
    let live = leased(&store, at(30), 10).await;
    assert_eq!(firms(&live), ["a"]);
    leases.extend(b);
    let renewed = store.renew_watch_lists(leases, at(35), LEASE).await.unwrap();
    assert_eq!(firms(&renewed), ["b"]);
    assert!(leased(&store, at(60) - MILLISECOND, 10).await.is_empty());
    assert_eq!(
        firms(&leased(&store, at(60), 10).await),
        ["a"],
        "as its holder was told"
    );
}

/// Neither granted nor renewed; and once it is resumed, there is nobody to wait for.
pub(super) async fn a_paused_firm_is_not_polled(bench: Bench) {
    let store = bench.store().await;
    let mut paused = firm("p");
    paused.status = FirmStatus::Paused;
    store.add_firm(&paused, &secret("p")).await.unwrap();
    let a = add_firm(&store, "a").await;
    add_firm(&store, "b").await;
    store.set_firm_status(&a, FirmStatus::Paused).await.unwrap();
    let mut leases = leased(&store, at(0), 10).await;
    assert_eq!(firms(&leases), ["b"]);
    store.set_firm_status(&a, FirmStatus::Active).await.unwrap();
    leases.extend(leased(&store, at(0), 10).await);
    assert_eq!(firms(&leases), ["b", "a"]);

    store.set_firm_status(&a, FirmStatus::Paused).await.unwrap();
    let renewed = store.renew_watch_lists(leases, at(10), LEASE).await.unwrap();
    assert_eq!(firms(&renewed), ["b"]);
    assert!(leased(&store, at(39), 10).await.is_empty(), "b is leased, a is paused");
    store.set_firm_status(&a, FirmStatus::Active).await.unwrap();
    assert_eq!(firms(&leased(&store, at(12), 10).await), ["a"], "its lease was ended");
}

/// However many they are, for whichever process asks, and never to a time before a look that is known.
pub(super) async fn looks_are_noted_when_a_list_is_given_back(bench: Bench) {
    let handles = bench.0.fresh().await;
    let (store, another) = (&handles[0], handles.last().unwrap());
    let firm = add_firm(store, "a").await;
    let names: Vec<String> = (0..130).map(|number| format!("e{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    watch_encounters(store, &firm, &names[..90], at(0)).await;
    watch_encounters(store, &firm, &names[90..], at(1)).await;
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for (turn, looked_at) in [
        &names[..1],
        &names[..0],
        &names[1..120],
        &names[100..],
        &names[3..5],
        &names[4..30],
    ]
    .into_iter()
    .enumerate()
    {
        let begins = 10 + 2000 * turn as u64;
        let by = &handles[turn % handles.len()];
        let lease = watch_list_lease(by, at(begins)).await;
        assert_eq!(lease.attempt(), 1, "what was given back does not count");
        let looks: Vec<Look> = looked_at
            .iter()
            .map(|name| Look {
                at: at(begins + 3),
                ..look(name, &[], &[])
            })
            .collect();
        by.give_watch_list_back(lease, &looks, at(begins + 5)).await.unwrap();
        expected.extend(looked_at.iter().map(|name| ((*name).to_owned(), begins + 3)));
        for reader in [store, another] {
            let looked_at: BTreeMap<String, u64> = watching(reader, &firm, at(2))
                .await
                .into_iter()
                .filter_map(|watch| Some((watch.encounter.id.to_string(), watch.looked_at?)))
                .map(|(id, looked_at)| (id, looked_at.since(at(0)).as_secs()))
                .collect();
            assert_eq!(looked_at, expected, "turn {turn}");
        }
    }
}

pub(super) async fn a_list_that_is_lost_is_not_given_back(bench: Bench) {
    let store = bench.store().await;
    let (_, lost) = one_list(&store).await;
    let live = watch_list_lease(&store, at(30)).await;
    let looks: Vec<Look> = (0..40).map(|number| look(&format!("e{number}"), &[], &[])).collect();
    store.give_watch_list_back(lost, &looks, at(35)).await.unwrap();
    assert!(leased(&store, at(36), 10).await.is_empty());
    store.record_looks(&live, &[look("e", &[], &[])], at(37)).await.unwrap();
}

pub(super) async fn a_release_frees_at_once(bench: Bench) {
    let store = bench.store().await;
    add_firm(&store, "a").await;
    let lease = watch_list_lease(&store, at(0)).await;
    let fence = lease.fence();
    store.release_watch_lists(vec![lease], at(5)).await.unwrap();
    let again = watch_list_lease(&store, at(5)).await;
    assert!(again.fence() > fence);
    assert_eq!(again.attempt(), 1, "a release does not count");
    store.release_watch_lists(Vec::new(), at(5)).await.unwrap();
    assert!(leased(&store, at(5), 10).await.is_empty());
}

pub(super) async fn looks_are_noted_and_keep_the_lease(bench: Bench) {
    let store = bench.store().await;
    let (firm, lease) = one_list(&store).await;
    watch_encounters(&store, &firm, &["f", "not looked at"], at(1)).await;
    let found = document(&firm, "e", "d", at(5));
    // They were made before they are recorded, each at its own time.
    let made = |second, look: Look| Look { at: at(second), ..look };
    let looks = [made(5, look("e", &[&found], &[])), made(4, look("f", &[], &[]))];
    let recorded = store.record_looks(&lease, &looks, at(5)).await.unwrap();
    assert_eq!(
        (recorded.new, recorded.retracted),
        (vec![found.document.clone()], vec![])
    );
    let looked_at = |watches: Vec<skin_assist_core::domain::EncounterWatch>| -> Vec<(String, Option<Timestamp>)> {
        let mut looked_at: Vec<_> = watches
            .into_iter()
            .map(|watch| (watch.encounter.id.to_string(), watch.looked_at))
            .collect();
        looked_at.sort();
        looked_at
    };
    assert_eq!(
        looked_at(watching(&store, &firm, at(5)).await),
        [("e", Some(at(5))), ("f", Some(at(4))), ("not looked at", None)].map(|(id, at)| (id.to_owned(), at))
    );
    let waiting = document_lease(&store, DocumentStep::Download, at(5)).await;
    assert_eq!(waiting.item(), &found, "a photo is due at once, as it was found");
    store.release_document(waiting, at(5)).await.unwrap();

    // It is known already, and stays as it is; and the lease has not ended, nor need it run.
    let mut another = found.clone();
    another.category = CategoryCode::new("another");
    let looks = [look("e", &[&another], &[])];
    let recorded = store.record_looks(&lease, &looks, at(50)).await.unwrap();
    assert_eq!(recorded, RecordedDocuments::default());
    let waiting = document_lease(&store, DocumentStep::Download, at(50)).await;
    assert_eq!(waiting.item(), &found);
    let again = watch_list_lease(&store, at(50)).await;
    assert_eq!(again.attempt(), 1, "a look is progress");
}

pub(super) async fn looks_cancel_what_was_retracted(bench: Bench) {
    let store = bench.store().await;
    let (firm, lease) = one_list(&store).await;
    let (kept, retracted) = (document(&firm, "e", "kept", at(1)), document(&firm, "e", "gone", at(1)));
    let looks = [look("e", &[&kept, &retracted], &[])];
    store.record_looks(&lease, &looks, at(1)).await.unwrap();
    let looks = [look("e", &[&kept], &["gone", "never known"])];
    let recorded = store.record_looks(&lease, &looks, at(2)).await.unwrap();
    assert_eq!(recorded, RecordedDocuments::default());
    assert_eq!(acquired(&store, DocumentStep::Download, at(100)).await, ["kept"]);
}

/// A draft that is in the chart alarms, once.
pub(super) async fn looks_alarm_of_what_was_delivered(bench: Bench) {
    let store = bench.store().await;
    let (firm, result) = one_result(&store).await;
    let delivery = result_lease(&store, at(0)).await;
    store.record_intent(&delivery, None, at(1)).await.unwrap();
    store.record_delivered(delivery, &reference(7), at(2)).await.unwrap();
    let lease = watch_list_lease(&store, at(3)).await;
    let looks = [look("e", &[], &["d"])];
    let recorded = store.record_looks(&lease, &looks, at(3)).await.unwrap();
    let alarm = &recorded.retracted[0];
    assert_eq!((recorded.retracted.len(), &alarm.firm), (1, &firm));
    assert_eq!(
        (&alarm.document, &alarm.assessment, &alarm.reference, alarm.noticed_at),
        (&DocumentId::new("d"), &result.assessment.id, &Some(reference(7)), at(3))
    );
    assert_eq!(store.retracted_drafts().await.unwrap(), recorded.retracted);
    let recorded = store.record_looks(&lease, &looks, at(4)).await.unwrap();
    assert_eq!(recorded, RecordedDocuments::default());
    assert_eq!(journey(&store).await.state, JourneyState::Delivered);
}

pub(super) async fn an_unknown_encounter_is_passed_over(bench: Bench) {
    let store = bench.store().await;
    let (firm, lease) = one_list(&store).await;
    let known = document(&firm, "e", "known", at(1));
    store
        .record_looks(&lease, &[look("e", &[&known], &[])], at(1))
        .await
        .unwrap();
    let of_unknown = document(&firm, "unknown", "of unknown", at(2));
    let of_known = document(&firm, "e", "of known", at(2));
    let looks = [
        look("unknown", &[&of_unknown], &["known"]),
        look("e", &[&of_known], &[]),
    ];
    let recorded = store.record_looks(&lease, &looks, at(2)).await.unwrap();
    assert_eq!(recorded.new, [of_known.document], "the others are recorded");
    let mut waiting = acquired(&store, DocumentStep::Download, at(2)).await;
    waiting.sort();
    assert_eq!(waiting, ["known", "of known"]);
    let unknown = [EncounterId::new("unknown")];
    assert!(store.watches_of(&firm, &unknown).await.unwrap().is_empty());
}

/// Reconciliation: encounters are looked at once more after their watch. That does not begin another.
pub(super) async fn a_look_may_come_after_the_watch(bench: Bench) {
    let store = bench.store().await;
    let (firm, lease) = one_list(&store).await;
    let end = at(0) + WATCH_LIFE;
    let later = end + 3 * WATCH_LIFE;
    watch_encounters(&store, &firm, &[], later).await;
    store.sweep_expired(later).await.unwrap();
    let late = document(&firm, "e", "late", later);
    let recorded = store
        .record_looks(
            &lease,
            &[Look {
                at: later,
                ..look("e", &[&late], &[])
            }],
            later,
        )
        .await
        .unwrap();
    assert_eq!(recorded.new, [late.document]);
    assert!(watching(&store, &firm, later).await.is_empty());
    let past = store.watch_list(&firm, end - MILLISECOND).await.unwrap();
    assert_eq!(
        (past.len(), past[0].watch.looked_at, past[0].watch.expires_at),
        (1, Some(later), end)
    );
    assert_eq!(acquired(&store, DocumentStep::Download, later).await, ["late"]);
}

/// Whoever holds the one need not hold the other, and neither is in the way of the other.
pub(super) async fn an_encounter_has_its_own_lease(bench: Bench) {
    let store = bench.store().await;
    let (firm, list) = one_list(&store).await;
    let lease = encounter_lease(&store, &firm, "e", at(1)).await;
    store.record_looks(&list, &[look("e", &[], &[])], at(2)).await.unwrap();
    let others = store
        .acquire_encounters(&firm, &[EncounterId::new("e")], at(3), LEASE)
        .await
        .unwrap();
    assert!(
        others.is_empty(),
        "a look under the list's lease does not end the encounter's"
    );
    store.record_documents(lease, &[], &[], at(4)).await.unwrap();
    assert!(leased(&store, at(4), 10).await.is_empty(), "nor the other way round");
    store.record_looks(&list, &[], at(5)).await.unwrap();
}

pub(super) async fn pollers_come_and_go(bench: Bench) {
    let store = bench.store().await;
    assert!(store.pollers(at(0)).await.unwrap().is_empty());
    let figures = |number: u64| PollerFigures {
        at: Some(at(number)),
        firms: number as usize,
        encounters: 7,
        prices: BTreeMap::from([("key".to_owned(), 0.5), ("another key".to_owned(), number as f64)]),
        resting_hosts: Vec::new(),
        failing_firms: vec![FailingFirm {
            firm: FirmId::new("a"),
            since: at(number),
            reason: Reason::new("ehr.not-allowed", "ask the practice"),
        }],
    };
    let [first, second, third] = ["one", "other", "third"].map(|id| PollerId(id.to_owned()));
    let attend = async |poller, number: u64| {
        store
            .attend(poller, &figures(number), at(number), at(number + 30))
            .await
            .unwrap()
    };
    assert_eq!(attend(&second, 0).await, 1, "it counts itself");
    assert_eq!(attend(&first, 5).await, 2);
    assert_eq!(attend(&second, 10).await, 2);
    let both = [(first.clone(), figures(5)), (second.clone(), figures(10))];
    assert_eq!(store.pollers(at(10)).await.unwrap(), both, "with what they said last");
    store.sweep_expired(at(10)).await.unwrap();
    assert_eq!(store.pollers(at(35) - MILLISECOND).await.unwrap(), both);
    assert_eq!(store.pollers(at(35)).await.unwrap(), both[1..], "one did not come back");
    assert_eq!(attend(&third, 36).await, 2);
    store.leave(&second).await.unwrap();
    store.leave(&second).await.unwrap();
    assert_eq!(store.pollers(at(36)).await.unwrap(), [(third.clone(), figures(36))]);
    let later = at(36) + 30 * WATCH_LIFE;
    store.sweep_expired(later).await.unwrap();
    assert!(store.pollers(later).await.unwrap().is_empty());
    let figures = PollerFigures::default();
    let until = later + seconds(30);
    assert_eq!(store.attend(&first, &figures, later, until).await.unwrap(), 1);
}
