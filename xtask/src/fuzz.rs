//! `cargo xtask fuzz`: builds the fuzz targets of `fuzz/` and runs them from the committed inputs.
//!
//! Built as cargo-fuzz does, without needing it or a nightly compiler: coverage and the address sanitiser by flags. What runs
//! them is `fuzz/run.sh`, here as on a machine that has nothing but the prepared folder. docs/fuzzing.md has the rest.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    pinned::{copy, empty},
    process::{cargo, output, program, root, run as run_command, succeeds},
    steps::Steps,
};

/// Flags of cargo-fuzz 0.13: counters at each edge, comparisons traced, and the address sanitiser.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Zsanitizer=address";

/// Where everything goes that is made here.
const HOME: &str = "target/fuzz";

/// Between these the document has the recorded runs.
const DOCUMENT: &str = "docs/fuzzing.md";
const RUNS_BEGIN: &str = "<!-- runs -->";
const RUNS_END: &str = "<!-- end of runs -->";

const USAGE: &str =
    "say `cargo xtask fuzz [TARGET] [--seconds N]`, `cargo xtask fuzz prepare DIR` or `cargo xtask fuzz record FILE`";

/// Runs one target, or all of them; prepares a folder for another machine; or records a run.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    match arguments {
        ["prepare", folder] => {
            supported().map_err(|why| format!("the targets cannot be built here: {why}"))?;
            prepare(&absolute(folder), None)
        }
        ["record", file] => record(Path::new(file)),
        [] => here(None, 60),
        ["--seconds", seconds] => here(None, number(seconds)?),
        [target] if !target.starts_with('-') => here(Some(target), 60),
        [target, "--seconds", seconds] if !target.starts_with('-') => here(Some(target), number(seconds)?),
        _ => Err(USAGE.to_owned()),
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| USAGE.to_owned())
}

fn absolute(folder: &str) -> PathBuf {
    std::env::current_dir().map_or_else(|_| PathBuf::from(folder), |here| here.join(folder))
}

/// The names of the targets: those of the programs.
fn targets() -> Result<Vec<String>, String> {
    let folder = root().join("fuzz/targets");
    let unreadable = |error| format!("{} cannot be read: {error}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// What the compiler calls this machine, if the targets can be built on it.
fn supported() -> Result<String, String> {
    let host = output(program("rustc").args(["--print", "host-tuple"]))?
        .trim()
        .to_owned();
    if !host.ends_with("linux-gnu") {
        return Err(format!(
            "the address sanitiser is set up for Linux with glibc, and this is {host}"
        ));
    }
    let libraries = output(program("rustc").args(["--print", "target-libdir"]))?;
    let has_sanitiser = fs::read_dir(libraries.trim()).is_ok_and(|files| {
        let names = files.filter_map(|file| Some(file.ok()?.file_name().to_string_lossy().into_owned()));
        names.into_iter().any(|name| name.ends_with("_rt.asan.a"))
    });
    if !has_sanitiser {
        return Err("this toolchain has no address sanitiser; rustup's have".to_owned());
    }
    if !succeeds(program("g++").arg("--version"), Duration::from_secs(20)) {
        return Err("libFuzzer needs a C++ compiler: `apt-get install g++`".to_owned());
    }
    Ok(host)
}

fn here(target: Option<&str>, seconds: u64) -> Result<(), String> {
    if let Some(target) = target
        && !targets()?.iter().any(|known| known == target)
    {
        return Err(format!(
            "there is no target {target}; there are {}",
            targets()?.join(", ")
        ));
    }
    let mut steps = Steps::begin();
    if let Err(why) = supported() {
        steps.not_run(&format!("fuzz targets: {why}"));
        return steps.end("cargo xtask fuzz");
    }
    let prepared = root().join(HOME).join("prepared");
    steps.step("build", || prepare(&prepared, target));
    steps.step("fuzz", || {
        let mut runner = program(&prepared.join("run.sh").to_string_lossy());
        runner.arg(seconds.to_string()).arg(root().join(HOME).join("run"));
        run_command(runner.args(target))
    });
    steps.end("cargo xtask fuzz")
}

/// Builds, and puts programs, inputs and the runner into a folder that needs nothing else but a Linux of the same kind.
fn prepare(folder: &Path, target: Option<&str>) -> Result<(), String> {
    let host = supported()?;
    // In the programs, as the sanitiser is.
    let library = output(program("g++").arg("-print-file-name=libstdc++.a"))?;
    let library = Path::new(library.trim())
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default();
    let build = root().join(HOME).join("build");
    let mut command = cargo("build --release --locked --manifest-path fuzz/Cargo.toml");
    command.args(["--target", &host]).arg("--target-dir").arg(&build);
    let names = match target {
        Some(target) => vec![target.to_owned()],
        None => targets()?,
    };
    for name in &names {
        command.args(["--bin", name]);
    }
    command
        .env("RUSTFLAGS", format!("{FLAGS} -Lnative={}", library.display()))
        .env("CXXSTDLIB", "static:-bundle=stdc++")
        // The sanitiser is an unstable flag of a compiler that has it all the same.
        .env("RUSTC_BOOTSTRAP", "1");
    run_command(&mut command)?;

    empty(folder)?;
    let inner = |name: &str| -> Result<PathBuf, String> {
        let path = folder.join(name);
        empty(&path)?;
        Ok(path)
    };
    let (programs, dictionaries) = (inner("bin")?, inner("dictionaries")?);
    let corpora = inner("corpus")?;
    for name in &names {
        copy(&build.join(&host).join("release").join(name), &programs.join(name))?;
        run_command(program("strip").arg(programs.join(name)))?;
        let dictionary = format!("{name}.dict");
        if root().join("fuzz/dictionaries").join(&dictionary).is_file() {
            copy(
                &root().join("fuzz/dictionaries").join(&dictionary),
                &dictionaries.join(&dictionary),
            )?;
        }
        let corpus = corpora.join(name);
        empty(&corpus)?;
        let committed = root().join("fuzz/corpus").join(name);
        let unreadable = |error| format!("{} cannot be read: {error}", committed.display());
        for entry in fs::read_dir(&committed).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            copy(&entry.path(), &corpus.join(entry.file_name()))?;
        }
    }
    copy(&root().join("fuzz/run.sh"), &folder.join("run.sh"))?;
    let commit = output(program("git").args(["rev-parse", "--short", "HEAD"])).unwrap_or_else(|_| "unknown".to_owned());
    let path = folder.join("commit");
    fs::write(&path, commit).map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

/// Writes the table of a run into the document, above those before it.
fn record(file: &Path) -> Result<(), String> {
    let results = fs::read_to_string(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    let path = root().join(DOCUMENT);
    let document = fs::read_to_string(&path).map_err(|error| format!("{DOCUMENT} cannot be read: {error}"))?;
    let recorded = recorded(&document, &table(&results)?)?;
    fs::write(&path, recorded).map_err(|error| format!("{DOCUMENT} cannot be written: {error}"))
}

/// `run.sh`'s results as a section of the document.
fn table(results: &str) -> Result<String, String> {
    let mut lines = results.lines();
    let about = lines.next().and_then(|line| line.strip_prefix("# "));
    let about = about.ok_or("the file does not begin with what the run was on")?;
    let (date, machine) = about.split_once("; ").ok_or("the file does not say on what and when")?;
    let mut table = format!(
        "### {date}\n\n{}.\n\n| target | seconds | inputs run | edges | features | corpus | peak memory | findings |\n\
         | --- | --: | --: | --: | --: | --: | --: | --: |\n",
        machine.trim()
    );
    let rows: Vec<String> = lines.skip(1).map(row).collect::<Result<_, _>>()?;
    if rows.is_empty() {
        return Err("the file has no results".to_owned());
    }
    table.extend(rows);
    Ok(table)
}

/// A line of `run.sh`'s results as a row of the table.
fn row(line: &str) -> Result<String, String> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [name, counts @ ..] = &columns[..] else {
        return Err(format!("not a line of results: {line}"));
    };
    let counts: Result<Vec<u64>, _> = counts.iter().map(|text| text.parse()).collect();
    let counts = counts.map_err(|_| format!("not a number in: {line}"))?;
    let [seconds, run, edges, features, inputs, megabytes, crashes, early] = counts[..] else {
        return Err(format!("not a line of results: {line}"));
    };
    let findings = crashes.max(early);
    Ok(format!(
        "| `{name}` | {seconds} | {run} | {edges} | {features} | {inputs} | {megabytes} MB | {findings} |\n"
    ))
}

/// The document with one more run, above the others.
fn recorded(document: &str, table: &str) -> Result<String, String> {
    let without = || format!("{DOCUMENT} lacks `{RUNS_BEGIN}` and `{RUNS_END}`");
    let (before, rest) = document.split_once(RUNS_BEGIN).ok_or_else(without)?;
    let (runs, after) = rest.split_once(RUNS_END).ok_or_else(without)?;
    let runs = runs.trim();
    let gap = if runs.is_empty() { "" } else { "\n\n" };
    Ok(format!(
        "{before}{RUNS_BEGIN}\n\n{}{gap}{runs}\n\n{RUNS_END}{after}",
        table.trim_end()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULTS: &str = "# 2026-01-05; 16 processors, A processor; commit abc\n\
        target\tseconds\texecutions\tcoverage\tfeatures\tinputs\tpeak_megabytes\tcrashes\tended_early\n\
        fhir\t600\t1000\t20\t30\t4\t500\t0\t0\nexif\t601\t5\t6\t7\t8\t9\t2\t1\n";

    #[test]
    fn a_run_is_recorded_above_those_before_it() {
        let table = table(RESULTS).unwrap();
        assert!(
            table.contains("| `fhir` | 600 | 1000 | 20 | 30 | 4 | 500 MB | 0 |"),
            "{table}"
        );
        assert!(table.contains("| `exif` | 601 | 5 | 6 | 7 | 8 | 9 MB | 2 |"), "{table}");
        assert!(
            table.starts_with("### 2026-01-05\n\n16 processors, A processor; commit abc.\n"),
            "{table}"
        );
        let once = recorded("a\n<!-- runs -->\n<!-- end of runs -->\nb\n", "first\n").unwrap();
        let twice = recorded(&once, "second\n").unwrap();
        assert_eq!(
            twice,
            "a\n<!-- runs -->\n\nsecond\n\nfirst\n\n<!-- end of runs -->\nb\n"
        );
    }

    #[test]
    fn what_are_no_results_is_refused() {
        let no_line = "# 2026-01-05; a machine\ntarget\n";
        for text in [
            "",
            "fhir\t1\n",
            no_line,
            &RESULTS.replace("1000", "many"),
            &RESULTS.replace("\t600", ""),
        ] {
            assert!(table(text).is_err(), "{text}");
        }
        assert!(recorded("no marks", "table").is_err());
    }

    #[test]
    fn the_document_can_take_a_run() {
        let document = fs::read_to_string(root().join(DOCUMENT)).unwrap();
        assert!(recorded(&document, "a run").unwrap().contains("a run"));
        for target in targets().unwrap() {
            assert!(document.contains(&format!("`{target}`")), "{target} is not documented");
        }
    }
}
