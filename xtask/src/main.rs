//! `cargo xtask`: what proves the project, and what else needs more than cargo.
//!
//! Runs from the workspace's root with nothing but the standard library and a JSON reader, so that it is built in
//! seconds. It changes nothing but files under `target/` and, after a whole run of the benchmarks, their report.

// A command-line tool prints, and reads the environment and a stopwatch; the bans are for the product.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

mod api_fuzz;
mod aws;
mod bench;
mod bench_load;
mod bench_polling;
mod bench_vision;
mod collector;
mod console;
mod containers;
mod dependency_rules;
mod docs;
mod documented;
mod dynoxide;
mod faults;
mod fuzz;
mod house;
mod install;
mod interop;
mod language_server;
mod lints;
mod ministack;
mod model_servers;
mod onnx_runtime;
mod packs;
mod pinned;
mod process;
mod proof;
mod redteam;
mod release;
mod reproducible;
mod sbom;
mod sign_in;
mod steps;
mod systemd;
mod validators;

use std::process::ExitCode;

use aws::cost::Counting;

const HELP: &str = "\
Usage: cargo xtask <COMMAND>

Commands:
  test [--all]      Prove the project: format, dependency rules, house checks, cargo-deny, clippy, docs, the FHIR
                    validators of others, all tests. What the machine lacks is listed as NOT RUN; with --all it is a failure.
  check             The quick part of `test`, in seconds: format, dependency rules, house checks, codes and keys documented.
  containers        What describes the program to a container runtime, against the program; and by hadolint and Helm's library, installed under
                    target/tools on the first run.
  docs [PAGE | --write]
                    Check the documents: the book has every page, every command in them is one that there is, their code blocks are run as
                    a reader would, and pages made from the code are up to date. PAGE runs the blocks of one; --write makes the pages anew.
  validators        The steps of `test` that have the FHIR resources that are written validated, and ICD-10-CM codes looked up, by
                    libraries of others.
  aws-check         Have the AWS template and state machine read by cfn-lint, sam, asl-validator, checkov and cdk-nag's HIPAA
                    pack, installed under target/tools/aws on the first run.
  aws-test [NAME]   aws-check, and the deployment end to end on an emulator with the practice EHR: plain, with crashes, with
                    records that come twice, with the roles' policies enforced, with models behind SageMaker endpoints. NAME runs one of
                    plain, crashes, twice, auth, endpoints.
  aws-cost [--quick | --counted]
                    Count what the functions of a deployment consume on a simulated clinic day at 1, 10 and 100 practices, put
                    prices to it and write docs/benchmarks/aws-cost.md. --quick counts for 1 practice and only prints; --counted writes it
                    from what was counted last, as after a change of prices.
  servers           Install the servers that stand for AWS in tests into target/tools, and print how to name them, as for
                    `cargo nextest run -p skin-assist-aws --features servers`. `test --all` does it by itself.
  systemd           Check the systemd unit: its directives, what systemd makes of it, and that the demonstration, run under
                    strace, makes no system call that it denies.
  console [--pictures]
                    Use the console in a real browser as its users do, and look at every page with axe; what that needs is installed
                    under target/tools/console on the first run, but for the browser. --pictures makes docs/pictures anew.
  api-fuzz [--seconds N]
                    Ask the HTTP API what its description says, rightly and wrongly, with schemathesis, installed under target/tools/api on
                    the first run, for N seconds (60); interop/api/README.md has the rest.
  sign-in           Sign in to the console at an OpenID provider of others, npm's oidc-provider, installed under target/interop on the first
                    run, with each kind of client and signature; docs/sign-in.md has the rest.
  faults [ARG]...   Play the whole engine under virtual time with faults on purpose, and check what must hold. ARGs: --seeds N,
                    --first S, --seed S (replays one), --jobs J, --json FILE, --mutations (removes each safeguard in turn);
                    docs/faults.md has the rest.
  chaos [--kills N] Kill the real program at random moments, 200 times unless told: two processes on one state file, over HTTP, with full
                    disks and processes that can only read in between.
  redteam           Attack drafts by way of a language model that obeys the attacker, and write docs/redteam.md.
  collector         Have a collector of others, Rotel, take the traces and metrics of the running program, installed under
                    target/tools/collector on the first run; interop/collector/README.md has the rest.
  install           `cargo install`, and the demonstration by what was installed, where nothing of the sources is.
  language-server   Run a prompt through llama.cpp's server with a model of random weights, installed under target/tools/language
                    on the first run; interop/language/README.md has the rest.
  interop           Run discovery, photo and draft against servers of others: Helios FHIR Server and oidc-provider. They are
                    built and installed under target/interop on the first run; docs/interop.md has the rest.
  model-servers     Run the reference packs with their models on mlserver, a model server of others, installed under target/tools on the
                    first run, and compare the findings.
  bench [NAME]      Measure, and print a table. Without NAME all benchmarks run and docs/benchmarks/foundation.md is
                    written; NAME is one of store_bench, vision_bench, pipeline_bench.
  bench polling [--quick] [--traces DIR]
                    Play simulated clinic days on the polling policies and write docs/benchmarks/polling.md. --quick plays
                    1 seed instead of 8 and no 100 practices; --traces plays the files of a folder that end with
                    -f10.jsonl.gz or -f100.jsonl.gz, by their number of practices. Both only print, and write
                    target/bench/polling/report.md.
  bench vision [--quick | --prepared DIR]
                    Time photo to findings against Python pipelines, in turns, on networks with random weights, and write
                    docs/benchmarks/vision.md. --quick takes one short round and only prints; --prepared DIR takes what is in a
                    folder (xtask/src/bench_vision.rs says what) on a machine without cargo, and only prints.
  bench vision agreement
                    Compare the findings on 1,000 photos of each route with Python's, with the reference packs.
  bench vision bad-input
                    Look at bad and hostile files, each in a process of its own, and measure its peak memory.
  bench load [--scenario watch|drafts] [--seconds N] [--warm-up N] [--firms N] [--visits N] [--calls-per-minute N] [--check] [--dev]
                    Run the program in real time against the practice EHR and scripted models over HTTP: 1,000 practices with 50 visits
                    under watch each, then 10,000 drafts an hour, each measured for 180 seconds. Says what it used and how soon the
                    console answered, which goals that meets, and writes target/bench/load; --check makes a goal that is missed an
                    error, --dev measures the build for tests. docs/benchmarks/load.md has the rest.
  fuzz [TARGET] [--seconds N]
                    Build the fuzz targets and run them, or one, for N seconds (60). docs/fuzzing.md has the rest.
  fuzz prepare DIR  Put the programs, their inputs and what runs them into a folder for a machine without Rust.
  fuzz record FILE  Write the results of such a run into docs/fuzzing.md.
  sbom [FILE]       Write what the program is made of as CycloneDX, and have it validated by OWASP's library, installed under target/sbom on
                    the first run; with FILE only write it there.
  reproducible      Build the release binary twice in two folders and compare them, in minutes; docs/supply-chain.md has the rest.
  release [--dry-run | --program FILE]
                    Build the commit and write archive, SBOM and checksums into target/release-VERSION-TARGET; docs/release.md has the
                    rest. --dry-run says what it would do, --program packs a program that is there.
  models [ARG]...   Train the reference model packs again (Python and about 25 minutes); ARGs go to
                    models/train/train.py, see models/README.md.
";

/// Installs the servers that stand for AWS, and says where they are.
fn servers() -> Result<(), String> {
    println!(
        "export {}={}",
        dynoxide::VARIABLE,
        dynoxide::find_or_install()?.display()
    );
    println!(
        "export {}={}",
        ministack::VARIABLE,
        ministack::find_or_install()?.display()
    );
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["check"] => proof::quick(),
        ["test"] => proof::run(false),
        ["test", "--all"] => proof::run(true),
        ["containers"] => containers::alone(),
        ["docs", rest @ ..] => docs::alone(rest),
        ["validators"] => validators::alone(),
        ["aws-check"] => aws::check::alone(),
        ["aws-test"] => aws::end_to_end::run_all(None),
        ["aws-test", scenario] if !scenario.starts_with('-') => aws::end_to_end::run_all(Some(scenario)),
        ["aws-cost"] => aws::cost::run(Counting::All),
        ["aws-cost", "--quick"] => aws::cost::run(Counting::One),
        ["aws-cost", "--counted"] => aws::cost::run(Counting::Nothing),
        ["servers"] => servers(),
        ["systemd"] => systemd::alone(),
        ["sign-in"] => sign_in::alone(),
        ["api-fuzz"] => api_fuzz::alone(None),
        ["api-fuzz", "--seconds", seconds] => api_fuzz::alone(Some(seconds)),
        ["console"] => console::alone(false),
        ["console", "--pictures"] => console::alone(true),
        ["faults", rest @ ..] => faults::simulate(rest),
        ["redteam"] => redteam::run(),
        ["collector"] => collector::alone(),
        ["install"] => install::run(),
        ["language-server"] => language_server::alone(),
        ["interop"] => interop::run(),
        ["model-servers"] => model_servers::alone(),
        ["bench"] => bench::run(None),
        ["bench", "polling" | "vision" | "load", "--help" | "-h"]
        | ["chaos" | "fuzz" | "sbom" | "reproducible", "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        ["bench", "polling", rest @ ..] => bench_polling::run(rest),
        ["bench", "vision", rest @ ..] => bench_vision::run(rest),
        ["bench", "load", rest @ ..] => bench_load::run(rest),
        ["bench", name] if !name.starts_with('-') => bench::run(Some(name)),
        ["chaos", rest @ ..] => faults::chaos(rest),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        ["sbom", rest @ ..] => sbom::alone(rest),
        ["release", rest @ ..] => release::run(rest),
        ["reproducible", rest @ ..] => reproducible::run(rest),
        ["models", rest @ ..] => packs::train(rest),
        ["help" | "--help" | "-h"]
        | [
            "check" | "test" | "validators" | "aws-check" | "aws-test" | "aws-cost" | "interop" | "model-servers"
            | "redteam" | "language-server" | "sign-in" | "bench",
            "--help" | "-h",
        ] => {
            print!("{HELP}");
            Ok(())
        }
        _ => Err(format!("this is not a command\n\n{HELP}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
