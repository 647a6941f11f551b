//! From SQLite's errors to the ports' errors.

use rusqlite::ErrorCode;
use skin_assist_core::ports::StateError;

/// A column that does not hold what this program writes. Does not quote what it holds: it may be a patient's.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("{column} does not hold what this program writes")]
pub(crate) struct Damaged {
    pub(crate) column: &'static str,
}

/// The store did not do it, now.
pub(crate) fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StateError {
    StateError::Unavailable(Box::new(error))
}

/// What an error of SQLite means. Nothing was changed: every write is a transaction.
pub(crate) fn meaning(error: rusqlite::Error) -> StateError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => StateError::Corrupt {
            table: "the state file",
            source: Box::new(error),
        },
        _ => unavailable(error),
    }
}
