//! Faults on purpose: the deterministic simulation.

use crate::process::{cargo, run};

/// Plays the simulation; what it takes is what `skin-assist-faults --help` says.
pub(crate) fn simulate(arguments: &[&str]) -> Result<(), String> {
    let mut command = cargo("run --quiet --locked -p skin-assist-faults --");
    run(command.args(arguments))
}
