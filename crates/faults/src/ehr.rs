//! The EHR and the models as one process uses them: witnessed, and for some mutations changed.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use skin_assist_core::{
    domain::{
        AccessToken, Credential, Cursor, DocumentCategory, DocumentId, DocumentSummary, Draft, DraftReference,
        Encounter, EncounterId, Findings, Firm, FirmId, IssuedToken, ModelVersion, PatientFacts, PhotoBytes, Route,
    },
    phi::Phi,
    ports::{
        ChartReader, ContextPart, ContextSubject, DocumentQuery, DocumentSearches, DraftAbilities, DraftError,
        DraftSearch, DraftWriter, EarlierInChart, EhrError, EncounterQuery, FirmSettings, Page, PageLink,
        PatientContext, PhotoLocation, PhotoSource, Photos, StateError, TokenEndpoint, VisionError, VisionModel,
        WrittenDraft,
    },
    time::Timestamp,
};
use skin_assist_ehr::EhrClient;
use skin_assist_testkit::scripted::ScriptedVision;

use crate::{
    plan::Mutation,
    process::{Process, Shared, lock},
    state::{is_alias, without_alias},
    truth::{PhotoName, Truth},
};

/// The EHR as one process uses it.
pub(crate) struct ProcessEhr {
    pub(crate) inner: Arc<EhrClient>,
    pub(crate) process: Arc<Process>,
}

impl ProcessEhr {
    fn calls(&self, firm: &Firm, token: &AccessToken) {
        let secret = token.secret.expose();
        self.process.shared.truth().called_with(secret, &firm.id);
    }

    fn ignores_overlap(&self) -> bool {
        self.process.shared.mutation == Mutation::Overlap
    }
}

/// Whether a process that had stood still so often is there and has not since.
pub(crate) type Standing = Arc<dyn Fn(u64, u64) -> bool + Send + Sync>;

#[async_trait]
impl ChartReader for ProcessEhr {
    async fn encounters(
        &self,
        firm: &Firm,
        token: &AccessToken,
        query: &EncounterQuery,
        page: Option<&PageLink>,
    ) -> Result<Page<Encounter>, EhrError> {
        self.calls(firm, token);
        let mut query = *query;
        if self.ignores_overlap() {
            query.changed_since = query.changed_since + Cursor::OVERLAP;
        }
        let seen = {
            let searches = lock(&self.process.search);
            let mut pages = searches.get(&firm.id).into_iter().flatten();
            pages
                .find(|(link, _)| link.as_ref() == page)
                .map(|(_, page)| page.clone())
        };
        if let Some(seen) = seen {
            self.process
                .shared
                .truth()
                .safeguard("a search of several pages is read again");
            if self.process.shared.mutation == Mutation::SecondReading {
                return Ok(seen);
            }
        }
        let answer = self.inner.encounters(firm, token, &query, page).await?;
        let mut searches = lock(&self.process.search);
        let pages = searches.entry(firm.id.clone()).or_default();
        pages.push((page.cloned(), answer.clone()));
        Ok(answer)
    }

    fn document_searches(&self) -> DocumentSearches {
        self.inner.document_searches()
    }

    async fn documents(
        &self,
        firm: &Firm,
        token: &AccessToken,
        query: &DocumentQuery,
        page: Option<&PageLink>,
    ) -> Result<Page<DocumentSummary>, EhrError> {
        self.calls(firm, token);
        tracing::debug!(at = %self.process.shared.now(), life = self.process.number, firm = %firm.id, ?query);
        match query {
            DocumentQuery::ChangedSince(since) if self.ignores_overlap() => {
                let query = DocumentQuery::ChangedSince(*since + Cursor::OVERLAP);
                self.inner.documents(firm, token, &query, page).await
            }
            query => self.inner.documents(firm, token, query, page).await,
        }
    }
}

#[async_trait]
impl PhotoSource for ProcessEhr {
    async fn locate(&self, firm: &Firm, token: &AccessToken, document: &DocumentId) -> Result<PhotoLocation, EhrError> {
        self.calls(firm, token);
        self.inner.locate(firm, token, &without_alias(document)).await
    }

    async fn read_binary(&self, firm: &Firm, token: &AccessToken, id: &str) -> Result<PhotoBytes, EhrError> {
        self.calls(firm, token);
        self.inner.read_binary(firm, token, id).await
    }

    async fn download(&self, url: &Phi<String>) -> Result<PhotoBytes, EhrError> {
        self.inner.download(url).await
    }
}

#[async_trait]
impl PatientContext for ProcessEhr {
    fn parts(&self) -> Vec<ContextPart> {
        self.inner.parts()
    }

    fn remembered(&self, firm: &FirmId, subject: &ContextSubject<'_>, part: ContextPart) -> Option<Phi<PatientFacts>> {
        self.inner.remembered(firm, subject, part)
    }

    async fn read_context(
        &self,
        firm: &Firm,
        token: &AccessToken,
        subject: &ContextSubject<'_>,
        part: ContextPart,
    ) -> Result<Phi<PatientFacts>, EhrError> {
        self.calls(firm, token);
        self.inner.read_context(firm, token, subject, part).await
    }
}

#[async_trait]
impl DraftWriter for ProcessEhr {
    fn abilities(&self) -> DraftAbilities {
        self.inner.abilities()
    }

    async fn post(&self, firm: &Firm, token: &AccessToken, draft: &Draft) -> Result<DraftReference, DraftError> {
        self.calls(firm, token);
        {
            let mut truth = self.process.shared.truth();
            truth.posts(self.process.number, &(draft.firm.clone(), draft.reference_code.clone()));
            if draft.firm != firm.id {
                truth.violated(
                    "no cross-firm read",
                    format!("a draft of {} for {}", draft.firm, firm.id),
                );
            }
        }
        let answer = if draft.documents.iter().any(is_alias) {
            let documents: BTreeSet<_> = draft.documents.iter().map(without_alias).collect();
            let draft = Draft {
                documents,
                ..draft.clone()
            };
            self.inner.post(firm, token, &draft).await
        } else {
            self.inner.post(firm, token, draft).await
        };
        self.process.passes("post").await;
        answer
    }

    async fn find(&self, firm: &Firm, token: &AccessToken, draft: &Draft) -> Result<DraftSearch, EhrError> {
        self.calls(firm, token);
        self.process
            .shared
            .truth()
            .safeguard("an interrupted post is settled by a search");
        self.inner.find(firm, token, draft).await
    }

    async fn look_at_earlier(
        &self,
        firm: &Firm,
        token: &AccessToken,
        earlier: &DraftReference,
        draft: &Draft,
    ) -> Result<EarlierInChart, EhrError> {
        self.calls(firm, token);
        self.inner.look_at_earlier(firm, token, earlier, draft).await
    }

    async fn update(
        &self,
        firm: &Firm,
        token: &AccessToken,
        earlier: &WrittenDraft,
        draft: &Draft,
    ) -> Result<DraftReference, DraftError> {
        self.calls(firm, token);
        let answer = self.inner.update(firm, token, earlier, draft).await;
        self.process.passes("update").await;
        answer
    }

    async fn is_visit_over(&self, firm: &Firm, token: &AccessToken, encounter: &EncounterId) -> Result<bool, EhrError> {
        self.calls(firm, token);
        self.inner.is_visit_over(firm, token, encounter).await
    }
}

#[async_trait]
impl FirmSettings for ProcessEhr {
    async fn categories(&self, firm: &Firm, token: &AccessToken) -> Result<Option<Vec<DocumentCategory>>, EhrError> {
        self.calls(firm, token);
        self.inner.categories(firm, token).await
    }
}

/// Ends something that the truth was told of, also when the process that did it is gone.
pub(crate) struct AtEnd<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) end: Box<dyn Fn(&mut Truth) + Send + 'a>,
}

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        (self.end)(&mut self.shared.truth());
    }
}

/// The token endpoint as one process uses it.
pub(crate) struct ProcessTokens {
    pub(crate) inner: Arc<EhrClient>,
    pub(crate) process: Arc<Process>,
    pub(crate) standing: Standing,
}

#[async_trait]
impl TokenEndpoint for ProcessTokens {
    async fn request_token(
        &self,
        firm: &Firm,
        credential: &Credential,
        now: Timestamp,
    ) -> Result<IssuedToken, EhrError> {
        let (number, freezes) = (self.process.number, self.process.freezes());
        let shared = &*self.process.shared;
        tracing::debug!(at = %shared.now(), life = number, firm = %firm.id, "a token is asked for");
        shared
            .truth()
            .asks_for_token(&firm.id, number, freezes, |process, freezes| {
                (self.standing)(process, freezes)
            });
        let id = firm.id.clone();
        let asking = AtEnd {
            shared,
            end: Box::new(move |truth| {
                tracing::debug!(at = %shared.now(), life = number, firm = %id, "a token is no longer asked for");
                truth.asked_for_token(&id, number);
            }),
        };
        let answer = self.inner.request_token(firm, credential, now).await;
        drop(asking);
        if let Ok(token) = &answer {
            let mut truth = shared.truth();
            if truth.token_issued(token.access.secret.expose(), &firm.id) {
                truth.fault("token over, or nearly");
            }
        }
        answer
    }
}

// The driver is handed one value for all ports of an EHR; tokens come from `ProcessTokens`.
#[async_trait]
impl TokenEndpoint for ProcessEhr {
    async fn request_token(
        &self,
        firm: &Firm,
        credential: &Credential,
        now: Timestamp,
    ) -> Result<IssuedToken, EhrError> {
        self.inner.request_token(firm, credential, now).await
    }
}

/// The models as one process uses them.
pub(crate) struct ProcessVision {
    pub(crate) inner: ScriptedVision,
    /// The same models when they hang.
    pub(crate) hanging: ScriptedVision,
    pub(crate) process: Arc<Process>,
    pub(crate) standing: Standing,
}

#[async_trait]
impl VisionModel for ProcessVision {
    async fn look(&self, route: Route, photo: &PhotoBytes) -> Result<Findings, VisionError> {
        // Who stands still from here on has begun.
        let (process, freezes) = (self.process.number, self.process.freezes());
        self.process.passes("look").await;
        let Some(name) = Truth::name_in(photo) else {
            return self.inner.look(route, photo).await;
        };
        let shared = &*self.process.shared;
        tracing::debug!(at = %shared.now(), life = process, freezes, photo = ?name, "a look begins");
        let number = shared.truth().look_begins(&name, process, freezes, |process, freezes| {
            (self.standing)(process, freezes)
        });
        let ended: PhotoName = name.clone();
        let looking = AtEnd {
            shared,
            end: Box::new(move |truth| truth.look_ends(&ended, number)),
        };
        let (until, of) = lock(&shared.weather).models_hang;
        let hangs = shared.now() < until && of.is_none_or(|place| place == self.process.place);
        let answer = if hangs {
            shared.truth().fault("models hang");
            self.hanging.look(route, photo).await
        } else {
            self.inner.look(route, photo).await
        };
        if answer.is_ok() {
            let mut truth = shared.truth();
            truth.look_answered(&name, number, process, freezes, |process, freezes| {
                (self.standing)(process, freezes)
            });
        }
        drop(looking);
        self.process.passes("answered").await;
        answer
    }

    fn versions(&self, route: Route) -> Vec<ModelVersion> {
        self.inner.versions(route)
    }
}

/// The photos' bytes as one process uses them.
pub(crate) struct ProcessPhotos {
    pub(crate) inner: Arc<dyn Photos>,
    pub(crate) mutation: Mutation,
}

impl ProcessPhotos {
    fn owner(&self, firm: &FirmId) -> FirmId {
        if self.mutation == Mutation::FirmInKeys {
            FirmId::new("any")
        } else {
            firm.clone()
        }
    }
}

#[async_trait]
impl Photos for ProcessPhotos {
    fn room(&self) -> usize {
        self.inner.room()
    }

    async fn put(&self, firm: &FirmId, document: &DocumentId, photo: PhotoBytes) -> Result<(), StateError> {
        self.inner.put(&self.owner(firm), document, photo).await
    }

    async fn get(&self, firm: &FirmId, document: &DocumentId) -> Result<Option<PhotoBytes>, StateError> {
        self.inner.get(&self.owner(firm), document).await
    }

    async fn delete(&self, firm: &FirmId, document: &DocumentId) -> Result<(), StateError> {
        self.inner.delete(&self.owner(firm), document).await
    }
}
