//! Which photos are judged together.
//!
//! Photos of one visit, category and route that were filed one shortly after the other form one assessment. Nothing decides that
//! when a photo is found: the next one may be filed a moment later. It is decided when the window has passed, by whichever of
//! them is at the models first, over all that are there by then ([`gather`]); and from then on the assessment is closed. A
//! photo that comes later starts a new one, which names the earlier.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Assessment, AssessmentId, DocumentId, DocumentWatch, Route};
use crate::time::Timestamp;

/// How many windows an assessment stays open at most, however photos keep coming.
const MOST_WINDOWS: u32 = 4;

/// How many photos are judged together at most: they share one lease.
pub const MOST_PHOTOS: usize = 12;

/// How long an assessment whose window has passed waits for bytes that are still to come. Without them it is closed; they follow.
const BYTES_PATIENCE: Duration = Duration::from_secs(60);

/// How soon it is looked at again whether they came.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// How long photos of one visit and category are waited for after each of them. Zero: every photo is assessed by itself and at
/// once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GatheringWindows {
    /// On the solitary route.
    pub solitary: Duration,
    /// On the widespread route.
    pub widespread: Duration,
}

impl GatheringWindows {
    /// Until when further photos are waited for after one that was found at `detected_at`; none where it is assessed by itself.
    pub fn until(&self, route: Route, detected_at: Timestamp) -> Option<Timestamp> {
        let window = match route {
            Route::Solitary => self.solitary,
            Route::Widespread => self.widespread,
        };
        (!window.is_zero()).then(|| detected_at + window)
    }
}

/// An assessment that no further photo joins. It is kept with the photo that leads it, whose lease is the assessment's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedAssessment {
    /// Its identity.
    pub id: AssessmentId,
    /// Its other photos.
    pub companions: BTreeSet<DocumentId>,
    /// The assessment of earlier photos of the same visit and category.
    pub earlier: Option<AssessmentId>,
}

/// Another photo of the same visit, category and route, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sibling {
    /// The photo.
    pub watch: DocumentWatch,
    /// How it stands.
    pub state: SiblingState,
}

/// How a photo stands towards assessments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SiblingState {
    /// Its bytes are still to come.
    Awaited,
    /// It waits for the models, and belongs to no closed assessment.
    Ready,
    /// It belongs to a closed assessment.
    Closed,
    /// It was retracted, or given up.
    Gone,
}

/// What is to be done about a photo whose turn at the models has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gathering {
    /// Its assessment is still open: not before then.
    NotBefore(Timestamp),
    /// Its assessment is to be closed.
    Close {
        /// The assessment.
        closed: ClosedAssessment,
        /// Its other photos.
        companions: Vec<DocumentWatch>,
    },
}

/// When it was filed; when it was found, where the EHR does not tell.
fn filed_at(watch: &DocumentWatch) -> Timestamp {
    watch.attached_at.unwrap_or(watch.detected_at)
}

/// The photos that are judged together with `lead`, which waits for further ones until `gathers_until`.
///
/// Which photos belong together follows from their filing times alone: in their order, each at most a window after the one before,
/// all within four windows, and at most twelve. So it is the same whichever of them is at the models first.
pub fn gather(lead: &DocumentWatch, gathers_until: Timestamp, siblings: &[Sibling], now: Timestamp) -> Gathering {
    let window = gathers_until.since(lead.detected_at);
    // A visit may be put under another patient: no draft is about photos of two.
    let of_the_patient = |sibling: &&Sibling| sibling.watch.patient == lead.patient;
    let siblings: Vec<&Sibling> = siblings.iter().filter(of_the_patient).collect();
    let open = |sibling: &&Sibling| matches!(sibling.state, SiblingState::Awaited | SiblingState::Ready);
    let mut photos: Vec<&DocumentWatch> = siblings
        .iter()
        .copied()
        .filter(open)
        .map(|sibling| &sibling.watch)
        .collect();
    photos.push(lead);
    photos.sort_by_key(|watch| (filed_at(watch), &watch.document));
    let mut group: Vec<&DocumentWatch> = Vec::new();
    for photo in photos {
        let joins = match (group.first(), group.last()) {
            (Some(first), Some(last)) => {
                group.len() < MOST_PHOTOS
                    && filed_at(photo) <= filed_at(last) + window
                    && filed_at(photo) <= filed_at(first) + window * MOST_WINDOWS
            }
            _ => true,
        };
        if !joins {
            if group.contains(&lead) {
                break;
            }
            group.clear();
        }
        group.push(photo);
    }

    let waits = || group.iter().filter_map(|watch| watch.gathers_until);
    let opened = waits().min().unwrap_or(gathers_until);
    let closes_at = waits()
        .max()
        .unwrap_or(gathers_until)
        .min(opened + window * (MOST_WINDOWS - 1));
    if now < closes_at {
        return Gathering::NotBefore(closes_at);
    }
    let known = &siblings;
    let is = |state: SiblingState| {
        move |watch: &DocumentWatch| {
            let of_it = |sibling: &&&Sibling| sibling.watch.document == watch.document;
            known.iter().find(of_it).is_some_and(|sibling| sibling.state == state)
        }
    };
    // What is opened again long after is downloaded again.
    let downloaded_at = lead.photo.as_ref().map_or(closes_at, |stored| stored.downloaded_at);
    let give_up_at = closes_at.max(downloaded_at) + BYTES_PATIENCE;
    if now < give_up_at && group.iter().any(|watch| is(SiblingState::Awaited)(watch)) {
        return Gathering::NotBefore(give_up_at.min(now + LOOK_AGAIN));
    }
    let companions: Vec<DocumentWatch> = group
        .into_iter()
        .filter(|watch| is(SiblingState::Ready)(watch))
        .cloned()
        .collect();
    let names: BTreeSet<DocumentId> = companions.iter().map(|watch| watch.document.clone()).collect();
    let mut documents = names.clone();
    documents.insert(lead.document.clone());
    let earlier = siblings
        .iter()
        .filter(|sibling| sibling.state == SiblingState::Closed)
        .map(|sibling| &sibling.watch)
        .max_by_key(|watch| (filed_at(watch), &watch.document));
    Gathering::Close {
        closed: ClosedAssessment {
            id: Assessment::identity(&lead.firm, &lead.encounter, &documents),
            companions: names,
            earlier: earlier.map(|watch| watch.assessment.clone()),
        },
        companions,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        domain::{CategoryCode, EncounterId, FirmId, PatientId, PhotoDigest, StoredPhoto},
        phi::Phi,
    };

    const WINDOW: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_767_600_000_000) + Duration::from_secs(seconds)
    }

    /// Filed at the second of its name, and found at once.
    fn photo(filed: u64) -> DocumentWatch {
        let (firm, encounter, document) = (
            FirmId::new("a"),
            EncounterId::new("e"),
            DocumentId::new(format!("{filed:03}")),
        );
        DocumentWatch {
            assessment: Assessment::identity(&firm, &encounter, [&document]),
            patient: PatientId::new("p"),
            practitioner: None,
            category: CategoryCode::new("rash"),
            route: Route::Widespread,
            attached_at: Some(at(filed)),
            detected_at: at(filed),
            gathers_until: Some(at(filed) + WINDOW),
            closed: None,
            photo: None,
            firm,
            encounter,
            document,
        }
    }

    fn sibling(filed: u64, state: SiblingState) -> Sibling {
        Sibling {
            watch: photo(filed),
            state,
        }
    }

    fn gathered(lead: u64, siblings: &[Sibling], now: u64) -> Gathering {
        let lead = photo(lead);
        gather(&lead, lead.gathers_until.unwrap(), siblings, at(now))
    }

    fn closed(lead: u64, siblings: &[Sibling], now: u64) -> (ClosedAssessment, Vec<String>) {
        match gathered(lead, siblings, now) {
            Gathering::Close { closed, companions } => {
                let names: Vec<_> = companions.iter().map(|watch| watch.document.to_string()).collect();
                let of_closed: Vec<_> = closed.companions.iter().map(ToString::to_string).collect();
                assert_eq!(names, of_closed);
                (closed, names)
            }
            Gathering::NotBefore(at) => panic!("still open until {at}"),
        }
    }

    #[test]
    fn no_window_is_no_wait() {
        let windows = GatheringWindows {
            solitary: Duration::ZERO,
            widespread: WINDOW,
        };
        assert_eq!(windows.until(Route::Solitary, at(0)), None);
        assert_eq!(windows.until(Route::Widespread, at(0)), Some(at(30)));
    }

    #[test]
    fn an_assessment_closes_a_window_after_its_latest_photo() {
        assert_eq!(gathered(0, &[], 29), Gathering::NotBefore(at(30)));
        let (alone, names) = closed(0, &[], 30);
        assert!(names.is_empty());
        assert_eq!(alone.id, photo(0).assessment, "one photo's assessment is its own");

        let second = [sibling(20, SiblingState::Ready)];
        assert_eq!(gathered(0, &second, 30), Gathering::NotBefore(at(50)));
        assert_eq!(closed(0, &second, 50).1, ["020"]);
    }

    #[test]
    fn it_does_not_stay_open_for_ever() {
        let all: Vec<_> = (1..10).map(|n| sibling(n * 25, SiblingState::Ready)).collect();
        assert_eq!(gathered(0, &all, 119), Gathering::NotBefore(at(120)));
        let (_, names) = closed(0, &all, 120);
        assert_eq!(names, ["025", "050", "075", "100"], "four windows from the first on");
        // What does not fit begins the next one.
        let (_, names) = closed(
            125,
            &[&all[..4], &all[5..], &[sibling(0, SiblingState::Ready)]].concat(),
            300,
        );
        assert_eq!(names, ["150", "175", "200", "225"]);
    }

    #[test]
    fn photos_far_from_each_other_are_judged_apart() {
        let far = [sibling(31, SiblingState::Ready)];
        assert!(closed(0, &far, 100).1.is_empty());
        let near = [sibling(30, SiblingState::Ready)];
        assert_eq!(closed(0, &near, 100).1, ["030"]);
    }

    #[test]
    fn whoever_leads_finds_the_same_assessment() {
        let times = [0, 10, 35, 90, 100];
        let close = |lead: u64| {
            let others: Vec<_> = times
                .iter()
                .filter(|time| **time != lead)
                .map(|time| sibling(*time, SiblingState::Ready))
                .collect();
            closed(lead, &others, 500).0.id
        };
        assert_eq!(close(0), close(10));
        assert_eq!(close(0), close(35));
        assert_eq!(close(90), close(100));
        assert_ne!(close(0), close(90));
    }

    #[test]
    fn bytes_that_are_to_come_are_waited_for_but_not_for_ever() {
        let late = [sibling(5, SiblingState::Awaited), sibling(6, SiblingState::Ready)];
        assert_eq!(gathered(0, &late, 40), Gathering::NotBefore(at(42)));
        assert_eq!(gathered(0, &late, 95), Gathering::NotBefore(at(96)));
        assert_eq!(closed(0, &late, 96).1, ["006"]);
        // Those of another assessment are not.
        assert!(closed(0, &[sibling(50, SiblingState::Awaited)], 40).1.is_empty());
    }

    #[test]
    fn what_is_closed_or_gone_does_not_join_and_the_latest_closed_is_named() {
        let siblings = [
            sibling(1, SiblingState::Closed),
            sibling(2, SiblingState::Closed),
            sibling(3, SiblingState::Gone),
        ];
        let (closed, names) = closed(4, &siblings, 100);
        assert!(names.is_empty());
        assert_eq!(closed.earlier, Some(photo(2).assessment));
    }

    #[test]
    fn photos_of_another_patient_are_not_judged_together_nor_named() {
        let of_another = |filed: u64, state| {
            let mut sibling = sibling(filed, state);
            sibling.watch.patient = PatientId::new("q");
            sibling
        };
        let siblings = [of_another(5, SiblingState::Ready), of_another(1, SiblingState::Closed)];
        let (closed, names) = closed(0, &siblings, 100);
        assert!(names.is_empty());
        assert_eq!(closed.earlier, None);
    }

    #[test]
    fn what_is_opened_again_long_after_waits_for_the_others_again() {
        let mut lead = photo(0);
        lead.photo = Some(StoredPhoto {
            digest: PhotoDigest::of(&Phi::new(Bytes::from_static(b"photo"))),
            bytes: 5,
            downloaded_at: at(3600),
        });
        let late = [sibling(5, SiblingState::Awaited)];
        let gathered = |now: u64| gather(&lead, at(30), &late, at(now));
        assert_eq!(gathered(3601), Gathering::NotBefore(at(3603)));
        assert!(matches!(gathered(3661), Gathering::Close { .. }));
    }

    #[test]
    fn an_assessment_has_a_bounded_number_of_photos() {
        let all: Vec<_> = (1..30).map(|n| sibling(n, SiblingState::Ready)).collect();
        assert_eq!(closed(0, &all, 500).1.len() + 1, MOST_PHOTOS);
    }
}
