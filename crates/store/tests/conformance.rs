//! The conformance suite, on a state in memory and on a file that several stores share.

// Helpers of tests, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

use std::{
    panic::AssertUnwindSafe,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use futures::executor::block_on;
use skin_assist_core::ports::{ProposingStore, StateStore};
use skin_assist_store::{SqliteStore, StateKey};
use skin_assist_testkit::conformance::{
    Backend, check, check_some,
    mutations::{Mutated, Mutation},
    proposals, subscriptions,
};
use tempfile::TempDir;

struct InMemory;

#[async_trait]
impl Backend for InMemory {
    async fn fresh(&self) -> Vec<Arc<dyn StateStore>> {
        vec![Arc::new(SqliteStore::open_in_memory().unwrap())]
    }
}

/// Each state a file, open three times.
struct OnFile {
    folder: TempDir,
    states: AtomicUsize,
}

impl OnFile {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            states: AtomicUsize::new(0),
        }
    }

    fn path(&self) -> PathBuf {
        let number = self.states.fetch_add(1, Ordering::Relaxed);
        self.folder.path().join(format!("{number}.db"))
    }
}

#[async_trait]
impl Backend for OnFile {
    async fn fresh(&self) -> Vec<Arc<dyn StateStore>> {
        let path = self.path();
        let open = || SqliteStore::open(&path, &StateKey::from_bytes([7; 32])).unwrap();
        vec![Arc::new(open()), Arc::new(open()), Arc::new(open())]
    }
}

#[test]
fn a_state_in_memory_conforms() {
    block_on(check(Arc::new(InMemory))).assert_passed();
}

#[test]
fn a_file_that_three_stores_share_conforms() {
    block_on(check(Arc::new(OnFile::new()))).assert_passed();
}

#[test]
fn items_can_be_proposed_by_name() {
    block_on(proposals::check(async || {
        Arc::new(SqliteStore::open_in_memory().unwrap()) as Arc<dyn ProposingStore>
    }));
}

#[test]
fn subscriptions_are_told_of_every_event_once_it_was_taken() {
    for backend in [&InMemory as &dyn Backend, &OnFile::new()] {
        block_on(subscriptions::check(backend));
    }
}

#[test]
fn the_rules_of_subscriptions_notice_a_store_that_breaks_them() {
    for mutation in [
        Mutation::EventsLost,
        Mutation::ToldTooEarly,
        Mutation::LeasesTooShort,
        Mutation::CursorIgnored,
    ] {
        let broken = Mutated::new(Arc::new(InMemory), mutation);
        let checked = std::panic::catch_unwind(AssertUnwindSafe(|| block_on(subscriptions::check(&broken))));
        assert!(checked.is_err(), "{mutation:?} was not noticed");
    }
    block_on(subscriptions::check(&Mutated::new(Arc::new(InMemory), Mutation::None)));
}

/// The cases that fail when a rule is broken, of those whose names contain one of `rooms`.
fn failures(mutation: Mutation, rooms: &[&str]) -> Vec<(&'static str, String)> {
    let backend = Arc::new(Mutated::new(Arc::new(InMemory), mutation));
    let report = block_on(check_some(backend, |name| rooms.iter().any(|room| name.contains(room))));
    assert!(report.ran > 0);
    report
        .failures
        .into_iter()
        .map(|failure| (failure.case, failure.message))
        .collect()
}

#[test]
fn the_suite_accepts_a_store_that_is_only_passed_on() {
    assert_eq!(failures(Mutation::None, &[""]), []);
}

#[test]
fn the_suite_notices_a_store_that_ignores_fences() {
    let failures = failures(Mutation::FenceIgnored, &["zombies"]);
    let cases: Vec<&str> = failures.iter().map(|(case, _)| *case).collect();
    assert_eq!(
        cases,
        [
            "zombies::encounters",
            "zombies::watch_lists",
            "zombies::documents",
            "zombies::results",
            "zombies::refreshes"
        ]
    );
    let messages: String = failures.iter().map(|(_, message)| message.as_str()).collect();
    for transition in [
        "record_documents",
        "release_encounter",
        "record_looks",
        "record_changes",
        "record_changes (nothing found)",
        "renew_watch_lists",
        "release_watch_lists",
        "record_photo",
        "record_photo_lost",
        "close_assessment",
        "count_look",
        "retry_document",
        "release_document",
        "bury_document",
        "record_findings",
        "record_result",
        "record_intent",
        "record_delivered",
        "record_uncertain",
        "record_withheld",
        "retry_delivery",
        "release_delivery",
        "bury_delivery",
        "record_token",
        "record_refusal",
        "release_refresh",
    ] {
        assert!(messages.contains(transition), "{transition} was not noticed");
    }
}

#[test]
fn the_suite_notices_other_broken_rules() {
    let broken: [(Mutation, &[&str]); 39] = [
        (
            Mutation::AttemptsForgotten,
            &["documents::attempts", "documents::a_lease", "watch_lists::a_lease"],
        ),
        (
            Mutation::CursorIgnored,
            &["encounters::the_cursor", "encounters::concurrent_polls"],
        ),
        (
            Mutation::LeasesTooShort,
            &[
                "documents::a_lease",
                "encounters::a_lease",
                "watch_lists::a_lease",
                "watch_lists::a_renewal",
            ],
        ),
        (
            Mutation::PausesIgnored,
            &["documents::a_paused_firm", "watch_lists::a_paused_firm"],
        ),
        (Mutation::OffIgnored, &["documents::a_paused_firm"]),
        (Mutation::RenewalsRaiseTheFence, &["watch_lists::a_renewal"]),
        (
            Mutation::ReleasesForgotten,
            &["watch_lists::a_release", "watch_lists::those_free_for_longest"],
        ),
        (
            Mutation::LooksForgotten,
            &[
                "watch_lists::looks_are_noted_and",
                "watch_lists::looks_are_noted_when",
                "watch_lists::looks_cancel",
                "watch_lists::looks_alarm",
                "watch_lists::a_look_may_come_after",
            ],
        ),
        (
            Mutation::RetractionsForgotten,
            &["watch_lists::looks_cancel", "watch_lists::looks_alarm"],
        ),
        (
            Mutation::UnknownEncountersTaken,
            &[
                "watch_lists::an_unknown_encounter",
                "watch_lists::looks_are_noted_and",
                "watch_lists::looks_are_noted_when",
            ],
        ),
        (
            Mutation::ChangesForgotten,
            &[
                "changes::what_was_found",
                "changes::what_was_retracted",
                "changes::a_photo_of_a_forgotten",
            ],
        ),
        (
            Mutation::StrayRetractionsForgotten,
            &["changes::what_was_retracted", "changes::what_was_delivered"],
        ),
        (Mutation::DocumentsCursorIgnored, &["changes::the_cursor"]),
        (Mutation::ChosenCategoriesIgnored, &["changes::other_categories"]),
        (Mutation::LooksAtAllForgotten, &["changes::it_is_a_look"]),
        (
            Mutation::PastWatchesHidden,
            &["encounters::an_ended_watch_can_still", "encounters::what_is_known"],
        ),
        (Mutation::PhotosUntold, &["encounters::a_watch_list"]),
        (Mutation::PollersStay, &["watch_lists::pollers"]),
        (
            Mutation::LearningEnds,
            &["memory::what_pollers_learned", "memory::what_is_old"],
        ),
        (Mutation::NothingFades, &["memory::what_is_old"]),
        (
            Mutation::HoldsIgnored,
            &["grants::a_hold", "grants::a_refusal", "grants::calls_and_refusals"],
        ),
        (Mutation::LateGrantsHidden, &["grants::a_late_grant"]),
        (Mutation::CallsUncounted, &["grants::calls_and_refusals"]),
        (Mutation::DetectionUntold, &["operations::overview_tells"]),
        (
            Mutation::JourneysOfAnyFirm,
            &["operations::a_journey_is_found", "tenants::every_method"],
        ),
        (
            Mutation::CompanionsForgotten,
            &[
                "assessments::siblings_tell",
                "assessments::what_is_closed",
                "assessments::a_retracted_photo",
                "assessments::what_is_given_up",
            ],
        ),
        (Mutation::UnreadyCompanionsTaken, &["assessments::what_is_not_ready"]),
        (Mutation::SiblingsHidden, &["assessments::siblings_tell"]),
        (
            Mutation::LostBytesForgotten,
            &["assessments::lost_bytes", "documents::each_step"],
        ),
        (Mutation::LooksMisplaced, &["assessments::what_is_closed"]),
        (
            Mutation::EarlierDraftsUntold,
            &["assessments::an_earlier_draft", "assessments::a_later_photo_names"],
        ),
        (Mutation::LaterDraftsAreEarlier, &["assessments::a_later_photo_names"]),
        (
            Mutation::ProhibitionsIgnored,
            &["deliveries::where_drafts_are_not_permitted"],
        ),
        (Mutation::UpdatesUntold, &["deliveries::an_intent_names"]),
        (Mutation::AllDraftsAreEarlier, &["assessments::an_earlier_draft"]),
        (Mutation::ChangesUnaudited, &["audit::a_change"]),
        (Mutation::EntriesApart, &["audit::a_change"]),
        (
            Mutation::ExpiredKept,
            &[
                "retention::old_results",
                "retention::what_one_result",
                "retention::what_retracted_photos",
                "retention::what_waits",
                "retention::the_beginning",
                "retention::only_the_beginning",
                "retention::every_chain",
            ],
        ),
        (
            Mutation::AllExpired,
            &[
                "retention::old_results",
                "retention::what_one_result",
                "retention::what_retracted_photos",
                "retention::the_beginning",
                "retention::only_the_beginning",
                "retention::every_chain",
            ],
        ),
    ];
    for (mutation, rooms) in broken {
        let failed = failures(mutation, rooms);
        assert_eq!(failed.len(), rooms.len(), "{mutation:?}: {failed:?}");
    }
}
