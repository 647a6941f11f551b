//! The knowledge file: conditions, features, next steps.

use std::collections::BTreeMap;

use serde::Deserialize;

const SHIPPED: &str = include_str!("knowledge.toml");

/// Coded knowledge with sources and a version.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Knowledge {
    /// Its version.
    pub version: String,
    /// Where it comes from.
    pub sources: Vec<String>,
    next_steps: BTreeMap<String, String>,
    condition: Vec<Condition>,
}

/// What is known of a condition.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Condition {
    snomed_ct: String,
    pub(super) features: Vec<String>,
    pub(super) next_steps: Vec<String>,
    pub(super) questions: Vec<String>,
}

/// The knowledge file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KnowledgeError {
    /// Not the right shape.
    #[error("the knowledge file cannot be read")]
    Unreadable(#[from] toml::de::Error),
    /// A condition names a next step that is not in the vocabulary.
    #[error("the knowledge file names the next step `{0}`, which is not in its vocabulary")]
    UnknownNextStep(String),
}

impl Knowledge {
    /// The file that comes with this software.
    pub fn shipped() -> Result<Self, KnowledgeError> {
        Self::parse(SHIPPED)
    }

    /// Reads a knowledge file.
    pub fn parse(text: &str) -> Result<Self, KnowledgeError> {
        let knowledge: Self = toml::from_str(text)?;
        let named = knowledge.condition.iter().flat_map(|condition| &condition.next_steps);
        let always = [
            super::composer::REPEAT_PHOTOGRAPH,
            super::composer::CLINICAL_CORRELATION,
        ]
        .map(String::from);
        for step in named.chain(&always) {
            if !knowledge.next_steps.contains_key(step) {
                return Err(KnowledgeError::UnknownNextStep(step.clone()));
            }
        }
        Ok(knowledge)
    }

    pub(super) fn condition(&self, snomed_ct: &str) -> Option<&Condition> {
        self.condition.iter().find(|condition| condition.snomed_ct == snomed_ct)
    }

    /// The sentence of a next step.
    pub(super) fn next_step(&self, id: &str) -> Option<&str> {
        self.next_steps.get(id).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_is_sound() {
        let knowledge = Knowledge::shipped().unwrap();
        assert!(knowledge.condition("372244006").is_some());
        assert!(!knowledge.sources.is_empty());
    }

    #[test]
    fn next_steps_are_a_closed_vocabulary() {
        let text = SHIPPED.replace("next_steps = [\"scraping-koh\"]", "next_steps = [\"prescribe\"]");
        assert!(matches!(Knowledge::parse(&text), Err(KnowledgeError::UnknownNextStep(step)) if step == "prescribe"));
    }
}
