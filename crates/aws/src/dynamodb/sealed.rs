//! What of a firm is sealed with its key, on its way into the tables and out of them: the rest of the store knows plain values alone.
//!
//! # Invariants
//! - [`SEALED`] and [`item`] are the list; what they do not name can be read by whoever can read the table.
//! - What is compared (keys, conditions) is of one [`Kind`] wherever it is. What is sorted or counted (times, states, fences,
//!   attempts) is not sealed.
//!
//! Where a key of a firm is gone nothing that is sealed fits any row: a read finds none, and a write is refused.

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use skin_assist_vault::{DataKey, Kind};

use super::{
    DynamoStore, Outcome,
    codec::{Row, text},
    encounters,
    error::damaged,
    schema::{
        ASSIST_RESULTS, AUDIT, CREDENTIALS, DEAD_LETTERS, DOCUMENT_WATCH, ENCOUNTER_WATCH, ITEM, PART, RESULT_PREFIX,
        Table, VISIT,
    },
    write::{Key, Write},
};

/// Documents and assessments: a dead letter is about the one or the other.
pub(super) const OF_ITEM: Kind = Kind::named("item");
pub(super) const ENCOUNTER: Kind = Kind::named("encounter");
pub(super) const PATIENT: Kind = Kind::named("patient");
const PRACTITIONER: Kind = Kind::named("practitioner");
const CREDENTIAL: Kind = Kind::named("credential");
const PHOTO: Kind = Kind::named("photo");
const CLOSED: Kind = Kind::named("closed assessment");
pub(super) const OF_VISIT: Kind = Kind::named("visit");
pub(super) const RESULT_KEY: Kind = Kind::named("result key");
const FINDINGS: Kind = Kind::named("findings");
const TOP_FINDING: Kind = Kind::named("top finding");
const REFERENCE: Kind = Kind::named("reference");
pub(super) const LOOK: Kind = Kind::named("look");
pub(super) const OF_AUDIT: Kind = Kind::named("audit");

/// The sealed attributes of each table: texts, lists of texts, and bytes. The subject of an audit record is sealed besides (`audit`), since
/// its chain is over what is stored; and so are names in the items of what results say, and of looks.
pub(crate) const SEALED: &[(&str, &[(&str, Kind)])] = &[
    (
        CREDENTIALS.name,
        &[
            ("client_id", CREDENTIAL),
            ("client_secret", CREDENTIAL),
            ("key_id", CREDENTIAL),
            ("token", CREDENTIAL),
            ("refresh_token", CREDENTIAL),
        ],
    ),
    (
        ENCOUNTER_WATCH.name,
        &[
            ("patient", PATIENT),
            ("practitioner", PRACTITIONER),
            ("changed", ENCOUNTER),
        ],
    ),
    (
        DOCUMENT_WATCH.name,
        &[
            ("encounter", ENCOUNTER),
            ("patient", PATIENT),
            ("practitioner", PRACTITIONER),
            ("assessment", OF_ITEM),
            ("closed", CLOSED),
            ("lead", OF_ITEM),
            ("photo", PHOTO),
            (VISIT, OF_VISIT),
        ],
    ),
    (
        ASSIST_RESULTS.name,
        &[
            ("assessment", OF_ITEM),
            ("reference", REFERENCE),
            ("retracted_document", OF_ITEM),
            ("top_finding", TOP_FINDING),
            ("packed", FINDINGS),
        ],
    ),
    (DEAD_LETTERS.name, &[("subject", OF_ITEM)]),
];

/// Whether rows of a table hold what is sealed with the keys of firms.
pub fn is_sealed(table: &Table) -> bool {
    table.name == AUDIT.name || SEALED.iter().any(|(name, _)| *name == table.name)
}

/// What of a sort key is sealed: what comes behind this.
fn item(table: &Table) -> Option<(&'static str, Kind)> {
    match table.name {
        name if name == DOCUMENT_WATCH.name => Some(("", OF_ITEM)),
        name if name == ENCOUNTER_WATCH.name => Some((encounters::PREFIX, ENCOUNTER)),
        name if name == ASSIST_RESULTS.name => Some((RESULT_PREFIX, OF_ITEM)),
        _ => None,
    }
}

/// What an attribute is sealed as, if it is.
fn kind(table: &Table, attribute: &str) -> Option<Kind> {
    let (_, attributes) = SEALED.iter().find(|(name, _)| *name == table.name)?;
    let (_, kind) = attributes.iter().find(|(name, _)| *name == attribute)?;
    Some(*kind)
}

/// The attribute that a value of an expression is compared with, or set to.
fn attribute_of(value: &str) -> &str {
    value.strip_suffix("_was").unwrap_or(value)
}

fn sealed(key: &DataKey, kind: Kind, value: &AttributeValue) -> AttributeValue {
    match value {
        AttributeValue::S(plain) => text(key.seal(kind, plain)),
        AttributeValue::B(plain) => AttributeValue::B(Blob::new(key.seal_bytes(kind, plain.as_ref()))),
        AttributeValue::L(list) => AttributeValue::L(list.iter().map(|value| sealed(key, kind, value)).collect()),
        other => other.clone(),
    }
}

fn opened(key: &DataKey, kind: Kind, value: AttributeValue) -> Option<AttributeValue> {
    Some(match value {
        AttributeValue::S(sealed) => text(key.open(kind, &sealed).ok()?),
        AttributeValue::B(sealed) => AttributeValue::B(Blob::new(key.open_bytes(kind, sealed.as_ref()).ok()?)),
        AttributeValue::L(list) => {
            let list: Option<Vec<_>> = list.into_iter().map(|value| opened(key, kind, value)).collect();
            AttributeValue::L(list?)
        }
        other => other,
    })
}

/// Whose key the rows of a table are sealed with: the firm that the partition is, or that a letter names.
fn firm_of<'a>(table: &Table, part: &'a str, firm: Option<&'a AttributeValue>) -> Option<&'a str> {
    if table.name == DEAD_LETTERS.name {
        return firm?.as_s().ok().map(String::as_str);
    }
    Some(part)
}

/// The key of a row as it is stored.
fn sealed_key(data_key: &DataKey, table: &Table, key: &Key) -> Key {
    match item(table).and_then(|(prefix, kind)| Some((prefix, kind, key.item.strip_prefix(prefix)?))) {
        Some((prefix, kind, plain)) => Key::new(key.part.as_str(), format!("{prefix}{}", data_key.seal(kind, plain))),
        None => key.clone(),
    }
}

fn has_sealed_key(table: &Table, key: &Key) -> bool {
    item(table).is_some_and(|(prefix, _)| key.item.starts_with(prefix))
}

impl DynamoStore {
    /// A write as it is sent; none where the firm has no key, and the write names what is sealed.
    pub(super) async fn seal_write(&self, write: &Write) -> Outcome<Option<Write>> {
        let (table, key) = (write.table, &write.key);
        let names_sealed = write
            .value_names()
            .any(|name| kind(table, attribute_of(name)).is_some());
        if !names_sealed && !has_sealed_key(table, key) {
            return Ok(Some(write.clone()));
        }
        let Some(firm) = firm_of(table, &key.part, write.get("firm")) else {
            return Ok(None);
        };
        let Some(data_key) = self.data_key(firm).await? else {
            return Ok(None);
        };
        let mut write = write.clone();
        write.key = sealed_key(&data_key, table, key);
        write.change_values(|name, value| {
            if let Some(kind) = kind(table, attribute_of(name)) {
                *value = sealed(&data_key, kind, value);
            }
        });
        Ok(Some(write))
    }

    /// A key as it is stored; none where the firm has no key.
    pub(super) async fn seal_key(&self, table: &Table, key: &Key) -> Outcome<Option<Key>> {
        if !has_sealed_key(table, key) {
            return Ok(Some(key.clone()));
        }
        let data_key = self.data_key(&key.part).await?;
        Ok(data_key.map(|data_key| sealed_key(&data_key, table, key)))
    }

    /// Opens what is sealed of a row that was read; none where the firm has no key.
    pub(super) async fn open_row(&self, table: &Table, mut row: Row) -> Outcome<Option<Row>> {
        let stored_item = item(table).and_then(|(prefix, kind)| {
            let stored = row.get(ITEM)?.as_s().ok()?.strip_prefix(prefix)?.to_owned();
            Some((prefix, kind, stored))
        });
        let (name, attributes) = SEALED
            .iter()
            .find(|(name, _)| *name == table.name)
            .copied()
            .unwrap_or((table.name, &[]));
        let there = |(attribute, _): &&(&'static str, Kind)| row.contains_key(*attribute);
        let attributes: Vec<(&'static str, Kind)> = attributes.iter().filter(there).copied().collect();
        if stored_item.is_none() && attributes.is_empty() {
            return Ok(Some(row));
        }
        let part = row
            .get(PART)
            .and_then(|part| part.as_s().ok())
            .map_or("", String::as_str);
        let firm = firm_of(table, part, row.get("firm")).unwrap_or_default().to_owned();
        let Some(data_key) = self.data_key(&firm).await? else {
            return Ok(None);
        };
        if let Some((prefix, kind, stored)) = stored_item {
            let plain = data_key.open(kind, &stored).map_err(|_| damaged(name, ITEM))?;
            row.insert(ITEM.to_owned(), text(format!("{prefix}{plain}")));
        }
        for (attribute, kind) in attributes {
            if let Some(value) = row.remove(attribute) {
                let plain = opened(&data_key, kind, value).ok_or_else(|| damaged(name, attribute))?;
                row.insert(attribute.to_owned(), plain);
            }
        }
        Ok(Some(row))
    }

    /// The same, of several.
    pub(super) async fn open_rows(&self, table: &Table, rows: Vec<Row>) -> Outcome<Vec<Row>> {
        let mut opened = Vec::with_capacity(rows.len());
        for row in rows {
            opened.extend(self.open_row(table, row).await?);
        }
        Ok(opened)
    }

    /// The same, where there is a row.
    pub(super) async fn open_if_any(&self, table: &Table, row: Option<Row>) -> Outcome<Option<Row>> {
        match row {
            Some(row) => self.open_row(table, row).await,
            None => Ok(None),
        }
    }
}
