//! Faults on purpose: the deterministic simulation, and kills of the real program.

use crate::process::{cargo, run};

/// Plays the simulation; what it takes is what `skin-assist-faults --help` says.
pub(crate) fn simulate(arguments: &[&str]) -> Result<(), String> {
    let mut command = cargo("run --quiet --locked -p skin-assist-faults --");
    run(command.args(arguments))
}

/// Kills the real program so many times, over HTTP, with the real store.
pub(crate) fn chaos(kills: u32) -> Result<(), String> {
    let mut command = cargo("test --locked -p skin-assist --test kill -- --nocapture");
    run(command.env("SKIN_ASSIST_KILLS", kills.to_string()))
}
