//! Installing ministack, an emulator of AWS, for the tests of what is kept in S3 and Secrets Manager.

use std::{path::PathBuf, time::Duration};

use crate::process::{program, root, run, succeeds};

/// Names the program, for the tests.
pub(crate) const VARIABLE: &str = "TEST_MINISTACK";

/// Which one.
const VERSION: &str = "1.5.33";

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
    let path = installed();
    Ok(path.is_file().then_some(path))
}

/// The same, or a fresh one.
pub(crate) fn find_or_install() -> Result<PathBuf, String> {
    if let Some(found) = find()? {
        return Ok(found);
    }
    let venv = ["-c", "import ensurepip, venv"];
    if !succeeds(program("python3").args(venv), Duration::from_secs(30)) {
        return Err("python3 with venv is not installed, from which ministack is".to_owned());
    }
    run(program("python3").args(["-m", "venv", "--clear"]).arg(folder()))?;
    let mut pip = program(&folder().join("bin/python").to_string_lossy());
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    run(pip.arg(format!("ministack=={VERSION}")))?;
    let path = installed();
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!("ministack {VERSION} was installed without {}", path.display()))
    }
}

/// The version is in the path: another one does not find what an older one left.
fn folder() -> PathBuf {
    root().join("target/tools").join(format!("ministack-{VERSION}"))
}

fn installed() -> PathBuf {
    folder().join("bin/ministack")
}
