//! Why something was refused, and what was given up.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use super::{AssessmentId, DocumentId, FirmId};
use crate::time::Timestamp;

/// A stable code and a hint for people. Both are fixed texts of this software, never anything that came from outside,
/// so that a reason can be logged, counted and shown without leaking a patient's data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    code: Cow<'static, str>,
    hint: Cow<'static, str>,
}

impl Reason {
    /// A reason; `code` in the form `area.what-happened`.
    pub const fn new(code: &'static str, hint: &'static str) -> Self {
        Self {
            code: Cow::Borrowed(code),
            hint: Cow::Borrowed(hint),
        }
    }

    /// For stores: a reason as it was recorded.
    pub const fn recorded(code: String, hint: String) -> Self {
        Self {
            code: Cow::Owned(code),
            hint: Cow::Owned(hint),
        }
    }

    /// The stable code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What a person can do about it.
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.code)
    }
}

/// The stages of the system, for reasons, logs and dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Which firms are active.
    DiscoverFirms,
    /// OAuth2 tokens.
    RefreshCredentials,
    /// What changed since the cursor.
    PollEncounters,
    /// New documents of watched encounters.
    PollDocuments,
    /// The photo's bytes.
    DownloadPhoto,
    /// Models and synthesis.
    Infer,
    /// The draft.
    WriteBack,
}

impl Stage {
    /// The word used in tables and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DiscoverFirms => "discover-firms",
            Self::RefreshCredentials => "refresh-credentials",
            Self::PollEncounters => "poll-encounters",
            Self::PollDocuments => "poll-documents",
            Self::DownloadPhoto => "download-photo",
            Self::Infer => "infer",
            Self::WriteBack => "write-back",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// An item that was given up after bounded attempts, kept for an operator. Ids and codes only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its number in the store.
    pub id: i64,
    /// Whose.
    pub firm: FirmId,
    /// What was given up.
    pub subject: DeadLetterSubject,
    /// Where.
    pub stage: Stage,
    /// Why.
    pub reason: Reason,
    /// After how many attempts.
    pub attempts: u32,
    /// When.
    pub at: Timestamp,
}

/// What was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeadLetterSubject {
    /// A photo before it had a result.
    Document(DocumentId),
    /// A result before it was delivered.
    Result(AssessmentId),
}
