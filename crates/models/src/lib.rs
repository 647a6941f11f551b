//! Vision: from the bytes of a photo to findings, by ONNX models that run in process.
//!
//! A **pack** ([`pack`]) is a folder with a manifest and ONNX files: what a practice's model team hands over. A
//! **runtime** ([`runtime`]) executes the files: `rten` always, ONNX Runtime where its library is at hand. [`photo`]
//! decodes what cameras write and refuses what must not be decoded, before it allocates for it. [`PackVision`] puts the
//! three together behind core's `VisionModel` port: a few threads, each with its own sessions, behind a bounded queue.
//!
//! Invariants: the same bytes and the same packs give the same findings; hostile bytes give a refusal, never a panic;
//! memory is bounded by the number of workers times the pixel limit.

pub mod explain;
pub mod pack;
pub mod photo;
pub mod preprocess;
mod reload;
pub mod runtime;
pub mod verify;
mod vision;

pub use reload::ReloadingVision;
pub use vision::{PackVision, VisionOptions, VisionSetupError, classify, detect};
