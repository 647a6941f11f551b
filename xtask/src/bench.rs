//! `cargo xtask bench`: builds the benchmarks in release, runs them, prints a table, writes the report.
//!
//! A benchmark is an example that prints lines of JSON, `{"name": …, "value": …, "unit": …}`; what else it prints is for
//! people and passed over.

use std::{fmt::Write as _, fs, path::PathBuf};

use serde_json::Value;

use crate::process::{self, cargo, output, root};

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
    value: f64,
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
        return Err(format!("there is no such benchmark; there are {}", names.join(", ")));
    }
    let mut report = heading();
    for benchmark in chosen {
        let measurements = measure(benchmark)?;
        let table = table(&measurements);
        println!("{}: {}\n\n{table}", benchmark.example, benchmark.measures);
        _ = write!(
            report,
            "\n## {}\n\nMeasures {}.\n\n{table}",
            benchmark.example, benchmark.measures
        );
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

fn measure(benchmark: &Benchmark) -> Result<Vec<Measurement>, String> {
    let (package, example) = (benchmark.package, benchmark.example);
    let mut command = cargo(&format!(
        "run --release --quiet --locked --package {package} --example {example}"
    ));
    if benchmark.example == "vision_bench" {
        command.arg("--").args(photos()?);
    }
    println!("==> {}", benchmark.example);
    let printed = output(&mut command)?;
    let measurements = read(&printed)?;
    if measurements.is_empty() {
        return Err(format!("{} printed no measurement", benchmark.example));
    }
    Ok(measurements)
}

/// Photos as phones take them, of both routes, rendered once.
fn photos() -> Result<Vec<PathBuf>, String> {
    let mut photos = Vec::new();
    for route in ["solitary", "widespread"] {
        let folder = root().join(PHOTOS).join(route);
        // The list of pictures is finished last.
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
        Some(Measurement {
            name,
            value: line["value"].as_f64()?,
            unit,
        })
    };
    lines
        .map(|line| read(line).ok_or_else(|| format!("not a measurement: {line}")))
        .collect()
}

fn table(measurements: &[Measurement]) -> String {
    let mut table = String::from("| measured | value | unit |\n| --- | ---: | --- |\n");
    for Measurement { name, value, unit } in measurements {
        _ = writeln!(table, "| {name} | {} | {unit} |", rounded(*value));
    }
    table
}

/// Three digits that mean something.
fn rounded(value: f64) -> String {
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

fn processor() -> String {
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
    fn three_digits() {
        let rounded = [0.1234, 1.234, 12.34, 123.4].map(rounded);
        assert_eq!(rounded, ["0.123", "1.23", "12.3", "123"]);
    }
}
