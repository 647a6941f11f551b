//! House checks on the files of the repository: nothing unfinished, nothing huge, no link that leads nowhere.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

use crate::process::{program, root};

/// A source file longer than this is asked to justify itself.
const MOST_LINES: usize = 800;

/// Longer ones, each with its reason.
const LONG: &[(&str, &str)] = &[];

/// No file in the repository is larger.
const MOST_BYTES: u64 = 5_000_000;

/// What counts as source.
const SOURCES: &[&str] = &["rs", "py", "js", "ts", "css", "sh", "sql"];

/// Checks the repository.
pub(crate) fn check() -> Result<(), String> {
    let files = files()?;
    let known: BTreeSet<&Path> = files.iter().map(PathBuf::as_path).collect();
    let mut problems = Vec::new();
    for file in &files {
        let path = root().join(file);
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue; // Deleted, and not committed yet.
        };
        if metadata.len() > MOST_BYTES {
            problems.push(format!(
                "{}: {} bytes; at most {MOST_BYTES} are allowed",
                file.display(),
                metadata.len()
            ));
            continue;
        }
        let extension = file
            .extension()
            .and_then(|extension| extension.to_str())
            .unwrap_or_default();
        if !SOURCES.contains(&extension) && extension != "md" {
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else {
            problems.push(format!("{}: not a UTF-8 text", file.display()));
            continue;
        };
        if extension == "rs" {
            problems.extend(unfinished(file, &text));
        }
        if extension == "md" {
            problems.extend(dead_links(file, &text, &known));
        } else {
            problems.extend(too_long(file, &text));
        }
    }
    for (file, _) in LONG {
        if !known.contains(Path::new(file)) {
            problems.push(format!("{file}: allowed to be long, but it does not exist"));
        }
    }
    if problems.is_empty() {
        println!("{} files keep to the house rules", files.len());
        Ok(())
    } else {
        Err(problems.join("\n"))
    }
}

/// The repository's files, relative to its root: those that git tracks, or in an unpacked archive all but `target`.
pub(crate) fn files() -> Result<Vec<PathBuf>, String> {
    let listed = program("git").args(["ls-files", "-z"]).output();
    if let Ok(listed) = listed
        && listed.status.success()
    {
        let names = String::from_utf8(listed.stdout).map_err(|_| "a file's name is not UTF-8")?;
        return Ok(names
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(PathBuf::from)
            .collect());
    }
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        let unreadable = |error| format!("{} cannot be read: {error}", folder.display());
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let relative = path.strip_prefix(root()).map(Path::to_owned).unwrap_or_default();
            if path.is_dir() {
                if relative != Path::new("target") && relative != Path::new(".git") {
                    folders.push(path);
                }
            } else {
                found.push(relative);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn unfinished(file: &Path, text: &str) -> Vec<String> {
    // Put together here, so that this file does not contain them.
    let marks = [["to", "do!("], ["unimpl", "emented!("], ["#[ign", "ore"]].map(|parts| parts.concat());
    let lines = text.lines().enumerate();
    let marked = lines.filter_map(|(number, line)| Some((number, marks.iter().find(|mark| line.contains(*mark))?)));
    marked
        .map(|(number, mark)| format!("{}:{}: `{mark}`", file.display(), number + 1))
        .collect()
}

fn too_long(file: &Path, text: &str) -> Option<String> {
    let lines = text.lines().count();
    let allowed = LONG.iter().any(|(long, _)| Path::new(long) == file);
    match (lines > MOST_LINES, allowed) {
        (true, false) => Some(format!(
            "{}: {lines} lines, more than {MOST_LINES}: split it, or give a reason in xtask/src/house.rs",
            file.display()
        )),
        (false, true) => Some(format!(
            "{}: {lines} lines: it no longer needs to be allowed",
            file.display()
        )),
        _ => None,
    }
}

/// Links to files that are not in the repository, and to headings that are not in the file.
fn dead_links(file: &Path, text: &str, known: &BTreeSet<&Path>) -> Vec<String> {
    let mut problems = Vec::new();
    for (line, target) in links(text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (path, heading) = target.split_once('#').unwrap_or((target, ""));
        let folder = file.parent().unwrap_or(Path::new(""));
        let aim = if path.is_empty() {
            Some(file.to_owned())
        } else {
            normal(&folder.join(path))
        };
        let complaint = match aim {
            None => Some("leads out of the repository".to_owned()),
            Some(aim) if known.contains(aim.as_path()) => {
                let of_aim = fs::read_to_string(root().join(&aim)).unwrap_or_default();
                let text = if path.is_empty() { text } else { of_aim.as_str() };
                let found = heading.is_empty() || headings(text).any(|known| known == heading);
                (!found).then(|| format!("leads to a heading that {} does not have", aim.display()))
            }
            Some(aim) if known.iter().any(|file| file.starts_with(&aim)) => None,
            Some(aim) => Some(format!("leads to {}, which is not in the repository", aim.display())),
        };
        problems
            .extend(complaint.map(|complaint| format!("{}:{line}: the link `{target}` {complaint}", file.display())));
    }
    problems
}

/// The text's lines outside fenced code, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        (!fence && !in_code).then_some((number + 1, line))
    })
}

/// The targets of `[text](target)` and `![text](target)`, with their lines.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        // Code spans are at the odd places.
        for part in line.split('`').step_by(2) {
            let targets = part.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            found.extend(targets.map(|(target, _)| (number, target.trim())));
        }
        // A link whose text is a code span: [`name`](target).
        let targets = line.split("`](").skip(1).filter_map(|rest| rest.split_once(')'));
        found.extend(targets.map(|(target, _)| (number, target.trim())));
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// The names that headings have in links.
fn headings(text: &str) -> impl Iterator<Item = String> {
    prose(text).filter(|(_, line)| line.starts_with('#')).map(|(_, line)| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

/// The path without `.` and `..`; none when it leads out.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !normal.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_code_is_found() {
        let text = format!("fn a() {{}}\nfn b() {{ {}!() }}\n", ["to", "do"].concat());
        assert_eq!(
            unfinished(Path::new("a.rs"), &text),
            [format!("a.rs:2: `{}`", ["to", "do!("].concat())]
        );
        let text = format!("{}]\nfn c() {{}}", ["#[ign", "ore"].concat());
        assert_eq!(unfinished(Path::new("a.rs"), &text).len(), 1);
        assert!(unfinished(Path::new("a.rs"), "fn a() {}").is_empty());
    }

    #[test]
    fn long_files_are_found() {
        assert!(too_long(Path::new("a.rs"), &"\n".repeat(MOST_LINES)).is_none());
        assert!(too_long(Path::new("a.rs"), &"\n".repeat(MOST_LINES + 1)).is_some());
    }

    #[test]
    fn dead_links_are_found() {
        let known = BTreeSet::from([
            Path::new("README.md"),
            Path::new("docs/a.md"),
            Path::new("docs/adr/1.md"),
        ]);
        let complaints = |text: &str| dead_links(Path::new("docs/a.md"), text, &known).len();
        assert_eq!(
            complaints("[r](../README.md), ![p](adr/1.md) and [all](adr), [out](https://example.com)"),
            0
        );
        assert_eq!(complaints("[`code`](adr/1.md)"), 0);
        assert_eq!(complaints("[gone](b.md)"), 1);
        assert_eq!(complaints("[`gone`](b.md)"), 1);
        assert_eq!(complaints("[out](../../b.md)"), 1);
        assert_eq!(complaints("[rooted](/README.md)"), 1);
        assert_eq!(complaints("`[code](b.md)`\n```\n[code](b.md)\n```\n[gone](b.md)"), 1);
        assert_eq!(complaints("# Who may know whom?\n[there](#who-may-know-whom)"), 0);
        assert_eq!(complaints("# Who\n[not there](#what)"), 1);
    }
}
