//! What is believed about all firms and visits, and what a call for each of them is worth.
//!
//! A visit that grows by λ a second in undetected mass, and is polled each time at a price of μ, costs least when it is
//! polled at mass N with N² / (2λ) = μ: the square-root law of refreshing (Cho & Garcia-Molina 2003; Azar et al. 2018;
//! Kolobov et al. 2019). So W = N² / (2λ) is the visit's index. An encounter poll, and a search for several visits, are arms
//! of the same kind, with the mass that they clear.

use super::{
    evidence::Evidence,
    hazard::{Hazards, Phase},
    practice::{Practice, Together},
    queue::{Arm, Entry, FORCED, Worth},
    visit::{Prospect, Visit},
};
use crate::{
    domain::EncounterId,
    polling::{AdaptivePart, Count, PolicySettings},
    time::Timestamp,
};

/// A visit is looked at after this time, whatever is expected of it. A visit of the day is thus looked at in the night, when
/// calls are to spare.
pub(super) const LONGEST_UNSEEN: f64 = 16.0 * 3600.0;

/// It is looked at shortly before its watch ends, unless it was looked at late in its watch already.
const LAST_LOOK: f64 = 900.0;
const LATE: f64 = 9.0 * 3600.0;

/// Firms' encounters are polled after this time, whatever is expected of them; at least, and for each firm on one quota.
const LONGEST_UNPOLLED: f64 = 300.0;
const LONGEST_UNPOLLED_PER_FIRM: f64 = 1.0;

/// After how many seconds encounters are polled whatever is expected of them, where so many firms are served.
pub(super) fn longest_unpolled(served: usize) -> f64 {
    LONGEST_UNPOLLED.max(LONGEST_UNPOLLED_PER_FIRM * served as f64)
}

/// An index is worked out again after this time at the latest: rates are learned anew meanwhile.
const WORK_OUT_AGAIN: f64 = 3600.0;

/// A visit is lively until this long after its finish or its last photo.
const LIVELY_FOR: f64 = 3600.0;

/// From about this time without a look on, in seconds, a visit in progress is worth more than is expected of it: a photo for
/// which nothing speaks would wait for an hour, and for a small practice that is most of a day's waiting.
const LONG_IN_PROGRESS: f64 = 800.0;

/// A visit that was not looked at since it ended may hide at least this much of a photo: the end hides what came just before.
const HIDDEN_AT_END: f64 = 1e-4;

/// How often a firm's visits are sorted into lively and quiet ones.
pub(super) const SORT_EVERY: f64 = 60.0;

/// Sums over a firm's visits hold for this long.
const SUM_FOR: f64 = 5.0;

/// What a search for several visits would clear is worked out again after this time.
const TOGETHER_FOR: f64 = 2.0;

/// What each second without a poll adds to the worth of a visit, and to the mass of a firm, whatever was learned, so that an
/// idle system looks once a minute: this practice may have other ways than all before it. Next to nothing in busy hours.
const UNFORESEEN: f64 = 2e-7;

/// How much of what bumps its visit will be known before the visit's index reaches the price, by encounter polls meanwhile.
const KNOWN_IN_TIME: f64 = 0.5;

/// For how many seconds a photo would wait otherwise of which a bump tells, in a visit of which little else is expected: the
/// index of what grows says nothing about what came at once. Flat around it; without it single photos wait for an hour.
const WAITS_OTHERWISE: f64 = 2000.0;

/// Photos come in series: one that was not seen hides those that follow it, in so many series' first steps.
const STEPS: f64 = 1.3;

/// Fairness against the mean: small firms, and providers who seldom take photos, are polled more often than is best for the
/// mean, by these powers of their share.
const FIRM_FAIRNESS: f64 = 0.25;
const PROVIDER_FAIRNESS: f64 = 0.3;

/// How documents are searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    /// One visit with each call.
    OneByOne,
    /// So many visits of a firm with one call.
    Together(usize),
    /// All of a firm with one call.
    Whole,
}

/// See the module. Times are in seconds by our clock.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) now: f64,
    pub(super) search: Search,
    without: Option<AdaptivePart>,
    pub(super) hazards: Hazards,
    pub(super) evidence: Evidence,
    pub(super) firms: Vec<Practice>,
    pub(super) visits: Vec<Visit>,
    vacant: Vec<u32>,
    /// The EHR's clock less ours, once it is known.
    clock_ahead: Option<f64>,
    /// The price on each queue as of its last choice, and what each firm on it may use at least, in calls a second.
    pub(super) prices: Vec<f64>,
    pub(super) least_shares: Vec<f64>,
    least_price: f64,
    /// Visits that were finished, against the seconds that they had been open.
    pub(super) finishes: Count,
    /// The intensity of a firm of usual size.
    usual_intensity: f64,
    served: usize,
}

/// What was worked out about an arm at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weighed {
    /// What counts in the queue.
    index: f64,
    /// Of a visit that is not overdue.
    visit: Option<WeighedVisit>,
}

#[derive(Debug, Clone, Copy)]
struct WeighedVisit {
    prospect: Prospect,
    followers: f64,
    lump: f64,
    fairness: f64,
}

impl Weighed {
    const fn of(index: f64) -> Self {
        Self { index, visit: None }
    }
}

/// W of an arm whose mass is `mass` and grows by `growth` a second.
fn index(mass: f64, growth: f64) -> f64 {
    mass * mass / (2.0 * growth)
}

pub(super) fn seconds(at: Timestamp) -> f64 {
    at.as_millis() as f64 / 1000.0
}

impl Model {
    pub(super) fn new(search: Search, settings: &PolicySettings) -> Self {
        let PolicySettings {
            least_price,
            without,
            pace,
            ..
        } = *settings;
        Self {
            now: 0.0,
            search,
            without,
            hazards: Hazards::new(without != Some(AdaptivePart::Learning), pace),
            evidence: Evidence::new(without != Some(AdaptivePart::Hints)),
            firms: Vec::new(),
            visits: Vec::new(),
            vacant: Vec::new(),
            clock_ahead: None,
            prices: Vec::new(),
            least_shares: Vec::new(),
            least_price,
            finishes: Count::default(),
            usual_intensity: 5e-3,
            served: 0,
        }
    }

    /// A time of the EHR by our clock.
    pub(super) fn local(&self, ehr: Timestamp) -> f64 {
        seconds(ehr) - self.clock_ahead.unwrap_or(0.0)
    }

    /// The EHR's clock showed `server_time` at `as_of` by ours.
    pub(super) fn compare_clocks(&mut self, server_time: Timestamp, as_of: Timestamp) {
        // `Date` has whole seconds: half a second is lost on average.
        let rounded = if server_time.as_millis() % 1000 == 0 { 0.5 } else { 0.0 };
        let ahead = seconds(server_time) + rounded - seconds(as_of);
        self.clock_ahead = Some(match self.clock_ahead {
            Some(known) if (ahead - known).abs() < 30.0 => known + 0.02 * (ahead - known),
            // The first time, and when a clock was set.
            _ => ahead,
        });
    }

    /// Once a minute: rates from what was booked, and the size of a usual firm.
    pub(super) fn refresh(&mut self) {
        self.hazards.refresh();
        let (sum, squares) = self.firms.iter().fold((0.0, 0.0), |(sum, squares), firm| {
            (sum + firm.intensity, squares + firm.intensity * firm.intensity)
        });
        if sum > 0.0 {
            self.usual_intensity = squares / sum;
        }
        self.served = self.firms.iter().filter(|firm| firm.served).count();
    }

    pub(super) fn admit(&mut self, mut visit: Visit) -> u32 {
        if let Some(number) = self.vacant.pop() {
            visit.generation = self.visits[number as usize].generation + 1;
            self.visits[number as usize] = visit;
            return number;
        }
        self.visits.push(visit);
        (self.visits.len() - 1) as u32
    }

    /// Lets go of the firm's visits whose watch is over, and gives them.
    pub(super) fn expire(&mut self, firm: usize, all: bool) -> Vec<Visit> {
        let (now, visits, vacant) = (self.now, &mut self.visits, &mut self.vacant);
        let mut over = Vec::new();
        self.firms[firm].visits.retain(|_, number| {
            let visit = &mut visits[*number as usize];
            let ends = (all || visit.expires <= now) && !visit.under_way;
            if ends {
                visit.generation += 1;
                vacant.push(*number);
                over.push(visit.clone());
            }
            !ends
        });
        if !over.is_empty() {
            self.firms[firm].sorted = f64::NEG_INFINITY;
            self.firms[firm].lively.clear();
        }
        over
    }

    /// Lets go of a visit of the firm, if it is known. Whether that could be: not while it is being looked at.
    pub(super) fn forget(&mut self, firm: usize, encounter: &EncounterId) -> bool {
        let Some(&number) = self.firms[firm].visits.get(encounter) else {
            return true;
        };
        let visit = &mut self.visits[number as usize];
        if visit.under_way {
            return false;
        }
        visit.generation += 1;
        self.vacant.push(number);
        self.firms[firm].visits.remove(encounter);
        self.firms[firm].lively.retain(|known| *known != number);
        true
    }

    fn factor(&self, visit: &Visit) -> f64 {
        self.firms[visit.firm as usize].providers[visit.provider].factor()
    }

    fn prospect(&self, visit: &Visit) -> Prospect {
        let polled = self.firms[visit.firm as usize].polled;
        visit.prospect(&self.hazards, &self.evidence, self.factor(visit), polled, self.now)
    }

    /// By how much fairness raises a visit's index.
    fn fairness(&self, visit: &Visit) -> f64 {
        if visit.phase().0.depends_on_provider() && self.without != Some(AdaptivePart::Fairness) {
            self.factor(visit).powf(-PROVIDER_FAIRNESS)
        } else {
            1.0
        }
    }

    /// When the visit has to be looked at whatever is expected of it.
    fn forced_at(visit: &Visit) -> f64 {
        let last_look = if visit.looked < visit.expires - LATE {
            visit.expires - LAST_LOOK
        } else {
            f64::INFINITY
        };
        last_look.min(visit.looked + LONGEST_UNSEEN)
    }

    /// What the index of a firm's arm counts: of a firm that has used up its share, others come first, and it gets what nobody
    /// else needs, in the order of its own.
    fn within_share(&self, firm: usize, worth: f64) -> f64 {
        let over = self.firms[firm].share.over_until() > self.now;
        if !over || worth <= self.least_price || worth >= FORCED || self.without == Some(AdaptivePart::Fairness) {
            return worth;
        }
        self.least_price * (1.0 + 0.01 * (worth / self.least_price).ln()).min(1.2)
    }

    /// When an arm of a firm comes to `price` that would at `due` if the firm has not used up its share.
    fn due_within_share(&self, firm: usize, due: f64, price: f64) -> f64 {
        let until = self.firms[firm].share.over_until();
        if until <= self.now || price <= self.least_price || self.without == Some(AdaptivePart::Fairness) {
            due
        } else {
            due.max(until)
        }
    }

    /// So many calls were made for a firm, or will have to be.
    pub(super) fn spend(&mut self, firm: usize, calls: f64) {
        let practice = &mut self.firms[firm];
        practice.share.spend(calls, self.least_shares[practice.queue], self.now);
    }

    fn weigh_visit(&self, visit: &Visit) -> Weighed {
        let overdue = self.now - Self::forced_at(visit);
        if overdue >= 0.0 {
            return Weighed::of(FORCED + overdue);
        }
        let prospect = self.prospect(visit);
        if self.without == Some(AdaptivePart::Index) {
            return Weighed::of(prospect.mass);
        }
        let unforeseen = UNFORESEEN * (self.now - visit.looked).max(0.0);
        let (followers, lump, fairness) = (
            self.followers(visit),
            self.lump_worth(visit, &prospect),
            self.fairness(visit),
        );
        let long = if visit.is_over() {
            0.0
        } else {
            ((self.now - visit.looked) / LONG_IN_PROGRESS).max(0.0).powi(4)
        };
        let worth = ((followers * prospect.index()).max(lump) + unforeseen) * (1.0 + long);
        Weighed {
            index: self.within_share(visit.firm as usize, worth * fairness),
            visit: Some(WeighedVisit {
                prospect,
                followers,
                lump,
                fairness,
            }),
        }
    }

    /// How many photos wait with each first one that waits: those that follow it until the next look, on average.
    fn followers(&self, visit: &Visit) -> f64 {
        if !visit.phase().0.depends_on_provider() {
            return 1.0;
        }
        let finished = visit.is_over();
        let phase = Phase::After { photos: 1, finished };
        let half = (self.now - visit.looked).max(0.0) / 2.0;
        1.0 + STEPS * self.hazards.expected(phase, 0.0, half)
    }

    /// What a look is worth for mass that came at once: a bump, or what a finish may have hidden. Nothing more will point to
    /// it, so that waiting gains nothing.
    fn lump_worth(&self, visit: &Visit, prospect: &Prospect) -> f64 {
        const SMALL: f64 = 0.1;
        if !visit.is_over() {
            return visit.bump.map_or(0.0, |bump| bump.mass * WAITS_OTHERWISE);
        }
        let share = self.evidence.bump_share();
        let bumps = self.evidence.noise(visit.phase().0, self.now - visit.opened).max(1e-5)
            + share * prospect.growth / visit.weight();
        let known = prospect.mass - share * prospect.fresh - (1.0 - share) * prospect.growth / bumps;
        let hidden = if visit.finished.is_some_and(|at| visit.looked < at) {
            known.max(HIDDEN_AT_END)
        } else {
            known
        };
        SMALL * hidden / bumps
    }

    fn visit_due(&self, visit: &Visit, weighed: &Weighed, price: f64) -> f64 {
        let Some(WeighedVisit {
            prospect,
            followers,
            lump,
            fairness,
        }) = weighed.visit
        else {
            if self.without == Some(AdaptivePart::Index) {
                let growth = self.prospect(visit).growth;
                let wait = ((price - weighed.index) / growth).clamp(0.0, WORK_OUT_AGAIN);
                return (self.now + wait).min(Self::forced_at(visit));
            }
            return self.now;
        };
        let fair_price = price / fairness;
        let wait = if lump >= fair_price {
            0.0
        } else {
            let unseen = (self.now - visit.looked).max(0.0);
            let (phase, origin) = visit.phase();
            let lasting = 1.0 - KNOWN_IN_TIME * self.evidence.bump_share();
            let scale = visit.scale(self.factor(visit));
            self.hazards
                .wait(
                    (phase, self.now - origin),
                    scale,
                    &prospect,
                    lasting,
                    fair_price / followers,
                )
                .min((fair_price / UNFORESEEN - unseen).max(0.0))
        };
        let again = if visit.is_over() {
            WORK_OUT_AGAIN
        } else {
            LONG_IN_PROGRESS / 2.0
        };
        let due = self.due_within_share(visit.firm as usize, self.now + wait.min(again), price);
        due.min(Self::forced_at(visit))
    }

    /// Sorts a firm's visits into those of which much is to be expected, and the others.
    fn sort(&mut self, firm: usize) {
        let now = self.now;
        let mut lively = std::mem::take(&mut self.firms[firm].lively);
        lively.clear();
        let mut quiet = 0.0;
        let mut quiet_visits = Vec::new();
        for &number in self.firms[firm].visits.values() {
            let visit = &self.visits[number as usize];
            let recent = visit.finished.is_none_or(|at| now - at < LIVELY_FOR) || now - visit.last_photo < LIVELY_FOR;
            if recent || visit.bump.is_some() {
                lively.push(number);
            } else {
                quiet += visit.intensity(&self.hazards, self.factor(visit), now);
                quiet_visits.push(number);
            }
        }
        if let Search::Together(most) = self.search {
            self.firms[firm].longest_waiting = self.greatest(quiet_visits.into_iter(), most);
        }
        let practice = &mut self.firms[firm];
        practice.lively = lively;
        practice.quiet_intensity = quiet;
        practice.sorted = now;
    }

    /// Sums up what a firm's visits bring.
    pub(super) fn sum_up(&mut self, firm: usize) {
        if self.now - self.firms[firm].sorted > SORT_EVERY {
            self.sort(firm);
        }
        let price = self.prices[self.firms[firm].queue];
        let ending_rate = (self.finishes.events + 1.0) / (self.finishes.exposure + 1800.0);
        let unhinted = 1.0 - self.evidence.bump_share();
        let (mut intensity, mut endings) = (self.firms[firm].quiet_intensity, 0.0);
        for &number in &self.firms[firm].lively {
            let visit = &self.visits[number as usize];
            let rate = visit.intensity(&self.hazards, self.factor(visit), self.now);
            intensity += rate;
            if !visit.is_over() {
                // A visit that has ended unnoticed goes on being polled √(rate / 2μ) times a second, at μ each.
                endings += ending_rate * unhinted * (price * rate / 2.0).sqrt();
            }
        }
        let practice = &mut self.firms[firm];
        practice.intensity = intensity;
        practice.endings = endings;
        practice.summed = self.now;
    }

    /// Photos a second that are to be expected of the firms that can be polled, as their visits were last summed up.
    pub(super) fn expected_rate(&self) -> f64 {
        let polled = |practice: &&Practice| practice.served && practice.resting_until <= self.now;
        self.firms
            .iter()
            .filter(polled)
            .map(|practice| practice.intensity)
            .sum()
    }

    /// After how many seconds a firm's encounters are polled whatever is expected of them.
    fn longest_unpolled(&self) -> f64 {
        longest_unpolled(self.served)
    }

    /// What an encounter poll of a firm is worth so many seconds after the last one, up to the time when it is overdue.
    fn firm_worth(&self, firm: usize) -> impl Fn(f64) -> f64 {
        let practice = &self.firms[firm];
        // Where one call shows the firm's new documents, its bumps tell nothing that call would not.
        let share = if self.search == Search::Whole {
            0.0
        } else {
            self.evidence.bump_share()
        };
        let linear = UNFORESEEN + share * practice.intensity + practice.endings;
        let openings = practice.opening_rate(self.now);
        let size = if self.without == Some(AdaptivePart::Fairness) {
            1.0
        } else {
            practice.intensity.max(1e-6) / self.usual_intensity
        };
        let fairness = size.powf(-FIRM_FAIRNESS) / practice.pages;
        move |since| {
            let mass = linear * since + openings * self.hazards.unseen_openings(since);
            if self.without == Some(AdaptivePart::Index) {
                return mass / practice.pages;
            }
            let growth = linear + openings * self.hazards.expected(Phase::Open, 0.0, since);
            index(mass, growth.max(1e-12)) * fairness
        }
    }

    fn firm_worth_now(&self, firm: usize) -> f64 {
        let practice = &self.firms[firm];
        let since = self.since_polled(firm);
        // A photo waits for its visit to be seen; once for each, since the visit may never be.
        if since >= self.longest_unpolled() || practice.polled < practice.stray {
            return FORCED + since;
        }
        self.firm_worth(firm)(since)
    }

    fn since_polled(&self, firm: usize) -> f64 {
        (self.now - self.firms[firm].polled).max(0.001)
    }

    /// The worth grows about with the square of the time: a few steps that take it for that come near enough.
    fn firm_due(&self, firm: usize, price: f64) -> f64 {
        const STEPS: usize = 4;
        const LONGEST_STEP: f64 = 8.0;
        let practice = &self.firms[firm];
        if practice.polled < practice.stray {
            return self.now;
        }
        let worth = self.firm_worth(firm);
        let latest = self.longest_unpolled();
        let mut since = self.since_polled(firm);
        for _ in 0..STEPS {
            since = (since * (price / worth(since)).sqrt().min(LONGEST_STEP)).min(latest);
        }
        self.due_within_share(firm, practice.polled + since, price)
            .min(practice.polled + latest)
            .max(self.now)
    }

    /// Of `visits`, those that a search for several asks for first: overdue ones, then those with the greatest mass.
    fn greatest(&self, visits: impl Iterator<Item = u32>, most: usize) -> Vec<u32> {
        let weighed = |number: u32| {
            let visit = &self.visits[number as usize];
            let overdue = if self.now >= Self::forced_at(visit) {
                FORCED
            } else {
                0.0
            };
            (overdue + self.prospect(visit).mass, number)
        };
        let mut visits: Vec<(f64, u32)> = visits.map(weighed).collect();
        visits.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        visits.truncate(most);
        visits.into_iter().map(|(_, number)| number).collect()
    }

    /// The visits that a search for several would ask for. Of the quiet ones, those are considered that were worth most when
    /// they were last sorted.
    pub(super) fn together(&self, firm: usize) -> Vec<u32> {
        let Search::Together(most) = self.search else {
            return Vec::new();
        };
        let practice = &self.firms[firm];
        let considered = practice.lively.iter().chain(&practice.longest_waiting).copied();
        self.greatest(
            considered.filter(|number| !self.visits[*number as usize].under_way),
            most,
        )
    }

    /// Works out what a search for several visits of a firm, or for all, would clear.
    pub(super) fn sum_up_together(&mut self, firm: usize) {
        if self.now - self.firms[firm].sorted > SORT_EVERY {
            self.sort(firm);
        }
        let practice = &self.firms[firm];
        let mut sum = Together {
            at: self.now,
            ..Together::default()
        };
        let chosen = if self.search == Search::Whole {
            // Quiet visits were all looked at when the firm was.
            sum.growth += practice.quiet_intensity;
            sum.mass += practice.quiet_intensity * (self.now - practice.looked).max(0.0);
            practice.lively.clone()
        } else {
            self.together(firm)
        };
        for number in chosen {
            let visit = &self.visits[number as usize];
            let prospect = self.prospect(visit);
            sum.mass += prospect.mass;
            sum.growth += prospect.growth;
            sum.forced |= self.now >= Self::forced_at(visit);
        }
        self.firms[firm].together = sum;
    }

    fn documents_worth(&mut self, firm: usize) -> f64 {
        if self.now - self.firms[firm].together.at > TOGETHER_FOR {
            self.sum_up_together(firm);
        }
        let sum = self.firms[firm].together;
        if sum.forced {
            return FORCED;
        }
        let mass = sum.mass + sum.growth * (self.now - sum.at);
        self.within_share(firm, index(mass, sum.growth))
    }

    fn documents_due(&self, firm: usize, price: f64) -> f64 {
        let sum = self.firms[firm].together;
        if sum.forced {
            return self.now;
        }
        let mass = sum.mass + sum.growth * (self.now - sum.at);
        let wait = ((2.0 * price * sum.growth).sqrt() - mass).max(0.0) / sum.growth;
        self.due_within_share(firm, self.now + wait, price)
    }

    pub(super) fn entry(&self, arm: Arm) -> Entry {
        let generation = match arm {
            Arm::Firm(firm) => self.firms[firm as usize].generation,
            Arm::Documents(firm) => self.firms[firm as usize].documents_generation,
            Arm::Visit(visit) => self.visits[visit as usize].generation,
        };
        Entry { arm, generation }
    }

    fn firm_of(&self, arm: Arm) -> usize {
        match arm {
            Arm::Firm(firm) | Arm::Documents(firm) => firm as usize,
            Arm::Visit(visit) => self.visits[visit as usize].firm as usize,
        }
    }
}

impl Worth for Model {
    type Weighed = Weighed;

    fn is_current(&self, entry: Entry) -> bool {
        entry == self.entry(entry.arm) && self.firms[self.firm_of(entry.arm)].served
    }

    fn weigh(&mut self, entry: Entry) -> Weighed {
        let firm = self.firm_of(entry.arm);
        let practice = &self.firms[firm];
        if practice.resting_until > self.now {
            return Weighed::of(0.0);
        }
        match entry.arm {
            Arm::Firm(_) => {
                if self.now - practice.summed > SUM_FOR {
                    self.sum_up(firm);
                }
                let worth = self.firm_worth_now(firm);
                Weighed::of(self.within_share(firm, worth))
            }
            Arm::Visit(number) => self.weigh_visit(&self.visits[number as usize]),
            Arm::Documents(_) => Weighed::of(self.documents_worth(firm)),
        }
    }

    fn index(weighed: &Weighed) -> f64 {
        weighed.index
    }

    fn due(&self, entry: Entry, weighed: &Weighed, price: f64) -> f64 {
        let firm = self.firm_of(entry.arm);
        let resting_until = self.firms[firm].resting_until;
        if resting_until > self.now {
            return resting_until;
        }
        match entry.arm {
            Arm::Firm(_) => self.firm_due(firm, price),
            Arm::Visit(number) => self.visit_due(&self.visits[number as usize], weighed, price),
            Arm::Documents(_) => self.documents_due(firm, price),
        }
    }
}
