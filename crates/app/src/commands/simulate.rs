//! `skin-assist simulate`: how soon photos would be found with so many practices on one quota.
//!
//! Plays a trace of clinic days on the production policies under virtual time, or makes such a trace up. It needs no
//! configuration, no state file and no network, and writes nothing but the files that it is told to. Results go to
//! standard output; progress goes to standard error, and only to a terminal.

use std::{
    fs::{self, File},
    io,
    path::Path,
    process::ExitCode,
    str::FromStr,
    time::Duration,
};

use skin_assist_core::{polling::PolicyName, time::Clock as _};
use skin_assist_simulator::clinic_days::{
    self, Burst, Conditions, GenerateOptions, Outcome, Scenario, Sweeps, Trace, generate, lower_bound, play,
};

use super::{print_json, progress, table::table};
use crate::{
    cli::{SearchArgument, SimulateArguments},
    clock::SystemClock,
    failure::{Failure, Hinted as _, WithHint as _},
    functions::SWEEPS_OF_A_CYCLE,
};

/// With fewer calls a minute hardly anything can be polled.
const LEAST_BUDGET: u32 = 10;
/// A practice that is this many times as busy as usual is none any more.
const MOST_BURST: f64 = 100.0;

/// A busier day of a practice, on the command line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct BurstArgument(Burst);

/// The text is no burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write FIRM:DAY:FACTOR, such as 0:1:3, with a factor above 0 and up to {MOST_BURST}")]
pub(crate) struct NoBurst;

impl FromStr for BurstArgument {
    type Err = NoBurst;

    fn from_str(text: &str) -> Result<Self, NoBurst> {
        let parts: Vec<_> = text.split(':').collect();
        let [firm, day, factor] = parts.as_slice() else {
            return Err(NoBurst);
        };
        let burst = Burst {
            firm: firm.parse().map_err(|_| NoBurst)?,
            day: day.parse().map_err(|_| NoBurst)?,
            factor: factor.parse().map_err(|_| NoBurst)?,
        };
        if burst.factor > 0.0 && burst.factor <= MOST_BURST {
            Ok(Self(burst))
        } else {
            Err(NoBurst)
        }
    }
}

/// Plays clinic days, or makes them up.
pub(crate) fn simulate(arguments: &SimulateArguments) -> Result<ExitCode, Failure> {
    match (&arguments.trace, arguments.budget) {
        (Some(trace), Some(budget)) => play_all(trace, budget, arguments)?,
        _ => write_trace(arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn play_all(path: &Path, budget: u32, arguments: &SimulateArguments) -> Result<(), Failure> {
    if budget < LEAST_BUDGET {
        return Err(
            Failure::new(format!("a budget of {budget} calls a minute is too small")).with_hint(format!(
                "give --budget at least {LEAST_BUDGET}; it is for all practices together"
            )),
        );
    }
    if !(0.0..=1.0).contains(&arguments.hint) {
        return Err(Failure::new(format!("{} is no share of photos", arguments.hint))
            .with_hint("give --hint a number from 0 (no photo bumps its visit's `lastUpdated`) to 1 (each does)"));
    }
    if !(arguments.least_price.is_finite() && arguments.least_price > 0.0) {
        return Err(Failure::new(format!("{} is no price", arguments.least_price))
            .with_hint("give --least-price a number above 0: 0.00001 uses the quota, 0.004 saves calls"));
    }
    if arguments.without.is_some() && !arguments.policy.contains(&PolicyName::Adaptive) {
        return Err(
            Failure::new("--without takes a part of `adaptive` away, which is not played")
                .with_hint("add --policy adaptive, or leave --without out"),
        );
    }
    let trace = read(path)?;
    if let Some(plot) = &arguments.plot {
        can_be_written(plot)?;
    }
    // With hints, or where one call answers for several visits, there may be better than that.
    let bounded = arguments.hint == 0.0 && matches!(arguments.search, SearchArgument::Patient);
    let bound = bounded.then(|| lower_bound(&trace, budget));
    let outcomes: Vec<_> = distinct(&arguments.policy)
        .into_iter()
        .map(|policy| {
            let scenario = Scenario {
                budget_per_minute: budget,
                hint: arguments.hint,
                policy,
                search: arguments.search.into(),
                least_price: arguments.least_price,
                without: arguments.without.map(Into::into),
                seed: arguments.seed,
                sweeps: arguments.sweep_seconds.map(|every| Sweeps {
                    every: Duration::from_secs(every),
                    lasting: Duration::from_secs(arguments.sweep_lasting.min(every)),
                    cycle: Duration::from_secs(every) * SWEEPS_OF_A_CYCLE,
                }),
                conditions: Conditions::default(),
            };
            let progress = progress::share(&policy.to_string());
            let began = SystemClock.now();
            let mut outcome = play(&trace, &scenario, |share| progress.set_position((share * 100.0) as u64));
            outcome.wall_s = SystemClock.now().since(began).as_secs_f64();
            progress.finish_and_clear();
            Outcome {
                lower_bound_s: bound,
                ..outcome
            }
        })
        .collect();
    if outcomes.iter().any(|outcome| outcome.weighted.is_empty()) {
        return Err(Failure::new(format!("no photo of {} can be measured", path.display()))
            .with_hint("photos of day 1 are measured, from 07:00 to 07:00 US Eastern: a trace needs two days"));
    }
    match outcomes.as_slice() {
        [outcome] if arguments.json => print_json(outcome)?,
        outcomes if arguments.json => print_json(&outcomes)?,
        outcomes => print(outcomes),
    }
    if let Some(plot) = &arguments.plot {
        let title = format!(
            "{} practices on {budget} calls a minute, hint {}",
            trace.firms(),
            arguments.hint
        );
        fs::write(plot, clinic_days::plot(&title, &outcomes))
            .failed(|| format!("the picture {} cannot be written", plot.display()))
            .hint("check the space on its disk")?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Trace, Failure> {
    let file = File::open(path)
        .failed(|| format!("the trace {} cannot be opened", path.display()))
        .hint("check the path; `skin-assist simulate --generate --firms 10 --out FILE.gz` makes one")?;
    Trace::read(file)
        .failed(|| format!("{} is not a trace of clinic days", path.display()))
        .hint("a trace is lines of JSON in order of time, plain or in gzip; docs/simulate.md says what is in them")
}

/// Says now, and not after minutes of playing, that the picture cannot be written.
fn can_be_written(plot: &Path) -> Result<(), Failure> {
    let failed = || format!("the picture {} cannot be written", plot.display());
    let hint = "check that its folder exists and that this user may write there";
    let existed = plot.exists();
    File::options()
        .create(true)
        .append(true)
        .open(plot)
        .failed(failed)
        .hint(hint)?;
    if !existed {
        fs::remove_file(plot).failed(failed).hint(hint)?;
    }
    Ok(())
}

/// Each policy once, in the order that they were asked for.
fn distinct(policies: &[PolicyName]) -> Vec<PolicyName> {
    let mut distinct = Vec::new();
    for policy in policies {
        if !distinct.contains(policy) {
            distinct.push(*policy);
        }
    }
    distinct
}

fn write_trace(arguments: &SimulateArguments) -> Result<(), Failure> {
    let options = GenerateOptions {
        firms: arguments.firms.unwrap_or(1),
        days: arguments.days,
        seed: arguments.seed,
        burst: arguments.burst.map(|BurstArgument(burst)| burst),
    };
    if let Some(burst) = options.burst
        && (burst.firm >= options.firms || burst.day >= options.days)
    {
        let (firm, day) = (burst.firm, burst.day);
        return Err(Failure::new(format!("there is no day {day} of practice {firm}"))
            .with_hint("practices and days are counted from 0; see --firms and --days"));
    }
    let Some(path) = &arguments.out else {
        return match generate(&options).write(io::stdout().lock(), false) {
            // A reader that has gone away (`| head`) has what it wants.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.failed(|| "the trace cannot be written".to_owned()),
        };
    };
    let failed = || format!("the trace {} cannot be written", path.display());
    let file = File::create(path)
        .failed(failed)
        .hint("check that its folder exists and that this user may write there")?;
    let trace = generate(&options);
    let compressed = path.extension().is_some_and(|extension| extension == "gz");
    trace
        .write(file, compressed)
        .failed(failed)
        .hint("check the space on its disk")?;
    let photos = trace.events.iter().filter(|event| event.doc.is_some()).count();
    say!(
        "{} practices, {} days, {} events, {photos} photos: {}",
        options.firms,
        options.days,
        trace.events.len(),
        path.display()
    );
    Ok(())
}

fn print(outcomes: &[Outcome]) {
    if let Some(outcome) = outcomes.first() {
        say!(
            "{} practices on {} calls a minute, hint {}, search {}. Day 1, delays in seconds:\n",
            outcome.firms,
            outcome.budget_per_minute,
            outcome.hint,
            outcome.search
        );
    }
    let delays: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            [
                outcome.policy.clone(),
                digits(outcome.weighted_mean_s),
                outcome.lower_bound_s.map_or_else(|| "-".to_owned(), digits),
                digits(outcome.live.mean_s),
                digits(outcome.live.p50_s),
                digits(outcome.live.p90_s),
                digits(outcome.live.p99_s),
                format!("{:.1} %", outcome.detected_in_progress * 100.0),
                outcome.missed.to_string(),
                format!("{:.2}", outcome.worst_over_median_firm),
            ]
        })
        .collect();
    let heading = [
        "POLICY",
        "WEIGHTED MEAN",
        "BOUND",
        "LIVE MEAN",
        "P50",
        "P90",
        "P99",
        "FOUND IN PROGRESS",
        "MISSED",
        "WORST/MEDIAN FIRM",
    ];
    super::print(&table(heading, &delays));
    say!("\nCalls:\n");
    let calls: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            [
                outcome.policy.clone(),
                outcome.calls.encounter.to_string(),
                outcome.calls.document.to_string(),
                outcome.calls.read.to_string(),
                outcome.calls.draft.to_string(),
                format!("{:.1}", outcome.calls_per_document),
                outcome.over_quota.to_string(),
                format!("{:.1} s", outcome.wall_s),
            ]
        })
        .collect();
    let heading = [
        "POLICY",
        "ENCOUNTER POLLS",
        "DOCUMENT POLLS",
        "READS",
        "DRAFTS",
        "PER DOCUMENT",
        "REFUSED",
        "SIMULATED IN",
    ];
    super::print(&table(heading, &calls));
}

/// Three digits that mean something.
fn digits(seconds: f64) -> String {
    if seconds < 9.995 {
        format!("{seconds:.2}")
    } else if seconds < 99.95 {
        format!("{seconds:.1}")
    } else {
        format!("{seconds:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_are_read() {
        let burst = "3:1:2.5".parse::<BurstArgument>().map(|burst| burst.0);
        let expected = Burst {
            firm: 3,
            day: 1,
            factor: 2.5,
        };
        assert_eq!(burst, Ok(expected));
        for wrong in [
            "", "3", "3:1", "3:1:0", "3:1:-1", "3:1:NaN", "3:1:inf", "3:1:2:4", "a:1:2",
        ] {
            assert_eq!(wrong.parse::<BurstArgument>(), Err(NoBurst), "{wrong}");
        }
    }

    #[test]
    fn policies_are_compared_once_each() {
        use PolicyName::{Adaptive, Reference};
        assert_eq!(distinct(&[Reference, Adaptive, Reference]), [Reference, Adaptive]);
    }

    #[test]
    fn three_digits() {
        let shown = [0.1125, 3.5, 9.999, 16.64, 99.96, 1505.2].map(digits);
        assert_eq!(shown, ["0.11", "3.50", "10.0", "16.6", "100", "1505"]);
    }
}
