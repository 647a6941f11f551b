//! `skin-assist assess`.

use std::{path::Path, process::ExitCode};

use bytes::Bytes;
use futures::future::join_all;
use serde_json::json;
use skin_assist_core::{
    domain::{Findings, Route},
    phi::Phi,
    ports::{VisionError, VisionModel},
};

use super::print_json;
use crate::{
    cli::AssessArguments,
    config::Config,
    failure::{Failure, Hinted as _, WithHint as _},
    wiring,
};

/// Looks at photos with the models. One that cannot be looked at does not stop the others; then the exit code is 1.
pub(crate) async fn assess(config: &Config, arguments: AssessArguments) -> Result<ExitCode, Failure> {
    let vision = wiring::models(config).await?;
    let route = Route::from(arguments.route);
    let looks = arguments
        .photos
        .iter()
        .map(|photo| look(&*vision, route, photo, config.photos.max_megabytes));
    let outcomes = join_all(looks).await;
    let failed = outcomes.iter().any(Result::is_err);
    let outcomes = arguments.photos.iter().zip(&outcomes);
    if arguments.json {
        let documents: Vec<_> = outcomes
            .map(|(photo, outcome)| match outcome {
                Ok(findings) => json!({ "photo": photo, "findings": findings }),
                Err(failure) => json!({ "photo": photo, "error": failure.report() }),
            })
            .collect();
        print_json(&documents)?;
    } else {
        for (photo, outcome) in outcomes {
            say!("{}", photo.display());
            match outcome {
                Ok(findings) => print(findings),
                Err(failure) => say!("  {}", failure.report().replace('\n', "\n  ")),
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn look(vision: &dyn VisionModel, route: Route, photo: &Path, max_megabytes: usize) -> Result<Findings, Failure> {
    let size = std::fs::metadata(photo)
        .failed(|| format!("the photo {} cannot be read", photo.display()))
        .hint("check the path and that this user may read the file")?
        .len();
    if size > max_megabytes as u64 * 1_000_000 {
        return Err(refused(&VisionError::Photo(
            skin_assist_core::ports::PhotoRefusal::TooManyBytes,
        )));
    }
    let bytes = std::fs::read(photo).failed(|| format!("the photo {} cannot be read", photo.display()))?;
    vision
        .look(route, &Phi::new(Bytes::from(bytes)))
        .await
        .map_err(|error| refused(&error))
}

fn refused(error: &VisionError) -> Failure {
    let reason = error.reason();
    Failure::new(format!("{error} ({reason})")).with_hint(reason.hint())
}

pub(super) fn print(findings: &Findings) {
    let image = &findings.image;
    say!(
        "  {} by {} pixels, {}, sharpness {:.0}, brightness {:.2}",
        image.width,
        image.height,
        image.format,
        image.quality.sharpness,
        image.quality.brightness
    );
    for region in &findings.regions {
        let area = region.area;
        let top = region.classes.first().map_or("-", |class| class.label.display.as_str());
        say!(
            "  lesion at {:.2},{:.2} size {:.2}x{:.2} (score {:.2}): {top}",
            area.x,
            area.y,
            area.width,
            area.height,
            region.score
        );
    }
    if let Some(abstention) = findings.abstention {
        say!("  no assessment: {abstention:?}");
    }
    if !findings.concerns.is_empty() {
        say!("  concerns: {:?}", findings.concerns);
    }
    for class in findings.ranked.iter().take(3) {
        say!(
            "  {:>5.1} %  {} (SNOMED CT {})",
            class.probability * 100.0,
            class.label.display,
            class.label.snomed_ct
        );
    }
    let models: Vec<_> = findings.models.iter().map(ToString::to_string).collect();
    say!("  models: {}. Not a diagnosis.", models.join(", "));
}
