//! Firms: adding, settings, removal.

use std::collections::BTreeMap;

use skin_assist_core::{
    domain::{CategoryCode, CategoryUse, DocumentId, DocumentStep, FirmStatus, IntendedUseRecord, Mode, Stage},
    lease::Lease,
    phi::Secret,
    ports::{AuditAction, AuditRecord, StateError},
};

use super::{
    Bench, all,
    fixtures::{
        LEASE, REASON, acquired, add_firm, at, changes, document_lease, download, encounter_lease, find_documents,
        findings, firm, firm_id, infer, one_document, result_key, result_lease, results_due, secret, watch_encounters,
        watch_list_lease,
    },
};

pub(super) async fn a_firm_is_added_once(bench: Bench) {
    let store = bench.store().await;
    assert!(store.firms().await.unwrap().is_empty());
    all(["b", "c", "a"].map(|id| add_firm(&store, id))).await;
    let mut again = firm("b");
    again.url_prefix = "another".into();
    let outcome = store.add_firm(&again, &secret("another")).await;
    assert!(matches!(outcome, Err(StateError::Exists { .. })), "{outcome:?}");
    // Two firms on one chart would each write a draft into it.
    let mut twin = firm("twin");
    twin.url_prefix = firm("b").url_prefix;
    let outcome = store.add_firm(&twin, &secret("another")).await;
    assert!(matches!(outcome, Err(StateError::Exists { .. })), "{outcome:?}");
    assert_eq!(
        store.firms().await.unwrap(),
        ["a", "b", "c"].map(firm),
        "all firms, in the order of their ids"
    );
    assert_eq!(store.firm(&firm_id("b")).await.unwrap(), Some(firm("b")));
    assert_eq!(store.firm(&firm_id("x")).await.unwrap(), None);
    let credential = store.credential(&firm_id("b")).await.unwrap().unwrap();
    assert_eq!(credential.client_id, "b-client");
    assert_eq!(credential.client_secret, Secret::new("b-secret".into()));
    assert_eq!(credential.token, None);
}

pub(super) async fn settings_are_kept(bench: Bench) {
    let store = bench.store().await;
    let id = add_firm(&store, "a").await;
    add_firm(&store, "b").await;
    let mut expected = firm("a");
    expected.mode = Mode::Silent;
    store.set_mode(&id, Mode::Silent, None).await.unwrap();
    assert_eq!(store.firm(&id).await.unwrap(), Some(expected.clone()));

    let record = IntendedUseRecord {
        recorded_by: "Dr. Roe".into(),
        recorded_at: at(1),
        document_sha256: "ab".repeat(32),
    };
    store.set_mode(&id, Mode::Draft, Some(&record)).await.unwrap();
    (expected.mode, expected.intended_use) = (Mode::Draft, Some(record));
    assert_eq!(store.firm(&id).await.unwrap(), Some(expected.clone()));

    let categories = BTreeMap::from([
        (CategoryCode::new("rash photos|2"), CategoryUse::Widespread),
        (CategoryCode::new("consent"), CategoryUse::Ignored),
    ]);
    store.set_categories(&id, &categories).await.unwrap();
    expected.categories = categories;
    store.set_firm_status(&id, FirmStatus::Paused).await.unwrap();
    expected.status = FirmStatus::Paused;
    assert_eq!(store.firm(&id).await.unwrap(), Some(expected.clone()));
    store.set_firm_status(&id, FirmStatus::Active).await.unwrap();
    expected.status = FirmStatus::Active;
    assert_eq!(store.firm(&id).await.unwrap(), Some(expected));
    assert_eq!(
        store.firm(&firm_id("b")).await.unwrap(),
        Some(firm("b")),
        "another firm's settings are its own"
    );
}

pub(super) async fn what_is_not_there_is_not_found(bench: Bench) {
    let store = bench.store().await;
    let none = firm_id("none");
    let outcomes = [
        store.set_firm_status(&none, FirmStatus::Paused).await,
        store.set_categories(&none, &BTreeMap::new()).await,
        store.set_mode(&none, Mode::Draft, None).await,
        store.replace_credential(&none, &secret("x")).await,
        store.remove_firm(&none).await,
        store.acquire_refresh(&none, at(0), LEASE).await.map(|_| ()),
        store
            .record_encounters(&none, None, skin_assist_core::domain::Cursor(at(0)), &[], at(0))
            .await
            .map(|_| ()),
        store.replay(1, at(0)).await,
    ];
    for (place, outcome) in outcomes.iter().enumerate() {
        assert!(
            matches!(outcome, Err(StateError::NotFound { .. })),
            "{place}: {outcome:?}"
        );
    }
    assert_eq!(store.credential(&none).await.unwrap(), None);
    assert_eq!(store.cursor(&none).await.unwrap(), None);
    assert_eq!(store.documents_cursor(&firm("none")).await.unwrap(), None);
}

/// Nothing but the audit trail is left, and a firm of the same name starts from nothing.
pub(super) async fn removal_leaves_nothing(bench: Bench) {
    let store = bench.store().await;
    let id = one_document(&store).await;
    download(&store, at(0)).await;
    infer(&store, at(0)).await;
    let lease = result_lease(&store, at(0)).await;
    store.record_uncertain(lease, &REASON, at(0)).await.unwrap();
    find_documents(&store, &id, &["dead"], at(0)).await;
    let lease = document_lease(&store, DocumentStep::Download, at(0)).await;
    let key = result_key(&DocumentId::new("dead"));
    store.record_findings(&lease, &key, &findings(), at(0)).await.unwrap();
    store
        .bury_document(lease, Stage::DownloadPhoto, &REASON, at(0))
        .await
        .unwrap();
    find_documents(&store, &id, &["waiting"], at(0)).await;
    let record = AuditRecord {
        at: at(0),
        firm: id.clone(),
        actor: "operator".into(),
        action: AuditAction::FirmChanged,
        subject: "a".into(),
    };
    store.record(&record).await.unwrap();

    let leases = store.acquire_watch_lists(at(999), LEASE, 10).await.unwrap();
    assert_eq!(leases.len(), 1);
    let shown = changes(&store, &id, at(999)).await;
    store.record_changes(&leases[0], &shown, at(999)).await.unwrap();

    store.remove_firm(&id).await.unwrap();
    for again in [false, true] {
        if again {
            add_firm(&store, "a").await;
        }
        assert_eq!(store.firms().await.unwrap().len(), usize::from(again));
        assert_eq!(store.cursor(&id).await.unwrap(), None);
        assert_eq!(store.documents_cursor(&firm("a")).await.unwrap(), None);
        assert!(store.watch_list(&id, at(0)).await.unwrap().is_empty());
        assert_eq!(
            store.acquire_watch_lists(at(1000), LEASE, 10).await.unwrap().len(),
            usize::from(again)
        );
        assert!(store.findings(&id, &key).await.unwrap().is_none());
        assert!(
            store
                .journeys(None, skin_assist_core::time::Timestamp::ALWAYS, 10)
                .await
                .unwrap()
                .is_empty()
        );
        assert!(store.dead_letters().await.unwrap().is_empty());
        assert!(store.uncertain().await.unwrap().is_empty());
        assert!(acquired(&store, DocumentStep::Download, at(1000)).await.is_empty());
        assert_eq!(results_due(&store, at(1000)).await, 0);
    }
    let outlives = store.records().await.unwrap();
    assert_eq!(outlives.last(), Some(&record), "the audit trail outlives the firm");
    assert_eq!(outlives.len(), 3);
}

/// A worker that slept through the removal of a firm and its return changes nothing of the new one.
pub(super) async fn a_lease_does_not_outlive_its_firm(bench: Bench) {
    let store = bench.store().await;
    let id = one_document(&store).await;
    let lost = document_lease(&store, DocumentStep::Download, at(0)).await;
    let refresh = store.acquire_refresh(&id, at(0), LEASE).await.unwrap().unwrap();
    watch_encounters(&store, &id, &["e"], at(1)).await;
    let look = encounter_lease(&store, &id, "e", at(1)).await;
    let list = watch_list_lease(&store, at(1)).await;
    let also_list = Lease::granted(list.item().clone(), list.fence(), list.locked_until(), 1);
    store.remove_firm(&id).await.unwrap();
    let id = one_document(&store).await;
    let live = document_lease(&store, DocumentStep::Download, at(1)).await;
    let refresh_again = store.acquire_refresh(&id, at(1), LEASE).await.unwrap().unwrap();
    let look_again = encounter_lease(&store, &id, "e", at(1)).await;
    let list_again = watch_list_lease(&store, at(1)).await;
    for outcome in [
        store.retry_document(lost, at(2)).await,
        store.release_refresh(refresh, at(2)).await,
        store.release_encounter(look, at(2)).await,
        store.record_looks(&list, &[], at(2)).await.map(|_| ()),
    ] {
        assert!(matches!(outcome, Err(StateError::LeaseLost)), "{outcome:?}");
    }
    assert!(
        store
            .renew_watch_lists(vec![list], at(2), LEASE)
            .await
            .unwrap()
            .is_empty()
    );
    store.release_watch_lists(vec![also_list], at(2)).await.unwrap();
    assert!(store.acquire_watch_lists(at(2), LEASE, 10).await.unwrap().is_empty());
    store.record_looks(&list_again, &[], at(2)).await.unwrap();
    store.retry_document(live, at(2)).await.unwrap();
    store.release_refresh(refresh_again, at(2)).await.unwrap();
    store.release_encounter(look_again, at(2)).await.unwrap();
}
