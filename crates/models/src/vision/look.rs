//! One look: a photo and the sessions of a pack in, findings out.

use std::sync::Arc;

use skin_assist_core::{
    domain::{Abstention, ClassProbability, Concern, Findings, ImageFacts, Region, Route},
    ports::VisionError,
};

use super::{VisionSetupError, classify, detect};
use crate::{
    pack::{ClassifierManifest, DetectorManifest, GateManifest, LoadedPack, WithoutLesion},
    photo::{self, OpenPhoto},
    preprocess::{self, Reducer, SmallImage},
    runtime::{self, Model, Session, Tensor},
};

/// A pack in the hands of one thread.
pub(crate) struct PackSessions {
    pack: Arc<LoadedPack>,
    gate: Option<Box<dyn Session>>,
    detector: Option<Box<dyn Session>>,
    classifier: Box<dyn Session>,
}

/// What a classifier makes of an image.
pub(crate) struct Judgement {
    /// All classes, most probable first.
    pub(crate) classes: Vec<ClassProbability>,
    /// The answer is unlike those to images of the training.
    pub(crate) is_unknown: bool,
}

impl PackSessions {
    pub(crate) fn new(pack: &Arc<LoadedPack>) -> Result<Self, VisionSetupError> {
        let session = |model: &dyn Model| {
            model.session().map_err(|source| VisionSetupError::Session {
                pack: pack.manifest().id.clone(),
                source,
            })
        };
        Ok(Self {
            gate: pack.gate().map(session).transpose()?,
            detector: pack.detector().map(session).transpose()?,
            classifier: session(pack.classifier())?,
            pack: Arc::clone(pack),
        })
    }

    pub(crate) fn route(&self) -> Route {
        self.pack.manifest().route
    }

    /// Looks at a photo.
    pub(crate) fn look(&mut self, photo: &OpenPhoto, reducer: &mut Reducer) -> Result<Findings, VisionError> {
        let pack = Arc::clone(&self.pack);
        let manifest = pack.manifest();
        let input = manifest
            .detector
            .as_ref()
            .map_or(&manifest.classifier.input, |detector| &detector.input);
        let small = reducer.input_of(photo, None, input)?;
        let content = preprocess::Content::of(photo.upright_size(), input);
        let mut findings = match content {
            // What is beside the photo has no quality.
            Some(content) => blank(&pack, photo, &content.cut_out(&small)),
            None => blank(&pack, photo, &small),
        };
        findings.concerns = manifest.quality.concerns(findings.image.quality);
        if !manifest.quality.admit(findings.image.quality) {
            let is_other = findings.concerns == [Concern::NotSkin];
            findings.abstention = Some(if is_other {
                Abstention::OutOfDistribution
            } else {
                Abstention::PoorImage
            });
            return Ok(findings);
        }
        if let (Some(gate), Some(session)) = (&manifest.gate, &mut self.gate)
            && !passes(&mut **session, gate, &reducer.input_of(photo, None, &gate.input)?)?
        {
            findings.concerns.push(Concern::WrongKind);
            findings.abstention = Some(Abstention::OutOfDistribution);
            return Ok(findings);
        }
        let whole = match &manifest.detector {
            None => Some(small),
            Some(detector) => {
                self.regions(detector, photo, &small, reducer, &mut findings)?;
                let nothing = findings.abstention == Some(Abstention::NoLesionFound);
                if nothing && detector.without_lesion == WithoutLesion::WholeImage {
                    findings.abstention = None;
                    findings.concerns.push(Concern::WholeImage);
                    Some(reducer.input_of(photo, None, &manifest.classifier.input)?)
                } else {
                    None
                }
            }
        };
        if let Some(whole) = whole {
            let judgement = self.judge(&whole)?;
            findings.ranked = judgement.classes;
            if judgement.is_unknown {
                findings.concerns.push(Concern::OutOfDistribution);
            }
        }
        let threshold = manifest.classifier.abstain_below;
        if findings.concerns.contains(&Concern::OutOfDistribution) {
            findings.abstention = Some(Abstention::OutOfDistribution);
        } else if findings.ranked.first().is_some_and(|top| top.probability < threshold) {
            findings.abstention = Some(Abstention::Undecided);
        }
        Ok(findings)
    }

    /// Finds lesions and judges each.
    fn regions(
        &mut self,
        detector: &DetectorManifest,
        photo: &OpenPhoto,
        small: &SmallImage,
        reducer: &mut Reducer,
        findings: &mut Findings,
    ) -> Result<(), VisionError> {
        let pack = Arc::clone(&self.pack);
        let (classifier, quality) = (&pack.manifest().classifier, pack.manifest().quality);
        let session = self.detector.as_deref_mut().ok_or(VisionError::Unavailable {
            what: "the model pack was loaded without its detector",
        })?;
        let answers = run(session, &preprocess::tensor(small, &detector.input))?;
        let (width, height) = photo.upright_size();
        let content = preprocess::Content::of((width, height), &detector.input);
        let detections = detect::boxes(&answers, detector, content).map_err(no_answer)?;
        for detection in detections {
            let square = preprocess::square_around(&detection.raw, detector.crop_margin, width, height);
            let Some(square) = square else {
                continue;
            };
            let pixels = (detection.area.width * width as f32).max(detection.area.height * height as f32);
            if quality.min_lesion_pixels.is_some_and(|least| pixels < least) {
                if !findings.concerns.contains(&Concern::LesionTooSmall) {
                    findings.concerns.push(Concern::LesionTooSmall);
                }
                if !quality.report_only {
                    continue;
                }
            }
            let crop = reducer.input_of(photo, Some(square), &classifier.input)?;
            let judgement = self.judge(&crop)?;
            // The first lesion stands for the photo; an unknown one behind it is left out.
            if judgement.is_unknown {
                if !findings.regions.is_empty() {
                    continue;
                }
                findings.concerns.push(Concern::OutOfDistribution);
            }
            findings.regions.push(Region {
                area: detection.area,
                score: detection.score,
                classes: judgement.classes,
            });
            if judgement.is_unknown {
                break;
            }
        }
        match findings.regions.first() {
            Some(region) => findings.ranked.clone_from(&region.classes),
            None if findings.concerns.contains(&Concern::LesionTooSmall) => {
                findings.abstention = Some(Abstention::PoorImage);
            }
            None => findings.abstention = Some(Abstention::NoLesionFound),
        }
        Ok(())
    }

    /// The classifier's judgement of an image of its size; with flips the mean of both.
    pub(crate) fn judge(&mut self, image: &SmallImage) -> Result<Judgement, VisionError> {
        let pack = Arc::clone(&self.pack);
        let manifest = &pack.manifest().classifier;
        let (mut probabilities, is_unknown) = self.probabilities(image, manifest)?;
        if manifest.flips {
            let (mirrored, _) = self.probabilities(&preprocess::mirrored(image), manifest)?;
            for (probability, other) in probabilities.iter_mut().zip(mirrored) {
                *probability = f32::midpoint(*probability, other);
            }
        }
        Ok(Judgement {
            classes: classify::ranked(&probabilities, &manifest.labels),
            is_unknown,
        })
    }

    fn probabilities(
        &mut self,
        image: &SmallImage,
        manifest: &ClassifierManifest,
    ) -> Result<(Vec<f32>, bool), VisionError> {
        let answers = run(&mut *self.classifier, &preprocess::tensor(image, &manifest.input))?;
        let answer = first(&answers)?;
        let probabilities = classify::probabilities(answer, manifest).map_err(no_answer)?;
        let score = manifest
            .out_of_distribution
            .map(|rule| (classify::score(&answer.data, rule.score, manifest), rule.least));
        Ok((probabilities, score.is_some_and(|(score, least)| score < least)))
    }
}

/// Whether the gate takes the image for one of the accepted kinds.
fn passes(session: &mut dyn Session, gate: &GateManifest, image: &SmallImage) -> Result<bool, VisionError> {
    let answers = run(session, &preprocess::tensor(image, &gate.input))?;
    let probabilities = classify::of_kinds(first(&answers)?, gate).map_err(no_answer)?;
    let kinds = gate.kinds.iter().zip(probabilities);
    let accepted: f32 = kinds
        .filter(|(kind, _)| gate.accepts.contains(kind))
        .map(|(_, probability)| probability)
        .sum();
    Ok(accepted >= gate.least)
}

/// What is known before a model has run.
fn blank(pack: &LoadedPack, photo: &OpenPhoto, small: &SmallImage) -> Findings {
    let (width, height) = photo.upright_size();
    Findings {
        route: pack.manifest().route,
        image: ImageFacts {
            width,
            height,
            format: photo.format().as_str().to_owned(),
            quality: photo::measure(small),
        },
        regions: Vec::new(),
        ranked: Vec::new(),
        abstention: None,
        abstain_below: pack.manifest().classifier.abstain_below,
        concerns: Vec::new(),
        further_conditions: pack.manifest().further_conditions.clone(),
        models: vec![pack.version()],
    }
}

fn first(answers: &[Tensor]) -> Result<&Tensor, VisionError> {
    answers.first().ok_or(no_answer("the classifier gives no answer"))
}

fn run(session: &mut dyn Session, input: &Tensor) -> Result<Vec<Tensor>, VisionError> {
    session.run_all(input).map_err(|error| {
        tracing::error!(%error, "a model did not run");
        match error {
            // An outage elsewhere is not the photo's end.
            runtime::Error::Elsewhere(error) => error,
            _ => VisionError::Model {
                what: "the runtime reports an error",
            },
        }
    })
}

const fn no_answer(what: &'static str) -> VisionError {
    VisionError::Model { what }
}
