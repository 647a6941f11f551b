//! Resizing as Pillow does it (`Resample.c`), to the last bit: across first and then down, each time in whole numbers with
//! weights of 22 bits, rounded to a level of 255. (Pillow 13 goes down first where an image loses much more height than
//! width; there the two passes round differently, by one level.) Models were trained on such pixels, and a detector with boxes of nearly equal
//! scores takes another one when a single level differs.

use crate::{pack::Resize, photo::Rectangle};

/// Bits of a weight behind the point.
const WEIGHT_BITS: u32 = 22;
/// A weight is kept in two parts, so that products fit 16-bit arithmetic: so many bits in the lower one.
const LOW_BITS: u32 = 11;
/// So few weights are multiplied as they are, more in two parts and many at a time.
const FEW: usize = 8;

/// Rows of an image, or of a part of it.
pub(super) trait Rows {
    /// Where the part begins in the image, its size, and the size of the image.
    fn place(&self) -> Place;
    /// All three colours are the same; only the first is read.
    fn is_grey(&self) -> bool;
    /// A row of the part, into rows as long as it is wide.
    fn row(&self, row: u32, colours: &mut [Vec<i16>; 3]);
}

/// Where rows are in their image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) begin: (u32, u32),
    pub(super) size: (u32, u32),
    pub(super) image: (u32, u32),
}

/// Buffers, kept from one image to the next.
#[derive(Debug, Default)]
pub(super) struct Resampler {
    across: Weights,
    down: Weights,
    colours: [Vec<i16>; 3],
    /// Rows that are as wide as the result: one colour after the other in each.
    narrow: Vec<u8>,
    sums: Vec<i32>,
}

/// What each pixel of a row of results is made of.
#[derive(Debug, Default)]
struct Weights {
    /// The first of the pixels, and how many they are.
    spans: Vec<(usize, usize)>,
    /// The weights, those of each result one after the other.
    all: Vec<i32>,
    high: Vec<i16>,
    low: Vec<i16>,
    /// Where each result's weights begin.
    begins: Vec<usize>,
    /// The weights once more where no result has more than four: the first pixel, and zeros up to four.
    fours: Vec<(usize, [i32; 4])>,
}

impl Weights {
    /// Sets the weights of `count` results of the stretch from `begin` to `end` of `length` pixels.
    fn set(&mut self, length: u32, (begin, end): (f64, f64), count: u32, is_single: bool) {
        self.spans.clear();
        self.all.clear();
        self.begins.clear();
        let length = length as usize;
        let scale = (end - begin) / f64::from(count);
        // Taking single pixels, the filter does not grow with the reduction.
        let support = if is_single { 1.0 } else { scale.max(1.0) };
        let mut weights = Vec::new();
        for index in 0..count {
            let centre = begin + (f64::from(index) + 0.5) * scale;
            let first = ((centre - support + 0.5) as usize).min(length - 1);
            let end = ((centre + support + 0.5) as usize).clamp(first + 1, length);
            weights.clear();
            weights.extend((first..end).map(|pixel| {
                let away = ((pixel as f64 - centre + 0.5) * (1.0 / support)).abs();
                (1.0 - away).max(0.0)
            }));
            let sum: f64 = weights.iter().sum();
            self.begins.push(self.all.len());
            self.spans.push((first, end - first));
            // Past the image's end nothing has a weight: the pixel there stands for it.
            let share = |weight: &f64| if sum == 0.0 { 1.0 } else { weight / sum };
            let whole = f64::from(1 << WEIGHT_BITS);
            self.all
                .extend(weights.iter().map(|weight| (share(weight) * whole + 0.5) as i32));
        }
        self.fours.clear();
        if length >= 4 && self.spans.iter().all(|(_, count)| *count <= 4) {
            let spans = self.spans.iter().zip(&self.begins);
            self.fours.extend(spans.map(|(&(first, count), begin)| {
                // The four lie in the image.
                let start = first.min(length - 4);
                let mut four = [0; 4];
                four[first - start..][..count].copy_from_slice(&self.all[*begin..begin + count]);
                (start, four)
            }));
        }
        let part = |shift: u32, mask: i32| self.all.iter().map(move |weight| (weight >> shift & mask) as i16);
        self.high.clear();
        self.high.extend(part(LOW_BITS, i32::from(i16::MAX)));
        self.low.clear();
        self.low.extend(part(0, (1 << LOW_BITS) - 1));
    }
}

/// A weighted sum as a level.
#[inline]
fn level(sum: i32) -> u8 {
    ((sum + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS).clamp(0, 255) as u8
}

impl Resampler {
    /// Resizes a stretch of the image to `width` × `height`: rows of the result, one colour after the other in each.
    pub(super) fn resize(
        &mut self,
        rows: &impl Rows,
        wanted: Rectangle,
        (width, height): (u32, u32),
        resize: Resize,
    ) -> Vec<u8> {
        let Place { begin, size, image } = rows.place();
        let is_single = resize.takes_single_pixels();
        self.across.set(image.0, (wanted.left, wanted.right), width, is_single);
        self.down.set(image.1, (wanted.top, wanted.bottom), height, is_single);
        // Zeros that make four of fewer must not reach beyond the part.
        let (start, end) = (begin.0 as usize, (begin.0 + size.0) as usize);
        if self
            .across
            .fours
            .iter()
            .any(|(first, _)| *first < start || first + 4 > end)
        {
            self.across.fours.clear();
        }
        let colours = if rows.is_grey() { 1 } else { 3 };
        for colour in &mut self.colours {
            colour.resize(size.0 as usize, 0);
        }
        let line = width as usize * colours;
        let first = self.down.spans.iter().map(|(first, _)| *first).min().unwrap_or(0);
        let end = self
            .down
            .spans
            .iter()
            .map(|(first, count)| first + count)
            .max()
            .unwrap_or(0);
        self.narrow.resize((end - first) * line, 0);
        // Taking single pixels, rows between them are not looked at.
        let mut next = self.down.spans.iter().peekable();
        for row in first..end {
            while next.next_if(|(first, count)| first + count <= row).is_some() {}
            if next.peek().is_some_and(|(first, _)| *first > row) {
                continue;
            }
            rows.row((row as u32).saturating_sub(begin.1).min(size.1 - 1), &mut self.colours);
            let narrow = &mut self.narrow[(row - first) * line..][..line];
            for (target, colour) in narrow.chunks_exact_mut(width as usize).zip(&self.colours) {
                self.across.apply(colour, begin.0 as usize, target);
            }
        }
        let mut result = Vec::with_capacity(line * height as usize);
        for ((from, count), weights) in self.down.spans.iter().zip(&self.down.begins) {
            self.sums.clear();
            self.sums.resize(line, 0);
            for (row, weight) in (from - first..).zip(&self.down.all[*weights..*weights + count]) {
                let values = &self.narrow[row * line..][..line];
                for (sum, value) in self.sums.iter_mut().zip(values) {
                    *sum += i32::from(*value) * weight;
                }
            }
            result.extend(self.sums.iter().map(|sum| level(*sum)));
        }
        result
    }
}

impl Weights {
    /// The results of a row that begins at pixel `begin` of the image.
    fn apply(&self, row: &[i16], begin: usize, target: &mut [u8]) {
        if !self.fours.is_empty() {
            for (target, (start, weights)) in target.iter_mut().zip(&self.fours) {
                let products = row[start - begin..][..4].iter().zip(weights);
                *target = level(products.map(|(value, weight)| i32::from(*value) * weight).sum());
            }
            return;
        }
        for ((target, (first, count)), weights) in target.iter_mut().zip(&self.spans).zip(&self.begins) {
            // The part holds all that is needed; if it did not, its nearest pixels stand for what is missing.
            let first = first.saturating_sub(begin).min(row.len().saturating_sub(*count));
            let values = &row[first..row.len().min(first + count)];
            *target = level(if *count <= FEW {
                let weights = &self.all[*weights..*weights + count];
                values
                    .iter()
                    .zip(weights)
                    .map(|(value, weight)| i32::from(*value) * weight)
                    .sum()
            } else {
                let part = |weights: &[i16]| -> i32 {
                    let products = values.iter().zip(weights);
                    products
                        .map(|(value, weight)| i32::from(*value) * i32::from(*weight))
                        .sum()
                };
                (part(&self.high[*weights..*weights + count]) << LOW_BITS) + part(&self.low[*weights..*weights + count])
            });
        }
    }
}
