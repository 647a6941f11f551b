//! Single turns of the driver's loops, for runtimes that start and end: functions.
//!
//! A turn is the loop's own code with an end: discovery without a rhythm, the poll loop up to a horizon, one item of the
//! pipeline. It owns nothing that outlives it. What it leased and could not do is left to the leases, as after a crash.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use skin_assist_core::{
    domain::{AssessmentId, DocumentId, DocumentStep, Firm, FirmId},
    lease::Lease,
    polling::{Answer, Decision, Observation, PollCall},
    ports::{Proposals, Proposed, StateError},
    stages::{DiscoverFirms, TokenSource as _},
    time::Timestamp,
};

use super::{
    Admission, Driver, Engine, READ_AT_ONCE, SweepMemory, lock,
    pipeline::{Step, Work},
    stop_signal,
};

/// How often an item that is under a lease is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// How many waiting photos are looked through for one that was stored.
const MOST_WAITING: usize = 1_000;

/// Encounter polls get at most one call in so many of a quota.
const ENCOUNTERS_SHARE: u64 = 4;

/// Firms that one worker of a cycle serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its number.
    pub shard: usize,
    /// Which.
    pub firms: Vec<FirmId>,
    /// How many seconds lie between two polls of a firm's encounters.
    pub encounters_every_s: u64,
}

/// What renewing tokens came to, in firms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Refreshed {
    /// With a token that is good for a while.
    pub ready: usize,
    /// Without.
    pub resting: usize,
}

/// What polling encounters came to, in firms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct EncounterPolls {
    /// Polled.
    pub polled: usize,
    /// Polled so recently that it can wait.
    pub recent: usize,
    /// The quota had nothing, or there is no token, or the EHR failed.
    pub not_polled: usize,
}

/// What a sweep came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Swept {
    /// Firms that it polled, without those whose watch lists others had.
    pub firms: usize,
    /// Until when nothing more is worth a call, or a pause is the better bargain.
    pub idle_until: Option<Timestamp>,
}

/// An item of the pipeline and the step it is proposed for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// A photo to be downloaded.
    Download(FirmId, DocumentId),
    /// A photo for the models.
    Infer(FirmId, DocumentId),
    /// A draft to be written.
    WriteBack(FirmId, AssessmentId),
}

impl Item {
    const fn step(&self) -> Step {
        match self {
            Self::Download(..) => Step::Download,
            Self::Infer(..) => Step::Infer,
            Self::WriteBack(..) => Step::WriteBack,
        }
    }
}

/// What became of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handled {
    /// It was worked on, to whatever end.
    Worked,
    /// There was nothing to be done.
    Settled,
    /// Somebody else has it, for less than a lease's length: to be proposed again.
    Busy,
    /// It waits for long: it is proposed again when it is due.
    Waits,
}

impl Engine {
    /// The active firms in shards of at most `size`, in the order of their ids.
    pub async fn shards(&self, size: usize) -> Result<Vec<Shard>, StateError> {
        let firms = DiscoverFirms { firms: &*self.state }.run().await?;
        let mut of_quota: BTreeMap<String, u64> = BTreeMap::new();
        for firm in &firms {
            *of_quota.entry(self.quotas.of(firm).name).or_default() += 1;
        }
        let every = |firm: &Firm| {
            let key = self.quotas.of(firm);
            let share = u64::from(key.calls / ENCOUNTERS_SHARE as u32).max(1);
            let firms = of_quota.get(&key.name).copied().unwrap_or(1);
            (firms * key.window.as_secs()).div_ceil(share).max(60)
        };
        Ok(firms
            .chunks(size.max(1))
            .enumerate()
            .map(|(shard, firms)| Shard {
                shard,
                encounters_every_s: firms.iter().map(every).max().unwrap_or(60),
                firms: firms.iter().map(|firm| firm.id.clone()).collect(),
            })
            .collect())
    }

    /// Renews the firms' tokens ahead of their end.
    pub async fn refresh_credentials(&self, firms: &[FirmId]) -> Result<Refreshed, StateError> {
        let (_running, stop) = stop_signal();
        let driver = self.driver(stop, Timestamp::NEVER);
        let firms = driver.serve_these(firms).await?;
        let tokens = stream::iter(firms).map(|firm| {
            let driver = &driver;
            async move { driver.token(&firm, None).await.is_ok() }
        });
        let ready: Vec<bool> = tokens.buffer_unordered(self.workers.poll).collect().await;
        let mut refreshed = Refreshed::default();
        for ready in ready {
            *(if ready {
                &mut refreshed.ready
            } else {
                &mut refreshed.resting
            }) += 1;
        }
        Ok(refreshed)
    }

    /// Polls the firms' encounters, each at most once and not more often than `every`. Begins none after `until`.
    pub async fn poll_encounters(
        &self,
        firms: &[FirmId],
        every: Duration,
        until: Timestamp,
    ) -> Result<EncounterPolls, StateError> {
        let (_running, stop) = stop_signal();
        let driver = self.driver(stop, until);
        let firms = driver.serve_these(firms).await?;
        let polls = stream::iter(firms).map(|firm| driver.poll_encounters_of(firm, every, until));
        let outcomes: Vec<_> = polls.buffer_unordered(self.workers.poll).collect().await;
        let mut polls = EncounterPolls::default();
        for outcome in outcomes {
            let count = match outcome? {
                Some(true) => &mut polls.polled,
                Some(false) => &mut polls.not_polled,
                None => &mut polls.recent,
            };
            *count += 1;
        }
        Ok(polls)
    }

    /// Polls these firms as the policy says until nothing is worth a call, `until` is reached, or a pause until `next_cycle` is the
    /// better bargain. What was begun by then is finished. A watch list is leased with the first call for its firm, and those that
    /// others have are left to them.
    pub async fn sweep(
        &self,
        firms: &[FirmId],
        until: Timestamp,
        next_cycle: Timestamp,
        memory: &SweepMemory,
    ) -> Result<Swept, StateError> {
        let (_running, stop) = stop_signal();
        let driver = Driver {
            memory: Some(memory),
            next_cycle,
            ..self.driver(stop, until)
        };
        let served = driver.serve_these(firms).await?;
        let ids: Vec<FirmId> = served.iter().map(|firm| firm.id.clone()).collect();
        driver.poll_these(ids.iter().cloned().collect()).await;
        memory.recall_photos(&driver.notes, &ids, self.clock.now());
        let told = stream::iter(ids).map(|firm| driver.tell_last_poll(firm));
        told.buffered(READ_AT_ONCE).try_collect::<Vec<()>>().await?;
        let mut policy = self.policy.build(self.settings);
        driver.pass_on(&mut *policy);
        let now = self.clock.now();
        match policy.next(now) {
            Decision::Wait(wait_until) if driver.is_swept(&*policy, wait_until, Timestamp::ALWAYS) => {
                return Ok(Swept {
                    firms: 0,
                    idle_until: Some(wait_until.max(driver.paused_until())),
                });
            }
            Decision::Wait(_) => {}
            // Not made, but decided on anew.
            Decision::Poll(call) => policy.observe(Observation::NotGranted(call, now), now),
        }
        driver.poll_by(policy).await;
        memory.remember_photos(&driver.notes);
        Ok(Swept {
            firms: lock(&driver.polled).len(),
            idle_until: Some(driver.paused_until()).filter(|until| *until > now),
        })
    }

    /// Works on an item that an event or the index of due rows names, if it can be had before `patience` is over.
    pub async fn handle(
        &self,
        proposals: &dyn Proposals,
        item: &Item,
        patience: Timestamp,
    ) -> Result<Handled, StateError> {
        let step = item.step();
        let work = loop {
            let now = self.clock.now();
            match acquire(proposals, item, now).await? {
                Acquired::Work(work) => break work,
                Acquired::Settled => return Ok(Handled::Settled),
                Acquired::NotBefore(until) if until > now + step.lease_for() => return Ok(Handled::Waits),
                Acquired::NotBefore(_) if now >= patience => return Ok(Handled::Busy),
                // The step before may be about to end: its photo is announced a moment before the step is recorded.
                Acquired::NotBefore(_) => self.clock.sleep_until(now + ASK_AGAIN).await,
            }
        };
        let (_running, stop) = stop_signal();
        let driver = self.driver(stop, Timestamp::NEVER);
        driver.serve_these(&[work.firm().clone()]).await?;
        let (firm, subject) = (work.firm().clone(), work.subject());
        let end = driver.run_stage(step, work).await?;
        driver.tell(step, &firm, &subject, end);
        Ok(Handled::Worked)
    }

    /// The photo that `is_it` among those that wait for the models, or for the download that is about to end; leases on them
    /// included.
    pub async fn waiting_photo(
        &self,
        proposals: &dyn Proposals,
        is_it: impl Fn(&FirmId, &DocumentId) -> bool,
    ) -> Result<Option<(FirmId, DocumentId)>, StateError> {
        // What is under a lease is due when that ends.
        let until = self.clock.now() + Step::Infer.lease_for();
        for step in [DocumentStep::Infer, DocumentStep::Download] {
            let waiting = proposals.due_documents(step, until, MOST_WAITING).await?;
            let found = waiting.into_iter().find(|(firm, document, _)| is_it(firm, document));
            if let Some((firm, document, _)) = found {
                return Ok(Some((firm, document)));
            }
        }
        Ok(None)
    }

    /// Up to `limit` items of each step that are due, longest due first, and since when the first of them is.
    pub async fn due(
        &self,
        proposals: &dyn Proposals,
        limit: usize,
    ) -> Result<(Vec<Item>, Option<Timestamp>), StateError> {
        let now = self.clock.now();
        let mut items = Vec::new();
        let mut oldest: Option<Timestamp> = None;
        let mut note = |since: Timestamp| oldest = Some(oldest.map_or(since, |oldest| oldest.min(since)));
        for step in [DocumentStep::Download, DocumentStep::Infer] {
            for (firm, document, since) in proposals.due_documents(step, now, limit).await? {
                note(since);
                items.push(match step {
                    DocumentStep::Download => Item::Download(firm, document),
                    DocumentStep::Infer => Item::Infer(firm, document),
                });
            }
        }
        for (firm, assessment, since) in proposals.due_results(now, limit).await? {
            note(since);
            items.push(Item::WriteBack(firm, assessment));
        }
        Ok((items, oldest))
    }
}

/// What came of asking for an item.
enum Acquired {
    Work(Work),
    NotBefore(Timestamp),
    Settled,
}

impl Acquired {
    fn of<T>(proposed: Proposed<T>, work: impl FnOnce(Box<Lease<T>>) -> Work) -> Self {
        match proposed {
            Proposed::Leased(lease) => Self::Work(work(Box::new(lease))),
            Proposed::NotBefore(until) => Self::NotBefore(until),
            Proposed::Settled => Self::Settled,
        }
    }
}

async fn acquire(proposals: &dyn Proposals, item: &Item, now: Timestamp) -> Result<Acquired, StateError> {
    let lease_for = item.step().lease_for();
    let (firm, document, step) = match item {
        Item::Download(firm, document) => (firm, document, DocumentStep::Download),
        Item::Infer(firm, document) => (firm, document, DocumentStep::Infer),
        Item::WriteBack(firm, assessment) => {
            let proposed = proposals.acquire_result(firm, assessment, now, lease_for).await?;
            return Ok(Acquired::of(proposed, Work::Result));
        }
    };
    let proposed = proposals.acquire_document(firm, document, step, now, lease_for).await?;
    Ok(Acquired::of(proposed, Work::Document))
}

impl Driver<'_> {
    /// When the next cycle begins, if a pause until then is the better bargain.
    fn paused_until(&self) -> Timestamp {
        if self.paused.load(Ordering::Relaxed) {
            self.next_cycle
        } else {
            Timestamp::ALWAYS
        }
    }

    /// Takes over those of these firms that are active.
    async fn serve_these(&self, firms: &[FirmId]) -> Result<Vec<Arc<Firm>>, StateError> {
        let state = &self.engine.state;
        let firms: BTreeSet<FirmId> = firms.iter().cloned().collect();
        let read = stream::iter(firms).map(|id| async move { state.firm(&id).await });
        let read: Vec<Option<Firm>> = read.buffered(READ_AT_ONCE).try_collect().await?;
        let active = read.into_iter().flatten().filter(Firm::is_served);
        let served: Vec<Arc<Firm>> = active.map(Arc::new).collect();
        *lock(&self.firms) = served.iter().map(|firm| (firm.id.clone(), Arc::clone(firm))).collect();
        Ok(served)
    }

    /// Polls a firm's encounters: none where it was polled within `every`, otherwise whether it could be.
    async fn poll_encounters_of(
        &self,
        firm: Arc<Firm>,
        every: Duration,
        until: Timestamp,
    ) -> Result<Option<bool>, StateError> {
        // The cursor follows the EHR's clock; a few seconds more or less do not matter here.
        if let Some(cursor) = self.engine.state.cursor(&firm.id).await?
            && cursor.0 + every * 3 / 4 > self.now()
        {
            return Ok(None);
        }
        let call = PollCall::Encounters { firm: firm.id.clone() };
        let grant = loop {
            match self.admit(&call).await {
                Admission::Granted(grant) => break grant,
                Admission::NotYet(again) | Admission::FirmWaits(again) if again >= until => return Ok(Some(false)),
                Admission::NotYet(again) | Admission::FirmWaits(again) => self.engine.clock.sleep_until(again).await,
            }
        };
        let observations = self.make(call, grant).await;
        let seen = |observation: &Observation| matches!(observation, Observation::EncountersSeen { .. });
        Ok(Some(observations.iter().any(seen)))
    }

    /// Tells the policy when the firm's encounters were last polled: its watch list was loaded as of then.
    async fn tell_last_poll(&self, firm: FirmId) -> Result<(), StateError> {
        if let Some(cursor) = self.engine.state.cursor(&firm).await? {
            self.tell_policy(Observation::EncountersSeen {
                firm,
                encounters: Vec::new(),
                answer: Answer {
                    as_of: cursor.0.min(self.now()),
                    server_time: None,
                    pages: 1,
                },
            });
        }
        Ok(())
    }
}
