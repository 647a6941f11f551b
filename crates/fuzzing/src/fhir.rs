//! An EHR that answers with any bytes: every port that reads a chart, and where photos are said to be.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
    time::Duration,
};

use bytes::Bytes;
use futures::executor::block_on;
use http::{Request, header};
use skin_assist_core::{
    domain::{
        AccessToken, AssessmentId, Bands, DocumentId, Draft, DraftNote, EncounterId, Firm, FirmId, FirmStatus, Mode,
        PatientId, ReferenceCode, Versions,
    },
    phi::{Phi, Secret},
    ports::{
        ChartReader as _, ContextPart, ContextSubject, DocumentQuery, DraftSearch, DraftWriter as _, EncounterQuery,
        FirmSettings as _, PatientContext as _, PhotoLocation, PhotoSource as _, Visit,
    },
    time::Timestamp,
};
use skin_assist_ehr::{EhrClient, EhrConnection, HostPattern, Limits, Profile};
use url::Url;

use crate::replies::{Check, Replies};

/// Where the EHR is. It ends without a slash.
pub(crate) const BASE: &str = "https://ehr.example/api";

/// The host that photos may come from.
const PHOTO_HOST: &str = "photos.example";

/// What must come out nowhere but in values that are marked as protected.
const NAME: &str = "Zylinderfeld";

/// A reply's size, small enough that an input can be too large.
const LIMITS: Limits = Limits {
    reply_bytes: 96 << 10,
    token_bytes: 4 << 10,
    photo_bytes: 32 << 10,
};

/// The shipped profiles.
static PROFILES: LazyLock<Vec<Profile>> = LazyLock::new(|| {
    let shipped = Profile::shipped_names().into_iter().map(Profile::shipped);
    shipped.collect::<Result<_, _>>().expect("shipped profiles can be read")
});

pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(1_767_600_000_000)
}

pub(crate) fn firm() -> Firm {
    Firm {
        id: FirmId::new("a"),
        url_prefix: "firm-a".to_owned(),
        status: FirmStatus::Active,
        mode: Mode::Draft,
        intended_use: None,
        categories: BTreeMap::new(),
        api_key: None,
        connected_at: now(),
        photos_since: now(),
    }
}

pub(crate) fn connection(profile: Profile) -> EhrConnection {
    // The operator's, where neither the profile nor the EHR says where tokens are issued.
    let is_unknown = profile.token.url.is_none() && !profile.token.discovery;
    EhrConnection {
        profile,
        base_url: Url::parse(BASE).expect("a URL"),
        token_url: is_unknown.then(|| Url::parse("https://login.example/token").expect("a URL")),
        api_key: Secret::new("api-key".to_owned()),
        further_api_keys: BTreeMap::new(),
        photo_hosts: vec![HostPattern::parse(PHOTO_HOST).expect("a host")],
        allow_loopback_http: false,
        limits: LIMITS,
    }
}

/// A request with the token goes to this firm's service and to nobody else.
fn to_the_service(request: &Request<Bytes>) {
    let uri = request.uri();
    assert_eq!(uri.scheme_str(), Some("https"), "the token goes over TLS");
    assert_eq!(uri.authority().map(http::uri::Authority::as_str), Some("ehr.example"));
    assert!(uri.path().starts_with("/api"), "below the base URL");
    assert!(uri.path().contains("firm-a"), "to this firm");
    assert!(request.headers().contains_key(header::AUTHORIZATION));
}

/// A request of a client that was made by any profile: at least the host is the operator's.
fn to_the_host(request: &Request<Bytes>) {
    let host = request.uri().authority().map(http::uri::Authority::as_str);
    assert_eq!(host, Some("ehr.example"));
}

/// A request for a photo goes to an allowed host and carries nothing but its URL.
fn to_a_photo_host(request: &Request<Bytes>) {
    let uri = request.uri();
    assert_eq!(uri.scheme_str(), Some("https"));
    let host = uri.host().unwrap_or_default();
    assert!(
        host.trim_end_matches('.').eq_ignore_ascii_case(PHOTO_HOST),
        "a photo from {host}"
    );
    assert!(matches!(uri.port_u16(), None | Some(443)));
    assert!(
        request.headers().is_empty(),
        "the photo host is told nothing but the URL"
    );
}

fn never(_: &Request<Bytes>) {
    panic!("nothing is asked here");
}

fn client(profile: Profile, api: &[u8], check: Check, photos: &[u8]) -> EhrClient {
    let photos = Replies::of(photos, if photos.is_empty() { never } else { to_a_photo_host });
    EhrClient::new(connection(profile), Replies::of(api, check), photos).expect("the connection can be used")
}

/// An outcome's words are this software's own.
fn quotes_nobody<T: std::fmt::Debug, E: std::fmt::Debug + std::fmt::Display>(outcome: &Result<T, E>) {
    if let Err(error) = outcome {
        let words = format!("{error} {error:?}");
        assert!(!words.contains(NAME) && words.len() < 400, "an error quotes the reply");
    }
}

fn token() -> AccessToken {
    AccessToken {
        secret: Secret::new("token".to_owned()),
        issued_at: now(),
        expires_at: now() + Duration::from_secs(3600),
    }
}

fn visit(number: u32) -> Visit {
    Visit {
        patient: PatientId::new(format!("p{number}")),
        encounter: EncounterId::new(format!("e{number}")),
    }
}

const PARTS: [ContextPart; 7] = [
    ContextPart::Patient,
    ContextPart::Document,
    ContextPart::Visit,
    ContextPart::Problems,
    ContextPart::MedicationStatements,
    ContextPart::MedicationRequests,
    ContextPart::PriorResults,
];

/// Any replies to a search, a read or a draft. The first byte chooses what is asked, the second the profile.
pub fn any_reply(input: &[u8]) {
    let [what, profile, replies @ ..] = input else { return };
    let profile = PROFILES[usize::from(*profile) % PROFILES.len()].clone();
    let client = client(profile, replies, to_the_service, b"");
    block_on(ask(&client, usize::from(what.wrapping_sub(b'a'))));
}

/// Asks by a profile that somebody wrote: it was taken, so nothing may go wrong but replies.
pub(crate) fn ask_by(profile: Profile) {
    let reply = b"0\n{\"resourceType\":\"Bundle\",\"entry\":[]}";
    let replies = [&reply[..]; 24].join(&0xFF);
    let api = Replies::of(&replies, to_the_host);
    // An API key that no header takes and a token URL elsewhere are refused when the client is made.
    let Ok(client) = EhrClient::new(connection(profile), api, Replies::of(b"", never)) else {
        return;
    };
    for what in 0..16 {
        block_on(ask(&client, what));
    }
}

async fn ask(client: &EhrClient, what: usize) {
    let (firm, token) = (firm(), token());
    match what % 16 {
        0 => {
            let query = EncounterQuery { changed_since: now() };
            let page = client.encounters(&firm, &token, &query, None).await;
            quotes_nobody(&page);
            if let Ok(page) = page {
                for encounter in &page.items {
                    assert!(encounter.id.as_str().parse::<EncounterId>().is_ok());
                }
                if let Some(next) = page.next {
                    quotes_nobody(&client.encounters(&firm, &token, &query, Some(&next)).await);
                }
            }
        }
        1 => documents(client, &firm, &token, DocumentQuery::Visit(visit(1))).await,
        2 => {
            let visits = vec![visit(1), visit(2), visit(3)];
            documents(client, &firm, &token, DocumentQuery::Visits(visits)).await;
        }
        3 => documents(client, &firm, &token, DocumentQuery::ChangedSince(now())).await,
        4 => quotes_nobody(&client.categories(&firm, &token).await),
        5 => quotes_nobody(&client.is_visit_over(&firm, &token, &EncounterId::new("e1")).await),
        6 => {
            let found = client.find(&firm, &token, &draft()).await;
            quotes_nobody(&found);
            if let Ok(DraftSearch::Found(reference)) = found {
                assert!(reference.0.len() < 1000, "a reference that no table holds");
            }
        }
        7 => quotes_nobody(&client.post(&firm, &token, &draft()).await),
        8 => quotes_nobody(&client.locate(&firm, &token, &DocumentId::new("d1")).await),
        part => {
            let visit = visit(1);
            let subject = ContextSubject {
                patient: &visit.patient,
                encounter: &visit.encounter,
                document: &DocumentId::new("d1"),
            };
            let facts = client.read_context(&firm, &token, &subject, PARTS[part - 9]).await;
            quotes_nobody(&facts);
            assert!(!format!("{facts:?}").contains(NAME), "facts show themselves");
        }
    }
}

async fn documents(client: &EhrClient, firm: &Firm, token: &AccessToken, query: DocumentQuery) {
    let page = client.documents(firm, token, &query, None).await;
    quotes_nobody(&page);
    let Ok(page) = page else { return };
    let asked: Vec<&Visit> = match &query {
        DocumentQuery::Visit(visit) => vec![visit],
        DocumentQuery::Visits(visits) => visits.iter().collect(),
        DocumentQuery::ChangedSince(_) => Vec::new(),
    };
    for found in &page.items {
        assert!(found.id.as_str().parse::<DocumentId>().is_ok());
        // Better no photo than another patient's.
        let of_one_asked = |visit: &&Visit| {
            found.patient.as_ref().is_none_or(|patient| *patient == visit.patient)
                && found.encounters.iter().all(|encounter| *encounter == visit.encounter)
        };
        assert!(
            asked.is_empty() || asked.iter().any(of_one_asked),
            "a document of a visit that was not asked for"
        );
    }
    if let Some(next) = page.next {
        quotes_nobody(&client.documents(firm, token, &query, Some(&next)).await);
    }
}

fn draft() -> Draft {
    let (firm, assessment) = (FirmId::new("a"), AssessmentId::new("assessment"));
    Draft {
        encounter: Some(EncounterId::new("e1")),
        patient: PatientId::new("p1"),
        practitioner: None,
        documents: BTreeSet::from([DocumentId::new("d1")]),
        reference_code: ReferenceCode::of(&firm, &assessment),
        firm,
        appends: None,
        note: Phi::new(DraftNote {
            title: "Skin photo".to_owned(),
            sections: Vec::new(),
            instructions: Vec::new(),
            regions: Vec::new(),
            bands: Bands::default(),
        }),
        versions: Versions {
            models: Vec::new(),
            synthesis: "composer".to_owned(),
            pipeline: "skin-assist".to_owned(),
            language: None,
        },
        date: now(),
    }
}

/// A document that says where its photo is, what is there, and where that leads: to allowed hosts or nowhere. The first byte
/// is as the first of [`any_reply`]'s second.
pub fn any_place(input: &[u8]) {
    let [profile, replies @ ..] = input else { return };
    let profile = PROFILES[usize::from(*profile) % PROFILES.len()].clone();
    let mut replies = replies.splitn(2, |byte| *byte == 0xFF);
    let (document, photos) = (replies.next().unwrap_or_default(), replies.next().unwrap_or_default());
    let client = client(profile.clone(), document, to_the_service, b"\n");
    let (firm, token) = (firm(), token());
    let place = block_on(client.locate(&firm, &token, &DocumentId::new("d1")));
    quotes_nobody(&place);
    match place {
        Ok(PhotoLocation::Inline(photo)) => assert!(photo.expose().len() <= LIMITS.photo_bytes),
        Ok(PhotoLocation::Url { url, .. }) => {
            let client = self::client(profile, b"", never, if photos.is_empty() { b"\n" } else { photos });
            let photo = block_on(client.download(&url));
            quotes_nobody(&photo);
            assert!(photo.is_err() || photo.is_ok_and(|photo| photo.expose().len() <= LIMITS.photo_bytes));
        }
        Ok(PhotoLocation::Binary { id }) => {
            let binary = Replies::whole(photos, to_the_service);
            let photos = Replies::of(b"", never);
            let client = EhrClient::new(connection(profile), binary, photos).expect("the connection can be used");
            let photo = block_on(client.read_binary(&firm, &token, &id));
            quotes_nobody(&photo);
            assert!(photo.is_err() || photo.is_ok_and(|photo| photo.expose().len() <= LIMITS.photo_bytes));
        }
        Err(_) => {}
    }
}
