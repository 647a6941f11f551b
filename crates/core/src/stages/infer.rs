//! Models and synthesis: from the photos of an assessment to a result.
//!
//! An assessment is worked on under the lease of one of its photos. Photos for which further ones are waited lead it in turn: the
//! first that is at the models when the window has passed closes the assessment, and the others wait for nobody any more.

use std::time::Duration;

use super::{
    Quota, StageError, StepEnd, done,
    download_photo::settle,
    look::Look,
    retry::{Verdict, verdict},
};
use crate::{
    domain::{
        AccessToken, AssessedPhoto, Assessment, AssistResult, Delivery, DocumentId, DocumentWatch, Findings, Firm,
        FirmId, Gathering, ModelVersion, PatientFacts, PhotoBytes, PhotoFindings, Reason, ResultKey, Stage,
        StoredPhoto, Versions, gather,
    },
    lease::Lease,
    phi::Phi,
    ports::{
        Audit, AuditAction, AuditRecord, CallKind, ContextPart, ContextSubject, DocumentQueue, InferenceRecords,
        LanguageModel, LanguageSpending, PatientContext, Photos, StateError, SynthesisRequest, VisionModel,
    },
    synthesis::{self, PIPELINE_VERSION},
    time::{Timestamp, within},
};

/// How long a draft waits for the patient's context, all parts of it together. Without it a draft is still worth more than
/// none, and a worker that waits keeps the next photo waiting.
const CONTEXT_PATIENCE: Duration = Duration::from_secs(4);

/// When an assessment is looked at again that somebody else was closing.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Looks at the photos of an assessment and makes a result of them.
pub struct Infer<'a> {
    /// The firm's token.
    pub token: &'a AccessToken,
    /// The photos' bytes.
    pub photos: &'a dyn Photos,
    /// The vision models.
    pub vision: &'a dyn VisionModel,
    /// The language model, or the composer.
    pub language: &'a dyn LanguageModel,
    /// What language models cost.
    pub spending: &'a dyn LanguageSpending,
    /// The minimum about the patient.
    pub context: &'a dyn PatientContext,
    /// The document's lease.
    pub queue: &'a dyn DocumentQueue,
    /// What inferences cost and bring.
    pub records: &'a dyn InferenceRecords,
    /// The audit trail.
    pub audit: &'a dyn Audit,
    /// The quota.
    pub quota: Quota<'a>,
}

/// Who is judged under one lease.
struct Group {
    assessment: Assessment,
    /// The leased photo first.
    photos: Vec<DocumentWatch>,
}

/// A photo that can be judged.
struct Present<'a> {
    watch: &'a DocumentWatch,
    stored: &'a StoredPhoto,
    sight: Sight,
}

/// What there is of it.
enum Sight {
    /// What the models saw, before it was its turn or before a crash.
    Known(Phi<Findings>),
    /// Its bytes, which the models are still to see.
    Bytes(PhotoBytes),
}

/// What came of the models' looks.
#[derive(Default)]
struct Seen {
    findings: Vec<(DocumentId, Phi<Findings>)>,
    not_assessed: Vec<(DocumentId, Reason)>,
}

impl Infer<'_> {
    /// Assesses the photo, with those that belong to the same assessment. An inference that was paid for already, before a crash, is
    /// not paid for again: findings are looked up by what makes them, and stored before the language model is called.
    pub async fn run(&self, firm: &Firm, lease: Lease<DocumentWatch>) -> Result<StepEnd, StateError> {
        match self.infer(firm, lease).await {
            Err(StateError::LeaseLost) => Ok(StepEnd::LeaseLost),
            outcome => outcome,
        }
    }

    async fn infer(&self, firm: &Firm, lease: Lease<DocumentWatch>) -> Result<StepEnd, StateError> {
        let group = match self.group(&lease).await? {
            Ok(group) => group,
            Err(until) => {
                self.queue.release_document(lease, until).await?;
                return Ok(StepEnd::Gathering(until));
            }
        };
        let models = self.vision.versions(group.assessment.route);
        let (mut present, mut lost) = (Vec::new(), Vec::new());
        for watch in &group.photos {
            match self.present(watch, &models).await? {
                Some(photo) => present.push(photo),
                None => lost.push(watch.document.clone()),
            }
        }
        if !lost.is_empty() {
            let now = self.quota.clock.now();
            self.queue.record_photo_lost(lease, &lost, now).await?;
            return Ok(StepEnd::BytesLost);
        }
        let attempt = within(
            self.quota.clock,
            lease.deadline(),
            self.assess(firm, &lease, &group.assessment, &present, &models),
        )
        .await;
        let end = match attempt.map_err(StageError::from).and_then(|outcome| outcome) {
            Ok(result) => done(self.records.record_result(lease, &result).await),
            Err(error) => settle(self.queue, lease, Stage::Infer, &error, self.quota.clock.now()).await,
        }?;
        // A lease on several is lost when one of them is retracted: the others are judged anew.
        let others_need_them = end == StepEnd::LeaseLost && present.len() > 1;
        if matches!(end, StepEnd::Done | StepEnd::Buried(_) | StepEnd::LeaseLost) && !others_need_them {
            for photo in &present {
                self.photos.delete(&firm.id, &photo.watch.document).await?;
            }
        }
        Ok(end)
    }

    /// A photo with what the models saw on it, or with its bytes. None of them is there where the process was restarted, or where the
    /// models are others now: the document is.
    async fn present<'p>(
        &self,
        watch: &'p DocumentWatch,
        models: &[ModelVersion],
    ) -> Result<Option<Present<'p>>, StateError> {
        let Some(stored) = &watch.photo else { return Ok(None) };
        let sight = match self.look().known(watch, stored, models).await? {
            Some(findings) => Some(Sight::Known(findings)),
            None => self.photos.get(&watch.firm, &watch.document).await?.map(Sight::Bytes),
        };
        Ok(sight.map(|sight| Present { watch, stored, sight }))
    }

    fn look(&self) -> Look<'_> {
        Look {
            vision: self.vision,
            records: self.records,
            audit: self.audit,
            clock: self.quota.clock,
        }
    }

    /// The photos that are judged under the lease, in an assessment that is closed now; or when to look again.
    async fn group(&self, lease: &Lease<DocumentWatch>) -> Result<Result<Group, Timestamp>, StateError> {
        let lead = lease.item();
        let Some(gathers_until) = lead.gathers_until else {
            let assessment = Assessment {
                earlier: self.records.draft_before(lead).await?,
                ..Assessment::of(lead)
            };
            let photos = vec![lead.clone()];
            return Ok(Ok(Group { assessment, photos }));
        };
        let siblings = self.queue.siblings(lead).await?;
        let (closed, companions) = if let Some(closed) = &lead.closed {
            let of_it = siblings.into_iter().map(|sibling| sibling.watch);
            let companions: Vec<_> = of_it
                .filter(|watch| closed.companions.contains(&watch.document))
                .collect();
            if companions.len() < closed.companions.len() {
                return Err(StateError::NotFound {
                    what: "photo of a closed assessment",
                });
            }
            (closed.clone(), companions)
        } else {
            let now = self.quota.clock.now();
            match gather(lead, gathers_until, &siblings, now) {
                Gathering::NotBefore(until) => return Ok(Err(until)),
                Gathering::Close { closed, companions } => {
                    if !self.queue.close_assessment(lease, &closed).await? {
                        // One of them was faster, or was retracted.
                        return Ok(Err(now + LOOK_AGAIN));
                    }
                    (closed, companions)
                }
            }
        };
        let earlier = match &closed.earlier {
            Some(earlier) => self.records.earlier_draft(&lead.firm, earlier).await?,
            None => None,
        };
        let mut photos = companions;
        photos.insert(0, lead.clone());
        let assessment = Assessment {
            id: closed.id,
            documents: photos.iter().map(|watch| watch.document.clone()).collect(),
            earlier,
            ..Assessment::of(lead)
        };
        Ok(Ok(Group { assessment, photos }))
    }

    async fn assess(
        &self,
        firm: &Firm,
        lease: &Lease<DocumentWatch>,
        assessment: &Assessment,
        present: &[Present<'_>],
        models: &[ModelVersion],
    ) -> Result<AssistResult, StageError> {
        let digests = present.iter().map(|photo| &photo.stored.digest);
        let key = ResultKey::new(&assessment.id, digests, models);
        let Seen { findings, not_assessed } = self.look_at_all(lease, present, models).await?;
        let by_photo: Vec<(DocumentId, &Findings)> = findings
            .iter()
            .map(|(document, findings)| (document.clone(), findings.expose()))
            .collect();
        let together = Findings::together(by_photo.iter().map(|(_, findings)| *findings));
        // Where no photo could be judged there is an error instead.
        let together = together.ok_or(StageError::TooManyLooks)?;
        if !self.context.parts().is_empty() {
            self.note(&firm.id, AuditAction::ContextRead, assessment.id.as_str())
                .await?;
        }
        let patient = self.patient_facts(firm, assessment).await;
        let request = SynthesisRequest {
            assessment,
            findings: &by_photo,
            patient,
            over_budget: self.is_over_budget(firm).await?,
        };
        let synthesis = self.language.synthesize(&request).await?;
        if let Some(used) = &synthesis.language {
            // Before the result: what was spent counts, whatever becomes of it.
            let now = self.quota.clock.now();
            self.spending.add_language_spent(&firm.id, now, &used.into()).await?;
        }
        let versions = Versions {
            // Those that really looked: a model server may have been given others since they were asked for.
            models: together.models.clone(),
            synthesis: synthesis.made_by.clone(),
            pipeline: PIPELINE_VERSION.to_owned(),
            language: synthesis.language.clone(),
        };
        let of_photo = |document: &DocumentId| {
            let known = not_assessed.iter().find(|(known, _)| known == document);
            known.map(|(_, reason)| reason.clone())
        };
        let photos: Vec<AssessedPhoto> = present
            .iter()
            .map(|Present { watch, stored, .. }| AssessedPhoto {
                document: watch.document.clone(),
                digest: stored.digest.clone(),
                attached_at: watch.attached_at,
                detected_at: watch.detected_at,
                downloaded_at: stored.downloaded_at,
                not_assessed: of_photo(&watch.document),
            })
            .collect();
        let note = synthesis::compose_note(&request, &synthesis, &photos, &versions);
        let photo_findings = match &*by_photo {
            [_] => Vec::new(),
            several => several
                .iter()
                .map(|(document, findings)| PhotoFindings {
                    document: document.clone(),
                    findings: (*findings).clone(),
                })
                .collect(),
        };
        Ok(AssistResult {
            assessment: assessment.clone(),
            key,
            photos,
            findings: Phi::new(together),
            photo_findings: Phi::new(photo_findings),
            note: Phi::new(note),
            versions,
            assessed_at: self.quota.clock.now(),
            delivery: Delivery::Pending,
        })
    }

    /// The models' looks at all photos, one after the other. One of several that they cannot look at, whatever is tried, does not
    /// take the others with it.
    async fn look_at_all(
        &self,
        lease: &Lease<DocumentWatch>,
        present: &[Present<'_>],
        models: &[ModelVersion],
    ) -> Result<Seen, StageError> {
        let mut seen = Seen::default();
        let mut first_error = None;
        for photo in present {
            let document = &photo.watch.document;
            let findings = match &photo.sight {
                Sight::Known(findings) => Ok(findings.clone()),
                Sight::Bytes(bytes) => self.look().at(lease, photo.watch, photo.stored, bytes, models).await,
            };
            match findings {
                Ok(findings) => seen.findings.push((document.clone(), findings)),
                Err(error) => {
                    let verdict = verdict(error.class(), Stage::Infer, lease.attempt(), self.quota.clock.now());
                    // A store that fails says nothing about the photo.
                    let of_photo = matches!(error, StageError::Vision(_) | StageError::TooManyLooks);
                    if present.len() == 1 || verdict != Verdict::Bury || !of_photo {
                        return Err(error);
                    }
                    let reason = error.reason();
                    tracing::warn!(event = "photo.not-assessed", firm = %photo.watch.firm, %document, reason = reason.code());
                    seen.not_assessed.push((document.clone(), reason));
                    first_error = first_error.or(Some(error));
                }
            }
        }
        match first_error {
            Some(error) if seen.findings.is_empty() => Err(error),
            _ => Ok(seen),
        }
    }

    /// Writes into the audit trail what is about to be read: what cannot be recorded is not read.
    async fn note(&self, firm: &FirmId, action: AuditAction, subject: &str) -> Result<(), StateError> {
        let record = AuditRecord {
            at: self.quota.clock.now(),
            firm: firm.clone(),
            actor: Stage::Infer.to_string(),
            action,
            subject: subject.to_owned(),
        };
        self.audit.record(&record).await
    }

    async fn is_over_budget(&self, firm: &Firm) -> Result<bool, StateError> {
        let Some(budget) = self.language.daily_budget_micros() else {
            return Ok(false);
        };
        let spent = self.spending.language_spent(&firm.id, self.quota.clock.now()).await?;
        Ok(spent.cost_micros >= budget)
    }

    /// The minimum about the patient, part by part, the most useful first: what was read before for the visit is not read again,
    /// and when calls are short the last parts are left out. A draft without them is still worth more than none: what cannot
    /// be read is named in the draft as not known.
    async fn patient_facts(&self, firm: &Firm, assessment: &Assessment) -> PatientFacts {
        let mut facts = PatientFacts::default();
        let mut are_of_one_site = true;
        let give_up_at = self.quota.clock.now() + CONTEXT_PATIENCE;
        for part in self.context.parts() {
            if part == ContextPart::PriorResults && (facts.site.is_none() || !are_of_one_site) {
                // Of which site would not be known: nothing of it could be used.
                continue;
            }
            let mut documents = assessment.documents.iter();
            let Some(first) = documents.next() else { break };
            let Some(known) = self.part_of(firm, assessment, first, part, give_up_at).await else {
                continue;
            };
            if part == ContextPart::Document {
                // The site of one photo would be put to the lesions of another.
                for document in documents {
                    let of_other = self.part_of(firm, assessment, document, part, give_up_at).await;
                    let of_other = of_other.unwrap_or_default();
                    are_of_one_site &= (&of_other.site, of_other.laterality) == (&known.site, known.laterality);
                }
            }
            facts = facts.with(known);
        }
        if !are_of_one_site {
            (facts.site, facts.laterality) = (None, None);
        }
        facts
    }

    /// What a part tells of a photo and its visit: as it was read before, or read now; none where it cannot be read in time.
    async fn part_of(
        &self,
        firm: &Firm,
        assessment: &Assessment,
        document: &DocumentId,
        part: ContextPart,
        give_up_at: Timestamp,
    ) -> Option<PatientFacts> {
        let subject = ContextSubject {
            patient: &assessment.patient,
            encounter: &assessment.encounter,
            document,
        };
        if let Some(known) = self.context.remembered(&firm.id, &subject, part) {
            return Some(known.into_exposed());
        }
        let read = self.context.read_context(firm, self.token, &subject, part);
        let answer = within(self.quota.clock, give_up_at, self.quota.call(CallKind::Context, read)).await;
        match answer.map_err(StageError::from).and_then(|answer| answer) {
            Ok(known) => Some(known.into_exposed()),
            Err(error) => {
                let reason = error.reason();
                tracing::info!(event = "context.unavailable", firm = %firm.id, part = part.as_str(), reason = reason.code());
                None
            }
        }
    }
}
