//! Bad, odd and hostile files, one after the other through the same worker: each gives what it has to, and the photo after
//! it the same findings as ever.

mod bad_files;

use std::num::NonZeroUsize;

use bad_files::{File, Outcome};
use bytes::Bytes;
use futures::executor::block_on;
use skin_assist_core::{
    domain::{PhotoBytes, Route},
    ports::{VisionError, VisionModel},
};
use skin_assist_models::{
    PackVision, VisionOptions,
    pack::Pack,
    photo::{self, Limits, Orientation},
    preprocess::Reducer,
    runtime::{Runtime, RuntimeChoice},
};

#[test]
fn every_bad_file_has_a_named_outcome_and_the_next_photo_is_unaffected() {
    let packs = Route::ALL.map(|route| Pack::reference(route).expect("a pack"));
    let runtime = Runtime::open(&RuntimeChoice::Rten).expect("rten is built in");
    let options = VisionOptions {
        workers: NonZeroUsize::MIN,
        ..VisionOptions::default()
    };
    let vision = PackVision::new(&runtime, &packs, options).expect("workers");
    let good = PhotoBytes::new(Bytes::from_static(include_bytes!("fixtures/orientation-6.jpg")));
    let expected = block_on(vision.look(Route::Widespread, &good)).expect("findings");
    for File { name, bytes, outcome } in bad_files::files() {
        let bytes = PhotoBytes::new(Bytes::from(bytes));
        let found = match block_on(vision.look(Route::Widespread, &bytes)) {
            Ok(findings) => Outcome::Seen(findings.image.width, findings.image.height),
            Err(VisionError::Photo(refusal)) => Outcome::Refused(refusal),
            Err(other) => panic!("{name}: {other}"),
        };
        assert_eq!(found, outcome, "{name}");
        let next = block_on(vision.look(Route::Widespread, &good)).expect("findings");
        assert_eq!(next, expected, "the photo after {name}");
    }
}

/// The mean colour of a file.
fn colour(bytes: &[u8]) -> [u8; 3] {
    let photo = photo::open(bytes, Limits::default()).expect("a photo");
    let small = Reducer::default().whole_of(&photo, 1, 1).expect("whole data");
    small.pixels().try_into().expect("one pixel")
}

fn bytes_of<'a>(files: &'a [File], name: &str) -> &'a [u8] {
    let file = files.iter().find(|file| file.name == name);
    &file.unwrap_or_else(|| panic!("there is no {name}")).bytes
}

#[test]
fn odd_kinds_have_the_colours_that_they_mean() {
    let files = bad_files::files();
    let close = |name: &str, expected: [u8; 3]| {
        let found = colour(bytes_of(&files, name));
        let apart = found.iter().zip(expected).map(|(one, other)| one.abs_diff(other)).max();
        assert!(apart <= Some(3), "{name}: {found:?}, not {expected:?}");
    };
    let picture = colour(bytes_of(&files, "a whole PNG"));
    for name in [
        "a whole JPEG",
        "a whole progressive JPEG",
        "a whole WebP",
        "a whole TIFF",
        "an animated PNG",
    ] {
        close(name, picture);
    }
    // Ink on white paper: a level of red is one of cyan, and the key of 200 darkens all.
    let inks = picture.map(|level| ((255 - u32::from(level)) * (255 - 200) / 255) as u8);
    close("a JPEG in CMYK with Adobe's marker", inks);
    close("a JPEG in YCCK with Adobe's marker", inks);
    close("a PNG that is transparent throughout", [255; 3]);
    close("an interlaced PNG", [0; 3]);
    // Seven parts of 255 of grey over white.
    close("a grey PNG with alpha", [251; 3]);
    close("a TIFF with alpha", [131; 3]);
    close("a TIFF of 16 bits", [200, 100, 50]);
    close("a PNG of 16 bits", [200, 100, 50]);
    close("a grey TIFF", [77; 3]);
}

#[test]
fn a_tiff_is_turned_by_its_tag() {
    let turned = bad_files::turned_tiff(6);
    let photo = photo::decode(&turned, Limits::default()).expect("a photo");
    assert_eq!(
        (photo.orientation(), photo.upright_size()),
        (Orientation::Turn90, (2, 4))
    );
}
