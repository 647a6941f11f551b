//! Any bytes as a photo: opened, reduced as a whole and in part as the models want it, and decoded in full.

use skin_assist_models::{
    photo::{self, Format, Limits, Rectangle},
    preprocess::Reducer,
};

/// Small, so that what asks for much is refused and what is decoded is quick.
const LIMITS: Limits = Limits { max_pixels: 1 << 18 };

/// A photo that is whole, to have any EXIF data put into.
const WHOLE: &[u8] = include_bytes!("../../models/tests/fixtures/grey.jpg");
const WHOLE_SIZE: (u32, u32) = (64, 48);

/// How EXIF data begin in a JPEG.
const EXIF: &[u8] = b"Exif\0\0";

/// A file of this format; others are passed over, so that each decoder is tried for itself.
pub(crate) fn any_image(bytes: &[u8], format: Format) {
    let opened = photo::open(bytes, LIMITS);
    if let Ok(photo) = opened {
        if photo.format() != format {
            return;
        }
        let (width, height) = photo.upright_size();
        assert!(u64::from(width) * u64::from(height) <= LIMITS.max_pixels && width > 0 && height > 0);
        let mut reducer = Reducer::default();
        if let Ok(small) = reducer.whole_of(&photo, 24, 16) {
            assert_eq!(small.pixels().len(), 24 * 16 * 3);
        }
        let part = Rectangle {
            left: f64::from(width / 4),
            top: f64::from(height / 3),
            right: f64::from(width),
            bottom: f64::from(height),
        };
        if let Ok(small) = reducer.part_of(&photo, part, 16, 16) {
            assert_eq!(small.pixels().len(), 16 * 16 * 3);
        }
    }
    // The other way, which takes other paths for a JPEG.
    if format == Format::Jpeg
        && let Ok(photo) = photo::decode(bytes, LIMITS)
    {
        let (width, height) = photo.stored_size();
        assert_eq!(photo.pixels().len() as u64, u64::from(width) * u64::from(height) * 3);
    }
}

/// Any bytes as the EXIF data of a photo that is whole: it is taken, whatever they are.
pub fn any_exif(block: &[u8]) {
    let block = &block[..block.len().min(65_000)];
    let mut bytes = vec![0xFF, 0xD8, 0xFF, 0xE1];
    bytes.extend_from_slice(&((block.len() + 2 + EXIF.len()) as u16).to_be_bytes());
    bytes.extend_from_slice(EXIF);
    bytes.extend_from_slice(block);
    bytes.extend_from_slice(&WHOLE[2..]);
    let photo = photo::open(&bytes, Limits::default()).expect("the image itself is whole");
    assert_eq!(photo.stored_size(), WHOLE_SIZE);
}
