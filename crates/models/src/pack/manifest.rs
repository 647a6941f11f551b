//! `pack.toml`: what a pack says about itself, understood to the last key.

use std::fmt;

use serde::Deserialize;
use skin_assist_core::domain::{Label, Quality, Route};

use super::Error;

/// The version of the format that this program writes and reads.
const FORMAT_VERSION: u32 = 1;
/// Sides of a model's input beyond this are taken for a mistake.
const MAX_SIDE: u32 = 4096;

/// A manifest that makes sense.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The pack's name in findings and drafts.
    pub id: String,
    /// Its version; a result names it.
    pub version: String,
    /// The route it serves.
    pub route: Route,
    /// For people.
    pub title: String,
    /// What it may be used for, for people.
    pub intended_use: String,
    /// The detector: on the solitary route, and only there.
    pub detector: Option<DetectorManifest>,
    /// The classifier.
    pub classifier: ClassifierManifest,
    /// Below or above which the image is not judged at all.
    pub quality: QualityLimits,
}

/// A file of the pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFile {
    /// Its name, beside the manifest.
    pub name: String,
    /// 64 hexadecimal digits, small letters.
    pub sha256: String,
    /// The name of the model's output.
    pub output: String,
}

/// The preprocessing of a model's training: `stretch-triangle` to `width` × `height`, `[1, 3, height, width]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInput {
    /// The name of the model's input.
    pub name: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Which colour comes first.
    pub colour_order: ColourOrder,
    /// Each value, 0 to 255, is multiplied by it first.
    pub scale: f32,
    /// Then this is subtracted, by channel in colour order.
    pub mean: [f32; 3],
    /// Then it is divided by this, by channel in colour order.
    pub std: [f32; 3],
}

/// The order of the channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColourOrder {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

/// A detector and how its answer is read (`yolov8`: `[1, 4 + classes, boxes]`).
#[derive(Debug, Clone, PartialEq)]
pub struct DetectorManifest {
    /// Its file.
    pub file: ModelFile,
    /// Its input.
    pub input: ModelInput,
    /// Boxes below it are dropped, 0 to 1.
    pub score_threshold: f32,
    /// Of two boxes that overlap more than this, the weaker is dropped, 0 to 1.
    pub nms_iou_threshold: f32,
    /// At most so many boxes are judged.
    pub max_detections: usize,
    /// The classifier sees a square with this many times the box's longer side.
    pub crop_margin: f32,
}

/// A classifier and how its answer is read (`logits`: `[1, labels]`).
#[derive(Debug, Clone, PartialEq)]
pub struct ClassifierManifest {
    /// Its file.
    pub file: ModelFile,
    /// Its input.
    pub input: ModelInput,
    /// Probabilities are softmax(logits / temperature).
    pub temperature: f32,
    /// When no class reaches this probability the pack abstains, 0 to 1.
    pub abstain_below: f32,
    /// The classes, in the order of the logits.
    pub labels: Vec<Label>,
}

/// Limits of image quality; an absent one does not limit.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QualityLimits {
    /// The least sharpness.
    #[serde(default)]
    pub min_sharpness: Option<f32>,
    /// The least brightness, 0 to 1.
    #[serde(default)]
    pub min_brightness: Option<f32>,
    /// The greatest brightness, 0 to 1.
    #[serde(default)]
    pub max_brightness: Option<f32>,
}

impl QualityLimits {
    /// Whether an image of this quality is judged.
    pub fn admit(&self, quality: Quality) -> bool {
        self.min_sharpness.is_none_or(|least| quality.sharpness >= least)
            && self.min_brightness.is_none_or(|least| quality.brightness >= least)
            && self.max_brightness.is_none_or(|most| quality.brightness <= most)
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawManifest {
    format_version: u32,
    id: String,
    version: String,
    route: Route,
    title: String,
    intended_use: String,
    #[serde(default)]
    quality: QualityLimits,
    #[serde(default, rename = "model")]
    models: Vec<RawModel>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Task {
    Detector,
    Classifier,
}

impl fmt::Display for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Detector => "detector",
            Self::Classifier => "classifier",
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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLabel {
    id: String,
    display: String,
    snomed_ct: String,
    icd_10_cm: Option<String>,
    #[serde(default)]
    must_not_miss: bool,
}

/// A field that does not do, before the pack's name is put to it.
struct Wrong {
    field: String,
    problem: String,
    hint: &'static str,
}

fn wrong(field: impl Into<String>, problem: impl Into<String>, hint: &'static str) -> Wrong {
    Wrong {
        field: field.into(),
        problem: problem.into(),
        hint,
    }
}

impl Manifest {
    /// Understands the text of a `pack.toml`; `pack` is what errors call it while its id is unknown.
    pub fn parse(pack: &str, text: &str) -> Result<Self, Error> {
        let syntax = |error: toml::de::Error| Error::ManifestSyntax {
            pack: pack.to_owned(),
            problem: error.to_string().trim_end().to_owned(),
        };
        let raw: RawManifest = toml::from_str(text).map_err(syntax)?;
        let shown = if raw.id.is_empty() {
            pack.to_owned()
        } else {
            raw.id.clone()
        };
        raw.check().map_err(|Wrong { field, problem, hint }| Error::Field {
            pack: shown,
            field,
            problem,
            hint,
        })
    }
}

impl RawManifest {
    fn check(self) -> Result<Manifest, Wrong> {
        if self.format_version != FORMAT_VERSION {
            return Err(wrong(
                "format_version",
                format!("is {}, this program reads {FORMAT_VERSION}", self.format_version),
                "use a pack of this format, or a newer program",
            ));
        }
        name(&self.id, "id")?;
        name(&self.version, "version")?;
        for (field, value) in [
            ("quality.min_sharpness", self.quality.min_sharpness),
            ("quality.min_brightness", self.quality.min_brightness),
            ("quality.max_brightness", self.quality.max_brightness),
        ] {
            let most = if field == "quality.min_sharpness" {
                f32::MAX
            } else {
                1.0
            };
            if let Some(value) = value {
                within(value, 0.0, most, field)?;
            }
        }
        let (mut detector, mut classifier) = (None, None);
        for (index, model) in self.models.into_iter().enumerate() {
            let at = format!("model[{index}]");
            let task = model.task;
            let again = match task {
                Task::Detector => detector.replace(model.into_detector(&at)?).is_some(),
                Task::Classifier => classifier.replace(model.into_classifier(&at)?).is_some(),
            };
            if again {
                return Err(wrong(
                    format!("{at}.task"),
                    format!("is a second {task}"),
                    "a pack has one classifier and, on the solitary route, one detector",
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
                quality: self.quality,
            }),
        }
    }
}

impl RawModel {
    fn into_detector(self, at: &str) -> Result<DetectorManifest, Wrong> {
        for (field, present) in [
            ("temperature", self.temperature.is_some()),
            ("abstain_below", self.abstain_below.is_some()),
            ("labels", self.labels.is_some()),
        ] {
            absent(at, field, present, "it belongs to a classifier")?;
        }
        layout(&self.output, "yolov8", at)?;
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
            input: self.input.check(at)?,
            score_threshold,
            nms_iou_threshold,
            max_detections,
            crop_margin,
        })
    }

    fn into_classifier(self, at: &str) -> Result<ClassifierManifest, Wrong> {
        for (field, present) in [
            ("score_threshold", self.score_threshold.is_some()),
            ("nms_iou_threshold", self.nms_iou_threshold.is_some()),
            ("max_detections", self.max_detections.is_some()),
            ("crop_margin", self.crop_margin.is_some()),
        ] {
            absent(at, field, present, "it belongs to a detector")?;
        }
        layout(&self.output, "logits", at)?;
        let temperature = required(self.temperature, at, "temperature")?;
        let abstain_below = required(self.abstain_below, at, "abstain_below")?;
        let labels = required(self.labels, at, "labels")?;
        within(temperature, 0.01, 100.0, &format!("{at}.temperature"))?;
        within(abstain_below, 0.0, 1.0, &format!("{at}.abstain_below"))?;
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
            input: self.input.check(at)?,
            temperature,
            abstain_below,
            labels: checked,
        })
    }
}

impl RawInput {
    fn check(self, at: &str) -> Result<ModelInput, Wrong> {
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
        if self.resize != "stretch-triangle" {
            return Err(wrong(
                format!("{at}.resize"),
                format!("is {:?}", self.resize),
                "\"stretch-triangle\" is supported",
            ));
        }
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
            colour_order: self.colour_order,
            scale: self.scale,
            mean: self.mean,
            std: self.std,
        })
    }
}

impl RawLabel {
    fn check(self, at: &str) -> Result<Label, Wrong> {
        name(&self.id, &format!("{at}.id"))?;
        if self.display.trim().is_empty() {
            return Err(wrong(
                format!("{at}.display"),
                "is empty",
                "what a person reads in the draft",
            ));
        }
        if !is_snomed_ct(&self.snomed_ct) {
            return Err(wrong(
                format!("{at}.snomed_ct"),
                format!("is {:?}, no SNOMED CT identifier", self.snomed_ct),
                "6 to 18 digits of which the last is a check digit",
            ));
        }
        if let Some(code) = &self.icd_10_cm
            && !is_icd_10_cm(code)
        {
            return Err(wrong(
                format!("{at}.icd_10_cm"),
                format!("is {code:?}, no ICD-10-CM code"),
                "a letter, a digit, a letter or digit, and up to four more after a point",
            ));
        }
        Ok(Label {
            id: self.id,
            display: self.display,
            snomed_ct: self.snomed_ct,
            icd_10_cm: self.icd_10_cm,
            must_not_miss: self.must_not_miss,
        })
    }
}

fn required<T>(value: Option<T>, at: &str, field: &str) -> Result<T, Wrong> {
    value.ok_or_else(|| wrong(format!("{at}.{field}"), "is missing", "the model's task needs it"))
}

fn absent(at: &str, field: &str, present: bool, hint: &'static str) -> Result<(), Wrong> {
    if present {
        Err(wrong(format!("{at}.{field}"), "does not belong here", hint))
    } else {
        Ok(())
    }
}

fn layout(output: &RawOutput, expected: &str, at: &str) -> Result<(), Wrong> {
    if output.layout == expected {
        return Ok(());
    }
    Err(wrong(
        format!("{at}.output.layout"),
        format!("is {:?}", output.layout),
        "\"yolov8\" for a detector and \"logits\" for a classifier are supported",
    ))
}

fn within(value: f32, least: f32, most: f32, field: &str) -> Result<(), Wrong> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(wrong(
        field,
        format!("is {value}, not in {least} to {most}"),
        "a number in that range",
    ))
}

/// Names end up in tables, drafts and logs.
fn name(value: &str, field: &str) -> Result<(), Wrong> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.' | '+');
    if !value.is_empty() && value.len() <= 100 && value.chars().all(allowed) {
        return Ok(());
    }
    Err(wrong(
        field,
        format!("is {value:?}"),
        "1 to 100 letters, digits, '-', '_', '.' or '+'",
    ))
}

fn model_file(name: String, sha256: String, output: String, at: &str) -> Result<ModelFile, Wrong> {
    let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', ':', '\0']);
    if !plain {
        return Err(wrong(
            format!("{at}.file"),
            format!("is {name:?}"),
            "the name of a file beside the manifest",
        ));
    }
    let is_digest = sha256.len() == 64 && sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_digest {
        return Err(wrong(
            format!("{at}.sha256"),
            format!("is {sha256:?}"),
            "64 hexadecimal digits in small letters, as sha256sum prints them",
        ));
    }
    Ok(ModelFile { name, sha256, output })
}

/// 6 to 18 digits, the last one a Verhoeff check digit (SNOMED CT Release File Specification, 6.2).
fn is_snomed_ct(code: &str) -> bool {
    /// Multiplication in the dihedral group D5, in which the check is computed.
    fn product(one: u8, other: u8) -> u8 {
        match (one < 5, other < 5) {
            (true, true) => (one + other) % 5,
            (true, false) => 5 + (one + other) % 5,
            (false, true) => 5 + (one - other) % 5,
            (false, false) => (one + 5 - other) % 5,
        }
    }
    const PERMUTATION: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    if !(6..=18).contains(&code.len()) || !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let check = code.bytes().rev().enumerate().fold(0, |check, (place, digit)| {
        let permuted = (0..place % 8).fold(digit - b'0', |value, _| PERMUTATION[usize::from(value)]);
        product(check, permuted)
    });
    check == 0
}

fn is_icd_10_cm(code: &str) -> bool {
    let (category, rest) = code
        .split_once('.')
        .map_or((code, None), |(category, rest)| (category, Some(rest)));
    let category_fits = matches!(category.as_bytes(), [first, second, third]
        if first.is_ascii_uppercase() && second.is_ascii_digit() && third.is_ascii_alphanumeric());
    category_fits
        && rest
            .is_none_or(|rest| (1..=4).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests;
