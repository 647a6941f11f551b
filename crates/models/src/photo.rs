//! Photos: bytes to pixels, with the limits checked first.
//!
//! The format is found in the bytes, whatever a name or a MIME type claims. Width and height are read from the header
//! and held against the limit before anything is allocated for the pixels: a PNG of 65 bytes can ask for a gigabyte.
//! A damaged or cut off image is refused rather than half decoded, since a grey half of a lesion would still get a
//! diagnosis. Panics of decoders are caught and mean a damaged image.

mod jpeg;
mod orientation;
mod png;
mod quality;
mod raster;
mod sniff;
mod tiff;

use std::panic::{AssertUnwindSafe, catch_unwind};

use skin_assist_core::ports::PhotoRefusal;

use crate::pack::Resize;

pub(crate) use jpeg::reduced::Part;
pub use orientation::{Orientation, Rectangle};
pub use quality::measure;
pub use sniff::Format;

/// While it is decoded a photo takes at most so many bytes for each pixel that is allowed, whatever kind of file it is.
pub const BYTES_PER_PIXEL: u64 = 6;

/// What a photo may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Width times height, at most; of a kind of file whose decoder holds more than [`BYTES_PER_PIXEL`] bytes for a pixel as
    /// many fewer.
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

    /// Whether a decoder that holds `bytes` for a pixel may be started.
    fn check_memory(self, width: u32, height: u32, bytes: u64) -> Result<(), PhotoRefusal> {
        let needed = (u64::from(width) * u64::from(height)).saturating_mul(bytes);
        if needed > self.max_pixels.saturating_mul(BYTES_PER_PIXEL) {
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

    fn from_decoded(decoded: Decoded, format: Format) -> Self {
        let Decoded {
            pixels,
            width,
            height,
            orientation,
        } = decoded;
        debug_assert_eq!(pixels.len() as u64, u64::from(width) * u64::from(height) * 3);
        Self {
            pixels,
            width,
            height,
            orientation,
            format,
        }
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

/// A photo that is decoded as far as it is needed: what most cameras write is not decoded yet, anything else is.
pub struct OpenPhoto {
    source: Source,
    orientation: Orientation,
    format: Format,
}

/// Where the pixels come from.
pub(crate) enum Source {
    /// From a decoder, at full size.
    Decoded(Photo),
    /// From the compressed data, when they are asked for.
    Compressed(Box<jpeg::reduced::Baseline>),
}

impl OpenPhoto {
    /// Width and height of the stored pixels.
    pub fn stored_size(&self) -> (u32, u32) {
        match &self.source {
            Source::Decoded(photo) => photo.stored_size(),
            Source::Compressed(baseline) => baseline.size(),
        }
    }

    /// Width and height as a person sees it.
    pub fn upright_size(&self) -> (u32, u32) {
        let (width, height) = self.stored_size();
        if self.orientation.swaps_axes() {
            (height, width)
        } else {
            (width, height)
        }
    }

    /// How the stored pixels are to be turned.
    pub const fn orientation(&self) -> Orientation {
        self.orientation
    }

    /// The format found in the bytes.
    pub const fn format(&self) -> Format {
        self.format
    }

    pub(crate) const fn source(&self) -> &Source {
        &self.source
    }

    /// Decodes a rectangle of the stored image, large enough to be reduced to `small`.
    pub(crate) fn part(
        baseline: &jpeg::reduced::Baseline,
        stored: Rectangle,
        small: (u32, u32),
        resize: Resize,
        part: &mut Part,
    ) -> Result<(), PhotoRefusal> {
        catch_unwind(AssertUnwindSafe(|| baseline.decode(stored, small, resize, part)))
            .unwrap_or(Err(PhotoRefusal::Broken))
    }
}

impl From<Photo> for OpenPhoto {
    fn from(photo: Photo) -> Self {
        Self {
            orientation: photo.orientation,
            format: photo.format,
            source: Source::Decoded(photo),
        }
    }
}

/// Opens a photo of one of the kinds that [`decode`] takes. Broken data may show only when pixels are asked for.
pub fn open(bytes: &[u8], limits: Limits) -> Result<OpenPhoto, PhotoRefusal> {
    let format = sniff::sniff(bytes)?;
    if format != Format::Jpeg {
        return decode(bytes, limits).map(OpenPhoto::from);
    }
    let opened = catch_unwind(AssertUnwindSafe(|| jpeg::open(bytes, limits))).unwrap_or(Err(PhotoRefusal::Broken))?;
    Ok(match opened {
        jpeg::Opened::Whole(decoded) => Photo::from_decoded(decoded, format).into(),
        jpeg::Opened::Baseline(baseline, orientation) => OpenPhoto {
            source: Source::Compressed(baseline),
            orientation,
            format,
        },
    })
}

/// Pixels as a decoder delivers them.
struct Decoded {
    pixels: Vec<u8>,
    width: u32,
    height: u32,
    orientation: Orientation,
}

/// Decodes a photo. JPEG (baseline, progressive, grey, CMYK), PNG, TIFF and WebP; transparent pixels over white; of an
/// animation the first image. Wrong or missing EXIF data mean "upright".
pub fn decode(bytes: &[u8], limits: Limits) -> Result<Photo, PhotoRefusal> {
    let format = sniff::sniff(bytes)?;
    let decoded = catch_unwind(AssertUnwindSafe(|| match format {
        Format::Jpeg => jpeg::decode(bytes, limits),
        Format::Png => match png::decode(bytes, limits)? {
            Some(decoded) => Ok(decoded),
            None => raster::decode(bytes, format, limits),
        },
        Format::Tiff | Format::WebP => raster::decode(bytes, format, limits),
    }))
    .unwrap_or(Err(PhotoRefusal::Broken))?;
    Ok(Photo::from_decoded(decoded, format))
}
