//! The manifest as it is written, and what has to be true of it.

use std::fmt;

use serde::Deserialize;
use skin_assist_core::{
    domain::{Label, Route},
    wire::MOST_FURTHER,
};

use super::{
    Activation, ClassifierHead, ClassifierManifest, ColourOrder, DetectorHead, DetectorManifest, GateManifest, Golden,
    Manifest, ModelInput, OutOfDistribution, Population, QualityLimits, Resize, WithoutLesion,
    checks::{RawLabel, Wrong, absent, is_digest, is_file, model_file, name, required, within, wrong},
};

/// The version of the format that this program reads.
const FORMAT_VERSION: u32 = 1;
/// Sides of a model's input beyond this are taken for a mistake.
const MAX_SIDE: u32 = 4096;

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawManifest {
    format_version: u32,
    pub(super) id: String,
    version: String,
    route: Route,
    title: String,
    intended_use: String,
    #[serde(default)]
    quality: QualityLimits,
    #[serde(default, rename = "model")]
    models: Vec<RawModel>,
    #[serde(default)]
    populations: Vec<Population>,
    golden: Option<RawGolden>,
    #[serde(default)]
    further_conditions: Vec<RawLabel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGolden {
    file: String,
    sha256: String,
    probabilities: Vec<f32>,
    #[serde(rename = "box")]
    area: Option<[f32; 4]>,
    tolerance: f32,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Task {
    Detector,
    Classifier,
    Gate,
}

impl fmt::Display for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Detector => "detector",
            Self::Classifier => "classifier",
            Self::Gate => "gate",
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawModel {
    task: Task,
    file: String,
    sha256: String,
    input: RawInput,
    output: RawOutput,
    score_threshold: Option<f32>,
    nms_iou_threshold: Option<f32>,
    max_detections: Option<usize>,
    crop_margin: Option<f32>,
    temperature: Option<f32>,
    abstain_below: Option<f32>,
    labels: Option<Vec<RawLabel>>,
    without_lesion: Option<WithoutLesion>,
    isotonic: Option<Vec<[f32; 2]>>,
    flips: Option<bool>,
    out_of_distribution: Option<OutOfDistribution>,
    kinds: Option<Vec<String>>,
    accepts: Option<Vec<String>>,
    least: Option<f32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInput {
    name: String,
    width: u32,
    height: u32,
    colour_order: ColourOrder,
    layout: String,
    resize: String,
    scale: f32,
    mean: [f32; 3],
    std: [f32; 3],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOutput {
    name: String,
    layout: String,
    logits: Option<String>,
    activation: Option<Activation>,
}

/// What a language model may name: neither a label, since that is judged, nor anything that must not be missed, since nobody looks
/// for it.
fn further_conditions(raw: Vec<RawLabel>, classifier: &ClassifierManifest) -> Result<Vec<Label>, Wrong> {
    if raw.len() > MOST_FURTHER {
        return Err(wrong(
            "further_conditions",
            format!("has {} entries, at most {MOST_FURTHER} are taken", raw.len()),
            "list what the context of a visit can bring up",
        ));
    }
    let mut checked: Vec<Label> = Vec::with_capacity(raw.len());
    for (index, label) in raw.into_iter().enumerate() {
        let field = format!("further_conditions[{index}]");
        let label = label.check(&field)?;
        if label.must_not_miss {
            return Err(wrong(
                format!("{field}.must_not_miss"),
                "is set",
                "no model judges it, so that nobody can say that it is not there",
            ));
        }
        let mut known = classifier.labels.iter().chain(&checked);
        if known.any(|known| known.id == label.id || known.snomed_ct == label.snomed_ct) {
            return Err(wrong(
                field,
                format!("{} is there already", label.id),
                "a label of the classifier is named anyway",
            ));
        }
        checked.push(label);
    }
    Ok(checked)
}

impl RawManifest {
    pub(super) fn check(self) -> Result<Manifest, Wrong> {
        if self.format_version != FORMAT_VERSION {
            return Err(wrong(
                "format_version",
                format!("is {}, this program reads {FORMAT_VERSION}", self.format_version),
                "use a pack of this format, or a newer program",
            ));
        }
        name(&self.id, "id")?;
        name(&self.version, "version")?;
        for (field, value, most) in [
            ("quality.min_sharpness", self.quality.min_sharpness, f32::MAX),
            ("quality.min_brightness", self.quality.min_brightness, 1.0),
            ("quality.max_brightness", self.quality.max_brightness, 1.0),
            ("quality.max_clipped", self.quality.max_clipped, 1.0),
            ("quality.min_skin", self.quality.min_skin, 1.0),
            ("quality.min_lesion_pixels", self.quality.min_lesion_pixels, 65_535.0),
        ] {
            if let Some(value) = value {
                within(value, 0.0, most, field)?;
            }
        }
        for (index, population) in self.populations.iter().enumerate() {
            if !population.skin_types.iter().all(|kind| (1..=6).contains(kind)) {
                return Err(wrong(
                    format!("populations[{index}].skin_types"),
                    format!("is {:?}", population.skin_types),
                    "Fitzpatrick's types are numbered 1 to 6",
                ));
            }
        }
        let (mut detector, mut classifier, mut gate) = (None, None, None);
        for (index, model) in self.models.into_iter().enumerate() {
            let at = format!("model[{index}]");
            let task = model.task;
            let again = match task {
                Task::Detector => detector.replace(model.into_detector(&at)?).is_some(),
                Task::Classifier => classifier.replace(model.into_classifier(&at)?).is_some(),
                Task::Gate => gate.replace(model.into_gate(&at)?).is_some(),
            };
            if again {
                return Err(wrong(
                    format!("{at}.task"),
                    format!("is a second {task}"),
                    "a pack has one classifier, on the solitary route one detector, and at most one gate",
                ));
            }
        }
        let classifier = classifier.ok_or_else(|| {
            wrong(
                "model",
                "has no classifier",
                "add a [[model]] with task = \"classifier\"",
            )
        })?;
        let golden = self
            .golden
            .map(|golden| golden.check(&classifier, self.route))
            .transpose()?;
        let further_conditions = further_conditions(self.further_conditions, &classifier)?;
        match (self.route, &detector) {
            (Route::Solitary, None) => Err(wrong(
                "model",
                "has no detector",
                "a pack for the solitary route needs a [[model]] with task = \"detector\"",
            )),
            (Route::Widespread, Some(_)) => Err(wrong(
                "model",
                "has a detector",
                "a pack for the widespread route has a classifier only; is the route right?",
            )),
            _ => Ok(Manifest {
                id: self.id,
                version: self.version,
                route: self.route,
                title: self.title,
                intended_use: self.intended_use,
                detector,
                classifier,
                gate,
                quality: self.quality,
                populations: self.populations,
                golden,
                further_conditions,
            }),
        }
    }
}

impl RawModel {
    fn into_detector(self, at: &str) -> Result<DetectorManifest, Wrong> {
        self.only(Task::Detector, at)?;
        let head = match self.output.layout.as_str() {
            "yolov8" => {
                self.output.only_name(at)?;
                DetectorHead::Yolov8
            }
            "detr" => DetectorHead::Detr {
                logits: required(self.output.logits.clone(), at, "output.logits")?,
                activation: required(self.output.activation, at, "output.activation")?,
            },
            _ => {
                return Err(self
                    .output
                    .unknown(at, "\"yolov8\" and \"detr\" are known for a detector"));
            }
        };
        let score_threshold = required(self.score_threshold, at, "score_threshold")?;
        let nms_iou_threshold = required(self.nms_iou_threshold, at, "nms_iou_threshold")?;
        let max_detections = required(self.max_detections, at, "max_detections")?;
        let crop_margin = required(self.crop_margin, at, "crop_margin")?;
        within(score_threshold, 0.0, 1.0, &format!("{at}.score_threshold"))?;
        within(nms_iou_threshold, 0.0, 1.0, &format!("{at}.nms_iou_threshold"))?;
        within(crop_margin, 1.0, 10.0, &format!("{at}.crop_margin"))?;
        if !(1..=100).contains(&max_detections) {
            return Err(wrong(
                format!("{at}.max_detections"),
                format!("is {max_detections}"),
                "1 to 100",
            ));
        }
        Ok(DetectorManifest {
            file: model_file(self.file, self.sha256, self.output.name, at)?,
            input: self.input.check(at, true)?,
            score_threshold,
            nms_iou_threshold,
            max_detections,
            crop_margin,
            head,
            without_lesion: self.without_lesion.unwrap_or_default(),
        })
    }

    /// Refuses what belongs to a model with another task.
    fn only(&self, task: Task, at: &str) -> Result<(), Wrong> {
        const DETECTOR: &str = "it belongs to a detector";
        const CLASSIFIER: &str = "it belongs to a classifier";
        const GATE: &str = "it belongs to a gate";
        for (of, field, present) in [
            (DETECTOR, "score_threshold", self.score_threshold.is_some()),
            (DETECTOR, "nms_iou_threshold", self.nms_iou_threshold.is_some()),
            (DETECTOR, "max_detections", self.max_detections.is_some()),
            (DETECTOR, "crop_margin", self.crop_margin.is_some()),
            (DETECTOR, "without_lesion", self.without_lesion.is_some()),
            (CLASSIFIER, "temperature", self.temperature.is_some()),
            (CLASSIFIER, "abstain_below", self.abstain_below.is_some()),
            (CLASSIFIER, "labels", self.labels.is_some()),
            (CLASSIFIER, "isotonic", self.isotonic.is_some()),
            (CLASSIFIER, "flips", self.flips.is_some()),
            (CLASSIFIER, "out_of_distribution", self.out_of_distribution.is_some()),
            (GATE, "kinds", self.kinds.is_some()),
            (GATE, "accepts", self.accepts.is_some()),
            (GATE, "least", self.least.is_some()),
        ] {
            let own = match task {
                Task::Detector => DETECTOR,
                Task::Classifier => CLASSIFIER,
                Task::Gate => GATE,
            };
            if of != own {
                absent(at, field, present, of)?;
            }
        }
        Ok(())
    }

    fn into_gate(self, at: &str) -> Result<GateManifest, Wrong> {
        self.only(Task::Gate, at)?;
        let head = self.output.classifier_head(at)?;
        let kinds = required(self.kinds, at, "kinds")?;
        let accepts = required(self.accepts, at, "accepts")?;
        let least = required(self.least, at, "least")?;
        within(least, 0.0, 1.0, &format!("{at}.least"))?;
        if accepts.is_empty() || !accepts.iter().all(|kind| kinds.contains(kind)) {
            return Err(wrong(
                format!("{at}.accepts"),
                format!("is {accepts:?}"),
                "one or more of the kinds",
            ));
        }
        Ok(GateManifest {
            file: model_file(self.file, self.sha256, self.output.name, at)?,
            input: self.input.check(at, false)?,
            head,
            kinds,
            accepts,
            least,
        })
    }

    fn into_classifier(self, at: &str) -> Result<ClassifierManifest, Wrong> {
        self.only(Task::Classifier, at)?;
        let head = self.output.classifier_head(at)?;
        let temperature = required(self.temperature, at, "temperature")?;
        let abstain_below = required(self.abstain_below, at, "abstain_below")?;
        let labels = required(self.labels, at, "labels")?;
        within(temperature, 0.01, 100.0, &format!("{at}.temperature"))?;
        within(abstain_below, 0.0, 1.0, &format!("{at}.abstain_below"))?;
        let isotonic = self.isotonic.unwrap_or_default();
        let rises = isotonic
            .windows(2)
            .all(|pair| pair[0][0] < pair[1][0] && pair[0][1] <= pair[1][1]);
        let inside = isotonic.iter().flatten().all(|value| (0.0..=1.0).contains(value));
        if !(rises && inside && isotonic.len() != 1) {
            return Err(wrong(
                format!("{at}.isotonic"),
                "is no rising line",
                "two or more points [probability, calibrated], 0 to 1, the first rising and the second not falling",
            ));
        }
        if self.out_of_distribution.is_some() && head == ClassifierHead::Probabilities {
            return Err(wrong(
                format!("{at}.out_of_distribution"),
                "needs logits",
                "export the classifier without its softmax, with layout = \"logits\"",
            ));
        }
        if self.out_of_distribution.is_some_and(|rule| !rule.least.is_finite()) {
            return Err(wrong(
                format!("{at}.out_of_distribution.least"),
                "is not finite",
                "the score that few images of the validation have less than",
            ));
        }
        if labels.is_empty() {
            return Err(wrong(
                format!("{at}.labels"),
                "is empty",
                "one [[model.labels]] for each logit",
            ));
        }
        let mut checked: Vec<Label> = Vec::with_capacity(labels.len());
        for (index, label) in labels.into_iter().enumerate() {
            let field = format!("{at}.labels[{index}]");
            let label = label.check(&field)?;
            if checked.iter().any(|other| other.id == label.id) {
                return Err(wrong(
                    format!("{field}.id"),
                    format!("{} is there twice", label.id),
                    "ids are unique",
                ));
            }
            checked.push(label);
        }
        Ok(ClassifierManifest {
            file: model_file(self.file, self.sha256, self.output.name, at)?,
            input: self.input.check(at, false)?,
            temperature,
            abstain_below,
            labels: checked,
            head,
            isotonic,
            flips: self.flips.unwrap_or_default(),
            out_of_distribution: self.out_of_distribution,
        })
    }
}

impl RawInput {
    /// A classifier's explanation is laid over its crop, and a gate's image is nobody's: they have no letterbox.
    fn check(self, at: &str, may_letterbox: bool) -> Result<ModelInput, Wrong> {
        let at = format!("{at}.input");
        for (field, side) in [("width", self.width), ("height", self.height)] {
            if !(1..=MAX_SIDE).contains(&side) {
                return Err(wrong(format!("{at}.{field}"), format!("is {side}"), "1 to 4096 pixels"));
            }
        }
        if self.layout != "nchw" {
            return Err(wrong(
                format!("{at}.layout"),
                format!("is {:?}", self.layout),
                "\"nchw\" is supported",
            ));
        }
        let resize = match self.resize.as_str() {
            "stretch-triangle" => Resize::Triangle,
            "stretch-bilinear" => Resize::Bilinear,
            "letterbox-triangle" if may_letterbox => Resize::LetterboxTriangle,
            "letterbox-bilinear" if may_letterbox => Resize::LetterboxBilinear,
            other => {
                return Err(wrong(
                    format!("{at}.resize"),
                    format!("is {other:?}"),
                    "\"stretch-triangle\" and \"stretch-bilinear\" are known, for a detector also \"letterbox-triangle\" and \"letterbox-bilinear\"",
                ));
            }
        };
        if !(self.scale.is_finite() && self.scale > 0.0) {
            return Err(wrong(
                format!("{at}.scale"),
                format!("is {}", self.scale),
                "a number over 0, often 1/255",
            ));
        }
        if !self.mean.iter().all(|value| value.is_finite()) {
            return Err(wrong(
                format!("{at}.mean"),
                "is not finite",
                "one number for each channel",
            ));
        }
        if !self.std.iter().all(|value| value.is_finite() && *value > 0.0) {
            return Err(wrong(
                format!("{at}.std"),
                "is not over 0",
                "one number over 0 for each channel",
            ));
        }
        Ok(ModelInput {
            name: self.name,
            width: self.width,
            height: self.height,
            resize,
            colour_order: self.colour_order,
            scale: self.scale,
            mean: self.mean,
            std: self.std,
        })
    }
}

impl RawOutput {
    fn classifier_head(&self, at: &str) -> Result<ClassifierHead, Wrong> {
        self.only_name(at)?;
        match self.layout.as_str() {
            "logits" => Ok(ClassifierHead::Logits),
            "probabilities" => Ok(ClassifierHead::Probabilities),
            _ => Err(self.unknown(at, "\"logits\" and \"probabilities\" are known for a classifier")),
        }
    }

    /// Refuses what only a DETR has.
    fn only_name(&self, at: &str) -> Result<(), Wrong> {
        absent(
            at,
            "output.logits",
            self.logits.is_some(),
            "it belongs to layout = \"detr\"",
        )?;
        absent(
            at,
            "output.activation",
            self.activation.is_some(),
            "it belongs to layout = \"detr\"",
        )
    }

    fn unknown(&self, at: &str, hint: &'static str) -> Wrong {
        wrong(format!("{at}.output.layout"), format!("is {:?}", self.layout), hint)
    }
}

impl RawGolden {
    fn check(self, classifier: &ClassifierManifest, route: Route) -> Result<Golden, Wrong> {
        is_file(&self.file, "golden.file")?;
        is_digest(&self.sha256, "golden.sha256")?;
        within(self.tolerance, 0.0, 1.0, "golden.tolerance")?;
        if self.probabilities.len() != classifier.labels.len() {
            return Err(wrong(
                "golden.probabilities",
                format!(
                    "has {} numbers for {} labels",
                    self.probabilities.len(),
                    classifier.labels.len()
                ),
                "one probability for each label, in their order",
            ));
        }
        if self.area.is_some() != (route == Route::Solitary) {
            return Err(wrong(
                "golden.box",
                "is missing, or does not belong here",
                "on the solitary route the first box, as left, top, width, height in fractions; on the other none",
            ));
        }
        Ok(Golden {
            name: self.file,
            sha256: self.sha256,
            probabilities: self.probabilities,
            area: self.area,
            tolerance: self.tolerance,
        })
    }
}
