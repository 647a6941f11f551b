//! What other systems are told of: events of charts, numbered, and who subscribed to them.
//!
//! An event names resources by type and id and says nothing else of them: who wants to know more asks the EHR, with rights of their own.

use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{DocumentId, DraftReference, EncounterId, FirmId, Reason};
use crate::{phi::Secret, time::Timestamp};

/// For how long events are kept: as long as a subscriber may be away and lose nothing.
pub const EVENT_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The text is none of the words that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not one of the words that are known here")]
pub struct UnknownWord;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;
            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|known| known.as_str() == text).ok_or(UnknownWord)
            }
        }
    };
}

words! {
    /// What happened in a chart, or on the way into it.
    ChartEventKind {
        /// An encounter became known.
        EncounterFound = "encounter-found",
        /// An encounter that was known changed.
        EncounterChanged = "encounter-changed",
        /// A photo was found.
        PhotoDetected = "photo-detected",
        /// A photo that was found was retracted.
        PhotoRetracted = "photo-retracted",
        /// A draft is in the chart.
        DraftDelivered = "draft-delivered",
        /// A draft may or may not be in the chart.
        DraftUncertain = "draft-uncertain",
        /// A photo or its draft was given up.
        GivenUp = "given-up",
    }
}

/// A resource in a firm's EHR by type and id, such as `Encounter/17`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceReference(String);

impl ResourceReference {
    /// An encounter.
    pub fn encounter(encounter: &EncounterId) -> Self {
        Self(format!("Encounter/{encounter}"))
    }

    /// A document.
    pub fn document(document: &DocumentId) -> Self {
        Self(format!("DocumentReference/{document}"))
    }

    /// A draft, whatever its version.
    pub fn draft(draft: &DraftReference) -> Self {
        Self(draft.resource().to_owned())
    }

    /// For stores: a reference as it was recorded.
    pub const fn recorded(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Something that happened. Ids only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChartEvent {
    /// Whose chart.
    pub firm: FirmId,
    /// Its number among the firm's events: from 1, without a gap.
    pub number: u64,
    /// When, by our clock.
    pub at: Timestamp,
    /// What.
    pub kind: ChartEventKind,
    /// What it is about.
    pub focus: ResourceReference,
    /// What belongs to it: the encounter of a photo, the photos of a draft.
    pub context: Vec<ResourceReference>,
}

/// An event as a subscriber is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Its number among the subscription's events: from 1, without a gap.
    pub number: u64,
    /// The event.
    pub event: ChartEvent,
}

/// A notification that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GivenUpNotification {
    /// Whose.
    pub subscription: SubscriptionId,
    /// Its number.
    pub number: u64,
    /// What it tells of.
    pub kind: ChartEventKind,
    /// When it was given up.
    pub at: Timestamp,
    /// Why.
    pub reason: Reason,
}

/// The name of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SubscriptionId(String);

impl SubscriptionId {
    /// Takes a name as it is known to be.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

words! {
    /// How a subscriber is told.
    SubscriptionFormat {
        /// FHIR R4 Subscriptions Backport: rest-hook, id-only.
        FhirR4Backport = "fhir-r4-backport",
        /// CloudEvents 1.0, structured JSON.
        CloudEvents = "cloudevents",
    }
}

words! {
    /// How a subscription stands, in the words of FHIR's `Subscription.status`.
    SubscriptionStatus {
        /// The subscriber has not answered the handshake yet.
        Requested = "requested",
        /// It is told of what happens.
        Active = "active",
        /// It could not be told for too long: an operator has to look.
        Error = "error",
        /// An operator paused it.
        Off = "off",
    }
}

/// Who wants to be told of what, and how that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Subscription {
    /// Its name.
    pub id: SubscriptionId,
    /// Where the subscriber is told.
    pub endpoint: String,
    /// How.
    pub format: SubscriptionFormat,
    /// Of which firms; none stands for all.
    pub firms: BTreeSet<FirmId>,
    /// Of which events; none stands for all.
    pub kinds: BTreeSet<ChartEventKind>,
    /// After how many seconds of silence the subscriber is told that there is none; 0 for never.
    pub heartbeat_seconds: u32,
    /// What is sent is signed with this.
    #[serde(skip)]
    pub signing_key: Secret,
    /// The SHA-256 of the token with which the subscriber may ask, in hexadecimal.
    #[serde(skip)]
    pub token_digest: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// How it stands.
    pub status: SubscriptionStatus,
    /// How many events it has had: the number of the latest.
    pub events: u64,
    /// How many of these the subscriber is still to be told of.
    pub waiting: u64,
    /// The number of the first of these: the subscriber was told of all before it, but for what was given up.
    pub waiting_from: Option<u64>,
    /// When that one happened.
    pub waiting_since: Option<Timestamp>,
    /// When the subscriber answered last.
    pub answered_at: Option<Timestamp>,
    /// Since when it could not be told.
    pub failing_since: Option<Timestamp>,
    /// Why not, the last time.
    pub reason: Option<Reason>,
}

impl Subscription {
    /// One that is just made: to all events of all firms, without heartbeats, not yet answered.
    pub fn requested(
        id: SubscriptionId,
        endpoint: String,
        format: SubscriptionFormat,
        signing_key: Secret,
        token_digest: String,
        created_at: Timestamp,
    ) -> Self {
        Self {
            id,
            endpoint,
            format,
            firms: BTreeSet::new(),
            kinds: BTreeSet::new(),
            heartbeat_seconds: 0,
            signing_key,
            token_digest,
            created_at,
            status: SubscriptionStatus::Requested,
            events: 0,
            waiting: 0,
            waiting_from: None,
            waiting_since: None,
            answered_at: None,
            failing_since: None,
            reason: None,
        }
    }

    /// Up to which event the subscriber was told, in order; what was given up is left out.
    pub fn told_up_to(&self) -> u64 {
        self.waiting_from.map_or(self.events, |number| number.saturating_sub(1))
    }
}

/// What a subscriber is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// That there is a subscription: only who answers gets events.
    Handshake,
    /// That nothing happened.
    Heartbeat,
    /// An event.
    Event(Notification),
}

impl Notice {
    /// The number of its event.
    pub const fn number(&self) -> Option<u64> {
        match self {
            Self::Handshake | Self::Heartbeat => None,
            Self::Event(notification) => Some(notification.number),
        }
    }
}
