//! Installing dynoxide, which behaves as DynamoDB does, for the tests of the state there.
//!
//! It is a program of another workspace, built once into `target/tools`: its library links a SQLite of its own, so that it
//! cannot be a dependency beside rusqlite, of tests neither.

use std::path::PathBuf;

use crate::process::{program, root, run};

/// Names the program, for the tests.
pub(crate) const VARIABLE: &str = "TEST_DYNOXIDE";

/// Which one. Its own lock file is kept to.
const VERSION: &str = "3.2.0";

/// Everything that is not needed left out: about three minutes of one core.
const FEATURES: [&str; 3] = ["--no-default-features", "--features", "native-sqlite,http-server,cli"];

/// The program: the one that the environment names, or the one installed before.
pub(crate) fn find() -> Result<Option<PathBuf>, String> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        let path = PathBuf::from(named);
        return match path.canonicalize() {
            Ok(path) if path.is_file() => Ok(Some(path)),
            _ => Err(format!("{VARIABLE} names {}, which is no file", path.display())),
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
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let version = ["--version", VERSION, "--locked"];
    let mut command = program(&cargo);
    command.args(["install", "dynoxide-rs"]).args(version).args(FEATURES);
    run(command.arg("--root").arg(folder()))?;
    let path = installed();
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!(
            "dynoxide-rs {VERSION} was installed without {}",
            path.display()
        ))
    }
}

/// The version is in the path: another one does not find what an older one left.
fn folder() -> PathBuf {
    root().join("target/tools").join(format!("dynoxide-{VERSION}"))
}

fn installed() -> PathBuf {
    folder()
        .join("bin")
        .join(format!("dynoxide{}", std::env::consts::EXE_SUFFIX))
}
