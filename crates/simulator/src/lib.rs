//! A practice EHR to work against: OAuth2, FHIR, pre-signed photo URLs, a call quota, and generated clinic days.
//!
//! Deterministic from a seed. The logic is sans-I/O (a request and the time go in, a response comes out), so that it
//! runs over HTTP in real time and in process under virtual time with the same code. [`PracticeEhr`] is the handle,
//! [`http_server`] the HTTP edge, [`ClinicScript`] a clinic to play, [`Report`] what really happened, counted here
//! and not by the client about itself.

mod calendar;
mod chart;
pub mod clinic_days;
mod dialect;
mod ehr;
mod faults;
mod fhir;
mod finish;
pub mod http_server;
mod oauth;
mod photo_host;
mod photos;
pub mod picture;
mod quirks;
mod quota;
mod reply;
mod report;
mod script;
mod specification;
mod state;

pub use dialect::{
    AttachmentForm, AuthorRule, ClientAuthentication, DatePrefix, Dialect, DocumentRules, DocumentScope, DraftRules,
    DraftTarget, EncounterSearchGranularity, Grant, PageLinks, QuotaWindow, ReferenceForm, SearchRules, TokenRules,
    Totals,
};
pub use ehr::{PracticeEhr, ScriptProgress};
pub use faults::{FailNext, Faults, PhotoFault};
pub use oauth::{KeyError, PublicKey};
pub use quirks::{ExpiresIn, LastUpdatedForm, NextLink, PagingSession, Quirks, RetryAfter, Spoilt, SpoiltReply};
pub use quota::{CallKind, Calls};
pub use reply::{Host, Outcome, Reply};
pub use report::{DocumentReport, DraftReport, PhotoReport, Placement, Region, Report, UnmatchedDraft};
pub use script::{ClinicScript, ScriptAction, ScriptEvent, ScriptOptions};
pub use specification::{
    CategorySpec, Credentials, DocumentSpec, EncounterSpec, EncounterStatus, Endpoints, Error, ExpectedRoute, FirmSpec,
    Options, PhotoContent, PhotoSpec, PractitionerSpec, ResultSpec, Review,
};
