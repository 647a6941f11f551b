//! Baseline JPEG, decoded at the size that is needed.
//!
//! What most cameras write: one scan, Huffman codes, 8 bits, grey or Y'CbCr. The entropy-coded data are read once for the
//! photo as a whole; what a coefficient is not needed for is not computed. On the way the reader's state is noted
//! every few blocks, so that a part can be decoded later at full size without reading all that is before it.
//! Everything else (progressive, CMYK, several scans) goes to the general decoder.
//!
//! Memory: the compressed data once, planes of the reduced size, and of a part the pixels of its blocks.

#![allow(
    clippy::inline_always,
    reason = "called for each coefficient or block; what is left to the compiler is slower"
)]

use std::{ops::Range, sync::OnceLock};

use memchr::memchr;
use skin_assist_core::ports::PhotoRefusal;

use super::{
    super::orientation::Rectangle,
    Structure,
    huffman::{AcTable, Bits, Damaged, DcTable, PADDING},
    transform::{Block, Steps},
};
use crate::pack::Resize;

/// The reader's state is noted every so many units.
const NOTE_EVERY: u32 = 16;
/// A photo is decoded so many times as large as it is needed, at least: what is resized then loses nothing that shows.
const SPARE: f64 = 1.15;

impl From<Damaged> for PhotoRefusal {
    fn from(_: Damaged) -> Self {
        Self::Broken
    }
}

/// A component: luma, or one of two colour differences.
struct Component {
    /// Blocks in a unit, across and down.
    blocks: (u32, u32),
    steps: Steps,
    dc: usize,
    ac: usize,
}

/// The reader's state before a unit.
#[derive(Clone, Copy)]
struct Note {
    bit: usize,
    predicted: [i32; 3],
}

/// A photo whose structure is known and whose data are not decoded yet.
pub(crate) struct Baseline {
    width: u32,
    height: u32,
    components: Vec<Component>,
    dc: Vec<DcTable>,
    ac: Vec<AcTable>,
    /// Units (T.81's MCU) across and down.
    units: (u32, u32),
    /// Blocks in a unit, at most, across and down.
    most_blocks: (u32, u32),
    /// Units between restarts; 0 without.
    restart_interval: u32,
    /// Entropy-coded data without stuffing, and padding.
    data: Vec<u8>,
    /// Where each restart interval begins, in bytes, and where the last one ends.
    intervals: Vec<usize>,
    notes: OnceLock<Vec<Note>>,
}

/// What was decoded of a photo, at a size that may be reduced.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// A plane for each component.
    pub(super) planes: Vec<Plane>,
    /// Where the part begins in the image of that size.
    pub(crate) begin: (u32, u32),
    /// Width and height of the part.
    pub(crate) size: (u32, u32),
    /// Width and height of the image of that size.
    pub(crate) image: (u32, u32),
    /// The wanted rectangle in the image of that size.
    pub(crate) wanted: Option<Rectangle>,
}

/// A part of one plane: 8-bit values, row by row.
#[derive(Debug, Default)]
pub(super) struct Plane {
    /// The values, as whole blocks have them.
    pub(super) pixels: Vec<u8>,
    /// Values in a row.
    pub(super) width: u32,
    /// Width and height without what only fills up the last blocks.
    pub(super) used: (u32, u32),
    /// Pixels of the part for each value, across and down.
    pub(super) expanded: (u32, u32),
    /// Such pixels are weighted between values; at an eighth libjpeg repeats them.
    pub(super) is_smooth: bool,
}

/// How a pass over the data decodes.
struct Pass {
    /// Pixels of a block, across and down, where a component has as many blocks as any.
    side: u32,
    /// The same by component.
    sides: Vec<u32>,
    columns: Range<u32>,
    rows: Range<u32>,
}

impl Baseline {
    /// None when the file is of another kind. Copies the data.
    pub(super) fn new(bytes: &[u8], structure: &Structure<'_>) -> Option<Self> {
        let Structure { width, height, .. } = *structure;
        let scan = structure.baseline()?;
        let mut components = Vec::new();
        let (mut dc, mut ac) = (Vec::new(), Vec::new());
        for component in &scan.components {
            dc.push(DcTable::new(component.dc)?);
            let known = scan.components[..ac.len()]
                .iter()
                .position(|other| other.ac == component.ac);
            // The tables of the second colour are mostly those of the first.
            components.push(Component {
                blocks: if scan.components.len() == 1 {
                    (1, 1)
                } else {
                    component.blocks
                },
                steps: component.steps,
                dc: dc.len() - 1,
                ac: known.unwrap_or(ac.len()),
            });
            if known.is_none() {
                ac.push(AcTable::new(component.ac)?);
            }
        }
        let most_blocks = components.iter().fold((1, 1), |(across, down), component: &Component| {
            (across.max(component.blocks.0), down.max(component.blocks.1))
        });
        // Planes of other ratios, such as 2 to 3, are for the general decoder.
        let divides = |component: &Component| {
            most_blocks.0.is_multiple_of(component.blocks.0) && most_blocks.1.is_multiple_of(component.blocks.1)
        };
        if !components.iter().all(divides) {
            return None;
        }
        let units = (width.div_ceil(8 * most_blocks.0), height.div_ceil(8 * most_blocks.1));
        let (data, intervals) = unstuffed(bytes.get(scan.data.clone())?)?;
        let expected = match scan.restart_interval {
            0 => 1,
            interval => (units.0 * units.1).div_ceil(interval) as usize,
        };
        (intervals.len() == expected + 1).then_some(Self {
            width,
            height,
            components,
            dc,
            ac,
            units,
            most_blocks,
            restart_interval: scan.restart_interval,
            data,
            intervals,
            notes: OnceLock::new(),
        })
    }

    pub(in crate::photo) const fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Decodes a rectangle of the stored image, large enough to be reduced to `small`; at full size where reducing takes
    /// single pixels.
    pub(in crate::photo) fn decode(
        &self,
        stored: Rectangle,
        small: (u32, u32),
        resize: Resize,
        part: &mut Part,
    ) -> Result<(), PhotoRefusal> {
        let pass = self.pass(stored, small, resize);
        let unit = (self.most_blocks.0 * pass.side, self.most_blocks.1 * pass.side);
        part.begin = (pass.columns.start * unit.0, pass.rows.start * unit.1);
        part.image = (
            (self.width * pass.side).div_ceil(8),
            (self.height * pass.side).div_ceil(8),
        );
        part.size = (
            (pass.columns.len() as u32 * unit.0).min(part.image.0 - part.begin.0),
            (pass.rows.len() as u32 * unit.1).min(part.image.1 - part.begin.1),
        );
        let reduced = f64::from(pass.side) / 8.0;
        part.wanted = Some(Rectangle {
            left: stored.left * reduced,
            top: stored.top * reduced,
            right: stored.right * reduced,
            bottom: stored.bottom * reduced,
        });
        let planes = &mut part.planes;
        planes.resize_with(self.components.len(), Plane::default);
        for ((component, side), plane) in self.components.iter().zip(&pass.sides).zip(&mut *planes) {
            let (across, down) = (component.blocks.0 * side, component.blocks.1 * side);
            plane.width = pass.columns.len() as u32 * across;
            let height = pass.rows.len() as u32 * down;
            // Each value is written below; what an earlier photo left is not read.
            plane.pixels.resize(plane.width as usize * height as usize, 0);
            let used = |image: u32, most: u32, own: u32, before: u32| (image * own).div_ceil(8 * most) - before;
            plane.used = (
                used(self.width, self.most_blocks.0, across, pass.columns.start * across).min(plane.width),
                used(self.height, self.most_blocks.1, down, pass.rows.start * down).min(height),
            );
            plane.expanded = (unit.0 / across, unit.1 / down);
            plane.is_smooth = pass.side > 1;
        }
        let everything = pass.columns == (0..self.units.0) && pass.rows == (0..self.units.1);
        if everything && self.notes.get().is_none() {
            let notes = self.all(&pass, planes)?;
            _ = self.notes.set(notes);
            return Ok(());
        }
        let notes = if let Some(notes) = self.notes.get() {
            notes
        } else {
            let nothing = Pass {
                columns: 0..0,
                ..self.pass(stored, small, resize)
            };
            let notes = self.all(&nothing, planes)?;
            self.notes.get_or_init(|| notes)
        };
        for row in pass.rows.clone() {
            let first = row * self.units.0 + pass.columns.start;
            let noted = first / NOTE_EVERY;
            let note = notes[noted as usize];
            let mut reader = Reader {
                bits: Bits::at(&self.data, note.bit)?,
                predicted: note.predicted,
            };
            for unit in noted * NOTE_EVERY..row * self.units.0 + pass.columns.end {
                if unit != noted * NOTE_EVERY {
                    self.restart(&mut reader, unit)?;
                }
                self.unit(&mut reader, unit, &pass, planes)?;
            }
        }
        Ok(())
    }

    /// At which scale and which units are needed.
    fn pass(&self, stored: Rectangle, (width, height): (u32, u32), resize: Resize) -> Pass {
        let enough = |side: &u32| {
            let part = f64::from(*side) / 8.0;
            stored.width() * part >= SPARE * f64::from(width) && stored.height() * part >= SPARE * f64::from(height)
        };
        let sides = if resize.takes_single_pixels() {
            &[][..]
        } else {
            &[1, 2, 4]
        };
        let side = sides.iter().copied().find(enough).unwrap_or(8);
        // As libjpeg does: colour that the photo has at a lower resolution is reduced less, as long as it is in both directions.
        let own_side = |component: &Component| {
            let mut own = side;
            while own < 8
                && (self.most_blocks.0 * side).is_multiple_of(component.blocks.0 * own * 2)
                && (self.most_blocks.1 * side).is_multiple_of(component.blocks.1 * own * 2)
            {
                own *= 2;
            }
            own
        };
        let sides = self.components.iter().map(own_side).collect();
        // The resizing filter reaches beyond the rectangle, by as many pixels of the photo as one of the result stands for.
        let reach = |stored: f64, small: u32| (stored / f64::from(small)).max(1.0) + 2.0;
        let range = |from: f64, to: f64, reach: f64, blocks: u32, units: u32| {
            let unit = f64::from(8 * blocks);
            let first = ((from - reach * f64::from(blocks)) / unit).floor().max(0.0) as u32;
            let end = ((to + reach * f64::from(blocks)) / unit).ceil().max(0.0) as u32;
            first.min(units - 1)..end.clamp(1, units)
        };
        Pass {
            side,
            sides,
            columns: range(
                stored.left,
                stored.right,
                reach(stored.width(), width),
                self.most_blocks.0,
                self.units.0,
            ),
            rows: range(
                stored.top,
                stored.bottom,
                reach(stored.height(), height),
                self.most_blocks.1,
                self.units.1,
            ),
        }
    }

    /// Reads all units, decodes those of the pass, and gives the reader's states.
    fn all(&self, pass: &Pass, planes: &mut [Plane]) -> Result<Vec<Note>, PhotoRefusal> {
        let total = self.units.0 * self.units.1;
        let mut notes = Vec::with_capacity(total.div_ceil(NOTE_EVERY) as usize);
        let mut reader = Reader {
            bits: Bits::at(&self.data, 0)?,
            predicted: [0; 3],
        };
        for unit in 0..total {
            self.restart(&mut reader, unit)?;
            if unit.is_multiple_of(NOTE_EVERY) {
                notes.push(Note {
                    bit: reader.bits.bit(),
                    predicted: reader.predicted,
                });
            }
            self.unit(&mut reader, unit, pass, planes)?;
        }
        self.ended(&reader, self.intervals.len() - 1)?;
        Ok(notes)
    }

    /// Begins anew where a restart interval begins.
    #[inline(always)]
    fn restart<'a>(&'a self, reader: &mut Reader<'a>, unit: u32) -> Result<(), PhotoRefusal> {
        if self.restart_interval == 0 || unit == 0 || !unit.is_multiple_of(self.restart_interval) {
            return Ok(());
        }
        let interval = (unit / self.restart_interval) as usize;
        self.ended(reader, interval)?;
        *reader = Reader {
            bits: Bits::at(&self.data, self.intervals[interval] * 8)?,
            predicted: [0; 3],
        };
        Ok(())
    }

    /// Whether no more was read than the interval before `interval` has.
    fn ended(&self, reader: &Reader<'_>, interval: usize) -> Result<(), PhotoRefusal> {
        if reader.bits.bit() > self.intervals[interval] * 8 {
            return Err(PhotoRefusal::Broken);
        }
        Ok(())
    }

    /// Reads a unit; decodes it where the pass wants it.
    #[inline(always)]
    fn unit(&self, reader: &mut Reader<'_>, unit: u32, pass: &Pass, planes: &mut [Plane]) -> Result<(), PhotoRefusal> {
        let (row, column) = (unit / self.units.0, unit % self.units.0);
        let wanted = pass.columns.contains(&column) && pass.rows.contains(&row);
        for (index, component) in self.components.iter().enumerate() {
            let (dc, ac) = (&self.dc[component.dc], &self.ac[component.ac]);
            let predicted = &mut reader.predicted[index];
            let bits = &mut reader.bits;
            for down in 0..component.blocks.1 {
                for across in 0..component.blocks.0 {
                    *predicted = predicted.wrapping_add(dc.difference(bits)?);
                    if !wanted {
                        ac.pass(bits)?;
                        continue;
                    }
                    let plane = &mut planes[index];
                    let at = Place {
                        x: ((column - pass.columns.start) * component.blocks.0 + across) as usize,
                        y: ((row - pass.rows.start) * component.blocks.1 + down) as usize,
                    };
                    match pass.sides[index] {
                        1 => {
                            ac.pass(bits)?;
                            put(plane, at, &Block::new(*predicted, &component.steps).pixels::<1>());
                        }
                        2 => block::<4>(bits, ac, component, *predicted, plane, at)?,
                        4 => block::<16>(bits, ac, component, *predicted, plane, at)?,
                        _ => block::<64>(bits, ac, component, *predicted, plane, at)?,
                    }
                }
            }
        }
        Ok(())
    }
}

struct Reader<'a> {
    bits: Bits<'a>,
    /// The first coefficients of the blocks before, by component.
    predicted: [i32; 3],
}

/// A block's place in its plane, in blocks.
#[derive(Clone, Copy)]
struct Place {
    x: usize,
    y: usize,
}

#[inline(always)]
fn block<const AREA: usize>(
    bits: &mut Bits<'_>,
    ac: &AcTable,
    component: &Component,
    first: i32,
    plane: &mut Plane,
    at: Place,
) -> Result<(), Damaged> {
    let mut block = Block::new(first, &component.steps);
    ac.coefficients(bits, |place, value| block.set(place, value, &component.steps))?;
    put(plane, at, &block.pixels::<AREA>());
    Ok(())
}

#[inline(always)]
fn put<const AREA: usize>(plane: &mut Plane, at: Place, pixels: &[u8; AREA]) {
    let side = AREA.isqrt();
    let width = plane.width as usize;
    for (row, values) in pixels.chunks_exact(side).enumerate() {
        let begin = (at.y * side + row) * width + at.x * side;
        plane.pixels[begin..begin + side].copy_from_slice(values);
    }
}

/// The data without stuffed bytes, padded, and where each restart interval begins and the last one ends. None when a
/// restart marker is not the one expected.
fn unstuffed(mut scan: &[u8]) -> Option<(Vec<u8>, Vec<usize>)> {
    let mut data = Vec::with_capacity(scan.len() + PADDING);
    let mut intervals = vec![0];
    while let Some(at) = memchr(0xFF, scan) {
        match scan.get(at + 1) {
            // Fill bytes before a marker.
            None | Some(0xFF) => {
                data.extend_from_slice(&scan[..at]);
                scan = &scan[at + 1..];
            }
            Some(0x00) => {
                data.extend_from_slice(&scan[..=at]);
                scan = &scan[at + 2..];
            }
            Some(marker) => {
                if usize::from(marker.wrapping_sub(0xD0)) != (intervals.len() - 1) % 8 {
                    return None;
                }
                data.extend_from_slice(&scan[..at]);
                intervals.push(data.len());
                scan = &scan[at + 2..];
            }
        }
    }
    data.extend_from_slice(scan);
    intervals.push(data.len());
    data.resize(data.len() + PADDING, 0);
    Some((data, intervals))
}
