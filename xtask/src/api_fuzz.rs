//! `cargo xtask api-fuzz`: the HTTP API against its own description, with schemathesis; interop/api/README.md has the rest.

use std::path::{Path, PathBuf};

use crate::{
    interop::engine,
    pinned,
    process::{program, root, run},
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
    check_for(&environment()?, seconds.unwrap_or(SECONDS))
}

/// As a step of the proof.
pub(crate) fn check(steps: &mut Steps, all: bool) {
    match environment() {
        Ok(programs) => steps.step("the HTTP API as it is described", || check_for(&programs, SECONDS)),
        Err(why) => steps.lacking(&format!("the HTTP API as it is described ({why})"), all),
    }
}

fn environment() -> Result<PathBuf, String> {
    pinned::environment(HOME, REQUIREMENTS, INSTALLED, false)
}

fn check_for(programs: &Path, seconds: &str) -> Result<(), String> {
    let mut check = program(&programs.join("python").to_string_lossy());
    check
        .arg(root().join(HOME).join("check.py"))
        .arg("--program")
        .arg(engine::build()?);
    run(check.args(["--seconds", seconds]))
}
