//! What goes to subscribers: notifications as FHIR R4 Subscriptions Backport or CloudEvents, signed as Standard Webhooks has it, over an
//! injectable transport.
//!
//! # Invariants
//! - A body has ids, words and times: nothing of a patient, and nothing that an EHR said. Who wants to know more asks the EHR.
//! - A notice that is told again has the same id, so that a subscriber can tell.
//! - What a subscriber answers is not read beyond its status and `Retry-After`.

pub mod cloud_events;
mod endpoint;
pub mod fhir;
mod signature;
mod webhooks;

pub use endpoint::{EndpointRefused, check_endpoint};
pub use signature::{InvalidKey, KEY_BYTES, encode_key, sign};
pub use webhooks::Webhooks;
