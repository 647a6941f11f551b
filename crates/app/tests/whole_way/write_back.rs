//! Ten thousand drafts whose replies are lost, late, doubled or spoilt, written by processes that crash: no chart gets two,
//! and where nobody can know, the draft is listed.

use std::time::Duration;

use bytes::Bytes;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use skin_assist_ehr::DraftSearchRule;
use skin_assist_simulator::{CallKind, EncounterSpec, PhotoContent, PhotoSpec, Spoilt, SpoiltReply};

use crate::support::{Setting, World};

const VISITS: usize = 100;
const PHOTOS_PER_VISIT: usize = 20;

/// How an EHR helps, or does not, to find out what became of a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Help {
    /// Neither search nor conditional create: ModMed EMA, and notes by US Core.
    None,
    /// A search, which shows a draft late.
    Search,
    /// `If-None-Exist` alone.
    Condition,
    /// Both.
    Both,
}

fn setting(profile: &str, help: Help) -> Setting {
    let mut setting = Setting::of(profile);
    setting.quota = (1_500, Duration::from_secs(60));
    let condition = matches!(help, Help::Condition | Help::Both);
    setting.profile.draft.conditional_create = condition;
    setting.dialect.drafts.conditional_create = condition;
    setting.profile.draft.search = match help {
        Help::Search | Help::Both => DraftSearchRule::Identifier,
        Help::None | Help::Condition => DraftSearchRule::Unsupported,
    };
    setting
}

/// What goes wrong for the next while.
fn trouble(world: &World, help: Help, random: &mut StdRng) {
    world.ehr.set_faults(|faults| {
        faults.drop_composition_replies = random.random_range(0..12);
        let seconds = [0.2, 0.2, 0.5, 2.0, 20.0, 45.0].choose(random).unwrap();
        faults.delays.insert(CallKind::Draft, Duration::from_secs_f64(*seconds));
    });
    world.ehr.set_quirks(|quirks| {
        let forms = [
            Spoilt::OutcomeAsBody,
            Spoilt::HtmlPage,
            Spoilt::HtmlBadGateway,
            Spoilt::Truncated,
        ];
        quirks.spoilt_replies = vec![SpoiltReply {
            kind: CallKind::Draft,
            form: *forms.choose(random).unwrap(),
            remaining: random.random_range(0..6),
        }];
        if help != Help::None {
            quirks.draft_visibility_delay = Duration::from_secs(60);
        }
        // A proxy that sends a post twice makes two drafts of it where the EHR does not look at the identifier; no client
        // can help that.
        if matches!(help, Help::Condition | Help::Both) {
            quirks.duplicate_posts = random.random_range(0..12);
        }
    });
}

/// Writes all drafts; how many are listed as uncertain in the end.
fn write_all(profile: &str, help: Help, seed: u64) -> usize {
    let mut world = World::empty_with(seed, setting(profile, help));
    world.writers = 24;
    world.open_firm("derm");
    for visit in 0..VISITS {
        let spec = EncounterSpec::default();
        let visit_id = world.ehr.open_encounter(world.clock_now(), "derm", spec).unwrap();
        for photo in 0..PHOTOS_PER_VISIT {
            let number = (visit * PHOTOS_PER_VISIT + photo) as u64;
            let spec = PhotoSpec {
                content: PhotoContent::Bytes(Bytes::from([&[0xff, 0xd8][..], &number.to_be_bytes()].concat())),
                ..PhotoSpec::synthetic("PHOTO-LESION", number, None)
            };
            world
                .ehr
                .attach_photo(world.clock_now(), "derm", &visit_id, spec)
                .unwrap();
        }
    }
    let mut random = StdRng::seed_from_u64(seed);
    let mut crashes = 0;
    let waiting = |world: &World| {
        let overview = world
            .clock
            .run(world.state.overview(world.clock_now()))
            .unwrap()
            .remove(0);
        let settled = overview.delivered + overview.uncertain + overview.dead_letters;
        settled < (VISITS * PHOTOS_PER_VISIT) as u64
    };
    let mut turns = 0;
    while waiting(&world) {
        turns += 1;
        assert!(turns < 400, "{profile}, {help:?}: it does not come to an end");
        trouble(&world, help, &mut random);
        if random.random_bool(0.2) {
            crashes += usize::from(world.crash_after(random.random_range(50..3000), Duration::from_secs(30)));
        } else {
            world.run_for(Duration::from_secs(random.random_range(5..40)));
        }
    }
    assert!(crashes > 0, "no crash proves nothing");
    world.assert_delivered_once(VISITS * PHOTOS_PER_VISIT);
    world.clock.run(world.state.uncertain()).unwrap().len()
}

#[test]
fn where_nobody_can_know_a_draft_is_listed_and_never_posted_again() {
    for (profile, seed) in [("modmed-ema", 1), ("uscore-r4", 2)] {
        let uncertain = write_all(profile, Help::None, seed);
        assert!(uncertain > 50, "{profile}: only {uncertain} replies were lost");
    }
}

#[test]
fn where_a_search_settles_it_nothing_is_uncertain() {
    assert_eq!(write_all("fhir-r4", Help::Search, 3), 0);
}

#[test]
fn where_the_ehr_recognises_the_identifier_a_post_is_repeated() {
    assert_eq!(write_all("fhir-r4", Help::Condition, 4), 0);
}

#[test]
fn where_it_has_both_nothing_is_uncertain_either() {
    assert_eq!(write_all("fhir-r4", Help::Both, 5), 0);
}
