//! TIFF, WebP and interlaced PNG, by the `image` crate under limits.

use std::io::Cursor;

use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader};
use skin_assist_core::ports::PhotoRefusal;

use super::{Decoded, Format, Limits, Orientation, png::over_white, tiff};

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
        // Its header was looked at before.
        Format::Png | Format::Jpeg => ImageFormat::Png,
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
    limits.check_memory(width, height, held(format, decoder.color_type()))?;
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
        all_over_white(&image.into_rgba8())
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

/// The bytes that are held for a pixel at a time, as measured (`docs/benchmarks/vision.md`): the decoder's own, the image as it
/// delivers it, and the copies on the way to 8-bit RGB.
fn held(format: Format, kind: ColorType) -> u64 {
    let delivered = u64::from(kind.bytes_per_pixel());
    let own = match format {
        Format::WebP => 4,
        Format::Tiff => delivered,
        Format::Png | Format::Jpeg => 0,
    };
    let copies = match kind {
        ColorType::Rgb8 => 0,
        _ if kind.has_alpha() && kind != ColorType::Rgba8 => 7,
        _ => 3,
    };
    own + delivered + copies
}

/// What a decoder's error means. A kind of pixels that it does not know is no damage.
fn refusal(error: &ImageError) -> PhotoRefusal {
    match error {
        ImageError::Unsupported(_) => PhotoRefusal::UnsupportedFormat,
        _ => PhotoRefusal::Broken,
    }
}

/// Transparent pixels over white.
fn all_over_white(image: &image::RgbaImage) -> Vec<u8> {
    let pixel = |of: &[u8]| [0, 1, 2].map(|colour| over_white(of[colour], of[3]));
    let mut pixels = Vec::with_capacity(image.as_raw().len() / 4 * 3);
    pixels.extend(image.as_raw().chunks_exact(4).flat_map(pixel));
    pixels
}
