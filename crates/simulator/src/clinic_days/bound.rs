//! What no polling policy can do better than, by the square-root law of page refresh.
//!
//! Let λ(t) be the rate of new photos of a visit and w what a second of delay counts. With r looks a second at evenly
//! spread times a visit costs wλ/(2r) at any moment; the best way to share R looks a second between visits is r ∝ √(wλ),
//! and it costs (Σ√(wλ))² / (2R). Hence, over a day,
//!
//! ```text
//! mean weighted delay ≥ ∫ (Σ√(wλ))² / (2R) dt / ∫ Σ wλ dt + (half a round trip)
//! ```
//!
//! That grants a policy what none has: the rates as they turned out to be on the trace itself, and which visit is in which
//! phase at every moment, for nothing; all of the budget for looks at one visit each; and looks that borrow from nobody.
//! It holds where photos leave no trace in their visit's `lastUpdated`; with such hints, and where one call answers for
//! several visits, a policy may do better.
//!
//! The rates are photos over seconds in bins of time since a phase began. They follow the trace's own luck: on ten practices
//! the bound comes out some 3 % lower than with rates known from a hundred, which errs on the safe side. A bin in which no
//! photo came has rate 0 on purpose. Any least rate would be added up over the thousands of finished visits under watch, and
//! what came out would be no bound: half a photo more in each bin makes it a third higher on ten practices.
//!
//! A trace on which nothing is filed gives half a round trip. Nothing here can fail.

use std::collections::HashMap;

use super::trace::{EventKind, Trace};

const DAY: f64 = 86_400.0;
/// Day 1, from 07:00 to 07:00 Eastern, in seconds of the trace.
const MEASURED: [f64; 2] = [DAY + 7.0 * 3600.0, 2.0 * DAY + 7.0 * 3600.0];
/// How long a visit is watched after its last change, in seconds.
const WATCHED: f64 = DAY;
/// The average time from a call to its answer, in seconds.
const ROUND_TRIP: f64 = 0.225;
/// What a second of delay counts after the visit, where one during it counts 1.
const WEIGHT_AFTER: f64 = 0.25;

/// Within a phase the rate is taken to be constant between these times since it began, in seconds.
///
/// After the opening: steps of a minute while most visits take place.
const OPEN_EDGES: &[f64] = &[
    60.0, 120.0, 180.0, 240.0, 300.0, 360.0, 420.0, 480.0, 540.0, 600.0, 660.0, 720.0, 780.0, 840.0, 900.0, 960.0,
    1020.0, 1080.0, 1140.0, 1200.0, 1320.0, 1440.0, 1560.0, 1680.0, 1800.0, 2100.0, 2400.0, 3000.0, 3600.0, 5400.0,
    7200.0, 10_800.0,
];
/// After the finish, without a photo.
const FINISHED_EDGES: &[f64] = &[
    600.0, 1200.0, 1800.0, 2700.0, 3600.0, 5400.0, 7200.0, 9000.0, 10_800.0, 12_600.0, 14_400.0, 16_200.0, 18_000.0,
    19_800.0, 21_600.0, 28_800.0,
];
/// After a photo: each a good quarter longer than the one before.
const AFTER_EDGES: &[f64] = &[
    3.0, 6.0, 10.0, 15.0, 20.0, 25.0, 30.0, 38.0, 48.0, 60.0, 75.0, 95.0, 120.0, 150.0, 190.0, 240.0, 300.0, 380.0,
    480.0, 600.0, 760.0, 960.0, 1200.0, 1500.0, 1900.0, 2400.0, 3600.0, 7200.0,
];
/// Visits with more photos than this are taken for ones with this many.
const MOST_PHOTOS: usize = 4;

/// The least mean weighted delay in seconds of photos filed on day 1, with a budget of calls a minute that all are looks at
/// one visit, where no photo bumps its visit's `lastUpdated`.
pub fn lower_bound(trace: &Trace, budget_per_minute: u32) -> f64 {
    let visits = visits(trace);
    let rates = Rates::of(&visits);
    // At these times Σ√(wλ) changes by so much.
    let mut changes: Vec<(f64, f64)> = Vec::new();
    let mut expected = 0.0;
    for visit in &visits {
        visit.pieces(|piece| {
            let (from, to) = (piece.from.max(MEASURED[0]), piece.to.min(MEASURED[1]));
            let weighted = piece.weight() * rates.rate(&piece);
            if from < to && weighted > 0.0 {
                expected += weighted * (to - from);
                changes.push((from, weighted.sqrt()));
                changes.push((to, -weighted.sqrt()));
            }
        });
    }
    changes.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
    let (mut squares, mut sum, mut since) = (0.0, 0.0_f64, MEASURED[0]);
    for (at, by) in changes {
        squares += sum * sum * (at - since);
        sum += by;
        since = at;
    }
    if expected == 0.0 {
        return ROUND_TRIP / 2.0;
    }
    let looks_per_second = f64::from(budget_per_minute) / 60.0;
    squares / (2.0 * looks_per_second) / expected + ROUND_TRIP / 2.0
}

/// A visit, and until when it is watched. Times in seconds of the trace.
#[derive(Debug)]
struct Visit {
    opened: f64,
    finished: f64,
    photos: Vec<f64>,
    watched_until: f64,
}

fn visits(trace: &Trace) -> Vec<Visit> {
    let mut numbers: HashMap<u32, usize> = HashMap::new();
    let mut visits: Vec<Visit> = Vec::new();
    for event in &trace.events {
        let number = *numbers.entry(event.enc).or_insert_with(|| {
            visits.push(Visit {
                opened: event.t,
                finished: f64::INFINITY,
                photos: Vec::new(),
                watched_until: event.t + WATCHED,
            });
            visits.len() - 1
        });
        let visit = &mut visits[number];
        match event.kind {
            EventKind::Open | EventKind::Change => visit.watched_until = event.t + WATCHED,
            EventKind::Finish => {
                visit.finished = event.t;
                visit.watched_until = event.t + WATCHED;
            }
            // Nobody is told: the watch is not prolonged.
            EventKind::Attach => visit.photos.push(event.t),
        }
    }
    visits
}

/// A time for which a visit's rate is taken to be constant.
#[derive(Debug, Clone, Copy)]
struct Piece {
    table: usize,
    bin: usize,
    from: f64,
    to: f64,
    finished: bool,
    /// Whether a photo ended it.
    photo: bool,
}

impl Piece {
    const fn weight(&self) -> f64 {
        if self.finished { WEIGHT_AFTER } else { 1.0 }
    }
}

/// A table for each phase: open or finished, with 0 to [`MOST_PHOTOS`] photos.
const TABLES: usize = 2 * (MOST_PHOTOS + 1);

const fn table(photos: usize, finished: bool) -> usize {
    let photos = if photos < MOST_PHOTOS { photos } else { MOST_PHOTOS };
    2 * photos + finished as usize
}

const fn edges(table: usize) -> &'static [f64] {
    match table {
        0 => OPEN_EDGES,
        1 => FINISHED_EDGES,
        _ => AFTER_EDGES,
    }
}

impl Visit {
    /// Cuts the time under watch at everything that happens and at the edges of the bins.
    fn pieces(&self, mut each: impl FnMut(Piece)) {
        let mut from = self.opened;
        let (mut photos, mut finished, mut began) = (0, false, self.opened);
        while from < self.watched_until {
            let photo = self.photos.get(photos).copied().unwrap_or(f64::INFINITY);
            let finish = if finished { f64::INFINITY } else { self.finished };
            let until = photo.min(finish).min(self.watched_until);
            let table = table(photos, finished);
            let edges = edges(table);
            let mut bin = edges.partition_point(|edge| began + edge <= from);
            loop {
                let edge = edges.get(bin).map_or(f64::INFINITY, |edge| began + edge);
                let to = edge.min(until);
                each(Piece {
                    table,
                    bin,
                    from,
                    to,
                    finished,
                    photo: to >= photo,
                });
                from = to;
                if to >= until {
                    break;
                }
                bin += 1;
            }
            // A photo filed at the very finish still belongs to the visit.
            if photo <= until {
                photos += 1;
                began = until;
            } else if finish <= until {
                finished = true;
                if photos == 0 {
                    began = until;
                }
            }
        }
    }
}

/// The rates as they turned out: photos over seconds, bin by bin.
#[derive(Debug)]
struct Rates {
    /// Photos, and seconds under watch.
    counts: Vec<Vec<(f64, f64)>>,
}

impl Rates {
    fn of(visits: &[Visit]) -> Self {
        let mut counts: Vec<_> = (0..TABLES)
            .map(|table| vec![(0.0, 0.0); edges(table).len() + 1])
            .collect();
        for visit in visits {
            visit.pieces(|piece| {
                let count = &mut counts[piece.table][piece.bin];
                count.0 += f64::from(u8::from(piece.photo));
                count.1 += piece.to - piece.from;
            });
        }
        Self { counts }
    }

    /// Photos a second.
    fn rate(&self, piece: &Piece) -> f64 {
        let (photos, seconds) = self.counts[piece.table][piece.bin];
        if seconds > 0.0 { photos / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::{
        super::{
            generate::{GenerateOptions, generate},
            trace::TraceEvent,
        },
        *,
    };

    fn event(t: f64, kind: EventKind, enc: u32) -> TraceEvent {
        TraceEvent {
            t,
            kind,
            firm: 0,
            prov: 0,
            enc,
            pat: enc,
            doc: None,
            u: None,
            cat: None,
        }
    }

    /// At any time so many visits are open, for an hour each, and photos come at a constant rate while they are.
    fn constant(at_a_time: u32, rate: f64) -> Trace {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut events = Vec::new();
        let mut enc = 0;
        for hour in 0..56 {
            for number in 0..at_a_time {
                let opened = (f64::from(hour) + f64::from(number) / f64::from(at_a_time)) * 3600.0;
                let finished = opened + 3600.0;
                events.push(event(opened, EventKind::Open, enc));
                let mut photo = opened;
                loop {
                    photo -= (1.0 - random.random::<f64>()).ln() / rate;
                    if photo >= finished {
                        break;
                    }
                    events.push(event(photo, EventKind::Attach, enc));
                }
                events.push(event(finished, EventKind::Finish, enc));
                enc += 1;
            }
        }
        events.sort_by(|one, other| one.t.total_cmp(&other.t));
        Trace { events }
    }

    #[test]
    fn a_constant_rate_gives_the_closed_form() {
        let trace = constant(200, 1.0 / 600.0);
        // (n√λ)² / (2R) / (nλ) = n / (2R).
        for budget in [60, 600] {
            let expected = 200.0 / (2.0 * f64::from(budget) / 60.0) + ROUND_TRIP / 2.0;
            let bound = lower_bound(&trace, budget);
            assert!((bound / expected - 1.0).abs() < 0.03, "{bound} instead of {expected}");
        }
    }

    #[test]
    fn the_time_under_watch_is_cut_without_gaps_and_every_photo_counts_once() {
        let trace = generate(&GenerateOptions {
            firms: 2,
            days: 2,
            seed: 4,
            burst: None,
        });
        for visit in visits(&trace) {
            let (mut at, mut photos) = (visit.opened, 0);
            visit.pieces(|piece| {
                assert_eq!(piece.from.to_bits(), at.to_bits());
                assert!(piece.to >= piece.from);
                assert_eq!(piece.finished, piece.from >= visit.finished);
                at = piece.to;
                photos += usize::from(piece.photo);
            });
            assert_eq!(at.to_bits(), visit.watched_until.to_bits());
            assert_eq!(photos, visit.photos.len());
        }
    }

    #[test]
    fn without_photos_only_the_way_back_remains() {
        let bound = lower_bound(&Trace { events: Vec::new() }, 100);
        assert!((bound - 0.1125).abs() < 1e-9);
    }
}
