//! Two firms with the same ids: whatever happens to one does not show at the other.

use std::collections::BTreeMap;

use skin_assist_core::{
    domain::{DocumentId, DocumentStep, DocumentWatch, EncounterId, FirmId, FirmStatus, IssuedToken, Mode, Stage},
    lease::Lease,
    phi::Secret,
    polling::{Count, Learned},
    ports::UncertainResolution,
};

use super::{
    Bench,
    fixtures::{
        LEASE, REASON, Store, add_firm, at, changes, document, encounter_lease, find_documents, findings, issued, look,
        photo, picture, record_documents, reference, result, result_key, secret, watch_encounters, watch_list_lease,
    },
};

/// Leases the document of `a`; that of `b`, which comes with it, is put back as it was.
async fn of_a(store: &Store, step: DocumentStep) -> Lease<DocumentWatch> {
    let mut mine = None;
    for lease in store.acquire_documents(step, at(0), LEASE, 10).await.unwrap() {
        if lease.item().firm.as_str() == "a" {
            assert!(mine.replace(lease).is_none());
        } else {
            store.release_document(lease, at(0)).await.unwrap();
        }
    }
    mine.unwrap()
}

async fn result_of_a(store: &Store) -> Lease<skin_assist_core::domain::AssistResult> {
    let mut mine = None;
    for lease in store.acquire_results(at(0), LEASE, 10).await.unwrap() {
        if lease.item().assessment.firm.as_str() == "a" {
            assert!(mine.replace(lease).is_none());
        } else {
            store.release_delivery(lease, at(0)).await.unwrap();
        }
    }
    mine.unwrap()
}

pub(super) async fn every_method_stays_within_its_firm(bench: Bench) {
    let store = bench.store().await;
    let a = add_firm(&store, "a").await;
    let b = add_firm(&store, "b").await;
    // `b` has one of everything: a watched encounter, a document `d` with findings and an uncertain result, a dead
    // letter `dead`, and `waiting`, which is due.
    watch_encounters(&store, &b, &["e"], at(0)).await;
    find_documents(&store, &b, &["d"], at(0)).await;
    super::fixtures::download(&store, at(0)).await;
    let lease = super::fixtures::document_lease(&store, DocumentStep::Infer, at(0)).await;
    let key = result_key(&lease.item().document);
    store.record_findings(&lease, &key, &findings(), at(0)).await.unwrap();
    let made = result(lease.item(), "of b", at(0));
    store.record_result(lease, &made).await.unwrap();
    let lease = super::fixtures::result_lease(&store, at(0)).await;
    store.record_uncertain(lease, &REASON, at(0)).await.unwrap();
    find_documents(&store, &b, &["dead"], at(0)).await;
    let lease = super::fixtures::document_lease(&store, DocumentStep::Download, at(0)).await;
    store
        .bury_document(lease, Stage::DownloadPhoto, &REASON, at(0))
        .await
        .unwrap();
    find_documents(&store, &b, &["waiting"], at(0)).await;
    let token = |text: &str| IssuedToken {
        refresh_token: Some(Secret::new(format!("refresh token {text}"))),
        ..issued(text, 3600)
    };
    let lease = store.acquire_refresh(&b, at(0), LEASE).await.unwrap().unwrap();
    store.record_token(lease, &token("of b")).await.unwrap();
    let looking = encounter_lease(&store, &b, "e", at(0)).await;
    store.set_firm_status(&a, FirmStatus::Paused).await.unwrap();
    let polling = watch_list_lease(&store, at(0)).await;
    store.set_firm_status(&a, FirmStatus::Active).await.unwrap();
    let gained = |firm: &FirmId, events: f64| Learned {
        shared: BTreeMap::new(),
        firms: BTreeMap::from([(
            firm.clone(),
            BTreeMap::from([("count".to_owned(), Count { events, exposure: 1.0 })]),
        )]),
    };
    store.add_learned(&gained(&b, 1.0), at(0)).await.unwrap();

    let expected = picture(&store, &b, at(0)).await;
    macro_rules! unchanged {
        ($($step:tt)*) => {{
            let outcome = $($step)*;
            assert_eq!(picture(&store, &b, at(0)).await, expected, "after {}", stringify!($($step)*));
            outcome
        }};
    }

    assert!(
        store.findings(&a, &key).await.unwrap().is_none(),
        "findings are a firm's own"
    );
    assert!(store.watch_list(&a, at(0)).await.unwrap().is_empty());
    assert!(store.watches_of(&a, &[EncounterId::new("e")]).await.unwrap().is_empty());
    let learned = store.learned(std::slice::from_ref(&a)).await.unwrap();
    assert!(learned.firms.is_empty(), "what was learned of a firm is its own");
    assert_eq!(store.cursor(&a).await.unwrap(), None);
    assert_eq!(store.journey(&a, &DocumentId::new("d")).await.unwrap(), None);
    let none = store
        .acquire_encounters(&a, &[EncounterId::new("e")], at(0), LEASE)
        .await
        .unwrap();
    assert!(none.is_empty(), "another firm's encounters are not leased");
    let no = store
        .resolve(&a, &made.assessment.id, &UncertainResolution::Discard, at(0))
        .await;
    assert!(no.is_err(), "another firm's uncertainty is not resolved");

    // All that can happen to `a`.
    unchanged!(watch_encounters(&store, &a, &["e", "f"], at(0)).await);
    let lease = unchanged!(encounter_lease(&store, &a, "e", at(0)).await);
    unchanged!(store.release_encounter(lease, at(0)).await.unwrap());
    // The worst case: even the assessment has the same name.
    let mut same_name = document(&a, "e", "d", at(0));
    same_name.assessment = made.assessment.id.clone();
    unchanged!(record_documents(&store, &a, &[same_name], &[], at(0)).await);
    let lease = unchanged!(of_a(&store, DocumentStep::Download).await);
    unchanged!(store.retry_document(lease, at(0)).await.unwrap());
    let lease = unchanged!(of_a(&store, DocumentStep::Download).await);
    unchanged!(store.record_photo(lease, &photo(at(0))).await.unwrap());
    let lease = unchanged!(of_a(&store, DocumentStep::Infer).await);
    unchanged!(
        store
            .record_photo_lost(lease, &[DocumentId::new("d")], at(0))
            .await
            .unwrap()
    );
    let lease = unchanged!(of_a(&store, DocumentStep::Download).await);
    unchanged!(
        store
            .bury_document(lease, Stage::DownloadPhoto, &REASON, at(0))
            .await
            .unwrap()
    );
    let letters = store.dead_letters().await.unwrap();
    let letter = letters.iter().find(|letter| letter.firm == a).unwrap().id;
    unchanged!(store.replay(letter, at(0)).await.unwrap());
    let lease = unchanged!(of_a(&store, DocumentStep::Download).await);
    unchanged!(store.record_photo(lease, &photo(at(0))).await.unwrap());
    let lease = unchanged!(of_a(&store, DocumentStep::Infer).await);
    unchanged!(store.record_findings(&lease, &key, &findings(), at(0)).await.unwrap());
    let of_a_too = result(lease.item(), "of a", at(0));
    unchanged!(store.record_result(lease, &of_a_too).await.unwrap());
    for round in 0..5 {
        let lease = unchanged!(result_of_a(&store).await);
        assert_eq!(lease.item().note.expose().sections[0].paragraphs, ["of a"]);
        unchanged!(store.record_intent(&lease, None, at(0)).await.unwrap());
        match round {
            0 => unchanged!(store.retry_delivery(lease, at(0)).await.unwrap()),
            1 => unchanged!(store.release_delivery(lease, at(0)).await.unwrap()),
            2 => {
                unchanged!(store.record_uncertain(lease, &REASON, at(0)).await.unwrap());
                let again = UncertainResolution::PostAgain;
                unchanged!(store.resolve(&a, &made.assessment.id, &again, at(0)).await.unwrap());
            }
            3 => {
                unchanged!(store.bury_delivery(lease, &REASON, at(0)).await.unwrap());
                let letters = store.dead_letters().await.unwrap();
                let letter = letters.iter().find(|letter| letter.firm == a).unwrap().id;
                unchanged!(store.replay(letter, at(0)).await.unwrap());
            }
            _ => unchanged!(store.record_delivered(lease, &reference(1), at(0)).await.unwrap()),
        }
    }
    let lease = unchanged!(encounter_lease(&store, &a, "e", at(0)).await);
    let found = [document(&a, "e", "waiting", at(0))];
    let retracted = ["d", "dead", "waiting"].map(DocumentId::new);
    unchanged!(store.record_documents(lease, &found, &retracted, at(0)).await.unwrap());
    unchanged!(store.add_learned(&gained(&a, 2.0), at(0)).await.unwrap());
    let list = unchanged!(watch_list_lease(&store, at(0)).await);
    assert_eq!(list.item().firm, a, "that of b is leased");
    let found = document(&a, "e", "found under the list", at(0));
    let looks = [look("e", &[&found], &["d", "dead", "waiting"])];
    unchanged!(store.record_looks(&list, &looks, at(0)).await.unwrap());
    let found = document(&a, "e", "found in the whole of a", at(0));
    let mut shown = changes(&store, &a, at(7)).await;
    shown.looks = vec![look("e", &[&found], &["d", "dead", "waiting"])];
    shown.retracted = looks[0].retracted.clone();
    unchanged!(store.record_changes(&list, &shown, at(7)).await.unwrap());
    let renewed = unchanged!(store.renew_watch_lists(vec![list], at(0), 9 * LEASE).await.unwrap());
    unchanged!(store.release_watch_lists(renewed, at(0)).await.unwrap());
    let lease = unchanged!(store.acquire_refresh(&a, at(0), LEASE).await.unwrap().unwrap());
    unchanged!(store.record_token(lease, &token("of a")).await.unwrap());
    let lease = unchanged!(store.acquire_refresh(&a, at(0), LEASE).await.unwrap().unwrap());
    unchanged!(store.record_refusal(lease, &REASON, at(9)).await.unwrap());
    unchanged!(store.replace_credential(&a, &secret("x")).await.unwrap());
    unchanged!(store.set_mode(&a, Mode::Silent, None).await.unwrap());
    unchanged!(store.set_categories(&a, &BTreeMap::new()).await.unwrap());
    unchanged!(store.set_firm_status(&a, FirmStatus::Paused).await.unwrap());
    unchanged!(store.remove_firm(&a).await.unwrap());
    // And `b` can still do what it could: its leases are as they were.
    store.record_documents(looking, &[], &[], at(0)).await.unwrap();
    store.record_looks(&polling, &[], at(0)).await.unwrap();
    for (now, free) in [(at(29), 0), (at(30), 1)] {
        let leases = store.acquire_watch_lists(now, LEASE, 10).await.unwrap();
        assert_eq!(leases.len(), free, "its list is leased as long as it was");
    }
    let lease = super::fixtures::document_lease(&store, DocumentStep::Download, at(0)).await;
    assert_eq!((lease.item().document.as_str(), lease.attempt()), ("waiting", 1));
}
