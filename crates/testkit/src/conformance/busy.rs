//! A state in which there is something of everything: what the next version of a store has to be able to read.

use skin_assist_core::{
    domain::{DocumentStep, DraftReference, FirmStatus, Stage},
    ports::{AuditAction, AuditRecord},
};

use super::fixtures::{
    REASON, Store, add_firm, at, document_lease, download, find_documents, firm_id, infer, result_lease, retract,
};

/// Fills an empty state: the firm `a` with photos that were delivered, kept back, retracted after their delivery, uncertain and given up, one
/// that waits for the models and one that was found; the firm `b`, paused; an entry of the audit trail.
pub async fn busy(store: &Store) {
    let a = add_firm(store, "a").await;
    for (place, id) in (0..).zip(["delivered", "kept-back", "retracted", "uncertain"]) {
        let now = at(100 * place);
        find_documents(store, &a, &[id], now).await;
        download(store, now).await;
        infer(store, now).await;
        let lease = result_lease(store, now).await;
        if id == "kept-back" {
            store.record_withheld(lease, &REASON, now).await.unwrap();
            continue;
        }
        store.record_intent(&lease, None, now).await.unwrap();
        if id == "uncertain" {
            store.record_uncertain(lease, &REASON, now).await.unwrap();
        } else {
            let reference = DraftReference(format!("Composition/{id}"));
            store.record_delivered(lease, &reference, now).await.unwrap();
        }
    }
    retract(store, &a, "retracted", at(500)).await;
    find_documents(store, &a, &["given-up"], at(600)).await;
    let lease = document_lease(store, DocumentStep::Download, at(600)).await;
    store
        .bury_document(lease, Stage::DownloadPhoto, &REASON, at(600))
        .await
        .unwrap();
    find_documents(store, &a, &["downloaded"], at(700)).await;
    download(store, at(700)).await;
    find_documents(store, &a, &["found"], at(800)).await;
    add_firm(store, "b").await;
    store.set_firm_status(&firm_id("b"), FirmStatus::Paused).await.unwrap();
    let record = AuditRecord {
        at: at(900),
        firm: a,
        actor: "operator".into(),
        action: AuditAction::FirmChanged,
        subject: "mode draft".into(),
    };
    store.record(&record).await.unwrap();
}
