//! PNG, row by row, so that no more is held than the pixels in 8 bits: an image of 16 bits with transparency would take
//! eight bytes for each. An interlaced one has no rows to go by and is read as a whole, by [`super::raster`].

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, DecodingError, Transformations};
use skin_assist_core::ports::PhotoRefusal;

use super::{Decoded, Limits, Orientation};

/// What the decoder may hold besides rows, for its window, palettes and EXIF.
const SPARE_BYTES: usize = 64 << 20;

/// None when the image is interlaced.
pub(super) fn decode(bytes: &[u8], limits: Limits) -> Result<Option<Decoded>, PhotoRefusal> {
    let (width, height) = size(bytes)?;
    limits.check(width, height)?;
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: SPARE_BYTES });
    // Whatever is packed into them, nobody reads it.
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(damaged)?;
    let info = reader.info();
    if info.interlaced {
        return Ok(None);
    }
    let exif = info.exif_metadata.as_deref();
    let orientation = exif.map_or(Orientation::Upright, Orientation::from_exif_block);
    let (colour, depth) = reader.output_color_type();
    let mut pixels = Vec::with_capacity(width as usize * height as usize * 3);
    let mut shallow = Vec::new();
    while let Some(row) = reader.next_row().map_err(damaged)? {
        let row = match depth {
            BitDepth::Sixteen => {
                shallow.clear();
                shallow.extend(row.data().chunks_exact(2).map(|value| nearest([value[0], value[1]])));
                &*shallow
            }
            _ => row.data(),
        };
        match colour {
            ColorType::Grayscale => pixels.extend(row.iter().flat_map(|level| [*level; 3])),
            ColorType::GrayscaleAlpha => {
                pixels.extend(
                    row.chunks_exact(2)
                        .flat_map(|pixel| [over_white(pixel[0], pixel[1]); 3]),
                );
            }
            ColorType::Rgba => {
                let pixel = |of: &[u8]| [0, 1, 2].map(|colour| over_white(of[colour], of[3]));
                pixels.extend(row.chunks_exact(4).flat_map(pixel));
            }
            // A palette was expanded.
            ColorType::Rgb | ColorType::Indexed => pixels.extend_from_slice(row),
        }
    }
    if pixels.len() as u64 != u64::from(width) * u64::from(height) * 3 {
        return Err(PhotoRefusal::Broken);
    }
    Ok(Some(Decoded {
        pixels,
        width,
        height,
        orientation,
    }))
}

/// Whatever the decoder says, the file is no PNG that could be read to its end.
fn damaged(_: DecodingError) -> PhotoRefusal {
    PhotoRefusal::Broken
}

/// Sixteen bits to eight, rounded to the nearest.
const fn nearest(value: [u8; 2]) -> u8 {
    ((u16::from_be_bytes(value) as u32 + 128) / 257) as u8
}

/// A level that is that opaque, over white, rounded to the nearest.
pub(super) fn over_white(level: u8, alpha: u8) -> u8 {
    let alpha = u32::from(alpha);
    ((u32::from(level) * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

/// Width and height from the header chunk, which must come first.
fn size(bytes: &[u8]) -> Result<(u32, u32), PhotoRefusal> {
    let header = bytes.get(8..24).ok_or(PhotoRefusal::Broken)?;
    if &header[4..8] != b"IHDR" {
        return Err(PhotoRefusal::Broken);
    }
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    Ok((number(8), number(12)))
}
