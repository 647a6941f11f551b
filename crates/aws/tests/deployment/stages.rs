//! What a stage holds and calls, read from its source: its fields are its permissions, and of each port it needs the methods
//! that it calls.

use std::collections::{BTreeMap, BTreeSet};

use crate::template::text;

/// A port and one of its methods.
pub(crate) type Use = (String, String);

/// A stage and where it is: whole files, or functions of files (`file#function`) that it shares with others.
struct Stage {
    name: &'static str,
    sources: &'static [&'static str],
}

const STAGES: &[Stage] = &[
    Stage {
        name: "DiscoverFirms",
        sources: &["discover_firms.rs"],
    },
    Stage {
        name: "RefreshCredentials",
        sources: &["refresh_credentials.rs"],
    },
    Stage {
        name: "PollEncounters",
        sources: &["poll_encounters.rs", "quota.rs"],
    },
    Stage {
        name: "PollDocuments",
        sources: &["poll_documents.rs", "poll_changes.rs", "quota.rs"],
    },
    Stage {
        name: "DownloadPhoto",
        sources: &["download_photo.rs", "quota.rs"],
    },
    Stage {
        name: "Infer",
        sources: &["infer.rs", "look.rs", "download_photo.rs#settle", "quota.rs"],
    },
    Stage {
        name: "WriteBack",
        sources: &["write_back.rs", "quota.rs"],
    },
];

/// The methods of every port, from where ports are declared.
pub(crate) fn ports() -> BTreeMap<String, BTreeSet<String>> {
    let mut ports = BTreeMap::new();
    for file in ["state", "audit", "proposals", "ehr", "models", "spending"] {
        let source = production(&text(&format!("crates/core/src/ports/{file}.rs")));
        let mut current = None;
        for line in source.lines() {
            if let Some(rest) = line.strip_prefix("pub trait ") {
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
                ports.entry(name.clone()).or_insert_with(BTreeSet::new);
                current = Some(name);
            } else if line == "}" {
                current = None;
            } else if let Some(port) = &current {
                let line = line.trim_start();
                let method = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "));
                if let Some(method) = method {
                    let name: String = method
                        .chars()
                        .take_while(|c| c.is_alphanumeric() || *c == '_')
                        .collect();
                    ports.get_mut(port).expect("it was just entered").insert(name);
                }
            }
        }
    }
    ports
}

/// What a stage uses, and which ports it holds.
pub(crate) fn stage(name: &str) -> (BTreeSet<Use>, BTreeSet<String>) {
    let stage = STAGES.iter().find(|stage| stage.name == name);
    let stage = stage.unwrap_or_else(|| panic!("there is no stage {name}"));
    let sources: Vec<String> = stage.sources.iter().map(|source| slice(source)).collect();
    let mut fields = fields(&sources[0], name);
    if fields.values().any(|port| port == "Quota") {
        fields.insert("grants".to_owned(), "CallGrants".to_owned());
    }
    // Without white space, calls that are broken over lines look like the others.
    let dense: String = sources.concat().chars().filter(|c| !c.is_whitespace()).collect();
    let ports = ports();
    let mut uses = BTreeSet::new();
    let mut held = BTreeSet::new();
    for (field, port) in &fields {
        let Some(methods) = ports.get(port) else { continue };
        held.insert(port.clone());
        for method in methods {
            if is_called(&dense, field, method) {
                uses.insert((port.clone(), method.clone()));
            }
        }
    }
    (uses, held)
}

fn is_called(dense: &str, field: &str, method: &str) -> bool {
    let call = format!("{field}.{method}(");
    dense.match_indices(&call).any(|(place, _)| {
        let before = dense[..place].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// The fields of `pub struct NAME<'a>` that are ports, or the quota.
fn fields(source: &str, name: &str) -> BTreeMap<String, String> {
    let head = format!("pub struct {name}<'a> {{");
    let body = source
        .split(&head)
        .nth(1)
        .unwrap_or_else(|| panic!("there is no struct {name}"));
    let body = body.split("\n}").next().unwrap_or_default();
    let mut fields = BTreeMap::new();
    for line in body.lines() {
        let Some(line) = line.trim().strip_prefix("pub ") else {
            continue;
        };
        let Some((field, kind)) = line.split_once(": ") else {
            continue;
        };
        let kind = kind.trim_end_matches(',');
        let port = kind
            .strip_prefix("&'a dyn ")
            .or_else(|| kind.starts_with("Quota").then_some("Quota"));
        if let Some(port) = port {
            fields.insert(field.to_owned(), port.to_owned());
        }
    }
    fields
}

fn slice(source: &str) -> String {
    let (file, function) = source
        .split_once('#')
        .map_or((source, None), |(file, name)| (file, Some(name)));
    let whole = production(&text(&format!("crates/core/src/stages/{file}")));
    let Some(function) = function else { return whole };
    let begin = whole
        .find(&format!("fn {function}("))
        .unwrap_or_else(|| panic!("{file} has no function {function}"));
    let rest = &whole[begin..];
    rest[..rest.find("\n}").unwrap_or(rest.len())].to_owned()
}

fn production(source: &str) -> String {
    source.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

#[test]
fn stages_are_read_as_they_are() {
    let (uses, held) = stage("DownloadPhoto");
    let of = |port: &str| -> Vec<&str> {
        let uses = uses.iter().filter(|(of, _)| of == port);
        uses.map(|(_, method)| method.as_str()).collect()
    };
    assert_eq!(of("DocumentQueue"), ["bury_document", "record_photo", "retry_document"]);
    assert_eq!(of("Photos"), ["put"]);
    assert_eq!(of("CallGrants"), ["hold", "slow_down", "take"]);
    assert_eq!(of("Audit"), ["record"]);
    assert!(held.contains("PhotoSource") && !held.contains("Deliveries"));
    let (uses, _) = stage("PollEncounters");
    assert!(uses.contains(&("EncounterWatches".to_owned(), "record_encounters".to_owned())));
    assert!(!uses.iter().any(|(_, method)| method == "record_documents"));
}
