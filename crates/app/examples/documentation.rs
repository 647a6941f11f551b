//! What the documents have from the code: `cargo xtask docs` runs it.
//!
//! `documentation command-line` and `documentation configuration-file` print pages; `documentation check` reads commands from standard
//! input, one JSON document a line, and says which of them the program would not take.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

use std::{
    fmt::Write as _,
    io::{self, BufRead as _},
    process::ExitCode,
};

use clap::{Arg, ArgAction, Command, CommandFactory as _, error::ErrorKind};
use serde::Deserialize;
use skin_assist::{cli::Cli, config};

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("command-line") => print!("{}", command_line()),
        Some("configuration-file") => print!("{}", configuration_file()),
        Some("check") => return check(),
        _ => {
            eprintln!("say command-line, configuration-file or check");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// A command in a document.
#[derive(Deserialize)]
struct Said {
    at: String,
    words: Vec<String>,
    /// What has to follow may be left out.
    partial: bool,
}

fn check() -> ExitCode {
    let (mut count, mut wrong) = (0, 0);
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let said: Said = match serde_json::from_str(&line) {
            Ok(said) => said,
            Err(error) => {
                eprintln!("{line}: {error}");
                return ExitCode::from(2);
            }
        };
        count += 1;
        if let Err(error) = Cli::command().try_get_matches_from(&said.words)
            && !is_taken(error.kind(), said.partial)
        {
            wrong += 1;
            println!("{}: `{}`: {error}", said.at, said.words.join(" "));
        }
    }
    println!("{count} commands, of which {wrong} are not taken");
    if wrong == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn is_taken(kind: ErrorKind, partial: bool) -> bool {
    use ErrorKind::{
        DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion, InvalidValue, MissingRequiredArgument,
        MissingSubcommand,
    };
    matches!(kind, DisplayHelp | DisplayVersion)
        || (partial
            && matches!(
                kind,
                DisplayHelpOnMissingArgumentOrSubcommand | InvalidValue | MissingRequiredArgument | MissingSubcommand
            ))
}

const FROM_THE_CODE: &str = "<!-- Made from the code by `cargo xtask docs --write`. -->";

fn command_line() -> String {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut page = format!("# The command line\n\n{FROM_THE_CODE}\n\n");
    _ = writeln!(
        page,
        "What `skin-assist --help` says of each command. All take `--config FILE` and `--help`.\n"
    );
    _ = writeln!(page, "{}\n", about(&program));
    for argument in program.get_arguments().filter(|argument| argument.get_id() == "config") {
        _ = writeln!(page, "`--config FILE`: {}\n", help(argument));
    }
    let mut commands: Vec<&Command> = program.get_subcommands().collect();
    commands.sort_by_key(|command| command.get_name().to_owned());
    for command in commands {
        describe(&mut page, command, "skin-assist");
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

/// A command, or those below it.
fn describe(page: &mut String, command: &Command, above: &str) {
    let name = format!("{above} {}", command.get_name());
    _ = writeln!(
        page,
        "{} {name}\n\n{}\n",
        "#".repeat(name.split(' ').count()),
        about(command)
    );
    if command.has_subcommands() {
        for below in command.get_subcommands() {
            describe(page, below, &name);
        }
        return;
    }
    let arguments: Vec<&Arg> = command
        .get_arguments()
        .filter(|argument| {
            !["help", "version", "config"].contains(&argument.get_id().as_str()) && !argument.is_hide_set()
        })
        .collect();
    if arguments.is_empty() {
        return;
    }
    page.push_str("| argument | meaning |\n| --- | --- |\n");
    for argument in arguments {
        _ = writeln!(page, "| `{}` | {} |", written(argument), meaning(argument));
    }
    page.push('\n');
}

fn about(command: &Command) -> String {
    let about = command.get_long_about().or_else(|| command.get_about());
    text(&about.map(ToString::to_string).unwrap_or_default())
}

fn help(argument: &Arg) -> String {
    let help = argument.get_long_help().or_else(|| argument.get_help());
    text(&help.map(ToString::to_string).unwrap_or_default())
}

/// As a sentence, in which what is not code is not taken for markup.
fn text(said: &str) -> String {
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = if said.is_empty() || said.ends_with(['.', '?', '!']) {
        ""
    } else {
        "."
    };
    format!("{said}{end}").replace('|', "\\|").replace('<', "&lt;")
}

/// How it is written on the command line.
fn written(argument: &Arg) -> String {
    let values = argument.get_value_names().unwrap_or_default();
    let values = values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let more = if matches!(argument.get_action(), ArgAction::Append) {
        "…"
    } else {
        ""
    };
    match argument.get_long() {
        None => format!("{values}{more}"),
        Some(long) if argument.get_action().takes_values() => format!("--{long} {values}{more}"),
        Some(long) => format!("--{long}"),
    }
}

fn meaning(argument: &Arg) -> String {
    let mut meaning = help(argument);
    let choices: Vec<_> = argument.get_possible_values();
    if argument.get_action().takes_values() && !choices.is_empty() {
        let choices = choices.iter().filter(|choice| !choice.is_hide_set()).map(|choice| {
            let about = choice
                .get_help()
                .map(|about| format!(" ({})", text(&about.to_string()).trim_end_matches('.')));
            format!("`{}`{}", choice.get_name(), about.unwrap_or_default())
        });
        _ = write!(meaning, " One of {}.", choices.collect::<Vec<_>>().join(", "));
    }
    let defaults = argument.get_default_values();
    if argument.get_action().takes_values() && !defaults.is_empty() {
        let defaults = defaults.iter().map(|value| format!("`{}`", value.to_string_lossy()));
        _ = write!(meaning, " Without it: {}.", defaults.collect::<Vec<_>>().join(", "));
    }
    if argument.is_required_set() {
        meaning.push_str(" *Required.*");
    }
    meaning
}

fn configuration_file() -> String {
    format!(
        "# The configuration file\n\n{FROM_THE_CODE}\n\nWhat `skin-assist config default` prints: every key with its default. \
         [configuration.md](configuration.md) says where values come from, and has each key with its meaning.\n\n```toml\n{}```\n",
        config::DEFAULT
    )
}
