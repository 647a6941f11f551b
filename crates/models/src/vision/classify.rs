//! From a classifier's logits to calibrated probabilities.

use skin_assist_core::domain::{ClassProbability, Label};

use crate::{
    pack::{ClassifierHead, ClassifierManifest, GateManifest, Score},
    runtime::Tensor,
};

/// softmax(logits / temperature), computed without overflow (Guo et al., "On Calibration of Modern Neural Networks",
/// ICML 2017, for the temperature). Sums to 1 for finite logits.
pub fn softmax(logits: &[f32], temperature: f32) -> Vec<f32> {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits
        .iter()
        .map(|logit| (f64::from(logit - greatest) / f64::from(temperature)).exp())
        .collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| (power / sum) as f32).collect()
}

/// What an answer `[1, classes]` says, calibrated; in the order of the classes. The answer must be finite, and where it
/// is made of probabilities, be so.
fn calibrated(
    answer: &Tensor,
    head: ClassifierHead,
    classes: usize,
    temperature: f32,
) -> Result<Vec<f32>, &'static str> {
    if answer.shape != [1, classes] || answer.data.len() != classes {
        return Err("the classifier's answer has another shape than its manifest means");
    }
    if !answer.data.iter().all(|value| value.is_finite()) {
        return Err("the classifier's answer is not finite");
    }
    match head {
        ClassifierHead::Logits => Ok(softmax(&answer.data, temperature)),
        ClassifierHead::Probabilities => {
            let sum: f32 = answer.data.iter().sum();
            if !answer.data.iter().all(|value| (-0.001..=1.001).contains(value)) || (sum - 1.0).abs() > 0.02 {
                return Err("the classifier's answer is not made of probabilities, as its manifest says");
            }
            // A temperature acts on logarithms; nothing is quite impossible.
            let logarithms: Vec<f32> = answer.data.iter().map(|value| value.max(1e-12).ln()).collect();
            Ok(softmax(&logarithms, temperature))
        }
    }
}

/// The classes' probabilities, in the order of the labels.
pub fn probabilities(answer: &Tensor, manifest: &ClassifierManifest) -> Result<Vec<f32>, &'static str> {
    let mut probabilities = calibrated(answer, manifest.head, manifest.labels.len(), manifest.temperature)?;
    if !manifest.isotonic.is_empty() {
        for probability in &mut probabilities {
            *probability = on_line(&manifest.isotonic, *probability);
        }
        let sum: f32 = probabilities.iter().sum();
        let even = 1.0 / probabilities.len() as f32;
        for probability in &mut probabilities {
            *probability = if sum > 0.0 { *probability / sum } else { even };
        }
    }
    Ok(probabilities)
}

/// The probabilities of a gate's kinds.
pub(super) fn of_kinds(answer: &Tensor, gate: &GateManifest) -> Result<Vec<f32>, &'static str> {
    calibrated(answer, gate.head, gate.kinds.len(), 1.0)
}

/// The height of a line through points at `x`; before the first and behind the last it goes on level.
fn on_line(points: &[[f32; 2]], x: f32) -> f32 {
    let behind = points.iter().position(|point| x < point[0]);
    match behind {
        Some(0) => points[0][1],
        Some(index) => {
            let ([left, low], [right, high]) = (points[index - 1], points[index]);
            low + (high - low) * (x - left) / (right - left)
        }
        None => points.last().map_or(x, |point| point[1]),
    }
}

/// A score of logits that is small for images unlike those of the training.
pub(super) fn score(logits: &[f32], score: Score, manifest: &ClassifierManifest) -> f32 {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    match score {
        Score::MaxLogit => greatest,
        Score::Energy => {
            let temperature = f64::from(manifest.temperature);
            let sum: f64 = logits
                .iter()
                .map(|logit| (f64::from(logit - greatest) / temperature).exp())
                .sum();
            (f64::from(greatest) + temperature * sum.ln()) as f32
        }
    }
}

/// The labels with their probabilities, most probable first; equal ones in the manifest's order.
pub fn ranked(probabilities: &[f32], labels: &[Label]) -> Vec<ClassProbability> {
    let classes = labels.iter().zip(probabilities);
    let mut ranked: Vec<ClassProbability> = classes
        .map(|(label, probability)| ClassProbability {
            label: label.clone(),
            probability: *probability,
        })
        .collect();
    ranked.sort_by(|one, other| other.probability.total_cmp(&one.probability));
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_is_that_of_the_book() {
        let expected = [0.090_030_57, 0.244_728_47, 0.665_240_96];
        for (value, expected) in softmax(&[1.0, 2.0, 3.0], 1.0).into_iter().zip(expected) {
            assert!((value - expected).abs() < 1e-6);
        }
        // A higher temperature evens out, and it is the same as scaling the logits.
        assert_eq!(softmax(&[2.0, 4.0, 6.0], 2.0), softmax(&[1.0, 2.0, 3.0], 1.0));
    }

    #[test]
    fn great_logits_do_not_overflow() {
        assert_eq!(softmax(&[1e30, -1e30, 0.0], 0.01), [1.0, 0.0, 0.0]);
        let even = softmax(&[f32::MAX, f32::MAX], 1.0);
        assert_eq!(even, [0.5, 0.5]);
    }

    fn widespread() -> ClassifierManifest {
        let pack = crate::pack::Pack::reference(skin_assist_core::domain::Route::Widespread).expect("a pack");
        ClassifierManifest {
            temperature: 1.0,
            ..pack.manifest().classifier.clone()
        }
    }

    fn answer(data: &[f32]) -> Tensor {
        Tensor {
            shape: vec![1, data.len()],
            data: data.to_vec(),
        }
    }

    #[test]
    fn probabilities_are_taken_as_they_are_and_checked() {
        let manifest = ClassifierManifest {
            head: ClassifierHead::Probabilities,
            ..widespread()
        };
        let given = [0.7, 0.2, 0.1, 0.0];
        for (value, expected) in probabilities(&answer(&given), &manifest)
            .expect("probabilities")
            .iter()
            .zip(given)
        {
            assert!((value - expected).abs() < 1e-6);
        }
        for wrong in [[0.7, 0.7, 0.1, 0.0], [2.0, -1.0, 0.0, 0.0], [f32::NAN, 0.0, 0.0, 1.0]] {
            assert!(probabilities(&answer(&wrong), &manifest).is_err(), "{wrong:?}");
        }
        assert!(probabilities(&answer(&[1.0]), &manifest).is_err());
    }

    #[test]
    fn isotonic_calibration_follows_its_line_and_adds_up() {
        let manifest = ClassifierManifest {
            head: ClassifierHead::Probabilities,
            isotonic: vec![[0.0, 0.0], [0.5, 0.2], [1.0, 1.0]],
            ..widespread()
        };
        let found = probabilities(&answer(&[0.75, 0.25, 0.0, 0.0]), &manifest).expect("probabilities");
        // 0.6 and 0.1 on the line.
        for (value, expected) in found.iter().zip([6.0 / 7.0, 1.0 / 7.0, 0.0, 0.0]) {
            assert!((value - expected).abs() < 1e-5, "{found:?}");
        }
        assert!((on_line(&[[0.2, 0.3], [0.4, 0.5]], 0.1) - 0.3).abs() < 1e-6);
        assert!((on_line(&[[0.2, 0.3], [0.4, 0.5]], 0.9) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn scores_are_those_of_the_papers() {
        let manifest = widespread();
        assert!((score(&[1.0, 3.0, 2.0], Score::MaxLogit, &manifest) - 3.0).abs() < 1e-6);
        // log(e + e³ + e²)
        assert!((score(&[1.0, 3.0, 2.0], Score::Energy, &manifest) - 3.407_606).abs() < 1e-5);
    }
}
