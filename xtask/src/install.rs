//! `cargo xtask install`: what README.md has a user do, as a user does it: the program is installed by cargo, and shows the demonstration
//! in a folder that has nothing of the sources.

use crate::{
    pinned::empty,
    process::{cargo, program, root, run as run_command},
    steps::Steps,
};

/// Where it is installed.
const INSTALLED: &str = "target/install";

/// Installs, and has what is installed do its work.
pub(crate) fn run() -> Result<(), String> {
    let installed = root().join(INSTALLED);
    let elsewhere = installed.join("elsewhere");
    let mut steps = Steps::begin();
    steps.step("cargo install", || {
        empty(&elsewhere)?;
        let mut install = cargo("install --locked --force --path crates/app --target-dir target");
        run_command(install.arg("--root").arg(&installed))
    });
    steps.step("the demonstration, by what was installed", || {
        let mut demo = program(&installed.join("bin/skin-assist").to_string_lossy());
        run_command(
            demo.args(["demo", "--exit-when-done", "--speed", "40"])
                .current_dir(&elsewhere),
        )
    });
    steps.end("cargo xtask install")
}
