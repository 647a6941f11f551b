//! What the tests of several rooms share. A dev-dependency only.

pub mod conformance;

mod practice_transport;

pub use practice_transport::PracticeTransport;
pub mod scripted;
