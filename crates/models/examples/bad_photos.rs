//! Bad, odd and hostile files: what comes of each, in what time and with how much memory.
//!
//! `cargo run --release -p skin-assist-models --example bad_photos -- write DIR` writes the files of the tests, and ones of
//! 100 megapixels, and prints a line of JSON for each; `-- look FILE` looks at one in a process of its own and prints the
//! outcome, milliseconds, and the process's peak memory in kilobytes (of Linux; 0 elsewhere).

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints its numbers"
)]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures by the clock")]

#[path = "../tests/bad_files/mod.rs"]
mod bad_files;

use std::{error::Error, fs, num::NonZeroUsize, path::Path, process::ExitCode, time::Instant};

use bytes::Bytes;
use futures::executor::block_on;
use serde_json::json;
use skin_assist_core::{
    domain::{PhotoBytes, Route},
    ports::{VisionError, VisionModel},
};
use skin_assist_models::{
    PackVision, VisionOptions,
    pack::Pack,
    runtime::{Runtime, RuntimeChoice},
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write", folder] => write(Path::new(folder)),
        ["look", file] => look(Path::new(file)),
        _ => Err("say `write DIR` or `look FILE`".into()),
    };
    if let Err(error) = done {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn write(folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let files = bad_files::files().into_iter().chain(bad_files::large());
    for (index, bad_files::File { name, bytes, outcome }) in files.enumerate() {
        let path = folder.join(format!("{index:03}"));
        println!(
            "{}",
            json!({ "name": name, "file": path, "bytes": bytes.len(), "expected": told(outcome) })
        );
        fs::write(path, bytes)?;
    }
    Ok(())
}

fn told(outcome: bad_files::Outcome) -> String {
    match outcome {
        bad_files::Outcome::Refused(refusal) => refusal.reason().code().to_owned(),
        bad_files::Outcome::Seen(width, height) => format!("{width} × {height}"),
    }
}

fn look(file: &Path) -> Result<(), Box<dyn Error>> {
    let runtime = Runtime::open(&RuntimeChoice::Rten)?;
    let options = VisionOptions {
        workers: NonZeroUsize::MIN,
        ..VisionOptions::default()
    };
    let vision = PackVision::new(&runtime, &[Pack::reference(Route::Widespread)?], options)?;
    let photo = PhotoBytes::new(Bytes::from(fs::read(file)?));
    let before = peak_kilobytes();
    let begun = Instant::now();
    let outcome = match block_on(vision.look(Route::Widespread, &photo)) {
        Ok(findings) => bad_files::Outcome::Seen(findings.image.width, findings.image.height),
        Err(VisionError::Photo(refusal)) => bad_files::Outcome::Refused(refusal),
        Err(error) => return Err(error.into()),
    };
    let milliseconds = begun.elapsed().as_secs_f64() * 1000.0;
    println!(
        "{}",
        json!({
            "outcome": told(outcome), "milliseconds": milliseconds,
            "before_kilobytes": before, "peak_kilobytes": peak_kilobytes(),
        })
    );
    Ok(())
}

/// The most memory that this process has had.
fn peak_kilobytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
