//! The conformance suite of state stores: one list of cases, run on every backend.
//!
//! A backend says how to get an empty state ([`Backend`]), and its test calls [`check`] and
//! [`Report::assert_passed`]. Each case is a rule of the contracts in `skin_assist_core::ports`, stated in its own
//! comment; a case that needs several firms or several states makes them itself. All times are virtual: a case says what
//! time it is.
//!
//! That the suite bites is tested too: [`mutations`] are stores that break a rule, on which the cases about that rule
//! have to fail.

// A case fails by panicking, as a test does.
#![allow(clippy::unwrap_used)]

mod assessments;
mod audit;
mod busy;
mod changes;
mod credentials;
mod deliveries;
mod documents;
mod encounters;
mod firms;
mod fixtures;
mod grants;
mod memory;
pub mod mutations;
mod operations;
pub mod proposals;
mod retention;
mod retraction;
mod spending;
pub mod subscriptions;
mod tenants;
mod watch_lists;
mod zombies;

use std::{panic::AssertUnwindSafe, sync::Arc};

use async_trait::async_trait;
pub use busy::busy;
use futures::{
    FutureExt,
    executor::block_on,
    future::{BoxFuture, join_all},
};
use skin_assist_core::ports::StateStore;

/// A kind of store, and how to get one.
#[async_trait]
pub trait Backend: Send + Sync {
    /// A new, empty state, with one or more handles on it: more where several processes can share it. Cases about
    /// concurrency spread over the handles.
    async fn fresh(&self) -> Vec<Arc<dyn StateStore>>;

    /// Runs tasks at the same time, to their end, and panics when one of them does. Here on a thread each; a backend
    /// whose futures need a runtime's context spawns them there instead.
    async fn at_once(&self, tasks: Vec<BoxFuture<'static, ()>>) {
        std::thread::scope(|scope| {
            for task in tasks {
                scope.spawn(|| block_on(task));
            }
        });
    }
}

/// A rule, checked.
pub struct Case {
    /// Its name: the room and the rule.
    pub name: &'static str,
    run: fn(Bench) -> BoxFuture<'static, ()>,
}

/// What a case works with.
#[derive(Clone)]
struct Bench(Arc<dyn Backend>);

impl Bench {
    /// A new, empty state.
    async fn store(&self) -> Arc<dyn StateStore> {
        self.0.fresh().await.swap_remove(0)
    }

    /// Runs `work` on a new state that `prepare` has filled, `times` times at once, spread over its handles.
    async fn race<T: Send + 'static>(
        &self,
        handles: &[Arc<dyn StateStore>],
        times: usize,
        work: impl Fn(Arc<dyn StateStore>) -> BoxFuture<'static, T>,
    ) -> Vec<T> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let tasks = (0..times)
            .map(|turn| {
                let (sender, task) = (sender.clone(), work(Arc::clone(&handles[turn % handles.len()])));
                async move { sender.send(task.await).expect("the receiver outlives the tasks") }.boxed()
            })
            .collect();
        self.0.at_once(tasks).await;
        drop(sender);
        let outcomes: Vec<T> = receiver.iter().collect();
        assert_eq!(outcomes.len(), times, "a task did not come to its end");
        outcomes
    }
}

macro_rules! cases {
    ($($room:ident: $($rule:ident),+;)+) => {
        vec![$($(Case {
            name: concat!(stringify!($room), "::", stringify!($rule)),
            run: |bench| $room::$rule(bench).boxed(),
        }),+),+]
    };
}

/// All cases.
pub fn cases() -> Vec<Case> {
    cases! {
        firms:
            a_firm_is_added_once, settings_are_kept, what_is_not_there_is_not_found, removal_leaves_nothing,
            a_lease_does_not_outlive_its_firm;
        credentials:
            one_refreshes_at_a_time, a_refusal_drops_the_token, a_refresh_lease_expires,
            a_new_credential_voids_the_refresh_under_way, concurrent_refreshes_get_one_lease,
            a_refresh_token_is_kept_with_its_token, a_refresh_token_goes_with_its_credential,
            a_key_id_belongs_to_its_credential;
        encounters:
            the_cursor_moves_only_from_where_it_was, concurrent_polls_move_the_cursor_once,
            seeing_the_same_version_again_changes_nothing, an_older_version_changes_nothing,
            without_versions_the_contents_decide, a_watch_list_tells_of_photos, what_is_known_can_be_asked_for,
            an_ended_watch_can_still_be_asked_for, an_ended_watch_is_not_there, a_lease_is_exclusive_and_expires,
            a_look_is_noted_and_ends_the_lease, a_release_does_not_count, concurrent_pollers_share_no_encounter;
        watch_lists:
            a_lease_is_exclusive_and_expires, those_free_for_longest_come_first,
            those_of_some_firms_are_granted_alone, concurrent_pollers_share_no_firm,
            a_renewal_keeps_list_and_fence, a_lost_lease_is_not_renewed, a_paused_firm_is_not_polled,
            looks_are_noted_when_a_list_is_given_back, a_list_that_is_lost_is_not_given_back,
            a_release_frees_at_once, looks_are_noted_and_keep_the_lease, looks_cancel_what_was_retracted,
            looks_alarm_of_what_was_delivered, an_unknown_encounter_is_passed_over, a_look_may_come_after_the_watch,
            an_encounter_has_its_own_lease, pollers_come_and_go;
        changes:
            what_was_found_is_recorded_with_the_cursor, the_cursor_moves_only_from_where_it_was,
            other_categories_begin_anew, what_was_retracted_is_cancelled, what_was_delivered_alarms,
            a_photo_of_a_forgotten_encounter_is_recorded, it_is_a_look_at_every_encounter;
        memory:
            what_pollers_learned_adds_up, what_is_old_fades, a_firms_part_goes_with_it, an_unknown_firm_is_passed_over;
        documents:
            what_is_due_longest_comes_first, each_step_has_its_own_queue, a_lease_is_exclusive_and_expires,
            attempts_count_since_the_last_progress, a_known_document_stays_as_it_is,
            concurrent_workers_share_no_document, a_paused_firm_waits, findings_are_found_again,
            what_is_given_up_is_a_dead_letter_and_can_be_replayed, a_second_result_changes_nothing;
        assessments:
            a_photo_waits_for_further_ones, siblings_tell_how_they_stand, what_is_closed_is_finished_by_one_result,
            what_is_not_ready_closes_nothing, concurrent_workers_judge_each_photo_once, lost_bytes_open_it_again,
            a_retracted_photo_leaves, a_photo_retracted_during_the_post_leaves_if_it_failed,
            what_is_given_up_sets_the_others_free, an_earlier_draft_is_one_in_the_chart_or_on_its_way,
            a_later_photo_names_the_latest_draft_before_it, what_an_operator_discarded_stays_discarded;
        deliveries:
            a_result_comes_back_as_it_was_recorded, a_delivery_ends_with_its_reference,
            an_intent_outlives_its_lease, a_retry_withdraws_the_intent, a_release_keeps_the_intent,
            an_uncertain_result_waits_for_an_operator, a_withheld_result_is_not_posted,
            results_of_a_firm_are_listed, an_intent_names_what_it_changes, where_drafts_are_not_permitted_none_begins,
            what_is_given_up_is_a_dead_letter_and_can_be_replayed, concurrent_writers_share_no_result;
        retraction:
            before_the_result, under_a_lease, before_the_post, after_an_intent, while_uncertain, after_delivery,
            after_the_post_is_an_alarm, while_an_earlier_post_is_unsettled,
            of_what_was_given_up, of_an_unknown_document;
        zombies: encounters, watch_lists, documents, results, refreshes;
        tenants: every_method_stays_within_its_firm;
        grants:
            a_new_quota_starts_empty, workers_share_one_quota, a_hold_holds_everybody, a_refusal_halves_the_rate,
            a_late_grant_slows_everybody_down,
            calls_and_refusals_are_counted, quotas_do_not_share;
        spending: what_is_spent_adds_up, it_goes_with_the_firm;
        operations:
            overview_counts, overview_tells_detection_latency, journeys_tell_the_way, journeys_of_one_firm_and_time,
            a_journey_is_found_by_its_photo, photos_are_counted_by_hour, what_is_queued_is_listed, a_result_is_found_by_its_name,
            a_sweep_changes_nothing_that_shows, the_audit_trail_keeps_its_order;
        audit: entries_are_chains, transitions_tell_what_they_did, a_change_and_its_entry_are_one;
        retention:
            old_results_go_and_their_photos_are_known, what_one_result_was_about_goes_together,
            what_retracted_photos_say_of_patients_goes,
            what_waits_for_somebody_stays, without_a_limit_nothing_goes,
            the_beginning_of_the_trail_goes_after_its_time, only_the_beginning_goes, every_chain_is_shortened;
    }
}

/// A case that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The case.
    pub case: &'static str,
    /// What it said.
    pub message: String,
}

/// How a backend did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How many cases ran.
    pub ran: usize,
    /// Those that failed.
    pub failures: Vec<Failure>,
}

impl Report {
    /// Panics with the names of the cases that failed, if any did.
    pub fn assert_passed(&self) {
        let list: Vec<String> = self
            .failures
            .iter()
            .map(|failure| format!("  {}: {}", failure.case, failure.message))
            .collect();
        assert!(
            self.failures.is_empty(),
            "{} of {} cases failed:\n{}",
            list.len(),
            self.ran,
            list.join("\n")
        );
        assert!(self.ran > 0, "no case ran");
    }
}

/// Runs every case on the backend.
pub async fn check(backend: Arc<dyn Backend>) -> Report {
    check_some(backend, |_| true).await
}

/// Runs the cases whose names `wanted` accepts.
pub async fn check_some(backend: Arc<dyn Backend>, wanted: impl Fn(&str) -> bool) -> Report {
    let mut report = Report::default();
    for case in cases().into_iter().filter(|case| wanted(case.name)) {
        report.ran += 1;
        let run = async { (case.run)(Bench(Arc::clone(&backend))).await };
        if let Err(panic) = AssertUnwindSafe(run).catch_unwind().await {
            let message = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
                .unwrap_or_else(|| "panicked".to_owned());
            report.failures.push(Failure {
                case: case.name,
                message,
            });
        }
    }
    report
}

/// Waits for all of some futures of a case, one after the other in effect: for steps that need no concurrency.
async fn all<T>(futures: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    join_all(futures).await
}
