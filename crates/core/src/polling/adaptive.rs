//! Polls where a new photo is most likely to wait for longest.
//!
//! For each visit it is worked out how many photos are to be expected that were not seen yet (`visit`), from rates that are
//! learned (`hazard`) and from what a changed `lastUpdated` tells (`evidence`). Each visit, and each firm's encounter poll,
//! has an index of what a call for it is worth (`model`); whoever has the greatest comes next (`queue`). A firm that
//! suddenly wants much more than ever before comes after the others (`practice`).
//!
//! Nothing is starved: each visit is looked at every 16 hours and late in its watch, and each firm's encounters
//! are polled every few minutes, whatever is expected of them. When the quota is not needed otherwise, encounters
//! whose watch is over are looked at once more each day for some days (reconciliation).

mod booking;
mod evidence;
mod hazard;
mod model;
mod practice;
mod prior;
mod provider;
mod queue;
mod visit;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{
    Answer, Count, Decision, Hold, Learned, Observation, PolicyFigures, PolicySettings, PollCall, PollPolicy,
    ServedFirm,
};
use crate::{
    domain::{Encounter, EncounterId, EncounterStatus, FirmId, PractitionerId, WATCH_LIFE, WatchedEncounter},
    time::Timestamp,
};

use model::{Model, SORT_EVERY, Search, seconds};
use practice::Practice;
use queue::{Arm, Queue};
use visit::{Change, Visit};

/// How often rates are worked out anew, in seconds.
const REFRESH_EVERY: f64 = 60.0;
/// How long a firm that is served anew counts as not polled, at least, in seconds.
const UNPOLLED: f64 = 600.0;

/// Encounters past their watch are looked at once a day.
const RECONCILE_EVERY: f64 = 86_400.0;

/// A provider's count in what is remembered of a firm.
const PROVIDER: &str = "provider-1/";

/// Each firm may always use this part of an equal part of the calls of a quota.
const LEAST_PART: f64 = 0.5;

/// What it uses of the quota there.
const CALLS: &str = "calls";

/// See the module.
#[derive(Debug)]
pub struct Adaptive {
    settings: PolicySettings,
    model: Model,
    queues: Vec<Queue>,
    firms: HashMap<FirmId, u32>,
    refreshed: f64,
    /// Encounters past their watch, by when they are looked at next, in milliseconds; and until when, in seconds.
    past: BTreeMap<(i64, u32, EncounterId), f64>,
    /// Those of them that are being looked at.
    reconciling: BTreeMap<(u32, EncounterId), f64>,
}

fn timestamp(at: f64) -> Timestamp {
    if at.is_finite() {
        Timestamp::from_millis((at * 1000.0).ceil() as i64)
    } else {
        Timestamp::NEVER
    }
}

fn is_over(status: EncounterStatus) -> bool {
    matches!(status, EncounterStatus::Finished | EncounterStatus::Cancelled)
}

impl Adaptive {
    /// A policy that knows only what is assumed of all practices.
    pub fn new(settings: PolicySettings) -> Self {
        let search = match settings.searches {
            searches if searches.changed_since => Search::Whole,
            searches if searches.visits_in_one_call > 1 => Search::Together(searches.visits_in_one_call),
            _ => Search::OneByOne,
        };
        Self {
            settings,
            model: Model::new(search, &settings),
            queues: Vec::new(),
            firms: HashMap::new(),
            refreshed: f64::NEG_INFINITY,
            past: BTreeMap::new(),
            reconciling: BTreeMap::new(),
        }
    }

    fn queue_of(&mut self, name: &str) -> usize {
        if let Some(found) = self.queues.iter().position(|queue| queue.name == name) {
            return found;
        }
        self.queues.push(Queue::new(name.to_owned(), self.settings.least_price));
        self.model.prices.push(self.settings.least_price);
        self.model.least_shares.push(f64::INFINITY);
        self.queues.len() - 1
    }

    fn serve(&mut self, served: Vec<ServedFirm>) {
        let before: Vec<bool> = self.model.firms.iter().map(|practice| practice.served).collect();
        for practice in &mut self.model.firms {
            practice.served = false;
        }
        // However many they are: nothing is known of the visits of one that is served anew, and those of which something is known would have
        // the calls until its poll is due.
        let unpolled = UNPOLLED.max(model::longest_unpolled(served.len()));
        for ServedFirm { firm, quota } in served {
            let queue = self.queue_of(&quota);
            let now = self.model.now;
            let number = *self.firms.entry(firm.clone()).or_insert_with(|| {
                self.model.firms.push(Practice::new(firm, queue, now));
                (self.model.firms.len() - 1) as u32
            });
            let practice = &mut self.model.firms[number as usize];
            practice.served = true;
            practice.queue = queue;
            if before.get(number as usize) != Some(&true) {
                // Somebody else may have served it meanwhile.
                practice.polled = now - unpolled;
                self.renew(Arm::Firm(number));
                if self.model.search != Search::OneByOne {
                    self.renew(Arm::Documents(number));
                }
            }
        }
        for number in 0..self.model.firms.len() {
            if !self.model.firms[number].served && before[number..].first() == Some(&true) {
                self.model.expire(number, true);
                self.past.retain(|(_, firm, _), _| *firm != number as u32);
            }
        }
        self.model.refresh();
    }

    /// Puts an arm to sleep until it is due, after something about it changed.
    fn renew(&mut self, arm: Arm) {
        let search = self.model.search;
        let (firm, hinted) = match arm {
            Arm::Firm(firm) => {
                self.model.firms[firm as usize].generation += 1;
                (firm, false)
            }
            Arm::Documents(firm) => {
                self.model.firms[firm as usize].documents_generation += 1;
                (firm, false)
            }
            Arm::Visit(number) if search == Search::OneByOne => {
                let visit = &mut self.model.visits[number as usize];
                visit.generation += 1;
                (visit.firm, visit.bump.is_some())
            }
            // Visits are looked at together, by the firm's own arm.
            Arm::Visit(_) => return,
        };
        let practice = &self.model.firms[firm as usize];
        let under_way = match arm {
            Arm::Firm(_) => practice.under_way,
            Arm::Documents(_) => practice.documents_under_way,
            Arm::Visit(number) => self.model.visits[number as usize].under_way,
        };
        if under_way {
            return;
        }
        let queue = practice.queue;
        let entry = self.model.entry(arm);
        let now = self.model.now;
        if hinted {
            self.queues[queue].hint(entry);
        }
        self.queues[queue].sleep(entry, now, &mut self.model);
    }

    /// After something about a firm's visits changed, for the arm that looks at several of them.
    fn renew_documents(&mut self, firm: u32) {
        if self.model.search != Search::OneByOne {
            self.model.sum_up_together(firm as usize);
            self.renew(Arm::Documents(firm));
        }
    }

    fn compare_clocks(&mut self, answer: &Answer) {
        if let Some(server_time) = answer.server_time {
            self.model.compare_clocks(server_time, answer.as_of);
        }
    }

    fn fresh_visit(&mut self, firm: usize, encounter: &Encounter, opened: f64, expires: f64) -> Visit {
        Visit {
            id: encounter.id.clone(),
            firm: firm as u32,
            provider: self.model.firms[firm].provider(encounter.practitioner.as_ref()),
            status: encounter.status,
            version: encounter.last_updated,
            opened,
            finished: is_over(encounter.status).then_some(opened),
            photos: 0,
            last_photo: f64::NEG_INFINITY,
            looked: opened,
            mass: 0.0,
            mass_until: opened,
            bump: None,
            bumps: 0,
            unproved: None,
            expires,
            under_way: false,
            asked: f64::NEG_INFINITY,
            generation: 0,
        }
    }

    /// What the store knows of a firm that is served from now on.
    fn watching(&mut self, firm: usize, encounters: Vec<WatchedEncounter>) {
        for WatchedEncounter {
            watch,
            photos,
            latest_photo_at,
        } in encounters
        {
            let id = watch.encounter.id.clone();
            // One that was being looked at when the firm was given up has stayed. Its arm is gone if that look has ended since: an arm of a
            // firm that is not served does not stay in the queue. The store knows more of it than is remembered here, besides.
            if !self.model.forget(firm, &id) {
                continue;
            }
            let expires = seconds(watch.expires_at);
            if expires <= self.model.now {
                self.reconcile(firm as u32, id, expires);
                continue;
            }
            let first_seen = seconds(watch.first_seen_at);
            let mut visit = self.fresh_visit(firm, &watch.encounter, first_seen, expires);
            if visit.is_over() {
                // The last version is that of the finish, mostly.
                let finished = watch.encounter.last_updated.map(|at| self.model.local(at));
                visit.finished = Some(finished.unwrap_or(first_seen).min(self.model.now));
            }
            visit.photos = photos as usize;
            if let Some(latest) = latest_photo_at {
                visit.last_photo = self.model.local(latest).min(self.model.now);
            }
            visit.looked = watch.looked_at.map_or(first_seen, seconds);
            visit.mass_until = visit.looked;
            if let (Some(version), Some(looked), false) =
                (watch.encounter.last_updated, watch.looked_at, visit.is_over())
                && self.model.local(version) > seconds(looked)
            {
                // It changed after the last look, of which whoever polled it before knew.
                let factor = self.model.firms[firm].providers[visit.provider].factor();
                let at = (self.model.local(version), self.model.now);
                visit.bumped(&self.model.hazards, &self.model.evidence, factor, at, version);
            }
            let number = self.model.admit(visit);
            self.model.firms[firm].visits.insert(id, number);
            self.renew(Arm::Visit(number));
        }
        self.model.firms[firm].sorted = f64::NEG_INFINITY;
        self.model.sum_up(firm);
        self.renew_documents(firm as u32);
    }

    /// Has an encounter past its watch looked at once more.
    fn reconcile(&mut self, firm: u32, encounter: EncounterId, expired: f64) {
        let until = expired + self.settings.reconcile_within.as_secs_f64();
        let now = self.model.now;
        // One look a day, the first a day after the watch or, after a time in which nobody served the firm, now.
        let due = (expired + RECONCILE_EVERY).max(now);
        if due <= until {
            self.past.insert(((due * 1000.0) as i64, firm, encounter), until);
        }
    }

    fn encounters_seen(&mut self, firm: usize, encounters: Vec<Encounter>, answer: &Answer) {
        self.compare_clocks(answer);
        let polled = seconds(answer.as_of);
        let polled_before = self.model.firms[firm].polled;
        let expires = polled + WATCH_LIFE.as_secs_f64();
        let practice = &mut self.model.firms[firm];
        practice.pages += 0.2 * (f64::from(answer.pages.max(1)) - practice.pages);
        self.model.spend(firm, f64::from(answer.pages));
        let mut changed = Vec::new();
        for encounter in encounters {
            let at = encounter
                .last_updated
                .map_or(polled, |version| self.model.local(version))
                .min(polled);
            let number = if let Some(&number) = self.model.firms[firm].visits.get(&encounter.id) {
                let visit = &self.model.visits[number as usize];
                let news = match (visit.version, encounter.last_updated) {
                    (Some(known), Some(seen)) => seen > known,
                    (None, Some(_)) => true,
                    (_, None) => visit.status != encounter.status,
                };
                if !news {
                    continue;
                }
                self.changed(firm, number, &encounter, at, (polled_before, polled));
                let lively = &mut self.model.firms[firm].lively;
                if self.model.search != Search::OneByOne && !lively.contains(&number) {
                    lively.push(number);
                }
                self.model.visits[number as usize].expires = expires;
                number
            } else {
                let visit = self.fresh_visit(firm, &encounter, at, expires);
                if !visit.is_over() {
                    self.model.firms[firm].opened(polled);
                }
                let number = self.model.admit(visit);
                self.model.firms[firm].visits.insert(encounter.id, number);
                self.model.firms[firm].lively.push(number);
                number
            };
            changed.push(number);
        }
        let practice = &mut self.model.firms[firm];
        practice.polled = practice.polled.max(polled);
        self.prove(firm);
        if self.model.now - self.model.firms[firm].sorted > SORT_EVERY {
            for visit in self.model.expire(firm, false) {
                self.reconcile(firm as u32, visit.id, visit.expires);
            }
        }
        self.model.sum_up(firm);
        for number in changed {
            self.renew(Arm::Visit(number));
        }
        self.renew(Arm::Firm(firm as u32));
        self.renew_documents(firm as u32);
    }

    /// A poll showed a new version of a known visit.
    fn changed(
        &mut self,
        firm: usize,
        number: u32,
        encounter: &Encounter,
        at: f64,
        (polled_before, polled): (f64, f64),
    ) {
        let provider = self.model.firms[firm].provider(encounter.practitioner.as_ref());
        let model = &mut self.model;
        let visit = &mut model.visits[number as usize];
        let was_over = visit.is_over();
        visit.provider = provider;
        let factor = model.firms[firm].providers[visit.provider].factor();
        let change = Change {
            at,
            observed: model.now,
            polled_before,
            polled,
            version: encounter.last_updated,
            status: encounter.status,
        };
        visit.changed(&model.hazards, &model.evidence, factor, change);
        visit.version = encounter.last_updated;
        if visit.is_over() && !was_over {
            model.finishes.add(Count {
                events: 1.0,
                exposure: (at - visit.opened).max(0.0),
            });
        }
    }

    /// Gives out the arm's call.
    fn take(&mut self, arm: Arm, hinted: bool) -> PollCall {
        let now = self.model.now;
        let of = |model: &Model, firm: u32| model.firms[firm as usize].id.clone();
        match arm {
            Arm::Firm(firm) => {
                let practice = &mut self.model.firms[firm as usize];
                practice.under_way = true;
                practice.generation += 1;
                PollCall::Encounters {
                    firm: of(&self.model, firm),
                }
            }
            Arm::Documents(firm) => {
                let chosen = self.model.together(firm as usize);
                let practice = &mut self.model.firms[firm as usize];
                practice.documents_under_way = true;
                practice.documents_generation += 1;
                let firm = of(&self.model, firm);
                if self.model.search == Search::Whole {
                    for number in self.model.firms[self.firms[&firm] as usize].visits.values() {
                        self.model.visits[*number as usize].asked = now;
                    }
                    return PollCall::ChangedDocuments { firm };
                }
                PollCall::Documents {
                    firm,
                    encounters: chosen.into_iter().map(|number| self.ask(number)).collect(),
                    hold: Hold::WatchList,
                    hinted,
                }
            }
            Arm::Visit(number) => PollCall::Documents {
                firm: of(&self.model, self.model.visits[number as usize].firm),
                encounters: vec![self.ask(number)],
                hold: Hold::WatchList,
                hinted,
            },
        }
    }

    fn ask(&mut self, number: u32) -> EncounterId {
        let visit = &mut self.model.visits[number as usize];
        visit.under_way = true;
        visit.asked = self.model.now;
        visit.generation += 1;
        visit.id.clone()
    }

    fn ended(&mut self, call: PollCall, made: bool) {
        let Some(&firm) = self.firms.get(call.firm()) else {
            return;
        };
        match call {
            PollCall::Encounters { .. } => {
                self.model.firms[firm as usize].under_way = false;
                self.renew(Arm::Firm(firm));
            }
            PollCall::ChangedDocuments { .. } => {
                self.model.firms[firm as usize].documents_under_way = false;
                self.renew_documents(firm);
            }
            PollCall::Documents { encounters, .. } => {
                let apart = encounters
                    .iter()
                    .any(|encounter| self.reconciling.contains_key(&(firm, encounter.clone())));
                for encounter in encounters {
                    if let Some(until) = self.reconciling.remove(&(firm, encounter.clone())) {
                        let next = self.model.now + if made { RECONCILE_EVERY } else { 0.0 };
                        if next <= until {
                            self.past.insert(((next * 1000.0) as i64, firm, encounter), until);
                        }
                    } else if let Some(&number) = self.model.firms[firm as usize].visits.get(&encounter) {
                        self.model.visits[number as usize].under_way = false;
                        self.renew(Arm::Visit(number));
                    }
                }
                // A look at an encounter past its watch is none of the firm's arm, whose own call may be under way.
                if !apart {
                    self.model.firms[firm as usize].documents_under_way = false;
                    self.renew_documents(firm);
                }
            }
        }
    }

    /// A look at an encounter past its watch, when its quota has nothing better to do.
    fn next_reconciliation(&mut self, queue: usize) -> Option<PollCall> {
        if !self.queues[queue].is_quiet() {
            return None;
        }
        let now = (self.model.now * 1000.0) as i64;
        let due = |((at, firm, _), _): &(&(i64, u32, EncounterId), &f64)| {
            let practice = &self.model.firms[*firm as usize];
            *at <= now && practice.served && practice.queue == queue && practice.resting_until <= self.model.now
        };
        let (key, _) = self.past.iter().take_while(|((at, ..), _)| *at <= now).find(due)?;
        let key = key.clone();
        let until = self.past.remove(&key)?;
        let (_, firm, encounter) = key;
        self.reconciling.insert((firm, encounter.clone()), until);
        Some(PollCall::Documents {
            firm: self.model.firms[firm as usize].id.clone(),
            encounters: vec![encounter],
            hold: Hold::WatchList,
            hinted: false,
        })
    }
}

impl PollPolicy for Adaptive {
    fn observe(&mut self, observation: Observation, now: Timestamp) {
        self.model.now = seconds(now);
        let number = |firms: &HashMap<FirmId, u32>, firm: &FirmId| firms.get(firm).map(|number| *number as usize);
        match observation {
            Observation::Firms(firms) => self.serve(firms),
            Observation::Watching(firm, encounters) => {
                if let Some(firm) = number(&self.firms, &firm) {
                    self.watching(firm, encounters);
                }
            }
            Observation::Learned(learned) => {
                self.model.hazards.recall(&learned);
                self.model.evidence.recall(&learned);
                for (firm, counts) in &learned.firms {
                    let Some(firm) = number(&self.firms, firm) else {
                        continue;
                    };
                    self.model.firms[firm].share.recall(CALLS, counts);
                    for (name, count) in counts {
                        let Some(practitioner) = name.strip_prefix(PROVIDER) else {
                            continue;
                        };
                        let practitioner = (!practitioner.is_empty()).then(|| PractitionerId::new(practitioner));
                        let practice = &mut self.model.firms[firm];
                        let provider = practice.provider(practitioner.as_ref());
                        practice.providers[provider].firsts.add(*count);
                    }
                }
            }
            Observation::EncountersSeen {
                firm,
                encounters,
                answer,
            } => {
                if let Some(firm) = number(&self.firms, &firm) {
                    self.encounters_seen(firm, encounters, &answer);
                }
            }
            Observation::DocumentsSeen { firm, looks, answer } => {
                if let Some(firm) = number(&self.firms, &firm) {
                    self.documents_seen(firm, &looks, &answer, false);
                }
            }
            Observation::AllDocumentsSeen {
                firm,
                looks,
                stray,
                answer,
            } => {
                if let Some(firm) = number(&self.firms, &firm) {
                    self.documents_seen(firm, &looks, &answer, true);
                    if let Some(stray) = stray {
                        self.model.firms[firm].stray = self.model.local(stray);
                        self.renew(Arm::Firm(firm as u32));
                    }
                }
            }
            Observation::NotGranted(call, until) => {
                if let Some(firm) = number(&self.firms, call.firm()) {
                    let queue = &mut self.queues[self.model.firms[firm].queue];
                    let blocked = if call.kind().has_reserve() {
                        &mut queue.exhausted_until
                    } else {
                        &mut queue.blocked_until
                    };
                    *blocked = (*blocked).max(until);
                }
                self.ended(call, false);
            }
            Observation::Ended(call) => self.ended(call, true),
            Observation::Resting { firm, until } => {
                if let Some(firm) = number(&self.firms, &firm) {
                    self.model.firms[firm].resting_until = seconds(until);
                }
            }
        }
    }

    fn next(&mut self, now: Timestamp) -> Decision {
        self.model.now = seconds(now);
        if self.model.now - self.refreshed >= REFRESH_EVERY {
            self.refreshed = self.model.now;
            self.model.refresh();
            let served = self.model.firms.iter().filter(|practice| practice.served);
            let mut firms = vec![0_u32; self.queues.len()];
            served.for_each(|practice| firms[practice.queue] += 1);
            for (queue, firms) in firms.into_iter().enumerate() {
                self.model.least_shares[queue] = if firms > 1 {
                    LEAST_PART * self.queues[queue].busy_rate / f64::from(firms)
                } else {
                    f64::INFINITY
                };
            }
        }
        let mut earliest = f64::INFINITY;
        for queue in 0..self.queues.len() {
            if self.queues[queue].exhausted_until <= now
                && let Some(entry) = self.queues[queue].choose_hinted(&mut self.model)
            {
                return Decision::Poll(self.take(entry.arm, true));
            }
            if self.queues[queue].blocked_until > now {
                earliest = earliest.min(seconds(self.queues[queue].blocked_until));
                continue;
            }
            if let Some(call) = self.next_reconciliation(queue) {
                return Decision::Poll(call);
            }
            let chosen = self.queues[queue].choose(self.model.now, &mut self.model);
            self.model.prices[queue] = self.queues[queue].price;
            match chosen {
                Ok(entry) => return Decision::Poll(self.take(entry.arm, false)),
                Err(due) => earliest = earliest.min(due),
            }
        }
        Decision::Wait(timestamp(earliest))
    }

    fn loss_of_a_pause(&self, pause: Duration) -> f64 {
        // What comes evenly waits for half of the pause. What has come already is less than a call is worth, or was looked at.
        let pause = pause.as_secs_f64();
        self.model.expected_rate() * pause * pause / 2.0
    }

    fn figures(&self) -> PolicyFigures {
        PolicyFigures {
            encounters: self.model.firms.iter().map(|firm| firm.visits.len()).sum(),
            prices: self
                .queues
                .iter()
                .map(|queue| (queue.name.clone(), queue.price))
                .collect(),
        }
    }

    fn gained(&mut self) -> Learned {
        let mut learned = Learned::default();
        self.model.hazards.gained(&mut learned);
        self.model.evidence.gained(&mut learned);
        for practice in &mut self.model.firms {
            let id = practice.id.clone();
            practice.share.gained(CALLS, &id, &mut learned);
            for (practitioner, provider) in practice.providers_by_name() {
                let gained = std::mem::take(&mut provider.gained);
                if gained != Count::default() {
                    let name = practitioner.map_or("", PractitionerId::as_str);
                    let counts = learned.firms.entry(id.clone()).or_default();
                    counts.insert(format!("{PROVIDER}{name}"), gained);
                }
            }
        }
        learned
    }
}
