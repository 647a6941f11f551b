//! What inferences have cost and brought: findings, stored as soon as they are paid for, and results.
//!
//! What a result says does not change once it is there, is patient data, and is large beside how its draft stands. It lies in
//! rows of its own: JSON, compressed, in as many parts as DynamoDB's limit for a row asks for. So do findings.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    io::{Read as _, Write as _},
    time::Duration,
};

use async_trait::async_trait;
use aws_sdk_dynamodb::types::ReturnValue;
use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use skin_assist_core::{
    domain::{
        AssessedPhoto, Assessment, AssessmentId, AssistResult, DocumentId, DocumentWatch, DraftNote, EarlierDraft,
        Findings, FirmId, PhotoFindings, ResultKey, Stage, Versions,
    },
    lease::Lease,
    phi::Phi,
    ports::{AuditAction, InferenceRecords, StateError},
    time::Timestamp,
};
use skin_assist_vault::DataKey;

use super::{
    Ask, DynamoStore, Outcome, TRIES, Transacted, Written, assessments,
    audit::entry_of,
    codec::{Attributes, Row, bytes, number, seconds, text, time, to_json},
    deliveries::{self, State},
    documents,
    error::{contended, damaged, unavailable},
    firms::first_fence,
    schema::{ASSIST_RESULTS, DELETE_AT, DOCUMENT_WATCH, RESULT_PREFIX},
    sealed::{OF_ITEM, OF_VISIT, RESULT_KEY},
    write::{Key, Write},
};

const TABLE: &str = ASSIST_RESULTS.name;

/// How long findings are kept for a second attempt at the same inference.
const FINDINGS_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes of one part: a row takes 400 KiB with its keys and names.
const MOST_IN_A_PART: usize = 380 * 1024;

/// What a result says, with the photo's patient and the models' words in it: borrowed for writing, owned when read.
#[derive(Serialize, Deserialize)]
struct Said<'a> {
    assessment: Cow<'a, Assessment>,
    key: Cow<'a, ResultKey>,
    photos: Cow<'a, [AssessedPhoto]>,
    versions: Cow<'a, Versions>,
    findings: Cow<'a, Findings>,
    #[serde(default)]
    photo_findings: Cow<'a, [PhotoFindings]>,
    note: Cow<'a, DraftNote>,
}

fn findings_prefix(data_key: &DataKey, key: &ResultKey) -> String {
    format!("findings#{}#", data_key.seal(RESULT_KEY, key.as_str()))
}

fn part_item(prefix: &str, place: usize) -> String {
    format!("{prefix}{place:04}")
}

/// A value as compressed JSON, in parts.
fn parts(value: &impl Serialize) -> Outcome<Vec<Vec<u8>>> {
    let json = serde_json::to_vec(value).map_err(unavailable)?;
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&json).map_err(unavailable)?;
    let packed = encoder.finish().map_err(unavailable)?;
    Ok(packed.chunks(MOST_IN_A_PART).map(<[u8]>::to_vec).collect())
}

/// The value that [`parts`] packed.
fn whole<T: DeserializeOwned>(packed: &[u8], attribute: &'static str) -> Outcome<T> {
    let mut json = Vec::new();
    let unpacked = DeflateDecoder::new(packed).read_to_end(&mut json);
    unpacked.map_err(|_| damaged(TABLE, attribute))?;
    serde_json::from_slice(&json).map_err(|_| damaged(TABLE, attribute))
}

/// Rows of parts.
fn written(firm: &FirmId, prefix: &str, parts: Vec<Vec<u8>>) -> impl Iterator<Item = Write> {
    let of = parts.len();
    parts.into_iter().enumerate().map(move |(place, part)| {
        Write::put(&ASSIST_RESULTS, Key::new(firm.as_str(), part_item(prefix, place)))
            .or_replace()
            .set("of", number(of))
            .set("packed", bytes(part))
    })
}

/// Whether a part is the whole.
fn is_all(part: &Row) -> Outcome<bool> {
    let of: usize = Attributes {
        table: TABLE,
        row: part,
    }
    .number("of")?;
    Ok(of == 1)
}

/// What rows of parts hold together, in the order of their items; nothing where the first is missing.
fn joined(rows: &[Row]) -> Outcome<Option<Vec<u8>>> {
    let mut packed = Vec::new();
    let mut of = 0;
    for (place, row) in rows.iter().enumerate() {
        let attributes = Attributes { table: TABLE, row };
        if place == 0 {
            of = attributes.number("of")?;
        }
        // Parts of an earlier, longer value may lie behind.
        if place < of {
            packed.extend_from_slice(attributes.bytes("packed")?);
        }
    }
    if rows.len() < of {
        return Err(damaged(TABLE, "packed"));
    }
    Ok((of > 0).then_some(packed))
}

/// The most probable class, for people; none when the models abstained.
fn top_finding(findings: &Findings) -> Option<&str> {
    match findings.abstention {
        Some(_) => None,
        None => findings.ranked.first().map(|class| class.label.display.as_str()),
    }
}

/// The row of a new result, and those of what it says.
fn new_result(
    data_key: &DataKey,
    lead: &DocumentWatch,
    result: &AssistResult,
    generation: u64,
) -> Outcome<(Write, Vec<Write>)> {
    let firm = &lead.firm;
    let prefix = said_prefix(data_key, lead, result)?;
    let findings = result.findings.expose();
    let said = Said {
        assessment: Cow::Borrowed(&result.assessment),
        key: Cow::Borrowed(&result.key),
        photos: Cow::Borrowed(&result.photos),
        versions: Cow::Borrowed(&result.versions),
        findings: Cow::Borrowed(findings),
        photo_findings: Cow::Borrowed(result.photo_findings.expose()),
        note: Cow::Borrowed(result.note.expose()),
    };
    let id = result.assessment.id.as_str();
    let head = Write::put(&ASSIST_RESULTS, Key::new(firm.as_str(), format!("{RESULT_PREFIX}{id}")))
        .set("fence", number(first_fence(generation, result.assessed_at)))
        .set("attempt", number(0))
        .set("note", text(&prefix))
        .set("assessed_at", time(result.assessed_at))
        .set_or_remove("top_finding", top_finding(findings).map(text));
    let head = deliveries::new(head, &result.delivery, result.assessed_at);
    let mut said: Vec<Write> = written(firm, &prefix, parts(&said)?).collect();
    // By the first part, drafts of further photos find the result.
    if let Some(first) = said.first_mut() {
        *first = first
            .clone()
            .set("assessment", text(id))
            .set("assessed_at", time(result.assessed_at));
    }
    Ok((head, said))
}

/// The rows of what a result says, and the photos that it is about.
pub(super) struct SaidRows {
    pub(super) keys: Vec<Key>,
    pub(super) bytes: usize,
    pub(super) documents: BTreeSet<DocumentId>,
}

impl DynamoStore {
    /// What the result says of which this row says how it stands.
    pub(super) async fn said(&self, row: &Row) -> Outcome<SaidRows> {
        let parts = self.parts_of(row).await?;
        let packed = joined(&parts)?.ok_or_else(|| damaged(TABLE, "packed"))?;
        let said: Said<'_> = whole(&packed, "packed")?;
        Ok(SaidRows {
            keys: parts.iter().filter_map(Key::of).collect(),
            bytes: packed.len(),
            documents: said.assessment.into_owned().documents,
        })
    }

    /// The results of which these rows say how they stand.
    pub(super) async fn results(&self, rows: impl Iterator<Item = &Row>) -> Outcome<Vec<AssistResult>> {
        let rows: Vec<&Row> = rows.collect();
        // Most have one part: all of those in one request.
        let first_parts = rows
            .iter()
            .map(|row| Self::first_part(row))
            .collect::<Outcome<Vec<Key>>>()?;
        let mut found = self.get_all(&ASSIST_RESULTS, first_parts.clone()).await?;
        let mut results = Vec::with_capacity(rows.len());
        for (row, first) in rows.into_iter().zip(first_parts) {
            let first: Vec<Row> = found.remove(&first).into_iter().collect();
            let parts = match first.first() {
                Some(part) if is_all(part)? => first,
                _ => self.parts_of(row).await?,
            };
            let packed = joined(&parts)?.ok_or_else(|| damaged(TABLE, "packed"))?;
            let said: Said<'_> = whole(&packed, "packed")?;
            let attributes = Attributes { table: TABLE, row };
            results.push(AssistResult {
                assessment: said.assessment.into_owned(),
                key: said.key.into_owned(),
                photos: said.photos.into_owned(),
                findings: Phi::new(said.findings.into_owned()),
                photo_findings: Phi::new(said.photo_findings.into_owned()),
                note: Phi::new(said.note.into_owned()),
                versions: said.versions.into_owned(),
                assessed_at: attributes.time("assessed_at")?,
                delivery: deliveries::read_delivery(row)?,
            });
        }
        Ok(results)
    }

    /// The firm, and how the items begin that hold what the result says.
    pub(super) fn note_of(row: &Row) -> Outcome<(String, String)> {
        let attributes = Attributes { table: TABLE, row };
        Ok((attributes.text("part")?.to_owned(), attributes.text("note")?.to_owned()))
    }

    fn first_part(row: &Row) -> Outcome<Key> {
        let (firm, prefix) = Self::note_of(row)?;
        Ok(Key::new(firm, part_item(&prefix, 0)))
    }

    async fn parts_of(&self, row: &Row) -> Outcome<Vec<Row>> {
        let (firm, prefix) = Self::note_of(row)?;
        self.all(Ask::beginning(&ASSIST_RESULTS, &firm, &prefix)).await
    }
}

impl DynamoStore {
    /// [`StateError::LeaseLost`] unless the lease is good as the row is now.
    async fn must_hold(&self, lease: &Lease<DocumentWatch>) -> Outcome<()> {
        let key = documents::key(&lease.item().firm, &lease.item().document);
        let row = self.get(&DOCUMENT_WATCH, &key).await?.ok_or(StateError::LeaseLost)?;
        let attributes = Attributes {
            table: DOCUMENT_WATCH.name,
            row: &row,
        };
        if attributes.number::<u64>("fence")? == lease.fence().0 {
            Ok(())
        } else {
            Err(StateError::LeaseLost)
        }
    }

    /// Counts a look at another photo of the assessment that the leased one leads.
    async fn count_look_at(&self, lease: &Lease<DocumentWatch>, document: &DocumentId) -> Outcome<u32> {
        let key = documents::key(&lease.item().firm, document);
        for _ in 0..TRIES {
            let row = self.get(&DOCUMENT_WATCH, &key).await?;
            let row = row.ok_or(StateError::NotFound { what: "document" })?;
            let attributes = Attributes {
                table: DOCUMENT_WATCH.name,
                row: &row,
            };
            let looks: u32 = attributes.number("looks")?;
            let write = Write::update(&DOCUMENT_WATCH, key.clone())
                .when_is("looks", Some(number(looks)))
                .set("looks", number(looks + 1));
            match self.transact(&[documents::held(lease), write]).await? {
                Transacted::Done => return Ok(looks + 1),
                Transacted::Refused(refusals) if refusals[0].is_some() => return Err(StateError::LeaseLost),
                Transacted::Refused(_) => {}
            }
        }
        Err(contended())
    }
}

#[async_trait]
impl InferenceRecords for DynamoStore {
    async fn findings(&self, firm: &FirmId, key: &ResultKey) -> Outcome<Option<Phi<Findings>>> {
        let Some(data_key) = self.data_key(firm.as_str()).await? else {
            return Ok(None);
        };
        let ask = Ask::beginning(&ASSIST_RESULTS, firm.as_str(), &findings_prefix(&data_key, key));
        match joined(&self.all(ask).await?)? {
            Some(packed) => whole(&packed, "packed").map(Phi::new).map(Some),
            None => Ok(None),
        }
    }

    async fn count_look(&self, lease: &Lease<DocumentWatch>, document: &DocumentId) -> Outcome<u32> {
        if *document != lease.item().document {
            return self.count_look_at(lease, document).await;
        }
        let Written::Done(row) = self.change(documents::looked(lease)).await? else {
            return Err(StateError::LeaseLost);
        };
        let attributes = Attributes {
            table: DOCUMENT_WATCH.name,
            row: &row,
        };
        attributes.number("looks")
    }

    async fn record_findings(
        &self,
        lease: &Lease<DocumentWatch>,
        key: &ResultKey,
        findings: &Phi<Findings>,
        now: Timestamp,
    ) -> Outcome<()> {
        let data_key = self.data_key(lease.item().firm.as_str()).await?;
        let prefix = findings_prefix(&*data_key.ok_or(StateError::LeaseLost)?, key);
        let rows = written(&lease.item().firm, &prefix, parts(findings.expose())?);
        let rows: Vec<Write> = rows
            .map(|row| row.set(DELETE_AT, seconds(now + FINDINGS_LIFE)))
            .collect();
        if let [row] = &*rows {
            // Findings are what their key says, whoever found them, and go after a day: it is enough that the lease was good just before, at
            // a fifth of what the condition in a transaction costs.
            self.must_hold(lease).await?;
            return self.write(row.clone()).await.map(drop);
        }
        let mut writes = vec![documents::held(lease)];
        writes.extend(rows);
        match self.transact(&writes).await? {
            Transacted::Done => Ok(()),
            Transacted::Refused(_) => Err(StateError::LeaseLost),
        }
    }

    async fn record_result(&self, lease: Lease<DocumentWatch>, result: &AssistResult) -> Outcome<()> {
        let firm = &lease.item().firm;
        let generation = self.must_serve(firm).await?.generation;
        let lead = lease.item();
        let companions = result.assessment.documents.iter();
        let companions = companions.filter(|document| **document != lead.document);
        let mut done = vec![documents::done(&lease)];
        done.extend(companions.map(|companion| assessments::done(lead, companion)));
        let mut writes = done.clone();
        let data_key = self.data_key(firm.as_str()).await?.ok_or(StateError::LeaseLost)?;
        let (head, said) = new_result(&data_key, lead, result, generation)?;
        // Large, and read by nobody whom the head does not send there: before the transaction, where it costs half. If the lease is lost it
        // stays behind in the firm's partition, and goes with the firm.
        for part in said {
            self.write_alone(part, ReturnValue::None).await?;
        }
        writes.push(head);
        let assessment = &result.assessment.id;
        let record = entry_of(
            Stage::Infer,
            firm,
            AuditAction::ResultRecorded,
            assessment.as_str(),
            result.assessed_at,
        );
        let Transacted::Refused(refusals) = self.transact_telling(&writes, &[record]).await? else {
            return Ok(());
        };
        if refusals.iter().take(done.len()).any(Option::is_some) {
            return Err(StateError::LeaseLost);
        }
        // The assessment has a result already: that one stays.
        match self.transact(&done).await? {
            Transacted::Done => Ok(()),
            Transacted::Refused(_) => Err(StateError::LeaseLost),
        }
    }

    async fn earlier_draft(&self, firm: &FirmId, assessment: &AssessmentId) -> Outcome<Option<EarlierDraft>> {
        let Some(row) = self.get(&ASSIST_RESULTS, &deliveries::key(firm, assessment)).await? else {
            return Ok(None);
        };
        let attributes = Attributes {
            table: TABLE,
            row: &row,
        };
        let state = State::read(&attributes)?;
        if state.retracted_at.is_some() || !matches!(state.delivery, "pending" | "intended" | "delivered" | "uncertain")
        {
            return Ok(None);
        }
        Ok(Some(EarlierDraft {
            assessment: assessment.clone(),
            date: attributes.time("assessed_at")?,
        }))
    }

    async fn draft_before(&self, watch: &DocumentWatch) -> Outcome<Option<EarlierDraft>> {
        let Some(data_key) = self.data_key(watch.firm.as_str()).await? else {
            return Ok(None);
        };
        let rows = Ask {
            latest_first: true,
            ..Ask::beginning(&ASSIST_RESULTS, watch.firm.as_str(), &visit_prefix(&data_key, watch)?)
        };
        for row in &self.all(rows).await? {
            let attributes = Attributes { table: TABLE, row };
            // A further part says nothing by itself.
            let Some(assessment) = attributes.optional_named("assessment", AssessmentId::new)? else {
                continue;
            };
            if assessment == watch.assessment || attributes.time("assessed_at")? >= watch.detected_at {
                continue;
            }
            let earlier = self.earlier_draft(&watch.firm, &assessment).await?;
            // Somebody who lost the lease may have said the same earlier.
            if earlier.as_ref().is_some_and(|earlier| earlier.date < watch.detected_at) {
                return Ok(earlier);
            }
        }
        Ok(None)
    }
}

/// How the items begin that lead from a visit to its results.
fn visit_prefix(data_key: &DataKey, watch: &DocumentWatch) -> Outcome<String> {
    let visit = to_json(&(&watch.encounter, &watch.category, watch.route, &watch.patient))?;
    Ok(format!("visit#{}#", data_key.seal(OF_VISIT, &visit)))
}

/// Where what a result says is: by the visit and in the order of time, where drafts of further photos look for it; and under digits of
/// chance, since it is written just before the result that names it, and somebody else may be about to do the same.
fn said_prefix(data_key: &DataKey, lead: &DocumentWatch, result: &AssistResult) -> Outcome<String> {
    let mut own = [0_u8; 8];
    getrandom::fill(&mut own).map_err(unavailable)?;
    let own = hex::encode(own);
    let assessment = data_key.seal(OF_ITEM, result.assessment.id.as_str());
    // Where further photos are waited for, the assessment itself says what comes before.
    Ok(match lead.gathers_until {
        Some(_) => format!("note#{assessment}#{own}#"),
        None => format!(
            "{}{:015}#{assessment}#{own}#",
            visit_prefix(data_key, lead)?,
            result.assessed_at.as_millis()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_for_a_row_comes_back_from_several() {
        // Digits that do not compress much.
        let mut state = 1_u64;
        let long: Vec<u64> = (0..100_000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state
            })
            .collect();
        let packed = parts(&long).unwrap();
        assert!(packed.len() > 1);
        let firm = FirmId::new("a");
        let mut rows: Vec<Row> = written(&firm, "p#", packed).map(|write| write.row()).collect();
        let read = |rows: &[Row]| {
            joined(rows)
                .unwrap()
                .map(|packed| whole::<Vec<u64>>(&packed, "packed").unwrap())
        };
        assert_eq!(read(&rows), Some(long));
        let short: Vec<Row> = written(&firm, "p#", parts(&[7_u64]).unwrap())
            .map(|write| write.row())
            .collect();
        rows[0] = short[0].clone();
        assert_eq!(
            read(&rows),
            Some(vec![7]),
            "what an earlier value left behind is not read"
        );
        assert_eq!(joined(&[]).unwrap(), None);
    }
}
