//! The commands. Each prints for people, or one JSON document with `--json`.

/// Prints a line for people.
macro_rules! say {
    ($($argument:tt)*) => { $crate::commands::print(&format!("{}\n", format_args!($($argument)*))) };
}

pub(crate) mod assess;
pub(crate) mod audit;
pub(crate) mod backfill;
pub(crate) mod categories;
mod chart_access;
pub(crate) mod config;
pub(crate) mod console;
pub(crate) mod copies;
pub(crate) mod credential;
pub(crate) mod dead_letters;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod draft;
pub(crate) mod drift;
pub(crate) mod eval;
pub(crate) mod firm;
pub(crate) mod key;
pub(crate) mod models;
pub(crate) mod photos;
pub(crate) mod practice_ehr;
pub(crate) mod probe;
mod progress;
pub(crate) mod retention;
pub(crate) mod retractions;
pub(crate) mod review;
pub(crate) mod rotate;
pub(crate) mod run;
pub(crate) mod serve_models;
pub(crate) mod silent_report;
pub(crate) mod simulate;
pub(crate) mod status;
pub(crate) mod subscription;
mod table;
pub(crate) mod uncertain;

use std::{io::Write as _, path::Path};

use serde::Serialize;
use skin_assist_core::{
    audit::INSTALLATION,
    domain::{Firm, FirmId},
    ports::{AuditAction, AuditRecord, StateError, StateStore},
    time::Clock as _,
};

use crate::{
    cli::JsonFlag,
    clock::SystemClock,
    failure::{Failure, Hinted as _, WithHint as _},
};

/// Prints to standard output. A reader that has gone away (`| head`) ends the command quietly.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush())
        && error.kind() == std::io::ErrorKind::BrokenPipe
    {
        std::process::exit(0);
    }
}

fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document).failed(|| "the result cannot be written as JSON".to_owned())?;
    say!("{text}");
    Ok(())
}

/// What a command prints that has changed something: with `--json` what it changed, as it is now; else a line for people.
fn print_changed(JsonFlag { json }: JsonFlag, document: &impl Serialize, line: &str) -> Result<(), Failure> {
    if json {
        return print_json(document);
    }
    say!("{line}");
    Ok(())
}

pub(crate) fn state_failed(error: StateError) -> Failure {
    let hint = match &error {
        StateError::Exists { .. } => "choose another name, or remove the one that is there",
        StateError::NotFound { .. } => "`skin-assist status` lists what there is",
        _ => "try again; if it persists, check the disk and the state file with `skin-assist doctor`",
    };
    Failure::new("the state was not changed").because(error).with_hint(hint)
}

pub(crate) async fn known_firm(state: &dyn StateStore, id: &str) -> Result<Firm, Failure> {
    let firm = state.firm(&firm_id(id)?).await.map_err(state_failed)?;
    firm.ok_or_else(|| {
        Failure::new(format!("there is no practice `{id}`")).with_hint("`skin-assist firm list` lists them")
    })
}

fn firm_id(id: &str) -> Result<FirmId, Failure> {
    let cannot = || format!("`{id}` cannot be the name of a practice");
    if id == INSTALLATION {
        return Err(
            Failure::new(cannot()).with_hint("it is the name of the installation's own part of the audit trail")
        );
    }
    id.parse().failed(cannot)
}

/// Who asks for something, for the audit trail.
#[derive(Debug, Clone)]
pub(crate) struct Operator(String);

impl Operator {
    /// Whoever runs a command, as far as the system tells: the user that it runs as.
    pub(crate) fn of_the_command() -> Self {
        #[cfg(unix)]
        {
            Self(format!("operator uid {}", rustix::process::getuid().as_raw()))
        }
        #[cfg(not(unix))]
        {
            Self("operator".to_owned())
        }
    }

    /// Whoever is signed in to the console, by the name that they gave.
    pub(crate) fn of_the_console(name: &str, role: &str) -> Self {
        Self(format!("console {role} {name}"))
    }

    /// As entries in the audit trail name them.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// An entry in the audit trail. What changes something is told together with the change:
    /// `state.audited(operator.entry(…)).change(…)`; what only reads, before what was read is shown: `state.record(&operator.entry(…))`.
    pub(crate) fn entry(&self, firm: &FirmId, action: AuditAction, subject: impl Into<String>) -> AuditRecord {
        AuditRecord {
            at: SystemClock.now(),
            firm: firm.clone(),
            actor: self.0.clone(),
            action,
            subject: subject.into(),
        }
    }
}

/// An entry of whoever runs a command.
fn by_operator(firm: &FirmId, action: AuditAction, subject: impl Into<String>) -> AuditRecord {
    Operator::of_the_command().entry(firm, action, subject)
}

/// Writes bytes into a new file that only its owner can read. Its folder must exist, and it must not exist itself: nothing is overwritten.
fn write_private(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(file)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Writes a picture of a patient into a new file.
fn write_picture(file: &Path, png: &[u8]) -> Result<(), Failure> {
    write_private(file, png)
        .failed(|| format!("the picture {} cannot be written", file.display()))
        .hint("name a file that does not exist yet, in a folder that this user may write to")
}
