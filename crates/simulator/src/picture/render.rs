//! From a scene to pixels.
//!
//! The scene is shaded on a raster of at most [`RASTER_SHORT_SIDE`] lines, which is sharper than a hand-held photo of skin
//! usually is; larger pictures are interpolated from it and then get their sensor noise at full size.

use super::look::Surface;
use super::maths::{carried, decay, fractal_noise, hash, mix, noise, smoothstep};
use super::scene::{Scene, Stroke, StrokeKind};
use super::{Box2, Picture, PictureParameters};

/// Lines of the finest raster that is shaded.
const RASTER_SHORT_SIDE: f32 = 800.0;
/// Absorption of red, green and blue by melanin and by blood, per unit of optical density.
const MELANIN: [f32; 3] = [0.72, 1.12, 1.45];
const BLOOD: [f32; 3] = [0.14, 0.95, 0.85];

/// A part of the shaded raster.
struct Raster {
    /// Size of the whole picture's raster.
    whole: (usize, usize),
    /// First column and row of this part.
    origin: (usize, usize),
    width: usize,
    height: usize,
    /// Size of a raster pixel in scene units.
    footprint: f32,
}

impl Raster {
    fn x(&self, column: usize, half: f32) -> f32 {
        ((column + self.origin.0) as f32 + 0.5) / self.whole.0 as f32 * 2.0 * half - half
    }

    fn y(&self, row: usize, half: f32) -> f32 {
        ((row + self.origin.1) as f32 + 0.5) / self.whole.1 as f32 * 2.0 * half - half
    }
}

/// The skin's uneven tan and redness: slow enough to be interpolated from a coarse lattice.
struct Tone {
    half: (f32, f32),
    columns: usize,
    values: Vec<(f32, f32)>,
}

impl Tone {
    /// Lattice points per unit of length.
    const DENSITY: f32 = 64.0;

    fn new(scene: &Scene) -> Self {
        let columns = (scene.half.0 * 2.0 * Self::DENSITY) as usize + 3;
        let rows = (scene.half.1 * 2.0 * Self::DENSITY) as usize + 3;
        let mut values = Vec::with_capacity(columns * rows);
        for row in 0..rows {
            for column in 0..columns {
                let x = column as f32 / Self::DENSITY - scene.half.0;
                let y = row as f32 / Self::DENSITY - scene.half.1;
                let mottling = fractal_noise(x * 2.5, y * 2.5, scene.seed ^ 1, 3, 0.0);
                values.push((mottling, noise(x * 4.0 + 9.0, y * 4.0, scene.seed ^ 2)));
            }
        }
        Self {
            half: scene.half,
            columns,
            values,
        }
    }

    /// Tan and redness at a point of the picture.
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        let (x, y) = ((x + self.half.0) * Self::DENSITY, (y + self.half.1) * Self::DENSITY);
        let (column, row) = (x as usize, y as usize);
        let (part_x, part_y) = (x - column as f32, y - row as f32);
        let upper = row * self.columns + column;
        let lower = upper + self.columns;
        let between = |of: fn(&(f32, f32)) -> f32| {
            let top = mix(of(&self.values[upper]), of(&self.values[upper + 1]), part_x);
            let bottom = mix(of(&self.values[lower]), of(&self.values[lower + 1]), part_x);
            mix(top, bottom, part_y)
        };
        (between(|value| value.0), between(|value| value.1))
    }
}

/// Lines and dots, painted before the shading.
struct Overlay {
    pigment: Vec<f32>,
    blood: Vec<f32>,
    hair: Vec<f32>,
}

/// What the shading needs of one point.
#[derive(Clone, Copy, Default)]
struct Sample {
    colour: [f32; 3],
    height: f32,
    gloss: f32,
    hair: f32,
}

pub(super) fn render(parameters: &PictureParameters, scene: &Scene) -> Picture {
    let (width, height) = parameters.size();
    let (left, top, right, bottom) = window(parameters.region, width, height);
    let short = width.min(height) as f32;
    let lines = short.min(RASTER_SHORT_SIDE);
    let whole = (
        (width as f32 * lines / short).round().max(1.0) as usize,
        (height as f32 * lines / short).round().max(1.0) as usize,
    );
    let scale = (whole.0 as f32 / width as f32, whole.1 as f32 / height as f32);
    let margin = (scene.blur * lines) as usize * 2 + 4;
    let origin = (
        ((left as f32 * scale.0) as usize).saturating_sub(margin),
        ((top as f32 * scale.1) as usize).saturating_sub(margin),
    );
    let end = (
        ((right as f32 * scale.0) as usize + margin).min(whole.0),
        ((bottom as f32 * scale.1) as usize + margin).min(whole.1),
    );
    let raster = Raster {
        whole,
        origin,
        width: end.0 - origin.0,
        height: end.1 - origin.1,
        footprint: 1.0 / lines,
    };

    let samples = sample(scene, &raster);
    let mut shaded = shade(scene, &raster, &samples);
    drop(samples);
    blur(&mut shaded, raster.width, raster.height, scene.blur * lines);

    let rgb = develop(scene, &raster, &shaded, scale, (left, top, right, bottom));
    Picture {
        width: right - left,
        height: bottom - top,
        rgb,
        lesions: seen_through(parameters.region, scene.boxes()),
        condition: parameters.condition,
    }
}

/// The pixels to render: left, top, right, bottom, the last two excluded.
fn window(region: Option<Box2>, width: u32, height: u32) -> (u32, u32, u32, u32) {
    let Some(region) = region else {
        return (0, 0, width, height);
    };
    let low = |start: f32, size: u32| ((start * size as f32).round().max(0.0) as u32).min(size - 1);
    let (left, top) = (low(region.x, width), low(region.y, height));
    let high = |end: f32, size: u32, start: u32| ((end * size as f32).round().max(0.0) as u32).clamp(start + 1, size);
    (
        left,
        top,
        high(region.x + region.width, width, left),
        high(region.y + region.height, height, top),
    )
}

/// Boxes relative to the rendered part, without those outside it.
fn seen_through(region: Option<Box2>, boxes: Vec<Box2>) -> Vec<Box2> {
    let Some(region) = region else { return boxes };
    let relative = boxes.into_iter().map(|found| Box2 {
        x: (found.x - region.x) / region.width,
        y: (found.y - region.y) / region.height,
        width: found.width / region.width,
        height: found.height / region.height,
    });
    relative
        .filter(|found| found.x < 1.0 && found.y < 1.0 && found.x + found.width > 0.0 && found.y + found.height > 0.0)
        .collect()
}

fn sample(scene: &Scene, raster: &Raster) -> Vec<Sample> {
    let overlay = paint(scene, raster);
    let footprint = raster.footprint;
    let mut samples = Vec::with_capacity(raster.width * raster.height);
    let skin = &scene.skin;
    let seed = scene.seed;
    let (line_cosine, line_sine) = skin.grain_direction;
    let tone = Tone::new(scene);
    let lines = 0.0016 * skin.relief * carried(footprint * 55.0);
    let pores = 0.0008 * skin.relief * carried(footprint * 110.0);
    for row in 0..raster.height {
        let y = raster.y(row, scene.half.1);
        let near: Vec<_> = scene
            .lesions
            .iter()
            .filter(|lesion| (lesion.outline.centre.1 - y).abs() < lesion.reach)
            .collect();
        for column in 0..raster.width {
            let x = raster.x(column, scene.half.0);
            let at = samples.len();
            let edge = scene.backdrop.as_ref().map_or(-1.0, |backdrop| backdrop.distance(x, y));
            if edge > footprint {
                samples.push(backdrop_sample(scene, x, y, edge, footprint));
                continue;
            }
            let (mottling, flush) = tone.at(x, y);
            let mut surface = Surface {
                pigment: skin.mottling * mottling,
                blood: skin.flush * (flush - 0.5 * mottling),
                pearl: 0.0,
                veil: 0.0,
                wax: 0.0,
                crust: 0.0,
                scale: 0.0,
                height: 0.0,
                gloss: 1.0,
            };
            if lines > 0.0 {
                let along = x * line_cosine + y * line_sine;
                let across = y * line_cosine - x * line_sine;
                surface.height += lines * noise(along * 22.0, across * 55.0, seed ^ 3);
            }
            if pores > 0.0 {
                surface.height += pores * noise(x * 110.0, y * 110.0, seed ^ 4);
            }
            for lesion in &near {
                let (offset_x, offset_y) = (x - lesion.outline.centre.0, y - lesion.outline.centre.1);
                if offset_x * offset_x + offset_y * offset_y < lesion.reach * lesion.reach {
                    lesion.apply(x, y, footprint, &mut surface);
                }
            }
            surface.pigment += overlay.pigment[at];
            surface.blood += overlay.blood[at];
            let mut skin_sample = reflect(scene, &surface);
            skin_sample.hair = overlay.hair[at];
            if edge > -0.3 && scene.backdrop.is_some() {
                // The body curves away towards its edge.
                let away = smoothstep(-0.3, 0.0, edge);
                for value in &mut skin_sample.colour {
                    *value *= 1.0 - 0.6 * away * away;
                }
                if edge > -footprint {
                    let part = 0.5 + 0.5 * edge / footprint;
                    let behind = backdrop_sample(scene, x, y, 0.0, footprint);
                    for (value, other) in skin_sample.colour.iter_mut().zip(behind.colour) {
                        *value += (other - *value) * part;
                    }
                }
            }
            samples.push(skin_sample);
        }
    }
    samples
}

fn backdrop_sample(scene: &Scene, x: f32, y: f32, distance: f32, footprint: f32) -> Sample {
    let Some(backdrop) = &scene.backdrop else {
        return Sample::default();
    };
    let weave = fractal_noise(x * 30.0, y * 30.0, scene.seed ^ 5, 2, footprint * 30.0);
    // The body throws a soft shadow.
    let shadow = 1.0 - 0.5 * (1.0 - smoothstep(0.0, 0.12, distance));
    let brightness = (1.0 + backdrop.weave * weave).max(0.1) * shadow;
    Sample {
        colour: backdrop.colour.map(|value| value * brightness),
        height: 0.0,
        gloss: 0.0,
        hair: 0.0,
    }
}

/// The light that a surface reflects.
fn reflect(scene: &Scene, surface: &Surface) -> Sample {
    const VEIL: [f32; 3] = [0.105, 0.12, 0.175];
    const CRUST: [f32; 3] = [0.13, 0.035, 0.02];
    const WAX: [f32; 3] = [0.34, 0.2, 0.1];
    let mut colour = [0.0; 3];
    for channel in 0..3 {
        let skin = scene.skin.colour[channel];
        let mut value = skin * decay(surface.pigment * MELANIN[channel] + surface.blood * BLOOD[channel]);
        // Pearl, wax and scale scatter the light before it reaches the pigment, and take on part of the skin's tone.
        let pearl = (skin * 0.55 + [0.42, 0.27, 0.25][channel]).min(0.95);
        value += (pearl - value) * surface.pearl.clamp(0.0, 1.0);
        value += (WAX[channel] * (0.45 + skin) - value) * surface.wax.clamp(0.0, 1.0);
        value += (VEIL[channel] * (0.5 + skin) - value) * surface.veil.clamp(0.0, 1.0);
        value += (CRUST[channel] - value) * surface.crust.clamp(0.0, 1.0);
        let scale = 0.25 * skin + [0.55, 0.53, 0.51][channel];
        value += (scale - value) * surface.scale.clamp(0.0, 1.0);
        colour[channel] = value;
    }
    Sample {
        colour,
        height: surface.height,
        gloss: surface.gloss,
        hair: 0.0,
    }
}

/// Light, hair and lens.
fn shade(scene: &Scene, raster: &Raster, samples: &[Sample]) -> Vec<[f32; 3]> {
    const HAIR: [f32; 3] = [0.03, 0.02, 0.015];
    let light = &scene.light;
    let [light_x, light_y, light_z] = light.direction;
    // Halfway between the light and the camera, for the shine.
    let half_length = (light_x * light_x + light_y * light_y + (light_z + 1.0) * (light_z + 1.0)).sqrt();
    let (half_x, half_y, half_z) = (
        light_x / half_length,
        light_y / half_length,
        (light_z + 1.0) / half_length,
    );
    let flat_shine = power_24(half_z);
    let corner = scene.half.0 * scene.half.0 + scene.half.1 * scene.half.1;
    let (width, height) = (raster.width, raster.height);
    let per_unit = 0.5 / raster.footprint;
    let mut shaded = Vec::with_capacity(samples.len());
    for row in 0..height {
        let y = raster.y(row, scene.half.1);
        let (above, below) = (row.saturating_sub(1) * width, (row + 1).min(height - 1) * width);
        for column in 0..width {
            let x = raster.x(column, scene.half.0);
            let sample = &samples[row * width + column];
            let slope_x = (samples[row * width + (column + 1).min(width - 1)].height
                - samples[row * width + column.saturating_sub(1)].height)
                * per_unit;
            let slope_y = (samples[below + column].height - samples[above + column].height) * per_unit;
            let normal_z = 1.0 / (1.0 + slope_x * slope_x + slope_y * slope_y).sqrt();
            let facing = (light_z - slope_x * light_x - slope_y * light_y) * normal_z;
            let diffuse = 0.45 + 0.55 * (facing / light_z).clamp(0.0, 1.6);
            let towards = ((half_z - slope_x * half_x - slope_y * half_y) * normal_z).max(0.0);
            let shine = sample.gloss * light.gloss * (power_24(towards) - 0.8 * flat_shine).max(0.0);
            let fall = 1.0 + x * light.gradient.0 + y * light.gradient.1 - light.vignette * (x * x + y * y) / corner;
            let fall = fall.max(0.15);
            let mut pixel = [0.0; 3];
            for (channel, value) in pixel.iter_mut().enumerate() {
                let skin = sample.colour[channel] * diffuse + shine;
                let covered = skin + (HAIR[channel] - skin) * sample.hair;
                *value = (covered * fall * light.colour[channel]).clamp(0.0, 1.0).sqrt();
            }
            shaded.push(pixel);
        }
    }
    shaded
}

/// The 24th power.
fn power_24(base: f32) -> f32 {
    let cube = base * base * base;
    let sixth = cube * cube;
    let twelfth = sixth * sixth;
    twelfth * twelfth
}

/// Paints the scene's dots and strokes.
fn paint(scene: &Scene, raster: &Raster) -> Overlay {
    let count = raster.width * raster.height;
    let mut overlay = Overlay {
        pigment: vec![0.0; count],
        blood: vec![0.0; count],
        hair: vec![0.0; count],
    };
    for dot in &scene.dots {
        let soft = (dot.radius * 0.35).max(0.75 * raster.footprint);
        let reach = dot.radius + soft;
        for_each_near(scene, raster, (dot.x, dot.y), reach, |at, x, y| {
            let distance = ((x - dot.x) * (x - dot.x) + (y - dot.y) * (y - dot.y)).sqrt();
            let cover = 1.0 - smoothstep(dot.radius - soft, reach, distance);
            overlay.pigment[at] += cover * dot.pigment;
            overlay.blood[at] += cover * dot.blood;
        });
    }
    for stroke in &scene.strokes {
        let layer = match stroke.kind {
            StrokeKind::Hair => &mut overlay.hair,
            StrokeKind::Vessel => &mut overlay.blood,
        };
        paint_stroke(scene, raster, stroke, layer);
    }
    overlay
}

/// Paints a stroke as a row of short overlapping discs; the strongest cover of a pixel counts.
fn paint_stroke(scene: &Scene, raster: &Raster, stroke: &Stroke, layer: &mut [f32]) {
    let step = raster.footprint.max(stroke.width * 0.4);
    let steps = (stroke.length / step).ceil().max(1.0) as u32;
    // Lines thinner than a pixel become fainter instead of thinner.
    let width = stroke.width.max(raster.footprint);
    let strength = stroke.strength * stroke.width / width;
    let reach = 0.5 * (width + raster.footprint);
    for number in 0..=steps {
        let part = number as f32 / steps as f32;
        let along = part * stroke.length;
        let aside = stroke.bend * stroke.length * part * part;
        let x = stroke.x + stroke.direction.0 * along - stroke.direction.1 * aside;
        let y = stroke.y + stroke.direction.1 * along + stroke.direction.0 * aside;
        let taper = 1.0 - 0.6 * part;
        for_each_near(scene, raster, (x, y), reach, |at, near_x, near_y| {
            let distance = ((near_x - x) * (near_x - x) + (near_y - y) * (near_y - y)).sqrt();
            let cover = ((reach - distance) / raster.footprint).clamp(0.0, 1.0) * strength * taper;
            layer[at] = layer[at].max(cover);
        });
    }
}

/// Visits the raster pixels in the square around a point.
fn for_each_near(
    scene: &Scene,
    raster: &Raster,
    (x, y): (f32, f32),
    reach: f32,
    mut visit: impl FnMut(usize, f32, f32),
) {
    let first = |position: f32, half: f32, origin: usize| {
        (((position - reach + half) / raster.footprint).floor() - origin as f32).max(0.0) as usize
    };
    let last = |position: f32, half: f32, origin: usize, size: usize| {
        let end = ((position + reach + half) / raster.footprint).ceil() - origin as f32;
        (end.max(0.0) as usize).min(size)
    };
    let (left, right) = (
        first(x, scene.half.0, raster.origin.0),
        last(x, scene.half.0, raster.origin.0, raster.width),
    );
    let (top, bottom) = (
        first(y, scene.half.1, raster.origin.1),
        last(y, scene.half.1, raster.origin.1, raster.height),
    );
    for row in top..bottom {
        for column in left..right {
            visit(
                row * raster.width + column,
                raster.x(column, scene.half.0),
                raster.y(row, scene.half.1),
            );
        }
    }
}

/// Blurs by two box filters of fractional width in each direction; `radius` is in raster pixels.
fn blur(pixels: &mut [[f32; 3]], width: usize, height: usize, radius: f32) {
    if radius < 0.05 {
        return;
    }
    let mut line = vec![[0.0; 3]; width.max(height)];
    for _ in 0..2 {
        for row in 0..height {
            box_filter(&mut pixels[row * width..(row + 1) * width], &mut line[..width], radius);
        }
    }
    // Columns in bundles, so that whole cache lines are read.
    const BUNDLE: usize = 8;
    let mut bundle = vec![[0.0; 3]; height * BUNDLE];
    for first in (0..width).step_by(BUNDLE) {
        let count = BUNDLE.min(width - first);
        for row in 0..height {
            for column in 0..count {
                bundle[column * height + row] = pixels[row * width + first + column];
            }
        }
        for column in bundle.chunks_exact_mut(height).take(count) {
            box_filter(column, &mut line[..height], radius);
            box_filter(column, &mut line[..height], radius);
        }
        for row in 0..height {
            for column in 0..count {
                pixels[row * width + first + column] = bundle[column * height + row];
            }
        }
    }
}

/// A running mean over `2 * radius + 1` pixels, the outermost ones in part, edges repeated.
fn box_filter(pixels: &mut [[f32; 3]], copy: &mut [[f32; 3]], radius: f32) {
    copy.copy_from_slice(pixels);
    let last = copy.len() - 1;
    let full = radius as usize;
    let part = radius - full as f32;
    let norm = 1.0 / (2.0 * radius + 1.0);
    let mut sum = copy[0];
    for offset in 1..=full {
        for channel in 0..3 {
            sum[channel] += copy[0][channel] + copy[offset.min(last)][channel];
        }
    }
    for at in 0..pixels.len() {
        let before = copy[at.saturating_sub(full + 1)];
        let after = copy[(at + full + 1).min(last)];
        let leaving = copy[at.saturating_sub(full)];
        for channel in 0..3 {
            pixels[at][channel] = (sum[channel] + part * (before[channel] + after[channel])) * norm;
            sum[channel] += after[channel] - leaving[channel];
        }
    }
}

/// Interpolates the raster to the picture's pixels and adds the sensor's noise.
fn develop(
    scene: &Scene,
    raster: &Raster,
    shaded: &[[f32; 3]],
    scale: (f32, f32),
    (left, top, right, bottom): (u32, u32, u32, u32),
) -> Vec<u8> {
    let place = |pixel: u32, scale: f32, origin: usize, size: usize| {
        let position = ((pixel as f32 + 0.5) * scale - 0.5 - origin as f32).clamp(0.0, (size - 1) as f32);
        let index = (position as usize).min(size.saturating_sub(2));
        (index, position - index as f32)
    };
    let columns: Vec<(usize, f32)> = (left..right)
        .map(|column| place(column, scale.0, raster.origin.0, raster.width))
        .collect();
    let grain = scene.grain * 255.0;
    let mut rgb = Vec::with_capacity(columns.len() * (bottom - top) as usize * 3);
    let mut line = vec![[0.0_f32; 3]; raster.width];
    for row in top..bottom {
        let (index, part) = place(row, scale.1, raster.origin.1, raster.height);
        let upper = &shaded[index * raster.width..(index + 1) * raster.width];
        let next = (index + 1).min(raster.height - 1);
        let lower = &shaded[next * raster.width..(next + 1) * raster.width];
        for ((value, above), below) in line.iter_mut().zip(upper).zip(lower) {
            for channel in 0..3 {
                value[channel] = (above[channel] + (below[channel] - above[channel]) * part) * 255.0;
            }
        }
        for (offset, &(index, part)) in columns.iter().enumerate() {
            let before = line[index];
            let after = line[(index + 1).min(raster.width - 1)];
            let bits = hash((left as usize + offset) as i32, row as i32, scene.seed ^ 0xA5A5);
            // Two bytes of brightness, three half bytes of colour: noise with a triangular spread.
            let brightness = ((bits & 0xFF) + ((bits >> 8) & 0xFF)) as f32 * (1.0 / 255.0) - 1.0;
            for channel in 0..3 {
                let tint = ((bits >> (16 + 5 * channel)) & 0x1F) as f32 * (1.0 / 15.5) - 1.0;
                let value = before[channel] + (after[channel] - before[channel]) * part;
                rgb.push((value + grain * (1.4 * brightness + 0.5 * tint) + 0.5).clamp(0.0, 255.0) as u8);
            }
        }
    }
    rgb
}
