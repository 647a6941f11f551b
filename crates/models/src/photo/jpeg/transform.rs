//! From coefficients to pixels, at full size or reduced.
//!
//! The inverse transform (ITU-T T.81, A.3.3) is linear: what one coefficient adds to a block is a fixed pattern times its
//! value, and most coefficients are zero. Reduced to a half, a quarter or an eighth, each pixel is the mean of the pixels
//! that it stands for, exactly: the pattern is averaged, not the pixels.

#![allow(
    clippy::inline_always,
    reason = "called for each coefficient or block; what is left to the compiler is slower"
)]

/// The place in a block, row times 8 plus column, of the n-th coefficient (T.81, figure A.6).
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// Quantisation steps in zigzag order.
pub(super) type Steps = [u16; 64];

/// What each coefficient, in zigzag order, adds to the pixels of a block of `AREA` pixels, dequantisation included.
pub(super) struct Patterns<const AREA: usize>(Box<[[f32; AREA]; 64]>);

impl<const AREA: usize> Patterns<AREA> {
    pub(super) fn new(steps: &Steps) -> Self {
        let side = AREA.isqrt();
        let waves = waves(side);
        let mut patterns = Box::new([[0.0; AREA]; 64]);
        for ((pattern, step), place) in patterns.iter_mut().zip(steps).zip(ZIGZAG) {
            let (row, column) = (usize::from(place / 8), usize::from(place % 8));
            for (at, value) in pattern.iter_mut().enumerate() {
                *value = (waves[row][at / side] * waves[column][at % side] * f64::from(*step)) as f32;
            }
        }
        Self(patterns)
    }

    /// A block of the middle grey with a first coefficient.
    #[inline(always)]
    pub(super) fn begin(&self, first: i32) -> [f32; AREA] {
        // Half a level besides: what follows is cut off.
        let mut block = [128.5; AREA];
        self.add(&mut block, 0, first);
        block
    }

    /// Adds a coefficient.
    #[inline(always)]
    pub(super) fn add(&self, block: &mut [f32; AREA], place: usize, value: i32) {
        let value = value as f32;
        for (pixel, pattern) in block.iter_mut().zip(&self.0[place & 63]) {
            *pixel += value * pattern;
        }
    }
}

/// One dimension: the mean of each wave over each of `side` equal parts of a block.
fn waves(side: usize) -> [[f64; 8]; 8] {
    let mut waves = [[0.0; 8]; 8];
    let each = 8 / side;
    for (frequency, wave) in waves.iter_mut().enumerate() {
        let scale = if frequency == 0 { 0.125_f64.sqrt() } else { 0.5 };
        for (part, value) in wave.iter_mut().enumerate().take(side) {
            let sum: f64 = (part * each..(part + 1) * each)
                .map(|x| ((2 * x + 1) as f64 * frequency as f64 * std::f64::consts::PI / 16.0).cos())
                .sum();
            *value = scale * sum / each as f64;
        }
    }
    waves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reduced_blocks_are_means_of_the_whole_one() {
        let steps: Steps = std::array::from_fn(|place| place as u16 + 1);
        let values: [i32; 64] = std::array::from_fn(|place| (place as i32 * 37) % 11 - 5);
        fn block<const AREA: usize>(steps: &Steps, values: &[i32; 64]) -> [f32; AREA] {
            let patterns = Patterns::<AREA>::new(steps);
            let mut block = patterns.begin(values[0]);
            for (place, value) in values.iter().enumerate().skip(1) {
                patterns.add(&mut block, place, *value);
            }
            block
        }
        let whole = block::<64>(&steps, &values);
        let mean = |row: usize, column: usize, side: usize| {
            let rows = row..row + side;
            let sum: f32 = rows
                .flat_map(|row| &whole[row * 8 + column..row * 8 + column + side])
                .sum();
            sum / (side * side) as f32
        };
        let close = |one: f32, other: f32| assert!((one - other).abs() < 0.01, "{one} and {other}");
        for (at, value) in block::<16>(&steps, &values).into_iter().enumerate() {
            close(value, mean(at / 4 * 2, at % 4 * 2, 2));
        }
        for (at, value) in block::<4>(&steps, &values).into_iter().enumerate() {
            close(value, mean(at / 2 * 4, at % 2 * 4, 4));
        }
        close(block::<1>(&steps, &values)[0], mean(0, 0, 8));
    }

    #[test]
    fn a_wave_is_that_of_the_standard() {
        // The first horizontal frequency alone, quantised by 1: f(x) = 1/8 · √2 · F · cos((2x + 1)π/16), F = 80.
        let patterns = Patterns::<64>::new(&[1; 64]);
        let mut block = patterns.begin(0);
        patterns.add(&mut block, 1, 80);
        let first = 80.0 * 2.0_f64.sqrt() / 8.0 * (std::f64::consts::PI / 16.0).cos() + 128.5;
        assert!((f64::from(block[0]) - first).abs() < 1e-3, "{}", block[0]);
        assert!((block[56] - block[0]).abs() < 1e-3, "the same in each row");
        assert!(
            (block[7] + block[0] - 257.0).abs() < 1e-3,
            "the other way round at the other end"
        );
    }
}
