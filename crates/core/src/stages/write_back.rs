//! The draft: the one write that cannot be taken back.
//!
//! A journal guards it: the intent is recorded before the post and the acknowledgement after it. A result found with an
//! intent and no acknowledgement was posted perhaps. Where the EHR can search, the search decides; where it recognises
//! the draft's identifier, the post is repeated; where it can do neither, the result becomes uncertain, is shown to an
//! operator, and is never posted again by itself.
//!
//! The draft of photos that followed names the earlier one, so it waits a little for that to be delivered. Where the EHR allows it, it is
//! added to the earlier one instead, which is a change of the very version that was written: sent twice it is made once, and what
//! somebody signed or changed is left alone. Whether an interrupted update was made, a look at the earlier draft tells.

use std::time::Duration;

use super::{
    GrantInHand, Quota, StageError, StepEnd,
    retry::{Verdict, verdict},
};
use crate::{
    domain::{AccessToken, AssistResult, Delivery, Draft, DraftReference, Firm, Mode, Reason, Stage},
    lease::Lease,
    phi::Phi,
    ports::{
        CallKind, Class, Deliveries, DraftAbilities, DraftError, DraftSearch, DraftWriter, EarlierInChart, EhrError,
        FinishedVisit, Settlement, StateError, WrittenDraft,
    },
    synthesis::{ToEarlier, note_to_earlier},
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

/// How long a result is let lie whose firm was switched off or made silent while somebody had it. As long as the firm is off nobody
/// acquires it.
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

/// Why a draft waits that is added to another one.
const EARLIER_FIRST: Reason = Reason::new(
    "draft.earlier-first",
    "the draft that it is added to is written first; it follows by itself",
);

/// Why a draft is uncertain that was to be added to an earlier one which somebody changed since.
const UPDATE_UNSETTLED: Reason = Reason::new(
    "draft.update-unsettled",
    "look for the reference code in the earlier draft, then `skin-assist uncertain resolve`",
);

/// How long after it was made a draft waits at most for the earlier one.
const EARLIER_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// When it is looked again whether the earlier one is in the chart.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

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

/// What came out of all that is to be done before a draft is written.
enum Before {
    Write(Box<Write>),
    Known(DraftReference),
    Withhold(Reason),
    Wait(Timestamp),
    Unsettled(Reason),
}

/// What is to be written.
struct Write {
    draft: Draft,
    /// The earlier draft that it is to be added to; none where it is posted by itself.
    into: Option<WrittenDraft>,
    /// An earlier post of it may have been taken: this one asks.
    repeated: bool,
    /// For the write, which begins after its intent was recorded.
    grant: GrantInHand,
}

/// A write that was begun and of which nobody knows what became.
struct Interrupted {
    at: Timestamp,
    /// The earlier draft's version that was to be changed; none where it was a post.
    updates: Option<DraftReference>,
}

/// What the chart holds of the earlier draft, as far as the journal tells.
enum Earlier {
    /// There is none, or it is not in the chart.
    No,
    /// It is there, or may be.
    Named,
    /// It is there, in the version that was written, and may be added to.
    Written(DraftReference),
}

/// The switch to silent mode holds for a draft that an interrupted write did not bring into the chart, too.
fn not_written_to(firm: &Firm) -> Option<Before> {
    (firm.mode == Mode::Silent).then_some(Before::Withhold(SILENT))
}

/// The draft of a result, as it stands to the earlier one.
fn draft_of(result: &AssistResult, stands: ToEarlier) -> Draft {
    let assessment = &result.assessment;
    let note = note_to_earlier(result.note.expose(), assessment, stands);
    let versions = result.versions.clone();
    let mut draft = Draft::new(assessment, Phi::new(note), versions, result.assessed_at);
    if stands == ToEarlier::Alone {
        draft.appends = None;
    }
    draft
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
        let abilities = self.writer.abilities();
        let interrupted = match &result.delivery {
            Delivery::Intended { at, updates } => Some(Interrupted {
                at: *at,
                updates: updates.clone(),
            }),
            _ => None,
        };
        let post = interrupted.as_ref().filter(|interrupted| interrupted.updates.is_none());
        match (post, abilities.settlement, firm.mode) {
            // As in a pause, it waits: what is kept back would be lost to a firm that is switched on again.
            (_, _, Mode::Off) => {
                self.deliveries.release_delivery(lease, clock.now() + OFF_PAUSE).await?;
                return Ok(StepEnd::Released);
            }
            // To post again is to ask; but a firm that was made silent meanwhile is not written to, even so.
            (Some(_), Settlement::Operator, _) | (Some(_), Settlement::PostAgain, Mode::Silent) => {
                return self.uncertain(lease, INTERRUPTED).await;
            }
            (None, _, Mode::Silent) if interrupted.is_none() => return self.withheld(lease, SILENT).await,
            (None, ..) if interrupted.is_none() && !abilities.holds_drafts => {
                return self.withheld(lease, NO_DRAFTS).await;
            }
            _ => {}
        }
        let Some(earlier) = self.earlier(result, abilities, interrupted.is_none()).await? else {
            let until = clock.now() + LOOK_AGAIN;
            self.deliveries.release_delivery(lease, until).await?;
            return Ok(StepEnd::Waiting {
                until,
                reason: EARLIER_FIRST,
                renew_token: false,
            });
        };

        // Everything that may wait comes before the intent, so that an intent is as short as the post itself.
        let begin_by = lease.deadline() - POST_NEEDS;
        let before = self.before(firm, result, interrupted.as_ref(), earlier, abilities);
        let kept = interrupted.is_some();
        match within(clock, begin_by, before).await {
            Ok(Ok(Before::Write(write))) if clock.now() <= begin_by => self.write(firm, lease, &write).await,
            Ok(Ok(Before::Write(_))) => self.not_taken(lease, &Elapsed.into(), kept).await,
            Ok(Ok(Before::Known(reference))) => self.delivered(lease, &reference).await,
            Ok(Ok(Before::Withhold(reason))) => self.withheld(lease, reason).await,
            Ok(Ok(Before::Wait(until))) => self.search_again(lease, until, NOT_SETTLED).await,
            Ok(Ok(Before::Unsettled(reason))) => self.uncertain(lease, reason).await,
            Ok(Err(error)) => self.not_taken(lease, &error, kept).await,
            Err(elapsed) => self.not_taken(lease, &elapsed.into(), kept).await,
        }
    }

    /// Records the intent, and writes.
    async fn write(&self, firm: &Firm, lease: Lease<AssistResult>, write: &Write) -> Result<StepEnd, StateError> {
        let (clock, draft) = (self.quota.clock, &write.draft);
        // The store decides by the firm as it is now: from when a change of the mode is recorded, no write begins any more.
        let intent = if let Some(earlier) = &write.into {
            let updates = &earlier.reference;
            self.deliveries.record_update_intent(&lease, updates, clock.now()).await
        } else {
            let unsettled = write.repeated.then_some(INTERRUPTED);
            self.deliveries
                .record_intent(&lease, unsettled.as_ref(), clock.now())
                .await
        };
        match intent {
            Err(StateError::DraftsNotPermitted) => {
                self.deliveries.release_delivery(lease, clock.now() + OFF_PAUSE).await?;
                return Ok(StepEnd::Released);
            }
            intent => intent?,
        }
        // Recording it may have taken so long that the grant is stale. Nothing is written yet.
        match within(clock, lease.deadline(), self.quota.spend(&write.grant, CallKind::Draft)).await {
            Ok(spent) => spent?,
            Err(elapsed) => return self.not_taken(lease, &elapsed.into(), write.repeated).await,
        }
        let answer = if let Some(earlier) = &write.into {
            let update = self.writer.update(firm, self.token, earlier, draft);
            within(clock, lease.deadline(), update).await
        } else {
            within(clock, lease.deadline(), self.writer.post(firm, self.token, draft)).await
        };
        match answer {
            Ok(Ok(reference)) => self.delivered(lease, &reference).await,
            Ok(Err(DraftError::NotTaken(error))) => {
                self.quota.notice(&error).await?;
                self.not_taken(lease, &error.into(), write.repeated).await
            }
            Ok(Err(DraftError::Unknown(_))) | Err(_) => {
                let again = verdict(Class::Transient(None), Stage::WriteBack, lease.attempt(), clock.now());
                let operator = write.into.is_none() && self.writer.abilities().settlement == Settlement::Operator;
                match again {
                    // The intent stays: the next attempt begins with the search or the look, or repeats the post.
                    Verdict::Retry { at, .. } if !operator => self.search_again(lease, at, REPLY_LOST).await,
                    _ => self.uncertain(lease, REPLY_LOST).await,
                }
            }
        }
    }

    /// What is in the chart of the draft that this one names; none where that is on its way and may be waited for.
    async fn earlier(
        &self,
        result: &AssistResult,
        abilities: DraftAbilities,
        may_wait: bool,
    ) -> Result<Option<Earlier>, StateError> {
        let Some(earlier) = &result.assessment.earlier else {
            return Ok(Some(Earlier::No));
        };
        let firm = &result.assessment.firm;
        Ok(match self.deliveries.delivery_of(firm, &earlier.assessment).await? {
            None | Some(Delivery::Withheld { .. } | Delivery::Buried { .. } | Delivery::Discarded { .. }) => {
                Some(Earlier::No)
            }
            Some(Delivery::Pending | Delivery::Intended { .. })
                if may_wait && self.quota.clock.now() < result.assessed_at + EARLIER_PATIENCE =>
            {
                None
            }
            Some(Delivery::Delivered { reference, .. })
                if abilities.updates_drafts && reference.version().is_some() =>
            {
                Some(Earlier::Written(reference))
            }
            Some(_) => Some(Earlier::Named),
        })
    }

    /// Finds out first what became of an interrupted write, asks whether the visit is over and how the earlier draft stands
    /// where that matters, and takes the grant.
    async fn before(
        &self,
        firm: &Firm,
        result: &AssistResult,
        interrupted: Option<&Interrupted>,
        earlier: Earlier,
        abilities: DraftAbilities,
    ) -> Result<Before, StageError> {
        let mut draft = match earlier {
            Earlier::No => draft_of(result, ToEarlier::Alone),
            Earlier::Named | Earlier::Written(_) => draft_of(result, ToEarlier::Named),
        };
        if let Some(interrupted) = interrupted
            && let Some(before) = self.settle(firm, &draft, interrupted, abilities).await?
        {
            return Ok(before);
        }
        // Whether a draft that may be in the chart is there can only be learned by posting it once more.
        let post = interrupted.filter(|interrupted| interrupted.updates.is_none());
        let repeated = post.is_some() && abilities.settlement == Settlement::PostAgain;
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
        if let Earlier::Written(reference) = &earlier
            && !repeated
            && draft.encounter.is_some()
        {
            let added = draft_of(result, ToEarlier::Added);
            let look = self.writer.look_at_earlier(firm, self.token, reference, &added);
            match self.quota.call(CallKind::Draft, look).await? {
                EarlierInChart::HasIt(reference) => return Ok(Before::Known(reference)),
                EarlierInChart::AsWritten(written) => {
                    return Ok(Before::Write(Box::new(Write {
                        draft: added,
                        into: Some(written),
                        repeated,
                        grant: self.quota.take_in_hand(CallKind::Draft).await?,
                    })));
                }
                EarlierInChart::Changed => {}
                EarlierInChart::Gone => draft = draft_of(result, ToEarlier::Alone),
            }
        }
        Ok(Before::Write(Box::new(Write {
            draft,
            into: None,
            repeated,
            grant: self.quota.take_in_hand(CallKind::Draft).await?,
        })))
    }

    /// What became of an interrupted write: none where it was not made and can be no more, or where only another post can tell.
    async fn settle(
        &self,
        firm: &Firm,
        draft: &Draft,
        interrupted: &Interrupted,
        abilities: DraftAbilities,
    ) -> Result<Option<Before>, StageError> {
        let now = || self.quota.clock.now();
        // When it can be processed no more.
        let ended_at = interrupted.at + LONGEST_POST;
        if let Some(reference) = &interrupted.updates {
            let look = self.writer.look_at_earlier(firm, self.token, reference, draft);
            return Ok(match self.quota.call(CallKind::Draft, look).await? {
                EarlierInChart::HasIt(reference) => Some(Before::Known(reference)),
                EarlierInChart::AsWritten(_) if now() < ended_at => Some(Before::Wait(ended_at)),
                EarlierInChart::AsWritten(_) => not_written_to(firm),
                // It may have been added, and somebody took it out again: a person has to decide.
                EarlierInChart::Changed | EarlierInChart::Gone => Some(Before::Unsettled(UPDATE_UNSETTLED)),
            });
        }
        match abilities.settlement {
            // Two posts that are processed at the same time may both find no draft there yet.
            Settlement::PostAgain => Ok((now() < ended_at).then_some(Before::Wait(ended_at))),
            Settlement::Search { visible_within } => {
                let search = self.writer.find(firm, self.token, draft);
                match self.quota.call(CallKind::Draft, search).await? {
                    DraftSearch::Found(reference) => Ok(Some(Before::Known(reference))),
                    DraftSearch::Absent if now() < ended_at + visible_within => {
                        Ok(Some(Before::Wait(ended_at + visible_within)))
                    }
                    DraftSearch::Absent => Ok(not_written_to(firm)),
                    DraftSearch::Unsupported => Err(EhrError::Malformed {
                        what: "the search for drafts is not supported after all",
                    }
                    .into()),
                }
            }
            Settlement::Operator => Ok(None),
        }
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
