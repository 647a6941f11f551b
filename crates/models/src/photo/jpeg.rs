//! JPEG: its structure is walked first; then what cameras write is decoded at the size that is needed ([`reduced`]), and
//! the rest by zune-jpeg at full size.
//!
//! The walk finds the frame header (for the pixel limit), the EXIF block, the tables, and whether the file goes on to its
//! end marker: a decoder that fills up what is missing would hide that a photo is cut off. It follows ITU-T T.81, annex B.
//!
//! Known limit of the full size: a file that was cut off and then closed with an end marker by another program is decoded
//! by zune-jpeg, its missing rows grey; it does not tell, even in its strict mode. The reduced decoder refuses it.

mod huffman;
pub(super) mod reduced;
mod rows;
mod transform;

use std::ops::Range;

use skin_assist_core::ports::PhotoRefusal;
use zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};
use zune_jpeg::JpegDecoder;

use super::{Decoded, Limits, Orientation};
use huffman::Specification;
use reduced::Baseline;
use transform::Steps;

/// What the walk over the segments found.
#[derive(Debug, PartialEq)]
struct Structure<'a> {
    width: u32,
    height: u32,
    exif: Option<&'a [u8]>,
    /// Bytes that belong to no segment, as some cameras write them: known decoders skip them.
    has_stray_bytes: bool,
    /// The one scan of a baseline image, with its tables.
    scan: Option<Scan<'a>>,
}

/// A scan with all components of a frame.
#[derive(Debug, PartialEq)]
struct Scan<'a> {
    components: Vec<ScanComponent<'a>>,
    restart_interval: u32,
    /// Where the entropy-coded data are.
    data: Range<usize>,
}

/// A component of a scan and its tables.
#[derive(Debug, PartialEq)]
struct ScanComponent<'a> {
    /// Blocks in a unit, across and down.
    blocks: (u32, u32),
    steps: Steps,
    dc: Specification<'a>,
    ac: Specification<'a>,
}

impl<'a> Structure<'a> {
    /// The scan, if nothing about the file is unusual.
    fn baseline(&self) -> Option<&Scan<'a>> {
        self.scan.as_ref().filter(|_| !self.has_stray_bytes)
    }

    fn orientation(&self) -> Orientation {
        self.exif.map_or(Orientation::Upright, Orientation::from_exif_block)
    }
}

/// A JPEG, decoded or ready to be.
pub(super) enum Opened {
    /// At full size.
    Whole(Decoded),
    /// Not yet: at the size that is needed.
    Baseline(Box<Baseline>, Orientation),
}

/// Opens a JPEG; decodes only what cannot be decoded at the size that is needed.
pub(super) fn open(bytes: &[u8], limits: Limits) -> Result<Opened, PhotoRefusal> {
    let structure = walk(bytes, limits)?;
    match Baseline::new(bytes, &structure) {
        Some(baseline) => Ok(Opened::Baseline(Box::new(baseline), structure.orientation())),
        None => decode_whole(bytes, &structure, limits).map(Opened::Whole),
    }
}

pub(super) fn decode(bytes: &[u8], limits: Limits) -> Result<Decoded, PhotoRefusal> {
    decode_whole(bytes, &walk(bytes, limits)?, limits)
}

fn decode_whole(bytes: &[u8], structure: &Structure<'_>, limits: Limits) -> Result<Decoded, PhotoRefusal> {
    let options = DecoderOptions::default()
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .set_strict_mode(!structure.has_stray_bytes)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|_| PhotoRefusal::Broken)?;
    let (width, height) = (structure.width, structure.height);
    // The pixels; and of a progressive image each coefficient until the last scan.
    let components = decoder
        .input_colorspace()
        .map_or(4, |kind| kind.num_components() as u64);
    let coefficients = if structure.scan.is_some() { 0 } else { 2 * components };
    limits.check_memory(width, height, 3 + coefficients)?;
    if decoder.dimensions() != Some((width as usize, height as usize)) {
        return Err(PhotoRefusal::Broken);
    }
    let pixels = decoder.decode().map_err(|_| PhotoRefusal::Broken)?;
    if pixels.len() as u64 != u64::from(width) * u64::from(height) * 3 {
        return Err(PhotoRefusal::Broken);
    }
    Ok(Decoded {
        pixels,
        width,
        height,
        orientation: structure.orientation(),
    })
}

/// A component of a frame: identifier, blocks across and down, table of steps.
type FrameComponent = (u8, (u32, u32), usize);

/// The tables that the segments have defined so far.
#[derive(Default)]
struct Tables<'a> {
    steps: [Option<Steps>; 4],
    dc: [Option<Specification<'a>>; 4],
    ac: [Option<Specification<'a>>; 4],
    restart_interval: u32,
    /// The frame's components.
    frame: Vec<FrameComponent>,
    /// Adobe's segment says that the components are no luma and colour.
    is_rgb: bool,
}

impl<'a> Tables<'a> {
    /// Takes what a segment defines; what cannot be understood is left to the general decoder to refuse.
    fn take(&mut self, marker: u8, mut content: &'a [u8]) {
        match marker {
            0xDB => {
                while let Some((&first, rest)) = content.split_first() {
                    let each = if first >> 4 == 0 { 1 } else { 2 };
                    let (Some((values, rest)), Some(slot)) = (
                        rest.split_at_checked(64 * each),
                        self.steps.get_mut(usize::from(first & 15)),
                    ) else {
                        return;
                    };
                    let step = |place: usize| {
                        let value = &values[place * each..(place + 1) * each];
                        value.iter().fold(0, |step, byte| step << 8 | u16::from(*byte))
                    };
                    *slot = Some(std::array::from_fn(step));
                    content = rest;
                }
            }
            0xC4 => {
                while let Some((&first, rest)) = content.split_first() {
                    content = rest;
                    let tables = if first >> 4 == 0 { &mut self.dc } else { &mut self.ac };
                    let (Some(slot), Some(table)) = (
                        tables.get_mut(usize::from(first & 15)),
                        Specification::take(&mut content),
                    ) else {
                        return;
                    };
                    *slot = Some(table);
                }
            }
            0xDD => {
                if let [high, low] = *content {
                    self.restart_interval = u32::from(u16::from_be_bytes([high, low]));
                }
            }
            0xEE => self.is_rgb |= content.starts_with(b"Adobe") && content.get(11) == Some(&0),
            0xC0 | 0xC1 => {
                let components = content.get(6..).unwrap_or_default().chunks_exact(3);
                let component = |of: &[u8]| {
                    (
                        of[0],
                        (u32::from(of[1] >> 4), u32::from(of[1] & 15)),
                        usize::from(of[2]),
                    )
                };
                self.frame = components.map(component).collect();
            }
            _ => {}
        }
    }

    /// The scan that a header begins. None when it has not all components of a baseline frame, or not their tables.
    fn scan(&self, header: &[u8], data: Range<usize>) -> Option<Scan<'a>> {
        let (&count, rest) = header.split_first()?;
        let (selectors, rest) = rest.split_at_checked(2 * usize::from(count))?;
        let identifiers = self.frame.iter().map(|(identifier, ..)| *identifier);
        let is_colour = self.frame.len() == 3 && !self.is_rgb && !identifiers.clone().eq(*b"RGB");
        if !(rest.starts_with(&[0, 63, 0]) && (self.frame.len() == 1 || is_colour)) {
            return None;
        }
        if !selectors.chunks_exact(2).map(|selector| selector[0]).eq(identifiers) {
            return None;
        }
        let component = |(selector, (_, blocks, steps)): (&[u8], &FrameComponent)| {
            let fits = (1..=4).contains(&blocks.0) && (1..=4).contains(&blocks.1);
            fits.then_some(())?;
            Some(ScanComponent {
                blocks: *blocks,
                steps: (*self.steps.get(*steps)?)?,
                dc: (*self.dc.get(usize::from(selector[1] >> 4))?)?,
                ac: (*self.ac.get(usize::from(selector[1] & 15))?)?,
            })
        };
        let components = selectors.chunks_exact(2).zip(&self.frame).map(component);
        Some(Scan {
            components: components.collect::<Option<_>>()?,
            restart_interval: self.restart_interval,
            data,
        })
    }
}

/// Walks over the segments to the end marker. Allocates nothing for the pixels.
fn walk(bytes: &[u8], limits: Limits) -> Result<Structure<'_>, PhotoRefusal> {
    let mut frame = None;
    let mut exif = None;
    let mut has_stray_bytes = false;
    let mut scans = 0;
    let mut scan = None;
    let mut tables = Tables::default();
    let mut position = 2;
    loop {
        let (marker, stray) = next_marker(bytes, &mut position)?;
        has_stray_bytes |= stray;
        match marker {
            // The end of the image. What follows (a depth map, a second image) is of no interest.
            0xD9 => {
                let (width, height) = frame.ok_or(PhotoRefusal::Broken)?;
                return if scans > 0 {
                    Ok(Structure {
                        width,
                        height,
                        exif,
                        has_stray_bytes,
                        scan: scan.filter(|_| scans == 1),
                    })
                } else {
                    Err(PhotoRefusal::Broken)
                };
            }
            // Markers without a segment.
            0x01 | 0xD0..=0xD8 => continue,
            _ => {}
        }
        let segment = segment(bytes, position)?;
        position += 2 + segment.len();
        tables.take(marker, segment);
        match marker {
            0xC0..=0xC2 => {
                if frame.is_some() {
                    return Err(PhotoRefusal::Broken);
                }
                let (width, height) = frame_size(segment)?;
                limits.check(width, height)?;
                frame = Some((width, height));
            }
            // Lossless, hierarchical and arithmetic coding: in no camera.
            0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => return Err(PhotoRefusal::UnsupportedFormat),
            0xE1 if exif.is_none() => exif = segment.strip_prefix(b"Exif\0\0"),
            0xDA => {
                if frame.is_none() {
                    return Err(PhotoRefusal::Broken);
                }
                let begin = position;
                position = end_of_scan(bytes, position)?;
                scans += 1;
                scan = tables.scan(segment, begin..position);
            }
            _ => {}
        }
    }
}

/// The next marker and whether bytes were skipped to find it; `position` moves behind it.
fn next_marker(bytes: &[u8], position: &mut usize) -> Result<(u8, bool), PhotoRefusal> {
    let rest = bytes.get(*position..).ok_or(PhotoRefusal::Broken)?;
    let mut stray = false;
    let mut after_ff = false;
    for (index, byte) in rest.iter().enumerate() {
        match (after_ff, *byte) {
            // Any number of fill bytes may precede a marker.
            (_, 0xFF) => after_ff = true,
            (true, marker) if marker != 0 => {
                *position += index + 1;
                return Ok((marker, stray));
            }
            _ => {
                stray = true;
                after_ff = false;
            }
        }
    }
    Err(PhotoRefusal::Broken)
}

/// The segment at `position`, without its two bytes of length.
fn segment(bytes: &[u8], position: usize) -> Result<&[u8], PhotoRefusal> {
    let length = bytes.get(position..position + 2).ok_or(PhotoRefusal::Broken)?;
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    if length < 2 {
        return Err(PhotoRefusal::Broken);
    }
    bytes.get(position + 2..position + length).ok_or(PhotoRefusal::Broken)
}

/// Width and height of a frame header; one, three or four components of 8 bits.
fn frame_size(segment: &[u8]) -> Result<(u32, u32), PhotoRefusal> {
    let [precision, high, low, wide, narrow, components, ..] = *segment else {
        return Err(PhotoRefusal::Broken);
    };
    if precision != 8 || !matches!(components, 1 | 3 | 4) {
        return Err(PhotoRefusal::UnsupportedFormat);
    }
    Ok((
        u32::from(u16::from_be_bytes([wide, narrow])),
        u32::from(u16::from_be_bytes([high, low])),
    ))
}

/// Where the entropy-coded data ends: at the next marker that is no restart marker.
fn end_of_scan(bytes: &[u8], mut position: usize) -> Result<usize, PhotoRefusal> {
    loop {
        let rest = bytes.get(position..).ok_or(PhotoRefusal::Broken)?;
        position += memchr::memchr(0xFF, rest).ok_or(PhotoRefusal::Broken)?;
        match bytes.get(position + 1) {
            None => return Err(PhotoRefusal::Broken),
            Some(0x00 | 0xD0..=0xD7) => position += 2,
            Some(0xFF) => position += 1,
            Some(_) => return Ok(position),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_pixels: 1000 };

    /// SOI, the segments, a scan with two bytes of data, EOI.
    fn file(segments: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0xFF, 0xD8];
        for (marker, content) in segments {
            bytes.extend_from_slice(&[0xFF, *marker]);
            bytes.extend_from_slice(&(content.len() as u16 + 2).to_be_bytes());
            bytes.extend_from_slice(content);
        }
        bytes.extend_from_slice(&[0xFF, 0xDA, 0, 3, 0, 0x12, 0xFF, 0x00, 0xFF, 0xD0, 0x34, 0xFF, 0xD9]);
        bytes
    }

    const FRAME: &[u8] = &[8, 0, 20, 0, 30, 3];

    #[test]
    fn the_walk_finds_size_and_exif_and_ignores_thumbnails() {
        // An EXIF block with something inside that looks like a frame header.
        let exif = b"Exif\0\0MM\xFF\xC0\0\x08\x08\xFF\xFF\xFF\xFF\x03";
        let bytes = file(&[(0xE1, b"http://ns.adobe.com/xap/1.0/\0"), (0xE1, exif), (0xC0, FRAME)]);
        let structure = walk(&bytes, LIMITS).expect("a whole file");
        assert_eq!((structure.width, structure.height), (30, 20));
        assert_eq!(structure.exif, Some(&exif[6..]));
        assert!(!structure.has_stray_bytes);
    }

    #[test]
    fn the_walk_refuses_what_cannot_be() {
        let refused = |segments: &[(u8, &[u8])]| walk(&file(segments), LIMITS).expect_err("refused");
        assert_eq!(refused(&[]), PhotoRefusal::Broken, "a scan without a frame");
        assert_eq!(
            refused(&[(0xC0, FRAME), (0xC2, FRAME)]),
            PhotoRefusal::Broken,
            "two frames"
        );
        assert_eq!(
            refused(&[(0xC0, &FRAME[..4])]),
            PhotoRefusal::Broken,
            "a short frame header"
        );
        assert_eq!(
            refused(&[(0xC0, &[8, 0, 0, 0, 30, 3])]),
            PhotoRefusal::Broken,
            "no height"
        );
        assert_eq!(refused(&[(0xC0, &[8, 0, 40, 0, 30, 3])]), PhotoRefusal::TooManyPixels);
        assert_eq!(
            refused(&[(0xC0, &[12, 0, 20, 0, 30, 3])]),
            PhotoRefusal::UnsupportedFormat,
            "12 bits"
        );
        assert_eq!(
            refused(&[(0xC0, &[8, 0, 20, 0, 30, 2])]),
            PhotoRefusal::UnsupportedFormat,
            "two components"
        );
        assert_eq!(
            refused(&[(0xC9, FRAME)]),
            PhotoRefusal::UnsupportedFormat,
            "arithmetic coding"
        );
    }
}
