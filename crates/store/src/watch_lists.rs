//! Firms' watch lists as what is leased to pollers, the documents' cursor that moves under such a lease, and the pollers at
//! work.
//!
//! A watch list's lease is the firm's one row in `watch_lists`, made with the firm. It has nothing to do with the leases on
//! single encounters: either may be held while somebody else holds the other.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::params;
use skin_assist_core::{
    domain::{Cursor, Firm, FirmId, PollerFigures, PollerId, WatchList},
    lease::Lease,
    ports::{Changes, Look, RecordedDocuments, StateError, WatchLists},
    time::Timestamp,
};

use crate::{
    Outcome, SqliteStore, acquired,
    codec::{Columns, Millis, to_json},
    documents::Arrivals,
    execute, first, number, rows,
    sealed::{Row, State},
};

const TABLE: &str = "watch_lists";

/// The head of `watch_list_due`, which holds only the lists of firms that are served.
pub(crate) const ACQUIRE: &str = "UPDATE watch_lists
     SET waited_since = available_at, available_at = ?2, fence = fence + 1, attempt = attempt + 1
     WHERE rowid IN (
         SELECT rowid FROM watch_lists WHERE available_at <= ?1 AND parked = 0 ORDER BY available_at LIMIT ?3)
     RETURNING *, rowid";

/// The same for one firm.
const ACQUIRE_OF: &str = "UPDATE watch_lists
     SET waited_since = available_at, available_at = ?2, fence = fence + 1, attempt = attempt + 1
     WHERE available_at <= ?1 AND parked = 0 AND firm = ?3
     RETURNING *, rowid";

fn watch_list(row: &Row<'_>) -> Outcome<WatchList> {
    let columns = Columns { table: TABLE, row };
    Ok(WatchList {
        firm: columns.text("firm", FirmId::new)?,
    })
}

/// Notes that there was a look under the lease.
fn note_progress(state: &State<'_>, lease: &Lease<WatchList>) -> Outcome<()> {
    let firm = lease.item().firm.as_str();
    let attempt = first(
        state,
        "SELECT attempt FROM watch_lists WHERE firm = ?1 AND fence = ?2",
        params![firm, lease.fence().0 as i64],
        |row| Columns { table: TABLE, row }.count::<u32>("attempt"),
    )?
    .ok_or(StateError::LeaseLost)?;
    // A look is progress; but most leases have made some already, and a row that is not written costs nothing.
    if attempt > 0 {
        execute(state, "UPDATE watch_lists SET attempt = 0 WHERE firm = ?1", [firm])?;
    }
    Ok(())
}

/// The documents' cursor, if it was moved for these categories (JSON).
fn documents_cursor(state: &State<'_>, firm: &FirmId, categories: &str) -> Outcome<Option<Cursor>> {
    first(
        state,
        "SELECT cursor FROM document_cursors WHERE firm = ?1 AND categories = ?2",
        [firm.as_str(), categories],
        |row| {
            let columns = Columns {
                table: "document_cursors",
                row,
            };
            columns.time("cursor").map(Cursor)
        },
    )
}

/// When all documents of the firm were looked at last.
pub(crate) fn looked_at_as_a_whole(state: &State<'_>, firm: &FirmId) -> Outcome<Option<Timestamp>> {
    first(
        state,
        "SELECT looked_at FROM document_cursors WHERE firm = ?1",
        [firm.as_str()],
        |row| {
            let columns = Columns {
                table: "document_cursors",
                row,
            };
            columns.time("looked_at")
        },
    )
}

#[async_trait]
impl WatchLists for SqliteStore {
    async fn attend(
        &self,
        poller: &PollerId,
        figures: &PollerFigures,
        now: Timestamp,
        until: Timestamp,
    ) -> Outcome<usize> {
        // JSON has no word for a price without bounds, and a figure that cannot be read would hide all the others.
        let mut figures = figures.clone();
        figures.prices.retain(|_, price| price.is_finite());
        let figures = to_json(&figures)?;
        self.write(|state| {
            execute(
                state,
                "INSERT INTO pollers (poller, until, figures) VALUES (?1, ?2, ?3)
                 ON CONFLICT (poller) DO UPDATE SET until = excluded.until, figures = excluded.figures",
                params![poller.0, Millis(until), figures],
            )?;
            let at_work = number(
                state,
                "SELECT count(*) FROM pollers WHERE until > ?1 OR poller = ?2",
                params![Millis(now), poller.0],
            )?;
            Ok(at_work as usize)
        })
    }

    async fn pollers(&self, now: Timestamp) -> Outcome<Vec<(PollerId, PollerFigures)>> {
        self.read(|state| {
            rows(
                state,
                "SELECT poller, figures FROM pollers WHERE until > ?1 ORDER BY poller",
                params![Millis(now)],
                |row| {
                    let columns = Columns { table: "pollers", row };
                    Ok((columns.text("poller", PollerId)?, columns.json("figures")?))
                },
            )
        })
    }

    async fn leave(&self, poller: &PollerId) -> Outcome<()> {
        self.write(|state| execute(state, "DELETE FROM pollers WHERE poller = ?1", [&poller.0]).map(|_| ()))
    }

    async fn acquire_watch_lists(
        &self,
        now: Timestamp,
        lease_for: Duration,
        limit: usize,
    ) -> Outcome<Vec<Lease<WatchList>>> {
        let locked_until = now + lease_for;
        self.write(|state| {
            acquired(
                state,
                TABLE,
                ACQUIRE,
                params![
                    Millis(now),
                    Millis(locked_until),
                    i64::try_from(limit).unwrap_or(i64::MAX)
                ],
                locked_until,
                watch_list,
            )
        })
    }

    async fn acquire_watch_lists_of(
        &self,
        firms: &[FirmId],
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Vec<Lease<WatchList>>> {
        let locked_until = now + lease_for;
        self.write(|state| {
            let mut leases = Vec::with_capacity(firms.len());
            for firm in firms {
                let of_firm = params![Millis(now), Millis(locked_until), firm.as_str()];
                leases.extend(acquired(state, TABLE, ACQUIRE_OF, of_firm, locked_until, watch_list)?);
            }
            Ok(leases)
        })
    }

    async fn renew_watch_lists(
        &self,
        leases: Vec<Lease<WatchList>>,
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Vec<Lease<WatchList>>> {
        if leases.is_empty() {
            return Ok(leases);
        }
        let locked_until = now + lease_for;
        self.write(|state| {
            let mut renewed = Vec::with_capacity(leases.len());
            for lease in leases {
                // A paused firm's lease ends here, so that whoever comes first has the list when the firm is resumed.
                let parked = first(
                    state,
                    "UPDATE watch_lists SET available_at = iif(parked, ?3, ?4) WHERE firm = ?1 AND fence = ?2
                     RETURNING parked",
                    params![
                        lease.item().firm.as_str(),
                        lease.fence().0 as i64,
                        Millis(now),
                        Millis(locked_until)
                    ],
                    |row| Columns { table: TABLE, row }.get::<bool>("parked"),
                )?;
                if parked == Some(false) {
                    renewed.push(Lease::granted(
                        lease.item().clone(),
                        lease.fence(),
                        locked_until,
                        lease.attempt(),
                    ));
                }
            }
            Ok(renewed)
        })
    }

    async fn release_watch_lists(&self, leases: Vec<Lease<WatchList>>, now: Timestamp) -> Outcome<()> {
        if leases.is_empty() {
            return Ok(());
        }
        self.write(|state| {
            for lease in leases {
                execute(
                    state,
                    "UPDATE watch_lists SET available_at = ?3, attempt = max(attempt - 1, 0)
                     WHERE firm = ?1 AND fence = ?2",
                    params![lease.item().firm.as_str(), lease.fence().0 as i64, Millis(now)],
                )?;
            }
            Ok(())
        })
    }

    async fn record_looks(
        &self,
        lease: &Lease<WatchList>,
        looks: &[Look],
        now: Timestamp,
    ) -> Outcome<RecordedDocuments> {
        let firm = &lease.item().firm;
        self.write(|state| {
            note_progress(state, lease)?;
            let mut recorded = RecordedDocuments::default();
            let arrivals = Arrivals::at(state, firm, now)?;
            let seal = state.sealer(firm);
            for look in looks {
                let known = execute(
                    state,
                    "UPDATE encounter_watch SET looked_at = ?3 WHERE firm = ?1 AND encounter = ?2",
                    params![firm.as_str(), seal.encounter(&look.encounter), Millis(look.at)],
                )?;
                if known == 1 {
                    arrivals.record(&look.found, &look.retracted, &mut recorded)?;
                }
            }
            Ok(recorded)
        })
    }

    async fn documents_cursor(&self, firm: &Firm) -> Outcome<Option<Cursor>> {
        let categories = to_json(&firm.categories)?;
        self.read(|state| documents_cursor(state, &firm.id, &categories))
    }

    async fn record_changes(
        &self,
        lease: &Lease<WatchList>,
        changes: &Changes,
        now: Timestamp,
    ) -> Outcome<RecordedDocuments> {
        let firm = &lease.item().firm;
        let categories = to_json(&changes.categories)?;
        self.write(|state| {
            note_progress(state, lease)?;
            if documents_cursor(state, firm, &categories)? != changes.from {
                return Err(StateError::CursorMoved);
            }
            let next = changes.from.map_or(changes.next, |from| changes.next.max(from));
            execute(
                state,
                "INSERT INTO document_cursors (firm, cursor, looked_at, categories) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (firm) DO UPDATE SET
                     cursor = excluded.cursor, looked_at = excluded.looked_at, categories = excluded.categories",
                params![firm.as_str(), Millis(next.0), Millis(changes.as_of), categories],
            )?;
            let mut recorded = RecordedDocuments::default();
            let arrivals = Arrivals::at(state, firm, now)?;
            for look in &changes.looks {
                arrivals.record(&look.found, &look.retracted, &mut recorded)?;
            }
            arrivals.record(&[], &changes.retracted, &mut recorded)?;
            Ok(recorded)
        })
    }
}
