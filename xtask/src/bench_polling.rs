//! `cargo xtask bench polling`: plays clinic days with `skin-assist simulate` and writes how soon photos were found.
//!
//! Clinic days are made up under `target/bench/polling`, or given with `--traces`. The adaptive policy is played on every
//! trace with every share of hints; the two schedules that it is compared with use no hints and are played with none. Two
//! simulations run at a time, each on one core. After them, alone, how long a decision takes is measured. Only a whole run
//! writes the report; any other is printed, and kept under `target/`.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    thread,
};

use serde_json::Value;

use crate::{
    bench::{self, processor, rounded},
    process::{cargo, output, program, root, run as run_program},
};

const REPORT: &str = "docs/benchmarks/polling.md";
const FOLDER: &str = "target/bench/polling";

/// So many simulations run at a time.
const AT_A_TIME: usize = 2;

/// Practices, and calls a minute for all of them.
const CASES: [(u32, u32); 4] = [(10, 250), (10, 1000), (10, 100), (100, 1000)];

/// What the adaptive policy is compared with.
const SCHEDULES: [&str; 2] = ["reference", "round-robin"];

/// Shares of photos that bump their visit's `lastUpdated`.
const HINTS: [&str; 3] = ["0", "0.5", "1"];

/// What is taken away from the adaptive policy to see what it is good for: a name for the report, and the arguments of
/// `skin-assist simulate` that take it away. Played on the first case without hints and with half of them.
const ABLATIONS: &[(&str, &[&str])] = &[
    ("the index (greedy)", &["--without", "index"]),
    ("hints", &["--without", "hints"]),
    ("learning", &["--without", "learning"]),
    ("fairness between practices", &["--without", "fairness"]),
];
const ABLATION_HINTS: [&str; 2] = ["0", "0.5"];

/// How many traces are made up for so many practices.
const fn seeds(firms: u32, quick: bool) -> u32 {
    match (firms, quick) {
        (100, true) => 0,
        (100, false) | (_, true) => 1,
        (_, false) => 8,
    }
}

/// What the command line says.
#[derive(Debug, Default, PartialEq)]
struct Options {
    quick: bool,
    traces: Option<PathBuf>,
}

impl Options {
    fn read(arguments: &[&str]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match *argument {
                "--quick" => options.quick = true,
                "--traces" => {
                    let folder = rest.next().ok_or("--traces needs a folder")?;
                    options.traces = Some(PathBuf::from(folder));
                }
                other => {
                    return Err(format!(
                        "`bench polling` knows no {other}; there are --quick and --traces DIR"
                    ));
                }
            }
        }
        Ok(options)
    }

    fn is_whole(&self) -> bool {
        !self.quick && self.traces.is_none()
    }
}

/// A simulation to run.
#[derive(Debug, Clone, PartialEq)]
struct Job {
    case: (u32, u32),
    policy: &'static str,
    hint: &'static str,
    /// The place in [`ABLATIONS`] of what is taken away.
    ablation: Option<usize>,
    trace: PathBuf,
}

/// What came of it, as far as the report needs it.
#[derive(Debug, Clone, PartialEq)]
struct Played {
    case: (u32, u32),
    policy: &'static str,
    hint: &'static str,
    ablation: Option<usize>,
    live_mean: f64,
    weighted_mean: f64,
    bound: Option<f64>,
    in_progress: f64,
    missed: u64,
    refused: u64,
    worst_over_median: f64,
    calls_per_document: f64,
    wall: f64,
}

/// Measures, prints, and after a whole run writes the report.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    let options = Options::read(arguments)?;
    let binary = build()?;
    let traces = match &options.traces {
        Some(folder) => given(folder)?,
        None => made_up(&binary, options.quick)?,
    };
    let jobs = jobs(&traces);
    if jobs.is_empty() {
        return Err("there is no trace of 10 or 100 practices".to_owned());
    }
    let played = play(&binary, &jobs)?;
    let report = heading(&options, &traces)?
        + &summary(&played)
        + &cases(&played)
        + &ablations(&played, ABLATIONS)
        + &decisions(&measured_decisions()?);
    println!("\n{report}");
    let file = if options.is_whole() {
        PathBuf::from(REPORT)
    } else {
        Path::new(FOLDER).join("report.md")
    };
    write(&root().join(&file), &report).map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
    println!("written to {}", file.display());
    Ok(())
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)
}

/// The release binary, wherever cargo puts it.
fn build() -> Result<PathBuf, String> {
    println!("==> the release build of skin-assist");
    let told = output(&mut cargo(
        "build --release --quiet --locked --package skin-assist --bin skin-assist --message-format json",
    ))?;
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    };
    told.lines()
        .find_map(executable)
        .ok_or_else(|| "cargo does not say where it put skin-assist".to_owned())
}

/// Traces by the number of their practices, in order.
type Traces = BTreeMap<u32, Vec<PathBuf>>;

fn made_up(binary: &Path, quick: bool) -> Result<Traces, String> {
    let folder = root().join(FOLDER);
    fs::create_dir_all(&folder).map_err(|error| format!("{FOLDER} cannot be written: {error}"))?;
    let mut traces = Traces::new();
    for firms in [10, 100] {
        for seed in 1..=seeds(firms, quick) {
            let trace = folder.join(format!("seed-{seed}-f{firms}.jsonl.gz"));
            // Made again each time: the generator may have changed, and it takes seconds.
            run_program(
                program(&binary.to_string_lossy())
                    .args(["simulate", "--generate", "--firms", &firms.to_string()])
                    .args(["--seed", &seed.to_string(), "--out"])
                    .arg(&trace),
            )?;
            traces.entry(firms).or_default().push(trace);
        }
    }
    Ok(traces)
}

fn given(folder: &Path) -> Result<Traces, String> {
    let unreadable = |error| format!("{} cannot be read: {error}", folder.display());
    let folder = fs::canonicalize(folder).map_err(unreadable)?;
    let mut traces = Traces::new();
    for entry in fs::read_dir(&folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match practices(&name) {
            Some(firms) if CASES.iter().any(|case| case.0 == firms) => traces.entry(firms).or_default().push(path),
            Some(firms) => println!("NOT RUN: {name} (no case is of {firms} practices)"),
            None => {}
        }
    }
    for traces in traces.values_mut() {
        traces.sort();
    }
    Ok(traces)
}

/// How many practices a trace is of, by its name.
fn practices(name: &str) -> Option<u32> {
    let name = name.strip_suffix(".jsonl.gz")?;
    name.rsplit_once("-f")?.1.parse().ok()
}

fn jobs(traces: &Traces) -> Vec<Job> {
    let mut jobs = Vec::new();
    for case in CASES {
        for trace in traces.get(&case.0).into_iter().flatten() {
            let mut job = |policy, hint, ablation| {
                jobs.push(Job {
                    case,
                    policy,
                    hint,
                    ablation,
                    trace: trace.clone(),
                });
            };
            for schedule in SCHEDULES {
                job(schedule, HINTS[0], None);
            }
            for hint in HINTS {
                job("adaptive", hint, None);
            }
            if case == CASES[0] {
                for ablation in 0..ABLATIONS.len() {
                    for hint in ABLATION_HINTS {
                        job("adaptive", hint, Some(ablation));
                    }
                }
            }
        }
    }
    jobs
}

/// Plays all of them, and gives the results in the order of the jobs.
fn play(binary: &Path, jobs: &[Job]) -> Result<Vec<Played>, String> {
    let waiting = Mutex::new(jobs.iter().enumerate());
    let done = Mutex::new(BTreeMap::new());
    let work = || -> Result<(), String> {
        loop {
            let next = waiting.lock().map_err(|_| "a simulation panicked")?.next();
            let Some((number, job)) = next else { return Ok(()) };
            let (firms, budget) = job.case;
            let played = Played::read(job, &output(&mut command(binary, job))?)?;
            println!(
                "{} of {}: {} practices on {budget} calls a minute, {}, hint {}: {} s",
                number + 1,
                jobs.len(),
                firms,
                job.policy,
                job.hint,
                rounded(played.weighted_mean)
            );
            done.lock().map_err(|_| "a simulation panicked")?.insert(number, played);
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(work)).collect();
        let joined = workers.into_iter().map(thread::ScopedJoinHandle::join);
        joined
            .map(|outcome| outcome.unwrap_or_else(|_| Err("a simulation panicked".to_owned())))
            .collect::<Result<Vec<()>, String>>()
    })?;
    let done = done.into_inner().map_err(|_| "a simulation panicked")?;
    Ok(done.into_values().collect())
}

fn command(binary: &Path, job: &Job) -> Command {
    let mut command = program(&binary.to_string_lossy());
    command
        .args(["simulate", "--json", "--policy", job.policy, "--hint", job.hint])
        .args(["--budget", &job.case.1.to_string(), "--trace"])
        .arg(&job.trace)
        .args(job.ablation.map_or(&[][..], |ablation| ABLATIONS[ablation].1));
    command
}

impl Played {
    fn read(job: &Job, printed: &str) -> Result<Self, String> {
        let outcome: Value =
            serde_json::from_str(printed).map_err(|error| format!("the simulation printed no JSON: {error}"))?;
        let number = |pointer: &str| {
            let number = outcome.pointer(pointer).and_then(Value::as_f64);
            number.ok_or_else(|| format!("the simulation did not say {pointer}"))
        };
        let firms = number("/firms")?;
        if firms.to_bits() != f64::from(job.case.0).to_bits() {
            return Err(format!("{} is of {firms} practices", job.trace.display()));
        }
        Ok(Self {
            case: job.case,
            policy: job.policy,
            hint: job.hint,
            ablation: job.ablation,
            live_mean: number("/live/mean_s")?,
            weighted_mean: number("/weighted_mean_s")?,
            bound: outcome["lower_bound_s"].as_f64(),
            in_progress: number("/detected_in_progress")?,
            missed: number("/missed")? as u64,
            refused: number("/over_quota")? as u64,
            worst_over_median: number("/worst_over_median_firm")?,
            calls_per_document: number("/calls_per_document")?,
            wall: number("/wall_s")?,
        })
    }
}

fn heading(options: &Options, traces: &Traces) -> Result<String, String> {
    let date = output(program("date").args(["-u", "+%Y-%m-%d"]))?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut command = "cargo xtask bench polling".to_owned();
    if options.quick {
        command.push_str(" --quick");
    }
    if options.traces.is_some() {
        command.push_str(" --traces DIR");
    }
    let counts: Vec<_> = traces
        .iter()
        .map(|(firms, traces)| match (traces.len(), &options.traces) {
            (1, None) => format!("1 seed of {firms} practices"),
            (seeds, None) => format!("{seeds} seeds of {firms} practices"),
            (1, Some(_)) => format!("1 given trace of {firms} practices"),
            (traces, Some(_)) => format!("{traces} given traces of {firms} practices"),
        })
        .collect();
    Ok(format!(
        "# Benchmark of polling\n\n\
         Written by `{command}` on {}; do not edit. Release build, on {cores} cores of {}.\n\
         Clinic days: {}. The delays come from simulated time and do not depend on the machine; how\n\
         long a simulation and a decision took does.\n\n\
         Delays in seconds, from filing a photo to the answer that shows it. The weighted mean counts photos filed after\n\
         the visit a quarter. Where there are several seeds, means are over them, the smallest and the largest stand in\n\
         brackets, and missed photos and refused calls are added up. *Hint* is the share of photos that bump their visit's\n\
         `lastUpdated`. The bound is for no hints. [docs/simulate.md](../simulate.md) says more.\n",
        date.trim(),
        processor(),
        counts.join(", ")
    ))
}

/// What was played of a case by a policy, whole.
fn of<'a>(played: &'a [Played], case: (u32, u32), policy: &str, hint: &str) -> Vec<&'a Played> {
    let whole = played.iter().filter(|played| played.ablation.is_none());
    whole
        .filter(|played| (played.case, played.policy, played.hint) == (case, policy, hint))
        .collect()
}

/// The mean of a figure, or a dash when nothing was played.
fn mean_of(played: &[&Played], figure: fn(&Played) -> f64) -> String {
    if played.is_empty() {
        return "-".to_owned();
    }
    rounded(mean(&played.iter().map(|played| figure(played)).collect::<Vec<_>>()))
}

/// The means of the bounds, and of the weighted means over them.
fn over_bound(played: &[&Played]) -> (String, String) {
    let bounded = |played: &&Played| Some((played.weighted_mean, played.bound?));
    let bounded: Vec<_> = played.iter().filter_map(bounded).collect();
    if bounded.is_empty() {
        return ("-".to_owned(), "-".to_owned());
    }
    let ratios: Vec<_> = bounded.iter().map(|(mean, bound)| mean / bound).collect();
    let bounds: Vec<_> = bounded.iter().map(|(_, bound)| *bound).collect();
    (rounded(mean(&bounds)), rounded(mean(&ratios)))
}

/// Everything in one table.
fn summary(played: &[Played]) -> String {
    let mut text = String::from(
        "\n## In short\n\n\
         | practices, calls a minute | hint | reference (live mean) | round robin (live mean) | adaptive (weighted mean) \
         | bound | adaptive over bound | worst/median practice | found in progress | missed | simulated in |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for case in CASES {
        for hint in HINTS {
            let adaptive = of(played, case, "adaptive", hint);
            if adaptive.is_empty() {
                continue;
            }
            let [reference, round_robin] =
                SCHEDULES.map(|policy| mean_of(&of(played, case, policy, hint), |played| played.live_mean));
            let (bound, ratio) = over_bound(&adaptive);
            let in_progress: Vec<_> = adaptive.iter().map(|played| played.in_progress).collect();
            _ = writeln!(
                text,
                "| {}, {} | {hint} | {reference} | {round_robin} | {} | {bound} | {ratio} | {} | {} | {} | {} s |",
                case.0,
                case.1,
                mean_of(&adaptive, |played| played.weighted_mean),
                mean_of(&adaptive, |played| played.worst_over_median),
                percent(mean(&in_progress)),
                adaptive.iter().map(|played| played.missed).sum::<u64>(),
                mean_of(&adaptive, |played| played.wall),
            );
        }
    }
    text
}

fn cases(played: &[Played]) -> String {
    let mut text = String::new();
    for case in CASES {
        let seeds = match of(played, case, "adaptive", HINTS[0]).len() {
            0 => continue,
            1 => "1 seed".to_owned(),
            seeds => format!("{seeds} seeds"),
        };
        _ = writeln!(
            text,
            "\n## {} practices, {} calls a minute\n\n{seeds}:\n\n\
             | policy | hint | weighted mean | live mean | found in progress | missed | refused | worst/median practice \
             | calls per document |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
            case.0, case.1
        );
        let schedules = SCHEDULES.map(|policy| (policy, HINTS[0]));
        for (policy, hint) in schedules.into_iter().chain(HINTS.map(|hint| ("adaptive", hint))) {
            let played = of(played, case, policy, hint);
            if !played.is_empty() {
                _ = writeln!(text, "| {policy} | {hint} | {} |", figures(&played));
            }
        }
    }
    text
}

/// The columns of a row, from the weighted mean on.
fn figures(played: &[&Played]) -> String {
    let figure = |figure: fn(&Played) -> f64| played.iter().map(|played| figure(played)).collect::<Vec<_>>();
    [
        with_range(&figure(|played| played.weighted_mean), rounded),
        with_range(&figure(|played| played.live_mean), rounded),
        with_range(&figure(|played| played.in_progress), percent),
        played.iter().map(|played| played.missed).sum::<u64>().to_string(),
        played.iter().map(|played| played.refused).sum::<u64>().to_string(),
        with_range(&figure(|played| played.worst_over_median), rounded),
        rounded(mean(&figure(|played| played.calls_per_document))),
    ]
    .join(" | ")
}

/// What each part of the adaptive policy is good for; nothing when nothing can be taken away.
fn ablations(played: &[Played], ablations: &[(&str, &[&str])]) -> String {
    let mut text = String::new();
    if ablations.is_empty() {
        return text;
    }
    let (firms, budget) = CASES[0];
    _ = writeln!(
        text,
        "\n## Without a part of the adaptive policy\n\n\
         {firms} practices, {budget} calls a minute; weighted means, and how much longer they are.\n\n\
         | without | hint | weighted mean | of the whole | longer |\n| --- | --- | ---: | ---: | ---: |"
    );
    for (number, (name, _)) in ablations.iter().enumerate() {
        for hint in ABLATION_HINTS {
            let weighted = |played: Vec<&Played>| {
                let means: Vec<f64> = played.iter().map(|played| played.weighted_mean).collect();
                (!means.is_empty()).then(|| mean(&means))
            };
            let without = played
                .iter()
                .filter(|played| (played.ablation, played.hint) == (Some(number), hint));
            let whole = of(played, CASES[0], "adaptive", hint);
            if let (Some(without), Some(whole)) = (weighted(without.collect()), weighted(whole)) {
                let longer = percent(without / whole - 1.0);
                _ = writeln!(
                    text,
                    "| {name} | {hint} | {} | {} | {longer} |",
                    rounded(without),
                    rounded(whole)
                );
            }
        }
    }
    text
}

/// How long decisions take, as a table.
fn measured_decisions() -> Result<String, String> {
    println!("==> how long a decision takes");
    let printed = output(&mut cargo(
        "run --release --quiet --locked --package skin-assist-simulator --example polling_bench",
    ))?;
    bench::table_of(&printed)
}

fn decisions(table: &str) -> String {
    format!(
        "\n## How long a decision takes\n\n\
         The adaptive policy with 1,000 practices on one quota of 10,000 calls a minute, with answers as they come on a clinic\n\
         day. Means of 200,000 decisions.\n\n{table}"
    )
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// The mean, and of several values the smallest and the largest.
fn with_range(values: &[f64], shown: fn(f64) -> String) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.as_slice() {
        [smallest, .., largest] => format!("{} ({}-{})", shown(mean(values)), shown(*smallest), shown(*largest)),
        _ => shown(mean(values)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traces() -> Traces {
        let files = |names: &[&str]| names.iter().map(PathBuf::from).collect();
        Traces::from([(10, files(&["a", "b"])), (100, files(&["c"]))])
    }

    fn played(job: &Job, weighted_mean: f64) -> Played {
        let printed = serde_json::json!({
            "firms": job.case.0, "live": { "mean_s": 20.0 }, "weighted_mean_s": weighted_mean,
            "lower_bound_s": (job.hint == "0").then_some(10.0), "detected_in_progress": 0.98, "missed": 1,
            "over_quota": 2, "worst_over_median_firm": 1.25, "calls_per_document": 150.0, "wall_s": 3.0,
        });
        Played::read(job, &printed.to_string()).unwrap()
    }

    #[test]
    fn schedules_are_played_without_hints_and_the_adaptive_policy_with_all() {
        let jobs = jobs(&traces());
        let whole = || jobs.iter().filter(|job| job.ablation.is_none());
        let of = |policy| whole().filter(|job| job.policy == policy).count();
        let plays = 3 * 2 + 1;
        assert_eq!((of("reference"), of("round-robin")), (plays, plays));
        assert_eq!(of("adaptive"), 3 * plays);
    }

    #[test]
    fn the_tables_have_means_and_ranges() {
        let jobs: Vec<_> = jobs(&traces())
            .into_iter()
            .filter(|job| job.case == (10, 250))
            .collect();
        let results: Vec<_> = jobs
            .iter()
            .map(|job| played(job, if job.trace == Path::new("a") { 15.0 } else { 17.0 }))
            .collect();
        let text = summary(&results) + &cases(&results);
        for line in [
            "| 10, 250 | 0 | 20.0 | 20.0 | 16.0 | 10.0 | 1.60 | 1.25 | 98.0 % | 2 | 3.00 s |",
            "| 10, 250 | 1 | - | - | 16.0 | - | - | 1.25 | 98.0 % | 2 | 3.00 s |",
            "## 10 practices, 250 calls a minute",
            "2 seeds:",
            "| adaptive | 0 | 16.0 (15.0-17.0) | 20.0 (20.0-20.0) | 98.0 % (98.0 %-98.0 %) | 2 | 4 | 1.25 (1.25-1.25) | 150 |",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("100 practices"));
    }

    #[test]
    fn what_is_taken_away_is_held_against_the_whole() {
        let mut job = jobs(&traces())
            .into_iter()
            .find(|job| job.policy == "adaptive")
            .unwrap();
        let whole = played(&job, 10.0);
        job.ablation = Some(0);
        let results = [whole, played(&job, 15.0)];
        let text = ablations(&results, &[("hints", &["--without", "hints"])]);
        assert_eq!(text.lines().last(), Some("| hints | 0 | 15.0 | 10.0 | 50.0 % |"));
        assert_eq!(summary(&results).matches("10, 250").count(), 1);
        assert_eq!(ablations(&results, &[]), "");
    }

    #[test]
    fn a_result_that_says_less_is_refused() {
        let job = &jobs(&traces())[0];
        assert!(Played::read(job, "{}").is_err());
        assert!(Played::read(job, "no JSON").is_err());
        assert!(Played::read(job, r#"{"firms": 7}"#).is_err_and(|error| error.contains("of 7 practices")));
    }

    #[test]
    fn practices_are_read_from_names() {
        assert_eq!(practices("clinic-days-f100.jsonl.gz"), Some(100));
        for other in ["clinic-days.jsonl.gz", "clinic-days-f10.jsonl", "README.md"] {
            assert_eq!(practices(other), None);
        }
    }

    #[test]
    fn options_are_read() {
        let read = Options::read(&["--traces", "days", "--quick"]).unwrap();
        assert!(read.quick && read.traces.is_some() && !read.is_whole());
        assert!(Options::read(&[]).unwrap().is_whole());
        assert!(Options::read(&["--traces"]).is_err() && Options::read(&["--slow"]).is_err());
    }
}
