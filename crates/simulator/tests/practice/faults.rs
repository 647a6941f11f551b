//! What goes wrong on purpose.

use skin_assist_simulator::{CallKind, FailNext, PhotoFault, Reply};

use super::*;

#[test]
fn a_dropped_reply_hides_a_stored_draft() {
    let practice = Practice::new();
    let (patient, encounter, document) = visit_with_photo(&practice);
    let draft = composition(&practice, &patient, &encounter, &document);
    practice.ehr.set_faults(|faults| faults.drop_composition_replies = 1);
    assert!(matches!(practice.post(later(120), &draft).reply, Reply::Dropped));
    assert_eq!(practice.ehr.report().photos[0].drafts.len(), 1);
    assert!(matches!(practice.post(later(121), &draft).reply, Reply::Response(_)));
}

#[test]
fn calls_fail_by_kind_and_number() {
    let practice = Practice::new();
    practice.ehr.set_faults(|faults| {
        faults.failures = vec![
            FailNext {
                kind: CallKind::Encounter,
                status: StatusCode::TOO_MANY_REQUESTS,
                remaining: 1,
            },
            FailNext {
                kind: CallKind::Encounter,
                status: StatusCode::BAD_GATEWAY,
                remaining: 1,
            },
        ];
    });
    assert_eq!(practice.get(morning(), "metadata").0, StatusCode::OK);
    let statuses: Vec<StatusCode> = (0..3).map(|_| practice.get(morning(), "Encounter").0).collect();
    assert_eq!(
        statuses,
        [StatusCode::TOO_MANY_REQUESTS, StatusCode::BAD_GATEWAY, StatusCode::OK]
    );
    let report = practice.ehr.report();
    assert_eq!((report.refused_429, report.calls.encounter), (1, 2));
}

#[test]
fn an_outage_is_everywhere() {
    let practice = Practice::new();
    let (_, _, document) = visit_with_photo(&practice);
    let url = practice.photo_url(later(61), &document);
    practice.ehr.set_faults(|faults| faults.outage = true);
    assert_eq!(practice.get(later(62), "Encounter").0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        practice.fetch(later(62), &url).status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(token(&practice.ehr, later(62), &practice.credentials), None);
    practice.ehr.set_faults(|faults| faults.outage = false);
    assert_eq!(practice.get(later(63), "Encounter").0, StatusCode::OK);
}

#[test]
fn replies_are_late_by_kind() {
    let practice = Practice::new();
    let delay = Duration::from_millis(700);
    practice.ehr.set_faults(|faults| {
        faults.delays.insert(CallKind::Encounter, delay);
    });
    let handle = |path: &str| {
        let request = practice.request("GET", path, Bytes::new());
        practice.ehr.handle(morning(), Host::Api, &request).after
    };
    assert_eq!(handle("Encounter"), delay);
    assert_eq!(handle("metadata"), Duration::ZERO);
}

#[test]
fn files_are_broken_in_several_ways() {
    let practice = Practice::new();
    let (_, _, document) = visit_with_photo(&practice);
    let url = practice.photo_url(later(61), &document);
    let whole = practice.fetch(later(62), &url).into_body();
    let broken = |fault: PhotoFault| {
        practice.ehr.set_photo_fault("alpha", &document, Some(fault)).unwrap();
        practice.fetch(later(62), &url)
    };
    assert_eq!(broken(PhotoFault::Truncated).body().len(), whole.len() / 2);
    assert!(broken(PhotoFault::NotAnImage).body().starts_with(b"<!doctype"));
    assert_eq!(broken(PhotoFault::Oversize { bytes: 3 << 20 }).body().len(), 3 << 20);
    assert_eq!(broken(PhotoFault::Missing).status(), StatusCode::NOT_FOUND);
    let bomb = broken(PhotoFault::HugeDimensions).into_body();
    assert_eq!(bomb.len(), whole.len());
    let differing = bomb.iter().zip(&whole).filter(|(left, right)| left != right).count();
    assert!((1..=4).contains(&differing), "only the frame header's four bytes");
}
