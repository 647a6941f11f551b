//! The latest entries of a chain that fit, found from its end.

use std::collections::VecDeque;

use skin_assist_core::{
    audit::{AuditEntry, BEGINNING_NUMBER},
    domain::FirmId,
    ports::{AuditChain, StateError, StateStore},
};

/// Entries that are read at a time, and at first.
const PAGE: usize = 1000;
/// By how much more is read next, where too few fit.
const WIDER: u64 = 10;

/// What was found.
pub(super) struct Found {
    /// The latest entries that fit, in the order of the chain.
    pub(super) entries: VecDeque<AuditEntry>,
    /// The number of the first entry that was looked at, where those before it might fit, too.
    pub(super) looked_from: Option<u64>,
}

/// The latest `listed` entries of a chain that fit, of its last `most`.
pub(super) async fn latest(
    state: &dyn StateStore,
    chain: &AuditChain,
    most: u64,
    listed: usize,
    fits: impl Fn(&AuditEntry) -> bool,
) -> Result<Found, StateError> {
    let first = chain.base.number + 1;
    let last = |number: u64| first.max((chain.head.number + 1).saturating_sub(number));
    let (mut entries, mut until) = (VecDeque::new(), u64::MAX);
    let (mut reach, mut end) = (PAGE as u64, u64::MAX);
    loop {
        let from = last(reach.min(most));
        let begin = if from == first {
            BEGINNING_NUMBER
        } else {
            place(state, &chain.head.firm, from).await?
        };
        let mut next = Some(begin);
        let mut earlier = VecDeque::new();
        while let Some(place) = next.filter(|place| *place < end) {
            let page = state.audit_entries(&chain.head.firm, place, PAGE).await?;
            next = page.next;
            let fitting = page.entries.into_iter().filter(|entry| entry.number < until);
            earlier.extend(fitting.filter(|entry| fits(entry)));
            // Those are earlier than the ones that were found before: so many of them are listed.
            let wanted = listed.saturating_sub(entries.len());
            earlier.drain(..earlier.len().saturating_sub(wanted));
        }
        earlier.append(&mut entries);
        entries = earlier;
        if entries.len() >= listed || from == last(most) {
            let looked_from = (from > first && entries.len() < listed).then_some(from);
            return Ok(Found { entries, looked_from });
        }
        (until, end) = (from, begin);
        reach = reach.saturating_mul(WIDER);
    }
}

/// From where a store reads the entries of a chain from a number on. An entry's place is its number, or behind it by as many entries as
/// other chains have before it: it is looked for by halving.
async fn place(state: &dyn StateStore, firm: &FirmId, number: u64) -> Result<u64, StateError> {
    // It is no earlier than `low`; once it is known where it is no later than, that is `high`.
    let (mut low, mut high) = (BEGINNING_NUMBER, None);
    let (mut tried, mut step) = (number, 0);
    loop {
        let page = state.audit_entries(firm, tried, 1).await?;
        match page.entries.first().map(|entry| entry.number) {
            Some(found) if found == number => return Ok(tried),
            // Each of those between has a place, too.
            Some(found) if found < number => low = tried.saturating_add(number - found),
            _ => high = Some(tried),
        }
        tried = match high {
            Some(high) if low >= high => return Ok(high),
            Some(high) => low + (high - low) / 2,
            None => low.saturating_add(step),
        };
        step = (2 * step).max(1);
    }
}
