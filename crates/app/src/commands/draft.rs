//! `skin-assist draft`: the draft about a photo, with what it was made of.

use std::process::ExitCode;

use serde_json::json;
use skin_assist_core::{
    domain::{AssistResult, DocumentId, DraftNote, Findings},
    ports::AuditAction,
};

use super::{
    by_operator, known_firm,
    photos::{Because, seen_on},
    print_json, state_failed,
    table::table,
};
use crate::{cli::DraftArguments, config::Config, failure::Failure, wiring};

/// Prints it, after it was noted in the audit trail that it is read, and why.
pub(crate) async fn draft(config: &Config, arguments: &DraftArguments) -> Result<ExitCode, Failure> {
    let because = Because::given(&arguments.of.why)?;
    let state = wiring::state(config).await?;
    let firm = known_firm(&*state, &arguments.of.firm).await?.id;
    let document = DocumentId::new(arguments.of.photo.clone());
    let journey = state.journey(&firm, &document).await.map_err(state_failed)?;
    let journey = journey.ok_or_else(|| {
        Failure::new(format!("no photo `{document}` of `{firm}` is known"))
            .with_hint("`skin-assist photos` lists the latest ones")
    })?;
    let result = state.result(&firm, &journey.assessment).await.map_err(state_failed)?;
    let result = result.ok_or_else(|| {
        Failure::new(format!("there is no draft about `{document}`"))
            .with_hint("`skin-assist photos` says how far it is; a result that is past its time was removed")
    })?;
    let subject = because.subject(journey.assessment.as_str());
    let record = by_operator(&firm, AuditAction::ResultRead, subject);
    state.record(&record).await.map_err(state_failed)?;
    let (_, findings) = seen_on(&result, &document);
    if arguments.json {
        print_json(&json!({
            "firm": firm,
            "photo": document,
            "assessment": result.assessment,
            "reference_code": result.assessment.reference_code(),
            "assessed_at": result.assessed_at,
            "delivery": result.delivery,
            "versions": result.versions,
            "findings": findings,
            "title": result.note.expose().title,
            "sections": result.note.expose().sections,
        }))?;
    } else {
        print(&result, findings);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(result: &AssistResult, findings: &Findings) {
    print_note(result.note.expose());
    let classes: Vec<_> = findings
        .ranked
        .iter()
        .map(|class| {
            let percent = f64::from(class.probability) * 100.0;
            [
                class.label.display.clone(),
                class.label.snomed_ct.clone(),
                format!("{percent:.1} %"),
            ]
        })
        .collect();
    if !classes.is_empty() {
        say!("\nWhat the models saw:");
        super::print(&table(["CLASS", "SNOMED CT", "PROBABILITY"], &classes));
    }
    let versions = &result.versions;
    for model in &versions.models {
        say!("Model pack {}, version {}", model.pack, model.version);
    }
    say!("Synthesis {}, Skin Assist {}", versions.synthesis, versions.pipeline);
    if let Some(language) = &versions.language {
        say!(
            "Language model {}, prompt {}, SHA-256 {}",
            language.model,
            language.prompt,
            language.prompt_sha256
        );
    }
    say!("Reference code {}", result.assessment.reference_code());
}

/// The text of a note, section by section.
pub(super) fn print_note(note: &DraftNote) {
    say!("{}", note.title);
    for section in &note.sections {
        say!("\n{}", section.heading);
        for paragraph in &section.paragraphs {
            say!("  {paragraph}");
        }
    }
}
