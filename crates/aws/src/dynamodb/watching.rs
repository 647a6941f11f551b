//! Encounters as this process knows them, so that what did not change is not read again: a firm's encounters of some days are
//! many kilobytes, and are asked for in every sweep.
//!
//! The row of the firm's cursor counts the changes of its encounters, and names those that changed last. Who knows the
//! encounters as they were after so many changes reads those named since; who knows none, or too old ones, reads all. What is
//! not counted is a look under a lease on the encounter itself: another process may not see when it was made, and looks again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use aws_sdk_dynamodb::types::AttributeValue;
use skin_assist_core::{
    domain::{Encounter, EncounterId, FirmId},
    time::Timestamp,
};

use super::{
    Ask, DynamoStore, Outcome,
    codec::{Attributes, Row, number, text, time},
    encounters::{self, PREFIX},
    firms::first_fence,
    lock,
    schema::ENCOUNTER_WATCH,
    write::Write,
};

const TABLE: &str = ENCOUNTER_WATCH.name;

/// So many encounters are named, in so many bytes: the row is to stay below a kilobyte.
const MOST_NAMED: usize = 32;
const MOST_NAMED_BYTES: usize = 700;

/// Encounters of all firms that one process keeps: some 40 MB.
const MOST_KEPT: usize = 150_000;

/// Those that are past what is asked for are dropped when they are so many days past it.
const DROPPED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// An encounter's row.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) encounter: Encounter,
    /// How often it was seen as news.
    pub(super) seen: u64,
    pub(super) first_seen_at: Timestamp,
    /// The last look under a lease of its own.
    pub(super) looked_at: Option<Timestamp>,
    pub(super) expires_at: Timestamp,
    pub(super) photos: u32,
    pub(super) latest_photo_at: Option<Timestamp>,
}

impl Known {
    pub(super) fn read(row: &Row) -> Outcome<Self> {
        let attributes = Attributes { table: TABLE, row };
        Ok(Self {
            encounter: encounters::read_encounter(row)?,
            seen: attributes.number("seen")?,
            first_seen_at: attributes.time("first_seen_at")?,
            looked_at: attributes.optional_time("looked_at")?,
            expires_at: attributes.time("expires_at")?,
            photos: attributes.optional_number("photos")?.unwrap_or(0),
            latest_photo_at: attributes.optional_time("latest_photo_at")?,
        })
    }
}

/// A firm's encounters whose watch ends after some time, as they were after so many changes, in the order of their ids.
#[derive(Debug, Clone)]
pub(super) struct Watching {
    changes: u64,
    ending_after: Timestamp,
    pub(super) encounters: BTreeMap<EncounterId, Known>,
}

/// Counts changes of these encounters and names them, in a write to the row of the cursor, where that is still as it was
/// read. `generation` is the firm's.
pub(super) fn changed<'a>(
    write: Write,
    row: Option<&'a Row>,
    encounters: impl IntoIterator<Item = &'a EncounterId>,
    generation: u64,
    now: Timestamp,
) -> Outcome<Write> {
    let (mut before, mut named) = (None, Vec::new());
    if let Some(row) = row {
        let attributes = Attributes { table: TABLE, row };
        before = attributes.optional_number::<u64>("changes")?;
        named = attributes.texts("changed")?;
    }
    let known = named.len();
    named.extend(encounters.into_iter().map(EncounterId::as_str));
    // A number that no earlier firm of this name can have had: a process may still know that one's encounters.
    let count = before.unwrap_or_else(|| first_fence(generation, now)) + (named.len() - known) as u64;
    let mut bytes = 0;
    let kept = named.iter().rev().take(MOST_NAMED).take_while(|id| {
        bytes += id.len();
        bytes <= MOST_NAMED_BYTES
    });
    let mut kept: Vec<AttributeValue> = kept.map(|id| text(*id)).collect();
    kept.reverse();
    Ok(write
        .when_is("changes", before.map(number))
        .set("changes", number(count))
        .set("changed", AttributeValue::L(kept)))
}

impl DynamoStore {
    /// The firm's encounters whose watch ends after `ending_after`, and perhaps some more; `cursor` is the row of its cursor,
    /// as it is now.
    pub(super) async fn encounters_of(
        &self,
        firm: &FirmId,
        cursor: &Row,
        ending_after: Timestamp,
    ) -> Outcome<Arc<Watching>> {
        let attributes = Attributes {
            table: TABLE,
            row: cursor,
        };
        let changes: Option<u64> = attributes.optional_number("changes")?;
        let Some(changes) = changes else {
            // Nothing was ever recorded.
            return Ok(Arc::new(Watching {
                changes: 0,
                ending_after,
                encounters: BTreeMap::new(),
            }));
        };
        let named = attributes.texts("changed")?;
        let known = lock(&self.watching).get(firm).cloned();
        let since = known
            .filter(|known| known.ending_after <= ending_after)
            .and_then(|known| Some((changes.checked_sub(known.changes)?, known)))
            .filter(|(missed, _)| *missed <= named.len() as u64);
        let watching = match since {
            Some((0, known)) => return Ok(known),
            Some((missed, known)) => {
                let missed: BTreeSet<&str> = named[named.len() - missed as usize..].iter().copied().collect();
                let mut watching = Arc::unwrap_or_clone(known);
                self.read_again(firm, &mut watching, missed).await?;
                watching.changes = changes;
                if watching.ending_after + DROPPED_AFTER < ending_after {
                    watching.ending_after = ending_after;
                    watching.encounters.retain(|_, known| known.expires_at > ending_after);
                }
                watching
            }
            None => self.read_all(firm, changes, ending_after).await?,
        };
        let watching = Arc::new(watching);
        self.keep(firm, Arc::clone(&watching));
        Ok(watching)
    }

    async fn read_again(&self, firm: &FirmId, watching: &mut Watching, missed: BTreeSet<&str>) -> Outcome<()> {
        let ids: Vec<EncounterId> = missed.into_iter().map(EncounterId::new).collect();
        let keys = ids.iter().map(|id| encounters::key(firm, id)).collect();
        let rows = self.get_all(&ENCOUNTER_WATCH, keys).await?;
        for id in ids {
            match rows
                .get(&encounters::key(firm, &id))
                .filter(|row| encounters::is_seen(row))
            {
                Some(row) => watching.encounters.insert(id, Known::read(row)?),
                None => watching.encounters.remove(&id),
            };
        }
        Ok(())
    }

    async fn read_all(&self, firm: &FirmId, changes: u64, ending_after: Timestamp) -> Outcome<Watching> {
        let ask = Ask {
            filter: Some("#expires_at > :ending_after"),
            ..Ask::beginning(&ENCOUNTER_WATCH, firm.as_str(), PREFIX)
        }
        .value("ending_after", time(ending_after));
        let mut encounters = BTreeMap::new();
        for row in &self.all(ask).await? {
            let known = Known::read(row)?;
            encounters.insert(known.encounter.id.clone(), known);
        }
        Ok(Watching {
            changes,
            ending_after,
            encounters,
        })
    }

    /// Keeps what is known of the firm, and forgets other firms where that is too much.
    fn keep(&self, firm: &FirmId, watching: Arc<Watching>) {
        let mut kept = lock(&self.watching);
        let sizes = |kept: &HashMap<FirmId, Arc<Watching>>| -> usize {
            kept.values().map(|watching| watching.encounters.len()).sum()
        };
        kept.remove(firm);
        while !kept.is_empty() && sizes(&kept) + watching.encounters.len() > MOST_KEPT {
            let Some(another) = kept.keys().next().cloned() else {
                break;
            };
            kept.remove(&another);
        }
        kept.insert(firm.clone(), watching);
    }

    /// Forgets what is known of the firm: something was written that is not counted.
    pub(super) fn know_no_more(&self, firm: &FirmId) {
        lock(&self.watching).remove(firm);
    }
}
