//! `cargo xtask bench`: builds the benchmarks in release, runs them, prints a table, writes the report.
//!
//! A benchmark is an example that prints lines of JSON, `{"name": …, "value": …, "unit": …}`; what else it prints is for
//! people and passed over.

use std::{fmt::Write as _, fs, path::PathBuf, process::Command};

use serde_json::Value;

use crate::{
    onnx_runtime,
    process::{self, cargo, output, root},
};

const REPORT: &str = "docs/benchmarks/foundation.md";
const PHOTOS: &str = "target/bench/photos";

/// A benchmark: an example of a package.
struct Benchmark {
    example: &'static str,
    package: &'static str,
    measures: &'static str,
}

const BENCHMARKS: &[Benchmark] = &[
    Benchmark {
        example: "store_bench",
        package: "skin-assist-store",
        measures: "the encrypted state file: leases, rows observed, a day's queue",
    },
    Benchmark {
        example: "vision_bench",
        package: "skin-assist-models",
        measures: "12-megapixel JPEG photos through decode, preprocessing and the reference packs",
    },
    Benchmark {
        example: "pipeline_bench",
        package: "skin-assist",
        measures: "from detected to delivered against the practice EHR, the models left out",
    },
];

/// One number.
#[derive(Debug, PartialEq)]
struct Measurement {
    name: String,
    /// A number as it is shown, or a text, such as which runtime ran.
    value: String,
    unit: String,
}

/// Runs one benchmark, or all of them and writes the report.
pub(crate) fn run(name: Option<&str>) -> Result<(), String> {
    let chosen: Vec<&Benchmark> = BENCHMARKS
        .iter()
        .filter(|benchmark| name.is_none_or(|name| name == benchmark.example))
        .collect();
    if chosen.is_empty() {
        let names: Vec<_> = BENCHMARKS.iter().map(|benchmark| benchmark.example).collect();
        return Err(format!(
            "there is no such benchmark; there are polling, vision, load, {}",
            names.join(", ")
        ));
    }
    let mut report = heading();
    for benchmark in chosen {
        for (title, mut command) in runs(benchmark)? {
            println!("==> {title}");
            let measurements = read(&output(&mut command)?)?;
            if measurements.is_empty() {
                return Err(format!("{title} printed no measurement"));
            }
            let table = table(&measurements);
            println!("{title}: {}\n\n{table}", benchmark.measures);
            _ = write!(report, "\n## {title}\n\nMeasures {}.\n\n{table}", benchmark.measures);
        }
    }
    if name.is_none() {
        let path = root().join(REPORT);
        let folder = path.parent().map_or_else(root, PathBuf::from);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, report))
            .map_err(|error| format!("{REPORT} cannot be written: {error}"))?;
        println!("written to {REPORT}");
    }
    Ok(())
}

/// What is run for a benchmark, with a title: the models once for each inference runtime that is there.
fn runs(benchmark: &Benchmark) -> Result<Vec<(String, Command)>, String> {
    let (package, example) = (benchmark.package, benchmark.example);
    let command = || {
        cargo(&format!(
            "run --release --quiet --locked --package {package} --example {example} --"
        ))
    };
    if example != "vision_bench" {
        return Ok(vec![(example.to_owned(), command())]);
    }
    let photos = photos()?;
    let mut rten = command();
    rten.args(["--runtime", "rten"]).args(&photos);
    let mut runs = vec![(format!("{example}, rten"), rten)];
    match onnx_runtime::find_or_fetch() {
        Ok(library) => {
            let mut onnx_runtime = command();
            onnx_runtime.arg("--runtime").arg(library).args(&photos);
            runs.push((format!("{example}, ONNX Runtime"), onnx_runtime));
        }
        Err(why) => println!("NOT RUN: {example} with ONNX Runtime ({why})"),
    }
    Ok(runs)
}

/// Photos as phones take them, of both routes, rendered once.
pub(crate) fn photos() -> Result<Vec<PathBuf>, String> {
    let mut photos = Vec::new();
    for route in ["solitary", "widespread"] {
        let folder = root().join(PHOTOS).join(route);
        // The mark is made last: an interrupted run begins again.
        if !folder.join("done").is_file() {
            println!("==> photos for the benchmark ({route})");
            let mut render = cargo(&format!(
                "run --release --quiet --locked --package skin-assist-simulator --example pictures -- \
                 --jpeg --route {route} --count 6 --first-seed 5000000 --width 4032 --height 3024 --out"
            ));
            process::run(render.arg(&folder))?;
            fs::write(folder.join("done"), "").map_err(|error| format!("{PHOTOS} cannot be written: {error}"))?;
        }
        let entries = fs::read_dir(&folder).map_err(|error| format!("{PHOTOS} cannot be read: {error}"))?;
        let files = entries.flatten().map(|entry| entry.path());
        photos.extend(files.filter(|file| file.extension().is_some_and(|extension| extension == "jpg")));
    }
    photos.sort();
    Ok(photos)
}

fn read(printed: &str) -> Result<Vec<Measurement>, String> {
    let lines = printed.lines().map(str::trim).filter(|line| line.starts_with('{'));
    let read = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        let (name, unit) = (line["name"].as_str()?.to_owned(), line["unit"].as_str()?.to_owned());
        let value = match &line["value"] {
            Value::String(text) => without_path(text).to_owned(),
            number => rounded(number.as_f64()?),
        };
        Some(Measurement { name, value, unit })
    };
    lines
        .map(|line| read(line).ok_or_else(|| format!("not a measurement: {line}")))
        .collect()
}

fn table(measurements: &[Measurement]) -> String {
    let mut table = String::from("| measured | value | unit |\n| --- | ---: | --- |\n");
    for Measurement { name, value, unit } in measurements {
        _ = writeln!(table, "| {name} | {value} | {unit} |");
    }
    table
}

/// A text without the path that it ends with in brackets: the report is about numbers, not about somebody's folders.
fn without_path(text: &str) -> &str {
    text.split_once(" (/").map_or(text, |(before, _)| before)
}

/// What a benchmark printed, as a table.
pub(crate) fn table_of(printed: &str) -> Result<String, String> {
    let measurements = read(printed)?;
    if measurements.is_empty() {
        return Err("the benchmark printed no measurement".to_owned());
    }
    Ok(table(&measurements))
}

/// Three digits that mean something.
pub(crate) fn rounded(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 100.0 {
        format!("{value:.0}")
    } else if magnitude >= 10.0 {
        format!("{value:.1}")
    } else if magnitude >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

fn heading() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "# Benchmarks of the foundation\n\n\
         Written by `cargo xtask bench`; do not edit. Release build, on {cores} cores of {}. Numbers of another machine, or\n\
         of a busy one, differ; compare runs on the same one.\n",
        processor()
    )
}

/// The processor's name.
pub(crate) fn processor() -> String {
    let named = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let linux = fs::read_to_string("/proc/cpuinfo").ok().as_deref().and_then(named);
    linux.unwrap_or_else(|| format!("an {} processor", std::env::consts::ARCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_are_read_and_everything_else_passed_over() {
        let printed = "warming up\n{\"name\": \"leases\", \"value\": 1234.5, \"unit\": \"1/s\"}\n";
        let measurements = read(printed).unwrap();
        assert_eq!(table(&measurements).lines().last(), Some("| leases | 1234 | 1/s |"));
        assert!(
            read("{\"name\": \"leases\"}").is_err(),
            "a broken line must not be passed over"
        );
    }

    #[test]
    fn the_report_names_no_folder() {
        let printed = r#"{"name": "runtime", "value": "onnxruntime 1.32.0 (/opt/libonnxruntime.so)", "unit": ""}"#;
        assert_eq!(read(printed).unwrap()[0].value, "onnxruntime 1.32.0");
    }

    #[test]
    fn three_digits() {
        let rounded = [0.1234, 1.234, 12.34, 123.4].map(rounded);
        assert_eq!(rounded, ["0.123", "1.23", "12.3", "123"]);
    }
}
