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
    /// What came while encounter polls watched: of it, only what bumps nothing is mass.
    pub(super) known: f64,
    /// The share of photos that bump their visit, times the share of those that do not.
    pub(super) doubt: f64,
    /// By how much it grows a second.
    pub(super) growth: f64,
}

impl Prospect {
    /// W. What encounter polls leave over grows slower than all of it, by the share (1 - s) that bumps nothing. Hence
    /// W = (N² + s(1 - s)K²) / (2λ), where K came while they watched: N² / (2λ) before the first, and N² / (2(1 - s)λ) after
    /// many.
    pub(super) fn index(&self) -> f64 {
        (self.mass * self.mass + self.doubt * self.known * self.known) / (2.0 * self.growth)
    }
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

    /// What the rates count for this visit: its weight, and its provider's factor where that matters.
    pub(super) fn scale(&self, factor: f64) -> f64 {
        let depends = self.phase().0.depends_on_provider();
        self.weight() * if depends { factor } else { 1.0 }
    }

    /// The weighted mass that comes between two times in the present phase, if nothing else is known about it.
    fn coming(&self, hazards: &Hazards, factor: f64, from: f64, to: f64) -> f64 {
        let (phase, origin) = self.phase();
        self.scale(factor) * hazards.expected(phase, from - origin, to - origin)
    }

    /// The weighted rate at which photos come.
    pub(super) fn intensity(&self, hazards: &Hazards, factor: f64, now: f64) -> f64 {
        let (phase, origin) = self.phase();
        self.scale(factor) * hazards.rate(phase, now - origin)
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
        let share = evidence.bump_share();
        let known = self.coming(hazards, factor, self.mass_until, known_until);
        let fresh = self.coming(hazards, factor, known_until, now);
        Prospect {
            mass: self.mass + (1.0 - share) * known + fresh,
            fresh,
            known,
            doubt: share * (1.0 - share),
            growth: self.intensity(hazards, factor, now),
        }
    }

    /// Something that was no new status changed it at `at`, of which we learned when it was `observed`.
    pub(super) fn bumped(
        &mut self,
        hazards: &Hazards,
        evidence: &Evidence,
        factor: f64,
        (at, observed): (f64, f64),
        version: Timestamp,
    ) {
        let photos = evidence.bump_share() * self.intensity(hazards, factor, at) / self.weight();
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
            self.bumped(hazards, evidence, factor, (at, observed), version);
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
