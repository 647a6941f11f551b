//! Models behind HTTP.

pub mod inference;
