//! What looks found, on its way into the state: photos that are new, and documents that are not current any more.
//!
//! One transaction records it together with what the look itself changes (the *head*: the note of the look, the move of a
//! cursor), under the head's condition. Where that is more than a transaction takes, what was found goes before, each
//! part under the same condition, and the head with the last part: whoever is interrupted leaves photos that are known
//! and a look that is not, and the next look finds them again.
//!
//! What is to be written depends on rows that others write too. They are read first, and the transaction holds only where
//! they are still as they were; otherwise it is made anew.

use std::collections::{HashMap, HashSet};

use skin_assist_core::{
    domain::{
        AssessmentId, DocumentId, DocumentWatch, DraftReference, EncounterId, FirmId, MOST_PHOTOS, ReferenceCode, Stage,
    },
    ports::{AuditAction, AuditRecord, RecordedDocuments, RetractedDraft},
    time::Timestamp,
};

use super::{
    DynamoStore, MOST_IN_A_TRANSACTION, Outcome, Refusal, TRIES, Transacted, assessments,
    audit::entry_of,
    codec::{Attributes, Row, number, seconds, text, time},
    deliveries::{self, State},
    documents,
    due::wait_no_more,
    encounters,
    error::contended,
    firms::{self, first_fence},
    operations::letter_key,
    schema::{ASSIST_RESULTS, DEAD_LETTERS, DELETE_AT, DOCUMENT_WATCH, ENCOUNTER_WATCH, FIRMS},
    watch_lists, watching,
    write::{Key, Write},
};

/// The most writes that one retraction takes: document, result, a letter of each, and the photos that were judged with it.
const MOST_OF_A_RETRACTION: usize = 4 + MOST_PHOTOS;

/// What was found.
pub(super) struct Arrivals<'a> {
    pub(super) firm: &'a FirmId,
    /// Photos, known or not.
    pub(super) found: Vec<&'a DocumentWatch>,
    /// Documents that are not current (any more).
    pub(super) retracted: Vec<&'a DocumentId>,
    pub(super) now: Timestamp,
}

impl Arrivals<'_> {
    pub(super) const fn is_empty(&self) -> bool {
        self.found.is_empty() && self.retracted.is_empty()
    }
}

/// What the rows are now.
struct Known {
    /// The firm's, where there is a new photo.
    generation: u64,
    documents: HashMap<Key, Row>,
    results: HashMap<Key, Row>,
    /// Encounters of new photos, and the cursor, whose row counts their changes.
    encounters: HashMap<Key, Row>,
}

/// What one transaction is to record.
#[derive(Default)]
struct Plan {
    writes: Vec<Write>,
    /// Changes to the row that the head is about.
    with_head: Option<Write>,
    recorded: RecordedDocuments,
    /// Whether there is more.
    incomplete: bool,
}

fn result_key(firm: &FirmId, assessment: &str) -> Key {
    deliveries::key(firm, &AssessmentId::new(assessment))
}

impl DynamoStore {
    /// Records `arrivals` with `head`, unless the head is refused.
    pub(super) async fn record_arrivals(
        &self,
        head: Write,
        arrivals: &Arrivals<'_>,
    ) -> Outcome<Result<RecordedDocuments, Refusal>> {
        let mut recorded = RecordedDocuments::default();
        let mut failures = 0;
        while failures < TRIES {
            let plan = if arrivals.is_empty() {
                Plan::default()
            } else {
                let known = self.known(arrivals).await?;
                planned(&head, arrivals, &known)?
            };
            let mut first = if plan.incomplete {
                head.clone().condition_only()
            } else {
                head.clone()
            };
            let joined = plan.with_head.is_some();
            if let Some(changes) = plan.with_head {
                first = first.with(changes);
            }
            let mut writes = vec![first];
            writes.extend(plan.writes);
            let alarms = plan.recorded.retracted.iter().map(|draft| {
                let (action, subject) = (AuditAction::RetractedAfterDelivery, draft.assessment.as_str());
                entry_of(Stage::PollDocuments, arrivals.firm, action, subject, arrivals.now)
            });
            let alarms: Vec<AuditRecord> = alarms.collect();
            match self.transact_telling(&writes, &alarms).await? {
                Transacted::Done => {
                    recorded.new.extend(plan.recorded.new);
                    recorded.retracted.extend(plan.recorded.retracted);
                    if !plan.incomplete {
                        return Ok(Ok(recorded));
                    }
                }
                Transacted::Refused(mut refusals) => {
                    let mut refused = refusals.swap_remove(0);
                    if refused.is_some() && joined {
                        // By what was joined to it, or by itself?
                        refused = match self.transact(&[head.clone().condition_only()]).await? {
                            Transacted::Done => None,
                            Transacted::Refused(mut refusals) => refusals.swap_remove(0),
                        };
                    }
                    if let Some(refusal) = refused {
                        return Ok(Err(refusal));
                    }
                    failures += 1;
                }
            }
        }
        Err(contended())
    }

    async fn known(&self, arrivals: &Arrivals<'_>) -> Outcome<Known> {
        let firm = arrivals.firm;
        let named = arrivals.found.iter().map(|watch| &watch.document);
        let keys = named
            .chain(arrivals.retracted.iter().copied())
            .map(|document| documents::key(firm, document))
            .collect();
        let mut documents = self.get_all(&DOCUMENT_WATCH, keys).await?;
        let mut leads = Vec::new();
        for document in &arrivals.retracted {
            if let Some(row) = documents.get(&documents::key(firm, document)) {
                leads.extend(assessments::lead_of(row)?);
            }
        }
        if !leads.is_empty() {
            let leads = self.get_all(&DOCUMENT_WATCH, leads).await?;
            let of_them = leads
                .values()
                .map(assessments::photos_of)
                .collect::<Outcome<Vec<_>>>()?;
            documents.extend(self.get_all(&DOCUMENT_WATCH, of_them.concat()).await?);
            documents.extend(leads);
        }
        let mut assessments = Vec::new();
        for document in &arrivals.retracted {
            if let Some(row) = documents.get(&documents::key(firm, document)) {
                let attributes = Attributes {
                    table: DOCUMENT_WATCH.name,
                    row,
                };
                assessments.push(result_key(firm, attributes.text("assessment")?));
            } else if let Some(watch) = arrivals.found.iter().find(|watch| watch.document == **document) {
                assessments.push(result_key(firm, watch.assessment.as_str()));
            }
        }
        let new = arrivals
            .found
            .iter()
            .filter(|watch| !documents.contains_key(&documents::key(firm, &watch.document)))
            .map(|watch| encounters::key(firm, &watch.encounter));
        let mut new: Vec<Key> = new.collect();
        if !new.is_empty() {
            new.push(encounters::cursor_key(firm));
        }
        // What is known already changes nothing, whatever became of the firm: most looks show photos that are.
        let generation = if new.is_empty() {
            0
        } else {
            self.must_serve(firm).await?.generation
        };
        Ok(Known {
            generation,
            documents,
            results: self.get_all(&ASSIST_RESULTS, assessments).await?,
            encounters: self.get_all(&ENCOUNTER_WATCH, new).await?,
        })
    }
}

/// What the next transaction records.
fn planned(head: &Write, arrivals: &Arrivals<'_>, known: &Known) -> Outcome<Plan> {
    // The head, the look at the firm, and the count of changes.
    const ROOM: usize = MOST_IN_A_TRANSACTION - 3;
    let Arrivals { firm, now, .. } = *arrivals;
    let mut plan = Plan::default();
    let gone: HashSet<&DocumentId> = arrivals.retracted.iter().copied().collect();
    let mut added: HashSet<&DocumentId> = HashSet::new();
    let mut photos: HashMap<&EncounterId, (u32, Option<Timestamp>)> = HashMap::new();
    for watch in &arrivals.found {
        let key = documents::key(firm, &watch.document);
        if known.documents.contains_key(&key) || added.contains(&watch.document) {
            continue;
        }
        // One write for it, and perhaps one for its encounter.
        if plan.writes.len() + photos.len() + 2 > ROOM {
            plan.incomplete = true;
            break;
        }
        let fence = first_fence(known.generation, now);
        plan.writes
            .push(documents::found(watch, gone.contains(&watch.document), fence, now)?);
        plan.recorded.new.push(watch.document.clone());
        added.insert(&watch.document);
        let (count, latest) = photos.entry(&watch.encounter).or_default();
        *count += 1;
        *latest = (*latest).max(Some(watch.attached_at.unwrap_or(watch.detected_at)));
    }
    let cursor = encounters::cursor_key(firm);
    if let Some(row) = known.encounters.get(&cursor).filter(|_| !photos.is_empty()) {
        let write = Write::update(&ENCOUNTER_WATCH, cursor);
        let changed = photos.keys().copied();
        let changed = watching::changed(write, Some(row), changed, known.generation, now)?;
        plan.writes.push(changed);
    }
    for (encounter, (count, latest)) in photos {
        let key = encounters::key(firm, encounter);
        let write = counted(&key, known.encounters.get(&key), count, latest, now)?;
        if key == head.key && head.table == write.table {
            plan.with_head = Some(write);
        } else {
            plan.writes.push(write);
        }
    }
    // A firm's lease goes in the transaction that takes the firm out of sight, and one of its name begins with a higher fence: under the
    // lease on its list nothing more has to be asked of it.
    let by_its_lease = head.table == &ENCOUNTER_WATCH && head.key == watch_lists::lease_key(firm);
    if !added.is_empty() && !by_its_lease {
        plan.writes.push(
            Write::check(&FIRMS, firms::key(firm))
                .when("#generation = :generation")
                .value("generation", number(known.generation)),
        );
    }
    let (mut touched, mut done) = (HashSet::new(), HashSet::new());
    for document in arrivals.retracted.iter().filter(|document| done.insert(**document)) {
        if plan.incomplete || plan.writes.len() + MOST_OF_A_RETRACTION > ROOM {
            plan.incomplete = true;
            break;
        }
        let new = added.contains(document).then(|| {
            let of_it = arrivals.found.iter().find(|watch| watch.document == **document);
            of_it.map(|watch| watch.assessment.as_str())
        });
        retract(&mut plan, &mut touched, arrivals, known, document, new.flatten())?;
    }
    Ok(plan)
}

/// Counts photos where their encounter is; a row for nothing else where it is not known.
fn counted(key: &Key, row: Option<&Row>, count: u32, latest: Option<Timestamp>, now: Timestamp) -> Outcome<Write> {
    let (mut before, mut latest_before) = (None, None);
    if let Some(row) = row {
        let attributes = Attributes {
            table: ENCOUNTER_WATCH.name,
            row,
        };
        before = attributes.optional_number::<u32>("photos")?;
        latest_before = attributes.optional_time("latest_photo_at")?;
    }
    let write = Write::update(&ENCOUNTER_WATCH, key.clone())
        .when_is("photos", before.map(number))
        .set("photos", number(before.unwrap_or(0) + count))
        .set_or_remove("latest_photo_at", latest.max(latest_before).map(time));
    Ok(match row {
        Some(_) => write,
        None => write.set(DELETE_AT, seconds(now + encounters::KEPT_FOR)),
    })
}

/// Cancels what has not been delivered of a document that was retracted in the EHR: whoever holds a lease on it loses
/// it, and its dead letter, if it has one, is no longer to be replayed.
///
/// A result whose post may be under way (intended, uncertain) is not touched, but marked: if it turns out that the EHR
/// does not have the draft, it is cancelled instead of posted again. Such a result and a delivered one are given back, once:
/// the clinic has to know.
fn retract(
    plan: &mut Plan,
    touched: &mut HashSet<Key>,
    arrivals: &Arrivals<'_>,
    known: &Known,
    document: &DocumentId,
    new: Option<&str>,
) -> Outcome<()> {
    let (firm, now) = (arrivals.firm, arrivals.now);
    let key = documents::key(firm, document);
    let row = known.documents.get(&key).map(|row| Attributes {
        table: DOCUMENT_WATCH.name,
        row,
    });
    let (step, assessment) = match (new, &row) {
        (Some(assessment), _) => ("retracted", assessment),
        (None, Some(attributes)) => (attributes.text("step")?, attributes.text("assessment")?),
        (None, None) => return Ok(()),
    };
    let found_row = known.documents.get(&key);
    let lead = match found_row {
        Some(row) => assessments::lead_of(row)?,
        None => None,
    };
    let result = result_key(firm, assessment);
    // Another photo of the same assessment is written in this very transaction: the next one sees what it did. One about which nothing
    // has to be written holds nothing up.
    let assessed: Vec<Key> = lead.iter().chain([&result]).cloned().collect();
    if assessed.iter().any(|key| touched.contains(key)) {
        plan.incomplete = true;
        return Ok(());
    }
    let writes_before = plan.writes.len();
    let mut cancelled = false;
    let mut result_letter = None;
    if let Some(found) = known.results.get(&result) {
        let attributes = Attributes {
            table: ASSIST_RESULTS.name,
            row: found,
        };
        let state = State::read(&attributes)?;
        result_letter = attributes.optional_number::<i64>("letter")?;
        let write = Write::update(&ASSIST_RESULTS, result).when_is("delivery", Some(text(state.delivery)));
        match state.delivery {
            // Without a letter an operator discarded it: that holds for its other photos, too.
            "buried" if result_letter.is_none() => {}
            "pending" | "withheld" | "buried" => {
                cancelled = true;
                plan.writes.push(deliveries::cancelled(write, now));
            }
            "intended" | "uncertain" | "delivered" if state.retracted_at.is_none() => {
                let attention = deliveries::attention(state.delivery, true);
                plan.writes.push(
                    write
                        .when("attribute_not_exists(#retracted_at)")
                        .set("retracted_document", text(document.as_str()))
                        .set("retracted_at", time(now))
                        .set_or_remove("attention", attention.map(text)),
                );
                let assessment = AssessmentId::new(assessment);
                plan.recorded.retracted.push(RetractedDraft {
                    firm: firm.clone(),
                    document: document.clone(),
                    reference_code: ReferenceCode::of(firm, &assessment),
                    assessment,
                    reference: attributes.optional_named("reference", DraftReference)?,
                    noticed_at: now,
                });
            }
            _ => {}
        }
    }
    if step == "done" && !cancelled {
        if let Some(row) = found_row {
            plan.writes.extend(assessments::withdrawn(row)?);
        }
        if plan.writes.len() > writes_before {
            touched.extend(assessed);
        }
        return Ok(());
    }
    if let Some(lead) = lead.and_then(|lead| known.documents.get(&lead)) {
        // Those that were judged with it are judged anew, without it.
        for photo in assessments::photos_of(lead)?.into_iter().filter(|photo| *photo != key) {
            if let Some(row) = known.documents.get(&photo) {
                plan.writes.push(assessments::opened(row, false, now)?);
            }
        }
    }
    let mut letters = vec![result_letter.filter(|_| cancelled)];
    if let Some(attributes) = row
        && step != "retracted"
    {
        let was = |attribute: &str| found_row.and_then(|row| row.get(attribute).cloned());
        letters.push(attributes.optional_number::<i64>("letter")?);
        plan.writes.push(
            wait_no_more(Write::update(&DOCUMENT_WATCH, key))
                .when_is("step", Some(text(step)))
                // Whoever closes an assessment meanwhile changes neither the step nor the fence of the photo that leads.
                .when_is("closed", was("closed"))
                .when_is("lead", was("lead"))
                .raise_fence()
                .set("step", text("retracted"))
                .remove("closed")
                .remove("lead")
                .remove("letter"),
        );
    }
    for letter in letters.into_iter().flatten() {
        plan.writes.push(Write::delete(&DEAD_LETTERS, letter_key(letter, firm)));
    }
    if plan.writes.len() > writes_before {
        touched.extend(assessed);
    }
    Ok(())
}
