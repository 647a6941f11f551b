//! The statistics, each by its formula. A value that is not defined (a share of nothing) is none, never zero.

use serde::{Deserialize, Serialize};
use skin_assist_core::domain::NormalisedBox;

/// A photo as the statistics see it: classes by their number.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The true class.
    pub truth: usize,
    /// The classes with their probabilities, most probable first; empty where the models gave no answer, which counts as a
    /// wrong one.
    pub ranked: Vec<(usize, f32)>,
    /// The models declined to say anything, or to stand by it.
    pub is_abstained: bool,
}

impl Case {
    /// The most probable class.
    pub fn top(&self) -> Option<usize> {
        self.ranked.first().map(|(class, _)| *class)
    }

    /// Whether the most probable class is the true one.
    pub fn is_right(&self) -> bool {
        self.top() == Some(self.truth)
    }

    fn probability_of(&self, class: usize) -> Option<f64> {
        let found = self.ranked.iter().find(|(of, _)| *of == class);
        found.map(|(_, probability)| f64::from(*probability))
    }
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The share of cases whose true class is among the first `k`.
pub fn top_k(cases: &[&Case], k: usize) -> Option<f64> {
    let within = |case: &&&Case| case.ranked.iter().take(k).any(|(class, _)| *class == case.truth);
    share(cases.iter().filter(within).count(), cases.len())
}

/// True positives over all positives of a class.
pub fn sensitivity(cases: &[&Case], class: usize) -> Option<f64> {
    let of_class = cases.iter().filter(|case| case.truth == class);
    let (mut found, mut all) = (0, 0);
    for case in of_class {
        all += 1;
        found += usize::from(case.top() == Some(class));
    }
    share(found, all)
}

/// True negatives over all negatives of a class.
pub fn specificity(cases: &[&Case], class: usize) -> Option<f64> {
    let (mut left_alone, mut all) = (0, 0);
    for case in cases.iter().filter(|case| case.truth != class) {
        all += 1;
        left_alone += usize::from(case.top() != Some(class));
    }
    share(left_alone, all)
}

/// The mean sensitivity of those classes that occur.
pub fn balanced_accuracy(cases: &[&Case], classes: usize) -> Option<f64> {
    // In one pass: this is what is computed a thousand times.
    let mut counts = vec![(0_usize, 0_usize); classes];
    for case in cases {
        let (right, all) = &mut counts[case.truth];
        *all += 1;
        *right += usize::from(case.is_right());
    }
    let sensitivities: Vec<f64> = counts.iter().filter_map(|(right, all)| share(*right, *all)).collect();
    (!sensitivities.is_empty()).then(|| sensitivities.iter().sum::<f64>() / sensitivities.len() as f64)
}

/// The area under the ROC curve of one class against the others: the probability that a case of the class has a higher score
/// than another one, ties counting half (Mann and Whitney). Of answered cases.
pub fn auroc(cases: &[&Case], class: usize) -> Option<f64> {
    let scored = cases
        .iter()
        .filter_map(|case| Some((case.probability_of(class)?, case.truth == class)));
    let mut scored: Vec<(f64, bool)> = scored.collect();
    scored.sort_by(|one, other| one.0.total_cmp(&other.0));
    let positives = scored.iter().filter(|(_, is_positive)| *is_positive).count();
    let negatives = scored.len() - positives;
    if positives == 0 || negatives == 0 {
        return None;
    }
    let mut rank_sum = 0.0;
    let mut begin = 0;
    while begin < scored.len() {
        let ties = scored[begin..]
            .iter()
            .take_while(|(score, _)| score.total_cmp(&scored[begin].0).is_eq())
            .count();
        // Ranks begin at 1, and equal scores share their mean rank.
        let rank = begin as f64 + f64::midpoint(ties as f64, 1.0);
        let positive = scored[begin..begin + ties]
            .iter()
            .filter(|(_, is_positive)| *is_positive)
            .count();
        rank_sum += rank * positive as f64;
        begin += ties;
    }
    let (positives, negatives) = (positives as f64, negatives as f64);
    Some((rank_sum - positives * (positives + 1.0) / 2.0) / (positives * negatives))
}

/// Cases whose confidence is about the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// How many.
    pub cases: usize,
    /// Their mean confidence.
    pub confidence: f64,
    /// The share that is right.
    pub accuracy: f64,
}

/// How well confidence says how often the models are right.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Expected calibration error (Naeini et al., AAAI 2015): the mean distance of confidence and accuracy, by bins.
    pub expected_error: f64,
    /// Bins of equal width that have cases, in order.
    pub bins: Vec<Bin>,
}

/// Calibration of the most probable class, by bins of equal width. Of answered cases.
pub fn calibration(cases: &[&Case], bins: usize) -> Option<Calibration> {
    let mut sums = vec![(0_usize, 0.0_f64, 0_usize); bins];
    let mut all = 0;
    for case in cases {
        let Some((_, probability)) = case.ranked.first() else {
            continue;
        };
        let confidence = f64::from(*probability);
        let bin = ((confidence * bins as f64) as usize).min(bins - 1);
        let (count, total, right) = &mut sums[bin];
        *count += 1;
        *total += confidence;
        *right += usize::from(case.is_right());
        all += 1;
    }
    if all == 0 {
        return None;
    }
    let bins: Vec<Bin> = sums
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(cases, confidence, right)| Bin {
            cases,
            confidence: confidence / cases as f64,
            accuracy: right as f64 / cases as f64,
        })
        .collect();
    let distance = |bin: &Bin| bin.cases as f64 * (bin.confidence - bin.accuracy).abs();
    Some(Calibration {
        expected_error: bins.iter().map(distance).sum::<f64>() / f64::from(all),
        bins,
    })
}

/// What would be left if the models spoke only where they are confident.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AbstentionPoint {
    /// The confidence from which on they would speak.
    pub threshold: f64,
    /// The share of all cases that would be answered.
    pub coverage: f64,
    /// The share of those that would be right.
    pub accuracy: f64,
}

/// The abstention curve, from all answered cases to the most confident ones, in at most `points` points.
pub fn abstention_curve(cases: &[&Case], points: usize) -> Vec<AbstentionPoint> {
    let answered = cases
        .iter()
        .filter_map(|case| Some((f64::from(case.ranked.first()?.1), case.is_right())));
    let mut answered: Vec<(f64, bool)> = answered.collect();
    answered.sort_by(|one, other| other.0.total_cmp(&one.0));
    let mut curve = Vec::new();
    let mut right = 0;
    for (index, (threshold, is_right)) in answered.iter().enumerate() {
        right += usize::from(*is_right);
        // Between equal confidences no threshold lies.
        if answered
            .get(index + 1)
            .is_some_and(|(next, _)| next.total_cmp(threshold).is_eq())
        {
            continue;
        }
        curve.push(AbstentionPoint {
            threshold: *threshold,
            coverage: (index + 1) as f64 / cases.len() as f64,
            accuracy: f64::from(right as u32) / (index + 1) as f64,
        });
    }
    curve.reverse();
    let step = curve.len().div_ceil(points.max(1)).max(1);
    curve.into_iter().step_by(step).collect()
}

/// The detections of one photo against its true lesions: for each detection its score and whether it is one, strongest first.
/// Each lesion is found once, by the strongest that overlaps enough.
pub fn matched(detections: &[(NormalisedBox, f32)], truth: &[NormalisedBox], least_overlap: f32) -> Vec<(f32, bool)> {
    let mut order: Vec<&(NormalisedBox, f32)> = detections.iter().collect();
    order.sort_by(|one, other| other.1.total_cmp(&one.1));
    let mut open: Vec<&NormalisedBox> = truth.iter().collect();
    let mut matched = Vec::with_capacity(order.len());
    for (area, score) in order {
        let overlap = |index: &usize| open[*index].intersection_over_union(area);
        let best = (0..open.len()).max_by(|one, other| overlap(one).total_cmp(&overlap(other)));
        let hit = best.filter(|best| overlap(best) >= least_overlap);
        if let Some(hit) = hit {
            open.swap_remove(hit);
        }
        matched.push((*score, hit.is_some()));
    }
    matched
}

/// The area under precision over recall, precision made to fall only (all-point interpolation, as Pascal VOC since 2010).
/// `detections` are those of all photos.
pub fn average_precision(detections: &[(f32, bool)], lesions: usize) -> Option<f64> {
    if lesions == 0 {
        return None;
    }
    let mut detections = detections.to_vec();
    detections.sort_by(|one, other| other.0.total_cmp(&one.0));
    let mut found = 0_usize;
    let mut curve: Vec<(f64, f64)> = Vec::with_capacity(detections.len());
    for (index, (_, is_hit)) in detections.iter().enumerate() {
        found += usize::from(*is_hit);
        curve.push((found as f64 / lesions as f64, found as f64 / (index + 1) as f64));
    }
    let (mut area, mut best, mut right_end) = (0.0, 0.0_f64, None::<f64>);
    for (recall, precision) in curve.into_iter().rev() {
        if let Some(end) = right_end {
            area += (end - recall) * best;
        }
        best = best.max(precision);
        right_end = Some(recall);
    }
    Some(area + right_end.unwrap_or(0.0) * best)
}

/// A value and where it lies with 95 % confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The value.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The value of a statistic with its interval, by resampling the cases with replacement (percentile bootstrap, Efron 1979).
/// Samples in which it is not defined do not count. The same seed gives the same interval.
pub fn bootstrap(
    cases: &[&Case],
    resamples: usize,
    seed: u64,
    statistic: impl Fn(&[&Case]) -> Option<f64>,
) -> Option<Interval> {
    let value = statistic(cases)?;
    let mut random = SplitMix(seed);
    let mut sample: Vec<&Case> = Vec::with_capacity(cases.len());
    let mut values: Vec<f64> = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        sample.clear();
        sample.extend((0..cases.len()).map(|_| cases[random.below(cases.len())]));
        values.extend(statistic(&sample));
    }
    values.sort_by(f64::total_cmp);
    let (Some(first), Some(last)) = (values.first(), values.last()) else {
        return None;
    };
    let at = |fraction: f64| {
        let place = fraction * (values.len() - 1) as f64;
        let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
        (below + (above - below) * place.fract()).clamp(*first, *last)
    };
    Some(Interval {
        value,
        low: at(0.025),
        high: at(0.975),
    })
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): small, seeded, the same everywhere.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to just below `end`, by multiplication: the bias of less than `end` in 2^64 is none here.
    fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests;
