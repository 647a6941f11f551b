//! How an EHR speaks: its paths, its token endpoint, its searches, where a photo's bytes are, what a draft has to be.
//!
//! Plain data. A dialect says what the EHR documents about itself and keeps to; what it gets wrong is a quirk. The three
//! constructors are starting points: a test takes one and changes the fields that it is about.

use std::time::Duration;

/// How an EHR speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an offer that an EHR makes or does not make"
)]
pub struct Dialect {
    /// The path of a firm's FHIR service on the API host; `{firm}` stands for the firm's URL prefix.
    pub service_path: String,
    /// Whether each call brings `x-api-key` besides its token. The quota is per key either way.
    pub needs_api_key: bool,
    /// Whether `metadata` is told without a token, and outside the quota.
    pub open_metadata: bool,
    /// How a client gets its token.
    pub token: TokenRules,
    /// `GET Encounter`.
    pub encounters: SearchRules,
    /// Whether `GET Encounter/{id}` is offered.
    pub encounter_read: bool,
    /// `GET DocumentReference`.
    pub documents: DocumentRules,
    /// Whether batch Bundles are taken at the service's root.
    pub batch: bool,
    /// How a document says where its bytes are.
    pub attachments: AttachmentForm,
    /// What may be written back.
    pub drafts: DraftRules,
    /// Whether results of the laboratory, pathology among them, can be searched: `GET Observation`.
    pub laboratory: bool,
    /// How references are written.
    pub references: ReferenceForm,
    /// Whether results carry `meta.versionId`.
    pub version_ids: bool,
    /// What `Bundle.total` counts.
    pub totals: Totals,
    /// Whether a full last page links to a next one, which turns out to be empty.
    pub links_past_the_end: bool,
    /// What a `next` link looks like.
    pub page_links: PageLinks,
    /// In what time the calls of the quota may be made.
    pub quota_window: QuotaWindow,
    /// How many minutes the practice's day is ahead of UTC; negative is behind.
    pub day_offset_minutes: i32,
}

/// How a client gets its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRules {
    /// How a client may prove who it is, for the grant `client_credentials`.
    pub authentications: Vec<ClientAuthentication>,
    /// The grants that are offered.
    pub grants: Vec<Grant>,
    /// Whether `{service}/.well-known/smart-configuration` is told, without a token.
    pub discovery: bool,
}

/// How a client proves who it is at the token endpoint. The names are those of RFC 8414.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientAuthentication {
    /// Id and secret in the body.
    SecretPost,
    /// Id and secret in the `Authorization` header.
    SecretBasic,
    /// A signed assertion (RFC 7523), RS384 or ES384, against the firm's registered public key.
    PrivateKeyJwt,
}

impl ClientAuthentication {
    /// The name in `token_endpoint_auth_methods_supported`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SecretPost => "client_secret_post",
            Self::SecretBasic => "client_secret_basic",
            Self::PrivateKeyJwt => "private_key_jwt",
        }
    }
}

/// A way to a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Grant {
    /// The client's own credential, at the realm's token endpoint.
    ClientCredentials,
    /// A user's name and password at the firm's own endpoint, `{service path up to /fhir}/ws/oauth2/grant`. It gives a
    /// refresh token that is used again unchanged.
    Password,
}

/// How one resource is searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchRules {
    /// The parameters that are taken; any other is refused with 400. `_count`, `page` and `_sort` are named here too.
    pub parameters: Vec<&'static str>,
    /// Of these, the ones that take an OR-list.
    pub lists: Vec<&'static str>,
    /// How fine a date parameter may be.
    pub granularity: EncounterSearchGranularity,
    /// The comparisons that a date parameter takes. Without a prefix it is [`DatePrefix::Equal`], always.
    pub prefixes: Vec<DatePrefix>,
    /// The most entries on a page.
    pub max_count: usize,
    /// Whether a `_count` above that is cut to it; otherwise it is refused with 400.
    pub clamps_count: bool,
    /// The entries on a page when nothing is asked for.
    pub default_count: usize,
}

impl SearchRules {
    /// Whether this parameter is taken.
    pub fn takes(&self, parameter: &str) -> bool {
        self.parameters.contains(&parameter)
    }
}

/// How documents are searched and listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentRules {
    /// The parameters.
    pub search: SearchRules,
    /// What a search is at least about.
    pub scope: DocumentScope,
    /// Whether entries are whole, with `content`; otherwise they are SUBSETTED.
    pub whole_entries: bool,
}

/// What a document search is at least about; less is refused with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentScope {
    /// One patient.
    Patient,
    /// A patient, or encounters.
    PatientOrEncounter,
    /// Nothing: the whole practice can be searched.
    Anything,
}

/// How fine the values of a date parameter may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EncounterSearchGranularity {
    /// `yyyy-mm-dd` only, as documented; a finer value is refused.
    #[default]
    Day,
    /// Full instants are taken too and compared to the millisecond.
    Instant,
}

/// A comparison of FHIR's date search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatePrefix {
    /// `eq`.
    Equal,
    /// `gt`.
    Greater,
    /// `ge`.
    GreaterOrEqual,
    /// `lt`.
    Less,
    /// `le`.
    LessOrEqual,
}

impl DatePrefix {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Equal,
        Self::Greater,
        Self::GreaterOrEqual,
        Self::Less,
        Self::LessOrEqual,
    ];

    /// The two letters.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Equal => "eq",
            Self::Greater => "gt",
            Self::GreaterOrEqual => "ge",
            Self::Less => "lt",
            Self::LessOrEqual => "le",
        }
    }
}

/// How `attachment` says where the bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachmentForm {
    /// `url` on the photo host, signed and good for a few minutes.
    PreSigned,
    /// `url` is `Binary/{id}`, relative to the service.
    RelativeBinary,
    /// `url` is `{service}/Binary/{id}`.
    AbsoluteBinary,
    /// `data`: the bytes themselves, base64.
    Inline,
}

/// How `reference` is written in replies. All forms are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReferenceForm {
    /// `{service}/Patient/1`.
    Absolute,
    /// `Patient/1`.
    Relative,
    /// `Patient/1/_history/3`.
    Versioned,
}

/// What `Bundle.total` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Totals {
    /// The entries on this page.
    PageLocal,
    /// All matches.
    True,
    /// There is no `total`.
    Absent,
}

/// What a `next` link looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageLinks {
    /// The search again, with another `page`.
    Parameters,
    /// `{service}/Encounter?_cursor={opaque}`.
    Cursor,
    /// `{service}?_cursor={opaque}`: the resource is not named.
    RootCursor,
}

/// In what time the calls of the quota, [`Options::quota_per_minute`](crate::Options), may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaWindow {
    /// In any span of this length.
    Sliding(Duration),
    /// In each span of this length, counted from the full hour: who has used it up is shut out until the next begins.
    Fixed(Duration),
}

/// A resource that a draft can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DraftTarget {
    /// A Composition.
    Composition,
    /// A DocumentReference: a clinical note with its text in the attachment.
    DocumentReference,
}

impl DraftTarget {
    /// FHIR's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Composition => "Composition",
            Self::DocumentReference => "DocumentReference",
        }
    }
}

/// What may be written back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an offer that an EHR makes or does not make"
)]
pub struct DraftRules {
    /// The resources that can be created; none where nothing can be written.
    pub targets: Vec<DraftTarget>,
    /// Whether drafts can be read and found again: `GET Composition`, and notes in the document search.
    pub readable: bool,
    /// Whether `If-None-Exist` is heeded; where it is not, it is ignored in silence.
    pub conditional_create: bool,
    /// Whether a Composition can be changed by `PUT` with `If-Match`, as long as it is in that version.
    pub updatable: bool,
    /// The values taken as `Composition.status` and as `DocumentReference.docStatus`.
    pub statuses: Vec<&'static str>,
    /// Who may be the author.
    pub author: AuthorRule,
    /// The types of contained resources that are taken.
    pub contained: Vec<&'static str>,
    /// Whether a Composition is an inbound transcription: one type, one category, two sections with the text in
    /// `section.code.text`.
    pub transcription: bool,
}

/// Who may be a draft's author.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorRule {
    /// A Practitioner of the firm, and nobody else.
    Practitioner,
    /// A Practitioner of the firm, or a Device, contained or not.
    PractitionerOrDevice,
    /// As above, or nobody.
    Optional,
}

const PAGING: [&str; 2] = ["_count", "page"];

fn parameters(names: &[&'static str]) -> Vec<&'static str> {
    PAGING.iter().chain(names).copied().collect()
}

impl Default for Dialect {
    fn default() -> Self {
        Self::modmed_ema()
    }
}

impl Dialect {
    /// ModMed EMA, as its public documentation describes it.
    pub fn modmed_ema() -> Self {
        let prefixes = vec![DatePrefix::Equal, DatePrefix::Greater, DatePrefix::LessOrEqual];
        Self {
            service_path: "/firm/{firm}/ema/fhir/v2".to_owned(),
            needs_api_key: true,
            open_metadata: false,
            token: TokenRules {
                authentications: vec![ClientAuthentication::SecretPost],
                grants: vec![Grant::ClientCredentials, Grant::Password],
                discovery: false,
            },
            encounters: SearchRules {
                parameters: parameters(&["patient", "status", "date", "_lastUpdated"]),
                lists: Vec::new(),
                granularity: EncounterSearchGranularity::Day,
                prefixes: prefixes.clone(),
                max_count: 50,
                clamps_count: false,
                default_count: 50,
            },
            encounter_read: false,
            documents: DocumentRules {
                search: SearchRules {
                    parameters: parameters(&[
                        "patient",
                        "encounter",
                        "category",
                        "date",
                        "type",
                        "description",
                        "identifier",
                    ]),
                    lists: Vec::new(),
                    granularity: EncounterSearchGranularity::Day,
                    prefixes,
                    max_count: 10,
                    clamps_count: false,
                    default_count: 10,
                },
                scope: DocumentScope::Patient,
                whole_entries: false,
            },
            batch: false,
            attachments: AttachmentForm::PreSigned,
            drafts: DraftRules {
                targets: vec![DraftTarget::Composition],
                readable: false,
                conditional_create: false,
                updatable: false,
                statuses: vec!["preliminary"],
                author: AuthorRule::Practitioner,
                contained: Vec::new(),
                transcription: true,
            },
            laboratory: false,
            references: ReferenceForm::Absolute,
            version_ids: false,
            totals: Totals::PageLocal,
            links_past_the_end: true,
            page_links: PageLinks::Parameters,
            quota_window: QuotaWindow::Sliding(Duration::from_mins(1)),
            day_offset_minutes: -300,
        }
    }

    /// A general FHIR R4 server that offers everything: `_lastUpdated` and `_sort` everywhere, OR-lists, batches,
    /// conditional creates, drafts of both kinds.
    pub fn fhir_r4() -> Self {
        let search = |names: &[&'static str], lists: &[&'static str]| SearchRules {
            parameters: parameters(names),
            lists: lists.to_vec(),
            granularity: EncounterSearchGranularity::Instant,
            prefixes: DatePrefix::ALL.to_vec(),
            max_count: 200,
            clamps_count: true,
            default_count: 20,
        };
        Self {
            service_path: "/{firm}/fhir".to_owned(),
            needs_api_key: false,
            open_metadata: true,
            token: TokenRules {
                authentications: vec![
                    ClientAuthentication::SecretPost,
                    ClientAuthentication::SecretBasic,
                    ClientAuthentication::PrivateKeyJwt,
                ],
                grants: vec![Grant::ClientCredentials, Grant::Password],
                discovery: true,
            },
            encounters: search(
                &["_id", "_lastUpdated", "_sort", "patient", "status", "date"],
                &["_id", "patient", "status"],
            ),
            encounter_read: true,
            documents: DocumentRules {
                search: search(
                    &[
                        "_id",
                        "_lastUpdated",
                        "_sort",
                        "patient",
                        "encounter",
                        "category",
                        "date",
                        "type",
                        "status",
                        "description",
                        "identifier",
                    ],
                    &[
                        "_id",
                        "patient",
                        "encounter",
                        "category",
                        "type",
                        "status",
                        "identifier",
                    ],
                ),
                scope: DocumentScope::Anything,
                whole_entries: true,
            },
            batch: true,
            attachments: AttachmentForm::RelativeBinary,
            drafts: DraftRules {
                targets: vec![DraftTarget::Composition, DraftTarget::DocumentReference],
                readable: true,
                conditional_create: true,
                updatable: true,
                statuses: vec!["preliminary", "final"],
                author: AuthorRule::Optional,
                contained: vec!["Device", "Provenance"],
                transcription: false,
            },
            laboratory: true,
            references: ReferenceForm::Relative,
            version_ids: true,
            totals: Totals::True,
            links_past_the_end: false,
            page_links: PageLinks::Parameters,
            quota_window: QuotaWindow::Sliding(Duration::from_mins(1)),
            day_offset_minutes: 0,
        }
    }

    /// A server of the US Core kind: documents patient by patient, drafts as clinical notes.
    pub fn uscore_r4() -> Self {
        let search = |names: &[&'static str]| SearchRules {
            parameters: parameters(names),
            lists: Vec::new(),
            granularity: EncounterSearchGranularity::Instant,
            prefixes: DatePrefix::ALL.to_vec(),
            max_count: 100,
            clamps_count: true,
            default_count: 50,
        };
        Self {
            token: TokenRules {
                grants: vec![Grant::ClientCredentials],
                ..Self::fhir_r4().token
            },
            encounters: search(&["_id", "_lastUpdated", "patient", "status", "date"]),
            documents: DocumentRules {
                search: search(&[
                    "_id",
                    "patient",
                    "encounter",
                    "category",
                    "date",
                    "type",
                    "status",
                    "identifier",
                ]),
                scope: DocumentScope::Patient,
                whole_entries: true,
            },
            batch: false,
            attachments: AttachmentForm::AbsoluteBinary,
            drafts: DraftRules {
                targets: vec![DraftTarget::DocumentReference],
                readable: true,
                conditional_create: false,
                updatable: false,
                statuses: vec!["preliminary"],
                author: AuthorRule::PractitionerOrDevice,
                contained: vec!["Device", "Provenance"],
                transcription: false,
            },
            version_ids: false,
            totals: Totals::Absent,
            ..Self::fhir_r4()
        }
    }

    /// Whether documents point to Binaries.
    pub(crate) const fn has_binaries(&self) -> bool {
        matches!(
            self.attachments,
            AttachmentForm::RelativeBinary | AttachmentForm::AbsoluteBinary
        )
    }

    /// The path of a firm's FHIR service.
    pub fn service_of(&self, firm: &str) -> String {
        self.service_path.replace("{firm}", firm)
    }

    /// The path of a firm's own token endpoint, for the grant `password`.
    pub fn legacy_token_path(&self, firm: &str) -> String {
        let service = self.service_of(firm);
        let before_fhir = service.rfind("/fhir").and_then(|at| service.get(..at));
        format!("{}/ws/oauth2/grant", before_fhir.unwrap_or(&service))
    }

    /// The firm in a path of its service, as it stands there, and the rest of the path.
    pub(crate) fn firm_in<'path>(&self, path: &'path str) -> Option<(&'path str, &'path str)> {
        let (before, after) = self.service_path.split_once("{firm}")?;
        let rest = path.strip_prefix(before)?;
        let firm = rest.split('/').next().filter(|firm| !firm.is_empty())?;
        let below = rest.get(firm.len()..)?.strip_prefix(after)?;
        (below.is_empty() || below.starts_with('/')).then_some((firm, below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firm_is_found_in_its_own_paths_only() {
        let modmed = Dialect::modmed_ema();
        assert_eq!(
            modmed.firm_in("/firm/a/ema/fhir/v2/Encounter"),
            Some(("a", "/Encounter"))
        );
        assert_eq!(modmed.firm_in("/firm/a/ema/fhir/v20/Encounter"), None);
        assert_eq!(modmed.legacy_token_path("a"), "/firm/a/ema/ws/oauth2/grant");
        let plain = Dialect::fhir_r4();
        assert_eq!(plain.firm_in("/a/fhir"), Some(("a", "")));
        assert_eq!(plain.firm_in("/a/fhir/Binary/1"), Some(("a", "/Binary/1")));
        assert_eq!(plain.firm_in("/fhir/Binary/1"), None);
        assert_eq!(plain.legacy_token_path("a"), "/a/ws/oauth2/grant");
        let bare = Dialect {
            service_path: "/{firm}".to_owned(),
            ..plain
        };
        assert_eq!(bare.firm_in("/a/Encounter"), Some(("a", "/Encounter")));
        assert_eq!(bare.firm_in("/"), None);
        assert_eq!(bare.legacy_token_path("a"), "/a/ws/oauth2/grant");
    }
}
