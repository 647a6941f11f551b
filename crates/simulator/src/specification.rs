//! What a practice consists of, as its maker states it: firms, practitioners, categories, visits, documents, and how the
//! EHR behaves. Plain data; the ids that are left out are given by the EHR.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    dialect::{Dialect, EncounterSearchGranularity},
    faults::PhotoFault,
    oauth::PublicKey,
    picture::Condition,
};

/// What the maker of a practice asked for cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No firm has this URL prefix.
    #[error("no firm has the URL prefix {0:?}")]
    UnknownFirm(String),
    /// A firm with this URL prefix exists already.
    #[error("a firm with the URL prefix {0:?} exists already")]
    FirmExists(String),
    /// The firm has no such encounter.
    #[error("the firm {firm:?} has no encounter {encounter:?}")]
    UnknownEncounter {
        /// The firm's URL prefix.
        firm: String,
        /// The encounter's id.
        encounter: String,
    },
    /// The firm has no such document.
    #[error("the firm {firm:?} has no document {document:?}")]
    UnknownDocument {
        /// The firm's URL prefix.
        firm: String,
        /// The document's id.
        document: String,
    },
    /// The firm has no such practitioner, or none at all.
    #[error("the firm {firm:?} has no practitioner {practitioner:?}")]
    UnknownPractitioner {
        /// The firm's URL prefix.
        firm: String,
        /// The practitioner's id; empty when the firm has none.
        practitioner: String,
    },
    /// The firm's value set has no such category.
    #[error("the firm {firm:?} has no document category {category:?}")]
    UnknownCategory {
        /// The firm's URL prefix.
        firm: String,
        /// The category's code.
        category: String,
    },
    /// The id is taken.
    #[error("the firm {firm:?} has a record with the id {id:?} already")]
    IdExists {
        /// The firm's URL prefix.
        firm: String,
        /// The id.
        id: String,
    },
    /// The script cannot be played at this speed.
    #[error("a script is played at a finite speed above zero, not {0}")]
    Speed(String),
}

/// Where the EHR's hosts are found; URLs without a trailing slash. References in replies are built from these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// The FHIR API.
    pub api: String,
    /// The OpenID Connect realm's host.
    pub token: String,
    /// The host of the pre-signed photo URLs.
    pub photos: String,
}

impl Default for Endpoints {
    /// Hosts for use in process: names that resolve nowhere.
    fn default() -> Self {
        Self {
            api: "https://practice-ehr.example".to_owned(),
            token: "https://practice-login.example".to_owned(),
            photos: "https://practice-photos.example".to_owned(),
        }
    }
}

impl Endpoints {
    /// The path of the token endpoint on [`Endpoints::token`].
    pub const TOKEN_PATH: &'static str = "/realms/ema/protocol/openid-connect/token";
}

/// How the EHR behaves as a whole.
#[derive(Debug, Clone)]
pub struct Options {
    /// Everything that looks random follows from this.
    pub seed: u64,
    /// Where the hosts are; the HTTP server replaces this with what it bound.
    pub endpoints: Endpoints,
    /// The vendor's API key, shared by all firms that do not have their own.
    pub api_key: String,
    /// Calls per API key in any 60 s, or in the time that the dialect's quota window says.
    pub quota_per_minute: u32,
    /// How long an access token lives.
    pub token_lifetime: Duration,
    /// How long a pre-signed photo URL lives; whole seconds.
    pub photo_url_lifetime: Duration,
    /// How fine the encounter search's dates may be, where that is finer than the dialect's.
    pub encounter_search: EncounterSearchGranularity,
    /// How the EHR speaks.
    pub dialect: Dialect,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            endpoints: Endpoints::default(),
            api_key: "practice-api-key".to_owned(),
            quota_per_minute: 1_000,
            token_lifetime: Duration::from_mins(15),
            photo_url_lifetime: Duration::from_mins(5),
            encounter_search: EncounterSearchGranularity::Day,
            dialect: Dialect::modmed_ema(),
        }
    }
}

/// What a client is expected to do with a document. Truth, for the report; nothing in the API tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExpectedRoute {
    /// A photo of single lesions: detector, then classifier on each crop.
    Solitary,
    /// A photo of a rash: classifier.
    Widespread,
    /// Not to be looked at.
    Ignored,
}

impl ExpectedRoute {
    /// The word for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Solitary => "Solitary",
            Self::Widespread => "Widespread",
            Self::Ignored => "Ignored",
        }
    }
}

/// One of a firm's document categories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CategorySpec {
    /// The code, unique in the firm.
    pub code: String,
    /// The words the practice chose.
    pub display: String,
    /// What the practice wants done with its photos.
    pub route: ExpectedRoute,
}

impl CategorySpec {
    /// A category.
    pub fn new(code: &str, display: &str, route: ExpectedRoute) -> Self {
        Self {
            code: code.to_owned(),
            display: display.to_owned(),
            route,
        }
    }
}

/// A clinician.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PractitionerSpec {
    /// The Practitioner's id.
    pub id: String,
    /// Obviously made up.
    pub given: String,
    /// Obviously made up.
    pub family: String,
}

impl PractitionerSpec {
    /// A clinician.
    pub fn new(id: &str, given: &str, family: &str) -> Self {
        Self {
            id: id.to_owned(),
            given: given.to_owned(),
            family: family.to_owned(),
        }
    }
}

/// A practice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmSpec {
    /// The path segment that names the firm in every URL.
    pub prefix: String,
    /// For people.
    pub name: String,
    /// Who sees patients there.
    pub practitioners: Vec<PractitionerSpec>,
    /// The firm's value set `document-category`.
    pub categories: Vec<CategorySpec>,
    /// The firm's own API key, when it does not use the vendor's.
    pub api_key: Option<String>,
    /// The key that the firm's client has registered, for `private_key_jwt`.
    pub public_key: Option<PublicKey>,
    /// A user's name and password, for the grant `password`.
    pub user: Option<(String, String)>,
}

impl FirmSpec {
    /// A firm with two practitioners and the usual five categories: `PHOTO-LESION` (solitary), `PHOTO-RASH`
    /// (widespread), `PHOTO-COSMETIC`, `PATH-REPORT` and `CONSENT` (ignored).
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            name: format!("Example Practice {prefix}"),
            practitioners: vec![
                PractitionerSpec::new("201", "Robin", "Example"),
                PractitionerSpec::new("202", "Sasha", "Specimen"),
            ],
            categories: vec![
                CategorySpec::new("PHOTO-LESION", "Clinical photo - lesion", ExpectedRoute::Solitary),
                CategorySpec::new("PHOTO-RASH", "Clinical photo - rash", ExpectedRoute::Widespread),
                CategorySpec::new("PHOTO-COSMETIC", "Cosmetic before/after", ExpectedRoute::Ignored),
                CategorySpec::new("PATH-REPORT", "Pathology report", ExpectedRoute::Ignored),
                CategorySpec::new("CONSENT", "Consent form", ExpectedRoute::Ignored),
            ],
            api_key: None,
            public_key: None,
            user: None,
        }
    }

    /// The code of the first category with this route.
    pub fn category_for(&self, route: ExpectedRoute) -> Option<&str> {
        self.categories
            .iter()
            .find(|category| category.route == route)
            .map(|category| category.code.as_str())
    }
}

/// What a client needs to connect to one firm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Credentials {
    /// The firm's URL prefix.
    pub firm: String,
    /// The practice's name.
    pub name: String,
    /// The API's host.
    pub api_base: String,
    /// The FHIR base, spelt out.
    pub fhir_base: String,
    /// The token endpoint.
    pub token_url: String,
    /// The firm's own token endpoint, for the grant `password`.
    #[serde(skip)]
    pub legacy_token_url: String,
    /// The base of the pre-signed photo URLs: the only host photos come from.
    pub photo_base: String,
    /// OAuth2 client.
    pub client_id: String,
    /// OAuth2 client secret; sent in the body.
    pub client_secret: String,
    /// The value of `x-api-key`.
    pub api_key: String,
    /// The firm's categories with what the practice wants done with each.
    pub categories: Vec<CategorySpec>,
}

/// `Encounter.status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EncounterStatus {
    /// Not yet begun.
    Planned,
    /// The patient is here.
    Arrived,
    /// Seen by triage.
    Triaged,
    /// Being seen.
    #[default]
    InProgress,
    /// Paused.
    OnLeave,
    /// Over.
    Finished,
    /// Did not take place.
    Cancelled,
    /// Should never have been there.
    EnteredInError,
}

impl EncounterStatus {
    /// FHIR's code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Arrived => "arrived",
            Self::Triaged => "triaged",
            Self::InProgress => "in-progress",
            Self::OnLeave => "onleave",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
            Self::EnteredInError => "entered-in-error",
        }
    }

    /// From FHIR's code.
    pub fn from_code(code: &str) -> Option<Self> {
        [
            Self::Planned,
            Self::Arrived,
            Self::Triaged,
            Self::InProgress,
            Self::OnLeave,
            Self::Finished,
            Self::Cancelled,
            Self::EnteredInError,
        ]
        .into_iter()
        .find(|status| status.code() == code)
    }
}

/// A visit. What is left out the EHR chooses: the next id, a new patient, the first practitioner.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EncounterSpec {
    /// The Encounter's id.
    pub id: Option<String>,
    /// The Patient's id; one that does not exist yet is made.
    pub patient: Option<String>,
    /// The treating practitioner's id.
    pub practitioner: Option<String>,
    /// The status to open with.
    pub status: EncounterStatus,
}

/// What a clinician does with a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Review {
    /// It is final from now on.
    Sign,
    /// Something else stands in it.
    Edit,
    /// It is taken off the chart.
    Remove,
}

/// An earlier result of tissue, as a laboratory files it.
#[derive(Debug, Clone)]
pub struct ResultSpec {
    /// The Patient's id; one that does not exist yet is made.
    pub patient: String,
    /// What was found: SNOMED CT.
    pub finding: String,
    /// Where: SNOMED CT.
    pub site: String,
    /// What the pathologist wrote: free text, with whatever such texts have in them.
    pub text: String,
}

/// Where a photo's bytes come from.
#[derive(Debug, Clone)]
pub enum PhotoContent {
    /// A generated picture, rendered when it is first asked for.
    Synthetic {
        /// The picture's seed.
        seed: u64,
        /// What is on the skin; nothing when absent.
        condition: Option<Condition>,
        /// Upright width in pixels.
        width: u32,
        /// Upright height in pixels.
        height: u32,
        /// EXIF orientation, 1 to 8.
        orientation: u8,
    },
    /// These bytes.
    Bytes(Bytes),
}

/// A photo to attach.
#[derive(Debug, Clone)]
pub struct PhotoSpec {
    /// The DocumentReference's id, such as `file|139977`.
    pub id: Option<String>,
    /// The category's code.
    pub category: String,
    /// The bytes.
    pub content: PhotoContent,
    /// What the assistant typed.
    pub description: String,
    /// Whether attaching bumps the encounter's `lastUpdated`.
    pub touches_encounter: bool,
    /// What is wrong with the file, if anything.
    pub fault: Option<PhotoFault>,
}

impl PhotoSpec {
    /// A small generated picture in this category.
    pub fn synthetic(category: &str, seed: u64, condition: Option<Condition>) -> Self {
        Self {
            id: None,
            category: category.to_owned(),
            content: PhotoContent::Synthetic {
                seed,
                condition,
                width: 480,
                height: 360,
                orientation: 1,
            },
            description: "Clinical photo".to_owned(),
            touches_encounter: false,
            fault: None,
        }
    }
}

/// A document that is not a picture.
#[derive(Debug, Clone)]
pub struct DocumentSpec {
    /// The DocumentReference's id.
    pub id: Option<String>,
    /// The category's code.
    pub category: String,
    /// What `type.text` says.
    pub media_type: String,
    /// What the assistant typed.
    pub description: String,
    /// The file.
    pub content: Bytes,
    /// Whether attaching bumps the encounter's `lastUpdated`.
    pub touches_encounter: bool,
}

impl DocumentSpec {
    /// A one-page PDF in this category.
    pub fn pdf(category: &str, description: &str) -> Self {
        Self {
            id: None,
            category: category.to_owned(),
            media_type: "application/pdf".to_owned(),
            description: description.to_owned(),
            content: Bytes::from_static(
                b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n\
                  2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n\
                  3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]>>endobj\n\
                  trailer<</Root 1 0 R>>\n%%EOF\n",
            ),
            touches_encounter: false,
        }
    }
}
