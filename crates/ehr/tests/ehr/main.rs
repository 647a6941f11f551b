//! The client against scripted replies: each quirk has a test that names it.

// In a test, a panic is the report.
#![allow(clippy::unwrap_used)]

mod circuit;
mod context;
mod drafts;
#[path = "../golden/mod.rs"]
mod golden;
mod hostile;
mod photos;
mod reading;
mod script;
mod token_methods;
mod tokens;
mod validity;
