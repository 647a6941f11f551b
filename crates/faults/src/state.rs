//! The state store as one process uses it: faults come in here, the truth is told what was done, and a safeguard may be missing.

use std::{future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use skin_assist_core::{
    domain::{
        Assessment, AssessmentId, AssistResult, ClosedAssessment, Credential, Cursor, Delivery, DocumentId,
        DocumentStep, DocumentWatch, DraftReference, EarlierDraft, Encounter, EncounterId, EncounterWatch, Findings,
        Firm, FirmId, IssuedToken, PollerFigures, PollerId, Reason, ReferenceCode, ResultKey, Sibling, Stage,
        StoredPhoto, WatchList, WatchedEncounter,
    },
    lease::{Lease, SKEW_ALLOWANCE},
    phi::Phi,
    ports::{
        Changes, Credentials, Deliveries, DocumentQueue, EncounterWatches, InferenceRecords, Look, RecordedDocuments,
        RecordedEncounters, StateError, StateStore, VisionModel, WatchLists,
    },
    time::Timestamp,
};
use skin_assist_testkit::{conformance::mutations::Leased, scripted::ScriptedVision};

use crate::{
    ehr::AtEnd,
    plan::Mutation,
    process::{Process, lock},
    truth::PhotoName,
};

type Outcome<T> = Result<T, StateError>;

/// What marks a document that a store without [`Mutation::Dedupe`]'s safeguard took for a new one.
const ALIAS: &str = "~again";

pub(crate) fn is_alias(document: &DocumentId) -> bool {
    document.as_str().ends_with(ALIAS)
}

/// The document as the EHR knows it.
pub(crate) fn without_alias(document: &DocumentId) -> DocumentId {
    DocumentId::new(document.as_str().trim_end_matches(ALIAS))
}

/// The store as one process uses it.
pub(crate) struct ProcessStore {
    pub(crate) inner: Arc<dyn StateStore>,
    pub(crate) process: Arc<Process>,
    /// Whose versions findings are keyed by.
    pub(crate) vision: ScriptedVision,
}

fn names<'a>(firm: &'a FirmId, documents: impl IntoIterator<Item = &'a DocumentId>) -> Vec<PhotoName> {
    let documents = documents.into_iter();
    documents
        .map(|document| (firm.to_string(), without_alias(document).to_string()))
        .collect()
}

impl ProcessStore {
    pub(crate) fn without(&self, mutation: Mutation) -> bool {
        self.process.shared.mutation == mutation
    }

    pub(crate) async fn call<T>(
        &self,
        method: &'static str,
        writes: bool,
        work: impl Future<Output = Outcome<T>> + Send,
    ) -> Outcome<T> {
        self.process.reaches_disk(method, writes).await?;
        let answer = work.await;
        self.process.passes(method).await;
        answer
    }

    /// A lease on its way to the process.
    fn granted<T: Leased>(&self, lease: Lease<T>) -> Lease<T> {
        let mut truth = self.process.shared.truth();
        truth.granted(lease.item().name(), lease.fence());
        if self.without(Mutation::SkewAllowance) {
            let until = lease.locked_until() + SKEW_ALLOWANCE;
            return Lease::granted(lease.item().clone(), lease.fence(), until, lease.attempt());
        }
        lease
    }

    /// A lease on its way back to the store.
    fn returned<T: Leased>(&self, lease: &Lease<T>) -> Lease<T> {
        let mut fence = lease.fence();
        if self.without(Mutation::Fence) {
            let truth = self.process.shared.truth();
            fence = truth.latest(&lease.item().name()).unwrap_or(fence);
        }
        Lease::granted(lease.item().clone(), fence, lease.locked_until(), lease.attempt())
    }

    /// A write under a lease; `work` is handed the lease as the store is to see it.
    async fn leased<T, R, F>(
        &self,
        method: &'static str,
        lease: &Lease<T>,
        work: impl FnOnce(Lease<T>) -> F + Send,
    ) -> Outcome<R>
    where
        T: Leased + Send + Sync,
        F: Future<Output = Outcome<R>> + Send,
        R: Send,
    {
        let (item, fence) = (lease.item().name(), lease.fence());
        self.process.reaches_disk(method, true).await?;
        let answer = work(self.returned(lease)).await;
        {
            let mut truth = self.process.shared.truth();
            match &answer {
                Ok(_) => truth.written(method, &item, fence),
                Err(StateError::LeaseLost) => truth.safeguard("a lost lease is refused"),
                Err(_) => {}
            }
        }
        self.process.passes(method).await;
        answer
    }

    /// What was found, as the store is to see it.
    fn found(&self, found: &[DocumentWatch]) -> Vec<DocumentWatch> {
        let truth = self.process.shared.truth();
        let seen_again = |watch: &DocumentWatch| {
            let document = DocumentId::new(format!("{}{ALIAS}", watch.document));
            DocumentWatch {
                assessment: Assessment::identity(&watch.firm, &watch.encounter, [&document]),
                document,
                ..watch.clone()
            }
        };
        let found = found.iter();
        found
            .map(|watch| {
                if self.without(Mutation::Dedupe) && truth.is_found(watch) {
                    seen_again(watch)
                } else {
                    watch.clone()
                }
            })
            .collect()
    }

    fn retracted(&self, retracted: &[DocumentId]) -> Vec<DocumentId> {
        if self.without(Mutation::Retraction) {
            Vec::new()
        } else {
            retracted.to_vec()
        }
    }

    /// Tells the truth what was recorded.
    fn recorded(&self, firm: &FirmId, found: &[DocumentWatch], retracted: &[DocumentId], recorded: &RecordedDocuments) {
        let mut truth = self.process.shared.truth();
        for watch in found {
            let name = (watch.firm.to_string(), without_alias(&watch.document).to_string());
            let models = self.vision.versions(watch.route);
            let digest = truth.photos.get(&name).cloned();
            let key = digest.map(|digest| {
                ResultKey::new(&watch.assessment, [&digest], &models)
                    .as_str()
                    .to_owned()
            });
            truth.recorded(watch, key);
        }
        truth.safeguards_by(
            "a photo that is known is recognised",
            found.len().saturating_sub(recorded.new.len()),
        );
        truth.safeguards_by("a retraction after the post is an alarm", recorded.retracted.len());
        let retracted = names(firm, retracted);
        for name in retracted {
            if truth.known_retracted.insert(name.clone()) {
                truth.retracts(&name);
                truth.safeguard("a retraction is noticed");
            }
        }
    }
}

#[async_trait]
impl Credentials for ProcessStore {
    async fn credential(&self, firm: &FirmId) -> Outcome<Option<Credential>> {
        self.call("credential", false, self.inner.credential(firm)).await
    }

    async fn acquire_refresh(
        &self,
        firm: &FirmId,
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Option<Lease<Credential>>> {
        let acquire = self.inner.acquire_refresh(firm, now, lease_for);
        let lease = self.call("acquire_refresh", true, acquire).await?;
        match lease {
            Some(lease) => Ok(Some(self.granted(lease))),
            None if self.without(Mutation::TokenSingleFlight) => {
                let credential = self.inner.credential(firm).await?;
                let truth = self.process.shared.truth();
                Ok(credential.and_then(|credential| {
                    let fence = truth.latest(&credential.name())?;
                    Some(Lease::granted(credential, fence, now + lease_for, 1))
                }))
            }
            None => {
                let mut truth = self.process.shared.truth();
                truth.safeguard("a token is being asked for by another process");
                Ok(None)
            }
        }
    }

    async fn record_token(&self, lease: Lease<Credential>, token: &IssuedToken) -> Outcome<()> {
        self.leased("record_token", &lease, |lease| self.inner.record_token(lease, token))
            .await
    }

    async fn record_refusal(&self, lease: Lease<Credential>, reason: &Reason, retry_at: Timestamp) -> Outcome<()> {
        self.leased("record_refusal", &lease, |lease| {
            self.inner.record_refusal(lease, reason, retry_at)
        })
        .await
    }

    async fn release_refresh(&self, lease: Lease<Credential>, now: Timestamp) -> Outcome<()> {
        self.leased("release_refresh", &lease, |lease| {
            self.inner.release_refresh(lease, now)
        })
        .await
    }
}

#[async_trait]
impl EncounterWatches for ProcessStore {
    async fn cursor(&self, firm: &FirmId) -> Outcome<Option<Cursor>> {
        lock(&self.process.search).remove(firm);
        self.call("cursor", false, self.inner.cursor(firm)).await
    }

    async fn record_encounters(
        &self,
        firm: &FirmId,
        expected: Option<Cursor>,
        next: Cursor,
        seen: &[Encounter],
        now: Timestamp,
    ) -> Outcome<RecordedEncounters> {
        let mut expected = expected;
        if self.without(Mutation::CursorOrder) {
            let move_first = self.inner.record_encounters(firm, expected, next, &[], now);
            self.call("record_encounters", true, move_first).await?;
            expected = Some(next);
        }
        let record = self.inner.record_encounters(firm, expected, next, seen, now);
        let recorded = self.call("record_encounters", true, async {
            let recorded = record.await;
            let mut truth = self.process.shared.truth();
            match &recorded {
                Ok(_) => {
                    let behind = expected.map_or(Timestamp::ALWAYS, |cursor| cursor.0);
                    for encounter in seen {
                        let is_new = truth.encounters.insert((firm.to_string(), encounter.id.to_string()));
                        if is_new && encounter.last_updated.is_some_and(|updated| updated < behind) {
                            truth.safeguard("a visit is found by reaching back behind the cursor");
                        }
                    }
                }
                Err(StateError::CursorMoved) => truth.safeguard("a cursor that was moved is not overwritten"),
                Err(_) => {}
            }
            recorded
        });
        recorded.await
    }

    async fn watch_list(&self, firm: &FirmId, ending_after: Timestamp) -> Outcome<Vec<WatchedEncounter>> {
        self.call("watch_list", false, self.inner.watch_list(firm, ending_after))
            .await
    }

    async fn watches_of(&self, firm: &FirmId, encounters: &[EncounterId]) -> Outcome<Vec<EncounterWatch>> {
        self.call("watches_of", false, self.inner.watches_of(firm, encounters))
            .await
    }

    async fn acquire_encounters(
        &self,
        firm: &FirmId,
        encounters: &[EncounterId],
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Vec<Lease<EncounterWatch>>> {
        let acquire = self.inner.acquire_encounters(firm, encounters, now, lease_for);
        let leases = self.call("acquire_encounters", true, acquire).await?;
        Ok(leases.into_iter().map(|lease| self.granted(lease)).collect())
    }

    async fn record_documents(
        &self,
        lease: Lease<EncounterWatch>,
        found: &[DocumentWatch],
        retracted: &[DocumentId],
        now: Timestamp,
    ) -> Outcome<RecordedDocuments> {
        let firm = lease.item().firm.clone();
        let (found, cancelled) = (self.found(found), self.retracted(retracted));
        self.leased("record_documents", &lease, |lease| async {
            let recorded = self.inner.record_documents(lease, &found, &cancelled, now).await;
            if let Ok(recorded) = &recorded {
                self.recorded(&firm, &found, retracted, recorded);
            }
            recorded
        })
        .await
    }

    async fn release_encounter(&self, lease: Lease<EncounterWatch>, now: Timestamp) -> Outcome<()> {
        self.leased("release_encounter", &lease, |lease| {
            self.inner.release_encounter(lease, now)
        })
        .await
    }
}

#[async_trait]
impl WatchLists for ProcessStore {
    async fn attend(
        &self,
        poller: &PollerId,
        figures: &PollerFigures,
        now: Timestamp,
        until: Timestamp,
    ) -> Outcome<usize> {
        self.call("attend", true, self.inner.attend(poller, figures, now, until))
            .await
    }

    async fn pollers(&self, now: Timestamp) -> Outcome<Vec<(PollerId, PollerFigures)>> {
        self.call("pollers", false, self.inner.pollers(now)).await
    }

    async fn leave(&self, poller: &PollerId) -> Outcome<()> {
        self.call("leave", true, self.inner.leave(poller)).await
    }

    async fn acquire_watch_lists(
        &self,
        now: Timestamp,
        lease_for: Duration,
        limit: usize,
    ) -> Outcome<Vec<Lease<WatchList>>> {
        let acquire = self.inner.acquire_watch_lists(now, lease_for, limit);
        let leases = self.call("acquire_watch_lists", true, acquire).await?;
        Ok(leases.into_iter().map(|lease| self.granted(lease)).collect())
    }

    async fn acquire_watch_lists_of(
        &self,
        firms: &[FirmId],
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Vec<Lease<WatchList>>> {
        let acquire = self.inner.acquire_watch_lists_of(firms, now, lease_for);
        let leases = self.call("acquire_watch_lists_of", true, acquire).await?;
        Ok(leases.into_iter().map(|lease| self.granted(lease)).collect())
    }

    async fn renew_watch_lists(
        &self,
        leases: Vec<Lease<WatchList>>,
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Vec<Lease<WatchList>>> {
        let leases: Vec<_> = leases.iter().map(|lease| self.returned(lease)).collect();
        let held = leases.len();
        let renew = self.inner.renew_watch_lists(leases, now, lease_for);
        let renewed = self.call("renew_watch_lists", true, renew).await?;
        let mut truth = self.process.shared.truth();
        truth.safeguards_by("a lost watch list is not renewed", held - renewed.len());
        Ok(renewed)
    }

    async fn release_watch_lists(&self, leases: Vec<Lease<WatchList>>, now: Timestamp) -> Outcome<()> {
        self.call("release_watch_lists", true, self.inner.release_watch_lists(leases, now))
            .await
    }

    async fn record_looks(
        &self,
        lease: &Lease<WatchList>,
        looks: &[Look],
        now: Timestamp,
    ) -> Outcome<RecordedDocuments> {
        let firm = &lease.item().firm;
        let looks: Vec<_> = looks.iter().map(|look| (look, self.look(look))).collect();
        let told: Vec<_> = looks.iter().map(|(_, look)| look.clone()).collect();
        self.leased("record_looks", lease, |lease| async move {
            let recorded = self.inner.record_looks(&lease, &told, now).await;
            if let Ok(recorded) = &recorded {
                let found: Vec<_> = told.iter().flat_map(|look| look.found.clone()).collect();
                let retracted: Vec<_> = looks.iter().flat_map(|(look, _)| look.retracted.clone()).collect();
                self.recorded(firm, &found, &retracted, recorded);
            }
            recorded
        })
        .await
    }

    async fn documents_cursor(&self, firm: &Firm) -> Outcome<Option<Cursor>> {
        self.call("documents_cursor", false, self.inner.documents_cursor(firm))
            .await
    }

    async fn record_changes(
        &self,
        lease: &Lease<WatchList>,
        changes: &Changes,
        now: Timestamp,
    ) -> Outcome<RecordedDocuments> {
        let firm = &lease.item().firm;
        let mut told = changes.clone();
        told.looks = changes.looks.iter().map(|look| self.look(look)).collect();
        told.retracted = self.retracted(&changes.retracted);
        self.leased("record_changes", lease, |lease| async move {
            if self.without(Mutation::CursorOrder) {
                let moved = Changes {
                    looks: Vec::new(),
                    retracted: Vec::new(),
                    ..told.clone()
                };
                self.inner.record_changes(&lease, &moved, now).await?;
                told.from = Some(told.next);
                self.process.passes("record_changes").await;
            }
            let recorded = self.inner.record_changes(&lease, &told, now).await;
            match &recorded {
                Ok(recorded) => {
                    let found: Vec<_> = told.looks.iter().flat_map(|look| look.found.clone()).collect();
                    let looks = changes.looks.iter().flat_map(|look| look.retracted.clone());
                    let retracted: Vec<_> = looks.chain(changes.retracted.clone()).collect();
                    self.recorded(firm, &found, &retracted, recorded);
                }
                Err(StateError::CursorMoved) => {
                    let mut truth = self.process.shared.truth();
                    truth.safeguard("a cursor that was moved is not overwritten");
                }
                Err(_) => {}
            }
            recorded
        })
        .await
    }
}

impl ProcessStore {
    fn look(&self, look: &Look) -> Look {
        Look {
            found: self.found(&look.found),
            retracted: self.retracted(&look.retracted),
            ..look.clone()
        }
    }
}

#[async_trait]
impl DocumentQueue for ProcessStore {
    async fn acquire_documents(
        &self,
        step: DocumentStep,
        now: Timestamp,
        lease_for: Duration,
        limit: usize,
    ) -> Outcome<Vec<Lease<DocumentWatch>>> {
        let acquire = self.inner.acquire_documents(step, now, lease_for, limit);
        let leases = self.call("acquire_documents", true, acquire).await?;
        let again = leases.iter().filter(|lease| lease.attempt() > 1).count();
        self.process
            .shared
            .truth()
            .safeguards_by("a photo is taken up again", again);
        Ok(leases.into_iter().map(|lease| self.granted(lease)).collect())
    }

    async fn record_photo(&self, lease: Lease<DocumentWatch>, photo: &StoredPhoto) -> Outcome<()> {
        self.leased("record_photo", &lease, |lease| self.inner.record_photo(lease, photo))
            .await
    }

    async fn record_photo_lost(&self, lease: Lease<DocumentWatch>, lost: &[DocumentId], now: Timestamp) -> Outcome<()> {
        self.process
            .shared
            .truth()
            .safeguard("bytes that are gone are downloaded again");
        self.leased("record_photo_lost", &lease, |lease| {
            self.inner.record_photo_lost(lease, lost, now)
        })
        .await
    }

    async fn siblings(&self, watch: &DocumentWatch) -> Outcome<Vec<Sibling>> {
        self.call("siblings", false, self.inner.siblings(watch)).await
    }

    async fn close_assessment(&self, lease: &Lease<DocumentWatch>, closed: &ClosedAssessment) -> Outcome<bool> {
        let lead = lease.item().clone();
        let done = self
            .leased("close_assessment", lease, |lease| async move {
                let done = self.inner.close_assessment(&lease, closed).await;
                if done.as_ref().is_ok_and(|done| *done) {
                    let mut truth = self.process.shared.truth();
                    for document in &closed.companions {
                        let companion = DocumentWatch {
                            document: document.clone(),
                            ..lead.clone()
                        };
                        truth.taken(companion.name());
                    }
                    let photos = closed.companions.iter().chain([&lead.document]);
                    truth.closes(names(&lead.firm, photos));
                }
                done
            })
            .await?;
        if !done {
            let mut truth = self.process.shared.truth();
            truth.safeguard("photos of an assessment are taken together or not at all");
        }
        Ok(done)
    }

    async fn retry_document(&self, lease: Lease<DocumentWatch>, retry_at: Timestamp) -> Outcome<()> {
        self.leased("retry_document", &lease, |lease| {
            self.inner.retry_document(lease, retry_at)
        })
        .await
    }

    async fn release_document(&self, lease: Lease<DocumentWatch>, due_at: Timestamp) -> Outcome<()> {
        self.leased("release_document", &lease, |lease| {
            self.inner.release_document(lease, due_at)
        })
        .await
    }

    async fn bury_document(
        &self,
        lease: Lease<DocumentWatch>,
        stage: Stage,
        reason: &Reason,
        now: Timestamp,
    ) -> Outcome<()> {
        self.process
            .shared
            .truth()
            .safeguard("what cannot be done is given up with a reason");
        self.leased("bury_document", &lease, |lease| {
            self.inner.bury_document(lease, stage, reason, now)
        })
        .await
    }
}

#[async_trait]
impl InferenceRecords for ProcessStore {
    async fn findings(&self, firm: &FirmId, key: &ResultKey) -> Outcome<Option<Phi<Findings>>> {
        let known = self.call("findings", false, self.inner.findings(firm, key)).await?;
        if known.is_some() && self.without(Mutation::ResultKey) {
            return Ok(None);
        }
        if known.is_some() {
            let mut truth = self.process.shared.truth();
            truth.safeguard("findings that were paid for are not paid for again");
        }
        Ok(known)
    }

    async fn count_look(&self, lease: &Lease<DocumentWatch>, document: &DocumentId) -> Outcome<u32> {
        self.leased("count_look", lease, |lease| async move {
            self.inner.count_look(&lease, document).await
        })
        .await
    }

    async fn record_findings(
        &self,
        lease: &Lease<DocumentWatch>,
        key: &ResultKey,
        findings: &Phi<Findings>,
        now: Timestamp,
    ) -> Outcome<()> {
        let (process, text) = (self.process.number, key.as_str().to_owned());
        // Where nothing comes of it (an error, a step that is cut off), the answer is lost, as it is in a crash.
        let lost = AtEnd {
            shared: &self.process.shared,
            end: Box::new(move |truth| truth.findings_recorded(&text, process, false)),
        };
        let recorded = self
            .leased("record_findings", lease, |lease| async move {
                let recorded = self.inner.record_findings(&lease, key, findings, now).await;
                if recorded.is_ok() {
                    self.process
                        .shared
                        .truth()
                        .findings_recorded(key.as_str(), process, true);
                }
                recorded
            })
            .await;
        drop(lost);
        recorded
    }

    async fn record_result(&self, lease: Lease<DocumentWatch>, result: &AssistResult) -> Outcome<()> {
        {
            let mut truth = self.process.shared.truth();
            // One whose file is no picture is named as not assessed.
            for photo in result.photos.iter().filter(|photo| photo.not_assessed.is_none()) {
                truth.judged(&result.assessment.firm, &without_alias(&photo.document), &photo.digest);
            }
        }
        self.leased("record_result", &lease, |lease| self.inner.record_result(lease, result))
            .await
    }

    async fn earlier_draft(&self, firm: &FirmId, assessment: &AssessmentId) -> Outcome<Option<EarlierDraft>> {
        self.call("earlier_draft", false, self.inner.earlier_draft(firm, assessment))
            .await
    }

    async fn draft_before(&self, watch: &DocumentWatch) -> Outcome<Option<EarlierDraft>> {
        self.call("draft_before", false, self.inner.draft_before(watch)).await
    }
}

#[async_trait]
impl Deliveries for ProcessStore {
    async fn acquire_results(
        &self,
        now: Timestamp,
        lease_for: Duration,
        limit: usize,
    ) -> Outcome<Vec<Lease<AssistResult>>> {
        let acquire = self.inner.acquire_results(now, lease_for, limit);
        let leases = self.call("acquire_results", true, acquire).await?;
        let intended = leases
            .iter()
            .filter(|lease| matches!(lease.item().delivery, Delivery::Intended { .. }));
        let intended = intended.count();
        let mut truth = self.process.shared.truth();
        truth.safeguards_by("an interrupted post is found by its intent", intended);
        drop(truth);
        Ok(leases.into_iter().map(|lease| self.granted(lease)).collect())
    }

    async fn record_intent(
        &self,
        lease: &Lease<AssistResult>,
        unsettled: Option<&Reason>,
        now: Timestamp,
    ) -> Outcome<()> {
        let (item, fence) = (lease.item().name(), lease.fence());
        let assessment = &lease.item().assessment;
        let draft = (
            assessment.firm.clone(),
            ReferenceCode::of(&assessment.firm, &assessment.id),
        );
        let documents = names(&assessment.firm, &assessment.documents);
        self.leased("record_intent", lease, |lease| async move {
            let recorded = if self.without(Mutation::Intent) {
                Ok(())
            } else {
                self.inner.record_intent(&lease, unsettled, now).await
            };
            let mut truth = self.process.shared.truth();
            match &recorded {
                Ok(()) => truth.intends(self.process.number, draft, fence, item, &documents),
                Err(StateError::LeaseLost) if documents.iter().any(|name| truth.known_retracted.contains(name)) => {
                    truth.safeguard("a draft of a retracted photo is not begun");
                }
                Err(_) => {}
            }
            if unsettled.is_some() {
                truth.safeguard("an interrupted post is settled by posting again");
            }
            recorded
        })
        .await
    }

    async fn record_update_intent(
        &self,
        lease: &Lease<AssistResult>,
        updates: &DraftReference,
        now: Timestamp,
    ) -> Outcome<()> {
        self.leased("record_update_intent", lease, |lease| async move {
            self.inner.record_update_intent(&lease, updates, now).await
        })
        .await
    }

    async fn delivery_of(&self, firm: &FirmId, assessment: &AssessmentId) -> Outcome<Option<Delivery>> {
        self.call("delivery_of", false, self.inner.delivery_of(firm, assessment))
            .await
    }

    async fn record_delivered(
        &self,
        lease: Lease<AssistResult>,
        reference: &DraftReference,
        now: Timestamp,
    ) -> Outcome<()> {
        self.leased("record_delivered", &lease, |lease| {
            self.inner.record_delivered(lease, reference, now)
        })
        .await
    }

    async fn record_uncertain(&self, lease: Lease<AssistResult>, reason: &Reason, now: Timestamp) -> Outcome<()> {
        self.process
            .shared
            .truth()
            .safeguard("a post that nobody knows about is listed as uncertain");
        self.leased("record_uncertain", &lease, |lease| {
            self.inner.record_uncertain(lease, reason, now)
        })
        .await
    }

    async fn record_withheld(&self, lease: Lease<AssistResult>, reason: &Reason, now: Timestamp) -> Outcome<()> {
        self.leased("record_withheld", &lease, |lease| {
            self.inner.record_withheld(lease, reason, now)
        })
        .await
    }

    async fn retry_delivery(&self, lease: Lease<AssistResult>, retry_at: Timestamp) -> Outcome<()> {
        self.leased("retry_delivery", &lease, |lease| {
            self.inner.retry_delivery(lease, retry_at)
        })
        .await
    }

    async fn retry_search(&self, lease: Lease<AssistResult>, retry_at: Timestamp) -> Outcome<()> {
        self.leased("retry_search", &lease, |lease| self.inner.retry_search(lease, retry_at))
            .await
    }

    async fn release_delivery(&self, lease: Lease<AssistResult>, due_at: Timestamp) -> Outcome<()> {
        self.leased("release_delivery", &lease, |lease| {
            self.inner.release_delivery(lease, due_at)
        })
        .await
    }

    async fn bury_delivery(&self, lease: Lease<AssistResult>, reason: &Reason, now: Timestamp) -> Outcome<()> {
        self.process
            .shared
            .truth()
            .safeguard("what cannot be done is given up with a reason");
        self.leased("bury_delivery", &lease, |lease| {
            self.inner.bury_delivery(lease, reason, now)
        })
        .await
    }
}
