//! The console in a real browser: interop/console/check.py uses it as its users do and looks at every page with axe.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    interop::engine,
    pinned,
    process::{program, root, run, succeeds},
    steps::Steps,
};

/// Where what checks it is described and pinned.
const HOME: &str = "interop/console";

/// Where that is installed.
const INSTALLED: &str = "target/tools/console";

/// What pip is given.
const REQUIREMENTS: &str = "requirements.txt";

/// Where the pictures of the documentation are.
const PICTURES: &str = "docs/pictures";

/// The names that the browser goes by.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Enough to ask a browser for its version.
const MOMENT: Duration = Duration::from_secs(30);

/// Runs it alone; with `pictures`, the documentation's screenshots are made anew.
pub(crate) fn alone(pictures: bool) -> Result<(), String> {
    let browser = browser().ok_or_else(|| missing().to_owned())?;
    let folder = root().join(PICTURES);
    if pictures {
        fs::create_dir_all(&folder).map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
    }
    check_in(&browser, pictures.then_some(folder.as_path()))
}

/// As a step of the proof.
pub(crate) fn check(steps: &mut Steps, all: bool) {
    match browser() {
        Some(browser) => steps.step("the console in a browser", || check_in(&browser, None)),
        None => steps.lacking(missing(), all),
    }
}

const fn missing() -> &'static str {
    "the console in a browser (there is no Chromium: install the package `chromium`)"
}

/// The browser that is there.
fn browser() -> Option<PathBuf> {
    let found = BROWSERS
        .iter()
        .find(|name| succeeds(program(name).arg("--version"), MOMENT));
    found.map(PathBuf::from)
}

fn check_in(browser: &Path, pictures: Option<&Path>) -> Result<(), String> {
    let programs = pinned::environment(HOME, REQUIREMENTS, INSTALLED, false)?;
    let mut check = program(&programs.join("python").to_string_lossy());
    check
        .arg(root().join(HOME).join("check.py"))
        .arg("--program")
        .arg(engine::build()?);
    check.arg("--chromium").arg(browser);
    if let Some(folder) = pictures {
        check.arg("--pictures").arg(folder);
    }
    run(&mut check)
}
