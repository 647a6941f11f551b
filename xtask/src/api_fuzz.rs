//! `cargo xtask api-fuzz`: the HTTP API against its own description, with schemathesis; interop/api/README.md has the rest.

use std::time::Duration;

use crate::{
    interop::engine,
    pinned::{self, installed},
    process::{program, root, run, succeeds},
    steps::Steps,
};

/// Where what checks it is described and pinned.
const HOME: &str = "interop/api";

/// Where that is installed.
const INSTALLED: &str = "target/tools/api";

/// What pip is given.
const REQUIREMENTS: &str = "requirements.txt";

/// For how long the API is asked.
const SECONDS: &str = "60";

/// Runs it alone.
pub(crate) fn alone(seconds: Option<&str>) -> Result<(), String> {
    check_for(seconds.unwrap_or(SECONDS))
}

/// As a step of the proof.
pub(crate) fn check(steps: &mut Steps, all: bool) {
    let has_python = succeeds(
        program("python3").args(["-c", "import ensurepip, venv"]),
        Duration::from_secs(30),
    );
    if has_python {
        steps.step("the HTTP API as it is described", || check_for(SECONDS));
    } else {
        let missing = "the HTTP API as it is described (python3 with its venv module installs what interop/api pins)";
        steps.lacking(missing, all);
    }
}

fn check_for(seconds: &str) -> Result<(), String> {
    let home = root().join(HOME);
    let environment = root().join(INSTALLED);
    installed(&home, &environment, &[REQUIREMENTS], |folder| {
        pinned::python(folder, &home.join(REQUIREMENTS), false)
    })?;
    let mut check = program(&environment.join("bin/python").to_string_lossy());
    check.arg(home.join("check.py")).arg("--program").arg(engine::build()?);
    run(check.args(["--seconds", seconds]))
}
