//! Playing a trace: the policy decides, the quota grants, the EHR answers, time jumps from event to event.
//!
//! What the stages do around a call is done here too, in short: the cursor with its overlap, pages, batches under a lease
//! with a deadline, a read and a draft for each photo found. Those go before polls, and what was begun goes on before
//! anything new is, as in production. When a call is refused or fails, the quota is held and the firm rests as the
//! driver has it.

mod summary;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    time::Duration,
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use skin_assist_core::{
    domain::{Cursor, Encounter, FirmId},
    polling::{
        AdaptivePart, Answer, Decision, Hold, NewPhotos, Observation, PipelineShares, PolicyName, PolicySettings,
        PollCall, PollPolicy, ServedFirm, Turn, is_better_paused,
    },
    ports::{CallKind, DocumentSearches, Grant},
    quota::{Allowance, TokenBucket},
    stages::{HOLD_AFTER_REFUSAL, retry},
    time::Timestamp,
};

use super::{
    chart::{Charts, firm_id, instant},
    conditions::{Conditions, Mood},
    ledger::Counter,
    memory::Memory,
    outcome::Outcome,
    sweeps::Sweeps,
    trace::{EventKind, Trace},
};

/// How documents are searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchKind {
    /// One visit with each call.
    Patient,
    /// Up to 20 visits of a practice in an OR-list.
    EncounterList,
    /// Up to 20 searches in a batch.
    Batch,
    /// All that changed in a practice.
    System,
}

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Calls in a minute, for all practices.
    pub budget_per_minute: u32,
    /// The share of photos that bump their visit's `lastUpdated`.
    pub hint: f64,
    /// Which policy.
    pub policy: PolicyName,
    /// How documents are searched for.
    pub search: SearchKind,
    /// What calls cost at least.
    pub least_price: f64,
    /// What the adaptive policy does without.
    pub without: Option<AdaptivePart>,
    /// Round-trip times follow from it.
    pub seed: u64,
    /// Polls are made in sweeps, each by a policy that begins anew; otherwise all the time.
    pub sweeps: Option<Sweeps>,
    /// What goes wrong.
    pub conditions: Conditions,
}

const DAY: f64 = 86_400.0;
/// A day begins at 07:00 Eastern.
const DAY_BEGINS: f64 = 7.0 * 3600.0;
const MEASURED: [f64; 2] = [DAY_BEGINS + DAY, DAY_BEGINS + 2.0 * DAY];
/// From a photo read to its draft: what the models take.
const ASSESSED_AFTER: Duration = Duration::from_secs(2);
const ENCOUNTER_PAGE: usize = 50;
const DOCUMENT_PAGE: usize = 10;
const WINDOW: Duration = Duration::from_secs(60);
const MOST_IN_FLIGHT: usize = 64;
const DAY_LENGTH: Duration = Duration::from_secs(86_400);
/// A firm rests for no longer after a failed poll.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// A call on its way.
#[derive(Debug)]
struct Call {
    kind: CallKind,
    sent: Timestamp,
    /// How often it was tried in vain; only of reads and drafts, which are tried again.
    failures: u32,
    reply: Reply,
    what: What,
}

/// What the EHR made of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    Answered,
    Refused,
    Failed,
}

#[derive(Debug)]
enum What {
    /// One page of encounters.
    Encounters {
        call: PollCall,
        firm: u32,
        since: Timestamp,
        page: usize,
        first: Option<Answer>,
        /// What the EHR sends, and how many records of it are what was asked for.
        seen: Vec<Encounter>,
        sent: usize,
    },
    /// Documents of some visits, and which are to be asked for after them.
    Documents {
        call: PollCall,
        now_asked: Vec<usize>,
        waiting: VecDeque<usize>,
        deadline: Timestamp,
        page: usize,
        found: Vec<(usize, Vec<(Timestamp, u32)>)>,
        first: Option<Answer>,
    },
    Read {
        firm: u32,
    },
    Draft {
        firm: u32,
    },
}

enum Step {
    Arrives(Box<Call>),
    Answered(Box<Call>),
    Pump,
    /// A read or a draft is to be made.
    Due(Box<Call>),
}

struct Moment {
    at: Timestamp,
    number: u64,
    step: Step,
}
impl PartialEq for Moment {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}
impl Eq for Moment {}
impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Moment {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

struct Photo {
    firm: u32,
    filed: Timestamp,
    found: Option<Timestamp>,
    measured: bool,
}

struct Player<'a> {
    scenario: &'a Scenario,
    trace: &'a Trace,
    next_event: usize,
    charts: Charts,
    policy: Box<dyn PollPolicy>,
    settings: PolicySettings,
    memory: Memory,
    /// When the present sweep began, if it is not over.
    sweeping_since: Option<Timestamp>,
    next_sweep: Timestamp,
    /// The last poll that was not granted waits until then.
    refused_until: Timestamp,
    allowance: Allowance,
    bucket: TokenBucket,
    random: ChaCha8Rng,
    moments: BinaryHeap<Reverse<Moment>>,
    numbers: u64,
    pump_at: Timestamp,
    /// Calls that go before polls, first those with a reserve.
    urgent: VecDeque<Call>,
    going_on: VecDeque<Call>,
    /// What reads and drafts of each practice may use.
    shares: PipelineShares,
    in_flight: usize,
    cursors: HashMap<u32, Cursor>,
    /// Up to when each practice's documents were read as a whole.
    documents_read: HashMap<u32, Timestamp>,
    firms: HashMap<FirmId, u32>,
    photos: HashMap<u32, Photo>,
    outstanding: usize,
    /// Failed polls of each practice in a row.
    failures: HashMap<u32, u32>,
    counter: Counter,
    measured_from: Timestamp,
}

/// Plays the trace. `progress` is told the share of the time that has passed.
pub fn play(trace: &Trace, scenario: &Scenario, mut progress: impl FnMut(f64)) -> Outcome {
    let mut finished_at: HashMap<u32, f64> = HashMap::new();
    for event in &trace.events {
        if event.kind == EventKind::Finish {
            finished_at.insert(event.enc, event.t);
        }
    }
    let start = instant(trace.events.first().map_or(0.0, |event| event.t.min(DAY_BEGINS)));
    let settings = PolicySettings {
        searches: scenario.search.searches(),
        least_price: scenario.least_price,
        without: scenario.without,
        ..PolicySettings::one_by_one()
    };
    let mut player = Player {
        scenario,
        trace,
        next_event: 0,
        charts: Charts::default(),
        policy: scenario.policy.build(settings),
        settings,
        memory: Memory::default(),
        sweeping_since: None,
        next_sweep: start,
        refused_until: start,
        allowance: Allowance::of(scenario.budget_per_minute, WINDOW),
        bucket: TokenBucket::empty(start),
        random: ChaCha8Rng::seed_from_u64(scenario.seed),
        moments: BinaryHeap::new(),
        numbers: 0,
        pump_at: Timestamp::NEVER,
        urgent: VecDeque::new(),
        going_on: VecDeque::new(),
        shares: PipelineShares::default(),
        in_flight: 0,
        cursors: HashMap::new(),
        documents_read: HashMap::new(),
        firms: HashMap::new(),
        photos: HashMap::new(),
        outstanding: 0,
        failures: HashMap::new(),
        counter: Counter::for_a_day(),
        measured_from: instant(MEASURED[0]),
    };
    let mut live_of = HashMap::new();
    for event in trace.events.iter().filter(|event| event.kind == EventKind::Attach) {
        let measured = (MEASURED[0]..MEASURED[1]).contains(&event.t);
        if measured {
            player.outstanding += 1;
            let live = finished_at.get(&event.enc).is_none_or(|finish| event.t <= *finish);
            live_of.insert(
                event.doc.unwrap_or_default(),
                (live, finished_at.get(&event.enc).map(|f| instant(*f))),
            );
        }
        player.photos.insert(
            event.doc.unwrap_or_default(),
            Photo {
                firm: event.firm,
                filed: instant(event.t),
                found: None,
                measured,
            },
        );
    }
    let mut numbers: Vec<u32> = trace.events.iter().map(|event| event.firm).collect();
    numbers.sort_unstable();
    numbers.dedup();
    player.firms = numbers.iter().map(|firm| (firm_id(*firm), *firm)).collect();
    let served = player.served();
    player.policy.observe(Observation::Firms(served), start);
    player.pump(start);
    let end = instant(MEASURED[1] + DAY);
    let total = end.since(start).as_secs_f64();
    let mut told = 0.0;
    let mut ended_at = start;
    while let Some(Reverse(moment)) = player.moments.pop() {
        let now = moment.at;
        if now >= end || (player.outstanding == 0 && now >= instant(MEASURED[1].min(trace_end(trace)))) {
            break;
        }
        ended_at = now;
        let share = now.since(start).as_secs_f64() / total;
        if share - told >= 0.005 {
            told = share;
            progress(share);
        }
        match moment.step {
            Step::Arrives(call) => player.arrives(*call, now),
            Step::Answered(call) => player.answered(*call, now),
            Step::Due(call) => player.due(*call, now),
            Step::Pump if moment.at == player.pump_at => player.pump_at = Timestamp::NEVER,
            Step::Pump => continue,
        }
        player.pump(now);
    }
    progress(1.0);
    player.counter.end(ended_at);
    player.outcome(&live_of)
}

fn trace_end(trace: &Trace) -> f64 {
    trace.events.last().map_or(0.0, |event| event.t)
}

fn call(kind: CallKind, what: What) -> Call {
    Call {
        kind,
        sent: Timestamp::ALWAYS,
        failures: 0,
        reply: Reply::Answered,
        what,
    }
}

impl SearchKind {
    const fn searches(self) -> DocumentSearches {
        DocumentSearches {
            visits_in_one_call: match self {
                Self::Patient | Self::System => 1,
                Self::EncounterList | Self::Batch => 20,
            },
            changed_since: matches!(self, Self::System),
        }
    }
}

impl Player<'_> {
    fn at(&mut self, at: Timestamp, step: Step) {
        self.numbers += 1;
        let number = self.numbers;
        self.moments.push(Reverse(Moment { at, number, step }));
    }

    fn send(&mut self, mut call: Call, now: Timestamp) {
        let round_trip: f64 = self.random.random_range(self.scenario.conditions.round_trip_ms.clone());
        call.sent = now;
        self.in_flight += 1;
        self.counter.ledger.on_their_way += 1;
        // Kept in the call: the other half is added when it arrives.
        self.at(
            now + Duration::from_micros((round_trip * 500.0) as u64),
            Step::Arrives(Box::new(call)),
        );
    }

    fn take(&mut self, kind: CallKind, now: Timestamp) -> Grant {
        let grant = self.bucket.take(self.allowance, kind, now);
        self.counter.ledger.granted += u64::from(grant == Grant::Granted);
        grant
    }

    /// A read or a draft is to be made: before polls, or, where its practice has used up its share, when nobody else needs the
    /// call.
    fn due(&mut self, call: Call, now: Timestamp) {
        let (What::Read { firm } | What::Draft { firm }) = call.what else {
            return;
        };
        match self.shares.turn(&firm_id(firm), self.allowance, self.firms.len(), now) {
            Turn::Now => self.urgent.push_back(call),
            Turn::At(_) if self.take(CallKind::Surplus, now) == Grant::Granted => self.send(call, now),
            Turn::At(at) => {
                self.counter.ledger.put_off += 1;
                self.at(at, Step::Due(Box::new(call)));
            }
        }
    }

    /// Makes the calls that can be made now.
    fn pump(&mut self, now: Timestamp) {
        loop {
            if self.in_flight >= MOST_IN_FLIGHT {
                return;
            }
            let urgent = !self.urgent.is_empty();
            if urgent || !self.going_on.is_empty() {
                let queue = if urgent { &mut self.urgent } else { &mut self.going_on };
                let Some(kind) = queue.front().map(|call| call.kind) else {
                    return;
                };
                match self.take(kind, now) {
                    Grant::Granted => {
                        let queue = if urgent { &mut self.urgent } else { &mut self.going_on };
                        if let Some(call) = queue.pop_front() {
                            self.send(call, now);
                        }
                    }
                    Grant::Wait(until) => return self.pump_later(until),
                }
                continue;
            }
            if !self.may_poll(now) {
                return self.pump_later(self.next_sweep);
            }
            match self.policy.next(now) {
                Decision::Wait(until) => {
                    if self.ends_sweep(until, now) {
                        self.pump_later(self.next_sweep);
                    } else if until < Timestamp::NEVER {
                        self.pump_later(until.max(now + Duration::from_millis(1)));
                    }
                    return;
                }
                Decision::Poll(poll) => match self.take(poll.kind(), now) {
                    Grant::Granted => self.begin(poll, now),
                    Grant::Wait(until) => {
                        self.refused_until = until;
                        self.policy.observe(Observation::NotGranted(poll, until), now);
                    }
                },
            }
        }
    }

    fn served(&self) -> Vec<ServedFirm> {
        let mut firms: Vec<u32> = self.firms.values().copied().collect();
        firms.sort_unstable();
        let served = |firm| ServedFirm {
            firm: firm_id(firm),
            quota: "simulated".to_owned(),
        };
        firms.into_iter().map(served).collect()
    }

    /// Whether polls may be made now. A sweep that is due begins with a new policy.
    fn may_poll(&mut self, now: Timestamp) -> bool {
        let Some(sweeps) = self.scenario.sweeps else {
            return true;
        };
        if self.sweeping_since.is_some_and(|since| now >= since + sweeps.lasting) {
            self.sweeping_since = None;
        }
        if self.sweeping_since.is_none() && now >= self.next_sweep {
            self.memory.remember(&mut *self.policy);
            self.policy = self.scenario.policy.build(self.settings);
            let served = self.served();
            self.memory.tell(&mut *self.policy, served, now);
            self.sweeping_since = Some(now);
            self.next_sweep = now + sweeps.every;
        }
        self.sweeping_since.is_some()
    }

    /// Whether the policy has nothing more for the present sweep, which is over then.
    fn ends_sweep(&mut self, until: Timestamp, now: Timestamp) -> bool {
        let Some((sweeps, since)) = self.scenario.sweeps.zip(self.sweeping_since) else {
            return false;
        };
        let pause = (since + sweeps.cycle).since(now);
        let idle = self.in_flight == 0 && self.refused_until <= now;
        let pauses = idle && is_better_paused(&*self.policy, pause, self.scenario.least_price);
        if pauses {
            self.next_sweep = self.next_sweep.max(since + sweeps.cycle);
        }
        let ends = pauses || until >= since + sweeps.lasting;
        if ends {
            self.sweeping_since = None;
        }
        ends
    }

    fn pump_later(&mut self, at: Timestamp) {
        if at < self.pump_at {
            self.pump_at = at;
            self.at(at, Step::Pump);
        }
    }

    fn begin(&mut self, poll: PollCall, now: Timestamp) {
        let firm = self.firms[poll.firm()];
        match &poll {
            PollCall::Encounters { .. } => {
                let since = self
                    .cursors
                    .get(&firm)
                    .map_or(now - Duration::from_secs(86_400), |cursor| cursor.query_from());
                let what = What::Encounters {
                    call: poll,
                    firm,
                    since,
                    page: 0,
                    first: None,
                    seen: Vec::new(),
                    sent: 0,
                };
                self.send(call(CallKind::Encounter, what), now);
            }
            PollCall::Documents { encounters, hold, .. } => {
                let mut waiting: VecDeque<usize> = encounters.iter().filter_map(|id| self.charts.find(id)).collect();
                let together = self.scenario.search.searches().visits_in_one_call;
                let now_asked = waiting.drain(..together.min(waiting.len())).collect();
                let deadline = match hold {
                    Hold::Batch(lease) => now + *lease - Duration::from_secs(2),
                    Hold::WatchList => Timestamp::NEVER,
                };
                let what = What::Documents {
                    call: poll,
                    now_asked,
                    waiting,
                    deadline,
                    page: 0,
                    found: Vec::new(),
                    first: None,
                };
                self.send(call(CallKind::Document, what), now);
            }
            PollCall::ChangedDocuments { .. } => {
                let what = What::Documents {
                    call: poll,
                    now_asked: Vec::new(),
                    waiting: VecDeque::new(),
                    deadline: Timestamp::NEVER,
                    page: 0,
                    found: Vec::new(),
                    first: None,
                };
                self.send(call(CallKind::Document, what), now);
            }
        }
    }

    /// A call arrives at the EHR: it is counted, and if it is not refused it is answered from the state of now.
    fn arrives(&mut self, mut call: Call, now: Timestamp) {
        let conditions = &self.scenario.conditions;
        while let Some(event) = self.trace.events.get(self.next_event) {
            if instant(event.t) + conditions.visible_after > now {
                break;
            }
            let recorded = conditions.ehr_time(instant(event.t));
            self.charts.happen(event, recorded, self.scenario.hint);
            self.next_event += 1;
        }
        self.counter.arrived(call.kind, self.measured_from, now);
        call.reply = match conditions.mood(now) {
            Mood::Down => {
                self.counter.ledger.failed += 1;
                Reply::Failed
            }
            Mood::Refuses => {
                self.counter.ledger.refused_in_storms += 1;
                Reply::Refused
            }
            Mood::Fine if !self.counter.admit(self.scenario.budget_per_minute, now) => Reply::Refused,
            Mood::Fine => {
                self.answer(&mut call.what, now);
                Reply::Answered
            }
        };
        let travelled = now.since(call.sent);
        self.at(now + travelled, Step::Answered(Box::new(call)));
    }

    /// What a call is answered: all pages show the state of the first.
    fn answer(&mut self, what: &mut What, now: Timestamp) {
        let conditions = &self.scenario.conditions;
        let answer = Answer {
            as_of: now,
            server_time: Some(conditions.date(now)),
            pages: 1,
        };
        match what {
            What::Encounters {
                firm,
                since,
                first,
                seen,
                sent,
                page: 0,
                ..
            } => {
                *first = Some(answer);
                let changed = self.charts.changed_since(*firm, conditions.searched_from(*since));
                *sent = changed.len();
                for visit in changed {
                    let encounter = self.charts.encounter(visit);
                    // What is older than was asked for is thrown away, as in production.
                    if encounter.last_updated >= Some(*since) {
                        self.counter.shown(visit, encounter.last_updated, now);
                        seen.push(encounter);
                    }
                }
                self.counter.polled(*firm, now);
            }
            What::Documents {
                call: poll,
                now_asked,
                found,
                first,
                page: 0,
                ..
            } => {
                *first = Some(answer);
                if let PollCall::ChangedDocuments { firm } = poll {
                    let firm = self.firms[firm];
                    let since = self.documents_read.get(&firm).copied().unwrap_or(now - DAY_LENGTH);
                    let since = conditions.searched_from(conditions.ehr_time(since) - Cursor::OVERLAP);
                    *now_asked = self.charts.filed_since(firm, since);
                }
                for visit in now_asked.iter() {
                    found.push((*visit, self.charts.visits[*visit].photos.clone()));
                    self.counter.looked(*visit, now);
                }
            }
            What::Encounters { .. } | What::Documents { .. } | What::Read { .. } | What::Draft { .. } => {}
        }
    }

    fn answered(&mut self, mut done: Call, now: Timestamp) {
        self.in_flight -= 1;
        if done.reply == Reply::Refused {
            self.bucket.hold(now, now + HOLD_AFTER_REFUSAL);
        }
        if done.reply != Reply::Answered {
            return self.failed(done, now);
        }
        match &mut done.what {
            What::Read { firm } => {
                let draft = call(CallKind::Draft, What::Draft { firm: *firm });
                self.at(now + ASSESSED_AFTER, Step::Due(Box::new(draft)));
            }
            What::Draft { .. } => {}
            What::Encounters { page, sent, .. } => {
                *page += 1;
                if *page * ENCOUNTER_PAGE < *sent {
                    self.going_on.push_back(done);
                } else {
                    self.encounters_answered(done, now);
                }
            }
            What::Documents { .. } => self.documents_answered(done, now),
        }
    }

    /// A call brought nothing: a read or a draft is tried again later, a poll is over and its firm rests.
    fn failed(&mut self, mut done: Call, now: Timestamp) {
        match done.what {
            What::Read { .. } | What::Draft { .. } => {
                done.failures += 1;
                self.at(now + retry::backoff(done.failures), Step::Due(Box::new(done)));
            }
            What::Encounters { call: poll, .. } | What::Documents { call: poll, .. } => {
                let firm = poll.firm().clone();
                let failures = self.failures.entry(self.firms[&firm]).or_default();
                *failures += 1;
                let until = now + retry::backoff(*failures).min(LONGEST_REST);
                self.policy.observe(Observation::Resting { firm, until }, now);
                self.policy.observe(Observation::Ended(poll), now);
            }
        }
    }

    /// A poll came to its good end.
    fn ended(&mut self, poll: PollCall, now: Timestamp) {
        self.failures.remove(&self.firms[poll.firm()]);
        self.policy.observe(Observation::Ended(poll), now);
    }

    fn encounters_answered(&mut self, done: Call, now: Timestamp) {
        let What::Encounters {
            call: poll,
            firm,
            since,
            page,
            first,
            seen: encounters,
            ..
        } = done.what
        else {
            return;
        };
        let Some(mut answer) = first else { return };
        answer.pages = page as u32;
        let newest = encounters.iter().filter_map(|encounter| encounter.last_updated).max();
        // A record from the future does not carry the cursor past those that are still to come.
        let newest = newest.map(|newest| answer.server_time.map_or(newest, |server| newest.min(server)));
        let cursor = self.cursors.entry(firm).or_insert(Cursor(since + Cursor::OVERLAP));
        if let Some(newest) = newest {
            *cursor = (*cursor).max(Cursor(newest));
        }
        if self.scenario.sweeps.is_some() {
            self.memory.seen(poll.firm(), &encounters, answer.as_of, now);
        }
        self.policy.observe(
            Observation::EncountersSeen {
                firm: poll.firm().clone(),
                encounters,
                answer,
            },
            now,
        );
        self.ended(poll, now);
    }

    fn documents_answered(&mut self, mut done: Call, now: Timestamp) {
        let What::Documents {
            call: poll,
            waiting,
            deadline,
            page,
            found,
            first,
            ..
        } = &mut done.what
        else {
            return;
        };
        *page += 1;
        let documents: usize = found.iter().map(|(_, photos)| photos.len()).sum();
        if *page * DOCUMENT_PAGE < documents {
            self.going_on.push_back(done);
            return;
        }
        let Some(mut answer) = *first else { return };
        answer.pages = *page as u32;
        let (mut looks, mut reads) = (Vec::new(), Vec::new());
        for (visit, photos) in found.drain(..) {
            let mut filed_at = Vec::new();
            for (filed, document) in photos {
                let Some(photo) = self.photos.get_mut(&document) else {
                    continue;
                };
                if photo.found.is_some() {
                    continue;
                }
                photo.found = Some(now);
                self.counter.ledger.found += 1;
                self.outstanding -= usize::from(photo.measured);
                filed_at.push(Some(filed));
                reads.push(call(CallKind::Read, What::Read { firm: photo.firm }));
            }
            looks.push(NewPhotos {
                encounter: self.charts.visits[visit].id.clone(),
                filed_at,
            });
        }
        let poll = poll.clone();
        let all_asked = waiting.is_empty() || now >= *deadline;
        for read in reads {
            self.due(read, now);
        }
        let firm = poll.firm().clone();
        if self.scenario.sweeps.is_some() {
            for look in &looks {
                self.memory.looked(&firm, &look.encounter, &look.filed_at, answer.as_of);
            }
            if matches!(poll, PollCall::ChangedDocuments { .. }) {
                self.memory.looked_at_all(&firm, answer.as_of);
            }
        }
        let seen = if matches!(poll, PollCall::ChangedDocuments { .. }) {
            self.documents_read.insert(self.firms[&firm], answer.as_of);
            // Here every visit is known to whoever lists its documents.
            let stray = None;
            Observation::AllDocumentsSeen {
                firm,
                looks,
                stray,
                answer,
            }
        } else {
            Observation::DocumentsSeen { firm, looks, answer }
        };
        self.policy.observe(seen, now);
        if all_asked {
            self.ended(poll, now);
        } else if let What::Documents {
            now_asked,
            waiting,
            page,
            ..
        } = &mut done.what
        {
            let together = self.scenario.search.searches().visits_in_one_call;
            *now_asked = waiting.drain(..together.min(waiting.len())).collect();
            *page = 0;
            self.going_on.push_back(done);
        }
    }
}
