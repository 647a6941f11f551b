//! The quota, shared by every worker and process on the file, and what it was used for.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rusqlite::params;
use skin_assist_core::{
    ports::{CallGrants, CallKind, Grant, QuotaFigures, QuotaKey},
    quota::{Allowance, TokenBucket},
    time::Timestamp,
};

use crate::{
    Outcome, SqliteStore,
    codec::{Columns, Millis, to_json},
    execute, first, rows,
    sealed::{Row, State},
};

fn read_figures(row: &Row<'_>) -> Outcome<QuotaFigures> {
    let columns = Columns {
        table: "call_grants",
        row,
    };
    Ok(QuotaFigures {
        name: columns.get("quota")?,
        bucket: TokenBucket {
            tokens: columns.get("tokens")?,
            at: columns.time("at")?,
            held_until: columns.time("held_until")?,
            share: columns.get("share")?,
        },
        granted: columns.json("granted")?,
        refused: columns.count("refused")?,
    })
}

fn load(state: &State<'_>, key: &QuotaKey) -> Outcome<Option<QuotaFigures>> {
    first(
        state,
        "SELECT * FROM call_grants WHERE quota = ?1",
        [&key.name],
        read_figures,
    )
}

/// A quota that nobody has used yet, beginning to gather at `at`.
fn unused(key: &QuotaKey, at: Timestamp) -> QuotaFigures {
    QuotaFigures {
        name: key.name.clone(),
        bucket: TokenBucket::empty(at),
        granted: BTreeMap::new(),
        refused: 0,
    }
}

fn save(state: &State<'_>, figures: &QuotaFigures) -> Outcome<()> {
    let QuotaFigures {
        name,
        bucket,
        granted,
        refused,
    } = figures;
    execute(
        state,
        "INSERT INTO call_grants (quota, tokens, at, held_until, share, granted, refused)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (quota) DO UPDATE SET tokens = excluded.tokens, at = excluded.at, held_until = excluded.held_until,
             share = excluded.share, granted = excluded.granted, refused = excluded.refused",
        params![
            name,
            bucket.tokens,
            Millis(bucket.at),
            Millis(bucket.held_until),
            bucket.share,
            to_json(granted)?,
            *refused as i64
        ],
    )?;
    Ok(())
}

#[async_trait]
impl CallGrants for SqliteStore {
    async fn take(&self, key: &QuotaKey, kind: CallKind, now: Timestamp) -> Outcome<Grant> {
        self.write(|state| {
            let known = load(state, key)?;
            let new = known.is_none();
            let mut figures = known.unwrap_or_else(|| unused(key, now));
            let grant = figures.bucket.take(Allowance::of(key.calls, key.window), kind, now);
            if grant == Grant::Granted {
                *figures.granted.entry(kind).or_default() += 1;
            }
            // A refusal changes nothing that a later look at the older bucket would not find out again, and is not worth
            // a write to disk.
            if grant == Grant::Granted || new {
                save(state, &figures)?;
            }
            Ok(grant)
        })
    }

    async fn hold(&self, key: &QuotaKey, now: Timestamp, until: Timestamp) -> Outcome<()> {
        self.write(|state| {
            // A quota that nobody has used yet begins to gather when the hold ends.
            let mut figures = load(state, key)?.unwrap_or_else(|| unused(key, until));
            figures.bucket.hold(now, until);
            figures.refused += 1;
            save(state, &figures)
        })
    }

    async fn slow_down(&self, key: &QuotaKey, now: Timestamp) -> Outcome<()> {
        self.write(|state| {
            let mut figures = load(state, key)?.unwrap_or_else(|| unused(key, now));
            figures.bucket.slow_down(now);
            save(state, &figures)
        })
    }

    async fn quotas(&self) -> Outcome<Vec<QuotaFigures>> {
        self.read(|state| rows(state, "SELECT * FROM call_grants ORDER BY quota", [], read_figures))
    }
}
