//! New photos of watched encounters.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use super::{
    Access, Quota, StageError, SweepNotes, TokenSource,
    reading::{MOST_HELD, bytes_of_document},
};
use crate::{
    domain::{
        Assessment, CategoryCode, DocumentId, DocumentStatus, DocumentSummary, DocumentWatch, EncounterId,
        EncounterWatch, Firm, GatheringWindows, Route, WATCH_LIFE, WatchList,
    },
    lease::Lease,
    polling::{Answer, NewPhotos},
    ports::{
        CallKind, ChartReader, DocumentQuery, EhrError, EncounterWatches, Look, RecordedDocuments, RetractedDraft,
        StateError, Visit, WatchLists,
    },
    time::{Timestamp, within},
};

/// More pages than any visit has documents for: the `next` links go in a circle.
const MOST_PAGES: usize = 200;

/// How far the EHR's clock may be behind ours before a photo filed after the connection is taken for one from before.
pub(super) const CLOCK_ALLOWANCE: Duration = Duration::from_secs(300);

/// The firm's watch list as long as it is held. It is asked for again and again: the lease is renewed while a long search
/// is under way.
pub type Held<'a> = &'a (dyn Fn() -> Option<Lease<WatchList>> + Sync);

/// Looks for photos in the categories that the practice chose.
pub struct PollDocuments<'a> {
    /// The firm's token.
    pub tokens: &'a dyn TokenSource,
    /// The chart's lists.
    pub chart: &'a dyn ChartReader,
    /// The watch.
    pub watch: &'a dyn EncounterWatches,
    /// The firm's watch list, under whose lease most looks are made.
    pub lists: &'a dyn WatchLists,
    /// The quota.
    pub quota: Quota<'a>,
    /// Where looks under the lease of the watch list are noted that showed nothing new, to be recorded together later; where
    /// there is no such place they are recorded at once. If they are lost, those encounters are looked at again.
    pub notes: Option<&'a SweepNotes>,
    /// How long further photos are waited for.
    pub windows: GatheringWindows,
}

/// What a look at a batch brought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DocumentsPolled {
    /// Photos that were not known before, with the encounters they belong to.
    pub new: Vec<(EncounterId, DocumentId)>,
    /// Drafts in the chart whose photo turned out to be retracted.
    pub retracted: Vec<RetractedDraft>,
    /// Encounters whose documents were looked at.
    pub looked_at: usize,
    /// What each answer showed, for the policy.
    pub answers: Vec<(Vec<NewPhotos>, Answer)>,
    /// When the latest photo changed whose encounter is not known, by the EHR's clock.
    pub stray: Option<Timestamp>,
}

impl PollDocuments<'_> {
    /// Looks at encounters of a leased watch list in turn, several with one call where the EHR has such a search, until the
    /// lease has no time left. What was found before an error stays recorded, and is in `polled`.
    pub async fn look(
        &self,
        firm: &Firm,
        held: Held<'_>,
        encounters: &[EncounterId],
        polled: &mut DocumentsPolled,
    ) -> Result<(), StageError> {
        let list = held().ok_or(StateError::LeaseLost)?;
        let deadline = || held().as_ref().unwrap_or(&list).deadline();
        let noted = self.notes.and_then(|notes| notes.watches_of(&firm.id, encounters));
        let watches = match noted {
            Some(watches) => watches,
            None => self.watch.watches_of(&firm.id, encounters).await?,
        };
        let together = self.chart.document_searches().visits_in_one_call.max(1);
        for group in watches.chunks(together) {
            let group: Vec<&EncounterWatch> = group.iter().collect();
            let mut listing = self.list(firm, &group, &deadline).await?;
            let mut looks = Vec::with_capacity(group.len());
            for watch in group {
                let mut alone;
                let listed = if listing.unanswered.contains(&watch.encounter.id) {
                    alone = self.list(firm, &[watch], &deadline).await?;
                    &mut alone.documents
                } else {
                    &mut listing.documents
                };
                looks.push(look_at(firm, watch, listed, self.windows, self.quota.clock.now()));
            }
            let recorded = if self.notes.is_some_and(|notes| notes.note_quiet(firm, &looks)) {
                RecordedDocuments::default()
            } else {
                let recorded = self.lists.record_looks(&list, &looks, self.quota.clock.now()).await?;
                if let Some(notes) = self.notes {
                    notes.note_recorded(firm, &looks);
                }
                recorded
            };
            tell(&looks, recorded, listing.answer, polled);
        }
        Ok(())
    }

    /// Leases the encounters themselves and looks at them in turn, as [`Self::look`] does. What could not be looked at - the
    /// lease had no time left, or an error - is released for the next worker.
    pub async fn lease_and_look(
        &self,
        firm: &Firm,
        encounters: &[EncounterId],
        lease_for: Duration,
        polled: &mut DocumentsPolled,
    ) -> Result<(), StageError> {
        let now = self.quota.clock.now();
        let leases = self
            .watch
            .acquire_encounters(&firm.id, encounters, now, lease_for)
            .await?;
        let mut waiting = VecDeque::from(leases);
        let together = self.chart.document_searches().visits_in_one_call.max(1);
        let outcome = loop {
            if waiting.is_empty() {
                break Ok(());
            }
            let group = waiting.drain(..together.min(waiting.len())).collect();
            match self.look_at_group(firm, group, &mut waiting, polled).await {
                Ok(()) => {}
                Err(StageError::OutOfTime(_) | StageError::State(StateError::LeaseLost)) => {
                    // Normal where grants are scarce; where it is always so, a visit has more pages than a lease has time.
                    if polled.looked_at == 0 {
                        tracing::warn!(event = "documents.out-of-time", firm = %firm.id, left = waiting.len());
                    }
                    break Ok(());
                }
                Err(error) => break Err(error),
            }
        };
        for lease in waiting {
            match self.watch.release_encounter(lease, self.quota.clock.now()).await {
                Ok(()) | Err(StateError::LeaseLost) => {}
                Err(error) => return Err(error.into()),
            }
        }
        outcome
    }

    /// Looks at the encounters of a group with one call, and once more at each that it left unanswered. Those that it
    /// could not look at go back to those waiting.
    async fn look_at_group(
        &self,
        firm: &Firm,
        group: Vec<Lease<EncounterWatch>>,
        waiting: &mut VecDeque<Lease<EncounterWatch>>,
        polled: &mut DocumentsPolled,
    ) -> Result<(), StageError> {
        let deadline = group.iter().map(Lease::deadline).min().unwrap_or(Timestamp::NEVER);
        let watches: Vec<&EncounterWatch> = group.iter().map(Lease::item).collect();
        let mut listing = match self.list(firm, &watches, || deadline).await {
            Ok(listing) => listing,
            Err(error) => {
                waiting.extend(group);
                return Err(error);
            }
        };
        let mut group = VecDeque::from(group);
        while let Some(lease) = group.pop_front() {
            let mut alone;
            let listed = if listing.unanswered.contains(&lease.item().encounter.id) {
                alone = match self.list(firm, &[lease.item()], || deadline).await {
                    Ok(alone) => alone,
                    Err(error) => {
                        waiting.push_back(lease);
                        waiting.extend(group);
                        return Err(error);
                    }
                };
                &mut alone.documents
            } else {
                &mut listing.documents
            };
            let now = self.quota.clock.now();
            let look = look_at(firm, lease.item(), listed, self.windows, now);
            let recorded = self
                .watch
                .record_documents(lease, &look.found, &look.retracted, now)
                .await;
            match recorded {
                Ok(recorded) => tell(&[look], recorded, listing.answer, polled),
                Err(error) => {
                    waiting.extend(group);
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// All documents of the visits, within the time that is left.
    async fn list(
        &self,
        firm: &Firm,
        watches: &[&EncounterWatch],
        deadline: impl Fn() -> Timestamp,
    ) -> Result<Listing, StageError> {
        let visit = |watch: &EncounterWatch| Visit {
            patient: watch.encounter.patient.clone(),
            encounter: watch.encounter.id.clone(),
        };
        let query = match watches {
            [watch] => DocumentQuery::Visit(visit(watch)),
            watches => DocumentQuery::Visits(watches.iter().map(|watch| visit(watch)).collect()),
        };
        self.pages(firm, &query, MOST_PAGES, deadline).await
    }

    /// All pages of a search, each before the deadline that holds when it is asked for.
    pub(super) async fn pages(
        &self,
        firm: &Firm,
        query: &DocumentQuery,
        most_pages: usize,
        deadline: impl Fn() -> Timestamp,
    ) -> Result<Listing, StageError> {
        let access = Access {
            firm,
            tokens: self.tokens,
            quota: self.quota,
        };
        let mut listing = Listing::default();
        let (mut page, mut held) = (None, 0_usize);
        for _ in 0..most_pages {
            let link = page.as_ref();
            let clock = self.quota.clock;
            let request = |token| async move {
                let sent = clock.now();
                Ok((sent, self.chart.documents(firm, &token, query, link).await?))
            };
            let call = access.call(CallKind::Document, request);
            let (sent, reply) = within(clock, deadline(), call).await??;
            listing.answer = Some(Answer::another_page(
                listing.answer,
                sent,
                clock.now(),
                reply.server_time,
            ));
            held += reply.items.iter().map(bytes_of_document).sum::<usize>();
            listing.documents.extend(reply.items);
            listing.unanswered.extend(reply.unanswered);
            page = reply.next;
            if page.is_none() {
                return Ok(listing);
            }
            if held > MOST_HELD {
                break;
            }
        }
        Err(EhrError::Malformed {
            what: "the pages of a search do not end",
        }
        .into())
    }
}

/// Notes what recording looks changed.
pub(super) fn tell(looks: &[Look], recorded: RecordedDocuments, answer: Option<Answer>, polled: &mut DocumentsPolled) {
    polled.looked_at += looks.len();
    let new: BTreeSet<&DocumentId> = recorded.new.iter().collect();
    let mut shown = Vec::with_capacity(looks.len());
    for look in looks {
        let photos = || look.found.iter().filter(|photo| new.contains(&photo.document));
        polled
            .new
            .extend(photos().map(|photo| (look.encounter.clone(), photo.document.clone())));
        shown.push(NewPhotos {
            encounter: look.encounter.clone(),
            filed_at: photos().map(|photo| photo.attached_at).collect(),
        });
    }
    if let Some(answer) = answer {
        polled.answers.push((shown, answer));
    }
    polled.retracted.extend(recorded.retracted);
}

/// What a search brought, all pages.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) documents: Vec<DocumentSummary>,
    unanswered: Vec<EncounterId>,
    pub(super) answer: Option<Answer>,
}

/// What those of the listed documents that are the visit's show; they are taken out of the list.
pub(super) fn look_at(
    firm: &Firm,
    watch: &EncounterWatch,
    listed: &mut Vec<DocumentSummary>,
    windows: GatheringWindows,
    now: Timestamp,
) -> Look {
    let documents: Vec<_> = listed.extract_if(.., |document| may_be_of(watch, document)).collect();
    Look {
        encounter: watch.encounter.id.clone(),
        at: now,
        found: documents
            .iter()
            .filter_map(|document| relevant(firm, watch, document, windows, now))
            .collect(),
        retracted: documents
            .iter()
            .filter(|document| document.status != DocumentStatus::Current)
            .map(|document| document.id.clone())
            .collect(),
    }
}

/// Whether the document is the visit's. Where all of a patient's documents were listed, one that names no visit may be: if
/// it was filed while the visit can have been watched.
fn may_be_of(watch: &EncounterWatch, document: &DocumentSummary) -> bool {
    if document.encounters.is_empty() {
        document
            .attached_at
            .is_some_and(|at| at + WATCH_LIFE >= watch.first_seen_at)
    } else {
        document.encounters.contains(&watch.encounter.id)
    }
}

/// By which category and for which models the document is a photo for us, whosever it is: current, in a chosen category, a
/// picture as far as it claims a type, and not filed before the firm was connected.
pub(super) fn wanted(firm: &Firm, document: &DocumentSummary) -> Option<(CategoryCode, Route)> {
    let from_before = document
        .attached_at
        .is_some_and(|attached| attached + CLOCK_ALLOWANCE < firm.photos_since);
    if document.status != DocumentStatus::Current || from_before || !document.may_be_a_photo() {
        return None;
    }
    document
        .categories
        .iter()
        .find_map(|category| Some((category.clone(), firm.route(category)?)))
}

/// The document as a photo for us, if it is one and of the visit's patient.
fn relevant(
    firm: &Firm,
    watch: &EncounterWatch,
    document: &DocumentSummary,
    windows: GatheringWindows,
    now: Timestamp,
) -> Option<DocumentWatch> {
    let of_another = document
        .patient
        .as_ref()
        .is_some_and(|patient| *patient != watch.encounter.patient);
    if of_another {
        return None;
    }
    let (category, route) = wanted(firm, document)?;
    Some(DocumentWatch {
        firm: firm.id.clone(),
        document: document.id.clone(),
        encounter: watch.encounter.id.clone(),
        patient: watch.encounter.patient.clone(),
        practitioner: watch.encounter.practitioner.clone(),
        category,
        route,
        assessment: Assessment::identity(&firm.id, &watch.encounter.id, [&document.id]),
        attached_at: document.attached_at,
        detected_at: now,
        gathers_until: windows.until(route, now),
        closed: None,
        photo: None,
    })
}
