//! Whether values of a later time are spread as those of an earlier one: the population stability index.
//!
//! The index adds, over bins, the difference of the two shares times the logarithm of their ratio; it is the symmetric
//! Kullback-Leibler divergence of the binned distributions. The bins are tenths of the earlier values. That below 0.1 nothing
//! has changed and from 0.25 on much has are rules of thumb of credit scoring (Siddiqi, Credit Risk Scorecards, 2006). They say
//! nothing of how many values there are: where nothing changes, the index is distributed as chi-square of one less than the
//! bins, times the sum of the reciprocals of both numbers of values (Yurdakul and Naranjo, Statistical properties of the population
//! stability index, Journal of Risk Model Validation 14(4), 2020). With few values chance alone goes far beyond 0.25.

use serde::Serialize;

/// From here on a little has changed.
pub const SOME: f64 = 0.1;
/// From here on much has changed.
pub const MUCH: f64 = 0.25;
/// Bins, where the earlier values are different enough.
const BINS: usize = 10;
/// What chi-square exceeds once in twenty times, for 1 to 9 degrees of freedom.
const CHI_SQUARE_95: [f64; BINS - 1] = [3.841, 5.991, 7.815, 9.488, 11.070, 12.592, 14.067, 15.507, 16.919];
/// What an empty bin counts as, so that the index stays finite.
const EMPTY: f64 = 0.5;

/// What the index of a time says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Below [`SOME`].
    Stable,
    /// From [`SOME`] on, and more than chance explains.
    Some,
    /// From [`MUCH`] on, and more than chance explains.
    Much,
    /// From [`SOME`] on, and so few values that chance explains it.
    TooFew,
}

/// The index of one time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Stability {
    /// The population stability index, 0 where the shares are the same.
    pub index: f64,
    /// What the index would stay below in 19 of 20 times if nothing had changed.
    pub by_chance: f64,
    /// What it says.
    pub verdict: Verdict,
}

/// Bins of the earlier values, with how many are in each.
#[derive(Debug, Clone, PartialEq)]
pub struct Baseline {
    /// The upper bounds of all bins but the last; a value that is equal is within.
    bounds: Vec<f64>,
    counts: Vec<u64>,
}

impl Baseline {
    /// Of these values, in any order; none where all are equal, or fewer than two.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let largest = sorted.last().copied()?;
        let mut bounds: Vec<f64> = (1..BINS)
            .map(|tenth| sorted[(sorted.len() * tenth).div_ceil(BINS).max(1) - 1])
            .collect();
        bounds.dedup();
        // A bin beyond the largest value would be empty.
        bounds.retain(|bound| *bound < largest);
        if bounds.is_empty() {
            return None;
        }
        let mut baseline = Self {
            counts: Vec::new(),
            bounds,
        };
        baseline.counts = baseline.counted(values);
        Some(baseline)
    }

    fn counted(&self, values: &[f64]) -> Vec<u64> {
        let mut counts = vec![0; self.bounds.len() + 1];
        for value in values {
            counts[self.bounds.partition_point(|bound| bound < value)] += 1;
        }
        counts
    }

    /// How the later values stand to the earlier ones; none where there are none.
    pub fn compared_with(&self, later: &[f64]) -> Option<Stability> {
        if later.is_empty() {
            return None;
        }
        let shares = |counts: &[u64]| -> Vec<f64> {
            let counts: Vec<f64> = counts.iter().map(|count| (*count as f64).max(EMPTY)).collect();
            let total: f64 = counts.iter().sum();
            counts.iter().map(|count| count / total).collect()
        };
        let (before, after) = (shares(&self.counts), shares(&self.counted(later)));
        let index = before
            .iter()
            .zip(&after)
            .map(|(before, after)| (after - before) * (after / before).ln())
            .sum();
        let values: u64 = self.counts.iter().sum();
        let by_chance = CHI_SQUARE_95[self.bounds.len() - 1] * (1.0 / values as f64 + 1.0 / later.len() as f64);
        let verdict = if index < SOME {
            Verdict::Stable
        } else if index < by_chance {
            Verdict::TooFew
        } else if index < MUCH {
            Verdict::Some
        } else {
            Verdict::Much
        };
        Some(Stability {
            index,
            by_chance,
            verdict,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 to 10, each so many times.
    fn tenths(times: [usize; 10]) -> Vec<f64> {
        let of = |(place, times)| std::iter::repeat_n(place as f64 + 1.0, times);
        times.into_iter().enumerate().flat_map(of).collect()
    }

    #[test]
    fn the_index_is_the_sum_over_tenths() {
        let baseline = Baseline::of(&tenths([100; 10])).unwrap();
        let same = baseline.compared_with(&tenths([7; 10])).unwrap();
        assert!(same.index.abs() < 1e-12 && same.verdict == Verdict::Stable, "{same:?}");
        // Of ten bins of a tenth each, one has a fifth and one nothing but what stands for nothing.
        let mut times = [100; 10];
        (times[0], times[9]) = (199, 1);
        let moved = baseline.compared_with(&tenths(times)).unwrap();
        let expected = 0.099 * (1.99_f64).ln() - 0.099 * (0.01_f64).ln();
        assert!((moved.index - expected).abs() < 1e-12, "{moved:?} is not {expected}");
        assert_eq!(moved.verdict, Verdict::Much);
        // 16.919 (1/1000 + 1/1000)
        assert!((moved.by_chance - 0.033_838).abs() < 1e-9, "{moved:?}");
        times = [100, 100, 100, 100, 100, 100, 100, 100, 35, 165];
        assert_eq!(baseline.compared_with(&tenths(times)).unwrap().verdict, Verdict::Some);
    }

    #[test]
    fn few_values_say_nothing() {
        let baseline = Baseline::of(&tenths([10; 10])).unwrap();
        let few = baseline.compared_with(&[1.0, 1.0, 2.0, 3.0]).unwrap();
        assert!(few.index > MUCH && few.verdict == Verdict::TooFew, "{few:?}");
        let many = baseline
            .compared_with(&tenths([50, 25, 25, 0, 0, 0, 0, 0, 0, 0]))
            .unwrap();
        assert_eq!(many.verdict, Verdict::Much);
        assert_eq!(baseline.compared_with(&[]), None);
    }

    #[test]
    fn values_that_are_equal_share_a_bin() {
        for same in [&[][..], &[0.9], &[0.9; 50]] {
            assert_eq!(Baseline::of(same), None, "{same:?}");
        }
        // Most are equal: what is left are the bins below and above.
        let mut values = vec![0.9; 80];
        values.extend([0.1; 20]);
        let baseline = Baseline::of(&values).unwrap();
        assert_eq!(baseline.counts, [20, 80]);
        // What is out of the earlier range is in the outermost bins.
        let stability = baseline.compared_with(&[0.0, 1.0, 1.0, 1.0, 1.0]).unwrap();
        assert!(stability.index.abs() < 1e-12, "{stability:?}");
    }
}
