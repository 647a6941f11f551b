//! Writing a picture as a camera would: a JPEG whose pixels lie as the sensor saw them, and an Exif segment that says how
//! to turn them upright.

use jpeg_encoder::{ColorType, Encoder, EncodingError};

use super::Picture;

/// Exif tag of the image's description, ASCII.
const IMAGE_DESCRIPTION: u16 = 0x010E;
/// Exif tag of the orientation, SHORT.
const ORIENTATION: u16 = 0x0112;
const DESCRIPTION: &[u8] = b"Synthetic skin picture, no patient\0";

impl Picture {
    /// The picture as a JPEG of this quality (1..=100). The pixels are stored turned or mirrored such that applying
    /// `exif_orientation` (1..=8, as in Exif's tag 0x0112) gives the upright picture; any other value is taken as 1.
    pub fn to_jpeg(&self, quality: u8, exif_orientation: u8) -> Vec<u8> {
        let orientation = if (1..=8).contains(&exif_orientation) {
            exif_orientation
        } else {
            1
        };
        self.encode(quality.clamp(1, 100), orientation)
            .expect("the size of a rendered picture fits a JPEG, and writing to memory cannot fail")
    }

    fn encode(&self, quality: u8, orientation: u8) -> Result<Vec<u8>, EncodingError> {
        let mut bytes = Vec::with_capacity(self.rgb.len() / 8);
        let mut encoder = Encoder::new(&mut bytes, quality);
        encoder.add_exif_metadata(&exif(orientation))?;
        let (width, height) = if orientation >= 5 {
            (self.height, self.width)
        } else {
            (self.width, self.height)
        };
        if orientation == 1 {
            encoder.encode(&self.rgb, width as u16, height as u16, ColorType::Rgb)?;
        } else {
            encoder.encode(&self.stored(orientation), width as u16, height as u16, ColorType::Rgb)?;
        }
        Ok(bytes)
    }

    /// The pixels as a camera held in this orientation stores them.
    fn stored(&self, orientation: u8) -> Vec<u8> {
        let (width, height) = (self.width as usize, self.height as usize);
        let (right, bottom) = (width - 1, height - 1);
        let (stored_width, stored_height) = if orientation >= 5 {
            (height, width)
        } else {
            (width, height)
        };
        let mut stored = Vec::with_capacity(self.rgb.len());
        for row in 0..stored_height {
            for column in 0..stored_width {
                let (x, y) = match orientation {
                    2 => (right - column, row),
                    3 => (right - column, bottom - row),
                    4 => (column, bottom - row),
                    5 => (row, column),
                    6 => (right - row, column),
                    7 => (right - row, bottom - column),
                    8 => (row, bottom - column),
                    _ => (column, row),
                };
                let at = (y * width + x) * 3;
                stored.extend_from_slice(&self.rgb[at..at + 3]);
            }
        }
        stored
    }
}

/// A TIFF structure with one directory: a description and the orientation.
fn exif(orientation: u8) -> Vec<u8> {
    const ENTRIES: u16 = 2;
    // Header, count, entries, offset of the next directory.
    let description_at = 8 + 2 + 12 * u32::from(ENTRIES) + 4;
    let mut tiff = Vec::with_capacity(description_at as usize + DESCRIPTION.len());
    tiff.extend_from_slice(b"II*\0");
    tiff.extend_from_slice(&8_u32.to_le_bytes());
    tiff.extend_from_slice(&ENTRIES.to_le_bytes());
    let mut entry = |tag: u16, kind: u16, count: u32, value: u32| {
        tiff.extend_from_slice(&tag.to_le_bytes());
        tiff.extend_from_slice(&kind.to_le_bytes());
        tiff.extend_from_slice(&count.to_le_bytes());
        tiff.extend_from_slice(&value.to_le_bytes());
    };
    entry(IMAGE_DESCRIPTION, 2, DESCRIPTION.len() as u32, description_at);
    entry(ORIENTATION, 3, 1, u32::from(orientation));
    tiff.extend_from_slice(&0_u32.to_le_bytes());
    tiff.extend_from_slice(DESCRIPTION);
    tiff
}
