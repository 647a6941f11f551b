//! The EHR client against the practice EHR, in process, under virtual time: what a profile says and what an EHR of that
//! kind does fit together. What is asserted is counted by the EHR.

// In a test, a panic is the report.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use skin_assist_core::{
    domain::{
        AccessToken, Assessment, AssessmentId, CategoryCode, Credential, CredentialState, DocumentId, Draft, DraftNote,
        Encounter, EncounterId, Firm, FirmId, FirmStatus, Mode, NormalisedBox, NoteRegion, NoteSection, PatientId,
        PractitionerId, Route, Versions,
    },
    phi::{Phi, Secret},
    ports::{
        ChartReader, ContextPart, ContextSubject, DocumentQuery, DraftError, DraftSearch, DraftWriter, EhrError,
        EncounterQuery, FirmSettings, PatientContext, PhotoLocation, PhotoRefusal, PhotoSource, Settlement,
        TokenEndpoint, Visit,
    },
    time::{Clock, Timestamp, VirtualClock},
};
use skin_assist_ehr::{EhrClient, EhrConnection, HostPattern, IDENTIFIER_SYSTEM, Limits, Profile};
use skin_assist_simulator::{
    DocumentSpec, EncounterSpec, EncounterStatus, FailNext, FirmSpec, Options, PhotoContent, PhotoSpec, Placement,
    PracticeEhr,
};
use skin_assist_testkit::PracticeTransport;

/// A practice with a client connected to it.
struct Practice {
    ehr: PracticeEhr,
    clock: VirtualClock,
    client: EhrClient,
    firm: Firm,
    credential: Credential,
}

fn practice_with(options: Options, limits: Limits) -> Practice {
    let clock = VirtualClock::new(Timestamp::parse_rfc3339("2026-01-05T15:00:00Z").unwrap());
    let ehr = PracticeEhr::new(options);
    let known = ehr.add_firm(FirmSpec::new("derm-a")).unwrap();
    let connection = EhrConnection {
        profile: Profile::shipped("modmed-ema").unwrap(),
        base_url: known.api_base.parse().unwrap(),
        token_url: Some(known.token_url.parse().unwrap()),
        api_key: Secret::new(known.api_key),
        further_api_keys: BTreeMap::new(),
        photo_hosts: vec![HostPattern::parse("practice-photos.example").unwrap()],
        allow_loopback_http: false,
        limits,
    };
    let transport = Arc::new(PracticeTransport::new(ehr.clone(), Arc::new(clock.clone())));
    let client = EhrClient::new(connection, Arc::clone(&transport) as _, transport).unwrap();
    let firm = Firm {
        id: FirmId::new("a"),
        url_prefix: known.firm,
        status: FirmStatus::Active,
        mode: Mode::Draft,
        intended_use: None,
        categories: BTreeMap::new(),
        api_key: None,
        connected_at: clock.now(),
        photos_since: clock.now(),
    };
    let credential = Credential {
        firm: firm.id.clone(),
        client_id: known.client_id,
        client_secret: Secret::new(known.client_secret),
        key_id: None,
        token: None,
        refresh_token: None,
        state: CredentialState::Usable,
    };
    Practice {
        ehr,
        clock,
        client,
        firm,
        credential,
    }
}

/// The URL of a photo, and how many bytes it is said to have.
fn on_a_photo_host(location: PhotoLocation) -> (Phi<String>, Option<u64>) {
    match location {
        PhotoLocation::Url { url, claimed_bytes } => (url, claimed_bytes),
        other => panic!("{other:?}"),
    }
}

fn practice() -> Practice {
    practice_with(Options::default(), Limits::default())
}

impl Practice {
    fn token(&self) -> AccessToken {
        self.try_token().unwrap()
    }

    fn try_token(&self) -> Result<AccessToken, EhrError> {
        let request = self
            .client
            .request_token(&self.firm, &self.credential, self.clock.now());
        Ok(self.clock.run(request)?.access)
    }

    fn pass(&self, time: Duration) {
        self.clock.run(self.clock.sleep_until(self.clock.now() + time));
    }

    fn open(&self, spec: EncounterSpec) -> String {
        self.ehr
            .open_encounter(self.clock.now(), &self.firm.url_prefix, spec)
            .unwrap()
    }

    fn attach(&self, encounter: &str) -> String {
        let photo = PhotoSpec {
            content: PhotoContent::Bytes(Bytes::from_static(b"not really a picture")),
            ..PhotoSpec::synthetic("PHOTO-LESION", 1, None)
        };
        self.ehr
            .attach_photo(self.clock.now(), &self.firm.url_prefix, encounter, photo)
            .unwrap()
    }

    /// All pages.
    fn encounters(&self, token: &AccessToken) -> Vec<Encounter> {
        let query = EncounterQuery {
            changed_since: self.clock.now() - Duration::from_secs(60),
        };
        let (mut found, mut link) = (Vec::new(), None);
        loop {
            let read = self.client.encounters(&self.firm, token, &query, link.as_ref());
            let page = self.clock.run(read).unwrap();
            assert_eq!(page.unreadable, 0);
            found.extend(page.items);
            link = page.next;
            if link.is_none() {
                return found;
            }
        }
    }

    fn draft(&self, encounter: &Encounter, document: &str) -> Draft {
        let assessment = Assessment {
            id: AssessmentId::new("0123456789abcdef"),
            firm: self.firm.id.clone(),
            encounter: encounter.id.clone(),
            patient: encounter.patient.clone(),
            practitioner: encounter.practitioner.clone(),
            category: CategoryCode::new("PHOTO-LESION"),
            route: Route::Solitary,
            earlier: None,
            documents: [DocumentId::new(document)].into(),
        };
        let note = DraftNote {
            title: "Skin photo assessment".into(),
            sections: vec![NoteSection {
                heading: "Findings".into(),
                paragraphs: vec!["a < b & c".into()],
            }],
            instructions: vec!["Review before filing.".into()],
            regions: vec![NoteRegion {
                document: DocumentId::new(document),
                areas: vec![NormalisedBox {
                    x: 0.25,
                    y: 0.125,
                    width: 0.5,
                    height: 0.5,
                }],
            }],
            bands: skin_assist_core::domain::Bands::default(),
        };
        let versions = Versions {
            models: vec![],
            synthesis: "test".into(),
            pipeline: "test".into(),
            language: None,
        };
        Draft::new(&assessment, Phi::new(note), versions, self.clock.now())
    }

    fn post(&self, token: &AccessToken, draft: &Draft) -> Result<String, DraftError> {
        let reference = self.clock.run(self.client.post(&self.firm, token, draft))?;
        Ok(reference.to_string())
    }
}

#[test]
fn from_a_visit_to_a_draft_in_the_chart() {
    let practice = practice();
    let token = practice.token();
    let visit = practice.open(EncounterSpec::default());
    let document = practice.attach(&visit);
    assert!(document.contains('|'), "{document}");

    let encounters = practice.encounters(&token);
    assert_eq!(encounters.len(), 1);
    let encounter = &encounters[0];
    assert_eq!(encounter.id, EncounterId::new(&*visit));
    assert_eq!(encounter.practitioner, Some(PractitionerId::new("201")));
    assert_eq!(encounter.last_updated, Some(practice.clock.now()));

    let query = DocumentQuery::Visit(Visit {
        patient: encounter.patient.clone(),
        encounter: encounter.id.clone(),
    });
    let page = practice
        .clock
        .run(practice.client.documents(&practice.firm, &token, &query, None))
        .unwrap();
    let found = &page.items[0];
    assert_eq!((page.items.len(), found.id.as_str()), (1, document.as_str()));
    assert_eq!(found.categories, [CategoryCode::new("PHOTO-LESION")]);
    assert!(found.may_be_a_photo() && found.content_type.is_some());
    assert_eq!(found.attached_at, Some(practice.clock.now()));

    let location = practice
        .clock
        .run(practice.client.locate(&practice.firm, &token, &found.id))
        .unwrap();
    let (url, claimed_bytes) = on_a_photo_host(location);
    let photo = practice.clock.run(practice.client.download(&url)).unwrap();
    assert_eq!(&photo.expose()[..], b"not really a picture");
    assert_eq!(claimed_bytes, Some(photo.expose().len() as u64));

    let subject = ContextSubject {
        patient: &encounter.patient,
        encounter: &encounter.id,
        document: &found.id,
    };
    let remembered = |part| practice.client.remembered(&practice.firm.id, &subject, part);
    assert!(
        remembered(ContextPart::Document).is_some(),
        "it came along with the photo's place"
    );
    assert!(remembered(ContextPart::Patient).is_none());
    let facts = practice
        .client
        .read_context(&practice.firm, &token, &subject, ContextPart::Patient);
    let facts = practice.clock.run(facts).unwrap();
    assert!(facts.expose().age.is_some() && facts.expose().sex.is_some());
    assert_eq!(remembered(ContextPart::Patient), Some(facts), "read once for the visit");

    let draft = practice.draft(encounter, &document);
    let reference = practice.post(&token, &draft).unwrap();
    let report = practice.ehr.report();
    let drafts = &report.photos[0].drafts;
    assert_eq!(drafts.len(), 1);
    assert_eq!(drafts[0].reference, reference);
    assert_eq!(drafts[0].identifier.as_deref(), Some(draft.reference_code.as_str()));
    assert_eq!(drafts[0].placement, Placement::VisitNote);
    assert!((drafts[0].regions[0].y - 0.125).abs() < 1e-9);
    assert_eq!((report.compositions, report.refused_429), (1, 0));
    assert!(!IDENTIFIER_SYSTEM.is_empty());
}

#[test]
fn every_page_is_read_and_the_firms_categories_too() {
    let practice = practice();
    let token = practice.token();
    for _ in 0..120 {
        practice.open(EncounterSpec::default());
    }
    let encounters = practice.encounters(&token);
    let ids: std::collections::BTreeSet<_> = encounters.iter().map(|encounter| encounter.id.clone()).collect();
    assert_eq!(ids.len(), 120);

    let visit = practice.open(EncounterSpec::default());
    for _ in 0..23 {
        practice.attach(&visit);
    }
    let patient = practice
        .encounters(&token)
        .into_iter()
        .find(|encounter| encounter.id.as_str() == visit)
        .unwrap();
    let query = DocumentQuery::Visit(Visit {
        patient: patient.patient,
        encounter: patient.id,
    });
    let (mut documents, mut link) = (std::collections::BTreeSet::new(), None);
    loop {
        let read = practice.client.documents(&practice.firm, &token, &query, link.as_ref());
        let page = practice.clock.run(read).unwrap();
        documents.extend(page.items.into_iter().map(|document| document.id));
        link = page.next;
        if link.is_none() {
            break;
        }
    }
    assert_eq!(documents.len(), 23);

    let categories = practice
        .clock
        .run(practice.client.categories(&practice.firm, &token))
        .unwrap();
    let categories = categories.unwrap();
    assert_eq!(categories.len(), 5);
    assert_eq!(categories[0].code, CategoryCode::new("PHOTO-LESION"));
}

/// A visit that changed a moment ago is listed at any time of the day.
#[test]
fn nothing_is_lost_at_the_edge_of_a_day() {
    for hours in 0..24 {
        let practice = practice();
        practice.pass(Duration::from_secs(hours * 3600));
        let token = practice.token();
        practice.open(EncounterSpec::default());
        practice.pass(Duration::from_secs(59));
        assert_eq!(practice.encounters(&token).len(), 1, "{hours} h later");
    }
}

#[test]
fn a_document_that_is_no_picture_says_so_in_the_list() {
    let practice = practice();
    let token = practice.token();
    let visit = practice.open(EncounterSpec {
        patient: Some("p1".into()),
        ..EncounterSpec::default()
    });
    let pdf = DocumentSpec::pdf("CONSENT", "Consent form");
    practice
        .ehr
        .attach_document(practice.clock.now(), "derm-a", &visit, pdf)
        .unwrap();
    let query = DocumentQuery::Visit(Visit {
        patient: PatientId::new("p1"),
        encounter: EncounterId::new(visit),
    });
    let page = practice
        .clock
        .run(practice.client.documents(&practice.firm, &token, &query, None))
        .unwrap();
    assert!(!page.items[0].may_be_a_photo());
}

#[test]
fn a_photo_url_expires_and_a_large_photo_is_stopped() {
    let practice = practice_with(
        Options::default(),
        Limits {
            photo_bytes: 10,
            ..Limits::default()
        },
    );
    let token = practice.token();
    let visit = practice.open(EncounterSpec::default());
    let document = DocumentId::new(practice.attach(&visit));
    let location = practice
        .clock
        .run(practice.client.locate(&practice.firm, &token, &document))
        .unwrap();
    let (url, _) = on_a_photo_host(location);
    let large = practice.clock.run(practice.client.download(&url));
    assert_eq!(large, Err(PhotoRefusal::TooManyBytes.into()));
    practice.pass(Duration::from_secs(301));
    assert_eq!(
        practice.clock.run(practice.client.download(&url)),
        Err(EhrError::PhotoUrlExpired)
    );
}

#[test]
fn tokens_expire_and_credentials_are_refused() {
    let practice = practice();
    let token = practice.token();
    assert_eq!(token.expires_at, practice.clock.now() + Duration::from_secs(900));
    practice.pass(Duration::from_secs(901));
    let query = EncounterQuery {
        changed_since: practice.clock.now(),
    };
    let read = practice.client.encounters(&practice.firm, &token, &query, None);
    assert_eq!(practice.clock.run(read).unwrap_err(), EhrError::Unauthorized);
    practice.ehr.revoke_secret("derm-a").unwrap();
    assert_eq!(
        practice.try_token().unwrap_err(),
        EhrError::CredentialRefused { status: 401 }
    );
    practice.ehr.set_faults(|faults| faults.outage = true);
    assert!(matches!(practice.try_token(), Err(EhrError::Unavailable { .. })));
}

#[test]
fn past_the_quota_calls_are_refused_as_such() {
    let practice = practice_with(
        Options {
            quota_per_minute: 3,
            ..Options::default()
        },
        Limits::default(),
    );
    let token = practice.token();
    let query = EncounterQuery {
        changed_since: practice.clock.now(),
    };
    let read = || {
        practice
            .clock
            .run(practice.client.encounters(&practice.firm, &token, &query, None))
    };
    for _ in 0..3 {
        read().unwrap();
    }
    assert!(matches!(read(), Err(EhrError::OverQuota { .. })));
    assert_eq!(practice.ehr.report().refused_429, 1);
}

/// The EHR does not deduplicate: the lost reply must be known as unknown, since a second post would be a second draft.
#[test]
fn a_lost_reply_to_a_draft_is_unknown_and_the_draft_is_there() {
    let practice = practice();
    let token = practice.token();
    let visit = practice.open(EncounterSpec::default());
    let document = practice.attach(&visit);
    let encounter = practice.encounters(&token).remove(0);
    let draft = practice.draft(&encounter, &document);

    practice.ehr.set_faults(|faults| faults.drop_composition_replies = 1);
    assert!(matches!(practice.post(&token, &draft), Err(DraftError::Unknown(_))));
    assert_eq!(practice.ehr.report().compositions, 1);
    let found = practice.clock.run(practice.client.find(&practice.firm, &token, &draft));
    assert_eq!(
        (found, practice.client.abilities().settlement),
        (Ok(DraftSearch::Unsupported), Settlement::Operator)
    );
    practice.post(&token, &draft).unwrap();
    assert_eq!(
        practice.ehr.report().compositions,
        2,
        "the practice EHR must not hide a double post"
    );
}

#[test]
fn refused_drafts_were_not_taken_and_failing_ones_are_unknown() {
    let practice = practice();
    let token = practice.token();
    let visit = practice.open(EncounterSpec::default());
    let document = practice.attach(&visit);
    let encounter = practice.encounters(&token).remove(0);
    let mut draft = practice.draft(&encounter, &document);
    let fail = |status: u16| {
        let status = http::StatusCode::from_u16(status).unwrap();
        let kind = skin_assist_simulator::CallKind::Draft;
        practice.ehr.set_faults(|faults| {
            faults.failures = vec![FailNext {
                kind,
                status,
                remaining: 1,
            }];
        });
    };
    fail(429);
    let over = practice.post(&token, &draft).unwrap_err();
    assert!(
        matches!(over, DraftError::NotTaken(EhrError::OverQuota { .. })),
        "{over:?}"
    );
    fail(500);
    assert!(matches!(practice.post(&token, &draft), Err(DraftError::Unknown(_))));
    draft.patient = PatientId::new("nobody");
    let refused = practice.post(&token, &draft).unwrap_err();
    assert!(
        matches!(refused, DraftError::NotTaken(EhrError::Rejected { .. })),
        "{refused:?}"
    );
    assert_eq!(practice.ehr.report().compositions, 0);
}

#[test]
fn after_the_visit_a_draft_becomes_a_chart_note() {
    let practice = practice();
    let token = practice.token();
    let visit = practice.open(EncounterSpec {
        status: EncounterStatus::InProgress,
        ..EncounterSpec::default()
    });
    let document = practice.attach(&visit);
    practice
        .ehr
        .finish_encounter(practice.clock.now(), "derm-a", &visit)
        .unwrap();
    let encounter = practice.encounters(&token).remove(0);
    assert_eq!(encounter.status, skin_assist_core::domain::EncounterStatus::Finished);
    practice.post(&token, &practice.draft(&encounter, &document)).unwrap();
    assert_eq!(
        practice.ehr.report().photos[0].drafts[0].placement,
        Placement::ChartNote
    );
}
