//! Installing what a folder of the repository pins: into `target/`, once for each set of pins.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::process::{program, root, run, succeeds};

/// Enough to ask Python for a module.
const MOMENT: Duration = Duration::from_secs(30);

/// What `npm ci` wants to find.
const NODE_MANIFESTS: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];

/// Installs the packages that `home` pins into `folder`.
pub(crate) fn npm(home: &Path, folder: &Path) -> Result<(), String> {
    installed(home, folder, &NODE_MANIFESTS, |folder| {
        for manifest in NODE_MANIFESTS {
            copy(&home.join(manifest), &folder.join(manifest))?;
        }
        run(program("npm").args(["ci", "--loglevel=error"]).current_dir(folder))
    })
}

/// A Python environment in the folder `at` of the repository with what `requirements` in its folder `home` pins. Gives its folder of
/// programs; an error where the machine lacks what makes one.
pub(crate) fn environment(home: &str, requirements: &str, at: &str, all_listed: bool) -> Result<PathBuf, String> {
    if !succeeds(program("python3").args(["-c", "import ensurepip, venv"]), MOMENT) {
        return Err("python3 with its venv module is not there".to_owned());
    }
    let (home, folder) = (root().join(home), root().join(at));
    installed(&home, &folder, &[requirements], |folder| {
        python(folder, &home.join(requirements), all_listed)
    })?;
    Ok(folder.join("bin"))
}

/// Makes a Python environment in `folder` with what `requirements` pins by hash. With `all_listed`, nothing that is not listed
/// is looked for.
fn python(folder: &Path, requirements: &Path, all_listed: bool) -> Result<(), String> {
    run(program("python3").args(["-m", "venv"]).arg(folder))?;
    let mut install = program(&folder.join("bin/python").to_string_lossy());
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    install.args(["--only-binary=:all:", "--require-hashes"]);
    if all_listed {
        install.arg("--no-deps");
    }
    run(install.arg("-r").arg(requirements))
}

/// Installs into a folder, unless what is there was made from the same manifests.
pub(crate) fn installed(
    home: &Path,
    folder: &Path,
    manifests: &[&str],
    install: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<(), String> {
    let mut pins = String::new();
    for manifest in manifests {
        let path = home.join(manifest);
        pins += &fs::read_to_string(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    }
    // Written last: an interrupted installation has none.
    let mark = folder.join("installed-from");
    if fs::read_to_string(&mark).is_ok_and(|text| text == pins) {
        return Ok(());
    }
    empty(folder)?;
    install(folder)?;
    fs::write(&mark, pins).map_err(|error| format!("{} cannot be written: {error}", mark.display()))
}

/// Makes an empty folder, whatever was there.
pub(crate) fn empty(folder: &Path) -> Result<(), String> {
    _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).map_err(|error| format!("{} cannot be made: {error}", folder.display()))
}

/// Copies a file.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let copied = fs::copy(from, to).map_err(|error| format!("{} cannot be copied: {error}", from.display()));
    copied.map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::process::root;

    #[test]
    fn the_pins_name_no_host() {
        for home in ["interop/validators", "interop/servers", "deploy/aws/checks"] {
            for manifest in super::NODE_MANIFESTS {
                let text = fs::read_to_string(root().join(home).join(manifest)).unwrap();
                assert!(!text.contains("://"), "{home}/{manifest}");
            }
        }
    }
}
