//! What cases are made of: one firm, its encounters, its photos, and the short ways to get them into a state.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use skin_assist_core::{
    domain::{
        AccessToken, AgeBand, AssessedPhoto, Assessment, AssessmentId, AssistResult, CategoryCode, CategoryUse,
        ClassProbability, Cursor, Delivery, DocumentId, DocumentStep, DocumentWatch, DraftNote, DraftReference,
        Encounter, EncounterId, EncounterStatus, EncounterWatch, Findings, Firm, FirmId, FirmStatus, ImageFacts,
        IssuedToken, Journey, Label, Mode, ModelVersion, NewCredential, NormalisedBox, NoteRegion, NoteSection,
        PatientId, PhotoBytes, PhotoDigest, PractitionerId, Quality, Reason, Region, ResultKey, Route, StoredPhoto,
        Versions, WatchList,
    },
    lease::Lease,
    phi::{Phi, Secret},
    ports::{Changes, Look, RecordedDocuments, RetractedDraft, StateStore},
    time::Timestamp,
};

pub(super) type Store = Arc<dyn StateStore>;

/// How long the leases of the cases last.
pub(super) const LEASE: Duration = Duration::from_secs(30);

pub(super) const REASON: Reason = Reason::new("test.reason", "this is a test");

/// A time of the cases' day: seconds after eight.
pub(super) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_767_600_000_000) + Duration::from_secs(seconds)
}

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn firm_id(id: &str) -> FirmId {
    FirmId::new(id)
}

pub(super) fn firm(id: &str) -> Firm {
    Firm {
        id: firm_id(id),
        url_prefix: format!("{id}-prefix"),
        status: FirmStatus::Active,
        mode: Mode::Draft,
        intended_use: None,
        categories: BTreeMap::from([(CategoryCode::new("clinical-photo"), CategoryUse::Solitary)]),
        api_key: None,
        connected_at: at(0),
        photos_since: at(0),
    }
}

/// A credential by secret: `{id}-client` and `{id}-secret`.
pub(super) fn secret(id: &str) -> NewCredential {
    NewCredential::secret(format!("{id}-client"), Secret::new(format!("{id}-secret")))
}

/// What an endpoint issues: a token for the time from 0 to `until` seconds, without a refresh token.
pub(super) fn issued(text: &str, until: u64) -> IssuedToken {
    IssuedToken {
        access: AccessToken {
            secret: Secret::new(text.to_owned()),
            issued_at: at(0),
            expires_at: at(until),
        },
        refresh_token: None,
    }
}

pub(super) async fn add_firm(store: &Store, id: &str) -> FirmId {
    store.add_firm(&firm(id), &secret(id)).await.unwrap();
    firm_id(id)
}

pub(super) fn encounter(id: &str, last_updated: Option<Timestamp>) -> Encounter {
    Encounter {
        id: EncounterId::new(id),
        patient: PatientId::new(format!("patient-of-{id}")),
        practitioner: Some(PractitionerId::new("practitioner-1")),
        status: EncounterStatus::Open,
        last_updated,
    }
}

/// Records encounters as a poll at `now` that saw versions of `now`, and leaves the cursor at `now`.
pub(super) async fn watch_encounters(store: &Store, firm: &FirmId, ids: &[&str], now: Timestamp) {
    let expected = store.cursor(firm).await.unwrap();
    let seen: Vec<Encounter> = ids.iter().map(|id| encounter(id, Some(now))).collect();
    store
        .record_encounters(firm, expected, Cursor(now), &seen, now)
        .await
        .unwrap();
}

pub(super) fn document(firm: &FirmId, encounter: &str, id: &str, detected_at: Timestamp) -> DocumentWatch {
    let (document, encounter) = (DocumentId::new(id), EncounterId::new(encounter));
    DocumentWatch {
        firm: firm.clone(),
        assessment: Assessment::identity(firm, &encounter, [&document]),
        patient: PatientId::new(format!("patient-of-{encounter}")),
        document,
        encounter,
        practitioner: Some(PractitionerId::new("practitioner-1")),
        category: CategoryCode::new("clinical-photo"),
        route: Route::Solitary,
        attached_at: Some(detected_at - seconds(5)),
        detected_at,
        gathers_until: None,
        closed: None,
        photo: None,
    }
}

/// Leases one watched encounter.
pub(super) async fn encounter_lease(store: &Store, firm: &FirmId, id: &str, now: Timestamp) -> Lease<EncounterWatch> {
    let mut leases = store
        .acquire_encounters(firm, &[EncounterId::new(id)], now, LEASE)
        .await
        .unwrap();
    assert_eq!(leases.len(), 1, "the encounter is watched and free");
    leases.remove(0)
}

/// The firm's encounters under watch at `now`.
pub(super) async fn watching(store: &Store, firm: &FirmId, now: Timestamp) -> Vec<EncounterWatch> {
    let list = store.watch_list(firm, now).await.unwrap();
    list.into_iter().map(|watched| watched.watch).collect()
}

/// Leases the one watch list that is free.
pub(super) async fn watch_list_lease(store: &Store, now: Timestamp) -> Lease<WatchList> {
    let mut leases = store.acquire_watch_lists(now, LEASE, 100).await.unwrap();
    assert_eq!(leases.len(), 1, "one watch list is free");
    leases.remove(0)
}

/// What a look at an encounter showed.
pub(super) fn look(encounter: &str, found: &[&DocumentWatch], retracted: &[&str]) -> Look {
    Look {
        encounter: EncounterId::new(encounter),
        at: at(0),
        found: found.iter().copied().cloned().collect(),
        retracted: retracted.iter().copied().map(DocumentId::new).collect(),
    }
}

/// What a search for all changed documents showed that found nothing, where the documents' cursor is now, and moves it to
/// `next`.
pub(super) async fn changes(store: &Store, firm: &FirmId, next: Timestamp) -> Changes {
    let firm = store.firm(firm).await.unwrap().unwrap();
    Changes {
        looks: Vec::new(),
        retracted: Vec::new(),
        as_of: next,
        from: store.documents_cursor(&firm).await.unwrap(),
        categories: firm.categories,
        next: Cursor(next),
    }
}

/// Records documents as found at `now` under the encounter `e`, which is watched for it if it is not.
pub(super) async fn find_documents(store: &Store, firm: &FirmId, ids: &[&str], now: Timestamp) {
    let watches: Vec<DocumentWatch> = ids.iter().map(|id| document(firm, "e", id, now)).collect();
    record_documents(store, firm, &watches, &[], now).await;
}

/// Records a look at the encounter `e`.
pub(super) async fn record_documents(
    store: &Store,
    firm: &FirmId,
    found: &[DocumentWatch],
    retracted: &[&str],
    now: Timestamp,
) -> RecordedDocuments {
    if watching(store, firm, now).await.is_empty() {
        watch_encounters(store, firm, &["e"], now).await;
    }
    let lease = encounter_lease(store, firm, "e", now).await;
    let retracted: Vec<DocumentId> = retracted.iter().copied().map(DocumentId::new).collect();
    store.record_documents(lease, found, &retracted, now).await.unwrap()
}

/// Records a retraction.
pub(super) async fn retract(store: &Store, firm: &FirmId, id: &str, now: Timestamp) -> Vec<RetractedDraft> {
    record_documents(store, firm, &[], &[id], now).await.retracted
}

/// Leases documents; their ids.
pub(super) async fn acquired(store: &Store, step: DocumentStep, now: Timestamp) -> Vec<String> {
    let leases = store.acquire_documents(step, now, LEASE, 100).await.unwrap();
    leases.iter().map(|lease| lease.item().document.to_string()).collect()
}

/// Leases the one document that is due.
pub(super) async fn document_lease(store: &Store, step: DocumentStep, now: Timestamp) -> Lease<DocumentWatch> {
    let mut leases = store.acquire_documents(step, now, LEASE, 100).await.unwrap();
    assert_eq!(leases.len(), 1, "one document is due for {step:?}");
    leases.remove(0)
}

/// Leases the one result that is due.
pub(super) async fn result_lease(store: &Store, now: Timestamp) -> Lease<AssistResult> {
    let mut leases = store.acquire_results(now, LEASE, 100).await.unwrap();
    assert_eq!(leases.len(), 1, "one result is due");
    leases.remove(0)
}

/// How many results are due; they are leased.
pub(super) async fn results_due(store: &Store, now: Timestamp) -> usize {
    store.acquire_results(now, LEASE, 100).await.unwrap().len()
}

pub(super) fn photo(downloaded_at: Timestamp) -> StoredPhoto {
    let bytes = PhotoBytes::new(bytes::Bytes::from_static(b"a photo"));
    StoredPhoto {
        digest: PhotoDigest::of(&bytes),
        bytes: 7,
        downloaded_at,
    }
}

pub(super) fn findings() -> Phi<Findings> {
    let label = Label {
        id: "melanocytic-nevus".into(),
        display: "Melanocytic nevus".into(),
        snomed_ct: "400010006".into(),
        icd_10_cm: Some("D22.9".into()),
        must_not_miss: false,
    };
    let classes = vec![ClassProbability {
        label,
        probability: 0.8125,
    }];
    Phi::new(Findings {
        route: Route::Solitary,
        image: ImageFacts {
            width: 4032,
            height: 3024,
            format: "jpeg".into(),
            quality: Quality {
                sharpness: 101.25,
                brightness: 0.1,
                ..Quality::default()
            },
        },
        regions: vec![Region {
            area: NormalisedBox {
                x: 0.1,
                y: 0.2,
                width: 0.3,
                height: 0.4,
            },
            score: 0.9,
            classes: classes.clone(),
        }],
        ranked: classes,
        abstention: None,
        abstain_below: 0.0,
        concerns: Vec::new(),
        further_conditions: Vec::new(),
        models: vec![ModelVersion {
            pack: "reference-solitary".into(),
            version: "1".into(),
        }],
    })
}

pub(super) fn result_key(document: &DocumentId) -> ResultKey {
    let photo = photo(at(0)).digest;
    ResultKey::new(
        &AssessmentId::new(document.as_str()),
        [&photo],
        &findings().expose().models,
    )
}

/// The result of a document, with a note that says `text`.
pub(super) fn result(watch: &DocumentWatch, text: &str, assessed_at: Timestamp) -> AssistResult {
    let downloaded_at = watch
        .photo
        .as_ref()
        .map_or(watch.detected_at, |photo| photo.downloaded_at);
    AssistResult {
        assessment: Assessment::of(watch),
        key: result_key(&watch.document),
        photos: vec![AssessedPhoto {
            document: watch.document.clone(),
            digest: photo(at(0)).digest,
            attached_at: watch.attached_at,
            detected_at: watch.detected_at,
            downloaded_at,
            not_assessed: None,
        }],
        findings: findings(),
        photo_findings: Phi::new(Vec::new()),
        note: Phi::new(DraftNote {
            title: format!("Skin photo, {}", AgeBand::of_years(40).display()),
            sections: vec![NoteSection {
                heading: "Findings".into(),
                paragraphs: vec![text.to_owned()],
            }],
            instructions: vec!["Read it".into()],
            regions: vec![NoteRegion {
                document: watch.document.clone(),
                areas: Vec::new(),
            }],
            bands: skin_assist_core::domain::Bands::default(),
        }),
        versions: Versions {
            models: findings().expose().models.clone(),
            synthesis: "composer 1".into(),
            pipeline: "0.1.0".into(),
            language: None,
        },
        assessed_at,
        delivery: Delivery::Pending,
    }
}

/// Takes the one document that is due for download to the models.
pub(super) async fn download(store: &Store, now: Timestamp) {
    let lease = document_lease(store, DocumentStep::Download, now).await;
    store.record_photo(lease, &photo(now)).await.unwrap();
}

/// Takes the one document that waits for the models to its result.
pub(super) async fn infer(store: &Store, now: Timestamp) -> AssistResult {
    let lease = document_lease(store, DocumentStep::Infer, now).await;
    let result = result(lease.item(), "a nevus", now);
    store.record_result(lease, &result).await.unwrap();
    result
}

/// A state with the firm `a` and one document `d`, found at 0 and due for download.
pub(super) async fn one_document(store: &Store) -> FirmId {
    let firm = add_firm(store, "a").await;
    find_documents(store, &firm, &["d"], at(0)).await;
    firm
}

/// A state with the firm `a` and one result, of the document `d`, made and due at 0.
pub(super) async fn one_result(store: &Store) -> (FirmId, AssistResult) {
    let firm = one_document(store).await;
    download(store, at(0)).await;
    (firm, infer(store, at(0)).await)
}

pub(super) fn reference(number: u32) -> DraftReference {
    DraftReference(format!("Composition/{number}"))
}

/// The one journey there is.
pub(super) async fn journey(store: &Store) -> Journey {
    let mut journeys = store.journeys(None, Timestamp::ALWAYS, 100).await.unwrap();
    assert_eq!(journeys.len(), 1, "one photo is on its way");
    journeys.remove(0)
}

/// All that operators can see of a firm, and what stages can read without acquiring: to see that nothing was changed.
pub(super) async fn picture(store: &Store, firm: &FirmId, now: Timestamp) -> String {
    let mut overview = store.overview(now).await.unwrap();
    overview.retain(|overview| overview.firm.id == *firm);
    let documents_cursor = match overview.first() {
        Some(overview) => store.documents_cursor(&overview.firm).await.unwrap(),
        None => None,
    };
    let journeys = store.journeys(Some(firm), Timestamp::ALWAYS, 1000).await.unwrap();
    let mut dead_letters = store.dead_letters().await.unwrap();
    dead_letters.retain(|letter| letter.firm == *firm);
    let mut uncertain = store.uncertain().await.unwrap();
    uncertain.retain(|result| result.assessment.firm == *firm);
    let findings = store
        .findings(firm, &result_key(&DocumentId::new("d")))
        .await
        .unwrap()
        .map(Phi::into_exposed);
    format!(
        "{overview:#?}\n{documents_cursor:#?}\n{journeys:#?}\n{dead_letters:#?}\n{uncertain:#?}\n{:#?}\n{:#?}\n{:#?}\n{findings:#?}",
        store.watch_list(firm, now).await.unwrap(),
        store.learned(std::slice::from_ref(firm)).await.unwrap().firms,
        store.credential(firm).await.unwrap(),
    )
}
