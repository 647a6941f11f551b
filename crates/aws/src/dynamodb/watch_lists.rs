//! Firms' watch lists as what is leased to pollers, the documents' cursor that moves under such a lease, and the pollers at
//! work.
//!
//! The lease's row is made with the firm. It is small, since a write is paid for by the size of its row, and in one partition with
//! those of all firms, of which one read proposes what is free. It has the fence, the documents' cursor, and the latest looks at
//! encounters ([`looks`]): so acquiring is one write, a look is one under the fence, whatever the number of encounters, and
//! giving back is one.

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use skin_assist_core::{
    domain::{Cursor, Firm, FirmId, PollerFigures, PollerId, WatchList},
    lease::{Fence, Lease},
    ports::{Changes, Look, RecordedDocuments, StateError, WatchLists},
    time::Timestamp,
};

use super::{
    AT_ONCE, Ask, DynamoStore, Outcome, Refusal, Written,
    arrivals::Arrivals,
    codec::{Attributes, Row, flag, number, seconds, text, time, to_json},
    due::all_or,
    encounters,
    looks::{self, noted},
    schema::{DELETE_AT, ENCOUNTER_WATCH},
    write::{Key, Write},
};

const TABLE: &str = ENCOUNTER_WATCH.name;

const LEASES: &str = "watch-lists";

const POLLERS: &str = "pollers";

/// How long a poller that is no longer at work is remembered: for whoever looks into the table after a fault.
const POLLER_KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The looks of one write: an expression has room for no more.
const MOST_LOOKS_AT_ONCE: usize = 100;

/// Where the lease on a firm's list is.
pub(super) fn lease_key(firm: &FirmId) -> Key {
    Key::new(LEASES, firm.as_str())
}

/// The lease of a new firm: free. `moved` counts how often looks were moved out of it; `debt` is what a release takes back
/// of the attempts: 1 from acquiring on until there is progress.
pub(super) fn new_lease(firm: &Firm, fence: u64) -> Write {
    Write::put(&ENCOUNTER_WATCH, lease_key(&firm.id))
        .set("fence", number(fence))
        .set("attempt", number(0))
        .set("debt", number(0))
        .set("free_at", number(0))
        .set("parked", flag(!firm.is_served()))
        .set("moved", number(0))
        .set("looks", looks::none())
}

/// A lease that may be free.
struct Candidate {
    free_at: Timestamp,
    firm: FirmId,
}

fn candidate(row: &Row, now: Timestamp) -> Outcome<Option<Candidate>> {
    let attributes = Attributes { table: TABLE, row };
    let free_at = attributes.time("free_at")?;
    if free_at > now || attributes.flag("parked")? {
        return Ok(None);
    }
    let firm = attributes.named("item", FirmId::new)?;
    Ok(Some(Candidate { free_at, firm }))
}

/// The documents' cursor, if it was moved for these categories (JSON).
fn documents_cursor(row: &Row, categories: &str) -> Outcome<Option<Cursor>> {
    let attributes = Attributes { table: TABLE, row };
    if attributes.optional_text("documents_categories")? != Some(categories) {
        return Ok(None);
    }
    Ok(attributes.optional_time("documents_cursor")?.map(Cursor))
}

/// A write under the lease, which is progress.
fn under(lease: &Lease<WatchList>) -> Write {
    Write::update(&ENCOUNTER_WATCH, lease_key(&lease.item().firm))
        .fenced(lease.fence())
        .set("attempt", number(0))
        .set("debt", number(0))
}

/// Ends the lease. Without progress the attempt is taken back.
pub(super) fn freed(lease: &Lease<WatchList>, progress: bool, now: Timestamp) -> Write {
    let write = Write::update(&ENCOUNTER_WATCH, lease_key(&lease.item().firm))
        .fenced(lease.fence())
        .set("debt", number(0))
        .set("free_at", time(now));
    if progress {
        write.set("attempt", number(0))
    } else {
        write.set_by("#attempt = #attempt - #debt")
    }
}

impl DynamoStore {
    async fn acquire_watch_list(
        &self,
        firm: FirmId,
        now: Timestamp,
        locked_until: Timestamp,
    ) -> Outcome<Option<Lease<WatchList>>> {
        let write = Write::update(&ENCOUNTER_WATCH, lease_key(&firm))
            .when("#free_at <= :now AND #parked = :no")
            .value("now", time(now))
            .value("no", flag(false))
            .raise_fence()
            .set_by("#attempt = #attempt + :one")
            .set("debt", number(1))
            .set("free_at", time(locked_until));
        let Written::Done(row) = self.change(write).await? else {
            return Ok(None);
        };
        let attributes = Attributes {
            table: TABLE,
            row: &row,
        };
        let (fence, attempt) = (Fence(attributes.number("fence")?), attributes.number("attempt")?);
        let lease = Lease::granted(WatchList { firm }, fence, locked_until, attempt);
        // Housekeeping: the lease is good without it.
        _ = self.move_looks(&lease, &row, now).await;
        Ok(Some(lease))
    }

    async fn renew_watch_list(
        &self,
        lease: Lease<WatchList>,
        now: Timestamp,
        locked_until: Timestamp,
    ) -> Outcome<Option<Lease<WatchList>>> {
        let write = |parked: bool, free_at: Timestamp| {
            Write::update(&ENCOUNTER_WATCH, lease_key(&lease.item().firm))
                .fenced(lease.fence())
                .when("#parked = :as_seen")
                .value("as_seen", flag(parked))
                .set("free_at", time(free_at))
        };
        match self.write(write(false, locked_until)).await? {
            Written::Done(_) => Ok(Some(Lease::granted(
                lease.item().clone(),
                lease.fence(),
                locked_until,
                lease.attempt(),
            ))),
            Written::Refused(Some(row)) => {
                // A paused firm's lease ends here, so that whoever comes first has the list when the firm is resumed.
                if (Attributes {
                    table: TABLE,
                    row: &row,
                })
                .flag("parked")?
                {
                    self.write(write(true, now)).await?;
                }
                Ok(None)
            }
            Written::Refused(None) => Ok(None),
        }
    }

    /// The pollers' rows.
    async fn poller_rows(&self) -> Outcome<Vec<Row>> {
        self.all(Ask::part(&ENCOUNTER_WATCH, POLLERS)).await
    }
}

#[async_trait]
impl WatchLists for DynamoStore {
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
        let write = Write::put(&ENCOUNTER_WATCH, Key::new(POLLERS, poller.0.as_str()))
            .or_replace()
            .set("until", time(until))
            .set("figures", text(to_json(&figures)?))
            .set(DELETE_AT, seconds(until + POLLER_KEPT_FOR));
        self.write(write).await?;
        let mut at_work = 0;
        for row in &self.poller_rows().await? {
            let attributes = Attributes { table: TABLE, row };
            at_work += usize::from(attributes.time("until")? > now || attributes.text("item")? == poller.0);
        }
        Ok(at_work)
    }

    async fn pollers(&self, now: Timestamp) -> Outcome<Vec<(PollerId, PollerFigures)>> {
        let mut pollers = Vec::new();
        for row in &self.poller_rows().await? {
            let attributes = Attributes { table: TABLE, row };
            if attributes.time("until")? > now {
                pollers.push((attributes.named("item", PollerId)?, attributes.json("figures")?));
            }
        }
        Ok(pollers)
    }

    async fn leave(&self, poller: &PollerId) -> Outcome<()> {
        let write = Write::delete(&ENCOUNTER_WATCH, Key::new(POLLERS, poller.0.as_str()));
        self.write(write).await.map(drop)
    }

    async fn acquire_watch_lists(
        &self,
        now: Timestamp,
        lease_for: Duration,
        limit: usize,
    ) -> Outcome<Vec<Lease<WatchList>>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let locked_until = now + lease_for;
        let mut candidates = Vec::new();
        for row in &self.all(Ask::part(&ENCOUNTER_WATCH, LEASES)).await? {
            candidates.extend(candidate(row, now)?);
        }
        candidates.sort_by_key(|candidate| candidate.free_at);
        let mut candidates = candidates.into_iter().map(|candidate| candidate.firm);
        let (mut leases, mut trouble) = (Vec::new(), None);
        loop {
            let wanted: Vec<FirmId> = candidates.by_ref().take(limit - leases.len()).collect();
            if wanted.is_empty() {
                return Ok(leases);
            }
            let tried: Vec<Outcome<Option<Lease<WatchList>>>> = stream::iter(wanted)
                .map(|firm| self.acquire_watch_list(firm, now, locked_until))
                .buffered(AT_ONCE)
                .collect()
                .await;
            for outcome in tried {
                match outcome {
                    Ok(lease) => leases.extend(lease),
                    Err(error) => trouble = Some(error),
                }
            }
            if trouble.is_some() {
                return all_or(leases, trouble);
            }
        }
    }

    async fn acquire_watch_lists_of(
        &self,
        firms: &[FirmId],
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Vec<Lease<WatchList>>> {
        let tried: Vec<Outcome<Option<Lease<WatchList>>>> = stream::iter(firms.to_vec())
            .map(|firm| self.acquire_watch_list(firm, now, now + lease_for))
            .buffered(AT_ONCE)
            .collect()
            .await;
        let (mut leases, mut trouble) = (Vec::new(), None);
        for outcome in tried {
            match outcome {
                Ok(lease) => leases.extend(lease),
                Err(error) => trouble = Some(error),
            }
        }
        all_or(leases, trouble)
    }

    async fn renew_watch_lists(
        &self,
        leases: Vec<Lease<WatchList>>,
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Vec<Lease<WatchList>>> {
        let renewed: Vec<Option<Lease<WatchList>>> = stream::iter(leases)
            .map(|lease| self.renew_watch_list(lease, now, now + lease_for))
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(renewed.into_iter().flatten().collect())
    }

    async fn release_watch_lists(&self, leases: Vec<Lease<WatchList>>, now: Timestamp) -> Outcome<()> {
        stream::iter(leases)
            .map(|lease| self.write(freed(&lease, false, now)))
            .buffered(AT_ONCE)
            .try_collect::<Vec<Written>>()
            .await?;
        Ok(())
    }

    async fn give_watch_list_back(&self, lease: Lease<WatchList>, looks: &[Look], now: Timestamp) -> Outcome<()> {
        self.give_back(lease, looks, now).await
    }

    async fn record_looks(
        &self,
        lease: &Lease<WatchList>,
        looks: &[Look],
        now: Timestamp,
    ) -> Outcome<RecordedDocuments> {
        let firm = &lease.item().firm;
        let shows_something = |look: &&Look| !look.is_empty();
        let keys = looks
            .iter()
            .filter(shows_something)
            .map(|look| encounters::key(firm, &look.encounter))
            .collect();
        let known = self.get_all(&ENCOUNTER_WATCH, keys).await?;
        let is_known = |look: &&Look| {
            known
                .get(&encounters::key(firm, &look.encounter))
                .is_some_and(encounters::is_seen)
        };
        // A look that showed nothing is noted for whatever encounter: where it is not known, nobody asks.
        let mut taken: Vec<&Look> = looks
            .iter()
            .filter(|look| !shows_something(look) || is_known(look))
            .collect();
        let arrivals = Arrivals {
            firm,
            found: taken.iter().flat_map(|look| &look.found).collect(),
            retracted: taken.iter().flat_map(|look| &look.retracted).collect(),
            now,
        };
        taken.sort_by(|one, other| one.encounter.cmp(&other.encounter).then(other.at.cmp(&one.at)));
        taken.dedup_by(|one, other| one.encounter == other.encounter);
        let looks: Vec<(&str, Timestamp)> = taken.iter().map(|look| (look.encounter.as_str(), look.at)).collect();
        let data_key = self.data_key(firm.as_str()).await?.ok_or(StateError::LeaseLost)?;
        let mut parts = looks.chunks(MOST_LOOKS_AT_ONCE);
        let head = noted(&data_key, under(lease), parts.next().unwrap_or(&[]).iter().copied());
        let recorded = if arrivals.is_empty() {
            let Written::Done(row) = self.change(head).await? else {
                return Err(StateError::LeaseLost);
            };
            // Housekeeping: the looks are noted.
            _ = self.move_looks(lease, &row, now).await;
            RecordedDocuments::default()
        } else {
            let recorded = self.record_arrivals(head, &arrivals).await?;
            recorded.map_err(|_| StateError::LeaseLost)?
        };
        // What was found is recorded, and has to be told. If the lease is lost now, or the table cannot be reached, some looks are
        // not noted, and those encounters are looked at again.
        for part in parts {
            _ = self.write(noted(&data_key, under(lease), part.iter().copied())).await;
        }
        Ok(recorded)
    }

    async fn documents_cursor(&self, firm: &Firm) -> Outcome<Option<Cursor>> {
        let categories = to_json(&firm.categories)?;
        match self.get(&ENCOUNTER_WATCH, &lease_key(&firm.id)).await? {
            Some(row) => documents_cursor(&row, &categories),
            None => Ok(None),
        }
    }

    async fn record_changes(
        &self,
        lease: &Lease<WatchList>,
        changes: &Changes,
        now: Timestamp,
    ) -> Outcome<RecordedDocuments> {
        let firm = &lease.item().firm;
        let next = changes.from.map_or(changes.next, |from| changes.next.max(from));
        let under = under(lease);
        let from = match changes.from {
            Some(from) => under
                .when("#documents_cursor = :from AND #documents_categories = :documents_categories")
                .value("from", time(from.0)),
            None => {
                under.when("attribute_not_exists(#documents_cursor) OR #documents_categories <> :documents_categories")
            }
        };
        let head = from
            .set("documents_cursor", time(next.0))
            .set("documents_categories", text(to_json(&changes.categories)?))
            .set("all_looked_at", time(changes.as_of));
        let of_looks = changes.looks.iter().flat_map(|look| &look.retracted);
        let arrivals = Arrivals {
            firm,
            found: changes.looks.iter().flat_map(|look| &look.found).collect(),
            retracted: of_looks.chain(&changes.retracted).collect(),
            now,
        };
        match self.record_arrivals(head, &arrivals).await? {
            Ok(recorded) => Ok(recorded),
            Err(Refusal(row)) => {
                let row = match row {
                    Some(row) => Some(row),
                    None => self.get(&ENCOUNTER_WATCH, &lease_key(firm)).await?,
                };
                let held = match &row {
                    Some(row) => Attributes { table: TABLE, row }.number::<u64>("fence")? == lease.fence().0,
                    None => false,
                };
                Err(if held {
                    StateError::CursorMoved
                } else {
                    StateError::LeaseLost
                })
            }
        }
    }
}
