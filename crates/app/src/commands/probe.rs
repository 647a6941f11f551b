//! `skin-assist probe`: what an EHR really does, against what its profile says.

use std::{io::Write as _, path::Path, process::ExitCode, sync::Arc};

use serde::Serialize;
use skin_assist_core::{
    domain::Firm,
    ports::{AuditAction, StateStore},
};
use skin_assist_ehr::{Difference, ProbeError, ProbeReport, Verdict};

use super::{Operator, chart_access::ChartAccess, known_firm, print_json};
use crate::{
    cli::ProbeArguments,
    config::Config,
    failure::{Failure, Hinted as _, WithHint as _},
    wiring,
};

/// The report as one document.
#[derive(Serialize)]
struct Document<'a> {
    firm: &'a str,
    fits: bool,
    #[serde(flatten)]
    report: &'a ProbeReport,
    proposed_profile: String,
}

/// Asks a practice's EHR. Exits with 1 when something contradicts the profile.
pub(crate) async fn probe(config: &Config, arguments: ProbeArguments) -> Result<ExitCode, Failure> {
    if let Some(file) = &arguments.profile_out
        && file.exists()
    {
        return Err(exists(file));
    }
    let state = wiring::state(config).await?;
    let firm = known_firm(&*state, &arguments.firm).await?;
    let report = ask(config, &state, &Operator::of_the_command(), &firm).await?;
    let proposed = report.proposed_profile();
    if let Some(file) = &arguments.profile_out {
        write_new(file, &proposed)?;
    }
    if arguments.json {
        print_json(&Document {
            firm: firm.id.as_str(),
            fits: report.fits(),
            report: &report,
            proposed_profile: proposed,
        })?;
    } else {
        print(&report, arguments.profile_out.as_deref());
    }
    Ok(if report.fits() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Asks a practice's EHR what it does.
pub(crate) async fn ask(
    config: &Config,
    state: &Arc<dyn StateStore>,
    operator: &Operator,
    firm: &Firm,
) -> Result<ProbeReport, Failure> {
    let record = operator.entry(&firm.id, AuditAction::ChartProbed, "probe");
    state.record(&record).await.map_err(super::state_failed)?;
    let access = ChartAccess::open_anew(config, state, firm).await?;
    let asked = access.ehr.probe(firm, &access.token, access.quota()).await;
    asked.map_err(|error| match error {
        ProbeError::State(error) => super::state_failed(error),
        error @ ProbeError::Ehr(_) => Failure::new(format!("the EHR of `{}` cannot be asked", firm.id))
            .because(error)
            .with_hint("check the practice's URL prefix"),
    })
}

fn print(report: &ProbeReport, written: Option<&Path>) {
    for finding in &report.findings {
        let mark = match finding.verdict {
            Verdict::Well => "ok",
            Verdict::Differs => "!!",
            Verdict::Offered => "+",
            Verdict::Notice => "*",
            Verdict::NotKnown => "?",
        };
        say!("{mark:<2}  {:<36} {}", finding.code.as_str(), finding.seen);
    }
    say!("");
    say!("ok as it should be, !! differs from the profile, + offered and not used, * worth knowing, ? not known.");
    say!(
        "{} calls were made, each against the quota. Nothing was changed.",
        report.calls
    );
    if report.fits() {
        say!("Nothing contradicts the profile `{}`.", report.profile);
    } else {
        say!("\nThe EHR is not as the profile `{}` says:", report.profile);
        for difference in &report.differences {
            say!("  {}", line(difference));
        }
    }
    match written {
        Some(file) => say!(
            "The proposed profile is in {}: read it, then name it as ehr.profile.",
            file.display()
        ),
        None if report.fits() => {}
        None => say!("--profile-out FILE writes a profile with what differs put right."),
    }
}

pub(crate) fn line(difference: &Difference) -> String {
    let Difference {
        key,
        profile,
        ehr,
        answered,
        ..
    } = difference;
    let unanswered = if *answered {
        ""
    } else {
        " No value of the key answers that."
    };
    format!("{key}: the profile says {profile}, the EHR {ehr}.{unanswered}")
}

fn exists(file: &Path) -> Failure {
    Failure::new(format!("the file {} exists already", file.display()))
        .with_hint("choose another name; nothing is overwritten")
}

/// Writes a file that is not there yet.
fn write_new(file: &Path, text: &str) -> Result<(), Failure> {
    let opened = std::fs::File::options().write(true).create_new(true).open(file);
    match opened {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(exists(file)),
        opened => opened
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .failed(|| format!("the profile {} cannot be written", file.display()))
            .hint("check that the folder exists and can be written to"),
    }
}
