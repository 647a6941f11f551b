//! Reading what changed since a cursor: which version of a record counts, and how far the answer reaches.

use crate::{
    domain::{CategoryCode, Cursor, DocumentSummary, Encounter, EncounterId},
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

/// Pages shift while data changes, so one record may come twice: the later version counts.
pub(super) fn keep_latest_versions<T, Id: Ord>(records: &mut Vec<T>, version: impl Fn(&T) -> (&Id, Option<Timestamp>)) {
    records.sort_by(|a, b| {
        let ((a, a_changed), (b, b_changed)) = (version(a), version(b));
        (a, b_changed).cmp(&(b, a_changed))
    });
    records.dedup_by(|later, first| version(later).0 == version(first).0);
}

/// Where the cursor goes from `position` after an answer whose records changed at these times, as far as the EHR tells them.
/// `server_time` is the EHR's clock in the reply.
pub(super) fn read_up_to(
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

    #[test]
    fn the_later_version_of_a_record_counts() {
        let mut records = vec![("b", Some(at(1))), ("a", Some(at(2))), ("a", Some(at(3))), ("b", None)];
        keep_latest_versions(&mut records, |(id, changed)| (id, *changed));
        assert_eq!(records, [("a", Some(at(3))), ("b", Some(at(1)))]);
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
