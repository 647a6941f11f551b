//! An evaluation: what the models made of each photo, against the truth, for all photos and for each group.
//!
//! A photo without an answer counts as one that was answered wrongly, in shares of right answers and in sensitivities: to be
//! silent about a melanoma is to miss it. Areas under curves, calibration and the abstention curve are of answered photos.
//! Photos of a condition that the models do not know are left out of all that, and counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skin_assist_core::domain::{Abstention, Findings, Label, NormalisedBox, Route};

use crate::{
    dataset::{Attribute, Photo},
    statistics::{
        AbstentionPoint, Calibration, Case, Interval, abstention_curve, auroc, average_precision, balanced_accuracy,
        bootstrap, calibration, matched, sensitivity, specificity, top_k,
    },
};

/// Smaller groups are shown and not compared: their figures are chance.
pub const SMALLEST_COMPARED: usize = 20;
/// Samples of each bootstrap.
const RESAMPLES: usize = 1000;
const CALIBRATION_BINS: usize = 10;
const CURVE_POINTS: usize = 60;
/// The overlaps of COCO's mean: 0.50, 0.55, ... 0.95.
const OVERLAPS: usize = 10;

/// What the models made of a photo, as it is kept between runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// They looked.
    Looked {
        /// Labels with their probabilities, most probable first.
        ranked: Vec<(String, f32)>,
        /// What the detector found, with scores.
        regions: Vec<(NormalisedBox, f32)>,
        /// Why they decline to say anything.
        abstention: Option<Abstention>,
    },
    /// They did not: the reason's code.
    Refused(String),
}

impl Outcome {
    /// What is kept of findings.
    pub fn of(findings: &Findings) -> Self {
        let ranked = findings
            .ranked
            .iter()
            .map(|class| (class.label.id.clone(), class.probability));
        Self::Looked {
            ranked: ranked.collect(),
            regions: findings
                .regions
                .iter()
                .map(|region| (region.area, region.score))
                .collect(),
            abstention: findings.abstention,
        }
    }
}

/// Figures of a set of photos.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// How many photos.
    pub photos: usize,
    /// How many got no ranking of conditions at all.
    pub unanswered: usize,
    /// How many the models declined to judge, with a ranking or without.
    pub abstained: usize,
    /// The share whose first condition is the true one.
    pub top_1: Option<Interval>,
    /// The share with the true condition among the first three.
    pub top_3: Option<f64>,
    /// The mean sensitivity of the conditions that occur.
    pub balanced_accuracy: Option<Interval>,
    /// The sensitivity for conditions that must not be missed, together.
    pub must_not_miss_sensitivity: Option<f64>,
    /// The mean area under the ROC curves of the conditions, one against the others.
    pub mean_auroc: Option<f64>,
    /// Expected calibration error.
    pub calibration_error: Option<f64>,
}

/// Figures of a condition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassFigures {
    /// The label.
    pub label: String,
    /// For people.
    pub display: String,
    /// A clinician must not miss it.
    pub must_not_miss: bool,
    /// How many photos show it.
    pub photos: usize,
    /// The share of them that was recognised.
    pub sensitivity: Option<Interval>,
    /// The share of the others that was not taken for it.
    pub specificity: Option<Interval>,
    /// The area under the ROC curve.
    pub auroc: Option<f64>,
}

/// Figures of a group of patients.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// By what it is one.
    pub attribute: Attribute,
    /// Which.
    pub value: String,
    /// Its figures.
    pub figures: Figures,
}

/// The group with the smallest balanced accuracy among those that are large enough to be compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorstGroup {
    /// By what it is one.
    pub attribute: Attribute,
    /// Which.
    pub value: String,
    /// Its balanced accuracy.
    pub balanced_accuracy: f64,
    /// How far that is below the one of all photos.
    pub below_all: f64,
}

/// How well lesions are found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DetectorFigures {
    /// Photos whose lesions are known.
    pub photos: usize,
    /// Lesions on them.
    pub lesions: usize,
    /// Average precision at an overlap of a half.
    pub average_precision_50: Option<f64>,
    /// The mean of average precisions at overlaps from 0.50 to 0.95 (COCO's).
    pub mean_average_precision: Option<f64>,
    /// The share of lesions that was found at an overlap of a half, by all detections.
    pub recall_50: Option<f64>,
    /// Detections per photo that are no lesion.
    pub false_per_photo: Option<f64>,
}

/// The whole evaluation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// The route that was evaluated.
    pub route: Route,
    /// The models.
    pub models: Vec<String>,
    /// All photos together.
    pub all: Figures,
    /// By condition, in the models' order.
    pub classes: Vec<ClassFigures>,
    /// By group of patients.
    pub groups: Vec<Group>,
    /// The group that is served worst.
    pub worst_group: Option<WorstGroup>,
    /// The detector, where the truth has boxes.
    pub detector: Option<DetectorFigures>,
    /// Confidence against accuracy.
    pub calibration: Option<Calibration>,
    /// What abstaining more would bring.
    pub abstention_curve: Vec<AbstentionPoint>,
    /// Photos that were refused, by the reason's code.
    pub refused: BTreeMap<String, usize>,
    /// Photos of conditions that the models do not know, by condition: left out.
    pub unknown_conditions: BTreeMap<String, usize>,
}

/// Evaluates. `labels` are the conditions that the models know. The same seed gives the same intervals.
pub fn evaluate(
    route: Route,
    models: Vec<String>,
    labels: &[Label],
    seen: &[(Photo, Outcome)],
    seed: u64,
) -> Evaluation {
    let number = |label: &str| labels.iter().position(|known| known.id == label);
    let mut unknown_conditions: BTreeMap<String, usize> = BTreeMap::new();
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    let mut cases: Vec<(&Photo, Case)> = Vec::new();
    for (photo, outcome) in seen {
        if let Outcome::Refused(code) = outcome {
            *refused.entry(code.clone()).or_default() += 1;
        }
        let Some(truth) = number(&photo.label) else {
            *unknown_conditions.entry(photo.label.clone()).or_default() += 1;
            continue;
        };
        cases.push((photo, case(truth, outcome, number)));
    }
    let all: Vec<&Case> = cases.iter().map(|(_, case)| case).collect();
    let figures_of_all = figures(&all, labels, seed);
    let groups = groups(&cases, labels, seed);
    let worst_group = worst(&groups, &figures_of_all);
    let class = |(class, label): (usize, &Label)| ClassFigures {
        label: label.id.clone(),
        display: label.display.clone(),
        must_not_miss: label.must_not_miss,
        photos: all.iter().filter(|case| case.truth == class).count(),
        sensitivity: bootstrap(&all, RESAMPLES, seed, |cases| sensitivity(cases, class)),
        specificity: bootstrap(&all, RESAMPLES, seed, |cases| specificity(cases, class)),
        auroc: auroc(&all, class),
    };
    Evaluation {
        route,
        models,
        classes: labels.iter().enumerate().map(class).collect(),
        calibration: calibration(&all, CALIBRATION_BINS),
        abstention_curve: abstention_curve(&all, CURVE_POINTS),
        all: figures_of_all,
        groups,
        worst_group,
        detector: detector(seen),
        refused,
        unknown_conditions,
    }
}

fn case(truth: usize, outcome: &Outcome, number: impl Fn(&str) -> Option<usize>) -> Case {
    match outcome {
        Outcome::Refused(_) => Case {
            truth,
            ranked: Vec::new(),
            is_abstained: true,
        },
        Outcome::Looked { ranked, abstention, .. } => Case {
            truth,
            ranked: ranked
                .iter()
                .filter_map(|(label, probability)| Some((number(label)?, *probability)))
                .collect(),
            is_abstained: abstention.is_some(),
        },
    }
}

fn figures(cases: &[&Case], labels: &[Label], seed: u64) -> Figures {
    let classes = labels.len();
    let serious: Vec<&Case> = cases
        .iter()
        .copied()
        .filter(|case| labels[case.truth].must_not_miss)
        .collect();
    let areas: Vec<f64> = (0..classes).filter_map(|class| auroc(cases, class)).collect();
    Figures {
        photos: cases.len(),
        unanswered: cases.iter().filter(|case| case.ranked.is_empty()).count(),
        abstained: cases.iter().filter(|case| case.is_abstained).count(),
        top_1: bootstrap(cases, RESAMPLES, seed, |cases| top_k(cases, 1)),
        top_3: top_k(cases, 3),
        balanced_accuracy: bootstrap(cases, RESAMPLES, seed, |cases| balanced_accuracy(cases, classes)),
        must_not_miss_sensitivity: top_k(&serious, 1),
        mean_auroc: (!areas.is_empty()).then(|| areas.iter().sum::<f64>() / areas.len() as f64),
        calibration_error: calibration(cases, CALIBRATION_BINS).map(|calibration| calibration.expected_error),
    }
}

fn groups(cases: &[(&Photo, Case)], labels: &[Label], seed: u64) -> Vec<Group> {
    let mut members: BTreeMap<(Attribute, &str), Vec<&Case>> = BTreeMap::new();
    for (photo, case) in cases {
        for (attribute, value) in &photo.groups {
            members.entry((*attribute, value)).or_default().push(case);
        }
    }
    let group = |((attribute, value), cases): ((Attribute, &str), Vec<&Case>)| Group {
        attribute,
        value: value.to_owned(),
        figures: figures(&cases, labels, seed),
    };
    members.into_iter().map(group).collect()
}

fn worst(groups: &[Group], all: &Figures) -> Option<WorstGroup> {
    let value = |figures: &Figures| figures.balanced_accuracy.map(|interval| interval.value);
    let all = value(all)?;
    let compared = groups
        .iter()
        .filter(|group| group.figures.photos >= SMALLEST_COMPARED)
        .filter_map(|group| Some((group, value(&group.figures)?)));
    let (group, balanced_accuracy) = compared.min_by(|one, other| one.1.total_cmp(&other.1))?;
    Some(WorstGroup {
        attribute: group.attribute,
        value: group.value.clone(),
        balanced_accuracy,
        below_all: all - balanced_accuracy,
    })
}

/// Of photos whose boxes are known, whatever their condition. One that was refused found nothing.
fn detector(seen: &[(Photo, Outcome)]) -> Option<DetectorFigures> {
    let known = seen
        .iter()
        .filter_map(|(photo, outcome)| {
            let found: &[_] = match outcome {
                Outcome::Looked { regions, .. } => regions,
                Outcome::Refused(_) => &[],
            };
            Some((photo.boxes.as_deref()?, found))
        })
        .collect::<Vec<_>>();
    let lesions: usize = known.iter().map(|(truth, _)| truth.len()).sum();
    if lesions == 0 {
        return None;
    }
    let at = |overlap: f32| -> Vec<(f32, bool)> {
        let photos = known.iter();
        photos
            .flat_map(|(truth, found)| matched(found, truth, overlap))
            .collect()
    };
    let half = at(0.5);
    let hits = half.iter().filter(|(_, is_hit)| *is_hit).count();
    let precisions: Option<Vec<f64>> = (0..OVERLAPS)
        .map(|step| average_precision(&at(0.5 + 0.05 * step as f32), lesions))
        .collect();
    Some(DetectorFigures {
        photos: known.len(),
        lesions,
        average_precision_50: average_precision(&half, lesions),
        mean_average_precision: precisions.map(|all| all.iter().sum::<f64>() / OVERLAPS as f64),
        recall_50: Some(hits as f64 / lesions as f64),
        false_per_photo: Some((half.len() - hits) as f64 / known.len() as f64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(id: &str, must_not_miss: bool) -> Label {
        Label {
            id: id.to_owned(),
            display: id.to_uppercase(),
            snomed_ct: String::new(),
            icd_10_cm: None,
            must_not_miss,
        }
    }

    fn photo(label: &str, skin_type: &str) -> Photo {
        Photo {
            image: String::new(),
            label: label.to_owned(),
            boxes: None,
            groups: BTreeMap::from([(Attribute::SkinType, skin_type.to_owned())]),
        }
    }

    fn looked(first: &str, second: &str) -> Outcome {
        Outcome::Looked {
            ranked: vec![(first.to_owned(), 0.8), (second.to_owned(), 0.2)],
            regions: Vec::new(),
            abstention: None,
        }
    }

    #[test]
    fn what_is_known_of_a_made_up_collection_comes_out() {
        let mut seen = Vec::new();
        // Light skin: 40 photos, all right. Dark skin: 40 photos, melanomas half right, moles right; 4 of them refused.
        for number in 0..40 {
            let truth = if number % 2 == 0 { "melanoma" } else { "nevus" };
            let other = if number % 2 == 0 { "nevus" } else { "melanoma" };
            seen.push((photo(truth, "1"), looked(truth, other)));
            let is_missed = truth == "melanoma" && number % 4 == 0;
            let outcome = match number {
                _ if !is_missed => looked(truth, other),
                0..16 => Outcome::Refused("photo.broken".to_owned()),
                _ => looked(other, truth),
            };
            seen.push((photo(truth, "6"), outcome));
        }
        // Too few to be compared, however badly they are served; and a condition that nobody knows.
        seen.push((photo("melanoma", "3"), looked("nevus", "melanoma")));
        seen.push((photo("wart", "1"), looked("nevus", "melanoma")));
        let labels = [label("melanoma", true), label("nevus", false)];
        let found = evaluate(Route::Solitary, Vec::new(), &labels, &seen, 1);

        assert_eq!(
            (found.all.photos, found.all.unanswered, found.all.abstained),
            (81, 4, 4)
        );
        assert_eq!(found.refused, BTreeMap::from([("photo.broken".to_owned(), 4)]));
        assert_eq!(found.unknown_conditions, BTreeMap::from([("wart".to_owned(), 1)]));
        let value = |interval: Option<Interval>| interval.unwrap().value;
        assert!((value(found.all.top_1) - 70.0 / 81.0).abs() < 1e-9);
        assert!((value(found.classes[0].sensitivity) - 30.0 / 41.0).abs() < 1e-9);
        assert!((value(found.classes[0].specificity) - 1.0).abs() < 1e-9);
        assert!((found.all.must_not_miss_sensitivity.unwrap() - 30.0 / 41.0).abs() < 1e-9);
        let worst = found.worst_group.unwrap();
        assert_eq!((worst.attribute, worst.value.as_str()), (Attribute::SkinType, "6"));
        assert!((worst.balanced_accuracy - 0.75).abs() < 1e-9);
        assert!(found.detector.is_none());
    }

    #[test]
    fn the_detector_is_judged_where_boxes_are_known() {
        let area = NormalisedBox {
            x: 0.2,
            y: 0.2,
            width: 0.4,
            height: 0.4,
        };
        let elsewhere = NormalisedBox {
            x: 0.7,
            width: 0.1,
            ..area
        };
        let outcome = |regions: Vec<(NormalisedBox, f32)>| Outcome::Looked {
            ranked: Vec::new(),
            regions,
            abstention: None,
        };
        let known = |boxes: &[NormalisedBox]| Photo {
            boxes: Some(boxes.to_vec()),
            ..photo("nevus", "1")
        };
        let seen = [
            (known(&[area]), outcome(vec![(area, 0.9), (elsewhere, 0.3)])),
            (known(&[area]), Outcome::Refused("photo.broken".to_owned())),
            (known(&[]), outcome(Vec::new())),
            (photo("nevus", "1"), outcome(vec![(elsewhere, 0.99)])),
        ];
        let found = evaluate(Route::Solitary, Vec::new(), &[label("nevus", false)], &seen, 1);
        let detector = found.detector.unwrap();
        assert_eq!((detector.photos, detector.lesions), (3, 2));
        assert_eq!(detector.average_precision_50, Some(0.5));
        assert_eq!(detector.mean_average_precision, Some(0.5));
        assert_eq!(detector.recall_50, Some(0.5));
        assert_eq!(detector.false_per_photo, Some(1.0 / 3.0));
    }

    #[test]
    fn an_empty_collection_has_no_figures_and_does_not_fail() {
        let found = evaluate(Route::Widespread, Vec::new(), &[label("nevus", false)], &[], 1);
        assert_eq!((found.all.photos, found.all.top_1), (0, None));
        assert!(found.worst_group.is_none() && found.calibration.is_none());
    }
}
