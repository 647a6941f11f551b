//! Profiles: what is different about an EHR, as data.
//!
//! The client asks the profile and never the vendor's name. Shipped profiles are embedded; a practice's own comes from a
//! file of the same form. Unknown keys are refused, so that a misspelt one is not silently without effect.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use serde::Deserialize;

use crate::photo_hosts::HostPattern;

/// The shipped profiles, by name.
const SHIPPED: [(&str, &str); 1] = [("modmed-ema", include_str!("../profiles/modmed-ema.toml"))];

/// What is different about an EHR.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
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
    /// Listing encounters.
    pub encounters: EncounterRules,
    /// Listing documents.
    pub documents: DocumentRules,
    /// The firm's document categories.
    pub categories: CategoryRules,
    /// Downloading photos.
    pub photos: PhotoRules,
    /// Writing drafts.
    pub draft: DraftRules,
}

/// Where things are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Urls {
    /// A firm's FHIR service: starts with `{base}`, and has `{firm}` where the firm's URL prefix goes, if anywhere.
    pub service: String,
}

/// What each request carries.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
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

/// How a token is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRules {
    /// OAuth2 grant.
    pub grant: Grant,
    /// How the client proves itself.
    pub client_authentication: ClientAuthentication,
    /// `scope`, where the endpoint wants one.
    pub scope: Option<String>,
    /// The life assumed when the reply has no `expires_in`, in seconds.
    pub default_lifetime_s: u32,
}

/// OAuth2 grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grant {
    /// RFC 6749, section 4.4.
    ClientCredentials,
}

/// OAuth2 client authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuthentication {
    /// Id and secret in the body, RFC 6749, section 2.3.1.
    ClientSecretPost,
}

/// How many calls the EHR allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
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
    /// As calls a minute, rounded down.
    pub const fn calls_per_minute(&self) -> u32 {
        match self.per {
            QuotaPeriod::Minute => self.calls,
            QuotaPeriod::Hour => self.calls / 60,
        }
    }
}

/// The time that a quota is counted over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuotaPeriod {
    /// 60 s.
    Minute,
    /// 3,600 s.
    Hour,
}

/// Who shares a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuotaScope {
    /// All firms behind the API key.
    ApiKey,
    /// Each firm has its own.
    Firm,
}

/// Listing encounters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncounterRules {
    /// `_count`: the largest page.
    pub page_size: u32,
    /// How `_lastUpdated` is asked.
    pub last_updated: LastUpdatedSearch,
    /// `participant.type` codes of the treating practitioner.
    pub treating_participant: Vec<String>,
}

/// How `_lastUpdated` is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastUpdatedSearch {
    /// How fine.
    pub granularity: Granularity,
    /// With which prefix.
    pub prefix: SearchPrefix,
}

/// How fine a date search is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Granularity {
    /// `yyyy-mm-dd`, in a time zone that nobody states.
    Day,
    /// An instant with milliseconds.
    Instant,
}

/// FHIR search prefixes for "changed since".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentRules {
    /// `_count`: the largest page.
    pub page_size: u32,
    /// Which search exists.
    pub search: DocumentSearch,
    /// Whether search entries have `content`, so that its media type can be believed to be there.
    pub entries_carry_attachment: bool,
    /// Whether `type.text` is a MIME type.
    pub media_type_in_type_text: bool,
}

/// Which searches for documents exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DocumentSearch {
    /// `patient` and `encounter` together.
    PatientAndEncounter,
}

/// The firm's document categories.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CategoryRules {
    /// The id of the `ValueSet` that lists them.
    pub value_set: String,
}

/// Downloading photos.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhotoRules {
    /// Hosts that photos may be downloaded from, beside those that the operator adds.
    pub hosts: Vec<HostPattern>,
}

/// Writing drafts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftRules {
    /// What is created.
    pub target: DraftTarget,
    /// Its status. There is no `final`: what nobody has reviewed is not final.
    pub status: DraftStatus,
    /// Whether a section's text goes into `section.code.text`.
    pub text_in_section_code: bool,
    /// Whether a section's text goes into `section.text`, as FHIR means it.
    pub text_in_section_narrative: bool,
    /// Who is named as author.
    pub author: AuthorRule,
    /// How other resources are named.
    pub references: ReferenceForm,
    /// How a draft can be looked for.
    pub search: DraftSearchRule,
    /// Whether `If-None-Exist` on the identifier is honoured.
    pub conditional_create: bool,
}

/// What a draft becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DraftTarget {
    /// `Composition`.
    Composition,
}

/// `Composition.status` of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DraftStatus {
    /// preliminary.
    Preliminary,
}

impl DraftStatus {
    /// The code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preliminary => "preliminary",
        }
    }
}

/// Who is named as the author of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthorRule {
    /// The treating practitioner, because the EHR forces one; the text then says that they did not write it.
    Practitioner,
    /// This software, as a contained `Device`.
    Device,
    /// Nobody: for EHRs that set it themselves.
    Omit,
}

/// How a draft names other resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReferenceForm {
    /// `Patient/12`.
    Relative,
    /// With the firm's service in front.
    Absolute,
}

/// How a draft can be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DraftSearchRule {
    /// Not at all.
    Unsupported,
    /// By `identifier`.
    Identifier,
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
    /// assert_eq!(profile.quota.calls_per_minute(), 1000);
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

    fn check(&self) -> Result<(), ProfileError> {
        let invalid = |key, problem| Err(ProfileError::Invalid { key, problem });
        let Some(rest) = self.urls.service.strip_prefix("{base}") else {
            return invalid("urls.service", "it has to start with {base}");
        };
        let rest = rest.replace("{firm}", "");
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
        if self.encounters.page_size == 0 {
            return invalid("encounters.page_size", "it has to be at least 1");
        }
        if self.documents.page_size == 0 {
            return invalid("documents.page_size", "it has to be at least 1");
        }
        if self.quota.calls_per_minute() == 0 {
            return invalid("quota", "it is less than one call a minute");
        }
        if self.encounters.treating_participant.is_empty() {
            return invalid("encounters.treating_participant", "it has to name a code");
        }
        if !(self.draft.text_in_section_code || self.draft.text_in_section_narrative) {
            return invalid("draft.text_in_section_narrative", "the text has to go somewhere");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_profile_is_sound_and_named_as_its_file() {
        for name in Profile::shipped_names() {
            assert_eq!(Profile::shipped(name).unwrap().name, name);
        }
        let error = Profile::shipped("modmed").unwrap_err().to_string();
        assert!(error.contains("modmed-ema"), "{error}");
    }

    #[test]
    fn unknown_keys_and_impossible_values_are_refused() {
        let text = Profile::shipped_text("modmed-ema").unwrap();
        let changed = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            Profile::from_toml(&text.replacen(from, to, 1))
        };
        assert!(matches!(
            changed("page_size = 50", "page_sise = 50"),
            Err(ProfileError::Unreadable(_))
        ));
        assert!(matches!(
            changed("\"preliminary\"", "\"final\""),
            Err(ProfileError::Unreadable(_))
        ));
        assert!(matches!(
            changed("*.s3.amazonaws.com", "https://s3"),
            Err(ProfileError::Unreadable(_))
        ));
        for (from, to, key) in [
            ("{base}/firm", "https://example.com/firm", "urls.service"),
            ("{firm}/ema", "{tenant}/ema", "urls.service"),
            ("/fhir/v2\"", "/fhir/v2/\"", "urls.service"),
            ("page_size = 50", "page_size = 0", "encounters.page_size"),
            ("page_size = 10", "page_size = 0", "documents.page_size"),
            ("calls = 1000\nper = \"minute\"", "calls = 59\nper = \"hour\"", "quota"),
            ("x-api-key", "x api key", "request.api_key_header"),
            ("[\"PPRF\"]", "[]", "encounters.treating_participant"),
        ] {
            match changed(from, to) {
                Err(ProfileError::Invalid { key: found, .. }) => assert_eq!(found, key),
                other => panic!("{to}: {other:?}"),
            }
        }
    }
}
