//! The draft: the one write that cannot be taken back.
//!
//! A journal guards it: the intent is recorded before the post and the acknowledgement after it. A result found with an
//! intent and no acknowledgement was posted perhaps. Where the EHR can search, the search decides; where it recognises
//! the draft's identifier, the post is repeated; where it can do neither, the result becomes uncertain, is shown to an
//! operator, and is never posted again by itself.

use std::time::Duration;

use super::{
    Quota, StageError, StepEnd,
    retry::{Verdict, verdict},
};
use crate::{
    domain::{AccessToken, AssistResult, Delivery, Draft, DraftReference, Firm, Mode, Reason, Stage},
    lease::Lease,
    ports::{
        CallKind, Class, Deliveries, DraftAbilities, DraftError, DraftSearch, DraftWriter, EhrError, FinishedVisit,
        Settlement, StateError,
    },
    time::{Elapsed, Timestamp, within},
};

/// Why a draft is uncertain when the process ended between the post and its acknowledgement.
const INTERRUPTED: Reason = Reason::new(
    "draft.interrupted",
    "look for the reference code in the chart, then `skin-assist uncertain resolve`",
);

/// Why a result is kept back in silent mode.
const SILENT: Reason = Reason::new(
    "draft.silent-mode",
    "the firm is in silent mode; `skin-assist firm mode` changes it",
);

/// How long a result is let lie whose firm was switched off while somebody had it. As long as the firm is off nobody acquires it.
const OFF_PAUSE: Duration = Duration::from_secs(5);

/// Why a result is kept back where the EHR cannot hold a draft.
const NO_DRAFTS: Reason = Reason::new(
    "draft.not-held",
    "this EHR takes no drafts (draft.target of its profile): the result stays here",
);

/// Why a result is kept back whose visit is over.
const VISIT_OVER: Reason = Reason::new(
    "draft.visit-over",
    "the visit was finished before the draft was ready (draft.finished_visit of the profile)",
);

/// Why a draft waits whose earlier post may still show up in the search.
const NOT_SETTLED: Reason = Reason::new(
    "draft.not-settled",
    "an earlier post of it may still become visible; it is looked for again",
);

/// Why a draft is uncertain when the EHR's reply did not come.
const REPLY_LOST: Reason = Reason::new(
    "draft.reply-lost",
    "look for the reference code in the chart, then `skin-assist uncertain resolve`",
);

/// What a post needs of its lease. It does not begin with less: it would be cut off, and be uncertain for nothing.
const POST_NEEDS: Duration = Duration::from_secs(15);

/// How long after its intent a post may still be processed: as long as the HTTP client waits for it, since a gateway that
/// stopped waiting says nothing about the server behind it.
const LONGEST_POST: Duration = Duration::from_secs(60);

/// Writes drafts back.
pub struct WriteBack<'a> {
    /// The firm's token.
    pub token: &'a AccessToken,
    /// The right to post.
    pub writer: &'a dyn DraftWriter,
    /// Results and their journal.
    pub deliveries: &'a dyn Deliveries,
    /// The quota.
    pub quota: Quota<'a>,
}

/// What came out of all that is to be done before a post.
enum Before {
    Post(Box<Draft>),
    Known(DraftReference),
    Withhold(Reason),
    Wait(Timestamp),
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
        let draft = Draft::new(
            &result.assessment,
            result.note.clone(),
            result.versions.clone(),
            result.assessed_at,
        );
        let abilities = self.writer.abilities();
        let interrupted = match result.delivery {
            Delivery::Intended { at } => Some(at),
            _ => None,
        };
        match (interrupted, abilities.settlement, firm.mode) {
            // As in a pause, it waits: what is kept back would be lost to a firm that is switched on again.
            (_, _, Mode::Off) => {
                self.deliveries.release_delivery(lease, clock.now() + OFF_PAUSE).await?;
                return Ok(StepEnd::Released);
            }
            // To post again is to ask; but a firm that was made silent meanwhile is not written to, even so.
            (Some(_), Settlement::Operator, _) | (Some(_), Settlement::PostAgain, Mode::Silent) => {
                return self.uncertain(lease, INTERRUPTED).await;
            }
            (None, _, Mode::Silent) => return self.withheld(lease, SILENT).await,
            (None, ..) if !abilities.holds_drafts => return self.withheld(lease, NO_DRAFTS).await,
            _ => {}
        }

        // Everything that may wait comes before the intent, so that an intent is as short as the post itself.
        let begin_by = lease.deadline() - POST_NEEDS;
        let before = self.before(firm, draft, interrupted, abilities);
        let draft = match within(clock, begin_by, before).await {
            Ok(Ok(Before::Post(draft))) if clock.now() <= begin_by => draft,
            Ok(Ok(Before::Post(_))) => return self.not_taken(lease, &Elapsed.into(), interrupted.is_some()).await,
            Ok(Ok(Before::Known(reference))) => return self.delivered(lease, &reference).await,
            Ok(Ok(Before::Withhold(reason))) => return self.withheld(lease, reason).await,
            Ok(Ok(Before::Wait(until))) => return self.search_again(lease, until, NOT_SETTLED).await,
            Ok(Err(error)) => return self.not_taken(lease, &error, interrupted.is_some()).await,
            Err(elapsed) => return self.not_taken(lease, &elapsed.into(), interrupted.is_some()).await,
        };
        // Where posting again is the way to ask, an earlier post is still unsettled.
        let repeated = interrupted.is_some() && abilities.settlement == Settlement::PostAgain;
        let unsettled = repeated.then_some(INTERRUPTED);
        self.deliveries
            .record_intent(&lease, unsettled.as_ref(), clock.now())
            .await?;
        let answer = within(clock, lease.deadline(), self.writer.post(firm, self.token, &draft)).await;
        match answer {
            Ok(Ok(reference)) => self.delivered(lease, &reference).await,
            Ok(Err(DraftError::NotTaken(error))) => {
                self.quota.notice(&error).await?;
                self.not_taken(lease, &error.into(), repeated).await
            }
            Ok(Err(DraftError::Unknown(_))) | Err(_) => {
                let again = verdict(Class::Transient(None), Stage::WriteBack, lease.attempt(), clock.now());
                match (abilities.settlement, again) {
                    // The intent stays: the next attempt begins with the search, or repeats the post.
                    (Settlement::PostAgain | Settlement::Search { .. }, Verdict::Retry { at, .. }) => {
                        self.search_again(lease, at, REPLY_LOST).await
                    }
                    _ => self.uncertain(lease, REPLY_LOST).await,
                }
            }
        }
    }

    /// Looks for the draft first where an earlier post was interrupted, asks whether the visit is over where that
    /// matters, and takes the grant.
    async fn before(
        &self,
        firm: &Firm,
        mut draft: Draft,
        interrupted: Option<Timestamp>,
        abilities: DraftAbilities,
    ) -> Result<Before, StageError> {
        if let (Some(posted_at), Settlement::PostAgain) = (interrupted, abilities.settlement)
            && self.quota.clock.now() < posted_at + LONGEST_POST
        {
            // Two posts that are processed at the same time may both find no draft there yet.
            return Ok(Before::Wait(posted_at + LONGEST_POST));
        }
        if let (Some(posted_at), Settlement::Search { visible_within }) = (interrupted, abilities.settlement) {
            let search = self.writer.find(firm, self.token, &draft);
            match self.quota.call(CallKind::Draft, search).await? {
                DraftSearch::Found(reference) => return Ok(Before::Known(reference)),
                DraftSearch::Absent => {
                    let settled_at = posted_at + LONGEST_POST + visible_within;
                    if self.quota.clock.now() < settled_at {
                        return Ok(Before::Wait(settled_at));
                    }
                    // The switch to silent mode holds for a draft that an interrupted post did not bring into the
                    // chart, too.
                    if firm.mode == Mode::Silent {
                        return Ok(Before::Withhold(SILENT));
                    }
                }
                DraftSearch::Unsupported => {
                    return Err(EhrError::Malformed {
                        what: "the search for drafts is not supported after all",
                    }
                    .into());
                }
            }
        }
        // Whether a draft that may be in the chart is there can only be learned by posting it once more.
        let repeated = interrupted.is_some() && abilities.settlement == Settlement::PostAgain;
        let asks = match abilities.finished_visit {
            FinishedVisit::Post => false,
            FinishedVisit::PostWithoutVisit => true,
            FinishedVisit::Hold => !repeated,
        };
        if asks && let Some(encounter) = draft.encounter.clone() {
            let question = self.writer.is_visit_over(firm, self.token, &encounter);
            if self.quota.call(CallKind::Draft, question).await? {
                if abilities.finished_visit == FinishedVisit::Hold {
                    return Ok(Before::Withhold(VISIT_OVER));
                }
                draft.encounter = None;
            }
        }
        self.quota.take(CallKind::Draft).await?;
        Ok(Before::Post(Box::new(draft)))
    }

    async fn withheld(&self, lease: Lease<AssistResult>, reason: Reason) -> Result<StepEnd, StateError> {
        self.deliveries
            .record_withheld(lease, &reason, self.quota.clock.now())
            .await?;
        Ok(StepEnd::Withheld(reason))
    }

    /// Ends the lease with the intent standing: nobody knows yet.
    async fn search_again(
        &self,
        lease: Lease<AssistResult>,
        until: Timestamp,
        reason: Reason,
    ) -> Result<StepEnd, StateError> {
        self.deliveries.retry_search(lease, until).await?;
        Ok(StepEnd::Waiting {
            until,
            reason,
            renew_token: false,
        })
    }

    async fn delivered(&self, lease: Lease<AssistResult>, reference: &DraftReference) -> Result<StepEnd, StateError> {
        let now = self.quota.clock.now();
        self.deliveries.record_delivered(lease, reference, now).await?;
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
