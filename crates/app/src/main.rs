//! The `skin-assist` binary.

use std::process::ExitCode;

use clap::Parser as _;
use skin_assist::{cli::Cli, config, process};

#[allow(
    clippy::print_stderr,
    reason = "a command line says on standard error what went wrong"
)]
fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = process::deny_dumps().and_then(|()| skin_assist::cli::execute(cli, &config::environment()));
    match done {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{}", failure.report());
            ExitCode::FAILURE
        }
    }
}
