//! Every crate keeps to the workspace's lints, `unsafe_code = "forbid"` among them: those of the workspace inherit them, the
//! fuzz targets' programs, which are a workspace of their own, state the same for `rustc`.

use std::{fs, path::Path};

use crate::{house, process::root};

/// A workspace of its own, and why it may state lints instead of inheriting them.
const OF_ITS_OWN: &str = "fuzz/Cargo.toml";

/// Checks each manifest of the repository.
pub(crate) fn check() -> Result<(), String> {
    let read = |path: &Path| {
        fs::read_to_string(root().join(path)).map_err(|error| format!("{} cannot be read: {error}", path.display()))
    };
    let workspace = read(Path::new("Cargo.toml"))?;
    let files = house::files()?;
    let manifests = files
        .iter()
        .filter(|file| file.ends_with("Cargo.toml") && file.as_path() != Path::new("Cargo.toml"));
    let (mut problems, mut count) = (Vec::new(), 0);
    for file in manifests {
        let (name, text) = (file.display().to_string(), read(file)?);
        count += 1;
        problems.extend(problem(&workspace, &name, &text));
    }
    if section(&workspace, "workspace.lints.rust").all(|line| line != FORBIDDEN) {
        problems.push(format!("Cargo.toml: [workspace.lints.rust] lacks {FORBIDDEN}"));
    }
    if problems.is_empty() {
        println!("{count} crates keep to the workspace's lints, and none may be unsafe");
        Ok(())
    } else {
        Err(problems.join("\n"))
    }
}

const FORBIDDEN: &str = "unsafe_code = \"forbid\"";

fn problem(workspace: &str, name: &str, manifest: &str) -> Option<String> {
    if name == OF_ITS_OWN {
        let own: Vec<&str> = section(manifest, "lints.rust").collect();
        let lacks = section(workspace, "workspace.lints.rust").find(|line| !own.contains(line));
        return lacks.map(|line| format!("{name}: [lints.rust] lacks {line}"));
    }
    let inherits = section(manifest, "lints").any(|line| line == "workspace = true");
    (!inherits).then(|| format!("{name}: [lints] lacks workspace = true"))
}

/// The lines of a table, without comments.
fn section<'a>(manifest: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let begins = format!("[{name}]");
    let lines = manifest
        .lines()
        .map(str::trim)
        .skip_while(move |line| *line != begins)
        .skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKSPACE: &str =
        "[workspace.lints.rust]\nunsafe_code = \"forbid\"\n# why\nmissing_docs = \"warn\"\n\n[profile.dev]\n";

    #[test]
    fn a_crate_that_does_not_inherit_is_named() {
        assert_eq!(
            problem(WORKSPACE, "crates/a/Cargo.toml", "[lints]\nworkspace = true\n"),
            None
        );
        for without in [
            "[package]\nname = \"a\"\n",
            "[lints.rust]\nunsafe_code = \"allow\"\n",
            "[lints]\n[x]\nworkspace = true\n",
        ] {
            assert!(
                problem(WORKSPACE, "crates/a/Cargo.toml", without).is_some(),
                "{without}"
            );
        }
    }

    #[test]
    fn a_workspace_of_its_own_states_the_same() {
        let same = "[lints.rust]\nmissing_docs = \"warn\"\nunsafe_code = \"forbid\"\n";
        assert_eq!(problem(WORKSPACE, OF_ITS_OWN, same), None);
        let less = "[lints.rust]\nmissing_docs = \"warn\"\nunsafe_code = \"warn\"\n";
        assert!(problem(WORKSPACE, OF_ITS_OWN, less).unwrap().contains("unsafe_code"));
    }
}
