//! The commands. Each prints for people, or one JSON document with `--json`.

#![allow(clippy::print_stdout, reason = "printing is what commands are for")]

pub(crate) mod assess;
pub(crate) mod categories;
pub(crate) mod config;
pub(crate) mod dead_letters;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod firm;
pub(crate) mod key;
pub(crate) mod practice_ehr;
pub(crate) mod run;
pub(crate) mod status;
mod table;
pub(crate) mod uncertain;

use serde::Serialize;
use skin_assist_core::{
    domain::{Firm, FirmId},
    ports::{Audit, AuditAction, AuditRecord, StateError, StateStore},
    time::Clock as _,
};

use crate::{
    clock::SystemClock,
    failure::{Failure, Hinted as _},
};

fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document).failed(|| "the result cannot be written as JSON".to_owned())?;
    println!("{text}");
    Ok(())
}

fn state_failed(error: StateError) -> Failure {
    let hint = match &error {
        StateError::Exists { .. } => "choose another name, or remove the one that is there",
        StateError::NotFound { .. } => "`skin-assist status` lists what there is",
        _ => "try again; if it persists, check the disk and the state file with `skin-assist doctor`",
    };
    Failure::new("the state was not changed").because(error).with_hint(hint)
}

async fn known_firm(state: &dyn StateStore, id: &str) -> Result<Firm, Failure> {
    let firm = state.firm(&firm_id(id)?).await.map_err(state_failed)?;
    firm.ok_or_else(|| {
        Failure::new(format!("there is no practice `{id}`")).with_hint("`skin-assist firm list` lists them")
    })
}

fn firm_id(id: &str) -> Result<FirmId, Failure> {
    id.parse().failed(|| format!("`{id}` cannot be the name of a practice"))
}

/// Writes an operator's change into the audit trail.
async fn audit(audit: &dyn Audit, firm: &FirmId, action: AuditAction, subject: String) -> Result<(), Failure> {
    let record = AuditRecord {
        at: SystemClock.now(),
        firm: firm.clone(),
        actor: "operator".to_owned(),
        action,
        subject,
    };
    audit.record(&record).await.map_err(state_failed)
}
