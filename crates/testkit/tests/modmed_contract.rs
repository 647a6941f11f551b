//! Requests of the ModMed profile against the vendor's published contract (public API documentation and OpenAPI, version
//! 3.4.3_FINAL): methods, paths, parameters with their forms and maxima, headers, bodies.
//!
//! The contract is a table of its own here and knows nothing of the practice EHR's strictness: what is not in it is refused.
//! A whole run passes it, from the token to the draft; and requests with one thing wrong are refused, so that it is known
//! to look.

// In a test, a panic is the report.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response};
use serde_json::{Value, json};
use skin_assist_core::{
    domain::{
        AccessToken, Assessment, AssessmentId, CategoryCode, Credential, CredentialState, DocumentId, Draft, DraftNote,
        Encounter, Firm, FirmId, FirmStatus, Mode, NoteSection, Route, Versions,
    },
    phi::{Phi, Secret},
    ports::{
        ChartReader, ContextSubject, DocumentQuery, DraftSearch, DraftWriter, EncounterQuery, FirmSettings,
        PatientContext, PhotoLocation, PhotoSource, TokenEndpoint, Visit,
    },
    time::{Clock, Timestamp, VirtualClock},
};
use skin_assist_ehr::{EhrClient, EhrConnection, HostPattern, Limits, Profile};
use skin_assist_simulator::{EncounterSpec, FirmSpec, Options, PhotoContent, PhotoSpec, PracticeEhr};
use skin_assist_testkit::PracticeTransport;
use skin_assist_transport::{Transport, TransportError};
use url::Url;

/// The only firm, and its patient's name: nothing may name a patient but an id.
const FIRM: &str = "derm-a";

/// What a parameter may be.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// A number from 1 to this.
    Count(u32),
    /// A number from 1 on.
    Page,
    /// A prefix and `yyyy-mm-dd`. Finer times are not documented.
    Day,
    /// A logical id. ModMed's have a bar in them.
    Id,
    /// A word of a value set.
    Code,
}

/// What a body has to be.
type BodyCheck = fn(&Value) -> Result<(), String>;

/// What a request may be.
struct Row {
    name: &'static str,
    method: Method,
    /// Below the firm's service; `{id}` stands for an id.
    path: &'static str,
    parameters: &'static [(&'static str, Form)],
    mandatory: &'static [&'static str],
    body: Option<BodyCheck>,
}

/// Everything of the API that may be asked. The token endpoint and the photo hosts are elsewhere, see [`check`].
const CONTRACT: [Row; 6] = [
    Row {
        name: "search Encounter",
        method: Method::GET,
        path: "Encounter",
        parameters: &[
            ("_count", Form::Count(50)),
            ("page", Form::Page),
            ("patient", Form::Id),
            ("status", Form::Code),
            ("date", Form::Day),
            ("appointment", Form::Id),
            ("_lastUpdated", Form::Day),
        ],
        mandatory: &[],
        body: None,
    },
    Row {
        name: "search DocumentReference",
        method: Method::GET,
        path: "DocumentReference",
        parameters: &[
            ("patient", Form::Id),
            ("encounter", Form::Id),
            ("category", Form::Code),
            ("date", Form::Day),
            ("_count", Form::Count(10)),
            ("page", Form::Page),
        ],
        mandatory: &["patient"],
        body: None,
    },
    Row {
        name: "read DocumentReference",
        method: Method::GET,
        path: "DocumentReference/{id}",
        parameters: &[],
        mandatory: &[],
        body: None,
    },
    Row {
        name: "read Patient",
        method: Method::GET,
        path: "Patient/{id}",
        parameters: &[],
        mandatory: &[],
        body: None,
    },
    Row {
        name: "read ValueSet",
        method: Method::GET,
        path: "ValueSet/document-category",
        parameters: &[],
        mandatory: &[],
        body: None,
    },
    Row {
        name: "create Composition",
        method: Method::POST,
        path: "Composition",
        parameters: &[],
        mandatory: &[],
        body: Some(composition),
    },
];

/// Where the vendor's hosts are.
struct Hosts {
    base: String,
    token_url: String,
}

/// Which part of the contract a request keeps to.
fn check(request: &Request<Bytes>, hosts: &Hosts) -> Result<&'static str, String> {
    let url = Url::parse(&request.uri().to_string()).map_err(|error| error.to_string())?;
    if url.as_str() == hosts.token_url {
        return token(request).map(|()| "token");
    }
    let service = format!("{}/firm/{FIRM}/ema/fhir/v2/", hosts.base.trim_end_matches('/'));
    let Some(rest) = url.as_str().strip_prefix(&service) else {
        return photo(request).map(|()| "photo");
    };
    let path = rest.split('?').next().unwrap_or_default();
    let row = CONTRACT
        .iter()
        .find(|row| row.method == *request.method() && shape(path, row.path))
        .ok_or_else(|| format!("there is no {} {path}", request.method()))?;
    parameters(&url, row)?;

    let allowed: &[&str] = if row.body.is_some() {
        &["accept", "authorization", "content-type", "x-api-key"]
    } else {
        &["accept", "authorization", "x-api-key"]
    };
    headers(request, allowed)?;
    let value = |name: &str| request.headers()[name].to_str().map_err(|error| error.to_string());
    if value("accept")? != "application/fhir+json" {
        return Err("Accept is not application/fhir+json".into());
    }
    if value("authorization")?
        .strip_prefix("Bearer ")
        .is_none_or(str::is_empty)
    {
        return Err("there is no bearer token".into());
    }
    match row.body {
        None if request.body().is_empty() => {}
        None => return Err("a GET with a body".into()),
        Some(check) => {
            if value("content-type")? != "application/fhir+json" {
                return Err("Content-Type is not application/fhir+json".into());
            }
            let body = serde_json::from_slice(request.body()).map_err(|error| error.to_string())?;
            check(&body)?;
        }
    }
    Ok(row.name)
}

/// Exactly these headers and no others: another one could name a patient.
fn headers(request: &Request<Bytes>, expected: &[&str]) -> Result<(), String> {
    let found: Vec<&str> = request.headers().keys().map(http::HeaderName::as_str).collect();
    let mut sorted = found.clone();
    sorted.sort_unstable();
    if sorted != expected || request.headers().len() != expected.len() {
        return Err(format!("the headers are {sorted:?} and not {expected:?}"));
    }
    Ok(())
}

fn shape(path: &str, expected: &str) -> bool {
    let (path, expected): (Vec<&str>, Vec<&str>) = (path.split('/').collect(), expected.split('/').collect());
    let same = |(part, expected): (&&str, &&str)| match *expected {
        // A bar is encoded.
        "{id}" => !part.is_empty() && !part.contains(['|', ' ']),
        expected => *part == expected,
    };
    path.len() == expected.len() && path.iter().zip(&expected).all(same)
}

fn parameters(url: &Url, row: &Row) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for (name, value) in url.query_pairs() {
        let (_, form) = row
            .parameters
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| format!("{} has no parameter {name}", row.name))?;
        if !is_of(&value, *form) {
            return Err(format!("{name}={value} is not {form:?}"));
        }
        if !seen.insert(name.clone().into_owned()) {
            return Err(format!("{name} is there twice"));
        }
    }
    match row.mandatory.iter().find(|name| !seen.contains(**name)) {
        Some(name) => Err(format!("{} lacks {name}", row.name)),
        None => Ok(()),
    }
}

fn is_of(value: &str, form: Form) -> bool {
    let number = || {
        value
            .parse::<u32>()
            .ok()
            .filter(|_| value.bytes().all(|byte| byte.is_ascii_digit()))
    };
    match form {
        Form::Count(most) => number().is_some_and(|count| (1..=most).contains(&count)),
        Form::Page => number().is_some_and(|page| page >= 1),
        Form::Day => ["gt", "eq", "le"]
            .iter()
            .any(|prefix| value.strip_prefix(prefix).is_some_and(is_day)),
        // No OR-list, and no type in front.
        Form::Id => !value.is_empty() && !value.contains([',', '/']),
        Form::Code => !value.is_empty() && !value.contains(','),
    }
}

fn is_day(text: &str) -> bool {
    let at = |place: usize, byte: u8| {
        if matches!(place, 4 | 7) {
            byte == b'-'
        } else {
            byte.is_ascii_digit()
        }
    };
    text.len() == 10
        && text.bytes().enumerate().all(|(place, byte)| at(place, byte))
        && text.parse::<jiff::civil::Date>().is_ok()
}

/// The grant `client_credentials` with id and secret in the body; nothing about any patient, and no API key.
fn token(request: &Request<Bytes>) -> Result<(), String> {
    if *request.method() != Method::POST {
        return Err("a token is asked for by POST".into());
    }
    headers(request, &["accept", "content-type"])?;
    if request.headers()["content-type"] != "application/x-www-form-urlencoded" {
        return Err("it is not a form".into());
    }
    let form: Vec<_> = url::form_urlencoded::parse(request.body()).into_owned().collect();
    let names: Vec<&str> = form.iter().map(|(name, _)| name.as_str()).collect();
    if names != ["grant_type", "client_id", "client_secret"] || form[0].1 != "client_credentials" {
        return Err(format!("the form has {names:?}"));
    }
    Ok(())
}

/// A pre-signed URL is all that a photo host is told.
fn photo(request: &Request<Bytes>) -> Result<(), String> {
    if *request.method() != Method::GET || !request.body().is_empty() {
        return Err("a photo is asked for by GET".into());
    }
    if request
        .uri()
        .host()
        .is_none_or(|host| host != "practice-photos.example")
    {
        return Err(format!("nobody named the host {:?}", request.uri().host()));
    }
    headers(request, &[])
}

/// The only shape that the vendor takes.
fn composition(body: &Value) -> Result<(), String> {
    let fixed = [
        ("/resourceType", json!("Composition")),
        ("/status", json!("preliminary")),
        ("/type/coding/0/system", json!("http://loinc.org")),
        ("/type/coding/0/code", json!("11488-4")),
        ("/category/0/coding/0/code", json!("LP173421-1")),
        ("/section/0/code/coding/0/code", json!("18776-5")),
        ("/section/1/code/coding/0/code", json!("69730-0")),
    ];
    for (place, expected) in fixed {
        if body.pointer(place) != Some(&expected) {
            return Err(format!("{place} is not {expected}"));
        }
    }
    let text = |place: &str| body.pointer(place).and_then(Value::as_str).unwrap_or_default();
    // The text is read from there and from nowhere else.
    for place in ["/section/0/code/text", "/section/1/code/text", "/title"] {
        if text(place).is_empty() {
            return Err(format!("{place} is empty"));
        }
    }
    for (place, kind) in [
        ("/subject/reference", "Patient"),
        ("/encounter/reference", "Encounter"),
        ("/author/0/reference", "Practitioner"),
    ] {
        let reference = text(place);
        let of_the_firm = format!("/firm/{FIRM}/ema/fhir/v2/{kind}/");
        if !reference.starts_with("https://") || !reference.contains(&of_the_firm) {
            return Err(format!("{place} is not the absolute URL of a {kind}"));
        }
    }
    let lists =
        ["/section", "/author", "/category"].map(|place| body.pointer(place).and_then(Value::as_array).map(Vec::len));
    if lists != [Some(2), Some(1), Some(1)] {
        return Err(format!("sections, authors and categories are {lists:?}"));
    }
    if text("/date").parse::<jiff::Timestamp>().is_err() {
        return Err("/date is not an instant".into());
    }
    Ok(())
}

/// Keeps a copy of each request.
#[derive(Clone)]
struct Recorder {
    inner: Arc<PracticeTransport>,
    requests: Arc<Mutex<Vec<Request<Bytes>>>>,
}

#[async_trait]
impl Transport for Recorder {
    async fn send(&self, request: Request<Bytes>, limit_bytes: usize) -> Result<Response<Bytes>, TransportError> {
        self.requests.lock().unwrap().push(request.clone());
        self.inner.send(request, limit_bytes).await
    }
}

struct Practice {
    ehr: PracticeEhr,
    clock: VirtualClock,
    client: EhrClient,
    firm: Firm,
    credential: Credential,
    requests: Arc<Mutex<Vec<Request<Bytes>>>>,
    hosts: Hosts,
}

fn practice() -> Practice {
    let clock = VirtualClock::new(Timestamp::parse_rfc3339("2026-03-01T00:30:00Z").unwrap());
    let ehr = PracticeEhr::new(Options::default());
    let known = ehr.add_firm(FirmSpec::new(FIRM)).unwrap();
    let connection = EhrConnection {
        profile: Profile::shipped("modmed-ema").unwrap(),
        base_url: known.api_base.parse().unwrap(),
        token_url: Some(known.token_url.parse().unwrap()),
        api_key: Secret::new(known.api_key.clone()),
        further_api_keys: BTreeMap::new(),
        photo_hosts: vec![HostPattern::parse("practice-photos.example").unwrap()],
        allow_loopback_http: false,
        limits: Limits::default(),
    };
    let requests = Arc::<Mutex<Vec<_>>>::default();
    let recorder = Arc::new(Recorder {
        inner: Arc::new(PracticeTransport::new(ehr.clone(), Arc::new(clock.clone()))),
        requests: Arc::clone(&requests),
    });
    let client = EhrClient::new(connection, Arc::clone(&recorder) as _, recorder).unwrap();
    Practice {
        firm: Firm {
            id: FirmId::new("a"),
            url_prefix: FIRM.to_owned(),
            status: FirmStatus::Active,
            mode: Mode::Draft,
            intended_use: None,
            categories: BTreeMap::new(),
            api_key: None,
            connected_at: clock.now(),
            photos_since: clock.now(),
        },
        credential: Credential {
            firm: FirmId::new("a"),
            client_id: known.client_id,
            client_secret: Secret::new(known.client_secret),
            key_id: None,
            token: None,
            refresh_token: None,
            state: CredentialState::Usable,
        },
        hosts: Hosts {
            base: known.api_base,
            token_url: known.token_url,
        },
        ehr,
        clock,
        client,
        requests,
    }
}

impl Practice {
    fn open(&self) -> String {
        self.ehr
            .open_encounter(self.clock.now(), FIRM, EncounterSpec::default())
            .unwrap()
    }

    fn attach(&self, encounter: &str) {
        let photo = PhotoSpec {
            content: PhotoContent::Bytes(Bytes::from_static(b"not really a picture")),
            ..PhotoSpec::synthetic("PHOTO-LESION", 1, None)
        };
        self.ehr.attach_photo(self.clock.now(), FIRM, encounter, photo).unwrap();
    }

    /// Everything that the engine asks of an EHR, with more than one page of both searches.
    fn whole_run(&self) {
        let visit = self.open();
        for _ in 0..12 {
            self.attach(&visit);
        }
        for _ in 0..60 {
            self.open();
        }
        self.clock
            .run(self.clock.sleep_until(self.clock.now() + Duration::from_secs(1)));
        let issued = self
            .client
            .request_token(&self.firm, &self.credential, self.clock.now());
        let token = self.clock.run(issued).unwrap().access;
        let categories = self.clock.run(self.client.categories(&self.firm, &token)).unwrap();
        assert!(categories.is_some_and(|categories| !categories.is_empty()));

        let encounters = self.encounters(&token);
        assert_eq!(encounters.len(), 61);
        let encounter = encounters
            .iter()
            .find(|encounter| encounter.id.as_str() == visit)
            .unwrap();
        let documents = self.documents(&token, encounter);
        assert_eq!(documents.len(), 12);
        for document in &documents {
            let located = self
                .clock
                .run(self.client.locate(&self.firm, &token, document))
                .unwrap();
            let PhotoLocation::Url { url, .. } = located else {
                panic!("{located:?}")
            };
            self.clock.run(self.client.download(&url)).unwrap();
        }
        let subject = ContextSubject {
            patient: &encounter.patient,
            encounter: &encounter.id,
            document: &documents[0],
        };
        for part in self.client.parts() {
            // What came along with the photo's place is not read again.
            if self.client.remembered(&self.firm.id, &subject, part).is_some() {
                continue;
            }
            let facts = self.client.read_context(&self.firm, &token, &subject, part);
            self.clock.run(facts).unwrap();
        }
        let draft = self.draft(encounter, &documents[0]);
        self.clock.run(self.client.post(&self.firm, &token, &draft)).unwrap();
        // There is no search for drafts, so nothing is asked.
        let found = self.clock.run(self.client.find(&self.firm, &token, &draft)).unwrap();
        assert_eq!(found, DraftSearch::Unsupported);
    }

    fn encounters(&self, token: &AccessToken) -> Vec<Encounter> {
        let query = EncounterQuery {
            changed_since: self.clock.now() - Duration::from_secs(180),
        };
        let (mut found, mut link) = (Vec::new(), None);
        loop {
            let read = self.client.encounters(&self.firm, token, &query, link.as_ref());
            let page = self.clock.run(read).unwrap();
            found.extend(page.items);
            link = page.next;
            if link.is_none() {
                return found;
            }
        }
    }

    fn documents(&self, token: &AccessToken, encounter: &Encounter) -> Vec<DocumentId> {
        let query = DocumentQuery::Visit(Visit {
            patient: encounter.patient.clone(),
            encounter: encounter.id.clone(),
        });
        let (mut found, mut link) = (Vec::new(), None);
        loop {
            let read = self.client.documents(&self.firm, token, &query, link.as_ref());
            let page = self.clock.run(read).unwrap();
            found.extend(page.items.into_iter().map(|document| document.id));
            link = page.next;
            if link.is_none() {
                return found;
            }
        }
    }

    fn draft(&self, encounter: &Encounter, document: &DocumentId) -> Draft {
        let assessment = Assessment {
            id: AssessmentId::new("0123456789abcdef"),
            firm: self.firm.id.clone(),
            encounter: encounter.id.clone(),
            patient: encounter.patient.clone(),
            practitioner: encounter.practitioner.clone(),
            category: CategoryCode::new("PHOTO-LESION"),
            route: Route::Solitary,
            earlier: None,
            documents: [document.clone()].into(),
        };
        let note = DraftNote {
            title: "Skin photo assessment".into(),
            sections: vec![NoteSection {
                heading: "Findings".into(),
                paragraphs: vec!["One lesion.".into()],
            }],
            instructions: vec![],
            regions: vec![skin_assist_core::domain::NoteRegion {
                document: document.clone(),
                areas: vec![],
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

    /// The requests so far, by the part of the contract that they keep to.
    fn recorded(&self) -> BTreeMap<&'static str, Vec<Request<Bytes>>> {
        let mut found = BTreeMap::<_, Vec<_>>::new();
        for request in self.requests.lock().unwrap().iter() {
            let row = check(request, &self.hosts)
                .unwrap_or_else(|problem| panic!("{} {}: {problem}", request.method(), request.uri()));
            found.entry(row).or_default().push(request.clone());
        }
        found
    }
}

#[test]
fn a_whole_run_keeps_to_the_contract() {
    let practice = practice();
    practice.whole_run();
    let counts: BTreeMap<_, _> = practice.recorded().iter().map(|(row, all)| (*row, all.len())).collect();
    // Both searches with their second pages; an empty last page may be one more.
    assert!(
        counts["search Encounter"] >= 2 && counts["search DocumentReference"] >= 2,
        "{counts:?}"
    );
    for (row, expected) in [
        ("token", 1),
        ("read ValueSet", 1),
        ("read DocumentReference", 12),
        ("photo", 12),
        ("read Patient", 1),
        ("create Composition", 1),
    ] {
        assert_eq!(counts.get(row), Some(&expected), "{row}");
    }
    assert_eq!(counts.len(), CONTRACT.len() + 2, "every row is used");
}

/// The search starts two days before what is asked for, and names a day and nothing finer.
#[test]
fn what_changed_is_asked_for_by_day() {
    let practice = practice();
    practice.whole_run();
    let first = &practice.recorded()["search Encounter"][0];
    let url = Url::parse(&first.uri().to_string()).unwrap();
    let pairs: Vec<_> = url.query_pairs().into_owned().collect();
    // 180 s before half past midnight of 1 March, and two days back.
    let expected =
        [("_lastUpdated", "gt2026-02-27"), ("_count", "50")].map(|(name, value)| (name.into(), value.into()));
    assert_eq!(pairs, expected);
}

/// One thing wrong with a good request each.
#[test]
fn what_is_not_in_the_contract_is_refused() {
    type Break = fn(&mut Request<Bytes>);
    fn ask(request: &mut Request<Bytes>, from: &str, to: &str) {
        let url = request.uri().to_string();
        assert!(url.contains(from), "{url} has no {from}");
        *request.uri_mut() = url.replacen(from, to, 1).parse().unwrap();
    }
    fn more(request: &mut Request<Bytes>, parameter: &str) {
        *request.uri_mut() = format!("{}&{parameter}", request.uri()).parse().unwrap();
    }
    fn say(request: &mut Request<Bytes>, name: &'static str, value: &'static str) {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    fn write(request: &mut Request<Bytes>, place: &str, value: Value) {
        let mut body: Value = serde_json::from_slice(request.body()).unwrap();
        *body.pointer_mut(place).unwrap() = value;
        *request.body_mut() = body.to_string().into();
    }
    let broken: &[(&str, &str, Break)] = &[
        ("search Encounter", "too many", |r| ask(r, "_count=50", "_count=51")),
        ("search Encounter", "none", |r| ask(r, "_count=50", "_count=0")),
        ("search Encounter", "an instant", |r| {
            ask(r, "gt2026-02-27", "gt2026-02-27T00:00:00Z");
        }),
        ("search Encounter", "another prefix", |r| ask(r, "gt2026", "ge2026")),
        ("search Encounter", "no prefix", |r| ask(r, "gt2026", "2026")),
        ("search Encounter", "no such day", |r| {
            ask(r, "gt2026-02-27", "gt2026-02-30");
        }),
        ("search Encounter", "a sort", |r| more(r, "_sort=_lastUpdated")),
        ("search Encounter", "twice", |r| more(r, "_count=10")),
        ("search Encounter", "page 0", |r| more(r, "page=0")),
        ("search Encounter", "another firm", |r| {
            ask(r, "/firm/derm-a/", "/firm/derm-b/");
        }),
        ("search Encounter", "another version", |r| {
            ask(r, "/fhir/v2/", "/fhir/v1/");
        }),
        ("search Encounter", "no API key", |r| {
            _ = r.headers_mut().remove("x-api-key");
        }),
        ("search Encounter", "no token", |r| {
            _ = r.headers_mut().remove("authorization");
        }),
        ("search Encounter", "another token", |r| {
            say(r, "authorization", "Basic YTpi");
        }),
        ("search Encounter", "plain JSON", |r| {
            say(r, "accept", "application/json");
        }),
        ("search Encounter", "a header", |r| say(r, "prefer", "handling=strict")),
        ("search Encounter", "a body", |r| {
            *r.body_mut() = Bytes::from_static(b"{}");
        }),
        ("search Encounter", "by POST", |r| *r.method_mut() = Method::POST),
        ("search DocumentReference", "too many", |r| {
            ask(r, "_count=10", "_count=11");
        }),
        ("search DocumentReference", "no patient", |r| {
            ask(r, "patient=", "subject=");
        }),
        ("search DocumentReference", "no patient at all", |r| {
            let url = Url::parse(&r.uri().to_string()).unwrap();
            *r.uri_mut() = format!("{}?_count=10", url.as_str().split('?').next().unwrap())
                .parse()
                .unwrap();
        }),
        ("search DocumentReference", "an OR-list", |r| {
            ask(r, "encounter=", "encounter=1,");
        }),
        ("search DocumentReference", "by change", |r| {
            more(r, "_lastUpdated=gt2026-02-27");
        }),
        ("read DocumentReference", "a bar as it is", |r| {
            // Neither the client nor `http` would take it for a fault.
            ask(r, "%7C", "/");
        }),
        ("read DocumentReference", "a parameter", |r| {
            *r.uri_mut() = format!("{}?_summary=true", r.uri()).parse().unwrap();
        }),
        ("read Patient", "a search", |r| ask(r, "Patient/", "Patient?name=")),
        ("read Patient", "a name in a header", |r| {
            say(r, "x-patient", "Jane Doe");
        }),
        ("read ValueSet", "another set", |r| {
            ask(r, "document-category", "gender");
        }),
        ("create Composition", "a condition", |r| {
            say(r, "if-none-exist", "identifier=a");
        }),
        ("create Composition", "final", |r| write(r, "/status", json!("final"))),
        ("create Composition", "another kind", |r| {
            write(r, "/type/coding/0/code", json!("34111-5"));
        }),
        ("create Composition", "a device", |r| {
            write(r, "/author/0/reference", json!("#device"));
        }),
        ("create Composition", "relative", |r| {
            write(r, "/subject/reference", json!("Patient/1"));
        }),
        ("create Composition", "text elsewhere", |r| {
            write(r, "/section/0/code/text", json!(""));
        }),
        ("create Composition", "one section", |r| write(r, "/section", json!([]))),
        ("create Composition", "no date", |r| write(r, "/date", json!("today"))),
        ("create Composition", "plain JSON", |r| {
            say(r, "content-type", "application/json");
        }),
        ("create Composition", "a name in the path", |r| {
            ask(r, "/Composition", "/Composition?patient=1");
        }),
        ("token", "in the header", |r| say(r, "authorization", "Basic YTpi")),
        ("token", "with the API key", |r| say(r, "x-api-key", "key")),
        ("token", "by GET", |r| *r.method_mut() = Method::GET),
        ("token", "the legacy grant", |r| {
            *r.body_mut() = Bytes::from_static(b"grant_type=password&username=a&password=b");
        }),
        ("photo", "with a token", |r| say(r, "authorization", "Bearer token")),
        ("photo", "a host of nobody", |r| {
            ask(r, "practice-photos.example", "photos.example");
        }),
    ];
    let practice = practice();
    practice.whole_run();
    let recorded = practice.recorded();
    for (row, what, break_it) in broken {
        let mut request = recorded[row][0].clone();
        break_it(&mut request);
        let outcome = check(&request, &practice.hosts);
        assert!(outcome.is_err(), "{row}, {what}: taken as {outcome:?}");
    }
    let tried: BTreeSet<_> = broken.iter().map(|(row, ..)| *row).collect();
    assert!(
        recorded.keys().all(|row| tried.contains(row)),
        "each row is broken at least once"
    );
}
