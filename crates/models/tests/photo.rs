//! Photos: all orientations, every kind of bad input, and the resize semantics of the training.

mod support;

use skin_assist_core::ports::PhotoRefusal;
use skin_assist_models::{
    photo::{self, BYTES_PER_PIXEL, Format, Limits, Orientation, Photo, Rectangle},
    preprocess::{Reducer, SmallImage},
};
use support::fixture;

fn decode(bytes: &[u8]) -> Result<Photo, PhotoRefusal> {
    photo::decode(bytes, Limits::default())
}

fn decoded(name: &str) -> Photo {
    decode(&fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Mean and greatest difference between two images of the same size, in levels of 255.
fn difference(one: &[u8], other: &[u8]) -> (f64, u8) {
    assert_eq!(one.len(), other.len());
    let differences = one.iter().zip(other).map(|(one, other)| one.abs_diff(*other));
    let mean = differences.clone().map(f64::from).sum::<f64>() / one.len() as f64;
    (mean, differences.max().unwrap_or(0))
}

/// The photo upright at its own size.
fn upright(photo: &Photo) -> SmallImage {
    let (width, height) = photo.upright_size();
    Reducer::default().whole(photo, width, height)
}

#[test]
fn every_orientation_comes_out_upright() {
    let expected = decoded("upright.png");
    for value in 1..=8 {
        let photo = decoded(&format!("orientation-{value}.jpg"));
        assert_eq!(Some(photo.orientation()), Orientation::from_exif_value(value));
        assert_eq!(photo.upright_size(), (64, 48), "orientation {value}");
        let (mean, greatest) = difference(upright(&photo).pixels(), expected.pixels());
        assert!(
            mean < 2.0 && greatest < 16,
            "orientation {value}: mean {mean}, greatest {greatest}"
        );
    }
}

#[test]
fn png_and_webp_are_turned_as_well() {
    let expected = decoded("upright.png");
    for name in ["orientation-6.png", "orientation-6.webp"] {
        let photo = decoded(name);
        assert_eq!(photo.orientation(), Orientation::Turn90, "{name}");
        assert_eq!(upright(&photo).pixels(), expected.pixels(), "{name}");
    }
}

#[test]
fn parts_and_reductions_of_turned_photos_are_those_of_the_upright_one() {
    let stored = decoded("busy.png");
    let (width, height) = stored.stored_size();
    for orientation in Orientation::ALL {
        let turned = Photo::from_pixels(stored.pixels().to_vec(), width, height, orientation).expect("pixels fit");
        // Turn the large image first, as the slow way would.
        let large = upright(&turned);
        let large = Photo::from_pixels(
            large.pixels().to_vec(),
            large.width(),
            large.height(),
            Orientation::Upright,
        )
        .expect("pixels fit");
        let mut reducer = Reducer::default();
        let (quick, slow) = (reducer.whole(&turned, 20, 12), reducer.whole(&large, 20, 12));
        let (_, greatest) = difference(quick.pixels(), slow.pixels());
        assert!(greatest <= 1, "{orientation:?} whole: {greatest}");
        let part = Rectangle {
            left: 5.0,
            top: 9.0,
            right: 42.0,
            bottom: 31.0,
        };
        let (quick, slow) = (reducer.part(&turned, part, 16, 16), reducer.part(&large, part, 16, 16));
        let (_, greatest) = difference(quick.pixels(), slow.pixels());
        assert!(greatest <= 1, "{orientation:?} part: {greatest}");
    }
}

#[test]
fn resizing_is_what_pillow_calls_bilinear() {
    let photo = decoded("busy.png");
    let mut reducer = Reducer::default();
    let part = Rectangle {
        left: 31.0,
        top: 17.0,
        right: 88.0,
        bottom: 60.0,
    };
    for (name, image) in [
        ("busy-32x24.png", reducer.whole(&photo, 32, 24)),
        ("busy-110x60.png", reducer.whole(&photo, 110, 60)),
        ("busy-part-24x24.png", reducer.part(&photo, part, 24, 24)),
    ] {
        let expected = decoded(name);
        assert_eq!(expected.stored_size(), (image.width(), image.height()));
        // Wider and lower: Pillow 13 goes down first.
        let most = u8::from(name == "busy-110x60.png");
        let (_, greatest) = difference(image.pixels(), expected.pixels());
        assert!(greatest <= most, "{name}: {greatest}");
    }
}

#[test]
fn a_jpeg_decoded_at_any_size_has_the_pixels_that_pillow_gives() {
    let part = Rectangle {
        left: 21.0,
        top: 9.0,
        right: 70.0,
        bottom: 44.0,
    };
    // By an eighth, a quarter, a half and in full; a part in full and by a half.
    let wanted = [
        (None, 8, 5),
        (None, 15, 11),
        (None, 30, 22),
        (None, 60, 50),
        (Some(part), 24, 24),
        (Some(part), 20, 14),
    ];
    for kind in ["420", "422", "444", "grey"] {
        let expected = decoded(&format!("exact-{kind}.png"));
        let photo = photo::open(&fixture(&format!("exact-{kind}.jpg")), Limits::default()).expect("a photo");
        let mut reducer = Reducer::default();
        let mut lines = expected.pixels().chunks_exact(60 * 3);
        for (part, width, height) in wanted {
            let image = match part {
                None => reducer.whole_of(&photo, width, height),
                Some(part) => reducer.part_of(&photo, part, width, height),
            };
            let image = image.expect("whole data");
            let (line, height) = (width as usize * 3, height as usize);
            let expected: Vec<u8> = lines
                .by_ref()
                .take(height)
                .flat_map(|row| row[..line].to_vec())
                .collect();
            let (mean, greatest) = difference(image.pixels(), &expected);
            assert_eq!(greatest, 0, "{kind}, {part:?} to {width} × {height}: mean {mean}");
        }
    }
}

#[test]
fn kinds_of_jpeg() {
    let expected = decoded("upright.png");
    for name in ["baseline-420.jpg", "baseline-422.jpg", "restart.jpg", "progressive.jpg"] {
        let photo = decoded(name);
        assert_eq!(photo.format(), Format::Jpeg);
        let (mean, _) = difference(photo.pixels(), expected.pixels());
        assert!(mean < 3.0, "{name}: {mean}");
    }
    let (mean, _) = difference(decoded("grey.jpg").pixels(), decoded("grey.png").pixels());
    assert!(mean < 2.0, "grey: {mean}");
    let (mean, _) = difference(decoded("cmyk.jpg").pixels(), decoded("cmyk-expected.png").pixels());
    assert!(mean < 2.0, "CMYK: {mean}");
}

#[test]
fn kinds_of_png_and_webp() {
    let expected = decoded("upright.png");
    assert_eq!(decoded("deep.png").pixels(), expected.pixels(), "16 bits");
    assert_eq!(
        decoded("palette.png").pixels(),
        decoded("palette-expected.png").pixels(),
        "palette"
    );
    for name in ["alpha.png", "alpha.webp"] {
        let (mean, greatest) = difference(decoded(name).pixels(), decoded("alpha-expected.png").pixels());
        assert!(mean < 0.5 && greatest <= 1, "{name}: mean {mean}, greatest {greatest}");
    }
    let (mean, _) = difference(decoded("lossy.webp").pixels(), expected.pixels());
    assert!(mean < 4.0, "lossy WebP: {mean}");
    assert_eq!(
        decoded("animated.webp").pixels(),
        expected.pixels(),
        "the first image of an animation"
    );
    assert_eq!(decoded("animated.webp").format(), Format::WebP);
}

/// What opening gives at a size, and what decoding the whole photo first gives.
fn both_ways(bytes: &[u8], part: Option<Rectangle>, width: u32, height: u32) -> (SmallImage, SmallImage) {
    let (open, whole) = (photo::open(bytes, Limits::default()), decode(bytes));
    let (open, whole) = (open.expect("a photo"), whole.expect("a photo"));
    assert_eq!(open.upright_size(), whole.upright_size());
    assert_eq!(open.orientation(), whole.orientation());
    let mut reducer = Reducer::default();
    match part {
        None => (
            reducer.whole_of(&open, width, height).expect("whole data"),
            reducer.whole(&whole, width, height),
        ),
        Some(part) => (
            reducer.part_of(&open, part, width, height).expect("whole data"),
            reducer.part(&whole, part, width, height),
        ),
    }
}

#[test]
fn decoding_at_the_size_that_is_needed_shows_the_same() {
    let mut names: Vec<String> = (1..=8).map(|value| format!("orientation-{value}.jpg")).collect();
    names.extend(
        [
            "baseline-420.jpg",
            "baseline-422.jpg",
            "restart.jpg",
            "grey.jpg",
            "progressive.jpg",
            "upright.png",
        ]
        .map(str::to_owned),
    );
    // An eighth, a quarter, a half, the whole, more than the whole, another shape.
    for (width, height) in [(6, 5), (13, 10), (27, 20), (64, 48), (100, 90), (5, 40)] {
        for name in &names {
            let (open, whole) = both_ways(&fixture(name), None, width, height);
            let (mean, greatest) = difference(open.pixels(), whole.pixels());
            // Colour at half the resolution across only is coarser by an eighth, as with libjpeg.
            let most = if name == "baseline-422.jpg" { 2.0 } else { 1.0 };
            assert!(
                mean < most && greatest <= 6,
                "{name}, {width} × {height}: mean {mean}, greatest {greatest}"
            );
        }
    }
}

#[test]
fn a_part_decoded_alone_shows_the_same() {
    let part = |left, top, right, bottom| Rectangle {
        left,
        top,
        right,
        bottom,
    };
    let parts = [
        part(0.0, 0.0, 9.0, 7.0),
        part(40.0, 20.0, 64.0, 44.0),
        part(17.0, 31.0, 49.0, 48.0),
        part(0.0, 0.0, 64.0, 48.0),
    ];
    for name in [
        "orientation-1.jpg",
        "orientation-6.jpg",
        "baseline-420.jpg",
        "baseline-422.jpg",
        "restart.jpg",
        "grey.jpg",
    ] {
        let bytes = fixture(name);
        let open = photo::open(&bytes, Limits::default()).expect("a photo");
        let mut reducer = Reducer::default();
        for part in parts {
            for side in [4, 12, 40] {
                let (first, whole) = both_ways(&bytes, Some(part), side, side);
                let (mean, greatest) = difference(first.pixels(), whole.pixels());
                assert!(
                    mean < 2.0 && greatest <= 8,
                    "{name}, {part:?} to {side}: mean {mean}, greatest {greatest}"
                );
                // The same after other parts and the whole, from the states noted then.
                let again = reducer.part_of(&open, part, side, side).expect("whole data");
                assert_eq!(again.pixels(), first.pixels(), "{name}, {part:?} to {side}");
                reducer.whole_of(&open, 8, 8).expect("whole data");
            }
        }
    }
}

#[test]
fn a_jpeg_that_was_cut_off_and_closed_again_is_broken() {
    for name in ["baseline-420.jpg", "baseline-422.jpg", "restart.jpg", "grey.jpg"] {
        let whole = fixture(name);
        let scan = whole.windows(2).position(|pair| pair == [0xFF, 0xDA]).expect("a scan") + 14;
        for length in scan + 2..whole.len() - 6 {
            let mut closed = whole[..length].to_vec();
            closed.extend_from_slice(&[0xFF, 0xD9]);
            let small =
                photo::open(&closed, Limits::default()).and_then(|photo| Reducer::default().whole_of(&photo, 6, 5));
            // Without the fast way the general decoder fills up with grey: a restart marker that is missing leads there.
            if name != "restart.jpg" {
                assert_eq!(small.err(), Some(PhotoRefusal::Broken), "{name} cut to {length}");
            }
        }
    }
}

#[test]
fn a_jpeg_that_is_cut_off_anywhere_is_broken() {
    for name in [
        "baseline-420.jpg",
        "progressive.jpg",
        "restart.jpg",
        "orientation-6.jpg",
        "cmyk.jpg",
    ] {
        let whole = fixture(name);
        for length in 2..whole.len() {
            assert_eq!(
                decode(&whole[..length]).err(),
                Some(PhotoRefusal::Broken),
                "{name} cut to {length}"
            );
        }
    }
}

#[test]
fn a_png_or_webp_that_is_cut_off_is_broken() {
    for name in ["upright.png", "palette.png", "lossy.webp", "alpha.webp"] {
        let whole = fixture(name);
        // The last chunk of a PNG carries nothing; up to there everything is needed.
        let end = if name.ends_with("png") {
            whole.len() - 16
        } else {
            whole.len()
        };
        for length in (12..end).step_by(7) {
            assert_eq!(
                decode(&whole[..length]).err(),
                Some(PhotoRefusal::Broken),
                "{name} cut to {length}"
            );
        }
    }
}

#[test]
fn bytes_after_the_end_and_between_headers_do_no_harm() {
    let whole = fixture("baseline-420.jpg");
    let expected = decoded("baseline-420.jpg");
    let mut longer = whole.clone();
    longer.extend_from_slice(&fixture("restart.jpg"));
    assert_eq!(
        decode(&longer).expect("a second image behind").pixels(),
        expected.pixels()
    );
    // JFIF's segment is 18 bytes long with its marker; some cameras leave padding behind a segment.
    let mut padded = whole[..20].to_vec();
    padded.extend_from_slice(&[0; 9]);
    padded.extend_from_slice(&whole[20..]);
    assert_eq!(decode(&padded).expect("padding").pixels(), expected.pixels());
}

#[test]
fn a_wrong_name_does_not_matter_and_other_files_are_refused() {
    // Whatever the chart called them: the bytes decide.
    assert_eq!(decoded("upright.png").format(), Format::Png);
    let cases: [(&[u8], PhotoRefusal); 7] = [
        (b"", PhotoRefusal::Empty),
        (b"The patient was seen today.", PhotoRefusal::UnsupportedFormat),
        (&[0; 4096], PhotoRefusal::UnsupportedFormat),
        (b"%PDF-1.7\n", PhotoRefusal::UnsupportedFormat),
        (b"GIF89a\x01\0\x01\0", PhotoRefusal::UnsupportedFormat),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", PhotoRefusal::Heic),
        (b"\xFF\xD8", PhotoRefusal::Broken),
    ];
    for (bytes, expected) in cases {
        assert_eq!(decode(bytes).err(), Some(expected), "{bytes:?}");
    }
}

/// A PNG of 65 bytes that claims 30,000 × 30,000 pixels: with its end chunk it is even well-formed up to its data.
fn png_bomb() -> Vec<u8> {
    let mut bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bomb.extend_from_slice(&30_000_u32.to_be_bytes());
    bomb.extend_from_slice(&30_000_u32.to_be_bytes());
    bomb.extend_from_slice(&[8, 2, 0, 0, 0]);
    bomb.resize(65, 0);
    bomb
}

#[test]
fn images_that_claim_too_much_are_refused_by_their_header() {
    assert_eq!(decode(&png_bomb()).err(), Some(PhotoRefusal::TooManyPixels));
    let mut jpeg = fixture("baseline-420.jpg");
    let frame = jpeg
        .windows(2)
        .position(|pair| pair == [0xFF, 0xC0])
        .expect("a frame header");
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xFF; 4]);
    assert_eq!(decode(&jpeg).err(), Some(PhotoRefusal::TooManyPixels));
    // A second frame header, bigger than the one that was checked, is no way around.
    let mut two = fixture("baseline-420.jpg");
    let header = two[frame..frame + 19].to_vec();
    let mut bigger = header.clone();
    bigger[5..9].copy_from_slice(&[0xFF; 4]);
    two.splice(frame + 19..frame + 19, bigger);
    assert!(matches!(
        decode(&two).err(),
        Some(PhotoRefusal::TooManyPixels | PhotoRefusal::Broken)
    ));
}

#[test]
fn the_limit_is_exact_for_every_format() {
    // With the bytes that are held for a pixel while it is decoded, where they are more than six.
    let names = [
        ("upright.png", 3),
        ("deep.png", 3),
        ("alpha.png", 3),
        ("baseline-420.jpg", 3),
        ("progressive.jpg", 9),
        ("lossy.webp", 7),
        ("alpha.webp", 11),
        ("animated.webp", 7),
    ];
    for (name, held) in names {
        let bytes = fixture(name);
        let limit = |max_pixels| photo::decode(&bytes, Limits { max_pixels });
        let least = (64 * 48 * held.max(BYTES_PER_PIXEL)).div_ceil(BYTES_PER_PIXEL);
        assert!(limit(least).is_ok(), "{name}");
        assert_eq!(limit(least - 1).err(), Some(PhotoRefusal::TooManyPixels), "{name}");
    }
}

#[test]
fn damaged_bytes_never_panic() {
    // Not a fuzzer, but each byte of the headers and every few of the rest, in three ways.
    let mut reducer = Reducer::default();
    for name in [
        "baseline-420.jpg",
        "progressive.jpg",
        "palette.png",
        "lossy.webp",
        "alpha.webp",
        "animated.webp",
    ] {
        let whole = fixture(name);
        for position in 0..whole.len() {
            for change in [0x01, 0x80, 0xFF] {
                let mut damaged = whole.clone();
                damaged[position] ^= change;
                let limits = Limits { max_pixels: 1_000_000 };
                if let Ok(photo) = photo::decode(&damaged, limits) {
                    let (width, height) = photo.stored_size();
                    assert_eq!(photo.pixels().len(), width as usize * height as usize * 3);
                }
                if name.ends_with("jpg")
                    && let Ok(photo) = photo::open(&damaged, limits)
                    && let Ok(small) = reducer.whole_of(&photo, 10, 10)
                {
                    assert_eq!(small.pixels().len(), 300);
                }
            }
        }
    }
}

#[test]
fn wrong_exif_means_upright() {
    let mut bytes = fixture("orientation-6.jpg");
    let exif = bytes.windows(6).position(|window| window == b"Exif\0\0").expect("EXIF");
    bytes[exif + 6..exif + 14].fill(0xAA);
    assert_eq!(
        decode(&bytes).expect("the image is whole").orientation(),
        Orientation::Upright
    );
}

#[test]
fn debug_shows_no_pixels() {
    let text = format!("{:?}", decoded("upright.png"));
    assert!(text.len() < 120 && text.contains("64"), "{text}");
}
