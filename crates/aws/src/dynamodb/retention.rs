//! Keeping no longer than the policy says.
//!
//! A result goes with all that it says and with what its photos' rows say of a patient, in one transaction with the entry that tells of
//! it: nothing is left of it that nobody would find again. Of a chain the base moves first, in one transaction with the entry that says so;
//! from then on entries up to it are not read any more, and whoever comes next deletes what an interruption left there.
//!
//! # What it costs
//! A sweep reads the small rows of all results (there is no index by time: each result would pay for it), the first entries of each chain,
//! and what is removed. Once in [`STRAYS_EVERY_DAYS`] days it also reads the large rows, for what a worker left that was cut off
//! between writing what a result says and the result; and the rows of all photos, for those that were retracted before they had a result.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use skin_assist_core::{
    audit::{AuditHead, installation, removal},
    domain::{AssessmentId, FirmId},
    ports::{AuditAction, AuditRecord, Firms as _, Kept, Removed, Retention, RetentionLimits, StateError},
    time::Timestamp,
};

use super::{
    Ask, DynamoStore, MOST_IN_A_TRANSACTION, Outcome, Transacted, audit,
    codec::{Attributes, Row, number, text, time},
    deliveries::{self, State},
    documents,
    schema::{ASSIST_RESULTS, AUDIT, DOCUMENT_WATCH, RESULT_PREFIX, VISIT},
    write::{Key, Write},
};

/// After how many results a call removes no more, but for those of the page that it reads.
const MOST_RESULTS: u64 = 1000;

/// The same, of entries of the audit trail.
const MOST_ENTRIES: u64 = 10_000;

/// Small rows of results that one request reads.
const PAGE_OF_RESULTS: usize = 1000;

/// Entries that one request reads: in most sweeps none is old enough.
const PAGE_OF_ENTRIES: usize = 100;

/// Bytes of what one transaction removes, of the 4 MiB that it may be about.
const MOST_BYTES: usize = 2 * 1024 * 1024;

/// How often what no result names is looked for. Each firm has its own day of these.
const STRAYS_EVERY_DAYS: i64 = 28;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// What removes one result, where it still is as it was read.
struct Removal {
    writes: Vec<Write>,
    bytes: usize,
}

/// What a call removes, and how far it is.
struct Sweep {
    /// What is as old as this goes.
    before: Timestamp,
    now: Timestamp,
    removed: Removed,
    /// The first row that could not be read.
    trouble: Option<StateError>,
}

impl Sweep {
    /// A row that cannot be read holds up what it is of and nothing else; whatever else fails ends the sweep.
    fn passed<T>(&mut self, work: Outcome<T>) -> Outcome<Option<T>> {
        match work {
            Ok(done) => Ok(Some(done)),
            Err(error @ StateError::Corrupt { .. }) => {
                self.trouble.get_or_insert(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn entry(&self, firm: &FirmId, action: AuditAction, subject: String) -> AuditRecord {
        AuditRecord {
            at: self.now,
            firm: firm.clone(),
            actor: "retention".to_owned(),
            action,
            subject,
        }
    }
}

/// Whether strays of a firm are looked for on this day.
fn is_day_of_strays(firm: &FirmId, now: Timestamp) -> bool {
    let own = firm.as_str().bytes().map(i64::from).sum::<i64>();
    (now.as_millis().div_euclid(DAY_MS) + own) % STRAYS_EVERY_DAYS == 0
}

/// Takes from a photo's row what it says of a patient. The row stays: by it the photo is known, and not assessed anew when its visit
/// changes after years.
fn blank(key: Key, photo: &Attributes<'_>) -> Outcome<Write> {
    Ok(Write::update(&DOCUMENT_WATCH, key)
        .when_is("step", Some(text(photo.text("step")?)))
        .when_is("fence", Some(number(photo.number::<u64>("fence")?)))
        .set("patient", text(""))
        .set("encounter", text(""))
        .set("category", text(""))
        .remove("practitioner")
        .remove(VISIT))
}

/// What blanks a photo's row that is retracted and not blank, and where its result would be.
fn blank_if_retracted(firm: &FirmId, key: Key, row: &Row) -> Outcome<Option<(Key, Write)>> {
    let photo = Attributes {
        table: DOCUMENT_WATCH.name,
        row,
    };
    if photo.text("step")? != "retracted" || photo.text("patient")?.is_empty() {
        return Ok(None);
    }
    let result = deliveries::key(firm, &photo.named("assessment", AssessmentId::new)?);
    Ok(Some((result, blank(key, &photo)?)))
}

impl DynamoStore {
    /// Removes results of a firm whose time has come, and of which nobody has to do anything any more.
    async fn remove_results(&self, firm: &FirmId, sweep: &mut Sweep) -> Outcome<()> {
        let ask = Ask {
            filter: Some(
                "#assessed_at <= :before AND (#delivery IN (:delivered, :withheld, :cancelled)
                     OR #delivery = :buried AND attribute_not_exists(#letter))",
            ),
            wanted: Some("#part, #item"),
            page: Some(PAGE_OF_RESULTS),
            eventually: true,
            ..Ask::beginning(&ASSIST_RESULTS, firm.as_str(), RESULT_PREFIX)
        }
        .value("before", time(sweep.before))
        .value("delivered", text("delivered"))
        .value("withheld", text("withheld"))
        .value("cancelled", text("cancelled"))
        .value("buried", text("buried"));
        let mut next = None;
        loop {
            let (proposed, after) = self.page(&ask, next).await?;
            let keys = proposed.iter().filter_map(Key::of).collect();
            self.remove_those(firm, keys, sweep).await?;
            next = after;
            if next.is_none() {
                return Ok(());
            }
            if sweep.removed.results >= MOST_RESULTS {
                sweep.removed.more = true;
                return Ok(());
            }
        }
    }

    /// Removes those of the results whose time has come, as many in one transaction as it takes.
    async fn remove_those(&self, firm: &FirmId, keys: Vec<Key>, sweep: &mut Sweep) -> Outcome<()> {
        let rows = self.get_all(&ASSIST_RESULTS, keys).await?;
        let (mut waiting, mut writes, mut bytes) = (0, Vec::new(), 0);
        for (key, row) in rows {
            let removal = self.removal_of(key, &row, sweep.before).await;
            let Some(removal) = sweep.passed(removal)?.flatten() else {
                continue;
            };
            // And the entry, and its chain's base if it is the first.
            let is_full = writes.len() + removal.writes.len() + 2 > MOST_IN_A_TRANSACTION;
            if is_full || bytes + removal.bytes > MOST_BYTES {
                self.remove_together(firm, &writes, waiting, sweep).await?;
                (waiting, bytes) = (0, 0);
                writes.clear();
            }
            waiting += 1;
            bytes += removal.bytes;
            writes.extend(removal.writes);
        }
        self.remove_together(firm, &writes, waiting, sweep).await
    }

    /// Removes results, or none: where somebody was at one of them meanwhile, they go with the next sweep.
    async fn remove_together(&self, firm: &FirmId, writes: &[Write], results: u64, sweep: &mut Sweep) -> Outcome<()> {
        if writes.is_empty() {
            return Ok(());
        }
        let subject = format!("{results} assessed until {}", sweep.before);
        let record = sweep.entry(firm, AuditAction::ResultsRemoved, subject);
        if let Transacted::Done = self.transact_with(writes, &[record]).await? {
            sweep.removed.results += results;
        }
        Ok(())
    }

    /// What removes a result; none where its time has not come.
    async fn removal_of(&self, key: Key, row: &Row, before: Timestamp) -> Outcome<Option<Removal>> {
        let attributes = Attributes {
            table: ASSIST_RESULTS.name,
            row,
        };
        let state = State::read(&attributes)?;
        if attributes.time("assessed_at")? > before || !state.is_over() {
            return Ok(None);
        }
        let firm = attributes.named("part", FirmId::new)?;
        let id = key.item.strip_prefix(RESULT_PREFIX).unwrap_or_default().to_owned();
        let head = Write::delete(&ASSIST_RESULTS, key)
            .when_is("delivery", Some(text(state.delivery)))
            .when_is("retracted_at", state.retracted_at.map(time))
            .when_is("note", Some(text(attributes.text("note")?)));
        let said = self.said(row).await?;
        let parts = said.keys.into_iter().map(|key| Write::delete(&ASSIST_RESULTS, key));
        let mut writes: Vec<Write> = std::iter::once(head).chain(parts).collect();
        let documents = said.documents.iter();
        let photos = documents.map(|document| documents::key(&firm, document)).collect();
        for (key, photo) in self.get_all(&DOCUMENT_WATCH, photos).await? {
            let photo = Attributes {
                table: DOCUMENT_WATCH.name,
                row: &photo,
            };
            // One that is judged anew belongs to another assessment.
            if photo.text("assessment")? == id && matches!(photo.text("step")?, "done" | "retracted") {
                writes.push(blank(key, &photo)?);
            }
        }
        Ok(Some(Removal {
            writes,
            bytes: said.bytes,
        }))
    }

    /// Removes what the rows of photos say of patients that were retracted before they had a result, and were found by then.
    async fn blank_retracted(&self, firm: &FirmId, sweep: &mut Sweep) -> Outcome<()> {
        let ask = Ask {
            filter: Some("#step = :retracted AND #detected_at <= :before"),
            wanted: Some("#part, #item"),
            eventually: true,
            ..Ask::part(&DOCUMENT_WATCH, firm.as_str())
        }
        .value("retracted", text("retracted"))
        .value("before", time(sweep.before));
        let mut next = None;
        loop {
            let (proposed, after) = self.page(&ask, next).await?;
            let keys = proposed.iter().filter_map(Key::of).collect();
            self.blank_those(firm, keys, sweep).await?;
            next = after;
            if next.is_none() {
                return Ok(());
            }
        }
    }

    /// The same, of those of the photos that are retracted and have no result, as many in one transaction as it takes.
    async fn blank_those(&self, firm: &FirmId, keys: Vec<Key>, sweep: &mut Sweep) -> Outcome<()> {
        let mut by_result: HashMap<Key, Vec<Write>> = HashMap::new();
        for (key, row) in self.get_all(&DOCUMENT_WATCH, keys).await? {
            if let Some((result, write)) = sweep.passed(blank_if_retracted(firm, key, &row))?.flatten() {
                by_result.entry(result).or_default().push(write);
            }
        }
        let results = self
            .get_all(&ASSIST_RESULTS, by_result.keys().cloned().collect())
            .await?;
        // What has a result goes with it.
        by_result.retain(|result, _| !results.contains_key(result));
        let writes: Vec<Write> = by_result.into_values().flatten().collect();
        // And the entry, and its chain's base if it is the first.
        for writes in writes.chunks(MOST_IN_A_TRANSACTION - 2) {
            let number = writes.len();
            let subject = format!(
                "{number} retracted photos without a result, found until {}",
                sweep.before
            );
            let record = sweep.entry(firm, AuditAction::ResultsRemoved, subject);
            if let Transacted::Done = self.transact_with(writes, &[record]).await? {
                sweep.removed.photos += number as u64;
            }
        }
        Ok(())
    }

    /// Removes what a result of before would say if there were one, or said before it was another's.
    async fn remove_strays(&self, firm: &FirmId, before: Timestamp) -> Outcome<()> {
        for beginning in ["note#", "visit#"] {
            let ask = Ask {
                // Only first parts say of what they are.
                filter: Some("#assessed_at <= :before"),
                wanted: Some("#part, #item, #assessment"),
                eventually: true,
                ..Ask::beginning(&ASSIST_RESULTS, firm.as_str(), beginning)
            }
            .value("before", time(before));
            let mut next = None;
            loop {
                let (rows, after) = self.page(&ask, next).await?;
                self.remove_strays_of(firm, &rows).await?;
                next = after;
                if next.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn remove_strays_of(&self, firm: &FirmId, first_parts: &[Row]) -> Outcome<()> {
        let mut heads = Vec::with_capacity(first_parts.len());
        for row in first_parts {
            let attributes = Attributes {
                table: ASSIST_RESULTS.name,
                row,
            };
            heads.push(deliveries::key(
                firm,
                &attributes.named("assessment", AssessmentId::new)?,
            ));
        }
        let found = self.get_all(&ASSIST_RESULTS, heads.clone()).await?;
        for (row, head) in first_parts.iter().zip(heads) {
            let attributes = Attributes {
                table: ASSIST_RESULTS.name,
                row,
            };
            let item = attributes.text("item")?;
            let named = match found.get(&head) {
                Some(head) => Some(Self::note_of(head)?.1),
                None => None,
            };
            if named.as_deref().is_some_and(|named| item.starts_with(named)) {
                continue;
            }
            let Some((prefix, _)) = item.rsplit_once('#') else {
                continue;
            };
            let parts = Ask::beginning(&ASSIST_RESULTS, firm.as_str(), &format!("{prefix}#"));
            let keys = self.stored_keys(parts).await?;
            self.delete_all(&ASSIST_RESULTS, keys).await?;
        }
        Ok(())
    }

    /// Removes what is too old from the beginning of a chain, and says so at its end.
    async fn shorten(&self, firm: &FirmId, sweep: &mut Sweep) -> Outcome<()> {
        let known = self.base(firm).await?;
        let base = known.clone().unwrap_or_else(|| AuditHead::beginning(firm.clone()));
        let ask = Ask {
            wanted: Some("#part, #item, #at, #hash"),
            page: Some(PAGE_OF_ENTRIES),
            ..Ask::part(&AUDIT, firm.as_str())
        };
        let (mut last, mut old) = (base.clone(), Vec::new());
        let mut next = None;
        // Up to the first entry that is not too old: what comes after it stays, whatever its time says.
        'entries: loop {
            let (rows, after) = self.page(&ask, next).await?;
            for row in &rows {
                let number = audit::number_of(row)?;
                let attributes = Attributes { table: AUDIT.name, row };
                if number > base.number {
                    if attributes.time("at")? > sweep.before {
                        break 'entries;
                    }
                    last = AuditHead {
                        firm: firm.clone(),
                        number,
                        hash: attributes.optional_text("hash")?.unwrap_or_default().to_owned(),
                    };
                }
                old.extend(Key::of(row));
            }
            next = after;
            if next.is_none() {
                break;
            }
            if sweep.removed.audit_entries + old.len() as u64 >= MOST_ENTRIES {
                sweep.removed.more = true;
                break;
            }
        }
        if last.number > base.number {
            let moved = audit::base_at(&last).when_is("number", known.map(|known| number(known.number)));
            let record = sweep.entry(firm, AuditAction::TrailShortened, removal(&last));
            if let Transacted::Refused(_) = self.transact_with(&[moved], &[record]).await? {
                // Another process is at it.
                return Ok(());
            }
        }
        let count = old.len() as u64;
        self.delete_all(&AUDIT, old).await?;
        sweep.removed.audit_entries += count;
        Ok(())
    }

    /// Whose chains there are.
    async fn chains(&self) -> Outcome<BTreeSet<FirmId>> {
        let mut chains: BTreeSet<FirmId> = self.bases().await?.into_keys().collect();
        // Those that began before each chain was written down.
        chains.insert(installation());
        chains.extend(self.firms().await?.into_iter().map(|firm| firm.id));
        Ok(chains)
    }
}

/// Findings, looks at encounters and pollers expire by themselves (`DELETE_AT`).
#[async_trait]
impl Retention for DynamoStore {
    async fn remove_expired(&self, limits: &RetentionLimits, now: Timestamp) -> Outcome<Removed> {
        let mut sweep = Sweep {
            before: now,
            now,
            removed: Removed::default(),
            trouble: None,
        };
        if let Some(life) = limits.results {
            sweep.before = now - life;
            for firm in self.firms().await? {
                if sweep.removed.results >= MOST_RESULTS {
                    sweep.removed.more = true;
                    break;
                }
                let work = self.remove_results(&firm.id, &mut sweep).await;
                sweep.passed(work)?;
                if is_day_of_strays(&firm.id, now) {
                    let work = self.remove_strays(&firm.id, sweep.before).await;
                    sweep.passed(work)?;
                    let work = self.blank_retracted(&firm.id, &mut sweep).await;
                    sweep.passed(work)?;
                }
            }
        }
        if let Some(life) = limits.audit {
            sweep.before = now - life;
            for firm in self.chains().await? {
                if sweep.removed.audit_entries >= MOST_ENTRIES {
                    sweep.removed.more = true;
                    break;
                }
                let work = self.shorten(&firm, &mut sweep).await;
                sweep.passed(work)?;
            }
        }
        sweep.trouble.map_or(Ok(sweep.removed), Err)
    }

    async fn kept(&self) -> Outcome<Vec<Kept>> {
        Ok(Vec::new())
    }
}
