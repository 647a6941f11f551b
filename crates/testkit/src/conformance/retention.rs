//! Keeping no longer than the policy says: results and the beginnings of chains go after their time, what an operator has to look at stays,
//! and what is left of the trail still is a chain.

use std::{collections::BTreeSet, time::Duration};

use skin_assist_core::{
    audit::{AuditFault, AuditHead, ChainVerifier, installation},
    domain::{Assessment, ClosedAssessment, Cursor, DocumentId, DocumentStep, DocumentWatch, FirmId},
    ports::{AuditAction, AuditRecord, Removed, RetentionLimits, UncertainResolution},
    time::Timestamp,
};

use super::{
    Bench,
    audit::chain,
    fixtures::{
        LEASE, REASON, Store, add_firm, at, document, download, encounter, encounter_lease, infer, one_result, photo,
        record_documents, reference, result, result_lease, retract, seconds, watch_encounters,
    },
};

/// For how long results and entries are kept here.
const LIFE: Duration = Duration::from_secs(86_400);

const MILLISECOND: Duration = Duration::from_millis(1);

async fn removed(store: &Store, limits: RetentionLimits, now: Timestamp) -> Removed {
    let mut all = Removed::default();
    loop {
        let removed = store.remove_expired(&limits, now).await.unwrap();
        all.results += removed.results;
        all.photos += removed.photos;
        all.audit_entries += removed.audit_entries;
        if !removed.more {
            return all;
        }
    }
}

/// How many results go.
async fn results_removed(store: &Store, now: Timestamp) -> u64 {
    let limits = RetentionLimits {
        results: Some(LIFE),
        audit: None,
    };
    let removed = removed(store, limits, now).await;
    assert_eq!(removed.audit_entries, 0);
    removed.results
}

/// Of how many photos without a result goes what is known of their patients.
async fn photos_removed(store: &Store, now: Timestamp) -> u64 {
    let limits = RetentionLimits {
        results: Some(LIFE),
        audit: None,
    };
    let removed = removed(store, limits, now).await;
    assert_eq!((removed.results, removed.audit_entries), (0, 0));
    removed.photos
}

/// How many entries go that are older than `life`.
async fn entries_removed(store: &Store, life: u64, now: Timestamp) -> u64 {
    let limits = RetentionLimits {
        results: None,
        audit: Some(seconds(life)),
    };
    let removed = removed(store, limits, now).await;
    assert_eq!(removed.results, 0);
    removed.audit_entries
}

async fn deliver(store: &Store, now: Timestamp) {
    let lease = result_lease(store, now).await;
    store.record_intent(&lease, None, now).await.unwrap();
    store.record_delivered(lease, &reference(1), now).await.unwrap();
}

/// The result cannot be found any more, and what is left of its photos is that they were assessed.
async fn is_gone(store: &Store, firm: &FirmId, photos: &[&str], now: Timestamp) {
    assert_eq!(store.firm_results(firm).await.unwrap(), []);
    assert_eq!(store.journeys(None, Timestamp::ALWAYS, 9).await.unwrap(), []);
    // Shown by the EHR once more, in another visit: they are known.
    let expected = store.cursor(firm).await.unwrap();
    let visit = encounter("late", Some(now));
    store
        .record_encounters(firm, expected, Cursor(now), &[visit], now)
        .await
        .unwrap();
    for id in photos {
        let name = DocumentId::new(*id);
        assert_eq!(store.journey(firm, &name).await.unwrap(), None);
        let lease = encounter_lease(store, firm, "late", now).await;
        let found = [document(firm, "late", id, now)];
        let recorded = store.record_documents(lease, &found, &[], now).await.unwrap();
        assert_eq!(recorded.new, [], "{id} is known");
        // Nor is anybody alarmed by a retraction of what nobody can look up any more.
        let lease = encounter_lease(store, firm, "late", now).await;
        let recorded = store.record_documents(lease, &[], &[name], now).await.unwrap();
        assert_eq!(recorded.retracted, []);
    }
    for step in [DocumentStep::Download, DocumentStep::Infer] {
        assert_eq!(store.acquire_documents(step, now, LEASE, 9).await.unwrap().len(), 0);
    }
    assert_eq!(store.retracted_drafts().await.unwrap(), []);
}

/// A result and what its photo's row says of the patient go; that the photo was assessed stays known.
pub(super) async fn old_results_go_and_their_photos_are_known(bench: Bench) {
    for ending in ["delivered", "withheld", "discarded", "cancelled"] {
        let store = bench.store().await;
        let (firm, made) = one_result(&store).await;
        match ending {
            "delivered" => deliver(&store, at(1)).await,
            "withheld" => {
                let lease = result_lease(&store, at(1)).await;
                store.record_withheld(lease, &REASON, at(1)).await.unwrap();
            }
            "discarded" => {
                let lease = result_lease(&store, at(1)).await;
                store.record_uncertain(lease, &REASON, at(1)).await.unwrap();
                let discard = UncertainResolution::Discard;
                let id = &made.assessment.id;
                store.resolve(&firm, id, &discard, at(1)).await.unwrap();
            }
            _ => drop(retract(&store, &firm, "d", at(1)).await),
        }
        assert_eq!(results_removed(&store, at(0) + LIFE - MILLISECOND).await, 0, "{ending}");
        assert_eq!(results_removed(&store, at(0) + LIFE).await, 1, "{ending}");
        assert_eq!(results_removed(&store, at(0) + LIFE).await, 0, "{ending}");
        let id = &made.assessment.id;
        assert_eq!(store.result(&firm, id).await.unwrap(), None);
        let records = store.records().await.unwrap();
        let last = records.last().unwrap();
        assert_eq!((last.action, &last.firm), (AuditAction::ResultsRemoved, &firm));
        assert_eq!(last.subject, format!("1 assessed until {}", at(0)));
        if ending != "cancelled" {
            is_gone(&store, &firm, &["d"], at(0) + LIFE).await;
        }
    }
}

/// Also all of several photos that one result was about, and of each firm its own.
pub(super) async fn what_one_result_was_about_goes_together(bench: Bench) {
    let store = bench.store().await;
    let firm = add_firm(&store, "a").await;
    let watches = ["a", "b"].map(|id| DocumentWatch {
        gathers_until: Some(at(30)),
        ..document(&firm, "e", id, at(0))
    });
    record_documents(&store, &firm, &watches, &[], at(0)).await;
    for step in [DocumentStep::Download, DocumentStep::Infer] {
        let mut leases = store.acquire_documents(step, at(30), LEASE, 9).await.unwrap();
        if step == DocumentStep::Download {
            for lease in leases {
                store.record_photo(lease, &photo(at(30))).await.unwrap();
            }
            continue;
        }
        let lead = leases.swap_remove(0);
        let all: BTreeSet<DocumentId> = watches.iter().map(|watch| watch.document.clone()).collect();
        let companion = leases.remove(0);
        let closed = ClosedAssessment {
            id: Assessment::identity(&firm, &lead.item().encounter, &all),
            companions: BTreeSet::from([companion.item().document.clone()]),
            earlier: None,
        };
        store.release_document(companion, at(30)).await.unwrap();
        assert!(store.close_assessment(&lead, &closed).await.unwrap());
        let mut made = result(lead.item(), "both", at(31));
        made.assessment.id = closed.id.clone();
        made.assessment.documents = all;
        store.record_result(lead, &made).await.unwrap();
    }
    deliver(&store, at(32)).await;
    // Another firm's is younger.
    let other = add_firm(&store, "b").await;
    watch_encounters(&store, &other, &["e"], at(100)).await;
    record_documents(&store, &other, &[document(&other, "e", "d", at(100))], &[], at(100)).await;
    download(&store, at(100)).await;
    infer(&store, at(100)).await;
    deliver(&store, at(101)).await;
    assert_eq!(results_removed(&store, at(31) + LIFE).await, 1);
    assert_eq!(store.firm_results(&firm).await.unwrap(), []);
    assert_eq!(store.firm_results(&other).await.unwrap().len(), 1);
    assert_eq!(results_removed(&store, at(100) + LIFE).await, 1);
    is_gone(&store, &firm, &["a", "b"], at(100) + LIFE).await;
}

/// A photo that was retracted before it had a result has nothing that goes: what its row says of the patient goes by itself, after the same
/// time. Not that it was found.
pub(super) async fn what_retracted_photos_say_of_patients_goes(bench: Bench) {
    let store = bench.store().await;
    let firm = add_firm(&store, "a").await;
    let watches = ["gone", "stays"].map(|id| DocumentWatch {
        gathers_until: Some(at(30)),
        ..document(&firm, "e", id, at(0))
    });
    record_documents(&store, &firm, &watches, &[], at(0)).await;
    assert_eq!(retract(&store, &firm, "gone", at(1)).await, []);
    // Found in the same visit: as long as its row says of which one it was.
    let patients = async || -> Vec<String> {
        let siblings = store.siblings(&watches[1]).await.unwrap();
        siblings
            .into_iter()
            .map(|sibling| sibling.watch.patient.to_string())
            .collect()
    };
    assert_eq!(photos_removed(&store, at(0) + LIFE - MILLISECOND).await, 0);
    assert_eq!(patients().await, ["patient-of-e"]);
    let mut gone = 0;
    for day in 0..28 {
        gone += photos_removed(&store, at(0) + LIFE + day * LIFE).await;
    }
    assert_eq!(gone, 1, "once, within four weeks");
    assert_eq!(patients().await, Vec::<String>::new());
    let records = store.records().await.unwrap();
    let last = records.last().unwrap();
    assert_eq!((last.action, &last.firm), (AuditAction::ResultsRemoved, &firm));
    let said = "1 retracted photos without a result, found until ";
    assert!(last.subject.starts_with(said), "{}", last.subject);
    // It is known all the same, and the other one is what it was.
    let again = record_documents(&store, &firm, &watches, &["gone"], at(0) + 30 * LIFE).await;
    assert_eq!((again.new, again.retracted), (Vec::new(), Vec::new()));
    let now = at(0) + 30 * LIFE;
    let leases = store.acquire_documents(DocumentStep::Download, now, LEASE, 9).await;
    let leases = leases.unwrap();
    assert_eq!(leases.len(), 1);
    assert_eq!(leases[0].item(), &watches[1]);
}

/// What the program or an operator still has to do something about is not removed: until that is done.
pub(super) async fn what_waits_for_somebody_stays(bench: Bench) {
    let late = at(1000) + LIFE;
    for ending in ["pending", "intended", "uncertain", "buried"] {
        let store = bench.store().await;
        let (firm, made) = one_result(&store).await;
        if ending != "pending" {
            let lease = result_lease(&store, at(1)).await;
            match ending {
                "intended" => store.record_intent(&lease, None, at(1)).await.unwrap(),
                "uncertain" => store.record_uncertain(lease, &REASON, at(1)).await.unwrap(),
                _ => store.bury_delivery(lease, &REASON, at(1)).await.unwrap(),
            }
        }
        assert_eq!(results_removed(&store, late).await, 0, "{ending}");
        let id = &made.assessment.id;
        assert!(store.result(&firm, id).await.unwrap().is_some(), "{ending}");
        if ending == "uncertain" {
            let taken = UncertainResolution::Delivered(reference(1));
            store.resolve(&firm, id, &taken, late).await.unwrap();
            assert_eq!(results_removed(&store, late).await, 1);
        }
    }

    let store = bench.store().await;
    let (firm, made) = one_result(&store).await;
    deliver(&store, at(1)).await;
    assert_eq!(retract(&store, &firm, "d", at(2)).await.len(), 1);
    assert_eq!(
        results_removed(&store, late).await,
        0,
        "the clinic has to take the draft out"
    );
    assert_eq!(store.retracted_drafts().await.unwrap().len(), 1);
    store
        .acknowledge_retraction(&firm, &made.assessment.id, late)
        .await
        .unwrap();
    assert_eq!(results_removed(&store, late).await, 1);
    is_gone(&store, &firm, &["d"], late).await;
}

/// Without a limit everything is kept.
pub(super) async fn without_a_limit_nothing_goes(bench: Bench) {
    let store = bench.store().await;
    one_result(&store).await;
    deliver(&store, at(1)).await;
    let before = store.records().await.unwrap();
    let removed = removed(&store, RetentionLimits::default(), at(0) + 9000 * LIFE).await;
    assert_eq!(removed, Removed::default());
    assert_eq!(store.records().await.unwrap(), before);
}

/// Records that something was read at so many seconds.
async fn read_at(store: &Store, firm: &FirmId, number: u64) {
    let record = AuditRecord {
        at: at(number),
        firm: firm.clone(),
        actor: "download-photo".to_owned(),
        action: AuditAction::PhotoRead,
        subject: number.to_string(),
    };
    store.record(&record).await.unwrap();
}

/// What is wrong with the chain of a firm, from where it was removed up to.
async fn faults(store: &Store, firm: &FirmId, anchors: &[AuditHead]) -> Vec<AuditFault> {
    let chains = store.audit_chains().await.unwrap();
    let of_it = chains.into_iter().find(|chain| chain.head.firm == *firm).unwrap();
    let mut verifier = ChainVerifier::new(of_it.base, anchors);
    for entry in chain(&**store, firm).await {
        verifier.entry(&entry);
    }
    let report = verifier.end();
    assert_eq!(report.head, of_it.head);
    report.faults
}

/// After its time, from the beginning, and it is said; again and again; and what is left still is a chain.
pub(super) async fn the_beginning_of_the_trail_goes_after_its_time(bench: Bench) {
    let store = bench.store().await;
    let firm = FirmId::new("a");
    for number in 0..6 {
        read_at(&store, &firm, number).await;
    }
    let early = chain(&*store, &firm).await[0].head();
    assert_eq!(entries_removed(&store, 100, at(99)).await, 0, "none is old enough");
    assert_eq!(entries_removed(&store, 100, at(101)).await, 2);
    assert_eq!(faults(&store, &firm, std::slice::from_ref(&early)).await, []);
    assert_eq!(store.records().await.unwrap().len(), 5);
    assert_eq!(entries_removed(&store, 100, at(101)).await, 0);
    let anchor = store.audit_chains().await.unwrap()[0].head.clone();
    // All that is left, and what was said of the first removal.
    assert_eq!(entries_removed(&store, 100, at(1000)).await, 5);
    read_at(&store, &firm, 1001).await;
    let entries = chain(&*store, &firm).await;
    let numbers: Vec<u64> = entries.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, [8, 9]);
    assert_eq!(entries[0].action, AuditAction::TrailShortened.as_str());
    assert_eq!(faults(&store, &firm, &[early, anchor.clone()]).await, []);
    let forged = AuditHead {
        hash: "1:0".into(),
        ..anchor
    };
    let found = faults(&store, &firm, &[forged]).await;
    assert_eq!(found, [AuditFault::NotAsAnchored { number: 7 }]);
}

/// What stands behind an entry that is not too old stays, whatever its time says: a clock may have been set back.
pub(super) async fn only_the_beginning_goes(bench: Bench) {
    let store = bench.store().await;
    let firm = FirmId::new("a");
    for number in [0, 500, 1, 2] {
        read_at(&store, &firm, number).await;
    }
    assert_eq!(entries_removed(&store, 100, at(150)).await, 1);
    let left: Vec<u64> = chain(&*store, &firm).await.iter().map(|entry| entry.number).collect();
    assert_eq!(left, [2, 3, 4, 5]);
    assert_eq!(faults(&store, &firm, &[]).await, []);
}

/// The installation's, and those of practices that were removed; each by its own entries. And all handles see the same.
pub(super) async fn every_chain_is_shortened(bench: Bench) {
    let handles = bench.0.fresh().await;
    let store = handles[0].clone();
    let gone = add_firm(&store, "gone").await;
    let stays = add_firm(&store, "stays").await;
    let chains = [gone.clone(), stays.clone(), installation()];
    for firm in &chains {
        for number in 0..300 {
            // More than one request deletes.
            read_at(&store, firm, if *firm == stays { 1000 } else { number }).await;
        }
    }
    store.remove_firm(&gone).await.unwrap();
    let other = handles[handles.len() - 1].clone();
    assert_eq!(entries_removed(&other, 100, at(398)).await, 2 * 299);
    for handle in &handles {
        for firm in &chains {
            assert_eq!(faults(handle, firm, &[]).await, [], "{firm}");
        }
    }
    assert_eq!(chain(&*store, &stays).await.len(), 300);
    // Who wrote into them before goes on, and so does whoever connects a practice of that name.
    add_firm(&store, "gone").await;
    for firm in &chains {
        read_at(&store, firm, 2000).await;
        assert_eq!(faults(&other, firm, &[]).await, [], "{firm}");
    }
    let left: Vec<u64> = chain(&*other, &gone).await.iter().map(|entry| entry.number).collect();
    assert_eq!(left, [300, 301, 302]);
}
