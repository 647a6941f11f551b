//! The models' look at one photo: paid for once, whoever is judged with it, and before or after that is decided.

use super::StageError;
use crate::{
    domain::{Assessment, DocumentWatch, Findings, ModelVersion, PhotoBytes, ResultKey, Stage, StoredPhoto},
    lease::Lease,
    phi::Phi,
    ports::{Audit, AuditAction, AuditRecord, InferenceRecords, StateError, VisionModel},
    time::{Clock, within},
};

/// How often the models begin to look at one photo, failures and crashes included. A photo that brings the process down
/// would otherwise do so for ever.
const MOST_LOOKS: u32 = 12;

/// Looks at photos.
pub struct Look<'a> {
    /// The vision models.
    pub vision: &'a dyn VisionModel,
    /// What inferences cost and bring.
    pub records: &'a dyn InferenceRecords,
    /// The audit trail.
    pub audit: &'a dyn Audit,
    /// The clock.
    pub clock: &'a dyn Clock,
}

impl Look<'_> {
    /// What is known already of what these models see on it.
    pub(super) async fn known(
        &self,
        watch: &DocumentWatch,
        stored: &StoredPhoto,
        models: &[ModelVersion],
    ) -> Result<Option<Phi<Findings>>, StateError> {
        self.records.findings(&watch.firm, &key(watch, stored, models)).await
    }

    /// What the models see on it, recorded before anything is made of it. `lease` is on the photo itself, or on the one that leads the
    /// closed assessment that it belongs to.
    pub(super) async fn at(
        &self,
        lease: &Lease<DocumentWatch>,
        watch: &DocumentWatch,
        stored: &StoredPhoto,
        bytes: &PhotoBytes,
        models: &[ModelVersion],
    ) -> Result<Phi<Findings>, StageError> {
        if self.records.count_look(lease, &watch.document).await? > MOST_LOOKS {
            return Err(StageError::TooManyLooks);
        }
        // Before: what cannot be recorded is not done.
        self.audit
            .record(&AuditRecord {
                at: self.clock.now(),
                firm: watch.firm.clone(),
                actor: Stage::Infer.to_string(),
                action: AuditAction::Inferred,
                subject: watch.document.to_string(),
            })
            .await?;
        // Where the process stood still, somebody else may have looked meanwhile.
        let look = self.vision.look(watch.route, bytes);
        let findings = Phi::new(within(self.clock, lease.deadline(), look).await??);
        let key = key(watch, stored, models);
        self.records
            .record_findings(lease, &key, &findings, self.clock.now())
            .await?;
        Ok(findings)
    }
}

/// What findings are known by: the photo's own identity, whoever is judged with it, its bytes, and the models.
fn key(watch: &DocumentWatch, stored: &StoredPhoto, models: &[ModelVersion]) -> ResultKey {
    let own = Assessment::identity(&watch.firm, &watch.encounter, [&watch.document]);
    ResultKey::new(&own, [&stored.digest], models)
}
