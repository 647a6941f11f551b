//! What polling learned: one row for all firms together and one for each firm, made with it, so that what was learned about a
//! firm goes with it.
//!
//! A row is as of a time of its own. Whoever adds to it first lets what is there fade by the time since then.

use std::collections::BTreeMap;

use async_trait::async_trait;
use skin_assist_core::{
    domain::FirmId,
    polling::{Count, Learned},
    ports::PollingMemory,
    time::Timestamp,
};

use super::{
    DynamoStore, MOST_IN_A_TRANSACTION, Outcome, TRIES, Transacted,
    codec::{Attributes, Row, number, text, time, to_json},
    error::contended,
    schema::ENCOUNTER_WATCH,
    write::{Key, Write},
};

const TABLE: &str = ENCOUNTER_WATCH.name;

type Tables = BTreeMap<String, Vec<Count>>;
type Counts = BTreeMap<String, Count>;

/// Where it is what a firm taught.
pub(super) fn key(firm: &FirmId) -> Key {
    Key::new(firm.as_str(), "learned")
}

fn key_of_all() -> Key {
    Key::new("learned", "all")
}

/// Nothing yet.
pub(super) fn new(firm: &FirmId) -> Write {
    Write::put(&ENCOUNTER_WATCH, key(firm)).set("version", number(0))
}

/// What is known, faded to `now`, with what was gained; and as of when that is. A clock that went back fades nothing.
fn joined(mut known: Learned, as_of: Timestamp, gained: &Learned, now: Timestamp) -> (Learned, Timestamp) {
    known.fade(now.since(as_of));
    known.add(gained);
    (known, as_of.max(now))
}

/// What can be added up. JSON has no word for what is not a number: it would spoil all that is known.
fn sound(gained: &Learned) -> Learned {
    let mut gained = gained.clone();
    let firms = gained.firms.values_mut().flat_map(BTreeMap::values_mut);
    for count in gained.shared.values_mut().flatten().chain(firms) {
        if !(count.events.is_finite() && count.exposure.is_finite()) {
            *count = Count::default();
        }
    }
    gained
}

/// A row with what is in it after `gained`, where it is still what it was.
fn added(key: Key, row: Option<&Row>, gained: &Learned, now: Timestamp, of_firm: Option<&FirmId>) -> Outcome<Write> {
    let mut known = (Learned::default(), now);
    let mut version = None;
    if let Some(row) = row {
        let attributes = Attributes { table: TABLE, row };
        version = Some(attributes.number::<u64>("version")?);
        let as_of = attributes.optional_time("as_of")?;
        known.1 = as_of.unwrap_or(now);
        match of_firm {
            Some(firm) => known.0.firms.extend(counts(row)?.map(|counts| (firm.clone(), counts))),
            None => known.0.shared = tables(row)?,
        }
    }
    let (known, as_of) = joined(known.0, known.1, gained, now);
    let json = match of_firm {
        Some(firm) => to_json(&known.firms.get(firm))?,
        None => to_json(&known.shared)?,
    };
    Ok(Write::update(&ENCOUNTER_WATCH, key)
        .when_is("version", version.map(number))
        .set("version", number(version.map_or(1, |version| version + 1)))
        .set("as_of", time(as_of))
        .set("counts", text(json)))
}

fn tables(row: &Row) -> Outcome<Tables> {
    Attributes { table: TABLE, row }.json("counts")
}

fn counts(row: &Row) -> Outcome<Option<Counts>> {
    Attributes { table: TABLE, row }.optional_json("counts")
}

impl DynamoStore {
    /// Adds what was learned of all firms together, and of some firms, in one transaction.
    async fn add_part(&self, gained: &Learned, now: Timestamp) -> Outcome<()> {
        for _ in 0..TRIES {
            let mut keys: Vec<Key> = gained.firms.keys().map(key).collect();
            keys.push(key_of_all());
            let rows = self.get_all(&ENCOUNTER_WATCH, keys).await?;
            let mut writes = Vec::new();
            if !gained.shared.is_empty() {
                let shared = Learned {
                    shared: gained.shared.clone(),
                    firms: BTreeMap::new(),
                };
                let key = key_of_all();
                writes.push(added(key.clone(), rows.get(&key), &shared, now, None)?);
            }
            for (firm, counts) in &gained.firms {
                // The firm may have been removed while it was polled.
                let Some(row) = rows.get(&key(firm)) else { continue };
                let of_firm = Learned {
                    shared: Tables::new(),
                    firms: BTreeMap::from([(firm.clone(), counts.clone())]),
                };
                writes.push(added(key(firm), Some(row), &of_firm, now, Some(firm))?);
            }
            if let Transacted::Done = self.transact(&writes).await? {
                return Ok(());
            }
        }
        Err(contended())
    }
}

#[async_trait]
impl PollingMemory for DynamoStore {
    async fn learned(&self, firms: &[FirmId]) -> Outcome<Learned> {
        let mut keys: Vec<Key> = firms.iter().map(key).collect();
        keys.push(key_of_all());
        let rows = self.get_all(&ENCOUNTER_WATCH, keys).await?;
        let mut learned = Learned::default();
        if let Some(row) = rows.get(&key_of_all()) {
            learned.shared = tables(row)?;
        }
        for firm in firms {
            if let Some(row) = rows.get(&key(firm))
                && let Some(counts) = counts(row)?
            {
                learned.firms.insert(firm.clone(), counts);
            }
        }
        Ok(learned)
    }

    async fn add_learned(&self, gained: &Learned, now: Timestamp) -> Outcome<()> {
        if gained.is_empty() {
            return Ok(());
        }
        let mut gained = sound(gained);
        // More firms than a transaction takes: those of each part are recorded or not. A poller that tries again after an
        // error in between counts some twice, in sums that fade.
        while gained.firms.len() >= MOST_IN_A_TRANSACTION {
            let mut part = Learned::default();
            while part.firms.len() < MOST_IN_A_TRANSACTION - 1 {
                part.firms.extend(gained.firms.pop_first());
            }
            self.add_part(&part, now).await?;
        }
        self.add_part(&gained, now).await
    }
}
