//! Looking at the state and repairing it, for operators; and housekeeping.

use std::{collections::HashMap, convert::identity, time::Duration};

use async_trait::async_trait;
use rusqlite::{ToSql, params};
use skin_assist_core::{
    domain::{
        Assessment, AssessmentId, AssistResult, ChartEventKind, Cursor, DeadLetter, DeadLetterSubject, DocumentId,
        DocumentStep, DraftReference, Firm, FirmId, Journey, JourneyState, POLL_REACH, RECONCILED_FOR, Reason,
        ResourceReference, Stage,
    },
    ports::{DetectionLatency, Operations, Overview, PhotosOfHour, Queued, RetractedDraft, UncertainResolution},
    time::Timestamp,
};

use crate::{
    Outcome, SqliteStore,
    codec::{Columns, Millis, damaged, row_limit},
    deliveries::{has_letter, open_if_cancelled, read_result, results_where},
    documents, events, execute, firms, first, found, raise_fence_floor, rows,
    sealed::{REFERENCE, Row, State},
};

/// How long findings are kept for a second attempt at the same inference.
const FINDINGS_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a poller that is no longer at work is remembered: for whoever looks into the file after a fault.
const POLLER_KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// How far back detection latency is told.
const DETECTION_REACH: Duration = Duration::from_secs(24 * 60 * 60);

/// Ways of photos, without those whose result was removed after its time.
macro_rules! journeys {
    ($through:literal, $chosen:literal) => {
        concat!(
            "SELECT d.firm, d.document, d.assessment, d.step, d.route, d.attached_at, d.detected_at, d.downloaded_at,
                 r.delivery, r.delivery_at, r.reference, r.assessed_at, r.top_finding, r.delivery = 'buried' AND ",
            has_letter!("r"),
            " AS has_letter
             FROM document_watch AS d ",
            $through,
            " LEFT JOIN assist_results AS r ON r.firm = d.firm AND r.assessment = d.assessment
             WHERE (d.step <> 'done' OR r.delivery IS NOT NULL) AND ",
            $chosen
        )
    };
}

pub(crate) const JOURNEYS: &str = journeys!(
    "",
    "?1 IS NULL AND d.detected_at >= ?2 ORDER BY d.detected_at DESC, d.rowid DESC LIMIT ?3"
);

/// By the firm, and not through the photos of all firms: an index has what is needed to pass over older ones.
pub(crate) const JOURNEYS_OF_FIRM: &str = journeys!(
    "INDEXED BY document_encounter",
    "d.firm = ?1 AND d.detected_at >= ?2 ORDER BY d.detected_at DESC, d.rowid DESC LIMIT ?3"
);

pub(crate) const JOURNEY: &str = journeys!("", "d.firm = ?1 AND d.document = ?2");

pub(crate) const PHOTOS_BY_HOUR: &str =
    "SELECT firm, detected_at / 3600000 * 3600000 AS hour, count(*) AS number FROM document_watch
     WHERE detected_at >= ?1 GROUP BY firm, hour ORDER BY firm, hour";

pub(crate) const QUEUED_DOCUMENTS: &str =
    "SELECT firm, document, step, available_at, fence, attempt FROM document_watch
     WHERE step = ?1 AND parked = 0 AND available_at IS NOT NULL ORDER BY available_at LIMIT ?2";

pub(crate) const QUEUED_RESULTS: &str = "SELECT firm, assessment, available_at, fence, attempt FROM assist_results
     WHERE parked = 0 AND available_at IS NOT NULL ORDER BY available_at LIMIT ?1";

/// Of all firms: an index by firm would be one more to keep for the sake of an overview.
pub(crate) const DETECTIONS: &str = "SELECT firm, max(detected_at - attached_at, 0) AS latency FROM document_watch
     WHERE ?1 IS NULL AND detected_at > ?2 AND attached_at IS NOT NULL";

pub(crate) const DETECTIONS_OF_FIRM: &str =
    "SELECT firm, max(detected_at - attached_at, 0) AS latency FROM document_watch INDEXED BY document_encounter
     WHERE firm = ?1 AND detected_at > ?2 AND attached_at IS NOT NULL";

pub(crate) const UNCERTAIN: &str =
    "SELECT * FROM assist_results WHERE delivery = 'uncertain' ORDER BY delivery_at, rowid";

/// Drafts in the chart, or perhaps there, whose photo was retracted, as the index over them has it. One whose post turned
/// out not to have been taken is cancelled and alarms nobody.
const UNACKNOWLEDGED: &str =
    "retracted_at IS NOT NULL AND acknowledged_at IS NULL AND delivery IN ('intended', 'uncertain', 'delivered')";

/// The numbers of all firms, or of one, each from one statement: a thousand firms are no more statements than one.
struct Figures {
    /// By firm and word.
    steps: HashMap<(String, String), u64>,
    deliveries: HashMap<(String, String), u64>,
    watched: HashMap<String, u64>,
    retracted: HashMap<String, u64>,
    dead_letters: HashMap<String, u64>,
    refusals: HashMap<String, Reason>,
    cursors: HashMap<String, Cursor>,
    detections: HashMap<String, Vec<u64>>,
}

/// Which firms a statement is about: `?1` is one, or null.
fn chosen(firm: Option<&FirmId>) -> &'static str {
    match firm {
        Some(_) => "firm = ?1",
        None => "?1 IS NULL",
    }
}

impl Figures {
    fn read(state: &State<'_>, firm: Option<&FirmId>, now: Timestamp) -> Outcome<Self> {
        let (of, id) = (chosen(firm), firm.map(FirmId::as_str));
        // What is counted here are few rows, or rows that lie all over the file in the order of firms: they are read as they lie.
        let counted = |sql: String, parameters: &[&dyn ToSql]| -> Outcome<HashMap<String, u64>> {
            let mut counts = HashMap::new();
            rows(state, &sql, parameters, |row| {
                let firm = Columns { table: "counts", row }.get("firm")?;
                *counts.entry(firm).or_default() += 1;
                Ok(())
            })?;
            Ok(counts)
        };
        let by_word = |word: &str, table: &str| -> Outcome<HashMap<(String, String), u64>> {
            let sql = format!(
                "SELECT firm, {word} AS word, count(*) AS number FROM {table} WHERE {of} GROUP BY firm, {word}"
            );
            let counts = rows(state, &sql, params![id], |row| {
                let columns = Columns { table: "counts", row };
                Ok(((columns.get("firm")?, columns.get("word")?), columns.count("number")?))
            })?;
            Ok(counts.into_iter().collect())
        };
        let refusals = rows(
            state,
            &format!(
                "SELECT firm, refused_code, refused_hint FROM credentials WHERE refused_code IS NOT NULL AND {of}"
            ),
            params![id],
            |row| {
                let columns = Columns {
                    table: "credentials",
                    row,
                };
                Ok((columns.get("firm")?, columns.reason("refused_code", "refused_hint")?))
            },
        )?;
        let cursors = rows(
            state,
            &format!("SELECT firm, cursor FROM cursors WHERE {of}"),
            params![id],
            |row| {
                let columns = Columns { table: "cursors", row };
                Ok((columns.get("firm")?, Cursor(columns.time("cursor")?)))
            },
        )?;
        Ok(Self {
            steps: by_word("step", "document_watch")?,
            deliveries: by_word("delivery", "assist_results")?,
            watched: counted(
                match firm {
                    Some(_) => "SELECT firm FROM encounter_watch WHERE firm = ?1 AND expires_at > ?2".to_owned(),
                    None => {
                        "SELECT firm FROM encounter_watch NOT INDEXED WHERE ?1 IS NULL AND expires_at > ?2".to_owned()
                    }
                },
                params![id, Millis(now)],
            )?,
            retracted: counted(
                format!("SELECT firm FROM assist_results WHERE {UNACKNOWLEDGED} AND {of}"),
                params![id],
            )?,
            dead_letters: counted(format!("SELECT firm FROM dead_letters WHERE {of}"), params![id])?,
            refusals: refusals.into_iter().collect(),
            cursors: cursors.into_iter().collect(),
            detections: detections(state, firm, now - DETECTION_REACH)?,
        })
    }

    fn overview(&mut self, firm: Firm) -> Overview {
        let id = firm.id.as_str().to_owned();
        let of = |counts: &HashMap<(String, String), u64>, word: &str| {
            let key = (id.clone(), word.to_owned());
            counts.get(&key).copied().unwrap_or_default()
        };
        let count = |counts: &HashMap<String, u64>| counts.get(&id).copied().unwrap_or_default();
        Overview {
            credential_refused: self.refusals.remove(&id),
            failing: None,
            cursor: self.cursors.remove(&id),
            watched_encounters: count(&self.watched),
            waiting_download: of(&self.steps, "download"),
            waiting_inference: of(&self.steps, "infer") + of(&self.steps, "gathered"),
            waiting_delivery: of(&self.deliveries, "pending") + of(&self.deliveries, "intended"),
            delivered: of(&self.deliveries, "delivered"),
            uncertain: of(&self.deliveries, "uncertain"),
            withheld: of(&self.deliveries, "withheld"),
            retracted: count(&self.retracted),
            dead_letters: count(&self.dead_letters),
            detection: DetectionLatency::of(self.detections.remove(&id).unwrap_or_default()),
            firm,
        }
    }
}

/// How long each firm's photos had been filed when they were found, of those found since `since`, in milliseconds.
fn detections(state: &State<'_>, firm: Option<&FirmId>, since: Timestamp) -> Outcome<HashMap<String, Vec<u64>>> {
    let (sql, id) = (
        if firm.is_some() { DETECTIONS_OF_FIRM } else { DETECTIONS },
        firm.map(FirmId::as_str),
    );
    let mut latencies: HashMap<String, Vec<u64>> = HashMap::new();
    rows(state, sql, params![id, Millis(since)], |row| {
        let columns = Columns {
            table: "document_watch",
            row,
        };
        let firm = columns.get("firm")?;
        latencies.entry(firm).or_default().push(columns.count("latency")?);
        Ok(())
    })?;
    Ok(latencies)
}

fn read_journey(row: &Row<'_>) -> Outcome<Journey> {
    let columns = Columns {
        table: "document_watch",
        row,
    };
    let results = Columns {
        table: "assist_results",
        row,
    };
    let delivery = columns.get::<Option<String>>("delivery")?;
    let state = match (columns.get::<String>("step")?.as_str(), delivery.as_deref()) {
        ("download", _) => JourneyState::Download,
        ("infer" | "gathered", _) => JourneyState::Infer,
        ("retracted", _) | ("done", Some("cancelled")) => JourneyState::Retracted,
        ("dead", _) => JourneyState::DeadLetter,
        ("done", Some("buried")) if results.get("has_letter")? => JourneyState::DeadLetter,
        ("done", Some("buried")) => JourneyState::Discarded,
        ("done", Some("pending" | "intended")) => JourneyState::WriteBack,
        ("done", Some("delivered")) => JourneyState::Delivered,
        ("done", Some("uncertain")) => JourneyState::Uncertain,
        ("done", Some("withheld")) => JourneyState::Withheld,
        _ => return Err(damaged("document_watch", "step")),
    };
    let delivered = state == JourneyState::Delivered;
    Ok(Journey {
        firm: columns.text("firm", FirmId::new)?,
        document: columns.text("document", DocumentId::new)?,
        assessment: columns.text("assessment", AssessmentId::new)?,
        route: columns.word("route")?,
        top_finding: results.optional_text("top_finding", identity)?,
        attached_at: columns.optional_time("attached_at")?,
        detected_at: columns.time("detected_at")?,
        downloaded_at: columns.optional_time("downloaded_at")?,
        assessed_at: columns.optional_time("assessed_at")?,
        delivered_at: if delivered {
            Some(columns.time("delivery_at")?)
        } else {
            None
        },
        reference: if delivered {
            Some(results.text("reference", DraftReference)?)
        } else {
            None
        },
        state,
    })
}

/// A photo that waits for the step in its row.
fn read_queued_document(row: &Row<'_>) -> Outcome<Queued> {
    let columns = Columns {
        table: "document_watch",
        row,
    };
    let subject = DeadLetterSubject::Document(columns.text("document", DocumentId::new)?);
    let stage = match columns.get::<String>("step")?.as_str() {
        "download" => Stage::DownloadPhoto,
        _ => Stage::Infer,
    };
    read_queued(&columns, subject, stage)
}

fn read_queued_result(row: &Row<'_>) -> Outcome<Queued> {
    let columns = Columns {
        table: "assist_results",
        row,
    };
    let subject = DeadLetterSubject::Result(columns.text("assessment", AssessmentId::new)?);
    read_queued(&columns, subject, Stage::WriteBack)
}

fn read_queued(columns: &Columns<'_, '_>, subject: DeadLetterSubject, stage: Stage) -> Outcome<Queued> {
    Ok(Queued {
        firm: columns.text("firm", FirmId::new)?,
        subject,
        stage,
        available_at: columns.time("available_at")?,
        fence: columns.count("fence")?,
        attempts: columns.count("attempt")?,
    })
}

fn read_dead_letter(row: &Row<'_>) -> Outcome<DeadLetter> {
    const TABLE: &str = "dead_letters";
    let columns = Columns { table: TABLE, row };
    let subject = match columns.get::<String>("kind")?.as_str() {
        "document" => DeadLetterSubject::Document(columns.text("subject", DocumentId::new)?),
        "result" => DeadLetterSubject::Result(columns.text("subject", AssessmentId::new)?),
        _ => return Err(damaged(TABLE, "kind")),
    };
    Ok(DeadLetter {
        id: columns.get("id")?,
        firm: columns.text("firm", FirmId::new)?,
        subject,
        stage: columns.word("stage")?,
        reason: columns.reason("reason_code", "reason_hint")?,
        attempts: columns.count("attempts")?,
        at: columns.time("at")?,
    })
}

#[async_trait]
impl Operations for SqliteStore {
    async fn overview(&self, now: Timestamp) -> Outcome<Vec<Overview>> {
        self.read(|state| {
            let mut figures = Figures::read(state, None, now)?;
            let firms = firms::all_firms(state)?;
            Ok(firms.into_iter().map(|firm| figures.overview(firm)).collect())
        })
    }

    async fn firm_overview(&self, firm: &FirmId, now: Timestamp) -> Outcome<Option<Overview>> {
        self.read(|state| {
            let found = firms::of_id(state, firm)?;
            found
                .map(|found| Ok(Figures::read(state, Some(firm), now)?.overview(found)))
                .transpose()
        })
    }

    async fn journeys(&self, firm: Option<&FirmId>, since: Timestamp, limit: usize) -> Outcome<Vec<Journey>> {
        let sql = if firm.is_some() { JOURNEYS_OF_FIRM } else { JOURNEYS };
        let firm = firm.map(FirmId::as_str);
        self.read(|state| rows(state, sql, params![firm, Millis(since), row_limit(limit)], read_journey))
    }

    async fn journey(&self, firm: &FirmId, document: &DocumentId) -> Outcome<Option<Journey>> {
        self.read(|state| {
            let document = state.sealer(firm).document(document);
            first(state, JOURNEY, params![firm.as_str(), document], read_journey)
        })
    }

    async fn photos_by_hour(&self, since: Timestamp) -> Outcome<Vec<PhotosOfHour>> {
        self.read(|state| {
            rows(state, PHOTOS_BY_HOUR, params![Millis(since)], |row| {
                let columns = Columns {
                    table: "document_watch",
                    row,
                };
                Ok(PhotosOfHour {
                    firm: columns.text("firm", FirmId::new)?,
                    hour: columns.time("hour")?,
                    photos: columns.count("number")?,
                })
            })
        })
    }

    async fn queued(&self, limit: usize) -> Outcome<Vec<Queued>> {
        let mut queued = self.read(|state| {
            let mut queued = Vec::new();
            for step in [DocumentStep::Download, DocumentStep::Infer] {
                let of_step = params![step.as_str(), row_limit(limit)];
                queued.extend(rows(state, QUEUED_DOCUMENTS, of_step, read_queued_document)?);
            }
            queued.extend(rows(state, QUEUED_RESULTS, [row_limit(limit)], read_queued_result)?);
            Ok(queued)
        })?;
        queued.sort_by_key(|item| item.available_at);
        queued.truncate(limit);
        Ok(queued)
    }

    async fn result(&self, firm: &FirmId, assessment: &AssessmentId) -> Outcome<Option<AssistResult>> {
        self.read(|state| {
            let assessment = state.sealer(firm).assessment(assessment);
            first(
                state,
                results_where!("firm = ?1 AND assessment = ?2"),
                params![firm.as_str(), assessment],
                read_result,
            )
        })
    }

    async fn dead_letters(&self) -> Outcome<Vec<DeadLetter>> {
        self.read(|state| {
            rows(
                state,
                "SELECT * FROM dead_letters ORDER BY at, id",
                [],
                read_dead_letter,
            )
        })
    }

    async fn replay(&self, dead_letter: i64, now: Timestamp) -> Outcome<()> {
        self.write(|state| {
            // What was given up has no lease, so that no fence asks; it grows all the same.
            execute(
                state,
                "UPDATE document_watch AS d SET step = l.step, available_at = ?2, attempt = 0, looks = 0, fence = fence + 1
                 FROM dead_letters AS l
                 WHERE l.id = ?1 AND l.kind = 'document' AND d.firm = l.firm AND d.document = l.subject
                     AND d.step = 'dead'",
                params![dead_letter, Millis(now)],
            )?;
            execute(
                state,
                "UPDATE assist_results AS r SET delivery = 'pending', delivery_at = NULL, available_at = ?2, attempt = 0,
                     fence = fence + 1
                 FROM dead_letters AS l
                 WHERE l.id = ?1 AND l.kind = 'result' AND r.firm = l.firm AND r.assessment = l.subject
                     AND r.delivery = 'buried'",
                params![dead_letter, Millis(now)],
            )?;
            found(execute(state, "DELETE FROM dead_letters WHERE id = ?1", [dead_letter])?, "dead letter")
        })
    }

    async fn firm_results(&self, firm: &FirmId) -> Outcome<Vec<AssistResult>> {
        let mut results = self.read(|state| {
            rows(
                state,
                results_where!("firm = ?1 AND delivery <> 'cancelled' ORDER BY assessed_at"),
                [firm.as_str()],
                read_result,
            )
        })?;
        results.sort_by(|one, other| {
            (one.assessed_at, &one.assessment.id).cmp(&(other.assessed_at, &other.assessment.id))
        });
        Ok(results)
    }

    async fn uncertain(&self) -> Outcome<Vec<AssistResult>> {
        self.read(|state| rows(state, UNCERTAIN, [], read_result))
    }

    async fn resolve(
        &self,
        firm: &FirmId,
        assessment: &AssessmentId,
        resolution: &UncertainResolution,
        now: Timestamp,
    ) -> Outcome<()> {
        let (change, reference) = match resolution {
            UncertainResolution::Delivered(reference) => (
                "delivery = 'delivered', delivery_at = ?3, reference = ?4",
                Some(reference.0.as_str()),
            ),
            // Unless its photo was retracted meanwhile: then it is not posted again.
            UncertainResolution::PostAgain => (
                "delivery = iif(retracted, 'cancelled', 'pending'), delivery_at = NULL, reference = ?4,
                 available_at = iif(retracted, NULL, ?3)",
                None,
            ),
            // Without a letter: by that it is told from what was given up.
            UncertainResolution::Discard => ("delivery = 'buried', delivery_at = ?3, reference = ?4", None),
        };
        self.write(|state| {
            let seal = state.sealer(firm);
            let sealed = seal.assessment(assessment);
            let changed = execute(
                state,
                &format!(
                    "UPDATE assist_results
                     SET {change}, reason_code = NULL, reason_hint = NULL, attempt = 0, fence = fence + 1
                     WHERE firm = ?1 AND assessment = ?2 AND delivery = 'uncertain'"
                ),
                params![firm.as_str(), sealed, Millis(now), seal.optional(REFERENCE, reference)],
            )?;
            found(changed, "uncertain result")?;
            let assessment = first(
                state,
                "SELECT firm, subject FROM assist_results WHERE firm = ?1 AND assessment = ?2",
                [firm.as_str(), &sealed],
                |row| {
                    Columns {
                        table: "assist_results",
                        row,
                    }
                    .json::<Assessment>("subject")
                },
            )?;
            let Some(assessment) = assessment else { return Ok(()) };
            match resolution {
                UncertainResolution::Delivered(reference) => {
                    let (kind, draft) = (ChartEventKind::DraftDelivered, ResourceReference::draft(reference));
                    events::append_of_draft(state, &assessment, kind, Some(draft), now)?;
                }
                UncertainResolution::Discard => {
                    events::append_of_draft(state, &assessment, ChartEventKind::GivenUp, None, now)?;
                }
                // It is told of when it is in the chart, or not.
                UncertainResolution::PostAgain => {}
            }
            open_if_cancelled(state, &assessment, now)
        })
    }

    async fn retracted_drafts(&self) -> Outcome<Vec<RetractedDraft>> {
        self.read(|state| {
            rows(
                state,
                &format!("SELECT * FROM assist_results WHERE {UNACKNOWLEDGED} ORDER BY retracted_at, rowid"),
                [],
                documents::read_retracted,
            )
        })
    }

    async fn acknowledge_retraction(&self, firm: &FirmId, assessment: &AssessmentId, now: Timestamp) -> Outcome<()> {
        self.write(|state| {
            let changed = execute(
                state,
                &format!(
                    "UPDATE assist_results SET acknowledged_at = ?3
                     WHERE firm = ?1 AND assessment = ?2 AND {UNACKNOWLEDGED}"
                ),
                params![firm.as_str(), state.sealer(firm).assessment(assessment), Millis(now)],
            )?;
            found(changed, "retraction to take note of")
        })
    }

    async fn sweep_expired(&self, now: Timestamp) -> Outcome<u64> {
        self.write(|state| {
            // Not before no poll can show that version again: the row is what tells that it was watched already. And not
            // while it can still be looked at. Where nobody polls the cursor stands still, and time alone counts: if the practice is
            // served again, what its first poll shows of before is watched once more, and photos are known by their own rows.
            let swept = rows(
                state,
                "DELETE FROM encounter_watch AS e
                 WHERE e.expires_at <= ?1 AND (
                     coalesce(e.last_updated, e.expires_at) < (SELECT c.cursor FROM cursors AS c WHERE c.firm = e.firm) - ?2
                     OR e.expires_at <= ?1 - ?2 AND (
                         EXISTS (SELECT 1 FROM watch_lists AS w WHERE w.firm = e.firm AND w.parked)
                         OR EXISTS (SELECT 1 FROM credentials AS p WHERE p.firm = e.firm AND p.refused_code IS NOT NULL)))
                 RETURNING fence",
                params![Millis(now - RECONCILED_FOR), POLL_REACH.as_millis() as i64],
                |row| Columns { table: "encounter_watch", row }.get::<i64>("fence"),
            )?;
            if let Some(highest) = swept.iter().max() {
                raise_fence_floor(state, *highest)?;
            }
            let findings = execute(
                state,
                "DELETE FROM findings WHERE recorded_at <= ?1",
                params![Millis(now - FINDINGS_LIFE)],
            )?;
            let pollers = execute(
                state,
                "DELETE FROM pollers WHERE until <= ?1",
                params![Millis(now - POLLER_KEPT_FOR)],
            )?;
            let events = events::forget(state, now)?;
            Ok((swept.len() + findings + pollers + events) as u64)
        })
    }
}
