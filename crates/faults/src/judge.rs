//! What must hold at the end: what the practice EHR holds, compared with what the store lists.

use std::collections::{HashMap, HashSet};

use skin_assist_core::{
    domain::{DeadLetterSubject, Delivery, DocumentId, FirmId, JourneyState},
    ports::{Operations, StateStore},
    time::Timestamp,
};
use skin_assist_simulator::{PhotoReport, Report};

use crate::{
    plan::asks_for_a_draft,
    truth::{PhotoName, Truth},
};

/// How the store lists a photo.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Listed {
    Delivered,
    Uncertain,
    Buried(String),
    Withheld(String),
    /// The draft about the photos that were judged with it says that the models could not look at it.
    NotAssessed,
}

/// What the store lists, by photo.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    photos: HashMap<PhotoName, Vec<Listed>>,
    /// Photos whose drafts are alarms because one of their photos was retracted.
    alarms: HashSet<PhotoName>,
}

fn name(photo: &PhotoReport) -> PhotoName {
    (photo.firm.clone(), photo.document.clone())
}

impl Listing {
    /// # Panics
    /// When the store cannot be read, which is in memory.
    pub(crate) async fn of(report: &Report, state: &(impl StateStore + ?Sized)) -> Self {
        let mut listing = Self::default();
        let firms: HashSet<&str> = report.photos.iter().map(|photo| photo.firm.as_str()).collect();
        let retracted = Operations::retracted_drafts(state)
            .await
            .expect("the state is in memory");
        for firm in firms {
            let id = FirmId::new(firm);
            let results = state.firm_results(&id).await.expect("the state is in memory");
            for result in results {
                let listed = match &result.delivery {
                    Delivery::Delivered { .. } => Listed::Delivered,
                    Delivery::Uncertain { .. } => Listed::Uncertain,
                    Delivery::Withheld { reason, .. } => Listed::Withheld(reason.code().to_owned()),
                    Delivery::Buried { .. } | Delivery::Discarded { .. } => Listed::Buried("result".to_owned()),
                    Delivery::Pending | Delivery::Intended { .. } => continue,
                };
                let is_alarm = retracted
                    .iter()
                    .any(|draft| draft.firm == id && draft.assessment == result.assessment.id);
                for document in &result.assessment.documents {
                    if is_alarm {
                        listing.alarms.insert((firm.to_owned(), document.to_string()));
                    }
                    let photo = result.photos.iter().find(|photo| photo.document == *document);
                    let is_assessed = photo.is_none_or(|photo| photo.not_assessed.is_none());
                    listing.add(firm, document, listed.clone());
                    if !is_assessed {
                        listing.add(firm, document, Listed::NotAssessed);
                    }
                }
            }
        }
        for letter in state.dead_letters().await.expect("the state is in memory") {
            if let DeadLetterSubject::Document(document) = &letter.subject {
                let listed = Listed::Buried(letter.reason.code().to_owned());
                listing.add(letter.firm.as_str(), document, listed);
            }
        }
        listing
    }

    fn add(&mut self, firm: &str, document: &DocumentId, listed: Listed) {
        let name = (firm.to_owned(), document.to_string());
        self.photos.entry(name).or_default().push(listed);
    }

    fn has(&self, photo: &PhotoReport, is: impl Fn(&Listed) -> bool) -> bool {
        self.photos
            .get(&name(photo))
            .is_some_and(|listed| listed.iter().any(is))
    }

    pub(crate) fn is_uncertain(&self, photo: &PhotoReport) -> bool {
        self.has(photo, |listed| *listed == Listed::Uncertain)
    }

    pub(crate) fn is_buried(&self, photo: &PhotoReport) -> bool {
        self.has(photo, |listed| matches!(listed, Listed::Buried(_)))
    }

    /// The photos that have a draft, were withdrawn, and of which no alarm says so.
    pub(crate) fn unnoticed(&self, report: &Report) -> Vec<PhotoName> {
        let withdrawn = report.photos.iter().filter(|photo| photo.is_withdrawn());
        let posted = withdrawn.filter(|photo| !photo.drafts.is_empty()).map(name);
        posted.filter(|name| !self.alarms.contains(name)).collect()
    }

    /// The photos that ask for a draft, have none, and of which nothing says why.
    pub(crate) fn open(&self, report: &Report) -> Vec<PhotoName> {
        let missing = report.missing().filter(|photo| asks_for_a_draft(photo.route));
        let open = missing.filter(|photo| !self.has(photo, |listed| *listed != Listed::Delivered));
        open.map(name).collect()
    }
}

/// Where each photo is that the store knows of.
pub(crate) type Stands = HashMap<PhotoName, JourneyState>;

/// Without those that were found since `end`, while the run was being ended: one that was withdrawn may be shown late as it was before.
///
/// # Panics
/// When the store cannot be read, which is in memory.
pub(crate) async fn stands(state: &(impl StateStore + ?Sized), end: Timestamp) -> Stands {
    let journeys = Operations::journeys(state, None, Timestamp::ALWAYS, usize::MAX).await;
    let journeys = journeys.expect("the state is in memory").into_iter();
    let journeys = journeys.filter(|journey| journey.detected_at < end);
    let stands = journeys.map(|journey| ((journey.firm.to_string(), journey.document.to_string()), journey.state));
    stands.collect()
}

/// Compares the chart with the store, and both with what was asked for; `broken` are photos whose files are no pictures.
pub(crate) fn end(report: &Report, listing: &Listing, stands: &Stands, broken: &HashSet<PhotoName>, truth: &mut Truth) {
    for photo in listing.open(report) {
        truth.violated(
            "nothing is lost",
            format!("{photo:?} has no draft, and nothing says why"),
        );
    }
    for photo in &report.photos {
        let drafts = photo.drafts.len();
        let name = name(photo);
        if drafts > 1 {
            truth.violated("never two drafts", format!("{name:?} has {drafts}"));
        }
        if !asks_for_a_draft(photo.route) && (drafts > 0 || photo.read_at.is_some()) {
            truth.violated("only what was chosen is looked at", format!("{name:?}"));
        }
        let is_assessed = !listing.has(photo, |listed| *listed == Listed::NotAssessed);
        if !is_assessed && !broken.contains(&name) {
            truth.violated(
                "nothing is given up without a cause",
                format!("{name:?} was not assessed"),
            );
        }
        if drafts == 0 && is_assessed && listing.has(photo, |listed| *listed == Listed::Delivered) {
            truth.violated(
                "nothing is lost",
                format!("{name:?} is listed as delivered and is not in the chart"),
            );
        }
        if drafts > 0 && !listing.has(photo, |listed| matches!(listed, Listed::Delivered | Listed::Uncertain)) {
            truth.violated("the store knows what is in the chart", format!("{name:?} has a draft"));
        }
        if listing.is_uncertain(photo) && !truth.intended.contains(&name) {
            truth.violated("only what was posted is uncertain", format!("{name:?}"));
        }
        if listing.is_buried(photo) && !broken.contains(&name) {
            let listed = listing.photos.get(&name);
            truth.violated("nothing is given up without a cause", format!("{name:?}: {listed:?}"));
        }
        match stands.get(&name) {
            Some(JourneyState::Retracted) if !photo.is_withdrawn() => {
                truth.violated(
                    "nothing is given up without a cause",
                    format!("{name:?} is called retracted"),
                );
            }
            // Of one that was withdrawn before anybody saw it the store knows nothing.
            Some(
                JourneyState::Retracted | JourneyState::DeadLetter | JourneyState::Delivered | JourneyState::Uncertain,
            )
            | None => {}
            Some(state) => truth.violated(
                "nothing is lost",
                format!("{name:?} has come no farther than {state:?}"),
            ),
        }
        if listing.has(photo, |listed| matches!(listed, Listed::Withheld(_))) {
            truth.violated("nothing is kept back without a cause", format!("{name:?}"));
        }
    }
    for name in listing.unnoticed(report) {
        truth.violated(
            "a retraction after the post is an alarm",
            format!("{name:?} is in the chart, and no alarm says so"),
        );
    }
    for draft in &report.unmatched_drafts {
        truth.violated(
            "every draft names a photo of its firm",
            format!("{} of {}", draft.reference, draft.firm),
        );
    }
}
