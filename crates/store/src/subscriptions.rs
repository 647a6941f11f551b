//! Subscriptions to events of charts: leases, and which notifications their subscribers took.

use std::{collections::BTreeSet, ops::RangeInclusive, time::Duration};

use async_trait::async_trait;
use rusqlite::params;
use skin_assist_core::{
    domain::{
        ChartEvent, ChartEventKind, FirmId, GivenUpNotification, Notice, Notification, Reason, Subscription,
        SubscriptionId, SubscriptionStatus,
    },
    lease::{Fence, Lease},
    phi::Secret,
    ports::{StateError, Subscriptions},
    time::Timestamp,
};

use crate::{
    Outcome, SqliteStore,
    codec::{Columns, Millis, row_limit, to_json, whole},
    events, execute, fence_floor, fenced, first, found, number, raise_fence_floor, rows,
    sealed::{Row, State},
};

const TABLE: &str = "subscriptions";

/// How many of its notifications wait, and from which on, as columns.
const WAITING: &str = "(SELECT count(*) FROM notifications AS n
         WHERE n.subscription = s.subscription AND n.state = 'waiting') AS waiting,
     (SELECT min(n.number) FROM notifications AS n
         WHERE n.subscription = s.subscription AND n.state = 'waiting') AS waiting_from,
     (SELECT e.at FROM notifications AS n JOIN events AS e ON e.id = n.event
         WHERE n.subscription = s.subscription AND n.state = 'waiting' ORDER BY n.number LIMIT 1) AS waiting_since";

/// Whether there is something to tell the subscriber of `s` at ?1.
const HAS_NEWS: &str = "(s.status = 'requested'
     OR EXISTS (SELECT 1 FROM notifications AS n WHERE n.subscription = s.subscription AND n.state = 'waiting')
     OR s.heartbeat_seconds > 0 AND coalesce(s.answered_at, s.created_at) + s.heartbeat_seconds * 1000 <= ?1)";

fn list<T: serde::de::DeserializeOwned + Ord>(columns: &Columns<'_, '_>, column: &'static str) -> Outcome<BTreeSet<T>> {
    columns.json(column)
}

fn read(row: &Row<'_>) -> Outcome<Subscription> {
    let columns = Columns { table: TABLE, row };
    Ok(Subscription {
        id: columns.text("subscription", SubscriptionId::new)?,
        endpoint: columns.get("endpoint")?,
        format: columns.word("format")?,
        firms: list::<FirmId>(&columns, "firms")?,
        kinds: list::<ChartEventKind>(&columns, "kinds")?,
        heartbeat_seconds: columns.count("heartbeat_seconds")?,
        signing_key: columns.text("signing_key", Secret::new)?,
        token_digest: columns.get("token_digest")?,
        created_at: columns.time("created_at")?,
        status: columns.word("status")?,
        events: columns.count("events")?,
        waiting: columns.count("waiting")?,
        waiting_from: columns.get::<Option<i64>>("waiting_from")?.map(i64::unsigned_abs),
        waiting_since: columns.optional_time("waiting_since")?,
        answered_at: columns.optional_time("answered_at")?,
        failing_since: columns.optional_time("failing_since")?,
        reason: columns.optional_reason("reason_code", "reason_hint")?,
    })
}

fn one(state: &State<'_>, id: &SubscriptionId) -> Outcome<Option<Subscription>> {
    first(
        state,
        &format!("SELECT s.*, {WAITING} FROM subscriptions AS s WHERE s.subscription = ?1"),
        [id.as_str()],
        read,
    )
}

/// What a write under a lease on a subscription is conditional on: its name and its fence, as ?1 and ?2.
fn key(lease: &Lease<Subscription>) -> (&str, i64) {
    (lease.item().id.as_str(), lease.fence().0 as i64)
}

/// Refuses a lease that was lost.
fn held(state: &State<'_>, lease: &Lease<Subscription>) -> Outcome<()> {
    fenced(number(
        state,
        "SELECT count(*) FROM subscriptions WHERE subscription = ?1 AND fence = ?2",
        params![key(lease).0, key(lease).1],
    )? as usize)
}

fn read_notification(row: &Row<'_>) -> Outcome<Notification> {
    let columns = Columns {
        table: "notifications",
        row,
    };
    let number = columns.count("number")?;
    let event: ChartEvent = events::read_event(row)?;
    Ok(Notification { number, event })
}

/// Notifications with their events.
const NOTIFICATIONS: &str = "SELECT n.number, e.firm, e.number AS event_number, e.at, e.kind, e.focus, e.context
     FROM notifications AS n JOIN events AS e ON e.id = n.event";

#[async_trait]
impl Subscriptions for SqliteStore {
    async fn events(&self, firm: &FirmId, after: u64, limit: usize) -> Outcome<Vec<ChartEvent>> {
        self.read(|state| events::of_firm(state, firm, after, row_limit(limit)))
    }

    async fn add_subscription(&self, subscription: &Subscription) -> Outcome<()> {
        self.write(|state| {
            let fence = fence_floor(state)?;
            let added = execute(
                state,
                "INSERT INTO subscriptions (subscription, status, available_at, fence, format, firms, kinds,
                     heartbeat_seconds, created_at, token_digest, signing_key, endpoint)
                 VALUES (?1, 'requested', ?2, ?3, ?4, ?5, ?6, ?7, ?2, ?8, ?9, ?10)
                 ON CONFLICT (subscription) DO NOTHING",
                params![
                    subscription.id.as_str(),
                    Millis(subscription.created_at),
                    fence,
                    subscription.format.as_str(),
                    to_json(&subscription.firms)?,
                    to_json(&subscription.kinds)?,
                    subscription.heartbeat_seconds,
                    subscription.token_digest,
                    subscription.signing_key.expose(),
                    subscription.endpoint
                ],
            )?;
            if added == 0 {
                return Err(StateError::Exists { what: "subscription" });
            }
            Ok(())
        })
    }

    async fn subscriptions(&self) -> Outcome<Vec<Subscription>> {
        self.read(|state| {
            let all = format!("SELECT s.*, {WAITING} FROM subscriptions AS s ORDER BY s.created_at, s.rowid");
            rows(state, &all, [], read)
        })
    }

    async fn subscription(&self, id: &SubscriptionId) -> Outcome<Option<Subscription>> {
        self.read(|state| one(state, id))
    }

    async fn pause_subscription(&self, id: &SubscriptionId) -> Outcome<()> {
        self.write(|state| {
            let changed = execute(
                state,
                "UPDATE subscriptions SET status = 'off', available_at = NULL, fence = fence + 1 WHERE subscription = ?1",
                [id.as_str()],
            )?;
            found(changed, "subscription")
        })
    }

    async fn resume_subscription(&self, id: &SubscriptionId, now: Timestamp) -> Outcome<()> {
        self.write(|state| {
            let changed = execute(
                state,
                "UPDATE subscriptions SET status = 'requested', available_at = ?2, fence = fence + 1, attempt = 0,
                     failing_since = NULL, reason_code = NULL, reason_hint = NULL
                 WHERE subscription = ?1",
                params![id.as_str(), Millis(now)],
            )?;
            found(changed, "subscription")
        })
    }

    async fn remove_subscription(&self, id: &SubscriptionId) -> Outcome<()> {
        self.write(|state| {
            let fence = first(
                state,
                "DELETE FROM subscriptions WHERE subscription = ?1 RETURNING fence",
                [id.as_str()],
                |row| Columns { table: TABLE, row }.get::<i64>("fence"),
            )?;
            raise_fence_floor(state, fence.ok_or(StateError::NotFound { what: "subscription" })?)
        })
    }

    async fn notifications(
        &self,
        id: &SubscriptionId,
        numbers: RangeInclusive<u64>,
        limit: usize,
    ) -> Outcome<Vec<Notification>> {
        self.read(|state| {
            rows(
                state,
                &format!(
                    "{NOTIFICATIONS} WHERE n.subscription = ?1 AND n.number BETWEEN ?2 AND ?3 ORDER BY n.number LIMIT ?4"
                ),
                params![
                    id.as_str(),
                    whole(*numbers.start()),
                    whole(*numbers.end()),
                    row_limit(limit)
                ],
                read_notification,
            )
        })
    }

    async fn given_up_notifications(&self) -> Outcome<Vec<GivenUpNotification>> {
        self.read(|state| {
            rows(
                state,
                "SELECT n.subscription, n.number, n.given_up_at, n.reason_code, n.reason_hint, e.kind
                 FROM notifications AS n JOIN events AS e ON e.id = n.event
                 WHERE n.state = 'given-up' ORDER BY n.given_up_at, n.subscription, n.number",
                [],
                |row| {
                    let columns = Columns {
                        table: "notifications",
                        row,
                    };
                    Ok(GivenUpNotification {
                        subscription: columns.text("subscription", SubscriptionId::new)?,
                        number: columns.count("number")?,
                        kind: columns.word("kind")?,
                        at: columns.time("given_up_at")?,
                        reason: columns.reason("reason_code", "reason_hint")?,
                    })
                },
            )
        })
    }

    async fn replay_notification(&self, id: &SubscriptionId, number: u64) -> Outcome<()> {
        self.write(|state| {
            let changed = execute(
                state,
                "UPDATE notifications SET state = 'waiting', given_up_at = NULL, reason_code = NULL, reason_hint = NULL
                 WHERE subscription = ?1 AND number = ?2 AND state = 'given-up'",
                params![id.as_str(), whole(number)],
            )?;
            found(changed, "notification that was given up")
        })
    }

    async fn acquire_subscriptions(
        &self,
        now: Timestamp,
        lease_for: Duration,
        limit: usize,
    ) -> Outcome<Vec<Lease<Subscription>>> {
        let locked_until = now + lease_for;
        // Looked for without the lock: every second, and mostly there is nothing.
        let due = format!(
            "SELECT s.subscription FROM subscriptions AS s WHERE s.available_at <= ?1 AND {HAS_NEWS}
             ORDER BY s.available_at, s.rowid LIMIT ?2"
        );
        let named = |state: &State<'_>| {
            rows(state, &due, params![Millis(now), row_limit(limit)], |row| {
                Columns { table: TABLE, row }.text("subscription", SubscriptionId::new)
            })
        };
        if self.read(named)?.is_empty() {
            return Ok(Vec::new());
        }
        self.write(|state| {
            let mut leases = Vec::new();
            for id in named(state)? {
                let granted = first(
                    state,
                    "UPDATE subscriptions SET available_at = ?2, fence = fence + 1, attempt = attempt + 1
                     WHERE subscription = ?1 RETURNING fence, attempt",
                    params![id.as_str(), Millis(locked_until)],
                    |row| {
                        let columns = Columns { table: TABLE, row };
                        Ok((Fence(columns.count("fence")?), columns.count("attempt")?))
                    },
                )?;
                if let (Some((fence, attempt)), Some(subscription)) = (granted, one(state, &id)?) {
                    leases.push(Lease::granted(subscription, fence, locked_until, attempt));
                }
            }
            Ok(leases)
        })
    }

    async fn next_notice(&self, lease: &Lease<Subscription>, now: Timestamp) -> Outcome<Option<Notice>> {
        self.read(|state| {
            held(state, lease)?;
            let Some(subscription) = one(state, &lease.item().id)? else {
                return Err(StateError::LeaseLost);
            };
            if subscription.status == SubscriptionStatus::Requested {
                return Ok(Some(Notice::Handshake));
            }
            let next = first(
                state,
                &format!("{NOTIFICATIONS} WHERE n.subscription = ?1 AND n.state = 'waiting' ORDER BY n.number LIMIT 1"),
                [subscription.id.as_str()],
                read_notification,
            )?;
            let silent_since = subscription.answered_at.unwrap_or(subscription.created_at);
            let period = Duration::from_secs(subscription.heartbeat_seconds.into());
            let is_silent = !period.is_zero() && silent_since + period <= now;
            Ok(next.map(Notice::Event).or(is_silent.then_some(Notice::Heartbeat)))
        })
    }

    async fn record_told(&self, lease: &Lease<Subscription>, notice: &Notice, now: Timestamp) -> Outcome<()> {
        let (id, fence) = key(lease);
        self.write(|state| {
            fenced(execute(
                state,
                "UPDATE subscriptions SET answered_at = ?3, failing_since = NULL, reason_code = NULL, reason_hint = NULL,
                     attempt = 1, status = iif(?4, 'active', status)
                 WHERE subscription = ?1 AND fence = ?2",
                params![id, fence, Millis(now), *notice == Notice::Handshake],
            )?)?;
            if let Some(number) = notice.number() {
                execute(
                    state,
                    "UPDATE notifications SET state = 'told' WHERE subscription = ?1 AND number = ?2",
                    params![id, whole(number)],
                )?;
            }
            Ok(())
        })
    }

    async fn retry_telling(
        &self,
        lease: Lease<Subscription>,
        reason: &Reason,
        now: Timestamp,
        retry_at: Timestamp,
    ) -> Outcome<()> {
        let (id, fence) = key(&lease);
        self.write(|state| {
            fenced(execute(
                state,
                "UPDATE subscriptions SET available_at = ?4, failing_since = coalesce(failing_since, ?3),
                     reason_code = ?5, reason_hint = ?6
                 WHERE subscription = ?1 AND fence = ?2",
                params![id, fence, Millis(now), Millis(retry_at), reason.code(), reason.hint()],
            )?)
        })
    }

    async fn give_up_telling(
        &self,
        lease: Lease<Subscription>,
        notice: &Notice,
        reason: &Reason,
        now: Timestamp,
    ) -> Outcome<()> {
        let (id, fence) = key(&lease);
        self.write(|state| {
            fenced(execute(
                state,
                "UPDATE subscriptions SET status = 'error', available_at = NULL, failing_since = coalesce(failing_since, ?3),
                     reason_code = ?4, reason_hint = ?5
                 WHERE subscription = ?1 AND fence = ?2",
                params![id, fence, Millis(now), reason.code(), reason.hint()],
            )?)?;
            if let Some(number) = notice.number() {
                execute(
                    state,
                    "UPDATE notifications SET state = 'given-up', given_up_at = ?3, reason_code = ?4, reason_hint = ?5
                     WHERE subscription = ?1 AND number = ?2",
                    params![id, whole(number), Millis(now), reason.code(), reason.hint()],
                )?;
            }
            Ok(())
        })
    }

    async fn release_subscription(&self, lease: Lease<Subscription>, now: Timestamp) -> Outcome<()> {
        let (id, fence) = key(&lease);
        self.write(|state| {
            fenced(execute(
                state,
                "UPDATE subscriptions SET available_at = ?3, attempt = max(attempt - 1, 0)
                 WHERE subscription = ?1 AND fence = ?2",
                params![id, fence, Millis(now)],
            )?)
        })
    }
}

/// Sends nothing until each is resumed: a state that was put back has numbers again that subscribers know already.
pub(crate) fn pause_all(state: &State<'_>) -> Outcome<()> {
    execute(
        state,
        "UPDATE subscriptions SET status = 'off', available_at = NULL, fence = fence + 1",
        [],
    )
    .map(drop)
}
