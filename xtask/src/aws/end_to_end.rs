//! `cargo xtask aws-test`: the shipped template and state machine with the real binary, on an emulator, with the practice EHR; and
//! again with crashes, with records that come twice, with the roles' policies enforced, and with models behind endpoints. docs/aws.md says what that proves.

use std::{fs, path::Path, thread};

use crate::{
    aws::check::{self, HOME, INSTALLED},
    pinned::{copy, empty},
    process::{cargo, program, root, run, succeeds},
    steps::Steps,
};

/// Where a run leaves its logs.
const RUNS: &str = "target/aws-test";

/// What the template names as the functions' code.
const CODE: &str = "target/lambda/function";

/// What is tried, in this order.
const SCENARIOS: [&str; 5] = ["plain", "crashes", "twice", "auth", "endpoints"];

/// Runs the checks and all scenarios, or the one that is named.
pub(crate) fn run_all(only: Option<&str>) -> Result<(), String> {
    if let Some(only) = only.filter(|only| !SCENARIOS.contains(only)) {
        return Err(format!(
            "there is no scenario {only}; there are {}",
            SCENARIOS.join(", ")
        ));
    }
    let mut steps = Steps::begin();
    if only.is_none() {
        check::check(&mut steps, true);
    }
    let chosen: Vec<&str> = SCENARIOS
        .into_iter()
        .filter(|name| only.is_none_or(|only| only == *name))
        .collect();
    play_in(&mut steps, &chosen);
    steps.end("cargo xtask aws-test")
}

/// Plays what is proved in every `test --all`: that each photo ends as one draft, also where functions are killed.
pub(crate) fn proof(steps: &mut Steps) {
    play_in(steps, &SCENARIOS[..2]);
}

/// Plays scenarios, two at a time: most of each is waiting.
fn play_in(steps: &mut Steps, scenarios: &[&str]) {
    let mut tools = Err("nothing was installed".to_owned());
    steps.step("tools and binaries for AWS", || {
        tools = Ok((check::environment("emulator")?, check::environment("lint")?));
        run(&mut cargo("build --locked -p skin-assist --features aws --bins"))?;
        lay_out_code()
    });
    let (emulator, lint) = match tools {
        Ok(tools) => tools,
        Err(why) => return steps.lacking(&format!("the end-to-end test of the AWS deployment ({why})"), true),
    };
    for pair in scenarios.chunks(2) {
        steps.step(&format!("end to end on AWS: {}", pair.join(", ")), || {
            let outcomes: Vec<Result<(), String>> = thread::scope(|scope| {
                let (emulator, lint) = (&emulator, &lint);
                let playing: Vec<_> = pair
                    .iter()
                    .map(|scenario| scope.spawn(move || play(scenario, emulator, lint)))
                    .collect();
                let ended = playing.into_iter().map(thread::ScopedJoinHandle::join);
                ended
                    .map(|outcome| outcome.unwrap_or_else(|_| Err("a scenario panicked".to_owned())))
                    .collect()
            });
            let failures: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
            if failures.is_empty() {
                Ok(())
            } else {
                Err(failures.join("\n"))
            }
        });
    }
}

fn built(name: &str) -> std::path::PathBuf {
    root().join("target/debug").join(name)
}

/// The functions' code as it is deployed: one file, `bootstrap`.
fn lay_out_code() -> Result<(), String> {
    let folder = root().join(CODE);
    empty(&folder)?;
    strip(&built("skin-assist-lambda"), &folder.join("bootstrap"))
}

/// Without what only a debugger reads, as far as there is a tool for that: Lambda takes 250 MB.
fn strip(from: &Path, to: &Path) -> Result<(), String> {
    let mut strip = program("strip");
    if succeeds(strip.arg("-o").arg(to).arg(from), std::time::Duration::from_secs(60)) {
        Ok(())
    } else {
        copy(from, to)
    }
}

fn play(scenario: &str, emulator: &Path, lint: &Path) -> Result<(), String> {
    let folder = root().join(RUNS).join(scenario);
    empty(&folder)?;
    let outcome = run(program(&emulator.join("python").to_string_lossy())
        .arg(root().join(HOME).join("end_to_end.py"))
        .arg(scenario)
        .env("PROGRAM", built("skin-assist"))
        .env("FUNCTION", root().join(CODE).join("bootstrap"))
        .env("MINISTACK", emulator.join("ministack"))
        .env("SAM", lint.join("sam"))
        .env("FOLDER", &folder));
    if outcome.is_ok() {
        // The code of each function is unpacked there.
        _ = fs::remove_dir_all(&folder);
    }
    outcome.map_err(|error| format!("{error}\n{RUNS}/{scenario} and {INSTALLED} have the logs"))
}
