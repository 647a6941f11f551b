//! What is in a picture, before any pixel: skin, light, and the lesions with their places and shapes.
//!
//! Lengths are in units of the picture's short side, the origin is the picture's centre, y points down.

use super::look::Look;
use super::maths::{Draw, cos_sin, noise};
use super::{Box2, Condition, PictureParameters};

/// Streams of random numbers: what is drawn for one part does not disturb another.
mod stream {
    pub(super) const SKIN: u64 = 1;
    pub(super) const LIGHT: u64 = 2;
    pub(super) const CAMERA: u64 = 3;
    pub(super) const BACKDROP: u64 = 4;
    pub(super) const MARKS: u64 = 5;
    pub(super) const LESIONS: u64 = 6;
}

/// Share of solitary pictures that show a second lesion of the same kind.
const SECOND_LESION: f32 = 0.15;
/// The long side of a solitary lesion, in short sides of the picture.
const SOLITARY_SIZE: (f32, f32) = (0.085, 0.40);
/// Distance that solitary lesions keep from the picture's edge and from each other.
const CLEARANCE: f32 = 0.03;

/// Skin colours as displayed, light to dark.
const TONES: [[f32; 3]; 6] = [
    [0.95, 0.82, 0.75],
    [0.90, 0.74, 0.64],
    [0.81, 0.61, 0.49],
    [0.67, 0.47, 0.35],
    [0.50, 0.34, 0.25],
    [0.37, 0.25, 0.19],
];

/// Everything in one picture.
pub(super) struct Scene {
    /// Half the picture's width and height.
    pub(super) half: (f32, f32),
    pub(super) skin: Skin,
    pub(super) light: Light,
    pub(super) backdrop: Option<Backdrop>,
    pub(super) dots: Vec<Dot>,
    pub(super) strokes: Vec<Stroke>,
    pub(super) lesions: Vec<Lesion>,
    /// Radius of the blur.
    pub(super) blur: f32,
    /// Amplitude of the sensor's noise, as a fraction of full scale.
    pub(super) grain: f32,
    pub(super) seed: u32,
}

/// The skin itself.
pub(super) struct Skin {
    /// Reflected light, linear.
    pub(super) colour: [f32; 3],
    /// Strength of the uneven tan.
    pub(super) mottling: f32,
    /// Strength of the uneven redness.
    pub(super) flush: f32,
    /// Depth of the pores and lines.
    pub(super) relief: f32,
    /// Main direction of the lines.
    pub(super) grain_direction: (f32, f32),
}

/// The light on the scene.
pub(super) struct Light {
    /// Unit vector towards the light; z points at the camera.
    pub(super) direction: [f32; 3],
    /// Change of brightness per unit of length.
    pub(super) gradient: (f32, f32),
    pub(super) vignette: f32,
    /// Exposure and colour cast, per channel.
    pub(super) colour: [f32; 3],
    pub(super) gloss: f32,
}

/// Where the skin ends and something else is in the picture.
pub(super) struct Backdrop {
    normal: (f32, f32),
    offset: f32,
    curvature: f32,
    pub(super) colour: [f32; 3],
    pub(super) weave: f32,
}

impl Backdrop {
    /// Signed distance from the skin's edge, negative on the skin.
    pub(super) fn distance(&self, x: f32, y: f32) -> f32 {
        let along = self.normal.0 * y - self.normal.1 * x;
        self.normal.0 * x + self.normal.1 * y - self.offset + self.curvature * along * along
    }
}

/// A small round mark.
pub(super) struct Dot {
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) radius: f32,
    pub(super) pigment: f32,
    pub(super) blood: f32,
}

/// What a stroke is.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum StrokeKind {
    Hair,
    Vessel,
}

/// A thin line along a parabola.
pub(super) struct Stroke {
    pub(super) kind: StrokeKind,
    pub(super) x: f32,
    pub(super) y: f32,
    /// Unit vector along the stroke.
    pub(super) direction: (f32, f32),
    pub(super) length: f32,
    /// Offset to the side at the end of the stroke, as a fraction of its length.
    pub(super) bend: f32,
    pub(super) width: f32,
    pub(super) strength: f32,
}

/// A closed, star-shaped outline.
pub(super) struct Outline {
    pub(super) centre: (f32, f32),
    /// Half axes before the border's waves.
    pub(super) half_axes: (f32, f32),
    rotation: (f32, f32),
    /// Amplitudes of cosine and sine of the angle's multiples from 1 on.
    waves: [(f32, f32); 6],
    ragged: f32,
    ragged_frequency: f32,
    seed: u32,
}

/// A point as an outline sees it.
pub(super) struct Local {
    /// Coordinates along the outline's axes, in units of its longer half axis.
    pub(super) x: f32,
    pub(super) y: f32,
    /// Direction from the centre.
    pub(super) direction: (f32, f32),
    /// Distance from the centre as a fraction of the distance to the border.
    pub(super) radius: f32,
}

impl Outline {
    fn border(&self, cosine: f32, sine: f32) -> f32 {
        let (mut multiple_cosine, mut multiple_sine) = (1.0, 0.0);
        let mut border = 1.0;
        for (wave_cosine, wave_sine) in self.waves {
            let next = multiple_cosine * cosine - multiple_sine * sine;
            multiple_sine = multiple_sine * cosine + multiple_cosine * sine;
            multiple_cosine = next;
            border += wave_cosine * multiple_cosine + wave_sine * multiple_sine;
        }
        if self.ragged > 0.0 {
            let frequency = self.ragged_frequency;
            border += self.ragged * noise(cosine * frequency + 31.5, sine * frequency + 17.5, self.seed);
            border += 0.5 * self.ragged * noise(cosine * frequency * 2.3, sine * frequency * 2.3, self.seed ^ 0x55AA);
        }
        border.max(0.25)
    }

    pub(super) fn local(&self, x: f32, y: f32) -> Local {
        let (offset_x, offset_y) = (x - self.centre.0, y - self.centre.1);
        let along = offset_x * self.rotation.0 + offset_y * self.rotation.1;
        let across = offset_y * self.rotation.0 - offset_x * self.rotation.1;
        let (unit_x, unit_y) = (along / self.half_axes.0, across / self.half_axes.1);
        let distance = (unit_x * unit_x + unit_y * unit_y).sqrt();
        let direction = if distance > 1e-6 {
            (unit_x / distance, unit_y / distance)
        } else {
            (1.0, 0.0)
        };
        Local {
            x: unit_x,
            y: across / self.half_axes.0,
            direction,
            radius: distance / self.border(direction.0, direction.1),
        }
    }

    /// Least and greatest x and y of the border.
    pub(super) fn extent(&self) -> (f32, f32, f32, f32) {
        let mut extent = (f32::MAX, f32::MAX, f32::MIN, f32::MIN);
        for step in 0..360 {
            let (cosine, sine) = cos_sin(step as f32 / 360.0);
            let border = self.border(cosine, sine);
            let (along, across) = (cosine * border * self.half_axes.0, sine * border * self.half_axes.1);
            let x = self.centre.0 + along * self.rotation.0 - across * self.rotation.1;
            let y = self.centre.1 + along * self.rotation.1 + across * self.rotation.0;
            extent = (extent.0.min(x), extent.1.min(y), extent.2.max(x), extent.3.max(y));
        }
        extent
    }

    /// Radius of a circle around the centre that holds the outline.
    pub(super) fn reach(&self) -> f32 {
        let (left, top, right, bottom) = self.extent();
        let x = (right - self.centre.0).max(self.centre.0 - left);
        let y = (bottom - self.centre.1).max(self.centre.1 - top);
        (x * x + y * y).sqrt()
    }
}

/// How an outline may come out.
pub(super) struct OutlineStyle {
    /// Short half axis as a fraction of the long one.
    pub(super) aspect: (f32, f32),
    /// Strength of the border's waves.
    pub(super) waves: (f32, f32),
    /// Strength of the border's fine irregularity.
    pub(super) ragged: (f32, f32),
}

impl OutlineStyle {
    /// An outline around the origin whose box has this long side.
    fn draw(&self, draw: &mut Draw, long_side: f32) -> Outline {
        let strength = draw.range(self.waves.0, self.waves.1);
        let mut waves = [(0.0, 0.0); 6];
        for (index, wave) in waves.iter_mut().enumerate() {
            let (cosine, sine) = cos_sin(draw.unit());
            // The first multiple only moves the centre; the second is covered by the aspect.
            let share = [0.35, 0.6, 1.0, 0.7, 0.5, 0.35][index];
            let amplitude = strength * share * draw.range(0.3, 1.0);
            *wave = (amplitude * cosine, amplitude * sine);
        }
        let mut outline = Outline {
            centre: (0.0, 0.0),
            half_axes: (1.0, draw.range(self.aspect.0, self.aspect.1)),
            rotation: cos_sin(draw.unit()),
            waves,
            ragged: draw.range(self.ragged.0, self.ragged.1),
            ragged_frequency: draw.range(2.0, 4.0),
            seed: draw.bits(),
        };
        let (left, top, right, bottom) = outline.extent();
        let factor = long_side / (right - left).max(bottom - top);
        outline.half_axes = (outline.half_axes.0 * factor, outline.half_axes.1 * factor);
        outline
    }
}

/// One lesion: where it is and what it looks like.
pub(super) struct Lesion {
    pub(super) outline: Outline,
    pub(super) look: Look,
    pub(super) seed: u32,
    /// Radius around the outline's centre beyond which the lesion changes nothing.
    pub(super) reach: f32,
}

impl Scene {
    /// Decides everything about a picture.
    pub(super) fn plan(parameters: &PictureParameters) -> Self {
        let (width, height) = parameters.size();
        let short = width.min(height) as f32;
        let half = (width as f32 / short * 0.5, height as f32 / short * 0.5);
        let seed = parameters.seed;

        let (skin, tone) = plan_skin(parameters.skin_tone, &mut Draw::new(seed, stream::SKIN));
        let light = plan_light(parameters, tone, &mut Draw::new(seed, stream::LIGHT));
        let backdrop = plan_backdrop(half, &mut Draw::new(seed, stream::BACKDROP));
        let mut camera = Draw::new(seed, stream::CAMERA);
        let blur = camera.unit();
        let grain = camera.range(0.004, 0.03);
        let (mut dots, mut strokes) = plan_marks(half, &mut Draw::new(seed, stream::MARKS));
        let mut draw = Draw::new(seed, stream::LESIONS);
        let lesions = match parameters.condition {
            None => Vec::new(),
            Some(condition) if condition.is_solitary() => plan_solitary(condition, half, backdrop.as_ref(), &mut draw),
            Some(condition) => plan_widespread(condition, half, &mut draw),
        };
        for lesion in &lesions {
            lesion.look.marks(&lesion.outline, &mut draw, &mut dots, &mut strokes);
        }
        Self {
            half,
            skin,
            light,
            backdrop,
            dots,
            strokes,
            lesions,
            blur: parameters.blur.unwrap_or(0.0045 * blur * blur).clamp(0.0, 0.05),
            grain: parameters.noise.unwrap_or(grain).clamp(0.0, 0.5),
            seed: hash_seed(seed),
        }
    }

    /// The boxes of the solitary lesions.
    pub(super) fn boxes(&self) -> Vec<Box2> {
        let (width, height) = (self.half.0 * 2.0, self.half.1 * 2.0);
        self.lesions
            .iter()
            .filter(|lesion| lesion.look.condition().is_solitary())
            .map(|lesion| {
                let (left, top, right, bottom) = lesion.outline.extent();
                Box2 {
                    x: (left + self.half.0) / width,
                    y: (top + self.half.1) / height,
                    width: (right - left) / width,
                    height: (bottom - top) / height,
                }
            })
            .collect()
    }
}

fn hash_seed(seed: u64) -> u32 {
    super::maths::hash(seed as i32, (seed >> 32) as i32, 0x51ED_270B)
}

fn plan_skin(tone: Option<f32>, draw: &mut Draw) -> (Skin, f32) {
    let drawn = draw.unit();
    let tone = tone.unwrap_or(drawn).clamp(0.0, 1.0);
    let place = tone * (TONES.len() - 1) as f32;
    let index = (place as usize).min(TONES.len() - 2);
    let part = place - index as f32;
    let tint = draw.range(-0.03, 0.03);
    let mut colour = [0.0; 3];
    for (channel, value) in colour.iter_mut().enumerate() {
        let shown = TONES[index][channel] * (1.0 - part) + TONES[index + 1][channel] * part;
        let shown = shown * (1.0 + tint * [0.2, -0.4, -1.0][channel]);
        *value = shown * shown;
    }
    let skin = Skin {
        colour,
        mottling: draw.range(0.04, 0.22),
        flush: draw.range(0.03, 0.16),
        relief: draw.range(0.2, 1.0),
        grain_direction: cos_sin(draw.unit()),
    };
    (skin, tone)
}

fn plan_light(parameters: &PictureParameters, tone: f32, draw: &mut Draw) -> Light {
    let drawn = draw.unit();
    let (cosine, sine) = cos_sin(parameters.light_direction.unwrap_or(drawn));
    let tilt = draw.range(0.35, 0.75);
    let upright = (1.0 - tilt * tilt).sqrt();
    let drawn = draw.range(-1.0, 1.0);
    let cast = parameters.colour_cast.unwrap_or(drawn).clamp(-1.0, 1.0);
    let green = draw.range(-0.03, 0.03);
    // A camera's automatic exposure brightens dark skin.
    let exposure = draw.range(0.75, 1.12) * (1.0 + 0.5 * tone);
    let gradient = draw.range(0.0, 0.45);
    Light {
        direction: [cosine * tilt, -sine * tilt, upright],
        gradient: (cosine * gradient, -sine * gradient),
        vignette: draw.range(0.0, 0.45),
        colour: [
            exposure * (1.0 + 0.12 * cast),
            exposure * (1.0 + green),
            exposure * (1.0 - 0.16 * cast),
        ],
        gloss: draw.range(0.05, 0.35),
    }
}

fn plan_backdrop(half: (f32, f32), draw: &mut Draw) -> Option<Backdrop> {
    let present = draw.chance(0.25);
    let normal = cos_sin(draw.unit());
    let extent = half.0 * normal.0.abs() + half.1 * normal.1.abs();
    let offset = extent * draw.range(0.45, 0.95);
    let curvature = draw.range(-0.1, 0.5);
    let brightness = draw.range(0.05, 0.8);
    let mut colour = [0.0; 3];
    for value in &mut colour {
        let shown = brightness * draw.range(0.7, 1.15);
        *value = shown * shown;
    }
    let weave = draw.range(0.0, 0.3);
    present.then_some(Backdrop {
        normal,
        offset,
        curvature,
        colour,
        weave,
    })
}

/// Freckles and hairs, which any skin may have.
fn plan_marks(half: (f32, f32), draw: &mut Draw) -> (Vec<Dot>, Vec<Stroke>) {
    let mut dots = Vec::new();
    if draw.chance(0.45) {
        for _ in 0..draw.count(2, 26) {
            dots.push(Dot {
                x: draw.range(-half.0, half.0),
                y: draw.range(-half.1, half.1),
                radius: draw.range(0.002, 0.011),
                pigment: draw.range(0.15, 0.9),
                blood: draw.range(0.0, 0.3),
            });
        }
    }
    let mut strokes = Vec::new();
    if draw.chance(0.5) {
        let main = draw.unit();
        let spread = draw.range(0.03, 0.2);
        let strength = draw.range(0.35, 0.85);
        for _ in 0..draw.count(3, 45) {
            strokes.push(Stroke {
                kind: StrokeKind::Hair,
                x: draw.range(-half.0, half.0),
                y: draw.range(-half.1, half.1),
                direction: cos_sin(main + draw.range(-spread, spread)),
                length: draw.range(0.05, 0.28),
                bend: draw.range(-0.3, 0.3),
                width: draw.range(0.0012, 0.0035),
                strength,
            });
        }
    }
    (dots, strokes)
}

fn plan_solitary(condition: Condition, half: (f32, f32), backdrop: Option<&Backdrop>, draw: &mut Draw) -> Vec<Lesion> {
    let count = if draw.chance(SECOND_LESION) { 2 } else { 1 };
    let mut lesions: Vec<Lesion> = Vec::new();
    for number in 0..count {
        let look = Look::draw(condition, draw);
        let spread = draw.unit();
        let largest = if number == 0 { SOLITARY_SIZE.1 } else { 0.22 };
        let size = SOLITARY_SIZE.0 + (largest - SOLITARY_SIZE.0) * spread * (0.6 + 0.4 * spread);
        let mut outline = look.outline_style().draw(draw, size);
        let (left, top, right, bottom) = outline.extent();
        let mut best: Option<(f32, (f32, f32))> = None;
        for _ in 0..60 {
            let x = draw.range(CLEARANCE - half.0 - left, half.0 - CLEARANCE - right);
            let y = draw.range(CLEARANCE - half.1 - top, half.1 - CLEARANCE - bottom);
            let mut room = backdrop.map_or(1.0, |backdrop| {
                [(left, top), (right, top), (left, bottom), (right, bottom)]
                    .into_iter()
                    .map(|(corner_x, corner_y)| -backdrop.distance(x + corner_x, y + corner_y))
                    .fold(1.0, f32::min)
            });
            for other in &lesions {
                let (other_left, other_top, other_right, other_bottom) = other.outline.extent();
                let beside = (x + left - other_right).max(other_left - x - right);
                let above = (y + top - other_bottom).max(other_top - y - bottom);
                room = room.min(beside.max(above));
            }
            if best.is_none_or(|(best_room, _)| room > best_room) {
                best = Some((room, (x, y)));
            }
            if room > CLEARANCE {
                break;
            }
        }
        let Some((room, centre)) = best else { continue };
        if number > 0 && room <= CLEARANCE {
            continue;
        }
        outline.centre = centre;
        lesions.push(Lesion::new(outline, look, draw.bits()));
    }
    lesions
}

fn plan_widespread(condition: Condition, half: (f32, f32), draw: &mut Draw) -> Vec<Lesion> {
    let (counts, sizes) = match condition {
        Condition::AtopicDermatitis => ((3, 7), (0.3, 0.9)),
        Condition::Psoriasis => ((3, 9), (0.1, 0.5)),
        Condition::Urticaria => ((5, 15), (0.08, 0.35)),
        _ => ((1, 4), (0.3, 0.75)),
    };
    let count = draw.count(counts.0, counts.1);
    // Many lesions are small, few are large.
    let shrink = draw.range(0.55, 1.0);
    let family = Look::draw(condition, draw);
    let mut lesions: Vec<Lesion> = Vec::new();
    for number in 0..count {
        let look = family.sibling(draw);
        let size = draw.range(sizes.0, sizes.1) * shrink;
        let mut outline = look.outline_style().draw(draw, size);
        // The first one lies well inside the picture, so that there is something to see.
        let inside = if number == 0 { 0.5 } else { 0.95 };
        for _ in 0..12 {
            outline.centre = (
                draw.range(-half.0, half.0) * inside,
                draw.range(-half.1, half.1) * inside,
            );
            let overlaps = lesions.iter().any(|other| {
                let x = outline.centre.0 - other.outline.centre.0;
                let y = outline.centre.1 - other.outline.centre.1;
                let apart = (outline.half_axes.0 + other.outline.half_axes.0) * 0.9;
                x * x + y * y < apart * apart
            });
            if !overlaps || matches!(condition, Condition::AtopicDermatitis) {
                lesions.push(Lesion::new(outline, look, draw.bits()));
                break;
            }
        }
    }
    lesions
}

impl Lesion {
    fn new(outline: Outline, look: Look, seed: u32) -> Self {
        let reach = outline.reach() * look.halo();
        Self {
            outline,
            look,
            seed,
            reach,
        }
    }
}
