//! Reading what changed since a cursor: which version of a record counts, how far the answer reaches, and when a search has to be read
//! again.

use std::collections::BTreeSet;

use crate::{
    domain::{CategoryCode, Cursor, DocumentId, DocumentSummary, Encounter, EncounterId},
    polling::Answer,
    time::Timestamp,
};

/// What the pages of one search may come to in memory, in bytes, before they are taken for endless: a hundred times a busy month
/// of a practice. Ever new pages would fill it otherwise.
pub(super) const MOST_HELD: usize = 64 << 20;

/// What an encounter takes, about.
pub(super) fn bytes_of_encounter(encounter: &Encounter) -> usize {
    let practitioner = encounter.practitioner.as_ref().map_or(0, |id| id.as_str().len());
    size_of::<Encounter>() + encounter.id.as_str().len() + encounter.patient.as_str().len() + practitioner
}

/// What a document takes, about.
pub(super) fn bytes_of_document(document: &DocumentSummary) -> usize {
    let visits = document
        .encounters
        .iter()
        .map(|id| size_of::<EncounterId>() + id.as_str().len());
    let categories = document
        .categories
        .iter()
        .map(|code| size_of::<CategoryCode>() + code.as_str().len());
    let patient = document.patient.as_ref().map_or(0, |id| id.as_str().len());
    let content_type = document.content_type.as_ref().map_or(0, String::len);
    let lists = visits.sum::<usize>() + categories.sum::<usize>();
    size_of::<DocumentSummary>() + document.id.as_str().len() + patient + content_type + lists
}

/// A record that changes.
pub(super) trait Versioned {
    /// What is the same in all of its versions.
    type Id: Ord + Clone;
    /// It.
    fn id(&self) -> &Self::Id;
    /// When it became what it is, where the EHR tells.
    fn changed(&self) -> Option<Timestamp>;
}

impl Versioned for Encounter {
    type Id = EncounterId;
    fn id(&self) -> &EncounterId {
        &self.id
    }
    fn changed(&self) -> Option<Timestamp> {
        self.last_updated
    }
}

impl Versioned for DocumentSummary {
    type Id = DocumentId;
    fn id(&self) -> &DocumentId {
        &self.id
    }
    fn changed(&self) -> Option<Timestamp> {
        self.last_updated
    }
}

/// What a search for changes since a cursor brought, in one pass over its pages or in several.
///
/// While a search of several pages is read its results may shrink: a record that was on a page that was read changes, those behind it
/// move up, and the first one of the next page is on none. The next search brings it, if it changed no longer ago than that one
/// reaches back. So if the cursor moves at all, the search is read again until a pass brings nothing that no later
/// search would bring and that was not known from the passes before; if that does not end, the cursor stays where it was. A move of
/// less than the overlap is no exception: what was missed may be a record from behind the cursor, which an EHR showed late, or which the search
/// before this one missed as well. In one page nothing can be missed.
pub(super) struct Passes<T> {
    records: Vec<T>,
    position: Cursor,
    next: Cursor,
    made: usize,
    settled: bool,
}

impl<T: Versioned> Passes<T> {
    /// As many passes over a search are made at most before its cursor is left for the next poll.
    pub(super) const MOST: usize = 5;

    /// After the first pass, of the search that reaches back behind `position`.
    pub(super) fn first(position: Cursor, records: Vec<T>, answer: &Answer) -> Self {
        let next = read_up_to(position, records.iter().map(Versioned::changed), answer.server_time);
        Self {
            records,
            position,
            next,
            made: 1,
            settled: answer.pages <= 1 || next <= position,
        }
    }

    /// Whether the search is to be read again.
    pub(super) fn another_is_needed(&self) -> bool {
        !self.settled && self.made < Self::MOST
    }

    /// Whether nothing was missed that no later search brings.
    pub(super) fn are_settled(&self) -> bool {
        self.settled
    }

    /// With what a further pass brought.
    pub(super) fn add(&mut self, records: Vec<T>) {
        let known: BTreeSet<_> = self
            .records
            .iter()
            .map(|record| (record.id(), record.changed()))
            .collect();
        // Without a time it may be an old one.
        let is_old = |record: &T| record.changed().is_none_or(|changed| changed < self.next.query_from());
        self.settled = !records
            .iter()
            .any(|record| is_old(record) && !known.contains(&(record.id(), record.changed())));
        self.made += 1;
        self.records.extend(records);
    }

    /// The latest version of each record, and where the cursor goes.
    pub(super) fn finish(self) -> (Vec<T>, Cursor) {
        let mut records = self.records;
        keep_latest_versions(&mut records);
        (records, if self.settled { self.next } else { self.position })
    }
}

/// Pages shift while data changes, so one record may come twice: the later version counts.
fn keep_latest_versions<T: Versioned>(records: &mut Vec<T>) {
    records.sort_by(|a, b| (a.id(), b.changed()).cmp(&(b.id(), a.changed())));
    records.dedup_by(|later, first| later.id() == first.id());
}

/// Where the cursor goes from `position` after an answer whose records changed at these times, as far as the EHR tells them.
/// `server_time` is the EHR's clock in the reply.
fn read_up_to(
    position: Cursor,
    changes: impl IntoIterator<Item = Option<Timestamp>>,
    server_time: Option<Timestamp>,
) -> Cursor {
    let (mut newest, mut undated) = (None, false);
    for changed in changes {
        newest = newest.max(changed);
        undated |= changed.is_none();
    }
    // A record dated in the future must not carry the cursor past records that are still to come.
    let newest = newest.map(|newest| server_time.map_or(newest, |server| newest.min(server)));
    // Where the EHR leaves out when a record changed, or tells only the day, the answer is as of the time in its first
    // page's `Date`.
    let newest = if undated { newest.max(server_time) } else { newest };
    newest.map_or(position, |newest| position.max(Cursor(newest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    /// `(id, second of the change)`.
    type Record = (&'static str, Option<i64>);

    impl Versioned for (&'static str, Option<Timestamp>) {
        type Id = &'static str;
        fn id(&self) -> &&'static str {
            &self.0
        }
        fn changed(&self) -> Option<Timestamp> {
            self.1
        }
    }

    fn records(records: &[Record]) -> Vec<(&'static str, Option<Timestamp>)> {
        records.iter().map(|(id, changed)| (*id, changed.map(at))).collect()
    }

    #[test]
    fn the_later_version_of_a_record_counts() {
        let mut versions = records(&[("b", Some(1)), ("a", Some(2)), ("a", Some(3)), ("b", None)]);
        keep_latest_versions(&mut versions);
        assert_eq!(versions, records(&[("a", Some(3)), ("b", Some(1))]));
    }

    /// A search from 10 whose first pass brought a record of 20 and one of 1000.
    fn catching_up(pages: u32) -> Passes<(&'static str, Option<Timestamp>)> {
        let answer = Answer {
            as_of: at(1000),
            server_time: Some(at(1000)),
            pages,
        };
        Passes::first(Cursor(at(10)), records(&[("a", Some(20)), ("d", Some(1000))]), &answer)
    }

    #[test]
    fn a_search_of_several_pages_is_read_again_until_nothing_old_is_new() {
        assert!(!catching_up(1).another_is_needed(), "one page");
        let mut passes = catching_up(2);
        assert!(passes.another_is_needed());
        passes.add(records(&[("b", Some(21)), ("d", Some(1000))]));
        assert!(passes.another_is_needed(), "b was missed");
        passes.add(records(&[
            ("a", Some(20)),
            ("b", Some(21)),
            ("c", Some(999)),
            ("d", Some(1001)),
        ]));
        assert!(!passes.another_is_needed(), "the next search has what is as recent");
        let (found, next) = passes.finish();
        let all = records(&[("a", Some(20)), ("b", Some(21)), ("c", Some(999)), ("d", Some(1001))]);
        assert_eq!((found, next), (all, Cursor(at(1000))));
    }

    #[test]
    fn a_cursor_that_stays_where_it_is_needs_one_pass_and_no_other_does() {
        let answer = Answer {
            as_of: at(1000),
            server_time: None,
            pages: 9,
        };
        let nothing_new = records(&[("a", Some(10)), ("b", Some(-100))]);
        assert!(!Passes::first(Cursor(at(10)), nothing_new, &answer).another_is_needed());
        // What was missed may be of -165: the next search would begin at -160.
        let near = records(&[("a", Some(20))]);
        assert!(Passes::first(Cursor(at(10)), near, &answer).another_is_needed());
    }

    #[test]
    fn a_cursor_stays_where_passes_do_not_agree() {
        let mut passes = catching_up(2);
        for id in ["u", "v", "w", "x", "y"] {
            if passes.another_is_needed() {
                passes.add(records(&[(id, None)]));
            }
        }
        let (found, next) = passes.finish();
        assert_eq!(next, Cursor(at(10)));
        assert_eq!(
            found.len(),
            2 + Passes::<(&'static str, Option<Timestamp>)>::MOST - 1,
            "what was found is kept"
        );
    }

    #[test]
    fn the_cursor_follows_what_was_read_and_never_passes_the_ehrs_clock() {
        let position = Cursor(at(10));
        let reached = |changes: &[Option<i64>], server: Option<i64>| {
            let changes = changes.iter().map(|changed| changed.map(at));
            read_up_to(position, changes, server.map(at)).0
        };
        assert_eq!(reached(&[], Some(90)), at(10), "nothing changed");
        assert_eq!(reached(&[Some(20), Some(30)], Some(90)), at(30));
        assert_eq!(reached(&[Some(5)], Some(90)), at(10), "not backwards");
        assert_eq!(reached(&[Some(120)], Some(90)), at(90), "dated in the future");
        assert_eq!(reached(&[Some(20), None], Some(90)), at(90), "undated");
        assert_eq!(reached(&[None], None), at(10));
    }
}
