//! The knowledge file: conditions, features, next steps; which facts of a chart bear on a differential; and the words that
//! are let through of what a chart or a language model says.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::domain::{ContextTerm, Label, Laterality, is_icd_10_cm, is_rxnorm, is_snomed_ct};

const SHIPPED: &str = include_str!("knowledge.toml");

/// Coded knowledge with sources and a version.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "File")]
pub struct Knowledge {
    /// Its version.
    pub version: String,
    /// Where it comes from.
    pub sources: Vec<String>,
    words: BTreeSet<String>,
    dosing_words: BTreeSet<String>,
    next_steps: BTreeMap<String, String>,
    questions: BTreeMap<String, String>,
    conditions: Vec<Condition>,
    histories: Vec<History>,
    medications: Vec<Medication>,
    sites: Vec<Site>,
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: String,
    sources: Vec<String>,
    words: String,
    dosing_words: BTreeSet<String>,
    next_steps: BTreeMap<String, String>,
    questions: BTreeMap<String, String>,
    condition: Vec<Condition>,
    history: Vec<History>,
    medication: Vec<Medication>,
    site: Vec<Site>,
}

impl File {
    /// A code that cannot be one: mistyped, since SNOMED CT's have a check digit.
    fn odd_code(&self) -> Option<&str> {
        let conditions = || self.condition.iter();
        let histories = || self.history.iter();
        let snomed_ct = conditions()
            .map(|condition| &condition.snomed_ct)
            .chain(histories().flat_map(|history| &history.snomed_ct))
            .chain(self.site.iter().flat_map(|site| &site.snomed_ct));
        let icd_10_cm = conditions()
            .flat_map(|condition| &condition.icd_10_cm)
            .chain(histories().flat_map(|history| &history.icd_10_cm));
        let mut rxnorm = self.medication.iter().flat_map(|medication| &medication.rxnorm);
        let odd = { snomed_ct }
            .find(|code| !is_snomed_ct(code))
            .or_else(|| { icd_10_cm }.find(|code| !is_icd_10_cm(code)))
            .or_else(|| rxnorm.find(|code| !is_rxnorm(code)));
        odd.map(String::as_str)
    }
}

/// What is known of a condition.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Condition {
    snomed_ct: String,
    icd_10_cm: Vec<String>,
    #[serde(default)]
    must_not_miss: bool,
    pub(super) name: String,
    pub(super) features: Vec<String>,
    pub(super) next_steps: Vec<String>,
    pub(super) questions: Vec<String>,
}

impl Condition {
    /// Its SNOMED CT concept.
    pub(super) fn code(&self) -> &str {
        &self.snomed_ct
    }
}

/// A kind of entry of the problem list that bears on a differential.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct History {
    id: String,
    display: String,
    purpose: String,
    icd_10_cm: Vec<String>,
    snomed_ct: Vec<String>,
}

/// An ingredient that is known to cause eruptions.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Medication {
    rxnorm: Vec<String>,
    name: String,
}

/// A part of the body.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Site {
    display: String,
    snomed_ct: Vec<String>,
    words: Vec<String>,
}

/// The knowledge file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KnowledgeError {
    /// Not the right shape, or something in it names what is not there.
    #[error("the knowledge file cannot be used")]
    Unreadable(#[from] toml::de::Error),
}

/// The words of a text in lower case: what stands between characters that are neither letters nor digits.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

fn begins_with_one(code: &str, prefixes: &[String]) -> bool {
    prefixes.iter().any(|prefix| code.starts_with(prefix.as_str()))
}

impl TryFrom<File> for Knowledge {
    type Error = String;

    fn try_from(file: File) -> Result<Self, String> {
        let named = file.condition.iter().flat_map(|condition| &condition.next_steps);
        let always = [
            super::composer::REPEAT_PHOTOGRAPH,
            super::composer::CLINICAL_CORRELATION,
        ]
        .map(String::from);
        for step in named.chain(&always) {
            if !file.next_steps.contains_key(step) {
                return Err(format!("the next step `{step}` is not in the vocabulary"));
            }
        }
        for question in file.condition.iter().flat_map(|condition| &condition.questions) {
            if !file.questions.contains_key(question) {
                return Err(format!("the question `{question}` is not in the vocabulary"));
            }
        }
        if let Some(history) = file.history.iter().find(|history| history.purpose.is_empty()) {
            return Err(format!("the history `{}` has no purpose", history.id));
        }
        if let Some(code) = file.odd_code() {
            return Err(format!(
                "`{code}` is not of the form that codes of its terminology have"
            ));
        }
        let texts = [&file.words]
            .into_iter()
            .chain(file.condition.iter().map(|condition| &condition.name))
            .chain(file.condition.iter().flat_map(|condition| &condition.features))
            .chain(file.site.iter().map(|site| &site.display))
            .chain(file.site.iter().flat_map(|site| &site.words));
        Ok(Self {
            words: texts.flat_map(|text| words(text)).collect(),
            version: file.version,
            sources: file.sources,
            dosing_words: file.dosing_words,
            next_steps: file.next_steps,
            questions: file.questions,
            conditions: file.condition,
            histories: file.history,
            medications: file.medication,
            sites: file.site,
        })
    }
}

impl Knowledge {
    /// The file that comes with this software.
    pub fn shipped() -> Result<Self, KnowledgeError> {
        Self::parse(SHIPPED)
    }

    /// Reads a knowledge file.
    pub fn parse(text: &str) -> Result<Self, KnowledgeError> {
        Ok(toml::from_str(text)?)
    }

    pub(super) fn condition(&self, snomed_ct: &str) -> Option<&Condition> {
        self.conditions
            .iter()
            .find(|condition| condition.snomed_ct == snomed_ct)
    }

    /// Whether the condition of a label must not be missed: because its pack says so, or because this file does, whatever the pack
    /// says.
    pub fn must_not_be_missed(&self, label: &Label) -> bool {
        let known = self.condition(&label.snomed_ct);
        label.must_not_miss || known.is_some_and(|condition| condition.must_not_miss)
    }

    pub(super) fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// The sentence of a next step.
    pub(super) fn next_step(&self, id: &str) -> Option<&str> {
        self.next_steps.get(id).map(String::as_str)
    }

    /// All next steps, by id.
    pub(super) const fn next_steps(&self) -> &BTreeMap<String, String> {
        &self.next_steps
    }

    /// The sentence of a question.
    pub(super) fn question(&self, id: &str) -> Option<&str> {
        self.questions.get(id).map(String::as_str)
    }

    /// All questions, by id.
    pub(super) const fn questions(&self) -> &BTreeMap<String, String> {
        &self.questions
    }

    /// Whether a word, in lower case, may be let through.
    pub(super) fn has_word(&self, word: &str) -> bool {
        self.words.contains(word)
    }

    pub(super) fn is_dosing_word(&self, word: &str) -> bool {
        self.dosing_words.contains(word)
    }

    /// Whether a word, in lower case, names a medication.
    pub(super) fn is_medication(&self, word: &str) -> bool {
        self.medications.iter().any(|medication| medication.name == word)
    }

    /// What an entry of a problem list means for a differential, in our words; none when nothing.
    pub fn history(&self, system: &str, code: &str) -> Option<ContextTerm> {
        let found = self.histories.iter().find(|history| match system {
            ICD_10_CM => begins_with_one(code, &history.icd_10_cm),
            SNOMED_CT => history.snomed_ct.iter().any(|known| known == code),
            _ => false,
        });
        found.map(|history| ContextTerm(history.display.clone()))
    }

    /// The ingredient known to cause eruptions that a medication is or has, by code or by name, in our words; none when
    /// there is none.
    pub fn medication(&self, system: &str, code: &str, name: &str) -> Option<ContextTerm> {
        let named: BTreeSet<String> = words(name).collect();
        let found = self.medications.iter().find(|medication| {
            (system == RXNORM && medication.rxnorm.iter().any(|known| known == code))
                || named.contains(&medication.name)
        });
        found.map(|medication| ContextTerm(medication.name.clone()))
    }

    /// The condition of this file that a code of an earlier result means, in our words. By code alone: a text may deny what it
    /// names.
    pub fn condition_of_code(&self, system: &str, code: &str) -> Option<ContextTerm> {
        let found = self.conditions.iter().find(|condition| match system {
            ICD_10_CM => begins_with_one(code, &condition.icd_10_cm),
            SNOMED_CT => condition.snomed_ct == code,
            _ => false,
        });
        found.map(|condition| ContextTerm(condition.name.clone()))
    }

    /// The part of the body that a code means.
    pub fn site_of_code(&self, snomed_ct: &str) -> Option<ContextTerm> {
        let found = self
            .sites
            .iter()
            .find(|site| site.snomed_ct.iter().any(|known| known == snomed_ct));
        found.map(|site| ContextTerm(site.display.clone()))
    }

    /// The one part of the body that a text names; none when it names several.
    pub fn site_of_text(&self, text: &str) -> Option<ContextTerm> {
        let named: BTreeSet<String> = words(text).collect();
        let mut found = self
            .sites
            .iter()
            .filter(|site| site.words.iter().any(|word| named.contains(word)));
        let site = found.next()?;
        found.next().is_none().then(|| ContextTerm(site.display.clone()))
    }

    /// The side that a text names; none when it names both.
    pub fn laterality_of_text(text: &str) -> Option<Laterality> {
        let (mut left, mut right) = (false, false);
        for word in words(text) {
            left |= word == "left";
            right |= word == "right";
        }
        match (left, right) {
            (true, false) => Some(Laterality::Left),
            (false, true) => Some(Laterality::Right),
            _ => None,
        }
    }
}

/// `Coding.system` of ICD-10-CM.
pub const ICD_10_CM: &str = "http://hl7.org/fhir/sid/icd-10-cm";

/// `Coding.system` of SNOMED CT.
pub const SNOMED_CT: &str = "http://snomed.info/sct";

/// `Coding.system` of RxNorm.
pub const RXNORM: &str = "http://www.nlm.nih.gov/research/umls/rxnorm";

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
    fn next_steps_and_questions_are_closed_vocabularies() {
        for (listed, other) in [
            ("next_steps = [\"scraping-koh\"]", "next_steps = [\"prescribe\"]"),
            ("questions = [\"contact\"]", "questions = [\"prescribe\"]"),
        ] {
            let text = SHIPPED.replace(listed, other);
            assert_ne!(text, SHIPPED);
            let Err(KnowledgeError::Unreadable(error)) = Knowledge::parse(&text) else {
                panic!("{other} was taken");
            };
            assert!(error.to_string().contains("`prescribe`"), "{error}");
        }
    }

    #[test]
    fn a_mistyped_code_is_refused() {
        for (code, mistyped) in [
            ("\"372244006\"", "\"372244060\""),
            ("\"14975008\"", "\"14975009\""),
            ("\"195967001\"", "\"195697001\""),
            ("\"Z85.82\"", "\"8Z5.82\""),
            ("\"L57.0\"", "\"L57,0\""),
            ("\"28439\"", "\"28A39\""),
        ] {
            let text = SHIPPED.replace(code, mistyped);
            assert_ne!(text, SHIPPED);
            let Err(KnowledgeError::Unreadable(error)) = Knowledge::parse(&text) else {
                panic!("{mistyped} was taken");
            };
            assert!(error.to_string().contains(mistyped.trim_matches('"')), "{error}");
        }
    }

    #[test]
    fn the_words_cannot_deny_or_reassure() {
        let knowledge = Knowledge::shipped().unwrap();
        let denied = "no not never none without neither nor nothing benign harmless safe normal innocent reassuring \
             reassure exclude excluded excludes rule ruled negative ignore disregard skip avoid stop start delay cancel \
             unnecessary needless need needed certain certainly definite definitely proven confirmed diagnosis diagnosed cured clear biopsy \
             discharge please contact call email patient prescribe take dose mg tablet cancer mole methotrexate";
        for word in denied.split_whitespace() {
            assert!(!knowledge.has_word(word), "{word}");
        }
        for word in ["melanoma", "asymmetry", "forearm", "older"] {
            assert!(knowledge.has_word(word), "{word}");
        }
    }

    #[test]
    fn what_bears_on_a_differential_is_found_by_code_and_named_by_us() {
        let knowledge = Knowledge::shipped().unwrap();
        let term = |text: &str| Some(ContextTerm(text.to_owned()));
        assert_eq!(knowledge.history(ICD_10_CM, "Z85.820"), term("history of skin cancer"));
        assert_eq!(
            knowledge.history(SNOMED_CT, "195967001"),
            knowledge.history(ICD_10_CM, "J45.909")
        );
        assert_eq!(knowledge.history(ICD_10_CM, "I10"), None);
        assert_eq!(knowledge.history("http://other.example", "C43"), None);
        assert_eq!(knowledge.medication(RXNORM, "723", ""), term("amoxicillin"));
        assert_eq!(
            knowledge.medication("", "", "Amoxicillin 500 MG Oral Capsule for Jane"),
            term("amoxicillin")
        );
        assert_eq!(knowledge.medication(RXNORM, "1191", "aspirin"), None);
        assert_eq!(
            knowledge.condition_of_code(ICD_10_CM, "D22.61"),
            term("melanocytic nevus")
        );
        assert_eq!(
            knowledge.condition_of_code(ICD_10_CM, "C44.612"),
            term("basal cell carcinoma")
        );
        assert_eq!(
            knowledge.condition_of_code(ICD_10_CM, "C44.622"),
            None,
            "squamous cell carcinoma"
        );
        assert_eq!(knowledge.condition_of_code(SNOMED_CT, "372244006"), term("melanoma"));
        assert_eq!(knowledge.condition_of_code("http://other.example", "372244006"), None);
        assert_eq!(knowledge.site_of_code("14975008"), term("forearm"));
        assert_eq!(knowledge.site_of_text("Left FOREARM, new"), term("forearm"));
        assert_eq!(knowledge.site_of_text("forearm and back"), None);
        assert_eq!(Knowledge::laterality_of_text("left forearm"), Some(Laterality::Left));
        assert_eq!(Knowledge::laterality_of_text("left and right"), None);
    }
}
