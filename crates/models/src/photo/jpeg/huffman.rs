//! Entropy-coded data: bits, and the Huffman tables that read them (ITU-T T.81, annexes C and F).
//!
//! The data are without their stuffed zero bytes and followed by [`PADDING`] bytes that belong to nothing, so that eight
//! bytes can be read at a time. Whoever reads on past them gets an error.

#![allow(
    clippy::inline_always,
    reason = "called for each coefficient or block; what is left to the compiler is slower"
)]

/// So many bytes follow the data.
pub(super) const PADDING: usize = 16;

/// The data end before the image does, or are no code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damaged;

/// Codes of up to so many bits are looked up; longer ones are rare.
const LOOKUP_BITS: u32 = 11;

/// A block's end in the second byte of an entry: beyond any number of coefficients.
const END_OF_BLOCK: u32 = 128;
/// Set in an entry's first byte when looking it up was not enough.
const NOT_DIRECT: u32 = 0x80;

/// Bits, most significant first.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    /// The first byte of which not all bits count as held.
    position: usize,
    /// The bits held, from the top; below them are bits of the data that will be read again.
    buffer: u64,
    /// How many are held.
    count: u32,
}

impl<'a> Bits<'a> {
    /// Begins at a bit of the data.
    pub(super) fn at(data: &'a [u8], bit: usize) -> Result<Self, Damaged> {
        let mut bits = Self {
            data,
            position: bit / 8,
            buffer: 0,
            count: 0,
        };
        bits.refill()?;
        bits.consume((bit % 8) as u32);
        Ok(bits)
    }

    /// The number of the next bit.
    pub(super) const fn bit(&self) -> usize {
        self.position * 8 - self.count as usize
    }

    /// Holds 56 bits or more: any two symbols with their values.
    #[inline(always)]
    fn refill(&mut self) -> Result<(), Damaged> {
        let (next, _) = self
            .data
            .get(self.position..)
            .and_then(<[u8]>::split_first_chunk::<8>)
            .ok_or(Damaged)?;
        self.buffer |= u64::from_be_bytes(*next) >> self.count;
        self.position += ((63 - self.count) >> 3) as usize;
        self.count |= 0x38;
        Ok(())
    }

    #[inline(always)]
    const fn peek(&self, bits: u32) -> usize {
        (self.buffer >> (64 - bits)) as usize
    }

    #[inline(always)]
    const fn consume(&mut self, bits: u32) {
        self.buffer <<= bits;
        self.count -= bits;
    }

    /// A value of so many bits (T.81, F.2.2.1, `EXTEND`).
    #[inline(always)]
    const fn value(&mut self, size: u32) -> i32 {
        if size == 0 {
            return 0;
        }
        let value = extended(self.peek(size) as i32, size);
        self.consume(size);
        value
    }
}

/// The value that `size` bits stand for; `size` is not 0.
const fn extended(bits: i32, size: u32) -> i32 {
    if bits < 1 << (size - 1) {
        bits - (1 << size) + 1
    } else {
        bits
    }
}

/// A table as the file has it: how many codes there are of 1 to 16 bits, and their symbols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Specification<'a> {
    counts: &'a [u8],
    symbols: &'a [u8],
}

impl<'a> Specification<'a> {
    /// Takes a table off the front of a segment's content. None when it is cut off.
    pub(super) fn take(content: &mut &'a [u8]) -> Option<Self> {
        let (counts, rest) = content.split_at_checked(16)?;
        let (symbols, rest) = rest.split_at_checked(counts.iter().map(|count| usize::from(*count)).sum())?;
        *content = rest;
        Some(Self { counts, symbols })
    }
}

/// The codes of a table in order of their length.
struct Codes {
    symbols: Vec<u8>,
    /// For each length: the first code, the index of its symbol, and how many there are.
    lengths: [(u32, u32, u32); 17],
}

impl Codes {
    /// None when there are more codes of a length than there can be.
    fn new(specification: Specification<'_>) -> Option<Self> {
        let mut lengths = [(0, 0, 0); 17];
        let (mut code, mut index) = (0_u32, 0_u32);
        for (length, count) in (1..=16).zip(specification.counts) {
            let count = u32::from(*count);
            lengths[length] = (code, index, count);
            code += count;
            index += count;
            if code > 1 << length {
                return None;
            }
            code <<= 1;
        }
        Some(Self {
            symbols: specification.symbols.to_vec(),
            lengths,
        })
    }

    /// The symbol that `bits` (16 of them) begin with, and its length.
    fn find(&self, bits: u32) -> Option<(u8, u32)> {
        (1..=16).find_map(|length| {
            let (first, index, count) = self.lengths[length as usize];
            let offset = (bits >> (16 - length)).checked_sub(first)?;
            (offset < count).then(|| (self.symbols[(index + offset) as usize], length))
        })
    }
}

/// Reads the first coefficient of a block.
pub(super) struct DcTable {
    codes: Codes,
    /// Size and length of the code; length 0 where it is longer than the lookup.
    lookup: Vec<(u8, u8)>,
}

impl DcTable {
    /// None when the table is not one of 8-bit images.
    pub(super) fn new(specification: Specification<'_>) -> Option<Self> {
        let codes = Codes::new(specification)?;
        if codes.symbols.iter().any(|size| *size > 11) {
            return None;
        }
        let lookup = windows(&codes, |found, _| match found {
            Some((size, length)) if length <= LOOKUP_BITS => (size, length as u8),
            _ => (0, 0),
        });
        Some(Self { codes, lookup })
    }

    /// The difference to the block before.
    #[inline(always)]
    pub(super) fn difference(&self, bits: &mut Bits<'_>) -> Result<i32, Damaged> {
        bits.refill()?;
        let (mut size, mut length) = self.lookup[bits.peek(LOOKUP_BITS)];
        if length == 0 {
            let (found, bits) = self.codes.find(bits.peek(16) as u32).ok_or(Damaged)?;
            (size, length) = (found, bits as u8);
        }
        bits.consume(u32::from(length));
        Ok(bits.value(u32::from(size)))
    }
}

/// Reads the other coefficients of a block.
pub(super) struct AcTable {
    codes: Codes,
    /// By the next bits, from the lowest byte: the length of code and value; how far the next coefficient is, or the
    /// block's end; in the upper half the value. With [`NOT_DIRECT`] the length is the code's only, or 0 for a code that
    /// is longer than the lookup, and the upper half is the value's size.
    lookup: Vec<u32>,
    /// By the next bits: how many of them are whole symbols with their values, and how far these go, as one after the
    /// other in bytes; the third byte is 1 when the last one ends the block.
    passed: Vec<u32>,
}

impl AcTable {
    /// None when the table is not one of 8-bit images.
    pub(super) fn new(specification: Specification<'_>) -> Option<Self> {
        let codes = Codes::new(specification)?;
        let fits = |symbol: &u8| (1..=10).contains(&(symbol & 15)) || matches!(symbol, 0x00 | 0xF0);
        if !codes.symbols.iter().all(fits) {
            return None;
        }
        let lookup = windows(&codes, |found, bits| {
            let Some((symbol, length)) = found.filter(|(_, length)| *length <= LOOKUP_BITS) else {
                return NOT_DIRECT;
            };
            let size = u32::from(symbol & 15);
            let advance = advance(symbol);
            if length + size > LOOKUP_BITS {
                return size << 16 | advance << 8 | NOT_DIRECT | length;
            }
            let value = match size {
                0 => 0,
                _ => extended(((bits >> (16 - length - size)) & ((1 << size) - 1)) as i32, size),
            };
            u32::from(value as i16 as u16) << 16 | advance << 8 | (length + size)
        });
        let passed = windows(&codes, |_, bits| {
            let (mut used, mut passed, mut ended) = (0, 0, 0);
            while ended == 0 {
                let Some((symbol, length)) = codes.find((bits << used) & 0xFFFF) else {
                    break;
                };
                if used + length + u32::from(symbol & 15) > LOOKUP_BITS {
                    break;
                }
                used += length + u32::from(symbol & 15);
                match advance(symbol) {
                    END_OF_BLOCK => ended = 1,
                    advance => passed += advance,
                }
            }
            // Eleven symbols of 16 at most.
            ended << 16 | passed << 8 | used
        });
        Some(Self { codes, lookup, passed })
    }

    /// Reads to the block's end and hands over each coefficient with its place in zigzag order.
    #[inline(always)]
    pub(super) fn coefficients(&self, bits: &mut Bits<'_>, mut found: impl FnMut(usize, i32)) -> Result<(), Damaged> {
        let mut place = 0;
        while place < 63 {
            bits.refill()?;
            let (advance, value) = self.symbol(bits)?;
            place += advance;
            match place {
                0..=63 => found(place, value),
                // Only the end of the block goes that far.
                128.. => return Ok(()),
                _ => return Err(Damaged),
            }
        }
        Ok(())
    }

    /// Reads to the block's end without a look at the coefficients: several symbols at a time.
    #[inline(always)]
    pub(super) fn pass(&self, bits: &mut Bits<'_>) -> Result<(), Damaged> {
        let mut place = 0;
        while place < 63 {
            bits.refill()?;
            let entry = self.passed[bits.peek(LOOKUP_BITS)];
            let passed = place + (entry >> 8 & 0xFF) as usize;
            // A symbol that reaches the last coefficient ends the block: what follows it is another block's.
            if entry & 0xFF > 0 && passed < 63 {
                bits.consume(entry & 0xFF);
                place = passed;
                if entry >> 16 != 0 {
                    return Ok(());
                }
                continue;
            }
            let (advance, _) = self.symbol(bits)?;
            place += advance;
            match place {
                0..=63 => {}
                128.. => return Ok(()),
                _ => return Err(Damaged),
            }
        }
        Ok(())
    }

    /// One symbol with its value: how far it goes, and the value.
    #[inline(always)]
    fn symbol(&self, bits: &mut Bits<'_>) -> Result<(usize, i32), Damaged> {
        let entry = self.lookup[bits.peek(LOOKUP_BITS)];
        if entry & NOT_DIRECT == 0 {
            bits.consume(entry & 0x7F);
            return Ok(((entry >> 8 & 0xFF) as usize, i32::from((entry >> 16) as i16)));
        }
        let code = entry & 0x7F;
        let (far, size, length) = if code == 0 {
            let (symbol, length) = self.codes.find(bits.peek(16) as u32).ok_or(Damaged)?;
            (advance(symbol), u32::from(symbol & 15), length)
        } else {
            (entry >> 8 & 0xFF, entry >> 16, code)
        };
        bits.consume(length);
        Ok((far as usize, bits.value(size)))
    }
}

/// How far the symbol's coefficient is from the one before; that of 16 zeros counts as a coefficient of 0.
const fn advance(symbol: u8) -> u32 {
    if symbol == 0 {
        END_OF_BLOCK
    } else {
        symbol as u32 / 16 + 1
    }
}

/// An entry for each window of bits; `make` gets the first symbol with its length, and the window as the upper of 16 bits.
fn windows<T>(codes: &Codes, make: impl Fn(Option<(u8, u32)>, u32) -> T) -> Vec<T> {
    (0..1_u32 << LOOKUP_BITS)
        .map(|window| {
            let bits = window << (16 - LOOKUP_BITS);
            make(codes.find(bits), bits)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes of a made-up table: 0 ends the block, 10 one zero and a bit, 110 sixteen zeros, 1110 a value of ten bits,
    /// 1111 0000 0000 01 (14 bits) a value of two bits.
    fn table() -> AcTable {
        let mut counts = [0; 16];
        counts[..4].copy_from_slice(&[1, 1, 1, 1]);
        counts[13] = 2;
        let content = [&counts[..], &[0x00, 0x11, 0xF0, 0x0A, 0x02, 0x22]].concat();
        let mut rest = &content[..];
        let specification = Specification::take(&mut rest).expect("a whole table");
        assert!(rest.is_empty());
        AcTable::new(specification).expect("a table")
    }

    fn data(bits: &str) -> Vec<u8> {
        let bits: Vec<u8> = bits.bytes().filter(|bit| *bit != b' ').map(|bit| bit - b'0').collect();
        let mut bytes: Vec<u8> = bits
            .chunks(8)
            .map(|byte| {
                byte.iter()
                    .enumerate()
                    .fold(0, |sum, (place, bit)| sum | bit << (7 - place))
            })
            .collect();
        bytes.resize(bytes.len() + PADDING, 0);
        bytes
    }

    #[test]
    fn coefficients_are_read_and_passed_alike() {
        let blocks = [
            ("0", vec![]),
            ("10 1 10 0 0", vec![(2, 1), (4, -1)]),
            ("110 1110 1111111111 0", vec![(16, 0), (17, 1023)]),
            ("11110000000000 01 11110000000001 11 0", vec![(1, -2), (4, 3)]),
            // 31 times one zero and a value, then one more value: the last place, which needs no end.
            (
                &*("10 1 ".repeat(31) + "1110 0000000000"),
                (1..=31).map(|n| (2 * n, 1)).chain([(63, -1023)]).collect(),
            ),
        ];
        let table = table();
        for (text, expected) in blocks {
            // What follows must not be touched.
            let data = data(&format!("{text} 0101"));
            let length = text.replace(' ', "").len();
            let (mut read, mut passed) = (Vec::new(), Bits::at(&data, 0).expect("data"));
            let mut bits = Bits::at(&data, 0).expect("data");
            table
                .coefficients(&mut bits, |place, value| read.push((place, value)))
                .expect("a block");
            assert_eq!(read, expected, "{text}");
            assert_eq!(bits.bit(), length, "{text}");
            table.pass(&mut passed).expect("a block");
            assert_eq!(passed.bit(), length, "{text}");
        }
    }

    #[test]
    fn too_many_coefficients_and_codes_that_do_not_exist_are_damage() {
        let table = table();
        for text in ["110 110 110 110 10 1 0", "1111 1111 1111 1111"] {
            let data = data(text);
            let mut bits = Bits::at(&data, 0).expect("data");
            assert_eq!(table.coefficients(&mut bits, |_, _| ()), Err(Damaged), "{text}");
            let mut bits = Bits::at(&data, 0).expect("data");
            assert_eq!(table.pass(&mut bits), Err(Damaged), "{text}");
        }
        let mut bits = Bits::at(&[0xFF; 40], 0).expect("data");
        assert!((0..100).any(|_| bits.refill().is_err() || {
            bits.consume(16);
            false
        }));
    }

    #[test]
    fn a_table_with_more_codes_than_bits_is_none() {
        let content = [&[3][..], &[0; 15], &[0, 1, 2]].concat();
        let specification = Specification::take(&mut &content[..]).expect("whole");
        assert!(AcTable::new(specification).is_none() && DcTable::new(specification).is_none());
        assert_eq!(Specification::take(&mut &content[..18]), None, "cut off");
    }

    #[test]
    fn values_are_those_of_the_standard() {
        assert_eq!(
            [extended(0, 1), extended(1, 1), extended(0, 3), extended(4, 3)],
            [-1, 1, -7, 4]
        );
    }
}
