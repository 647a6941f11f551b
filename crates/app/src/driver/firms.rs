//! Which firms are served, and which of them this process polls.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{
    StreamExt, TryStreamExt,
    stream::{self, FuturesUnordered},
};
use skin_assist_core::{
    domain::{Cursor, Firm, FirmId, PollerFigures, Stage, WatchList},
    lease::Lease,
    polling::{Observation, ServedFirm},
    ports::StateError,
    stages::{DiscoverFirms, TokenSource as _},
    time::Timestamp,
};

use super::{Driver, Event, HOUSEKEEPING_EVERY, LIST_LEASE, READ_AT_ONCE, lock, meanwhile::meanwhile};

impl Driver<'_> {
    /// Discovers firms, renews tokens ahead of their end, sweeps expired rows.
    ///
    /// One firm's token endpoint may hang for as long as a lease lasts: nobody waits for it, least of all the renewal of the
    /// leases under which all firms are polled.
    pub(super) async fn look_after_firms(&self) {
        let mut renewing = FuturesUnordered::new();
        let mut renewing_of: BTreeSet<FirmId> = BTreeSet::new();
        let state = &*self.engine.state;
        while !self.stop.is_stopping() {
            let mut renewed = |firm: FirmId| {
                renewing_of.remove(&firm);
            };
            meanwhile(&mut renewing, &mut renewed, self.discover()).await;
            let sweep = meanwhile(&mut renewing, &mut renewed, state.sweep_expired(self.now())).await;
            if let Err(error) = sweep {
                _ = self.state_trouble(Stage::DiscoverFirms, &error);
            }
            let firms: Vec<_> = lock(&self.firms).values().cloned().collect();
            for firm in firms {
                if renewing_of.insert(firm.id.clone()) {
                    renewing.push(async move {
                        // Whether there is one now, the next call asks.
                        _ = self.token(&firm, None).await;
                        firm.id.clone()
                    });
                }
            }
            let next = self.now() + HOUSEKEEPING_EVERY;
            loop {
                tokio::select! {
                    biased;
                    () = self.stop.stopped() => break,
                    Some(firm) = renewing.next() => drop(renewing_of.remove(&firm)),
                    () = self.engine.clock.sleep_until(next) => break,
                }
            }
        }
        while renewing.next().await.is_some() {}
    }

    /// Finds out which firms are active, and serves them.
    async fn discover(&self) {
        let firms = &*self.engine.state;
        let discovered = DiscoverFirms { firms }.run().await;
        let is_usable = discovered.is_ok();
        match discovered {
            Ok(firms) => self.serve(firms).await,
            Err(error) => _ = self.state_trouble(Stage::DiscoverFirms, &error),
        }
        self.emit(&Event::LookedAfter {
            at: self.now(),
            is_usable,
        });
    }

    /// Takes over the list of active firms, and tells the policy which of them this process polls.
    async fn serve(&self, firms: Vec<Firm>) {
        let active: Vec<FirmId> = firms.iter().map(|firm| firm.id.clone()).collect();
        *lock(&self.firms) = firms
            .into_iter()
            .map(|firm| (firm.id.clone(), Arc::new(firm)))
            .collect();
        let held = if self.engine.policy.leases_watch_lists() {
            self.hold_lists(active.len()).await
        } else {
            self.attend(&active).await.map(|_| active)
        };
        let held = match held {
            Ok(held) => held,
            Err(error) => {
                _ = self.state_trouble(Stage::DiscoverFirms, &error);
                return;
            }
        };
        let polled: BTreeSet<FirmId> = held.into_iter().filter(|firm| self.firm(firm).is_some()).collect();
        self.poll_these(polled).await;
    }

    /// Says that this process polls these firms, and how that goes. Gives how many processes poll.
    async fn attend(&self, polled: &[FirmId]) -> Result<usize, StateError> {
        let now = self.now();
        let (encounters, prices) = {
            let policy = lock(&self.figures);
            (policy.encounters, policy.prices.clone())
        };
        let figures = PollerFigures {
            at: Some(now),
            firms: polled.len(),
            encounters,
            prices,
            resting_hosts: self.engine.ehr.resting_hosts(now),
            failing_firms: self.tokens.failing(polled.iter()),
        };
        let state = &self.engine.state;
        state.attend(&self.poller, &figures, now, now + LIST_LEASE).await
    }

    /// Renews the leases on watch lists, and takes or gives some so that each poller has its share. Gives the firms whose
    /// lists this process holds.
    async fn hold_lists(&self, active: usize) -> Result<Vec<FirmId>, StateError> {
        let state = &self.engine.state;
        let now = self.now();
        let polled: Vec<FirmId> = lock(&self.lists).keys().cloned().collect();
        let pollers = self.attend(&polled).await?;
        // They stay where they are meanwhile: looks go on, and if they cannot be renewed now, they are good for what they were.
        let leases: Vec<Lease<WatchList>> = lock(&self.lists).values().map(Lease::for_a_step).collect();
        let mut leases = if leases.is_empty() {
            leases
        } else {
            state.renew_watch_lists(leases, now, LIST_LEASE).await?
        };
        let share = active.div_ceil(pollers.max(1));
        if leases.len() > share {
            let excess = leases.split_off(share);
            state.release_watch_lists(excess, now).await?;
        } else if leases.len() < share {
            let wanted = share - leases.len();
            leases.extend(state.acquire_watch_lists(now, LIST_LEASE, wanted).await?);
        }
        let held = leases
            .into_iter()
            .map(|lease| (lease.item().firm.clone(), lease))
            .collect::<BTreeMap<_, _>>();
        let firms = held.keys().cloned().collect();
        *lock(&self.lists) = held;
        Ok(firms)
    }

    /// Tells the policy which firms are polled from now on; new ones bring what is known about them.
    pub(super) async fn poll_these(&self, firms: BTreeSet<FirmId>) {
        let known = lock(&self.polled).clone();
        if firms == known {
            return;
        }
        let new: Vec<FirmId> = firms.difference(&known).cloned().collect();
        let since = self.now() - self.engine.settings.reconcile_within;
        let mut brought: Vec<Observation> = Vec::new();
        let state = &self.engine.state;
        let loaded = async {
            let lists = stream::iter(new.clone()).map(|firm| self.known_of(firm, since));
            brought = lists.buffered(READ_AT_ONCE).try_collect().await?;
            let mut learned = match self.memory {
                Some(memory) => memory.recall(&**state, &new, self.now()).await?,
                None => state.learned(&new).await?,
            };
            if !known.is_empty() {
                // What all firms have in common was told at the start.
                learned.shared.clear();
            }
            Ok::<_, StateError>(learned)
        };
        let learned = match loaded.await {
            Ok(learned) => learned,
            Err(error) => {
                // Without its watch list a firm must not be polled: it is taken up next time.
                _ = self.state_trouble(Stage::DiscoverFirms, &error);
                return;
            }
        };
        let served = firms
            .iter()
            .filter_map(|id| {
                let firm = self.firm(id)?;
                Some(ServedFirm {
                    firm: id.clone(),
                    quota: self.engine.quotas.of(&firm).name,
                })
            })
            .collect();
        *lock(&self.polled) = firms;
        lock(&self.shares).recall(&learned, self.now());
        self.tell_policy(Observation::Firms(served));
        self.tell_policy(Observation::Learned(learned));
        for watching in brought {
            if let (Some(_), Observation::Watching(firm, list)) = (self.memory, &watching) {
                self.notes.watching(firm, list);
            }
            self.tell_policy(watching);
        }
    }

    /// What the store knows of a firm's encounters.
    async fn known_of(&self, firm: FirmId, since: Timestamp) -> Result<Observation, StateError> {
        let state = &self.engine.state;
        if self.memory.is_none() {
            // Before the list: what is recorded in between is told once more.
            let cursor = state.cursor(&firm).await?;
            lock(&self.told_up_to).insert(firm.clone(), cursor);
        }
        let list = state.watch_list(&firm, since).await?;
        Ok(Observation::Watching(firm, list))
    }

    /// After a poll of encounters that moved the cursor: what the store knows of the firm, where somebody else had moved the cursor
    /// since the policy was told, or a poll of our own had whose acknowledgement was lost. What such a poll recorded may have changed longer ago
    /// than polls overlap, and no later one shows it. A sweep is told everything at its beginning, and lasts for less.
    pub(super) async fn what_others_recorded(
        &self,
        firm: &Firm,
        from: Option<Cursor>,
        next: Option<Cursor>,
    ) -> Result<Option<Observation>, StateError> {
        if self.memory.is_some() || lock(&self.told_up_to).insert(firm.id.clone(), next) == Some(from) {
            return Ok(None);
        }
        let since = self.now() - self.engine.settings.reconcile_within;
        let known = self.known_of(firm.id.clone(), since).await;
        if known.is_err() {
            lock(&self.told_up_to).remove(&firm.id);
        }
        known.map(Some)
    }

    /// At the end: others may poll at once.
    pub(super) async fn give_lists_back(&self) {
        let leases: Vec<_> = std::mem::take(&mut *lock(&self.lists)).into_values().collect();
        let now = self.now();
        let given = stream::iter(leases).map(|lease| async move {
            let looks = self.notes.take_quiet(&lease.item().firm);
            self.engine.state.give_watch_list_back(lease, &looks, now).await
        });
        for outcome in given.buffer_unordered(READ_AT_ONCE).collect::<Vec<_>>().await {
            if let Err(error) = outcome {
                // Whoever has the list next looks again.
                _ = self.state_trouble(Stage::PollDocuments, &error);
            }
        }
    }

    /// Leases a firm's watch list when a sweep makes its first call for the firm. Where somebody else has it, the firm is left to
    /// them: then this policy polls it no more.
    pub(super) async fn hold(&self, firm: &FirmId) -> bool {
        if lock(&self.lists).contains_key(firm) {
            return true;
        }
        let firms = std::slice::from_ref(firm);
        match self
            .engine
            .state
            .acquire_watch_lists_of(firms, self.now(), LIST_LEASE)
            .await
        {
            Ok(leases) => {
                let held = !leases.is_empty();
                let leases = leases.into_iter().map(|lease| (lease.item().firm.clone(), lease));
                lock(&self.lists).extend(leases);
                if held {
                    return true;
                }
            }
            Err(error) => _ = self.state_trouble(Stage::PollDocuments, &error),
        }
        let mut polled = lock(&self.polled).clone();
        polled.remove(firm);
        self.poll_these(polled).await;
        false
    }

    /// At the end of a run that others share firms with.
    pub(super) async fn leave_the_pollers(&self) {
        if let Err(error) = self.engine.state.leave(&self.poller).await {
            _ = self.state_trouble(Stage::DiscoverFirms, &error);
        }
    }
}
