//! An OpenTelemetry collector that none of us wrote, and the test that the program is understood by it. interop/collector/README.md has the
//! rest.

use std::path::PathBuf;

use crate::{
    pinned,
    process::{cargo, root, run},
    steps::Steps,
};

/// Where it is pinned.
const HOME: &str = "interop/collector";

/// Where it is installed.
const INSTALLED: &str = "target/tools/collector";

/// What pip is given.
const REQUIREMENTS: &str = "requirements.txt";

/// Names the program, for the test.
const VARIABLE: &str = "TEST_COLLECTOR";

/// Runs nothing else.
pub(crate) fn alone() -> Result<(), String> {
    let mut steps = Steps::begin();
    check(&mut steps, &[], true);
    steps.end("cargo xtask collector")
}

/// Runs the test with these arguments of cargo, or says why it cannot be run.
pub(crate) fn check(steps: &mut Steps, features: &[&str], all: bool) {
    match install() {
        Ok(collector) => steps.step("telemetry to a collector of others", || {
            let mut test = cargo("test --locked --workspace --test collector");
            test.args(features);
            run(test.env(VARIABLE, &collector))
        }),
        Err(why) => steps.lacking(&format!("telemetry to a collector of others ({why})"), all),
    }
}

fn install() -> Result<PathBuf, String> {
    let programs = pinned::environment(HOME, REQUIREMENTS, INSTALLED, true)?;
    let packages = root().join(INSTALLED).join("lib");
    let versions = std::fs::read_dir(&packages).map_err(|error| format!("{}: {error}", packages.display()))?;
    let mut found = versions
        .filter_map(Result::ok)
        .map(|version| version.path().join("site-packages/rotel/rotel-agent"));
    found
        .find(|program| program.is_file())
        .ok_or_else(|| format!("rotel is not in {}", programs.display()))
}
