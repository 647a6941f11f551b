//! The audit trail: chains of entries ([`skin_assist_core::audit`]). An entry is put where there is none, under the number after the
//! chain's last one, and not touched before its time has come; the entries of a firm outlive the firm.
//!
//! A chain has a row for its base: up to where entries were removed. It is written with the first entry, so that all chains can be listed. What
//! lies up to the base is not read any more, whether or not it was deleted.
//!
//! There is no row for a chain's head: that the number after the last one is free is the condition of the put, and what is put there
//! follows from an entry that never changes. So an entry costs one write and, where this process does not know the last one or another
//! was faster, one read of one row. Together with the change that it tells of, in one transaction, both cost double.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use skin_assist_core::{
    audit::{AuditEntry, AuditHead},
    domain::{FirmId, Stage},
    ports::{Audit, AuditAction, AuditChain, AuditPage, AuditRecord, AuditTrail, StateStore},
    time::Timestamp,
};
use skin_assist_vault::DataKey;

use super::{
    Ask, DynamoStore, MOST_IN_A_TRANSACTION, Outcome, Refusal, TRIES, Transacted,
    codec::{Attributes, Row, number, text, time},
    error::{contended, unavailable},
    lock,
    schema::AUDIT,
    sealed::OF_AUDIT,
    write::{Key, Write},
};

const TABLE: &str = AUDIT.name;

/// The subject of a record whose firm was shredded.
const UNREADABLE: &str = "[shredded]";

fn read_record(row: &Row, data_key: Option<&DataKey>) -> Outcome<AuditRecord> {
    let attributes = Attributes { table: TABLE, row };
    let action: AuditAction = attributes.word("action")?;
    let stored = attributes.text("subject")?;
    let subject = if action.is_about_a_record() {
        opened(data_key, stored).unwrap_or_else(|| UNREADABLE.to_owned())
    } else {
        stored.to_owned()
    };
    Ok(AuditRecord {
        at: attributes.time("at")?,
        firm: attributes.named("part", FirmId::new)?,
        actor: attributes.text("actor")?.to_owned(),
        action,
        subject,
    })
}

/// What a stored subject says; nothing where it is not sealed, or the key is gone.
fn opened(data_key: Option<&DataKey>, stored: &str) -> Option<String> {
    data_key?.open(OF_AUDIT, stored).ok()
}

/// A record as it is stored: what came from the firm's EHR is sealed, and the chain is over that. What ends after its firm was shredded
/// is recorded without what it was about.
fn sealed(record: &AuditRecord, data_key: Option<&DataKey>) -> AuditRecord {
    let mut record = record.clone();
    if record.action.is_about_a_record() {
        record.subject = data_key.map_or_else(String::new, |data_key| data_key.seal(OF_AUDIT, &record.subject));
    }
    record
}

pub(super) fn number_of(row: &Row) -> Outcome<u64> {
    let attributes = Attributes { table: TABLE, row };
    let number = attributes.text("item")?.parse();
    number.map_err(|_| attributes.damaged("item"))
}

/// A row as an entry. One of before there were chains has no hash, and shows as changed.
fn read_entry(row: &Row, data_key: Option<&DataKey>) -> Outcome<AuditEntry> {
    let attributes = Attributes { table: TABLE, row };
    let subject = attributes.text("subject")?;
    let or_none = |name| Ok(attributes.optional_text(name)?.unwrap_or_default().to_owned());
    Ok(AuditEntry {
        opened: opened(data_key, subject),
        firm: attributes.named("part", FirmId::new)?,
        number: number_of(row)?,
        at: attributes.time("at")?,
        actor: attributes.text("actor")?.to_owned(),
        action: attributes.text("action")?.to_owned(),
        subject: subject.to_owned(),
        previous: or_none("previous")?,
        hash: or_none("hash")?,
    })
}

/// The partition of the bases: no firm has this name.
const BASES: &str = "(bases)";

/// A chain's base.
pub(super) fn base_at(base: &AuditHead) -> Write {
    Write::put(&AUDIT, Key::new(BASES, base.firm.as_str()))
        .or_replace()
        .set("number", number(base.number))
        .set("hash", text(&base.hash))
}

fn read_base(row: &Row) -> Outcome<AuditHead> {
    let attributes = Attributes { table: TABLE, row };
    Ok(AuditHead {
        firm: attributes.named("item", FirmId::new)?,
        number: attributes.number("number")?,
        hash: attributes.text("hash")?.to_owned(),
    })
}

/// As wide as a number can be, so that texts are in the order of numbers.
fn key(firm: &FirmId, number: u64) -> Key {
    Key::new(firm.as_str(), format!("{number:020}"))
}

/// The entry of a stage's transition.
pub(super) fn entry_of(stage: Stage, firm: &FirmId, action: AuditAction, subject: &str, at: Timestamp) -> AuditRecord {
    AuditRecord {
        at,
        firm: firm.clone(),
        actor: stage.to_string(),
        action,
        subject: subject.to_owned(),
    }
}

impl DynamoStore {
    /// Up to where entries of the firm's chain were removed; none where the chain has no such row.
    pub(super) async fn base(&self, firm: &FirmId) -> Outcome<Option<AuditHead>> {
        let row = self.get(&AUDIT, &Key::new(BASES, firm.as_str())).await?;
        row.as_ref().map(read_base).transpose()
    }

    /// The same, of all chains.
    pub(super) async fn bases(&self) -> Outcome<BTreeMap<FirmId, AuditHead>> {
        let rows = self.all(Ask::part(&AUDIT, BASES)).await?;
        let bases = rows.iter().map(read_base);
        bases.map(|base| base.map(|base| (base.firm.clone(), base))).collect()
    }

    /// The rows of all entries, but for those that were removed; and the bases.
    async fn trail(&self) -> Outcome<(Vec<Row>, BTreeMap<FirmId, AuditHead>)> {
        let mut rows = self.whole_table(&AUDIT).await?;
        let mut bases = BTreeMap::new();
        for row in rows.extract_if(.., |row| Key::of(row).is_some_and(|key| key.part == BASES)) {
            let base = read_base(&row)?;
            bases.insert(base.firm.clone(), base);
        }
        let mut kept = Vec::with_capacity(rows.len());
        for row in rows {
            let firm = Attributes {
                table: TABLE,
                row: &row,
            }
            .named("part", FirmId::new)?;
            let number = number_of(&row)?;
            if bases.get(&firm).is_none_or(|base| number > base.number) {
                kept.push(row);
            }
        }
        Ok((kept, bases))
    }

    /// Where the firm's chain ends.
    async fn head(&self, firm: &FirmId) -> Outcome<AuditHead> {
        let ask = Ask {
            latest_first: true,
            page: Some(1),
            wanted: Some("#item, #hash"),
            ..Ask::part(&AUDIT, firm.as_str())
        };
        match self.page(&ask, None).await?.0.first() {
            Some(row) => {
                let attributes = Attributes { table: TABLE, row };
                Ok(AuditHead {
                    firm: firm.clone(),
                    number: number_of(row)?,
                    hash: attributes.optional_text("hash")?.unwrap_or_default().to_owned(),
                })
            }
            None => Ok(AuditHead::beginning(firm.clone())),
        }
    }

    /// Writes all of `writes` and the entries at the end of their chain, or nothing. The entries are of one firm.
    pub(super) async fn transact_with(&self, writes: &[Write], records: &[AuditRecord]) -> Outcome<Transacted> {
        let Some(firm) = records.first().map(|record| record.firm.clone()) else {
            return self.transact_plain(writes).await;
        };
        // By it, an entry whose acknowledgement was lost is told from another's.
        let mut own = [0_u8; 8];
        getrandom::fill(&mut own).map_err(unavailable)?;
        let own = hex::encode(own);
        let is_sealed = records.iter().any(|record| record.action.is_about_a_record());
        let data_key = if is_sealed { self.audit_key(&firm).await? } else { None };
        let remembered = lock(&self.audited).get(&firm).cloned();
        let mut head = match remembered {
            Some(head) => head,
            None => self.head(&firm).await?,
        };
        for _ in 0..TRIES {
            let mut last = head.clone();
            let mut all = writes.to_vec();
            let base = (head.number == 0).then(|| base_at(&head));
            for record in records {
                let entry = AuditEntry::after(&last, &sealed(record, data_key.as_deref()));
                last = entry.head();
                all.push(
                    Write::put(&AUDIT, key(&firm, entry.number))
                        .set("at", time(entry.at))
                        .set("actor", text(&entry.actor))
                        .set("action", text(&entry.action))
                        .set("subject", text(&entry.subject))
                        .set("previous", text(&entry.previous))
                        .set("hash", text(&entry.hash))
                        .set("own", text(&own)),
                );
            }
            all.extend(base);
            let refusals = match self.transact_plain(&all).await? {
                Transacted::Done => None,
                Transacted::Refused(refusals) => Some(refusals),
            };
            let is_ours = |refusal: &Option<Refusal>| -> Outcome<bool> {
                match refusal {
                    Some(Refusal(Some(row))) => {
                        Ok(Attributes { table: TABLE, row }.optional_text("own")? == Some(&*own))
                    }
                    _ => Ok(false),
                }
            };
            let done = match &refusals {
                None => true,
                Some(refusals) => is_ours(refusals.get(writes.len()).unwrap_or(&None))?,
            };
            if done {
                let mut audited = lock(&self.audited);
                let known = audited.entry(firm.clone()).or_insert_with(|| last.clone());
                if known.number < last.number {
                    *known = last;
                }
                return Ok(Transacted::Done);
            }
            let mut refusals = refusals.unwrap_or_default();
            refusals.truncate(writes.len());
            if refusals.iter().any(Option::is_some) {
                return Ok(Transacted::Refused(refusals));
            }
            // Another process was faster.
            head = self.head(&firm).await?;
        }
        Err(contended())
    }

    /// The same, where the entries fit into the transaction; otherwise right after it.
    pub(super) async fn transact_telling(&self, writes: &[Write], records: &[AuditRecord]) -> Outcome<Transacted> {
        // And the base, with the first entry.
        if writes.len() + records.len() < MOST_IN_A_TRANSACTION {
            return self.transact_with(writes, records).await;
        }
        let done = self.transact_plain(writes).await?;
        if matches!(done, Transacted::Done) {
            for record in records {
                self.record(record).await?;
            }
        }
        Ok(done)
    }
}

#[async_trait]
impl Audit for DynamoStore {
    async fn record(&self, record: &AuditRecord) -> Outcome<()> {
        self.transact_with(&[], std::slice::from_ref(record)).await.map(drop)
    }

    async fn records(&self) -> Outcome<Vec<AuditRecord>> {
        let mut by_firm: BTreeMap<String, Vec<(String, AuditRecord)>> = BTreeMap::new();
        // Also that there is none, which would be asked for each record of the installation.
        let mut keys: BTreeMap<String, Option<Arc<DataKey>>> = BTreeMap::new();
        for row in &self.trail().await?.0 {
            let item = Attributes { table: TABLE, row }.text("item")?;
            let firm = Attributes { table: TABLE, row }.text("part")?;
            if !keys.contains_key(firm) {
                keys.insert(firm.to_owned(), self.data_key(firm).await?);
            }
            let record = read_record(row, keys.get(firm).and_then(Option::as_deref))?;
            by_firm
                .entry(record.firm.to_string())
                .or_default()
                .push((item.to_owned(), record));
        }
        // Each firm's in their order, whatever the times say; among firms by the times, as far as those only grow.
        let mut records = Vec::new();
        for mut of_firm in by_firm.into_values() {
            of_firm.sort_by(|one, other| one.0.cmp(&other.0));
            let mut latest = None;
            for (_, record) in of_firm {
                latest = latest.max(Some(record.at));
                records.push((latest, record));
            }
        }
        records.sort_by_key(|(latest, _)| *latest);
        Ok(records.into_iter().map(|(_, record)| record).collect())
    }
}

#[async_trait]
impl AuditTrail for DynamoStore {
    async fn audit_chains(&self) -> Outcome<Vec<AuditChain>> {
        let (rows, mut bases) = self.trail().await?;
        // A chain of which nothing is left but where it was removed up to is one that was cut off.
        let mut heads = bases.clone();
        for row in &rows {
            let entry = read_entry(row, None)?;
            let head = heads.entry(entry.firm.clone()).or_insert_with(|| entry.head());
            if head.number < entry.number {
                *head = entry.head();
            }
        }
        let chain = |(firm, head)| AuditChain {
            base: bases.remove(&firm).unwrap_or_else(|| AuditHead::beginning(firm)),
            head,
        };
        Ok(heads.into_iter().map(chain).collect())
    }

    async fn audit_entries(&self, firm: &FirmId, from: u64, limit: usize) -> Outcome<AuditPage> {
        let base = self.base(firm).await?;
        let from = base.map_or(from, |base| from.max(base.number + 1));
        let ask = Ask {
            key: "#part = :part AND #item >= :from",
            page: Some(limit),
            ..Ask::part(&AUDIT, firm.as_str())
        }
        .value("from", text(format!("{from:020}")));
        let (rows, next) = self.page(&ask, None).await?;
        let data_key = self.data_key(firm.as_str()).await?;
        let entries = rows.iter().map(|row| read_entry(row, data_key.as_deref()));
        let entries = entries.collect::<Outcome<Vec<_>>>()?;
        let last = entries.last().map(|entry| entry.number + 1);
        Ok(AuditPage {
            next: last.filter(|_| next.is_some()),
            entries,
        })
    }

    fn audited(&self, record: AuditRecord) -> Box<dyn StateStore + '_> {
        Box::new(self.with_entry(record))
    }
}
