//! Encounters: the cursor, versions, the end of a watch, and looks.

use std::{collections::HashSet, time::Duration};

use futures::FutureExt;
use skin_assist_core::{
    domain::{Cursor, EncounterId, EncounterStatus, EncounterWatch, WATCH_LIFE, WatchedEncounter},
    ports::{RecordedEncounters, StateError},
    time::Timestamp,
};

use super::{
    Bench,
    fixtures::{
        LEASE, Store, add_firm, at, document, encounter, encounter_lease, find_documents, firm_id, journey, retract,
        seconds, watch_encounters, watching,
    },
};

const MILLISECOND: Duration = Duration::from_millis(1);

async fn watched(store: &Store, now: Timestamp) -> Vec<EncounterWatch> {
    watching(store, &firm_id("a"), now).await
}

/// Compare-and-swap, and nothing written when it fails.
pub(super) async fn the_cursor_moves_only_from_where_it_was(bench: Bench) {
    let store = bench.store().await;
    let firm = add_firm(&store, "a").await;
    assert_eq!(store.cursor(&firm).await.unwrap(), None);
    let seen = [encounter("1", Some(at(0)))];
    store
        .record_encounters(&firm, None, Cursor(at(0)), &seen, at(0))
        .await
        .unwrap();
    assert_eq!(store.cursor(&firm).await.unwrap(), Some(Cursor(at(0))));

    let before = watched(&store, at(1)).await;
    let seen = [encounter("1", Some(at(1))), encounter("2", Some(at(1)))];
    for wrong in [None, Some(Cursor(at(7)))] {
        let outcome = store.record_encounters(&firm, wrong, Cursor(at(1)), &seen, at(1)).await;
        assert!(matches!(outcome, Err(StateError::CursorMoved)), "{outcome:?}");
        assert_eq!(
            watched(&store, at(1)).await,
            before,
            "nothing is written when the cursor was moved"
        );
        assert_eq!(store.cursor(&firm).await.unwrap(), Some(Cursor(at(0))));
    }
    store
        .record_encounters(&firm, Some(Cursor(at(0))), Cursor(at(1)), &seen, at(1))
        .await
        .unwrap();
    assert_eq!(store.cursor(&firm).await.unwrap(), Some(Cursor(at(1))));
    assert_eq!(watched(&store, at(1)).await.len(), 2);
    store
        .record_encounters(&firm, Some(Cursor(at(1))), Cursor(at(1)), &[], at(2))
        .await
        .unwrap();
    assert_eq!(
        store.cursor(&firm).await.unwrap(),
        Some(Cursor(at(1))),
        "a poll may leave it where it is"
    );
}

pub(super) async fn concurrent_polls_move_the_cursor_once(bench: Bench) {
    let handles = bench.0.fresh().await;
    let firm = add_firm(&handles[0], "a").await;
    watch_encounters(&handles[0], &firm, &[], at(0)).await;
    let outcomes = bench
        .race(&handles, 8, |store| {
            async move {
                let seen = [encounter("1", Some(at(1)))];
                let moved = store
                    .record_encounters(&firm_id("a"), Some(Cursor(at(0))), Cursor(at(1)), &seen, at(1))
                    .await;
                match moved {
                    Ok(recorded) => {
                        assert_eq!(recorded, RecordedEncounters { new: 1, changed: 0 });
                        true
                    }
                    Err(StateError::CursorMoved) => false,
                    Err(error) => panic!("{error}"),
                }
            }
            .boxed()
        })
        .await;
    assert_eq!(outcomes.iter().filter(|moved| **moved).count(), 1);
}

/// A watch does not live longer for being seen again; a new version is a change, and a change prolongs it.
pub(super) async fn seeing_the_same_version_again_changes_nothing(bench: Bench) {
    let store = bench.store().await;
    let firm = add_firm(&store, "a").await;
    let seen = [encounter("1", Some(at(0))), encounter("2", Some(at(0)))];
    let recorded = store
        .record_encounters(&firm, None, Cursor(at(0)), &seen, at(10))
        .await
        .unwrap();
    assert_eq!(recorded, RecordedEncounters { new: 2, changed: 0 });
    let before = watched(&store, at(10)).await;
    assert_eq!(before[0].encounter, seen[0]);
    assert_eq!((before[0].first_seen_at, before[0].looked_at), (at(10), None));
    assert_eq!(before[0].expires_at, at(10) + WATCH_LIFE);

    let cursor = Some(Cursor(at(0)));
    let recorded = store
        .record_encounters(&firm, cursor, Cursor(at(0)), &seen, at(20))
        .await
        .unwrap();
    assert_eq!(recorded, RecordedEncounters::default());
    assert_eq!(watched(&store, at(20)).await, before);

    let mut changed = encounter("2", Some(at(25)));
    changed.status = EncounterStatus::Finished;
    let seen = [seen[0].clone(), changed.clone()];
    let recorded = store
        .record_encounters(&firm, cursor, Cursor(at(25)), &seen, at(30))
        .await
        .unwrap();
    assert_eq!(recorded, RecordedEncounters { new: 0, changed: 1 });
    let after = watched(&store, at(30)).await;
    assert_eq!(after[0], before[0]);
    assert_eq!(after[1].encounter, changed);
    assert_eq!(
        (after[1].first_seen_at, after[1].expires_at),
        (at(10), at(30) + WATCH_LIFE)
    );
}

/// Pages shift while they are read: an older version may be seen after a newer one.
pub(super) async fn an_older_version_changes_nothing(bench: Bench) {
    let store = bench.store().await;
    let firm = add_firm(&store, "a").await;
    watch_encounters(&store, &firm, &["1"], at(10)).await;
    let before = watched(&store, at(10)).await;
    let seen = [encounter("1", Some(at(5)))];
    let recorded = store
        .record_encounters(&firm, Some(Cursor(at(10))), Cursor(at(10)), &seen, at(20))
        .await
        .unwrap();
    assert_eq!(recorded, RecordedEncounters::default());
    assert_eq!(watched(&store, at(20)).await, before);
}

/// Some EHRs give no version.
pub(super) async fn without_versions_the_contents_decide(bench: Bench) {
    let store = bench.store().await;
    let firm = add_firm(&store, "a").await;
    let mut seen = [encounter("1", None)];
    store
        .record_encounters(&firm, None, Cursor(at(0)), &seen, at(0))
        .await
        .unwrap();
    let cursor = Some(Cursor(at(0)));
    let recorded = store
        .record_encounters(&firm, cursor, Cursor(at(0)), &seen, at(10))
        .await
        .unwrap();
    assert_eq!(recorded, RecordedEncounters::default());
    assert_eq!(watched(&store, at(10)).await[0].expires_at, at(0) + WATCH_LIFE);
    seen[0].practitioner = None;
    let recorded = store
        .record_encounters(&firm, cursor, Cursor(at(0)), &seen, at(20))
        .await
        .unwrap();
    assert_eq!(recorded, RecordedEncounters { new: 0, changed: 1 });
    let watch = &watched(&store, at(20)).await[0];
    assert_eq!((&watch.encounter, watch.expires_at), (&seen[0], at(20) + WATCH_LIFE));
}

/// How many were found, retracted ones included, and when the latest was filed or, where the EHR does not tell, found.
pub(super) async fn a_watch_list_tells_of_photos(bench: Bench) {
    let store = bench.store().await;
    let (a, b) = (add_firm(&store, "a").await, add_firm(&store, "b").await);
    watch_encounters(&store, &a, &["e", "f", "none"], at(0)).await;
    find_documents(&store, &b, &["d"], at(99)).await;
    let list = async || -> Vec<(String, u32, Option<Timestamp>)> {
        let mut list: Vec<_> = store
            .watch_list(&a, at(100))
            .await
            .unwrap()
            .into_iter()
            .map(|watched| {
                let WatchedEncounter {
                    watch,
                    photos,
                    latest_photo_at,
                } = watched;
                (watch.encounter.id.to_string(), photos, latest_photo_at)
            })
            .collect();
        list.sort();
        list
    };
    let all = |e: (u32, Option<Timestamp>), f: (u32, Option<Timestamp>)| {
        [("e", e), ("f", f), ("none", (0, None))].map(|(id, (photos, latest))| (id.to_owned(), photos, latest))
    };
    assert_eq!(list().await, all((0, None), (0, None)));
    // Filed five seconds before they are found.
    find_documents(&store, &a, &["late", "later"], at(40)).await;
    find_documents(&store, &a, &["early"], at(20)).await;
    let mut undated = document(&a, "f", "undated", at(50));
    undated.attached_at = None;
    let lease = encounter_lease(&store, &a, "f", at(50)).await;
    store.record_documents(lease, &[undated], &[], at(50)).await.unwrap();
    let expected = all((3, Some(at(35))), (1, Some(at(50))));
    assert_eq!(list().await, expected);
    retract(&store, &a, "later", at(60)).await;
    assert_eq!(list().await, expected);
}

/// Under watch or past it, each once, in the order asked for.
pub(super) async fn what_is_known_can_be_asked_for(bench: Bench) {
    let store = bench.store().await;
    let (a, b) = (add_firm(&store, "a").await, add_firm(&store, "b").await);
    watch_encounters(&store, &a, &["past"], at(0)).await;
    let later = at(0) + WATCH_LIFE;
    watch_encounters(&store, &a, &["1", "2"], later).await;
    watch_encounters(&store, &b, &["of another firm"], later).await;
    let ids = ["2", "of another firm", "past", "unknown", "1", "2"].map(EncounterId::new);
    let watches = store.watches_of(&a, &ids).await.unwrap();
    let names: Vec<&str> = watches.iter().map(|watch| watch.encounter.id.as_str()).collect();
    assert_eq!(names, ["2", "past", "1"]);
    assert_eq!((watches[1].first_seen_at, watches[1].expires_at), (at(0), later));
    assert!(store.watches_of(&a, &[]).await.unwrap().is_empty());
}

/// For reconciliation: for four days a sweep leaves it, and whoever asks for watches that ended before gets it.
pub(super) async fn an_ended_watch_can_still_be_asked_for(bench: Bench) {
    let store = bench.store().await;
    let firm = add_firm(&store, "a").await;
    watch_encounters(&store, &firm, &["1"], at(0)).await;
    let end = at(0) + WATCH_LIFE;
    let later = end + 4 * WATCH_LIFE - MILLISECOND;
    watch_encounters(&store, &firm, &["2"], later).await;
    store.sweep_expired(later).await.unwrap();
    let ids = async |ending_after| -> Vec<String> {
        let list = store.watch_list(&firm, ending_after).await.unwrap();
        let mut ids: Vec<String> = list.iter().map(|it| it.watch.encounter.id.to_string()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(end - MILLISECOND).await, ["1", "2"]);
    assert_eq!(ids(end).await, ["2"]);
    assert_eq!(ids(later).await, ["2"]);
    let known = store.watches_of(&firm, &[EncounterId::new("1")]).await.unwrap();
    assert_eq!(known[0].expires_at, end);
}

/// Whether or not its row was deleted: it is not shown, not leased, and begins again only with a new version.
pub(super) async fn an_ended_watch_is_not_there(bench: Bench) {
    let store = bench.store().await;
    let firm = add_firm(&store, "a").await;
    watch_encounters(&store, &firm, &["1"], at(0)).await;
    let end = at(0) + WATCH_LIFE;
    assert_eq!(watched(&store, end - MILLISECOND).await.len(), 1);
    assert_eq!(
        store.overview(end - MILLISECOND).await.unwrap()[0].watched_encounters,
        1
    );
    let cursor = Some(Cursor(at(0)));
    for sweep in [false, true] {
        if sweep {
            store.sweep_expired(end + seconds(10)).await.unwrap();
        }
        assert!(watched(&store, end).await.is_empty());
        assert_eq!(store.overview(end).await.unwrap()[0].watched_encounters, 0);
        let leases = store
            .acquire_encounters(&firm, &[EncounterId::new("1")], end, LEASE)
            .await
            .unwrap();
        assert!(leases.is_empty());
        let seen = [encounter("1", Some(at(0)))];
        let recorded = store
            .record_encounters(&firm, cursor, Cursor(at(0)), &seen, end + seconds(20))
            .await
            .unwrap();
        assert_eq!(
            recorded,
            RecordedEncounters::default(),
            "the same version begins no second watch"
        );
        assert!(watched(&store, end + seconds(20)).await.is_empty());
    }
    let later = end + seconds(30);
    let seen = [encounter("1", Some(later))];
    let recorded = store
        .record_encounters(&firm, cursor, Cursor(later), &seen, later)
        .await
        .unwrap();
    assert_eq!(recorded, RecordedEncounters { new: 1, changed: 0 });
    let watch = &watched(&store, later).await[0];
    assert_eq!(
        (watch.first_seen_at, watch.looked_at, watch.expires_at),
        (later, None, later + WATCH_LIFE)
    );
}

pub(super) async fn a_lease_is_exclusive_and_expires(bench: Bench) {
    let store = bench.store().await;
    let firm = add_firm(&store, "a").await;
    watch_encounters(&store, &firm, &["1", "2", "3"], at(0)).await;
    let ids = ["3", "1", "unknown", "1"].map(EncounterId::new);
    let leases = store.acquire_encounters(&firm, &ids, at(0), LEASE).await.unwrap();
    let granted: Vec<&str> = leases.iter().map(|lease| lease.item().encounter.id.as_str()).collect();
    assert_eq!(
        granted,
        ["3", "1"],
        "those that are watched, once each, in the order asked for"
    );
    assert!(
        leases
            .iter()
            .all(|lease| lease.attempt() == 1 && lease.locked_until() == at(30))
    );
    assert!(
        store
            .acquire_encounters(&firm, &ids, at(30) - MILLISECOND, LEASE)
            .await
            .unwrap()
            .is_empty()
    );
    let again = store.acquire_encounters(&firm, &ids, at(30), LEASE).await.unwrap();
    assert_eq!(again.len(), 2);
    assert!(again[0].fence() > leases[0].fence() && again[0].attempt() == 2);
    assert!(
        store
            .acquire_encounters(&firm, &[], at(0), LEASE)
            .await
            .unwrap()
            .is_empty()
    );
}

pub(super) async fn a_look_is_noted_and_ends_the_lease(bench: Bench) {
    let store = bench.store().await;
    let firm = add_firm(&store, "a").await;
    watch_encounters(&store, &firm, &["e"], at(0)).await;
    let lease = encounter_lease(&store, &firm, "e", at(0)).await;
    let found = [document(&firm, "e", "d", at(5))];
    let recorded = store.record_documents(lease, &found, &[], at(5)).await.unwrap();
    assert_eq!(recorded.new, [found[0].document.clone()]);
    assert_eq!(watched(&store, at(5)).await[0].looked_at, Some(at(5)));
    assert_eq!(journey(&store).await.detected_at, at(5));
    let lease = encounter_lease(&store, &firm, "e", at(5)).await;
    assert_eq!(lease.attempt(), 1, "a look is progress");
    assert_eq!(lease.item().looked_at, Some(at(5)));
    // An expired lease that nobody else has acquired still counts.
    store.record_documents(lease, &found, &[], at(50)).await.unwrap();
    assert_eq!(watched(&store, at(50)).await[0].looked_at, Some(at(50)));
}

pub(super) async fn a_release_does_not_count(bench: Bench) {
    let store = bench.store().await;
    let firm = add_firm(&store, "a").await;
    watch_encounters(&store, &firm, &["e"], at(0)).await;
    for _ in 0..3 {
        let lease = encounter_lease(&store, &firm, "e", at(0)).await;
        assert_eq!(lease.attempt(), 1);
        store.release_encounter(lease, at(0)).await.unwrap();
    }
    assert_eq!(watched(&store, at(0)).await[0].looked_at, None);
}

pub(super) async fn concurrent_pollers_share_no_encounter(bench: Bench) {
    let handles = bench.0.fresh().await;
    let firm = add_firm(&handles[0], "a").await;
    let ids: Vec<String> = (0..60).map(|number| format!("e{number:02}")).collect();
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    watch_encounters(&handles[0], &firm, &names, at(0)).await;
    let leased = bench
        .race(&handles, 6, |store| {
            let wanted: Vec<EncounterId> = ids.iter().map(EncounterId::new).collect();
            async move {
                let mut mine = Vec::new();
                for batch in wanted.chunks(7) {
                    let leases = store
                        .acquire_encounters(&firm_id("a"), batch, at(0), LEASE)
                        .await
                        .unwrap();
                    mine.extend(leases.iter().map(|lease| lease.item().encounter.id.clone()));
                }
                mine
            }
            .boxed()
        })
        .await;
    let leased: Vec<EncounterId> = leased.into_iter().flatten().collect();
    assert_eq!(leased.len(), 60, "each encounter is leased");
    assert_eq!(leased.iter().collect::<HashSet<_>>().len(), 60, "none twice");
}
