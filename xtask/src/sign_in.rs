//! `cargo xtask sign-in`: people sign in to the console at an OpenID provider of others; docs/sign-in.md has the rest.

use std::path::{Path, PathBuf};

use crate::{
    interop::{engine, servers},
    process::{program, root, run},
    steps::Steps,
};

/// Where the provider and what checks it are.
const HOME: &str = "interop/sign-in";

/// Runs it, as a part of the proof.
pub(crate) fn check(steps: &mut Steps, all: bool) {
    match provider() {
        Ok(provider) => steps.step("signing in with an OpenID provider", || check_with(&provider)),
        Err(why) => steps.lacking(&format!("signing in with an OpenID provider ({why})"), all),
    }
}

/// Runs it alone.
pub(crate) fn alone() -> Result<(), String> {
    check_with(&provider()?)
}

/// The provider's program, beside the packages that it needs.
fn provider() -> Result<PathBuf, String> {
    let folder = servers::with_packages(&format!("{HOME}/provider.mjs"))?;
    Ok(folder.join("provider.mjs"))
}

fn check_with(provider: &Path) -> Result<(), String> {
    let mut check = program("python3");
    check.arg(root().join(HOME).join("check.py"));
    check.arg("--program").arg(engine::build()?);
    run(check.arg("--provider").arg(provider))
}
