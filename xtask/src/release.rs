//! `cargo xtask release`: the program as it is handed to others: an archive, its SBOM, and the checksums of both.
//!
//! The commit is built as `cargo xtask reproducible` builds it, and the archive depends on nothing but the program and the commit: files in the
//! order of their names, owned by nobody in particular, at the commit's date. Nothing is signed or uploaded.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    pinned::{copy, empty},
    process::{output, program, root, run as run_command},
    reproducible, sbom,
};

/// The program.
const BINARY: &str = "skin-assist";

/// The shells that there are completions for, with the file of each.
const SHELLS: &[(&str, &str)] = &[
    ("bash", "skin-assist.bash"),
    ("zsh", "_skin-assist"),
    ("fish", "skin-assist.fish"),
];

/// What is taken as it is, and where to.
const FILES: &[(&str, &str)] = &[
    ("CHANGELOG.md", "CHANGELOG.md"),
    ("LICENSE", "LICENSE"),
    ("README.md", "README.md"),
    ("deploy/monitoring/alerts.yaml", "monitoring/alerts.yaml"),
    ("deploy/monitoring/dashboard.json", "monitoring/dashboard.json"),
    ("deploy/systemd/skin-assist.service", "systemd/skin-assist.service"),
];

/// Makes a release; with `--dry-run` says what would be done, with `--program FILE` packs a program that is there.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    let release = Release::of_this_commit()?;
    match arguments {
        [] => {
            is_committed()?;
            let built = reproducible::build(&release.folder.join("build"), &release.commit)?;
            release.make(&built)
        }
        ["--dry-run"] => {
            release.tell();
            Ok(())
        }
        ["--program", file] => release.make(&root().join(file)),
        _ => Err("say `cargo xtask release`, with --dry-run or --program FILE".to_owned()),
    }
}

struct Release {
    /// `skin-assist-1.2.3-x86_64-unknown-linux-gnu`.
    name: String,
    version: String,
    commit: String,
    /// Of the commit, in seconds since 1970.
    date: String,
    folder: PathBuf,
}

impl Release {
    fn of_this_commit() -> Result<Self, String> {
        let manifest = fs::read_to_string(root().join("Cargo.toml")).map_err(|error| format!("Cargo.toml: {error}"))?;
        let version = version(&manifest).ok_or("Cargo.toml has no [workspace.package] version")?;
        let about = output(program("rustc").arg("-vV"))?;
        let target = about.lines().find_map(|line| line.strip_prefix("host: "));
        let target = target.ok_or("rustc does not say which machine it builds for")?;
        let git = |arguments: &[&str]| output(program("git").args(arguments)).map(|text| text.trim().to_owned());
        Ok(Self {
            name: format!("{BINARY}-{version}-{target}"),
            folder: root().join(format!("target/release-{version}-{target}")),
            version: version.to_owned(),
            commit: git(&["rev-parse", "HEAD"])?,
            date: git(&["show", "--no-patch", "--format=%ct", "HEAD"])?,
        })
    }

    fn tell(&self) {
        println!(
            "build   {} as `cargo xtask reproducible` does, in {}/build",
            self.commit,
            self.folder.display()
        );
        println!(
            "pack    {}.tar.gz: the program, manual pages, completions, and",
            self.name
        );
        for (file, _) in FILES {
            println!("        {file}");
        }
        println!("write   {BINARY}-{}.cdx.json, SHA256SUMS", self.version);
    }

    fn make(&self, built: &Path) -> Result<(), String> {
        fs::create_dir_all(&self.folder).map_err(|error| format!("{}: {error}", self.folder.display()))?;
        let content = self.folder.join(&self.name);
        empty(&content)?;
        copy(built, &content.join(BINARY))?;
        for (from, to) in FILES {
            let to = content.join(to);
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
            }
            copy(&root().join(from), &to)?;
        }
        for folder in ["man", "completions"] {
            empty(&content.join(folder))?;
        }
        let binary = built.to_string_lossy();
        run_command(program(&binary).arg("man").arg(content.join("man")))?;
        for (shell, file) in SHELLS {
            let text = output(program(&binary).args(["completions", shell]))?;
            fs::write(content.join("completions").join(file), text).map_err(|error| format!("{file}: {error}"))?;
        }
        let archive = format!("{}.tar.gz", self.name);
        pack(&self.folder, &self.name, &archive, &self.date)?;
        let bill = format!("{BINARY}-{}.cdx.json", self.version);
        sbom::write(&self.folder.join(&bill))?;
        let sums = output(program("sha256sum").args([&archive, &bill]).current_dir(&self.folder))?;
        fs::write(self.folder.join("SHA256SUMS"), &sums).map_err(|error| format!("SHA256SUMS: {error}"))?;
        println!("{}:\n{sums}", self.folder.display());
        Ok(())
    }
}

/// A release is of a commit, and of nothing else.
fn is_committed() -> Result<(), String> {
    let changed = output(program("git").args(["status", "--porcelain"]))?;
    if changed.is_empty() {
        Ok(())
    } else {
        Err(format!("not committed:\n{changed}"))
    }
}

/// Packs a folder so that the same content gives the same bytes.
fn pack(folder: &Path, name: &str, archive: &str, date: &str) -> Result<(), String> {
    let tar = archive.trim_end_matches(".gz");
    run_command(
        program("tar")
            .args([
                "--create",
                "--format=ustar",
                "--sort=name",
                "--owner=0",
                "--group=0",
                "--numeric-owner",
            ])
            .args(["--mode=u=rwX,go=rX", &format!("--mtime=@{date}")])
            .args(["--file", tar, name])
            .current_dir(folder),
    )?;
    // Without its own name and date.
    run_command(
        program("gzip")
            .args(["--force", "--no-name", "--best", tar])
            .current_dir(folder),
    )
}

/// `version` of `[workspace.package]`.
fn version(manifest: &str) -> Option<&str> {
    let (_, package) = manifest.split_once("[workspace.package]")?;
    let line = package.lines().find_map(|line| line.strip_prefix("version = "))?;
    Some(line.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_workspaces() {
        assert_eq!(
            version("[a]\nversion = \"9\"\n[workspace.package]\nversion = \"1.2.3\"\n"),
            Some("1.2.3")
        );
        assert_eq!(Release::of_this_commit().unwrap().version, env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn what_is_taken_is_there() {
        for (file, _) in FILES {
            assert!(root().join(file).is_file(), "{file}");
        }
    }

    /// Two folders with the same files, made in another order, at another time, with other rights.
    #[test]
    fn the_same_content_gives_the_same_archive() {
        let home = root().join("target/test-of-the-archive");
        let mut archives = Vec::new();
        for (folder, files, mode) in [("one", ["a", "b"], "644"), ("other", ["b", "a"], "600")] {
            let folder = home.join(folder);
            empty(&folder.join("content")).unwrap();
            for file in files {
                fs::write(folder.join("content").join(file), file).unwrap();
                run_command(program("chmod").arg(mode).arg(folder.join("content").join(file))).unwrap();
            }
            run_command(
                program("touch")
                    .args(["--date", "2020-01-01"])
                    .arg(folder.join("content/b")),
            )
            .unwrap();
            pack(&folder, "content", "content.tar.gz", "1700000000").unwrap();
            archives.push(fs::read(folder.join("content.tar.gz")).unwrap());
        }
        assert!(archives[0] == archives[1], "the archives differ");
        fs::remove_dir_all(&home).unwrap();
    }
}
