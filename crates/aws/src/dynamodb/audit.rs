//! The audit trail. A record is put where there is none, under the number after the firm's last one, and never again touched; the
//! records of a firm outlive the firm.

use std::collections::BTreeMap;

use async_trait::async_trait;
use skin_assist_core::{
    domain::FirmId,
    ports::{Audit, AuditRecord},
};

use super::{
    Ask, DynamoStore, Outcome, TRIES, Written,
    codec::{Attributes, Row, text, time, to_word},
    error::{contended, unavailable},
    lock,
    schema::AUDIT,
    write::{Key, Write},
};

const TABLE: &str = AUDIT.name;

fn read_record(row: &Row) -> Outcome<AuditRecord> {
    let attributes = Attributes { table: TABLE, row };
    Ok(AuditRecord {
        at: attributes.time("at")?,
        firm: attributes.named("part", FirmId::new)?,
        actor: attributes.text("actor")?.to_owned(),
        action: attributes.word("action")?,
        subject: attributes.text("subject")?.to_owned(),
    })
}

/// As wide as a number can be, so that texts are in the order of numbers.
fn key(firm: &FirmId, number: u64) -> Key {
    Key::new(firm.as_str(), format!("{number:020}"))
}

impl DynamoStore {
    /// The number of the firm's last record; none before the first.
    async fn last_record(&self, firm: &FirmId) -> Outcome<u64> {
        let ask = Ask {
            latest_first: true,
            page: Some(1),
            wanted: Some("#item"),
            ..Ask::part(&AUDIT, firm.as_str())
        };
        match self.page(&ask, None).await?.0.first() {
            Some(row) => {
                let attributes = Attributes { table: TABLE, row };
                let number = attributes.text("item")?.parse();
                number.map_err(|_| attributes.damaged("item"))
            }
            None => Ok(0),
        }
    }
}

#[async_trait]
impl Audit for DynamoStore {
    async fn record(&self, record: &AuditRecord) -> Outcome<()> {
        // By it, a record whose acknowledgement was lost is told from another's.
        let mut own = [0_u8; 8];
        getrandom::fill(&mut own).map_err(unavailable)?;
        let own = hex::encode(own);
        let remembered = lock(&self.audited).get(&record.firm).copied();
        let mut number = match remembered {
            Some(last) => last + 1,
            None => self.last_record(&record.firm).await? + 1,
        };
        for _ in 0..TRIES {
            let write = Write::put(&AUDIT, key(&record.firm, number))
                .set("at", time(record.at))
                .set("actor", text(&record.actor))
                .set("action", text(to_word(&record.action)?))
                .set("subject", text(&record.subject))
                .set("own", text(&own));
            let done = match self.write(write).await? {
                Written::Done(_) => true,
                Written::Refused(Some(row)) => {
                    (Attributes {
                        table: TABLE,
                        row: &row,
                    })
                    .text("own")?
                        == own
                }
                Written::Refused(None) => false,
            };
            if done {
                let mut audited = lock(&self.audited);
                let last = audited.entry(record.firm.clone()).or_default();
                *last = number.max(*last);
                return Ok(());
            }
            // Another process was faster.
            number = number.max(self.last_record(&record.firm).await?) + 1;
        }
        Err(contended())
    }

    async fn records(&self) -> Outcome<Vec<AuditRecord>> {
        let mut by_firm: BTreeMap<String, Vec<(String, AuditRecord)>> = BTreeMap::new();
        for row in &self.whole_table(&AUDIT).await? {
            let item = Attributes { table: TABLE, row }.text("item")?;
            let record = read_record(row)?;
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
