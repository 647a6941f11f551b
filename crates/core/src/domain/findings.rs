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
    /// The pack's threshold: where no class is as probable, the models say nothing.
    #[serde(default)]
    pub abstain_below: f32,
    /// What speaks against relying on them, whether or not the models decline.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub concerns: Vec<Concern>,
    /// What a language model may name beside the classes: the pack's allow-list. No model has judged any of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further_conditions: Vec<Label>,
    /// The models that took part.
    pub models: Vec<ModelVersion>,
}

impl Findings {
    /// What several photos of one assessment say together; none of no photo. `image` and `regions` are those of one of them.
    ///
    /// On the widespread route the probability of a class is the mean over the photos that were judged (the linear opinion
    /// pool). They show the same rash and are far from independent evidence, which is what a product, or a mean of
    /// logarithms, would take them for: one photo that does not show a condition would all but rule it out, however clear it is
    /// on the others. A mean of calibrated probabilities errs towards too little confidence (Ranjan and Gneiting 2010). For a
    /// condition that must not be missed that is not the safe side: what one photo shows, the mean may drop, so that such a
    /// condition is named by the photo that shows it best (`synthesis::Judged`). Where no class is as probable by the mean as the
    /// pack asks for, the photos together say nothing, as one such photo would.
    ///
    /// On the solitary route photos show lesions, which are not one: the findings are those of the most confident detection, and
    /// the differential names each class as the photo has it that shows it best.
    pub fn together<'a>(photos: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let photos: Vec<&Self> = photos.into_iter().collect();
        let judged: Vec<&Self> = photos
            .iter()
            .copied()
            .filter(|photo| photo.abstention.is_none())
            .collect();
        let detection = |photo: &Self| photo.regions.first().map_or(0.0, |region| region.score);
        // The first of those that are equal, so that the order of photos decides and nothing else.
        let best = judged.iter().copied().reduce(|best, photo| {
            if photo.route == Route::Solitary && detection(photo) > detection(best) {
                photo
            } else {
                best
            }
        });
        let mut together = best.or_else(|| photos.first().copied())?.clone();
        if together.route == Route::Widespread && judged.len() > 1 {
            together.ranked = pooled(&judged);
            // Photos of two packs: of one that is replaced.
            together.abstain_below = judged.iter().map(|photo| photo.abstain_below).fold(0.0, f32::max);
            let top = together.ranked.first();
            if top.is_some_and(|top| top.probability < together.abstain_below) {
                together.abstention = Some(Abstention::Undecided);
            }
        }
        for photo in photos {
            for concern in &photo.concerns {
                if !together.concerns.contains(concern) {
                    together.concerns.push(*concern);
                }
            }
            for condition in &photo.further_conditions {
                if !together.further_conditions.contains(condition) {
                    together.further_conditions.push(condition.clone());
                }
            }
            for model in &photo.models {
                if !together.models.contains(model) {
                    together.models.push(model.clone());
                }
            }
        }
        Some(together)
    }
}

/// Each class with the mean of its probabilities, most probable first. A photo whose models do not know a class says nothing of
/// it, as if they held it impossible: packs of one route have the same classes, but for the moment of a replacement.
fn pooled(photos: &[&Findings]) -> Vec<ClassProbability> {
    let mut pooled: Vec<ClassProbability> = Vec::new();
    let share = 1.0 / photos.len() as f32;
    for class in photos.iter().flat_map(|photo| &photo.ranked) {
        match pooled.iter_mut().find(|known| known.label == class.label) {
            Some(known) => known.probability += class.probability * share,
            None => pooled.push(ClassProbability {
                label: class.label.clone(),
                probability: class.probability * share,
            }),
        }
    }
    pooled.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    pooled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn photo(route: Route, score: f32, classes: &[(&str, f32)], abstention: Option<Abstention>) -> Findings {
        let ranked = classes.iter().map(|(id, probability)| ClassProbability {
            label: Label {
                id: (*id).to_owned(),
                display: (*id).to_owned(),
                snomed_ct: (*id).to_owned(),
                icd_10_cm: None,
                must_not_miss: false,
            },
            probability: *probability,
        });
        let ranked: Vec<_> = ranked.collect();
        Findings {
            route,
            image: ImageFacts {
                width: (score * 100.0) as u32,
                height: 1,
                format: "jpeg".to_owned(),
                quality: Quality::default(),
            },
            regions: vec![Region {
                area: NormalisedBox {
                    x: 0.0,
                    y: 0.0,
                    width: 1.0,
                    height: 1.0,
                },
                score,
                classes: ranked.clone(),
            }],
            ranked,
            abstention,
            abstain_below: 0.0,
            concerns: abstention.map(|_| Concern::Blurred).into_iter().collect(),
            further_conditions: Vec::new(),
            models: vec![ModelVersion {
                pack: "p".to_owned(),
                version: score.to_string(),
            }],
        }
    }

    fn probabilities(findings: &Findings) -> Vec<(&str, f32)> {
        let classes = findings.ranked.iter();
        classes
            .map(|class| (class.label.id.as_str(), class.probability))
            .collect()
    }

    #[test]
    fn a_rash_is_judged_by_the_mean_of_its_photos() {
        let seen = photo(Route::Widespread, 0.5, &[("eczema", 0.75), ("drug", 0.25)], None);
        let not = photo(Route::Widespread, 0.25, &[("drug", 1.0), ("eczema", 0.0)], None);
        let poor = photo(Route::Widespread, 0.0, &[("eczema", 1.0)], Some(Abstention::PoorImage));
        let together = Findings::together([&poor, &seen, &not]).unwrap();
        assert_eq!(
            probabilities(&together),
            [("drug", 0.625), ("eczema", 0.375)],
            "the one that was not judged says nothing, and none rules a condition out"
        );
        assert_eq!(together.abstention, None);
        assert_eq!(together.concerns, [Concern::Blurred]);
        assert_eq!(together.models.len(), 3);
        assert_eq!(Findings::together([&seen]), Some(seen), "one photo is what it is");
    }

    #[test]
    fn photos_that_contradict_each_other_say_nothing_together() {
        let sure = |first, second| Findings {
            abstain_below: 0.4,
            ..photo(Route::Widespread, 0.5, &[(first, 0.55), (second, 0.1)], None)
        };
        let (one, other) = (sure("eczema", "drug"), sure("drug", "eczema"));
        let together = Findings::together([&one, &other]).unwrap();
        assert_eq!(together.abstention, Some(Abstention::Undecided), "0.325 is too little");
        assert_eq!(Findings::together([&one, &one]).unwrap().abstention, None);
    }

    #[test]
    fn lesions_are_not_averaged() {
        let weak = photo(Route::Solitary, 0.4, &[("naevus", 0.9)], None);
        let clear = photo(Route::Solitary, 0.8, &[("melanoma", 0.7)], None);
        let together = Findings::together([&weak, &clear]).unwrap();
        assert_eq!(probabilities(&together), [("melanoma", 0.7)]);
        assert_eq!(together.regions, clear.regions);
    }

    #[test]
    fn nothing_is_said_where_no_photo_says_anything() {
        let poor = photo(Route::Widespread, 0.1, &[], Some(Abstention::PoorImage));
        assert_eq!(
            Findings::together([&poor, &poor]).unwrap().abstention,
            Some(Abstention::PoorImage)
        );
        assert_eq!(Findings::together([]), None);
    }
}
