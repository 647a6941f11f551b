//! A profile as TOML, with what was changed and why.

use std::fmt::Write as _;

use super::report::ProbeReport;
use crate::profile::Profile;

/// The text. The form is this function's own, so each key is on one line of its section.
pub(super) fn text(profile: &Profile, report: &ProbeReport) -> String {
    // A profile is tables of texts, numbers, lists of texts and switches, all of which TOML has.
    let plain = toml::to_string(profile).unwrap_or_default();
    let mut text = format!(
        "# Proposed by `skin-assist probe` from the profile \"{}\". What differs has a comment; read it before you use it.\n",
        one_line(&report.profile)
    );
    let mut comments: Vec<(&str, String)> = report
        .differences
        .iter()
        .map(|difference| {
            let answer = if difference.answered {
                ""
            } else {
                " No value of this key answers that."
            };
            let comment = format!(
                "# {}: the profile says {}, the EHR {}.{answer}",
                difference.key,
                one_line(&difference.profile),
                one_line(&difference.ehr)
            );
            (difference.key, comment)
        })
        .collect();
    let mut section = String::new();
    let (mut body, mut pending) = (String::new(), Vec::new());
    for line in plain.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
            pending.clear();
            // A key that is not there any more is explained at the head of its section.
            let absent = |key: &str| key.rsplit_once('.').is_some_and(|(of, _)| of == section) && !has(&plain, key);
            comments.retain(|(key, comment)| {
                let here = *key == section || absent(key);
                if here {
                    pending.push(comment.clone());
                }
                !here
            });
            for comment in pending.drain(..) {
                _ = writeln!(body, "{comment}");
            }
        } else if let Some((key, _)) = line.split_once(" = ") {
            let key = format!("{section}.{key}");
            comments.retain(|(of, comment)| {
                if *of == key {
                    _ = writeln!(body, "{comment}");
                }
                *of != key
            });
        }
        _ = writeln!(body, "{line}");
    }
    // A table that is gone as a whole has no place of its own.
    for (_, comment) in comments {
        _ = writeln!(text, "{comment}");
    }
    text.push('\n');
    text.push_str(&body);
    text
}

/// Whether the text has this key, or a table of this name.
fn has(plain: &str, key: &str) -> bool {
    let (of, name) = key.rsplit_once('.').unwrap_or(("", key));
    let mut section = "";
    plain.lines().any(|line| {
        if let Some(found) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = found;
            return section == key;
        }
        section == of && line.split_once(" = ").is_some_and(|(found, _)| found == name)
    })
}

/// A comment ends with its line.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::super::report::{Code, Notes, nothing};
    use super::*;

    #[test]
    fn every_shipped_profile_survives_being_written() {
        for name in Profile::shipped_names() {
            let profile = Profile::shipped(name).unwrap();
            let text = Notes::new(&profile).into_report(0, None).proposed_profile();
            assert_eq!(Profile::from_toml(&text).unwrap(), profile, "{text}");
        }
    }

    #[test]
    fn each_difference_has_its_comment() {
        let profile = Profile::shipped("fhir-r4").unwrap();
        let mut notes = Notes::new(&profile);
        let code = Code("test.code");
        notes.differ(code, "encounters.page_size", "200", "gives 20", |profile| {
            profile.encounters.page_size = 20;
        });
        notes.differ(code, "encounters.sort", "_lastUpdated", "ignores it", |profile| {
            profile.encounters.sort = None;
        });
        notes.differ(code, "documents.changed", "_lastUpdated", "refuses\nit", |profile| {
            profile.documents.changed = None;
        });
        notes.differ(code, "paging.next", "link", "goes in a circle", nothing);
        notes.differ(code, "quota.calls", "600", "allows none", |profile| {
            profile.quota.calls = 0;
        });
        let report = notes.into_report(0, None);
        let answered: Vec<_> = report
            .differences
            .iter()
            .map(|difference| difference.answered)
            .collect();
        assert_eq!(answered, [true, true, true, false, false]);
        let text = report.proposed_profile();
        for line in [
            "# encounters.page_size: the profile says 200, the EHR gives 20.\npage_size = 20\n",
            "[encounters]\n",
            "# encounters.sort: the profile says _lastUpdated, the EHR ignores it.\n",
            "# documents.changed: the profile says _lastUpdated, the EHR refuses it.\n",
            "# paging.next: the profile says link, the EHR goes in a circle. No value of this key answers that.\nnext = \"link\"\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let read = Profile::from_toml(&text).unwrap();
        assert_eq!((read.encounters.page_size, read.quota.calls), (20, 600));
        assert_eq!((read.encounters.sort, read.documents.changed), (None, None));
    }
}
