//! The system itself: domain types, ports, polling policies, stages. No I/O, no clock, no vendor SDK.
//!
//! Charts are watched, photos are found, models look at them, a draft goes back - for many clinics at once, on one
//! quota, with nothing lost and nothing done twice. See ARCHITECTURE.md.

pub mod audit;
pub mod circuit;
pub mod domain;
pub mod lease;
pub mod phi;
pub mod photos;
pub mod polling;
pub mod ports;
pub mod quota;
pub mod stages;
pub mod synthesis;
pub mod time;
pub mod wire;
