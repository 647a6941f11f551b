//! Errors by meaning, and their class: what may be tried again is decided here, once.

use std::time::Duration;

use crate::domain::Reason;

/// What an error means for the work at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// May go well later, not before the given time has passed (none: the usual backoff).
    Transient(Option<Duration>),
    /// Will not go well however often it is tried.
    Permanent,
    /// The token was not taken: renew it and try again.
    Unauthorized,
    /// The lease is lost: somebody else works on it. A quiet stop.
    LeaseLost,
}

/// The state store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The fence has moved on: the lease is lost. Nothing was written.
    #[error("the lease was lost: somebody else has it now")]
    LeaseLost,
    /// The cursor was moved by somebody else since it was read. Nothing was written.
    #[error("the cursor was moved by another worker")]
    CursorMoved,
    /// The item does not exist.
    #[error("there is no such {what}")]
    NotFound {
        /// What kind of item.
        what: &'static str,
    },
    /// The item exists already.
    #[error("there is such a {what} already")]
    Exists {
        /// What kind of item.
        what: &'static str,
    },
    /// The firm is not served, or not in draft mode: nothing may be written into its charts. Nothing was recorded.
    #[error("the firm's mode does not permit drafts")]
    DraftsNotPermitted,
    /// This store keeps nothing of the kind.
    #[error("this store keeps no {what}")]
    NotKept {
        /// What.
        what: &'static str,
    },
    /// The store cannot be reached, is busy, or its disk is full.
    #[error("the state store is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is no room for another photo. Nothing was kept.
    #[error("no room for another photo")]
    NoRoom,
    /// A row cannot be read: written by another version, or damaged.
    #[error("a row of {table} cannot be read")]
    Corrupt {
        /// Which table.
        table: &'static str,
        #[source]
        /// What the decoder said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StateError {
    /// What it means for the work at hand.
    pub const fn class(&self) -> Class {
        match self {
            // It waits for what the firm is switched to.
            Self::LeaseLost | Self::CursorMoved | Self::DraftsNotPermitted => Class::LeaseLost,
            Self::NotFound { .. } | Self::Exists { .. } | Self::NotKept { .. } | Self::Corrupt { .. } => {
                Class::Permanent
            }
            Self::Unavailable(_) | Self::NoRoom => Class::Transient(None),
        }
    }
}

/// The EHR, the token endpoint or the photo host did not do it.
///
/// The texts are of this software: what a server said is never quoted, since servers quote patients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EhrError {
    /// 401: the token is not taken (any more).
    #[error("the EHR does not take the access token (401)")]
    Unauthorized,
    /// 403: the resource is not granted to us.
    #[error("the EHR does not grant this resource (403)")]
    Forbidden,
    /// 404 or 410.
    #[error("the EHR does not have this resource ({status})")]
    NotFound {
        /// The HTTP status.
        status: u16,
    },
    /// 429.
    #[error("the EHR refuses the call: over its quota (429)")]
    OverQuota {
        /// `Retry-After`, where the EHR sends it.
        retry_after: Option<Duration>,
    },
    /// The token endpoint refuses the credential.
    #[error("the token endpoint refuses the credential ({status})")]
    CredentialRefused {
        /// The HTTP status.
        status: u16,
    },
    /// The token endpoint knows the client and does not grant it the scope that the profile asks for.
    #[error("the token endpoint does not grant the scope ({status})")]
    ScopeRefused {
        /// The HTTP status.
        status: u16,
    },
    /// The credential is not of the kind that this EHR takes, or cannot be read; nothing was asked.
    #[error("the firm's credential cannot be used: {what}")]
    CredentialUnusable {
        /// What is wrong with it, in our words.
        what: &'static str,
    },
    /// Another 4xx: the request is wrong in the EHR's eyes.
    #[error("the EHR refuses the request ({status})")]
    Rejected {
        /// The HTTP status.
        status: u16,
    },
    /// 409, 412, or 404 and 410 to a change: the resource is not there in the version that was to be changed (any more).
    #[error("the resource was changed in the EHR meanwhile ({status})")]
    Changed {
        /// The HTTP status.
        status: u16,
    },
    /// 5xx, a connection refused or broken, a time-out.
    #[error("the EHR cannot be reached or is failing: {what}")]
    Unavailable {
        /// What happened, in our words.
        what: &'static str,
    },
    /// The answer cannot be understood.
    #[error("the EHR's answer cannot be understood: {what}")]
    Malformed {
        /// What is wrong, in our words.
        what: &'static str,
    },
    /// The EHR forces a practitioner as a draft's author, and the visit named none when its photo was found.
    #[error("the EHR forces a practitioner as author, and the visit names none")]
    NoAuthor,
    /// The profile says that the EHR holds no drafts.
    #[error("this EHR holds no drafts")]
    DraftsNotHeld,
    /// The photo's URL expired or its signature was refused; the document has to be read again.
    #[error("the photo's URL is not valid (any more)")]
    PhotoUrlExpired,
    /// The photo cannot be taken.
    #[error(transparent)]
    PhotoRefused(#[from] PhotoRefusal),
}

impl EhrError {
    /// What it means for the work at hand.
    pub const fn class(&self) -> Class {
        match self {
            Self::Unauthorized => Class::Unauthorized,
            Self::OverQuota { retry_after } => Class::Transient(*retry_after),
            Self::Unavailable { .. } | Self::Malformed { .. } | Self::Changed { .. } | Self::PhotoUrlExpired => {
                Class::Transient(None)
            }
            Self::Forbidden
            | Self::NotFound { .. }
            | Self::CredentialRefused { .. }
            | Self::ScopeRefused { .. }
            | Self::CredentialUnusable { .. }
            | Self::Rejected { .. }
            | Self::NoAuthor
            | Self::DraftsNotHeld
            | Self::PhotoRefused(_) => Class::Permanent,
        }
    }

    /// Code and hint for people.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Unauthorized => Reason::new("ehr.token-not-taken", "check the firm's credential and its scopes"),
            Self::Forbidden => Reason::new(
                "ehr.forbidden",
                "ask the EHR's vendor to grant this resource to the client",
            ),
            Self::NotFound { .. } => Reason::new("ehr.not-found", "it was removed from the chart, or the ids moved"),
            Self::OverQuota { .. } => Reason::new(
                "ehr.over-quota",
                "lower ehr.calls_per_minute: the key's quota is smaller than configured, or shared",
            ),
            Self::CredentialRefused { .. } => Reason::new(
                "ehr.credential-refused",
                "replace it with `skin-assist firm credential`",
            ),
            Self::ScopeRefused { .. } => Reason::new(
                "ehr.scope-refused",
                "have the EHR grant the client what the profile's token.scope asks for, or ask for less in a copy of the profile",
            ),
            Self::CredentialUnusable { .. } => Reason::new(
                "ehr.credential-unusable",
                "give it one of the kind that the profile asks for with `skin-assist firm credential`",
            ),
            Self::Rejected { .. } => Reason::new("ehr.rejected", "the profile does not fit this EHR; see the log"),
            Self::Changed { .. } => Reason::new(
                "ehr.changed-meanwhile",
                "somebody works on the same draft: it is looked at again",
            ),
            Self::Unavailable { .. } => Reason::new("ehr.unavailable", "the EHR was down or unreachable; replay later"),
            Self::Malformed { .. } => Reason::new("ehr.malformed", "the EHR's answers cannot be read; see the log"),
            Self::NoAuthor => Reason::new(
                "draft.no-author",
                "the visit names no treating practitioner (participant PPRF), whom this EHR forces as author",
            ),
            Self::DraftsNotHeld => Reason::new(
                "draft.not-held",
                "this EHR takes no drafts (draft.target of its profile): the result stays here",
            ),
            Self::PhotoUrlExpired => Reason::new("photo.url-expired", "the photo host refused its own URL; replay"),
            Self::PhotoRefused(refusal) => refusal.reason(),
        }
    }
}

/// Why a photo cannot be taken. Each is final for these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PhotoRefusal {
    /// No known image format.
    #[error("the document is not an image in a supported format")]
    UnsupportedFormat,
    /// A known format that is not decoded here.
    #[error("HEIC images are not supported")]
    Heic,
    /// The image is damaged or cut off.
    #[error("the image is damaged")]
    Broken,
    /// The header asks for more pixels than allowed; nothing was allocated.
    #[error("the image claims more pixels than allowed")]
    TooManyPixels,
    /// More bytes than allowed; the download was stopped.
    #[error("the photo has more bytes than allowed")]
    TooManyBytes,
    /// No bytes at all.
    #[error("the photo is empty")]
    Empty,
    /// The document has no attachment that could be downloaded.
    #[error("the document has no attachment")]
    NoAttachment,
    /// Its URL is not one that may be fetched: scheme, host or address.
    #[error("the photo's URL is not allowed")]
    UrlNotAllowed,
}

impl PhotoRefusal {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::UnsupportedFormat,
        Self::Heic,
        Self::Broken,
        Self::TooManyPixels,
        Self::TooManyBytes,
        Self::Empty,
        Self::NoAttachment,
        Self::UrlNotAllowed,
    ];

    /// Code and hint for people.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::UnsupportedFormat => {
                Reason::new("photo.unsupported-format", "supported are JPEG, PNG, TIFF and WebP")
            }
            Self::Heic => Reason::new(
                "photo.heic",
                "HEIC is not supported: set the camera to \"most compatible\" (JPEG)",
            ),
            Self::Broken => Reason::new("photo.broken", "the file in the chart is damaged: photograph again"),
            Self::TooManyPixels => Reason::new("photo.too-many-pixels", "raise photos.max_megapixels if it is genuine"),
            Self::TooManyBytes => Reason::new("photo.too-many-bytes", "raise photos.max_megabytes if it is genuine"),
            Self::Empty => Reason::new("photo.empty", "the file in the chart is empty: photograph again"),
            Self::NoAttachment => Reason::new("photo.no-attachment", "the document in the chart has no file"),
            Self::UrlNotAllowed => Reason::new(
                "photo.url-not-allowed",
                "if the host is right, add it to ehr.photo_hosts",
            ),
        }
    }
}

/// The draft was not taken. The difference that matters is whether the EHR may have it all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// It was certainly not taken: never sent, or refused by a reply.
    #[error("the draft was not taken")]
    NotTaken(#[source] EhrError),
    /// It was sent and the outcome is unknown: the reply was lost, late, or a 5xx.
    #[error("the draft was sent, and whether the EHR has it is unknown")]
    Unknown(#[source] EhrError),
}

/// The vision models did not do it.
#[derive(Debug, thiserror::Error)]
pub enum VisionError {
    /// The photo cannot be taken.
    #[error(transparent)]
    Photo(#[from] PhotoRefusal),
    /// The model gave no usable answer: not the shape its manifest says, or not finite.
    #[error("the model gave no usable answer: {what}")]
    Model {
        /// What is wrong, in our words.
        what: &'static str,
    },
    /// No model can be run now.
    #[error("the models are not available: {what}")]
    Unavailable {
        /// What happened, in our words.
        what: &'static str,
    },
    /// A model server or endpoint has no room for the photo now. Nothing was done.
    #[error("the models are busy")]
    Busy {
        /// How long it asks to be left alone, where it says so.
        retry_after: Option<Duration>,
    },
    /// There is no such endpoint, or no model of this route behind it. Tried again as an outage is: it may be being replaced.
    #[error("the model endpoint is not there: {what}")]
    EndpointMissing {
        /// What is not there, in our words.
        what: &'static str,
    },
    /// The endpoint refuses us.
    #[error("the model endpoint refuses us: {what}")]
    EndpointDenied {
        /// What it refuses, in our words.
        what: &'static str,
    },
}

impl VisionError {
    /// What it means for the work at hand.
    pub const fn class(&self) -> Class {
        match self {
            Self::Photo(_) | Self::Model { .. } => Class::Permanent,
            Self::Busy { retry_after } => Class::Transient(*retry_after),
            Self::Unavailable { .. } | Self::EndpointMissing { .. } | Self::EndpointDenied { .. } => {
                Class::Transient(None)
            }
        }
    }

    /// Code and hint for people.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Photo(refusal) => refusal.reason(),
            Self::Model { .. } => Reason::new("model.no-usable-answer", "check the model pack; then replay"),
            Self::Unavailable { .. } => Reason::new("model.unavailable", "check the model runtime; then replay"),
            Self::Busy { .. } => Reason::new(
                "model.busy",
                "the model servers are too few for the photos; then replay",
            ),
            Self::EndpointMissing { .. } => Reason::new(
                "model.endpoint-missing",
                "check the names and addresses of model endpoints in the section models; then replay",
            ),
            Self::EndpointDenied { .. } => Reason::new(
                "model.endpoint-denied",
                "let this program's role invoke the model endpoint; then replay",
            ),
        }
    }
}

/// The language model did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LanguageError {
    /// No answer.
    #[error("the language model is not available: {what}")]
    Unavailable {
        /// What happened, in our words.
        what: &'static str,
    },
    /// The endpoint refuses what it was asked: another try would be refused, too.
    #[error("the endpoint of the language model refuses the request: {what}")]
    Refused {
        /// What happened, in our words.
        what: &'static str,
    },
}
