//! Assessments of several photos: closed under the lease of one of them, and opened again when one of them leaves.
//!
//! The photo that leads says which others belong to it, and each of those says which one leads. Whatever opens an assessment raises
//! the fence of the one that leads, so that who works on it has lost it.

use std::collections::HashMap;

use skin_assist_core::{
    domain::{Assessment, ClosedAssessment, DocumentId, DocumentWatch, FirmId, Sibling, SiblingState},
    lease::Lease,
    ports::StateError,
    time::Timestamp,
};

use super::{
    Ask, DynamoStore, Outcome, Transacted,
    codec::{Attributes, Row, number, text, to_json},
    documents::{self, read_watch},
    due::{wait_in, wait_no_more},
    schema::{DOCUMENT_WATCH, VISIT},
    sealed::OF_VISIT,
    write::{Key, Write},
};

const TABLE: &str = DOCUMENT_WATCH.name;

/// What a photo waits in that another one leads.
const GATHERED: &str = "gathered";

/// The partition of the index `visit`: photos of one visit, category and route for which further ones are or were waited.
pub(super) fn visit_of(watch: &DocumentWatch) -> Outcome<String> {
    to_json(&(&watch.firm, &watch.encounter, &watch.category, watch.route))
}

fn state_of(row: &Row, watch: &DocumentWatch) -> Outcome<SiblingState> {
    let attributes = Attributes { table: TABLE, row };
    Ok(match attributes.text("step")? {
        "download" => SiblingState::Awaited,
        "infer" if watch.closed.is_none() => SiblingState::Ready,
        "infer" | GATHERED | "done" => SiblingState::Closed,
        "retracted" | "dead" => SiblingState::Gone,
        _ => return Err(attributes.damaged("step")),
    })
}

/// The photo that leads the closed assessment that a row belongs to, if it belongs to one.
pub(super) fn lead_of(row: &Row) -> Outcome<Option<Key>> {
    let attributes = Attributes { table: TABLE, row };
    let firm = attributes.named("part", FirmId::new)?;
    if let Some(lead) = attributes.optional_named("lead", DocumentId::new)? {
        return Ok(Some(documents::key(&firm, &lead)));
    }
    let closed: Option<ClosedAssessment> = attributes.optional_json("closed")?;
    Ok(closed.and_then(|_| Key::of(row)))
}

/// The photos of the assessment that a row leads, itself included.
pub(super) fn photos_of(lead: &Row) -> Outcome<Vec<Key>> {
    let attributes = Attributes {
        table: TABLE,
        row: lead,
    };
    let firm = attributes.named("part", FirmId::new)?;
    let closed: Option<ClosedAssessment> = attributes.optional_json("closed")?;
    let companions = closed.map(|closed| closed.companions).unwrap_or_default();
    let companions = companions.iter().map(|companion| documents::key(&firm, companion));
    Ok(Key::of(lead).into_iter().chain(companions).collect())
}

/// What makes a photo of a closed assessment wait for the models again, by itself; or for its bytes where they are `lost`. One that
/// was retracted or given up stays so.
pub(super) fn opened(row: &Row, lost: bool, now: Timestamp) -> Outcome<Write> {
    let attributes = Attributes { table: TABLE, row };
    let watch = read_watch(row)?;
    let own = Assessment::identity(&watch.firm, &watch.encounter, [&watch.document]);
    let step = attributes.text("step")?;
    let write = Write::update(&DOCUMENT_WATCH, documents::key(&watch.firm, &watch.document))
        .when_is("step", Some(text(step)))
        .when_is("fence", Some(number(attributes.number::<u64>("fence")?)))
        .raise_fence()
        .set("assessment", text(own.as_str()))
        .remove("closed")
        .remove("lead");
    // The attempt of who finds that bytes are gone still counts; the others' begin anew.
    let write = match step {
        GATHERED | "done" => write.set("attempt", number(0)),
        _ => write,
    };
    Ok(match step {
        _ if attributes.optional_number::<u8>("withdrawn")?.is_some() => {
            wait_no_more(write).set("step", text("retracted"))
        }
        "infer" | GATHERED | "done" if lost => wait_in(write, "download", now)
            .set("step", text("download"))
            .remove("photo"),
        "infer" | GATHERED | "done" => wait_in(write, "infer", now).set("step", text("infer")),
        _ => write,
    })
}

/// Notes that a photo was retracted after the draft about it and others may have been posted: if the draft turns out not to be in the
/// chart, it is not judged anew with them.
pub(super) fn withdrawn(row: &Row) -> Outcome<Option<Write>> {
    let attributes = Attributes { table: TABLE, row };
    let known = attributes.optional_number::<u8>("withdrawn")?.is_some();
    let key = Key::of(row).filter(|_| !known);
    let key = if lead_of(row)?.is_some() { key } else { None };
    Ok(key.map(|key| {
        Write::update(&DOCUMENT_WATCH, key)
            .when("#step = :done")
            .value("done", text("done"))
            // Nobody has a lease on it; whoever is about to open its assessment looks again.
            .raise_fence()
            .set("withdrawn", number(1))
    }))
}

/// A change of a photo as long as that one leads it.
fn led(lead: &DocumentId, companion: Key) -> Write {
    Write::update(&DOCUMENT_WATCH, companion)
        .when("#step = :gathered AND #lead = :lead")
        .value("gathered", text(GATHERED))
        .value("lead", text(lead.as_str()))
}

/// A photo that another one leads has its result.
pub(super) fn done(lead: &DocumentWatch, companion: &DocumentId) -> Write {
    led(&lead.document, documents::key(&lead.firm, companion))
        .set("step", text("done"))
        .set("attempt", number(0))
}

impl DynamoStore {
    /// What opens the closed assessment that the leased photo leads when it is given up, the first of `writes`: the others wait for
    /// the models again.
    pub(super) async fn set_free(
        &self,
        lease: &Lease<DocumentWatch>,
        writes: &mut Vec<Write>,
        now: Timestamp,
    ) -> Outcome<()> {
        let watch = lease.item();
        let lead = self
            .get(&DOCUMENT_WATCH, &documents::key(&watch.firm, &watch.document))
            .await?;
        let photos = lead.as_ref().map(photos_of).transpose()?.unwrap_or_default();
        let companions: Vec<Key> = photos.into_iter().skip(1).collect();
        if companions.is_empty() {
            return Ok(());
        }
        let own = Assessment::identity(&watch.firm, &watch.encounter, [&watch.document]);
        let given_up = writes.remove(0).set("assessment", text(own.as_str())).remove("closed");
        writes.insert(0, given_up);
        for row in self.get_all(&DOCUMENT_WATCH, companions).await?.values() {
            writes.push(opened(row, false, now)?);
        }
        Ok(())
    }

    pub(super) async fn all_siblings(&self, watch: &DocumentWatch) -> Outcome<Vec<Sibling>> {
        let Some(data_key) = self.data_key(watch.firm.as_str()).await? else {
            return Ok(Vec::new());
        };
        let sealed_visit = data_key.seal(OF_VISIT, &visit_of(watch)?);
        let ask = Ask {
            index: Some("visit"),
            key: "#visit = :visit",
            ..Ask::part(&DOCUMENT_WATCH, "")
        }
        .value(VISIT, text(sealed_visit));
        let proposed = self.all(ask).await?;
        let mut keys: Vec<Key> = proposed.iter().filter_map(Key::of).collect();
        // The index may be late; those of its own assessment are known without it.
        let closed = watch.closed.iter().flat_map(|closed| &closed.companions);
        keys.extend(closed.map(|companion| documents::key(&watch.firm, companion)));
        let own = documents::key(&watch.firm, &watch.document);
        keys.retain(|key| *key != own);
        let rows = self.get_all(&DOCUMENT_WATCH, keys).await?;
        rows.values()
            .map(|row| {
                let watch = read_watch(row)?;
                let state = state_of(row, &watch)?;
                Ok(Sibling { watch, state })
            })
            .collect()
    }

    pub(super) async fn close(&self, lease: &Lease<DocumentWatch>, closed: &ClosedAssessment) -> Outcome<bool> {
        let lead = lease.item();
        let mut writes = vec![
            documents::under(lease)
                .set("assessment", text(closed.id.as_str()))
                .set("closed", text(to_json(closed)?)),
        ];
        writes.extend(closed.companions.iter().map(|companion| {
            wait_no_more(Write::update(&DOCUMENT_WATCH, documents::key(&lead.firm, companion)))
                .when("#step = :infer AND attribute_not_exists(#closed)")
                .value("infer", text("infer"))
                .raise_fence()
                .set("step", text(GATHERED))
                .set("lead", text(lead.document.as_str()))
                .set("assessment", text(closed.id.as_str()))
        }));
        match self.transact(&writes).await? {
            Transacted::Done => Ok(true),
            Transacted::Refused(refusals) if refusals[0].is_some() => Err(StateError::LeaseLost),
            Transacted::Refused(_) => Ok(false),
        }
    }

    /// What opens the closed assessment of these documents, if they still are of it: for a result that is cancelled.
    pub(super) async fn opens(&self, assessment: &Assessment, now: Timestamp) -> Outcome<Vec<Write>> {
        let documents = assessment.documents.iter();
        let keys = documents
            .map(|document| documents::key(&assessment.firm, document))
            .collect();
        let rows = self.get_all(&DOCUMENT_WATCH, keys).await?;
        let of_it = |row: &&Row| {
            let attributes = Attributes { table: TABLE, row };
            attributes
                .text("assessment")
                .is_ok_and(|id| id == assessment.id.as_str())
        };
        rows.values().filter(of_it).map(|row| opened(row, false, now)).collect()
    }

    /// Records that bytes are gone: those of the leased photo by itself, or of the closed assessment that it leads, which is open
    /// again then.
    pub(super) async fn open_without(
        &self,
        lease: &Lease<DocumentWatch>,
        lost: &[DocumentId],
        now: Timestamp,
    ) -> Outcome<()> {
        let key = documents::key(&lease.item().firm, &lease.item().document);
        let Some(lead) = self.get(&DOCUMENT_WATCH, &key).await? else {
            return Err(StateError::LeaseLost);
        };
        let attributes = Attributes {
            table: TABLE,
            row: &lead,
        };
        if attributes.number::<u64>("fence")? != lease.fence().0 {
            return Err(StateError::LeaseLost);
        }
        let mut rows: HashMap<Key, Row> = self.get_all(&DOCUMENT_WATCH, photos_of(&lead)?).await?;
        rows.insert(key, lead);
        let writes = rows.iter().map(|(key, row)| {
            let lost = lost.iter().any(|document| document.as_str() == key.item);
            opened(row, lost, now)
        });
        match self.transact(&writes.collect::<Outcome<Vec<_>>>()?).await? {
            Transacted::Done => Ok(()),
            Transacted::Refused(_) => Err(StateError::LeaseLost),
        }
    }
}
