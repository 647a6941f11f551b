//! What operators look up is written down: every reason code, every log event with its level, every finding of the probe, every
//! configuration key. And nothing that is written down has gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::{house, process::root};

/// Checks the documents against the sources.
pub(crate) fn check() -> Result<(), String> {
    let mut reasons = BTreeSet::new();
    let mut events = BTreeSet::new();
    let mut findings = BTreeSet::new();
    let mut event_levels: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for file in house::files()? {
        if !is_product_source(&file) {
            continue;
        }
        let Ok(text) = fs::read_to_string(root().join(&file)) else {
            continue; // Deleted, and not committed yet.
        };
        // Tests make up their own.
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        reasons.extend(texts_after(text, "Reason::new("));
        events.extend(texts_after(text, "event = "));
        findings.extend(texts_after(text, ": Code = Code("));
        for (event, level) in levels(text) {
            event_levels.entry(event).or_default().insert(level);
        }
    }
    let keys = read("crates/app/src/config/default.toml").map(|text| keys(&text))?;

    let mut problems = Vec::new();
    problems.extend(differences(
        "docs/operations.md",
        "reason code",
        &reasons,
        &read("docs/operations.md")?,
    ));
    problems.extend(differences(
        "docs/logging.md",
        "log event",
        &events,
        &read("docs/logging.md")?,
    ));
    problems.extend(wrong_levels(&event_levels, &read("docs/logging.md")?));
    problems.extend(differences(
        "docs/probe.md",
        "finding of the probe",
        &findings,
        &read("docs/probe.md")?,
    ));
    problems.extend(differences(
        "docs/configuration.md",
        "key",
        &keys,
        &read("docs/configuration.md")?,
    ));
    if problems.is_empty() {
        println!(
            "{} reason codes, {} log events, {} findings of the probe, {} keys are documented",
            reasons.len(),
            events.len(),
            findings.len(),
            keys.len()
        );
        Ok(())
    } else {
        Err(problems.join("\n"))
    }
}

fn read(file: &str) -> Result<String, String> {
    fs::read_to_string(root().join(file)).map_err(|error| format!("{file} cannot be read: {error}"))
}

fn is_product_source(file: &Path) -> bool {
    let text = file.to_string_lossy();
    let is_test = text.contains("/tests/") || text.ends_with("/tests.rs");
    text.starts_with("crates/")
        && text.contains("/src/")
        && text.ends_with(".rs")
        && !is_test
        && !text.starts_with("crates/testkit/")
}

/// The string literals that follow `mark`, as far as they have the form of a code: `area.what-happened`.
fn texts_after(text: &str, mark: &str) -> BTreeSet<String> {
    let after = text.split(mark).skip(1);
    let literals = after.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split_once('"'));
    literals
        .map(|(code, _)| code)
        .filter(|code| is_code(code))
        .map(str::to_owned)
        .collect()
}

/// Each event with the level of the macro that it stands in.
fn levels(text: &str) -> Vec<(String, &'static str)> {
    let macros = ["error", "warn", "info", "debug", "trace"];
    let found = text.match_indices("event = ").filter_map(|(at, mark)| {
        let (event, _) = text[at + mark.len()..]
            .trim_start()
            .strip_prefix('"')?
            .split_once('"')?;
        let latest = macros
            .iter()
            .max_by_key(|level| text[..at].rfind(&format!("{level}!(")))?;
        is_code(event).then(|| (event.to_owned(), *latest))
    });
    found.collect()
}

/// Events whose second cell names other levels than the sources.
fn wrong_levels(there_are: &BTreeMap<String, BTreeSet<&str>>, document: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for line in document.lines() {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let (Some(event), Some(said)) = (cells.next(), cells.next()) else {
            continue;
        };
        let Some(levels) = there_are.get(event.trim_matches('`')) else {
            continue;
        };
        if said.split(", ").collect::<BTreeSet<_>>() != *levels {
            let levels: Vec<&str> = levels.iter().copied().collect();
            problems.push(format!(
                "docs/logging.md: {event} is logged at {}, not at {said}",
                levels.join(", ")
            ));
        }
    }
    problems
}

/// Two or more words of small letters, digits, `-` and `_`, joined by a dot.
fn is_code(text: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c))
    };
    text.contains('.') && text.split('.').all(word)
}

/// `section.key` of every assignment in a TOML file of tables and plain values.
pub(crate) fn keys(toml: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut found = BTreeSet::new();
    for line in toml.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else if let Some((key, _)) = line.split_once(" = ")
            && !line.starts_with('#')
        {
            found.insert(format!("{section}.{key}"));
        }
    }
    found
}

/// Codes in the first column of the document's tables, against those that there are.
fn differences(file: &str, what: &str, there_are: &BTreeSet<String>, document: &str) -> Vec<String> {
    let first_cells = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let documented: BTreeSet<String> = first_cells
        .map(|(code, _)| code)
        .filter(|code| is_code(code))
        .map(str::to_owned)
        .collect();
    let missing = there_are
        .difference(&documented)
        .map(|code| format!("{file}: the {what} `{code}` is missing"));
    let gone = documented
        .difference(there_are)
        .map(|code| format!("{file}: there is no {what} `{code}` any more"));
    missing.chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(codes: &[&str]) -> BTreeSet<String> {
        codes.iter().map(|code| (*code).to_owned()).collect()
    }

    #[test]
    fn codes_are_found_in_sources() {
        let source =
            "Reason::new(\n    \"ehr.not-found\",\n \"hint. here\"), Reason::new(code, hint), event = \"draft.taken\"";
        assert_eq!(texts_after(source, "Reason::new("), set(&["ehr.not-found"]));
        assert_eq!(texts_after(source, "event = "), set(&["draft.taken"]));
    }

    #[test]
    fn levels_are_compared() {
        let source = "info!(event = \"e.f\"); info!(event = \"a.b\", x = 1); debug!(x, event = \"a.b\"); error!(\n event = \"c.d\", \"said\")";
        let mut there_are: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for (event, level) in levels(source) {
            there_are.entry(event).or_default().insert(level);
        }
        let wrong = |document: &str| wrong_levels(&there_are, document).len();
        assert_eq!(
            wrong("| event | level |\n| `a.b` | info, debug | x |\n| `c.d` | error | y |\n"),
            0
        );
        assert_eq!(wrong("| `a.b` | info | x |\n| `c.d` | warn | y |\n"), 2);
    }

    #[test]
    fn keys_are_found_in_the_default_file() {
        assert_eq!(
            keys("# a = 1\n[state]\n# The file.\nfile = \"x\"\n[ehr]\nphoto_hosts = []\n"),
            set(&["state.file", "ehr.photo_hosts"])
        );
    }

    #[test]
    fn what_is_missing_and_what_has_gone_is_told() {
        let document = "| code | meaning |\n| --- | --- |\n| `a.b` | known |\n| `a.old` | gone |\n| `not a code` | - |\n`a.new` in prose";
        let told = differences("f.md", "code", &set(&["a.b", "a.new"]), document);
        assert_eq!(
            told,
            [
                "f.md: the code `a.new` is missing",
                "f.md: there is no code `a.old` any more"
            ]
        );
    }
}
