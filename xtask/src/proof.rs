//! `cargo xtask test`: everything that proves the project. The tests come last, so that their runner's own closing lines
//! stand right above the summary.

use std::{path::Path, process::Command, time::Duration};

use crate::{
    dependency_rules, documented, house, onnx_runtime,
    process::{self, cargo, succeeds},
    steps::Steps,
    validators,
};

/// Enough to ask a tool for its version.
const MOMENT: Duration = Duration::from_secs(20);

/// Enough to fetch the advisory database, or to find that it cannot be reached.
const FETCH: Duration = Duration::from_secs(120);

/// Runs what needs nothing to be built.
pub(crate) fn quick() -> Result<(), String> {
    let mut steps = Steps::begin();
    without_building(&mut steps);
    steps.end("cargo xtask check")
}

fn without_building(steps: &mut Steps) {
    steps.step("format", || process::run(&mut cargo("fmt --all --check")));
    steps.step("dependency rules", dependency_rules::check);
    steps.step("house checks", house::check);
    steps.step("documented", documented::check);
}

/// Runs everything. With `all`, what the machine lacks is a failure.
pub(crate) fn run(all: bool) -> Result<(), String> {
    let mut steps = Steps::begin();
    without_building(&mut steps);
    deny(&mut steps, all);
    steps.step("clippy", || {
        process::run(&mut cargo("clippy --workspace --all-targets --locked -- -D warnings"))
    });
    steps.step("rustdoc", || {
        process::run(cargo("doc --workspace --no-deps --locked").env("RUSTDOCFLAGS", "-D warnings"))
    });
    steps.step("documentation tests", || {
        process::run(&mut cargo("test --doc --workspace --locked"))
    });
    validators::check(&mut steps, all);

    let library = onnx_runtime::find_or_fetch();
    match &library {
        Ok(path) => println!("ONNX Runtime: {}\n", path.display()),
        Err(why) => steps.lacking(&format!("ONNX Runtime conformance ({why})"), all),
    }
    steps.step("tests", || process::run(&mut tests(library.ok().as_deref())));
    steps.end("cargo xtask test")
}

/// cargo-deny: always, but for the advisories, whose database is on a network that the machine may not have.
fn deny(steps: &mut Steps, all: bool) {
    if !succeeds(&mut cargo("deny --version"), MOMENT) {
        steps.lacking(
            "cargo-deny (it is not installed: `cargo install cargo-deny --locked`)",
            all,
        );
        return;
    }
    steps.step("cargo-deny", || {
        process::run(&mut cargo(
            "deny --locked check --hide-inclusion-graph bans licenses sources",
        ))
    });
    if succeeds(&mut cargo("deny --locked fetch db"), FETCH) {
        steps.step("advisories", || {
            process::run(&mut cargo("deny --locked check advisories"))
        });
    } else {
        steps.not_run("advisories (the advisory database cannot be reached)");
    }
}

/// The tests. Those of ONNX Runtime run where the variable names its library.
fn tests(library: Option<&Path>) -> Command {
    let mut command = if succeeds(&mut cargo("nextest --version"), MOMENT) {
        cargo("nextest run --workspace --locked --no-fail-fast")
    } else {
        cargo("test --workspace --lib --bins --tests --examples --locked --no-fail-fast")
    };
    if let Some(library) = library {
        command.env(onnx_runtime::VARIABLE, library);
    }
    command
}
