//! The audit trail: chains, and entries that are there if and only if what they tell of was done.

use futures::FutureExt;
use skin_assist_core::{
    audit::{AuditEntry, AuditFault, AuditHead, BEGINNING_NUMBER, ChainVerifier, installation},
    domain::{AssessmentId, DocumentStep, FirmId, Mode},
    ports::{AuditAction, AuditRecord, StateError, StateStore, UncertainResolution},
};

use super::{
    Bench,
    fixtures::{
        LEASE, REASON, Store, add_firm, at, document_lease, download, find_documents, firm_id, infer, issued,
        one_document, one_result, reference, result_lease, retract, secret,
    },
};

fn entry(firm: &FirmId, action: AuditAction, subject: &str) -> AuditRecord {
    AuditRecord {
        at: at(7),
        firm: firm.clone(),
        actor: "operator".to_owned(),
        action,
        subject: subject.to_owned(),
    }
}

/// Every entry of a chain, read in pages of two.
pub(super) async fn chain(store: &dyn StateStore, firm: &FirmId) -> Vec<AuditEntry> {
    let (mut entries, mut from) = (Vec::new(), BEGINNING_NUMBER);
    loop {
        let page = store.audit_entries(firm, from, 2).await.unwrap();
        assert!(page.entries.len() <= 2);
        entries.extend(page.entries);
        match page.next {
            Some(next) => from = next,
            None => return entries,
        }
    }
}

/// What the firm's entries say was done, and to what.
async fn told(store: &Store, firm: &FirmId) -> Vec<(String, String)> {
    let entries = chain(&**store, firm).await;
    let told = entries
        .iter()
        .map(|entry| (entry.action.clone(), entry.said().to_owned()));
    told.collect()
}

/// Whoever writes, and however many at once: each chain is whole, each entry follows the one before, and heads are where chains end.
pub(super) async fn entries_are_chains(bench: Bench) {
    let handles = bench.0.fresh().await;
    let firms = [firm_id("a"), firm_id("b"), installation()];
    let names = firms.clone();
    bench
        .race(&handles, 4, move |store| {
            let names = names.clone();
            async move {
                for number in 0..9 {
                    let record = entry(&names[number % 3], AuditAction::PhotoRead, &number.to_string());
                    store.record(&record).await.unwrap();
                }
            }
            .boxed()
        })
        .await;
    let chains = handles[0].audit_chains().await.unwrap();
    assert_eq!(chains.len(), firms.len());
    for firm in firms {
        let entries = chain(&*handles[0], &firm).await;
        let numbers: Vec<u64> = entries.iter().map(|entry| entry.number).collect();
        assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
        let of_it = chains.iter().find(|chain| chain.head.firm == firm).unwrap();
        assert_eq!(of_it.base, AuditHead::beginning(firm.clone()));
        assert_eq!(of_it.head, entries[11].head());
        let mut verifier = ChainVerifier::new(of_it.base.clone(), [&entries[5].head()]);
        for entry in &entries {
            verifier.entry(entry);
        }
        let report = verifier.end();
        assert_eq!(report.faults, Vec::<AuditFault>::new());
        assert_eq!((report.entries, report.head), (12, of_it.head.clone()));
    }
    assert_eq!(chain(&*handles[0], &firm_id("none")).await, []);
}

/// What a stage's transition changes it tells itself, once it is done, and not when it is not.
pub(super) async fn transitions_tell_what_they_did(bench: Bench) {
    let store = bench.store().await;
    let firm = one_document(&store).await;
    let lease = store.acquire_refresh(&firm, at(0), LEASE).await.unwrap().unwrap();
    store.record_token(lease, &issued("t", 900)).await.unwrap();
    download(&store, at(0)).await;
    let result = infer(&store, at(0)).await;
    let assessment = result.assessment.id.to_string();
    let lost = result_lease(&store, at(0)).await;
    let lease = result_lease(&store, at(1000)).await;
    store.record_intent(&lease, None, at(1000)).await.unwrap();
    let outcome = store.record_delivered(lost, &reference(1), at(1000)).await;
    assert!(matches!(outcome, Err(StateError::LeaseLost)), "{outcome:?}");
    store.record_delivered(lease, &reference(1), at(1001)).await.unwrap();
    for _ in 0..2 {
        retract(&store, &firm, "d", at(1002)).await;
    }
    let of = |action: AuditAction, subject: &str| (action.as_str().to_owned(), subject.to_owned());
    let delivered = [
        of(AuditAction::ResultRecorded, &assessment),
        of(AuditAction::DraftWritten, &assessment),
        of(AuditAction::RetractedAfterDelivery, &assessment),
    ];
    let mut entries = told(&store, &firm).await;
    assert_eq!(entries.remove(0).0, AuditAction::TokenObtained.as_str());
    assert_eq!(entries, delivered);

    let store = bench.store().await;
    let (firm, result) = one_result(&store).await;
    let lease = result_lease(&store, at(0)).await;
    store.record_uncertain(lease, &REASON, at(1)).await.unwrap();
    let assessment = result.assessment.id.as_str();
    let uncertain = [
        of(AuditAction::ResultRecorded, assessment),
        of(AuditAction::DraftUncertain, assessment),
    ];
    assert_eq!(told(&store, &firm).await, uncertain);
}

/// An operator's change and its entry: both, or neither; and once.
pub(super) async fn a_change_and_its_entry_are_one(bench: Bench) {
    let store = bench.store().await;
    let (a, none) = (firm_id("a"), firm_id("none"));
    let changed = |firm: &FirmId, subject: &str| entry(firm, AuditAction::FirmChanged, subject);
    let connected = store.audited(changed(&a, "connected"));
    connected
        .add_firm(&super::fixtures::firm("a"), &secret("a"))
        .await
        .unwrap();
    drop(connected);
    let again = store.audited(changed(&a, "connected again"));
    assert!(again.add_firm(&super::fixtures::firm("a"), &secret("a")).await.is_err());
    drop(again);
    let off = store.audited(changed(&a, "mode off"));
    off.set_mode(&a, Mode::Off, None).await.unwrap();
    // The handle has told what it had to tell.
    off.set_mode(&a, Mode::Silent, None).await.unwrap();
    drop(off);
    let nobody = store.audited(changed(&none, "mode off"));
    assert!(nobody.set_mode(&none, Mode::Off, None).await.is_err());
    drop(nobody);
    assert_eq!(told(&store, &none).await, []);
    assert_eq!(store.firm(&a).await.unwrap().unwrap().mode, Mode::Silent);

    find_documents(&store, &a, &["d"], at(0)).await;
    let lease = document_lease(&store, DocumentStep::Download, at(0)).await;
    let stage = skin_assist_core::domain::Stage::DownloadPhoto;
    store.bury_document(lease, stage, &REASON, at(0)).await.unwrap();
    let letter = store.dead_letters().await.unwrap()[0].id;
    let replayed = store.audited(entry(&a, AuditAction::Replayed, "document d"));
    replayed.replay(letter, at(1)).await.unwrap();
    drop(replayed);
    let resolution = UncertainResolution::Discard;
    let resolved = store.audited(entry(&a, AuditAction::UncertainResolved, "x"));
    let outcome = resolved.resolve(&a, &AssessmentId::new("x"), &resolution, at(1)).await;
    assert!(matches!(outcome, Err(StateError::NotFound { .. })), "{outcome:?}");
    drop(resolved);
    let removed = store.audited(changed(&a, "removed"));
    removed.remove_firm(&a).await.unwrap();
    drop(removed);
    let subjects: Vec<String> = told(&store, &a).await.into_iter().map(|(_, subject)| subject).collect();
    assert_eq!(subjects, ["connected", "mode off", "document d", "removed"]);
    // One of the same name goes on with the chain.
    add_firm(&store, "a").await;
    store.record(&changed(&a, "connected")).await.unwrap();
    assert_eq!(chain(&*store, &a).await.last().unwrap().number, 5);
}
