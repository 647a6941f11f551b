//! Photos and results by name, for events; and what is due, for the look after events that were lost.

use std::time::Duration;

use async_trait::async_trait;
use skin_assist_core::{
    domain::{AssessmentId, AssistResult, DocumentId, DocumentStep, DocumentWatch, FirmId},
    lease::{Fence, Lease},
    ports::{Proposals, Proposed, StateError},
    time::Timestamp,
};

use super::{
    DynamoStore, Outcome, Written,
    codec::{Attributes, Row},
    deliveries::{self, QUEUE_NAME},
    documents,
    due::{granting, proposed_in},
    error::damaged,
    firms,
    schema::{ASSIST_RESULTS, DOCUMENT_WATCH, DUE_AT, FIRMS, ITEM, LOCKED_UNTIL, QUEUE, RESULT_PREFIX, Table},
    sealed::OF_ITEM,
    served,
    write::Key,
};

/// What became of a row that was asked for.
enum Asked {
    Granted { row: Row, fence: Fence, attempt: u32 },
    NotBefore(Timestamp),
    Settled,
}

impl DynamoStore {
    /// Grants a row that waits in `queue` and is due. One that waits in one of `before` may be about to come.
    async fn grant_named(
        &self,
        table: &'static Table,
        key: Key,
        queue: &str,
        before: &[&str],
        now: Timestamp,
        locked_until: Timestamp,
    ) -> Outcome<Asked> {
        let firm = FirmId::new(key.part.as_str());
        match self.served(&firm).await? {
            Some(served) if !served.paused => {}
            // What waits of a paused firm is proposed again when the firm is resumed.
            _ => return Ok(Asked::Settled),
        }
        let write = granting(table, key, queue, now, locked_until);
        let of = |row| Attributes { table: table.name, row };
        match self.change(write).await? {
            Written::Done(row) => Ok(Asked::Granted {
                fence: Fence(of(&row).number("fence")?),
                attempt: of(&row).number("attempt")?,
                row,
            }),
            Written::Refused(None) => Ok(Asked::Settled),
            Written::Refused(Some(row)) => {
                let waits = of(&row).optional_text(QUEUE)?;
                let due_at = of(&row).optional_time(DUE_AT)?;
                let locked_until = of(&row).optional_time(LOCKED_UNTIL)?;
                // One that waits for further photos is proposed when it is due.
                let gathers =
                    due_at.is_some_and(|due_at| due_at > now) && of(&row).optional_time("gathers_until")? >= due_at;
                let waits = waits.is_some_and(|waits| (waits == queue && !gathers) || before.contains(&waits));
                let due_at = due_at.max(locked_until).filter(|due_at| waits && *due_at > now);
                Ok(due_at.map_or(Asked::Settled, Asked::NotBefore))
            }
        }
    }

    /// What waits in a queue and is due, of firms that are served.
    async fn due(
        &self,
        table: &'static Table,
        queue: &str,
        now: Timestamp,
        limit: usize,
    ) -> Outcome<Vec<(Key, Timestamp)>> {
        let ask = proposed_in(table, queue, now, limit);
        let mut due = Vec::new();
        let mut next = None;
        while due.len() < limit {
            let (rows, after) = self.page(&ask, next).await?;
            let firms = rows.iter().filter_map(Key::of);
            let firms = firms.map(|key| firms::key(&FirmId::new(key.part))).collect();
            let firms = self.get_all(&FIRMS, firms).await?;
            for row in &rows {
                let Some(key) = Key::of(row) else { continue };
                let firm = firms.get(&firms::key(&FirmId::new(key.part.as_str())));
                if firm.map(served).transpose()?.is_some_and(|served| !served.paused) {
                    let since = Attributes { table: table.name, row }.time(DUE_AT)?;
                    due.push((key, since));
                }
            }
            next = after;
            if next.is_none() {
                break;
            }
        }
        due.truncate(limit);
        Ok(due)
    }
}

#[async_trait]
impl Proposals for DynamoStore {
    async fn id_of(&self, firm: &FirmId, stored: &str) -> Outcome<Option<String>> {
        let Some(data_key) = self.data_key(firm.as_str()).await? else {
            return Ok(None);
        };
        let opened = data_key.open(OF_ITEM, stored);
        opened.map(Some).map_err(|_| damaged(DOCUMENT_WATCH.name, ITEM))
    }

    async fn acquire_document(
        &self,
        firm: &FirmId,
        document: &DocumentId,
        step: DocumentStep,
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Proposed<DocumentWatch>> {
        let (key, locked_until) = (documents::key(firm, document), now + lease_for);
        let before = [DocumentStep::Download.as_str()];
        let asked = self.grant_named(&DOCUMENT_WATCH, key, step.as_str(), &before, now, locked_until);
        Ok(match asked.await? {
            Asked::Granted { row, fence, attempt } => {
                let watch = documents::read_watch(&row)?;
                Proposed::Leased(Lease::granted(watch, fence, locked_until, attempt))
            }
            Asked::NotBefore(until) => Proposed::NotBefore(until),
            Asked::Settled => Proposed::Settled,
        })
    }

    async fn acquire_result(
        &self,
        firm: &FirmId,
        assessment: &AssessmentId,
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Proposed<AssistResult>> {
        let (key, locked_until) = (deliveries::key(firm, assessment), now + lease_for);
        let asked = self.grant_named(&ASSIST_RESULTS, key, QUEUE_NAME, &[], now, locked_until);
        Ok(match asked.await? {
            Asked::Granted { row, fence, attempt } => {
                let result = self.results(std::iter::once(&row)).await?.pop();
                let result = result.ok_or(StateError::NotFound { what: "result" })?;
                Proposed::Leased(Lease::granted(result, fence, locked_until, attempt))
            }
            Asked::NotBefore(until) => Proposed::NotBefore(until),
            Asked::Settled => Proposed::Settled,
        })
    }

    async fn due_documents(
        &self,
        step: DocumentStep,
        now: Timestamp,
        limit: usize,
    ) -> Outcome<Vec<(FirmId, DocumentId, Timestamp)>> {
        let due = self.due(&DOCUMENT_WATCH, step.as_str(), now, limit).await?;
        Ok(due
            .into_iter()
            .map(|(key, since)| (FirmId::new(key.part), DocumentId::new(key.item), since))
            .collect())
    }

    async fn due_results(&self, now: Timestamp, limit: usize) -> Outcome<Vec<(FirmId, AssessmentId, Timestamp)>> {
        let due = self.due(&ASSIST_RESULTS, QUEUE_NAME, now, limit).await?;
        Ok(due
            .into_iter()
            .filter_map(|(key, since)| {
                let assessment = key.item.strip_prefix(RESULT_PREFIX)?;
                Some((FirmId::new(key.part.as_str()), AssessmentId::new(assessment), since))
            })
            .collect())
    }
}
