//! New photos among all that changed in a firm.
//!
//! One search answers for all visits, so its cursor must not pass a photo that could not be put to a visit yet: a document
//! may be listed before an encounter poll has shown its visit. Such a photo holds the cursor, and is listed again with each
//! search, until its visit is known; or until encounters have been read up to a day after it and the visit was not
//! among them: then it is reported and left.

use std::{collections::BTreeSet, time::Duration};

use super::{
    PollDocuments, StageError,
    poll_documents::{CLOCK_ALLOWANCE, DocumentsPolled, Held, Listing, look_at, tell, wanted},
    poll_encounters::MOST_ENCOUNTER_PAGES,
    reading::Passes,
};
use crate::{
    domain::{Cursor, DocumentStatus, DocumentSummary, EncounterId, Firm},
    ports::{Changes, DocumentQuery, StateError},
    time::Timestamp,
};

/// As with encounters: more pages than any practice fills in a month.
const MOST_PAGES: usize = MOST_ENCOUNTER_PAGES;

/// How far back the first search reaches at most: farther than a backfill may, but not to the beginning of a practice that
/// was connected long ago and is searched as a whole for the first time.
const FIRST_REACH: Duration = Duration::from_secs(32 * 24 * 60 * 60);

/// How far encounters have to have been read past a photo whose visit is not among them, before it is left.
const VISIT_SHOWN_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);

/// A photo whose visit is not known.
struct Stray {
    document: DocumentSummary,
    /// When it changed, by the EHR's clock, as far as that is known.
    changed_at: Timestamp,
}

impl PollDocuments<'_> {
    /// Asks for all documents of the firm that changed since the cursor, and records what is new in one transaction with the
    /// cursor's move. A crash before that repeats the search and loses nothing.
    pub async fn look_at_changes(
        &self,
        firm: &Firm,
        held: Held<'_>,
        polled: &mut DocumentsPolled,
    ) -> Result<(), StageError> {
        let list = held().ok_or(StateError::LeaseLost)?;
        let cursor = self.lists.documents_cursor(firm).await?;
        let position = cursor
            .unwrap_or_else(|| Cursor((firm.photos_since - CLOCK_ALLOWANCE).max(self.quota.clock.now() - FIRST_REACH)));
        let since = position.query_from();
        let deadline = || held().as_ref().unwrap_or(&list).deadline();
        let query = DocumentQuery::ChangedSince(since);
        // A day-granular EHR sends more than was asked for.
        let asked_for = |document: &DocumentSummary| document.last_updated.is_none_or(|updated| updated >= since);
        let Listing {
            mut documents, answer, ..
        } = self.pages(firm, &query, MOST_PAGES, deadline).await?;
        let Some(mut answer) = answer else {
            return Ok(());
        };
        documents.retain(asked_for);
        let mut passes = Passes::first(position, documents, &answer);
        while passes.another_is_needed() {
            let mut again = self.pages(firm, &query, MOST_PAGES, deadline).await?;
            again.documents.retain(asked_for);
            answer.pages += again.answer.map_or(0, |answer| answer.pages);
            passes.add(again.documents);
        }
        let settled = passes.are_settled();
        let (mut documents, read) = passes.finish();

        // Before the visits are looked up: every visit that this cursor covers is among them then.
        let encounters_read = self.watch.cursor(&firm.id).await?;
        let named: BTreeSet<EncounterId> = documents
            .iter()
            .flat_map(|document| document.encounters.iter().cloned())
            .collect();
        let named: Vec<EncounterId> = named.into_iter().collect();
        let watches = self.watch.watches_of(&firm.id, &named).await?;
        let now = self.quota.clock.now();
        let looks: Vec<_> = watches
            .iter()
            .map(|watch| look_at(firm, watch, &mut documents, self.windows, now))
            .collect();

        let (mut retracted, mut left) = (Vec::new(), Vec::new());
        let (mut next, mut held_at) = (read, None::<Cursor>);
        for document in documents {
            if document.status != DocumentStatus::Current {
                retracted.push(document.id);
                continue;
            }
            if wanted(firm, &document).is_none() {
                continue;
            }
            let stray = Stray::of(document, position);
            if encounters_read.is_some_and(|read| read.0 >= stray.changed_at + VISIT_SHOWN_WITHIN) {
                if settled {
                    // Past it, and not only up to it, so that it is not met again as one that still holds the cursor.
                    next = next.max(Cursor(stray.changed_at + Duration::from_millis(1)));
                }
                left.push(stray);
            } else {
                let here = Cursor(stray.changed_at);
                polled.stray = polled.stray.max(Some(stray.changed_at));
                held_at = Some(held_at.map_or(here, |earliest| earliest.min(here)));
            }
        }
        next = held_at.map_or(next, |held| next.min(held)).max(position);

        let changes = Changes {
            looks,
            retracted,
            as_of: answer.as_of,
            categories: firm.categories.clone(),
            from: cursor,
            next,
        };
        let recorded = self.lists.record_changes(&list, &changes, now).await?;
        // The first search lists much of visits that were forgotten long ago: what is left then was looked at in its time.
        if cursor.is_some() {
            for Stray { document, changed_at } in left {
                // Once: when the cursor passes it. It may be listed a while longer.
                if (position.0..next.0).contains(&changed_at) {
                    let encounter = document.encounters.first();
                    tracing::warn!(
                        event = "documents.visit-unknown",
                        firm = %firm.id,
                        document = %document.id,
                        encounter = encounter.map(EncounterId::as_str),
                    );
                }
            }
        }
        tell(&changes.looks, recorded, Some(answer), polled);
        Ok(())
    }
}

impl Stray {
    fn of(document: DocumentSummary, position: Cursor) -> Self {
        let changed_at = document.last_updated.unwrap_or_else(|| {
            // It did not change before it was filed; and where nothing is known, it may be as old as the cursor.
            document
                .attached_at
                .map_or(position.0, |attached| attached.max(position.0))
        });
        Self { document, changed_at }
    }
}
