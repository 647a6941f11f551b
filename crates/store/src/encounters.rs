//! Encounters being watched, and the cursor.
//!
//! A watch that has ended leaves its row behind for as long as a poll may still show the same version of the encounter, so
//! that seeing it again does not begin a second watch, and for as long as it may be looked at once more (reconciliation);
//! then `Operations::sweep_expired` deletes it. Of a practice that nobody polls, since it is paused, off, or its credential refused, it goes
//! by time.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use rusqlite::params;
use skin_assist_core::{
    domain::{
        ChartEventKind, Cursor, DocumentId, DocumentWatch, Encounter, EncounterId, EncounterWatch, FirmId, PatientId,
        PractitionerId, ResourceReference, WATCH_LIFE, WatchedEncounter,
    },
    lease::{Fence, Lease},
    ports::{EncounterWatches, RecordedDocuments, RecordedEncounters, StateError},
    time::Timestamp,
};

use crate::{
    Outcome, SqliteStore,
    codec::{Columns, Millis, status_word, to_json},
    documents::Arrivals,
    events, execute, fence_floor, fenced, firms, first, rows,
    sealed::{PATIENT, Row, Sealer, State},
    watch_lists,
};

const TABLE: &str = "encounter_watch";

/// Each encounter that was asked for, by its key.
pub(crate) const ACQUIRE: &str = "UPDATE encounter_watch
     SET fence = fence + 1, attempt = attempt + 1, available_at = ?4
     WHERE firm = ?1 AND encounter IN (SELECT value FROM json_each(?2))
         AND available_at <= ?3 AND expires_at > ?3
     RETURNING *";

/// One pass over the firm's rows in the order of their key, each with its rows of an index that has all that is asked.
pub(crate) const WATCH_LIST: &str = "SELECT w.*, count(d.encounter) AS photos,
         max(coalesce(d.attached_at, d.detected_at)) AS latest_photo_at
     FROM encounter_watch AS w
     LEFT JOIN document_watch AS d ON d.firm = w.firm AND d.encounter = w.encounter
     WHERE w.firm = ?1 AND w.expires_at > ?2
     GROUP BY w.encounter ORDER BY w.encounter";

/// A search for all documents of the firm is a look at each encounter that had been seen by then; the row of none of them is
/// written for it.
fn note_look_at_all(watch: &mut EncounterWatch, all_looked_at: Option<Timestamp>) {
    let of_this = all_looked_at.filter(|at| *at >= watch.first_seen_at);
    watch.looked_at = watch.looked_at.max(of_this);
}

fn read_watch(row: &Row<'_>) -> Outcome<EncounterWatch> {
    let columns = Columns { table: TABLE, row };
    Ok(EncounterWatch {
        firm: columns.text("firm", FirmId::new)?,
        encounter: read_encounter(&columns)?,
        first_seen_at: columns.time("first_seen_at")?,
        looked_at: columns.optional_time("looked_at")?,
        expires_at: columns.time("expires_at")?,
    })
}

fn read_encounter(columns: &Columns<'_, '_>) -> Outcome<Encounter> {
    Ok(Encounter {
        id: columns.text("encounter", EncounterId::new)?,
        patient: columns.text("patient", PatientId::new)?,
        practitioner: columns.optional_text("practitioner", PractitionerId::new)?,
        status: columns.word("status")?,
        last_updated: columns.optional_time("last_updated")?,
    })
}

/// An encounter with its ids sealed.
fn sealed_encounter(seal: &Sealer, encounter: &Encounter) -> Encounter {
    Encounter {
        id: EncounterId::new(seal.encounter(&encounter.id)),
        patient: PatientId::new(seal.seal(PATIENT, encounter.patient.as_str())),
        practitioner: seal
            .practitioner(encounter.practitioner.as_ref())
            .map(PractitionerId::new),
        status: encounter.status,
        last_updated: encounter.last_updated,
    }
}

/// The same, as it is stored.
fn read_sealed(columns: &Columns<'_, '_>) -> Outcome<Encounter> {
    Ok(Encounter {
        id: EncounterId::new(columns.get::<String>("encounter")?),
        patient: PatientId::new(columns.get::<String>("patient")?),
        practitioner: columns.get::<Option<String>>("practitioner")?.map(PractitionerId::new),
        status: columns.word("status")?,
        last_updated: columns.optional_time("last_updated")?,
    })
}

/// Sorts `items` into the caller's order, which is the order in which they are looked at.
fn in_the_order_of<T>(encounters: &[EncounterId], items: &mut [T], id: impl Fn(&T) -> &EncounterId) {
    let mut places = HashMap::with_capacity(encounters.len());
    for (place, encounter) in encounters.iter().enumerate() {
        places.entry(encounter).or_insert(place);
    }
    items.sort_by_key(|item| places.get(id(item)).copied());
}

/// Moves the cursor from `expected` to `next`.
fn move_cursor(state: &State<'_>, firm: &FirmId, expected: Option<Cursor>, next: Cursor) -> Outcome<()> {
    let next = Millis(next.0);
    let moved = match expected {
        Some(expected) => execute(
            state,
            "UPDATE cursors SET cursor = ?3 WHERE firm = ?1 AND cursor = ?2",
            params![firm.as_str(), Millis(expected.0), next],
        )?,
        None => execute(
            state,
            "INSERT INTO cursors (firm, cursor) VALUES (?1, ?2) ON CONFLICT (firm) DO NOTHING",
            params![firm.as_str(), next],
        )?,
    };
    if moved == 0 {
        Err(StateError::CursorMoved)
    } else {
        Ok(())
    }
}

pub(crate) fn cursor(state: &State<'_>, firm: &FirmId) -> Outcome<Option<Cursor>> {
    first(
        state,
        "SELECT cursor FROM cursors WHERE firm = ?1",
        [firm.as_str()],
        |row| Columns { table: "cursors", row }.time("cursor").map(Cursor),
    )
}

#[async_trait]
impl EncounterWatches for SqliteStore {
    async fn cursor(&self, firm: &FirmId) -> Outcome<Option<Cursor>> {
        self.read(|state| cursor(state, firm))
    }

    async fn record_encounters(
        &self,
        firm: &FirmId,
        expected: Option<Cursor>,
        next: Cursor,
        seen: &[Encounter],
        now: Timestamp,
    ) -> Outcome<RecordedEncounters> {
        self.write(|state| {
            firms::parked(state, firm)?;
            move_cursor(state, firm, expected, next)?;
            let floor = fence_floor(state)?;
            let mut recorded = RecordedEncounters::default();
            let seal = state.sealer(firm);
            for seen in seen {
                // Compared as it is stored: the same value is sealed as the same text.
                let encounter = &sealed_encounter(&seal, seen);
                let known = first(
                    state,
                    "SELECT encounter, patient, practitioner, status, last_updated, expires_at
                     FROM encounter_watch WHERE firm = ?1 AND encounter = ?2",
                    [firm.as_str(), encounter.id.as_str()],
                    |row| {
                        let columns = Columns { table: TABLE, row };
                        Ok((read_sealed(&columns)?, columns.time("expires_at")?))
                    },
                )?;
                let watched = match &known {
                    Some((known, _)) if !encounter.is_news_to(known) => continue,
                    Some((_, expires_at)) => *expires_at > now,
                    None => false,
                };
                // Where the watch had ended, another begins, as if the old row had been swept away; but the fence grows.
                execute(
                    state,
                    "INSERT INTO encounter_watch (firm, encounter, patient, practitioner, status, last_updated,
                         first_seen_at, expires_at, fence)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                     ON CONFLICT (firm, encounter) DO UPDATE SET
                         patient = excluded.patient, practitioner = excluded.practitioner, status = excluded.status,
                         last_updated = excluded.last_updated,
                         first_seen_at = iif(expires_at > ?7, first_seen_at, excluded.first_seen_at),
                         looked_at = iif(expires_at > ?7, looked_at, NULL),
                         expires_at = excluded.expires_at",
                    params![
                        firm.as_str(),
                        encounter.id.as_str(),
                        encounter.patient.as_str(),
                        encounter.practitioner.as_ref().map(PractitionerId::as_str),
                        status_word(encounter.status),
                        encounter.last_updated.map(Millis),
                        Millis(now),
                        Millis(now + WATCH_LIFE),
                        floor
                    ],
                )?;
                let kind = match known {
                    Some(_) => ChartEventKind::EncounterChanged,
                    None => ChartEventKind::EncounterFound,
                };
                events::append(state, firm, kind, &ResourceReference::encounter(&seen.id), &[], now)?;
                if watched {
                    recorded.changed += 1;
                } else {
                    recorded.new += 1;
                }
            }
            Ok(recorded)
        })
    }

    async fn watch_list(&self, firm: &FirmId, ending_after: Timestamp) -> Outcome<Vec<WatchedEncounter>> {
        let mut watched = self.read(|state| {
            let all_looked_at = watch_lists::looked_at_as_a_whole(state, firm)?;
            rows(state, WATCH_LIST, params![firm.as_str(), Millis(ending_after)], |row| {
                let columns = Columns { table: TABLE, row };
                let mut watch = read_watch(row)?;
                note_look_at_all(&mut watch, all_looked_at);
                Ok(WatchedEncounter {
                    watch,
                    photos: columns.count("photos")?,
                    latest_photo_at: columns.optional_time("latest_photo_at")?,
                })
            })
        })?;
        // SQLite has them in the order of what their ids are sealed as.
        watched.sort_by(|one, other| one.watch.encounter.id.cmp(&other.watch.encounter.id));
        Ok(watched)
    }

    async fn watches_of(&self, firm: &FirmId, encounters: &[EncounterId]) -> Outcome<Vec<EncounterWatch>> {
        if encounters.is_empty() {
            return Ok(Vec::new());
        }
        let mut watches = self.read(|state| {
            let all_looked_at = watch_lists::looked_at_as_a_whole(state, firm)?;
            rows(
                state,
                "SELECT * FROM encounter_watch
                 WHERE firm = ?1 AND encounter IN (SELECT value FROM json_each(?2))",
                params![firm.as_str(), to_json(&state.sealer(firm).encounters(encounters))?],
                |row| {
                    let mut watch = read_watch(row)?;
                    note_look_at_all(&mut watch, all_looked_at);
                    Ok(watch)
                },
            )
        })?;
        in_the_order_of(encounters, &mut watches, |watch| &watch.encounter.id);
        Ok(watches)
    }

    async fn acquire_encounters(
        &self,
        firm: &FirmId,
        encounters: &[EncounterId],
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Vec<Lease<EncounterWatch>>> {
        if encounters.is_empty() {
            return Ok(Vec::new());
        }
        let locked_until = now + lease_for;
        let mut leases = self.write(|state| {
            let sealed = to_json(&state.sealer(firm).encounters(encounters))?;
            rows(
                state,
                ACQUIRE,
                params![firm.as_str(), sealed, Millis(now), Millis(locked_until)],
                |row| {
                    let columns = Columns { table: TABLE, row };
                    let fence = Fence(columns.count("fence")?);
                    Ok(Lease::granted(
                        read_watch(row)?,
                        fence,
                        locked_until,
                        columns.count("attempt")?,
                    ))
                },
            )
        })?;
        in_the_order_of(encounters, &mut leases, |lease| &lease.item().encounter.id);
        Ok(leases)
    }

    async fn record_documents(
        &self,
        lease: Lease<EncounterWatch>,
        found: &[DocumentWatch],
        retracted: &[DocumentId],
        now: Timestamp,
    ) -> Outcome<RecordedDocuments> {
        let firm = &lease.item().firm;
        self.write(|state| {
            fenced(execute(
                state,
                "UPDATE encounter_watch SET looked_at = ?4, attempt = 0, available_at = 0
                 WHERE firm = ?1 AND encounter = ?2 AND fence = ?3",
                params![
                    firm.as_str(),
                    state.sealer(firm).encounter(&lease.item().encounter.id),
                    lease.fence().0 as i64,
                    Millis(now)
                ],
            )?)?;
            let mut recorded = RecordedDocuments::default();
            Arrivals::at(state, firm, now)?.record(found, retracted, &mut recorded)?;
            Ok(recorded)
        })
    }

    async fn release_encounter(&self, lease: Lease<EncounterWatch>, now: Timestamp) -> Outcome<()> {
        self.write(|state| {
            fenced(execute(
                state,
                "UPDATE encounter_watch SET available_at = ?4, attempt = max(attempt - 1, 0)
                 WHERE firm = ?1 AND encounter = ?2 AND fence = ?3",
                params![
                    lease.item().firm.as_str(),
                    state.sealer(&lease.item().firm).encounter(&lease.item().encounter.id),
                    lease.fence().0 as i64,
                    Millis(now)
                ],
            )?)
        })
    }
}
