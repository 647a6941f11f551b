//! The quota, shared by every worker and process on the file.

use async_trait::async_trait;
use rusqlite::{Connection, params};
use skin_assist_core::{
    ports::{CallGrants, CallKind, Grant, QuotaKey},
    quota::{Allowance, TokenBucket},
    time::Timestamp,
};

use crate::{
    Outcome, SqliteStore,
    codec::{Columns, Millis},
    execute, first,
};

fn load(state: &Connection, key: &QuotaKey) -> Outcome<Option<TokenBucket>> {
    first(
        state,
        "SELECT tokens, at, held_until FROM call_grants WHERE quota = ?1",
        [&key.name],
        |row| {
            let columns = Columns {
                table: "call_grants",
                row,
            };
            Ok(TokenBucket {
                tokens: columns.get("tokens")?,
                at: columns.time("at")?,
                held_until: columns.time("held_until")?,
            })
        },
    )
}

fn save(state: &Connection, key: &QuotaKey, bucket: &TokenBucket) -> Outcome<()> {
    execute(
        state,
        "INSERT INTO call_grants (quota, tokens, at, held_until) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (quota) DO UPDATE SET tokens = excluded.tokens, at = excluded.at, held_until = excluded.held_until",
        params![key.name, bucket.tokens, Millis(bucket.at), Millis(bucket.held_until)],
    )?;
    Ok(())
}

#[async_trait]
impl CallGrants for SqliteStore {
    async fn take(&self, key: &QuotaKey, kind: CallKind, now: Timestamp) -> Outcome<Grant> {
        self.write(|state| {
            let known = load(state, key)?;
            let mut bucket = known.unwrap_or_else(|| TokenBucket::empty(now));
            let grant = bucket.take(Allowance::of(key.calls, key.window), kind, now);
            // A refusal changes nothing that a later look at the older bucket would not find out again, and is not worth
            // a write to disk.
            if grant == Grant::Granted || known.is_none() {
                save(state, key, &bucket)?;
            }
            Ok(grant)
        })
    }

    async fn hold(&self, key: &QuotaKey, until: Timestamp) -> Outcome<()> {
        self.write(|state| {
            // A quota that nobody has used yet begins to gather when the hold ends.
            let mut bucket = load(state, key)?.unwrap_or_else(|| TokenBucket::empty(until));
            bucket.hold(until);
            save(state, key, &bucket)
        })
    }
}
