//! The firm and what connects us to its EHR.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{CategoryCode, FirmId, Reason, Route};
use crate::{phi::Secret, time::Timestamp};

/// A practice, the tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firm {
    /// Our name for it.
    pub id: FirmId,
    /// The firm's segment in the EHR's URLs (ModMed EMA's `firm_url_prefix`).
    pub url_prefix: String,
    /// Whether it is served.
    pub status: FirmStatus,
    /// What happens to results.
    pub mode: Mode,
    /// The record that permits [`Mode::Draft`].
    pub intended_use: Option<IntendedUseRecord>,
    /// What the practice chose to do with documents of each category. A category that is not listed is ignored.
    pub categories: BTreeMap<CategoryCode, CategoryUse>,
    /// Which of the configured API keys its calls carry; none for the first one.
    pub api_key: Option<String>,
    /// When it was connected.
    pub connected_at: Timestamp,
    /// Photos filed earlier are not assessed: when it was connected, so that connecting is never a surprise bill, or
    /// earlier where the operator asked for a backfill.
    pub photos_since: Timestamp,
}

impl Firm {
    /// Whether anything is done for it: it is neither paused nor off.
    pub const fn is_served(&self) -> bool {
        is_served(self.status, self.mode)
    }

    /// The route of documents of `category`; none when the practice did not choose it.
    pub fn route(&self, category: &CategoryCode) -> Option<Route> {
        match self.categories.get(category)? {
            CategoryUse::Solitary => Some(Route::Solitary),
            CategoryUse::Widespread => Some(Route::Widespread),
            CategoryUse::Ignored => None,
        }
    }
}

/// Whether anything is done for a firm of this status and mode.
pub const fn is_served(status: FirmStatus, mode: Mode) -> bool {
    matches!((status, mode), (FirmStatus::Active, Mode::Silent | Mode::Draft))
}

/// Whether a firm is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirmStatus {
    /// Polled, its photos assessed.
    Active,
    /// Not polled, and what is under way waits until it is resumed. An operator's decision.
    Paused,
}

/// What happens to a firm's results. Image-based lesion classification is a regulated device function, so a new firm
/// is silent until an operator records the document that permits more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Everything runs, nothing is written to the chart.
    Silent,
    /// Drafts are written back.
    Draft,
    /// Nothing runs: no chart is read, no model looks, nothing is written. What was under way waits, as in a pause.
    Off,
}

impl Mode {
    /// The word used in tables, logs and commands.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Draft => "draft",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// Who permitted drafts, when, and by which document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntendedUseRecord {
    /// The operator's name as given.
    pub recorded_by: String,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// SHA-256 of the document, hexadecimal.
    pub document_sha256: String,
}

/// What the practice does with documents of a category.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CategoryUse {
    /// Photos of single lesions.
    Solitary,
    /// Photos of rashes.
    Widespread,
    /// Not for us.
    Ignored,
}

/// One entry of the firm's document-category value set (`ValueSet/document-category`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentCategory {
    /// The code that documents carry.
    pub code: CategoryCode,
    /// The name that the practice sees.
    pub display: String,
}

/// What an operator gives a firm to prove itself with. Which kind it is, the EHR's profile says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCredential {
    /// OAuth2 `client_id`; the user's name for the password grant.
    pub client_id: String,
    /// The proof: OAuth2 `client_secret`, the user's password, or a private key as PEM.
    pub client_secret: Secret,
    /// The name under which the public half of a private key is registered (`kid`).
    pub key_id: Option<String>,
}

impl NewCredential {
    /// A client and its secret.
    pub fn secret(client_id: impl Into<String>, client_secret: Secret) -> Self {
        Self {
            client_id: client_id.into(),
            client_secret,
            key_id: None,
        }
    }
}

/// What a firm's OAuth2 client needs, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Whose it is.
    pub firm: FirmId,
    /// OAuth2 `client_id`; the user's name for the password grant.
    pub client_id: String,
    /// The proof: OAuth2 `client_secret`, the user's password, or a private key as PEM.
    pub client_secret: Secret,
    /// The name under which the public half of a private key is registered (`kid`).
    pub key_id: Option<String>,
    /// The token in hand, if any; it may have expired.
    pub token: Option<AccessToken>,
    /// What a new token can be had for without the proof, where the endpoint issued one.
    pub refresh_token: Option<Secret>,
    /// Whether the token endpoint takes it.
    pub state: CredentialState,
}

/// Whether the token endpoint takes a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialState {
    /// Not refused so far.
    Usable,
    /// Refused: the firm stands still until the credential is replaced, or `retry_at` comes.
    Refused {
        /// Why, as far as the endpoint said.
        reason: Reason,
        /// When to ask again, in case the refusal was the server's mistake.
        retry_at: Timestamp,
    },
}

/// What a token endpoint issued (RFC 6749, section 5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedToken {
    /// The token for calls.
    pub access: AccessToken,
    /// The one for the next token, from now on; none where there is no such thing.
    pub refresh_token: Option<Secret>,
}

/// An OAuth2 bearer token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// What goes into the `Authorization` header.
    pub secret: Secret,
    /// When it was issued, by our clock.
    pub issued_at: Timestamp,
    /// When the EHR stops taking it, by our clock.
    pub expires_at: Timestamp,
}

impl AccessToken {
    /// Whether it should be renewed at `now`: when less than a fifth of its life, at most two minutes, is left.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let life = self.expires_at.since(self.issued_at);
        let margin = (life / 5).min(std::time::Duration::from_secs(120));
        now + margin >= self.expires_at
    }
}
