//! The stages: what happens to a photo, one step each.
//!
//! A stage is a struct whose fields are the ports it may use - its permissions - and a `run`. The same code runs in the
//! in-process driver and inside a Lambda. Every stage is idempotent: it may be run again after a crash at any point.
//!
//! What an error leads to is decided in one place, [`retry`]: try again, give up, or stop quietly.

mod access;
mod discover_firms;
mod download_photo;
mod infer;
mod look;
mod poll_changes;
mod poll_documents;
mod poll_encounters;
mod quota;
mod reading;
mod refresh_credentials;
pub mod retry;
mod sweep_notes;
mod tell_subscribers;
mod write_back;

use access::Access;
pub use access::{NoToken, TokenSource};
pub use discover_firms::DiscoverFirms;
pub use download_photo::{DownloadPhoto, ReadPhoto};
pub use infer::Infer;
pub use look::Look;
pub use poll_documents::{DocumentsPolled, Held, PollDocuments};
pub use poll_encounters::{EncountersPolled, MOST_ENCOUNTER_PAGES, PollEncounters};
pub use quota::{GrantInHand, HOLD_AFTER_REFUSAL, Quota};
pub use refresh_credentials::{RefreshCredentials, TokenState};
pub use sweep_notes::{RecordedPhotos, SweepNotes};
pub use tell_subscribers::{Ending, TellSubscribers, Told};
pub use write_back::WriteBack;

use crate::{
    domain::Reason,
    ports::{Class, EhrError, LanguageError, StateError, VisionError},
    time::{Elapsed, Timestamp},
};

/// What ended a stage early.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// Our own state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The EHR.
    #[error(transparent)]
    Ehr(#[from] EhrError),
    /// The vision models.
    #[error(transparent)]
    Vision(#[from] VisionError),
    /// The language model.
    #[error(transparent)]
    Language(#[from] LanguageError),
    /// The models began to look at the photo again and again, and never came to an end.
    #[error("the models never came to an end with this photo")]
    TooManyLooks,
    /// The lease had no time left.
    #[error(transparent)]
    OutOfTime(#[from] Elapsed),
    /// The firm has no token.
    #[error(transparent)]
    NoToken(#[from] NoToken),
}

impl StageError {
    /// What it means for the work at hand.
    pub const fn class(&self) -> Class {
        match self {
            Self::State(error) => error.class(),
            Self::Ehr(error) => error.class(),
            Self::Vision(error) => error.class(),
            Self::TooManyLooks => Class::Permanent,
            Self::Language(_) | Self::OutOfTime(_) | Self::NoToken(_) => Class::Transient(None),
        }
    }

    /// Code and hint for people.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoToken(no_token) => no_token.reason.clone(),
            Self::State(StateError::Corrupt { .. }) => Reason::new(
                "state.corrupt",
                "the state file is damaged or of another version: restore a backup",
            ),
            Self::State(StateError::NoRoom) => Reason::new(
                "photos.no-room",
                "photos come faster than the models look at them; it is downloaded later by itself: see photos.memory_megabytes",
            ),
            Self::State(_) => Reason::new("state.unavailable", "check the disk and the state file; then replay"),
            Self::Ehr(error) => error.reason(),
            Self::Vision(error) => error.reason(),
            Self::Language(_) => Reason::new("language-model.unavailable", "check the language model; then replay"),
            Self::TooManyLooks => Reason::new(
                "photo.stops-the-models",
                "the process may have ended each time; look at its log, then replay",
            ),
            Self::OutOfTime(_) => Reason::new("stage.out-of-time", "it takes longer than its lease; see the log"),
        }
    }
}

/// How a step of the pipeline ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepEnd {
    /// The item is one step further.
    Done,
    /// The photo's bytes were gone (a restart): it is downloaded again.
    BytesLost,
    /// Further photos are waited for until then.
    Gathering(Timestamp),
    /// Its draft is in the chart.
    Delivered,
    /// Its draft is kept back, for this reason.
    Withheld(Reason),
    /// Nobody knows whether its draft is in the chart: an operator has to look.
    Uncertain(Reason),
    /// It waits and is tried again then.
    Waiting {
        /// When.
        until: Timestamp,
        /// Why.
        reason: Reason,
        /// The token was not taken: renew it before then.
        renew_token: bool,
    },
    /// It was given up.
    Buried(Reason),
    /// Its firm is off: it waits as it was found.
    Released,
    /// Somebody else has it now.
    LeaseLost,
}

/// How a step ended whose last transition had this outcome: a lost lease is a quiet stop.
fn done(outcome: Result<(), StateError>) -> Result<StepEnd, StateError> {
    match outcome {
        Ok(()) => Ok(StepEnd::Done),
        Err(StateError::LeaseLost) => Ok(StepEnd::LeaseLost),
        Err(error) => Err(error),
    }
}
