//! Writes everything of FHIR that subscribers get, one file each, and what the bundles contain in files of its own, since not every validator
//! looks inside: `cargo run -p skin-assist-subscribers --example notices -- FOLDER`.

// Here a panic is the report.
#![allow(clippy::unwrap_used)]

use std::{fs, path::PathBuf, time::Duration};

use serde_json::Value;
use skin_assist_core::{
    domain::{
        ChartEvent, ChartEventKind, DocumentId, EncounterId, FirmId, Notice, Notification, Reason, ResourceReference,
        Subscription, SubscriptionFormat, SubscriptionId, SubscriptionStatus,
    },
    phi::Secret,
    time::Timestamp,
};
use skin_assist_subscribers::fhir;

fn main() {
    let folder = PathBuf::from(std::env::args_os().nth(1).expect("the name of a folder"));
    fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, resource: &Value| {
        let text = serde_json::to_string_pretty(resource).unwrap();
        fs::write(folder.join(format!("{name}.json")), text).unwrap();
    };
    for (name, resource) in notices() {
        write(&name, &resource);
        for (place, entry) in (1..).zip(resource["entry"].as_array().into_iter().flatten()) {
            if !entry["resource"].is_null() {
                write(&format!("{name}.entry-{place}"), &entry["resource"]);
            }
        }
    }
}

fn notices() -> Vec<(String, Value)> {
    let now = Timestamp::from_millis(1_772_460_309_120);
    let active = Subscription {
        status: SubscriptionStatus::Active,
        events: 3,
        heartbeat_seconds: 60,
        ..Subscription::requested(
            SubscriptionId::new("a1b2c3d4e5f6"),
            "https://subscriber.example/hook".to_owned(),
            SubscriptionFormat::FhirR4Backport,
            Secret::new(String::new()),
            String::new(),
            now,
        )
    };
    let failing = Subscription {
        status: SubscriptionStatus::Error,
        waiting: 2,
        waiting_from: Some(2),
        waiting_since: Some(now),
        failing_since: Some(now + Duration::from_secs(5)),
        reason: Some(Reason::new("subscriber.unreachable", "see that it answers")),
        ..active.clone()
    };
    let (encounter, document) = (EncounterId::new("7"), DocumentId::new("42"));
    let (visit, photo) = (
        ResourceReference::encounter(&encounter),
        ResourceReference::document(&document),
    );
    let draft = ResourceReference::recorded("Composition/9".to_owned());
    let events = [
        (ChartEventKind::EncounterFound, visit.clone(), vec![]),
        (ChartEventKind::PhotoDetected, photo.clone(), vec![visit.clone()]),
        (ChartEventKind::DraftDelivered, draft, vec![visit, photo]),
    ];
    let told: Vec<Notification> = (1..)
        .zip(events)
        .map(|(number, (kind, focus, context))| Notification {
            number,
            event: ChartEvent {
                firm: FirmId::new("north"),
                number,
                at: now,
                kind,
                focus,
                context,
            },
        })
        .collect();
    let mut notices = vec![
        ("handshake".to_owned(), fhir::body(&active, &Notice::Handshake, now)),
        ("heartbeat".to_owned(), fhir::body(&active, &Notice::Heartbeat, now)),
        ("events".to_owned(), fhir::events_answer(&active, &told, now)),
        ("no-events".to_owned(), fhir::events_answer(&active, &[], now)),
        (
            "outcome".to_owned(),
            fhir::outcome("not-found", "there is no such subscription"),
        ),
    ];
    for (name, subscription) in [("active", &active), ("failing", &failing)] {
        notices.push((format!("status-{name}"), fhir::status_answer(subscription, now)));
        notices.push((format!("subscription-{name}"), fhir::subscription(subscription)));
    }
    notices.extend(told.into_iter().map(|notification| {
        let name = format!("event-{}", notification.number);
        (name, fhir::body(&active, &Notice::Event(notification), now))
    }));
    notices
}
