//! `cargo xtask sign-in`: people sign in to the console at an OpenID provider of others; docs/sign-in.md has the rest.

use crate::{
    interop::{engine, servers},
    process::{program, root, run},
};

/// Where the provider and what checks it are.
const HOME: &str = "interop/sign-in";

/// Runs it alone.
pub(crate) fn alone() -> Result<(), String> {
    let folder = servers::with_packages(&format!("{HOME}/provider.mjs"))?;
    let mut check = program("python3");
    check.arg(root().join(HOME).join("check.py"));
    check.arg("--program").arg(engine::build()?);
    run(check.arg("--provider").arg(folder.join("provider.mjs")))
}
