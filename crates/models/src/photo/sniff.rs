//! Which format the bytes are in.

use std::fmt;

use skin_assist_core::ports::PhotoRefusal;

/// The formats that are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JPEG (ITU-T T.81), baseline or progressive.
    Jpeg,
    /// PNG (W3C).
    Png,
    /// TIFF 6.0 (Adobe).
    Tiff,
    /// WebP (RFC 9649).
    WebP,
}

impl Format {
    /// The word used in findings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::Tiff => "tiff",
            Self::WebP => "webp",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Brands of the ISO base media file format that stand for HEVC-coded stills (ISO/IEC 23008-12).
const HEIC_BRANDS: [&[u8; 4]; 8] = [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"];

/// The format of the bytes, from their first few.
pub(super) fn sniff(bytes: &[u8]) -> Result<Format, PhotoRefusal> {
    if bytes.is_empty() {
        Err(PhotoRefusal::Empty)
    } else if bytes.starts_with(&[0xFF, 0xD8]) {
        Ok(Format::Jpeg)
    } else if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        Ok(Format::Png)
    } else if bytes.starts_with(b"II*\0") || bytes.starts_with(b"MM\0*") {
        Ok(Format::Tiff)
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        Ok(Format::WebP)
    } else if is_heic(bytes) {
        Err(PhotoRefusal::Heic)
    } else {
        Err(PhotoRefusal::UnsupportedFormat)
    }
}

/// A `ftyp` box with a HEIC brand; generic stills (`mif1`) count unless they say that they are AVIF.
fn is_heic(bytes: &[u8]) -> bool {
    let (Some(size), Some(b"ftyp")) = (bytes.get(..4), bytes.get(4..8)) else {
        return false;
    };
    let size = size.iter().fold(0_usize, |size, byte| size << 8 | usize::from(*byte));
    let brands = bytes.get(8..size.clamp(12, 256).min(bytes.len())).unwrap_or_default();
    let has = |wanted: &[u8; 4]| brands.chunks_exact(4).any(|brand| brand == wanted);
    let is_avif = has(b"avif") || has(b"avis");
    HEIC_BRANDS.iter().any(|brand| has(brand)) || ((has(b"mif1") || has(b"msf1")) && !is_avif)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_their_bytes() {
        assert_eq!(sniff(b""), Err(PhotoRefusal::Empty));
        assert_eq!(sniff(b"\xFF\xD8\xFF\xE0"), Ok(Format::Jpeg));
        assert_eq!(sniff(b"\x89PNG\r\n\x1a\n...."), Ok(Format::Png));
        assert_eq!(sniff(b"RIFF\x10\0\0\0WEBPVP8 "), Ok(Format::WebP));
        assert_eq!(sniff(b"II*\0\x08\0\0\0"), Ok(Format::Tiff));
        assert_eq!(sniff(b"MM\0*\0\0\0\x08"), Ok(Format::Tiff));
        assert_eq!(sniff(b"RIFF\x10\0\0\0WAVEfmt "), Err(PhotoRefusal::UnsupportedFormat));
        assert_eq!(sniff(b"%PDF-1.7 ..."), Err(PhotoRefusal::UnsupportedFormat));
        assert_eq!(sniff(b"GIF89a"), Err(PhotoRefusal::UnsupportedFormat));
    }

    #[test]
    fn heic_is_named_and_other_boxes_are_not() {
        assert_eq!(sniff(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"), Err(PhotoRefusal::Heic));
        assert_eq!(sniff(b"\0\0\0\x14ftypmif1\0\0\0\0miaf"), Err(PhotoRefusal::Heic));
        assert_eq!(
            sniff(b"\0\0\0\x18ftypmif1\0\0\0\0avifmiaf"),
            Err(PhotoRefusal::UnsupportedFormat)
        );
        assert_eq!(
            sniff(b"\0\0\0\x18ftypisom\0\0\0\0iso2mp41"),
            Err(PhotoRefusal::UnsupportedFormat)
        );
        assert_eq!(sniff(b"\xFF\xFF\xFF\xFFftyp"), Err(PhotoRefusal::UnsupportedFormat));
        assert_eq!(sniff(b"\0\0\0\0ftyphe"), Err(PhotoRefusal::UnsupportedFormat));
    }
}
