//! The command line.

mod arguments;
mod photos;

use std::{path::PathBuf, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand};

pub(crate) use arguments::*;
pub(crate) use photos::*;

use crate::{
    commands,
    config::{Config, Environment},
    failure::{Failure, Hinted as _, WithHint as _},
};

/// Sees the photo in the chart, looks at it with vision models, writes a draft back.
///
/// Begin with `skin-assist demo`. Exit codes: 0 done; 1 failed, and standard error says why (of `doctor` and `probe` also:
/// something is not as it should be, and standard output says what); 2 the command line is wrong; 130 a demonstration was ended before every photo had its draft.
#[derive(Debug, Parser)]
#[command(name = "skin-assist", version, max_term_width = 100)]
pub struct Cli {
    /// The configuration file. Without it: SKIN_ASSIST_CONFIG, else skin-assist.toml in this folder, else the defaults.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the whole way on a practice EHR: photos in charts, models, drafts in charts. Needs nothing.
    Demo(DemoArguments),
    /// Serves the configured EHR: polls, looks at photos, writes drafts back, until Ctrl-C.
    Run,
    /// Serves a practice EHR alone, to connect to.
    PracticeEhr(PracticeEhrArguments),
    /// Says how soon photos would be found with so many practices on one quota, by playing clinic days against a simulated EHR.
    Simulate(SimulateArguments),
    /// Looks at photos with the models, without any EHR.
    Assess(AssessArguments),
    /// Says how good the models are on photos whose truth is known, for all and for each group of patients.
    Eval(EvalArguments),
    /// Serves the vision models to others over HTTP: the Open Inference Protocol v2, and SageMaker's container contract.
    ServeModels(ServeModelsArguments),
    /// Lists the model packs, checks one before it is used, shows what a pack sees on a photo.
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Connects and manages practices.
    #[command(subcommand)]
    Firm(FirmCommand),
    /// Chooses what is done with a practice's document categories.
    #[command(subcommand)]
    Categories(CategoriesCommand),
    /// Asks a practice's EHR what it really does, and compares that with the profile. Changes nothing in the EHR.
    Probe(ProbeArguments),
    /// Shows how each practice stands, and what needs attention.
    Status(JsonFlag),
    /// Lists the latest photos and how far each is on its way. Nothing of what the models saw.
    Photos(PhotosArguments),
    /// Shows the draft about a photo, what the models saw and what made it. It is recorded who read it, and why.
    Draft(DraftArguments),
    /// Draws what the models saw onto a photo, which is read anew from the EHR: photos are not kept. It is recorded who did, and why.
    Picture(PictureArguments),
    /// Lists what waits for a step of the pipeline, or is worked on.
    Queue(QueueArguments),
    /// Says where the console of a running engine is, and prints the code to sign in with on this machine.
    Console(JsonFlag),
    /// Lists what was given up, and tries it again.
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// Lists drafts that may or may not be in a chart, and resolves them.
    #[command(subcommand)]
    Uncertain(UncertainCommand),
    /// Lists drafts whose photo was retracted after they were posted.
    #[command(subcommand)]
    Retractions(RetractionsCommand),
    /// Has other systems told of what happens in charts: by FHIR R4 Subscriptions Backport, or as CloudEvents.
    #[command(subcommand)]
    Subscription(SubscriptionCommand),
    /// Lists results that are kept back, and shows one: for EHRs that cannot hold drafts, and in silent mode.
    #[command(subcommand)]
    Review(ReviewCommand),
    /// Checks the audit trail, shows where it ends, exports it.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Shows for how long what is finished is kept, and removes what is older.
    #[command(subcommand)]
    Retention(RetentionCommand),
    /// Compares what the models said with what clinicians coded later. The same results and file give the same bytes.
    SilentReport(SilentReportArguments),
    /// Checks the configuration, or shows the defaults.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Makes keys: for the state file, and for a client that signs. Changes the state file's key.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Writes a backup of the state file, and reads it back. May be run beside `run`.
    Backup(BackupArguments),
    /// Puts a backup in the place of the state file. Every practice is paused then.
    Restore(RestoreArguments),
    /// Prints the completions of a shell.
    Completions(CompletionsArguments),
    /// Writes the manual pages.
    Man(ManArguments),
    /// Checks this machine: configuration, state file, models, inference runtime, clock.
    Doctor(JsonFlag),
}

/// Carries a command out.
pub fn execute(cli: Cli, environment: &Environment) -> Result<ExitCode, Failure> {
    let config = || Config::read(cli.config.as_deref(), environment);
    // These need no configuration, and must not fail for a broken one.
    match &cli.command {
        Command::Config(ConfigCommand::Default) => {
            commands::config::default();
            return Ok(ExitCode::SUCCESS);
        }
        Command::Key(KeyCommand::Rotate(json)) => return block_on(commands::rotate::rotate(&config()?, *json)),
        Command::Key(command) => return commands::key::key(command),
        Command::Backup(arguments) => return block_on(commands::copies::backup(&config()?, arguments)),
        Command::Restore(arguments) => return block_on(commands::copies::restore(&config()?, arguments)),
        Command::Simulate(arguments) => return commands::simulate::simulate(arguments),
        Command::Completions(arguments) => {
            let mut text = Vec::new();
            clap_complete::generate(arguments.shell, &mut Cli::command(), "skin-assist", &mut text);
            commands::print(&String::from_utf8_lossy(&text));
            return Ok(ExitCode::SUCCESS);
        }
        Command::Man(arguments) => {
            clap_mangen::generate_to(Cli::command(), &arguments.folder)
                .failed(|| format!("the manual pages cannot be written into {}", arguments.folder.display()))
                .hint("name a folder that is there, and that this user may write to")?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Doctor(JsonFlag { json }) => return block_on(commands::doctor::doctor(config(), *json)),
        _ => {}
    }
    block_on(async {
        match cli.command {
            Command::Demo(arguments) => commands::demo::demo(arguments).await,
            Command::Run => Box::pin(commands::run::run(&config()?)).await,
            Command::PracticeEhr(arguments) => commands::practice_ehr::practice_ehr(arguments).await,
            Command::Assess(arguments) => commands::assess::assess(&config()?, arguments).await,
            Command::Eval(arguments) => commands::eval::eval(config()?, arguments).await,
            Command::ServeModels(arguments) => commands::serve_models::serve_models(config()?, arguments).await,
            Command::Models(command) => commands::models::models(&config()?, command).await,
            Command::Firm(command) => commands::firm::firm(&config()?, command).await,
            Command::Categories(command) => commands::categories::categories(&config()?, command).await,
            Command::Probe(arguments) => commands::probe::probe(&config()?, arguments).await,
            Command::Status(JsonFlag { json }) => commands::status::status(&config()?, json).await,
            Command::Photos(arguments) => commands::photos::photos(&config()?, arguments).await,
            Command::Draft(arguments) => commands::draft::draft(&config()?, &arguments).await,
            Command::Picture(arguments) => commands::photos::picture(&config()?, arguments).await,
            Command::Queue(arguments) => commands::photos::queue(&config()?, arguments).await,
            Command::Console(JsonFlag { json }) => commands::console::console(&config()?, json),
            Command::DeadLetters(command) => commands::dead_letters::dead_letters(&config()?, command).await,
            Command::Uncertain(command) => commands::uncertain::uncertain(&config()?, command).await,
            Command::Retractions(command) => commands::retractions::retractions(&config()?, command).await,
            Command::Subscription(command) => commands::subscription::subscription(&config()?, command).await,
            Command::Review(command) => commands::review::review(&config()?, command).await,
            Command::Audit(command) => commands::audit::audit(&config()?, command).await,
            Command::Retention(command) => commands::retention::retention(&config()?, command).await,
            Command::SilentReport(arguments) => commands::silent_report::silent_report(&config()?, arguments).await,
            Command::Config(ConfigCommand::Check(JsonFlag { json })) => commands::config::check(&config()?, json).await,
            Command::Config(ConfigCommand::Default)
            | Command::Key(_)
            | Command::Backup(_)
            | Command::Restore(_)
            | Command::Simulate(_)
            | Command::Completions(_)
            | Command::Man(_)
            | Command::Doctor(_) => Ok(ExitCode::SUCCESS),
        }
    })
}

fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .failed(|| "the asynchronous runtime cannot start".to_owned())?
        .block_on(future)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands that print no document, or always one (a line for each entry, what is registered with an EHR, a file of settings).
    const WITHOUT_JSON: [&str; 11] = [
        "audit export",
        "audit head",
        "completions",
        "config default",
        "help",
        "key client",
        "key public",
        "man",
        "practice-ehr",
        "run",
        "serve-models",
    ];

    /// Each command that has none below it, with whether it takes `--json`.
    fn leaves(command: &clap::Command, before: &str, told: &mut Vec<(String, bool)>) {
        for below in command.get_subcommands() {
            let name = format!("{before}{}", below.get_name());
            if below.has_subcommands() {
                leaves(below, &format!("{name} "), told);
            } else {
                let takes_json = below.get_arguments().any(|argument| argument.get_id() == "json");
                told.push((name, takes_json));
            }
        }
    }

    #[test]
    fn every_command_prints_json_for_programs() {
        let mut told = Vec::new();
        leaves(&Cli::command(), "", &mut told);
        assert!(told.len() > 40, "{told:?}");
        for (name, takes_json) in told {
            assert_eq!(!takes_json, WITHOUT_JSON.contains(&name.as_str()), "{name}");
        }
    }
}
