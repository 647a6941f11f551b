//! `skin-assist models`: the model packs, looked at, checked and explained.

use std::{path::Path, process::ExitCode};

use serde_json::json;
use skin_assist_core::domain::Route;
use skin_assist_models::{
    explain,
    pack::{self, Pack},
    runtime::{Runtime, RuntimeChoice},
    verify::{self, Report, Verdict},
};

use super::{print_json, progress, table::table};
use crate::{
    cli::{ExplainArguments, ModelsCommand},
    config::Config,
    failure::{Failure, Hinted as _, WithHint as _},
    wiring,
};

/// Lists, verifies or explains, or tells how answers change.
pub(crate) async fn models(config: &Config, command: ModelsCommand) -> Result<ExitCode, Failure> {
    match command {
        ModelsCommand::List(flag) => list(config, flag.json),
        ModelsCommand::Verify { folder, json } => verify(config, &folder, json),
        ModelsCommand::Explain(arguments) => explain(config, &arguments),
        ModelsCommand::Drift(arguments) => super::drift::drift(config, arguments).await,
    }
}

/// The packs that the configuration names.
fn list(config: &Config, as_json: bool) -> Result<ExitCode, Failure> {
    let packs = wiring::packs(config)?;
    if as_json {
        let packs: Vec<_> = packs.iter().map(described).collect();
        print_json(&packs)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<_> = packs.iter().map(row).collect();
    print_table(&rows);
    Ok(ExitCode::SUCCESS)
}

fn row(pack: &Pack) -> [String; 5] {
    let manifest = pack.manifest();
    [
        manifest.route.to_string(),
        manifest.id.clone(),
        manifest.version.clone(),
        manifest.classifier.labels.len().to_string(),
        manifest.intended_use.clone(),
    ]
}

fn print_table(rows: &[[String; 5]]) {
    super::print(&table(["ROUTE", "PACK", "VERSION", "CLASSES", "INTENDED USE"], rows));
}

fn described(pack: &Pack) -> serde_json::Value {
    let manifest = pack.manifest();
    let populations: Vec<_> = manifest
        .populations
        .iter()
        .map(|group| json!({ "name": group.name, "photos": group.photos, "skin_types": group.skin_types, "result": group.result }))
        .collect();
    json!({
        "id": manifest.id,
        "version": manifest.version,
        "route": manifest.route,
        "title": manifest.title,
        "intended_use": manifest.intended_use,
        "labels": manifest.classifier.labels,
        "populations": populations,
    })
}

/// Checks each pack in a folder. The exit code is 1 when a check failed.
fn verify(config: &Config, folder: &Path, as_json: bool) -> Result<ExitCode, Failure> {
    let folders = pack::find(folder)
        .failed(|| format!("the folder {} cannot be read", folder.display()))
        .hint("give a folder with a pack.toml, or a folder of such folders")?;
    if folders.is_empty() {
        return Err(Failure::new(format!("there is no model pack in {}", folder.display()))
            .with_hint("a pack is a folder with a pack.toml"));
    }
    let runtimes = runtimes(config)?;
    let progress = progress::counted("packs", folders.len() as u64);
    let reports: Vec<Report> = folders
        .iter()
        .map(|folder| {
            let report = verify::verify(folder, &runtimes);
            progress.inc(1);
            report
        })
        .collect();
    progress.finish_and_clear();
    if as_json {
        print_json(&reports)?;
    } else {
        for report in &reports {
            print(report);
        }
    }
    let passed = reports.iter().all(Report::passed);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// rten, which is always there, and ONNX Runtime where the configuration or the machine has it.
fn runtimes(config: &Config) -> Result<Vec<Runtime>, Failure> {
    let rten = Runtime::open(&RuntimeChoice::Rten).failed(|| "rten cannot be used".to_owned())?;
    let configured = wiring::runtime(config)?;
    let is_other = configured.describe().name != rten.describe().name;
    Ok(std::iter::once(rten).chain(is_other.then_some(configured)).collect())
}

fn print(report: &Report) {
    let name = report
        .pack
        .as_ref()
        .map_or_else(|| "no pack".to_owned(), ToString::to_string);
    say!("{name} ({})", report.folder);
    for check in &report.checks {
        let mark = match check.verdict {
            Verdict::Passed => "ok",
            Verdict::NotMade => "--",
            Verdict::Failed => "!!",
        };
        say!(
            "{mark}  {:<26} {}",
            check.what,
            check.says.replace('\n', "\n                               ")
        );
    }
}

/// Looks at a photo and writes the picture that explains the findings.
fn explain(config: &Config, arguments: &ExplainArguments) -> Result<ExitCode, Failure> {
    let route = Route::from(arguments.route);
    let runtime = wiring::runtime(config)?;
    let packs = wiring::packs(config)?;
    let pack = packs
        .iter()
        .find(|pack| pack.route() == route)
        .ok_or_else(|| Failure::new(format!("no model pack serves the route {route}")))?;
    let pack = pack.load(&runtime).map_err(|error| {
        let hint = error.hint();
        Failure::new("a model pack cannot be used")
            .because(error)
            .with_hint(hint)
    })?;
    let photo = std::fs::read(&arguments.photo)
        .failed(|| format!("the photo {} cannot be read", arguments.photo.display()))
        .hint("check the path and that this user may read the file")?;
    let explained = explain::explain(pack, &photo, wiring::photo_limits(config), arguments.saliency)
        .failed(|| format!("the photo {} cannot be explained", arguments.photo.display()))?;
    super::write_picture(&arguments.out, &explained.png)?;
    if arguments.json {
        let saliency = explained.saliency.map(
            |saliency| json!({ "area": saliency.area, "side": explain::Saliency::side(), "falls": saliency.falls }),
        );
        print_json(&json!({ "findings": explained.findings, "saliency": saliency, "picture": arguments.out }))?;
    } else {
        super::assess::print(&explained.findings);
        say!(
            "  picture: {}. It shows the patient's photo: keep it where photos may be kept.",
            arguments.out.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}
