//! How each condition changes the skin under it.
//!
//! A look is a handful of drawn traits and a function from a point of the lesion to a change of the [`Surface`]. The
//! descriptions follow what textbooks say in a sentence or two; they are caricatures, on purpose.

use super::Condition;
use super::maths::{Draw, bump, carried, cos_sin, fractal_noise, mix, noise, smoothstep};
use super::scene::{Dot, Lesion, Outline, OutlineStyle, Stroke, StrokeKind};

/// The skin at one point, as the lesions leave it.
pub(super) struct Surface {
    /// Optical density of melanin beyond the skin's own; may be slightly negative.
    pub(super) pigment: f32,
    /// Optical density of blood beyond the skin's own; may be slightly negative.
    pub(super) blood: f32,
    /// Cover by translucent, pearly tissue, 0..1.
    pub(super) pearl: f32,
    /// Cover by the blue-grey of deep pigment, 0..1.
    pub(super) veil: f32,
    /// Cover by waxy tan keratin, 0..1.
    pub(super) wax: f32,
    /// Cover by dried blood and serum, 0..1.
    pub(super) crust: f32,
    /// Cover by dry white scale, 0..1.
    pub(super) scale: f32,
    /// Height above the skin, in short sides of the picture.
    pub(super) height: f32,
    /// Factor on the skin's shine.
    pub(super) gloss: f32,
}

/// A condition with its drawn traits.
#[derive(Clone)]
pub(super) enum Look {
    Melanoma {
        density: f32,
        variegation: f32,
        tilt: (f32, f32),
        softness: f32,
        veil: f32,
        redness: f32,
        regression: f32,
        nodule: f32,
    },
    MelanocyticNevus {
        density: f32,
        softness: f32,
        dome: f32,
        network: f32,
        rim: f32,
        redness: f32,
    },
    BasalCellCarcinoma {
        pearl: f32,
        blood: f32,
        rim: f32,
        ulcer: f32,
        pigment: f32,
        vessels: u32,
    },
    SeborrheicKeratosis {
        density: f32,
        wax: f32,
        thickness: f32,
        warts: f32,
        plugs: u32,
    },
    ActinicKeratosis {
        blood: f32,
        scale: f32,
        softness: f32,
        rough: f32,
        yellow: f32,
    },
    AtopicDermatitis {
        blood: f32,
        softness: f32,
        dryness: f32,
        scratches: u32,
    },
    Psoriasis {
        blood: f32,
        scale: f32,
        flake: f32,
        thickness: f32,
    },
    Urticaria {
        blood: f32,
        pallor: f32,
        thickness: f32,
        flare: f32,
    },
    TineaCorporis {
        blood: f32,
        rim: f32,
        clearing: f32,
        scale: f32,
        gap: f32,
    },
}

impl Look {
    /// Draws the traits of one lesion.
    pub(super) fn draw(condition: Condition, draw: &mut Draw) -> Self {
        match condition {
            Condition::Melanoma => Self::Melanoma {
                density: draw.range(1.2, 2.2),
                variegation: draw.range(0.8, 1.6),
                tilt: {
                    let (cosine, sine) = cos_sin(draw.unit());
                    let strength = draw.range(0.2, 1.0);
                    (cosine * strength, sine * strength)
                },
                softness: draw.range(0.03, 0.14),
                veil: if draw.chance(0.65) { draw.range(0.35, 0.8) } else { 0.0 },
                redness: if draw.chance(0.5) { draw.range(0.3, 0.9) } else { 0.0 },
                regression: if draw.chance(0.35) { draw.range(0.4, 0.8) } else { 0.0 },
                nodule: if draw.chance(0.3) { draw.range(0.05, 0.15) } else { 0.0 },
            },
            Condition::MelanocyticNevus => Self::MelanocyticNevus {
                density: draw.range(0.6, 2.0),
                softness: draw.range(0.04, 0.16),
                dome: if draw.chance(0.4) { draw.range(0.08, 0.3) } else { 0.0 },
                network: if draw.chance(0.5) { draw.range(0.05, 0.25) } else { 0.0 },
                rim: draw.range(-0.15, 0.3),
                redness: draw.range(0.0, 0.25),
            },
            Condition::BasalCellCarcinoma => Self::BasalCellCarcinoma {
                pearl: draw.range(0.25, 0.55),
                blood: draw.range(0.2, 0.55),
                rim: draw.range(0.06, 0.14),
                ulcer: if draw.chance(0.4) { draw.range(0.4, 0.9) } else { 0.0 },
                pigment: if draw.chance(0.25) { draw.range(0.3, 0.8) } else { 0.0 },
                vessels: draw.count(4, 14),
            },
            Condition::SeborrheicKeratosis => Self::SeborrheicKeratosis {
                density: draw.range(0.35, 1.5),
                wax: draw.range(0.2, 0.5),
                thickness: draw.range(0.05, 0.12),
                warts: draw.range(0.3, 1.0),
                plugs: draw.count(6, 34),
            },
            Condition::ActinicKeratosis => Self::ActinicKeratosis {
                blood: draw.range(0.45, 1.0),
                scale: draw.range(0.4, 0.85),
                softness: draw.range(0.14, 0.3),
                rough: draw.range(0.02, 0.06),
                yellow: draw.range(0.1, 0.4),
            },
            Condition::AtopicDermatitis => Self::AtopicDermatitis {
                blood: draw.range(0.45, 0.95),
                softness: draw.range(0.3, 0.55),
                dryness: draw.range(0.1, 0.4),
                scratches: draw.count(0, 7),
            },
            Condition::Psoriasis => Self::Psoriasis {
                blood: draw.range(0.7, 1.3),
                scale: draw.range(0.35, 0.9),
                flake: draw.range(0.7, 1.4),
                thickness: draw.range(0.008, 0.02),
            },
            Condition::Urticaria => Self::Urticaria {
                blood: draw.range(0.35, 0.8),
                pallor: draw.range(0.05, 0.35),
                thickness: draw.range(0.008, 0.022),
                flare: draw.range(0.1, 0.4),
            },
            Condition::TineaCorporis => Self::TineaCorporis {
                blood: draw.range(0.6, 1.2),
                rim: draw.range(0.12, 0.28),
                clearing: draw.range(0.15, 0.5),
                scale: draw.range(0.3, 0.75),
                gap: draw.range(0.0, 0.6),
            },
        }
    }

    /// Another lesion of the same person: the same traits, a little varied.
    pub(super) fn sibling(&self, draw: &mut Draw) -> Self {
        let mut sibling = self.clone();
        let vary = draw.range(0.85, 1.15);
        match &mut sibling {
            Self::AtopicDermatitis { blood, .. }
            | Self::Psoriasis { blood, .. }
            | Self::Urticaria { blood, .. }
            | Self::TineaCorporis { blood, .. } => *blood *= vary,
            _ => {}
        }
        sibling
    }

    pub(super) fn condition(&self) -> Condition {
        match self {
            Self::Melanoma { .. } => Condition::Melanoma,
            Self::MelanocyticNevus { .. } => Condition::MelanocyticNevus,
            Self::BasalCellCarcinoma { .. } => Condition::BasalCellCarcinoma,
            Self::SeborrheicKeratosis { .. } => Condition::SeborrheicKeratosis,
            Self::ActinicKeratosis { .. } => Condition::ActinicKeratosis,
            Self::AtopicDermatitis { .. } => Condition::AtopicDermatitis,
            Self::Psoriasis { .. } => Condition::Psoriasis,
            Self::Urticaria { .. } => Condition::Urticaria,
            Self::TineaCorporis { .. } => Condition::TineaCorporis,
        }
    }

    pub(super) fn outline_style(&self) -> OutlineStyle {
        let (aspect, waves, ragged) = match self {
            Self::Melanoma { .. } => ((0.55, 0.95), (0.08, 0.2), (0.04, 0.16)),
            Self::MelanocyticNevus { .. } => ((0.78, 1.0), (0.0, 0.03), (0.0, 0.02)),
            Self::BasalCellCarcinoma { .. } => ((0.7, 1.0), (0.01, 0.06), (0.0, 0.04)),
            Self::SeborrheicKeratosis { .. } => ((0.6, 1.0), (0.01, 0.08), (0.01, 0.06)),
            Self::ActinicKeratosis { .. } => ((0.55, 1.0), (0.05, 0.15), (0.05, 0.18)),
            Self::AtopicDermatitis { .. } => ((0.4, 0.95), (0.05, 0.2), (0.1, 0.3)),
            Self::Psoriasis { .. } => ((0.6, 1.0), (0.03, 0.14), (0.02, 0.1)),
            Self::Urticaria { .. } => ((0.5, 1.0), (0.03, 0.18), (0.0, 0.04)),
            Self::TineaCorporis { .. } => ((0.75, 1.0), (0.01, 0.08), (0.02, 0.08)),
        };
        OutlineStyle { aspect, waves, ragged }
    }

    /// How far the look goes beyond its outline, as a factor on the outline's size.
    pub(super) fn halo(&self) -> f32 {
        match self {
            Self::AtopicDermatitis { .. } | Self::Urticaria { .. } => 1.6,
            Self::ActinicKeratosis { .. } => 1.35,
            _ => 1.2,
        }
    }

    /// Adds the marks that are lines and dots rather than areas.
    pub(super) fn marks(&self, outline: &Outline, draw: &mut Draw, dots: &mut Vec<Dot>, strokes: &mut Vec<Stroke>) {
        let size = outline.half_axes.1;
        let inside = |reach: f32, draw: &mut Draw| {
            let (cosine, sine) = cos_sin(draw.unit());
            let distance = reach * draw.unit().sqrt() * size;
            (
                outline.centre.0 + cosine * distance,
                outline.centre.1 + sine * distance,
                (cosine, sine),
            )
        };
        match self {
            Self::BasalCellCarcinoma { vessels, .. } => {
                for _ in 0..*vessels {
                    let (x, y, (cosine, sine)) = inside(0.85, draw);
                    // Vessels run from the border inwards, with branches.
                    let (turn_cosine, turn_sine) = cos_sin(draw.range(-0.14, 0.14));
                    let direction = (
                        -(cosine * turn_cosine - sine * turn_sine),
                        -(sine * turn_cosine + cosine * turn_sine),
                    );
                    let length = size * draw.range(0.3, 0.9);
                    strokes.push(Stroke {
                        kind: StrokeKind::Vessel,
                        x,
                        y,
                        direction,
                        length,
                        bend: draw.range(-0.5, 0.5),
                        width: size * draw.range(0.02, 0.05),
                        strength: draw.range(0.6, 1.3),
                    });
                }
            }
            Self::SeborrheicKeratosis { plugs, .. } => {
                for _ in 0..*plugs {
                    let (x, y, _) = inside(0.85, draw);
                    let pale = draw.chance(0.2);
                    dots.push(Dot {
                        x,
                        y,
                        radius: size * draw.range(0.025, 0.075),
                        pigment: if pale { -0.35 } else { draw.range(0.7, 1.8) },
                        blood: 0.0,
                    });
                }
            }
            Self::AtopicDermatitis { scratches, .. } => {
                let main = draw.unit();
                for _ in 0..*scratches {
                    let (x, y, _) = inside(0.8, draw);
                    strokes.push(Stroke {
                        kind: StrokeKind::Vessel,
                        x,
                        y,
                        direction: cos_sin(main + draw.range(-0.06, 0.06)),
                        length: draw.range(0.04, 0.16),
                        bend: draw.range(-0.15, 0.15),
                        width: draw.range(0.003, 0.008),
                        strength: draw.range(0.5, 1.2),
                    });
                }
            }
            _ => {}
        }
    }
}

impl Lesion {
    /// Changes the skin at a point. `footprint` is the size of a pixel.
    pub(super) fn apply(&self, x: f32, y: f32, footprint: f32, surface: &mut Surface) {
        let outline = &self.outline;
        let local = outline.local(x, y);
        let radius = local.radius;
        let size = outline.half_axes.0;
        let pixel = footprint / size;
        let seed = self.seed;
        let edge = |softness: f32| {
            let softness = softness.max(0.75 * footprint / outline.half_axes.1);
            1.0 - smoothstep(1.0 - softness, 1.0 + softness, radius)
        };
        // Texture in lesion units, so that small and large lesions of a kind look alike.
        let texture = |frequency: f32, octaves: u32, salt: u32| {
            let seed = seed.wrapping_add(salt.wrapping_mul(0x9E37_79B9));
            fractal_noise(
                local.x * frequency,
                local.y * frequency,
                seed,
                octaves,
                pixel * frequency,
            )
        };
        // Texture in picture units, for what has a size of its own.
        let grain = |frequency: f32, octaves: u32, salt: u32| {
            let seed = seed.wrapping_add(salt.wrapping_mul(0x9E37_79B9));
            fractal_noise(x * frequency, y * frequency, seed, octaves, footprint * frequency)
        };
        match self.look {
            Look::Melanoma {
                density,
                variegation,
                tilt,
                softness,
                veil,
                redness,
                regression,
                nodule,
            } => {
                let mask = edge(softness);
                if mask <= 0.0 {
                    return;
                }
                let slope = local.x * tilt.0 + local.y * tilt.1;
                let mut pigment = density + variegation * texture(1.7, 4, 1) + 0.8 * slope;
                pigment = pigment.clamp(0.35, 3.6);
                if regression > 0.0 {
                    pigment *= 1.0 - regression * smoothstep(0.1, 0.35, texture(1.2, 2, 2) - 0.3 * slope);
                }
                surface.pigment += mask * pigment;
                if redness > 0.0 {
                    surface.blood += mask * redness * smoothstep(0.0, 0.4, texture(1.4, 2, 3));
                }
                if veil > 0.0 {
                    surface.veil = surface
                        .veil
                        .max(mask * veil * smoothstep(-0.05, 0.3, texture(1.3, 2, 4) + 0.2 * slope));
                }
                surface.height += mask * size * (0.02 + 0.015 * texture(4.0, 2, 5));
                if nodule > 0.0 {
                    let (x, y) = (local.x - 0.4 * tilt.0, local.y - 0.4 * tilt.1);
                    surface.height += mask * nodule * size * (1.0 - (x * x + y * y) * 6.0).max(0.0);
                }
                surface.gloss += mask * 0.2;
            }
            Look::MelanocyticNevus {
                density,
                softness,
                dome,
                network,
                rim,
                redness,
            } => {
                let mask = edge(softness);
                if mask <= 0.0 {
                    return;
                }
                let profile = 1.0 - rim * radius * radius;
                let mut pigment = density * profile * (1.0 + 0.12 * texture(2.5, 2, 1));
                if network > 0.0 {
                    let ridge = 1.0 - 3.0 * noise(local.x * 9.0, local.y * 9.0, seed).abs();
                    pigment += density * network * carried(pixel * 9.0) * ridge.max(-0.5);
                }
                surface.pigment += mask * pigment;
                surface.blood += mask * redness;
                surface.height += size * dome * (1.0 - radius * radius).max(0.0);
                surface.gloss += mask * if dome > 0.0 { 0.8 } else { 0.1 };
            }
            Look::BasalCellCarcinoma {
                pearl,
                blood,
                rim,
                ulcer,
                pigment,
                ..
            } => {
                let mask = edge(0.07);
                if mask <= 0.0 {
                    return;
                }
                let lumps = 1.0 + 0.5 * texture(3.5, 2, 1);
                let rolled = bump(0.84, 0.3, radius) * lumps;
                surface.pearl = surface.pearl.max(mask * pearl * (0.55 + 0.45 * rolled));
                surface.blood += mask * blood * (0.8 + 0.5 * texture(2.2, 2, 2));
                surface.height += size * rim * rolled;
                surface.gloss += mask * (1.0 + 1.8 * rolled);
                if ulcer > 0.0 {
                    let open = smoothstep(0.5, 0.25, radius + 0.25 * texture(2.5, 3, 3));
                    surface.crust = surface.crust.max(ulcer * open);
                    surface.height -= 0.4 * size * rim * open;
                }
                if pigment > 0.0 {
                    let clods = smoothstep(0.22, 0.4, texture(3.2, 1, 4));
                    surface.veil = surface.veil.max(mask * pigment * clods);
                }
            }
            Look::SeborrheicKeratosis {
                density,
                wax,
                thickness,
                warts,
                ..
            } => {
                let mask = edge(0.035);
                if mask <= 0.0 {
                    return;
                }
                let lumps = texture(5.5, 3, 1);
                surface.pigment += mask * density * (1.0 + 0.35 * lumps);
                surface.wax = surface.wax.max(mask * wax * (1.0 + 0.4 * texture(3.0, 2, 2)));
                surface.height += size * thickness * (edge(0.12) * 0.8 + mask * warts * 0.35 * lumps);
                surface.gloss += mask * 0.7;
            }
            Look::ActinicKeratosis {
                blood,
                scale,
                softness,
                rough,
                yellow,
            } => {
                let mask = edge(softness);
                if mask <= 0.0 {
                    return;
                }
                let patchy = 0.75 + 0.6 * texture(2.2, 3, 1);
                surface.blood += mask * blood * patchy.max(0.1);
                surface.pigment += mask * 0.12;
                let coarse = texture(6.0, 3, 2);
                let flakes = smoothstep(0.0, 0.28, coarse + 0.25 * (0.7 - radius));
                surface.scale = surface.scale.max(mask * scale * flakes);
                surface.wax = surface
                    .wax
                    .max(mask * yellow * smoothstep(0.1, 0.4, texture(3.5, 2, 3)));
                surface.height += mask * size * rough * (coarse + 0.6 * texture(14.0, 2, 4));
                surface.gloss *= 1.0 - 0.7 * mask;
            }
            Look::AtopicDermatitis {
                blood,
                softness,
                dryness,
                ..
            } => {
                let mask = edge(softness);
                if mask <= 0.0 {
                    return;
                }
                let patchy = (0.55 + 0.8 * grain(7.0, 3, 1)).clamp(0.0, 1.3);
                let red = mask * patchy;
                surface.blood = surface.blood.max(blood * red);
                surface.pigment += 0.1 * red;
                let dry = smoothstep(0.05, 0.4, grain(38.0, 3, 2));
                surface.scale = surface.scale.max(mask * dryness * dry);
                surface.height += mask * 0.0012 * grain(60.0, 2, 3);
                surface.gloss *= 1.0 - 0.6 * mask;
            }
            Look::Psoriasis {
                blood,
                scale,
                flake,
                thickness,
            } => {
                let mask = edge(0.05);
                if mask <= 0.0 {
                    return;
                }
                surface.blood = surface.blood.max(mask * blood * (1.0 + 0.15 * texture(3.0, 2, 1)));
                let silver = grain(22.0 * flake, 3, 2);
                let inner = 1.0 - smoothstep(0.78, 0.97, radius + 0.1 * texture(3.0, 1, 3));
                surface.scale = surface.scale.max(inner * scale * smoothstep(-0.25, 0.3, silver));
                surface.height += thickness * (edge(0.1) * 0.6 + inner * 0.25 * silver);
                surface.gloss += mask * 0.3;
            }
            Look::Urticaria {
                blood,
                pallor,
                thickness,
                flare,
            } => {
                let plateau = edge(0.22);
                let outside = 1.0 - smoothstep(0.95, 1.55, radius);
                if outside <= 0.0 {
                    return;
                }
                let rim = bump(0.95, 0.4, radius);
                let centre = 1.0 - smoothstep(0.3, 0.85, radius);
                let red = flare * outside + blood * (0.75 * plateau + 0.35 * rim) - pallor * centre;
                surface.blood = mix(surface.blood, surface.blood.max(red), 1.0 - centre * 0.5) - pallor * 0.15 * centre;
                surface.pearl = surface.pearl.max(0.35 * pallor * centre);
                surface.height += thickness * plateau * (1.0 + 0.08 * texture(3.0, 2, 1));
                surface.gloss += plateau * 0.8;
            }
            Look::TineaCorporis {
                blood,
                rim,
                clearing,
                scale,
                gap,
            } => {
                let mask = edge(0.06);
                if mask <= 0.0 {
                    return;
                }
                let around = noise(local.direction.0 * 1.6, local.direction.1 * 1.6, seed);
                let strength = 1.0 - gap * smoothstep(0.0, 0.7, around);
                let active = bump(0.96 - rim * 0.6, rim * 1.3, radius) * strength;
                let flakes = smoothstep(-0.05, 0.3, grain(34.0, 3, 1));
                surface.blood += mask * (blood * active * (1.0 + 0.3 * grain(16.0, 2, 2)) + clearing * blood * 0.6);
                surface.pigment += mask * 0.12 * (1.0 - active);
                surface.scale = surface.scale.max(mask * scale * (active * flakes + 0.12 * flakes));
                surface.height += mask * active * (0.012 + 0.006 * grain(26.0, 2, 3));
                surface.gloss *= 1.0 - 0.4 * mask * active;
            }
        }
    }
}
