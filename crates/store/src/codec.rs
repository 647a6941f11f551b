//! Between domain types and columns.
//!
//! Structured values are JSON text in the encrypted file. This is the one room of the store that exposes what is
//! protected, and its errors never quote what they could not read.

use rusqlite::{
    ToSql,
    types::{FromSql, ToSqlOutput},
};
use serde::{
    Serialize,
    de::{
        DeserializeOwned, IntoDeserializer,
        value::{Error as WordError, StrDeserializer},
    },
};
use skin_assist_core::{
    domain::{EncounterStatus, Reason},
    ports::StateError,
    time::Timestamp,
};

use crate::{
    error::{Damaged, unavailable},
    sealed::{self, Row},
};

/// A time as a column: milliseconds since the Unix epoch.
pub(crate) struct Millis(pub(crate) Timestamp);

impl ToSql for Millis {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.as_millis()))
    }
}

impl FromSql for Millis {
    fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
        i64::column_result(value).map(|millis| Self(Timestamp::from_millis(millis)))
    }
}

/// A row of a table, read by name, with errors that name table and column.
pub(crate) struct Columns<'row, 'statement> {
    pub(crate) table: &'static str,
    pub(crate) row: &'row Row<'statement>,
}

impl Columns<'_, '_> {
    /// A column as it is: sealed, if it is one of those.
    pub(crate) fn get<T: FromSql>(&self, column: &'static str) -> Result<T, StateError> {
        self.row.get(column).map_err(|_| damaged(self.table, column))
    }

    /// A text that may be missing, opened if its column is sealed.
    fn opened(&self, column: &'static str) -> Result<Option<String>, StateError> {
        let text = self.get::<Option<String>>(column)?;
        match (text, sealed::kind(self.table, column)) {
            (Some(text), Some(kind)) => self.row.open(self.table, column, kind, &text).map(Some),
            (text, _) => Ok(text),
        }
    }

    /// A text, opened if its column is sealed.
    fn present(&self, column: &'static str) -> Result<String, StateError> {
        self.opened(column)?.ok_or_else(|| damaged(self.table, column))
    }

    /// A text column as an identifier or another newtype of a text.
    pub(crate) fn text<T>(&self, column: &'static str, new: impl FnOnce(String) -> T) -> Result<T, StateError> {
        self.present(column).map(new)
    }

    /// The same, where it may be missing.
    pub(crate) fn optional_text<T>(
        &self,
        column: &'static str,
        new: impl FnOnce(String) -> T,
    ) -> Result<Option<T>, StateError> {
        Ok(self.opened(column)?.map(new))
    }

    /// A time.
    pub(crate) fn time(&self, column: &'static str) -> Result<Timestamp, StateError> {
        Ok(self.get::<Millis>(column)?.0)
    }

    /// A time that may be missing.
    pub(crate) fn optional_time(&self, column: &'static str) -> Result<Option<Timestamp>, StateError> {
        Ok(self.get::<Option<Millis>>(column)?.map(|millis| millis.0))
    }

    /// A count that is stored as an integer.
    pub(crate) fn count<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, StateError> {
        T::try_from(self.get::<i64>(column)?).map_err(|_| damaged(self.table, column))
    }

    /// One word of an enumeration.
    pub(crate) fn word<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, StateError> {
        let word: String = self.get(column)?;
        let words: StrDeserializer<'_, WordError> = word.as_str().into_deserializer();
        T::deserialize(words).map_err(|_| damaged(self.table, column))
    }

    /// JSON text.
    pub(crate) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, StateError> {
        let text = self.present(column)?;
        serde_json::from_str(&text).map_err(|_| damaged(self.table, column))
    }

    /// JSON text that may be missing.
    pub(crate) fn optional_json<T: DeserializeOwned>(&self, column: &'static str) -> Result<Option<T>, StateError> {
        match self.opened(column)? {
            Some(text) => serde_json::from_str(&text)
                .map(Some)
                .map_err(|_| damaged(self.table, column)),
            None => Ok(None),
        }
    }

    /// A reason in two columns, missing when the code is.
    pub(crate) fn optional_reason(&self, code: &'static str, hint: &'static str) -> Result<Option<Reason>, StateError> {
        match self.get::<Option<String>>(code)? {
            Some(code) => Ok(Some(Reason::recorded(code, self.get(hint)?))),
            None => Ok(None),
        }
    }

    /// A reason in two columns.
    pub(crate) fn reason(&self, code: &'static str, hint: &'static str) -> Result<Reason, StateError> {
        self.optional_reason(code, hint)?
            .ok_or_else(|| damaged(self.table, code))
    }
}

/// A row that does not hold what this program writes.
pub(crate) fn damaged(table: &'static str, column: &'static str) -> StateError {
    StateError::Corrupt {
        table,
        source: Box::new(Damaged { column }),
    }
}

/// A number as a column takes it: what is larger than any of ours is the largest.
pub(crate) fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// At most so many rows.
pub(crate) fn row_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A value as JSON text.
pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<String, StateError> {
    serde_json::to_string(value).map_err(unavailable)
}

/// An enumeration's value as its one word, as serde names it.
pub(crate) fn to_word<T: Serialize>(value: &T) -> Result<String, StateError> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        Ok(_) => Err(unavailable(Damaged {
            column: "an enumeration",
        })),
        Err(error) => Err(unavailable(error)),
    }
}

/// `EncounterStatus` as its word: on the hot path, so without a serialiser.
pub(crate) const fn status_word(status: EncounterStatus) -> &'static str {
    match status {
        EncounterStatus::Planned => "planned",
        EncounterStatus::Open => "open",
        EncounterStatus::Finished => "finished",
        EncounterStatus::Cancelled => "cancelled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_way_and_serde_agree_on_words() {
        for status in [
            EncounterStatus::Planned,
            EncounterStatus::Open,
            EncounterStatus::Finished,
            EncounterStatus::Cancelled,
        ] {
            assert_eq!(to_word(&status).unwrap(), status_word(status));
        }
    }
}
