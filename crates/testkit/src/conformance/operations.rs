//! What operators see, housekeeping, and the audit trail.

use std::time::Duration;

use futures::FutureExt;
use skin_assist_core::{
    domain::{
        Cursor, DeadLetterSubject, DocumentId, DocumentStep, DocumentWatch, FirmId, FirmStatus, JourneyState, Route,
        Stage, WATCH_LIFE,
    },
    ports::{AuditAction, AuditRecord, DetectionLatency, PhotosOfHour, Queued, UncertainResolution},
    time::Timestamp,
};

use super::{
    Bench,
    fixtures::{
        REASON, Store, add_firm, at, document, document_lease, download, find_documents, findings, firm, firm_id,
        infer, journey, one_document, picture, record_documents, reference, result_key, result_lease, seconds,
        watch_encounters,
    },
};

const MILLISECOND: Duration = Duration::from_millis(1);

/// One photo in each state, in the firm `a`.
async fn one_of_each(store: &Store) {
    let firm = add_firm(store, "a").await;
    for end in [
        "delivered",
        "discarded",
        "uncertain",
        "withheld",
        "pending",
        "infer",
        "dead",
        "download",
    ] {
        find_documents(store, &firm, &[end], at(0)).await;
        match end {
            "download" => {}
            "dead" => {
                let lease = document_lease(store, DocumentStep::Download, at(0)).await;
                store
                    .bury_document(lease, Stage::DownloadPhoto, &REASON, at(0))
                    .await
                    .unwrap();
            }
            "infer" => download(store, at(0)).await,
            _ => {
                download(store, at(0)).await;
                infer(store, at(0)).await;
                if end == "pending" {
                    continue;
                }
                let lease = result_lease(store, at(0)).await;
                match end {
                    "delivered" => store.record_delivered(lease, &reference(1), at(0)).await.unwrap(),
                    "uncertain" => store.record_uncertain(lease, &REASON, at(0)).await.unwrap(),
                    "discarded" => {
                        let id = lease.item().assessment.id.clone();
                        store.record_uncertain(lease, &REASON, at(0)).await.unwrap();
                        let discard = UncertainResolution::Discard;
                        store.resolve(&firm, &id, &discard, at(0)).await.unwrap();
                    }
                    _ => store.record_withheld(lease, &REASON, at(0)).await.unwrap(),
                }
            }
        }
    }
}

pub(super) async fn overview_counts(bench: Bench) {
    let store = bench.store().await;
    one_of_each(&store).await;
    add_firm(&store, "b").await;
    let overviews = store.overview(at(1)).await.unwrap();
    assert_eq!(overviews.len(), 2, "every firm, in the order of their ids");
    for overview in &overviews {
        let of_one = store.firm_overview(&overview.firm.id, at(1)).await.unwrap();
        assert_eq!(of_one.as_ref(), Some(overview));
    }
    assert_eq!(store.firm_overview(&firm_id("nobody"), at(1)).await.unwrap(), None);
    let a = &overviews[0];
    assert_eq!(
        (&a.firm, a.cursor, &a.credential_refused),
        (&firm("a"), Some(Cursor(at(0))), &None)
    );
    assert_eq!(
        (
            a.watched_encounters,
            a.waiting_download,
            a.waiting_inference,
            a.waiting_delivery
        ),
        (1, 1, 1, 1)
    );
    assert_eq!((a.delivered, a.uncertain, a.withheld, a.dead_letters), (1, 1, 1, 1));
    let b = &overviews[1];
    assert_eq!((&b.firm, b.cursor), (&firm("b"), None));
    assert_eq!(
        (
            b.watched_encounters,
            b.waiting_download,
            b.waiting_inference,
            b.waiting_delivery
        ),
        (0, 0, 0, 0)
    );
    assert_eq!((b.delivered, b.uncertain, b.withheld, b.dead_letters), (0, 0, 0, 0));
}

/// Of photos found in the last 24 hours whose filing time the EHR tells, by nearest rank; each firm's own.
pub(super) async fn overview_tells_detection_latency(bench: Bench) {
    let store = bench.store().await;
    let (a, b) = (add_firm(&store, "a").await, add_firm(&store, "b").await);
    let detection = async |now: Timestamp| -> Vec<DetectionLatency> {
        let overviews = store.overview(now).await.unwrap();
        for overview in &overviews {
            let of_one = store.firm_overview(&overview.firm.id, now).await.unwrap();
            assert_eq!(of_one.as_ref(), Some(overview));
        }
        overviews.iter().map(|overview| overview.detection).collect()
    };
    assert_eq!(detection(at(100)).await, [DetectionLatency::default(); 2]);
    let found_after = |firm: &FirmId, id: String, latency: u64| {
        let mut found = document(firm, "e", &id, at(100));
        found.attached_at = Some(at(100 - latency));
        found
    };
    let mut found: Vec<DocumentWatch> = (1..=20)
        .map(|latency| found_after(&a, format!("d{latency}"), latency * 8 % 21))
        .collect();
    // By the EHR's clock it is filed only later; and one whose filing time nobody tells.
    let mut ahead = document(&a, "e", "ahead", at(100));
    ahead.attached_at = Some(at(104));
    let mut untold = document(&a, "e", "untold", at(100));
    untold.attached_at = None;
    found.extend([ahead, untold]);
    record_documents(&store, &a, &found, &[], at(100)).await;
    record_documents(&store, &b, &[found_after(&b, "d".to_owned(), 3)], &[], at(100)).await;
    let latencies = |photos, p50_ms, p95_ms| DetectionLatency { photos, p50_ms, p95_ms };
    let expected = [latencies(21, 10_000, 19_000), latencies(1, 3_000, 3_000)];
    assert_eq!(detection(at(100)).await, expected);
    let day = at(100) + WATCH_LIFE;
    assert_eq!(detection(day - MILLISECOND).await, expected);
    assert_eq!(detection(day).await, [DetectionLatency::default(); 2]);
}

pub(super) async fn journeys_tell_the_way(bench: Bench) {
    let store = bench.store().await;
    one_of_each(&store).await;
    let mut states: Vec<(String, JourneyState)> = Vec::new();
    for journey in store.journeys(None, Timestamp::ALWAYS, 100).await.unwrap() {
        states.push((journey.document.to_string(), journey.state));
    }
    states.sort_by(|one, other| one.0.cmp(&other.0));
    let expected = [
        ("dead", JourneyState::DeadLetter),
        ("delivered", JourneyState::Delivered),
        ("discarded", JourneyState::Discarded),
        ("download", JourneyState::Download),
        ("infer", JourneyState::Infer),
        ("pending", JourneyState::WriteBack),
        ("uncertain", JourneyState::Uncertain),
        ("withheld", JourneyState::Withheld),
    ];
    assert_eq!(states, expected.map(|(document, state)| (document.to_owned(), state)));

    let store = bench.store().await;
    let firm = one_document(&store).await;
    let lease = document_lease(&store, DocumentStep::Download, at(1)).await;
    store.record_photo(lease, &super::fixtures::photo(at(2))).await.unwrap();
    infer(&store, at(3)).await;
    let lease = result_lease(&store, at(4)).await;
    store.record_delivered(lease, &reference(7), at(5)).await.unwrap();
    let mut later = document(&firm, "e", "later", at(9));
    (later.route, later.attached_at) = (Route::Widespread, None);
    record_documents(&store, &firm, &[later], &[], at(9)).await;
    let journeys = store.journeys(None, Timestamp::ALWAYS, 100).await.unwrap();
    let names: Vec<&str> = journeys.iter().map(|journey| journey.document.as_str()).collect();
    assert_eq!(names, ["later", "d"], "latest first");
    assert_eq!((journeys[0].route, journeys[0].attached_at), (Route::Widespread, None));
    assert_eq!(
        (
            &journeys[0].top_finding,
            journeys[0].downloaded_at,
            journeys[0].assessed_at
        ),
        (&None, None, None)
    );
    let way = &journeys[1];
    assert_eq!(way.top_finding.as_deref(), Some("Melanocytic nevus"));
    assert_eq!((way.attached_at, way.detected_at), (Some(at(0) - seconds(5)), at(0)));
    assert_eq!(
        (way.downloaded_at, way.assessed_at, way.delivered_at),
        (Some(at(2)), Some(at(3)), Some(at(5)))
    );
    assert_eq!(
        (&way.reference, way.state, way.route),
        (&Some(reference(7)), JourneyState::Delivered, Route::Solitary)
    );
    assert_eq!(store.journeys(None, Timestamp::ALWAYS, 1).await.unwrap(), journeys[..1]);
}

pub(super) async fn journeys_of_one_firm_and_time(bench: Bench) {
    let store = bench.store().await;
    for (firm, found_at) in [("a", 1), ("b", 2), ("a", 3)] {
        if found_at < 3 {
            add_firm(&store, firm).await;
        }
        find_documents(&store, &firm_id(firm), &[format!("d{found_at}").as_str()], at(found_at)).await;
    }
    let listed = async |firm: Option<&FirmId>, since: u64, limit: usize| -> Vec<String> {
        let journeys = store.journeys(firm, at(since), limit).await.unwrap();
        journeys.iter().map(|journey| journey.document.to_string()).collect()
    };
    let (a, nobody) = (firm_id("a"), firm_id("nobody"));
    assert_eq!(listed(None, 0, 9).await, ["d3", "d2", "d1"]);
    assert_eq!(listed(None, 2, 9).await, ["d3", "d2"], "found then counts");
    assert_eq!(listed(Some(&a), 0, 9).await, ["d3", "d1"]);
    assert_eq!(listed(Some(&a), 2, 9).await, ["d3"]);
    assert_eq!(listed(Some(&a), 0, 1).await, ["d3"]);
    assert!(listed(Some(&nobody), 0, 9).await.is_empty());
}

/// As it is listed, of the firm that is asked for: two EHRs may name documents alike.
pub(super) async fn a_journey_is_found_by_its_photo(bench: Bench) {
    let store = bench.store().await;
    one_of_each(&store).await;
    add_firm(&store, "b").await;
    find_documents(&store, &firm_id("b"), &["delivered"], at(50)).await;
    let journeys = store.journeys(None, Timestamp::ALWAYS, 100).await.unwrap();
    assert!(journeys.len() > 7);
    for journey in journeys {
        let found = store.journey(&journey.firm, &journey.document).await.unwrap();
        assert_eq!(found.as_ref(), Some(&journey));
    }
    for (firm, document) in [("b", "download"), ("a", "unheard of"), ("nobody", "delivered")] {
        let found = store.journey(&firm_id(firm), &DocumentId::new(document)).await.unwrap();
        assert_eq!(found, None, "{document} of {firm}");
    }
}

pub(super) async fn photos_are_counted_by_hour(bench: Bench) {
    let store = bench.store().await;
    let hour = |number: u64| Timestamp::from_millis(1_800_000_000_000 + i64::try_from(number).unwrap() * 3_600_000);
    for (firm, found) in [
        ("a", [(0, "d1"), (0, "d2"), (2, "d3")]),
        ("b", [(0, "d1"), (1, "d2"), (2, "d3")]),
    ] {
        let firm = add_firm(&store, firm).await;
        for (number, document) in found {
            find_documents(&store, &firm, &[document], hour(number) + MILLISECOND).await;
        }
    }
    let counted = async |since: Timestamp| -> Vec<(String, Timestamp, u64)> {
        let counted = store.photos_by_hour(since).await.unwrap();
        let figures = |one: PhotosOfHour| (one.firm.to_string(), one.hour, one.photos);
        counted.into_iter().map(figures).collect()
    };
    let of = |firm: &str, number, photos| (firm.to_owned(), hour(number), photos);
    assert_eq!(
        counted(hour(0)).await,
        [
            of("a", 0, 2),
            of("a", 2, 1),
            of("b", 0, 1),
            of("b", 1, 1),
            of("b", 2, 1)
        ]
    );
    assert_eq!(counted(hour(1)).await, [of("a", 2, 1), of("b", 1, 1), of("b", 2, 1)]);
}

pub(super) async fn what_is_queued_is_listed(bench: Bench) {
    let store = bench.store().await;
    one_of_each(&store).await;
    let queued = async |limit: usize| -> Vec<(String, Stage, Timestamp, u32)> {
        let queued = store.queued(limit).await.unwrap();
        let item = |one: Queued| {
            assert_eq!(one.firm, firm_id("a"));
            let subject = match one.subject {
                DeadLetterSubject::Document(document) => document.to_string(),
                DeadLetterSubject::Result(_) => "a result".to_owned(),
            };
            (subject, one.stage, one.available_at, one.attempts)
        };
        queued.into_iter().map(item).collect()
    };
    let mut waiting = queued(9).await;
    waiting.sort_by(|one, other| one.0.cmp(&other.0));
    let of = |subject: &str, stage, available_at, attempts| (subject.to_owned(), stage, available_at, attempts);
    assert_eq!(
        waiting,
        [
            of("a result", Stage::WriteBack, at(0), 0),
            of("download", Stage::DownloadPhoto, at(0), 0),
            of("infer", Stage::Infer, at(0), 0),
        ],
        "what was delivered, given up or kept back waits for nothing"
    );
    let before = store.queued(9).await.unwrap();
    let lease = document_lease(&store, DocumentStep::Download, at(1)).await;
    let leased = store.queued(9).await.unwrap().pop().unwrap();
    assert_eq!(
        (leased.stage, leased.available_at, leased.attempts),
        (Stage::DownloadPhoto, lease.locked_until(), 1),
        "what is worked on comes last: it is available when its lease ends"
    );
    assert_eq!(leased.fence, lease.fence().0);
    assert!(
        before
            .iter()
            .any(|item| item.stage == Stage::DownloadPhoto && item.fence < leased.fence)
    );
    assert_eq!(queued(1).await.len(), 1);
    store.set_firm_status(&firm_id("a"), FirmStatus::Paused).await.unwrap();
    // A store may move what waits out of its queue only when somebody comes across it.
    for step in [DocumentStep::Download, DocumentStep::Infer] {
        assert!(
            store
                .acquire_documents(step, at(1), MILLISECOND, 9)
                .await
                .unwrap()
                .is_empty()
        );
    }
    assert!(store.acquire_results(at(1), MILLISECOND, 9).await.unwrap().is_empty());
    let waiting = queued(9).await;
    assert!(
        waiting.iter().all(|item| item.1 == Stage::DownloadPhoto),
        "but for what is worked on: {waiting:?}"
    );
}

pub(super) async fn a_result_is_found_by_its_name(bench: Bench) {
    let store = bench.store().await;
    let (firm, result) = super::fixtures::one_result(&store).await;
    let id = &result.assessment.id;
    assert_eq!(store.result(&firm, id).await.unwrap(), Some(result.clone()));
    assert_eq!(
        store.result(&firm_id("b"), id).await.unwrap(),
        None,
        "another firm's is not told"
    );
    let other = skin_assist_core::domain::AssessmentId::new("other");
    assert_eq!(store.result(&firm, &other).await.unwrap(), None);
    assert_eq!(journey(&store).await.assessment, *id);
}

/// Housekeeping: nothing depends on it.
pub(super) async fn a_sweep_changes_nothing_that_shows(bench: Bench) {
    let store = bench.store().await;
    let firm = one_document(&store).await;
    download(&store, at(0)).await;
    let lease = document_lease(&store, DocumentStep::Infer, at(0)).await;
    let key = result_key(&DocumentId::new("d"));
    store.record_findings(&lease, &key, &findings(), at(0)).await.unwrap();
    let soon = picture(&store, &firm, at(60)).await;
    store.sweep_expired(at(60)).await.unwrap();
    assert_eq!(picture(&store, &firm, at(60)).await, soon);
    assert_eq!(store.findings(&firm, &key).await.unwrap(), Some(findings()));

    // Days later, and polls have gone on since.
    let later = at(0) + 10 * WATCH_LIFE;
    watch_encounters(&store, &firm, &["other"], later).await;
    let journeys = store.journeys(None, Timestamp::ALWAYS, 10).await.unwrap();
    let watched = store.watch_list(&firm, later).await.unwrap();
    store.sweep_expired(later).await.unwrap();
    assert_eq!(
        store.journeys(None, Timestamp::ALWAYS, 10).await.unwrap(),
        journeys,
        "the history stays"
    );
    assert_eq!(store.watch_list(&firm, later).await.unwrap(), watched);
}

/// Append-only, oldest first, whatever the times say and whoever writes.
pub(super) async fn the_audit_trail_keeps_its_order(bench: Bench) {
    let handles = bench.0.fresh().await;
    let record = |actor: String, number: u64, action| AuditRecord {
        at: at(100 - number),
        firm: firm_id("a"),
        actor,
        action,
        subject: number.to_string(),
    };
    let actions = [
        AuditAction::PhotoRead,
        AuditAction::Inferred,
        AuditAction::DraftWritten,
        AuditAction::FirmChanged,
        AuditAction::Replayed,
        AuditAction::UncertainResolved,
    ];
    let mut expected = Vec::new();
    for (number, action) in actions.into_iter().enumerate() {
        expected.push(record("infer".into(), number as u64, action));
        handles[0].record(&expected[number]).await.unwrap();
    }
    assert_eq!(handles[0].records().await.unwrap(), expected);
    let actors = bench
        .race(&handles, 4, |store| {
            async move {
                let actor = format!("{:?}", std::thread::current().id());
                for number in 0..20 {
                    store
                        .record(&record(actor.clone(), number, AuditAction::PhotoRead))
                        .await
                        .unwrap();
                }
                actor
            }
            .boxed()
        })
        .await;
    let records = handles[0].records().await.unwrap();
    assert_eq!(records.len(), expected.len() + 80);
    assert_eq!(records[..expected.len()], expected);
    for actor in actors {
        let subjects: Vec<&str> = records
            .iter()
            .filter(|record| record.actor == actor)
            .map(|record| record.subject.as_str())
            .collect();
        assert!(
            subjects
                .chunks(20)
                .all(|chunk| chunk.iter().enumerate().all(|(place, it)| *it == place.to_string()))
        );
    }
}
