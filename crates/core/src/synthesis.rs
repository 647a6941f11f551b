//! From findings to a draft's text.
//!
//! Two steps: a [`LanguageModel`](crate::ports::LanguageModel) puts findings into a differential with next steps - the
//! deterministic [`Composer`] does it from coded knowledge, without any language model; a [`Synthesizer`] asks one and
//! composes where its answers do not pass the [`Rules`] - and [`compose_note`] writes the text of the draft. What a draft must say whatever the model answered (that AI drafted it, what was not known,
//! its limits) is written here and cannot be talked away.

mod answer;
mod composer;
mod given;
mod knowledge;
mod note;
mod rules;
mod synthesizer;

pub use composer::{Composer, Judged, JudgedClass};
pub use knowledge::{ICD_10_CM, Knowledge, KnowledgeError, RXNORM, SNOMED_CT};
pub use note::{ToEarlier, compose_note, note_to_earlier};
pub use rules::{Rule, Rules};
pub use synthesizer::{Spending, Synthesizer};

/// This software, as named in drafts.
pub const PIPELINE_VERSION: &str = concat!("skin-assist ", env!("CARGO_PKG_VERSION"));
