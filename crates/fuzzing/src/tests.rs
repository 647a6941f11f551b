use std::{fs, path::PathBuf};

use super::TARGETS;

fn corpus(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(name)
}

/// Every committed input, seeds and former findings alike, does what it should: each target asserts it.
#[test]
fn committed_inputs_are_as_they_should_be() {
    for (name, target) in TARGETS {
        let files = fs::read_dir(corpus(name)).unwrap_or_else(|error| panic!("no inputs of {name}: {error}"));
        let mut inputs: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        inputs.sort();
        assert!(inputs.len() >= 2, "{name} has hardly any inputs");
        for input in inputs {
            // Shown where it fails.
            println!("{}", input.display());
            target(&fs::read(input).unwrap());
        }
    }
}

/// A target is not forgotten in one place.
#[test]
fn every_target_has_its_program() {
    let manifest = fs::read_to_string(corpus("../../fuzz/Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "{name} has no program"
        );
        let program = fs::read_to_string(corpus(&format!("../targets/{name}.rs"))).unwrap();
        assert!(
            program.contains(&format!("fuzzing::{name}(bytes)")),
            "{name}'s program runs another target"
        );
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}
