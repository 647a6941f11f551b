//! The charts of all practices, as far as the trace tells, and the EHR's answers about them.

use std::collections::HashMap;

use skin_assist_core::{
    domain::{Encounter, EncounterId, EncounterStatus, FirmId, PatientId, PractitionerId},
    time::Timestamp,
};

use super::trace::{EventKind, TraceEvent};

/// 2026-01-05T00:00 US-Eastern, a Monday, in milliseconds: where `t` begins.
const DAY_ZERO_MS: i64 = 1_767_589_200_000;

/// A trace's time.
pub(super) fn instant(t: f64) -> Timestamp {
    Timestamp::from_millis(DAY_ZERO_MS + (t * 1000.0).round() as i64)
}

/// A visit in the chart.
#[derive(Debug)]
pub(super) struct ChartVisit {
    pub(super) id: EncounterId,
    patient: PatientId,
    practitioner: PractitionerId,
    pub(super) status: EncounterStatus,
    last_updated: Timestamp,
    /// Photos by when they were filed.
    pub(super) photos: Vec<(Timestamp, u32)>,
}

/// All practices.
#[derive(Debug, Default)]
pub(super) struct Charts {
    pub(super) visits: Vec<ChartVisit>,
    numbers: HashMap<u32, usize>,
    by_id: HashMap<EncounterId, usize>,
    /// For each practice, which visit changed when, in order of time.
    changes: HashMap<u32, Vec<(Timestamp, usize)>>,
    /// For each practice, which visit had a photo filed when.
    filed: HashMap<u32, Vec<(Timestamp, usize)>>,
}

pub(super) fn firm_id(firm: u32) -> FirmId {
    FirmId::new(format!("firm-{firm}"))
}

impl Charts {
    /// Lets an event happen; it is recorded with the time `at`, by the EHR's clock.
    pub(super) fn happen(&mut self, event: &TraceEvent, at: Timestamp, hint: f64) {
        let number = *self.numbers.entry(event.enc).or_insert_with(|| {
            let id = EncounterId::new(format!("e{}", event.enc));
            self.by_id.insert(id.clone(), self.visits.len());
            self.visits.push(ChartVisit {
                id,
                patient: PatientId::new(format!("p{}", event.pat)),
                practitioner: PractitionerId::new(format!("d{}", event.prov)),
                status: EncounterStatus::Open,
                last_updated: at,
                photos: Vec::new(),
            });
            self.visits.len() - 1
        });
        let visit = &mut self.visits[number];
        match event.kind {
            EventKind::Open | EventKind::Change => {}
            EventKind::Finish => visit.status = EncounterStatus::Finished,
            EventKind::Attach => {
                visit.photos.push((at, event.doc.unwrap_or_default()));
                self.filed.entry(event.firm).or_default().push((at, number));
                if event.u.unwrap_or(1.0) >= hint {
                    return;
                }
            }
        }
        visit.last_updated = at;
        self.changes.entry(event.firm).or_default().push((at, number));
    }

    /// What changed since then in a practice, each visit once, as it is now.
    pub(super) fn changed_since(&self, firm: u32, since: Timestamp) -> Vec<usize> {
        recent(self.changes.get(&firm), since)
    }

    /// Visits with photos filed since then in a practice.
    pub(super) fn filed_since(&self, firm: u32, since: Timestamp) -> Vec<usize> {
        recent(self.filed.get(&firm), since)
    }

    pub(super) fn find(&self, id: &EncounterId) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// A visit as the EHR shows it.
    pub(super) fn encounter(&self, number: usize) -> Encounter {
        let visit = &self.visits[number];
        Encounter {
            id: visit.id.clone(),
            patient: visit.patient.clone(),
            practitioner: Some(visit.practitioner.clone()),
            status: visit.status,
            last_updated: Some(visit.last_updated),
        }
    }
}

fn recent(log: Option<&Vec<(Timestamp, usize)>>, since: Timestamp) -> Vec<usize> {
    let Some(log) = log else { return Vec::new() };
    let first = log.partition_point(|(at, _)| *at < since);
    let mut numbers: Vec<usize> = log[first..].iter().map(|(_, number)| *number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}
