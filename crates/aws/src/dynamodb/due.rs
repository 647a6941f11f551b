//! What waits in a queue: the index `due` proposes, longest due first, and a conditional write on the row decides.
//!
//! Whether the firm is served is read as it is now before anything of it is granted. A row of a paused firm is moved out of
//! its queue, so that it costs the others nothing more; by a transaction that finds the firm still paused, so that
//! whoever resumes the firm sees every row that was moved.

use std::{collections::HashMap, time::Duration};

use futures::stream::{self, StreamExt as _};
use skin_assist_core::{
    domain::FirmId,
    lease::{Fence, Lease},
    ports::StateError,
    time::Timestamp,
};

use super::{
    AT_ONCE, Ask, DynamoStore, Outcome, Served, Written,
    codec::{Attributes, Row, number, text, time},
    firms,
    schema::{DUE_AT, FIRMS, LOCKED_UNTIL, QUEUE, Table},
    served,
    write::{Key, Write},
};

/// Whether nobody has a lease on the row.
const FREE: &str = "attribute_not_exists(#locked_until) OR #locked_until <= :now";

/// A row that was granted.
pub(super) struct Granted {
    pub(super) row: Row,
    fence: Fence,
    attempt: u32,
    locked_until: Timestamp,
}

impl Granted {
    /// The lease on what was read from the row.
    pub(super) fn lease<T>(&self, item: T) -> Lease<T> {
        Lease::granted(item, self.fence, self.locked_until, self.attempt)
    }
}

/// What was granted, if anything was: whoever meets trouble after that must still be told of it. The trouble otherwise.
pub(super) fn all_or<T>(granted: Vec<T>, trouble: Option<StateError>) -> Outcome<Vec<T>> {
    match trouble {
        Some(error) if granted.is_empty() => Err(error),
        _ => Ok(granted),
    }
}

/// What is due in a queue at `now`, as the index proposes it.
pub(super) fn proposed_in(table: &'static Table, queue: &str, now: Timestamp, limit: usize) -> Ask {
    Ask {
        index: Some("due"),
        key: "#queue = :queue AND #due_at <= :now",
        filter: Some(FREE),
        page: Some(limit.clamp(1, 100)),
        ..Ask::part(table, "")
    }
    .value("queue", text(queue))
    .value("now", time(now))
}

/// What leases a row that waits in `queue` and is due.
pub(super) fn granting(table: &'static Table, key: Key, queue: &str, now: Timestamp, locked_until: Timestamp) -> Write {
    Write::update(table, key)
        .when("#queue = :queue AND #due_at <= :now")
        .when(FREE)
        .value("queue", text(queue))
        .value("now", time(now))
        .raise_fence()
        .set_by("#attempt = #attempt + :one")
        .set(LOCKED_UNTIL, time(locked_until))
}

/// Puts a row into a queue. Not a parked one's business: whoever comes across it there moves it out again.
pub(super) fn wait_in(write: Write, queue: &str, due_at: Timestamp) -> Write {
    write
        .set(QUEUE, text(queue))
        .set(DUE_AT, time(due_at))
        .set_or_remove(LOCKED_UNTIL, None)
}

/// It waits for nobody.
pub(super) fn wait_no_more(write: Write) -> Write {
    write.remove(QUEUE).remove(DUE_AT).remove(LOCKED_UNTIL)
}

impl DynamoStore {
    /// Grants up to `limit` rows of a queue that are due, longest due first.
    pub(super) async fn acquire_due(
        &self,
        table: &'static Table,
        queue: &str,
        now: Timestamp,
        lease_for: Duration,
        limit: usize,
    ) -> Outcome<Vec<Granted>> {
        let ask = proposed_in(table, queue, now, limit);
        let mut granted = Vec::new();
        let mut known = HashMap::new();
        let mut next = None;
        while granted.len() < limit {
            let page = async {
                let (proposed, after) = self.page(&ask, next.take()).await?;
                let proposed: Vec<Key> = proposed.iter().filter_map(Key::of).collect();
                Ok((self.candidates(table, queue, proposed, &mut known).await?, after))
            };
            let (mut candidates, after) = match page.await {
                Ok(page) => page,
                Err(error) => return all_or(granted, Some(error)),
            };
            candidates.truncate(limit - granted.len());
            let locked_until = now + lease_for;
            let tried: Vec<Outcome<Option<Granted>>> = stream::iter(candidates)
                .map(|key| self.grant(table, key, queue, now, locked_until))
                .buffered(AT_ONCE)
                .collect()
                .await;
            let mut trouble = None;
            for outcome in tried {
                match outcome {
                    Ok(row) => granted.extend(row),
                    Err(error) => trouble = Some(error),
                }
            }
            next = after;
            if trouble.is_some() || next.is_none() {
                return all_or(granted, trouble);
            }
        }
        Ok(granted)
    }

    /// Those of the proposed rows whose firms are served. Rows of firms that are paused or off are moved out of the queue.
    async fn candidates(
        &self,
        table: &'static Table,
        queue: &str,
        proposed: Vec<Key>,
        known: &mut HashMap<String, Option<Served>>,
    ) -> Outcome<Vec<Key>> {
        self.learn_of_firms(&proposed, known).await?;
        let mut candidates = Vec::new();
        for key in proposed {
            match known.get(&key.part) {
                Some(Some(Served { paused: true, .. })) => self.park(table, key, queue).await?,
                Some(Some(_)) => candidates.push(key),
                // It is being removed.
                _ => {}
            }
        }
        Ok(candidates)
    }

    async fn grant(
        &self,
        table: &'static Table,
        key: Key,
        queue: &str,
        now: Timestamp,
        locked_until: Timestamp,
    ) -> Outcome<Option<Granted>> {
        let write = granting(table, key, queue, now, locked_until);
        let Written::Done(row) = self.change(write).await? else {
            return Ok(None);
        };
        let attributes = Attributes {
            table: table.name,
            row: &row,
        };
        Ok(Some(Granted {
            fence: Fence(attributes.number("fence")?),
            attempt: attributes.number("attempt")?,
            locked_until,
            row,
        }))
    }

    /// Reads those of the rows' firms that are not known yet.
    async fn learn_of_firms(&self, rows: &[Key], known: &mut HashMap<String, Option<Served>>) -> Outcome<()> {
        let unknown: Vec<Key> = rows
            .iter()
            .filter(|row| !known.contains_key(&row.part))
            .map(|row| firms::key(&FirmId::new(row.part.as_str())))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let found = self.get_all(&FIRMS, unknown.clone()).await?;
        for key in unknown {
            let firm = found.get(&key).map(served).transpose()?;
            known.insert(key.item, firm);
        }
        Ok(())
    }

    /// Moves a row of a paused firm out of its queue. If that is not possible now, it stays where it is.
    async fn park(&self, table: &'static Table, key: Key, queue: &str) -> Outcome<()> {
        let firm = FirmId::new(key.part.as_str());
        let writes = [
            Write::check(&FIRMS, firms::key(&firm))
                .when("#status = :paused OR #mode = :off")
                .value("paused", text("paused"))
                .value("off", text("off")),
            Write::update(table, key)
                .when("#queue = :queue")
                .value("queue", text(queue))
                .remove(QUEUE),
        ];
        self.transact(&writes).await.map(drop)
    }
}

/// Ends a lease so that the same step is due again.
pub(super) fn due_again<T>(table: &'static Table, key: Key, lease: &Lease<T>, queue: &str, due_at: Timestamp) -> Write {
    wait_in(Write::update(table, key).fenced(lease.fence()), queue, due_at)
}

/// The attempt does not count.
pub(super) fn uncounted<T>(write: Write, lease: &Lease<T>) -> Write {
    write.set("attempt", number(lease.attempt().saturating_sub(1)))
}
