//! Searches for all changed documents of a firm: the documents' cursor, and what is recorded with its moves.

use std::{collections::BTreeMap, time::Duration};

use skin_assist_core::{
    domain::{
        CategoryCode, CategoryUse, Cursor, DocumentId, DocumentStep, EncounterId, Firm, FirmId, JourneyState,
        WATCH_LIFE, WatchList,
    },
    lease::Lease,
    ports::{Changes, Look, RecordedDocuments, StateError},
    time::Timestamp,
};

use super::{
    Bench,
    fixtures::{
        Store, acquired, add_firm, at, changes, document, document_lease, journey, look, one_result, reference,
        result_lease, watch_encounters, watch_list_lease, watching,
    },
};

/// A state with the firm `a`, its encounters `e` and `f` watched from 0, and its watch list leased at 0.
async fn one_list(store: &Store) -> (FirmId, Lease<WatchList>) {
    let firm = add_firm(store, "a").await;
    watch_encounters(store, &firm, &["e", "f"], at(0)).await;
    (firm, watch_list_lease(store, at(0)).await)
}

async fn stored(store: &Store, firm: &FirmId) -> Firm {
    store.firm(firm).await.unwrap().unwrap()
}

async fn cursor(store: &Store, firm: &FirmId) -> Option<Timestamp> {
    let firm = stored(store, firm).await;
    store.documents_cursor(&firm).await.unwrap().map(|cursor| cursor.0)
}

/// What a search showed that found the cursor where it is, and moves it to `next`.
async fn shown(store: &Store, firm: &FirmId, looks: &[Look], next: Timestamp) -> Changes {
    Changes {
        looks: looks.to_vec(),
        ..changes(store, firm, next).await
    }
}

pub(super) async fn what_was_found_is_recorded_with_the_cursor(bench: Bench) {
    let store = bench.store().await;
    let (firm, lease) = one_list(&store).await;
    assert_eq!(cursor(&store, &firm).await, None);
    let found = document(&firm, "e", "d", at(5));
    let first = shown(&store, &firm, &[look("e", &[&found], &[])], at(4)).await;
    let recorded = store.record_changes(&lease, &first, at(5)).await.unwrap();
    assert_eq!(recorded.new, [DocumentId::new("d")]);
    assert_eq!(cursor(&store, &firm).await, Some(at(4)));
    let waiting = document_lease(&store, DocumentStep::Download, at(5)).await;
    assert_eq!(waiting.item(), &found, "a photo is due at once, as it was found");
    store.release_document(waiting, at(5)).await.unwrap();

    // It is listed again, and stays as it is; and the lease has not ended.
    let mut another = found.clone();
    another.category = CategoryCode::new("another");
    let again = shown(&store, &firm, &[look("e", &[&another], &[])], at(6)).await;
    let recorded = store.record_changes(&lease, &again, at(7)).await.unwrap();
    assert_eq!(recorded, RecordedDocuments::default());
    let waiting = document_lease(&store, DocumentStep::Download, at(7)).await;
    assert_eq!(waiting.item(), &found);
    assert_eq!(cursor(&store, &firm).await, Some(at(6)));
    let next = watch_list_lease(&store, at(30)).await;
    assert_eq!(next.attempt(), 1, "such a search is progress");
}

pub(super) async fn the_cursor_moves_only_from_where_it_was(bench: Bench) {
    let store = bench.store().await;
    let (firm, lease) = one_list(&store).await;
    let first = shown(&store, &firm, &[], at(10)).await;
    store.record_changes(&lease, &first, at(10)).await.unwrap();
    let found = document(&firm, "e", "d", at(11));
    for from in [None, Some(Cursor(at(9))), Some(Cursor(at(11)))] {
        let outdated = Changes {
            from,
            ..shown(&store, &firm, &[look("e", &[&found], &[])], at(12)).await
        };
        let outcome = store.record_changes(&lease, &outdated, at(12)).await;
        assert!(matches!(outcome, Err(StateError::CursorMoved)), "{outcome:?}");
        assert_eq!(cursor(&store, &firm).await, Some(at(10)));
        let waiting = acquired(&store, DocumentStep::Download, at(12)).await;
        assert!(waiting.is_empty(), "nothing is written when the cursor was moved");
    }
    let back = shown(&store, &firm, &[], at(9)).await;
    store.record_changes(&lease, &back, at(13)).await.unwrap();
    assert_eq!(cursor(&store, &firm).await, Some(at(10)), "it never moves backwards");
}

/// What they make a photo may have been listed before.
pub(super) async fn other_categories_begin_anew(bench: Bench) {
    let store = bench.store().await;
    let (firm, lease) = one_list(&store).await;
    let first = shown(&store, &firm, &[], at(10)).await;
    store.record_changes(&lease, &first, at(10)).await.unwrap();
    let under_way = shown(&store, &firm, &[], at(11)).await;
    let others = BTreeMap::from([(CategoryCode::new("rash"), CategoryUse::Widespread)]);
    let before = stored(&store, &firm).await.categories;
    store.set_categories(&firm, &others).await.unwrap();
    assert_eq!(cursor(&store, &firm).await, None);
    // A search that was made for the former categories does not speak for the new ones.
    store.record_changes(&lease, &under_way, at(11)).await.unwrap();
    assert_eq!(cursor(&store, &firm).await, None);
    let anew = shown(&store, &firm, &[], at(5)).await;
    store.record_changes(&lease, &anew, at(12)).await.unwrap();
    assert_eq!(cursor(&store, &firm).await, Some(at(5)));
    store.set_categories(&firm, &before).await.unwrap();
    assert_eq!(cursor(&store, &firm).await, None, "nobody looked for them meanwhile");
}

pub(super) async fn what_was_retracted_is_cancelled(bench: Bench) {
    let store = bench.store().await;
    let (firm, lease) = one_list(&store).await;
    let [kept, gone, stray] = ["kept", "gone", "stray"].map(|id| document(&firm, "e", id, at(1)));
    let looks = [look("e", &[&kept, &gone, &stray], &[])];
    let first = shown(&store, &firm, &looks, at(1)).await;
    store.record_changes(&lease, &first, at(1)).await.unwrap();
    let second = Changes {
        retracted: ["stray", "never known"].map(DocumentId::new).to_vec(),
        ..shown(&store, &firm, &[look("e", &[&kept], &["gone"])], at(2)).await
    };
    let recorded = store.record_changes(&lease, &second, at(2)).await.unwrap();
    assert_eq!(recorded, RecordedDocuments::default());
    assert_eq!(acquired(&store, DocumentStep::Download, at(100)).await, ["kept"]);
}

/// A draft that is in the chart alarms, once, and also when its encounter is not known any more.
pub(super) async fn what_was_delivered_alarms(bench: Bench) {
    let store = bench.store().await;
    let (firm, result) = one_result(&store).await;
    let delivery = result_lease(&store, at(0)).await;
    store.record_intent(&delivery, None, at(1)).await.unwrap();
    store.record_delivered(delivery, &reference(7), at(2)).await.unwrap();
    let lease = watch_list_lease(&store, at(3)).await;
    for time in [3, 4] {
        let retracted = Changes {
            retracted: vec![DocumentId::new("d")],
            ..shown(&store, &firm, &[], at(time)).await
        };
        let recorded = store.record_changes(&lease, &retracted, at(time)).await.unwrap();
        let alarms: Vec<_> = recorded.retracted.iter().map(|alarm| &alarm.assessment).collect();
        let expected: &[_] = if time == 3 { &[&result.assessment.id] } else { &[] };
        assert_eq!(alarms, expected);
    }
    assert_eq!(store.retracted_drafts().await.unwrap().len(), 1);
    assert_eq!(journey(&store).await.state, JourneyState::Delivered);
}

/// The cursor passes it: nobody will list it again.
pub(super) async fn a_photo_of_a_forgotten_encounter_is_recorded(bench: Bench) {
    let store = bench.store().await;
    let (firm, lease) = one_list(&store).await;
    let found = document(&firm, "forgotten", "d", at(1));
    let first = shown(&store, &firm, &[look("forgotten", &[&found], &[])], at(1)).await;
    let recorded = store.record_changes(&lease, &first, at(1)).await.unwrap();
    assert_eq!(recorded.new, [found.document]);
    assert_eq!(acquired(&store, DocumentStep::Download, at(1)).await, ["d"]);
}

/// All that had been seen by then, listed or not.
pub(super) async fn it_is_a_look_at_every_encounter(bench: Bench) {
    let store = bench.store().await;
    let (firm, lease) = one_list(&store).await;
    store
        .record_looks(
            &lease,
            &[Look {
                at: at(20),
                ..look("f", &[], &[])
            }],
            at(20),
        )
        .await
        .unwrap();
    watch_encounters(&store, &firm, &["later"], at(11)).await;
    let first = Changes {
        as_of: at(10),
        ..shown(&store, &firm, &[], at(9)).await
    };
    store.record_changes(&lease, &first, at(12)).await.unwrap();
    let expected = [("e", Some(at(10))), ("f", Some(at(20))), ("later", None)];
    let listed = watching(&store, &firm, at(12)).await;
    let named: Vec<_> = expected.iter().map(|(id, _)| EncounterId::new(*id)).collect();
    let asked = store.watches_of(&firm, &named).await.unwrap();
    for watches in [listed, asked] {
        let looked_at: Vec<_> = watches
            .iter()
            .map(|watch| (watch.encounter.id.as_str(), watch.looked_at))
            .collect();
        assert_eq!(looked_at, expected);
    }
    // It begins no watch and prolongs none.
    let end = at(11) + WATCH_LIFE;
    assert!(watching(&store, &firm, end).await.is_empty());
    assert_eq!(watching(&store, &firm, end - Duration::from_millis(1)).await.len(), 1);
}
