//! How good findings are on photos whose truth is known.
//!
//! Three pure parts: [`dataset`] reads the tables that public collections come with, [`statistics`] counts, and
//! [`evaluation`] puts the counts together, for all photos and for each group of patients; [`html`] draws that. [`stability`]
//! needs no truth: it compares later values with earlier ones. Nothing here opens a file or runs a model, and the same input
//! gives the same output to the last digit.

pub mod csv;
pub mod dataset;
pub mod evaluation;
pub mod html;
pub mod stability;
pub mod statistics;
