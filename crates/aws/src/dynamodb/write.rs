//! A write to one row: what it does, and the condition under which it does it.
//!
//! Expressions name attributes as `#attribute` and values as `:value`. What an expression names is found in it, so that a
//! write carries no name and no value that its expressions do not use (DynamoDB refuses those), and no attribute is ever
//! taken for a reserved word.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    error::BuildError,
    types::{
        AttributeValue, ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
    },
};
use skin_assist_core::lease::Fence;

use super::{
    codec::{Row, number, text},
    schema::{ITEM, PART, Table},
};

/// A row's place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) part: String,
    pub(crate) item: String,
}

impl Key {
    pub(crate) fn new(part: impl Into<String>, item: impl Into<String>) -> Self {
        Self {
            part: part.into(),
            item: item.into(),
        }
    }

    /// Of a row that was read.
    pub(crate) fn of(row: &Row) -> Option<Self> {
        let text = |attribute: &str| row.get(attribute)?.as_s().ok().cloned();
        Some(Self {
            part: text(PART)?,
            item: text(ITEM)?,
        })
    }

    /// As attributes.
    pub(crate) fn row(&self) -> Row {
        HashMap::from([(PART.to_owned(), text(&self.part)), (ITEM.to_owned(), text(&self.item))])
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Changes attributes, and makes the row where there is none and the condition allows it.
    Update,
    /// Replaces the row.
    Put,
    /// Deletes it.
    Delete,
    /// Only looks whether the condition holds: in transactions.
    Check,
}

/// A write to one row.
#[derive(Clone)]
pub(crate) struct Write {
    pub(crate) table: &'static Table,
    pub(crate) key: Key,
    pub(crate) kind: Kind,
    changes: Vec<String>,
    removals: Vec<String>,
    conditions: Vec<String>,
    /// What `#alias` stands for, where it is not the attribute itself.
    aliases: HashMap<String, String>,
    values: Row,
}

impl Write {
    fn of(kind: Kind, table: &'static Table, key: Key) -> Self {
        Self {
            table,
            key,
            kind,
            changes: Vec::new(),
            removals: Vec::new(),
            conditions: Vec::new(),
            aliases: HashMap::new(),
            values: HashMap::new(),
        }
    }

    pub(crate) fn update(table: &'static Table, key: Key) -> Self {
        Self::of(Kind::Update, table, key)
    }

    /// A row that is not there yet; [`Write::or_replace`] for one that may be.
    pub(crate) fn put(table: &'static Table, key: Key) -> Self {
        Self::of(Kind::Put, table, key).when("attribute_not_exists(#part)")
    }

    pub(crate) fn delete(table: &'static Table, key: Key) -> Self {
        Self::of(Kind::Delete, table, key)
    }

    pub(crate) fn check(table: &'static Table, key: Key) -> Self {
        Self::of(Kind::Check, table, key)
    }

    /// Whatever is there.
    pub(crate) fn or_replace(mut self) -> Self {
        self.conditions.clear();
        self
    }

    /// Sets an attribute.
    pub(crate) fn set(mut self, attribute: &str, value: AttributeValue) -> Self {
        self.changes.push(format!("#{attribute} = :{attribute}"));
        self.value(attribute, value)
    }

    /// Sets an attribute, or removes it.
    pub(crate) fn set_or_remove(self, attribute: &str, value: Option<AttributeValue>) -> Self {
        match (value, self.kind) {
            (Some(value), _) => self.set(attribute, value),
            (None, Kind::Put) => self,
            (None, _) => self.remove(attribute),
        }
    }

    /// Sets what an expression says, such as `#fence = #fence + :one`.
    pub(crate) fn set_by(mut self, change: &str) -> Self {
        self.changes.push(change.to_owned());
        self
    }

    pub(crate) fn remove(mut self, attribute: &str) -> Self {
        self.removals.push(format!("#{attribute}"));
        self
    }

    /// Only where this holds too.
    pub(crate) fn when(mut self, condition: &str) -> Self {
        self.conditions.push(condition.to_owned());
        self
    }

    /// Only where the attribute has this value, or is not there.
    pub(crate) fn when_is(self, attribute: &str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self
                .when(&format!("#{attribute} = :{attribute}_was"))
                .value(&format!("{attribute}_was"), value),
            None => self.when(&format!("attribute_not_exists(#{attribute})")),
        }
    }

    /// Only where the row exists.
    pub(crate) fn when_there(self) -> Self {
        self.when("attribute_exists(#part)")
    }

    /// Only under this fence.
    pub(crate) fn fenced(self, fence: Fence) -> Self {
        self.when("#fence = :held").value("held", number(fence.0))
    }

    /// A later lease has a higher fence.
    pub(crate) fn raise_fence(self) -> Self {
        self.set_by("#fence = #fence + :one").value("one", number(1))
    }

    pub(crate) fn value(mut self, name: &str, value: AttributeValue) -> Self {
        self.values.insert(name.to_owned(), value);
        self
    }

    pub(crate) fn alias(mut self, alias: &str, attribute: &str) -> Self {
        self.aliases.insert(alias.to_owned(), attribute.to_owned());
        self
    }

    /// What its expressions call `:name`.
    pub(crate) fn get(&self, name: &str) -> Option<&AttributeValue> {
        self.values.get(name)
    }

    /// The names of its values.
    pub(crate) fn value_names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Changes its values, by their names.
    pub(crate) fn change_values(&mut self, change: impl Fn(&str, &mut AttributeValue)) {
        for (name, value) in &mut self.values {
            change(name, value);
        }
    }

    /// Its condition alone.
    pub(crate) fn condition_only(mut self) -> Self {
        self.changes.clear();
        self.removals.clear();
        self.kind = Kind::Check;
        self
    }

    /// Takes over the changes and conditions of another write to the same row.
    pub(crate) fn with(mut self, other: Self) -> Self {
        if other.kind == Kind::Update {
            self.kind = Kind::Update;
        }
        self.changes.extend(other.changes);
        self.removals.extend(other.removals);
        self.conditions.extend(other.conditions);
        self.aliases.extend(other.aliases);
        self.values.extend(other.values);
        self
    }

    /// The expressions, and what they name.
    pub(crate) fn expressions(&self) -> Expressions {
        let mut change = Vec::new();
        if self.kind == Kind::Update && !self.changes.is_empty() {
            change.push(format!("SET {}", self.changes.join(", ")));
        }
        if self.kind == Kind::Update && !self.removals.is_empty() {
            change.push(format!("REMOVE {}", self.removals.join(", ")));
        }
        let change = (!change.is_empty()).then(|| change.join(" "));
        let condition = (!self.conditions.is_empty()).then(|| format!("({})", self.conditions.join(") AND (")));
        let used = Used::of(&[change.as_deref(), condition.as_deref()], &self.aliases, &self.values);
        Expressions {
            change,
            condition,
            names: used.names,
            values: used.values,
        }
    }

    /// The row that a put writes.
    pub(crate) fn row(&self) -> Row {
        let mut row = self.key.row();
        for change in &self.changes {
            // Puts are made with `set` alone.
            if let Some((name, _)) = change.trim_start_matches('#').split_once(" = ")
                && let Some(value) = self.values.get(name)
            {
                row.insert(name.to_owned(), value.clone());
            }
        }
        row
    }

    /// As a part of a transaction.
    pub(crate) fn in_transaction(&self, table: String) -> Result<TransactWriteItem, BuildError> {
        let Expressions {
            change,
            condition,
            names,
            values,
        } = self.expressions();
        let (names, values) = (some(names), some(values));
        let old = ReturnValuesOnConditionCheckFailure::AllOld;
        let item = TransactWriteItem::builder();
        Ok(match self.kind {
            Kind::Update => item.update(
                Update::builder()
                    .table_name(table)
                    .set_key(Some(self.key.row()))
                    .set_update_expression(change)
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(old)
                    .build()?,
            ),
            Kind::Put => item.put(
                Put::builder()
                    .table_name(table)
                    .set_item(Some(self.row()))
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(old)
                    .build()?,
            ),
            Kind::Delete => item.delete(
                Delete::builder()
                    .table_name(table)
                    .set_key(Some(self.key.row()))
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(old)
                    .build()?,
            ),
            Kind::Check => item.condition_check(
                ConditionCheck::builder()
                    .table_name(table)
                    .set_key(Some(self.key.row()))
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(old)
                    .build()?,
            ),
        }
        .build())
    }
}

/// Expressions of a request, with what they name.
pub(crate) struct Expressions {
    pub(crate) change: Option<String>,
    pub(crate) condition: Option<String>,
    pub(crate) names: HashMap<String, String>,
    pub(crate) values: Row,
}

/// A map, unless it is empty: DynamoDB refuses empty ones.
pub(crate) fn some<T>(map: HashMap<String, T>) -> Option<HashMap<String, T>> {
    (!map.is_empty()).then_some(map)
}

/// What expressions name.
pub(crate) struct Used {
    pub(crate) names: HashMap<String, String>,
    pub(crate) values: Row,
}

impl Used {
    pub(crate) fn of(expressions: &[Option<&str>], aliases: &HashMap<String, String>, values: &Row) -> Self {
        let mut used = Self {
            names: HashMap::new(),
            values: HashMap::new(),
        };
        for expression in expressions.iter().flatten() {
            for (place, sign) in expression.match_indices(['#', ':']) {
                let word: String = expression[place + 1..]
                    .chars()
                    .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
                    .collect();
                if sign == "#" {
                    let attribute = aliases.get(&word).cloned().unwrap_or_else(|| word.clone());
                    used.names.insert(format!("#{word}"), attribute);
                } else if let Some(value) = values.get(&word) {
                    used.values.insert(format!(":{word}"), value.clone());
                }
            }
        }
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamodb::schema::FIRMS;

    #[test]
    fn a_write_names_what_it_uses_and_nothing_else() {
        let write = Write::update(&FIRMS, Key::new("a", "b"))
            .fenced(Fence(7))
            .set("due_at", number(5))
            .set_by("#looks.#l0 = :due_at")
            .alias("l0", "an id: with signs #")
            .remove("queue")
            .value("unused", number(1));
        let expressions = write.expressions();
        assert_eq!(
            expressions.change.as_deref(),
            Some("SET #due_at = :due_at, #looks.#l0 = :due_at REMOVE #queue")
        );
        assert_eq!(expressions.condition.as_deref(), Some("(#fence = :held)"));
        let mut names: Vec<_> = expressions.names.values().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["an id: with signs #", "due_at", "fence", "looks", "queue"]);
        assert_eq!(expressions.values.len(), 2);
        assert!(write.condition_only().expressions().change.is_none());
    }

    #[test]
    fn a_put_writes_its_key_and_what_was_set() {
        let put = Write::put(&FIRMS, Key::new("a", "b"))
            .set("one", number(1))
            .set_or_remove("two", None);
        assert_eq!(
            put.row(),
            HashMap::from([
                ("part".to_owned(), text("a")),
                ("item".to_owned(), text("b")),
                ("one".to_owned(), number(1))
            ])
        );
    }
}
