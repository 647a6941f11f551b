//! What the models saw.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which models look at a photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// Single lesions: a detector finds them, a classifier judges each crop.
    Solitary,
    /// Rashes: a classifier judges the whole image.
    Widespread,
}

impl Route {
    /// Both routes.
    pub const ALL: [Self; 2] = [Self::Solitary, Self::Widespread];

    /// The word used in configuration, tables and drafts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Solitary => "solitary",
            Self::Widespread => "widespread",
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// A rectangle in the upright image: fractions of its width and height, origin at the top left.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NormalisedBox {
    /// Left edge, 0 to 1.
    pub x: f32,
    /// Top edge, 0 to 1.
    pub y: f32,
    /// Width, 0 to 1.
    pub width: f32,
    /// Height, 0 to 1.
    pub height: f32,
}

impl NormalisedBox {
    /// Intersection over union with `other`, 0 to 1.
    pub fn intersection_over_union(&self, other: &Self) -> f32 {
        let width = (self.x + self.width).min(other.x + other.width) - self.x.max(other.x);
        let height = (self.y + self.height).min(other.y + other.height) - self.y.max(other.y);
        let intersection = width.max(0.0) * height.max(0.0);
        let union = self.width * self.height + other.width * other.height - intersection;
        if union > 0.0 { intersection / union } else { 0.0 }
    }
}

/// A class of a classifier, with its codes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Label {
    /// The pack's word for it, such as `melanocytic-nevus`.
    pub id: String,
    /// For people.
    pub display: String,
    /// SNOMED CT concept.
    pub snomed_ct: String,
    /// ICD-10-CM code.
    pub icd_10_cm: Option<String>,
    /// A condition that a clinician must not miss.
    pub must_not_miss: bool,
}

/// A class and its calibrated probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassProbability {
    /// The class.
    pub label: Label,
    /// 0 to 1, calibrated as the pack states.
    pub probability: f32,
}

/// A lesion that the detector found, and what the classifier makes of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Region {
    /// Where.
    pub area: NormalisedBox,
    /// The detector's score, 0 to 1.
    pub score: f32,
    /// All classes, most probable first.
    pub classes: Vec<ClassProbability>,
}

/// What is known about the image itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageFacts {
    /// Width of the upright image in pixels.
    pub width: u32,
    /// Height of the upright image in pixels.
    pub height: u32,
    /// The format found in the bytes, such as `jpeg`.
    pub format: String,
    /// What the quality measures say.
    pub quality: Quality,
}

/// Simple measures of image quality.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Quality {
    /// Variance of the Laplacian of the luminance (0 to 255) of the image reduced to the model's size; small is blurred.
    pub sharpness: f32,
    /// Mean luminance, 0 to 1.
    pub brightness: f32,
    /// Share of pixels that are black or white to the last levels, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clipped: Option<f32>,
    /// Share of pixels with a colour that skin has, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skin: Option<f32>,
}

/// What speaks against relying on a photo's findings. The limits are the pack's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Concern {
    /// The image is less sharp than the pack asks for.
    Blurred,
    /// The image is darker than the pack asks for.
    TooDark,
    /// The image is brighter than the pack asks for.
    TooBright,
    /// More of the image is black or white than the pack allows.
    Clipped,
    /// Less of the image has the colours of skin than the pack asks for.
    NotSkin,
    /// The pack's gate takes the image for one of another kind, such as dermoscopic instead of clinical.
    WrongKind,
    /// The classifier's answer is unlike those to images of its training.
    OutOfDistribution,
    /// The lesion has fewer pixels than the pack asks for.
    LesionTooSmall,
    /// No lesion was found; the image as a whole was judged instead.
    WholeImage,
}

impl Concern {
    /// For people, after "The image or its findings: ".
    pub const fn display(self) -> &'static str {
        match self {
            Self::Blurred => "less sharp than the model pack asks for",
            Self::TooDark => "darker than the model pack asks for",
            Self::TooBright => "brighter than the model pack asks for",
            Self::Clipped => "more of it is black or white than the model pack allows",
            Self::NotSkin => "less of it has the colours of skin than the model pack asks for",
            Self::WrongKind => "taken for another kind of image than the model pack is for",
            Self::OutOfDistribution => "unlike the images that the classifier was made with",
            Self::LesionTooSmall => "a lesion has fewer pixels than the model pack asks for",
            Self::WholeImage => "no lesion was found, and the image was judged as a whole instead",
        }
    }
}

/// Why the models say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Abstention {
    /// The detector found no lesion.
    NoLesionFound,
    /// No class is probable enough.
    Undecided,
    /// The image is too dark, too bright or too blurred to judge.
    PoorImage,
    /// The image is not of the kind that the models were made for.
    OutOfDistribution,
}

/// A model that took part, by pack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModelVersion {
    /// The pack's id.
    pub pack: String,
    /// The pack's version.
    pub version: String,
}

impl fmt::Display for ModelVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.pack, self.version)
    }
}

/// What the models made of one photo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// Which way it went.
    pub route: Route,
    /// The image.
    pub image: ImageFacts,
    /// The lesions found, most suspicious detection first; empty on the widespread route.
    pub regions: Vec<Region>,
    /// All classes for the photo as a whole, most probable first: the classifier's own on the widespread route, those
    /// of the most confidently detected lesion on the solitary one. Empty when no model got as far.
    pub ranked: Vec<ClassProbability>,
    /// Set when the models decline to say anything.
    pub abstention: Option<Abstention>,
    /// What speaks against relying on them, whether or not the models decline.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub concerns: Vec<Concern>,
    /// What a language model may name beside the classes: the pack's allow-list. No model has judged any of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further_conditions: Vec<Label>,
    /// The models that took part.
    pub models: Vec<ModelVersion>,
}
