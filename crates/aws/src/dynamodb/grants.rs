//! The quota, shared by all workers and processes, and what it was used for.
//!
//! A call is taken by one conditional write: this process knows the bucket as it was when it last took a call, computes with it,
//! and writes the result where nobody else has written meanwhile. Where somebody has, the refusal brings the bucket as it
//! is, and the computation is made anew; so nothing is read before. A bucket that is out of date can only promise more than
//! there is: when even that says that there is nothing, there is nothing.

use std::collections::BTreeMap;

use async_trait::async_trait;
use skin_assist_core::{
    ports::{CallGrants, CallKind, Grant, QuotaFigures, QuotaKey},
    quota::{Allowance, TokenBucket},
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

/// A quota as it was when it was last written or read.
#[derive(Clone)]
pub(super) struct Known {
    figures: QuotaFigures,
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
        version: None,
    }
}

fn key(name: &str) -> Key {
    Key::new(name, "bucket")
}

fn saved(figures: &QuotaFigures, before: Option<u64>) -> Outcome<(Write, u64)> {
    let version = before.map_or(1, |before| before + 1);
    let QuotaFigures {
        name,
        bucket,
        granted,
        refused,
    } = figures;
    let write = Write::update(&CALL_GRANTS, key(name))
        .when_is("version", before.map(number))
        .set("version", number(version))
        .set("tokens", float(bucket.tokens))
        .set("at", time(bucket.at))
        .set("held_until", time(bucket.held_until))
        .set("share", float(bucket.share))
        .set("granted", text(to_json(granted)?))
        .set("refused", number(refused));
    Ok((write, version))
}

impl DynamoStore {
    /// Changes a quota's figures by `step`, which says what is answered and whether there is anything to write.
    async fn change_quota<T: Send>(
        &self,
        name: &str,
        new_at: Timestamp,
        step: impl Fn(&mut QuotaFigures, bool) -> (T, bool) + Send + Sync,
    ) -> Outcome<T> {
        let remembered = lock(&self.quotas).get(name).cloned();
        let mut known = match remembered {
            Some(known) => known,
            None => self.read_quota(name, new_at).await?,
        };
        for _ in 0..TRIES {
            let mut figures = known.figures.clone();
            let (answer, write) = step(&mut figures, known.version.is_none());
            if !write {
                self.remember(known);
                return Ok(answer);
            }
            let (write, version) = saved(&figures, known.version)?;
            known = match self.write(write).await? {
                Written::Done(_) => {
                    self.remember(Known {
                        figures,
                        version: Some(version),
                    });
                    return Ok(answer);
                }
                Written::Refused(Some(row)) => read(&row)?,
                Written::Refused(None) => self.read_quota(name, new_at).await?,
            };
        }
        Err(contended())
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
}

#[async_trait]
impl CallGrants for DynamoStore {
    async fn take(&self, key: &QuotaKey, kind: CallKind, now: Timestamp) -> Outcome<Grant> {
        let allowance = Allowance::of(key.calls, key.window);
        self.change_quota(&key.name, now, |figures, new| {
            let grant = figures.bucket.take(allowance, kind, now);
            if grant == Grant::Granted {
                *figures.granted.entry(kind).or_default() += 1;
            }
            // A refusal changes nothing that a later look at the older bucket would not find out again.
            (grant, grant == Grant::Granted || new)
        })
        .await
    }

    async fn hold(&self, key: &QuotaKey, now: Timestamp, until: Timestamp) -> Outcome<()> {
        // A quota that nobody has used yet begins to gather when the hold ends.
        self.change_quota(&key.name, until, |figures, _| {
            figures.bucket.hold(now, until);
            figures.refused += 1;
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
        quotas.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(quotas)
    }
}
