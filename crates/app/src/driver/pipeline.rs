//! The pipeline's loops: acquire what is due, run its stage, tell the next loop.

use std::time::Duration;

use async_trait::async_trait;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use skin_assist_core::{
    domain::{AssessmentId, AssistResult, DocumentId, DocumentStep, DocumentWatch, Firm, FirmId, Stage},
    lease::Lease,
    polling::{ShortageChange, Turn},
    ports::{CallGrants, CallKind, Grant, QuotaFigures, QuotaKey, StateError},
    quota::Allowance,
    stages::{DownloadPhoto, GrantInHand, Infer, Look, NoToken, Quota, StepEnd, TokenSource as _, WriteBack},
    time::Timestamp,
};

use super::{Driver, Event, LOOK_EVERY, STATE_PAUSE, Stepped, lock, meanwhile::meanwhile};

/// How long a firm's items wait when the firm is not served by this process at the moment.
const FIRM_PAUSE: Duration = Duration::from_secs(5);

/// A step of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Download = 0,
    Infer = 1,
    WriteBack = 2,
}

/// Something leased for a step.
pub(super) enum Work {
    Document(Box<Lease<DocumentWatch>>),
    Result(Box<Lease<AssistResult>>),
}

impl Step {
    pub(super) const fn stage(self) -> Stage {
        match self {
            Self::Download => Stage::DownloadPhoto,
            Self::Infer => Stage::Infer,
            Self::WriteBack => Stage::WriteBack,
        }
    }

    const fn next(self) -> Option<Self> {
        match self {
            Self::Download => Some(Self::Infer),
            Self::Infer => Some(Self::WriteBack),
            Self::WriteBack => None,
        }
    }

    pub(super) const fn lease_for(self) -> Duration {
        match self {
            Self::Download | Self::WriteBack => Duration::from_secs(30),
            Self::Infer => Duration::from_secs(60),
        }
    }
}

impl Work {
    pub(super) fn firm(&self) -> &FirmId {
        match self {
            Self::Document(lease) => &lease.item().firm,
            Self::Result(lease) => &lease.item().assessment.firm,
        }
    }

    /// When its photo was filed; of a result, when that was made.
    fn filed_at(&self) -> Timestamp {
        match self {
            Self::Document(lease) => lease.item().attached_at.unwrap_or(lease.item().detected_at),
            Self::Result(lease) => lease.item().assessed_at,
        }
    }

    /// What the log and events call it.
    pub(super) fn subject(&self) -> String {
        match self {
            Self::Document(lease) => lease.item().document.to_string(),
            Self::Result(lease) => lease.item().assessment.id.to_string(),
        }
    }
}

/// Grants for a step: notices when they are short.
struct Noticing<'a, 'b> {
    driver: &'a Driver<'b>,
}

#[async_trait]
impl CallGrants for Noticing<'_, '_> {
    async fn take(&self, key: &QuotaKey, kind: CallKind, now: Timestamp) -> Result<Grant, StateError> {
        let grant = self.driver.engine.state.take(key, kind, now).await?;
        // Context is read when there are calls to spare, and waits for nothing.
        if kind.has_reserve() {
            let has_to_wait = grant != Grant::Granted;
            match lock(&self.driver.shedding).asked(&key.name, has_to_wait, now) {
                Some(ShortageChange::Short) => tracing::warn!(event = "calls.short", quota = key.name),
                Some(ShortageChange::Enough) => tracing::info!(event = "calls.enough", quota = key.name),
                None => {}
            }
        }
        Ok(grant)
    }

    async fn hold(&self, key: &QuotaKey, now: Timestamp, until: Timestamp) -> Result<(), StateError> {
        self.driver.engine.state.hold(key, now, until).await
    }

    async fn slow_down(&self, key: &QuotaKey, now: Timestamp) -> Result<(), StateError> {
        self.driver.engine.state.slow_down(key, now).await
    }

    async fn quotas(&self) -> Result<Vec<QuotaFigures>, StateError> {
        self.driver.engine.state.quotas().await
    }
}

/// Whether a step's calls went well, where its end says so.
const fn went_well(end: Option<&StepEnd>) -> Option<bool> {
    match end {
        None | Some(StepEnd::LeaseLost | StepEnd::Released | StepEnd::Gathering(_) | StepEnd::BytesLost) => None,
        Some(StepEnd::Waiting { .. } | StepEnd::Uncertain(_)) => Some(false),
        Some(StepEnd::Done | StepEnd::Delivered | StepEnd::Withheld(_) | StepEnd::Buried(_)) => Some(true),
    }
}

impl Driver<'_> {
    pub(super) async fn pipeline(&self, step: Step) {
        let most = match step {
            Step::Download => self.engine.workers.download,
            Step::Infer => self.engine.workers.infer,
            Step::WriteBack => self.engine.workers.write_back,
        };
        let mut running: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        loop {
            let mut look_again = self.now() + LOOK_EVERY;
            let width = match step {
                // Each of them needs room when it has come; what has none costs no call.
                Step::Download => most.min(self.engine.photos.room()),
                Step::Infer | Step::WriteBack => most,
            };
            if !self.stop.is_stopping() && running.len() < width {
                let acquired = self.acquire(step, width - running.len());
                match meanwhile(&mut running, drop, acquired).await {
                    Ok(work) => running.extend(work.into_iter().map(|work| self.work(step, work).boxed())),
                    Err(error) => look_again = self.state_trouble(step.stage(), &error),
                }
            }
            if self.stop.is_stopping() && running.is_empty() {
                return;
            }
            tokio::select! {
                biased;
                Some(()) = running.next() => {}
                () = self.wake[step as usize].notified() => {}
                () = self.stop.stopped(), if !self.stop.is_stopping() => {}
                () = self.engine.clock.sleep_until(look_again), if running.len() < most => {}
            }
        }
    }

    async fn acquire(&self, step: Step, limit: usize) -> Result<Vec<Work>, StateError> {
        let (state, now, lease_for) = (&self.engine.state, self.now(), step.lease_for());
        Ok(match step {
            Step::Download | Step::Infer => {
                let of = if step == Step::Download {
                    DocumentStep::Download
                } else {
                    DocumentStep::Infer
                };
                let leases = state.acquire_documents(of, now, lease_for, limit).await?;
                leases
                    .into_iter()
                    .map(|lease| Work::Document(Box::new(lease)))
                    .collect()
            }
            Step::WriteBack => {
                let leases = state.acquire_results(now, lease_for, limit).await?;
                leases.into_iter().map(|lease| Work::Result(Box::new(lease))).collect()
            }
        })
    }

    /// Runs one item's stage. When the state store fails, the lease is left to expire: the one way of recovery.
    async fn work(&self, step: Step, work: Work) {
        let (firm, subject, stage) = (work.firm().clone(), work.subject(), step.stage());
        let stepped = Stepped::began(&work, stage, self.now());
        let places = &self.step_places[step as usize];
        let (firms, is_ill) = (lock(&self.firms).len(), self.tokens.is_ill(&firm, self.now()));
        let has_place = lock(places).enter(&firm, firms, is_ill);
        let ended = if has_place {
            let ended = self.run_stage(step, work).await;
            lock(places).leave(&firm, ended.as_ref().ok().and_then(|end| went_well(end.as_ref())));
            ended
        } else {
            let due_at = lock(places).put_off(&firm, is_ill, self.now());
            self.put_back(work, due_at).await
        };
        match ended {
            Ok(end) => {
                let stepped = stepped.ended(end.as_ref(), self.now());
                self.emit(&Event::Stepped(Box::new(stepped)));
                self.tell(step, &firm, &subject, end);
            }
            Err(error) => {
                let ended_at = self.now();
                self.emit(&Event::Stepped(Box::new(Stepped { ended_at, ..stepped })));
                _ = self.state_trouble(stage, &error);
                self.engine.clock.sleep_until(self.now() + STATE_PAUSE).await;
            }
        }
    }

    pub(super) async fn run_stage(&self, step: Step, work: Work) -> Result<Option<StepEnd>, StateError> {
        let Some(firm) = self.firm(work.firm()) else {
            return self.put_back(work, self.now() + FIRM_PAUSE).await;
        };
        // The attempt does not count: nothing would be sent.
        let kind = match step {
            Step::Download => CallKind::Read,
            Step::Infer => CallKind::Context,
            Step::WriteBack => CallKind::Draft,
        };
        if let Some(until) = self.engine.ehr.rests_until(&firm, kind, self.now()) {
            // One after the other, lest a thousand be looked at each time that a probe is under way.
            let apart = lock(&self.step_places[step as usize]).put_off(&firm.id, false, self.now());
            return self.put_back(work, until.max(apart)).await;
        }
        // A silent firm's result needs no token, but one that can be had costs nothing.
        let token = match self.token(&firm, None).await {
            Ok(token) => token,
            Err(NoToken { until, .. }) => return self.put_back(work, until).await,
        };
        // While polls of the firm fail, a post would meet the same EHR, and a failing EHR makes drafts uncertain.
        if step == Step::WriteBack && self.tokens.is_ill(&firm.id, self.now()) {
            return self.put_back(work, self.now() + FIRM_PAUSE).await;
        }
        let engine = self.engine;
        let key = engine.quotas.of(&firm);
        let surplus = GrantInHand::asked_at(self.now());
        let grants = Noticing { driver: self };
        let in_hand = match self.turn(step, &firm, &key, work.filed_at()) {
            Turn::Now => None,
            // However many photos one firm files, the others keep their part of the quota.
            Turn::At(at) => match engine.state.take(&key, CallKind::Surplus, self.now()).await? {
                Grant::Granted => Some(&surplus),
                Grant::Wait(_) => return self.put_back(work, at).await,
            },
        };
        let quota = Quota {
            grants: &grants,
            in_hand,
            ..self.quota(&key)
        };
        let audit = &*engine.state;
        let end = match work {
            Work::Document(lease) if step == Step::Download => {
                let (source, photos, queue) = (&*engine.ehr, &*engine.photos, &*engine.state);
                let ahead = photos.is_bounded().then_some(Look {
                    vision: &*engine.vision,
                    records: &*engine.state,
                    audit,
                    clock: &*engine.clock,
                });
                DownloadPhoto {
                    token: &token,
                    source,
                    photos,
                    queue,
                    audit,
                    quota,
                    ahead,
                }
                .run(&firm, *lease)
                .await?
            }
            Work::Document(lease) => {
                let stage = Infer {
                    token: &token,
                    photos: &*engine.photos,
                    vision: &*engine.vision,
                    language: &*engine.language,
                    context: &*engine.ehr,
                    queue: &*engine.state,
                    records: &*engine.state,
                    spending: &*engine.state,
                    audit,
                    quota,
                };
                stage.run(&firm, *lease).await?
            }
            Work::Result(lease) => {
                let (writer, deliveries) = (&*engine.ehr, &*engine.state);
                WriteBack {
                    token: &token,
                    writer,
                    deliveries,
                    quota,
                }
                .run(&firm, *lease)
                .await?
            }
        };
        if let StepEnd::Waiting { renew_token: true, .. } = &end {
            // The answer does not matter here: the next attempt asks again.
            _ = self.token(&firm, Some(&token)).await;
        }
        Ok(Some(end))
    }

    /// Whether it is the firm's turn to make a call for a photo.
    fn turn(&self, step: Step, firm: &Firm, key: &QuotaKey, filed_at: Timestamp) -> Turn {
        if step == Step::Infer {
            return Turn::Now;
        }
        let allowance = Allowance::of(key.calls, key.window);
        let old = lock(&self.shedding).turn(&key.name, allowance, filed_at, self.now());
        if old != Turn::Now {
            return old;
        }
        let firms = if self.engine.quotas.each_firm {
            1
        } else {
            lock(&self.firms).len()
        };
        lock(&self.shares).turn(&firm.id, allowance, firms, self.now())
    }

    async fn put_back(&self, work: Work, due_at: Timestamp) -> Result<Option<StepEnd>, StateError> {
        let outcome = match work {
            Work::Document(lease) => self.engine.state.release_document(*lease, due_at).await,
            Work::Result(lease) => self.engine.state.release_delivery(*lease, due_at).await,
        };
        match outcome {
            Ok(()) | Err(StateError::LeaseLost) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn tell(&self, step: Step, firm: &FirmId, subject: &str, end: Option<StepEnd>) {
        let (stage, subject) = (step.stage(), subject.to_owned());
        let Some(end) = end else { return };
        let firm = firm.clone();
        match end {
            StepEnd::Done => {
                if let Some(next) = step.next() {
                    self.wake[next as usize].notify_one();
                }
                self.emit(&Event::Advanced {
                    firm,
                    document: DocumentId::new(subject),
                    stage,
                });
            }
            StepEnd::BytesLost => self.wake[Step::Download as usize].notify_one(),
            // It is acquired when it is due, as everything is.
            StepEnd::Gathering(until) => tracing::debug!(event = "assessment.open", %firm, document = %subject, %until),
            StepEnd::Withheld(reason) => self.emit(&Event::Withheld {
                firm,
                assessment: AssessmentId::new(subject),
                reason,
            }),
            StepEnd::Delivered => {
                let assessment = AssessmentId::new(subject);
                tracing::info!(event = "draft.delivered", %firm, %assessment);
                self.emit(&Event::Delivered { firm, assessment });
            }
            StepEnd::Uncertain(reason) => {
                let assessment = AssessmentId::new(subject);
                tracing::error!(event = "draft.uncertain", %firm, %assessment, reason = reason.code());
                self.emit(&Event::Uncertain {
                    firm,
                    assessment,
                    reason,
                });
            }
            StepEnd::Waiting { until, reason, .. } => {
                let (code, hint) = (reason.code(), reason.hint());
                tracing::warn!(event = "item.waiting", %firm, %subject, %stage, reason = code, hint, %until);
                self.emit(&Event::Waiting {
                    firm,
                    subject,
                    stage,
                    until,
                    reason,
                });
            }
            StepEnd::Buried(reason) => {
                let (code, hint) = (reason.code(), reason.hint());
                tracing::error!(event = "item.dead-letter", %firm, %subject, %stage, reason = code, hint);
                self.emit(&Event::Buried {
                    firm,
                    subject,
                    stage,
                    reason,
                });
            }
            StepEnd::Released => tracing::debug!(event = "item.released", %firm, %subject, %stage),
            StepEnd::LeaseLost => tracing::info!(event = "lease.lost", %firm, %subject, %stage),
        }
    }
}
