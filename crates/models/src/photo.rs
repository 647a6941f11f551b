//! Photos: bytes to pixels, with the limits checked first.
//!
//! The format is found in the bytes, whatever a name or a MIME type claims. Width and height are read from the header
//! and held against the limit before anything is allocated for the pixels: a PNG of 65 bytes can ask for a gigabyte.
//! A damaged or cut off image is refused rather than half decoded, since a grey half of a lesion would still get a
//! diagnosis. Panics of decoders are caught and mean a damaged image.

mod jpeg;
mod orientation;
mod quality;
mod raster;
mod sniff;

use std::panic::{AssertUnwindSafe, catch_unwind};

use skin_assist_core::ports::PhotoRefusal;

pub use orientation::{Orientation, Rectangle};
pub use quality::measure;
pub use sniff::Format;

/// What a photo may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Width times height, at most.
    pub max_pixels: u64,
}

impl Default for Limits {
    /// 100 megapixels.
    fn default() -> Self {
        Self {
            max_pixels: 100_000_000,
        }
    }
}

impl Limits {
    fn check(self, width: u32, height: u32) -> Result<(), PhotoRefusal> {
        if width == 0 || height == 0 {
            return Err(PhotoRefusal::Broken);
        }
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(PhotoRefusal::TooManyPixels);
        }
        Ok(())
    }
}

/// A decoded photo: 8-bit RGB as the camera stored it, and how to turn it upright.
///
/// The pixels are not turned: that is cheaper on the small images made from them ([`crate::preprocess::Reducer`]).
#[derive(Clone)]
pub struct Photo {
    /// Three bytes a pixel, row by row, no padding.
    pixels: Vec<u8>,
    width: u32,
    height: u32,
    orientation: Orientation,
    format: Format,
}

impl Photo {
    /// A photo of pixels that are already there: 8-bit RGB, row by row. None when their number does not fit.
    pub fn from_pixels(pixels: Vec<u8>, width: u32, height: u32, orientation: Orientation) -> Option<Self> {
        let bytes = usize::try_from(u64::from(width) * u64::from(height) * 3).ok()?;
        (bytes > 0 && pixels.len() == bytes).then_some(Self {
            pixels,
            width,
            height,
            orientation,
            format: Format::Png,
        })
    }

    /// Width and height of the stored pixels.
    pub const fn stored_size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Width and height as a person sees it.
    pub const fn upright_size(&self) -> (u32, u32) {
        if self.orientation.swaps_axes() {
            (self.height, self.width)
        } else {
            (self.width, self.height)
        }
    }

    /// The stored pixels: 8-bit RGB, row by row.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// How the stored pixels are to be turned.
    pub const fn orientation(&self) -> Orientation {
        self.orientation
    }

    /// The format found in the bytes.
    pub const fn format(&self) -> Format {
        self.format
    }
}

/// Shows the measures only: a photo must not end up in a log.
impl std::fmt::Debug for Photo {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Photo")
            .field("width", &self.width)
            .field("height", &self.height)
            .field("orientation", &self.orientation)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

/// Pixels as a decoder delivers them.
struct Decoded {
    pixels: Vec<u8>,
    width: u32,
    height: u32,
    orientation: Orientation,
}

/// Decodes a photo. JPEG (baseline, progressive, grey, CMYK), PNG and WebP; transparent pixels over white; of an
/// animation the first image. Wrong or missing EXIF data mean "upright".
pub fn decode(bytes: &[u8], limits: Limits) -> Result<Photo, PhotoRefusal> {
    let format = sniff::sniff(bytes)?;
    let decoded = catch_unwind(AssertUnwindSafe(|| match format {
        Format::Jpeg => jpeg::decode(bytes, limits),
        Format::Png | Format::WebP => raster::decode(bytes, format, limits),
    }))
    .unwrap_or(Err(PhotoRefusal::Broken))?;
    let Decoded {
        pixels,
        width,
        height,
        orientation,
    } = decoded;
    debug_assert_eq!(pixels.len() as u64, u64::from(width) * u64::from(height) * 3);
    Ok(Photo {
        pixels,
        width,
        height,
        orientation,
        format,
    })
}
