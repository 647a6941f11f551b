//! Starting programs: from the workspace's root, without standard input, their output passed through.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    // As cargo says when it runs this, not as it was when this was built: a checkout may have moved with its target.
    let own =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    own.parent().unwrap_or(&own).to_owned()
}

/// A program that will run in the root, with no standard input.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// The cargo that started this, with these arguments.
pub(crate) fn cargo(arguments: &str) -> Command {
    let mut command = program(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    command.args(arguments.split_whitespace());
    command
}

/// Runs to the end; its output is the user's.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let name = describe(command);
    println!("$ {name}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{name}` failed ({status})")),
        Err(error) => Err(format!("`{name}` cannot be started: {error}")),
    }
}

/// Runs to the end and gives the standard output; the standard error is the user's.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let name = describe(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("`{name}` cannot be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{name}` failed ({})", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("`{name}` printed something that is not text"))
}

/// Whether it runs and succeeds, quietly and within `most`.
pub(crate) fn succeeds(command: &mut Command, most: Duration) -> bool {
    let Ok(mut child) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        return false;
    };
    let begin = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if begin.elapsed() < most => thread::sleep(Duration::from_millis(50)),
            _ => {
                // It may have ended by itself meanwhile.
                _ = child.kill();
                _ = child.wait();
                return false;
            }
        }
    }
}

fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words = std::iter::once(name).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
