//! Leases and fences: the right to work on something, for a while, alone.
//!
//! A lease is acquired by one conditional write (free or expired, and due) that also raises the item's fence. Every
//! later write about the item is conditional on that fence, so a worker that lost its lease without noticing - a long
//! pause, a clock jump - changes nothing. There is one way of recovery: the lease expires and somebody else acquires
//! the item.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The number of a lease on an item; it only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Fence(pub u64);

/// Time that is kept free at the end of a lease, for workers whose clocks differ: a step must have ended by then.
pub const SKEW_ALLOWANCE: Duration = Duration::from_secs(2);

/// The right to work on `item` until `locked_until`.
///
/// Deliberately not `Clone`: a transition that ends the work takes the lease by value.
#[derive(Debug, PartialEq, Eq)]
pub struct Lease<T> {
    item: T,
    fence: Fence,
    locked_until: Timestamp,
    attempt: u32,
}

impl<T> Lease<T> {
    /// For stores: a lease as it was just granted. `attempt` counts the leases since the item's last progress, this
    /// one included.
    pub const fn granted(item: T, fence: Fence, locked_until: Timestamp, attempt: u32) -> Self {
        Self {
            item,
            fence,
            locked_until,
            attempt,
        }
    }

    /// What is leased.
    pub const fn item(&self) -> &T {
        &self.item
    }

    /// The number that every write about the item is conditional on.
    pub const fn fence(&self) -> Fence {
        self.fence
    }

    /// When somebody else may acquire the item.
    pub const fn locked_until(&self) -> Timestamp {
        self.locked_until
    }

    /// How many leases the item has had since its last progress, this one included.
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When a step under this lease must have ended: the lease's end less [`SKEW_ALLOWANCE`].
    pub fn deadline(&self) -> Timestamp {
        self.locked_until - SKEW_ALLOWANCE
    }
}

impl Lease<crate::domain::WatchList> {
    /// The same right again, for one of the steps that run at the same time under a lease on a watch list. It is good for
    /// [`crate::ports::WatchLists::record_looks`] and [`crate::ports::WatchLists::record_changes`], and for whoever holds the
    /// list to renew or end the lease while steps go on under it; the fence tells if it was lost.
    #[must_use]
    pub fn for_a_step(&self) -> Self {
        Self {
            item: self.item.clone(),
            fence: self.fence,
            locked_until: self.locked_until,
            attempt: self.attempt,
        }
    }
}
