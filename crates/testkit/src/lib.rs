//! What the tests of several rooms share. A dev-dependency only.

mod practice_transport;

pub use practice_transport::PracticeTransport;
