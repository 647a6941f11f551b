//! Between domain types and attributes.
//!
//! Structured values are JSON text. This is the one room of the store that exposes what is protected, and its errors never
//! quote what they could not read.

use std::{collections::HashMap, fmt::Display, str::FromStr};

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use serde::{
    Serialize,
    de::{
        DeserializeOwned, IntoDeserializer,
        value::{Error as WordError, StrDeserializer},
    },
};
use skin_assist_core::{domain::Reason, ports::StateError, time::Timestamp};

use super::{
    Outcome,
    error::{Damaged, damaged, unavailable},
};

/// A row, as DynamoDB gives it.
pub(crate) type Row = HashMap<String, AttributeValue>;

/// A text.
pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A whole number.
pub(crate) fn number(value: impl Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A time: milliseconds since the Unix epoch.
pub(crate) fn time(value: Timestamp) -> AttributeValue {
    number(value.as_millis())
}

/// Yes or no.
pub(crate) const fn flag(value: bool) -> AttributeValue {
    AttributeValue::Bool(value)
}

/// Bytes.
pub(crate) fn bytes(value: Vec<u8>) -> AttributeValue {
    AttributeValue::B(Blob::new(value))
}

/// The attribute [`DELETE_AT`](super::schema::DELETE_AT): seconds since the Unix epoch.
pub(crate) fn seconds(value: Timestamp) -> AttributeValue {
    number(value.as_millis().div_euclid(1000))
}

/// A floating point number, exactly: DynamoDB's own numbers are decimal.
pub(crate) fn float(value: f64) -> AttributeValue {
    text(value.to_string())
}

/// A value as JSON.
pub(crate) fn to_json<T: Serialize>(value: &T) -> Outcome<String> {
    serde_json::to_string(value).map_err(unavailable)
}

/// An enumeration's value as its one word, as serde names it.
pub(crate) fn to_word<T: Serialize>(value: &T) -> Outcome<String> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        Ok(_) => Err(unavailable(Damaged {
            attribute: "an enumeration",
        })),
        Err(error) => Err(unavailable(error)),
    }
}

/// A row of a table, read by name, with errors that name table and attribute.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'row> {
    pub(crate) table: &'static str,
    pub(crate) row: &'row Row,
}

impl<'row> Attributes<'row> {
    fn get(&self, attribute: &'static str) -> Option<&'row AttributeValue> {
        self.row.get(attribute)
    }

    pub(crate) fn damaged(&self, attribute: &'static str) -> StateError {
        damaged(self.table, attribute)
    }

    fn required<T>(&self, attribute: &'static str, found: Option<T>) -> Outcome<T> {
        found.ok_or_else(|| self.damaged(attribute))
    }

    /// A text that may be missing.
    pub(crate) fn optional_text(&self, attribute: &'static str) -> Outcome<Option<&'row str>> {
        match self.get(attribute) {
            None => Ok(None),
            Some(AttributeValue::S(text)) => Ok(Some(text)),
            Some(_) => Err(self.damaged(attribute)),
        }
    }

    /// A text.
    pub(crate) fn text(&self, attribute: &'static str) -> Outcome<&'row str> {
        let found = self.optional_text(attribute)?;
        self.required(attribute, found)
    }

    /// A text as an identifier or another newtype of a text.
    pub(crate) fn named<T>(&self, attribute: &'static str, new: impl FnOnce(String) -> T) -> Outcome<T> {
        self.text(attribute).map(|text| new(text.to_owned()))
    }

    /// The same, where it may be missing.
    pub(crate) fn optional_named<T>(
        &self,
        attribute: &'static str,
        new: impl FnOnce(String) -> T,
    ) -> Outcome<Option<T>> {
        Ok(self.optional_text(attribute)?.map(|text| new(text.to_owned())))
    }

    /// A number that may be missing.
    pub(crate) fn optional_number<T: FromStr>(&self, attribute: &'static str) -> Outcome<Option<T>> {
        match self.get(attribute) {
            None => Ok(None),
            Some(AttributeValue::N(digits)) => match digits.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(self.damaged(attribute)),
            },
            Some(_) => Err(self.damaged(attribute)),
        }
    }

    /// A number.
    pub(crate) fn number<T: FromStr>(&self, attribute: &'static str) -> Outcome<T> {
        let found = self.optional_number(attribute)?;
        self.required(attribute, found)
    }

    /// A time that may be missing.
    pub(crate) fn optional_time(&self, attribute: &'static str) -> Outcome<Option<Timestamp>> {
        Ok(self.optional_number(attribute)?.map(Timestamp::from_millis))
    }

    /// A time.
    pub(crate) fn time(&self, attribute: &'static str) -> Outcome<Timestamp> {
        self.number(attribute).map(Timestamp::from_millis)
    }

    /// The time in the attribute with this name behind a sign.
    pub(crate) fn look(&self, sign: char, name: &str) -> Outcome<Timestamp> {
        let digits = self
            .row
            .get(&format!("{sign}{name}"))
            .and_then(|value| value.as_n().ok());
        let millis = digits.and_then(|digits| digits.parse().ok());
        millis.map(Timestamp::from_millis).ok_or_else(|| self.damaged("look"))
    }

    /// A floating point number.
    pub(crate) fn float(&self, attribute: &'static str) -> Outcome<f64> {
        let found = self.text(attribute)?.parse().ok();
        self.required(attribute, found)
    }

    /// Yes or no; no where it is missing.
    pub(crate) fn flag(&self, attribute: &'static str) -> Outcome<bool> {
        match self.get(attribute) {
            None => Ok(false),
            Some(AttributeValue::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.damaged(attribute)),
        }
    }

    /// Bytes.
    pub(crate) fn bytes(&self, attribute: &'static str) -> Outcome<&'row [u8]> {
        match self.get(attribute) {
            Some(AttributeValue::B(blob)) => Ok(blob.as_ref()),
            _ => Err(self.damaged(attribute)),
        }
    }

    /// A map from names to times; empty where it is missing.
    pub(crate) fn times(&self, attribute: &'static str) -> Outcome<HashMap<&'row str, Timestamp>> {
        let map = match self.get(attribute) {
            None => return Ok(HashMap::new()),
            Some(AttributeValue::M(map)) => map,
            Some(_) => return Err(self.damaged(attribute)),
        };
        map.iter()
            .map(|(name, value)| match value {
                AttributeValue::N(digits) => digits
                    .parse()
                    .map(|millis| (name.as_str(), Timestamp::from_millis(millis)))
                    .map_err(|_| self.damaged(attribute)),
                _ => Err(self.damaged(attribute)),
            })
            .collect()
    }

    /// A list of texts; empty where it is missing.
    pub(crate) fn texts(&self, attribute: &'static str) -> Outcome<Vec<&'row str>> {
        let list = match self.get(attribute) {
            None => return Ok(Vec::new()),
            Some(AttributeValue::L(list)) => list,
            Some(_) => return Err(self.damaged(attribute)),
        };
        list.iter()
            .map(|value| match value {
                AttributeValue::S(text) => Ok(text.as_str()),
                _ => Err(self.damaged(attribute)),
            })
            .collect()
    }

    /// One word of an enumeration.
    pub(crate) fn word<T: DeserializeOwned>(&self, attribute: &'static str) -> Outcome<T> {
        let words: StrDeserializer<'_, WordError> = self.text(attribute)?.into_deserializer();
        T::deserialize(words).map_err(|_| self.damaged(attribute))
    }

    /// JSON that may be missing.
    pub(crate) fn optional_json<T: DeserializeOwned>(&self, attribute: &'static str) -> Outcome<Option<T>> {
        match self.optional_text(attribute)? {
            Some(text) => serde_json::from_str(text)
                .map(Some)
                .map_err(|_| self.damaged(attribute)),
            None => Ok(None),
        }
    }

    /// JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self, attribute: &'static str) -> Outcome<T> {
        let found = self.optional_json(attribute)?;
        self.required(attribute, found)
    }

    /// A reason in two attributes, missing when the code is.
    pub(crate) fn optional_reason(&self) -> Outcome<Option<Reason>> {
        match self.optional_text(REASON_CODE)? {
            Some(code) => Ok(Some(Reason::recorded(
                code.to_owned(),
                self.text(REASON_HINT)?.to_owned(),
            ))),
            None => Ok(None),
        }
    }

    /// A reason in two attributes.
    pub(crate) fn reason(&self) -> Outcome<Reason> {
        let found = self.optional_reason()?;
        self.required(REASON_CODE, found)
    }
}

/// Why, as a code.
pub(crate) const REASON_CODE: &str = "reason_code";

/// Why, for people.
pub(crate) const REASON_HINT: &str = "reason_hint";
