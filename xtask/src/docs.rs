//! `cargo xtask docs`: the documents say what is so.
//!
//! - Every page is in the book's table of contents.
//! - Every code block names its language, and one for the shell is run, or says why not ([`pages`], [`runs`]).
//! - Every command is one that there is: those of cargo are looked up in the sources, those of the program are read by its own command line.
//! - The pages that are made from the code are what the code makes.

mod book;
mod commands;
mod pages;
mod runs;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::json;

use self::{
    commands::{Said, Sources},
    pages::Page,
};
use crate::{
    house,
    process::{self, cargo, output, root},
    steps::Steps,
};

/// The pages that are made from the code, with what makes each: an argument of the program's example `documentation`.
const MADE: &[(&str, &str)] = &[
    ("docs/reference-cli.md", "command-line"),
    ("docs/reference-configuration-file.md", "configuration-file"),
];

/// What makes them.
const MAKER: &str = "run --quiet --locked --package skin-assist --example documentation --";

/// What needs nothing to be built: the book, the form of the pages, the commands of cargo.
pub(crate) fn quick(steps: &mut Steps) {
    steps.step("the book's table of contents", book::check);
    book::website(steps);
    steps.step("commands of cargo in the documents", || {
        let sources = Sources::read(crate::HELP)?;
        let said = said(&read()?);
        let problems: Vec<String> = said
            .iter()
            .filter_map(|said| commands::problem(said, &sources))
            .collect();
        report(&problems, &format!("{} commands are named", said.len()))
    });
}

/// What needs the program.
pub(crate) fn with_the_program(steps: &mut Steps) {
    steps.step("commands of the program in the documents", check_commands);
    steps.step("pages that are made from the code", || made(false));
}

/// The blocks of the README and of the book, run.
pub(crate) fn blocks(steps: &mut Steps) {
    steps.step("code blocks of the documents", run_blocks);
}

/// All of it; `--write` makes the pages that are made from the code, `PAGE` runs the blocks of one page.
pub(crate) fn alone(arguments: &[&str]) -> Result<(), String> {
    match arguments {
        [] => {
            let mut steps = Steps::begin();
            quick(&mut steps);
            with_the_program(&mut steps);
            blocks(&mut steps);
            steps.end("cargo xtask docs")
        }
        ["--write"] => made(true),
        [page] if !page.starts_with('-') => run_pages(&[pages::read(Path::new(page))?]),
        _ => Err("say `cargo xtask docs`, `cargo xtask docs --write` or `cargo xtask docs PAGE`".to_owned()),
    }
}

/// The documents whose commands are checked.
fn read() -> Result<Vec<Page>, String> {
    let files = house::files()?;
    let files = files.iter().filter(|file| commands::is_checked(file));
    let (mut pages, mut problems) = (Vec::new(), Vec::new());
    for file in files {
        match pages::read(file) {
            Ok(page) => pages.push(page),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        Ok(pages)
    } else {
        Err(problems.join("\n"))
    }
}

fn said(pages: &[Page]) -> Vec<Said> {
    pages.iter().flat_map(commands::of_page).collect()
}

fn report(problems: &[String], good: &str) -> Result<(), String> {
    if problems.is_empty() {
        println!("{good}");
        Ok(())
    } else {
        Err(problems.join("\n"))
    }
}

/// Puts every command of the program before its own command line.
fn check_commands() -> Result<(), String> {
    let pages = read()?;
    let mut lines = String::new();
    for said in said(&pages).iter().filter(|said| said.words[0] == "skin-assist") {
        let (words, partial) = commands::filled_in(said);
        lines += &json!({ "at": said.at, "words": words, "partial": partial }).to_string();
        lines.push('\n');
    }
    are_taken(&lines)
}

/// Whether the program takes these commands, one JSON document a line.
pub(crate) fn are_taken(lines: &str) -> Result<(), String> {
    let mut child = cargo(MAKER)
        .arg("check")
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cargo cannot be started: {error}"))?;
    let written = child.stdin.take().map(|mut input| input.write_all(lines.as_bytes()));
    let status = child.wait().map_err(|error| error.to_string())?;
    match written {
        Some(Ok(())) if status.success() => Ok(()),
        _ => Err("the program does not take all of these commands".to_owned()),
    }
}

/// Compares the pages that are made from the code with what it makes, or writes them.
fn made(write: bool) -> Result<(), String> {
    let mut problems = Vec::new();
    for (page, what) in MADE {
        let text = output(cargo(MAKER).arg(what))?;
        let file = root().join(page);
        if write {
            fs::write(&file, text).map_err(|error| format!("{page} cannot be written: {error}"))?;
        } else if fs::read_to_string(&file).ok() != Some(text) {
            problems.push(format!("{page} is not what the code makes: `cargo xtask docs --write`"));
        }
    }
    report(&problems, &format!("{} pages are made from the code", MADE.len()))
}

fn run_blocks() -> Result<(), String> {
    let pages = read()?;
    let of_the_book = |page: &Page| page.name == "README.md" || page.name.starts_with("docs/");
    run_pages(&pages.into_iter().filter(of_the_book).collect::<Vec<_>>())
}

fn run_pages(pages: &[Page]) -> Result<(), String> {
    process::run(&mut cargo("build --locked --package skin-assist"))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let programs = target.join("debug");
    let (mut run, mut not_run, mut problems) = (0, 0, Vec::new());
    for page in pages {
        let outcome = runs::page(page, &programs)?;
        if outcome.run > 0 {
            println!("{}: {} run", page.name, outcome.run);
        }
        run += outcome.run;
        not_run += outcome.not_run;
        problems.extend(outcome.problems);
    }
    report(
        &problems,
        &format!("{run} code blocks were run; {not_run} say why they are not"),
    )
}
