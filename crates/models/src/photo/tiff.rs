//! TIFF: what its first directory says, before a decoder is started (TIFF 6.0, section 2).

use skin_assist_core::ports::PhotoRefusal;

/// Tags of a directory.
const SUBFILE_TYPE: u16 = 254;
const WIDTH: u16 = 256;
const HEIGHT: u16 = 257;
const COMPRESSION: u16 = 259;
/// None, LZW, Deflate (both numbers) and PackBits: those that give a strip its bytes and nothing else. What is left out are whole
/// images of another format within the file, such as JPEG, with sizes of their own that no limit of the first directory holds.
const COMPRESSIONS: [u32; 5] = [1, 5, 8, 32_773, 32_946];
/// Types of an entry.
const SHORT: u32 = 3;
const LONG: u32 = 4;
/// In files of Adobe's Digital Negative.
const DNG_VERSION: u16 = 50_706;

/// Width and height of the first image. Cameras' raw files are TIFFs too, with a preview as their first image: they are
/// refused, since a finding on a preview would pass for one on the photo.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), PhotoRefusal> {
    let is_little = bytes.starts_with(b"II");
    let number = |at: usize, length: usize| -> Result<u32, PhotoRefusal> {
        let digits = at.checked_add(length).and_then(|end| bytes.get(at..end));
        let digits = digits.ok_or(PhotoRefusal::Broken)?;
        let fold = |number: u32, byte: &u8| number << 8 | u32::from(*byte);
        Ok(if is_little {
            digits.iter().rev().fold(0, fold)
        } else {
            digits.iter().fold(0, fold)
        })
    };
    // The version: 42, and 43 for BigTIFF, which no camera writes.
    if number(2, 2)? != 42 {
        return Err(PhotoRefusal::UnsupportedFormat);
    }
    let directory = number(4, 4)? as usize;
    let (mut width, mut height) = (None, None);
    for index in 0..number(directory, 2)? as usize {
        let entry = directory + 2 + index * 12;
        let (tag, kind) = (number(entry, 2)? as u16, number(entry + 2, 2)?);
        // A number of 16 bits stands at the beginning of its field of 4 bytes.
        let value = number(entry + 8, if kind == SHORT { 2 } else { 4 })?;
        match tag {
            SUBFILE_TYPE if value & 1 == 1 => return Err(PhotoRefusal::UnsupportedFormat),
            // Of another type or count a decoder may read another number than this.
            COMPRESSION
                if !matches!(kind, SHORT | LONG) || number(entry + 4, 4)? != 1 || !COMPRESSIONS.contains(&value) =>
            {
                return Err(PhotoRefusal::UnsupportedFormat);
            }
            DNG_VERSION => return Err(PhotoRefusal::UnsupportedFormat),
            WIDTH => width = Some(value),
            HEIGHT => height = Some(value),
            _ => {}
        }
    }
    width.zip(height).ok_or(PhotoRefusal::Broken)
}
