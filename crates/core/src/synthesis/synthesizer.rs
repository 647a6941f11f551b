//! Findings put into words by a language model, under rules: prompt, answer, check, once more, or not at all.
//!
//! # What always holds
//! A draft has the labels, probabilities and images of the classifier, and sentences of the knowledge file; what a language
//! model decides is which of the given conditions to name in which order, what of the given context speaks for and against
//! them, which of the pack's further conditions the context brings up, and the order of next steps and questions. Of its own words there is at most one comment, of the knowledge file's
//! words. What the composer would have suggested is never lost: an answer can add and reorder.
//!
//! # When it fails
//! An endpoint that does not answer, or two answers that break a rule, lead to the composer's draft, which says so. Which
//! rule it was is logged; what was asked and answered is not.

use std::sync::Arc;

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};

use super::{
    Composer, Rule, Rules,
    answer::{ABSTENTIONS, Answer, Further, Ranked},
    given::Given,
    rules::confidence,
};
use crate::{
    domain::{DocumentId, Label, LanguageUse, Reason},
    phi::Phi,
    ports::{
        ChatModel, Confidence, Differential, EvidencedCondition, FurtherCondition, LanguageError, LanguageModel,
        Prompt, Synthesis, SynthesisRequest,
    },
};

/// The prompt file. A changed text is a new file with a new number.
const SYSTEM: &str = include_str!("prompts/rank-2.md");

/// The name of the prompt file, without its ending.
const PROMPT: &str = "rank-2";

/// How often an assessment is asked about.
const MOST_CALLS: u32 = 2;

/// An answer is a few hundred tokens long; one that goes on is none.
const MOST_OUTPUT_TOKENS: u32 = 1500;

/// What language models cost, and how much of them a firm may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spending {
    /// Millionths of a currency unit for a million input tokens: 3 dollars are 3,000,000.
    pub input_micros_per_million: u64,
    /// Millionths of a currency unit for a million output tokens.
    pub output_micros_per_million: u64,
    /// What a firm may spend in a day (UTC), in millionths of a currency unit; none for no limit. An assessment is begun as
    /// long as there is something left, so the last ones may go beyond.
    pub daily_budget_micros: Option<u64>,
}

impl Spending {
    fn cost_micros(self, input_tokens: u64, output_tokens: u64) -> u64 {
        let of = |tokens: u64, price: u64| u128::from(tokens) * u128::from(price);
        let sum = of(input_tokens, self.input_micros_per_million) + of(output_tokens, self.output_micros_per_million);
        // Rounded up: a budget is never undercut by rounding.
        u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
}

/// Why a draft has the findings alone although a language model is configured.
mod fallback {
    use super::Reason;

    pub(super) const OVER_BUDGET: Reason = Reason::new(
        "language-model.over-budget",
        "the firm has used up language.budget_per_firm_and_day; the composer writes until the day is over (UTC)",
    );
    pub(super) const UNAVAILABLE: Reason = Reason::new(
        "language-model.unavailable",
        "the language model did not answer; the composer wrote the draft",
    );
    pub(super) const REFUSED: Reason = Reason::new(
        "language-model.refused",
        "the endpoint of the language model refuses what it is asked: check the section language of the configuration",
    );
    pub(super) const ANSWERS_BROKEN: Reason = Reason::new(
        "language-model.answers-refused",
        "two answers broke a rule (the log says which); the composer wrote the draft",
    );
    pub(super) const ABSTAINED: Reason = Reason::new(
        "language-model.abstained",
        "the language model declined to rank the findings; the composer wrote the draft",
    );
}

/// A [`LanguageModel`] that asks a [`ChatModel`] and believes nothing of what it says before the rules have passed it.
pub struct Synthesizer {
    chat: Arc<dyn ChatModel>,
    composer: Composer,
    rules: Rules,
    spending: Spending,
}

/// What asking has cost so far.
struct Asking {
    prompt: Prompt,
    used: LanguageUse,
}

impl Synthesizer {
    /// Asks `chat`, and composes where that does not lead to anything.
    pub fn new(chat: Arc<dyn ChatModel>, composer: Composer, spending: Spending) -> Self {
        Self {
            chat,
            composer,
            rules: Rules::all(),
            spending,
        }
    }

    /// The same with other rules, for the red team alone; `clippy.toml` refuses it elsewhere.
    #[must_use]
    pub fn with_rules(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    /// What would be asked about an assessment.
    pub fn prompt(&self, request: &SynthesisRequest<'_>) -> Prompt {
        self.prompt_of(request, &Given::of(request, self.composer.knowledge()))
    }

    fn prompt_of(&self, request: &SynthesisRequest<'_>, given: &Given<'_>) -> Prompt {
        let knowledge = self.composer.knowledge();
        Prompt {
            system: SYSTEM.trim_end().to_owned(),
            user: Phi::new(given.data(request, knowledge).to_string()),
            schema: given.schema(knowledge),
            most_output_tokens: MOST_OUTPUT_TOKENS,
        }
    }

    /// The answer that passes, or why there is none.
    async fn ask(&self, asking: &mut Asking, given: &Given<'_>) -> Result<Answer, Reason> {
        let mut reason = fallback::UNAVAILABLE;
        let data = asking.prompt.user.expose().clone();
        while asking.used.calls < MOST_CALLS {
            asking.used.calls += 1;
            let completion = match self.chat.complete(&asking.prompt).await {
                Ok(completion) => completion,
                Err(error) => {
                    tracing::warn!(event = "language.not-answered", model = self.chat.model(), %error);
                    match error {
                        LanguageError::Unavailable { .. } => reason = fallback::UNAVAILABLE,
                        LanguageError::Refused { .. } => return Err(fallback::REFUSED),
                    }
                    continue;
                }
            };
            asking.used.input_tokens = asking.used.input_tokens.saturating_add(completion.input_tokens);
            asking.used.output_tokens = asking.used.output_tokens.saturating_add(completion.output_tokens);
            match self
                .rules
                .check(completion.text.expose(), given, self.composer.knowledge())
            {
                Ok(answer) => {
                    // Of the prompt that was answered, which is another at the second try.
                    asking.used.prompt_sha256 = hash(&asking.prompt);
                    return Ok(answer);
                }
                Err(rule) => {
                    tracing::warn!(event = "language.answer-refused", model = self.chat.model(), %rule);
                    reason = fallback::ANSWERS_BROKEN;
                    asking.prompt.user = Phi::new(again(&data, rule));
                }
            }
        }
        Err(reason)
    }

    /// The answer in the classifier's terms. What the rules have passed is found; the other branch of each look-up is what
    /// the red team sees of an answer whose rule was left out.
    fn synthesis(&self, answer: &Answer, given: &Given<'_>, composed: Synthesis) -> Synthesis {
        let knowledge = self.composer.knowledge();
        let conditions = |list: &[Ranked]| -> Vec<_> {
            let condition = |condition| self.condition(condition, given);
            list.iter().map(condition).collect()
        };
        let together = |ids: &[String], sentence: &dyn Fn(&str) -> Option<String>, others: Vec<String>| {
            let mut sentences: Vec<String> = Vec::new();
            for id in ids {
                sentences.push(sentence(id).unwrap_or_else(|| id.clone()));
            }
            for other in others {
                if !sentences.contains(&other) {
                    sentences.push(other);
                }
            }
            sentences
        };
        let next_step = |id: &str| knowledge.next_step(id).map(str::to_owned);
        let question = |id: &str| knowledge.question(id).map(str::to_owned);
        Synthesis {
            differential: Ok(Differential {
                ranked: conditions(&answer.ranked),
                must_not_miss: conditions(&answer.must_not_miss),
                further: answer
                    .also_consider
                    .iter()
                    .map(|named| further(named, given))
                    .collect(),
            }),
            next_steps: together(&answer.next_steps, &next_step, composed.next_steps),
            questions: together(&answer.questions, &question, composed.questions),
            made_by: format!("{} with prompt {PROMPT}; {}", self.chat.model(), composed.made_by),
            remarks: vec![
                "Order and context by a language model, which saw these coded findings and not the image; probabilities are \
                 the classifier's."
                    .to_owned(),
            ],
            comment: answer.comment.clone().filter(|comment| !comment.trim().is_empty()),
            language: None,
        }
    }

    fn condition(&self, condition: &Ranked, given: &Given<'_>) -> EvidencedCondition {
        let evidence = || {
            let id = condition.evidence.first().map(String::as_str).unwrap_or_default();
            let known = given.evidence.iter().find(|(known, _)| known == id);
            known.map_or_else(|| DocumentId::new(id), |(_, document)| (*document).clone())
        };
        let class = given
            .classes
            .iter()
            .find(|given| given.class.label.snomed_ct == condition.code);
        let mut evidenced = match class {
            Some(given) => self.composer.evidenced(&given.class, &evidence()),
            None => EvidencedCondition {
                label: unknown(&condition.code),
                probability: 0.0,
                confidence: Confidence::LessLikely,
                evidence: evidence(),
                features: Vec::new(),
                supporting: Vec::new(),
                opposing: Vec::new(),
            },
        };
        evidenced.confidence = confidence(&condition.confidence).unwrap_or(evidenced.confidence);
        evidenced.supporting = context(&condition.supporting, given);
        evidenced.opposing = context(&condition.opposing, given);
        evidenced
    }
}

fn further(named: &Further, given: &Given<'_>) -> FurtherCondition {
    let allowed = given.further.iter().find(|label| label.snomed_ct == named.code);
    FurtherCondition {
        label: allowed.map_or_else(|| unknown(&named.code), |label| (*label).clone()),
        supporting: context(&named.supporting, given),
        opposing: context(&named.opposing, given),
    }
}

/// Items of context as they were given.
fn context(ids: &[String], given: &Given<'_>) -> Vec<String> {
    let text = |id: &String| {
        let known = given.context.iter().find(|item| item.id == *id);
        known.map_or_else(|| id.clone(), |item| item.text.clone())
    };
    ids.iter().map(text).collect()
}

/// A label of which only the answer knows.
fn unknown(code: &str) -> Label {
    Label {
        id: code.to_owned(),
        display: code.to_owned(),
        snomed_ct: code.to_owned(),
        icd_10_cm: None,
        must_not_miss: false,
    }
}

/// The prompt of the second try: the same, and what was wrong. The answer itself is not shown again.
fn again(data: &str, rule: Rule) -> String {
    format!(
        "{data}\n\nYour answer to this was refused: {}. Answer once more.",
        rule.demand()
    )
}

fn hash(prompt: &Prompt) -> String {
    let mut hash = Sha256::new();
    for text in [&prompt.system, prompt.user.expose(), &prompt.schema.to_string()] {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hex::encode(hash.finalize())
}

/// A composed draft that says why there is no more.
fn composed_because(composed: Synthesis, sentence: &str) -> Synthesis {
    Synthesis {
        remarks: vec![format!("This draft has the findings alone: {sentence}")],
        ..composed
    }
}

fn sentence_of(reason: &Reason) -> &'static str {
    match reason.code() {
        "language-model.over-budget" => "the practice's budget for the language model is used up.",
        "language-model.answers-refused" => "the language model's answers did not pass the checks twice.",
        _ => "the language model did not answer.",
    }
}

fn abstained(reason: &str) -> String {
    let known = ABSTENTIONS.iter().position(|known| *known == reason);
    let sentence = match known {
        Some(0) => "it sees the context contradict the findings",
        Some(_) => "it sees the findings out of its scope",
        None => reason,
    };
    format!("the language model declined to rank them ({sentence}).")
}

#[async_trait]
impl LanguageModel for Synthesizer {
    async fn synthesize(&self, request: &SynthesisRequest<'_>) -> Result<Synthesis, LanguageError> {
        let composed = self.composer.compose(request);
        if composed.differential.is_err() {
            // There is nothing to rank, and nothing that a language model could add to why.
            return Ok(composed);
        }
        let given = Given::of(request, self.composer.knowledge());
        let prompt = self.prompt_of(request, &given);
        let used = LanguageUse {
            model: self.chat.model().to_owned(),
            prompt: PROMPT.to_owned(),
            prompt_sha256: hash(&prompt),
            calls: 0,
            input_tokens: 0,
            output_tokens: 0,
            cost_micros: 0,
            fallback: None,
        };
        let mut asking = Asking { prompt, used };
        let outcome = if request.over_budget {
            Err(fallback::OVER_BUDGET)
        } else {
            self.ask(&mut asking, &given).await
        };
        let mut used = asking.used;
        used.cost_micros = self.spending.cost_micros(used.input_tokens, used.output_tokens);
        let mut synthesis = match outcome {
            Ok(Answer {
                abstain: Some(reason), ..
            }) => {
                used.fallback = Some(fallback::ABSTAINED);
                composed_because(composed, &abstained(&reason))
            }
            Ok(answer) => self.synthesis(&answer, &given, composed),
            Err(reason) => {
                let sentence = sentence_of(&reason);
                used.fallback = Some(reason);
                composed_because(composed, sentence)
            }
        };
        let (firm, calls) = (&request.assessment.firm, used.calls);
        let fallback = used.fallback.as_ref().map(|reason| reason.code().to_owned());
        tracing::info!(
            event = "language.asked",
            %firm,
            calls,
            input_tokens = used.input_tokens,
            output_tokens = used.output_tokens,
            cost_micros = used.cost_micros,
            fallback
        );
        synthesis.language = Some(used);
        Ok(synthesis)
    }

    fn daily_budget_micros(&self) -> Option<u64> {
        self.spending.daily_budget_micros
    }
}

#[cfg(test)]
mod tests;
