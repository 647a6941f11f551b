//! Booking what a look showed: exposure and photos for the rates, and what the bumps turned out to be.

use std::collections::BTreeSet;

use super::{
    Adaptive,
    model::{SORT_EVERY, seconds},
};
use crate::{
    polling::{Answer, NewPhotos},
    time::Timestamp,
};

/// What a photo found costs besides: it is read, and its draft is posted.
const CALLS_FOR_A_PHOTO: f64 = 2.0;

/// Whether the version is that of a photo filed at `filed`: an EHR takes a moment for each.
fn is_bump_of(version: Timestamp, filed: Timestamp) -> bool {
    (-1000..=2000).contains(&version.as_millis().saturating_sub(filed.as_millis()))
}

/// Whether a photo filed at `filed` bumped its encounter, whose newest version is `version`. Nobody knows where another
/// change came after it.
fn bumped(version: Option<Timestamp>, filed: Timestamp) -> Option<bool> {
    let version = version?;
    if is_bump_of(version, filed) {
        Some(true)
    } else {
        (version < filed).then_some(false)
    }
}

impl Adaptive {
    /// Whether photos seen since the last poll bumped their encounters is known by now.
    pub(super) fn prove(&mut self, firm: usize) {
        let polled = self.model.firms[firm].polled;
        let unproved = std::mem::take(&mut self.model.firms[firm].unproved);
        for number in unproved {
            let visit = &self.model.visits[number as usize];
            let Some(filed) = visit.unproved.filter(|_| visit.firm as usize == firm) else {
                continue;
            };
            if polled < self.model.local(filed) + 1.0 {
                self.model.firms[firm].unproved.push(number);
                continue;
            }
            let outcome = bumped(visit.version, filed);
            self.model.visits[number as usize].unproved = None;
            if let Some(outcome) = outcome {
                self.model.evidence.book_photo(outcome);
            }
        }
    }

    /// A look at a visit's documents: what it brought is booked, and nothing is undetected any more.
    fn looked(&mut self, firm: usize, look: &NewPhotos, answer: &Answer) {
        let Some(&number) = self.model.firms[firm].visits.get(&look.encounter) else {
            return;
        };
        let seen = seconds(answer.as_of);
        let filed: Vec<(f64, Option<Timestamp>)> = {
            let visit = &self.model.visits[number as usize];
            let before = visit.looked.min(seen);
            let mut filed: Vec<_> = look
                .filed_at
                .iter()
                .map(|at| match at {
                    // It may have been filed before the last look and not been shown then: some EHRs show late.
                    Some(at) => (self.model.local(*at).clamp(visit.opened.min(before), seen), Some(*at)),
                    None => (f64::midpoint(before, seen), None),
                })
                .collect();
            filed.sort_by(|a, b| a.0.total_cmp(&b.0));
            filed
        };
        self.model.spend(firm, CALLS_FOR_A_PHOTO * filed.len() as f64);
        let model = &mut self.model;
        let practice = &mut model.firms[firm];
        let visit = &mut model.visits[number as usize];
        let provider = &mut practice.providers[visit.provider];
        let before = visit.looked.min(seen);
        let (phase_before, age_before) = (visit.phase().0, before - visit.opened);
        // What was believed: exposure up to each photo, then from it on.
        let mut at = before;
        let mut explained = 0.0;
        for (photo, version) in &filed {
            let (phase, origin) = visit.phase();
            let scale = if phase.depends_on_provider() {
                provider.factor()
            } else {
                1.0
            };
            let expected = model.hazards.book_exposure(phase, at - origin, photo - origin, scale);
            model.hazards.book_photo(phase, photo - origin);
            if phase.depends_on_provider() {
                provider.book(1.0, expected);
            }
            visit.photos += 1;
            visit.last_photo = *photo;
            at = at.max(*photo);
            if let (Some(version), Some(bump)) = (version, visit.bump)
                && is_bump_of(bump.version, *version)
            {
                explained = 1.0;
            }
        }
        let (phase, origin) = visit.phase();
        let scale = if phase.depends_on_provider() {
            provider.factor()
        } else {
            1.0
        };
        let expected = model.hazards.book_exposure(phase, at - origin, seen - origin, scale);
        if phase.depends_on_provider() {
            provider.book(0.0, expected);
        }
        let noise = (f64::from(visit.bumps) - explained).max(0.0);
        model
            .evidence
            .book_noise(phase_before, age_before, noise, seen - before);
        visit.bumps = 0;
        if let Some((_, Some(version))) = filed.last() {
            visit.unproved = Some(*version);
            practice.unproved.push(number);
        }
        visit.looked = visit.looked.max(seen);
        visit.mass_until = visit.mass_until.max(seen);
        // A change of which nobody knew when the look was asked for may have come after it.
        visit.bump = visit.bump.filter(|bump| bump.observed > visit.asked);
        visit.mass = visit.bump.map_or(0.0, |bump| bump.mass);
        self.prove(firm);
    }

    pub(super) fn documents_seen(&mut self, firm: usize, looks: &[NewPhotos], answer: &Answer, whole: bool) {
        self.compare_clocks(answer);
        self.model.spend(firm, f64::from(answer.pages));
        for look in looks {
            self.looked(firm, look, answer);
        }
        if whole {
            self.looked_at_the_others(firm, looks, answer);
        }
    }

    /// A search for all that changed showed nothing of these visits. For quiet ones that is booked once a minute.
    fn looked_at_the_others(&mut self, firm: usize, looks: &[NewPhotos], answer: &Answer) {
        let now = self.model.now;
        let practice = &mut self.model.firms[firm];
        practice.looked = practice.looked.max(seconds(answer.as_of));
        let quiet_too = now - practice.looked_at_quiet >= SORT_EVERY;
        let others: Vec<u32> = if quiet_too {
            practice.looked_at_quiet = now;
            practice.visits.values().copied().collect()
        } else {
            practice.lively.clone()
        };
        let listed: BTreeSet<_> = looks.iter().map(|look| &look.encounter).collect();
        for number in others {
            let encounter = self.model.visits[number as usize].id.clone();
            if !listed.contains(&encounter) {
                let nothing = NewPhotos {
                    encounter,
                    filed_at: Vec::new(),
                };
                self.looked(firm, &nothing, answer);
            }
        }
    }
}
