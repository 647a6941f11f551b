//! Clinic days as traces, and playing them on the production scheduler under virtual time.
//!
//! A [`Trace`] says what happens in the charts of many practices over days: visits open, change and finish, photos are
//! filed. [`play`] lets a polling policy work on it against a simulated EHR that counts calls, and measures when each
//! photo was found. The policy never sees the trace: only what the EHR answers. No HTTP and no FHIR are involved, so that
//! two days of a hundred practices take seconds; what is exercised is the policy and the quota of `core`.

mod bound;
mod chart;
mod conditions;
mod generate;
mod ledger;
mod memory;
mod outcome;
mod play;
mod plot;
mod sweeps;
mod trace;

pub use bound::lower_bound;
pub use conditions::{Conditions, Span};
pub use generate::{Burst, GenerateOptions, generate};
pub use outcome::{CallCounts, Ledger, LiveDelay, Outcome, PhotoDelay};
pub use play::{Scenario, SearchKind, play};
pub use plot::plot;
pub use sweeps::Sweeps;
pub use trace::{EventKind, Trace, TraceError, TraceEvent};
