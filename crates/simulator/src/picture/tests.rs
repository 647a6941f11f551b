use super::*;

const SEEDS: std::ops::Range<u64> = 0..12;

fn all() -> impl Iterator<Item = Condition> {
    Condition::SOLITARY.iter().chain(Condition::WIDESPREAD).copied()
}

/// A value that any change of any pixel changes.
fn fingerprint(picture: &Picture) -> u64 {
    picture.rgb.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

/// Mean of each block of `factor` times `factor` pixels.
fn shrink(picture: &Picture, factor: usize) -> Vec<f32> {
    let (width, height) = (picture.width as usize / factor, picture.height as usize / factor);
    let mut small = vec![0.0; width * height * 3];
    for y in 0..height * factor {
        for x in 0..width * factor {
            for channel in 0..3 {
                small[((y / factor) * width + x / factor) * 3 + channel] +=
                    f32::from(picture.rgb[(y * picture.width as usize + x) * 3 + channel]);
            }
        }
    }
    small.iter().map(|sum| sum / (factor * factor) as f32).collect()
}

fn intersection_over_union(one: Box2, other: Box2) -> f32 {
    let width = (one.x + one.width).min(other.x + other.width) - one.x.max(other.x);
    let height = (one.y + one.height).min(other.y + other.height) - one.y.max(other.y);
    let shared = width.max(0.0) * height.max(0.0);
    shared / (one.width * one.height + other.width * other.height - shared)
}

#[test]
fn equal_parameters_give_equal_pictures() {
    for condition in all().map(Some).chain([None]) {
        let parameters = PictureParameters::new(7, condition, 160, 120);
        let picture = render(&parameters);
        assert_eq!(picture, render(&parameters));
        assert_eq!(picture.rgb.len(), 160 * 120 * 3);
        assert_ne!(picture.rgb, render(&PictureParameters::new(8, condition, 160, 120)).rgb);
    }
}

#[test]
fn conditions_of_a_seed_share_the_skin_and_differ_in_the_lesion() {
    let pictures: Vec<_> = all()
        .map(|condition| render(&PictureParameters::new(3, Some(condition), 160, 120)))
        .collect();
    for (index, picture) in pictures.iter().enumerate() {
        for other in &pictures[..index] {
            assert_ne!(fingerprint(picture), fingerprint(other));
        }
    }
}

#[test]
fn the_size_in_pixels_does_not_change_the_scene() {
    for condition in all() {
        for seed in 0..3 {
            let small = PictureParameters {
                noise: Some(0.0),
                ..PictureParameters::new(seed, Some(condition), 320, 240)
            };
            let large = PictureParameters {
                width: 1600,
                height: 1200,
                ..small.clone()
            };
            let (small, large) = (render(&small), render(&large));
            let shrunk = shrink(&large, 5);
            let difference: f32 = shrunk
                .iter()
                .zip(&small.rgb)
                .map(|(one, other)| (one - f32::from(*other)).abs())
                .sum::<f32>()
                / shrunk.len() as f32;
            assert!(difference < 5.0, "{condition:?} {seed}: mean difference {difference}");
            assert_eq!(small.lesions.len(), large.lesions.len());
            for (one, other) in small.lesions.iter().zip(&large.lesions) {
                assert!(intersection_over_union(*one, *other) > 0.999);
            }
        }
    }
}

#[test]
fn the_boxes_are_tight() {
    // The same skin with and without the lesion differs exactly where the lesion is.
    let mut count = 0;
    for &condition in Condition::SOLITARY {
        for seed in SEEDS {
            let with = PictureParameters {
                noise: Some(0.0),
                blur: Some(0.0),
                ..PictureParameters::new(seed, Some(condition), 480, 360)
            };
            let without = PictureParameters {
                condition: None,
                ..with.clone()
            };
            let (with, without) = (render(&with), render(&without));
            assert!(without.lesions.is_empty());
            assert!((1..=2).contains(&with.lesions.len()));
            for found in &with.lesions {
                assert!(found.x > 0.0 && found.y > 0.0 && found.x + found.width < 1.0 && found.y + found.height < 1.0);
                let long = (found.width * 480.0).max(found.height * 360.0) / 360.0;
                assert!((0.07..=0.41).contains(&long), "{condition:?} {seed}: long side {long}");
            }
            if with.lesions.len() > 1 {
                continue;
            }
            let (mut left, mut top, mut right, mut bottom) = (480, 360, 0, 0);
            for y in 0..360 {
                for x in 0..480 {
                    let at = (y * 480 + x) * 3;
                    let changed: u32 = (at..at + 3)
                        .map(|at| u32::from(with.rgb[at].abs_diff(without.rgb[at])))
                        .sum();
                    if changed > 24 {
                        (left, right) = (left.min(x), right.max(x + 1));
                        (top, bottom) = (top.min(y), bottom.max(y + 1));
                    }
                }
            }
            assert!(left < right, "{condition:?} {seed}: nothing to see");
            let seen = Box2 {
                x: left as f32 / 480.0,
                y: top as f32 / 360.0,
                width: (right - left) as f32 / 480.0,
                height: (bottom - top) as f32 / 360.0,
            };
            let overlap = intersection_over_union(seen, with.lesions[0]);
            assert!(
                overlap > 0.6,
                "{condition:?} {seed}: {overlap} {seen:?} {:?}",
                with.lesions[0]
            );
            count += 1;
        }
    }
    assert!(count > 40);
}

#[test]
fn widespread_conditions_show_and_have_no_boxes() {
    for &condition in Condition::WIDESPREAD {
        for seed in SEEDS {
            let with = PictureParameters {
                noise: Some(0.0),
                ..PictureParameters::new(seed, Some(condition), 240, 180)
            };
            let without = PictureParameters {
                condition: None,
                ..with.clone()
            };
            let (with, without) = (render(&with), render(&without));
            assert!(with.lesions.is_empty());
            let changed = with
                .rgb
                .iter()
                .zip(&without.rgb)
                .filter(|(one, other)| one.abs_diff(**other) > 12)
                .count();
            assert!(changed * 200 > with.rgb.len(), "{condition:?} {seed}: {changed}");
        }
    }
}

#[test]
fn a_region_is_a_part_of_the_whole() {
    let whole = PictureParameters::new(5, Some(Condition::MelanocyticNevus), 1600, 1200);
    let region = Box2 {
        x: 0.25,
        y: 0.5,
        width: 0.25,
        height: 0.25,
    };
    let part = render(&PictureParameters {
        region: Some(region),
        ..whole.clone()
    });
    let whole = render(&whole);
    assert_eq!((part.width, part.height), (400, 300));
    let mut worst = 0;
    for y in 10..290 {
        for x in (10 * 3)..(390 * 3) {
            let one = part.rgb[y * 400 * 3 + x];
            let other = whole.rgb[(y + 600) * 1600 * 3 + 400 * 3 + x];
            worst = worst.max(one.abs_diff(other));
        }
    }
    assert!(worst <= 2, "{worst}");
    assert_eq!(
        PictureParameters::new(5, Some(Condition::MelanocyticNevus), 1600, 1200).lesions(),
        whole.lesions
    );
}

#[test]
fn ids_are_distinct_and_routes_are_complete() {
    let mut ids: Vec<_> = all().map(Condition::id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 9);
    assert!(Condition::SOLITARY.iter().all(|condition| condition.is_solitary()));
    assert!(!Condition::WIDESPREAD.iter().any(|condition| condition.is_solitary()));
}

#[test]
fn every_orientation_turns_back_to_the_upright_picture() {
    let picture = render(&PictureParameters {
        noise: Some(0.0),
        ..PictureParameters::new(2, None, 97, 64)
    });
    let upright = decode(&picture.to_jpeg(95, 1));
    for orientation in 1..=8_u8 {
        let bytes = picture.to_jpeg(95, orientation);
        assert_eq!(orientation_tag(&bytes), Some(orientation));
        let turned = turn(&decode(&bytes), orientation);
        assert_eq!((turned.width, turned.height), (97, 64), "orientation {orientation}");
        let difference = mean_difference(&turned.rgb, &upright.rgb);
        assert!(difference < 2.0, "orientation {orientation}: {difference}");
    }
    // Anything else is upright.
    assert_eq!(orientation_tag(&picture.to_jpeg(95, 0)), Some(1));
    assert_eq!(orientation_tag(&picture.to_jpeg(95, 9)), Some(1));
}

fn mean_difference(one: &[u8], other: &[u8]) -> f32 {
    one.iter()
        .zip(other)
        .map(|(one, other)| f32::from(one.abs_diff(*other)))
        .sum::<f32>()
        / one.len() as f32
}

struct Pixels {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

/// The pixels as stored, without regard to the orientation.
fn decode(jpeg: &[u8]) -> Pixels {
    let mut decoder = zune_jpeg::JpegDecoder::new(std::io::Cursor::new(jpeg));
    let rgb = decoder.decode().unwrap();
    let (width, height) = decoder.dimensions().unwrap();
    Pixels { width, height, rgb }
}

/// Reads the orientation by walking the JPEG's segments and the TIFF structure's first directory.
fn orientation_tag(jpeg: &[u8]) -> Option<u8> {
    assert_eq!(jpeg[..2], [0xFF, 0xD8]);
    let mut at = 2;
    while jpeg[at] == 0xFF && jpeg[at + 1] != 0xDA {
        let length = usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        let body = &jpeg[at + 4..at + 2 + length];
        if jpeg[at + 1] == 0xE1 && body.starts_with(b"Exif\0\0II*\0") {
            let tiff = &body[6..];
            let directory = u32::from_le_bytes(tiff[4..8].try_into().unwrap()) as usize;
            let entries = usize::from(u16::from_le_bytes([tiff[directory], tiff[directory + 1]]));
            return (0..entries)
                .map(|entry| &tiff[directory + 2 + 12 * entry..][..12])
                .find(|entry| entry[..2] == [0x12, 0x01])
                .map(|entry| entry[8]);
        }
        at += 2 + length;
    }
    None
}

/// Applies an orientation in elementary steps, as Exif 2.32 describes the stored first row and column.
fn turn(pixels: &Pixels, orientation: u8) -> Pixels {
    match orientation {
        2 => mirror(pixels),
        3 => quarter(&quarter(pixels)),
        4 => quarter(&quarter(&mirror(pixels))),
        5 => quarter(&quarter(&quarter(&mirror(pixels)))),
        6 => quarter(pixels),
        7 => quarter(&mirror(pixels)),
        8 => quarter(&quarter(&quarter(pixels))),
        _ => Pixels {
            rgb: pixels.rgb.clone(),
            ..*pixels
        },
    }
}

/// Left to right.
fn mirror(pixels: &Pixels) -> Pixels {
    let mut rgb = Vec::new();
    for row in pixels.rgb.chunks_exact(pixels.width * 3) {
        for pixel in row.chunks_exact(3).rev() {
            rgb.extend_from_slice(pixel);
        }
    }
    Pixels { rgb, ..*pixels }
}

/// A quarter turn clockwise.
fn quarter(pixels: &Pixels) -> Pixels {
    let mut rgb = Vec::new();
    for x in 0..pixels.width {
        for y in (0..pixels.height).rev() {
            rgb.extend_from_slice(&pixels.rgb[(y * pixels.width + x) * 3..][..3]);
        }
    }
    Pixels {
        width: pixels.height,
        height: pixels.width,
        rgb,
    }
}
