//! `cargo xtask test`: everything that proves the project. The tests come last, so that their runner's own closing lines
//! stand right above the summary.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    api_fuzz,
    aws::{check, end_to_end},
    collector, console, containers, dependency_rules, docs, documented, dynoxide, faults, house, lints, ministack,
    onnx_runtime,
    process::{self, cargo, succeeds},
    sbom, sign_in,
    steps::Steps,
    systemd, validators,
};

/// Enough to ask a tool for its version.
const MOMENT: Duration = Duration::from_secs(20);

/// Enough to fetch the advisory database, or to find that it cannot be reached.
const FETCH: Duration = Duration::from_secs(120);

/// The tests that need a server installed.
const SERVER_TESTS: &str = "skin-assist/servers,skin-assist-aws/servers";

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
    steps.step("lints of each crate", lints::check);
    steps.step("documented", documented::check);
    docs::quick(steps);
}

/// Runs everything. With `all`, what the machine lacks is a failure.
pub(crate) fn run(all: bool) -> Result<(), String> {
    let mut steps = Steps::begin();
    without_building(&mut steps);
    deny(&mut steps, all);
    // They are a workspace of their own, which nothing else here builds.
    steps.step("the pinned versions of the fuzz targets", || {
        let metadata = "metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml";
        process::output(&mut cargo(metadata)).map(drop)
    });
    sbom::check(&mut steps, all);
    steps.step("clippy", || {
        process::run(&mut cargo(&format!(
            "clippy --workspace --all-targets --locked --features {SERVER_TESTS} -- -D warnings"
        )))
    });
    // The features of the server's tests bring what is on AWS into the program. It has to build without, too, and to be what the
    // README's first command runs.
    steps.step("the program without AWS, as the README runs it", || {
        process::run(&mut cargo("run --locked -- --version"))
    });
    steps.step("rustdoc", || {
        process::run(cargo("doc --workspace --no-deps --locked").env("RUSTDOCFLAGS", "-D warnings"))
    });
    steps.step("documentation tests", || {
        process::run(&mut cargo("test --doc --workspace --locked"))
    });
    docs::with_the_program(&mut steps);
    docs::blocks(&mut steps);
    validators::check(&mut steps, all);
    check::check(&mut steps, all);
    systemd::check(&mut steps);
    containers::check(&mut steps, all);
    sign_in::check(&mut steps, all);
    console::check(&mut steps, all);
    if all {
        api_fuzz::check(&mut steps, all);
        end_to_end::proof(&mut steps);
    } else {
        steps.not_run("the HTTP API as it is described (`cargo xtask api-fuzz`, or `test --all`)");
        steps.not_run("the deployment on AWS end to end: `cargo xtask aws-test`, or `test --all`");
    }

    let library = onnx_runtime::find_or_fetch();
    match &library {
        Ok(path) => println!("ONNX Runtime: {}\n", path.display()),
        Err(why) => steps.lacking(&format!("ONNX Runtime conformance ({why})"), all),
    }
    let servers = servers(all);
    if let Err(why) = &servers {
        steps.lacking(&format!("the state in DynamoDB, photos in S3, secrets ({why})"), all);
    }
    steps.not_run("a language model's server of others (minutes; `cargo xtask language-server` runs it)");
    let servers = servers.ok();
    // With the features of the tests, which are built with them.
    let features: &[&str] = if servers.is_some() {
        &["--features", SERVER_TESTS]
    } else {
        &[]
    };
    steps.step("faults on purpose: 300 seeds", || faults::proof(features));
    collector::check(&mut steps, features, all);
    let mut tests = tests(library.ok().as_deref(), servers.as_ref());
    steps.step("tests", || process::run(&mut tests));
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

/// The servers that stand for AWS: DynamoDB, and the rest.
type Servers = [PathBuf; 2];

/// Where they are. They take minutes to build, so that only `all` installs them.
fn servers(all: bool) -> Result<Servers, String> {
    if all {
        return Ok([dynoxide::find_or_install()?, ministack::find_or_install()?]);
    }
    let missing = || "their servers are not installed: `cargo xtask servers` does it".to_owned();
    Ok([
        dynoxide::find()?.ok_or_else(missing)?,
        ministack::find()?.ok_or_else(missing)?,
    ])
}

/// The tests. Those of ONNX Runtime run where the variable names its library, those of what is on AWS where there are servers.
fn tests(library: Option<&Path>, servers: Option<&Servers>) -> Command {
    let mut command = if succeeds(&mut cargo("nextest --version"), MOMENT) {
        cargo("nextest run --workspace --locked --no-fail-fast")
    } else {
        cargo("test --workspace --lib --bins --tests --examples --locked --no-fail-fast")
    };
    if let Some(library) = library {
        command.env(onnx_runtime::VARIABLE, library);
    }
    if let Some([dynoxide, ministack]) = servers {
        command
            .env(dynoxide::VARIABLE, dynoxide)
            .env(ministack::VARIABLE, ministack)
            .args(["--features", SERVER_TESTS]);
    }
    command
}
