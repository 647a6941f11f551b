//! `cargo xtask bench vision`: photo to findings, against Python, on the same photos, networks and runtime.
//!
//! The contestants take turns, a few seconds each, so that a machine that is busy at times is busy for all of them; the
//! medians over the rounds are compared. Peak memory is the sum of the proportional set sizes of all processes of a
//! contestant, sampled while it works. Python's packages are pinned in `models/bench` and live in `target/tools/vision`.
//! For a machine without cargo and network there is `--prepared DIR`: a folder with `vision_bench`, `libonnxruntime.so`,
//! `pipelines.py`, `packs` and `photos`, for the agreement `models` and `agreement` with a folder of photos for each route, for
//! bad input `bad_photos`; Python is the `python3` of the machine.

mod agreement;
mod bad_input;

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    bench::{photos, processor, rounded},
    onnx_runtime, pinned,
    process::{cargo, output, program, root, run as run_command},
};

const REPORT: &str = "docs/benchmarks/vision.md";
const HOME: &str = "models/bench";
const TOOLS: &str = "target/tools/vision";
const PACKS: &str = "target/bench/packs";
const SAMPLE_EVERY: Duration = Duration::from_millis(40);

/// Multiplications and additions of the benchmark's networks, in units of 10⁹, as `networks.py` prints them.
const GIGAFLOPS: [(&str, f64); 2] = [("widespread", 0.43), ("solitary", 8.08 + 0.77)];

/// Who takes part, by the name in the report.
const CONTESTANTS: &[(&str, Kind)] = &[
    ("Skin Assist", Kind::Ours),
    ("best Python, Pillow", Kind::Python("pillow")),
    ("best Python, OpenCV", Kind::Python("opencv")),
    ("customary Python", Kind::Python("customary")),
];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Ours,
    Python(&'static str),
}

/// What stays the same for all runs.
struct Setting {
    python: PathBuf,
    pipelines: PathBuf,
    packs: PathBuf,
    example: PathBuf,
    library: PathBuf,
    photos: Vec<PathBuf>,
    seconds: f64,
    can_pin: bool,
}

/// What one run gave.
struct Outcome {
    photos_per_second: f64,
    latencies_ms: Vec<f64>,
    peak_megabytes: f64,
}

/// All runs of a contestant on a route and a number of cores.
#[derive(Default)]
struct Standing {
    rates: Vec<f64>,
    latencies_ms: Vec<f64>,
    peaks: Vec<f64>,
}

/// Runs the benchmark and writes the report; with `--quick` and `--prepared` only prints. Two parts have commands of their
/// own, since they take their time.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    let (quick, prepared) = match arguments {
        [] => (false, None),
        ["--quick"] => (true, None),
        ["--prepared", folder] => (false, Some(Path::new(folder))),
        ["--quick", "--prepared", folder] => (true, Some(Path::new(folder))),
        ["agreement"] => return agreement::run(None),
        ["agreement", "--prepared", folder] => return agreement::run(Some(Path::new(folder))),
        ["bad-input"] => return bad_input::run(None),
        ["bad-input", "--prepared", folder] => return bad_input::run(Some(Path::new(folder))),
        _ => return Err("`bench vision` takes agreement or bad-input, and --quick or --prepared DIR".to_owned()),
    };
    let (rounds, seconds) = if quick { (1, 2.0) } else { (3, 4.0) };
    let setting = prepared.map_or_else(|| setting(seconds), |folder| prepared_setting(folder, seconds))?;
    let mut report = heading(&setting)?;
    let peak = number(&python(&setting, &["--peak"])?, "flops")?;
    for route in ["widespread", "solitary"] {
        for cores in [1, 2] {
            let standings = compete(&setting, route, cores, rounds)?;
            _ = write!(
                report,
                "\n## {route}, {cores} core{}\n\n{}",
                if cores == 1 { "" } else { "s" },
                table(&standings)
            );
        }
        report += &parts(&setting, route, peak)?;
        report += &floors(&setting, route)?;
    }
    println!("{report}");
    if !quick && prepared.is_none() {
        fs::write(root().join(REPORT), with_notes(&report))
            .map_err(|error| format!("{REPORT} cannot be written: {error}"))?;
        println!("written to {REPORT}");
    }
    Ok(())
}

/// What somebody has put into a folder.
fn prepared_setting(folder: &Path, seconds: f64) -> Result<Setting, String> {
    let folder = folder
        .canonicalize()
        .map_err(|error| format!("{} cannot be found: {error}", folder.display()))?;
    let entries = fs::read_dir(folder.join("photos")).map_err(|error| format!("no photos: {error}"))?;
    let mut photos: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    photos.sort();
    Ok(Setting {
        python: "python3".into(),
        pipelines: folder.join("pipelines.py"),
        packs: folder.join("packs"),
        example: folder.join("vision_bench"),
        library: folder.join("libonnxruntime.so"),
        photos,
        seconds,
        can_pin: can_pin(),
    })
}

fn can_pin() -> bool {
    program("taskset")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Installs, builds and generates what is needed.
fn setting(seconds: f64) -> Result<Setting, String> {
    let (home, tools) = (root().join(HOME), root().join(TOOLS));
    pinned::installed(&home, &tools, &["requirements.txt"], |folder| {
        run_command(program("python3").args(["-m", "venv"]).arg(folder.join("venv")))?;
        let python = folder.join("venv/bin/python");
        let install = ["-m", "pip", "install", "--quiet", "--only-binary=:all:", "-r"];
        run_command(
            program(&python.to_string_lossy())
                .args(install)
                .arg(home.join("requirements.txt")),
        )
    })?;
    let python = tools.join("venv/bin/python");
    let packs = root().join(PACKS);
    pinned::installed(&home, &packs, &["networks.py"], |folder| {
        run_command(
            program(&python.to_string_lossy())
                .arg(home.join("networks.py"))
                .arg(folder),
        )
    })?;
    let mut build = cargo("build --release --quiet --locked --package skin-assist-models --example vision_bench");
    run_command(&mut build)?;
    Ok(Setting {
        python,
        pipelines: home.join("pipelines.py"),
        packs,
        example: root().join("target/release/examples/vision_bench"),
        library: onnx_runtime::find_or_fetch()?,
        photos: photos()?,
        seconds,
        can_pin: can_pin(),
    })
}

/// Python's answer to something that is no contest.
fn python(setting: &Setting, arguments: &[&str]) -> Result<Value, String> {
    let mut command = program(&setting.python.to_string_lossy());
    json(&output(command.arg(&setting.pipelines).args(arguments))?)
}

/// The first JSON object of an output.
fn json(printed: &str) -> Result<Value, String> {
    let line = printed
        .lines()
        .find(|line| line.starts_with('{'))
        .ok_or("nothing was measured")?;
    serde_json::from_str(line).map_err(|error| format!("not a measurement: {error}"))
}

fn number(value: &Value, name: &str) -> Result<f64, String> {
    value[name].as_f64().ok_or_else(|| format!("{name} was not measured"))
}

fn numbers(value: &Value, name: &str) -> Result<Vec<f64>, String> {
    let values = value[name]
        .as_array()
        .map(|values| values.iter().filter_map(Value::as_f64).collect::<Vec<_>>());
    values
        .filter(|values| !values.is_empty())
        .ok_or_else(|| format!("{name} were not measured"))
}

/// Lets the contestants take turns.
fn compete(setting: &Setting, route: &str, cores: usize, rounds: u32) -> Result<Vec<(&'static str, Standing)>, String> {
    let mut standings: Vec<_> = CONTESTANTS
        .iter()
        .map(|(name, _)| (*name, Standing::default()))
        .collect();
    for round in 1..=rounds {
        for ((name, kind), (_, standing)) in CONTESTANTS.iter().zip(&mut standings) {
            println!("==> {route}, {cores} cores, round {round} of {rounds}: {name}");
            let outcome = one(&mut command(setting, *kind, route, cores))?;
            standing.rates.push(outcome.photos_per_second);
            standing.latencies_ms.extend(outcome.latencies_ms);
            standing.peaks.push(outcome.peak_megabytes);
        }
    }
    Ok(standings)
}

fn command(setting: &Setting, kind: Kind, route: &str, cores: usize) -> Command {
    let program_of_kind = match kind {
        Kind::Ours => &setting.example,
        Kind::Python(_) => &setting.python,
    };
    let mut command = if setting.can_pin {
        let mut command = program("taskset");
        command
            .args(["-c", if cores == 1 { "0" } else { "0,1" }])
            .arg(program_of_kind);
        command
    } else {
        program(&program_of_kind.to_string_lossy())
    };
    let seconds = setting.seconds.to_string();
    match kind {
        Kind::Ours => command
            .args(["--compared", route, "--workers", &cores.to_string(), "--runtime"])
            .arg(&setting.library),
        Kind::Python(pipeline) => {
            // One session on all cores is what is customary; the best one has a process for each core.
            let processes = if pipeline == "customary" { 1 } else { cores };
            command.arg(&setting.pipelines).args([
                "--route",
                route,
                "--pipeline",
                pipeline,
                "--processes",
                &processes.to_string(),
                "--cores",
                &cores.to_string(),
            ])
        }
    };
    command
        .args(["--seconds", &seconds, "--packs"])
        .arg(&setting.packs)
        .args(&setting.photos);
    command
}

/// Runs a contestant to its end and watches its memory.
fn one(command: &mut Command) -> Result<Outcome, String> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot be started: {error}"))?;
    let printed = child.stdout.take().ok_or("no output")?;
    let done = AtomicBool::new(false);
    let process = child.id();
    let (lines, peak) = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak = 0;
            while !done.load(Ordering::Relaxed) {
                peak = peak.max(kilobytes(process));
                thread::sleep(SAMPLE_EVERY);
            }
            peak
        });
        let lines: Vec<String> = BufReader::new(printed).lines().map_while(Result::ok).collect();
        done.store(true, Ordering::Relaxed);
        (lines, watch.join().unwrap_or(0))
    });
    ended(&mut child)?;
    let measured = json(&lines.join("\n"))?;
    Ok(Outcome {
        photos_per_second: number(&measured, "photos")? / number(&measured, "seconds")?,
        latencies_ms: numbers(&measured, "latencies_ms")?,
        peak_megabytes: peak as f64 / 1000.0,
    })
}

fn ended(child: &mut Child) -> Result<(), String> {
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("a contestant failed ({status})")),
        Err(error) => Err(format!("a contestant was lost: {error}")),
    }
}

/// The proportional set size of a process and its descendants; 0 where the system does not tell.
fn kilobytes(process: u32) -> u64 {
    let folder = Path::new("/proc").join(process.to_string());
    let own = fs::read_to_string(folder.join("smaps_rollup")).unwrap_or_default();
    let own = own.lines().find_map(|line| {
        line.strip_prefix("Pss:")?
            .split_whitespace()
            .next()?
            .parse::<u64>()
            .ok()
    });
    let children = fs::read_to_string(folder.join(format!("task/{process}/children"))).unwrap_or_default();
    let children = children
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .map(kilobytes);
    own.unwrap_or(0) + children.sum::<u64>()
}

/// The peak memory of the runtime with the route's sessions and no photo, ours and Python's.
fn floors(setting: &Setting, route: &str) -> Result<String, String> {
    let (packs, library) = (setting.packs.join(route), &setting.library);
    let mut ours = program(&setting.example.to_string_lossy());
    ours.args(["--floor", route, "--seconds", "1", "--runtime"])
        .arg(library)
        .arg("--packs")
        .arg(packs);
    let mut theirs = program(&setting.python.to_string_lossy());
    theirs
        .arg(&setting.pipelines)
        .args([
            "--floor",
            "--route",
            route,
            "--pipeline",
            "pillow",
            "--seconds",
            "1",
            "--packs",
        ])
        .arg(&setting.packs);
    let (ours, theirs) = (one(&mut ours)?, one(&mut theirs)?);
    Ok(format!(
        "\n## {route}, the runtime and the networks' sessions alone, without photos, 1 core\n\n\
         | | peak memory, MB |\n| --- | ---: |\n| Skin Assist | {:.0} |\n| Python | {:.0} |\n",
        ours.peak_megabytes, theirs.peak_megabytes,
    ))
}

/// Our own time against its parts, and against the floor.
fn parts(setting: &Setting, route: &str, peak: f64) -> Result<String, String> {
    let mut command = if setting.can_pin {
        program("taskset")
    } else {
        program(&setting.example.to_string_lossy())
    };
    if setting.can_pin {
        command.args(["-c", "0"]).arg(&setting.example);
    }
    command
        .args(["--parts", route, "--runtime"])
        .arg(&setting.library)
        .arg("--packs")
        .arg(setting.packs.join(route));
    let measured = json(&output(command.args(["--seconds", "10"]).args(&setting.photos))?)?;
    let median = |name: &str| numbers(&measured, name).map(|mut values| quantile(&mut values, 0.5));
    let (decode, model, whole) = (median("decode_ms")?, median("model_ms")?, median("whole_ms")?);
    let operations = GIGAFLOPS
        .iter()
        .find(|(of, _)| *of == route)
        .map_or(0.0, |(_, operations)| *operations);
    let arithmetic = operations * 1e9 / peak * 1000.0;
    Ok(format!(
        "\n## {route}, its parts, 1 core\n\n\
         | part | ms |\n| --- | ---: |\n\
         | from JPEG to small images, alone | {} |\n\
         | the networks, alone | {} |\n\
         | from JPEG to findings | {} |\n\
         | the same as a multiple of both parts | {:.2} |\n\
         | floor: the first part, and the networks' arithmetic at the core's peak ({:.0} GFLOP/s) | {} |\n",
        rounded(decode),
        rounded(model),
        rounded(whole),
        whole / (decode + model),
        peak / 1e9,
        rounded(decode + arithmetic),
    ))
}

fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (values.len().saturating_sub(1)) as f64 * part;
    values.get(place.round() as usize).copied().unwrap_or(f64::NAN)
}

fn table(standings: &[(&str, Standing)]) -> String {
    let mut table = String::from(
        "| | photos/s | ours is so many times | p50, ms | p99, ms | peak memory, MB | ours is so many times |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    let mut ours = None;
    for (name, standing) in standings {
        let rate = quantile(&mut standing.rates.clone(), 0.5);
        let peak = standing.peaks.iter().copied().fold(0.0, f64::max);
        let (our_rate, our_peak) = *ours.get_or_insert((rate, peak));
        let mut latencies = standing.latencies_ms.clone();
        _ = writeln!(
            table,
            "| {name} | {} | {:.2} | {} | {} | {peak:.0} | {:.2} |",
            rounded(rate),
            our_rate / rate,
            rounded(quantile(&mut latencies, 0.5)),
            rounded(quantile(&mut latencies, 0.99)),
            our_peak / peak,
        );
    }
    table
}

fn heading(setting: &Setting) -> Result<String, String> {
    let versions = python(setting, &["--versions"])?;
    let versions = versions.as_object().into_iter().flatten();
    let versions: Vec<_> = versions
        .map(|(package, version)| format!("{package} {}", version.as_str().unwrap_or("?")))
        .collect();
    let bytes: u64 = setting
        .photos
        .iter()
        .filter_map(|photo| fs::metadata(photo).ok())
        .map(|file| file.len())
        .sum();
    Ok(format!(
        "# From photo to findings, against Python\n\n\
         Written by `cargo xtask bench vision`; do not edit between the marks. {} JPEG photos of 12 megapixels, {:.1} MB each on\n\
         average, on {}. Python has {}; both use ONNX Runtime of the same version on the same ONNX files, with random weights:\n\
         widespread is MobileNetV3-Large at 224 × 224, solitary is a network like YOLOv8n at 640 × 640 and\n\
         EfficientNet-B0 at 224 × 224 on a crop. Contestants take turns; rates are medians over the rounds.{}\n",
        setting.photos.len(),
        bytes as f64 / 1e6 / setting.photos.len().max(1) as f64,
        processor(),
        versions.join(", "),
        if setting.can_pin {
            ""
        } else {
            " The processes were not tied to cores: `taskset` is not there."
        },
    ))
}

/// Puts a part with a command of its own into the report: between its marks, which are there.
fn put_part(name: &str, text: &str) -> Result<(), String> {
    let path = root().join(REPORT);
    let (begin, end) = (format!("<!-- {name} -->"), format!("<!-- end of {name} -->"));
    let report = fs::read_to_string(&path).map_err(|error| format!("{REPORT} cannot be read: {error}"))?;
    let missing = || format!("{REPORT} has no marks of {name}");
    let (before, rest) = report.split_once(&begin).ok_or_else(missing)?;
    let (_, after) = rest.split_once(&end).ok_or_else(missing)?;
    fs::write(&path, format!("{before}{begin}\n\n{text}\n{end}{after}"))
        .map_err(|error| format!("{REPORT} cannot be written: {error}"))?;
    println!("written to {REPORT}");
    Ok(())
}

/// Where the written part ends; what people write below it stays.
const MARK: &str = "<!-- end of what is measured -->";

fn with_notes(report: &str) -> String {
    let before = fs::read_to_string(root().join(REPORT)).unwrap_or_default();
    let notes = before.split_once(MARK).map_or("\n", |(_, notes)| notes);
    format!("{report}\n{MARK}{notes}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values() {
        let mut values = [5.0, 1.0, 3.0];
        assert_eq!(
            [0.0, 0.5, 0.99].map(|part| quantile(&mut values, part).to_bits()),
            [1.0, 3.0, 5.0].map(f64::to_bits)
        );
    }

    #[test]
    fn the_table_compares_with_the_first() {
        let standing = |rate, peak| Standing {
            rates: vec![rate],
            latencies_ms: vec![10.0],
            peaks: vec![peak],
        };
        let table = table(&[("ours", standing(20.0, 100.0)), ("theirs", standing(10.0, 250.0))]);
        assert_eq!(
            table.lines().last(),
            Some("| theirs | 10.0 | 2.00 | 10.0 | 10.0 | 250 | 0.40 |")
        );
    }

    #[test]
    fn a_process_has_memory() {
        // Where the system tells at all.
        if Path::new("/proc/self/smaps_rollup").is_file() {
            assert!(kilobytes(std::process::id()) > 0);
        }
    }
}
