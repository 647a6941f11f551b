//! Synthetic skin pictures with known truth.
//!
//! A picture is a pure function of its [`PictureParameters`]: the same parameters give the same bytes on every platform,
//! because the module uses only the arithmetic that IEEE 754 defines exactly (`+ - * /`, square root, floor) in a fixed
//! order, and no function of the platform's maths library. The scene does not depend on the size in pixels, so that a
//! model may be trained on small renderings and meet several megapixels later.
//!
//! The pictures are a practice ground for software. They imitate what textbooks say about the look of a condition, they
//! are not drawn from patients, and nothing measured on them says anything about real skin.

mod condition;
mod jpeg;
mod look;
mod maths;
mod render;
mod scene;

pub use condition::Condition;
use scene::Scene;

/// What to render. Everything that is `None` follows from the seed.
#[derive(Clone, Debug, PartialEq)]
pub struct PictureParameters {
    /// The seed of everything that is not given.
    pub seed: u64,
    /// The condition shown; `None` is healthy skin.
    pub condition: Option<Condition>,
    /// Width of the upright picture in pixels, clamped to 16..=16384.
    pub width: u32,
    /// Height of the upright picture in pixels, clamped to 16..=16384.
    pub height: u32,
    /// Skin tone from 0 (light) to 1 (dark).
    pub skin_tone: Option<f32>,
    /// Where the light comes from, in turns, counter-clockwise from the right of the picture.
    pub light_direction: Option<f32>,
    /// Colour cast from -1 (cold) to 1 (warm).
    pub colour_cast: Option<f32>,
    /// Radius of the blur as a fraction of the picture's short side.
    pub blur: Option<f32>,
    /// Amplitude of the sensor noise as a fraction of full scale.
    pub noise: Option<f32>,
    /// Render only this part of the picture, at the scale of the whole; `lesions` are then relative to this part.
    pub region: Option<Box2>,
}

impl PictureParameters {
    /// Parameters that follow from the seed alone.
    pub fn new(seed: u64, condition: Option<Condition>, width: u32, height: u32) -> Self {
        Self {
            seed,
            condition,
            width,
            height,
            skin_tone: None,
            light_direction: None,
            colour_cast: None,
            blur: None,
            noise: None,
            region: None,
        }
    }

    /// The truth boxes of the whole picture, without rendering it. Empty unless the condition is solitary.
    pub fn lesions(&self) -> Vec<Box2> {
        Scene::plan(self).boxes()
    }

    fn size(&self) -> (u32, u32) {
        (self.width.clamp(16, 16_384), self.height.clamp(16, 16_384))
    }
}

/// A box in the upright picture, normalised to 0..1, the origin at the top left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Box2 {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width.
    pub width: f32,
    /// Height.
    pub height: f32,
}

/// A rendered picture and its truth.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Pixels, row by row from the top, three bytes each.
    pub rgb: Vec<u8>,
    /// Tight boxes around the lesions of a solitary condition; empty otherwise.
    pub lesions: Vec<Box2>,
    /// The condition shown; `None` is healthy skin.
    pub condition: Option<Condition>,
}

/// Renders a picture. Deterministic: equal parameters give equal pictures on every platform.
pub fn render(parameters: &PictureParameters) -> Picture {
    let scene = Scene::plan(parameters);
    render::render(parameters, &scene)
}

#[cfg(test)]
mod tests;
