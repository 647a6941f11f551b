//! PNG, TIFF and WebP, by the `image` crate under limits.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader};
use skin_assist_core::ports::PhotoRefusal;

use super::{Decoded, Format, Limits, Orientation, tiff};

/// The most bytes that a decoder holds for a pixel: 16-bit RGBA, and the same again for its own use.
const BYTES_PER_PIXEL: u64 = 16;
/// What a decoder may use besides, for tables and profiles.
const SPARE_BYTES: u64 = 1 << 20;

pub(super) fn decode(bytes: &[u8], format: Format, limits: Limits) -> Result<Decoded, PhotoRefusal> {
    // No decoder is started for a bomb whose size is found easily.
    let image_format = match format {
        Format::WebP => ImageFormat::WebP,
        Format::Tiff => {
            let (width, height) = tiff::size(bytes)?;
            limits.check(width, height)?;
            ImageFormat::Tiff
        }
        Format::Png | Format::Jpeg => {
            let (width, height) = png_size(bytes)?;
            limits.check(width, height)?;
            ImageFormat::Png
        }
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), image_format);
    let mut image_limits = image::Limits::default();
    image_limits.max_alloc = Some(
        limits
            .max_pixels
            .saturating_mul(BYTES_PER_PIXEL)
            .saturating_add(SPARE_BYTES),
    );
    reader.limits(image_limits);
    let mut decoder = reader.into_decoder().map_err(|error| refusal(&error))?;
    let (width, height) = decoder.dimensions();
    limits.check(width, height)?;
    let orientation = if format == Format::Tiff {
        let tag = decoder.orientation().map_or(1, image::metadata::Orientation::to_exif);
        Orientation::from_exif_value(tag.into()).unwrap_or_default()
    } else {
        let exif = decoder.exif_metadata().ok().flatten();
        exif.as_deref()
            .map_or(Orientation::Upright, Orientation::from_exif_block)
    };
    let image = DynamicImage::from_decoder(decoder).map_err(|error| refusal(&error))?;
    let pixels = if image.color().has_alpha() {
        over_white(&image.into_rgba8())
    } else {
        image.into_rgb8().into_raw()
    };
    Ok(Decoded {
        pixels,
        width,
        height,
        orientation,
    })
}

/// What a decoder's error means. A kind of pixels that it does not know is no damage.
fn refusal(error: &ImageError) -> PhotoRefusal {
    match error {
        ImageError::Unsupported(_) => PhotoRefusal::UnsupportedFormat,
        _ => PhotoRefusal::Broken,
    }
}

/// Width and height from the header chunk, which must come first.
fn png_size(bytes: &[u8]) -> Result<(u32, u32), PhotoRefusal> {
    let header = bytes.get(8..24).ok_or(PhotoRefusal::Broken)?;
    if &header[4..8] != b"IHDR" {
        return Err(PhotoRefusal::Broken);
    }
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    Ok((number(8), number(12)))
}

/// Transparent pixels over white, rounded to the nearest.
fn over_white(image: &image::RgbaImage) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(image.as_raw().len() / 4 * 3);
    for pixel in image.as_raw().chunks_exact(4) {
        let alpha = u32::from(pixel[3]);
        let blend = |value: u8| ((u32::from(value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        pixels.extend_from_slice(&[blend(pixel[0]), blend(pixel[1]), blend(pixel[2])]);
    }
    pixels
}
