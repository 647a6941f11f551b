//! What polling learned: one row for all firms together and one for each firm, so that what was learned about a firm goes
//! with it.
//!
//! A row is as of a time of its own. Whoever adds to it first lets what is there fade by the time since then.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rusqlite::params;
use skin_assist_core::{
    domain::FirmId,
    polling::{Count, Learned},
    ports::PollingMemory,
    time::Timestamp,
};

use crate::{
    Outcome, SqliteStore,
    codec::{Columns, Millis, to_json},
    execute, first, rows,
    sealed::State,
};

type Tables = BTreeMap<String, Vec<Count>>;
type Counts = BTreeMap<String, Count>;

/// What all firms together taught, and as of when.
fn of_all(state: &State<'_>) -> Outcome<Option<(Tables, Timestamp)>> {
    first(state, "SELECT tables, as_of FROM learned_of_all", [], |row| {
        let columns = Columns {
            table: "learned_of_all",
            row,
        };
        Ok((columns.json("tables")?, columns.time("as_of")?))
    })
}

/// What each of `firms` taught, and as of when; those of which nothing was learned are left out.
fn of_firms<'a>(
    state: &State<'_>,
    firms: impl IntoIterator<Item = &'a FirmId>,
) -> Outcome<Vec<(FirmId, Counts, Timestamp)>> {
    let firms: Vec<&FirmId> = firms.into_iter().collect();
    rows(
        state,
        "SELECT firm, counts, as_of FROM learned_of_firms WHERE firm IN (SELECT value FROM json_each(?1))",
        [to_json(&firms)?],
        |row| {
            let columns = Columns {
                table: "learned_of_firms",
                row,
            };
            Ok((
                columns.text("firm", FirmId::new)?,
                columns.json("counts")?,
                columns.time("as_of")?,
            ))
        },
    )
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

fn add_of_all(state: &State<'_>, gained: Tables, now: Timestamp) -> Outcome<()> {
    let of = |shared: Tables| Learned {
        shared,
        firms: BTreeMap::new(),
    };
    let (known, as_of) = of_all(state)?.unwrap_or_else(|| (Tables::new(), now));
    let (known, as_of) = joined(of(known), as_of, &of(gained), now);
    execute(
        state,
        "INSERT INTO learned_of_all (one, as_of, tables) VALUES (1, ?1, ?2)
         ON CONFLICT (one) DO UPDATE SET as_of = excluded.as_of, tables = excluded.tables",
        params![Millis(as_of), to_json(&known.shared)?],
    )?;
    Ok(())
}

fn add_of_firms(state: &State<'_>, gained: BTreeMap<FirmId, Counts>, now: Timestamp) -> Outcome<()> {
    let mut known: BTreeMap<FirmId, (Counts, Timestamp)> = of_firms(state, gained.keys())?
        .into_iter()
        .map(|(firm, counts, as_of)| (firm, (counts, as_of)))
        .collect();
    for (firm, gained) in gained {
        let of = |counts: Counts| Learned {
            shared: BTreeMap::new(),
            firms: BTreeMap::from([(firm.clone(), counts)]),
        };
        let (counts, as_of) = known.remove(&firm).unwrap_or_else(|| (Counts::new(), now));
        let (known, as_of) = joined(of(counts), as_of, &of(gained), now);
        let counts = known.firms.get(&firm);
        // The firm may have been removed while it was polled.
        execute(
            state,
            "INSERT INTO learned_of_firms (firm, as_of, counts) SELECT firm, ?2, ?3 FROM firms WHERE firm = ?1
             ON CONFLICT (firm) DO UPDATE SET as_of = excluded.as_of, counts = excluded.counts",
            params![firm.as_str(), Millis(as_of), to_json(&counts)?],
        )?;
    }
    Ok(())
}

#[async_trait]
impl PollingMemory for SqliteStore {
    async fn learned(&self, firms: &[FirmId]) -> Outcome<Learned> {
        self.read(|state| {
            Ok(Learned {
                shared: of_all(state)?.map(|(tables, _)| tables).unwrap_or_default(),
                firms: of_firms(state, firms)?
                    .into_iter()
                    .map(|(firm, counts, _)| (firm, counts))
                    .collect(),
            })
        })
    }

    async fn add_learned(&self, gained: &Learned, now: Timestamp) -> Outcome<()> {
        if gained.is_empty() {
            return Ok(());
        }
        let Learned { shared, firms } = sound(gained);
        self.write(|state| {
            if !shared.is_empty() {
                add_of_all(state, shared, now)?;
            }
            add_of_firms(state, firms, now)
        })
    }
}
