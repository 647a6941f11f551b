//! `skin-assist-faults`: the simulation for many seeds, on all cores. `cargo xtask faults` runs it.

// A command-line tool prints, and reads a stopwatch; the bans are for the product.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use clap::Parser;
use skin_assist_faults::{Mutation, Outcome, report::Summary, simulate};

/// Plays the whole engine under virtual time with faults on purpose, and checks what must hold.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// This seed alone, and all that did not hold in it.
    #[arg(long, conflicts_with_all = ["seeds", "first", "mutations"])]
    seed: Option<u64>,
    /// With what its processes log, and what happens in them, by virtual time.
    #[arg(long, requires = "seed")]
    log: bool,
    /// How many runs at the same time; as many as there are cores where it is left out.
    #[arg(long)]
    jobs: Option<usize>,
    /// Where to write the summary.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Without this safeguard.
    #[arg(long, value_enum, default_value_t)]
    without: Mutation,
    /// Remove each safeguard in turn, and see after how many seeds it is noticed.
    #[arg(long, conflicts_with = "without")]
    mutations: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.log {
        tracing_subscriber::fmt()
            .without_time()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(std::io::stderr)
            .init();
    }
    let outcome = if arguments.mutations {
        mutations(&arguments)
    } else {
        runs(&arguments)
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn jobs(arguments: &Arguments) -> usize {
    let cores = || thread::available_parallelism().map_or(1, std::num::NonZero::get);
    arguments.jobs.unwrap_or_else(cores).max(1)
}

/// Runs seeds on several threads, in no particular order; `each` says whether to go on.
fn play(first: u64, seeds: u64, jobs: usize, without: Mutation, each: impl Fn(Outcome) -> bool + Sync) {
    let next = AtomicU64::new(first);
    let end = AtomicU64::new(first + seeds);
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end.load(Ordering::Relaxed) {
                        return;
                    }
                    if !each(simulate(seed, without)) {
                        end.store(0, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

fn runs(arguments: &Arguments) -> Result<(), String> {
    let (first, seeds) = arguments
        .seed
        .map_or((arguments.first, arguments.seeds), |seed| (seed, 1));
    let begun = Instant::now();
    let summary = Mutex::new(Summary::default());
    play(first, seeds, jobs(arguments), arguments.without, |outcome| {
        let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
        if arguments.seed.is_some() {
            println!("{outcome:#?}");
        }
        summary.add(&outcome);
        if !outcome.violations.is_empty() {
            let (invariant, what) = &outcome.violations[0];
            println!("seed {} failed: {invariant}: {what}", outcome.seed);
            let without = match arguments.without {
                Mutation::None => String::new(),
                mutation => format!(" --without {}", mutation.name()),
            };
            println!("replay: cargo xtask faults --seed {}{without}", outcome.seed);
        }
        if summary.runs.is_multiple_of(100) {
            let seconds = begun.elapsed().as_secs();
            println!(
                "{} of {seeds} seeds, {} failed, {seconds} s",
                summary.runs,
                summary.failed.len()
            );
        }
        true
    });
    let mut summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.failed.sort_unstable();
    let text = serde_json::to_string_pretty(&summary).map_err(|error| error.to_string())?;
    if let Some(path) = &arguments.json {
        std::fs::write(path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))?;
    }
    print_summary(&summary, begun.elapsed().as_secs_f64());
    if !summary.failed.is_empty() {
        return Err(format!("{} seeds failed: {:?}", summary.failed.len(), summary.failed));
    }
    // In few runs something may well not happen.
    let never = summary.never_fired();
    if summary.runs >= 100 && !never.is_empty() {
        return Err(format!("never fired: {never:?}"));
    }
    Ok(())
}

fn print_summary(summary: &Summary, seconds: f64) {
    println!(
        "{} seeds in {seconds:.1} s: {} photos (at least {} in each run), {} with one draft, {} uncertain, {} dead letters, \
         {} retracted; {} looks, {} calls, {} hours of virtual time",
        summary.runs,
        summary.photos,
        summary.fewest_photos,
        summary.delivered,
        summary.uncertain,
        summary.buried,
        summary.retracted,
        summary.looks,
        summary.calls,
        summary.seconds / 3600
    );
    for (title, counts) in [("fault", &summary.faults), ("safeguard", &summary.safeguards)] {
        println!("\n| {title} | times |\n| --- | ---: |");
        for (kind, times) in counts {
            println!("| {kind} | {times} |");
        }
    }
}

/// How many seeds a missing safeguard may take to be noticed.
const MOST_SEEDS: u64 = 1_000;

fn mutations(arguments: &Arguments) -> Result<(), String> {
    println!("| safeguard removed | seeds until it was noticed | invariant that broke |\n| --- | ---: | --- |");
    let mut survivors = Vec::new();
    for mutation in Mutation::ALL {
        let noticed: Mutex<Option<Outcome>> = Mutex::new(None);
        play(arguments.first, MOST_SEEDS, jobs(arguments), mutation, |outcome| {
            if outcome.violations.is_empty() {
                return true;
            }
            let mut noticed = noticed.lock().unwrap_or_else(PoisonError::into_inner);
            if noticed.as_ref().is_none_or(|earlier| outcome.seed < earlier.seed) {
                *noticed = Some(outcome);
            }
            false
        });
        let noticed = noticed.into_inner().unwrap_or_else(PoisonError::into_inner);
        let name = mutation.name();
        if let Some(outcome) = noticed {
            let mut invariants: Vec<_> = outcome.violations.iter().map(|(invariant, _)| *invariant).collect();
            invariants.dedup();
            println!(
                "| {name} | {} | {} |",
                outcome.seed + 1 - arguments.first,
                invariants.join("; ")
            );
        } else {
            println!("| {name} | survived {MOST_SEEDS} | - |");
            survivors.push(name);
        }
    }
    if survivors.is_empty() {
        Ok(())
    } else {
        Err(format!("not noticed: {}", survivors.join(", ")))
    }
}
