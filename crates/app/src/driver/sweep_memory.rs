//! What a process that sweeps again and again remembers in between.

use std::{sync::Mutex, time::Duration};

use skin_assist_core::{
    domain::FirmId,
    polling::Learned,
    ports::{PollingMemory, StateError},
    time::Timestamp,
};

use super::lock;

/// For how long what was learned is kept in the process before it is written, and what is known before it is read.
const LEARNED_FOR: Duration = Duration::from_secs(600);

/// What is remembered between the sweeps of a process, so that it need not be read and written in each: what polling learned.
/// When the process ends, what it learned last is lost.
#[derive(Debug, Default)]
pub struct SweepMemory(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// What is known, of all firms together and of some.
    known: Learned,
    /// Since when: it is read again after [`LEARNED_FOR`].
    since: Option<Timestamp>,
    /// What was learned and not written yet, and since when.
    gained: Learned,
    gaining_since: Option<Timestamp>,
}

impl SweepMemory {
    /// What is known of these firms, and of all together.
    pub(super) async fn recall(
        &self,
        state: &dyn PollingMemory,
        firms: &[FirmId],
        now: Timestamp,
    ) -> Result<Learned, StateError> {
        let unknown: Vec<FirmId> = {
            let mut remembered = lock(&self.0);
            if remembered.since.is_none_or(|since| since + LEARNED_FOR <= now) {
                remembered.known = Learned::default();
                remembered.since = None;
            }
            let is_unknown = |firm: &&FirmId| !remembered.known.firms.contains_key(*firm);
            firms.iter().filter(is_unknown).cloned().collect()
        };
        if !unknown.is_empty() || lock(&self.0).since.is_none() {
            let read = state.learned(&unknown).await?;
            let mut remembered = lock(&self.0);
            remembered.known.shared = read.shared;
            remembered.known.firms.extend(read.firms);
            for firm in unknown {
                // Known to have nothing.
                remembered.known.firms.entry(firm).or_default();
            }
            remembered.since.get_or_insert(now);
        }
        let remembered = lock(&self.0);
        let mut learned = Learned {
            shared: remembered.known.shared.clone(),
            firms: firms
                .iter()
                .filter_map(|firm| Some((firm.clone(), remembered.known.firms.get(firm)?.clone())))
                .collect(),
        };
        let of_these = Learned {
            shared: remembered.gained.shared.clone(),
            firms: firms
                .iter()
                .filter_map(|firm| Some((firm.clone(), remembered.gained.firms.get(firm)?.clone())))
                .collect(),
        };
        learned.add(&of_these);
        Ok(learned)
    }

    /// Adds what was learned, and writes it when there was time to gather some.
    pub(super) async fn remember(
        &self,
        state: &dyn PollingMemory,
        gained: &Learned,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let due = {
            let mut remembered = lock(&self.0);
            remembered.gained.add(gained);
            let since = *remembered.gaining_since.get_or_insert(now);
            (since + LEARNED_FOR <= now).then(|| {
                // What is known is read again, this included.
                remembered.since = None;
                remembered.gaining_since = None;
                std::mem::take(&mut remembered.gained)
            })
        };
        match due {
            Some(due) => state.add_learned(&due, now).await,
            None => Ok(()),
        }
    }
}
