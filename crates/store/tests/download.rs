//! The download stage: which calls are paid for, wherever a photo's bytes are.

// In a test, a panic is the report.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use skin_assist_core::{
    domain::{
        AccessToken, AssessmentId, CategoryCode, Cursor, DocumentId, DocumentStep, DocumentWatch, Encounter,
        EncounterId, EncounterStatus, Firm, FirmId, FirmStatus, Mode, NewCredential, PatientId, PhotoBytes, Route,
    },
    phi::{Phi, Secret},
    photos::MemoryPhotos,
    ports::{
        CallGrants, CallKind, DocumentQueue, EhrError, EncounterWatches, FirmAdministration, Grant, PhotoLocation,
        PhotoSource, Photos, QuotaFigures, QuotaKey, StateError,
    },
    stages::{DownloadPhoto, Quota, StepEnd},
    time::{Clock, Timestamp, VirtualClock},
};
use skin_assist_store::SqliteStore;

const START: Timestamp = Timestamp::from_millis(1_767_600_000_000);

/// Says where the photo is, time after time, and gives its bytes.
struct Source {
    places: Mutex<VecDeque<PhotoLocation>>,
    expired: Mutex<u32>,
    done: Mutex<Vec<&'static str>>,
}

fn photo() -> PhotoBytes {
    Phi::new(Bytes::from_static(b"jpeg"))
}

#[async_trait]
impl PhotoSource for Source {
    async fn locate(&self, _: &Firm, _: &AccessToken, _: &DocumentId) -> Result<PhotoLocation, EhrError> {
        self.done.lock().unwrap().push("locate");
        Ok(self.places.lock().unwrap().pop_front().unwrap())
    }

    async fn read_binary(&self, firm: &Firm, token: &AccessToken, id: &str) -> Result<PhotoBytes, EhrError> {
        assert_eq!((firm.id.as_str(), token.secret.expose(), id), ("a", "t", "b"));
        self.done.lock().unwrap().push("read binary");
        Ok(photo())
    }

    async fn download(&self, _: &Phi<String>) -> Result<PhotoBytes, EhrError> {
        self.done.lock().unwrap().push("download");
        let mut expired = self.expired.lock().unwrap();
        if *expired > 0 {
            *expired -= 1;
            return Err(EhrError::PhotoUrlExpired);
        }
        Ok(photo())
    }
}

/// Grants every call and counts.
#[derive(Default)]
struct Counting(Mutex<Vec<CallKind>>);

#[async_trait]
impl CallGrants for Counting {
    async fn take(&self, _: &QuotaKey, kind: CallKind, _: Timestamp) -> Result<Grant, StateError> {
        self.0.lock().unwrap().push(kind);
        Ok(Grant::Granted)
    }

    async fn hold(&self, _: &QuotaKey, _: Timestamp, _: Timestamp) -> Result<(), StateError> {
        Ok(())
    }

    async fn slow_down(&self, _: &QuotaKey, _: Timestamp) -> Result<(), StateError> {
        Ok(())
    }

    async fn quotas(&self) -> Result<Vec<QuotaFigures>, StateError> {
        Ok(Vec::new())
    }
}

/// Runs the stage on a document whose photo is there: how it ended, what was done, and how many calls were paid for.
fn run(places: Vec<PhotoLocation>, expired: u32) -> (StepEnd, Vec<&'static str>, usize) {
    let clock = VirtualClock::new(START);
    clock.run(async {
        let store = SqliteStore::open_in_memory().unwrap();
        let firm = Firm {
            id: FirmId::new("a"),
            url_prefix: "a".into(),
            status: FirmStatus::Active,
            mode: Mode::Silent,
            intended_use: None,
            categories: BTreeMap::new(),
            api_key: None,
            connected_at: START,
            photos_since: START,
        };
        let credential = NewCredential::secret("client", Secret::new("secret".into()));
        store.add_firm(&firm, &credential).await.unwrap();
        let seen = Encounter {
            id: EncounterId::new("e"),
            patient: PatientId::new("p"),
            practitioner: None,
            status: EncounterStatus::Open,
            last_updated: Some(START),
        };
        let encounters = [seen.id.clone()];
        store
            .record_encounters(&firm.id, None, Cursor(START), &[seen], START)
            .await
            .unwrap();
        let lease_for = Duration::from_secs(30);
        let lease = store
            .acquire_encounters(&firm.id, &encounters, START, lease_for)
            .await
            .unwrap()
            .remove(0);
        let watch = DocumentWatch {
            firm: firm.id.clone(),
            document: DocumentId::new("d"),
            encounter: EncounterId::new("e"),
            patient: PatientId::new("p"),
            practitioner: None,
            category: CategoryCode::new("c"),
            route: Route::Solitary,
            assessment: AssessmentId::new("x"),
            attached_at: None,
            detected_at: START,
            gathers_until: None,
            closed: None,
            photo: None,
        };
        store.record_documents(lease, &[watch], &[], START).await.unwrap();
        let lease = store
            .acquire_documents(DocumentStep::Download, START, lease_for, 1)
            .await
            .unwrap()
            .remove(0);
        let clock: Arc<dyn Clock> = Arc::new(clock.clone());
        let photos = MemoryPhotos::new(1000, Arc::clone(&clock));
        let source = Source {
            places: Mutex::new(places.into()),
            expired: Mutex::new(expired),
            done: Mutex::default(),
        };
        let grants = Counting::default();
        let key = QuotaKey {
            name: "test".into(),
            calls: 60,
            window: Duration::from_secs(60),
        };
        let token = AccessToken {
            secret: Secret::new("t".into()),
            issued_at: START,
            expires_at: START + Duration::from_secs(900),
        };
        let stage = DownloadPhoto {
            token: &token,
            source: &source,
            photos: &photos,
            queue: &store,
            audit: &store,
            quota: Quota {
                grants: &grants,
                key: &key,
                clock: &*clock,
                in_hand: None,
            },
            ahead: None,
        };
        let end = stage.run(&firm, lease).await.unwrap();
        if end == StepEnd::Done {
            let kept = photos.get(&firm.id, &DocumentId::new("d")).await.unwrap();
            assert_eq!(kept, Some(photo()));
        }
        let calls = grants.0.lock().unwrap().clone();
        assert!(calls.iter().all(|kind| *kind == CallKind::Read), "{calls:?}");
        let done = source.done.lock().unwrap().clone();
        (end, done, calls.len())
    })
}

fn url() -> PhotoLocation {
    PhotoLocation::Url {
        url: Phi::new("https://photos.example/a".into()),
        claimed_bytes: None,
    }
}

#[test]
fn calls_to_the_ehr_are_paid_for_and_photo_hosts_are_not() {
    let binary = PhotoLocation::Binary { id: "b".into() };
    for (place, done, calls) in [
        (PhotoLocation::Inline(photo()), &["locate"][..], 1),
        (binary, &["locate", "read binary"], 2),
        (url(), &["locate", "download"], 1),
    ] {
        assert_eq!(run(vec![place], 0), (StepEnd::Done, done.to_vec(), calls));
    }
}

#[test]
fn an_expired_url_is_read_once_more() {
    let twice = vec!["locate", "download", "locate", "download"];
    assert_eq!(run(vec![url(), url()], 1), (StepEnd::Done, twice.clone(), 2));
    let (end, done, calls) = run(vec![url(), url()], 2);
    assert!(matches!(end, StepEnd::Waiting { .. }), "{end:?}");
    assert_eq!((done, calls), (twice, 2));
}
