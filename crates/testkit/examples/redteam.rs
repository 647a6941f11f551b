//! Plays the red team's campaign and prints its page: `cargo xtask redteam`. Ends with 1 when an attack succeeds, when something
//! leaks into a prompt, or when a rule proves nothing.

// Here a panic is the report, and printing is the purpose.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use skin_assist_testkit::redteam::RedTeam;

fn main() -> ExitCode {
    let report = RedTeam::new().campaign();
    print!("{report}");
    for success in &report.successes {
        eprintln!("succeeds: {success}");
    }
    if report.leaks > 0 {
        eprintln!("{} prompts had something of the patient in them", report.leaks);
    }
    let idle = report.without.iter().filter(|(_, succeeded, _)| *succeeded == 0);
    let idle: Vec<_> = idle.map(|(rule, ..)| rule.to_string()).collect();
    if !idle.is_empty() {
        eprintln!("nothing gets through without: {}", idle.join(", "));
    }
    let held = report.successes.is_empty() && report.leaks == 0 && idle.is_empty() && report.played() >= 500;
    ExitCode::from(u8::from(!held))
}
