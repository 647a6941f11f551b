//! Identifiers: opaque texts of the EHR or of ours, each with a type of its own so that none is taken for another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The text cannot be an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an identifier has 1 to 200 printable characters without spaces at its ends")]
pub struct InvalidIdentifier;

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes an identifier as it is known to be (from our own store, from a test).
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidIdentifier;
            fn from_str(text: &str) -> Result<Self, InvalidIdentifier> {
                let sound = !text.is_empty()
                    && text.len() <= 200
                    && text.trim() == text
                    && !text.chars().any(char::is_control);
                if sound { Ok(Self(text.to_owned())) } else { Err(InvalidIdentifier) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

identifier!(
    /// A practice, the tenant: our own name for it.
    FirmId
);
identifier!(
    /// `Encounter.id`, unique within a firm.
    EncounterId
);
identifier!(
    /// `Patient.id`, unique within a firm.
    PatientId
);
identifier!(
    /// `Practitioner.id`, unique within a firm.
    PractitionerId
);
identifier!(
    /// `DocumentReference.id`, unique within a firm; may contain reserved characters (`file|139977`).
    DocumentId
);
identifier!(
    /// A code of the firm's document-category value set.
    CategoryCode
);
identifier!(
    /// An assessment: derived from the firm, the encounter and the photos judged together, so that the same photos
    /// always name the same assessment.
    AssessmentId
);
