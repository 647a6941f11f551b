//! Stores that break a rule, to see that the suite notices.

mod audit;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use skin_assist_core::{
    domain::{
        AssessmentId, AssistResult, CategoryCode, CategoryUse, ClosedAssessment, Credential, Cursor, DeadLetter,
        DocumentId, DocumentStep, DocumentWatch, EarlierDraft, Encounter, EncounterId, EncounterWatch, Findings, Firm,
        FirmId, FirmStatus, IntendedUseRecord, IssuedToken, Journey, Mode, NewCredential, PollerFigures, PollerId,
        Reason, ResultKey, Sibling, Stage, StoredPhoto, WatchList, WatchedEncounter,
    },
    lease::{Fence, Lease},
    phi::Phi,
    polling::Learned,
    ports::{
        CallGrants, CallKind, Changes, Credentials, DetectionLatency, DocumentQueue, EncounterWatches,
        FirmAdministration, Firms, Grant, InferenceRecords, LanguageSpending, LanguageSpent, Look, Operations,
        Overview, PhotosOfHour, PollingMemory, Queued, QuotaFigures, QuotaKey, RecordedDocuments, RecordedEncounters,
        RetractedDraft, StateError, StateStore, UncertainResolution, WatchLists,
    },
    time::Timestamp,
};

mod deliveries;
mod subscriptions;

use super::Backend;

type Outcome<T> = Result<T, StateError>;

/// Which rule is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// None: the store behind is passed on, to show that it is the mutation that makes the suite fail.
    None,
    /// Writes under a lost lease are accepted, as if the fence were not compared.
    FenceIgnored,
    /// Attempts are not counted.
    AttemptsForgotten,
    /// A poll records its encounters although the cursor was moved.
    CursorIgnored,
    /// Acquired twice: leases are granted until a tenth of the time that was asked for.
    LeasesTooShort,
    /// A firm that is paused is served all the same.
    PausesIgnored,
    /// A firm that is off is served all the same.
    OffIgnored,
    /// A watch list that is renewed gets another fence.
    RenewalsRaiseTheFence,
    /// A watch list that is released stays leased.
    ReleasesForgotten,
    /// Looks under a watch list's lease are not recorded.
    LooksForgotten,
    /// Looks under a watch list's lease do not tell what is no longer current.
    RetractionsForgotten,
    /// What was found of an unknown encounter is put to another.
    UnknownEncountersTaken,
    /// What a search for all changed documents found is not recorded, and the cursor moves all the same.
    ChangesForgotten,
    /// Nor what it showed as no longer current of encounters that are not known.
    StrayRetractionsForgotten,
    /// It is recorded although the documents' cursor was moved.
    DocumentsCursorIgnored,
    /// The documents' cursor is the same for all categories.
    ChosenCategoriesIgnored,
    /// A search for all changed documents is no look at anything.
    LooksAtAllForgotten,
    /// Only encounters under watch are shown, whatever was asked for.
    PastWatchesHidden,
    /// A watch list does not tell of photos.
    PhotosUntold,
    /// Pollers stay at work for ever.
    PollersStay,
    /// What is learned replaces nothing and adds nothing, once something is known.
    LearningEnds,
    /// What was learned never fades.
    NothingFades,
    /// A refusal by the EHR changes nothing.
    HoldsIgnored,
    /// Nobody is slowed down for a grant that came late.
    LateGrantsHidden,
    /// Calls are not counted.
    CallsUncounted,
    /// Companions of a closed assessment are left where they are.
    CompanionsForgotten,
    /// An assessment is closed whatever its companions do.
    UnreadyCompanionsTaken,
    /// No photo has siblings.
    SiblingsHidden,
    /// Bytes that are gone change nothing.
    LostBytesForgotten,
    /// Looks at companions are counted as the leading photo's.
    LooksMisplaced,
    /// There is no earlier draft.
    EarlierDraftsUntold,
    /// What was kept back or given up counts as an earlier draft too.
    AllDraftsAreEarlier,
    /// Drafts that were made after a photo was found are earlier ones too.
    LaterDraftsAreEarlier,
    /// An intent to change an earlier draft is recorded as one to post.
    UpdatesUntold,
    /// An intent that the firm's mode does not permit is taken for one that was recorded.
    ProhibitionsIgnored,
    /// How long photos took to be found is not told.
    DetectionUntold,
    /// The way of a photo is that of whichever firm has one of this name.
    JourneysOfAnyFirm,
    /// An operator's change is made without its entry in the audit trail.
    ChangesUnaudited,
    /// An operator's entry is written, whatever becomes of the change.
    EntriesApart,
    /// What is past its time stays.
    ExpiredKept,
    /// Nothing is of any age: all is past its time.
    AllExpired,
    /// The last event is not there.
    EventsLost,
    /// A subscriber counts as told before it answered.
    ToldTooEarly,
}

/// A backend whose stores break a rule.
pub struct Mutated {
    backend: Arc<dyn Backend>,
    mutation: Mutation,
}

impl Mutated {
    /// The stores of `backend`, with `mutation`.
    pub fn new(backend: Arc<dyn Backend>, mutation: Mutation) -> Self {
        Self { backend, mutation }
    }
}

#[async_trait]
impl Backend for Mutated {
    async fn fresh(&self) -> Vec<Arc<dyn StateStore>> {
        let fences = Arc::new(Mutex::new(HashMap::new()));
        let handles = self.backend.fresh().await;
        handles
            .into_iter()
            .map(|store| {
                let store = MutatedStore {
                    store,
                    mutation: self.mutation,
                    fences: Arc::clone(&fences),
                };
                Arc::new(store) as Arc<dyn StateStore>
            })
            .collect()
    }
}

/// What names an item: table, firm, id.
pub type Name = (&'static str, String, String);

/// Items that are leased.
pub trait Leased: Clone {
    /// What tells this item from others.
    fn name(&self) -> Name;
}

impl Leased for EncounterWatch {
    fn name(&self) -> Name {
        ("encounter", self.firm.to_string(), self.encounter.id.to_string())
    }
}

impl Leased for WatchList {
    fn name(&self) -> Name {
        ("watch list", self.firm.to_string(), String::new())
    }
}

impl Leased for DocumentWatch {
    fn name(&self) -> Name {
        ("document", self.firm.to_string(), self.document.to_string())
    }
}

impl Leased for AssistResult {
    fn name(&self) -> Name {
        (
            "result",
            self.assessment.firm.to_string(),
            self.assessment.id.to_string(),
        )
    }
}

impl Leased for Credential {
    fn name(&self) -> Name {
        ("credential", self.firm.to_string(), String::new())
    }
}

struct MutatedStore {
    store: Arc<dyn StateStore>,
    mutation: Mutation,
    /// The latest fence of each item.
    fences: Arc<Mutex<HashMap<Name, Fence>>>,
}

impl MutatedStore {
    fn asked(&self, lease_for: Duration) -> Duration {
        if self.mutation == Mutation::LeasesTooShort {
            lease_for / 10
        } else {
            lease_for
        }
    }

    /// A lease on its way to the worker.
    fn granted<T: Leased>(&self, lease: &Lease<T>, now: Timestamp, lease_for: Duration) -> Lease<T> {
        let mut fences = self.fences.lock().unwrap_or_else(PoisonError::into_inner);
        fences.insert(lease.item().name(), lease.fence());
        let attempt = if self.mutation == Mutation::AttemptsForgotten {
            1
        } else {
            lease.attempt()
        };
        Lease::granted(lease.item().clone(), lease.fence(), now + lease_for, attempt)
    }

    /// A lease on its way back to the store.
    fn returned<T: Leased>(&self, lease: &Lease<T>) -> Lease<T> {
        let mut fence = lease.fence();
        if self.mutation == Mutation::FenceIgnored {
            let fences = self.fences.lock().unwrap_or_else(PoisonError::into_inner);
            fence = fences.get(&lease.item().name()).copied().unwrap_or(fence);
        }
        Lease::granted(lease.item().clone(), fence, lease.locked_until(), lease.attempt())
    }
}

#[async_trait]
impl Firms for MutatedStore {
    async fn firms(&self) -> Outcome<Vec<Firm>> {
        self.store.firms().await
    }

    async fn firm(&self, firm: &FirmId) -> Outcome<Option<Firm>> {
        self.store.firm(firm).await
    }
}

#[async_trait]
impl FirmAdministration for MutatedStore {
    async fn add_firm(&self, firm: &Firm, credential: &NewCredential) -> Outcome<()> {
        self.store.add_firm(firm, credential).await
    }

    async fn set_firm_status(&self, firm: &FirmId, status: FirmStatus) -> Outcome<()> {
        if self.mutation == Mutation::PausesIgnored {
            return Ok(());
        }
        self.store.set_firm_status(firm, status).await
    }

    async fn set_categories(&self, firm: &FirmId, categories: &BTreeMap<CategoryCode, CategoryUse>) -> Outcome<()> {
        self.store.set_categories(firm, categories).await
    }

    async fn set_mode(&self, firm: &FirmId, mode: Mode, record: Option<&IntendedUseRecord>) -> Outcome<()> {
        let is_ignored = self.mutation == Mutation::OffIgnored && mode == Mode::Off;
        let mode = if is_ignored { Mode::Silent } else { mode };
        self.store.set_mode(firm, mode, record).await
    }

    async fn replace_credential(&self, firm: &FirmId, credential: &NewCredential) -> Outcome<()> {
        self.store.replace_credential(firm, credential).await
    }

    async fn remove_firm(&self, firm: &FirmId) -> Outcome<()> {
        self.store.remove_firm(firm).await
    }
}

#[async_trait]
impl Credentials for MutatedStore {
    async fn credential(&self, firm: &FirmId) -> Outcome<Option<Credential>> {
        self.store.credential(firm).await
    }

    async fn acquire_refresh(
        &self,
        firm: &FirmId,
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Option<Lease<Credential>>> {
        let lease = self.store.acquire_refresh(firm, now, self.asked(lease_for)).await?;
        Ok(lease.map(|lease| self.granted(&lease, now, lease_for)))
    }

    async fn record_token(&self, lease: Lease<Credential>, token: &IssuedToken) -> Outcome<()> {
        self.store.record_token(self.returned(&lease), token).await
    }

    async fn record_refusal(&self, lease: Lease<Credential>, reason: &Reason, retry_at: Timestamp) -> Outcome<()> {
        self.store.record_refusal(self.returned(&lease), reason, retry_at).await
    }

    async fn release_refresh(&self, lease: Lease<Credential>, now: Timestamp) -> Outcome<()> {
        self.store.release_refresh(self.returned(&lease), now).await
    }
}

#[async_trait]
impl EncounterWatches for MutatedStore {
    async fn cursor(&self, firm: &FirmId) -> Outcome<Option<Cursor>> {
        self.store.cursor(firm).await
    }

    async fn record_encounters(
        &self,
        firm: &FirmId,
        expected: Option<Cursor>,
        next: Cursor,
        seen: &[Encounter],
        now: Timestamp,
    ) -> Outcome<RecordedEncounters> {
        let expected = if self.mutation == Mutation::CursorIgnored {
            self.store.cursor(firm).await?
        } else {
            expected
        };
        self.store.record_encounters(firm, expected, next, seen, now).await
    }

    async fn watch_list(&self, firm: &FirmId, ending_after: Timestamp) -> Outcome<Vec<WatchedEncounter>> {
        let mut list = self.store.watch_list(firm, ending_after).await?;
        match self.mutation {
            Mutation::PastWatchesHidden => {
                let ends = list.iter().map(|watched| watched.watch.expires_at).max();
                list.retain(|watched| Some(watched.watch.expires_at) == ends);
            }
            Mutation::PhotosUntold => {
                for watched in &mut list {
                    (watched.photos, watched.latest_photo_at) = (0, None);
                }
            }
            _ => {}
        }
        Ok(list)
    }

    async fn watches_of(&self, firm: &FirmId, encounters: &[EncounterId]) -> Outcome<Vec<EncounterWatch>> {
        let mut watches = self.store.watches_of(firm, encounters).await?;
        if self.mutation == Mutation::PastWatchesHidden {
            let ends = watches.iter().map(|watch| watch.expires_at).max();
            watches.retain(|watch| Some(watch.expires_at) == ends);
        }
        Ok(watches)
    }

    async fn acquire_encounters(
        &self,
        firm: &FirmId,
        encounters: &[EncounterId],
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Vec<Lease<EncounterWatch>>> {
        let leases = self
            .store
            .acquire_encounters(firm, encounters, now, self.asked(lease_for))
            .await?;
        Ok(leases
            .into_iter()
            .map(|lease| self.granted(&lease, now, lease_for))
            .collect())
    }

    async fn record_documents(
        &self,
        lease: Lease<EncounterWatch>,
        found: &[DocumentWatch],
        retracted: &[DocumentId],
        now: Timestamp,
    ) -> Outcome<RecordedDocuments> {
        self.store
            .record_documents(self.returned(&lease), found, retracted, now)
            .await
    }

    async fn release_encounter(&self, lease: Lease<EncounterWatch>, now: Timestamp) -> Outcome<()> {
        self.store.release_encounter(self.returned(&lease), now).await
    }
}

#[async_trait]
impl WatchLists for MutatedStore {
    async fn attend(
        &self,
        poller: &PollerId,
        figures: &PollerFigures,
        now: Timestamp,
        until: Timestamp,
    ) -> Outcome<usize> {
        let until = if self.mutation == Mutation::PollersStay {
            Timestamp::NEVER
        } else {
            until
        };
        self.store.attend(poller, figures, now, until).await
    }

    async fn pollers(&self, now: Timestamp) -> Outcome<Vec<(PollerId, PollerFigures)>> {
        self.store.pollers(now).await
    }

    async fn leave(&self, poller: &PollerId) -> Outcome<()> {
        self.store.leave(poller).await
    }

    async fn acquire_watch_lists(
        &self,
        now: Timestamp,
        lease_for: Duration,
        limit: usize,
    ) -> Outcome<Vec<Lease<WatchList>>> {
        let leases = self
            .store
            .acquire_watch_lists(now, self.asked(lease_for), limit)
            .await?;
        Ok(leases
            .into_iter()
            .map(|lease| self.granted(&lease, now, lease_for))
            .collect())
    }

    async fn acquire_watch_lists_of(
        &self,
        firms: &[FirmId],
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Vec<Lease<WatchList>>> {
        let leases = self
            .store
            .acquire_watch_lists_of(firms, now, self.asked(lease_for))
            .await?;
        Ok(leases
            .into_iter()
            .map(|lease| self.granted(&lease, now, lease_for))
            .collect())
    }

    async fn renew_watch_lists(
        &self,
        leases: Vec<Lease<WatchList>>,
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Vec<Lease<WatchList>>> {
        let mut leases: Vec<_> = leases.iter().map(|lease| self.returned(lease)).collect();
        if self.mutation == Mutation::RenewalsRaiseTheFence {
            self.store.release_watch_lists(leases, now).await?;
            leases = self.store.acquire_watch_lists(now, lease_for, usize::MAX).await?;
        }
        let renewed = self.store.renew_watch_lists(leases, now, self.asked(lease_for)).await?;
        Ok(renewed
            .into_iter()
            .map(|lease| self.granted(&lease, now, lease_for))
            .collect())
    }

    async fn release_watch_lists(&self, leases: Vec<Lease<WatchList>>, now: Timestamp) -> Outcome<()> {
        if self.mutation == Mutation::ReleasesForgotten {
            return Ok(());
        }
        let leases = leases.iter().map(|lease| self.returned(lease)).collect();
        self.store.release_watch_lists(leases, now).await
    }

    async fn record_looks(
        &self,
        lease: &Lease<WatchList>,
        looks: &[Look],
        now: Timestamp,
    ) -> Outcome<RecordedDocuments> {
        let mut looks = looks.to_vec();
        match self.mutation {
            Mutation::LooksForgotten => looks.clear(),
            Mutation::RetractionsForgotten => looks.iter_mut().for_each(|look| look.retracted.clear()),
            Mutation::UnknownEncountersTaken => {
                for look in &mut looks {
                    look.encounter = EncounterId::new("e");
                }
            }
            _ => {}
        }
        self.store.record_looks(&self.returned(lease), &looks, now).await
    }

    async fn documents_cursor(&self, firm: &Firm) -> Outcome<Option<Cursor>> {
        let mut firm = firm.clone();
        if self.mutation == Mutation::ChosenCategoriesIgnored {
            firm.categories.clear();
        }
        self.store.documents_cursor(&firm).await
    }

    async fn record_changes(
        &self,
        lease: &Lease<WatchList>,
        changes: &Changes,
        now: Timestamp,
    ) -> Outcome<RecordedDocuments> {
        let mut changes = changes.clone();
        let lease = self.returned(lease);
        match self.mutation {
            Mutation::ChosenCategoriesIgnored => changes.categories.clear(),
            Mutation::DocumentsCursorIgnored => {
                let mut firms = self.store.firms().await?;
                firms.retain(|firm| firm.id == lease.item().firm);
                for firm in &mut firms {
                    firm.categories.clone_from(&changes.categories);
                    changes.from = self.store.documents_cursor(firm).await?;
                }
            }
            // The cursor moves in a transaction of its own.
            Mutation::ChangesForgotten => changes.looks.clear(),
            Mutation::StrayRetractionsForgotten => changes.retracted.clear(),
            Mutation::LooksAtAllForgotten => changes.as_of = Timestamp::ALWAYS,
            _ => {}
        }
        self.store.record_changes(&lease, &changes, now).await
    }
}

#[async_trait]
impl PollingMemory for MutatedStore {
    async fn learned(&self, firms: &[FirmId]) -> Outcome<Learned> {
        self.store.learned(firms).await
    }

    async fn add_learned(&self, gained: &Learned, now: Timestamp) -> Outcome<()> {
        match self.mutation {
            Mutation::LearningEnds if !self.store.learned(&[]).await?.is_empty() => Ok(()),
            Mutation::NothingFades => self.store.add_learned(gained, Timestamp::from_millis(0)).await,
            _ => self.store.add_learned(gained, now).await,
        }
    }
}

#[async_trait]
impl DocumentQueue for MutatedStore {
    async fn acquire_documents(
        &self,
        step: DocumentStep,
        now: Timestamp,
        lease_for: Duration,
        limit: usize,
    ) -> Outcome<Vec<Lease<DocumentWatch>>> {
        let leases = self
            .store
            .acquire_documents(step, now, self.asked(lease_for), limit)
            .await?;
        Ok(leases
            .into_iter()
            .map(|lease| self.granted(&lease, now, lease_for))
            .collect())
    }

    async fn record_photo(&self, lease: Lease<DocumentWatch>, photo: &StoredPhoto) -> Outcome<()> {
        self.store.record_photo(self.returned(&lease), photo).await
    }

    async fn record_photo_lost(&self, lease: Lease<DocumentWatch>, lost: &[DocumentId], now: Timestamp) -> Outcome<()> {
        let lost = if self.mutation == Mutation::LostBytesForgotten {
            &[]
        } else {
            lost
        };
        self.store.record_photo_lost(self.returned(&lease), lost, now).await
    }

    async fn siblings(&self, watch: &DocumentWatch) -> Outcome<Vec<Sibling>> {
        let mut siblings = self.store.siblings(watch).await?;
        if self.mutation == Mutation::SiblingsHidden {
            siblings.clear();
        }
        Ok(siblings)
    }

    async fn close_assessment(&self, lease: &Lease<DocumentWatch>, closed: &ClosedAssessment) -> Outcome<bool> {
        let mut closed = closed.clone();
        if self.mutation == Mutation::CompanionsForgotten {
            closed.companions.clear();
        }
        let done = self.store.close_assessment(&self.returned(lease), &closed).await?;
        Ok(done || self.mutation == Mutation::UnreadyCompanionsTaken)
    }

    async fn retry_document(&self, lease: Lease<DocumentWatch>, retry_at: Timestamp) -> Outcome<()> {
        self.store.retry_document(self.returned(&lease), retry_at).await
    }

    async fn release_document(&self, lease: Lease<DocumentWatch>, due_at: Timestamp) -> Outcome<()> {
        self.store.release_document(self.returned(&lease), due_at).await
    }

    async fn bury_document(
        &self,
        lease: Lease<DocumentWatch>,
        stage: Stage,
        reason: &Reason,
        now: Timestamp,
    ) -> Outcome<()> {
        self.store
            .bury_document(self.returned(&lease), stage, reason, now)
            .await
    }
}

#[async_trait]
impl InferenceRecords for MutatedStore {
    async fn findings(&self, firm: &FirmId, key: &ResultKey) -> Outcome<Option<Phi<Findings>>> {
        self.store.findings(firm, key).await
    }

    async fn count_look(&self, lease: &Lease<DocumentWatch>, document: &DocumentId) -> Outcome<u32> {
        let document = if self.mutation == Mutation::LooksMisplaced {
            &lease.item().document
        } else {
            document
        };
        self.store.count_look(&self.returned(lease), document).await
    }

    async fn record_findings(
        &self,
        lease: &Lease<DocumentWatch>,
        key: &ResultKey,
        findings: &Phi<Findings>,
        now: Timestamp,
    ) -> Outcome<()> {
        self.store
            .record_findings(&self.returned(lease), key, findings, now)
            .await
    }

    async fn record_result(&self, lease: Lease<DocumentWatch>, result: &AssistResult) -> Outcome<()> {
        self.store.record_result(self.returned(&lease), result).await
    }

    async fn earlier_draft(&self, firm: &FirmId, assessment: &AssessmentId) -> Outcome<Option<EarlierDraft>> {
        match self.mutation {
            Mutation::EarlierDraftsUntold => Ok(None),
            Mutation::AllDraftsAreEarlier => {
                let mut results = self.store.firm_results(firm).await?;
                results.retain(|result| result.assessment.id == *assessment);
                Ok(results.pop().map(|result| EarlierDraft {
                    assessment: result.assessment.id,
                    date: result.assessed_at,
                }))
            }
            _ => self.store.earlier_draft(firm, assessment).await,
        }
    }

    async fn draft_before(&self, watch: &DocumentWatch) -> Outcome<Option<EarlierDraft>> {
        match self.mutation {
            Mutation::EarlierDraftsUntold => Ok(None),
            Mutation::LaterDraftsAreEarlier => {
                let mut later = watch.clone();
                later.detected_at = later.detected_at + Duration::from_secs(3600);
                self.store.draft_before(&later).await
            }
            _ => self.store.draft_before(watch).await,
        }
    }
}

#[async_trait]
impl LanguageSpending for MutatedStore {
    async fn language_spent(&self, firm: &FirmId, at: Timestamp) -> Outcome<LanguageSpent> {
        self.store.language_spent(firm, at).await
    }

    async fn add_language_spent(&self, firm: &FirmId, at: Timestamp, spent: &LanguageSpent) -> Outcome<()> {
        self.store.add_language_spent(firm, at, spent).await
    }
}

#[async_trait]
impl CallGrants for MutatedStore {
    async fn take(&self, key: &QuotaKey, kind: CallKind, now: Timestamp) -> Outcome<Grant> {
        self.store.take(key, kind, now).await
    }

    async fn hold(&self, key: &QuotaKey, now: Timestamp, until: Timestamp) -> Outcome<()> {
        if self.mutation == Mutation::HoldsIgnored {
            return Ok(());
        }
        self.store.hold(key, now, until).await
    }

    async fn slow_down(&self, key: &QuotaKey, now: Timestamp) -> Outcome<()> {
        if self.mutation == Mutation::LateGrantsHidden {
            return Ok(());
        }
        self.store.slow_down(key, now).await
    }

    async fn quotas(&self) -> Outcome<Vec<QuotaFigures>> {
        let mut quotas = self.store.quotas().await?;
        if self.mutation == Mutation::CallsUncounted {
            for figures in &mut quotas {
                figures.granted.clear();
            }
        }
        Ok(quotas)
    }
}

#[async_trait]
impl Operations for MutatedStore {
    async fn overview(&self, now: Timestamp) -> Outcome<Vec<Overview>> {
        let mut overviews = self.store.overview(now).await?;
        if self.mutation == Mutation::DetectionUntold {
            for overview in &mut overviews {
                overview.detection = DetectionLatency::default();
            }
        }
        Ok(overviews)
    }

    async fn firm_overview(&self, firm: &FirmId, now: Timestamp) -> Outcome<Option<Overview>> {
        self.store.firm_overview(firm, now).await
    }

    async fn journeys(&self, firm: Option<&FirmId>, since: Timestamp, limit: usize) -> Outcome<Vec<Journey>> {
        self.store.journeys(firm, since, limit).await
    }

    async fn journey(&self, firm: &FirmId, document: &DocumentId) -> Outcome<Option<Journey>> {
        if self.mutation == Mutation::JourneysOfAnyFirm {
            let journeys = self.store.journeys(None, Timestamp::ALWAYS, usize::MAX).await?;
            return Ok(journeys.into_iter().find(|journey| journey.document == *document));
        }
        self.store.journey(firm, document).await
    }

    async fn photos_by_hour(&self, since: Timestamp) -> Outcome<Vec<PhotosOfHour>> {
        self.store.photos_by_hour(since).await
    }

    async fn queued(&self, limit: usize) -> Outcome<Vec<Queued>> {
        self.store.queued(limit).await
    }

    async fn result(&self, firm: &FirmId, assessment: &AssessmentId) -> Outcome<Option<AssistResult>> {
        self.store.result(firm, assessment).await
    }

    async fn dead_letters(&self) -> Outcome<Vec<DeadLetter>> {
        self.store.dead_letters().await
    }

    async fn replay(&self, dead_letter: i64, now: Timestamp) -> Outcome<()> {
        self.store.replay(dead_letter, now).await
    }

    async fn firm_results(&self, firm: &FirmId) -> Outcome<Vec<AssistResult>> {
        self.store.firm_results(firm).await
    }

    async fn uncertain(&self) -> Outcome<Vec<AssistResult>> {
        self.store.uncertain().await
    }

    async fn retracted_drafts(&self) -> Outcome<Vec<RetractedDraft>> {
        self.store.retracted_drafts().await
    }

    async fn acknowledge_retraction(&self, firm: &FirmId, assessment: &AssessmentId, now: Timestamp) -> Outcome<()> {
        self.store.acknowledge_retraction(firm, assessment, now).await
    }

    async fn resolve(
        &self,
        firm: &FirmId,
        assessment: &AssessmentId,
        resolution: &UncertainResolution,
        now: Timestamp,
    ) -> Outcome<()> {
        self.store.resolve(firm, assessment, resolution, now).await
    }

    async fn sweep_expired(&self, now: Timestamp) -> Outcome<u64> {
        self.store.sweep_expired(now).await
    }
}
