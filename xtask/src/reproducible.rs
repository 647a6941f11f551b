//! `cargo xtask reproducible`: whether the release binary is the same wherever it is built.
//!
//! The commit is unpacked into two folders with paths of different lengths and built in each from nothing. What differs
//! between two machines otherwise is taken out: paths (by `--remap-path-prefix` for Rust, by [`C_COMPILER`] for C) and the date that
//! OpenSSL writes into itself (by `SOURCE_DATE_EPOCH`, the commit's). The two binaries have to be equal, byte for byte;
//! where they are not, the sections that differ are named. The first of them is the release.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    pinned::empty,
    process::{cargo, output, program, root, run as run_command},
};

/// Where it is built.
const HOME: &str = "target/reproducible";

/// The two folders below it.
const FOLDERS: [&str; 2] = ["one", "the-other-one-with-a-longer-path"];

/// What both are called in the binary.
const SOURCE: &str = "/skin-assist";

/// The program.
const BINARY: &str = "skin-assist";

/// A C compiler that leaves out where it works: in debug information and `__FILE__`, and in the paths that OpenSSL defines as text. Its
/// name and its arguments are the same in both folders, because OpenSSL writes them into itself.
const C_COMPILER: (&str, &str) = (
    "skin-assist-cc",
    r#"#!/bin/bash
arguments=()
for argument in "$@"; do
    case $argument in
        -D*) argument=${argument//"$SKIN_ASSIST_BUILT_IN"/"$SKIN_ASSIST_BUILT_AS"} ;;
    esac
    arguments+=("$argument")
done
exec cc "-ffile-prefix-map=$SKIN_ASSIST_BUILT_IN=$SKIN_ASSIST_BUILT_AS" "-ffile-prefix-map=$SKIN_ASSIST_CARGO_HOME=/cargo" "${arguments[@]}"
"#,
);

/// Builds twice and compares.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    match arguments {
        [] => {
            let commit = output(program("git").args(["rev-parse", "HEAD"]))?.trim().to_owned();
            let changed = output(program("git").args(["status", "--porcelain"]))?;
            if !changed.is_empty() {
                println!("note: it is the commit {commit} that is built, without what was changed since");
            }
            let home = root().join(HOME);
            empty(&home)?;
            let mut binaries = Vec::new();
            for folder in FOLDERS {
                binaries.push(build(&home.join(folder), &commit)?);
            }
            compare(&binaries[0], &binaries[1])
        }
        ["compare", one, other] => compare(Path::new(one), Path::new(other)),
        _ => Err("say `cargo xtask reproducible`, or `cargo xtask reproducible compare ONE OTHER`".to_owned()),
    }
}

/// Unpacks and builds the commit below `folder`; the binary.
pub(crate) fn build(folder: &Path, commit: &str) -> Result<PathBuf, String> {
    let (source, target, tools) = (folder.join("source"), folder.join("target"), folder.join("tools"));
    for folder in [&source, &target, &tools] {
        empty(folder)?;
    }
    let archive = folder.join("source.tar");
    run_command(
        program("git")
            .args(["archive", "--format=tar", "--output"])
            .arg(&archive)
            .arg(commit),
    )?;
    run_command(
        program("tar")
            .arg("--extract")
            .arg("--file")
            .arg(&archive)
            .arg("--directory")
            .arg(&source),
    )?;
    let date = output(program("git").args(["show", "--no-patch", "--format=%ct", commit]))?;

    let (name, text) = C_COMPILER;
    let compiler = tools.join(name);
    let written =
        fs::write(&compiler, text).and_then(|()| fs::set_permissions(&compiler, fs::Permissions::from_mode(0o755)));
    written.map_err(|error| format!("{} cannot be written: {error}", compiler.display()))?;

    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let cargo_home = cargo_home.ok_or("neither CARGO_HOME nor HOME says where cargo keeps what it fetched")?;
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    // The later one goes first, where one folder is in the other.
    let flags = [remap(&cargo_home, "/cargo"), remap(folder, SOURCE)];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(tools.clone()).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(path).map_err(|error| format!("PATH: {error}"))?;
    run_command(
        cargo("build --release --locked --package skin-assist")
            .current_dir(&source)
            .env("CARGO_TARGET_DIR", &target)
            // Between two flags, and not between two words of a path.
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
            .env("CARGO_INCREMENTAL", "0")
            .env("PATH", path)
            .env("CC", name)
            .env("SKIN_ASSIST_BUILT_IN", folder)
            .env("SKIN_ASSIST_BUILT_AS", SOURCE)
            .env("SKIN_ASSIST_CARGO_HOME", &cargo_home)
            .env("SOURCE_DATE_EPOCH", date.trim())
            .env("ZERO_AR_DATE", "1")
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .env_remove("RUSTFLAGS"),
    )?;
    Ok(target.join("release").join(BINARY))
}

/// Says whether the two are the same, and if not, where they differ.
fn compare(one: &Path, other: &Path) -> Result<(), String> {
    let read = |path: &Path| fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()));
    let contents = [read(one)?, read(other)?];
    for path in [one, other] {
        print!("{}", output(program("sha256sum").arg(path))?);
    }
    if contents[0] == contents[1] {
        println!("the two are equal, {} bytes", contents[0].len());
        return Ok(());
    }
    let [one, other] = &contents;
    Err(format!("the two differ: {}", differences(one, other).join("; ")))
}

/// The sections of two ELF files that differ, each with the first text in which it does.
fn differences(one: &[u8], other: &[u8]) -> Vec<String> {
    let (Some(ours), Some(theirs)) = (sections(one), sections(other)) else {
        return vec!["they are not 64-bit ELF files".to_owned()];
    };
    let names: BTreeSet<&String> = ours.iter().chain(&theirs).map(|(name, _)| name).collect();
    let mut found = Vec::new();
    for name in names {
        let content = |sections: &[(String, &[u8])]| -> Option<Vec<u8>> {
            let found = sections.iter().find(|(known, _)| known == name);
            found.map(|(_, content)| content.to_vec())
        };
        match (content(&ours), content(&theirs)) {
            (Some(one), Some(other)) if one == other => {}
            (Some(one), Some(other)) => {
                let at = one.iter().zip(&other).take_while(|(one, other)| one == other).count();
                found.push(format!(
                    "{name} ({} and {} bytes, from byte {at} on: \"{}\" and \"{}\")",
                    one.len(),
                    other.len(),
                    around(&one, at),
                    around(&other, at)
                ));
            }
            _ => found.push(format!("{name} (only in one of them)")),
        }
    }
    if found.is_empty() {
        found.push("no section does, so headers or what is between sections".to_owned());
    }
    found
}

/// The text around a byte.
fn around(content: &[u8], at: usize) -> String {
    let end = content.len().min(at + 48);
    content[at.saturating_sub(48).min(end)..end].escape_ascii().to_string()
}

/// Names and contents of the sections of a little-endian 64-bit ELF file (System V ABI, "Section Header").
fn sections(file: &[u8]) -> Option<Vec<(String, &[u8])>> {
    const WITHOUT_CONTENT: u64 = 8;
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let number = |at: usize, bytes: usize| -> Option<u64> {
        let bytes = file.get(at..at.checked_add(bytes)?)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |number, byte| number << 8 | u64::from(*byte)),
        )
    };
    let place = |at: usize, bytes: usize| usize::try_from(number(at, bytes)?).ok();
    let (table, size) = (place(40, 8)?, place(58, 2)?);
    let (count, names) = (place(60, 2)?, place(62, 2)?);
    let header = |index: usize| table.checked_add(index.checked_mul(size)?);
    let content = |header: usize| -> Option<&[u8]> {
        if number(header + 4, 4)? == WITHOUT_CONTENT {
            return Some(&[]);
        }
        let (begin, length) = (place(header + 24, 8)?, place(header + 32, 8)?);
        file.get(begin..begin.checked_add(length)?)
    };
    let names = content(header(names)?)?;
    let mut found = Vec::new();
    for index in 0..count {
        let header = header(index)?;
        file.get(header..header.checked_add(size)?)?;
        let name = names.get(place(header, 4)?..)?;
        let name = name.split(|byte| *byte == 0).next()?;
        found.push((String::from_utf8_lossy(name).into_owned(), content(header)?));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with the sections `.text` and `.shstrtab`.
    fn elf(text: &[u8]) -> Vec<u8> {
        let names = b"\0.text\0.shstrtab\0";
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let (text_at, names_at) = (64, 64 + text.len());
        file.extend_from_slice(text);
        file.extend_from_slice(names);
        let table = file.len();
        for (name, at, length) in [(1_u32, text_at, text.len()), (7, names_at, names.len())] {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[4] = 1;
            header[24..32].copy_from_slice(&(at as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(length as u64).to_le_bytes());
            file.extend_from_slice(&header);
        }
        file[40..48].copy_from_slice(&(table as u64).to_le_bytes());
        file[58] = 64;
        file[60] = 2;
        file[62] = 1;
        file
    }

    #[test]
    fn what_differs_is_named_with_its_text() {
        let found = differences(&elf(b"built in /one"), &elf(b"built in /two"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with(".text (13 and 13 bytes, from byte 10 on"),
            "{found:?}"
        );
        assert!(
            found[0].contains("built in /one") && found[0].contains("built in /two"),
            "{found:?}"
        );
    }

    #[test]
    fn hostile_files_are_no_trouble() {
        let whole = elf(b"text");
        assert_eq!(sections(&whole).unwrap().len(), 2);
        for length in 0..whole.len() {
            assert!(sections(&whole[..length]).is_none(), "cut off at {length}");
        }
        assert_eq!(differences(b"a", b"b"), ["they are not 64-bit ELF files"]);
    }

    /// The compiler's own arguments are let through, definitions lose the folder.
    #[test]
    fn the_c_compiler_leaves_out_where_it_works() {
        let folder = root().join(HOME).join("test-of-the-compiler");
        empty(&folder).unwrap();
        let compiler = folder.join(C_COMPILER.0);
        fs::write(&compiler, C_COMPILER.1).unwrap();
        let source = folder.join("a.c");
        fs::write(&source, "const char *where = __FILE__ \" in \" PLACE;\n").unwrap();
        let object = folder.join("a.o");
        let mut command = program("bash");
        command
            .arg(&compiler)
            .arg(format!("-DPLACE=\"{}/lib\"", folder.display()));
        command.arg("-c").arg(&source).arg("-o").arg(&object);
        command
            .env("SKIN_ASSIST_BUILT_IN", &folder)
            .env("SKIN_ASSIST_BUILT_AS", SOURCE);
        command.env("SKIN_ASSIST_CARGO_HOME", "/nowhere");
        run_command(&mut command).unwrap();
        let object = fs::read(&object).unwrap();
        let has = |text: &str| object.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(has("/skin-assist/a.c in /skin-assist/lib"));
        assert!(!has("test-of-the-compiler"), "the folder is in the object");
        fs::remove_dir_all(&folder).unwrap();
    }
}
