//! Writes the golden drafts into the folders `valid`, `without-author` and `without-section-text` of a folder, for
//! validators: `cargo run -p skin-assist-ehr --example drafts -- FOLDER`.

// Here a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../tests/golden/mod.rs"]
mod golden;

use std::{fs, path::PathBuf};

use golden::Standing;

fn main() {
    let folder = PathBuf::from(std::env::args_os().nth(1).expect("the name of a folder"));
    for golden in golden::drafts() {
        let folder = folder.join(match golden.standing {
            Standing::Valid => "valid",
            Standing::WithoutAuthor => "without-author",
            Standing::WithoutSectionText => "without-section-text",
        });
        fs::create_dir_all(&folder).unwrap();
        let text = serde_json::to_string_pretty(&golden.resource).unwrap();
        fs::write(folder.join(format!("{}.json", golden.name)), text).unwrap();
    }
}
