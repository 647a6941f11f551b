//! Profiles: what is different about an EHR, as data.
//!
//! The client asks the profile and never the vendor's name. Shipped profiles are embedded; a practice's own comes from a
//! file of the same form. Unknown keys are refused, so that a misspelt one is not silently without effect.

mod draft;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use skin_assist_core::{ports::ContextPart, quota::SMALLEST_BUDGET};

use crate::{photo_hosts::HostPattern, token::TokenRules};

pub use draft::{
    AddendumRule, AuthorRule, DraftContent, DraftRules, DraftSearchRule, DraftStatus, DraftTarget, FinishedVisitRule,
    ProvenanceRule, ReferenceForm,
};

/// The shipped profiles, by name.
const SHIPPED: [(&str, &str); 3] = [
    ("modmed-ema", include_str!("../profiles/modmed-ema.toml")),
    ("fhir-r4", include_str!("../profiles/fhir-r4.toml")),
    ("uscore-r4", include_str!("../profiles/uscore-r4.toml")),
];

/// What is different about an EHR.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name in configuration.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// Where things are.
    pub urls: Urls,
    /// What each request carries.
    pub request: RequestRules,
    /// How a token is asked for.
    pub token: TokenRules,
    /// How many calls it allows.
    pub quota: Quota,
    /// Going from one page of a search to the next.
    pub paging: PagingRules,
    /// Listing encounters.
    pub encounters: EncounterRules,
    /// Listing documents.
    pub documents: DocumentRules,
    /// The firm's document categories.
    pub categories: CategoryRules,
    /// What is read of a patient.
    #[serde(default)]
    pub context: ContextRules,
    /// Downloading photos.
    pub photos: PhotoRules,
    /// Writing drafts.
    pub draft: DraftRules,
}

/// Where things are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Urls {
    /// A firm's FHIR service: starts with `{base}`, and has `{firm}` where the firm's URL prefix goes, if anywhere.
    pub service: String,
}

/// What each request carries.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RequestRules {
    /// The media type of FHIR JSON.
    pub media_type: String,
    /// The header that carries the API key, where there is one.
    pub api_key_header: Option<String>,
    /// Further headers, the same for each call.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// How many calls the EHR allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Calls.
    pub calls: u32,
    /// In which time.
    pub per: QuotaPeriod,
    /// Who shares them.
    pub scope: QuotaScope,
}

impl Quota {
    /// The length of the window that the calls are counted in.
    pub const fn window(&self) -> Duration {
        Duration::from_secs(match self.per {
            QuotaPeriod::Minute => 60,
            QuotaPeriod::Hour => 3600,
        })
    }
}

/// The time that a quota is counted over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuotaPeriod {
    /// 60 s.
    Minute,
    /// 3,600 s.
    Hour,
}

/// Who shares a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuotaScope {
    /// All firms behind the API key.
    ApiKey,
    /// Each firm has its own.
    Firm,
}

/// Going from one page of a search to the next. The last page is one without entries, or one without a next.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PagingRules {
    /// How the next page is found.
    pub next: NextPage,
    /// The parameter that carries the page's number; only for [`NextPage::Number`].
    pub parameter: Option<String>,
}

/// How the next page is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NextPage {
    /// By `Bundle.link` with the relation `next`.
    Link,
    /// By the same search with the next number, from 1 on.
    Number,
}

/// Listing encounters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EncounterRules {
    /// `_count`: the largest page.
    pub page_size: u32,
    /// How what changed is asked for.
    pub changed: ChangeSearch,
    /// `_sort`, where the EHR takes it: oldest first, so that what changes meanwhile moves to pages still to come.
    pub sort: Option<String>,
    /// `participant.type` codes of the treating practitioner.
    pub treating_participant: Vec<String>,
}

/// How what changed is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeSearch {
    /// By which parameter.
    pub parameter: ChangeParameter,
    /// How fine.
    pub granularity: Granularity,
    /// With which prefix.
    pub prefix: SearchPrefix,
}

/// Search parameters for "changed since".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum ChangeParameter {
    /// When the record changed.
    #[serde(rename = "_lastUpdated")]
    LastUpdated,
    /// When the visit was, for EHRs that cannot search by change: those that began by yesterday are found.
    #[serde(rename = "date")]
    Date,
}

impl ChangeParameter {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LastUpdated => "_lastUpdated",
            Self::Date => "date",
        }
    }
}

/// How fine a date search is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Granularity {
    /// `yyyy-mm-dd`, in a time zone that nobody states.
    Day,
    /// An instant with milliseconds.
    Instant,
}

/// FHIR search prefixes for "changed since".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SearchPrefix {
    /// Greater than.
    Gt,
    /// Greater or equal.
    Ge,
}

impl SearchPrefix {
    /// As it stands in the parameter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gt => "gt",
            Self::Ge => "ge",
        }
    }
}

/// Listing documents.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentRules {
    /// `_count`: the largest page.
    pub page_size: u32,
    /// How the documents of one visit are asked for.
    pub search: DocumentSearch,
    /// The most visits in one OR-list of the parameter `encounter`; 0 where lists are not taken.
    pub encounters_in_list: usize,
    /// The most searches in one batch Bundle; 0 where there are none.
    pub searches_in_batch: usize,
    /// How all that changed in the firm is asked for, where it can be.
    pub changed: Option<ChangeSearch>,
    /// `_sort`, where the EHR takes it.
    pub sort: Option<String>,
    /// Whether search entries have `content`, so that its media type can be believed to be there.
    pub entries_carry_attachment: bool,
    /// Whether `type.text` is a MIME type.
    pub media_type_in_type_text: bool,
}

/// How the documents of one visit are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DocumentSearch {
    /// By `patient` and `encounter` together.
    PatientAndEncounter,
    /// By `patient` alone: the visit's are picked out of all of the patient's.
    Patient,
    /// By `encounter` alone.
    Encounter,
}

/// The firm's document categories.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CategoryRules {
    /// The id of the `ValueSet` that lists them, where there is one.
    pub value_set: Option<String>,
}

/// What is read of a patient, for the differential. A part that is not read is named in the draft as not known.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ContextRules {
    /// The parts, the most useful first: when calls are short, the last ones are left out.
    pub reads: Vec<ContextPart>,
}

impl Default for ContextRules {
    /// What every EHR has.
    fn default() -> Self {
        Self {
            reads: vec![ContextPart::Patient, ContextPart::Document],
        }
    }
}

/// Downloading photos.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PhotoRules {
    /// Hosts that photos may be downloaded from, beside those that the operator adds.
    pub hosts: Vec<HostPattern>,
    /// How a `Binary` is asked for.
    #[serde(default)]
    pub binary_accept: BinaryAccept,
}

/// How the bytes of a `Binary` are asked for. What comes is recognised by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BinaryAccept {
    /// As they are, with `Accept: image/*` (FHIR R4, Binary, "Serving Binary Resources using the RESTful API").
    #[default]
    Raw,
    /// In base64, as the resource's `data`.
    FhirJson,
}

/// A profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// There is no shipped profile of this name.
    #[error("there is no EHR profile named \"{name}\"; shipped are: {}", Profile::shipped_names().join(", "))]
    NotShipped {
        /// The name.
        name: String,
    },
    /// Not TOML, a key missing, unknown or with an impossible value.
    #[error("the EHR profile cannot be read")]
    Unreadable(#[source] Box<toml::de::Error>),
    /// A value cannot be right.
    #[error("the EHR profile's {key} cannot be right: {problem}")]
    Invalid {
        /// Which key.
        key: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl Profile {
    /// The names of the shipped profiles.
    pub fn shipped_names() -> Vec<&'static str> {
        SHIPPED.iter().map(|(name, _)| *name).collect()
    }

    /// A shipped profile.
    ///
    /// ```
    /// let profile = skin_assist_ehr::Profile::shipped("modmed-ema")?;
    /// assert_eq!(profile.quota.calls, 1000);
    /// # Ok::<(), skin_assist_ehr::ProfileError>(())
    /// ```
    ///
    /// # Errors
    /// [`ProfileError::NotShipped`] when there is none of this name.
    pub fn shipped(name: &str) -> Result<Self, ProfileError> {
        let (_, text) = SHIPPED
            .iter()
            .find(|(shipped, _)| *shipped == name)
            .ok_or_else(|| ProfileError::NotShipped { name: name.to_owned() })?;
        Self::from_toml(text)
    }

    /// The text of a shipped profile, to start one's own from.
    pub fn shipped_text(name: &str) -> Option<&'static str> {
        SHIPPED
            .iter()
            .find(|(shipped, _)| *shipped == name)
            .map(|(_, text)| *text)
    }

    /// Reads a profile's text.
    ///
    /// # Errors
    /// [`ProfileError::Unreadable`] for TOML that is not a profile, [`ProfileError::Invalid`] for a profile that
    /// cannot work.
    pub fn from_toml(text: &str) -> Result<Self, ProfileError> {
        let profile: Self = toml::from_str(text).map_err(|error| ProfileError::Unreadable(Box::new(error)))?;
        profile.check()?;
        Ok(profile)
    }

    /// Whether it could work.
    pub(crate) fn is_sound(&self) -> bool {
        self.check().is_ok()
    }

    fn check(&self) -> Result<(), ProfileError> {
        let invalid = |key, problem| Err(ProfileError::Invalid { key, problem });
        let Some(rest) = self.urls.service.strip_prefix("{base}") else {
            return invalid("urls.service", "it has to start with {base}");
        };
        let rest = rest.replace("{firm}", "firm");
        if rest.contains(['{', '}', '?', '#']) {
            return invalid(
                "urls.service",
                "only {base} and {firm} are filled in, and it has no query",
            );
        }
        if !rest.is_empty() && !rest.starts_with('/') || rest.ends_with('/') {
            return invalid("urls.service", "after {base} comes a path, without a slash at its end");
        }
        if HeaderValue::from_str(&self.request.media_type).is_err() {
            return invalid("request.media_type", "it cannot be sent in a header");
        }
        if self
            .request
            .api_key_header
            .as_deref()
            .is_some_and(|name| HeaderName::try_from(name).is_err())
        {
            return invalid("request.api_key_header", "it is not the name of a header");
        }
        let sendable = |(name, value): (&String, &String)| {
            HeaderName::try_from(name).is_ok() && HeaderValue::from_str(value).is_ok()
        };
        if !self.request.headers.iter().all(sendable) {
            return invalid("request.headers", "a name or value cannot be sent in a header");
        }
        self.token.check(&self.request)?;
        if self.encounters.page_size == 0 {
            return invalid("encounters.page_size", "it has to be at least 1");
        }
        if self.documents.page_size == 0 {
            return invalid("documents.page_size", "it has to be at least 1");
        }
        if self.quota.calls < SMALLEST_BUDGET {
            return invalid("quota.calls", "it has to be at least 10");
        }
        match (self.paging.next, &self.paging.parameter) {
            (NextPage::Number, None) => {
                return invalid("paging.parameter", "next = \"number\" needs the parameter's name");
            }
            (NextPage::Link, Some(_)) => return invalid("paging.parameter", "next = \"link\" has no parameter"),
            _ => {}
        }
        let by_date = |search: &ChangeSearch| search.parameter == ChangeParameter::Date;
        if by_date(&self.encounters.changed) && self.encounters.changed.granularity != Granularity::Day {
            return invalid("encounters.changed", "a search by date has the granularity \"day\"");
        }
        if self.documents.changed.as_ref().is_some_and(by_date) {
            return invalid("documents.changed", "it is a search by _lastUpdated");
        }
        if self.documents.encounters_in_list == 1 || self.documents.searches_in_batch == 1 {
            return invalid("documents", "a list or batch of one is none: write 0");
        }
        if self.encounters.treating_participant.is_empty() {
            return invalid("encounters.treating_participant", "it has to name a code");
        }
        let place = |wanted: &[ContextPart]| self.context.reads.iter().position(|part| wanted.contains(part));
        if let Some(results) = place(&[ContextPart::PriorResults])
            && place(&[ContextPart::Document, ContextPart::Visit]).is_none_or(|site| site > results)
        {
            return invalid(
                "context.reads",
                "prior-results come after document or visit, which say of which site",
            );
        }
        self.draft.check()
    }
}
