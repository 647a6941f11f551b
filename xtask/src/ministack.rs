//! ministack, an emulator of AWS, for the tests of what is kept in S3 and Secrets Manager: the one that the end-to-end test has.

use std::path::PathBuf;

use crate::{aws::check, process::root};

/// Names the program, for the tests.
pub(crate) const VARIABLE: &str = "TEST_MINISTACK";

/// The program: the one that the environment names, or the one installed before.
pub(crate) fn find() -> Result<Option<PathBuf>, String> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        let path = PathBuf::from(named);
        return if path.is_file() {
            Ok(Some(path))
        } else {
            Err(format!("{VARIABLE} names {}, which is no file", path.display()))
        };
    }
    let path = root().join(check::INSTALLED).join("emulator/bin/ministack");
    Ok(path.is_file().then_some(path))
}

/// The same, or a fresh one.
pub(crate) fn find_or_install() -> Result<PathBuf, String> {
    match find()? {
        Some(found) => Ok(found),
        None => Ok(check::environment("emulator")?.join("ministack")),
    }
}
