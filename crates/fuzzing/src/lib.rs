//! What is done with any bytes: the fuzz targets as functions.
//!
//! Each takes bytes that somebody else wrote, leads them to where the program reads such bytes by the ports that the stages use,
//! and asserts what has to hold whatever they are. `fuzz/` makes programs of them; the tests here run the committed inputs, so
//! that a finding stays fixed. docs/fuzzing.md has the rest.
//!
//! # What counts as a finding
//! A panic in a crate of ours (caught or not, [`silence_others`]), an assertion that does not hold, memory or time beyond the
//! runner's limits, and whatever the address sanitiser says. A panic inside a decoder of others that the photo path
//! catches is none: it means a broken image.

mod answer;
mod fhir;
mod findings;
mod models;
mod photo;
mod replies;
mod rows;
mod sign_in;
mod token;

use std::panic;

use skin_assist_ehr::Profile;
use skin_assist_models::{pack::Manifest, photo::Format};

pub use answer::any_answer as answer;
pub use fhir::{any_place as photo_place, any_reply as fhir};
pub use findings::any_reply as findings;
pub use models::any_model as onnx;
pub use photo::any_exif as exif;
pub use rows::any_row as rows;
pub use sign_in::any_reply as sign_in;
pub use token::any_reply as token;

/// A fuzz target: bytes in, and it returns or panics.
pub type Target = fn(&[u8]);

/// All targets by name. Their inputs are in `fuzz/corpus/NAME`.
pub const TARGETS: [(&str, Target); 15] = [
    ("answer", answer),
    ("exif", exif),
    ("fhir", fhir),
    ("findings", findings),
    ("jpeg", jpeg),
    ("onnx", onnx),
    ("pack", pack),
    ("photo_place", photo_place),
    ("png", png),
    ("profile", profile),
    ("rows", rows),
    ("sign_in", sign_in),
    ("tiff", tiff),
    ("token", token),
    ("webp", webp),
];

/// A JPEG file, baseline or progressive.
pub fn jpeg(bytes: &[u8]) {
    photo::any_image(bytes, Format::Jpeg);
}

/// A PNG file.
pub fn png(bytes: &[u8]) {
    photo::any_image(bytes, Format::Png);
}

/// A TIFF file.
pub fn tiff(bytes: &[u8]) {
    photo::any_image(bytes, Format::Tiff);
}

/// A WebP file.
pub fn webp(bytes: &[u8]) {
    photo::any_image(bytes, Format::WebP);
}

/// A pack's manifest.
pub fn pack(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Manifest::parse("fuzz", text) {
        Ok(manifest) => {
            // What is taken is written into drafts and drawn as boxes.
            assert!(!manifest.classifier.labels.is_empty(), "a pack without labels");
        }
        Err(error) => assert!(!error.hint().is_empty()),
    }
}

/// An EHR's profile. What is taken has to be usable: a client is made with it and asks.
pub fn profile(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(profile) = Profile::from_toml(text) {
        fhir::ask_by(profile);
    }
}

/// Leaves panics of others without a word; those of ours are reported as before this was called. libFuzzer, which ends the
/// process at each panic, then ends it for those of ours alone, even where they are caught.
pub fn silence_others() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let of_others = info.location().is_some_and(|place| {
            let file = place.file();
            file.contains("/registry/src/") || file.starts_with("/rustc/") || file.contains("/rustlib/src/")
        });
        if !of_others {
            report(info);
        }
    }));
}

#[cfg(test)]
mod tests;
