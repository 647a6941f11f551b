//! What is believed about one visit: how many photos it has that were not seen yet.

use super::{
    evidence::Evidence,
    hazard::{Hazards, MOST_PHOTOS, Phase},
};
use crate::{
    domain::{EncounterId, EncounterStatus},
    time::Timestamp,
};

/// What a photo counts when its visit is over: a finished visit takes no note any more.
const WEIGHT_WHEN_OVER: f64 = 0.25;

/// A visit under watch. Times are in seconds by our clock, unless they are timestamps: those are the EHR's.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    pub(super) id: EncounterId,
    pub(super) firm: u32,
    /// Its place among the firm's providers.
    pub(super) provider: usize,
    pub(super) status: EncounterStatus,
    /// `meta.lastUpdated` as last seen.
    pub(super) version: Option<Timestamp>,
    pub(super) opened: f64,
    pub(super) finished: Option<f64>,
    pub(super) photos: usize,
    pub(super) last_photo: f64,
    /// Of when the last look is.
    pub(super) looked: f64,
    /// Undetected mass (weighted expected photos) that came up to `mass_until`.
    pub(super) mass: f64,
    pub(super) mass_until: f64,
    /// The newest bump that the last look cannot have explained, and how many came since.
    pub(super) bump: Option<Bump>,
    pub(super) bumps: u32,
    /// Filing time of a photo of which the next encounter poll tells whether it bumped the visit.
    pub(super) unproved: Option<Timestamp>,
    /// When the watch ends.
    pub(super) expires: f64,
    pub(super) under_way: bool,
    /// When the look under way, or the last one, was asked for.
    pub(super) asked: f64,
    pub(super) generation: u32,
}

/// A new version that was not explained by a new status.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bump {
    /// When we learned of it.
    pub(super) observed: f64,
    pub(super) version: Timestamp,
    /// The mass that it brought.
    pub(super) mass: f64,
}

/// A visit's mass and how it grows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prospect {
    /// Weighted expected photos that were not seen yet.
    pub(super) mass: f64,
    /// That part of it of which the next encounter poll of the firm tells more.
    pub(super) fresh: f64,
    /// By how much it grows a second.
    pub(super) growth: f64,
    /// When the growth changes.
    pub(super) until: f64,
}

impl Visit {
    pub(super) fn is_over(&self) -> bool {
        matches!(self.status, EncounterStatus::Finished | EncounterStatus::Cancelled)
    }

    pub(super) fn weight(&self) -> f64 {
        if self.is_over() { WEIGHT_WHEN_OVER } else { 1.0 }
    }

    /// The present phase and when it began.
    pub(super) fn phase(&self) -> (Phase, f64) {
        match (self.photos, self.status) {
            (1.., _) => {
                let phase = Phase::After {
                    photos: self.photos.min(MOST_PHOTOS),
                    finished: self.is_over(),
                };
                (phase, self.last_photo)
            }
            (0, EncounterStatus::Planned) => (Phase::Planned, self.opened),
            (0, EncounterStatus::Open) => (Phase::Open, self.opened),
            (0, EncounterStatus::Finished | EncounterStatus::Cancelled) => {
                (Phase::Finished, self.finished.unwrap_or(self.opened))
            }
        }
    }

    /// The weighted mass that comes between two times in the present phase, if nothing else is known about it.
    fn coming(&self, hazards: &Hazards, factor: f64, from: f64, to: f64) -> f64 {
        let (phase, origin) = self.phase();
        let scale = if phase.depends_on_provider() { factor } else { 1.0 };
        self.weight() * scale * hazards.expected(phase, from - origin, to - origin)
    }

    /// The weighted rate at which photos come.
    pub(super) fn intensity(&self, hazards: &Hazards, factor: f64, now: f64) -> (f64, f64) {
        let (phase, origin) = self.phase();
        let scale = if phase.depends_on_provider() { factor } else { 1.0 };
        let rate = hazards.rate(phase, now - origin);
        (self.weight() * scale * rate.rate, origin + rate.until)
    }

    /// The mass at `now`. `polled` is of when the firm's last encounter poll is: a visit that it did not show as changed
    /// has only photos that bump nothing, up to then.
    pub(super) fn prospect(
        &self,
        hazards: &Hazards,
        evidence: &Evidence,
        factor: f64,
        polled: f64,
        now: f64,
    ) -> Prospect {
        let known_until = polled.clamp(self.mass_until, now.max(self.mass_until));
        let (growth, until) = self.intensity(hazards, factor, now);
        let quiet = if known_until > self.mass_until {
            (1.0 - evidence.bump_share()) * self.coming(hazards, factor, self.mass_until, known_until)
        } else {
            0.0
        };
        let fresh = self.coming(hazards, factor, known_until, now);
        Prospect {
            mass: self.mass + quiet + fresh,
            fresh,
            growth,
            until,
        }
    }

    /// An encounter poll of `polled_before` had not shown it as changed, a new one, of `polled`, does: its newest change
    /// was at `at`. `explained` when that was a new status.
    pub(super) fn changed(&mut self, hazards: &Hazards, evidence: &Evidence, factor: f64, change: Change) {
        let Change {
            at,
            observed,
            polled_before,
            polled,
            version,
            status,
        } = change;
        let at = at.clamp(self.mass_until, polled.max(self.mass_until));
        let known = polled_before.clamp(self.mass_until, at);
        let share = evidence.bump_share();
        // Before the last poll nothing had bumped it; what came between that and the newest change may be hidden by it.
        self.mass += (1.0 - share) * self.coming(hazards, factor, self.mass_until, known)
            + self.coming(hazards, factor, known, at);
        let explained = status != self.status;
        if explained {
            self.status = status;
            self.finished = self.is_over().then_some(at);
        } else if let Some(version) = version {
            let (intensity, _) = self.intensity(hazards, factor, at);
            let photos = share * intensity / self.weight();
            let noise = evidence.noise(self.phase().0, at - self.opened);
            let mass = self.weight() * photos / (photos + noise);
            self.mass += mass;
            self.bump = Some(Bump {
                observed,
                version,
                mass,
            });
            self.bumps += 1;
        }
        self.mass += (1.0 - share) * self.coming(hazards, factor, at, polled);
        self.mass_until = self.mass_until.max(polled);
    }
}

/// A change that an encounter poll shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) at: f64,
    pub(super) observed: f64,
    pub(super) polled_before: f64,
    pub(super) polled: f64,
    pub(super) version: Option<Timestamp>,
    pub(super) status: EncounterStatus,
}
