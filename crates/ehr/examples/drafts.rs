//! Writes the golden drafts into the folders `valid`, `without-author` and `without-section-text` of a folder, for
//! validators, and what the valid ones contain in files of its own, since not every validator looks inside: `cargo run -p skin-assist-ehr --example drafts -- FOLDER`.

// Here a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../tests/golden/mod.rs"]
mod golden;

use std::{fs, path::PathBuf};

use golden::Standing;

fn main() {
    let folder = PathBuf::from(std::env::args_os().nth(1).expect("the name of a folder"));
    for golden in golden::drafts().into_iter().chain([golden::added()]) {
        let folder = folder.join(match golden.standing {
            Standing::Valid => "valid",
            Standing::WithoutAuthor => "without-author",
            Standing::WithoutSectionText => "without-section-text",
        });
        fs::create_dir_all(&folder).unwrap();
        let text = serde_json::to_string_pretty(&golden.resource).unwrap();
        fs::write(folder.join(format!("{}.json", golden.name)), text).unwrap();
        if golden.standing != Standing::Valid {
            continue;
        }
        for (place, inner) in (1..).zip(golden.resource["contained"].as_array().into_iter().flatten()) {
            let text = serde_json::to_string_pretty(inner).unwrap();
            fs::write(folder.join(format!("{}.contained-{place}.json", golden.name)), text).unwrap();
        }
    }
}
