//! Finding ONNX Runtime's shared library for the tests, or fetching it from its Python wheel.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::process::{program, root, run, succeeds};

/// Names the library.
pub(crate) const VARIABLE: &str = "ORT_DYLIB_PATH";

const HOW: &str =
    "set ORT_DYLIB_PATH to a libonnxruntime of version 1.24 or newer, or install python3 with pip, which fetches it";

/// Where the version is pinned: the one that the packs were exported and compared with.
const REQUIREMENTS: &str = "models/train/requirements.txt";

/// The library: the one that the environment names, the one fetched before, or a fresh one.
pub(crate) fn find_or_fetch() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        let path = PathBuf::from(named);
        return match path.canonicalize() {
            Ok(path) if path.is_file() => Ok(path),
            _ => Err(format!("{VARIABLE} names {}, which is no file", path.display())),
        };
    }
    let pinned = fs::read_to_string(root().join(REQUIREMENTS))
        .ok()
        .as_deref()
        .and_then(pinned_version);
    let pinned = pinned.ok_or(format!("{REQUIREMENTS} pins no version of onnxruntime"))?;
    // The version is in the path: another pin does not find what an older one left.
    let folder = root().join("target/onnxruntime").join(&pinned);
    if let Some(library) = library_in(&folder) {
        return Ok(library);
    }
    if !succeeds(
        program("python3").args(["-m", "pip", "--version"]),
        Duration::from_secs(30),
    ) {
        return Err(HOW.to_owned());
    }
    fetch(&folder, &pinned).map_err(|problem| format!("{problem}; {HOW}"))?;
    library_in(&folder).ok_or_else(|| format!("the wheel of onnxruntime {pinned} has no library; {HOW}"))
}

/// `onnxruntime==1.2.3` in a list of requirements.
fn pinned_version(requirements: &str) -> Option<String> {
    let pinned = |line: &str| {
        line.trim()
            .strip_prefix("onnxruntime==")
            .map(|version| version.trim().to_owned())
    };
    requirements.lines().find_map(pinned)
}

fn fetch(folder: &Path, pinned: &str) -> Result<(), String> {
    // Unpacked beside it and moved, so that an interrupted run leaves nothing that looks whole.
    let half = folder.with_extension("part");
    _ = fs::remove_dir_all(&half);
    fs::create_dir_all(&half).map_err(|error| format!("{} cannot be made: {error}", half.display()))?;
    let download = [
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--quiet",
        "--dest",
    ];
    run(program("python3")
        .args(download)
        .arg(&half)
        .arg(format!("onnxruntime=={pinned}")))?;
    let wheel = files(&half)
        .into_iter()
        .find(|file| file.extension().is_some_and(|extension| extension == "whl"))
        .ok_or("pip brought no wheel")?;
    run(program("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&half))?;
    _ = fs::remove_file(wheel);
    fs::rename(&half, folder).map_err(|error| format!("{} cannot be moved: {error}", half.display()))
}

/// The library in an unpacked wheel: `onnxruntime/capi/libonnxruntime.so.1.2.3`, `libonnxruntime.1.2.3.dylib`, without
/// its providers.
fn library_in(folder: &Path) -> Option<PathBuf> {
    files(&folder.join("onnxruntime/capi")).into_iter().find(|file| {
        let name = file
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        is_library(&name)
    })
}

fn is_library(name: &str) -> bool {
    name.strip_prefix("libonnxruntime.")
        .is_some_and(|rest| rest.starts_with("so") || rest.ends_with("dylib"))
        || name == "onnxruntime.dll"
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_pins_a_version() {
        let requirements = fs::read_to_string(root().join(REQUIREMENTS)).unwrap();
        assert!(pinned_version(&requirements).is_some());
        assert_eq!(
            pinned_version("jax==1\nonnxruntime==1.24.4\n").as_deref(),
            Some("1.24.4")
        );
        assert_eq!(pinned_version("onnxruntime>=1.24\n"), None);
    }

    #[test]
    fn the_library_is_told_from_its_providers() {
        assert!(is_library("libonnxruntime.so.1.32.0"));
        assert!(is_library("libonnxruntime.1.32.0.dylib"));
        assert!(!is_library("libonnxruntime_providers_shared.so"));
        assert!(!is_library("onnxruntime_pybind11_state.so"));
    }
}
