//! From a classifier's logits to calibrated probabilities.

use skin_assist_core::domain::ClassProbability;

use crate::{pack::ClassifierManifest, runtime::Tensor};

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

/// The labels with their probabilities, most probable first; equal ones in the manifest's order. The answer must be
/// `[1, labels]` and finite.
pub fn ranked(answer: &Tensor, manifest: &ClassifierManifest) -> Result<Vec<ClassProbability>, &'static str> {
    let labels = &manifest.labels;
    if answer.shape != [1, labels.len()] || answer.data.len() != labels.len() {
        return Err("the classifier's answer has another shape than its manifest means");
    }
    if !answer.data.iter().all(|value| value.is_finite()) {
        return Err("the classifier's answer is not finite");
    }
    let mut ranked: Vec<ClassProbability> = labels
        .iter()
        .zip(softmax(&answer.data, manifest.temperature))
        .map(|(label, probability)| ClassProbability {
            label: label.clone(),
            probability,
        })
        .collect();
    ranked.sort_by(|one, other| other.probability.total_cmp(&one.probability));
    Ok(ranked)
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
}
