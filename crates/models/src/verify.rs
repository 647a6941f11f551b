//! Whether a pack does what it says: `skin-assist models verify`.
//!
//! Every check is made that can be made, so that the report is whole; one that has nothing to work on is "not made".

use std::{path::Path, sync::Arc};

use serde::Serialize;
use skin_assist_core::domain::{Findings, ModelVersion};

use crate::{
    pack::{Golden, LoadedPack, Pack},
    photo::{self, Limits},
    preprocess::Reducer,
    runtime::{Model, Runtime, Tensor},
    vision::look::PackSessions,
};

/// How far two runtimes may be apart, as a part of one more than the number's size.
const AGREEMENT: f32 = 0.01;
/// What a pack says about itself to people.
const MODEL_CARD: &str = "MODEL_CARD.md";

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Passed,
    /// Not as it should be.
    Failed,
    /// There was nothing to check, or nothing to check it with.
    NotMade,
}

/// A check.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What was checked.
    pub what: String,
    /// How it went.
    pub verdict: Verdict,
    /// What came out, for people; with a hint where it failed.
    pub says: String,
}

/// What is known of a pack after all checks.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The folder.
    pub folder: String,
    /// The pack, where its manifest can be read.
    pub pack: Option<ModelVersion>,
    /// The checks.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether no check failed.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.verdict != Verdict::Failed)
    }

    fn add(&mut self, what: impl Into<String>, outcome: Result<String, String>) -> bool {
        let (verdict, says) = match outcome {
            Ok(says) => (Verdict::Passed, says),
            Err(says) => (Verdict::Failed, says),
        };
        self.checks.push(Check {
            what: what.into(),
            verdict,
            says,
        });
        verdict == Verdict::Passed
    }

    fn not_made(&mut self, what: &str, says: &str) {
        self.checks.push(Check {
            what: what.to_owned(),
            verdict: Verdict::NotMade,
            says: says.to_owned(),
        });
    }
}

/// Checks the pack of a folder on the given runtimes.
pub fn verify(folder: &Path, runtimes: &[Runtime]) -> Report {
    let mut report = Report {
        folder: folder.display().to_string(),
        pack: None,
        checks: Vec::new(),
    };
    let pack = match Pack::from_directory(folder) {
        Ok(pack) => pack,
        Err(error) => {
            report.add("manifest and files", Err(told(&error, error.hint())));
            return report;
        }
    };
    report.pack = Some(pack.version());
    let manifest = pack.manifest();
    let classes = manifest.classifier.labels.len();
    report.add(
        "manifest and files",
        Ok(format!(
            "route {}, {classes} classes, all hashes as stated",
            manifest.route
        )),
    );
    if folder.join(MODEL_CARD).is_file() {
        report.add("model card", Ok(format!("{MODEL_CARD} is there")));
    } else {
        report.add("model card", Err(format!("there is no {MODEL_CARD}\nhint: say in it who trained the models on what, how they were validated, and what they are not for")));
    }
    if manifest.populations.is_empty() {
        report.not_made(
            "populations",
            "the manifest does not say on whom the pack was validated ([[populations]])",
        );
    } else {
        let photos: u32 = manifest.populations.iter().map(|population| population.photos).sum();
        report.add(
            "populations",
            Ok(format!("{} groups, {photos} photos", manifest.populations.len())),
        );
    }
    let mut loaded = Vec::new();
    for runtime in runtimes {
        let name = runtime.describe().name;
        match pack.load(runtime) {
            Ok(pack) => {
                report.add(
                    format!("shapes, {name}"),
                    Ok("each model loads and answers as the manifest says".to_owned()),
                );
                loaded.push((name, Arc::new(pack)));
            }
            Err(error) => {
                report.add(format!("shapes, {name}"), Err(told(&error, error.hint())));
            }
        }
    }
    match &*loaded {
        [(one, first), (other, second)] => {
            let outcome = agree(first, second).map(|most| format!("{one} and {other} are at most {most:.1e} apart"));
            report.add("agreement of the runtimes", outcome);
        }
        _ => report.not_made(
            "agreement of the runtimes",
            "one runtime is here; with a library of ONNX Runtime (models.onnx_runtime_library) both are compared",
        ),
    }
    match (&manifest.golden, pack.golden()) {
        (Some(golden), Ok(Some(photo))) => {
            for (name, pack) in &loaded {
                report.add(format!("golden image, {name}"), golden_image(golden, &photo, pack));
            }
        }
        (_, Err(error)) => {
            report.add("golden image", Err(told(&error, error.hint())));
        }
        _ => report.not_made("golden image", "the manifest names none ([golden])"),
    }
    report
}

/// An error with its causes and a hint.
fn told(error: &(dyn std::error::Error + 'static), hint: &str) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    format!("{}\nhint: {hint}", causes.join(": "))
}

/// The greatest difference between two packs' models on the same input.
fn agree(one: &LoadedPack, other: &LoadedPack) -> Result<f32, String> {
    let manifest = one.manifest();
    let mut most = 0.0;
    let gates = manifest
        .gate
        .as_ref()
        .map(|gate| (&gate.file, &gate.input, one.gate(), other.gate()));
    let detectors = manifest.detector.as_ref();
    let detectors = detectors.map(|detector| (&detector.file, &detector.input, one.detector(), other.detector()));
    let classifier = &manifest.classifier;
    let classifiers = (
        &classifier.file,
        &classifier.input,
        Some(one.classifier()),
        Some(other.classifier()),
    );
    for (file, input, one, other) in gates.into_iter().chain(detectors).chain([classifiers]) {
        let (Some(one), Some(other)) = (one, other) else {
            continue;
        };
        let tensor = noise(input.width as usize, input.height as usize);
        let run = |model: &dyn Model| {
            let answers = model.session().and_then(|mut session| session.run_all(&tensor));
            answers.map_err(|error| told(&error, error.hint()))
        };
        let (one, other) = (run(one)?, run(other)?);
        if !one
            .iter()
            .map(|tensor| &tensor.shape)
            .eq(other.iter().map(|tensor| &tensor.shape))
        {
            return Err(format!("{}: the runtimes give other shapes", file.name));
        }
        let numbers = |answers: &[Tensor]| {
            answers
                .iter()
                .flat_map(|tensor| tensor.data.clone())
                .collect::<Vec<_>>()
        };
        for (one, other) in numbers(&one).into_iter().zip(numbers(&other)) {
            let apart = (one - other).abs() / (1.0 + one.abs());
            // What is not a number agrees with nothing.
            if apart.is_nan() || apart > AGREEMENT {
                return Err(format!(
                    "{}: {one} and {other}\nhint: export the model again with operators that both runtimes know, or use one runtime only",
                    file.name
                ));
            }
            most = f32::max(most, apart);
        }
    }
    Ok(most)
}

/// Values from 0 to 1 that look like noise.
fn noise(width: usize, height: usize) -> Tensor {
    let mut state = 1_u32;
    let data = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    });
    Tensor {
        shape: vec![1, 3, height, width],
        data: data.take(3 * width * height).collect(),
    }
}

/// Whether a pack says about its golden image what its manifest says.
fn golden_image(golden: &Golden, photo: &[u8], pack: &Arc<LoadedPack>) -> Result<String, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{} cannot be looked at: {error}", golden.name);
    let photo = photo::open(photo, Limits::default()).map_err(|error| failed(&error))?;
    let mut sessions = PackSessions::new(pack).map_err(|error| failed(&error))?;
    let findings = sessions
        .look(&photo, &mut Reducer::default())
        .map_err(|error| failed(&error))?;
    let apart = apart(golden, &findings, pack)?;
    if apart <= golden.tolerance {
        return Ok(format!(
            "at most {apart:.4} from what is expected; {} is allowed",
            golden.tolerance
        ));
    }
    Err(format!(
        "{apart:.4} from what is expected, {} is allowed\nhint: the model, or the preprocessing in its manifest, is not the one that the numbers were made with",
        golden.tolerance
    ))
}

/// The greatest difference of a probability or an edge.
fn apart(golden: &Golden, findings: &Findings, pack: &LoadedPack) -> Result<f32, String> {
    if findings.ranked.is_empty() {
        return Err(format!(
            "nothing was judged: {:?} {:?}",
            findings.abstention, findings.concerns
        ));
    }
    let labels = &pack.manifest().classifier.labels;
    let probability = |label: &skin_assist_core::domain::Label| {
        findings
            .ranked
            .iter()
            .find(|class| class.label == *label)
            .map_or(0.0, |class| class.probability)
    };
    let probabilities = labels.iter().map(probability).zip(&golden.probabilities);
    let mut apart = probabilities
        .map(|(found, expected)| (found - expected).abs())
        .fold(0.0, f32::max);
    if let Some(expected) = golden.area {
        let area = findings
            .regions
            .first()
            .ok_or("no lesion was found, and one is expected")?
            .area;
        for (found, expected) in [area.x, area.y, area.width, area.height].into_iter().zip(expected) {
            apart = apart.max((found - expected).abs());
        }
    }
    Ok(apart)
}
