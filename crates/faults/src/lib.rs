//! Faults on purpose: the whole engine in one process under virtual time, from one seed, and what must hold in it.
//!
//! # What it owns
//! [`simulate`] runs a clinic of three practices on several engines that share one state store, lets everything go wrong that can
//! be made to (the module `plan` says what), lets it recover, and compares what the practice EHR holds with what the engines were
//! told and what they recorded. Nothing of the product is replaced: driver, stages, policies, store, EHR client and simulator are
//! the real ones. What is in between (the ports) is wrapped, to let faults in and to witness what happens.
//!
//! # Invariants
//! The same seed gives the same run, whatever else the machine does: there are no threads, no sockets and no clocks in it.
//! A safeguard is removed by a wrapper ([`Mutation`]), never by a switch in the product.

mod ehr;
mod grants;
mod judge;
mod network;
mod passed_on;
mod plan;
mod process;
pub mod report;
mod state;
mod truth;
mod world;

pub use plan::Mutation;
pub use world::{Outcome, simulate};
