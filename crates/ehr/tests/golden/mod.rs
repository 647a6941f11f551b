//! Golden drafts: what is posted under each shipped profile and each variation that a practice's own profile may make,
//! with a plain, an empty and a hostile note. The tests check their text, `cargo xtask test` has the example `drafts`
//! write them into files for validators that know nothing of this project. And the eleven cases of drafts as this software writes
//! them, under each profile as it is shipped.

pub(crate) mod cases;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use serde_json::Value;
use skin_assist_core::{
    domain::{
        AccessToken, Assessment, AssessmentId, CategoryCode, DocumentId, Draft, DraftNote, DraftReference,
        EarlierDraft, EncounterId, Firm, FirmId, FirmStatus, LanguageUse, Mode, ModelVersion, NormalisedBox,
        NoteRegion, NoteSection, PatientId, PractitionerId, ReferenceCode, Route, Versions,
    },
    phi::{Phi, Secret},
    ports::{DraftWriter, WrittenDraft},
    synthesis::{ToEarlier, note_to_earlier},
    time::Timestamp,
};
use skin_assist_ehr::{
    AddendumRule, AuthorRule, DraftContent, DraftTarget, EhrClient, EhrConnection, LABEL, Limits, Profile,
    ProvenanceRule, ReferenceForm,
};
use skin_assist_transport::{Transport, TransportError};

/// A resource as it is posted.
pub(crate) struct Golden {
    /// What made it: profile, variation, note and its place among the requests of one draft.
    pub(crate) name: String,
    /// Whether FHIR allows it.
    pub(crate) standing: Standing,
    /// The body of the request.
    pub(crate) resource: Value,
}

/// Whether FHIR allows what a profile asks for. Some EHRs want what it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is valid.
    Valid,
    /// Not valid: the EHR sets the author itself, and FHIR wants one.
    WithoutAuthor,
    /// Not valid: the EHR reads the text from the section's code alone, and FHIR wants the section to have text (cmp-1).
    WithoutSectionText,
}

/// All of them.
pub(crate) fn drafts() -> Vec<Golden> {
    let mut found = Vec::new();
    for name in Profile::shipped_names() {
        for case in cases::cases() {
            let mut draft = draft(case.note, case.earlier);
            draft.versions = case.versions;
            if case.finished {
                draft.encounter = None;
            }
            let posted = posted(Profile::shipped(name).unwrap(), &draft);
            for (place, resource) in posted.into_iter().enumerate() {
                found.push(Golden {
                    name: format!("{name}.case.{}.{place}", case.name),
                    standing: Standing::Valid,
                    resource,
                });
            }
        }
        for (variation, standing, profile) in variations(name) {
            for (kind, note) in [("plain", plain()), ("empty", empty()), ("hostile", hostile())] {
                for (place, resource) in posted(profile.clone(), &draft(note, None)).into_iter().enumerate() {
                    let name = format!("{name}.{variation}.{kind}.{place}");
                    found.push(Golden {
                        name,
                        standing,
                        resource,
                    });
                }
            }
        }
    }
    found
}

/// What is in the chart when the case of an addendum was added to that of a benign lesion, under a profile that takes it.
pub(crate) fn added() -> Golden {
    let mut profile = Profile::shipped("fhir-r4").unwrap();
    profile.draft.addendum = AddendumRule::Update;
    let [mut first, mut second] = ["benign", "addendum"].map(|name| {
        let mut cases = cases::cases().into_iter();
        let case = cases.find(|case| case.name == name).unwrap();
        let mut draft = draft(case.note, case.earlier);
        draft.versions = case.versions;
        draft
    });
    let earlier = cases::earlier();
    let code = ReferenceCode::of(&first.firm, &earlier.assessment);
    let note = serde_json::to_string(first.note.expose()).unwrap();
    let note = note.replace(first.reference_code.as_str(), code.as_str());
    first.note = Phi::new(serde_json::from_str(&note).unwrap());
    first.reference_code = code;
    first.date = earlier.date;
    let assessment = Assessment {
        earlier: Some(earlier),
        ..assessment()
    };
    second.note = Phi::new(note_to_earlier(second.note.expose(), &assessment, ToEarlier::Added));
    let mut resource = posted(profile.clone(), &first).remove(0);
    resource["id"] = "81".into();
    resource["meta"]["versionId"] = "1".into();
    let written = WrittenDraft {
        reference: DraftReference("Composition/81".to_owned()).in_version("1"),
        resource: Phi::new(resource.to_string()),
    };
    let (client, recorder) = recorded(profile);
    let (firm, token) = (firm(), token());
    let update = client.update(&firm, &token, &written, &second);
    let reference = futures::executor::block_on(update).unwrap();
    assert_eq!(reference, DraftReference("Composition/81".to_owned()));
    Golden {
        name: "fhir-r4.added".to_owned(),
        standing: Standing::Valid,
        resource: recorder.sent().remove(0),
    }
}

/// The profile as it is shipped, and each way in which a practice may change how a draft looks.
fn variations(name: &str) -> Vec<(String, Standing, Profile)> {
    let shipped = Profile::shipped(name).unwrap();
    let mut found = vec![("shipped".to_owned(), Standing::Valid, shipped.clone())];
    for (provenance, provenance_name) in [
        (ProvenanceRule::Contained, "provenance"),
        (ProvenanceRule::None, "no-provenance"),
    ] {
        let mut profile = shipped.clone();
        profile.draft.provenance = provenance;
        found.push((provenance_name.to_owned(), Standing::Valid, profile));
    }
    for (author, author_name) in [
        (AuthorRule::Practitioner, "practitioner"),
        (AuthorRule::Device, "device"),
        (AuthorRule::Omit, "omit"),
    ] {
        for (references, references_name) in [
            (ReferenceForm::Relative, "relative"),
            (ReferenceForm::Absolute, "absolute"),
        ] {
            if shipped.draft.target == DraftTarget::DocumentReference {
                for (content, content_name) in [(DraftContent::Plain, "plain"), (DraftContent::Xhtml, "xhtml")] {
                    let mut profile = shipped.clone();
                    profile.draft.author = author;
                    profile.draft.references = references;
                    profile.draft.content = Some(content);
                    let name = format!("{author_name}.{references_name}.{content_name}");
                    found.push((name, Standing::Valid, profile));
                }
                continue;
            }
            for (in_code, in_narrative, text_name) in
                [(true, true, "both"), (false, true, "narrative"), (true, false, "code")]
            {
                let mut profile = shipped.clone();
                profile.draft.author = author;
                profile.draft.references = references;
                profile.draft.text_in_section_code = in_code;
                profile.draft.text_in_section_narrative = in_narrative;
                let standing = match (author, in_narrative) {
                    (AuthorRule::Omit, true) => Standing::WithoutAuthor,
                    (_, true) => Standing::Valid,
                    (AuthorRule::Omit, false) => continue,
                    (_, false) => Standing::WithoutSectionText,
                };
                found.push((
                    format!("{author_name}.{references_name}.{text_name}"),
                    standing,
                    profile,
                ));
            }
        }
    }
    found
}

fn plain() -> DraftNote {
    DraftNote {
        title: "Skin lesion photo assessment (AI draft)".into(),
        sections: vec![
            NoteSection {
                heading: LABEL.into(),
                paragraphs: vec!["Images used: file|139977.".into()],
            },
            NoteSection {
                heading: "Findings".into(),
                paragraphs: vec![
                    "Melanocytic nevus 0.62 & others < 0.2".into(),
                    "A low score does not exclude malignancy.".into(),
                ],
            },
        ],
        instructions: vec!["Review before filing.".into()],
        regions: vec![NoteRegion {
            document: DocumentId::new("file|139977"),
            areas: vec![
                NormalisedBox {
                    x: 0.123_456,
                    y: 0.2,
                    width: 0.333_33,
                    height: -0.0,
                },
                NormalisedBox {
                    x: f32::NAN,
                    y: 0.2,
                    width: 0.3,
                    height: 0.1,
                },
            ],
        }],
        bands: skin_assist_core::domain::Bands::default(),
    }
}

/// Nothing but a title, and an image that was judged as a whole.
fn empty() -> DraftNote {
    DraftNote {
        title: "x".into(),
        sections: vec![],
        instructions: vec![],
        regions: vec![NoteRegion {
            document: DocumentId::new("1"),
            areas: vec![],
        }],
        bands: skin_assist_core::domain::Bands::default(),
    }
}

/// Text that tries to be more than text: markup, ends of CDATA, entities, control characters, marks of direction,
/// non-characters, characters outside the first plane.
pub(crate) const HOSTILE: [&str; 9] = [
    "<script>alert('x')</script><img src=x onerror=\"y\"/>",
    "]]> <![CDATA[ <!-- --> <?xml version=\"1.0\"?> <!DOCTYPE a [<!ENTITY b \"c\">]> &b;",
    "</p></div><div xmlns=\"urn:other\">",
    "&nbsp; &amp;lt; &#0; &#x1F; & &",
    "null \u{0}, backspace \u{8}, escape \u{1b}[31m, delete \u{7f}, next line \u{85}, \u{fffe}\u{ffff}",
    "right-to-left \u{202e}evil\u{202c} \u{2066}isolate\u{2069} \u{200f}mark, שלום, مرحبا",
    "\u{1f469}\u{200d}\u{2695}\u{fe0f} \u{1f9f4} e\u{301} \u{10ffff} \u{feff}",
    "line one\r\nline two\rline three\n\n\ttabbed\u{2028}separated\u{2029}",
    "{\"resourceType\":\"Patient\"} \\u0000 \\\" javascript:alert(1)",
];

fn hostile() -> DraftNote {
    let paragraphs: Vec<String> = HOSTILE.iter().map(|text| (*text).to_owned()).collect();
    DraftNote {
        title: format!("a\u{0}\u{202e}b {}", HOSTILE[0]),
        sections: vec![NoteSection {
            heading: HOSTILE.concat(),
            paragraphs: paragraphs.clone(),
        }],
        instructions: paragraphs,
        regions: vec![NoteRegion {
            document: DocumentId::new("file|1 <b>&\u{1f9f4}"),
            areas: vec![NormalisedBox {
                x: -3.0,
                y: 1e30,
                width: 1e-30,
                height: f32::INFINITY,
            }],
        }],
        bands: skin_assist_core::domain::Bands::default(),
    }
}

/// A client whose requests are remembered.
fn recorded(profile: Profile) -> (EhrClient, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let connection = EhrConnection {
        profile,
        base_url: "https://ehr.example/base/".parse().unwrap(),
        token_url: Some("https://login.example/token".parse().unwrap()),
        api_key: Secret::new("the-api-key".into()),
        further_api_keys: std::collections::BTreeMap::new(),
        photo_hosts: vec![],
        allow_loopback_http: false,
        limits: Limits::default(),
    };
    let client = EhrClient::new(connection, Arc::clone(&recorder) as _, Arc::clone(&recorder) as _).unwrap();
    (client, recorder)
}

/// What posting a draft sends.
fn posted(profile: Profile, draft: &Draft) -> Vec<Value> {
    let (client, recorder) = recorded(profile);
    futures::executor::block_on(client.post(&firm(), &token(), draft)).unwrap();
    recorder.sent()
}

fn assessment() -> Assessment {
    Assessment {
        id: AssessmentId::new("0123456789abcdef"),
        firm: FirmId::new("derm"),
        encounter: EncounterId::new("e|1"),
        patient: PatientId::new("7"),
        practitioner: Some(PractitionerId::new("201")),
        category: CategoryCode::new("12"),
        route: Route::Solitary,
        earlier: None,
        documents: BTreeSet::from([DocumentId::new("file|139977")]),
    }
}

pub(crate) fn draft(note: DraftNote, earlier: Option<EarlierDraft>) -> Draft {
    let assessment = Assessment {
        earlier,
        ..assessment()
    };
    let versions = Versions {
        models: vec![ModelVersion {
            pack: "solitary".into(),
            version: "1".into(),
        }],
        synthesis: "composer 1".into(),
        pipeline: "skin-assist 0.1.0".into(),
        language: Some(LanguageUse {
            model: "example-model-1".into(),
            prompt: "rank-2".into(),
            prompt_sha256: "ab".repeat(32),
            calls: 1,
            input_tokens: 900,
            output_tokens: 60,
            cost_micros: 0,
            fallback: None,
        }),
    };
    Draft::new(&assessment, Phi::new(note), versions, at("2026-01-05T10:00:03Z"))
}

fn firm() -> Firm {
    Firm {
        id: FirmId::new("derm"),
        url_prefix: "derm-a".into(),
        status: FirmStatus::Active,
        mode: Mode::Draft,
        intended_use: None,
        categories: std::collections::BTreeMap::new(),
        api_key: None,
        connected_at: at("2026-01-05T08:00:00Z"),
        photos_since: at("2026-01-05T08:00:00Z"),
    }
}

fn token() -> AccessToken {
    AccessToken {
        secret: Secret::new("the-token".into()),
        issued_at: at("2026-01-05T10:00:00Z"),
        expires_at: at("2026-01-05T10:15:00Z"),
    }
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

/// An EHR that takes everything and remembers it.
#[derive(Default)]
struct Recorder {
    bodies: Mutex<Vec<Bytes>>,
}

impl Recorder {
    fn sent(&self) -> Vec<Value> {
        let bodies = self.bodies.lock().unwrap();
        let read = |body: &Bytes| serde_json::from_slice(body).unwrap();
        bodies.iter().map(read).collect()
    }
}

#[async_trait]
impl Transport for Recorder {
    async fn send(&self, request: Request<Bytes>, _limit_bytes: usize) -> Result<Response<Bytes>, TransportError> {
        let location = format!("{}/1", request.uri().path());
        let status = if request.method() == http::Method::PUT {
            200
        } else {
            201
        };
        self.bodies.lock().unwrap().push(request.into_body());
        let reply = Response::builder().status(status).header("location", location);
        Ok(reply.body(Bytes::new()).unwrap())
    }
}
