//! What a sweep knows and has not recorded: so that a look that shows nothing new reads nothing from the state and writes
//! nothing to it.
//!
//! Nothing here decides what is right. Looks that are lost with it are made again, and what it does not know is read.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    domain::{DocumentId, EncounterId, EncounterWatch, Firm, FirmId, WatchedEncounter},
    ports::Look,
    time::Timestamp,
};

/// Photos that are recorded, by the visit under which they are listed, of one firm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedPhotos {
    /// Since when the firm's photos count: another connection of the same name, or a backfill, has others.
    photos_since: Timestamp,
    visits: BTreeMap<EncounterId, BTreeSet<DocumentId>>,
}

/// What a sweep knows, firm by firm.
#[derive(Debug, Default)]
pub struct SweepNotes(Mutex<BTreeMap<FirmId, Notes>>);

#[derive(Debug, Default)]
struct Notes {
    /// Looks that showed nothing new and are not recorded yet.
    quiet: BTreeMap<EncounterId, Timestamp>,
    /// Visits as the watch list had them.
    watches: HashMap<EncounterId, EncounterWatch>,
    recorded: Option<RecordedPhotos>,
}

impl SweepNotes {
    fn held(&self) -> MutexGuard<'_, BTreeMap<FirmId, Notes>> {
        // A panic while the lock was held cannot leave the map half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the firm's watch list, as it was just read.
    pub fn watching(&self, firm: &FirmId, list: &[WatchedEncounter]) {
        let watches = list
            .iter()
            .map(|watched| (watched.watch.encounter.id.clone(), watched.watch.clone()));
        self.held().entry(firm.clone()).or_default().watches = watches.collect();
    }

    /// Notes photos that an earlier sweep found recorded.
    pub fn recall(&self, firm: &FirmId, recorded: RecordedPhotos) {
        self.held().entry(firm.clone()).or_default().recorded = Some(recorded);
    }

    /// The photos known to be recorded, by firm, for a later sweep.
    pub fn recorded(&self) -> Vec<(FirmId, RecordedPhotos)> {
        let notes = self.held();
        let known = notes
            .iter()
            .filter_map(|(firm, notes)| Some((firm.clone(), notes.recorded.clone()?)));
        known.collect()
    }

    /// These visits, where the watch list had all of them.
    pub(super) fn watches_of(&self, firm: &FirmId, encounters: &[EncounterId]) -> Option<Vec<EncounterWatch>> {
        let notes = self.held();
        let watches = &notes.get(firm)?.watches;
        encounters
            .iter()
            .map(|encounter| watches.get(encounter).cloned())
            .collect()
    }

    /// Notes the looks, if none of them shows anything that is not recorded.
    pub(super) fn note_quiet(&self, firm: &Firm, looks: &[Look]) -> bool {
        let mut notes = self.held();
        let notes = notes.entry(firm.id.clone()).or_default();
        let recorded = notes
            .recorded
            .as_ref()
            .filter(|recorded| recorded.photos_since == firm.photos_since);
        let is_recorded = |look: &Look| {
            let of_visit = recorded.and_then(|recorded| recorded.visits.get(&look.encounter));
            look.found
                .iter()
                .all(|photo| of_visit.is_some_and(|photos| photos.contains(&photo.document)))
        };
        let quiet = looks.iter().all(|look| look.retracted.is_empty() && is_recorded(look));
        if quiet {
            notes
                .quiet
                .extend(looks.iter().map(|look| (look.encounter.clone(), look.at)));
        }
        quiet
    }

    /// Notes that what these looks found is recorded.
    pub(super) fn note_recorded(&self, firm: &Firm, looks: &[Look]) {
        let mut notes = self.held();
        let recorded = &mut notes.entry(firm.id.clone()).or_default().recorded;
        if recorded
            .as_ref()
            .is_none_or(|recorded| recorded.photos_since != firm.photos_since)
        {
            *recorded = Some(RecordedPhotos {
                photos_since: firm.photos_since,
                visits: BTreeMap::new(),
            });
        }
        let Some(recorded) = recorded else { return };
        for look in looks.iter().filter(|look| !look.found.is_empty()) {
            let photos = look.found.iter().map(|photo| photo.document.clone());
            recorded
                .visits
                .entry(look.encounter.clone())
                .or_default()
                .extend(photos);
        }
    }

    /// The looks of a firm that showed nothing new, to be recorded; they are no longer here then.
    pub fn take_quiet(&self, firm: &FirmId) -> Vec<Look> {
        let mut notes = self.held();
        let looks = notes.get_mut(firm).map(|notes| std::mem::take(&mut notes.quiet));
        let looks = looks.unwrap_or_default().into_iter().map(|(encounter, at)| Look {
            encounter,
            at,
            found: Vec::new(),
            retracted: Vec::new(),
        });
        looks.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        Assessment, CategoryCode, DocumentWatch, Encounter, EncounterStatus, FirmStatus, Mode, PatientId, Route,
        WATCH_LIFE,
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn firm(photos_since: Timestamp) -> Firm {
        Firm {
            id: FirmId::new("a"),
            url_prefix: "a".to_owned(),
            status: FirmStatus::Active,
            mode: Mode::Draft,
            intended_use: None,
            categories: BTreeMap::new(),
            api_key: None,
            connected_at: at(0),
            photos_since,
        }
    }

    fn look(documents: &[&str], retracted: &[&str]) -> Look {
        let (firm, encounter) = (FirmId::new("a"), EncounterId::new("e"));
        let found = documents.iter().map(|document| {
            let document = DocumentId::new(*document);
            DocumentWatch {
                firm: firm.clone(),
                assessment: Assessment::identity(&firm, &encounter, [&document]),
                document,
                encounter: encounter.clone(),
                patient: PatientId::new("p"),
                practitioner: None,
                category: CategoryCode::new("c"),
                route: Route::Solitary,
                attached_at: None,
                detected_at: at(5),
                gathers_until: None,
                closed: None,
                photo: None,
            }
        });
        Look {
            encounter: encounter.clone(),
            at: at(5),
            found: found.collect(),
            retracted: retracted.iter().map(|document| DocumentId::new(*document)).collect(),
        }
    }

    #[test]
    fn a_look_is_quiet_if_all_it_shows_is_recorded() {
        let (notes, a) = (SweepNotes::default(), firm(at(0)));
        assert!(notes.note_quiet(&a, &[look(&[], &[])]));
        assert!(!notes.note_quiet(&a, &[look(&[], &["gone"])]));
        assert!(!notes.note_quiet(&a, &[look(&["one"], &[])]));
        notes.note_recorded(&a, &[look(&["one"], &[])]);
        assert!(notes.note_quiet(&a, &[look(&["one"], &[])]));
        assert!(
            !notes.note_quiet(&a, &[look(&[], &[]), look(&["one", "two"], &[])]),
            "one shows more"
        );
        let mut of_another_visit = look(&["one"], &[]);
        of_another_visit.encounter = EncounterId::new("another");
        assert!(
            !notes.note_quiet(&a, &[of_another_visit]),
            "it is recorded under another visit"
        );
        assert_eq!(notes.take_quiet(&a.id), [look(&[], &[])], "to be recorded once");
        assert_eq!(notes.take_quiet(&a.id), []);

        // The next sweep knows them, but for a firm that was connected again, or whose earlier photos were asked for.
        let next = SweepNotes::default();
        for (firm, recorded) in notes.recorded() {
            next.recall(&firm, recorded);
        }
        assert!(!next.note_quiet(&firm(at(9)), &[look(&["one"], &[])]));
        assert!(next.note_quiet(&a, &[look(&["one"], &[])]));
    }

    #[test]
    fn visits_are_asked_for_where_the_list_does_not_have_all() {
        let (notes, a) = (SweepNotes::default(), FirmId::new("a"));
        let [one, two] = ["1", "2"].map(EncounterId::new);
        assert_eq!(notes.watches_of(&a, std::slice::from_ref(&one)), None);
        let watch = EncounterWatch {
            firm: a.clone(),
            encounter: Encounter {
                id: one.clone(),
                patient: PatientId::new("p"),
                practitioner: None,
                status: EncounterStatus::Open,
                last_updated: None,
            },
            first_seen_at: at(1),
            looked_at: None,
            expires_at: at(1) + WATCH_LIFE,
        };
        let listed = WatchedEncounter {
            watch: watch.clone(),
            photos: 0,
            latest_photo_at: None,
        };
        notes.watching(&a, &[listed]);
        assert_eq!(notes.watches_of(&a, std::slice::from_ref(&one)), Some(vec![watch]));
        assert_eq!(notes.watches_of(&a, &[one, two]), None);
    }
}
