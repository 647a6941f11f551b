//! Assessments of several photos: closed under the lease of one of them, and opened again when one of them leaves.

use rusqlite::params;
use skin_assist_core::{
    domain::{Assessment, ClosedAssessment, DocumentId, DocumentWatch, FirmId, Sibling, SiblingState},
    time::Timestamp,
};

use crate::{
    Outcome,
    codec::{Columns, Millis, damaged, to_json},
    documents::read_watch,
    execute, first, rows,
    sealed::{CLOSED, State},
};

const TABLE: &str = "document_watch";

/// The other photos of the visit, category and route that are or were gathered.
pub(crate) fn siblings(state: &State<'_>, watch: &DocumentWatch) -> Outcome<Vec<Sibling>> {
    let seal = state.sealer(&watch.firm);
    rows(
        state,
        "SELECT * FROM document_watch
         WHERE firm = ?1 AND encounter = ?2 AND category = ?3 AND route = ?4 AND document <> ?5
             AND gathers_until IS NOT NULL",
        [
            watch.firm.as_str(),
            &seal.encounter(&watch.encounter),
            watch.category.as_str(),
            watch.route.as_str(),
            &seal.document(&watch.document),
        ],
        |row| {
            let columns = Columns { table: TABLE, row };
            let watch = read_watch(row)?;
            let state = match columns.get::<String>("step")?.as_str() {
                "download" => SiblingState::Awaited,
                "infer" if watch.closed.is_none() => SiblingState::Ready,
                "infer" | "gathered" | "done" => SiblingState::Closed,
                "retracted" | "dead" => SiblingState::Gone,
                _ => return Err(damaged(TABLE, "step")),
            };
            Ok(Sibling { watch, state })
        },
    )
}

/// Closes an assessment: its companions wait in it, and who held a lease on one has lost it. False where one of them is not ready.
pub(crate) fn close(state: &State<'_>, lead: &DocumentWatch, closed: &ClosedAssessment) -> Outcome<bool> {
    let seal = state.sealer(&lead.firm);
    let (document, assessment) = (seal.document(&lead.document), seal.assessment(&closed.id));
    for companion in &closed.companions {
        let gathered = execute(
            state,
            "UPDATE document_watch SET step = 'gathered', lead = ?3, assessment = ?4, available_at = NULL,
                 fence = fence + 1
             WHERE firm = ?1 AND document = ?2 AND step = 'infer' AND closed IS NULL",
            [lead.firm.as_str(), &seal.document(companion), &document, &assessment],
        )?;
        if gathered == 0 {
            return Ok(false);
        }
    }
    execute(
        state,
        "UPDATE document_watch SET assessment = ?3, closed = ?4 WHERE firm = ?1 AND document = ?2",
        params![
            lead.firm.as_str(),
            document,
            assessment,
            seal.seal(CLOSED, &to_json(closed)?)
        ],
    )?;
    Ok(true)
}

/// The photo that leads the closed assessment of a document: itself, or another.
fn lead_of(state: &State<'_>, firm: &FirmId, document: &DocumentId) -> Outcome<Option<DocumentId>> {
    first(
        state,
        "SELECT firm, coalesce(lead, document) AS lead FROM document_watch
         WHERE firm = ?1 AND document = ?2 AND (lead IS NOT NULL OR closed IS NOT NULL)",
        [firm.as_str(), &state.sealer(firm).document(document)],
        |row| Columns { table: TABLE, row }.text("lead", DocumentId::new),
    )
}

/// Opens the closed assessment that a document leads: its photos wait for the models again, each for itself. One that was
/// retracted or given up stays so.
pub(crate) fn open_again(state: &State<'_>, firm: &FirmId, lead: &DocumentId, now: Timestamp) -> Outcome<()> {
    let seal = state.sealer(firm);
    let photos = rows(
        state,
        "SELECT * FROM document_watch
         WHERE firm = ?1 AND (lead = ?2 OR (document = ?2 AND closed IS NOT NULL))
             AND encounter = (SELECT encounter FROM document_watch WHERE firm = ?1 AND document = ?2)",
        [firm.as_str(), &seal.document(lead)],
        read_watch,
    )?;
    for photo in photos {
        let own = Assessment::identity(firm, &photo.encounter, [&photo.document]);
        // The attempt of who finds that the bytes are gone still counts; the others' begin anew.
        execute(
            state,
            "UPDATE document_watch SET assessment = ?3, closed = NULL, lead = NULL,
                 step = CASE WHEN withdrawn THEN 'retracted' WHEN step IN ('gathered', 'done') THEN 'infer' ELSE step END,
                 attempt = iif(step IN ('gathered', 'done'), 0, attempt),
                 fence = fence + 1,
                 available_at = CASE WHEN withdrawn THEN NULL WHEN step IN ('infer', 'gathered', 'done') THEN ?4
                     ELSE available_at END
             WHERE firm = ?1 AND document = ?2",
            params![
                firm.as_str(),
                seal.document(&photo.document),
                seal.assessment(&own),
                Millis(now)
            ],
        )?;
    }
    Ok(())
}

/// Opens the assessment of a result that is cancelled because one of several photos was retracted: the others are judged anew.
pub(crate) fn cancelled(state: &State<'_>, assessment: &Assessment, now: Timestamp) -> Outcome<()> {
    if assessment.documents.len() < 2 {
        return Ok(());
    }
    let seal = state.sealer(&assessment.firm);
    let id = seal.assessment(&assessment.id);
    for document in &assessment.documents {
        let is_of_it = "SELECT firm, coalesce(lead, document) AS lead FROM document_watch
             WHERE firm = ?1 AND document = ?2 AND assessment = ?3 AND closed IS NOT NULL";
        let key = [assessment.firm.as_str(), &seal.document(document), &id];
        let lead = first(state, is_of_it, key, |row| {
            Columns { table: TABLE, row }.text("lead", DocumentId::new)
        })?;
        if let Some(lead) = lead {
            return open_again(state, &assessment.firm, &lead, now);
        }
    }
    Ok(())
}

/// A photo leaves its closed assessment, which is open again then.
pub(crate) fn leave(state: &State<'_>, firm: &FirmId, document: &DocumentId, now: Timestamp) -> Outcome<()> {
    match lead_of(state, firm, document)? {
        Some(lead) => open_again(state, firm, &lead, now),
        None => Ok(()),
    }
}
