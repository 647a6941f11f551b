//! A run of steps: each announced, timed and counted, with a summary that leaves nothing unsaid.

use std::{
    io::{self, Write as _},
    time::{Duration, Instant},
};

/// A run of steps.
pub(crate) struct Steps {
    began: Instant,
    passed: usize,
    failures: Vec<String>,
    not_run: Vec<String>,
}

impl Steps {
    /// Begins a run.
    pub(crate) fn begin() -> Self {
        Self {
            began: Instant::now(),
            passed: 0,
            failures: Vec::new(),
            not_run: Vec::new(),
        }
    }

    /// Runs a step. A failure does not stop the others: one run tells everything that is wrong.
    pub(crate) fn step(&mut self, name: &str, step: impl FnOnce() -> Result<(), String>) {
        println!("==> {name}");
        flush();
        let began = Instant::now();
        let outcome = step();
        let took = seconds(began.elapsed());
        match outcome {
            Ok(()) => {
                self.passed += 1;
                println!("<== {name}: passed in {took}");
            }
            Err(message) => {
                println!("{message}\n<== {name}: FAILED after {took}");
                self.failures.push(name.to_owned());
            }
        }
        println!();
        flush();
    }

    /// Notes that something was not run, and why.
    pub(crate) fn not_run(&mut self, what: &str) {
        println!("NOT RUN: {what}\n");
        self.not_run.push(what.to_owned());
    }

    /// Notes what the machine lacks: a failure when `all` was asked for.
    pub(crate) fn lacking(&mut self, what: &str, all: bool) {
        if all {
            println!("MISSING: {what}\n");
            self.failures.push(what.to_owned());
        } else {
            self.not_run(what);
        }
    }

    /// Prints the closing summary.
    pub(crate) fn end(self, name: &str) -> Result<(), String> {
        for what in &self.not_run {
            println!("NOT RUN: {what}");
        }
        for what in &self.failures {
            println!("FAILED: {what}");
        }
        let (passed, failed, not_run) = (self.passed, self.failures.len(), self.not_run.len());
        let took = seconds(self.began.elapsed());
        println!("{name}: {passed} steps passed, {failed} failed, {not_run} not run, in {took}");
        flush();
        if failed == 0 {
            Ok(())
        } else {
            Err(format!("{name} failed"))
        }
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// Children write to the same terminal: what was printed before them comes before them.
fn flush() {
    // A closed pipe is noticed at the next print.
    _ = io::stdout().flush();
}
