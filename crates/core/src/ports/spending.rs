//! What language models cost, by firm and day.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::StateError;
use crate::{
    domain::{FirmId, LanguageUse},
    time::Timestamp,
};

/// What language models cost a firm on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LanguageSpent {
    /// Assessments that a language model was asked about.
    pub assessments: u64,
    /// How often it was asked.
    pub calls: u64,
    /// Tokens that went in.
    pub input_tokens: u64,
    /// Tokens that came out.
    pub output_tokens: u64,
    /// In millionths of the currency of the configured prices.
    pub cost_micros: u64,
}

impl From<&LanguageUse> for LanguageSpent {
    fn from(used: &LanguageUse) -> Self {
        Self {
            assessments: 1,
            calls: u64::from(used.calls),
            input_tokens: used.input_tokens,
            output_tokens: used.output_tokens,
            cost_micros: used.cost_micros,
        }
    }
}

/// The accounts of language models: one for each firm and day (UTC).
#[async_trait]
pub trait LanguageSpending: Send + Sync {
    /// What the firm has spent on the day of `at`.
    async fn language_spent(&self, firm: &FirmId, at: Timestamp) -> Result<LanguageSpent, StateError>;

    /// Adds to what the firm has spent on the day of `at`, atomically: what others add at the same time counts, too. Goes with
    /// the firm when that is removed; a firm that does not exist is passed over.
    async fn add_language_spent(&self, firm: &FirmId, at: Timestamp, spent: &LanguageSpent) -> Result<(), StateError>;
}
