//! What the tests of several rooms share. A dev-dependency only.

mod client_key_pair;
pub mod conformance;
pub mod identity_provider;
pub mod servers;

mod practice_transport;

pub use client_key_pair::client_key_pair;
pub use practice_transport::PracticeTransport;
pub mod redteam;
pub mod scripted;
pub mod vision;
