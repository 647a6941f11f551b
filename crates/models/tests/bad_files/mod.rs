//! Files that are bad, odd or hostile, made by code, and what has to come of each.
//!
//! The tests look at all of [`files`]; [`large`] ones take seconds and are for the measurement of peak memory
//! (`cargo xtask bench bad-input`).

use std::io::{Cursor, Write as _};

use flate2::{Compression, Crc, write::ZlibEncoder};
use image::{ColorType, ImageFormat, RgbImage};
use jpeg_encoder::Encoder;
use skin_assist_core::ports::PhotoRefusal;

/// What has to come of a file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Outcome {
    /// A refusal.
    Refused(PhotoRefusal),
    /// An upright image of this width and height.
    Seen(u32, u32),
}

/// A file.
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) outcome: Outcome,
}

fn file(name: &str, bytes: impl Into<Vec<u8>>, outcome: Outcome) -> File {
    File {
        name: name.to_owned(),
        bytes: bytes.into(),
        outcome,
    }
}

/// Width and height of the small images.
const SIDE: u32 = 48;
const SEEN: Outcome = Outcome::Seen(SIDE, SIDE);
const BROKEN: Outcome = Outcome::Refused(PhotoRefusal::Broken);
const UNSUPPORTED: Outcome = Outcome::Refused(PhotoRefusal::UnsupportedFormat);
const TOO_MANY: Outcome = Outcome::Refused(PhotoRefusal::TooManyPixels);

/// All that the tests look at.
pub(crate) fn files() -> Vec<File> {
    let mut all = strangers();
    all.extend(cut_off());
    all.extend(bombs());
    all.extend(kinds());
    all.extend(exif());
    all
}

/// A small picture with edges in it.
pub(crate) fn picture() -> RgbImage {
    RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let inside = (x.abs_diff(24).pow(2) + y.abs_diff(20).pow(2)) < 90;
        image::Rgb(if inside {
            [90, 50, 40]
        } else {
            [210, (150 + x) as u8, (120 + y) as u8]
        })
    })
}

fn encoded(format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture().write_to(&mut bytes, format).expect("memory can be written");
    bytes.into_inner()
}

/// The picture as a JPEG with a segment for applications.
fn jpeg_with(segments: &[(u8, Vec<u8>)], progressive: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 92);
    encoder.set_progressive(progressive);
    for (number, content) in segments {
        encoder.add_app_segment(*number, content.clone()).expect("a segment");
    }
    let side = SIDE as u16;
    encoder
        .encode(picture().as_raw(), side, side, jpeg_encoder::ColorType::Rgb)
        .expect("memory can be written");
    bytes
}

fn jpeg() -> Vec<u8> {
    jpeg_with(&[], false)
}

/// What is no photo, or none that is decoded here.
fn strangers() -> Vec<File> {
    let png = encoded(ImageFormat::Png);
    let jpeg = jpeg();
    let behind = |signature: &[u8], content: &[u8]| [signature, content].concat();
    let arithmetic = replaced(&jpeg, &[0xFF, 0xC0], &[0xFF, 0xC9]);
    let twelve_bits = replaced(&jpeg, &[0xFF, 0xC0, 0, 17, 8], &[0xFF, 0xC0, 0, 17, 12]);
    let gif = b"GIF89a\x02\0\x02\0\x80\0\0\0\0\0\xFF\xFF\xFF!\xFF\x0BNETSCAPE2.0\x03\x01\0\0\0\
        !\xF9\x04\0\x0A\0\0\0,\0\0\0\0\x02\0\x02\0\0\x02\x03D\x02\x05\0;";
    vec![
        file("nothing", [], Outcome::Refused(PhotoRefusal::Empty)),
        file("one byte", [0xFF], UNSUPPORTED),
        file(
            "words",
            *b"Dear colleague, thank you for seeing this patient.",
            UNSUPPORTED,
        ),
        file("zeros", [0; 4096], UNSUPPORTED),
        file("a PDF", *b"%PDF-1.7\n1 0 obj\n", UNSUPPORTED),
        file(
            "an office document",
            *b"PK\x03\x04\x14\0\x06\0[Content_Types].xml",
            UNSUPPORTED,
        ),
        file("a film", *b"\0\0\0\x18ftypisom\0\0\0\0iso2mp41", UNSUPPORTED),
        file("an animated GIF", *gif, UNSUPPORTED),
        file("a BMP", *b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", UNSUPPORTED),
        file("an AVIF", *b"\0\0\0\x18ftypavif\0\0\0\0avifmif1", UNSUPPORTED),
        file("a JPEG XL", *b"\0\0\0\x0CJXL \x0D\x0A\x87\x0A", UNSUPPORTED),
        file("a JPEG 2000", *b"\0\0\0\x0CjP  \x0D\x0A\x87\x0A", UNSUPPORTED),
        file("a DICOM file", behind(&[0; 128], b"DICM"), UNSUPPORTED),
        file(
            "a HEIC of a phone",
            *b"\0\0\0\x18ftypheic\0\0\0\0heicmif1",
            Outcome::Refused(PhotoRefusal::Heic),
        ),
        file(
            "a camera's raw file (DNG)",
            tiff(SIDE, SIDE, &[(50706, 1, 4, 0x0401)], &[]),
            UNSUPPORTED,
        ),
        file(
            "a preview before a raw image",
            tiff(SIDE, SIDE, &[(254, 4, 1, 1)], &[]),
            UNSUPPORTED,
        ),
        file(
            "a TIFF with a JPEG in it, of more than 100 megapixels",
            tiff(SIDE, SIDE, &[(259, 3, 1, 7)], &blank_jpeg(10_000, 10_001, 1, None)),
            UNSUPPORTED,
        ),
        file(
            "a TIFF with a JPEG in it, by a number of 8 bits",
            tiff(SIDE, SIDE, &[(259, 1, 1, 7)], &blank_jpeg(SIDE, SIDE, 3, None)),
            UNSUPPORTED,
        ),
        file(
            "a TIFF whose compression is a number of 8 bits",
            tiff(SIDE, SIDE, &[(259, 1, 1, 1)], &[50; (SIDE * SIDE * 3) as usize]),
            UNSUPPORTED,
        ),
        file("a BigTIFF", *b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0", UNSUPPORTED),
        file("a JPEG with arithmetic coding", arithmetic, UNSUPPORTED),
        file("a JPEG of 12 bits", twelve_bits, UNSUPPORTED),
        file(
            "a PNG behind a JPEG's signature",
            behind(&[0xFF, 0xD8, 0xFF], &png),
            BROKEN,
        ),
        file(
            "a JPEG behind a PNG's signature",
            behind(b"\x89PNG\r\n\x1a\n", &jpeg),
            BROKEN,
        ),
        file("a JPEG behind a TIFF's signature", behind(b"II*\0", &jpeg), BROKEN),
        file(
            "a PNG that calls itself WebP",
            behind(b"RIFF\0\x01\0\0WEBP", &png),
            BROKEN,
        ),
    ]
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from);
    let at = at.expect("the encoder writes it");
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

/// Photos that end too soon.
fn cut_off() -> Vec<File> {
    let whole = [
        ("JPEG", jpeg()),
        ("progressive JPEG", jpeg_with(&[], true)),
        ("PNG", encoded(ImageFormat::Png)),
        ("WebP", encoded(ImageFormat::WebP)),
        ("TIFF", encoded(ImageFormat::Tiff)),
    ];
    let mut files = Vec::new();
    for (name, bytes) in whole {
        for (part, length) in [("after the signature", 12), ("in the middle", bytes.len() / 2)] {
            files.push(file(&format!("a {name} cut off {part}"), &bytes[..length], BROKEN));
        }
        files.push(file(&format!("a whole {name}"), bytes, SEEN));
    }
    files.push(file("a JPEG of two bytes", [0xFF, 0xD8], BROKEN));
    files
}

/// Small files that ask for much.
fn bombs() -> Vec<File> {
    let mut png_bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    png_bomb.extend_from_slice(&[30_000_u32.to_be_bytes(), 40_000_u32.to_be_bytes()].concat());
    png_bomb.extend_from_slice(&[8, 2, 0, 0, 0]);
    png_bomb.resize(65, 0);
    // An extended WebP whose canvas is 16,777,216 pixels wide and high.
    let webp_bomb = b"RIFF\x16\0\0\0WEBPVP8X\x0A\0\0\0\0\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF";
    let zeros = |bytes: usize| zlib(std::iter::repeat_n(0, bytes));
    let rows = rows_of_picture();
    let text = |kind: &[u8; 4], head: &[u8]| {
        let content = [head, &zeros(64 << 20)].concat();
        png(SIDE, SIDE, 8, 2, &[(kind, &content)], &zlib(rows.iter().copied()), &[])
    };
    vec![
        file("a PNG of 65 bytes that claims 1,200 megapixels", png_bomb, TOO_MANY),
        file(
            "a JPEG that claims 4,295 megapixels",
            blank_jpeg(8, 8, 3, Some((65_535, 65_535))),
            TOO_MANY,
        ),
        file("a WebP that claims a canvas of 2⁴⁸ pixels", *webp_bomb, BROKEN),
        file(
            "a TIFF that claims 3,600 megapixels",
            tiff(60_000, 60_000, &[], &[]),
            TOO_MANY,
        ),
        file(
            "a TIFF whose strip claims 4 GB",
            tiff(SIDE, SIDE, &[(279, 4, 1, u32::MAX)], &[1; 64]),
            BROKEN,
        ),
        file(
            "a JPEG of a row more than 100 megapixels",
            blank_jpeg(10_000, 10_001, 1, None),
            TOO_MANY,
        ),
        file(
            "a JPEG of 100 megapixels",
            blank_jpeg(10_000, 10_000, 3, None),
            Outcome::Seen(10_000, 10_000),
        ),
        file(
            "a JPEG of 65,535 pixels in a row",
            blank_jpeg(65_535, 1, 1, None),
            Outcome::Seen(65_535, 1),
        ),
        file(
            "a PNG with a text of 64 MB, packed",
            text(b"zTXt", b"Comment\0\0"),
            SEEN,
        ),
        file(
            "a PNG with a colour profile of 64 MB, packed",
            text(b"iCCP", b"profile\0\0"),
            SEEN,
        ),
        file(
            "a PNG with 64 MB of pixels more than it says",
            png(
                SIDE,
                SIDE,
                8,
                2,
                &[],
                &zlib(rows.iter().copied().chain(std::iter::repeat_n(0, 64 << 20))),
                &[],
            ),
            SEEN,
        ),
        file(
            "a PNG with fewer pixels than it says",
            png(
                SIDE,
                SIDE,
                8,
                2,
                &[],
                &zlib(rows[..rows.len() / 2].iter().copied()),
                &[],
            ),
            BROKEN,
        ),
        file("a PNG without pixels", png(SIDE, SIDE, 8, 2, &[], &[], &[]), BROKEN),
        file(
            "a PNG without height",
            png(SIDE, 0, 8, 2, &[], &zlib(rows.iter().copied()), &[]),
            BROKEN,
        ),
    ]
}

/// Kinds of pixels that cameras do not write.
fn kinds() -> Vec<File> {
    let side = SIDE as u16;
    let inks: Vec<u8> = picture()
        .pixels()
        .flat_map(|pixel| [pixel.0[0], pixel.0[1], pixel.0[2], 200])
        .collect();
    let with_inks = |colours| {
        let mut bytes = Vec::new();
        Encoder::new(&mut bytes, 95)
            .encode(&inks, side, side, colours)
            .expect("memory can be written");
        bytes
    };
    let adobe = |transform| {
        let mut segment = b"Adobe\0\x64\0\0\0\0".to_vec();
        segment.push(transform);
        jpeg_with(&[(14, segment)], false)
    };
    let area = (SIDE * SIDE) as usize;
    let written = |kind: ColorType, format: ImageFormat, sample: &[u8]| {
        let mut bytes = Cursor::new(Vec::new());
        image::write_buffer_with_format(&mut bytes, &sample.repeat(area), SIDE, SIDE, kind, format)
            .expect("memory can be written");
        bytes.into_inner()
    };
    let frame = |sequence: u8| {
        let mut control = vec![0, 0, 0, sequence];
        control.extend_from_slice(&[SIDE.to_be_bytes(), SIDE.to_be_bytes(), [0; 4], [0; 4]].concat());
        control.extend_from_slice(&[0, 1, 0, 10, 0, 0]);
        control
    };
    let rows = zlib(rows_of_picture().iter().copied());
    let second = [&[0, 0, 0, 2][..], &rows].concat();
    let palette: Vec<u8> = (0..=255_u8).flat_map(|index| [index, 255 - index, 90]).collect();
    let indices: Vec<u8> = (0..SIDE)
        .flat_map(|y| std::iter::once(0).chain((0..SIDE).map(move |x| (x * 5 + y) as u8)))
        .collect();
    let out_of_palette = png(
        SIDE,
        SIDE,
        8,
        3,
        &[(b"PLTE", &palette[..30])],
        &zlib(indices.iter().copied()),
        &[],
    );
    vec![
        file(
            "a JPEG in CMYK with Adobe's marker",
            with_inks(jpeg_encoder::ColorType::Cmyk),
            SEEN,
        ),
        file(
            "a JPEG in YCCK with Adobe's marker",
            with_inks(jpeg_encoder::ColorType::CmykAsYcck),
            SEEN,
        ),
        file("a JPEG whose Adobe marker says RGB", adobe(0), SEEN),
        file("a JPEG whose Adobe marker says YCCK", adobe(2), SEEN),
        file(
            "a PNG of 16 bits",
            written(ColorType::Rgb16, ImageFormat::Png, &[1, 200, 2, 100, 3, 50]),
            SEEN,
        ),
        file("an interlaced PNG", interlaced_png(), SEEN),
        file(
            "a PNG of 16 bits with alpha",
            written(ColorType::Rgba16, ImageFormat::Png, &[1, 200, 2, 100, 3, 50, 0, 128]),
            SEEN,
        ),
        file(
            "a grey PNG with alpha",
            written(ColorType::La8, ImageFormat::Png, &[120, 7]),
            SEEN,
        ),
        file(
            "a PNG that is transparent throughout",
            written(ColorType::Rgba8, ImageFormat::Png, &[9, 9, 9, 0]),
            SEEN,
        ),
        file(
            "a PNG with a palette and transparency",
            png(
                SIDE,
                SIDE,
                8,
                3,
                &[(b"PLTE", &palette), (b"tRNS", &[0; 200])],
                &zlib(indices.iter().copied()),
                &[],
            ),
            SEEN,
        ),
        file("a PNG whose pixels are not in its palette", out_of_palette, SEEN),
        file(
            "a PNG with a palette that is missing",
            png(SIDE, SIDE, 8, 3, &[], &zlib(indices.iter().copied()), &[]),
            BROKEN,
        ),
        file(
            "an animated PNG",
            png(
                SIDE,
                SIDE,
                8,
                2,
                &[(b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0]), (b"fcTL", &frame(0))],
                &rows,
                &[(b"fcTL", &frame(1)), (b"fdAT", &second)],
            ),
            SEEN,
        ),
        file(
            "an animated WebP",
            *include_bytes!("../fixtures/animated.webp"),
            Outcome::Seen(64, 48),
        ),
        file(
            "a WebP with alpha",
            *include_bytes!("../fixtures/alpha.webp"),
            Outcome::Seen(64, 48),
        ),
        file(
            "a TIFF of 16 bits",
            written(ColorType::Rgb16, ImageFormat::Tiff, &[1, 200, 2, 100, 3, 50]),
            SEEN,
        ),
        file("a grey TIFF", written(ColorType::L8, ImageFormat::Tiff, &[77]), SEEN),
        file(
            "a TIFF with alpha",
            written(ColorType::Rgba8, ImageFormat::Tiff, &[9, 9, 9, 128]),
            SEEN,
        ),
        file("a JPEG of one pixel", blank_jpeg(1, 1, 3, None), Outcome::Seen(1, 1)),
    ]
}

/// EXIF data that are wrong or hostile: the photo is taken as it is stored.
fn exif() -> Vec<File> {
    let entry = |tag: u16, kind: u16, count: u32, value: u32| {
        [
            &tag.to_be_bytes()[..],
            &kind.to_be_bytes(),
            &count.to_be_bytes(),
            &value.to_be_bytes(),
        ]
        .concat()
    };
    // One directory at 8, whose end points to `next`.
    let block = |entries: &[Vec<u8>], next: u32| {
        let mut block = b"MM\0*\0\0\0\x08".to_vec();
        block.extend_from_slice(&(entries.len() as u16).to_be_bytes());
        block.extend_from_slice(&entries.concat());
        block.extend_from_slice(&next.to_be_bytes());
        block
    };
    let orientation = |value: u16| entry(0x0112, 3, 1, u32::from(value) << 16);
    let blocks = [
        ("nothing in it", Vec::new()),
        ("garbage in it", vec![0xAA; 60_000]),
        ("orientation 0", block(&[orientation(0)], 0)),
        ("orientation 9", block(&[orientation(9)], 0)),
        ("orientation 65535", block(&[orientation(65_535)], 0)),
        (
            "an orientation in letters",
            block(&[entry(0x0112, 2, 4, u32::from_be_bytes(*b"six\0"))], 0),
        ),
        (
            "an orientation counted 4 thousand million times",
            block(&[entry(0x0112, 3, u32::MAX, 8)], 0),
        ),
        (
            "an orientation that lies elsewhere",
            block(&[entry(0x0112, 4, 2, 0xFFFF_FF00)], 0),
        ),
        ("a directory that follows itself", block(&[orientation(0)], 8)),
        (
            "a directory in itself",
            block(&[entry(0x8769, 4, 1, 8), entry(0x8825, 4, 1, 8)], 8),
        ),
        ("a directory beyond the end", b"MM\0*\xFF\xFF\xFF\xFF".to_vec()),
        (
            "more entries than there are bytes",
            b"MM\0*\0\0\0\x08\xFF\xFF\0\0".to_vec(),
        ),
        (
            "values of 4 GB in each of 5,000 entries",
            block(&vec![entry(0x9286, 7, u32::MAX, 8); 5000], 8),
        ),
    ];
    let mut files: Vec<File> = blocks
        .into_iter()
        .map(|(name, block)| {
            let segment = [b"Exif\0\0".to_vec(), block].concat();
            file(&format!("EXIF with {name}"), jpeg_with(&[(1, segment)], false), SEEN)
        })
        .collect();
    let packed = [b"Exif\0\0".to_vec(), block(&[orientation(6)], 0)].concat();
    let twice = jpeg_with(&[(1, packed), (1, b"Exif\0\0MM\0*".to_vec())], false);
    files.push(file("EXIF twice", twice, SEEN));
    files
}

/// Files of 100 megapixels and hostile ones at full size, which take seconds to make.
#[allow(dead_code, reason = "the tests take the small ones only")]
pub(crate) fn large() -> Vec<File> {
    let (side, seen) = (10_000, Outcome::Seen(10_000, 10_000));
    // Decoders of some kinds hold more for a pixel than is allowed.
    let rows = |bytes_per_pixel: usize| {
        zlib(std::iter::repeat_n(
            0,
            (side as usize * bytes_per_pixel + 1) * side as usize,
        ))
    };
    let webp = |height: u32| {
        let mut webp = Cursor::new(Vec::new());
        let image = RgbImage::from_pixel(side, height, image::Rgb([190, 140, 120]));
        image
            .write_to(&mut webp, ImageFormat::WebP)
            .expect("memory can be written");
        webp.into_inner()
    };
    let strip = zlib(std::iter::repeat_n(0, side as usize * side as usize * 3));
    vec![
        file(
            "a progressive JPEG of 100 megapixels",
            blank_progressive(side, side),
            TOO_MANY,
        ),
        file(
            "a progressive JPEG of 60 megapixels",
            blank_progressive(side, 6_000),
            Outcome::Seen(side, 6_000),
        ),
        file(
            "a PNG of 100 megapixels",
            png(side, side, 8, 2, &[], &rows(3), &[]),
            seen,
        ),
        file(
            "a PNG of 100 megapixels, 16 bits and alpha",
            png(side, side, 16, 6, &[], &rows(8), &[]),
            seen,
        ),
        file("a WebP of 100 megapixels", webp(side), TOO_MANY),
        file("a WebP of 80 megapixels", webp(8_000), Outcome::Seen(side, 8_000)),
        file(
            "a TIFF of 100 megapixels",
            tiff(side, side, &[(259, 3, 1, 8)], &strip),
            seen,
        ),
    ]
}

/// A little-endian TIFF: RGB, 8 bits, one strip; `more` replaces or adds entries of tag, type, count and value.
fn tiff(width: u32, height: u32, more: &[(u16, u16, u32, u32)], strip: &[u8]) -> Vec<u8> {
    let mut entries = vec![
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 0),
        (277, 3, 1, 3),
        (278, 4, 1, height),
        (279, 4, 1, strip.len() as u32),
    ];
    entries.retain(|entry: &(u16, u16, u32, u32)| more.iter().all(|other| other.0 != entry.0));
    entries.extend_from_slice(more);
    entries.sort_unstable();
    let bits_at = 8 + 2 + entries.len() as u32 * 12 + 4;
    let mut bytes = b"II*\0\x08\0\0\0".to_vec();
    bytes.extend_from_slice(&(entries.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in entries {
        let (count, value) = match tag {
            258 => (3, bits_at),
            273 => (count, bits_at + 6),
            _ => (count, value),
        };
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&kind.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&[8, 0, 8, 0, 8, 0]);
    bytes.extend_from_slice(strip);
    bytes
}

/// A PNG with these chunks before and behind its pixels.
fn png(
    width: u32,
    height: u32,
    bits: u8,
    colour: u8,
    before: &[(&[u8; 4], &[u8])],
    data: &[u8],
    behind: &[(&[u8; 4], &[u8])],
) -> Vec<u8> {
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend_from_slice(&[bits, colour, 0, 0, 0]);
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let middle: [(&[u8; 4], &[u8]); 1] = [(b"IDAT", data)];
    let chunks = [(b"IHDR", &*header)]
        .into_iter()
        .chain(before.iter().copied())
        .chain(middle);
    for (kind, content) in chunks.chain(behind.iter().copied()).chain([(b"IEND", &[][..])]) {
        let mut sum = Crc::new();
        sum.update(kind);
        sum.update(content);
        bytes.extend_from_slice(&(content.len() as u32).to_be_bytes());
        bytes.extend_from_slice(kind);
        bytes.extend_from_slice(content);
        bytes.extend_from_slice(&sum.sum().to_be_bytes());
    }
    bytes
}

/// A black one in the seven passes of Adam7, with a few bytes more than they need.
fn interlaced_png() -> Vec<u8> {
    let pixels = zlib(std::iter::repeat_n(0, (SIDE * SIDE * 3 + SIDE * 7) as usize));
    let mut bytes = png(SIDE, SIDE, 8, 2, &[], &pixels, &[]);
    // The last byte of the header, and the sum over the chunk.
    bytes[28] = 1;
    let mut sum = Crc::new();
    sum.update(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&sum.sum().to_be_bytes());
    bytes
}

fn rows_of_picture() -> Vec<u8> {
    let picture = picture();
    let rows = picture.as_raw().chunks_exact(SIDE as usize * 3);
    rows.flat_map(|row| [&[0], row].concat()).collect()
}

fn zlib(bytes: impl Iterator<Item = u8>) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    let mut buffer = Vec::with_capacity(1 << 16);
    let mut bytes = bytes.peekable();
    while bytes.peek().is_some() {
        buffer.clear();
        buffer.extend(bytes.by_ref().take(1 << 16));
        encoder.write_all(&buffer).expect("memory can be written");
    }
    encoder.finish().expect("memory can be written")
}

/// A grey baseline JPEG of any size in a few bits for each block; its header may claim another size.
fn blank_jpeg(width: u32, height: u32, components: u8, claimed: Option<(u16, u16)>) -> Vec<u8> {
    let blocks = width.div_ceil(8) as usize * height.div_ceil(8) as usize * usize::from(components);
    let mut bytes = blank_header(0xC0, claimed.unwrap_or((width as u16, height as u16)), components);
    let all: Vec<u8> = (1..=components).collect();
    scan(&mut bytes, &all, 0, 63, blocks * 2);
    bytes.extend_from_slice(&[0xFF, 0xD9]);
    bytes
}

/// The same in progressive coding: a scan of all first coefficients, and one of the others of each component.
fn blank_progressive(width: u32, height: u32) -> Vec<u8> {
    let blocks = width.div_ceil(8) as usize * height.div_ceil(8) as usize;
    let mut bytes = blank_header(0xC2, (width as u16, height as u16), 3);
    scan(&mut bytes, &[1, 2, 3], 0, 0, blocks * 3);
    for component in 1..=3 {
        scan(&mut bytes, &[component], 1, 63, blocks);
    }
    bytes.extend_from_slice(&[0xFF, 0xD9]);
    bytes
}

fn blank_header(frame: u8, (width, height): (u16, u16), components: u8) -> Vec<u8> {
    let mut bytes = vec![0xFF, 0xD8, 0xFF, 0xDB, 0, 67, 0];
    bytes.extend_from_slice(&[1; 64]);
    bytes.extend_from_slice(&[0xFF, frame, 0, 8 + 3 * components, 8]);
    bytes.extend_from_slice(&[height.to_be_bytes(), width.to_be_bytes()].concat());
    bytes.push(components);
    for component in 1..=components {
        bytes.extend_from_slice(&[component, 0x11, 0]);
    }
    // One code of one bit, for "no difference" and for "nothing more in this block".
    for table in [0x00, 0x10] {
        bytes.extend_from_slice(&[0xFF, 0xC4, 0, 20, table, 1]);
        bytes.extend_from_slice(&[0; 16]);
    }
    bytes
}

fn scan(bytes: &mut Vec<u8>, components: &[u8], first: u8, last: u8, bits: usize) {
    bytes.extend_from_slice(&[0xFF, 0xDA, 0, 6 + 2 * components.len() as u8, components.len() as u8]);
    for component in components {
        bytes.extend_from_slice(&[*component, 0]);
    }
    bytes.extend_from_slice(&[first, last, 0]);
    bytes.resize(bytes.len() + bits / 8, 0);
    if !bits.is_multiple_of(8) {
        bytes.push(0xFF >> (bits % 8));
    }
}

/// A TIFF of 4 × 2 pixels with an orientation.
#[allow(dead_code, reason = "a test's alone")]
pub(crate) fn turned_tiff(orientation: u32) -> Vec<u8> {
    tiff(4, 2, &[(274, 3, 1, orientation)], &[50; 24])
}
