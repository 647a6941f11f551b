//! Faults on purpose: the deterministic simulation, and kills of the real program.

use crate::process::{cargo, program, root, run};

/// Plays the simulation; what it takes is what `skin-assist-faults --help` says.
pub(crate) fn simulate(arguments: &[&str]) -> Result<(), String> {
    let mut command = cargo("run --quiet --locked -p skin-assist-faults --");
    run(command.args(arguments))
}

/// Seeds that are played in `cargo xtask test`.
const SEEDS: &str = "300";

/// The simulation as a part of the proof: built as the tests are, so that hardly anything is built twice.
pub(crate) fn proof(features: &[&str]) -> Result<(), String> {
    run(cargo("build --workspace --locked --bin skin-assist-faults").args(features))?;
    let built = root().join("target/debug/skin-assist-faults");
    run(program(&built.to_string_lossy()).args(["--seeds", SEEDS]))
}

/// Kills the real program so many times, two processes on one file, over HTTP.
pub(crate) fn chaos(arguments: &[&str]) -> Result<(), String> {
    let kills: u32 = match arguments {
        [] => 200,
        ["--kills", kills] => kills.parse().map_err(|_| format!("{kills} is not a number of kills"))?,
        _ => return Err("it takes --kills N and nothing else".to_owned()),
    };
    let mut command = cargo("test --locked -p skin-assist --test kill -- --nocapture");
    run(command.env("CHAOS_KILLS", kills.to_string()))
}
