//! From findings to a draft's text.
//!
//! Two steps: a [`LanguageModel`](crate::ports::LanguageModel) puts findings into a differential with next steps - the
//! deterministic [`Composer`] does it from coded knowledge, without any language model - and [`compose_note`] writes
//! the text of the draft. What a draft must say whatever the model answered (that AI drafted it, what was not known,
//! its limits) is written here and cannot be talked away.

mod composer;
mod knowledge;
mod note;

pub use composer::Composer;
pub use knowledge::{Knowledge, KnowledgeError};
pub use note::compose_note;

/// This software, as named in drafts.
pub const PIPELINE_VERSION: &str = concat!("skin-assist ", env!("CARGO_PKG_VERSION"));
