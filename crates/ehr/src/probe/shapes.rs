//! The shapes of what records carry: ids, references, times. Counts and forms, and nothing of what they say.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use skin_assist_core::time::Timestamp;
use url::Url;

use crate::{urls::ServiceRoot, view::View};

/// How `meta.lastUpdated` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stamp {
    Instant,
    Day,
    Missing,
}

/// What was seen, by type of resource where that matters.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    stamps: BTreeMap<&'static str, BTreeMap<Stamp, usize>>,
    pub(super) references: BTreeMap<&'static str, usize>,
    /// Characters in ids beside letters, digits, `-` and `.`, which are all that FHIR allows.
    pub(super) odd_characters: BTreeSet<char>,
    pub(super) ids: usize,
    pub(super) longest_id: usize,
}

impl Shapes {
    pub(super) fn look_at(&mut self, resource: &'static str, service: &ServiceRoot, records: &[Value]) {
        for record in records.iter().map(View::of) {
            let stamps = self.stamps.entry(resource).or_default();
            *stamps.entry(stamp(record)).or_default() += 1;
            if let Some(id) = record.text("id") {
                self.ids += 1;
                self.longest_id = self.longest_id.max(id.len());
                let odd = |c: &char| !(c.is_ascii_alphanumeric() || *c == '-' || *c == '.');
                self.odd_characters.extend(id.chars().filter(odd));
            }
            if let Some(reference) = record.get("subject").text("reference") {
                *self.references.entry(form(&reference, service)).or_default() += 1;
            }
        }
    }

    /// How the times of this type of record are written; several forms where they differ.
    pub(super) fn stamps(&self, resource: &str) -> Vec<(Stamp, usize)> {
        let counted = self.stamps.get(resource).into_iter().flatten();
        counted.map(|(stamp, count)| (*stamp, *count)).collect()
    }
}

fn stamp(record: View<'_>) -> Stamp {
    let meta = record.get("meta");
    match meta.text("lastUpdated") {
        None => Stamp::Missing,
        Some(text) if Timestamp::parse_rfc3339(&text).is_ok() => Stamp::Instant,
        Some(_) => Stamp::Day,
    }
}

fn form(reference: &str, service: &ServiceRoot) -> &'static str {
    let is_versioned = reference.contains("/_history/");
    match (Url::parse(reference).is_ok(), is_versioned) {
        (true, _) if reference.starts_with("urn:") => "urn",
        (true, _) if !reference.starts_with(service.as_str()) => "absolute, on another base",
        (true, true) => "absolute with a version",
        (true, false) => "absolute",
        (false, true) => "relative with a version",
        (false, false) if reference.starts_with('#') => "contained",
        (false, false) => "relative",
    }
}
