//! What several tests need: files, and runtimes.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::{io::Write as _, path::PathBuf};

use skin_assist_models::runtime::{Runtime, RuntimeChoice};

/// A file of `tests/fixtures`.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The library that the test set-up promises.
#[allow(
    clippy::disallowed_methods,
    reason = "tests have no configuration; the set-up speaks through the environment"
)]
pub(crate) fn promised_library() -> Option<PathBuf> {
    let path = std::env::var_os("ORT_DYLIB_PATH")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    if let Some(path) = &path {
        assert!(
            path.is_file(),
            "ORT_DYLIB_PATH promises a library, but {} is no file",
            path.display()
        );
    }
    path
}

/// The runtimes to test; says loudly which is left out.
pub(crate) fn runtimes(test: &str) -> Vec<Runtime> {
    let mut runtimes = vec![Runtime::open(&RuntimeChoice::Rten).expect("rten is built in")];
    if let Some(path) = promised_library() {
        runtimes.push(Runtime::open(&RuntimeChoice::OnnxRuntime(path)).expect("the promised library fits"));
    } else {
        // Written past the capture of test output, so that it is seen.
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: {test} with ONNX Runtime; set ORT_DYLIB_PATH to its library"
        );
    }
    runtimes
}
