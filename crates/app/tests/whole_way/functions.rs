//! The functions of the AWS deployment under virtual time: cycles as the state machine runs them, events as streams and the
//! bucket deliver them, on a state in memory. What the emulator shows with the shipped template in minutes, this shows for a
//! whole clinic in a moment, with every event lost, doubled or late.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;
use skin_assist::{
    driver::Event,
    functions::{FunctionError, FunctionName},
};
use skin_assist_core::{
    domain::{DocumentId, DocumentStep, FirmId},
    time::Clock as _,
};

use crate::{
    CLINIC, MINUTE,
    deployment::{Deployment, Events, functions, invoke, object_record, stream_record},
    support::World,
};

#[test]
fn cycles_and_events_bring_each_photo_one_draft() {
    for seed in 1..=2 {
        let world = World::new(seed, 3);
        Deployment::run(&world, Events::Delivered, CLINIC);
        let report = world.assert_delivered_once(0);
        assert!(report.expected().count() >= 15);
        assert_eq!(report.refused_429, 0);
        assert_eq!(world.vision.looks(), report.expected().count() as u64);
        for photo in report.expected() {
            let detected = photo.first_listed_at.unwrap().since(photo.attached_at);
            assert!(detected < 5 * MINUTE, "{} was found after {detected:?}", photo.document);
        }
    }
}

#[test]
fn what_is_past_its_time_is_removed_and_no_photo_is_assessed_anew() {
    let world = World::new(5, 2);
    Deployment::run(&world, Events::Delivered, CLINIC);
    let photos = world.assert_delivered_once(0).expected().count() as u64;
    let remove = || invoke(&world, FunctionName::RemoveExpired, json!({}));
    world.clock.run(async {
        let removed = remove().await.unwrap();
        assert_eq!(
            removed,
            json!({ "results": 0, "photos": 0, "audit_entries": 0, "more": false })
        );
        world.clock.sleep_until(world.clock_now() + 48 * 60 * MINUTE).await;
        let removed = remove().await.unwrap();
        assert_eq!(removed["results"], json!(photos));
        assert!(removed["audit_entries"].as_u64().unwrap() > photos, "{removed}");
    });
    Deployment::run(&world, Events::Delivered, 5 * MINUTE);
    world.assert_delivered_once(0);
    assert_eq!(world.vision.looks(), photos);
}

#[test]
fn an_event_that_is_lost_loses_no_photo() {
    let world = World::new(3, 3);
    Deployment::run(&world, Events::Lost, CLINIC + 5 * MINUTE);
    let report = world.assert_delivered_once(0);
    assert!(report.expected().count() >= 15);
    assert_eq!(world.vision.looks(), report.expected().count() as u64);
}

#[test]
fn an_event_that_comes_twice_makes_no_second_draft() {
    let world = World::new(4, 3);
    Deployment::run(&world, Events::Doubled, CLINIC);
    let report = world.assert_delivered_once(0);
    assert!(report.expected().count() >= 15);
    assert_eq!(
        world.vision.looks(),
        report.expected().count() as u64,
        "an inference was paid twice"
    );
}

/// A world with one photo found and waiting for download, and its id.
fn one_photo(seed: u64) -> (World, FirmId, DocumentId) {
    let world = World::new(seed, 1);
    let found = |world: &World| {
        let events = world.events.lock().unwrap();
        events.iter().find_map(|event| match event {
            Event::Detected { firm, document, .. } => Some((firm.clone(), document.clone())),
            _ => None,
        })
    };
    for _ in 0..60 {
        let began = world.clock_now();
        Deployment::run(&world, Events::Lost, MINUTE);
        // A cycle that has nothing to find is over at once.
        world.clock.run(world.clock.sleep_until(began + MINUTE));
        if let Some((firm, document)) = found(&world) {
            return (world, firm, document);
        }
    }
    panic!("no photo in an hour");
}

#[test]
fn a_record_whose_item_is_under_a_lease_is_returned() {
    let (world, firm, document) = one_photo(5);
    world.clock.run(async {
        let lease = world
            .state
            .acquire_documents(DocumentStep::Download, world.clock_now(), Duration::from_secs(30), 1)
            .await
            .unwrap();
        let (firm, document) = match lease.first() {
            Some(lease) => (&lease.item().firm, &lease.item().document),
            None => (&firm, &document),
        };
        assert_eq!(lease.len(), 1);
        let record = stream_record(7, firm.as_str(), document.as_str());
        let malformed = json!({ "dynamodb": { "SequenceNumber": "8", "Keys": {} } });
        let unknown = stream_record(9, firm.as_str(), "no-such-document");
        let event = json!({ "Records": [record, malformed, unknown] });
        let answer = invoke(&world, FunctionName::DownloadPhoto, event).await.unwrap();
        assert_eq!(
            answer["batchItemFailures"],
            json!([{ "itemIdentifier": "7" }, { "itemIdentifier": "8" }]),
            "leased and malformed come again, one that is gone does not"
        );
        let object = json!({ "Records": [object_record(firm.as_str(), document.as_str())] });
        assert_eq!(
            invoke(&world, FunctionName::Infer, object).await,
            Err(FunctionError::ItemBusy),
            "its download is under way"
        );
    });
}

#[test]
fn a_malformed_event_has_a_name_and_changes_nothing() {
    let world = World::new(6, 1);
    let malformed = [
        (FunctionName::RefreshCredentials, json!({})),
        (FunctionName::PollEncounters, json!({ "firms": ["a"] })),
        (FunctionName::PollDocuments, json!({ "firms": "a" })),
        (
            FunctionName::DownloadPhoto,
            json!({ "items": [{ "firm": "a", "assessment": "b" }] }),
        ),
        (
            FunctionName::DownloadPhoto,
            json!({ "items": [{ "firm": "a", "document": "b", "more": 1 }] }),
        ),
        (FunctionName::Infer, json!({ "Records": [{ "s3": { "object": {} } }] })),
        (FunctionName::WriteBack, json!(null)),
    ];
    world.clock.run(async {
        for (function, event) in malformed {
            let outcome = invoke(&world, function, event).await;
            assert_eq!(outcome, Err(FunctionError::InputMalformed), "{function}");
        }
        assert_eq!(
            invoke(
                &world,
                FunctionName::WriteBack,
                json!({ "Records": [stream_record(1, "a", "note#x")] })
            )
            .await,
            Ok(json!({ "batchItemFailures": [{ "itemIdentifier": "1" }] })),
            "a record that the filter should have held back"
        );
    });
    assert_eq!("no-such".parse::<FunctionName>(), Err(FunctionError::FunctionUnknown));
    let names: BTreeSet<_> = FunctionName::ALL.into_iter().map(FunctionName::as_str).collect();
    assert_eq!(names.len(), FunctionName::ALL.len());
}

#[test]
fn shards_name_every_firm_once() {
    let world = World::new(7, 5);
    world.clock.run(async {
        let discovered = invoke(&world, FunctionName::DiscoverFirms, json!({})).await.unwrap();
        let shards = discovered["shards"].as_array().unwrap();
        let sizes: Vec<_> = shards
            .iter()
            .map(|shard| shard["firms"].as_array().unwrap().len())
            .collect();
        assert_eq!(sizes, [2, 2, 1]);
        let firms: BTreeSet<_> = shards
            .iter()
            .flat_map(|shard| shard["firms"].as_array().unwrap())
            .map(|firm| firm.as_str().unwrap())
            .collect();
        assert_eq!(firms.len(), 5);
        let every = shards[0]["encounters_every_s"].as_u64().unwrap();
        assert_eq!(every, 60, "a quarter of 120 calls a minute is enough for 5 firms");
    });
}

#[test]
fn times_are_kept() {
    let world = World::new(8, 2);
    Deployment::run(&world, Events::Delivered, 3 * MINUTE);
    let ended = world.clock_now().since(crate::support::MORNING);
    assert!(ended < 3 * MINUTE, "a cycle takes less than a minute: {ended:?}");
}

/// In the clinic a cycle goes on; hours after it, with the same price, one sweep makes the calls that are worth it and ends the
/// cycle, although others would be worth theirs before the next.
#[test]
fn a_cycle_ends_where_its_seconds_are_worth_more_than_what_it_would_find() {
    let world = World::new(9, 1);
    let mut functions = functions(&world, 2);
    functions.engine.settings.least_price = 0.004;
    let (mut busy, mut night) = (Vec::new(), Vec::new());
    world.clock.run(async {
        let shards = functions.engine.shards(2).await.unwrap();
        let mut event = json!(shards[0]);
        event["sweep_every_seconds"] = 17.into();
        for cycle in 0..60 {
            let in_the_clinic = cycle < 30;
            let began = world.clock_now();
            let deadline = || world.clock_now() + Duration::from_secs(20);
            functions
                .invoke(FunctionName::PollEncounters, &event, deadline())
                .await
                .unwrap();
            let begins = world.clock_now();
            let swept = functions
                .invoke(FunctionName::PollDocuments, &event, deadline())
                .await
                .unwrap();
            let lasted = world.clock_now().since(begins);
            match cycle {
                15..30 => busy.push((swept["idle"] == true, lasted)),
                50.. => night.push((swept["idle"] == true, lasted)),
                _ => {}
            }
            let pause = if in_the_clinic { MINUTE } else { 6 * MINUTE };
            world.clock.sleep_until(began + pause).await;
        }
    });
    let long = Duration::from_secs(13);
    assert!(busy.iter().all(|(idle, _)| !idle), "{busy:?}");
    assert!(busy.iter().any(|(_, lasted)| *lasted >= long), "{busy:?}");
    assert!(night.iter().all(|(idle, lasted)| *idle && *lasted < long), "{night:?}");
    assert!(
        night.iter().any(|(_, lasted)| *lasted > Duration::ZERO),
        "no calls were made: {night:?}"
    );
}
