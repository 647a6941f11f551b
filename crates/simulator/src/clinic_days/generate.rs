//! Clinic days made up from a seed.
//!
//! Each practice, each provider and each provider's day has its own stream of random numbers: a [`Burst`] on one day of
//! one practice leaves all others as they are. The same options give the same trace, event for event, and it always makes
//! sense to [`Trace::read`]. Nothing here can fail.
//!
//! What a day looks like, in short: a provider sees patients one after another on a grid of equal slots with a lunch break
//! in the middle. A visit takes its time, and its record changes now and then; one in five visits is finished only long
//! after anybody worked on it. The first photo falls into the time that the visit takes; a few come hours after the
//! finish. More photos may follow, most within a minute.

use std::{collections::HashMap, f64::consts::TAU};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::trace::{EventKind, Trace, TraceEvent};

/// What to make up.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// How many practices.
    pub firms: u32,
    /// How many days, from day 0 on. All of them are weekdays.
    pub days: u32,
    /// All randomness follows from it.
    pub seed: u64,
    /// A day of a practice that is busier than others.
    pub burst: Option<Burst>,
}

/// A practice has more visits than usual on one day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burst {
    /// The practice.
    pub firm: u32,
    /// The day, from 0 on.
    pub day: u32,
    /// How many times its usual number of visits; each provider's number is rounded.
    pub factor: f64,
}

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;
const DAY: f64 = 86_400.0;

/// Providers of a practice, any number equally likely.
const PROVIDERS: std::ops::RangeInclusive<u32> = 3..=12;
/// Patients that a provider usually sees in a day.
const PATIENTS: std::ops::RangeInclusive<i32> = 25..=40;
/// By how many a day differs from the usual one.
const PATIENTS_VARY: std::ops::RangeInclusive<i32> = -3..=3;
/// Patients that a practice has; somebody may come twice.
const PATIENTS_OF_FIRM: u32 = 8000;
/// Shares of practices whose clocks are so many hours behind Eastern: Eastern, Central, Mountain, Pacific.
const BEHIND_EASTERN: [(f64, f64); 4] = [(0.5, 0.0), (0.3, 1.0), (0.08, 2.0), (0.12, 3.0)];
/// When a practice's first slots begin, in seconds after local midnight: evenly within half an hour around 08:00.
const OPENS: std::ops::Range<f64> = 7.5 * HOUR..8.5 * HOUR;
/// From its first slots to the end of the last ones, in seconds, without the lunch break.
const WORKS: std::ops::Range<f64> = 7.25 * HOUR..8.25 * HOUR;
/// In the middle of the slots, in seconds.
const LUNCH: f64 = 45.0 * MINUTE;
/// By how much a visit opens earlier or later than its slot: standard deviation in seconds.
const UNPUNCTUAL: f64 = 3.2 * MINUTE;
/// What a visit takes: median in seconds, and standard deviation of the logarithm.
const VISIT: (f64, f64) = (22.0 * MINUTE, 0.45);
/// No visit takes less, in seconds.
const VISIT_AT_LEAST: f64 = 6.0 * MINUTE;
/// Visits whose record stays open when they are over.
const STAYS_OPEN: f64 = 0.2;
/// For how much longer, in seconds.
const OPEN_FOR: std::ops::Range<f64> = 20.0 * MINUTE..240.0 * MINUTE;
/// Changes to the record a second while the visit takes place, none after that: 0.12 a minute over all the time that it is
/// open.
const CHANGES: f64 = 0.25 / MINUTE;
/// Visits of a provider that have photos: Beta distributed with these parameters, on average 0.35.
const PROPENSITY: (usize, usize) = (7, 13);
/// From the opening to the first photo: median in seconds, and standard deviation of the logarithm. Drawn again until the
/// visit still takes place.
const FIRST_PHOTO: (f64, f64) = (11.0 * MINUTE, 0.5);
/// Visits with photos whose first one comes after the finish.
const LATE: f64 = 0.04;
/// How long after the finish, in seconds.
const LATE_BY: std::ops::Range<f64> = 0.5 * HOUR..6.0 * HOUR;
/// After each photo, the probability of another.
const ANOTHER: f64 = 0.445;
/// No visit has more photos.
const MOST_PHOTOS: usize = 4;
/// Photos that follow the one before at once.
const AT_ONCE: f64 = 0.75;
/// How soon, in seconds: at least, and on average after that.
const SOON: (f64, f64) = (3.0, 35.0);
/// How soon the other ones do, in seconds on average.
const LATER: f64 = 350.0;
/// Visits whose photos show single lesions.
const SOLITARY: f64 = 0.7;

/// Makes up clinic days.
pub fn generate(options: &GenerateOptions) -> Trace {
    let mut happenings = Happenings::default();
    let mut providers = 0;
    for firm in 0..options.firms {
        let mut of_firm = stream(options.seed, firm, 0, 0);
        let behind = behind_eastern(of_firm.random());
        let opens = of_firm.random_range(OPENS) + behind * HOUR;
        let works = of_firm.random_range(WORKS);
        for number in 1..=of_firm.random_range(PROVIDERS) {
            let mut of_provider = stream(options.seed, firm, number, 0);
            let provider = Provider {
                firm,
                number: providers,
                opens,
                works,
                patients: of_provider.random_range(PATIENTS),
                propensity: beta(&mut of_provider, PROPENSITY),
            };
            providers += 1;
            for day in 0..options.days {
                let factor = options
                    .burst
                    .filter(|burst| (burst.firm, burst.day) == (firm, day))
                    .map_or(1.0, |burst| burst.factor);
                let mut random = stream(options.seed, firm, number, u64::from(day) + 1);
                provider.day(day, factor, &mut random, &mut happenings);
            }
        }
    }
    happenings.trace()
}

/// Random numbers that depend on nobody else's. Provider 0 and day 0 are for what holds for all of them.
fn stream(seed: u64, firm: u32, provider: u32, day: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream((u64::from(firm) << 40) | (u64::from(provider) << 34) | day);
    random
}

fn behind_eastern(uniform: f64) -> f64 {
    let mut sum = 0.0;
    for (share, hours) in BEHIND_EASTERN {
        sum += share;
        if uniform < sum {
            return hours;
        }
    }
    0.0
}

#[derive(Debug)]
struct Provider {
    firm: u32,
    number: u32,
    /// The first slot of day 0, in seconds after midnight Eastern.
    opens: f64,
    /// The length of all slots of a day in seconds.
    works: f64,
    patients: i32,
    propensity: f64,
}

impl Provider {
    fn day(&self, day: u32, factor: f64, random: &mut ChaCha8Rng, happenings: &mut Happenings) {
        let usual = f64::from(self.patients + random.random_range(PATIENTS_VARY));
        let visits = (usual * factor).round().max(0.0) as u32;
        let slot = self.works / f64::from(visits);
        let before_lunch = visits.div_ceil(2);
        for number in 0..visits {
            let mut opened = f64::from(day) * DAY + self.opens + f64::from(number) * slot;
            if number >= before_lunch {
                opened += LUNCH;
            }
            opened += UNPUNCTUAL * normal(random);
            self.visit(opened, random, happenings);
        }
    }

    fn visit(&self, opened: f64, random: &mut ChaCha8Rng, happenings: &mut Happenings) {
        let patient = self.firm * (PATIENTS_OF_FIRM + 2000) + random.random_range(0..PATIENTS_OF_FIRM);
        let category = if random.random_bool(SOLITARY) {
            "Solitary"
        } else {
            "Widespread"
        };
        let mut event = TraceEvent {
            t: 0.0,
            kind: EventKind::Open,
            firm: self.firm,
            prov: self.number,
            enc: happenings.visits,
            pat: patient,
            doc: None,
            u: None,
            cat: Some(category.to_owned()),
        };
        happenings.visits += 1;
        happenings.push(opened, event.clone());

        let over = opened + lognormal(random, VISIT).max(VISIT_AT_LEAST);
        let finished = if random.random_bool(STAYS_OPEN) {
            over + random.random_range(OPEN_FOR)
        } else {
            over
        };
        event.cat = None;
        event.kind = EventKind::Change;
        let mut changed = opened + exponential(random, 1.0 / CHANGES);
        while changed < over {
            happenings.push(changed, event.clone());
            changed += exponential(random, 1.0 / CHANGES);
        }
        event.kind = EventKind::Finish;
        happenings.push(finished, event.clone());

        if !random.random_bool(self.propensity) {
            return;
        }
        event.kind = EventKind::Attach;
        event.cat = Some(category.to_owned());
        let mut filed = if random.random_bool(LATE) {
            finished + random.random_range(LATE_BY)
        } else {
            loop {
                let filed = opened + lognormal(random, FIRST_PHOTO);
                if filed < over {
                    break filed;
                }
            }
        };
        for number in 1..=MOST_PHOTOS {
            event.u = Some((random.random::<f64>() * 1e6).floor() / 1e6);
            happenings.push(filed, event.clone());
            if number == MOST_PHOTOS || !random.random_bool(ANOTHER) {
                break;
            }
            filed += if random.random_bool(AT_ONCE) {
                SOON.0 + exponential(random, SOON.1)
            } else {
                exponential(random, LATER)
            };
        }
    }
}

/// Everything that happens, not in order, with visits by when they were made up and photos not numbered.
#[derive(Debug, Default)]
struct Happenings {
    /// With the milliseconds since 00:00 Eastern of day 0.
    events: Vec<(i64, TraceEvent)>,
    visits: u32,
}

impl Happenings {
    fn push(&mut self, t: f64, event: TraceEvent) {
        self.events.push(((t * 1000.0).round() as i64, event));
    }

    /// Sorts, and numbers visits and photos in order of time.
    fn trace(mut self) -> Trace {
        // Stable: what happens to a visit within one millisecond stays in order.
        self.events.sort_by_key(|(millis, _)| *millis);
        let mut visits: HashMap<u32, u32> = HashMap::new();
        let mut photos = 0;
        let events = self.events.into_iter().map(|(millis, mut event)| {
            event.t = millis as f64 / 1000.0;
            let next = visits.len() as u32;
            event.enc = *visits.entry(event.enc).or_insert(next);
            if event.kind == EventKind::Attach {
                event.doc = Some(photos);
                photos += 1;
            }
            event
        });
        Trace {
            events: events.collect(),
        }
    }
}

/// A number from the standard normal distribution: Box and Muller's transform of two uniform ones.
fn normal(random: &mut ChaCha8Rng) -> f64 {
    let first: f64 = 1.0 - random.random::<f64>();
    let second: f64 = random.random();
    (-2.0 * first.ln()).sqrt() * (TAU * second).cos()
}

fn lognormal(random: &mut ChaCha8Rng, (median, sigma): (f64, f64)) -> f64 {
    median * (sigma * normal(random)).exp()
}

fn exponential(random: &mut ChaCha8Rng, mean: f64) -> f64 {
    -mean * (1.0 - random.random::<f64>()).ln()
}

/// A number from the Beta distribution with whole parameters: the a-th smallest of a + b - 1 uniform ones.
fn beta(random: &mut ChaCha8Rng, (a, b): (usize, usize)) -> f64 {
    let mut uniform: Vec<f64> = (1..a + b).map(|_| random.random()).collect();
    uniform.sort_by(f64::total_cmp);
    uniform[a - 1]
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use super::*;

    fn options(firms: u32, seed: u64) -> GenerateOptions {
        GenerateOptions {
            firms,
            days: 2,
            seed,
            burst: None,
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_trace_and_another_one_does_not() {
        let trace = generate(&options(3, 7));
        assert_eq!(trace, generate(&options(3, 7)));
        assert_ne!(trace, generate(&options(3, 8)));
    }

    #[test]
    fn a_trace_reads_back_as_it_was_written() {
        let trace = generate(&options(2, 1));
        for compressed in [false, true] {
            let mut bytes = Vec::new();
            trace.write(&mut bytes, compressed).unwrap();
            assert_eq!(Trace::read(bytes.as_slice()).unwrap(), trace);
        }
    }

    #[test]
    fn more_practices_leave_the_first_ones_as_they_are() {
        let few = without_numbers(&generate(&options(2, 3)), |_| true);
        let many = without_numbers(&generate(&options(5, 3)), |event| event.firm < 2);
        assert_eq!(few, many);
    }

    /// What happens, but for the numbers of visits and photos.
    fn without_numbers(trace: &Trace, wanted: impl Fn(&TraceEvent) -> bool) -> Vec<TraceEvent> {
        let mut events: Vec<TraceEvent> = trace.events.iter().filter(|event| wanted(event)).cloned().collect();
        for event in &mut events {
            event.enc = 0;
            event.doc = None;
        }
        events
    }

    #[test]
    fn a_burst_multiplies_the_visits_of_its_practice_and_day_only() {
        let usual = generate(&options(4, 5));
        let burst = Burst {
            firm: 2,
            day: 1,
            factor: 5.0,
        };
        let busy = generate(&GenerateOptions {
            burst: Some(burst),
            ..options(4, 5)
        });
        // Of visits that opened on a day: some events of day 0 come in the night after it, none from day 1 before 07:00.
        let elsewhere = |event: &TraceEvent| event.firm != 2 || event.t < DAY + 7.0 * HOUR;
        assert_eq!(without_numbers(&usual, elsewhere), without_numbers(&busy, elsewhere));
        let visits = |trace: &Trace| {
            let opened = |event: &&TraceEvent| event.kind == EventKind::Open && !elsewhere(event);
            trace.events.iter().filter(opened).count()
        };
        assert_eq!(visits(&busy), visits(&usual) * 5);
    }

    struct Visit {
        opened: f64,
        firm: u32,
        provider: u32,
        patient: u32,
        solitary: bool,
        finished: f64,
        changes: usize,
        photos: Vec<f64>,
    }

    fn visits(trace: &Trace) -> Vec<Visit> {
        let mut visits: BTreeMap<u32, Visit> = BTreeMap::new();
        for event in &trace.events {
            let visit = visits.entry(event.enc).or_insert_with(|| Visit {
                opened: event.t,
                firm: event.firm,
                provider: event.prov,
                patient: event.pat,
                solitary: event.cat.as_deref() == Some("Solitary"),
                finished: f64::NAN,
                changes: 0,
                photos: Vec::new(),
            });
            match event.kind {
                EventKind::Open => assert!(event.cat.is_some()),
                EventKind::Change => visit.changes += 1,
                EventKind::Finish => visit.finished = event.t,
                EventKind::Attach => {
                    assert_eq!(event.cat.as_deref() == Some("Solitary"), visit.solitary);
                    visit.photos.push(event.t);
                }
            }
        }
        visits.into_values().collect()
    }

    fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
        values.sort_by(f64::total_cmp);
        values[(share * (values.len() - 1) as f64).round() as usize]
    }

    #[track_caller]
    fn near(what: &str, value: f64, expected: f64, relative: f64) {
        assert!(
            (value / expected - 1.0).abs() <= relative,
            "{what} is {value}, not {expected} within {relative}"
        );
    }

    fn share<T>(of: &[T], wanted: impl Fn(&&T) -> bool) -> f64 {
        of.iter().filter(wanted).count() as f64 / of.len() as f64
    }

    /// What was measured on days that were given, with the tolerance that 100 practices allow.
    #[test]
    fn a_hundred_practices_have_the_statistics_of_clinic_days() {
        let trace = generate(&options(100, 1));
        let visits = visits(&trace);
        let minutes = |part: f64, of: &[&Visit], what: fn(&Visit) -> f64| {
            quantile(of.iter().map(|visit| what(visit) / MINUTE).collect(), part)
        };
        let all: Vec<&Visit> = visits.iter().collect();
        let lasts = |visit: &Visit| visit.finished - visit.opened;
        near("the median visit", minutes(0.5, &all, lasts), 25.4, 0.02);
        near("a short visit", minutes(0.05, &all, lasts), 11.0, 0.04);
        near("a long visit", minutes(0.95, &all, lasts), 210.0, 0.04);
        near(
            "changes",
            visits.iter().map(|visit| visit.changes as f64).sum::<f64>() / all.len() as f64,
            6.09,
            0.03,
        );
        near(
            "visits for single lesions",
            share(&visits, |visit| visit.solitary),
            0.7,
            0.02,
        );

        let with: Vec<&Visit> = visits.iter().filter(|visit| !visit.photos.is_empty()).collect();
        near(
            "visits with photos",
            with.len() as f64 / visits.len() as f64,
            0.35,
            0.06,
        );
        let first_live = |visit: &&&Visit| visit.photos[0] < visit.finished;
        near("late first photos", 1.0 - share(&with, first_live), 0.04, 0.15);
        let live: Vec<&Visit> = with.iter().filter(first_live).copied().collect();
        let first = |visit: &Visit| visit.photos[0] - visit.opened;
        near("the median first photo", minutes(0.5, &live, first), 9.7, 0.03);
        near("an early first photo", minutes(0.05, &live, first), 4.5, 0.05);
        near("a late first photo of a visit", minutes(0.95, &live, first), 19.6, 0.04);
        let late: Vec<&Visit> = with.iter().filter(|visit| !first_live(visit)).copied().collect();
        let after = |visit: &Visit| visit.photos[0] - visit.finished;
        near("a photo after the visit", minutes(0.5, &late, after), 195.0, 0.15);
        for (photos, expected, tolerance) in [(1, 0.555, 0.03), (2, 0.247, 0.05), (3, 0.11, 0.08), (4, 0.088, 0.1)] {
            near(
                "a burst",
                share(&with, |visit| visit.photos.len() == photos),
                expected,
                tolerance,
            );
        }
        let gaps = || {
            with.iter()
                .flat_map(|visit| visit.photos.windows(2).map(|pair| pair[1] - pair[0]))
        };
        for (share, expected) in [(0.1, 7.6), (0.5, 37.7), (0.75, 95.0), (0.9, 336.0), (0.99, 1125.0)] {
            near(
                "the gap between two photos",
                quantile(gaps().collect(), share),
                expected,
                0.1,
            );
        }

        let mut days: BTreeMap<(u32, u32), f64> = BTreeMap::new();
        let mut providers: BTreeMap<u32, (u32, f64, f64)> = BTreeMap::new();
        for visit in &visits {
            *days.entry((visit.provider, (visit.opened / DAY) as u32)).or_default() += 1.0;
            let provider = providers.entry(visit.provider).or_insert((visit.firm, 0.0, 0.0));
            provider.1 += 1.0;
            provider.2 += f64::from(u8::from(!visit.photos.is_empty()));
        }
        let of_day: Vec<f64> = days.into_values().collect();
        near(
            "the fewest patients of a day",
            quantile(of_day.clone(), 0.0),
            22.0,
            0.03,
        );
        near("the patients of a day", quantile(of_day.clone(), 0.5), 33.0, 0.04);
        near("the most patients of a day", quantile(of_day, 1.0), 43.0, 0.03);
        let propensities: Vec<f64> = providers.values().map(|(_, visits, with)| with / visits).collect();
        let mean = propensities.iter().sum::<f64>() / propensities.len() as f64;
        let variance = propensities.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / propensities.len() as f64;
        near("how much providers differ", variance.sqrt(), 0.119, 0.08);
        let mut of_firm: BTreeMap<u32, f64> = BTreeMap::new();
        for (firm, ..) in providers.values() {
            *of_firm.entry(*firm).or_default() += 1.0;
        }
        assert_eq!(of_firm.len(), 100);
        assert!(of_firm.values().all(|count| (3.0..=12.0).contains(count)));

        let opened = |range: std::ops::Range<f64>| {
            share(&visits, |visit| range.contains(&(visit.opened.rem_euclid(DAY) / HOUR)))
        };
        near("visits before nine", opened(7.0..9.0), 0.075, 0.2);
        near("visits of the morning", opened(9.0..12.0), 0.337, 0.08);
        near("visits around noon", opened(12.0..14.0), 0.187, 0.08);
        near("visits of the afternoon", opened(14.0..17.0), 0.337, 0.08);
        near("visits of the west", opened(17.0..21.0), 0.075, 0.5);
        let patients: HashSet<u32> = visits.iter().map(|visit| visit.patient).collect();
        near("patients", patients.len() as f64 / visits.len() as f64, 0.967, 0.01);
    }
}
