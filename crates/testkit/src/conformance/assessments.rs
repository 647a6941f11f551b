//! Photos of one visit and category that are judged together: closed under the lease of one of them, and opened again when one
//! of them leaves.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::FutureExt;
use skin_assist_core::{
    domain::{
        Assessment, AssessmentId, AssistResult, CategoryCode, ClosedAssessment, DocumentId, DocumentStep,
        DocumentWatch, FirmId, Gathering, JourneyState, PatientId, PhotoFindings, Route, SiblingState, Stage, gather,
    },
    lease::Lease,
    phi::Phi,
    ports::{StateError, UncertainResolution},
    time::Timestamp,
};

use super::{
    Bench,
    fixtures::{
        LEASE, REASON, Store, acquired, add_firm, at, document, document_lease, download, encounter_lease, findings,
        photo, record_documents, reference, result, result_lease, results_due, retract, watch_encounters,
    },
};

const MILLISECOND: Duration = Duration::from_millis(1);

/// Further photos are waited for until 30.
fn gathering(firm: &FirmId, id: &str) -> DocumentWatch {
    DocumentWatch {
        route: Route::Widespread,
        gathers_until: Some(at(30)),
        ..document(firm, "e", id, at(0))
    }
}

/// A state with the firm `a` and these photos, found and downloaded at 0.
async fn downloaded(store: &Store, ids: &[&str]) -> FirmId {
    let firm = add_firm(store, "a").await;
    let watches: Vec<DocumentWatch> = ids.iter().map(|id| gathering(&firm, id)).collect();
    record_documents(store, &firm, &watches, &[], at(0)).await;
    download_all(store).await;
    firm
}

async fn download_all(store: &Store) {
    let leases = store
        .acquire_documents(DocumentStep::Download, at(0), LEASE, 100)
        .await
        .unwrap();
    for lease in leases {
        store.record_photo(lease, &photo(at(0))).await.unwrap();
    }
}

/// Leases one photo of those at the models, and gives the others back.
async fn lease_of(store: &Store, id: &str, now: u64) -> Lease<DocumentWatch> {
    let leases = store
        .acquire_documents(DocumentStep::Infer, at(now), LEASE, 100)
        .await
        .unwrap();
    let mut wanted = None;
    for lease in leases {
        if lease.item().document.as_str() == id {
            wanted = Some(lease);
        } else {
            store.release_document(lease, at(now)).await.unwrap();
        }
    }
    wanted.unwrap_or_else(|| panic!("{id} waits for the models"))
}

fn closed(lead: &DocumentWatch, companions: &[&str]) -> ClosedAssessment {
    let companions: BTreeSet<DocumentId> = companions.iter().copied().map(DocumentId::new).collect();
    let mut all = companions.clone();
    all.insert(lead.document.clone());
    ClosedAssessment {
        id: Assessment::identity(&lead.firm, &lead.encounter, &all),
        companions,
        earlier: Some(AssessmentId::new("earlier")),
    }
}

/// `a` leads an assessment with these.
async fn close(store: &Store, companions: &[&str]) -> (Lease<DocumentWatch>, ClosedAssessment) {
    let lease = lease_of(store, "a", 30).await;
    let closed = closed(lease.item(), companions);
    assert!(store.close_assessment(&lease, &closed).await.unwrap());
    (lease, closed)
}

fn result_of(lead: &DocumentWatch, closed: &ClosedAssessment, text: &str) -> AssistResult {
    let mut made = result(lead, text, at(31));
    made.assessment.id = closed.id.clone();
    made.assessment.documents.extend(closed.companions.iter().cloned());
    made
}

async fn state_of(store: &Store, id: &str) -> JourneyState {
    let journeys = store.journeys(None, Timestamp::ALWAYS, 100).await.unwrap();
    let journey = journeys.iter().find(|journey| journey.document.as_str() == id);
    journey.expect("the photo is known").state
}

pub(super) async fn a_photo_waits_for_further_ones(bench: Bench) {
    let store = bench.store().await;
    downloaded(&store, &["a"]).await;
    assert!(
        acquired(&store, DocumentStep::Infer, at(30) - MILLISECOND)
            .await
            .is_empty()
    );
    let lease = document_lease(&store, DocumentStep::Infer, at(30)).await;
    assert_eq!(
        (lease.item().gathers_until, &lease.item().closed),
        (Some(at(30)), &None)
    );

    // One that comes late waits no longer than it has to.
    let store = bench.store().await;
    let firm = add_firm(&store, "a").await;
    record_documents(&store, &firm, &[gathering(&firm, "late")], &[], at(0)).await;
    let lease = document_lease(&store, DocumentStep::Download, at(40)).await;
    store.record_photo(lease, &photo(at(41))).await.unwrap();
    document_lease(&store, DocumentStep::Infer, at(41)).await;
}

pub(super) async fn siblings_tell_how_they_stand(bench: Bench) {
    let store = bench.store().await;
    let firm = downloaded(&store, &["a", "ready", "led", "leads", "dead", "done"]).await;
    let lease = lease_of(&store, "dead", 30).await;
    store.bury_document(lease, Stage::Infer, &REASON, at(30)).await.unwrap();
    let lease = lease_of(&store, "done", 30).await;
    let made = result(lease.item(), "done", at(30));
    store.record_result(lease, &made).await.unwrap();
    let lease = lease_of(&store, "leads", 30).await;
    let of_two = closed(lease.item(), &["led"]);
    assert!(store.close_assessment(&lease, &of_two).await.unwrap());
    let others = [
        gathering(&firm, "awaited"),
        gathering(&firm, "gone"),
        document(&firm, "e", "by itself", at(0)),
        DocumentWatch {
            category: CategoryCode::new("other"),
            ..gathering(&firm, "of another category")
        },
        DocumentWatch {
            route: Route::Solitary,
            ..gathering(&firm, "of another route")
        },
    ];
    record_documents(&store, &firm, &others, &[], at(0)).await;
    retract(&store, &firm, "gone", at(1)).await;

    let lead = lease_of(&store, "a", 30).await;
    let siblings = store.siblings(lead.item()).await.unwrap();
    let mut states: Vec<_> = siblings
        .iter()
        .map(|sibling| (sibling.watch.document.as_str(), sibling.state))
        .collect();
    states.sort_by_key(|(document, _)| *document);
    assert_eq!(
        states,
        [
            ("awaited", SiblingState::Awaited),
            ("dead", SiblingState::Gone),
            ("done", SiblingState::Closed),
            ("gone", SiblingState::Gone),
            ("leads", SiblingState::Closed),
            ("led", SiblingState::Closed),
            ("ready", SiblingState::Ready),
        ]
    );
    let of = |id: &str| siblings.iter().find(|sibling| sibling.watch.document.as_str() == id);
    assert_eq!(of("ready").unwrap().watch.photo, Some(photo(at(0))));
    assert_eq!(of("led").unwrap().watch.assessment, of_two.id);
    assert_eq!(of("leads").unwrap().watch.closed, Some(of_two));
}

pub(super) async fn what_is_closed_is_finished_by_one_result(bench: Bench) {
    let store = bench.store().await;
    let firm = downloaded(&store, &["a", "b", "c"]).await;
    let leases = store
        .acquire_documents(DocumentStep::Infer, at(30), LEASE, 100)
        .await
        .unwrap();
    let mut leases: BTreeMap<String, Lease<DocumentWatch>> = leases
        .into_iter()
        .map(|lease| (lease.item().document.to_string(), lease))
        .collect();
    let (lead, other) = (leases.remove("a").unwrap(), leases.remove("b").unwrap());
    // While somebody else is about to do the same.
    let of_three = closed(lead.item(), &["b", "c"]);
    assert!(store.close_assessment(&lead, &of_three).await.unwrap());
    let outcome = store.release_document(other, at(31)).await;
    assert!(matches!(outcome, Err(StateError::LeaseLost)), "{outcome:?}");
    assert!(acquired(&store, DocumentStep::Infer, at(59)).await.is_empty());
    for id in ["a", "b", "c"] {
        assert_eq!(state_of(&store, id).await, JourneyState::Infer);
    }
    assert_eq!(store.overview(at(31)).await.unwrap()[0].waiting_inference, 3);

    // Looks are counted of each photo, under the one lease.
    for (document, looks) in [("b", 1), ("b", 2), ("c", 1), ("a", 1)] {
        let counted = store.count_look(&lead, &DocumentId::new(document)).await.unwrap();
        assert_eq!(counted, looks, "{document}");
    }

    // A crash: whoever comes next leads the same assessment.
    drop(lead);
    let lead = document_lease(&store, DocumentStep::Infer, at(90)).await;
    assert_eq!(lead.item().closed.as_ref(), Some(&of_three));
    assert_eq!(lead.item().assessment, of_three.id);
    let mut made = result_of(lead.item(), &of_three, "all");
    made.photo_findings = Phi::new(vec![PhotoFindings {
        document: DocumentId::new("b"),
        findings: findings().into_exposed(),
    }]);
    store.record_result(lead, &made).await.unwrap();
    assert!(acquired(&store, DocumentStep::Infer, at(10_000)).await.is_empty());
    for id in ["a", "b", "c"] {
        assert_eq!(state_of(&store, id).await, JourneyState::WriteBack);
    }
    let lease = result_lease(&store, at(91)).await;
    assert_eq!(lease.item(), &made, "it comes back as it was recorded");
    store.record_delivered(lease, &reference(1), at(92)).await.unwrap();
    assert_eq!(state_of(&store, "c").await, JourneyState::Delivered);
    // One draft about three photos: one alarm for each retraction noticed is one alarm.
    assert_eq!(retract(&store, &firm, "c", at(93)).await.len(), 1);
    // The others, which one look shows together; and looks show them again and again.
    for now in [94, 95] {
        let recorded = record_documents(&store, &firm, &[], &["c", "b", "a"], at(now)).await;
        assert_eq!(recorded.retracted.len(), 0);
    }
    assert_eq!(state_of(&store, "a").await, JourneyState::Delivered);
}

pub(super) async fn what_is_not_ready_closes_nothing(bench: Bench) {
    for obstacle in ["in download", "leads", "led", "retracted", "unknown"] {
        let store = bench.store().await;
        let firm = downloaded(&store, &["a", "b", "c", "d"]).await;
        let mut names = vec!["b", "c"];
        match obstacle {
            "in download" => {
                let lease = lease_of(&store, "c", 30).await;
                let lost = [DocumentId::new("c")];
                store.record_photo_lost(lease, &lost, at(30)).await.unwrap();
            }
            "leads" | "led" => {
                let (leads, led) = if obstacle == "leads" { ("c", "d") } else { ("d", "c") };
                let lease = lease_of(&store, leads, 30).await;
                let of_two = closed(lease.item(), &[led]);
                assert!(store.close_assessment(&lease, &of_two).await.unwrap());
            }
            "retracted" => drop(retract(&store, &firm, "c", at(29)).await),
            _ => names.push("no such photo"),
        }
        let lease = lease_of(&store, "a", 30).await;
        let all = closed(lease.item(), &names);
        assert!(!store.close_assessment(&lease, &all).await.unwrap(), "{obstacle}");
        // Nothing was written: the lease is good, and `b` waits as it did.
        store.release_document(lease, at(30)).await.unwrap();
        let lease = lease_of(&store, "b", 30).await;
        assert_eq!(lease.item().closed, None, "{obstacle}");
        let of_two = closed(lease.item(), &["a"]);
        assert!(store.close_assessment(&lease, &of_two).await.unwrap(), "{obstacle}");
    }
}

/// Each photo ends in one assessment, whoever is at the models first.
pub(super) async fn concurrent_workers_judge_each_photo_once(bench: Bench) {
    let handles = bench.0.fresh().await;
    let names: Vec<String> = (0..12).map(|number| format!("d{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    downloaded(&handles[0], &names).await;
    let judged = bench
        .race(&handles, 4, |store| {
            async move {
                let mut mine = Vec::new();
                for turn in 0..200 {
                    let leases = store
                        .acquire_documents(DocumentStep::Infer, at(30), LEASE, 1)
                        .await
                        .unwrap();
                    let Some(lease) = leases.into_iter().next() else {
                        // Others may still give one back.
                        if turn > 20 {
                            break;
                        }
                        continue;
                    };
                    let siblings = store.siblings(lease.item()).await.unwrap();
                    let now = at(30);
                    let Gathering::Close { closed, .. } = gather(lease.item(), at(30), &siblings, now) else {
                        panic!("the window has passed, and all bytes are there")
                    };
                    match store.close_assessment(&lease, &closed).await {
                        Ok(true) => {
                            let made = result_of(lease.item(), &closed, "judged");
                            mine.extend(made.assessment.documents.iter().cloned());
                            store.record_result(lease, &made).await.unwrap();
                        }
                        Ok(false) => match store.release_document(lease, now).await {
                            Ok(()) | Err(StateError::LeaseLost) => {}
                            Err(error) => panic!("{error}"),
                        },
                        Err(StateError::LeaseLost) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                mine
            }
            .boxed()
        })
        .await;
    let judged: Vec<_> = judged.into_iter().flatten().collect();
    assert_eq!(judged.len(), 12, "each photo is judged, and none twice: {judged:?}");
    assert_eq!(judged.iter().collect::<BTreeSet<_>>().len(), 12);
}

pub(super) async fn lost_bytes_open_it_again(bench: Bench) {
    let store = bench.store().await;
    downloaded(&store, &["a", "b", "c"]).await;
    let (lease, _) = close(&store, &["b", "c"]).await;
    let own = document(&lease.item().firm, "e", "a", at(0)).assessment;
    store
        .record_photo_lost(lease, &[DocumentId::new("b")], at(31))
        .await
        .unwrap();
    assert_eq!(acquired(&store, DocumentStep::Download, at(31)).await, ["b"]);
    let lease = lease_of(&store, "a", 31).await;
    assert_eq!((&lease.item().closed, &lease.item().assessment), (&None, &own));
    let siblings = store.siblings(lease.item()).await.unwrap();
    let ready = siblings.iter().filter(|sibling| sibling.state == SiblingState::Ready);
    assert_eq!(ready.count(), 1, "c waits for itself");
}

/// Nothing of a retracted photo is delivered; the others are judged without it.
pub(super) async fn a_retracted_photo_leaves(bench: Bench) {
    for (gone, left) in [("b", ["a", "c"]), ("a", ["b", "c"])] {
        for stands in ["at the models", "pending", "withheld", "given up"] {
            let store = bench.store().await;
            let firm = downloaded(&store, &["a", "b", "c"]).await;
            let (lease, closed) = close(&store, &["b", "c"]).await;
            let made = result_of(lease.item(), &closed, "all three");
            let lease = if stands == "at the models" {
                Some(lease)
            } else {
                store.record_result(lease, &made).await.unwrap();
                None
            };
            if stands == "withheld" || stands == "given up" {
                let lease = result_lease(&store, at(31)).await;
                match stands {
                    "withheld" => store.record_withheld(lease, &REASON, at(31)).await.unwrap(),
                    _ => store.bury_delivery(lease, &REASON, at(31)).await.unwrap(),
                }
            }
            assert!(retract(&store, &firm, gone, at(32)).await.is_empty());
            if let Some(lease) = lease {
                let outcome = store.record_result(lease, &made).await;
                assert!(matches!(outcome, Err(StateError::LeaseLost)), "{outcome:?}");
            }
            assert_eq!(results_due(&store, at(1000)).await, 0, "{gone} {stands}");
            assert!(store.dead_letters().await.unwrap().is_empty());
            assert_eq!(state_of(&store, gone).await, JourneyState::Retracted);
            let lease = lease_of(&store, left[0], 32).await;
            assert_eq!(lease.item().closed, None, "{gone} {stands}");
            let of_two = self::closed(lease.item(), &left[1..]);
            assert!(store.close_assessment(&lease, &of_two).await.unwrap());
            let made = result_of(lease.item(), &of_two, "the other two");
            store.record_result(lease, &made).await.unwrap();
            assert_eq!(
                result_lease(&store, at(33)).await.item().assessment.documents.len(),
                2,
                "{gone} {stands}"
            );
        }
    }
}

/// Where the post was under way, what became of it decides.
pub(super) async fn a_photo_retracted_during_the_post_leaves_if_it_failed(bench: Bench) {
    for end in ["retried", "given up", "posted again", "resolved"] {
        let store = bench.store().await;
        let firm = downloaded(&store, &["a", "b", "c"]).await;
        let (lease, closed) = close(&store, &["b", "c"]).await;
        let made = result_of(lease.item(), &closed, "all three");
        store.record_result(lease, &made).await.unwrap();
        let lease = result_lease(&store, at(31)).await;
        store.record_intent(&lease, None, at(31)).await.unwrap();
        assert_eq!(retract(&store, &firm, "b", at(32)).await.len(), 1);
        assert_eq!(retract(&store, &firm, "a", at(32)).await.len(), 0);
        assert!(acquired(&store, DocumentStep::Infer, at(32)).await.is_empty());
        match end {
            "retried" => store.retry_delivery(lease, at(33)).await.unwrap(),
            "given up" => store.bury_delivery(lease, &REASON, at(33)).await.unwrap(),
            "posted again" => {
                store.retry_search(lease, at(33)).await.unwrap();
                let lease = result_lease(&store, at(33)).await;
                let outcome = store.record_intent(&lease, None, at(33)).await;
                assert!(matches!(outcome, Err(StateError::LeaseLost)), "{outcome:?}");
            }
            _ => {
                store.record_uncertain(lease, &REASON, at(33)).await.unwrap();
                store
                    .resolve(&firm, &closed.id, &UncertainResolution::PostAgain, at(33))
                    .await
                    .unwrap();
            }
        }
        assert_eq!(results_due(&store, at(1000)).await, 0, "{end}");
        assert_eq!(acquired(&store, DocumentStep::Infer, at(33)).await, ["c"], "{end}");
        assert_eq!(state_of(&store, "a").await, JourneyState::Retracted, "{end}");
        assert_eq!(state_of(&store, "b").await, JourneyState::Retracted, "{end}");
    }
}

pub(super) async fn what_is_given_up_sets_the_others_free(bench: Bench) {
    let store = bench.store().await;
    let firm = downloaded(&store, &["a", "b", "c"]).await;
    let (lease, _) = close(&store, &["b", "c"]).await;
    assert!(acquired(&store, DocumentStep::Infer, at(31)).await.is_empty());
    store.bury_document(lease, Stage::Infer, &REASON, at(31)).await.unwrap();
    assert_eq!(state_of(&store, "a").await, JourneyState::DeadLetter);
    let mut free = acquired(&store, DocumentStep::Infer, at(31)).await;
    free.sort();
    assert_eq!(free, ["b", "c"]);
    let letters = store.dead_letters().await.unwrap();
    assert_eq!(letters.len(), 1);
    let waiting = store.overview(at(31)).await.unwrap();
    assert_eq!(waiting[0].waiting_inference, 2);

    // One of them is retracted: what was given up stays so, and the rest goes on.
    retract(&store, &firm, "b", at(34)).await;
    assert_eq!(state_of(&store, "a").await, JourneyState::DeadLetter);
    store.replay(letters[0].id, at(35)).await.unwrap();
    let lease = document_lease(&store, DocumentStep::Infer, at(35)).await;
    assert_eq!((lease.item().document.as_str(), &lease.item().closed), ("a", &None));
}

pub(super) async fn an_earlier_draft_is_one_in_the_chart_or_on_its_way(bench: Bench) {
    for (stands, is_one) in [
        ("pending", true),
        ("intended", true),
        ("delivered", true),
        ("uncertain", true),
        ("withheld", false),
        ("given up", false),
        ("retracted", false),
    ] {
        let store = bench.store().await;
        let firm = downloaded(&store, &["a"]).await;
        let (lease, closed) = close(&store, &[]).await;
        let made = result_of(lease.item(), &closed, "one");
        assert_eq!(store.earlier_draft(&firm, &closed.id).await.unwrap(), None);
        store.record_result(lease, &made).await.unwrap();
        let lease = result_lease(&store, at(31)).await;
        match stands {
            "pending" => store.release_delivery(lease, at(32)).await.unwrap(),
            "intended" => store.record_intent(&lease, None, at(32)).await.unwrap(),
            "delivered" => store.record_delivered(lease, &reference(1), at(32)).await.unwrap(),
            "uncertain" => store.record_uncertain(lease, &REASON, at(32)).await.unwrap(),
            "withheld" => store.record_withheld(lease, &REASON, at(32)).await.unwrap(),
            "given up" => store.bury_delivery(lease, &REASON, at(32)).await.unwrap(),
            _ => drop(retract(&store, &firm, "a", at(32)).await),
        }
        let earlier = store.earlier_draft(&firm, &closed.id).await.unwrap();
        assert_eq!(earlier.is_some(), is_one, "{stands}");
        if let Some(earlier) = earlier {
            assert_eq!((earlier.assessment, earlier.date), (closed.id, at(31)));
        }
    }
}

pub(super) async fn a_later_photo_names_the_latest_draft_before_it(bench: Bench) {
    let store = bench.store().await;
    let firm = add_firm(&store, "a").await;
    watch_encounters(&store, &firm, &["e", "f"], at(0)).await;
    let judge = async |watch: DocumentWatch, now: Timestamp| {
        let lease = encounter_lease(&store, &firm, watch.encounter.as_str(), now).await;
        store.record_documents(lease, &[watch], &[], now).await.unwrap();
        download(&store, now).await;
        let lease = document_lease(&store, DocumentStep::Infer, now).await;
        let made = result(lease.item(), "one", now);
        store.record_result(lease, &made).await.unwrap();
        made.assessment.id
    };
    let first = judge(document(&firm, "e", "a", at(0)), at(10)).await;
    let second = judge(document(&firm, "e", "b", at(5)), at(20)).await;
    // Another visit, another category, another patient, and one for which further photos were waited.
    judge(document(&firm, "f", "c", at(0)), at(21)).await;
    let mut other = document(&firm, "e", "d", at(0));
    other.category = CategoryCode::new("another");
    judge(other, at(22)).await;
    let mut other = document(&firm, "e", "e", at(0));
    other.patient = PatientId::new("another");
    judge(other, at(23)).await;
    let earlier = async |detected_at: Timestamp| {
        let watch = document(&firm, "e", "z", detected_at);
        let earlier = store.draft_before(&watch).await.unwrap();
        earlier.map(|earlier| (earlier.assessment, earlier.date))
    };
    assert_eq!(earlier(at(10)).await, None, "they were found before there was a draft");
    assert_eq!(earlier(at(11)).await, Some((first.clone(), at(10))));
    assert_eq!(earlier(at(30)).await, Some((second.clone(), at(20))), "the latest");
    // One that is kept back is no earlier draft, and neither is one that was cancelled.
    for lease in store.acquire_results(at(30), LEASE, 10).await.unwrap() {
        if lease.item().assessment.id == second {
            store.record_withheld(lease, &REASON, at(30)).await.unwrap();
        } else {
            store.release_delivery(lease, at(31)).await.unwrap();
        }
    }
    assert_eq!(earlier(at(30)).await, Some((first.clone(), at(10))));
    assert!(store.delivery_of(&firm, &first).await.unwrap().is_some());
    retract(&store, &firm, "a", at(32)).await;
    assert_eq!(earlier(at(30)).await, None);
    assert_eq!(store.delivery_of(&firm, &first).await.unwrap(), None, "cancelled");
}

/// Who discards a draft decides about all its photos: one that is retracted later does not bring the others back.
pub(super) async fn what_an_operator_discarded_stays_discarded(bench: Bench) {
    let store = bench.store().await;
    let firm = downloaded(&store, &["a", "b", "c"]).await;
    let (lease, closed) = close(&store, &["b", "c"]).await;
    let made = result_of(lease.item(), &closed, "all three");
    store.record_result(lease, &made).await.unwrap();
    let lease = result_lease(&store, at(31)).await;
    store.record_intent(&lease, None, at(31)).await.unwrap();
    store.record_uncertain(lease, &REASON, at(32)).await.unwrap();
    store
        .resolve(&firm, &closed.id, &UncertainResolution::Discard, at(33))
        .await
        .unwrap();
    for photo in ["b", "a"] {
        assert_eq!(retract(&store, &firm, photo, at(34)).await, [], "nobody is alarmed");
        assert!(acquired(&store, DocumentStep::Infer, at(1000)).await.is_empty());
        assert_eq!(results_due(&store, at(1000)).await, 0);
    }
}
