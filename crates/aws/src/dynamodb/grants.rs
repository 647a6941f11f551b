//! The quota, shared by all workers and processes, and what it was used for.
//!
//! A call is taken by one conditional write: this process knows the bucket as it was when it last took a call, computes with it,
//! and writes the result where nobody else has written meanwhile. Where somebody has, the refusal brings the bucket as it
//! is, and the computation is made anew; so nothing is read before. A bucket that is out of date can only promise more than
//! there is: when even that says that there is nothing, there is nothing.
//!
//! Polls are made out of what this process booked ([`Bookings`]): a write is good for some seconds. What is made out of a booking is told with
//! the next write; a process that ends before leaves these calls uncounted.

use std::collections::BTreeMap;

use async_trait::async_trait;
use skin_assist_core::{
    ports::{CallGrants, CallKind, Grant, QuotaFigures, QuotaKey},
    quota::{Allowance, BookedCalls, Bookings, TokenBucket},
    time::Timestamp,
};

use super::{
    DynamoStore, Outcome, TRIES, Written,
    codec::{Attributes, Row, float, number, text, time, to_json},
    error::contended,
    lock,
    schema::CALL_GRANTS,
    write::{Key, Write},
};

/// What this process has booked of a quota.
#[derive(Default)]
pub(super) struct Ahead {
    calls: Option<BookedCalls>,
    /// How often the EHR refused a call: what was booked before is void.
    holds: u64,
    /// Calls made out of bookings that the row does not count yet.
    untold: BTreeMap<CallKind, u64>,
}

impl Ahead {
    /// Takes a call out of the booking, if there is one.
    fn take(&mut self, kind: CallKind, now: Timestamp) -> Option<Grant> {
        let grant = self.calls.as_mut()?.take(now)?;
        if grant == Grant::Granted {
            *self.untold.entry(kind).or_default() += 1;
        }
        Some(grant)
    }
}

fn add(granted: &mut BTreeMap<CallKind, u64>, more: &BTreeMap<CallKind, u64>) {
    for (kind, count) in more {
        *granted.entry(*kind).or_default() += count;
    }
}

/// A poll, which may be made out of a booking.
const fn is_poll(kind: CallKind) -> bool {
    matches!(
        kind,
        CallKind::Encounter | CallKind::Document | CallKind::HintedDocument
    )
}

/// A quota as it was when it was last written or read.
#[derive(Clone)]
pub(super) struct Known {
    figures: QuotaFigures,
    bookings: Bookings,
    /// The number of the write that made it so; none where there is no row.
    version: Option<u64>,
}

fn read(row: &Row) -> Outcome<Known> {
    let attributes = Attributes {
        table: CALL_GRANTS.name,
        row,
    };
    Ok(Known {
        figures: QuotaFigures {
            name: attributes.text("part")?.to_owned(),
            bucket: TokenBucket {
                tokens: attributes.float("tokens")?,
                at: attributes.time("at")?,
                held_until: attributes.time("held_until")?,
                share: attributes.float("share")?,
            },
            granted: attributes.json("granted")?,
            refused: attributes.number("refused")?,
        },
        // A row of a release that knew none has none.
        bookings: attributes.optional_json("bookings")?.unwrap_or_default(),
        version: Some(attributes.number("version")?),
    })
}

/// A quota that nobody has used yet, beginning to gather at `at`.
fn unused(name: &str, at: Timestamp) -> Known {
    Known {
        figures: QuotaFigures {
            name: name.to_owned(),
            bucket: TokenBucket::empty(at),
            granted: BTreeMap::new(),
            refused: 0,
        },
        bookings: Bookings::default(),
        version: None,
    }
}

fn key(name: &str) -> Key {
    Key::new(name, "bucket")
}

fn saved(known: &Known) -> Outcome<(Write, u64)> {
    let version = known.version.map_or(1, |before| before + 1);
    let QuotaFigures {
        name,
        bucket,
        granted,
        refused,
    } = &known.figures;
    let write = Write::update(&CALL_GRANTS, key(name))
        .when_is("version", known.version.map(number))
        .set("version", number(version))
        .set("tokens", float(bucket.tokens))
        .set("at", time(bucket.at))
        .set("held_until", time(bucket.held_until))
        .set("share", float(bucket.share))
        .set("bookings", text(to_json(&known.bookings)?))
        .set("granted", text(to_json(granted)?))
        .set("refused", number(*refused));
    Ok((write, version))
}

impl DynamoStore {
    /// Changes a quota by `step`, which says what is answered and whether there is anything to write.
    async fn change_quota<T: Send>(
        &self,
        name: &str,
        new_at: Timestamp,
        step: impl Fn(&mut Known) -> (T, bool) + Send + Sync,
    ) -> Outcome<T> {
        let remembered = lock(&self.quotas).get(name).cloned();
        let mut known = match remembered {
            Some(known) => known,
            None => self.read_quota(name, new_at).await?,
        };
        for _ in 0..TRIES {
            let mut changed = known.clone();
            let (answer, write) = step(&mut changed);
            if !write {
                self.remember(known);
                return Ok(answer);
            }
            // Taken out: another task of this process that writes meanwhile must not count them too.
            let untold = self.take_untold(name);
            add(&mut changed.figures.granted, &untold);
            let (write, version) = saved(&changed)?;
            let written = self.write(write).await;
            if !matches!(written, Ok(Written::Done(_))) {
                self.put_untold_back(name, &untold);
            }
            known = match written? {
                Written::Done(_) => {
                    changed.version = Some(version);
                    self.remember(changed);
                    return Ok(answer);
                }
                Written::Refused(Some(row)) => read(&row)?,
                Written::Refused(None) => self.read_quota(name, new_at).await?,
            };
        }
        Err(contended())
    }

    /// Calls that the row does not count yet.
    fn take_untold(&self, name: &str) -> BTreeMap<CallKind, u64> {
        let mut ahead = lock(&self.ahead);
        ahead
            .get_mut(name)
            .map(|ahead| std::mem::take(&mut ahead.untold))
            .unwrap_or_default()
    }

    /// The row does not count them after all.
    fn put_untold_back(&self, name: &str, untold: &BTreeMap<CallKind, u64>) {
        if let Some(ahead) = lock(&self.ahead).get_mut(name) {
            add(&mut ahead.untold, untold);
        }
    }

    async fn read_quota(&self, name: &str, new_at: Timestamp) -> Outcome<Known> {
        match self.get(&CALL_GRANTS, &key(name)).await? {
            Some(row) => read(&row),
            None => Ok(unused(name, new_at)),
        }
    }

    /// Keeps what is known, unless another task of this process knows more by now.
    fn remember(&self, known: Known) {
        let mut quotas = lock(&self.quotas);
        let name = known.figures.name.clone();
        if quotas.get(&name).is_none_or(|before| before.version < known.version) {
            quotas.insert(name, known);
        }
    }

    /// Takes a poll out of what this process booked, or books anew.
    async fn take_poll(&self, key: &QuotaKey, kind: CallKind, now: Timestamp) -> Outcome<Grant> {
        let (ahead, holds) = match lock(&self.ahead).get_mut(&key.name) {
            Some(ahead) => (ahead.take(kind, now), ahead.holds),
            None => (None, 0),
        };
        match ahead {
            // What a hint points to may have a call of the reserve instead.
            Some(Grant::Wait(_)) if kind.has_reserve() => return self.take_one(key, kind, now).await,
            Some(grant) => return Ok(grant),
            None => {}
        }
        let allowance = Allowance::of(key.calls, key.window);
        let (grant, booked) = self
            .change_quota(&key.name, now, |known| {
                let is_news = known.version.is_none() || !known.bookings.knows(self.holder);
                let bucket = &mut known.figures.bucket;
                let mut booked = known.bookings.book(bucket, allowance, self.holder, now);
                let grant = match booked.as_mut().and_then(|calls| calls.take(now)) {
                    Some(grant) => grant,
                    None => known.bookings.take(bucket, allowance, kind, now),
                };
                if grant == Grant::Granted {
                    *known.figures.granted.entry(kind).or_default() += 1;
                }
                let write = is_news || booked.is_some() || grant == Grant::Granted;
                ((grant, booked), write)
            })
            .await?;
        if let Some(booked) = booked {
            let mut quotas = lock(&self.ahead);
            let ahead = quotas.entry(key.name.clone()).or_default();
            if ahead.holds == holds {
                ahead.calls = Some(booked);
            }
        }
        Ok(grant)
    }

    /// Takes one call from what nobody booked.
    async fn take_one(&self, key: &QuotaKey, kind: CallKind, now: Timestamp) -> Outcome<Grant> {
        let allowance = Allowance::of(key.calls, key.window);
        self.change_quota(&key.name, now, |known| {
            let grant = known.bookings.take(&mut known.figures.bucket, allowance, kind, now);
            if grant == Grant::Granted {
                *known.figures.granted.entry(kind).or_default() += 1;
            }
            // A refusal changes nothing that a later look at the older bucket would not find out again.
            (grant, grant == Grant::Granted || known.version.is_none())
        })
        .await
    }
}

#[async_trait]
impl CallGrants for DynamoStore {
    async fn take(&self, key: &QuotaKey, kind: CallKind, now: Timestamp) -> Outcome<Grant> {
        if is_poll(kind) {
            self.take_poll(key, kind, now).await
        } else {
            self.take_one(key, kind, now).await
        }
    }

    async fn hold(&self, key: &QuotaKey, now: Timestamp, until: Timestamp) -> Outcome<()> {
        {
            let mut quotas = lock(&self.ahead);
            let ahead = quotas.entry(key.name.clone()).or_default();
            ahead.calls = None;
            ahead.holds += 1;
        }
        // A quota that nobody has used yet begins to gather when the hold ends.
        self.change_quota(&key.name, until, |known| {
            known.figures.bucket.hold(now, until);
            known.figures.refused += 1;
            ((), true)
        })
        .await
    }

    async fn slow_down(&self, key: &QuotaKey, now: Timestamp) -> Outcome<()> {
        self.change_quota(&key.name, now, |known| {
            known.figures.bucket.slow_down(now);
            ((), true)
        })
        .await
    }

    async fn quotas(&self) -> Outcome<Vec<QuotaFigures>> {
        let rows = self.whole_table(&CALL_GRANTS).await?;
        let mut quotas = rows
            .iter()
            .map(|row| Ok(read(row)?.figures))
            .collect::<Outcome<Vec<_>>>()?;
        // With what this process did since it last wrote.
        for figures in &mut quotas {
            if let Some(ahead) = lock(&self.ahead).get(&figures.name) {
                add(&mut figures.granted, &ahead.untold);
                if let Some(calls) = &ahead.calls {
                    figures.bucket.at = figures.bucket.at.max(calls.used_at());
                }
            }
        }
        quotas.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(quotas)
    }
}
