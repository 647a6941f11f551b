//! `cargo xtask models`: the training of the reference model packs, as models/README.md describes it.

use crate::process::{program, root, run};

const VENV: &str = "target/train/venv";

/// Prepares Python and trains.
pub(crate) fn train(arguments: &[&str]) -> Result<(), String> {
    let python = root().join(VENV).join("bin/python");
    if !python.is_file() {
        run(program("python3").args(["-m", "venv", VENV]))
            .map_err(|error| format!("{error}\nhint: Python 3.11 or newer with its venv module is needed"))?;
    }
    let python = python.to_string_lossy().into_owned();
    run(program(&python).args(["-m", "pip", "install", "--quiet", "-r", "models/train/requirements.txt"]))?;
    run(program(&python).arg("models/train/train.py").args(arguments))
}
