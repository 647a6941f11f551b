//! `cargo xtask test`: everything that proves the project. The tests come last, so that their runner's own closing lines
//! stand right above the summary.

use std::{path::Path, process::Command, time::Duration};

use crate::{
    dependency_rules, documented, house, onnx_runtime,
    process::{self, cargo, succeeds},
    steps::Steps,
};

const NAME: &str = "cargo xtask test";

/// Tests that need ONNX Runtime's shared library have this in their name, which is how they are left out without it.
const NEEDS_ONNX_RUNTIME: &str = "onnx_runtime_library";

/// Enough to ask a tool for its version.
const MOMENT: Duration = Duration::from_secs(20);

/// Enough to fetch the advisory database, or to find that it cannot be reached.
const FETCH: Duration = Duration::from_secs(120);

/// Runs everything. With `all`, what the machine lacks is a failure.
pub(crate) fn run(all: bool) -> Result<(), String> {
    let mut steps = Steps::begin();
    steps.step("format", || process::run(cargo().args(["fmt", "--all", "--check"])));
    steps.step("dependency rules", dependency_rules::check);
    steps.step("house checks", house::check);
    steps.step("documented", documented::check);
    deny(&mut steps, all);
    steps.step("clippy", || {
        process::run(cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]))
    });
    steps.step("rustdoc", || {
        let mut doc = cargo();
        doc.env("RUSTDOCFLAGS", "-D warnings");
        process::run(doc.args(["doc", "--workspace", "--no-deps", "--locked"]))
    });
    steps.step("documentation tests", || {
        process::run(cargo().args(["test", "--doc", "--workspace", "--locked"]))
    });

    let library = onnx_runtime::find_or_fetch();
    match &library {
        Ok(path) => println!("ONNX Runtime: {}\n", path.display()),
        Err(why) => steps.lacking(&format!("ONNX Runtime conformance ({why})"), all),
    }
    steps.step("tests", || process::run(&mut tests(library.ok().as_deref())));
    steps.end(NAME)
}

/// cargo-deny: always, but for the advisories, whose database is on a network that the machine may not have.
fn deny(steps: &mut Steps, all: bool) {
    if !succeeds(cargo().args(["deny", "--version"]), MOMENT) {
        let what = "cargo-deny (it is not installed: `cargo install cargo-deny --locked`)";
        steps.lacking(what, all);
        return;
    }
    steps.step("cargo-deny", || {
        process::run(cargo().args(["deny", "--locked", "check", "bans", "licenses", "sources"]))
    });
    if succeeds(cargo().args(["deny", "--locked", "fetch", "db"]), FETCH) {
        steps.step("advisories", || {
            process::run(cargo().args(["deny", "--locked", "check", "advisories", "--disable-fetch"]))
        });
    } else {
        steps.not_run("advisories (the advisory database cannot be reached)");
    }
}

fn tests(library: Option<&Path>) -> Command {
    let mut command = cargo();
    if let Some(library) = library {
        command.env(onnx_runtime::VARIABLE, library);
    }
    if succeeds(cargo().args(["nextest", "--version"]), MOMENT) {
        command.args(["nextest", "run", "--workspace", "--locked", "--no-fail-fast"]);
        if library.is_none() {
            command.args(["-E", &format!("not test({NEEDS_ONNX_RUNTIME})")]);
        }
    } else {
        command.args([
            "test",
            "--workspace",
            "--lib",
            "--bins",
            "--tests",
            "--examples",
            "--locked",
            "--no-fail-fast",
        ]);
        if library.is_none() {
            command.args(["--", "--skip", NEEDS_ONNX_RUNTIME]);
        }
    }
    command
}
