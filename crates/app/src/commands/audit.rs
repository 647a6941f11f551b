//! `skin-assist audit`: the trail of who or what read or wrote which record, as chains that show whether they were touched.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
};

use indicatif::ProgressBar;
use skin_assist_core::{
    audit::{AuditEntry, AuditHead, BEGINNING_NUMBER, ChainReport, ChainVerifier, installation},
    domain::FirmId,
    ports::{AuditAction, AuditChain, StateStore},
    time::Timestamp,
};

use super::{by_operator, print_json, progress, state_failed, table::table};
use crate::{
    cli::{AuditCommand, JsonFlag},
    config::Config,
    failure::{Failure, Hinted as _, WithHint as _},
    wiring,
};

/// Entries that are read at a time.
const PAGE: usize = 1000;

/// Checks the trail, shows where it ends, or exports it.
pub(crate) async fn audit(config: &Config, command: AuditCommand) -> Result<ExitCode, Failure> {
    let state = wiring::state(config).await?;
    match command {
        AuditCommand::Verify {
            anchor,
            json: JsonFlag { json },
        } => {
            let anchors = anchors(&anchor)?;
            let bar = progress::counted("entries", 0);
            let reports = verify(&*state, &anchors, &bar).await?;
            bar.finish_and_clear();
            if json {
                print_json(&reports)?;
            } else {
                print(&reports, anchors.len());
            }
            let sound = reports.iter().all(|report| report.faults.is_empty());
            Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        AuditCommand::Head => {
            for chain in state.audit_chains().await.map_err(state_failed)? {
                print_line(&chain.head)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        AuditCommand::Export { since, firm } => {
            let since = match since {
                Some(text) => Timestamp::parse_rfc3339(&text)
                    .failed(|| format!("`{text}` is no time"))
                    .hint("write it as 2026-01-31T00:00:00Z")?,
                None => Timestamp::ALWAYS,
            };
            export(&*state, firm.as_deref(), since).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The anchors in files that `audit head` wrote.
fn anchors(files: &[PathBuf]) -> Result<Vec<AuditHead>, Failure> {
    let mut anchors = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file)
            .failed(|| format!("the anchor {} cannot be read", file.display()))
            .hint("`skin-assist audit head > FILE` makes one")?;
        anchors.extend(parse(&text, file)?);
    }
    Ok(anchors)
}

fn parse(text: &str, file: &Path) -> Result<Vec<AuditHead>, Failure> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let heads = lines.map(serde_json::from_str).collect::<Result<Vec<AuditHead>, _>>();
    let heads = heads
        .failed(|| format!("{} is no anchor", file.display()))
        .hint("`skin-assist audit head > FILE` makes one")?;
    if heads.is_empty() {
        // Whoever cut the trail off may have emptied the anchor too.
        return Err(Failure::new(format!("the anchor {} is empty", file.display())));
    }
    Ok(heads)
}

/// Checks every chain that there is, and every one that an anchor says there was.
///
/// The bar shows how far it is.
pub(crate) async fn verify(
    state: &dyn StateStore,
    anchors: &[AuditHead],
    bar: &ProgressBar,
) -> Result<Vec<ChainReport>, Failure> {
    let mut chains = state.audit_chains().await.map_err(state_failed)?;
    let known: BTreeSet<FirmId> = chains.iter().map(|chain| chain.head.firm.clone()).collect();
    let lost: BTreeSet<&FirmId> = anchors.iter().map(|anchor| &anchor.firm).collect();
    chains.extend(lost.into_iter().filter(|firm| !known.contains(*firm)).map(|firm| {
        let beginning = AuditHead::beginning(firm.clone());
        AuditChain {
            base: beginning.clone(),
            head: beginning,
        }
    }));
    let mut reports = Vec::with_capacity(chains.len());
    let entries = chains
        .iter()
        .map(|chain| chain.head.number.saturating_sub(chain.base.number))
        .sum();
    bar.set_length(entries);
    for chain in chains {
        let firm = chain.base.firm.clone();
        let mut verifier = ChainVerifier::new(chain.base, anchors);
        each_entry(state, &firm, |entry| {
            verifier.entry(entry);
            bar.inc(1);
            Ok(())
        })
        .await?;
        reports.push(verifier.end());
    }
    Ok(reports)
}

async fn each_entry(
    state: &dyn StateStore,
    firm: &FirmId,
    mut told: impl FnMut(&AuditEntry) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut from = BEGINNING_NUMBER;
    loop {
        let page = state.audit_entries(firm, from, PAGE).await.map_err(state_failed)?;
        page.entries.iter().try_for_each(&mut told)?;
        match page.next {
            Some(next) => from = next,
            None => return Ok(()),
        }
    }
}

fn print(reports: &[ChainReport], anchors: usize) {
    let rows: Vec<_> = reports
        .iter()
        .map(|report| {
            [
                report.firm.to_string(),
                report.entries.to_string(),
                report.removed.to_string(),
                report.head.number.to_string(),
                if report.faults.is_empty() { "whole" } else { "TOUCHED" }.to_owned(),
            ]
        })
        .collect();
    super::print(&table(
        ["CHAIN", "ENTRIES", "REMOVED UP TO", "ENDS WITH", "STATE"],
        &rows,
    ));
    for report in reports {
        for fault in &report.faults {
            say!("{}: {fault}", report.firm);
        }
    }
    if anchors == 0 {
        say!("Without an anchor a missing end is not found: keep the output of `skin-assist audit head` elsewhere.");
    }
}

/// Prints the entries, one JSON document a line, after noting in the trail that they were exported.
async fn export(state: &dyn StateStore, firm: Option<&str>, since: Timestamp) -> Result<(), Failure> {
    let chains = state.audit_chains().await.map_err(state_failed)?;
    let wanted = |chain: &&AuditChain| firm.is_none_or(|firm| chain.head.firm.as_str() == firm);
    let chosen: Vec<&AuditChain> = chains.iter().filter(wanted).collect();
    if let (Some(firm), true) = (firm, chosen.is_empty()) {
        return Err(Failure::new(format!("there is no audit trail of `{firm}`"))
            .with_hint("`skin-assist audit head` lists the chains"));
    }
    let subject = format!("{} since {since}", firm.unwrap_or("all"));
    let of = firm.map_or_else(installation, FirmId::new);
    let record = by_operator(&of, AuditAction::TrailExported, subject);
    state.record(&record).await.map_err(state_failed)?;
    for chain in chosen {
        each_entry(state, &chain.head.firm, |entry| {
            if entry.at < since {
                return Ok(());
            }
            print_line(entry)
        })
        .await?;
    }
    Ok(())
}

fn print_line(document: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(document).failed(|| "the result cannot be written as JSON".to_owned())?;
    say!("{text}");
    Ok(())
}
