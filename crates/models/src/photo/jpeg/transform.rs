//! From coefficients to pixels, at full size or reduced.
//!
//! The inverse transform (ITU-T T.81, A.3.3) in whole numbers, as the Independent JPEG Group's `jidctint.c` and `jidctred.c`
//! have it (Loeffler, Ligtenberg, Moschytz 1989), so that each pixel is the one that libjpeg, and with it Pillow and OpenCV,
//! give: what models were trained on. Reduced to a half, a quarter or an eighth, each pixel is the mean of the pixels that it
//! stands for. Damaged data may overflow; what comes of it is a pixel all the same.

#![allow(
    clippy::inline_always,
    reason = "called for each coefficient or block; what is left to the compiler is slower"
)]

use std::num::Wrapping;

/// The place in a block, row times 8 plus column, of the n-th coefficient (T.81, figure A.6).
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// Quantisation steps in zigzag order.
pub(super) type Steps = [u16; 64];

/// Fixed point: so many bits in factors, and so many kept between the two passes.
const FACTOR_BITS: usize = 13;
const KEPT_BITS: usize = 2;
/// The transform's own scale is 8.
const SCALE_BITS: usize = 3;

type Number = Wrapping<i32>;

/// A number to fixed point.
const fn fixed(value: f64) -> Number {
    let scaled = value * (1 << FACTOR_BITS) as f64;
    Wrapping(if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 } as i32)
}

/// The coefficients of a block, dequantised.
pub(super) struct Block {
    values: [Number; 64],
    /// The columns that have a coefficient, one bit each; the very first one does not count.
    columns: u8,
}

impl Block {
    /// A block with the first coefficient only.
    #[inline(always)]
    pub(super) fn new(first: i32, steps: &Steps) -> Self {
        let mut values = [Wrapping(0); 64];
        values[0] = Wrapping(first) * Wrapping(i32::from(steps[0]));
        Self { values, columns: 0 }
    }

    /// Sets a coefficient, by its place in zigzag order.
    #[inline(always)]
    pub(super) fn set(&mut self, place: usize, value: i32, steps: &Steps) {
        let natural = ZIGZAG[place & 63];
        self.values[usize::from(natural)] = Wrapping(value) * Wrapping(i32::from(steps[place & 63]));
        self.columns |= 1 << (natural & 7);
    }

    /// The pixels: 8 × 8, or their means over squares.
    #[inline(always)]
    pub(super) fn pixels<const AREA: usize>(&self) -> [u8; AREA] {
        match AREA {
            1 | 4 => self.through::<AREA, 16, 0b1010_1011>(),
            16 => self.through::<AREA, 32, 0b1110_1111>(),
            _ => self.through::<AREA, 64, 0b1111_1111>(),
        }
    }

    /// With room for so many values between the passes, of those columns that have a part in the pixels.
    #[inline(always)]
    fn through<const AREA: usize, const KEPT: usize, const COLUMNS: u8>(&self) -> [u8; AREA] {
        let mut pixels = [0; AREA];
        if self.columns == 0 || AREA == 1 {
            pixels.fill(mean(self.values[0]));
            return pixels;
        }
        let side = AREA.isqrt();
        // Downward first: each column that has something, to `side` rows of it.
        let mut kept = [Wrapping(0); KEPT];
        // The first coefficient makes the first column one that counts.
        let mut columns = (self.columns | 1) & COLUMNS;
        while columns != 0 {
            let column = columns.trailing_zeros() as usize;
            columns &= columns - 1;
            let values: [Number; 8] = std::array::from_fn(|row| self.values[row * 8 + column]);
            let shift = FACTOR_BITS - KEPT_BITS;
            let put = |row: usize, value: Number| kept[row * 8 + column] = value;
            match side {
                8 => whole(values, shift, put),
                4 => half(values, shift, put),
                _ => quarter(values, shift, put),
            }
        }
        for (row, pixels) in pixels.chunks_exact_mut(side).enumerate() {
            let values: [Number; 8] = std::array::from_fn(|column| kept[row * 8 + column]);
            let shift = FACTOR_BITS + KEPT_BITS + SCALE_BITS;
            let put = |column: usize, value: Number| pixels[column] = level(value);
            match side {
                8 => whole(values, shift, put),
                4 => half(values, shift, put),
                _ => quarter(values, shift, put),
            }
        }
        pixels
    }
}

/// A block's mean: the first coefficient alone.
fn mean(first: Number) -> u8 {
    level(rounded(first, SCALE_BITS))
}

#[inline(always)]
fn level(value: Number) -> u8 {
    (value + Wrapping(128)).0.clamp(0, 255) as u8
}

/// Shifted down, halves up.
#[inline(always)]
fn rounded(value: Number, shift: usize) -> Number {
    (value + Wrapping(1 << (shift - 1))) >> shift
}

/// One dimension at full size: eight coefficients to eight values.
#[inline(always)]
fn whole(values: [Number; 8], shift: usize, mut put: impl FnMut(usize, Number)) {
    let common = (values[2] + values[6]) * const { fixed(0.541_196_100) };
    let low = common - values[6] * const { fixed(1.847_759_065) };
    let high = common + values[2] * const { fixed(0.765_366_865) };
    let (sum, difference) = (
        (values[0] + values[4]) << FACTOR_BITS,
        (values[0] - values[4]) << FACTOR_BITS,
    );
    let even = [sum + high, difference + low, difference - low, sum - high];
    let (one, three, five, seven) = (values[1], values[3], values[5], values[7]);
    let common = (seven + three + five + one) * const { fixed(1.175_875_602) };
    let outer = (seven + one) * const { fixed(-0.899_976_223) };
    let inner = (five + three) * const { fixed(-2.562_915_447) };
    let first = (seven + three) * const { fixed(-1.961_570_560) } + common;
    let second = (five + one) * const { fixed(-0.390_180_644) } + common;
    let odd = [
        one * const { fixed(1.501_321_110) } + outer + second,
        three * const { fixed(3.072_711_026) } + inner + first,
        five * const { fixed(2.053_119_869) } + inner + second,
        seven * const { fixed(0.298_631_336) } + outer + first,
    ];
    for (place, (even, odd)) in even.into_iter().zip(odd).enumerate() {
        put(place, rounded(even + odd, shift));
        put(7 - place, rounded(even - odd, shift));
    }
}

/// One dimension at half size: four means of two values each. The fifth coefficient has no part in them.
#[inline(always)]
fn half(values: [Number; 8], shift: usize, mut put: impl FnMut(usize, Number)) {
    let base = values[0] << (FACTOR_BITS + 1);
    let wave = values[2] * const { fixed(1.847_759_065) } - values[6] * const { fixed(0.765_366_865) };
    let inner = values[1] * const { fixed(1.061_594_337) } - values[3] * const { fixed(2.172_734_803) }
        + values[5] * const { fixed(1.451_774_981) }
        - values[7] * const { fixed(0.211_164_243) };
    let outer = values[1] * const { fixed(2.562_915_447) } + values[3] * const { fixed(0.899_976_223) }
        - values[5] * const { fixed(0.601_344_887) }
        - values[7] * const { fixed(0.509_795_579) };
    let shift = shift + 1;
    put(0, rounded(base + wave + outer, shift));
    put(3, rounded(base + wave - outer, shift));
    put(1, rounded(base - wave + inner, shift));
    put(2, rounded(base - wave - inner, shift));
}

/// One dimension at a quarter: two means of four values each. Even coefficients but the first have no part in them.
#[inline(always)]
fn quarter(values: [Number; 8], shift: usize, mut put: impl FnMut(usize, Number)) {
    let base = values[0] << (FACTOR_BITS + 2);
    let wave = values[1] * const { fixed(3.624_509_785) } - values[3] * const { fixed(1.272_758_580) }
        + values[5] * const { fixed(0.850_430_095) }
        - values[7] * const { fixed(0.720_959_822) };
    let shift = shift + 2;
    put(0, rounded(base + wave, shift));
    put(1, rounded(base - wave, shift));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(values: &[i32; 64]) -> Block {
        let steps: Steps = std::array::from_fn(|place| place as u16 + 1);
        let mut block = Block::new(values[0], &steps);
        for (place, value) in values.iter().enumerate().skip(1).filter(|(_, value)| **value != 0) {
            block.set(place, *value, &steps);
        }
        block
    }

    #[test]
    fn reduced_blocks_are_means_of_the_whole_one() {
        let block = block(&std::array::from_fn(|place| (place as i32 * 37) % 5 / 4));
        let whole = block.pixels::<64>();
        let mean = |row: usize, column: usize, side: usize| {
            let rows = row..row + side;
            let sum: u32 = rows
                .flat_map(|row| &whole[row * 8 + column..row * 8 + column + side])
                .map(|level| u32::from(*level))
                .sum();
            f64::from(sum) / (side * side) as f64
        };
        let close = |one: u8, other: f64| assert!((f64::from(one) - other).abs() < 1.0, "{one} and {other}");
        for (at, value) in block.pixels::<16>().into_iter().enumerate() {
            close(value, mean(at / 4 * 2, at % 4 * 2, 2));
        }
        for (at, value) in block.pixels::<4>().into_iter().enumerate() {
            close(value, mean(at / 2 * 4, at % 2 * 4, 4));
        }
        close(block.pixels::<1>()[0], mean(0, 0, 8));
    }

    #[test]
    fn the_pixels_are_those_of_the_definition() {
        // T.81, A.3.3, in floating-point numbers.
        let mut values = [0; 64];
        for (place, value) in [(0, -9), (1, 11), (2, -7), (5, 4), (12, 3), (33, -1), (63, 1)] {
            values[place] = value;
        }
        let wave = |frequency: usize, at: usize| {
            let scale = if frequency == 0 { 0.125_f64.sqrt() } else { 0.5 };
            scale * ((2 * at + 1) as f64 * frequency as f64 * std::f64::consts::PI / 16.0).cos()
        };
        for (at, pixel) in block(&values).pixels::<64>().into_iter().enumerate() {
            let terms = ZIGZAG.iter().enumerate().map(|(place, natural)| {
                let (row, column) = (usize::from(natural / 8), usize::from(natural % 8));
                f64::from(values[place] * (place as i32 + 1)) * wave(row, at / 8) * wave(column, at % 8)
            });
            let exact = terms.sum::<f64>() + 128.0;
            assert!((f64::from(pixel) - exact).abs() < 0.6, "{at}: {pixel} and {exact}");
        }
    }

    #[test]
    fn damaged_coefficients_give_pixels() {
        let mut block = Block::new(i32::MAX, &[u16::MAX; 64]);
        for place in 1..64 {
            block.set(place, i32::MIN, &[u16::MAX; 64]);
        }
        assert_eq!(
            block.pixels::<64>().len() + block.pixels::<16>().len() + block.pixels::<4>().len(),
            84
        );
    }
}
