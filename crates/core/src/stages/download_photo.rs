//! The photo's bytes, from where reading the document says they are: a photo host, the EHR, or the document itself.

use std::time::Duration;

use super::{
    Quota, StageError, StepEnd, done,
    look::Look,
    retry::{Verdict, verdict},
};
use crate::{
    domain::{AccessToken, DocumentId, DocumentWatch, Firm, PhotoBytes, PhotoDigest, Stage, StoredPhoto},
    lease::Lease,
    ports::{
        Audit, AuditAction, AuditRecord, CallKind, DocumentQueue, EhrError, PhotoLocation, PhotoSource, Photos,
        StateError,
    },
    time::{Timestamp, within},
};

/// Reads a photo's bytes from the EHR.
pub struct ReadPhoto<'a> {
    /// The firm's token.
    pub token: &'a AccessToken,
    /// Where photos come from.
    pub source: &'a dyn PhotoSource,
    /// The quota: a call for the document, and one more where the EHR has the bytes itself.
    pub quota: Quota<'a>,
}

impl ReadPhoto<'_> {
    /// The bytes as they are now. Who uses them records it before.
    pub async fn run(&self, firm: &Firm, document: &DocumentId) -> Result<PhotoBytes, StageError> {
        match self.fetch(firm, document).await {
            // The URL lives for minutes only, and a call may have waited: read the document once more.
            Err(StageError::Ehr(EhrError::PhotoUrlExpired)) => self.fetch(firm, document).await,
            outcome => outcome,
        }
    }

    async fn fetch(&self, firm: &Firm, document: &DocumentId) -> Result<PhotoBytes, StageError> {
        let read = self.source.locate(firm, self.token, document);
        match self.quota.call(CallKind::Read, read).await? {
            PhotoLocation::Inline(photo) => Ok(photo),
            PhotoLocation::Binary { id } => {
                let read = self.source.read_binary(firm, self.token, &id);
                self.quota.call(CallKind::Read, read).await
            }
            PhotoLocation::Url { url, .. } => Ok(self.source.download(&url).await?),
        }
    }
}

/// Downloads a photo.
pub struct DownloadPhoto<'a> {
    /// The firm's token.
    pub token: &'a AccessToken,
    /// Where photos come from.
    pub source: &'a dyn PhotoSource,
    /// Where their bytes are kept until the models looked.
    pub photos: &'a dyn Photos,
    /// The document's lease.
    pub queue: &'a dyn DocumentQueue,
    /// The audit trail.
    pub audit: &'a dyn Audit,
    /// The quota.
    pub quota: Quota<'a>,
    /// Looks at photos for which further ones are waited, as soon as they are there: where bytes take memory they would take it for as
    /// long as that, and, where there is no room for all photos of an assessment, for ever. None where room costs nothing.
    pub ahead: Option<Look<'a>>,
}

/// So much of a lease is left after a look ahead, to record what it brought.
const TO_RECORD: Duration = Duration::from_secs(5);

impl DownloadPhoto<'_> {
    /// Downloads the photo and hands the document on. No fence guards the bytes: they are put under the document's own
    /// key, and putting the same photo twice is harmless.
    pub async fn run(&self, firm: &Firm, lease: Lease<DocumentWatch>) -> Result<StepEnd, StateError> {
        let attempt = within(self.quota.clock, lease.deadline(), self.download(firm, &lease)).await;
        match attempt.map_err(StageError::from).and_then(|outcome| outcome) {
            Ok(photo) => done(self.queue.record_photo(lease, &photo).await),
            Err(error) => settle(self.queue, lease, Stage::DownloadPhoto, &error, self.quota.clock.now()).await,
        }
    }

    async fn download(&self, firm: &Firm, lease: &Lease<DocumentWatch>) -> Result<StoredPhoto, StageError> {
        let watch = lease.item();
        let (token, source, quota) = (self.token, self.source, self.quota);
        let photo = ReadPhoto { token, source, quota }.run(firm, &watch.document).await?;
        let digest = PhotoDigest::of(&photo);
        let bytes = photo.expose().len() as u64;
        let downloaded_at = self.quota.clock.now();
        // Before it is handed on: what cannot be recorded is not used.
        self.audit
            .record(&AuditRecord {
                at: downloaded_at,
                firm: firm.id.clone(),
                actor: Stage::DownloadPhoto.to_string(),
                action: AuditAction::PhotoRead,
                subject: watch.document.to_string(),
            })
            .await?;
        let stored = StoredPhoto {
            digest,
            bytes,
            downloaded_at,
        };
        if !self.is_seen(lease, &stored, &photo).await? {
            self.photos.put(&firm.id, &watch.document, photo).await?;
        }
        Ok(stored)
    }

    /// Whether the models have seen the photo, so that its bytes are not needed any more. A look ahead that fails does no harm: the
    /// photo is looked at when it is its turn, and what fails then counts.
    async fn is_seen(
        &self,
        lease: &Lease<DocumentWatch>,
        stored: &StoredPhoto,
        photo: &PhotoBytes,
    ) -> Result<bool, StageError> {
        let watch = lease.item();
        let (Some(look), Some(_)) = (&self.ahead, watch.gathers_until) else {
            return Ok(false);
        };
        let models = look.vision.versions(watch.route);
        if look.known(watch, stored, &models).await?.is_some() {
            return Ok(true);
        }
        let looked = look.at(lease, watch, stored, photo, &models);
        match within(self.quota.clock, lease.deadline() - TO_RECORD, looked).await {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(error @ StageError::State(_))) => Err(error),
            Ok(Err(_)) | Err(_) => Ok(false),
        }
    }
}

/// Ends the lease of a document whose step failed, as [`verdict`] says.
pub(super) async fn settle(
    queue: &dyn DocumentQueue,
    lease: Lease<DocumentWatch>,
    stage: Stage,
    error: &StageError,
    now: Timestamp,
) -> Result<StepEnd, StateError> {
    let reason = error.reason();
    let ended = match verdict(error.class(), stage, lease.attempt(), now) {
        Verdict::Stop => return Ok(StepEnd::LeaseLost),
        Verdict::Retry { at, renew_token } => {
            let ended = StepEnd::Waiting {
                until: at,
                reason,
                renew_token,
            };
            queue.retry_document(lease, at).await.map(|()| ended)
        }
        Verdict::Bury => queue
            .bury_document(lease, stage, &reason, now)
            .await
            .map(|()| StepEnd::Buried(reason)),
    };
    match ended {
        Err(StateError::LeaseLost) => Ok(StepEnd::LeaseLost),
        ended => ended,
    }
}
