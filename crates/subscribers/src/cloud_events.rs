//! Notifications as CloudEvents 1.0, structured JSON.
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>

use serde_json::{Value, json};
use skin_assist_core::{
    domain::{Notice, Notification, Subscription},
    time::Timestamp,
};

/// The media type of one event.
pub const MEDIA_TYPE: &str = "application/cloudevents+json";

/// What the types of events begin with.
const TYPES: &str = "example.skin-assist";

fn source(subscription: &Subscription) -> String {
    format!("/subscriptions/{}", subscription.id)
}

/// An event. `id` and `source` are the same however often it is told, `data.number` counts within the subscription.
pub fn event(subscription: &Subscription, notification: &Notification) -> Value {
    let Notification { number, event } = notification;
    json!({
        "specversion": "1.0",
        "id": number.to_string(),
        "source": source(subscription),
        "type": format!("{TYPES}.{}", event.kind),
        "subject": event.focus,
        "time": event.at,
        "datacontenttype": "application/json",
        "data": {
            "number": number,
            "practice": event.firm,
            "focus": event.focus,
            "context": event.context,
        },
    })
}

/// What a subscriber is told.
pub fn body(subscription: &Subscription, notice: &Notice, now: Timestamp) -> Value {
    let word = match notice {
        Notice::Event(notification) => return event(subscription, notification),
        Notice::Handshake => "handshake",
        Notice::Heartbeat => "heartbeat",
    };
    json!({
        "specversion": "1.0",
        "id": format!("{word}-{}", now.as_millis()),
        "source": source(subscription),
        "type": format!("{TYPES}.subscription-{word}"),
        "time": now,
        "datacontenttype": "application/json",
        "data": { "events": told(subscription, notice) },
    })
}

/// How many events the subscription has had: a subscriber that has fewer asks for the others.
pub(crate) const fn told(subscription: &Subscription, notice: &Notice) -> u64 {
    match notice {
        Notice::Event(notification) => notification.number,
        Notice::Handshake | Notice::Heartbeat => subscription.events,
    }
}
