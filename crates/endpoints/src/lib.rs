//! Models behind HTTP.

pub mod language;
