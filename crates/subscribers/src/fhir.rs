//! Notifications as the FHIR R4 Subscriptions Backport has them: id-only, by rest-hook.
//! <https://hl7.org/fhir/uv/subscriptions-backport/STU1.1/>

use serde_json::{Value, json};
use skin_assist_core::{
    domain::{Notice, Notification, Subscription, SubscriptionStatus},
    time::Timestamp,
};

use crate::cloud_events::told;

/// The media type.
pub const MEDIA_TYPE: &str = "application/fhir+json";

/// What is subscribed to.
pub const TOPIC: &str = "https://skin-assist.example/fhir/SubscriptionTopic/charts";

/// The system of practices' names, by which a notification says whose EHR its resources are in.
pub const PRACTICE_SYSTEM: &str = "https://skin-assist.example/fhir/practice";

const PROFILES: &str = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition";

/// Why a bundle is made, as `SubscriptionStatus.type` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Handshake,
    Heartbeat,
    EventNotification,
    QueryStatus,
    QueryEvent,
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Heartbeat => "heartbeat",
            Self::EventNotification => "event-notification",
            Self::QueryStatus => "query-status",
            Self::QueryEvent => "query-event",
        }
    }
}

/// An id as FHIR takes one: 1 to 64 letters, digits, `-` and `.`.
fn status_id(subscription: &Subscription, purpose: Purpose) -> String {
    format!("{}-{}", subscription.id, purpose.as_str())
}

fn status(subscription: &Subscription, purpose: Purpose, events: u64, told: &[Notification]) -> Value {
    let mut parameters = vec![
        json!({ "name": "subscription", "valueReference": { "reference": format!("Subscription/{}", subscription.id) } }),
        json!({ "name": "topic", "valueCanonical": TOPIC }),
        json!({ "name": "status", "valueCode": subscription.status }),
        json!({ "name": "type", "valueCode": purpose.as_str() }),
        json!({ "name": "events-since-subscription-start", "valueString": events.to_string() }),
    ];
    parameters.extend(told.iter().map(notification_event));
    if let (SubscriptionStatus::Error, Some(reason)) = (subscription.status, &subscription.reason) {
        parameters.push(json!({ "name": "error", "valueCodeableConcept": { "text": reason.code() } }));
    }
    json!({
        "resourceType": "Parameters",
        "id": status_id(subscription, purpose),
        "meta": { "profile": [format!("{PROFILES}/backport-subscription-status-r4")] },
        "parameter": parameters,
    })
}

fn notification_event(notification: &Notification) -> Value {
    let Notification { number, event } = notification;
    let mut parts = vec![
        json!({ "name": "event-number", "valueString": number.to_string() }),
        json!({ "name": "timestamp", "valueInstant": event.at }),
        json!({ "name": "focus", "valueReference": { "reference": event.focus } }),
    ];
    let context = event.context.iter();
    parts.extend(
        context.map(|resource| json!({ "name": "additional-context", "valueReference": { "reference": resource } })),
    );
    let practice = json!({ "type": "Organization", "identifier": { "system": PRACTICE_SYSTEM, "value": event.firm } });
    parts.push(json!({ "name": "additional-context", "valueReference": practice }));
    json!({ "name": "notification-event", "part": parts })
}

/// The entry that says which resource an event is about, without the resource.
fn focus(notification: &Notification) -> Value {
    json!({
        "request": { "method": "PUT", "url": notification.event.focus },
        "response": { "status": "200" },
    })
}

fn bundle(subscription: &Subscription, purpose: Purpose, events: u64, told: &[Notification], now: Timestamp) -> Value {
    let first = json!({
        "fullUrl": format!("https://skin-assist.example/fhir/Parameters/{}", status_id(subscription, purpose)),
        "resource": status(subscription, purpose, events, told),
        "request": { "method": "GET", "url": format!("Subscription/{}/$status", subscription.id) },
        "response": { "status": "200" },
    });
    let entries: Vec<_> = std::iter::once(first).chain(told.iter().map(focus)).collect();
    json!({
        "resourceType": "Bundle",
        "meta": { "profile": [format!("{PROFILES}/backport-subscription-notification-r4")] },
        "type": "history",
        "timestamp": now,
        "entry": entries,
    })
}

/// What a subscriber is told.
pub fn body(subscription: &Subscription, notice: &Notice, now: Timestamp) -> Value {
    let events = told(subscription, notice);
    match notice {
        Notice::Handshake => bundle(subscription, Purpose::Handshake, events, &[], now),
        Notice::Heartbeat => bundle(subscription, Purpose::Heartbeat, events, &[], now),
        Notice::Event(notification) => {
            let told = std::slice::from_ref(notification);
            bundle(subscription, Purpose::EventNotification, events, told, now)
        }
    }
}

/// The answer to `$status`.
pub fn status_answer(subscription: &Subscription, now: Timestamp) -> Value {
    let status = status(subscription, Purpose::QueryStatus, subscription.events, &[]);
    json!({
        "resourceType": "Bundle",
        "type": "searchset",
        "timestamp": now,
        "total": 1,
        "entry": [{
            "fullUrl": format!("https://skin-assist.example/fhir/Parameters/{}", status_id(subscription, Purpose::QueryStatus)),
            "resource": status,
            "search": { "mode": "match" },
        }],
    })
}

/// The answer to `$events`.
pub fn events_answer(subscription: &Subscription, told: &[Notification], now: Timestamp) -> Value {
    bundle(subscription, Purpose::QueryEvent, subscription.events, told, now)
}

/// The subscription itself, as the backport profiles one.
pub fn subscription(subscription: &Subscription) -> Value {
    let mut channel = json!({
        "type": "rest-hook",
        "endpoint": subscription.endpoint,
        "payload": MEDIA_TYPE,
        "_payload": { "extension": [{
            "url": format!("{PROFILES}/backport-payload-content"),
            "valueCode": "id-only",
        }] },
    });
    if subscription.heartbeat_seconds > 0 {
        channel["extension"] = json!([{
            "url": format!("{PROFILES}/backport-heartbeat-period"),
            "valueUnsignedInt": subscription.heartbeat_seconds,
        }]);
    }
    let mut resource = json!({
        "resourceType": "Subscription",
        "id": subscription.id,
        "meta": { "profile": [format!("{PROFILES}/backport-subscription")] },
        "status": subscription.status,
        "reason": "Changes in charts, and drafts on their way into them",
        "criteria": TOPIC,
        "channel": channel,
    });
    if let Some(reason) = &subscription.reason {
        resource["error"] = json!(reason.code());
    }
    resource
}

/// What could not be done, for a person and a program.
pub fn outcome(code: &str, said: &str) -> Value {
    json!({
        "resourceType": "OperationOutcome",
        "issue": [{ "severity": "error", "code": code, "diagnostics": said }],
    })
}
