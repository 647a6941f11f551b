//! When encounters were looked at under leases on their firm's watch list.
//!
//! A write is paid for by the size of its row, so that looks are where few others are. The latest few are in the row of the
//! lease. The others are in rows of the firm's own partition, one for each quarter of an hour in which they were written: such a
//! row has the encounters that were looked at then and no others, and goes by itself when nobody asks for it any more. An
//! encounter is named by a digest under the firm's key, a third as long as its id.
//!
//! The lease's row counts how often looks were written elsewhere. A process that knows them as they were after so many times reads
//! the latest rows again, and no others.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use aws_sdk_dynamodb::types::AttributeValue;
use skin_assist_core::{
    domain::{FirmId, WatchList},
    lease::Lease,
    ports::Look,
    time::Timestamp,
};
use skin_assist_vault::DataKey;

use super::{
    Ask, DynamoStore, Outcome, Written,
    codec::{Attributes, Row, number, seconds, text, time},
    lock,
    schema::{DELETE_AT, ENCOUNTER_WATCH},
    sealed::LOOK,
    watch_lists::{freed, lease_key},
    write::{Key, Write},
};

const TABLE: &str = ENCOUNTER_WATCH.name;

/// How the items of rows with looks begin, and what is behind all of them.
const BEGINNING: &str = "looks#";
const END: &str = "looks#~";

/// A row has the looks that were written in this time.
const SPAN: Duration = Duration::from_secs(15 * 60);

/// Looks are kept for this long: a watch without one for longer is looked at, and begins anew.
const KEPT_FOR: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// The looks of one write: an expression has room for no more.
const MOST_AT_ONCE: usize = 100;

/// More looks than these are not kept in the lease's row, so that it has less than a kilobyte.
const MOST_LATEST: usize = 16;

/// How the names of attributes begin that are looks.
const SIGN: char = '@';

/// How long they are: 48 bits.
const NAME: usize = 8;

/// What stands for an encounter among looks, the beginning of its sealed id: that two of a firm's are taken for one is less likely than that
/// a disk fails, and who lacks the firm's key learns nothing of it.
fn name_of(data_key: &DataKey, encounter: &str) -> String {
    let mut name = data_key.seal(LOOK, encounter);
    name.truncate(NAME);
    name
}

/// The row of the looks that are written at `now`.
fn key(firm: &FirmId, now: Timestamp) -> Key {
    let span = SPAN.as_millis() as i64;
    Key::new(firm.as_str(), item(now.as_millis().div_euclid(span) * span))
}

fn item(begins: i64) -> String {
    format!("{BEGINNING}{begins:015}")
}

/// The item of the row before.
fn before(row: &str) -> String {
    let begins = row
        .strip_prefix(BEGINNING)
        .and_then(|begins| begins.parse::<i64>().ok());
    begins.map_or_else(|| BEGINNING.to_owned(), |begins| item(begins - SPAN.as_millis() as i64))
}

/// None, in the lease's row.
pub(super) fn none() -> AttributeValue {
    AttributeValue::M(HashMap::new())
}

/// Notes looks at encounters in the lease's row.
pub(super) fn noted<'a>(
    data_key: &DataKey,
    write: Write,
    looks: impl IntoIterator<Item = (&'a str, Timestamp)>,
) -> Write {
    named(data_key, looks)
        .into_iter()
        .enumerate()
        .fold(write, |write, (place, (name, at))| {
            let look = format!("look{place}");
            write
                .set_by(&format!("#looks.#{look} = :{look}"))
                .alias(&look, &name)
                .value(&look, time(at))
        })
}

/// Each encounter once.
fn named<'a>(data_key: &DataKey, looks: impl IntoIterator<Item = (&'a str, Timestamp)>) -> HashMap<String, Timestamp> {
    let mut named = HashMap::new();
    for (encounter, at) in looks {
        later(&mut named, name_of(data_key, encounter), at);
    }
    named
}

fn later(looks: &mut HashMap<String, Timestamp>, name: String, at: Timestamp) {
    let known = looks.entry(name).or_insert(at);
    *known = (*known).max(at);
}

/// When encounters were looked at under leases on their firm's list.
#[derive(Debug, Default)]
pub(super) struct Looks {
    data_key: Option<Arc<DataKey>>,
    latest: HashMap<String, Timestamp>,
    moved: Arc<HashMap<String, Timestamp>>,
    all: Option<Timestamp>,
}

impl Looks {
    /// The last look at an encounter since it was first seen. A search for all documents of the firm is a look at each
    /// encounter that had been seen by then; the row of none of them is written for it.
    pub(super) fn at(&self, encounter: &str, first_seen_at: Timestamp) -> Option<Timestamp> {
        let since = |at: &Timestamp| *at >= first_seen_at;
        let name = self.data_key.as_deref().map(|data_key| name_of(data_key, encounter));
        let name = name.unwrap_or_default();
        let own = [&self.latest, &*self.moved].map(|looks| looks.get(&name).copied().filter(since));
        own[0].max(own[1]).max(self.all.filter(since))
    }
}

/// The looks of a firm that are not in its lease's row, as they were after so many moves under a fence of this firm.
#[derive(Debug, Clone)]
pub(super) struct MovedLooks {
    fence: u64,
    moves: u64,
    /// The latest row that was read or written.
    last: String,
    looks: Arc<HashMap<String, Timestamp>>,
}

impl DynamoStore {
    /// When the firm's encounters were looked at.
    pub(super) async fn looks(&self, firm: &FirmId) -> Outcome<Looks> {
        let Some(row) = self.get(&ENCOUNTER_WATCH, &lease_key(firm)).await? else {
            return Ok(Looks::default());
        };
        let attributes = Attributes {
            table: TABLE,
            row: &row,
        };
        let latest = attributes.times("looks")?;
        Ok(Looks {
            data_key: self.data_key(firm.as_str()).await?,
            moved: self.moved_looks(firm, &attributes).await?,
            latest: latest.into_iter().map(|(name, at)| (name.to_owned(), at)).collect(),
            all: attributes.optional_time("all_looked_at")?,
        })
    }

    /// The looks that are not in the lease's row: as this process knows them, as far as there was no move since.
    async fn moved_looks(&self, firm: &FirmId, lease: &Attributes<'_>) -> Outcome<Arc<HashMap<String, Timestamp>>> {
        let (fence, moves) = (lease.number("fence")?, lease.number("moved")?);
        if moves == 0 {
            return Ok(Arc::default());
        }
        // A firm that was removed and connected again counts from the beginning, under a higher fence.
        let known = lock(&self.moved_looks).get(firm).cloned();
        let known = known.filter(|known| known.moves <= moves && known.fence <= fence);
        if let Some(known) = known.as_ref().filter(|known| known.moves == moves) {
            return Ok(Arc::clone(&known.looks));
        }
        // Whoever wrote since may have a clock that is behind.
        let from = known
            .as_ref()
            .map_or_else(|| BEGINNING.to_owned(), |known| before(&known.last));
        let (mut looks, mut last) = known.map_or_else(
            || (Arc::default(), BEGINNING.to_owned()),
            |known| (known.looks, known.last),
        );
        let ask = Ask {
            key: "#part = :part AND #item BETWEEN :from AND :end",
            ..Ask::part(&ENCOUNTER_WATCH, firm.as_str())
        };
        for row in &self.all(ask.value("from", text(from)).value("end", text(END))).await? {
            let attributes = Attributes { table: TABLE, row };
            let known: &mut HashMap<String, Timestamp> = Arc::make_mut(&mut looks);
            for name in row.keys().filter_map(|name| name.strip_prefix(SIGN)) {
                later(known, name.to_owned(), attributes.look(SIGN, name)?);
            }
            last = last.max(attributes.text("item")?.to_owned());
        }
        let known = MovedLooks {
            fence,
            moves,
            last,
            looks: Arc::clone(&looks),
        };
        lock(&self.moved_looks).insert(firm.clone(), known);
        Ok(looks)
    }

    /// Writes looks by their names into the row of `now`.
    async fn write_looks(&self, firm: &FirmId, looks: &HashMap<String, Timestamp>, now: Timestamp) -> Outcome<()> {
        let looks: Vec<(&String, &Timestamp)> = looks.iter().collect();
        for part in looks.chunks(MOST_AT_ONCE) {
            let row = Write::update(&ENCOUNTER_WATCH, key(firm, now)).set(DELETE_AT, seconds(now + KEPT_FOR));
            let row = part.iter().enumerate().fold(row, |write, (place, (name, at))| {
                let look = format!("look{place}");
                write
                    .set_by(&format!("#{look} = :{look}"))
                    .alias(&look, &format!("{SIGN}{name}"))
                    .value(&look, time(**at))
            });
            self.write(row).await?;
        }
        Ok(())
    }

    /// Keeps what this process knows up to date, after looks were written into the row of `now` and the lease's row was asked to
    /// count that.
    fn looks_moved(
        &self,
        firm: &FirmId,
        looks: HashMap<String, Timestamp>,
        counted: &Written,
        now: Timestamp,
    ) -> Outcome<()> {
        // Whoever lost the lease meanwhile wrote what was true; and what was written for a firm that is gone goes by itself.
        let Written::Done(row) = counted else { return Ok(()) };
        let attributes = Attributes { table: TABLE, row };
        let moves: u64 = attributes.number("moved")?;
        let mut known = lock(&self.moved_looks);
        if moves == 1 {
            known.insert(
                firm.clone(),
                MovedLooks {
                    fence: attributes.number("fence")?,
                    moves,
                    last: key(firm, now).item,
                    looks: Arc::new(looks),
                },
            );
        } else if let Some(known) = known.get_mut(firm).filter(|known| known.moves + 1 == moves) {
            // Looks that nobody asks for any more are not kept either.
            let kept: &mut HashMap<String, Timestamp> = Arc::make_mut(&mut known.looks);
            kept.retain(|_, at| *at + KEPT_FOR > now);
            for (name, at) in looks {
                later(kept, name, at);
            }
            known.moves = moves;
            known.last = known.last.clone().max(key(firm, now).item);
        }
        Ok(())
    }

    /// Moves the looks out of the lease's row, as it was just read, when there are many.
    pub(super) async fn move_looks(&self, lease: &Lease<WatchList>, row: &Row, now: Timestamp) -> Outcome<()> {
        let latest = Attributes { table: TABLE, row }.times("looks")?;
        if latest.len() <= MOST_LATEST {
            return Ok(());
        }
        let firm = &lease.item().firm;
        let moving: HashMap<String, Timestamp> = latest
            .into_iter()
            .take(MOST_AT_ONCE)
            .map(|(name, at)| (name.to_owned(), at))
            .collect();
        self.write_looks(firm, &moving, now).await?;
        // Only what is still as it was moved.
        let out_of = moving
            .iter()
            .enumerate()
            .fold(counting(lease), |write, (place, (name, at))| {
                let look = format!("look{place}");
                write
                    .when(&format!("#looks.#{look} = :{look}"))
                    .remove(&format!("looks.#{look}"))
                    .alias(&look, name)
                    .value(&look, time(*at))
            });
        let counted = self.change(out_of).await?;
        self.looks_moved(firm, moving, &counted, now)
    }

    /// Ends the lease, and notes the looks: few with it, and many in a row of their own.
    pub(super) async fn give_back(&self, lease: Lease<WatchList>, looks: &[Look], now: Timestamp) -> Outcome<()> {
        let firm = &lease.item().firm;
        let noting: HashSet<&str> = looks.iter().map(|look| look.encounter.as_str()).collect();
        let looks = looks.iter().map(|look| (look.encounter.as_str(), look.at));
        let Some(data_key) = self.data_key(firm.as_str()).await? else {
            // The firm is gone, and its lease with it.
            return Ok(());
        };
        if noting.len() <= MOST_LATEST {
            return self
                .write(noted(&data_key, freed(&lease, !noting.is_empty(), now), looks))
                .await
                .map(drop);
        }
        let looks = named(&data_key, looks);
        self.write_looks(firm, &looks, now).await?;
        let counted = self.change(freed(&lease, true, now).with(counting(&lease))).await?;
        self.looks_moved(firm, looks, &counted, now)
    }
}

/// Counts a move, in the lease's row.
fn counting(lease: &Lease<WatchList>) -> Write {
    Write::update(&ENCOUNTER_WATCH, lease_key(&lease.item().firm))
        .fenced(lease.fence())
        .set_by("#moved = #moved + :one")
        .value("one", number(1))
}
