//! From DynamoDB's errors to the ports' errors.
//!
//! What the SDK says is never passed on: its errors hold the response, and the response may hold a row. What is kept is the
//! kind of failure and the service's own error code.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use skin_assist_core::ports::StateError;

/// An attribute that does not hold what this program writes. Does not quote what it holds: it may be a patient's.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("{attribute} does not hold what this program writes")]
pub(crate) struct Damaged {
    pub(crate) attribute: &'static str,
}

/// A row that does not hold what this program writes.
pub(crate) fn damaged(table: &'static str, attribute: &'static str) -> StateError {
    StateError::Corrupt {
        table,
        source: Box::new(Damaged { attribute }),
    }
}

/// The store did not do it, now.
pub(crate) fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StateError {
    StateError::Unavailable(Box::new(error))
}

/// DynamoDB did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The service refused the request or failed, and said with which code: throttling, a missing table or permission, a
    /// fault of its own.
    #[error("DynamoDB answered {code}")]
    Answered {
        /// Its code.
        code: String,
    },
    /// No answer, or one that cannot be read.
    #[error("DynamoDB cannot be reached: {what}")]
    Unreachable {
        /// What happened, in our words.
        what: &'static str,
    },
    /// Others write the same rows at the same time, again and again.
    #[error("too many others write the same rows")]
    Contended,
}

/// What an error of the SDK means. All of it is transient for whoever waits: a missing permission or table is repaired by an
/// operator, and work goes on where it was.
pub(crate) fn meaning<E, R>(error: &SdkError<E, R>) -> StateError
where
    E: ProvideErrorMetadata,
{
    let failure = match error {
        SdkError::ServiceError(answer) => Failure::Answered {
            code: answer.err().code().unwrap_or("an error without a code").to_owned(),
        },
        SdkError::TimeoutError(_) => Failure::Unreachable { what: "a time-out" },
        SdkError::DispatchFailure(_) => Failure::Unreachable {
            what: "no connection, or no credentials",
        },
        SdkError::ConstructionFailure(_) => Failure::Unreachable {
            what: "the request cannot be made",
        },
        _ => Failure::Unreachable {
            what: "the answer cannot be read",
        },
    };
    unavailable(failure)
}

/// Too many others write the same rows.
pub(crate) fn contended() -> StateError {
    unavailable(Failure::Contended)
}
