//! What changed in a firm since the cursor.

use super::{
    Access, Quota, StageError, TokenSource,
    reading::{MOST_HELD, Passes, bytes_of_encounter},
};
use crate::{
    domain::{Cursor, Encounter, Firm, WATCH_LIFE},
    polling::Answer,
    ports::{CallKind, ChartReader, EhrError, EncounterQuery, EncounterWatches, RecordedEncounters},
};

/// More pages than any practice has encounters for in a month: the `next` links go in a circle.
pub const MOST_ENCOUNTER_PAGES: usize = 2_000;

/// Reads encounters changed since the cursor into the watch.
pub struct PollEncounters<'a> {
    /// The firm's token.
    pub tokens: &'a dyn TokenSource,
    /// The chart's lists.
    pub chart: &'a dyn ChartReader,
    /// The watch and the cursor.
    pub watch: &'a dyn EncounterWatches,
    /// The quota.
    pub quota: Quota<'a>,
}

/// What a poll brought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EncountersPolled {
    /// What was seen, news or not.
    pub encounters: Vec<Encounter>,
    /// What of it was news.
    pub recorded: RecordedEncounters,
    /// Entries that could not be read.
    pub unreadable: usize,
    /// Of when it is, in how many calls, all passes together.
    pub answer: Option<Answer>,
    /// Where the cursor was.
    pub from: Option<Cursor>,
    /// Where it is now.
    pub next: Option<Cursor>,
}

impl PollEncounters<'_> {
    /// Polls all pages, again where one may have been skipped, then records them and moves the cursor in one transaction. A crash
    /// before that repeats the poll and loses nothing; a cursor that another worker moved meanwhile leaves its own work
    /// standing.
    pub async fn run(&self, firm: &Firm) -> Result<EncountersPolled, StageError> {
        let cursor = self.watch.cursor(&firm.id).await?;
        // At the first poll: visits from before the connection may still get photos after it.
        let position = cursor.unwrap_or(Cursor(firm.photos_since - WATCH_LIFE));
        let query = EncounterQuery {
            changed_since: position.query_from(),
        };

        let mut polled = EncountersPolled::default();
        let (read, answer) = self.read(firm, &query, &mut polled).await?;
        let mut passes = Passes::first(position, read, &answer);
        while passes.another_is_needed() {
            passes.add(self.read(firm, &query, &mut polled).await?.0);
        }
        let (encounters, next) = passes.finish();
        let now = self.quota.clock.now();
        polled.recorded = self
            .watch
            .record_encounters(&firm.id, cursor, next, &encounters, now)
            .await?;
        polled.encounters = encounters;
        (polled.from, polled.next) = (cursor, Some(next));
        Ok(polled)
    }

    /// All pages of the search, once.
    async fn read(
        &self,
        firm: &Firm,
        query: &EncounterQuery,
        polled: &mut EncountersPolled,
    ) -> Result<(Vec<Encounter>, Answer), StageError> {
        let access = Access {
            firm,
            tokens: self.tokens,
            quota: self.quota,
        };
        let clock = self.quota.clock;
        let mut encounters = Vec::new();
        polled.unreadable = 0;
        let (mut page, mut held) = (None, 0_usize);
        for _ in 0..MOST_ENCOUNTER_PAGES {
            let link = page.as_ref();
            let request = |token| async move {
                let sent = clock.now();
                Ok((sent, self.chart.encounters(firm, &token, query, link).await?))
            };
            let (sent, reply) = access.call(CallKind::Encounter, request).await?;
            let answer = Answer::another_page(polled.answer, sent, clock.now(), reply.server_time);
            polled.answer = Some(answer);
            polled.unreadable += reply.unreadable;
            held += reply.items.iter().map(bytes_of_encounter).sum::<usize>();
            // A day-granular EHR sends more than was asked for.
            encounters.extend(reply.items.into_iter().filter(|encounter| {
                encounter
                    .last_updated
                    .is_none_or(|updated| updated >= query.changed_since)
            }));
            page = reply.next;
            if page.is_none() {
                return Ok((encounters, answer));
            }
            if held > MOST_HELD {
                break;
            }
        }
        Err(EhrError::Malformed {
            what: "the pages of a search do not end",
        }
        .into())
    }
}
