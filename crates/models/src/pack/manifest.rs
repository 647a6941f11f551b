//! `pack.toml`: what a pack says about itself, understood to the last key. `docs/model-packs.md` has the format.

mod checks;
mod written;

use serde::Deserialize;
use skin_assist_core::domain::{Concern, Label, Quality, Route};

use super::Error;
use checks::Wrong;
use written::RawManifest;

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
    /// What decides whether the image is one for the pack.
    pub gate: Option<GateManifest>,
    /// Below or above which the image is not judged at all.
    pub quality: QualityLimits,
    /// On whom it was validated, for people.
    pub populations: Vec<Population>,
    /// A photo with known findings, for `models verify`.
    pub golden: Option<Golden>,
    /// Conditions that a language model may name beside the classifier's labels.
    pub further_conditions: Vec<Label>,
}

/// People on whose photos a pack was validated.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Population {
    /// Who, in words.
    pub name: String,
    /// How many photos.
    pub photos: u32,
    /// Fitzpatrick skin types, 1 to 6.
    #[serde(default)]
    pub skin_types: Vec<u8>,
    /// What came out, in words.
    #[serde(default)]
    pub result: String,
}

/// A photo with known findings.
#[derive(Debug, Clone, PartialEq)]
pub struct Golden {
    /// The photo's file.
    pub name: String,
    /// 64 hexadecimal digits, small letters.
    pub sha256: String,
    /// The photo's probabilities, in the order of the labels.
    pub probabilities: Vec<f32>,
    /// The first box: left, top, width, height as fractions; none on the widespread route.
    pub area: Option<[f32; 4]>,
    /// How far a probability or an edge may be off.
    pub tolerance: f32,
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

/// The preprocessing of a model's training: brought to `width` × `height`, `[1, 3, height, width]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInput {
    /// The name of the model's input.
    pub name: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// How the image comes to that size.
    pub resize: Resize,
    /// Which colour comes first.
    pub colour_order: ColourOrder,
    /// Each value, 0 to 255, is multiplied by it first.
    pub scale: f32,
    /// Then this is subtracted, by channel in colour order.
    pub mean: [f32; 3],
    /// Then it is divided by this, by channel in colour order.
    pub std: [f32; 3],
}

/// How an image comes to another size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Resize {
    /// A triangle filter whose support grows with the reduction: antialiased, Pillow's `BILINEAR`.
    #[serde(rename = "stretch-triangle")]
    Triangle,
    /// Between the four nearest pixels, whatever the reduction: OpenCV's `INTER_LINEAR`. The photo is decoded in full.
    #[serde(rename = "stretch-bilinear")]
    Bilinear,
    /// As `Triangle`, but in its own aspect ratio, in the middle of a grey image. Detectors only.
    #[serde(rename = "letterbox-triangle")]
    LetterboxTriangle,
    /// As `Bilinear`, but in its own aspect ratio, in the middle of a grey image. Detectors only.
    #[serde(rename = "letterbox-bilinear")]
    LetterboxBilinear,
}

impl Resize {
    /// Whether single pixels count, so that a photo has to be decoded in full.
    pub(crate) const fn takes_single_pixels(self) -> bool {
        matches!(self, Self::Bilinear | Self::LetterboxBilinear)
    }

    /// Whether the image keeps its aspect ratio.
    pub(crate) const fn is_letterbox(self) -> bool {
        matches!(self, Self::LetterboxTriangle | Self::LetterboxBilinear)
    }
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

/// How a detector's answer is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DetectorHead {
    /// One output `[1, 4 + classes, boxes]`: centre, width and height in pixels of the input, then probabilities.
    Yolov8,
    /// Two outputs: `[1, boxes, 4]`, centre, width and height as fractions, and `[1, boxes, classes]` logits.
    Detr {
        /// The name of the second output.
        logits: String,
        /// What makes probabilities of the logits.
        activation: Activation,
    },
}

/// What makes probabilities of a detector's logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// Each class by itself.
    Sigmoid,
    /// All classes together, the last one meaning "nothing".
    Softmax,
}

/// What becomes of a photo in which the detector finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WithoutLesion {
    /// Nothing is said.
    #[default]
    Abstain,
    /// The classifier judges the whole image, and the findings say so.
    WholeImage,
}

/// A detector and how its answer is read.
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
    /// How its answer is laid out.
    pub head: DetectorHead,
    /// What becomes of a photo without a box.
    pub without_lesion: WithoutLesion,
}

/// What a classifier's answer `[1, labels]` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassifierHead {
    /// Numbers before a softmax.
    Logits,
    /// Probabilities.
    Probabilities,
}

/// When an answer is unlike those to images of the training.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutOfDistribution {
    /// What is compared.
    pub score: Score,
    /// The least score of an image of the known kind.
    pub least: f32,
}

/// A score of logits that is small for unknown images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// The logarithm of the sum of the logits' powers (Liu et al., "Energy-based Out-of-distribution Detection", 2020).
    Energy,
    /// The greatest logit (Hendrycks et al., 2022).
    MaxLogit,
}

/// A classifier that decides whether an image is one for the pack: clinical or dermoscopic, skin or something else.
#[derive(Debug, Clone, PartialEq)]
pub struct GateManifest {
    /// Its file.
    pub file: ModelFile,
    /// Its input.
    pub input: ModelInput,
    /// What its answer is.
    pub head: ClassifierHead,
    /// The kinds, in the order of the answer.
    pub kinds: Vec<String>,
    /// Those that the pack is made for.
    pub accepts: Vec<String>,
    /// Their least probability together, 0 to 1.
    pub least: f32,
}

/// A classifier and how its answer is read.
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
    /// What its answer is.
    pub head: ClassifierHead,
    /// Points of a rising line that each probability is put through, before all are made to add up to 1; empty for none
    /// (isotonic calibration: Zadrozny and Elkan, KDD 2002).
    pub isotonic: Vec<[f32; 2]>,
    /// Whether the mirrored image is judged too, and the mean taken.
    pub flips: bool,
    /// When an answer means an unknown image.
    pub out_of_distribution: Option<OutOfDistribution>,
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
    /// The greatest share of black or white pixels, 0 to 1.
    #[serde(default)]
    pub max_clipped: Option<f32>,
    /// The least share of pixels in colours of skin, 0 to 1.
    #[serde(default)]
    pub min_skin: Option<f32>,
    /// The fewest pixels of the photo along a lesion's longer side.
    #[serde(default)]
    pub min_lesion_pixels: Option<f32>,
    /// Whether a limit that is not kept is reported only.
    #[serde(default)]
    pub report_only: bool,
}

impl QualityLimits {
    /// Whether an image of this quality is judged.
    pub fn admit(&self, quality: Quality) -> bool {
        self.report_only || self.concerns(quality).is_empty()
    }

    /// Which limits an image of this quality does not keep.
    pub fn concerns(&self, quality: Quality) -> Vec<Concern> {
        let under = |value: Option<f32>, least: Option<f32>| matches!((value, least), (Some(value), Some(least)) if value < least);
        let over =
            |value: Option<f32>, most: Option<f32>| matches!((value, most), (Some(value), Some(most)) if value > most);
        let checks = [
            (Concern::Blurred, under(Some(quality.sharpness), self.min_sharpness)),
            (Concern::TooDark, under(Some(quality.brightness), self.min_brightness)),
            (Concern::TooBright, over(Some(quality.brightness), self.max_brightness)),
            (Concern::Clipped, over(quality.clipped, self.max_clipped)),
            (Concern::NotSkin, under(quality.skin, self.min_skin)),
        ];
        checks
            .into_iter()
            .filter(|(_, holds)| *holds)
            .map(|(concern, _)| concern)
            .collect()
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

#[cfg(test)]
mod tests;
