//! Models behind HTTP.

pub mod inference;
pub mod language;
