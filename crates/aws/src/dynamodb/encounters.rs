//! Encounters being watched, and the cursor.
//!
//! A watch that has ended leaves its row behind for as long as a poll may still show the same version of the encounter, so
//! that seeing it again does not begin a second watch, and for as long as it may be looked at once more (reconciliation);
//! then DynamoDB deletes it ([`KEPT_FOR`]).

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use async_trait::async_trait;
use futures::stream::{self, StreamExt as _};
use skin_assist_core::{
    domain::{
        Cursor, DocumentId, DocumentWatch, Encounter, EncounterId, EncounterWatch, FirmId, POLL_REACH, PatientId,
        PractitionerId, RECONCILED_FOR, WATCH_LIFE, WatchedEncounter,
    },
    lease::{Fence, Lease},
    ports::{EncounterWatches, RecordedDocuments, RecordedEncounters, StateError},
    time::Timestamp,
};

use super::{
    AT_ONCE, Ask, DynamoStore, MOST_IN_A_TRANSACTION, Outcome, TRIES, Transacted, Written,
    arrivals::Arrivals,
    codec::{Attributes, Row, number, seconds, text, time, to_word},
    due::{all_or, uncounted},
    error::contended,
    firms::{self, first_fence},
    looks::Looks,
    schema::{DELETE_AT, ENCOUNTER_WATCH, FIRMS},
    watching::{self, Known},
    write::{Key, Write},
};

const TABLE: &str = ENCOUNTER_WATCH.name;

pub(super) const PREFIX: &str = "encounter#";

/// For how long after its watch an encounter's row is kept: it may be looked at (reconciliation), and a poll
/// may show its version behind the cursor. A cursor that stands still for longer costs a second watch of what
/// it shows then, and nothing else.
pub(super) const KEPT_FOR: Duration = RECONCILED_FOR.saturating_add(POLL_REACH);

pub(super) fn key(firm: &FirmId, encounter: &EncounterId) -> Key {
    Key::new(firm.as_str(), format!("{PREFIX}{encounter}"))
}

pub(super) fn cursor_key(firm: &FirmId) -> Key {
    Key::new(firm.as_str(), "cursor")
}

/// Whether it is an encounter that was seen; photos may have been counted for one that was not.
pub(super) fn is_seen(row: &Row) -> bool {
    row.contains_key("expires_at")
}

/// None where encounters are recorded of which the cursor is not past yet.
fn read_cursor(row: &Row) -> Outcome<Option<Cursor>> {
    Ok(Attributes { table: TABLE, row }.optional_time("cursor")?.map(Cursor))
}

pub(super) fn read_encounter(row: &Row) -> Outcome<Encounter> {
    let attributes = Attributes { table: TABLE, row };
    let id = attributes.text("item")?.strip_prefix(PREFIX);
    Ok(Encounter {
        id: EncounterId::new(id.ok_or_else(|| attributes.damaged("item"))?),
        patient: attributes.named("patient", PatientId::new)?,
        practitioner: attributes.optional_named("practitioner", PractitionerId::new)?,
        status: attributes.word("status")?,
        last_updated: attributes.optional_time("last_updated")?,
    })
}

fn watch(firm: &FirmId, known: Known, looks: &Looks) -> EncounterWatch {
    let under_the_list = looks.at(known.encounter.id.as_str(), known.first_seen_at);
    EncounterWatch {
        firm: firm.clone(),
        first_seen_at: known.first_seen_at,
        looked_at: known.looked_at.max(under_the_list),
        expires_at: known.expires_at,
        encounter: known.encounter,
    }
}

/// What a poll is to record: the latest version of each encounter that is news.
struct News<'a> {
    encounter: &'a Encounter,
    /// How often it was seen before, as news; none when it is not known.
    seen: Option<u64>,
    /// Whether another watch begins.
    begins: bool,
    counts: RecordedEncounters,
}

/// What of `seen` is news to who knows these, in the order in which it was first seen.
fn news<'a>(seen: &'a [Encounter], known: &HashMap<EncounterId, Known>, now: Timestamp) -> Vec<News<'a>> {
    let mut order: Vec<&EncounterId> = Vec::new();
    let mut all: HashMap<&EncounterId, News<'a>> = HashMap::new();
    for encounter in seen {
        if let Some(news) = all.get_mut(&encounter.id) {
            if encounter.is_news_to(news.encounter) {
                news.encounter = encounter;
                news.counts.changed += 1;
            }
            continue;
        }
        let known = known.get(&encounter.id);
        if known.is_some_and(|known| !encounter.is_news_to(&known.encounter)) {
            continue;
        }
        let begins = known.is_none_or(|known| known.expires_at <= now);
        order.push(&encounter.id);
        let counts = RecordedEncounters {
            new: usize::from(begins),
            changed: usize::from(!begins),
        };
        all.insert(
            &encounter.id,
            News {
                encounter,
                seen: known.map(|known| known.seen),
                begins,
                counts,
            },
        );
    }
    order.into_iter().filter_map(|id| all.remove(id)).collect()
}

/// Records one encounter that is news, where it is still known as it was. Where the watch had ended, another begins, as if
/// the old row had been deleted; but the fence stays.
fn recorded(firm: &FirmId, news: &News<'_>, generation: u64, now: Timestamp) -> Outcome<Write> {
    let encounter = news.encounter;
    let ends = now + WATCH_LIFE;
    let mut write = Write::update(&ENCOUNTER_WATCH, key(firm, &encounter.id))
        .when_is("seen", news.seen.map(number))
        .set("seen", number(news.seen.map_or(1, |seen| seen + 1)))
        .set("patient", text(encounter.patient.as_str()))
        .set_or_remove(
            "practitioner",
            encounter
                .practitioner
                .as_ref()
                .map(|practitioner| text(practitioner.as_str())),
        )
        .set("status", text(to_word(&encounter.status)?))
        .set_or_remove("last_updated", encounter.last_updated.map(time))
        .set("expires_at", time(ends))
        .set(DELETE_AT, seconds(ends + KEPT_FOR));
    if news.begins {
        write = write.set("first_seen_at", time(now)).remove("looked_at");
    }
    if news.seen.is_none() {
        write = write
            .set("fence", number(first_fence(generation, now)))
            .set("attempt", number(0))
            .set("free_at", number(0));
    }
    Ok(write)
}

/// Moves the cursor, or finds it where it is expected.
fn moved(firm: &FirmId, expected: Option<Cursor>, next: Option<Cursor>) -> Write {
    let write =
        Write::update(&ENCOUNTER_WATCH, cursor_key(firm)).when_is("cursor", expected.map(|cursor| time(cursor.0)));
    match next {
        Some(next) => write.set("cursor", time(next.0)),
        None => write,
    }
}

/// Sorts `items` into the caller's order, which is the order in which they are looked at.
fn in_the_order_of<T>(encounters: &[EncounterId], mut items: HashMap<EncounterId, T>) -> Vec<T> {
    encounters.iter().filter_map(|id| items.remove(id)).collect()
}

impl DynamoStore {
    /// What a refused move of the cursor means.
    async fn cursor_refused(&self, firm: &FirmId) -> StateError {
        match self.must_serve(firm).await {
            Ok(_) => StateError::CursorMoved,
            Err(error) => error,
        }
    }

    /// Those of the encounters that are known, as they are now.
    async fn encounters_now<'a>(
        &self,
        firm: &FirmId,
        encounters: impl IntoIterator<Item = &'a EncounterId>,
    ) -> Outcome<HashMap<EncounterId, Known>> {
        let keys = encounters.into_iter().map(|encounter| key(firm, encounter)).collect();
        let rows = self.get_all(&ENCOUNTER_WATCH, keys).await?;
        rows.values()
            .filter(|row| is_seen(row))
            .map(|row| {
                let known = Known::read(row)?;
                Ok((known.encounter.id.clone(), known))
            })
            .collect()
    }

    async fn acquire_encounter(&self, key: Key, now: Timestamp, locked_until: Timestamp) -> Outcome<Option<Row>> {
        let write = Write::update(&ENCOUNTER_WATCH, key)
            .when("#free_at <= :now AND #expires_at > :now")
            .value("now", time(now))
            .raise_fence()
            .set_by("#attempt = #attempt + :one")
            .set("free_at", time(locked_until));
        Ok(match self.change(write).await? {
            Written::Done(row) => Some(row),
            Written::Refused(_) => None,
        })
    }
}

#[async_trait]
impl EncounterWatches for DynamoStore {
    async fn cursor(&self, firm: &FirmId) -> Outcome<Option<Cursor>> {
        let row = self.get(&ENCOUNTER_WATCH, &cursor_key(firm)).await?;
        Ok(row.as_ref().map(read_cursor).transpose()?.flatten())
    }

    async fn record_encounters(
        &self,
        firm: &FirmId,
        expected: Option<Cursor>,
        next: Cursor,
        seen: &[Encounter],
        now: Timestamp,
    ) -> Outcome<RecordedEncounters> {
        // The cursor, and the look at the firm.
        const ROOM: usize = MOST_IN_A_TRANSACTION - 2;
        let mut counts = RecordedEncounters::default();
        let mut failures = 0;
        while failures < TRIES {
            let row = self.get(&ENCOUNTER_WATCH, &cursor_key(firm)).await?;
            if row.as_ref().map(read_cursor).transpose()?.flatten() != expected {
                return Err(self.cursor_refused(firm).await);
            }
            // What this process knows first: the writes hold only where it is true. Then what the rows are.
            let known = match &row {
                Some(row) if failures == 0 => {
                    let watching = self.encounters_of(firm, row, now - RECONCILED_FOR).await?;
                    let encounters = seen
                        .iter()
                        .filter_map(|encounter| watching.encounters.get(&encounter.id));
                    encounters
                        .map(|known| (known.encounter.id.clone(), known.clone()))
                        .collect()
                }
                _ => {
                    self.encounters_now(firm, seen.iter().map(|encounter| &encounter.id))
                        .await?
                }
            };
            let mut news = news(seen, &known, now);
            if news.is_empty() && expected == Some(next) {
                // There is nothing to write.
                return Ok(counts);
            }
            let complete = news.len() <= ROOM;
            news.truncate(ROOM);
            let mut generation = 0;
            let first = row.as_ref().is_none_or(|row| !row.contains_key("changes"));
            if expected.is_none() || first || news.iter().any(|news| news.seen.is_none()) {
                generation = self.must_serve(firm).await?.generation;
            }
            let mut cursor = moved(firm, expected, if complete { Some(next) } else { None });
            if !news.is_empty() {
                let ids = news.iter().map(|news| &news.encounter.id);
                cursor = watching::changed(cursor, row.as_ref(), ids, generation, now)?;
            }
            let mut writes = vec![cursor];
            for news in &news {
                writes.push(recorded(firm, news, generation, now)?);
            }
            if expected.is_none() {
                // There is no cursor that goes with the firm.
                writes.push(
                    Write::check(&FIRMS, firms::key(firm))
                        .when("#generation = :generation")
                        .value("generation", number(generation)),
                );
            }
            match self.transact(&writes).await? {
                Transacted::Done => {
                    for news in news {
                        counts.new += news.counts.new;
                        counts.changed += news.counts.changed;
                    }
                    if complete {
                        return Ok(counts);
                    }
                }
                // Read again: the cursor was moved, or somebody else was faster.
                Transacted::Refused(_) => failures += 1,
            }
        }
        Err(contended())
    }

    async fn watch_list(&self, firm: &FirmId, ending_after: Timestamp) -> Outcome<Vec<WatchedEncounter>> {
        let Some(row) = self.get(&ENCOUNTER_WATCH, &cursor_key(firm)).await? else {
            return Ok(Vec::new());
        };
        let watching = self.encounters_of(firm, &row, ending_after).await?;
        if watching.encounters.is_empty() {
            return Ok(Vec::new());
        }
        let looks = self.looks(firm).await?;
        let encounters = watching.encounters.values();
        Ok(encounters
            .filter(|known| known.expires_at > ending_after)
            .map(|known| WatchedEncounter {
                photos: known.photos,
                latest_photo_at: known.latest_photo_at,
                watch: watch(firm, known.clone(), &looks),
            })
            .collect())
    }

    async fn watches_of(&self, firm: &FirmId, encounters: &[EncounterId]) -> Outcome<Vec<EncounterWatch>> {
        let known = self.encounters_now(firm, encounters).await?;
        if known.is_empty() {
            return Ok(Vec::new());
        }
        let looks = self.looks(firm).await?;
        let watches = known
            .into_iter()
            .map(|(id, known)| (id, watch(firm, known, &looks)))
            .collect();
        Ok(in_the_order_of(encounters, watches))
    }

    async fn acquire_encounters(
        &self,
        firm: &FirmId,
        encounters: &[EncounterId],
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Vec<Lease<EncounterWatch>>> {
        let locked_until = now + lease_for;
        let distinct: HashSet<&EncounterId> = encounters.iter().collect();
        let keys: Vec<Key> = distinct.into_iter().map(|encounter| key(firm, encounter)).collect();
        let tried: Vec<Outcome<Option<Row>>> = stream::iter(keys)
            .map(|key| self.acquire_encounter(key, now, locked_until))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let (mut granted, mut trouble) = (Vec::new(), None);
        for outcome in tried {
            match outcome {
                Ok(row) => granted.extend(row),
                Err(error) => trouble = Some(error),
            }
        }
        let granted = all_or(granted, trouble)?;
        if granted.is_empty() {
            return Ok(Vec::new());
        }
        let looks = self.looks(firm).await?;
        let mut leases = HashMap::new();
        for row in &granted {
            let attributes = Attributes { table: TABLE, row };
            let watch = watch(firm, Known::read(row)?, &looks);
            let fence = Fence(attributes.number("fence")?);
            let id = watch.encounter.id.clone();
            leases.insert(
                id,
                Lease::granted(watch, fence, locked_until, attributes.number("attempt")?),
            );
        }
        Ok(in_the_order_of(encounters, leases))
    }

    async fn record_documents(
        &self,
        lease: Lease<EncounterWatch>,
        found: &[DocumentWatch],
        retracted: &[DocumentId],
        now: Timestamp,
    ) -> Outcome<RecordedDocuments> {
        let firm = &lease.item().firm;
        let head = Write::update(&ENCOUNTER_WATCH, key(firm, &lease.item().encounter.id))
            .fenced(lease.fence())
            .set("looked_at", time(now))
            .set("attempt", number(0))
            .set("free_at", number(0));
        let arrivals = Arrivals {
            firm,
            found: found.iter().collect(),
            retracted: retracted.iter().collect(),
            now,
        };
        let recorded = self.record_arrivals(head, &arrivals).await;
        self.know_no_more(firm);
        recorded?.map_err(|_| StateError::LeaseLost)
    }

    async fn release_encounter(&self, lease: Lease<EncounterWatch>, now: Timestamp) -> Outcome<()> {
        let watch = lease.item();
        let write = Write::update(&ENCOUNTER_WATCH, key(&watch.firm, &watch.encounter.id))
            .fenced(lease.fence())
            .set("free_at", time(now));
        match self.write(uncounted(write, &lease)).await? {
            Written::Done(_) => Ok(()),
            Written::Refused(_) => Err(StateError::LeaseLost),
        }
    }
}

/// How many encounters of each firm are under watch at `now`.
pub(super) fn watched_of(rows: &[Row], now: Timestamp) -> Outcome<u64> {
    let mut watched = 0;
    for row in rows {
        let ends = Attributes { table: TABLE, row }.optional_time("expires_at")?;
        watched += u64::from(ends.is_some_and(|ends| ends > now));
    }
    Ok(watched)
}

/// The rows of a firm's encounters, as far as their end.
pub(super) fn ends_of(firm: &FirmId) -> Ask {
    Ask {
        wanted: Some("#expires_at"),
        ..Ask::beginning(&ENCOUNTER_WATCH, firm.as_str(), PREFIX)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use skin_assist_core::domain::EncounterStatus;

    use super::*;

    fn encounter(id: &str, version: i64) -> Encounter {
        Encounter {
            id: EncounterId::new(id),
            patient: PatientId::new("p"),
            practitioner: None,
            status: EncounterStatus::Open,
            last_updated: Some(Timestamp::from_millis(version)),
        }
    }

    #[test]
    fn what_one_poll_shows_twice_counts_as_two_polls_would() {
        let seen = [
            encounter("1", 5),
            encounter("2", 1),
            encounter("1", 4),
            encounter("1", 6),
        ];
        let found = news(&seen, &HashMap::new(), Timestamp::from_millis(0));
        let counts: BTreeMap<_, _> = found
            .iter()
            .map(|news| (news.encounter.id.as_str(), (news.counts.new, news.counts.changed)))
            .collect();
        assert_eq!(counts, BTreeMap::from([("1", (1, 1)), ("2", (1, 0))]));
        assert_eq!(found[0].encounter.last_updated, Some(Timestamp::from_millis(6)));
    }
}
