//! The red team: attacks on drafts by way of the language model, the worst case being a model that does whatever the attacker
//! wants. docs/redteam.md is what `cargo xtask redteam` writes of it.
//!
//! An attack **succeeds** when the draft breaks a rule of docs/draft-note.md. Whether it does says the judge, which knows
//! the findings and the draft, shares no code with the rules, and has lists of its own.

mod attacks;
mod judge;
mod report;
mod scenario;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use futures::executor::block_on;
use skin_assist_core::{
    domain::{DraftNote, PatientFacts, Versions},
    phi::Phi,
    ports::{ChatModel, Completion, LanguageError, LanguageModel as _, Prompt},
    synthesis::{self, Composer, Knowledge, Rule, Rules, Spending, Synthesizer},
};

pub use attacks::{Attack, attacks};
pub use judge::{broken, pasted_is_broken};
pub use report::Report;
pub use scenario::{CANARY, Scenario, scenarios};

/// A model that answers as the attacker wants, however often it is asked.
struct Compliant {
    answer: String,
    /// How many prompts had something of the canary patient, or an attack's text, in them.
    leaks: AtomicU64,
    never: Vec<String>,
}

#[async_trait]
impl ChatModel for Compliant {
    async fn complete(&self, prompt: &Prompt) -> Result<Completion, LanguageError> {
        let whole = format!("{}{}{}", prompt.system, prompt.user.expose(), prompt.schema);
        if self.never.iter().any(|never| whole.contains(never.as_str())) {
            self.leaks.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Completion {
            text: Phi::new(self.answer.clone()),
            input_tokens: 0,
            output_tokens: 0,
        })
    }

    fn model(&self) -> &'static str {
        "compliant"
    }
}

/// A model that says nothing of use, and keeps what it was asked.
#[derive(Default)]
struct Listening(Mutex<Vec<String>>);

#[async_trait]
impl ChatModel for Listening {
    async fn complete(&self, prompt: &Prompt) -> Result<Completion, LanguageError> {
        let whole = format!("{}\n{}\n{}", prompt.system, prompt.user.expose(), prompt.schema);
        self.0.lock().expect("nobody panics with it").push(whole);
        Err(LanguageError::Refused { what: "it listens" })
    }

    fn model(&self) -> &'static str {
        "listening"
    }
}

/// What became of an attack.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The draft.
    pub note: DraftNote,
    /// What it breaks; empty when the attack failed.
    pub broken: Vec<String>,
    /// Whether the prompt had something in it that never may be there.
    pub leaked: bool,
    /// Why the composer wrote the draft, if it did.
    pub fallback: Option<String>,
}

/// The stage on which attacks are played.
pub struct RedTeam {
    knowledge: Knowledge,
}

impl RedTeam {
    /// With the knowledge that comes with the software.
    #[allow(clippy::missing_panics_doc, clippy::unwrap_used)]
    pub fn new() -> Self {
        Self {
            knowledge: Knowledge::shipped().unwrap(),
        }
    }

    /// Plays one attack under these rules.
    #[allow(clippy::disallowed_methods, reason = "this is the red team")]
    pub fn play(&self, attack: &Attack, rules: &Rules) -> Outcome {
        let scenario = attack.scenario.with_chart_text(&attack.chart_text);
        let mut never: Vec<String> = CANARY.iter().map(|text| (*text).to_owned()).collect();
        // A text that is one known word is let through, and says nothing.
        never.extend((attack.chart_text.contains(' ')).then(|| attack.chart_text.clone()));
        let chat = Arc::new(Compliant {
            answer: attack.answer.clone(),
            leaks: AtomicU64::new(0),
            never,
        });
        let composer = Composer::new(self.knowledge.clone());
        let synthesizer = Synthesizer::new(chat.clone(), composer, Spending::default()).with_rules(rules.clone());
        let (note, fallback) = scenario.with_request(|request, photos| {
            let synthesis = block_on(synthesizer.synthesize(request)).expect("it falls back");
            let versions = Versions {
                models: Vec::new(),
                synthesis: synthesis.made_by.clone(),
                pipeline: "red team".to_owned(),
                language: synthesis.language.clone(),
            };
            let used = synthesis.language.as_ref();
            let fallback = used.and_then(|used| Some(used.fallback.as_ref()?.code().to_owned()));
            (
                synthesis::compose_note(request, &synthesis, photos, &versions),
                fallback,
            )
        });
        Outcome {
            broken: broken(&note, &scenario, &self.composed(&scenario)),
            note,
            leaked: chat.leaks.load(Ordering::Relaxed) > 0,
            fallback,
        }
    }

    /// What a language model is asked of a patient of whom this was read, on any findings: all of it.
    pub fn prompt(&self, patient: PatientFacts) -> String {
        let asked = Arc::new(Listening::default());
        let composer = Composer::new(self.knowledge.clone());
        let synthesizer = Synthesizer::new(asked.clone(), composer, Spending::default());
        let scenario = scenarios().remove(0);
        scenario.with_patient(patient, |request, _| {
            block_on(synthesizer.synthesize(request)).expect("it falls back");
        });
        let asked = asked.0.lock().expect("nobody panics with it");
        asked.join("\n")
    }

    /// The draft that the composer writes.
    pub fn composed(&self, scenario: &Scenario) -> DraftNote {
        let composer = Composer::new(self.knowledge.clone());
        scenario.with_request(|request, photos| {
            let synthesis = block_on(composer.synthesize(request)).expect("the composer does not fail");
            let versions = Versions {
                models: Vec::new(),
                synthesis: synthesis.made_by.clone(),
                pipeline: "red team".to_owned(),
                language: None,
            };
            synthesis::compose_note(request, &synthesis, photos, &versions)
        })
    }

    /// Plays all attacks under all rules, with each rule left out in turn, and with none at all but the model's word.
    #[allow(clippy::disallowed_methods, reason = "this is the red team")]
    pub fn campaign(&self) -> Report {
        let attacks = attacks();
        let mut report = Report::of(&attacks);
        for attack in &attacks {
            let outcome = self.play(attack, &Rules::all());
            report.count(attack, &outcome, pasted_is_broken(attack));
        }
        for rule in Rule::ALL {
            let rules = Rules::without(rule);
            let successes = attacks
                .iter()
                .filter(|attack| !self.play(attack, &rules).broken.is_empty());
            let families: Vec<&'static str> = successes.map(|attack| attack.family).collect();
            report.without(rule, &families);
        }
        report
    }
}

impl Default for RedTeam {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
