//! `cargo xtask bench load`: many practices at once on the running program, in real time, and which goals that meets.
//!
//! The measuring is done by an example (`load_bench`), which starts the program as a process of its own. Here it is built and run,
//! once for each scenario; a table is printed, and everything written as JSON. The report in the documents is kept by hand, from runs of
//! a machine that does nothing else.

use std::{fmt::Write as _, fs};

use serde_json::{Value, json};

use crate::{
    bench::{processor, rounded},
    process::{self, cargo, output, program, root},
};

const FOLDER: &str = "target/bench/load";
const SCENARIOS: [&str; 2] = ["watch", "drafts"];

/// What the command line says.
#[derive(Debug, PartialEq)]
struct Options {
    scenarios: Vec<String>,
    /// A goal that is missed is an error.
    check: bool,
    /// Built for tests instead of for use.
    dev: bool,
    /// What goes to the example as it is.
    passed_on: Vec<String>,
}

impl Options {
    fn read(arguments: &[&str]) -> Result<Self, String> {
        let mut options = Self {
            scenarios: SCENARIOS.map(str::to_owned).to_vec(),
            check: false,
            dev: false,
            passed_on: Vec::new(),
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or(format!("{argument} needs a value"));
            match *argument {
                "--check" => options.check = true,
                "--dev" => options.dev = true,
                "--scenario" => {
                    let scenario = *value()?;
                    if !SCENARIOS.contains(&scenario) {
                        return Err(format!(
                            "there is no scenario {scenario}; there are {}",
                            SCENARIOS.join(", ")
                        ));
                    }
                    options.scenarios = vec![scenario.to_owned()];
                }
                "--seconds" | "--warm-up" | "--firms" | "--visits" | "--calls-per-minute" => {
                    let value = value()?;
                    value.parse::<u32>().map_err(|_| format!("{argument} is a number"))?;
                    options.passed_on.extend([(*argument).to_owned(), (*value).to_owned()]);
                }
                other => {
                    return Err(format!(
                        "`bench load` knows no {other}; `cargo xtask help` has what it knows"
                    ));
                }
            }
        }
        Ok(options)
    }
}

/// A number that was measured, and what it was to be.
#[derive(Debug, PartialEq)]
struct Measured {
    name: String,
    /// None where nothing was there to be measured.
    value: Option<f64>,
    unit: String,
    goal: Option<String>,
    is_met: Option<bool>,
}

impl Measured {
    /// From a line of the example; none of a line for people.
    fn read(line: &str) -> Option<Result<Self, String>> {
        let line = line.trim();
        line.starts_with('{').then(|| {
            let read = || {
                let said: Value = serde_json::from_str(line).ok()?;
                let value = said["value"].as_f64();
                let goal = said["goal"].as_str();
                let is_met = match goal {
                    Some(goal) => Some(is_met(value, goal)?),
                    None => None,
                };
                Some(Self {
                    name: said["name"].as_str()?.to_owned(),
                    value,
                    unit: said["unit"].as_str()?.to_owned(),
                    goal: goal.map(str::to_owned),
                    is_met,
                })
            };
            read().ok_or_else(|| format!("not a measurement: {line}"))
        })
    }

    fn json(&self) -> Value {
        json!({ "name": self.name, "value": self.value, "unit": self.unit, "goal": self.goal, "met": self.is_met })
    }
}

/// Whether a value is as `at most N` or `at least N` says. What could not be measured is not.
fn is_met(value: Option<f64>, goal: &str) -> Option<bool> {
    let (bound, number) = goal.rsplit_once(' ')?;
    let number: f64 = number.parse().ok()?;
    let meets = |is_as: fn(&f64, &f64) -> bool| value.is_some_and(|value| is_as(&value, &number));
    match bound {
        "at most" => Some(meets(f64::le)),
        "at least" => Some(meets(f64::ge)),
        _ => None,
    }
}

fn table(measured: &[Measured]) -> String {
    let mut table = String::from("| measured | value | unit | goal | met |\n| --- | ---: | --- | --- | --- |\n");
    for one in measured {
        let met = match one.is_met {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        _ = writeln!(
            table,
            "| {} | {} | {} | {} | {met} |",
            one.name,
            one.value.map_or_else(|| "-".to_owned(), rounded),
            one.unit,
            one.goal.as_deref().unwrap_or_default()
        );
    }
    table
}

/// Builds, measures, prints, and writes what was measured.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    let options = Options::read(arguments)?;
    // The features are those that tests are built with, so that nothing is built twice; none of them is used here.
    let (build, folder) = if options.dev {
        (
            "build --workspace --locked --features skin-assist-aws/servers,skin-assist/servers --bin skin-assist \
             --example load_bench",
            "target/debug",
        )
    } else {
        (
            "build --release --locked --package skin-assist --bin skin-assist --example load_bench",
            "target/release",
        )
    };
    process::run(&mut cargo(build))?;
    let built = root().join(folder);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let machine = format!("{cores} cores of {}", processor());
    let profile = if options.dev { "dev" } else { "release" };
    let mut report = format!("Build for {profile}, on {machine}.\n");
    let (mut scenarios, mut missed) = (serde_json::Map::new(), Vec::new());
    for scenario in &options.scenarios {
        println!("==> {scenario}");
        let mut bench = program(&built.join("examples/load_bench").display().to_string());
        bench
            .args(["--scenario", scenario, "--program"])
            .arg(built.join("skin-assist"));
        let printed = output(bench.args(&options.passed_on))?;
        let measured = printed
            .lines()
            .filter_map(Measured::read)
            .collect::<Result<Vec<_>, _>>()?;
        if measured.is_empty() {
            return Err(format!("{scenario}: nothing was measured"));
        }
        let table = table(&measured);
        println!("\n{table}");
        _ = write!(report, "\n## {scenario}\n\n{table}");
        missed.extend(
            measured
                .iter()
                .filter(|one| one.is_met == Some(false))
                .map(|one| format!("{scenario}: {}", one.name)),
        );
        scenarios.insert(scenario.clone(), measured.iter().map(Measured::json).collect());
    }
    let said = json!({ "machine": machine, "profile": profile, "scenarios": scenarios, "goals_missed": missed });
    let folder = root().join(FOLDER);
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join("load.json"), said.to_string()))
        .and_then(|()| fs::write(folder.join("report.md"), report))
        .map_err(|error| format!("{FOLDER} cannot be written: {error}"))?;
    println!("written to {FOLDER}/load.json and report.md");
    if missed.is_empty() {
        println!("All goals are met.");
        return Ok(());
    }
    println!("Goals that are missed:\n  {}", missed.join("\n  "));
    if options.check {
        return Err("goals are missed".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_bound_from_above_or_below() {
        assert_eq!(is_met(Some(1.0), "at most 1"), Some(true));
        assert_eq!(is_met(Some(1.01), "at most 1"), Some(false));
        assert_eq!(is_met(Some(9_999.0), "at least 10000"), Some(false));
        assert_eq!(
            is_met(None, "at most 1"),
            Some(false),
            "what was not measured meets nothing"
        );
        assert_eq!(is_met(Some(1.0), "about 1"), None);
    }

    #[test]
    fn lines_are_read_and_shown() {
        let line = r#"{"name": "processor", "value": 1.5, "unit": "cores", "goal": "at most 1"}"#;
        let one = Measured::read(line).unwrap().unwrap();
        assert_eq!(
            table(&[one]).lines().last(),
            Some("| processor | 1.50 | cores | at most 1 | **no** |")
        );
        assert!(Measured::read("warming up").is_none());
        assert!(
            Measured::read(r#"{"name": "processor", "unit": "cores", "goal": "good"}"#)
                .unwrap()
                .is_err()
        );
        let not_a_number = Measured::read(r#"{"name": "delay", "value": null, "unit": "s", "goal": null}"#);
        assert!(table(&[not_a_number.unwrap().unwrap()]).contains("| delay | - | s |"));
    }

    #[test]
    fn options_are_those_that_there_are() {
        let options = Options::read(&["--scenario", "watch", "--seconds", "30", "--check"]).unwrap();
        assert_eq!(options.scenarios, ["watch"]);
        assert_eq!(options.passed_on, ["--seconds", "30"]);
        assert!(options.check && !options.dev);
        for wrong in [
            &["--scenario", "other"][..],
            &["--seconds"],
            &["--seconds", "long"],
            &["--quick"],
        ] {
            Options::read(wrong).unwrap_err();
        }
    }
}
