//! Numbers that come out the same everywhere: random draws, noise, and stand-ins for the platform's maths functions.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Random draws from one of a seed's independent streams.
pub(super) struct Draw(ChaCha8Rng);

impl Draw {
    /// The stream `stream` of `seed`. Streams do not influence each other, so that the skin of a picture stays the same
    /// whatever lesion is put on it.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut key = *b"skin-assist synthetic picture v1";
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut generator = ChaCha8Rng::from_seed(key);
        generator.set_stream(stream);
        Self(generator)
    }

    /// Any 32 bits.
    pub(super) fn bits(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Uniform in 0..1.
    pub(super) fn unit(&mut self) -> f32 {
        (self.bits() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// Uniform between two numbers.
    pub(super) fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// A count between two numbers, both included.
    pub(super) fn count(&mut self, low: u32, high: u32) -> u32 {
        low + ((self.unit() * (high - low + 1) as f32) as u32).min(high - low)
    }

    /// True with this probability.
    pub(super) fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }
}

/// Cosine and sine of an angle in turns, to about 1e-5.
pub(super) fn cos_sin(turns: f32) -> (f32, f32) {
    (sine(turns + 0.25), sine(turns))
}

fn sine(turns: f32) -> f32 {
    // Fold to -0.25..0.25 turns, where the Taylor polynomial is good.
    let mut part = turns - (turns + 0.5).floor();
    if part > 0.25 {
        part = 0.5 - part;
    } else if part < -0.25 {
        part = -0.5 - part;
    }
    let angle = part * std::f32::consts::TAU;
    let square = angle * angle;
    angle * (1.0 - square / 6.0 * (1.0 - square / 20.0 * (1.0 - square / 42.0 * (1.0 - square / 72.0))))
}

/// A stand-in for `exp(-x)`, good to a few per cent for -1..4 and monotone beyond: (1 + x/16) to the power of -16.
pub(super) fn decay(x: f32) -> f32 {
    let base = 1.0 / (1.0 + x.max(-8.0) * (1.0 / 16.0));
    let squared = base * base;
    let fourth = squared * squared;
    let eighth = fourth * fourth;
    eighth * eighth
}

/// 0 below `low`, 1 above `high`, smooth between.
pub(super) fn smoothstep(low: f32, high: f32, x: f32) -> f32 {
    let part = ((x - low) / (high - low)).clamp(0.0, 1.0);
    part * part * (3.0 - 2.0 * part)
}

/// 1 at `centre`, 0 at a distance of `half_width` and beyond, smooth between.
pub(super) fn bump(centre: f32, half_width: f32, x: f32) -> f32 {
    let part = (x - centre) / half_width;
    let rest = (1.0 - part * part).max(0.0);
    rest * rest
}

/// Linear interpolation.
pub(super) fn mix(from: f32, to: f32, part: f32) -> f32 {
    from + (to - from) * part
}

/// A well-mixed hash of a grid point.
#[inline]
pub(super) fn hash(x: i32, y: i32, seed: u32) -> u32 {
    let mut value = (x as u32)
        .wrapping_mul(0x9E37_79B1)
        .wrapping_add((y as u32).wrapping_mul(0x85EB_CA77))
        .wrapping_add(seed);
    value = (value ^ (value >> 15)).wrapping_mul(0x2C1B_3C6D);
    value = (value ^ (value >> 13)).wrapping_mul(0x297A_2D39);
    value ^ (value >> 16)
}

/// The largest integer that is not greater; `f32::floor` is a call on processors without an instruction for it.
#[inline]
fn floor(x: f32) -> i32 {
    let truncated = x as i32;
    truncated - i32::from(x < truncated as f32)
}

/// Smooth value noise in -1..1 with one feature per unit.
#[inline]
pub(super) fn noise(x: f32, y: f32, seed: u32) -> f32 {
    let (cell_x, cell_y) = (floor(x), floor(y));
    let (part_x, part_y) = (x - cell_x as f32, y - cell_y as f32);
    let weight_x = part_x * part_x * (3.0 - 2.0 * part_x);
    let weight_y = part_y * part_y * (3.0 - 2.0 * part_y);
    let at = |i: i32, j: i32| (hash(cell_x.wrapping_add(i), cell_y.wrapping_add(j), seed) >> 8) as f32;
    let top = mix(at(0, 0), at(1, 0), weight_x);
    let bottom = mix(at(0, 1), at(1, 1), weight_x);
    mix(top, bottom, weight_y) * (2.0 / 16_777_216.0) - 1.0
}

/// Up to `octaves` octaves of [`noise`], in about -1..1. `footprint` is the size of a pixel in units of the first
/// octave's features: octaves that the pixel grid cannot carry fade out instead of aliasing.
pub(super) fn fractal_noise(x: f32, y: f32, seed: u32, octaves: u32, footprint: f32) -> f32 {
    let (mut sum, mut amplitude, mut frequency) = (0.0, 0.6, 1.0);
    for octave in 0..octaves {
        let strength = carried(footprint * frequency);
        if strength <= 0.0 {
            break;
        }
        let salt = seed.wrapping_add(octave.wrapping_mul(0x68E3_1DA4));
        sum += amplitude * strength * noise(x * frequency, y * frequency, salt);
        amplitude *= 0.5;
        frequency *= 2.03;
    }
    sum
}

/// How much of a texture survives on a pixel grid whose pixels measure `footprint` of its features.
pub(super) fn carried(footprint: f32) -> f32 {
    (1.6 - 1.6 * footprint).clamp(0.0, 1.0)
}
