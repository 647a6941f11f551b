//! Reading the audit trail, and writing into it together with a change: for operators. Stages append alone, through
//! [`Audit`](super::Audit).

use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

use super::{AuditRecord, StateError, StateStore};
use crate::{
    audit::{AuditEntry, AuditHead},
    domain::FirmId,
    time::Timestamp,
};

type Outcome<T> = Result<T, StateError>;

/// Entries of one chain, in the order in which the store has them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// Where the next page begins; none when there is none.
    pub next: Option<u64>,
}

/// A chain as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditChain {
    /// Up to where entries were removed after their time.
    pub base: AuditHead,
    /// Where it ends.
    pub head: AuditHead,
}

/// The audit trail as chains.
#[async_trait]
pub trait AuditTrail: Send + Sync {
    /// All chains, in the order of their firms' ids. A chain whose entries are all gone, and of which nothing else is left, is not
    /// among them: an anchor tells.
    async fn audit_chains(&self) -> Outcome<Vec<AuditChain>>;

    /// Entries of a chain, at most `limit`, from where `from` says (`next` of the page before; 0 for the first).
    async fn audit_entries(&self, firm: &FirmId, from: u64, limit: usize) -> Outcome<AuditPage>;

    /// The same store, by a handle whose next transition writes `record` too, in its own transaction: both are there, or neither.
    /// For changes that an operator makes; a transition that a stage makes writes its entry by itself.
    fn audited(&self, record: AuditRecord) -> Box<dyn StateStore + '_>;
}

/// For how long what is finished is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetentionLimits {
    /// Results whose draft is in the chart, kept back, or cancelled: since they were assessed. None for ever.
    pub results: Option<Duration>,
    /// Entries of the audit trail. None for ever.
    pub audit: Option<Duration>,
}

/// What was removed because its time had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Removed {
    /// Results.
    pub results: u64,
    /// Entries of the audit trail.
    pub audit_entries: u64,
}

/// How much of something there is, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Of what.
    pub what: &'static str,
    /// How much.
    pub number: u64,
    /// Since when the oldest is there, by the time that its limit counts from.
    pub oldest: Option<Timestamp>,
}

/// Keeping no longer than the policy says.
#[async_trait]
pub trait Retention: Send + Sync {
    /// Removes what is older than the limits. Of a removed result nothing stays that says anything about a patient; that its photos
    /// were assessed stays known, so that none is assessed twice. What waits for an operator (uncertain, given up, retracted and not
    /// taken note of) is not removed. The removal is said by an entry in the audit trail. None where this store cannot: then nothing
    /// was removed.
    async fn remove_expired(&self, limits: &RetentionLimits, now: Timestamp) -> Outcome<Option<Removed>>;

    /// What there is; nothing where this store cannot tell without reading all of it.
    async fn kept(&self) -> Outcome<Vec<Kept>>;
}
