//! What real EHRs do to their clients, one test for each: the whole engine under virtual time against a practice EHR that
//! behaves that way. Every photo gets exactly one draft all the same, or what the test says instead.

use std::time::Duration;

use http::StatusCode;
use skin_assist::driver::Event;
use skin_assist_core::{
    domain::{FirmId, Reason},
    polling::PolicyName,
    ports::RetractedDraft,
    time::{Clock as _, Timestamp},
};
use skin_assist_simulator::{
    AttachmentForm, CallKind, EncounterSpec, EncounterStatus, ExpiresIn, FailNext, LastUpdatedForm, NextLink,
    PageLinks, PagingSession, PhotoSpec, Quirks, QuotaWindow, ReferenceForm, RetryAfter, Spoilt, SpoiltReply, Totals,
};

use crate::support::{Setting, World};

const MINUTE: Duration = Duration::from_secs(60);
/// How long a clinic lasts, and how long one is run to be finished.
const SHORT: Duration = Duration::from_secs(12 * 60);
const CLINIC: Duration = Duration::from_secs(22 * 60);
/// As long as the models may take.
const LONG_LOOK: Duration = Duration::from_secs(45);
/// Well within that.
const MEANWHILE: Duration = Duration::from_secs(15);

/// Every kind of EHR that a profile is shipped for; one that lists all that changed in a practice also without that.
fn settings() -> [Setting; 4] {
    let mut by_list = short("fhir-r4");
    by_list.profile.documents.changed = None;
    by_list.profile.name.push_str(" by list");
    [short("modmed-ema"), short("fhir-r4"), by_list, short("uscore-r4")]
}

/// A short clinic at an EHR of this kind, on a small quota: many of them in little time.
fn short(profile: &str) -> Setting {
    let mut setting = Setting::of(profile);
    setting.clinic = SHORT;
    setting.quota = (240, MINUTE);
    setting
}

/// Pages so small that every search has several.
fn small_pages(mut setting: Setting) -> Setting {
    setting.profile.encounters.page_size = 3;
    setting.profile.documents.page_size = 1;
    setting
}

/// A clinic at an EHR with these quirks, from beginning to end.
fn clinic(seed: u64, setting: Setting, quirks: &Quirks) -> World {
    let world = World::with(seed, 2, setting);
    world.ehr.set_quirks(|ours| *ours = quirks.clone());
    finish(&world);
    world
}

/// Runs until every photo has its draft, and a little longer for one that it should not have; no longer than [`CLINIC`].
fn finish(world: &World) {
    let end = world.clock_now() + CLINIC;
    world.run_for(SHORT);
    while world.clock_now() < end && world.report().missing().next().is_some() {
        world.run_for(MINUTE);
    }
    world.run_for(MINUTE);
}

/// In every setting, with small pages, every photo gets exactly one draft.
fn survives(quirks: &Quirks) {
    for setting in settings() {
        let name = setting.profile.name.clone();
        let world = clinic(3, small_pages(setting), quirks);
        let report = world.assert_delivered_once(0);
        assert!(report.expected().count() >= 8, "{name}: too few photos prove nothing");
        assert_eq!(report.refused_429, 0, "{name}");
    }
}

/// A practice with one visit that is open.
fn one_visit(setting: Setting) -> (World, String, String) {
    let world = World::empty_with(1, setting);
    world.open_firm("derm");
    let visit = world
        .ehr
        .open_encounter(world.clock_now(), "derm", EncounterSpec::default());
    (world, "derm".to_owned(), visit.unwrap())
}

fn attach(world: &World, firm: &str, visit: &str, seed: u64) -> String {
    let photo = PhotoSpec::synthetic("PHOTO-LESION", seed, None);
    world.ehr.attach_photo(world.clock_now(), firm, visit, photo).unwrap()
}

fn failing(kind: CallKind, form: Spoilt, remaining: u32) -> Quirks {
    Quirks {
        spoilt_replies: vec![SpoiltReply { kind, form, remaining }],
        ..Quirks::default()
    }
}

#[test]
fn every_profile_fits_an_ehr_of_its_kind() {
    for setting in settings() {
        let name = setting.profile.name.clone();
        let report = clinic(2, setting, &Quirks::default()).assert_delivered_once(0);
        assert!(report.expected().count() >= 8, "{name}");
        let worst = report.photos.iter().filter_map(|photo| {
            let seen = photo.first_listed_at?;
            Some(seen.since(photo.attached_at))
        });
        assert!(worst.max().unwrap() < MINUTE, "{name}");
    }
}

#[test]
fn pages_shift_while_data_changes() {
    survives(&Quirks {
        newest_first: true,
        ..Quirks::default()
    });
}

#[test]
fn equal_timestamps_lie_at_a_page_edge() {
    for setting in settings() {
        let world = World::empty_with(5, small_pages(setting));
        world.open_firm("derm");
        world.run_for(MINUTE);
        let now = world.clock_now();
        for seed in 0..14 {
            let visit = world.ehr.open_encounter(now, "derm", EncounterSpec::default()).unwrap();
            attach(&world, "derm", &visit, seed);
        }
        world.run_for(10 * MINUTE);
        assert_eq!(world.assert_delivered_once(0).expected().count(), 14);
    }
}

#[test]
fn a_search_of_many_pages_comes_to_its_end_on_a_quota_that_is_used_up() {
    // Many visits that are looked at all the time, and one with more pages than are granted within a lease if each of them has
    // to wait for its turn again.
    const PHOTOS: u64 = 12;
    let mut world = World::empty_with(7, small_pages(short("uscore-r4")));
    world.policy = PolicyName::RoundRobin;
    world.open_firm("derm");
    let open = || {
        let now = world.clock_now();
        world.ehr.open_encounter(now, "derm", EncounterSpec::default()).unwrap()
    };
    let visits: Vec<String> = (0..40).map(|_| open()).collect();
    world.run_for(2 * MINUTE);
    for seed in 0..PHOTOS {
        attach(&world, "derm", &visits[0], seed);
        attach(&world, "derm", &visits[1], PHOTOS + seed);
    }
    world.run_for(5 * MINUTE);
    let report = world.assert_delivered_once(0);
    assert_eq!(report.expected().count() as u64, 2 * PHOTOS);
    let rested = |event: &Event| matches!(event, Event::Resting { .. });
    assert!(
        !world.events.lock().unwrap().iter().any(rested),
        "a search had no time left"
    );
}

#[test]
fn a_look_may_take_longer_than_a_lease() {
    // The lease on the watch list is renewed while the look goes on.
    const PHOTOS: u64 = 60;
    let world = World::empty_with(7, small_pages(short("uscore-r4")));
    world.open_firm("derm");
    let now = world.clock_now();
    let visit = world.ehr.open_encounter(now, "derm", EncounterSpec::default()).unwrap();
    for seed in 0..PHOTOS {
        attach(&world, "derm", &visit, seed);
    }
    // When the run ends the lease is not renewed any more: what is looked at then may have no time left.
    let end = world.clock_now() + 10 * MINUTE;
    world.run_for(10 * MINUTE);
    let report = world.assert_delivered_once(0);
    assert_eq!(report.expected().count() as u64, PHOTOS);
    let events = world.events.lock().unwrap();
    let before = |event: &&Event| matches!(event, Event::Resting { until, .. } if *until <= end);
    assert_eq!(events.iter().find(before), None, "a look had no time left");
}

#[test]
fn a_record_becomes_visible_two_minutes_late() {
    // Where results do not say when they changed, the cursor follows the EHR's clock and is ahead of what is visible.
    for last_updated in [LastUpdatedForm::Exact, LastUpdatedForm::Missing] {
        survives(&Quirks {
            visibility_delay: Duration::from_secs(120),
            last_updated,
            ..Quirks::default()
        });
    }
}

#[test]
fn last_updated_is_a_day() {
    survives(&Quirks {
        last_updated: LastUpdatedForm::Day,
        ..Quirks::default()
    });
}

#[test]
fn last_updated_is_missing_and_the_cursor_moves_all_the_same() {
    survives(&Quirks {
        last_updated: LastUpdatedForm::Missing,
        ..Quirks::default()
    });
    let world = clinic(
        4,
        short("fhir-r4"),
        &Quirks {
            last_updated: LastUpdatedForm::Missing,
            ..Quirks::default()
        },
    );
    let now = world.clock_now();
    let overview = world.clock.run(world.state.overview(now)).unwrap();
    for firm in overview {
        let behind = now.since(firm.cursor.unwrap().0);
        assert!(
            behind < MINUTE,
            "the cursor is {behind:?} behind: each poll asks for more and more"
        );
    }
}

#[test]
fn a_search_compares_days_wherever_the_practice_is() {
    for day_offset_minutes in [-12 * 60, -300, 0, 330, 14 * 60] {
        survives(&Quirks {
            compares_days_only: true,
            day_offset_minutes: Some(day_offset_minutes),
            ..Quirks::default()
        });
    }
}

#[test]
fn totals_count_the_page_or_everything_or_nothing() {
    for totals in [Totals::PageLocal, Totals::True, Totals::Absent] {
        for links_past_the_end in [true, false] {
            survives(&Quirks {
                totals: Some(totals),
                links_past_the_end: Some(links_past_the_end),
                ..Quirks::default()
            });
        }
    }
}

#[test]
fn references_are_absolute_or_relative_or_name_a_version() {
    for references in [
        ReferenceForm::Absolute,
        ReferenceForm::Relative,
        ReferenceForm::Versioned,
    ] {
        survives(&Quirks {
            references: Some(references),
            ..Quirks::default()
        });
    }
}

#[test]
fn ids_have_reserved_characters() {
    for setting in settings() {
        let world = World::empty_with(6, small_pages(setting));
        world.ehr.set_quirks(|quirks| quirks.odd_ids = true);
        world.open_firm("derm");
        for seed in 0..3 {
            let visit = world
                .ehr
                .open_encounter(world.clock_now(), "derm", EncounterSpec::default());
            attach(&world, "derm", &visit.unwrap(), seed);
        }
        world.run_for(10 * MINUTE);
        let report = world.assert_delivered_once(0);
        assert_eq!(
            report.expected().filter(|photo| photo.document.contains('+')).count(),
            3
        );
    }
}

#[test]
fn next_links_are_cursors() {
    for page_links in [PageLinks::Cursor, PageLinks::RootCursor] {
        for mut setting in settings() {
            setting.dialect.page_links = page_links;
            clinic(7, small_pages(setting), &Quirks::default()).assert_delivered_once(0);
        }
    }
}

/// The token must not go where a link leads outside the firm. Nothing is recorded from such a search, and the firm goes
/// on when the links are right again.
#[test]
fn a_next_link_to_another_host_or_firm_is_refused_and_one_in_a_circle_ends() {
    for next_link in [
        NextLink::OtherHost,
        NextLink::OtherFirm,
        NextLink::Cyclic,
        NextLink::NeverEnding,
    ] {
        for setting in settings() {
            let world = World::with(8, 2, small_pages(setting));
            world.ehr.set_quirks(|quirks| quirks.next_link = next_link);
            world.run_for(15 * MINUTE);
            let malformed = |event: &Event| match event {
                Event::Resting { reason, .. } => reason.code() == "ehr.malformed",
                _ => false,
            };
            let rested = world.events.lock().unwrap().iter().any(malformed);
            assert!(rested, "{next_link:?} went unnoticed");
            world.ehr.set_quirks(|quirks| quirks.next_link = NextLink::Own);
            finish(&world);
            world.assert_delivered_once(0);
        }
    }
}

#[test]
fn the_session_of_a_search_ends_between_two_pages() {
    for status in [StatusCode::GONE, StatusCode::BAD_REQUEST] {
        for setting in settings() {
            let mut setting = small_pages(setting);
            setting.profile.encounters.page_size = 1;
            let world = World::with(9, 2, setting);
            let session = PagingSession {
                lifetime: Duration::from_millis(100),
                status,
            };
            world.ehr.set_quirks(|quirks| quirks.paging_session = Some(session));
            world.run_for(10 * MINUTE);
            world.ehr.set_quirks(|quirks| quirks.paging_session = None);
            finish(&world);
            world.assert_delivered_once(0);
        }
    }
}

#[test]
fn an_outcome_html_or_half_a_document_stands_where_the_answer_should() {
    for kind in [
        CallKind::Encounter,
        CallKind::Document,
        CallKind::Read,
        CallKind::Context,
    ] {
        for form in [
            Spoilt::OutcomeAsBody,
            Spoilt::OutcomeInBundle { is_error: true },
            Spoilt::OutcomeInBundle { is_error: false },
            Spoilt::HtmlPage,
            Spoilt::HtmlBadGateway,
            Spoilt::Truncated,
        ] {
            // Two kinds of EHR: what a spoilt answer is does not depend on how it was asked for.
            for setting in [short("modmed-ema"), short("fhir-r4")] {
                clinic(10, small_pages(setting), &failing(kind, form, 6)).assert_delivered_once(0);
            }
        }
    }
}

/// What such an answer to a post means cannot be known: where the EHR has a search it is settled, elsewhere it is listed.
#[test]
fn an_unreadable_answer_to_a_post_is_settled_or_listed() {
    for form in [
        Spoilt::OutcomeAsBody,
        Spoilt::HtmlPage,
        Spoilt::HtmlBadGateway,
        Spoilt::Truncated,
    ] {
        for (setting, uncertain) in settings().into_iter().zip([3, 0, 0, 3]) {
            let world = clinic(11, setting, &failing(CallKind::Draft, form, 3));
            let report = world.assert_delivered_once(uncertain);
            let listed = world.clock.run(world.state.uncertain()).unwrap();
            // A reply whose Location header survived says enough.
            assert!(listed.len() <= uncertain, "{form:?}");
            assert!(report.missing().next().is_none(), "{form:?}: the EHR has every draft");
        }
    }
}

/// The token ends between two pages: it is renewed, and the search goes on where it was.
#[test]
fn a_token_ends_in_the_middle_of_a_search_which_goes_on() {
    for setting in settings() {
        let name = setting.profile.name.clone();
        let world = World::empty_with(12, small_pages(setting));
        world.open_firm("derm");
        for _ in 0..12 {
            world
                .ehr
                .open_encounter(world.clock_now(), "derm", EncounterSpec::default())
                .unwrap();
        }
        let calls = |revoked: Option<u32>| {
            let before = world.report();
            world.ehr.set_quirks(|quirks| quirks.revoke_token_after = revoked);
            // One poll of encounters and nothing else: each page takes 200 ms, a second poll is not begun before 5 s.
            world.run_for(Duration::from_millis(1_500));
            let after = world.report();
            (
                after.calls.encounter - before.calls.encounter,
                after.token_calls - before.token_calls,
            )
        };
        let (_, tokens) = calls(Some(2));
        assert_eq!(
            tokens, 2,
            "{name}: one token at the start and one instead of the revoked one"
        );
        let watched = world.clock.run(world.state.overview(world.clock_now())).unwrap()[0].watched_encounters;
        assert_eq!(watched, 12, "{name}: the search went on to its end");
        let resting = world
            .events
            .lock()
            .unwrap()
            .iter()
            .any(|event| matches!(event, Event::Resting { .. }));
        assert!(!resting, "{name}: the firm did not have to rest");
    }
}

#[test]
fn the_token_endpoint_does_not_say_when_a_token_ends() {
    for expires_in in [ExpiresIn::Absent, ExpiresIn::Text] {
        for setting in settings() {
            let world = World::with(13, 2, setting);
            world.ehr.set_quirks(|quirks| quirks.expires_in = expires_in);
            world.run_for(CLINIC);
            let report = world.assert_delivered_once(0);
            // 900 s as the text says, 300 s where nothing is said: renewed ahead of that, and not at every call.
            assert!((4..=20).contains(&report.token_calls), "{} tokens", report.token_calls);
        }
    }
}

#[test]
fn a_user_gets_tokens_by_password_once_and_by_the_refresh_token_then() {
    use skin_assist_ehr::{ClientAuthentication, Grant};
    let mut setting = short("modmed-ema");
    setting.profile.token.grant = Grant::Password;
    setting.profile.token.client_authentication = ClientAuthentication::None;
    setting.profile.token.url = Some("{base}/firm/{firm}/ema/ws/oauth2/grant".to_owned());
    let world = World::with(19, 2, setting);
    world.run_for(CLINIC);
    let report = world.assert_delivered_once(0);
    assert!((4..=8).contains(&report.token_calls), "{} tokens", report.token_calls);
    for firm in world.ehr.firms() {
        let credential = world
            .clock
            .run(world.state.credential(&FirmId::new(&firm)))
            .unwrap()
            .unwrap();
        assert!(credential.refresh_token.is_some());
    }
}

#[test]
fn a_refusal_for_the_quota_says_when_to_come_back_or_does_not() {
    for (retry_after, wait) in [
        (RetryAfter::Absent, 5),
        (RetryAfter::Seconds(40), 40),
        (RetryAfter::Date(40), 40),
    ] {
        for setting in settings() {
            let (world, firm, visit) = one_visit(setting);
            world.run_for(MINUTE);
            attach(&world, &firm, &visit, 1);
            world.ehr.set_quirks(|quirks| quirks.retry_after = retry_after);
            world.ehr.set_faults(|faults| {
                faults.failures.push(FailNext {
                    kind: CallKind::Document,
                    status: StatusCode::TOO_MANY_REQUESTS,
                    remaining: 1,
                });
            });
            let attached = world.clock_now();
            world.run_for(3 * MINUTE);
            let report = world.assert_delivered_once(0);
            let found = report.photos[0].first_listed_at.unwrap().since(attached);
            // An HTTP date has whole seconds.
            let (least, most) = (Duration::from_secs(wait - 1), Duration::from_secs(wait + 12));
            assert!((least..most).contains(&found), "{retry_after:?}: found after {found:?}");
        }
    }
}

#[test]
fn clocks_are_minutes_apart() {
    for clock_skew_seconds in [-280, -60, 60, 280] {
        survives(&Quirks {
            clock_skew_seconds,
            ..Quirks::default()
        });
    }
}

#[test]
fn an_encounter_reopens_and_gets_a_photo_then() {
    for setting in settings() {
        let (world, firm, visit) = one_visit(setting);
        world.run_for(5 * MINUTE);
        world.ehr.finish_encounter(world.clock_now(), &firm, &visit).unwrap();
        // Beyond the life of a watch: only the reopening brings it back.
        let later = world.clock_now() + Duration::from_secs(25 * 3600);
        world.clock.run(world.clock.sleep_until(later));
        let now = world.clock_now();
        world
            .ehr
            .set_encounter_status(now, &firm, &visit, EncounterStatus::InProgress)
            .unwrap();
        world.run_for(2 * MINUTE);
        attach(&world, &firm, &visit, 1);
        world.run_for(10 * MINUTE);
        assert_eq!(world.assert_delivered_once(0).expected().count(), 1);
    }
}

fn alarms(world: &World) -> Vec<RetractedDraft> {
    world.clock.run(world.state.retracted_drafts()).unwrap()
}

#[test]
fn a_document_entered_in_error_before_delivery_gets_no_draft() {
    for setting in settings() {
        let (mut world, firm, visit) = one_visit(setting);
        world.vision = world.vision.clone().taking(LONG_LOOK);
        world.run_for(MINUTE);
        let document = attach(&world, &firm, &visit, 1);
        world.run_with(3 * MINUTE, MEANWHILE, || {
            world.ehr.retract_document(world.clock_now(), &firm, &document).unwrap();
        });
        assert_eq!(world.report().compositions, 0);
        assert!(alarms(&world).is_empty());
    }
}

#[test]
fn a_document_replaced_before_delivery_leaves_the_draft_to_the_other() {
    for setting in settings() {
        let (mut world, firm, visit) = one_visit(setting);
        world.vision = world.vision.clone().taking(LONG_LOOK);
        world.run_for(MINUTE);
        let document = attach(&world, &firm, &visit, 1);
        let mut other = String::new();
        world.run_with(5 * MINUTE, MEANWHILE, || {
            let photo = PhotoSpec::synthetic("PHOTO-LESION", 2, None);
            let replaced = world.ehr.replace_photo(world.clock_now(), &firm, &document, photo);
            other = replaced.unwrap();
        });
        let report = world.report();
        assert_eq!(report.compositions, 1);
        let drafted = report.photos.iter().filter(|photo| !photo.drafts.is_empty());
        assert_eq!(drafted.map(|photo| &photo.document).collect::<Vec<_>>(), [&other]);
    }
}

#[test]
fn a_retraction_after_delivery_is_an_alarm_once_until_it_is_acknowledged() {
    for replaced in [false, true] {
        for setting in settings() {
            let (world, firm, visit) = one_visit(setting);
            world.run_for(MINUTE);
            let document = attach(&world, &firm, &visit, 1);
            world.run_for(5 * MINUTE);
            assert_eq!(world.report().compositions, 1);
            let now = world.clock_now();
            if replaced {
                let other = PhotoSpec::synthetic("PHOTO-LESION", 2, None);
                world.ehr.replace_photo(now, &firm, &document, other).unwrap();
            } else {
                world.ehr.retract_document(now, &firm, &document).unwrap();
            }
            world.run_for(10 * MINUTE);
            let raised =
                |event: &Event| matches!(event, Event::Retracted(draft) if draft.document.as_str() == document);
            let events = world.events.lock().unwrap();
            assert_eq!(events.iter().filter(|event| raised(event)).count(), 1);
            drop(events);
            let listed = alarms(&world);
            assert_eq!(listed.len(), 1);
            assert_eq!(listed[0].document.as_str(), document);
            assert!(listed[0].reference.is_some());
            let acknowledged = world
                .state
                .acknowledge_retraction(&listed[0].firm, &listed[0].assessment, now);
            world.clock.run(acknowledged).unwrap();
            world.run_for(5 * MINUTE);
            assert!(alarms(&world).is_empty());
        }
    }
}

#[test]
fn two_firms_have_the_same_ids() {
    for setting in settings() {
        let world = World::empty_with(14, setting);
        for firm in ["derm-a", "derm-b"] {
            world.open_firm(firm);
            let spec = EncounterSpec {
                id: Some("e1".to_owned()),
                patient: Some("p1".to_owned()),
                ..EncounterSpec::default()
            };
            world.ehr.open_encounter(world.clock_now(), firm, spec).unwrap();
            let photo = PhotoSpec {
                id: Some("file|1".to_owned()),
                ..PhotoSpec::synthetic("PHOTO-LESION", 1, None)
            };
            world.ehr.attach_photo(world.clock_now(), firm, "e1", photo).unwrap();
        }
        world.run_for(5 * MINUTE);
        let report = world.assert_delivered_once(0);
        assert_eq!(report.expected().count(), 2);
    }
}

/// A search that ignores what it was asked lists other patients: their photos are not taken for this one's.
#[test]
fn a_search_ignores_its_parameters() {
    for parameter in ["patient", "encounter", "_lastUpdated", "date"] {
        for setting in settings() {
            let mut quirks = Quirks::default();
            quirks.ignored_parameters.insert(parameter);
            let world = clinic(15, setting, &quirks);
            world.assert_delivered_once(0);
        }
    }
}

#[test]
fn a_photo_is_a_binary_or_stands_in_the_document() {
    for attachments in [
        AttachmentForm::PreSigned,
        AttachmentForm::RelativeBinary,
        AttachmentForm::AbsoluteBinary,
        AttachmentForm::Inline,
    ] {
        for mut setting in settings() {
            setting.dialect.attachments = attachments;
            clinic(16, setting, &Quirks::default()).assert_delivered_once(0);
        }
    }
}

#[test]
fn several_visits_are_asked_for_by_a_list_or_a_batch() {
    let calls = |in_list, in_batch| {
        let mut setting = short("fhir-r4");
        setting.profile.documents.changed = None;
        setting.profile.documents.encounters_in_list = in_list;
        setting.profile.documents.searches_in_batch = in_batch;
        let world = clinic(17, small_pages(setting), &Quirks::default());
        let report = world.assert_delivered_once(0);
        assert!(report.expected().count() >= 8);
        report.calls.document
    };
    let (singly, by_list, by_batch) = (calls(0, 0), calls(10, 0), calls(0, 10));
    assert!(by_list > 0 && by_batch > 0, "{singly} {by_list} {by_batch}");
}

#[test]
fn a_quota_counts_an_hour_or_shuts_out_for_the_rest_of_the_minute() {
    for (window, calls) in [
        (QuotaWindow::Fixed(Duration::from_secs(3600)), 1_000),
        (QuotaWindow::Sliding(Duration::from_secs(3600)), 1_000),
        (QuotaWindow::Fixed(MINUTE), 60),
    ] {
        let mut setting = short("fhir-r4");
        setting.dialect.quota_window = window;
        let (QuotaWindow::Fixed(length) | QuotaWindow::Sliding(length)) = window;
        setting.quota = (calls, length);
        let world = World::with(18, 2, setting);
        world.run_for(CLINIC);
        let report = world.assert_delivered_once(0);
        assert_eq!(report.refused_429, 0, "{window:?}");
    }
}

#[test]
fn a_visit_that_ended_meanwhile_follows_the_profile() {
    use skin_assist_ehr::FinishedVisitRule as Rule;
    for (rule, posted, withheld) in [(Rule::Post, 1, 0), (Rule::PostWithoutVisit, 1, 0), (Rule::Hold, 0, 1)] {
        let mut setting = short("fhir-r4");
        setting.profile.draft.finished_visit = rule;
        let (mut world, firm, visit) = one_visit(setting);
        world.vision = world.vision.clone().taking(LONG_LOOK);
        world.run_for(MINUTE);
        attach(&world, &firm, &visit, 1);
        world.run_with(3 * MINUTE, MEANWHILE, || {
            world.ehr.finish_encounter(world.clock_now(), &firm, &visit).unwrap();
        });
        let overview = &world.clock.run(world.state.overview(world.clock_now())).unwrap()[0];
        assert_eq!((overview.delivered, overview.withheld), (posted, withheld), "{rule:?}");
        assert_eq!(world.report().compositions, posted, "{rule:?}");
    }
}

#[test]
fn where_the_ehr_takes_no_draft_nothing_is_posted() {
    let mut setting = short("fhir-r4");
    setting.profile.draft.target = skin_assist_ehr::DraftTarget::None;
    setting.dialect.drafts.targets.clear();
    let (world, firm, visit) = one_visit(setting);
    attach(&world, &firm, &visit, 1);
    world.run_for(5 * MINUTE);
    let report = world.report();
    assert_eq!(report.calls.draft, 0, "a post was tried");
    let kept = |event: &Event| match event {
        Event::Withheld { reason, .. } => Some(Reason::code(reason).to_owned()),
        _ => None,
    };
    let kept: Vec<_> = world.events.lock().unwrap().iter().filter_map(kept).collect();
    assert_eq!(kept, ["draft.not-held"]);
}

#[test]
fn a_visit_is_removed_and_its_neighbours_go_on() {
    for setting in settings() {
        let (world, firm, visit) = one_visit(setting);
        let other = world
            .ehr
            .open_encounter(world.clock_now(), &firm, EncounterSpec::default())
            .unwrap();
        world.run_for(MINUTE);
        world.ehr.remove_encounter(world.clock_now(), &firm, &visit).unwrap();
        attach(&world, &firm, &other, 1);
        world.run_for(5 * MINUTE);
        let delivered: Option<Timestamp> = world
            .report()
            .photos
            .last()
            .unwrap()
            .drafts
            .first()
            .map(|draft| draft.posted_at);
        assert!(delivered.is_some());
    }
}
