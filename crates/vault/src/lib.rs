//! The data keys of firms: what is sealed with them, and the ring in which they are kept.
//!
//! # What it owns
//! Each firm has a [`DataKey`] of its own. What comes from its EHR is sealed with it before it reaches a store, so that who
//! destroys the key makes all of that unreadable at once, wherever a copy of the store may be. The keys of all firms are a
//! [`KeyRing`], written as a text in which each is wrapped, to be kept apart from the data and from its backups.
//!
//! # Invariants
//! - Sealing is AES-256-SIV (RFC 5297): deterministic, so that sealed values can be looked up and joined by equality, and with
//!   nothing to lose by a nonce used twice, because there is none. The [`Kind`] of value is authenticated with it: a value put into
//!   a column of another kind does not open.
//! - What an attacker without the key sees of a sealed value is its length and which values of one kind and firm are equal.
//! - A key ring is authenticated as a whole, and by a key that is derived from the store's own: the ring of another store, or one
//!   that somebody changed, is refused.
//!
//! # When it fails
//! Errors name no firm's data and quote nothing of what they could not open.
//!
//! There is no I/O here but the system's random numbers: where a ring is kept is for the store to decide.

mod ring;
mod sealing;

pub use ring::{Destroyed, KeyRing, RingError, WrappingKey};
pub use sealing::{DataKey, Kind, Unreadable};
