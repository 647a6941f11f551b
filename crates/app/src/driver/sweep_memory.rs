//! What a process that sweeps again and again remembers in between.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use skin_assist_core::{
    domain::FirmId,
    polling::Learned,
    ports::{PollingMemory, StateError},
    stages::{RecordedPhotos, SweepNotes},
    time::Timestamp,
};

use super::lock;

/// For how long what was learned is kept in the process before it is written, and what is known before it is read.
const LEARNED_FOR: Duration = Duration::from_secs(600);

/// What is remembered between the sweeps of a process, so that it need not be read and written in each: what polling learned, and
/// which photos are recorded. When the process ends, what it learned last is lost.
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
    /// Photos that are recorded, and since when they are remembered: as long as what was learned, and then found out anew.
    photos: BTreeMap<FirmId, RecordedPhotos>,
    photos_since: Option<Timestamp>,
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
        let Some(due) = due else { return Ok(()) };
        let written = state.add_learned(&due, now).await;
        if written.is_err() {
            // It is written with what comes next.
            let mut remembered = lock(&self.0);
            remembered.gained.add(&due);
            remembered.gaining_since = Some(now);
        }
        written
    }

    /// Tells a sweep which photos of these firms are recorded.
    pub(super) fn recall_photos(&self, notes: &SweepNotes, firms: &[FirmId], now: Timestamp) {
        let mut remembered = lock(&self.0);
        if remembered.photos_since.is_none_or(|since| since + LEARNED_FOR <= now) {
            remembered.photos.clear();
            remembered.photos_since = Some(now);
        }
        for firm in firms {
            if let Some(photos) = remembered.photos.get(firm) {
                notes.recall(firm, photos.clone());
            }
        }
    }

    /// Keeps what a sweep knows of them.
    pub(super) fn remember_photos(&self, notes: &SweepNotes) {
        lock(&self.0).photos.extend(notes.recorded());
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use futures::executor::block_on;
    use skin_assist_core::polling::Count;

    use super::*;

    /// Keeps what it is given, and counts what it is asked; does not take anything while it is down.
    #[derive(Default)]
    struct Kept {
        learned: Mutex<Learned>,
        reads: Mutex<usize>,
        writes: Mutex<usize>,
        down: Mutex<bool>,
    }

    #[async_trait]
    impl PollingMemory for Kept {
        async fn learned(&self, firms: &[FirmId]) -> Result<Learned, StateError> {
            *lock(&self.reads) += 1;
            let mut learned = lock(&self.learned).clone();
            learned.firms.retain(|firm, _| firms.contains(firm));
            Ok(learned)
        }

        async fn add_learned(&self, gained: &Learned, _now: Timestamp) -> Result<(), StateError> {
            if *lock(&self.down) {
                return Err(StateError::NotFound { what: "table" });
            }
            *lock(&self.writes) += 1;
            lock(&self.learned).add(gained);
            Ok(())
        }
    }

    fn of(firm: &str, events: f64) -> Learned {
        let count = Count { events, exposure: 1.0 };
        Learned {
            shared: BTreeMap::from([("table".to_owned(), vec![count])]),
            firms: BTreeMap::from([(FirmId::new(firm), BTreeMap::from([("count".to_owned(), count)]))]),
        }
    }

    #[test]
    fn what_was_learned_counts_once_and_is_written_now_and_then() {
        let (kept, memory) = (Kept::default(), SweepMemory::default());
        let at = |seconds: u64| Timestamp::from_millis(0) + Duration::from_secs(seconds);
        let firms = [FirmId::new("a")];
        let events = |seconds| {
            let learned = block_on(memory.recall(&kept, &firms, at(seconds))).unwrap();
            let of_firm = learned.firms[&firms[0]].get("count").map_or(0.0, |count| count.events);
            let shared = learned.shared.get("table").map_or(0.0, |table| table[0].events);
            assert_eq!(of_firm.to_bits(), shared.to_bits());
            of_firm as u32
        };
        let learn = |seconds| block_on(memory.remember(&kept, &of("a", 1.0), at(seconds)));
        assert_eq!(events(0), 0);
        learn(1).unwrap();
        learn(20).unwrap();
        assert_eq!(events(21), 2, "what is not written yet counts");
        assert_eq!((*lock(&kept.reads), *lock(&kept.writes)), (1, 0));

        // Due, but it cannot be written: nothing is lost, and it is tried again when there was time to gather some.
        *lock(&kept.down) = true;
        learn(601).unwrap_err();
        assert_eq!(events(602), 3);
        *lock(&kept.down) = false;
        learn(1201).unwrap();
        assert_eq!(*lock(&kept.writes), 1);
        assert_eq!(events(1202), 4, "and what is written counts once");
    }
}
