//! The draft: the one write that cannot be taken back.
//!
//! A journal guards it: the intent is recorded before the post and the acknowledgement after it. A result found with an
//! intent and no acknowledgement was posted perhaps: where the EHR can search, the search decides; where it cannot, the
//! result becomes uncertain, is shown to an operator, and is never posted again by itself.

use std::time::Duration;

use super::{
    Quota, StageError, StepEnd,
    retry::{Verdict, verdict},
};
use crate::{
    domain::{AccessToken, AssistResult, Delivery, Draft, DraftReference, Firm, Mode, Reason, Stage},
    lease::Lease,
    ports::{
        Audit, AuditAction, AuditRecord, CallKind, Deliveries, DraftError, DraftSearch, DraftWriter, EhrError,
        StateError,
    },
    time::{Elapsed, within},
};

/// Why a draft is uncertain when the process ended between the post and its acknowledgement.
const INTERRUPTED: Reason = Reason::new(
    "draft.interrupted",
    "look for the reference code in the chart, then `skin-assist uncertain resolve`",
);

/// Why a draft is uncertain when the EHR's reply did not come.
const REPLY_LOST: Reason = Reason::new(
    "draft.reply-lost",
    "look for the reference code in the chart, then `skin-assist uncertain resolve`",
);

/// What a post needs of its lease. It does not begin with less: it would be cut off, and be uncertain for nothing.
const POST_NEEDS: Duration = Duration::from_secs(15);

/// Writes drafts back.
pub struct WriteBack<'a> {
    /// The firm's token.
    pub token: &'a AccessToken,
    /// The right to post.
    pub writer: &'a dyn DraftWriter,
    /// Results and their journal.
    pub deliveries: &'a dyn Deliveries,
    /// The audit trail.
    pub audit: &'a dyn Audit,
    /// The quota.
    pub quota: Quota<'a>,
}

/// What is to be done before a post.
enum Before {
    Post,
    Known(DraftReference),
}

impl WriteBack<'_> {
    /// Delivers the result's draft, if the firm's mode permits.
    pub async fn run(&self, firm: &Firm, lease: Lease<AssistResult>) -> Result<StepEnd, StateError> {
        match self.deliver(firm, lease).await {
            Err(StateError::LeaseLost) => Ok(StepEnd::LeaseLost),
            outcome => outcome,
        }
    }

    async fn deliver(&self, firm: &Firm, lease: Lease<AssistResult>) -> Result<StepEnd, StateError> {
        let clock = self.quota.clock;
        let result = lease.item();
        let assessment = &result.assessment;
        let draft = Draft::new(
            assessment,
            result.note.clone(),
            result.versions.clone(),
            result.assessed_at,
        );
        let interrupted = matches!(result.delivery, Delivery::Intended { .. });
        if interrupted && !self.writer.can_search() {
            return self.uncertain(lease, INTERRUPTED).await;
        }
        if !interrupted && firm.mode == Mode::Silent {
            self.deliveries.record_withheld(lease, clock.now()).await?;
            return Ok(StepEnd::Withheld);
        }

        // Everything that may wait comes before the intent, so that an intent is as short as the post itself.
        let begin_by = lease.deadline() - POST_NEEDS;
        match within(clock, begin_by, self.before(firm, &draft, interrupted)).await {
            // The switch to silent mode holds for a draft that an interrupted post did not bring into the chart, too.
            Ok(Ok(Before::Post)) if firm.mode == Mode::Silent => {
                self.deliveries.record_withheld(lease, clock.now()).await?;
                return Ok(StepEnd::Withheld);
            }
            Ok(Ok(Before::Post)) if clock.now() > begin_by => {
                return self.not_taken(lease, &Elapsed.into(), interrupted).await;
            }
            Ok(Ok(Before::Post)) => {}
            Ok(Ok(Before::Known(reference))) => return self.delivered(lease, &reference).await,
            Ok(Err(error)) => return self.not_taken(lease, &error, interrupted).await,
            Err(elapsed) => return self.not_taken(lease, &elapsed.into(), interrupted).await,
        }
        self.deliveries.record_intent(&lease, clock.now()).await?;
        let answer = within(clock, lease.deadline(), self.writer.post(firm, self.token, &draft)).await;
        match answer {
            Ok(Ok(reference)) => self.delivered(lease, &reference).await,
            Ok(Err(DraftError::NotTaken(error))) => {
                self.quota.notice(&error).await?;
                self.not_taken(lease, &error.into(), false).await
            }
            Ok(Err(DraftError::Unknown(_))) | Err(_) => {
                if self.writer.can_search() {
                    // The intent stays: the next attempt begins with the search.
                    let until = clock.now() + super::retry::backoff(lease.attempt());
                    self.deliveries.retry_search(lease, until).await?;
                    Ok(StepEnd::Waiting {
                        until,
                        reason: REPLY_LOST,
                        renew_token: false,
                    })
                } else {
                    self.uncertain(lease, REPLY_LOST).await
                }
            }
        }
    }

    /// Takes the grants, and looks for the draft first where an earlier post was interrupted.
    async fn before(&self, firm: &Firm, draft: &Draft, interrupted: bool) -> Result<Before, StageError> {
        if interrupted {
            let search = self.writer.find(firm, self.token, draft);
            match self.quota.call(CallKind::Draft, search).await? {
                DraftSearch::Found(reference) => return Ok(Before::Known(reference)),
                DraftSearch::Absent => {}
                DraftSearch::Unsupported => {
                    return Err(EhrError::Malformed {
                        what: "the search for drafts is not supported after all",
                    }
                    .into());
                }
            }
        }
        self.quota.take(CallKind::Draft).await?;
        Ok(Before::Post)
    }

    async fn delivered(&self, lease: Lease<AssistResult>, reference: &DraftReference) -> Result<StepEnd, StateError> {
        let now = self.quota.clock.now();
        let assessment = &lease.item().assessment;
        let record = AuditRecord {
            at: now,
            firm: assessment.firm.clone(),
            actor: Stage::WriteBack.to_string(),
            action: AuditAction::DraftWritten,
            subject: assessment.id.to_string(),
        };
        self.deliveries.record_delivered(lease, reference, now).await?;
        self.audit.record(&record).await?;
        Ok(StepEnd::Delivered)
    }

    async fn uncertain(&self, lease: Lease<AssistResult>, reason: Reason) -> Result<StepEnd, StateError> {
        self.deliveries
            .record_uncertain(lease, &reason, self.quota.clock.now())
            .await?;
        Ok(StepEnd::Uncertain(reason))
    }

    /// After an error before the post, or one that says that the EHR certainly does not have the draft. A recorded
    /// intent of an earlier, interrupted post is `kept`: that one is still unknown.
    async fn not_taken(
        &self,
        lease: Lease<AssistResult>,
        error: &StageError,
        kept: bool,
    ) -> Result<StepEnd, StateError> {
        let now = self.quota.clock.now();
        let reason = error.reason();
        match verdict(error.class(), Stage::WriteBack, lease.attempt(), now) {
            Verdict::Stop => Ok(StepEnd::LeaseLost),
            Verdict::Retry { at, renew_token } => {
                if kept {
                    self.deliveries.retry_search(lease, at).await?;
                } else {
                    self.deliveries.retry_delivery(lease, at).await?;
                }
                Ok(StepEnd::Waiting {
                    until: at,
                    reason,
                    renew_token,
                })
            }
            Verdict::Bury if kept => self.uncertain(lease, INTERRUPTED).await,
            Verdict::Bury => {
                self.deliveries.bury_delivery(lease, &reason, now).await?;
                Ok(StepEnd::Buried(reason))
            }
        }
    }
}
