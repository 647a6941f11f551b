//! What the models looked at: the photo with boxes and labels, and which parts of it the first class depends on.
//!
//! Pure: bytes in, a PNG out. Nothing is stored; whoever keeps the picture keeps a photo of a patient.

mod letters;

use std::{io::Cursor, sync::Arc};

use image::{ExtendedColorType, ImageEncoder as _, codecs::png::PngEncoder};
use skin_assist_core::{
    domain::{Findings, NormalisedBox},
    ports::VisionError,
};

use crate::{
    VisionSetupError,
    pack::LoadedPack,
    photo::{self, Limits, OpenPhoto, Rectangle},
    preprocess::{Reducer, SmallImage, square_around},
    vision::look::PackSessions,
};

/// The longer side of the picture in pixels, at most.
const LONGEST: u32 = 1024;
/// The image is covered piece by piece in a grid of so many cells on each side.
const CELLS: usize = 12;
/// A piece has so many cells on each side.
const PIECE: usize = 3;
const LINE: [u8; 3] = [255, 220, 0];
const BACK: [u8; 3] = [0, 0, 0];
/// A letter's pixel is so many pixels of the picture wide.
const LETTER_SCALE: usize = 2;

/// How much each part of an image matters for the first class.
#[derive(Debug, Clone, PartialEq)]
pub struct Saliency {
    /// The part of the upright photo that was judged, as fractions.
    pub area: NormalisedBox,
    /// By row and column of a square grid over it: how much the class's probability falls when this is covered, 0 to 1.
    pub falls: Vec<f32>,
}

impl Saliency {
    /// Cells on each side of the grid.
    pub const fn side() -> usize {
        CELLS
    }
}

/// A photo's findings and the picture that explains them.
#[derive(Debug)]
pub struct Explanation {
    /// What the models say.
    pub findings: Findings,
    /// Where it was asked for and something was judged.
    pub saliency: Option<Saliency>,
    /// The picture, PNG.
    pub png: Vec<u8>,
}

/// No explanation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pack cannot be put to work.
    #[error(transparent)]
    Setup(#[from] VisionSetupError),
    /// The photo cannot be looked at.
    #[error(transparent)]
    Look(#[from] VisionError),
    /// The picture cannot be written.
    #[error("the picture cannot be written")]
    Picture(#[source] image::ImageError),
}

/// Looks at a photo with a pack and draws what was found; with `saliency` also what the first class depends on, by
/// covering the image piece by piece (occlusion: Zeiler and Fergus, ECCV 2014), about 100 looks.
pub fn explain(pack: LoadedPack, photo: &[u8], limits: Limits, saliency: bool) -> Result<Explanation, Error> {
    let pack = Arc::new(pack);
    let mut sessions = PackSessions::new(&pack)?;
    let mut reducer = Reducer::default();
    let photo = photo::open(photo, limits).map_err(VisionError::from)?;
    let findings = sessions.look(&photo, &mut reducer)?;
    let saliency = if saliency {
        occlusion(&pack, &mut sessions, &photo, &mut reducer, &findings)?
    } else {
        None
    };
    let png = picture(&photo, &mut reducer, &findings, saliency.as_ref())?;
    Ok(Explanation {
        findings,
        saliency,
        png,
    })
}

/// Draws findings of before onto the photo that they are of; no model looks. A PNG of at most 1,024 pixels a side.
pub fn draw(photo: &[u8], limits: Limits, findings: &Findings) -> Result<Vec<u8>, Error> {
    let photo = photo::open(photo, limits).map_err(VisionError::from)?;
    picture(&photo, &mut Reducer::default(), findings, None)
}

fn picture(
    photo: &OpenPhoto,
    reducer: &mut Reducer,
    findings: &Findings,
    saliency: Option<&Saliency>,
) -> Result<Vec<u8>, Error> {
    let (width, height) = photo.upright_size();
    let reduction = (f64::from(LONGEST) / f64::from(width.max(height))).min(1.0);
    let side = |side: u32| ((f64::from(side) * reduction).round() as u32).max(1);
    let small = reducer
        .whole_of(photo, side(width), side(height))
        .map_err(VisionError::from)?;
    overlay(&small, findings, saliency).map_err(Error::Picture)
}

/// Covers the judged image piece by piece. None when nothing was judged.
fn occlusion(
    pack: &LoadedPack,
    sessions: &mut PackSessions,
    photo: &OpenPhoto,
    reducer: &mut Reducer,
    findings: &Findings,
) -> Result<Option<Saliency>, VisionError> {
    let manifest = pack.manifest();
    let Some(top) = findings.ranked.first() else {
        return Ok(None);
    };
    let (width, height) = photo.upright_size();
    let square = match (&manifest.detector, findings.regions.first()) {
        (Some(detector), Some(region)) => square_around(&region.area, detector.crop_margin, width, height),
        _ => None,
    };
    let judged = square.unwrap_or(Rectangle {
        left: 0.0,
        top: 0.0,
        right: f64::from(width),
        bottom: f64::from(height),
    });
    let image = reducer.input_of(photo, Some(judged), &manifest.classifier.input)?;
    let mut probability = |image: &SmallImage| -> Result<f32, VisionError> {
        let classes = sessions.judge(image)?.classes;
        Ok(classes
            .iter()
            .find(|class| class.label == top.label)
            .map_or(0.0, |class| class.probability))
    };
    let whole = probability(&image)?;
    let (mut falls, mut covered) = (vec![0.0; CELLS * CELLS], vec![0.0_f32; CELLS * CELLS]);
    for row in 0..=CELLS - PIECE {
        for column in 0..=CELLS - PIECE {
            let fall = (whole - probability(&without(&image, row, column))?).max(0.0);
            for cell in
                (row..row + PIECE).flat_map(|row| (column..column + PIECE).map(move |column| row * CELLS + column))
            {
                falls[cell] += fall;
                covered[cell] += 1.0;
            }
        }
    }
    for (fall, times) in falls.iter_mut().zip(covered) {
        *fall /= times.max(1.0);
    }
    let fraction = |value: f64, of: u32| (value / f64::from(of)) as f32;
    Ok(Some(Saliency {
        area: NormalisedBox {
            x: fraction(judged.left, width),
            y: fraction(judged.top, height),
            width: fraction(judged.width(), width),
            height: fraction(judged.height(), height),
        },
        falls,
    }))
}

/// The image with a piece in its mean colour.
fn without(image: &SmallImage, row: usize, column: usize) -> SmallImage {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let mut pixels = image.pixels().to_vec();
    let mut mean = [0_u64; 3];
    for pixel in pixels.chunks_exact(3) {
        for (sum, value) in mean.iter_mut().zip(pixel) {
            *sum += u64::from(*value);
        }
    }
    let mean = mean.map(|sum| (sum / (width * height).max(1) as u64) as u8);
    for y in row * height / CELLS..(row + PIECE) * height / CELLS {
        for x in column * width / CELLS..(column + PIECE) * width / CELLS {
            pixels[(y * width + x) * 3..][..3].copy_from_slice(&mean);
        }
    }
    SmallImage::new(pixels, image.width(), image.height()).unwrap_or_else(|| image.clone())
}

/// Draws findings on an upright image of the photo, and gives it as a PNG.
pub fn overlay(
    image: &SmallImage,
    findings: &Findings,
    saliency: Option<&Saliency>,
) -> Result<Vec<u8>, image::ImageError> {
    let mut picture = Picture {
        pixels: image.pixels().to_vec(),
        width: image.width() as usize,
        height: image.height() as usize,
    };
    if let Some(saliency) = saliency {
        picture.redden(saliency);
    }
    for region in &findings.regions {
        picture.frame(&region.area);
        let top = region.classes.first();
        let words = top.map_or_else(String::new, |class| {
            format!("{} {:.0}%", class.label.display, class.probability * 100.0)
        });
        let (x, y) = picture.at(region.area.x, region.area.y);
        picture.write(x, y.saturating_sub(9 * LETTER_SCALE), &words);
    }
    let bottom = picture.height.saturating_sub(9 * LETTER_SCALE);
    if let Some(abstention) = findings.abstention {
        picture.write(0, bottom, &format!("no assessment: {abstention:?}"));
    } else if let (true, Some(top)) = (findings.regions.is_empty(), findings.ranked.first()) {
        picture.write(
            0,
            bottom,
            &format!("{} {:.0}%", top.label.display, top.probability * 100.0),
        );
    }
    let mut png = Cursor::new(Vec::new());
    PngEncoder::new(&mut png).write_image(&picture.pixels, image.width(), image.height(), ExtendedColorType::Rgb8)?;
    Ok(png.into_inner())
}

struct Picture {
    pixels: Vec<u8>,
    width: usize,
    height: usize,
}

impl Picture {
    /// The pixel of a place given in fractions.
    fn at(&self, x: f32, y: f32) -> (usize, usize) {
        let place =
            |part: f32, side: usize| ((part.clamp(0.0, 1.0) * side as f32) as usize).min(side.saturating_sub(1));
        (place(x, self.width), place(y, self.height))
    }

    fn set(&mut self, x: usize, y: usize, colour: [u8; 3]) {
        if x < self.width && y < self.height {
            self.pixels[(y * self.width + x) * 3..][..3].copy_from_slice(&colour);
        }
    }

    /// A frame of two pixels.
    fn frame(&mut self, area: &NormalisedBox) {
        let (left, top) = self.at(area.x, area.y);
        let (right, bottom) = self.at(area.x + area.width, area.y + area.height);
        for thick in 0..2 {
            for x in left..=right {
                self.set(x, top + thick, LINE);
                self.set(x, bottom.saturating_sub(thick), LINE);
            }
            for y in top..=bottom {
                self.set(left + thick, y, LINE);
                self.set(right.saturating_sub(thick), y, LINE);
            }
        }
    }

    /// A line of text on black; what does not fit is cut off.
    fn write(&mut self, left: usize, top: usize, words: &str) {
        for (index, letter) in words.chars().enumerate() {
            for column in 0..6 {
                let dots = letters::columns(letter).get(column).copied().unwrap_or(0);
                for row in 0..9 {
                    let is_dot = (1..8).contains(&row) && dots >> (row - 1) & 1 == 1;
                    let colour = if is_dot { LINE } else { BACK };
                    for (x, y) in (0..LETTER_SCALE).flat_map(|x| (0..LETTER_SCALE).map(move |y| (x, y))) {
                        self.set(
                            left + (index * 6 + column) * LETTER_SCALE + x,
                            top + row * LETTER_SCALE + y,
                            colour,
                        );
                    }
                }
            }
        }
    }

    /// Tints each cell red, the more the more it matters; the most important one by half.
    fn redden(&mut self, saliency: &Saliency) {
        let most = saliency.falls.iter().copied().fold(0.0, f32::max);
        if most <= 0.0 {
            return;
        }
        let area = saliency.area;
        for y in 0..self.height {
            for x in 0..self.width {
                let cell = |place: usize, side: usize, from: f32, extent: f32| {
                    let part = ((place as f32 + 0.5) / side as f32 - from) / extent;
                    (0.0..1.0).contains(&part).then_some((part * CELLS as f32) as usize)
                };
                let row = cell(y, self.height, area.y, area.height);
                let (Some(row), Some(column)) = (row, cell(x, self.width, area.x, area.width)) else {
                    continue;
                };
                let part = saliency.falls.get(row * CELLS + column).copied().unwrap_or(0.0) / most / 2.0;
                let pixel = &mut self.pixels[(y * self.width + x) * 3..][..3];
                for (value, red) in pixel.iter_mut().zip([255.0, 0.0, 0.0]) {
                    *value = (f32::from(*value) * (1.0 - part) + red * part) as u8;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use skin_assist_core::domain::Route;

    use super::*;
    use crate::{
        pack::{Manifest, Pack},
        runtime::{Error as RuntimeError, Model, Session, Tensor},
    };

    /// A classifier for which only the upper left quarter's red counts.
    struct Corner;

    impl Model for Corner {
        fn session(&self) -> Result<Box<dyn Session>, RuntimeError> {
            Ok(Box::new(Corner))
        }
    }

    impl Session for Corner {
        fn run_all(&mut self, input: &Tensor) -> Result<Vec<Tensor>, RuntimeError> {
            let [_, _, height, width] = *input.shape else {
                panic!("{:?}", input.shape)
            };
            let sum: f32 = (0..height / 2)
                .flat_map(|y| &input.data[y * width..y * width + width / 2])
                .sum();
            Ok(vec![Tensor {
                shape: vec![1, 4],
                data: vec![sum / (height * width) as f32 * 8.0, 0.0, 0.0, 0.0],
            }])
        }
    }

    fn manifest() -> Manifest {
        let mut manifest = Pack::reference(Route::Widespread).expect("a pack").manifest().clone();
        manifest.classifier.abstain_below = 0.0;
        manifest
    }

    #[test]
    fn what_the_class_depends_on_is_red_and_nothing_else() {
        // Red at the upper left, grey elsewhere.
        let pixel = |x: u32, y: u32| {
            if x < 30 && y < 30 {
                [250, 10, 10]
            } else {
                [120, 120, 120]
            }
        };
        let pixels = (0..60).flat_map(|y| (0..60).flat_map(move |x| pixel(x, y))).collect();
        let mut png = Cursor::new(Vec::new());
        let encoder = PngEncoder::new(&mut png);
        let pixels: Vec<u8> = pixels;
        encoder
            .write_image(&pixels, 60, 60, ExtendedColorType::Rgb8)
            .expect("a PNG");
        let pack = LoadedPack::new(manifest(), None, Box::new(Corner));
        let explained = explain(pack, &png.into_inner(), Limits::default(), true).expect("an explanation");
        let falls = explained.saliency.expect("something was judged").falls;
        assert!(falls[CELLS + 1] > 0.01, "{falls:?}");
        let far = &falls[CELLS * (CELLS - 2)..];
        assert!(far.iter().all(|fall| fall.abs() < 1e-6), "{far:?}");
        let shown = photo::decode(&explained.png, Limits::default()).expect("a PNG");
        assert_eq!(shown.upright_size(), (60, 60));
        assert_eq!(
            shown.pixels()[(30 * 60 + 50) * 3..][..3],
            [120, 120, 120],
            "where nothing counts"
        );
    }

    #[test]
    fn boxes_and_words_are_drawn_within_the_picture() {
        let image = SmallImage::new(vec![100; 90 * 60 * 3], 90, 60).expect("pixels");
        let pack = Pack::reference(Route::Solitary).expect("a pack");
        let label = pack.manifest().classifier.labels[0].clone();
        let region = |x, y| skin_assist_core::domain::Region {
            area: NormalisedBox {
                x,
                y,
                width: 0.5,
                height: 0.5,
            },
            score: 0.9,
            classes: vec![skin_assist_core::domain::ClassProbability {
                label: label.clone(),
                probability: 0.8,
            }],
        };
        let findings = Findings {
            route: Route::Solitary,
            image: skin_assist_core::domain::ImageFacts {
                width: 90,
                height: 60,
                format: "png".into(),
                quality: skin_assist_core::domain::Quality::default(),
            },
            regions: vec![region(0.4, 0.4), region(0.9, 0.9), region(-0.2, 0.0)],
            ranked: Vec::new(),
            abstention: None,
            abstain_below: 0.0,
            concerns: Vec::new(),
            further_conditions: Vec::new(),
            models: Vec::new(),
        };
        let png = overlay(&image, &findings, None).expect("a PNG");
        let shown = photo::decode(&png, Limits::default()).expect("a PNG");
        let pixel = |x: usize, y: usize| &shown.pixels()[(y * 90 + x) * 3..][..3];
        assert_eq!(pixel(36, 30), LINE, "the left edge");
        assert_eq!(pixel(60, 40), [100; 3], "inside");
        let words = (6..24)
            .flat_map(|y| (36..90).map(move |x| (x, y)))
            .filter(|(x, y)| pixel(*x, *y) == LINE)
            .count();
        assert!(words > 50, "{words} dots of letters");
    }
}
