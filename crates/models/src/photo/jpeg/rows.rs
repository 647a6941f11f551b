//! From planes to rows of red, green and blue, as libjpeg makes them (`jdsample.c`, `jdcolor.c`): colour that the photo has at
//! half the resolution is weighted by distance, and each value rounded where libjpeg rounds it.

use super::reduced::{Part, Plane};

impl Part {
    /// Whether there is no colour: then all three are the same.
    pub(crate) fn is_grey(&self) -> bool {
        self.planes.len() < 3
    }

    /// Bytes that its planes hold.
    pub(crate) fn bytes(&self) -> usize {
        self.planes.iter().map(|plane| plane.pixels.capacity()).sum()
    }

    /// A row of the part, as values from 0 to 255. `rows` are as long as the part is wide; of a grey photo only the first is
    /// written.
    pub(crate) fn row(&self, row: u32, [red, green, blue]: &mut [Vec<i16>; 3]) {
        match &*self.planes {
            [luma, first, second] => {
                luma.row(row, green);
                first.row(row, blue);
                second.row(row, red);
                for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
                    [*red, *green, *blue] = rgb(*green, *blue, *red);
                }
            }
            [luma, ..] => luma.row(row, red),
            [] => {}
        }
    }
}

/// RGB of luma and colour differences (JFIF 1.02), in fixed point of 16 bits: 1.402, 0.34414, 0.71414 and 1.772, of which
/// whole numbers are taken out so that 16-bit arithmetic does for the rest.
#[inline]
fn rgb(luma: i16, blue: i16, red: i16) -> [i16; 3] {
    const HALF: i32 = 1 << 15;
    let (blue, red) = (blue - 128, red - 128);
    let level = |value: i16| value.clamp(0, 255);
    let times = |value: i16, factor: i16| i32::from(value) * i32::from(factor);
    [
        level(luma + red + ((times(red, 26_345) + HALF) >> 16) as i16),
        level(luma - red + ((times(blue, -22_554) + times(red, 18_734) + HALF) >> 16) as i16),
        level(luma + 2 * blue + ((times(blue, -14_942) + HALF) >> 16) as i16),
    ]
}

impl Plane {
    /// The values of a row of the part.
    fn row(&self, row: u32, target: &mut [i16]) {
        let (across, down) = self.expanded;
        let own = (row / down).min(self.used.1 - 1);
        // The nearer row three times, the one on the other side of the pixel once.
        let other = if row.is_multiple_of(2) {
            own.saturating_sub(1)
        } else {
            (own + 1).min(self.used.1 - 1)
        };
        let is_smooth = self.is_smooth && (across == 1 || self.used.0 > 2);
        match (across, down) {
            (1, 1) => {
                for (target, value) in target.iter_mut().zip(self.values(own)) {
                    *target = i16::from(*value);
                }
            }
            (1, 2) if is_smooth => {
                let bias = 1 + (row % 2) as i16;
                for ((target, near), far) in target.iter_mut().zip(self.values(own)).zip(self.values(other)) {
                    *target = (3 * i16::from(*near) + i16::from(*far) + bias) >> 2;
                }
            }
            (2, 1) if is_smooth => {
                let values = self.values(own);
                spread(target, values.len(), |at| i16::from(values[at]), 2, [1, 2]);
            }
            (2, 2) if is_smooth => {
                let (near, far) = (self.values(own), self.values(other));
                let sum = |at: usize| 3 * i16::from(near[at]) + i16::from(far[at]);
                spread(target, near.len(), sum, 4, [8, 7]);
            }
            _ => {
                let values = self.values(own);
                for (at, target) in target.iter_mut().enumerate() {
                    *target = i16::from(values[(at / across as usize).min(values.len() - 1)]);
                }
            }
        }
    }

    /// A row of values, without what fills up blocks.
    fn values(&self, row: u32) -> &[u8] {
        let begin = row as usize * self.width as usize;
        &self.pixels[begin..begin + self.used.0 as usize]
    }
}

/// Twice as many values: each is three quarters of its own and one of its neighbour's; at the ends its own. The sum is
/// shifted, after something is added on the left and on the right.
fn spread(target: &mut [i16], count: usize, value: impl Fn(usize) -> i16, shift: u32, [left, right]: [i16; 2]) {
    for (at, pair) in target.chunks_mut(2).enumerate().take(count) {
        let own = value(at);
        let before = value(at.saturating_sub(1));
        let after = value((at + 1).min(count - 1));
        pair[0] = (3 * own + before + left) >> shift;
        if let Some(second) = pair.get_mut(1) {
            *second = (3 * own + after + right) >> shift;
        }
    }
}
