//! Looking at the state and repairing it, for operators; dead letters; and housekeeping, which DynamoDB does itself.
//!
//! What operators look at is read row by row where a count is asked for: a look at a firm with a hundred thousand photos
//! costs a cent or so, and no index has to be written for it.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use skin_assist_core::{
    domain::{
        AssessmentId, AssistResult, DeadLetter, DeadLetterSubject, DocumentId, DocumentStep, DraftReference, Firm,
        FirmId, Journey, JourneyState, Reason, ReferenceCode, Stage,
    },
    ports::{
        Credentials as _, DetectionLatency, EncounterWatches as _, Firms as _, Operations, Overview, PhotosOfHour,
        Queued, RetractedDraft, StateError, UncertainResolution,
    },
    time::Timestamp,
};

use super::{
    Ask, DynamoStore, Outcome, TRIES, Transacted, Written,
    codec::{Attributes, REASON_CODE, REASON_HINT, Row, number, text, time},
    deliveries::{self, QUEUE_NAME, RETRACTED, State, UNCERTAIN, UNCERTAIN_AND_RETRACTED},
    documents,
    due::wait_in,
    encounters,
    error::contended,
    schema::{
        ASSIST_RESULTS, ATTACHED_AT, ATTENTION, DEAD_LETTERS, DETECTED_AT, DOCUMENT_WATCH, DUE_AT, LOCKED_UNTIL, QUEUE,
        RESULT_PREFIX, Table,
    },
    write::{Key, Write},
};

const LETTERS: &str = "letters";

const HOUR_MS: i64 = 3_600_000;

/// How far back detection latency is told.
const DETECTION_REACH: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);

/// A dead letter on its way into the state.
pub(super) struct Letter<'a> {
    pub(super) number: i64,
    pub(super) firm: &'a FirmId,
    pub(super) kind: &'static str,
    pub(super) subject: &'a str,
    /// The document's step when it was given up: where a replay puts it back.
    pub(super) step: Option<DocumentStep>,
    pub(super) stage: Stage,
    pub(super) reason: &'a Reason,
    pub(super) attempts: u32,
    pub(super) at: Timestamp,
}

/// By number, and of a firm.
pub(super) fn letter_key(number: i64, firm: &FirmId) -> Key {
    Key::new(LETTERS, format!("{}{firm}", letter_prefix(number)))
}

fn letter_prefix(number: i64) -> String {
    format!("{number:019}#")
}

impl Letter<'_> {
    pub(super) fn write(&self) -> Write {
        Write::put(&DEAD_LETTERS, letter_key(self.number, self.firm))
            .set("number", number(self.number))
            .set("firm", text(self.firm.as_str()))
            .set("kind", text(self.kind))
            .set("subject", text(self.subject))
            .set_or_remove("step", self.step.map(|step| text(step.as_str())))
            .set("stage", text(self.stage.as_str()))
            .set(REASON_CODE, text(self.reason.code()))
            .set(REASON_HINT, text(self.reason.hint()))
            .set("attempts", number(self.attempts))
            .set("at", time(self.at))
    }
}

fn read_letter(row: &Row) -> Outcome<DeadLetter> {
    let attributes = Attributes {
        table: DEAD_LETTERS.name,
        row,
    };
    let subject = match attributes.text("kind")? {
        "document" => DeadLetterSubject::Document(attributes.named("subject", DocumentId::new)?),
        "result" => DeadLetterSubject::Result(attributes.named("subject", AssessmentId::new)?),
        _ => return Err(attributes.damaged("kind")),
    };
    Ok(DeadLetter {
        id: attributes.number("number")?,
        firm: attributes.named("firm", FirmId::new)?,
        subject,
        stage: attributes.word("stage")?,
        reason: attributes.reason()?,
        attempts: attributes.number("attempts")?,
        at: attributes.time("at")?,
    })
}

/// How many rows have each word in an attribute.
fn counts(table: &'static str, rows: &[Row], attribute: &'static str) -> Outcome<HashMap<String, u64>> {
    let mut counts = HashMap::new();
    for row in rows {
        let word = Attributes { table, row }.text(attribute)?;
        *counts.entry(word.to_owned()).or_default() += 1;
    }
    Ok(counts)
}

fn read_retracted(row: &Row) -> Outcome<RetractedDraft> {
    let attributes = Attributes {
        table: ASSIST_RESULTS.name,
        row,
    };
    let firm = attributes.named("part", FirmId::new)?;
    let assessment = attributes.text("item")?.strip_prefix(RESULT_PREFIX);
    let assessment = AssessmentId::new(assessment.ok_or_else(|| attributes.damaged("item"))?);
    Ok(RetractedDraft {
        document: attributes.named("retracted_document", DocumentId::new)?,
        reference_code: ReferenceCode::of(&firm, &assessment),
        reference: attributes.optional_named("reference", DraftReference)?,
        noticed_at: attributes.time("retracted_at")?,
        firm,
        assessment,
    })
}

/// A photo's way, by its own row and that of its result; none where the result was removed after its time.
fn journey(document: &Row, result: Option<&Row>) -> Outcome<Option<Journey>> {
    let attributes = Attributes {
        table: DOCUMENT_WATCH.name,
        row: document,
    };
    let watch = documents::read_watch(document)?;
    let result = result.map(|row| Attributes {
        table: ASSIST_RESULTS.name,
        row,
    });
    let delivery = result.map(|result| result.text("delivery")).transpose()?;
    let state = match (attributes.text("step")?, delivery) {
        ("download", _) => JourneyState::Download,
        ("infer" | "gathered", _) => JourneyState::Infer,
        ("retracted", _) | ("done", Some("cancelled")) => JourneyState::Retracted,
        ("dead", _) => JourneyState::DeadLetter,
        ("done", Some("buried")) => match result {
            Some(result) if deliveries::has_letter(&result)? => JourneyState::DeadLetter,
            _ => JourneyState::Discarded,
        },
        ("done", Some("pending" | "intended")) => JourneyState::WriteBack,
        ("done", Some("delivered")) => JourneyState::Delivered,
        ("done", Some("uncertain")) => JourneyState::Uncertain,
        ("done", Some("withheld")) => JourneyState::Withheld,
        ("done", None) => return Ok(None),
        _ => return Err(attributes.damaged("step")),
    };
    let delivered = result.filter(|_| state == JourneyState::Delivered);
    let top_finding = result.map(|result| result.optional_text("top_finding")).transpose()?;
    Ok(Some(Journey {
        firm: watch.firm,
        document: watch.document,
        assessment: watch.assessment,
        route: watch.route,
        top_finding: top_finding.flatten().map(str::to_owned),
        attached_at: watch.attached_at,
        detected_at: watch.detected_at,
        downloaded_at: watch.photo.map(|photo| photo.downloaded_at),
        assessed_at: result.map(|result| result.time("assessed_at")).transpose()?,
        delivered_at: delivered.map(|result| result.time("delivery_at")).transpose()?,
        reference: delivered
            .map(|result| result.named("reference", DraftReference))
            .transpose()?,
        state,
    }))
}

/// A row that waits in a queue; none when it has left it since the index was read.
fn queued(table: &'static Table, key: &Key, row: &Row) -> Outcome<Option<Queued>> {
    let attributes = Attributes { table: table.name, row };
    let Some(due_at) = attributes.optional_time(DUE_AT)? else {
        return Ok(None);
    };
    let locked_until = attributes.optional_time(LOCKED_UNTIL)?;
    let (subject, stage) = match attributes.text(QUEUE)? {
        QUEUE_NAME => {
            let assessment = key.item.strip_prefix(RESULT_PREFIX);
            let assessment = AssessmentId::new(assessment.ok_or_else(|| attributes.damaged("item"))?);
            (DeadLetterSubject::Result(assessment), Stage::WriteBack)
        }
        queue => {
            let subject = DeadLetterSubject::Document(documents::read_watch(row)?.document);
            let is_download = queue == DocumentStep::Download.as_str();
            (
                subject,
                if is_download {
                    Stage::DownloadPhoto
                } else {
                    Stage::Infer
                },
            )
        }
    };
    Ok(Some(Queued {
        firm: FirmId::new(key.part.as_str()),
        subject,
        stage,
        available_at: locked_until.map_or(due_at, |locked_until| due_at.max(locked_until)),
        fence: attributes.number("fence")?,
        attempts: attributes.number("attempt")?,
    }))
}

impl DynamoStore {
    /// The number of the next dead letter. One that is not used after all is a gap.
    pub(super) async fn next_letter(&self) -> Outcome<i64> {
        let write = Write::update(&DEAD_LETTERS, Key::new("numbers", "letters"))
            .set_by("#number = if_not_exists(#number, :none) + :one")
            .value("none", number(0))
            .value("one", number(1));
        match self.change(write).await? {
            Written::Done(row) => Attributes {
                table: DEAD_LETTERS.name,
                row: &row,
            }
            .number("number"),
            // It has no condition.
            Written::Refused(_) => Err(contended()),
        }
    }

    async fn letter_rows(&self) -> Outcome<Vec<Row>> {
        self.all(Ask::part(&DEAD_LETTERS, LETTERS)).await
    }

    /// Deletes the letters of a firm.
    pub(super) async fn delete_letters_of(&self, firm: &FirmId) -> Outcome<()> {
        let ask = Ask {
            filter: Some("#firm = :firm"),
            ..Ask::part(&DEAD_LETTERS, LETTERS)
        }
        .value("firm", text(firm.as_str()));
        let keys = self.stored_keys(ask).await?;
        self.delete_all(&DEAD_LETTERS, keys).await
    }

    /// The rows that the index `attention` has for any of these.
    async fn attended(&self, words: [&str; 2]) -> Outcome<Vec<Row>> {
        let mut keys = Vec::new();
        for word in words {
            let ask = Ask {
                index: Some("attention"),
                key: "#attention = :word",
                ..Ask::part(&ASSIST_RESULTS, "")
            }
            .value("word", text(word));
            keys.extend(self.all(ask).await?.iter().filter_map(Key::of));
        }
        let mut found: Vec<_> = self.get_all(&ASSIST_RESULTS, keys).await?.into_iter().collect();
        found.sort_by(|one, other| (&one.0.part, &one.0.item).cmp(&(&other.0.part, &other.0.item)));
        Ok(found.into_iter().map(|(_, row)| row).collect())
    }

    async fn overview_of(&self, firm: Firm, dead_letters: u64, now: Timestamp) -> Outcome<Overview> {
        let id = &firm.id;
        let steps = self
            .all(Ask {
                wanted: Some("#step"),
                ..Ask::part(&DOCUMENT_WATCH, id.as_str())
            })
            .await?;
        let steps = counts(DOCUMENT_WATCH.name, &steps, "step")?;
        let results = self
            .all(Ask {
                wanted: Some("#delivery, #retracted_at, #acknowledged_at"),
                ..Ask::beginning(&ASSIST_RESULTS, id.as_str(), RESULT_PREFIX)
            })
            .await?;
        let mut retracted = 0;
        for row in &results {
            let attributes = Attributes {
                table: ASSIST_RESULTS.name,
                row,
            };
            retracted += u64::from(State::read(&attributes)?.alarms());
        }
        let deliveries = counts(ASSIST_RESULTS.name, &results, "delivery")?;
        let of = |counts: &HashMap<String, u64>, word: &str| counts.get(word).copied().unwrap_or_default();
        let credential = self.credential(id).await?;
        let credential_refused = credential.and_then(|credential| match credential.state {
            skin_assist_core::domain::CredentialState::Refused { reason, .. } => Some(reason),
            skin_assist_core::domain::CredentialState::Usable => None,
        });
        let watched = self.all(encounters::ends_of(id)).await?;
        Ok(Overview {
            credential_refused,
            failing: None,
            cursor: self.cursor(id).await?,
            watched_encounters: encounters::watched_of(&watched, now)?,
            waiting_download: of(&steps, "download"),
            waiting_inference: of(&steps, "infer") + of(&steps, "gathered"),
            waiting_delivery: of(&deliveries, "pending") + of(&deliveries, "intended"),
            delivered: of(&deliveries, "delivered"),
            uncertain: of(&deliveries, "uncertain"),
            withheld: of(&deliveries, "withheld"),
            retracted,
            dead_letters,
            detection: self.detection_of(id, now - DETECTION_REACH).await?,
            firm,
        })
    }

    /// How long the firm's photos had been filed when they were found, of those found since `since`.
    async fn detection_of(&self, firm: &FirmId, since: Timestamp) -> Outcome<DetectionLatency> {
        let ask = Ask {
            index: Some("detected"),
            key: "#part = :part AND #detected_at > :since",
            ..Ask::part(&DOCUMENT_WATCH, firm.as_str())
        }
        .value("since", time(since));
        let mut latencies = Vec::new();
        for row in &self.all(ask).await? {
            let attributes = Attributes {
                table: DOCUMENT_WATCH.name,
                row,
            };
            if let Some(attached_at) = attributes.optional_time(ATTACHED_AT)? {
                let latency = attributes.time(DETECTED_AT)?.since(attached_at);
                latencies.push(u64::try_from(latency.as_millis()).unwrap_or(u64::MAX));
            }
        }
        Ok(DetectionLatency::of(latencies))
    }

    /// Up to `limit` of the firm's photos found since `since`, latest first.
    async fn latest_of(&self, firm: &FirmId, since: Timestamp, limit: usize) -> Outcome<Vec<(Timestamp, Key)>> {
        let ask = Ask {
            index: Some("detected"),
            key: "#part = :part AND #detected_at >= :since",
            latest_first: true,
            page: Some(limit),
            ..Ask::part(&DOCUMENT_WATCH, firm.as_str())
        }
        .value("since", time(since));
        let mut latest = Vec::new();
        let mut next = None;
        while latest.len() < limit {
            let (rows, after) = self.page(&ask, next).await?;
            for row in &rows {
                let attributes = Attributes {
                    table: DOCUMENT_WATCH.name,
                    row,
                };
                latest.extend(
                    Key::of(row)
                        .map(|key| Ok((attributes.time(DETECTED_AT)?, key)))
                        .transpose()?,
                );
            }
            next = after;
            if next.is_none() {
                break;
            }
        }
        latest.truncate(limit);
        Ok(latest)
    }

    /// One firm, or all of them.
    async fn chosen(&self, firm: Option<&FirmId>) -> Outcome<Vec<FirmId>> {
        match firm {
            Some(firm) => Ok(vec![firm.clone()]),
            None => Ok(self.firms().await?.into_iter().map(|firm| firm.id).collect()),
        }
    }

    /// The first `limit` rows of a queue that nobody works on, and as many that somebody has a lease on: they lie where they were due.
    async fn waiting_in(&self, table: &'static Table, queue: &str, limit: usize) -> Outcome<Vec<Queued>> {
        let ask = Ask {
            index: Some("due"),
            key: "#queue = :queue",
            page: Some(limit.clamp(1, 1000)),
            ..Ask::part(table, "")
        }
        .value("queue", text(queue));
        let (mut free, mut leased, mut next) = (Vec::new(), Vec::new(), None);
        while free.len() < limit {
            let (rows, after) = self.page(&ask, next).await?;
            for row in &rows {
                let into = if row.contains_key(LOCKED_UNTIL) {
                    &mut leased
                } else {
                    &mut free
                };
                into.extend(Key::of(row));
            }
            next = after;
            if next.is_none() {
                break;
            }
        }
        free.truncate(limit);
        leased.truncate(limit);
        free.extend(leased);
        let found = self.get_all(table, free).await?;
        let queued = found.iter().map(|(key, row)| queued(table, key, row));
        Ok(queued.collect::<Outcome<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// Puts back what a letter is about; where it no longer is as it was given up, only the letter goes.
    fn replayed(letter: &DeadLetter, row: &Row, now: Timestamp) -> Outcome<Write> {
        let step = Attributes {
            table: DEAD_LETTERS.name,
            row,
        };
        Ok(match &letter.subject {
            DeadLetterSubject::Document(document) => {
                let step = step.text("step")?;
                let write = Write::update(&DOCUMENT_WATCH, documents::key(&letter.firm, document))
                    .when("#step = :dead AND #letter = :letter")
                    .value("dead", text("dead"))
                    .set("step", text(step))
                    .set("looks", number(0));
                wait_in(write, step, now)
            }
            DeadLetterSubject::Result(assessment) => {
                let write = Write::update(&ASSIST_RESULTS, deliveries::key(&letter.firm, assessment))
                    .when("#delivery = :buried AND #letter = :letter")
                    .value("buried", text("buried"))
                    .set("delivery", text("pending"))
                    .remove("delivery_at");
                wait_in(write, QUEUE_NAME, now)
            }
        }
        .value("letter", number(letter.id))
        .raise_fence()
        .set("attempt", number(0))
        .remove("letter"))
    }
}

#[async_trait]
impl Operations for DynamoStore {
    async fn overview(&self, now: Timestamp) -> Outcome<Vec<Overview>> {
        let letters = counts(DEAD_LETTERS.name, &self.letter_rows().await?, "firm")?;
        let mut overviews = Vec::new();
        for firm in self.firms().await? {
            let letters = letters.get(firm.id.as_str()).copied().unwrap_or_default();
            overviews.push(self.overview_of(firm, letters, now).await?);
        }
        Ok(overviews)
    }

    async fn firm_overview(&self, firm: &FirmId, now: Timestamp) -> Outcome<Option<Overview>> {
        let Some(firm) = self.firm(firm).await? else {
            return Ok(None);
        };
        let letters = counts(DEAD_LETTERS.name, &self.letter_rows().await?, "firm")?;
        let letters = letters.get(firm.id.as_str()).copied().unwrap_or_default();
        Ok(Some(self.overview_of(firm, letters, now).await?))
    }

    async fn journeys(&self, firm: Option<&FirmId>, since: Timestamp, limit: usize) -> Outcome<Vec<Journey>> {
        let mut latest = Vec::new();
        for firm in self.chosen(firm).await? {
            latest.extend(self.latest_of(&firm, since, limit).await?);
        }
        latest.sort_by_key(|(detected_at, _)| std::cmp::Reverse(*detected_at));
        latest.truncate(limit);
        let keys: Vec<Key> = latest.into_iter().map(|(_, key)| key).collect();
        let documents = self.get_all(&DOCUMENT_WATCH, keys.clone()).await?;
        let mut results = HashMap::new();
        for (key, row) in &documents {
            let attributes = Attributes {
                table: DOCUMENT_WATCH.name,
                row,
            };
            let assessment = attributes.named("assessment", AssessmentId::new)?;
            results.insert(key, deliveries::key(&FirmId::new(key.part.as_str()), &assessment));
        }
        let found = self
            .get_all(&ASSIST_RESULTS, results.values().cloned().collect())
            .await?;
        keys.iter()
            .filter_map(|key| Some((documents.get(key)?, results.get(key)?)))
            .filter_map(|(document, result)| journey(document, found.get(result)).transpose())
            .collect()
    }

    async fn journey(&self, firm: &FirmId, document: &DocumentId) -> Outcome<Option<Journey>> {
        let Some(document) = self.get(&DOCUMENT_WATCH, &documents::key(firm, document)).await? else {
            return Ok(None);
        };
        let attributes = Attributes {
            table: DOCUMENT_WATCH.name,
            row: &document,
        };
        let assessment = attributes.named("assessment", AssessmentId::new)?;
        let result = self.get(&ASSIST_RESULTS, &deliveries::key(firm, &assessment)).await?;
        journey(&document, result.as_ref())
    }

    async fn photos_by_hour(&self, since: Timestamp) -> Outcome<Vec<PhotosOfHour>> {
        let mut listed = Vec::new();
        for firm in self.chosen(None).await? {
            let mut hours: BTreeMap<i64, u64> = BTreeMap::new();
            for (detected_at, _) in self.latest_of(&firm, since, usize::MAX).await? {
                *hours.entry(detected_at.as_millis().div_euclid(HOUR_MS)).or_default() += 1;
            }
            listed.extend(hours.into_iter().map(|(hour, photos)| PhotosOfHour {
                firm: firm.clone(),
                hour: Timestamp::from_millis(hour * HOUR_MS),
                photos,
            }));
        }
        Ok(listed)
    }

    async fn queued(&self, limit: usize) -> Outcome<Vec<Queued>> {
        let mut queued = Vec::new();
        for step in [DocumentStep::Download, DocumentStep::Infer] {
            queued.extend(self.waiting_in(&DOCUMENT_WATCH, step.as_str(), limit).await?);
        }
        queued.extend(self.waiting_in(&ASSIST_RESULTS, QUEUE_NAME, limit).await?);
        queued.sort_by_key(|item| item.available_at);
        queued.truncate(limit);
        Ok(queued)
    }

    async fn result(&self, firm: &FirmId, assessment: &AssessmentId) -> Outcome<Option<AssistResult>> {
        let row = self.get(&ASSIST_RESULTS, &deliveries::key(firm, assessment)).await?;
        Ok(self.results(row.iter()).await?.pop())
    }

    async fn dead_letters(&self) -> Outcome<Vec<DeadLetter>> {
        let rows = self.letter_rows().await?;
        let mut letters = rows.iter().map(read_letter).collect::<Outcome<Vec<_>>>()?;
        letters.sort_by_key(|letter| (letter.at, letter.id));
        Ok(letters)
    }

    async fn replay(&self, dead_letter: i64, now: Timestamp) -> Outcome<()> {
        let not_found = StateError::NotFound { what: "dead letter" };
        let ask = Ask::beginning(&DEAD_LETTERS, LETTERS, &letter_prefix(dead_letter));
        let rows = self.all(ask).await?;
        let Some(row) = rows.first() else {
            return Err(not_found);
        };
        let letter = read_letter(row)?;
        let gone = Write::delete(&DEAD_LETTERS, letter_key(letter.id, &letter.firm)).when_there();
        match self
            .transact(&[gone.clone(), Self::replayed(&letter, row, now)?])
            .await?
        {
            Transacted::Done => Ok(()),
            Transacted::Refused(refusals) if refusals[0].is_some() => Err(not_found),
            Transacted::Refused(_) => match self.write(gone).await? {
                Written::Done(_) => Ok(()),
                Written::Refused(_) => Err(not_found),
            },
        }
    }

    async fn firm_results(&self, firm: &FirmId) -> Outcome<Vec<AssistResult>> {
        let rows = self
            .all(Ask::beginning(&ASSIST_RESULTS, firm.as_str(), RESULT_PREFIX))
            .await?;
        let mut listed = Vec::new();
        for row in &rows {
            let attributes = Attributes {
                table: ASSIST_RESULTS.name,
                row,
            };
            if attributes.text("delivery")? != "cancelled" {
                listed.push((attributes.time("assessed_at")?, row));
            }
        }
        // Rows come in the order of their assessments, which stays among those of the same time.
        listed.sort_by_key(|(at, _)| *at);
        self.results(listed.into_iter().map(|(_, row)| row)).await
    }

    async fn uncertain(&self) -> Outcome<Vec<AssistResult>> {
        let rows = self.attended([UNCERTAIN, UNCERTAIN_AND_RETRACTED]).await?;
        let mut listed = Vec::new();
        for row in &rows {
            let attributes = Attributes {
                table: ASSIST_RESULTS.name,
                row,
            };
            if attributes.text("delivery")? == "uncertain" {
                listed.push((attributes.time("delivery_at")?, row));
            }
        }
        listed.sort_by_key(|(since, _)| *since);
        self.results(listed.into_iter().map(|(_, row)| row)).await
    }

    async fn resolve(
        &self,
        firm: &FirmId,
        assessment: &AssessmentId,
        resolution: &UncertainResolution,
        now: Timestamp,
    ) -> Outcome<()> {
        let key = deliveries::key(firm, assessment);
        for _ in 0..TRIES {
            let row = self.get(&ASSIST_RESULTS, &key).await?;
            let attributes = row.as_ref().map(|row| Attributes {
                table: ASSIST_RESULTS.name,
                row,
            });
            let state = attributes.as_ref().map(State::read).transpose()?;
            let Some(state) = state.filter(|state| state.delivery == "uncertain") else {
                return Err(StateError::NotFound {
                    what: "uncertain result",
                });
            };
            let alarms = state.alarms();
            let write = Write::update(&ASSIST_RESULTS, key.clone())
                .when("#delivery = :uncertain")
                .value("uncertain", text("uncertain"))
                .when_is("retracted_at", state.retracted_at.map(time))
                .raise_fence()
                .set("attempt", number(0))
                .remove(REASON_CODE)
                .remove(REASON_HINT);
            let write = match resolution {
                UncertainResolution::Delivered(reference) => write
                    .set("delivery", text("delivered"))
                    .set("delivery_at", time(now))
                    .set("reference", text(&reference.0))
                    .set_or_remove(ATTENTION, deliveries::attention("delivered", alarms).map(text)),
                // Unless its photo was retracted meanwhile: then it is not posted again.
                UncertainResolution::PostAgain if state.retracted_at.is_some() => write
                    .set("delivery", text("cancelled"))
                    .remove("delivery_at")
                    .remove(ATTENTION),
                UncertainResolution::PostAgain => {
                    let write = write.set("delivery", text("pending")).remove("delivery_at");
                    wait_in(write, QUEUE_NAME, now).remove(ATTENTION)
                }
                // Without a letter: by that it is told from what was given up.
                UncertainResolution::Discard => write
                    .set("delivery", text("buried"))
                    .set("delivery_at", time(now))
                    .remove(ATTENTION),
            };
            let mut writes = vec![write];
            if state.retracted_at.is_some() && matches!(resolution, UncertainResolution::PostAgain) {
                // It is cancelled: if it was one of several photos that was retracted, the others are judged anew.
                let rows = row.iter();
                for result in self.results(rows).await? {
                    if result.assessment.documents.len() > 1 {
                        writes.extend(self.opens(&result.assessment, now).await?);
                    }
                }
            }
            if let Transacted::Done = self.transact(&writes).await? {
                return Ok(());
            }
        }
        Err(contended())
    }

    async fn retracted_drafts(&self) -> Outcome<Vec<RetractedDraft>> {
        let rows = self.attended([RETRACTED, UNCERTAIN_AND_RETRACTED]).await?;
        let mut drafts = Vec::new();
        for row in &rows {
            let attributes = Attributes {
                table: ASSIST_RESULTS.name,
                row,
            };
            if State::read(&attributes)?.alarms() {
                drafts.push(read_retracted(row)?);
            }
        }
        drafts.sort_by_key(|draft| draft.noticed_at);
        Ok(drafts)
    }

    async fn acknowledge_retraction(&self, firm: &FirmId, assessment: &AssessmentId, now: Timestamp) -> Outcome<()> {
        let key = deliveries::key(firm, assessment);
        for _ in 0..TRIES {
            let row = self.get(&ASSIST_RESULTS, &key).await?;
            let attributes = row.as_ref().map(|row| Attributes {
                table: ASSIST_RESULTS.name,
                row,
            });
            let state = attributes.as_ref().map(State::read).transpose()?;
            let Some(state) = state.filter(State::alarms) else {
                return Err(StateError::NotFound {
                    what: "retraction to take note of",
                });
            };
            let write = Write::update(&ASSIST_RESULTS, key.clone())
                .when_is("delivery", Some(text(state.delivery)))
                .when("attribute_exists(#retracted_at) AND attribute_not_exists(#acknowledged_at)")
                .set("acknowledged_at", time(now))
                .set_or_remove(ATTENTION, deliveries::attention(state.delivery, false).map(text));
            if let Written::Done(_) = self.write(write).await? {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// DynamoDB deletes what has expired by itself.
    async fn sweep_expired(&self, _now: Timestamp) -> Outcome<u64> {
        Ok(0)
    }
}
