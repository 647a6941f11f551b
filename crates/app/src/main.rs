//! The `skin-assist` binary.

use std::process::ExitCode;

use clap::Parser as _;
use skin_assist::{cli::Cli, config};

#[allow(
    clippy::print_stderr,
    reason = "a command line says on standard error what went wrong"
)]
fn main() -> ExitCode {
    let cli = Cli::parse();
    match skin_assist::cli::execute(cli, &config::environment()) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{}", failure.report());
            ExitCode::FAILURE
        }
    }
}
