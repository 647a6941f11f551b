//! `cargo xtask bench vision bad-input`: what comes of bad files, in what time and with how much memory.
//!
//! Each file is looked at in a process of its own, whose peak memory the system counts. A file that does not come out as
//! the tests expect it is an error.

use std::{fmt::Write as _, fs, path::Path};

use super::{json, number, put_part};
use crate::{
    bench::rounded,
    process::{cargo, output, program, root},
};

const FOLDER: &str = "target/bench/bad-input";
const EXAMPLE: &str = "target/release/examples/bad_photos";

/// With a prepared folder it only prints.
pub(super) fn run(prepared: Option<&Path>) -> Result<(), String> {
    let (example, folder) = if let Some(prepared) = prepared {
        (prepared.join("bad_photos"), prepared.join("bad-input"))
    } else {
        crate::process::run(&mut cargo(
            "build --release --quiet --locked --package skin-assist-models --example bad_photos",
        ))?;
        (root().join(EXAMPLE), root().join(FOLDER))
    };
    let example = example.to_string_lossy().into_owned();
    let listed = output(program(&example).arg("write").arg(&folder))?;
    let mut table = String::from(
        "| file | bytes | outcome | ms | peak memory, MB | of it for the file, MB |\n\
         | --- | ---: | --- | ---: | ---: | ---: |\n",
    );
    for line in listed.lines() {
        let file = json(line)?;
        let text = |name: &str| file[name].as_str().unwrap_or_default();
        let seen = json(&output(program(&example).args(["look", text("file")]))?)?;
        let outcome = seen["outcome"].as_str().unwrap_or_default();
        if outcome != text("expected") {
            return Err(format!("{}: {outcome}, not {}", text("name"), text("expected")));
        }
        let (before, peak) = (number(&seen, "before_kilobytes")?, number(&seen, "peak_kilobytes")?);
        _ = writeln!(
            table,
            "| {} | {} | {outcome} | {} | {:.0} | {:.0} |",
            text("name"),
            number(&file, "bytes")?,
            rounded(number(&seen, "milliseconds")?),
            peak / 1000.0,
            (peak - before) / 1000.0,
        );
    }
    _ = fs::remove_dir_all(folder);
    println!("{table}");
    if prepared.is_some() {
        return Ok(());
    }
    put_part("bad input", &table)
}
