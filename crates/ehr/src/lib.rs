//! The EHR: a FHIR client by profile, OAuth2, photos from pre-signed URLs, the composer of draft notes.
//!
//! [`EhrClient`] implements the EHR's ports of `skin_assist_core`. What is different about an EHR is a [`Profile`], data
//! and not code. The network is behind [`skin_assist_transport::Transport`], so that the client runs under virtual time too.
//!
//! # What is tried again, and where
//! Nothing is tried again in here: one call of a port is at most one request, so that each request is paid for by one
//! grant of the quota (asking for a token, which costs none, is a few at most). The stages try again, by [`skin_assist_core::ports::EhrError::class`]:
//!
//! | request | lost reply, time-out, 5xx, 408 | 429 | 401 | other 4xx | unreadable answer |
//! | --- | --- | --- | --- | --- | --- |
//! | search, read (GET) | later, with backoff | after the hold | refresh the token, then again | given up | later, with backoff |
//! | token (POST) | later, with backoff | later, with backoff | credential refused: the firm stands still | given up | later, with backoff |
//! | photo (GET, photo host) | later, with backoff | later, with backoff | read the document again (also 400, 403) | given up | - |
//! | draft (POST), not sent | later, with backoff | - | - | - | - |
//! | draft (POST), sent | **never by itself**: uncertain | after the hold | refresh the token, then again | given up | **never by itself**: uncertain |
//!
//! "Uncertain" is settled by a search where the profile has one, and by an operator where it has none.
//!
//! # Failure
//! Texts in errors and logs are this software's own. Bodies, URLs with a query, names and tokens are in neither.

mod circuit;
mod client;
mod client_key;
mod compose;
mod connection;
mod context;
mod draft;
mod narrative;
mod photo;
mod photo_hosts;
mod probe;
mod profile;
mod reply;
mod token;
mod urls;
mod view;

pub use client::EhrClient;
pub use client_key::{ClientKey, KeyError};
pub use compose::{ASSESSED_IMAGE, IDENTIFIER_SYSTEM, LABEL, NOT_BY_THE_AUTHOR};
pub use connection::{ConnectionError, EhrConnection, Limits};
pub use photo_hosts::{HostPattern, NotAHost};
pub use probe::{Code, Difference, Finding, Latency, ProbeError, ProbeReport, Verdict};
pub use profile::{
    AddendumRule, AuthorRule, BinaryAccept, CategoryRules, ChangeParameter, ChangeSearch, DocumentRules,
    DocumentSearch, DraftContent, DraftRules, DraftSearchRule, DraftStatus, DraftTarget, EncounterRules,
    FinishedVisitRule, Granularity, NextPage, PagingRules, PhotoRules, Profile, ProfileError, ProvenanceRule, Quota,
    QuotaPeriod, QuotaScope, ReferenceForm, RequestRules, SearchPrefix, Urls,
};
pub use token::{
    ClientAuthentication, CredentialKind, Grant, LONGEST_TOKEN_LIFE, SHORTEST_TOKEN_LIFE, SigningAlgorithm, TokenRules,
};
