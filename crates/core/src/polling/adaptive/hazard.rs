//! How likely a new photo is, learned: hazard tables.
//!
//! A hazard is a rate: new photos a second, given that none came since. It depends on how far the visit is (a *phase*:
//! open without a photo, finished without one, after the n-th photo), and within a phase on the time since it began. Each
//! phase has a table of bins with a constant rate. A rate is estimated from the photos found (events) and the seconds that
//! visits spent in the bin under watch (exposure), `(events + prior events) / (exposure + prior exposure)`.
//!
//! Fine bins matter more to the delay than any refinement of the index that uses them.

use super::{prior, visit::Prospect};
use crate::polling::{Count, Learned};

/// Bins of the phases without a photo end here, in seconds since the visit opened.
pub(super) const OPEN_EDGES: [f64; 27] = [
    60.0, 120.0, 180.0, 240.0, 300.0, 360.0, 420.0, 480.0, 540.0, 600.0, 690.0, 780.0, 870.0, 960.0, 1080.0, 1200.0,
    1350.0, 1500.0, 1800.0, 2100.0, 2400.0, 3000.0, 3600.0, 5400.0, 7200.0, 10800.0, 14400.0,
];

/// The same for finished visits without a photo, in seconds since the finish.
pub(super) const FINISHED_EDGES: [f64; 17] = [
    120.0, 300.0, 600.0, 900.0, 1350.0, 1800.0, 2700.0, 3600.0, 5400.0, 7200.0, 10800.0, 14400.0, 18000.0, 21600.0,
    23400.0, 25200.0, 36000.0,
];

/// The same for visits with photos, in seconds since the last one.
pub(super) const AFTER_EDGES: [f64; 24] = [
    5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 65.0, 80.0, 100.0, 125.0, 150.0, 180.0, 240.0, 300.0, 420.0, 600.0, 800.0,
    1000.0, 1300.0, 1600.0, 2000.0, 3600.0, 7200.0,
];

/// Visits with more photos than this are taken for ones with this many.
pub(super) const MOST_PHOTOS: usize = 4;

/// A phase of a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Planned, not begun.
    Planned,
    /// Open, without a photo.
    Open,
    /// Finished, without a photo.
    Finished,
    /// With so many photos, 1 to [`MOST_PHOTOS`], and finished or not.
    After {
        /// How many photos.
        photos: usize,
        /// Whether the visit is over.
        finished: bool,
    },
}

/// How many tables there are.
const TABLES: usize = 3 + 2 * MOST_PHOTOS;

impl Phase {
    const fn index(self) -> usize {
        match self {
            Self::Planned => 0,
            Self::Open => 1,
            Self::Finished => 2,
            Self::After { photos, finished } => 2 + photos + if finished { MOST_PHOTOS } else { 0 },
        }
    }

    const fn of(index: usize) -> Self {
        match index {
            0 => Self::Planned,
            1 => Self::Open,
            2 => Self::Finished,
            _ => Self::After {
                photos: (index - 3) % MOST_PHOTOS + 1,
                finished: index - 3 >= MOST_PHOTOS,
            },
        }
    }

    /// Whether the rate depends on who sees the patient: some take photos of most patients, some hardly ever.
    pub(super) const fn depends_on_provider(self) -> bool {
        matches!(self, Self::Open | Self::Finished)
    }

    const fn edges(self) -> &'static [f64] {
        match self {
            Self::Planned => &[],
            Self::Open => &OPEN_EDGES,
            Self::Finished => &FINISHED_EDGES,
            Self::After { .. } => &AFTER_EDGES,
        }
    }

    /// Its table's name in what is remembered. Changes with the meaning of its bins.
    fn name(self) -> String {
        match self {
            Self::Planned => "planned-1".to_owned(),
            Self::Open => "open-1".to_owned(),
            Self::Finished => "finished-1".to_owned(),
            Self::After { photos, finished } => {
                let state = if finished { "finished" } else { "open" };
                format!("after-{photos}-{state}-1")
            }
        }
    }
}

/// One phase's bins.
#[derive(Debug, Clone)]
struct Table {
    edges: &'static [f64],
    prior: Vec<f64>,
    /// All that is known.
    counts: Vec<Count>,
    /// What of it was learned here since it was last handed over.
    gained: Vec<Count>,
    rate: Vec<f64>,
    /// The integral of the rate up to the beginning of each bin.
    cumulative: Vec<f64>,
}

/// No rate is below this: a visit is looked at again however little is expected of it.
const LEAST_RATE: f64 = 1e-9;

impl Table {
    fn new(phase: Phase) -> Self {
        let edges = phase.edges();
        let bins = edges.len() + 1;
        let mut table = Self {
            edges,
            prior: prior::rates(phase),
            counts: vec![Count::default(); bins],
            gained: vec![Count::default(); bins],
            rate: vec![0.0; bins],
            cumulative: vec![0.0; bins],
        };
        table.refresh();
        table
    }

    fn refresh(&mut self) {
        for bin in 0..self.rate.len() {
            let exposure = (prior::EVENTS / self.prior[bin]).min(prior::LONGEST_EXPOSURE);
            let events = exposure * self.prior[bin];
            let count = self.counts[bin];
            self.rate[bin] = ((count.events + events) / (count.exposure + exposure)).max(LEAST_RATE);
        }
        let mut sum = 0.0;
        for bin in 0..self.rate.len() {
            self.cumulative[bin] = sum;
            let width = self.edges.get(bin).map_or(0.0, |end| end - self.start(bin));
            sum += self.rate[bin] * width;
        }
    }

    fn bin(&self, age: f64) -> usize {
        self.edges.partition_point(|edge| *edge <= age)
    }

    fn start(&self, bin: usize) -> f64 {
        if bin == 0 { 0.0 } else { self.edges[bin - 1] }
    }

    fn integral(&self, age: f64) -> f64 {
        let bin = self.bin(age);
        self.cumulative[bin] + self.rate[bin] * (age - self.start(bin))
    }
}

/// All tables. Ages and rates that come in and go out are in seconds by our clock; the tables are in seconds of a clinic.
#[derive(Debug, Clone)]
pub(super) struct Hazards {
    tables: Vec<Table>,
    /// Whether what is booked changes the rates.
    learns: bool,
    /// Seconds of a clinic in one of ours.
    pace: f64,
}

impl Hazards {
    pub(super) fn new(learns: bool, pace: f64) -> Self {
        Self {
            learns,
            pace,
            tables: (0..TABLES).map(|index| Table::new(Phase::of(index))).collect(),
        }
    }

    /// The rate at `age`, in photos a second.
    pub(super) fn rate(&self, phase: Phase, age: f64) -> f64 {
        let table = &self.tables[phase.index()];
        self.pace * table.rate[table.bin(self.pace * age.max(0.0))]
    }

    /// Photos to expect between two ages.
    pub(super) fn expected(&self, phase: Phase, from: f64, to: f64) -> f64 {
        if to <= from {
            return 0.0;
        }
        let table = &self.tables[phase.index()];
        table.integral(self.pace * to.max(0.0)) - table.integral(self.pace * from.max(0.0))
    }

    /// After how many seconds the index of a visit ([`Prospect::index`]) reaches `price`: of one that has been in `phase` for
    /// `age` seconds, and whose mass grows by the rate times `scale`, of which the share `lasting` stays.
    pub(super) fn wait(
        &self,
        (phase, age): (Phase, f64),
        scale: f64,
        prospect: &Prospect,
        lasting: f64,
        price: f64,
    ) -> f64 {
        let table = &self.tables[phase.index()];
        let (age, price) = (self.pace * age, self.pace * price);
        let from = age.max(0.0);
        let doubt = prospect.doubt;
        let (mut at, mut mass, mut known) = (from, prospect.mass, prospect.known);
        for bin in table.bin(from)..table.rate.len() {
            let growth = scale * table.rate[bin];
            let missing = 2.0 * price * growth - mass * mass - doubt * known * known;
            if missing <= 0.0 {
                break;
            }
            let end = table.edges.get(bin).copied().unwrap_or(f64::INFINITY);
            // (mass + lasting·y)² + doubt·(known + y)² = 2·price·growth, for y = growth·seconds.
            let square = lasting * lasting + doubt;
            let half = lasting * mass + doubt * known;
            let grown = ((half * half + square * missing).sqrt() - half) / square;
            let reached = at + grown / growth;
            if reached <= end {
                at = reached;
                break;
            }
            mass += lasting * growth * (end - at);
            known += growth * (end - at);
            at = end;
        }
        (at - age) / self.pace
    }

    /// The double integral of the open phase's rate up to `age`: undetected photos times seconds, of visits that opened at
    /// one a second for that long without being seen.
    pub(super) fn unseen_openings(&self, age: f64) -> f64 {
        let table = &self.tables[Phase::Open.index()];
        let age = self.pace * age;
        let mut sum = 0.0;
        for bin in 0..=table.bin(age) {
            let start = table.start(bin);
            let width = table.edges.get(bin).map_or(age, |end| end.min(age)) - start;
            sum += table.cumulative[bin] * width + table.rate[bin] * width * width / 2.0;
        }
        sum / self.pace
    }

    /// Books time under watch without a photo, and gives the photos that were to be expected by the tables.
    pub(super) fn book_exposure(&mut self, phase: Phase, from: f64, to: f64, scale: f64) -> f64 {
        let table = &mut self.tables[phase.index()];
        let (mut at, to) = (self.pace * from.max(0.0), self.pace * to.max(0.0));
        let mut expected = 0.0;
        let mut bin = table.bin(at);
        while at < to {
            let end = table.edges.get(bin).map_or(to, |edge| edge.min(to));
            let exposure = Count {
                events: 0.0,
                exposure: (end - at) * scale,
            };
            table.counts[bin].add(exposure);
            table.gained[bin].add(exposure);
            expected += (end - at) * table.rate[bin];
            at = end;
            bin += 1;
        }
        expected
    }

    /// Books a photo at `age`.
    pub(super) fn book_photo(&mut self, phase: Phase, age: f64) {
        let table = &mut self.tables[phase.index()];
        let bin = table.bin(self.pace * age.max(0.0));
        let event = Count {
            events: 1.0,
            exposure: 0.0,
        };
        table.counts[bin].add(event);
        table.gained[bin].add(event);
    }

    /// Works out the rates anew from what was booked.
    pub(super) fn refresh(&mut self) {
        if self.learns {
            self.tables.iter_mut().for_each(Table::refresh);
        }
    }

    /// Takes over what was learned before.
    pub(super) fn recall(&mut self, learned: &Learned) {
        for (index, table) in self.tables.iter_mut().enumerate() {
            let Some(counts) = learned.shared.get(&Phase::of(index).name()) else {
                continue;
            };
            for (known, count) in table.counts.iter_mut().zip(counts) {
                if count.events.is_finite() && count.exposure.is_finite() {
                    known.add(*count);
                }
            }
        }
        self.refresh();
    }

    /// What was learned since this was last asked.
    pub(super) fn gained(&mut self, learned: &mut Learned) {
        for (index, table) in self.tables.iter_mut().enumerate() {
            if table.gained.iter().any(|count| *count != Count::default()) {
                let fresh = vec![Count::default(); table.gained.len()];
                let gained = std::mem::replace(&mut table.gained, fresh);
                learned.shared.insert(Phase::of(index).name(), gained);
            }
        }
    }
}
