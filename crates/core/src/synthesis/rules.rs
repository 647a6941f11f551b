//! The rules that an answer has to pass, each with a name of its own.
//!
//! Each guards something that no other does: the red team (docs/redteam.md) plays its attacks with each rule left out in
//! turn, and a rule without which nothing gets through is a rule that proves nothing.

use std::{collections::BTreeSet, fmt};

use super::{
    Knowledge,
    answer::{ABSTENTIONS, Answer, Further, Ranked},
    given::{Given, GivenClass},
    knowledge::words,
};
use crate::ports::Confidence;

/// At most so many conditions are ranked.
const MOST_RANKED: usize = 5;

/// At most so many conditions are named beside the classes.
const MOST_FURTHER: usize = 3;

/// At most so many ids in a list.
const MOST_IDS: usize = 16;

/// At most so many characters in a comment.
const MOST_COMMENT: usize = 240;

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// One JSON object of the schema's keys and nothing beside it; short lists, and nothing twice.
    Schema,
    /// Each condition, also one that a comment names, is one of the classifier's classes; those to be considered besides are of
    /// the pack's allow-list.
    Conditions,
    /// Each piece of evidence and of context exists, and shows the condition that it is named for. For what nobody classified,
    /// something of the context speaks.
    Evidence,
    /// Each confidence word is the one of the classifier's probability.
    Confidence,
    /// What is possible or more is ranked, and only equals in confidence change places.
    Ranking,
    /// What must not be missed is named, and nothing else is named so.
    MustNotMiss,
    /// Next steps are of the vocabulary.
    NextSteps,
    /// Questions are of the vocabulary.
    Questions,
    /// The reason of an abstention is one of those that there are.
    Abstention,
    /// The comment is short.
    Length,
    /// The comment is of the knowledge file's words: English, without negation, reassurance, advice, names, addresses.
    Language,
    /// The comment has no number.
    Numbers,
    /// The comment does not say how a medication is to be taken.
    Doses,
}

impl Rule {
    /// All of them, in the order in which they are applied.
    pub const ALL: [Self; 13] = [
        Self::Schema,
        Self::Conditions,
        Self::Evidence,
        Self::Confidence,
        Self::Ranking,
        Self::MustNotMiss,
        Self::NextSteps,
        Self::Questions,
        Self::Abstention,
        Self::Length,
        Self::Language,
        Self::Numbers,
        Self::Doses,
    ];

    /// Its stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Conditions => "conditions",
            Self::Evidence => "evidence",
            Self::Confidence => "confidence",
            Self::Ranking => "ranking",
            Self::MustNotMiss => "must-not-miss",
            Self::NextSteps => "next-steps",
            Self::Questions => "questions",
            Self::Abstention => "abstention",
            Self::Length => "length",
            Self::Language => "language",
            Self::Numbers => "numbers",
            Self::Doses => "doses",
        }
    }

    /// What it asks for, for a second try: fixed texts.
    pub(super) const fn demand(self) -> &'static str {
        match self {
            Self::Schema => "the answer has to be one JSON object of the schema, without anything twice",
            Self::Conditions => {
                "only the given codes are conditions, also_consider has only further_conditions, and a comment names no other condition"
            }
            Self::Evidence => {
                "evidence is an image or lesion that shows the condition; supporting and opposing are ids of context, and \
                 also_consider has at least one in supporting"
            }
            Self::Confidence => "each confidence word is the given one",
            Self::Ranking => "every condition that is possible or more is ranked, in the order of the confidence words",
            Self::MustNotMiss => "must_not_miss has exactly the conditions that are marked so and not ranked",
            Self::NextSteps => "next steps are given ids",
            Self::Questions => "questions are given ids",
            Self::Abstention => "abstain is null or a reason of the schema",
            Self::Length => "the comment is at most 240 characters long",
            Self::Language => "the comment is simple English; leave it null",
            Self::Numbers => "the comment has no number; leave it null",
            Self::Doses => "the comment does not say how to take a medication; leave it null",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// The rules that are applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules(BTreeSet<Rule>);

impl Rules {
    /// All of them: what serves people.
    pub fn all() -> Self {
        Self(Rule::ALL.into())
    }

    /// All but one, for the red team alone; `clippy.toml` refuses it elsewhere.
    #[must_use]
    pub fn without(rule: Rule) -> Self {
        let mut rules = Self::all();
        rules.0.remove(&rule);
        rules
    }

    pub(super) fn has(&self, rule: Rule) -> bool {
        self.0.contains(&rule)
    }

    /// The answer, or the first rule that it breaks.
    pub(super) fn check(&self, text: &str, given: &Given<'_>, knowledge: &Knowledge) -> Result<Answer, Rule> {
        let answer = if self.has(Rule::Schema) {
            Answer::strictly(text).filter(is_bounded)
        } else {
            Answer::trustingly(text)
        };
        let answer = answer.ok_or(Rule::Schema)?;
        let checking = Checking {
            answer: &answer,
            given,
            knowledge,
        };
        match self.0.iter().find(|rule| !checking.holds(**rule)) {
            Some(broken) => Err(*broken),
            None => Ok(answer),
        }
    }
}

fn is_bounded(answer: &Answer) -> bool {
    fn no_repetition<'a>(ids: impl IntoIterator<Item = &'a String>) -> bool {
        let mut seen = BTreeSet::new();
        ids.into_iter().all(|id| seen.insert(id)) && seen.len() <= MOST_IDS
    }
    let whole = |condition: &Ranked| {
        no_repetition(&condition.evidence) && no_repetition(condition.supporting.iter().chain(&condition.opposing))
    };
    let ranked = answer.ranked.len();
    let further = || answer.also_consider.iter();
    let codes = answer.conditions().map(|condition| &condition.code);
    (answer.abstain.is_some() || (1..=MOST_RANKED).contains(&ranked))
        && further().len() <= MOST_FURTHER
        && no_repetition(codes.chain(further().map(|further| &further.code)))
        && further().all(|further| no_repetition(further.supporting.iter().chain(&further.opposing)))
        && no_repetition(&answer.next_steps)
        && no_repetition(&answer.questions)
        && answer.conditions().all(whole)
}

/// An answer under scrutiny.
struct Checking<'a> {
    answer: &'a Answer,
    given: &'a Given<'a>,
    knowledge: &'a Knowledge,
}

impl Checking<'_> {
    fn holds(&self, rule: Rule) -> bool {
        // An abstention says nothing that could be wrong but its reason: all else is left out of the draft.
        if self.answer.abstain.is_some() {
            return rule != Rule::Abstention || self.abstention();
        }
        match rule {
            // Applied while reading, and where there is one.
            Rule::Schema | Rule::Abstention => true,
            Rule::Conditions => self.conditions(),
            Rule::Evidence => {
                self.answer.conditions().all(|condition| self.is_evident(condition))
                    && self
                        .answer
                        .also_consider
                        .iter()
                        .all(|further| self.is_brought_up(further))
            }
            Rule::Confidence => self.answer.conditions().all(|condition| self.is_confident(condition)),
            Rule::Ranking => self.ranking(),
            Rule::MustNotMiss => self.must_not_miss(),
            Rule::NextSteps => {
                let known = |id: &String| self.knowledge.next_step(id).is_some();
                self.answer.next_steps.iter().all(known)
            }
            Rule::Questions => {
                let known = |id: &String| self.knowledge.question(id).is_some();
                self.answer.questions.iter().all(known)
            }
            Rule::Length => self.comment().chars().count() <= MOST_COMMENT,
            Rule::Language => self.language(),
            Rule::Numbers => !self.comment().chars().any(|c| c.is_numeric() || c == '%'),
            Rule::Doses => self.doses(),
        }
    }

    fn comment(&self) -> &str {
        self.answer.comment.as_deref().unwrap_or_default()
    }

    fn class(&self, code: &str) -> Option<&GivenClass<'_>> {
        self.given
            .classes
            .iter()
            .find(|given| given.class.label.snomed_ct == code)
    }

    fn conditions(&self) -> bool {
        let named = |name: &str| {
            let padded = |text: &str| {
                let words: Vec<String> = words(text).collect();
                format!(" {} ", words.join(" "))
            };
            padded(self.comment()).contains(&padded(name))
        };
        let is_answered = |code: &str| self.answer.conditions().any(|condition| condition.code == code);
        let of_the_comment = self.knowledge.conditions().iter().all(|condition| {
            // Part of a name is a name: "a melanoma", "the carcinoma".
            let last = condition.name.rsplit(' ').next().unwrap_or_default();
            !(named(&condition.name) || named(last)) || is_answered(condition.code())
        });
        of_the_comment
            && self
                .answer
                .conditions()
                .all(|condition| self.class(&condition.code).is_some())
            && self.answer.also_consider.iter().all(|further| {
                let mut allowed = self.given.further.iter();
                allowed.any(|label| label.snomed_ct == further.code)
            })
    }

    fn is_context(&self, id: &str) -> bool {
        self.given.context.iter().any(|item| item.id == id)
    }

    fn is_brought_up(&self, further: &Further) -> bool {
        !further.supporting.is_empty()
            && further
                .supporting
                .iter()
                .chain(&further.opposing)
                .all(|id| self.is_context(id))
    }

    fn is_evident(&self, condition: &Ranked) -> bool {
        let document = self.class(&condition.code).map(|given| given.document);
        let shows = |id: &String| {
            let mut shown = self.given.evidence.iter();
            shown.any(|(known, of)| known == id && document.is_none_or(|document| document == *of))
        };
        !condition.evidence.is_empty()
            && condition.evidence.iter().all(shows)
            && condition
                .supporting
                .iter()
                .chain(&condition.opposing)
                .all(|id| self.is_context(id))
    }

    fn is_confident(&self, condition: &Ranked) -> bool {
        let word = confidence(&condition.confidence);
        word.is_some()
            && self
                .class(&condition.code)
                .is_none_or(|given| word == Some(given.confidence))
    }

    fn ranking(&self) -> bool {
        let ranked = || {
            let of = |condition: &Ranked| Some(self.class(&condition.code)?.confidence);
            self.answer.ranked.iter().filter_map(of)
        };
        let has_to_be_ranked = |(place, given): (usize, &GivenClass<'_>)| {
            // More than can be listed cannot be demanded.
            place < MOST_RANKED && (place == 0 || given.confidence <= Confidence::Possible)
        };
        let is_ranked = |given: &GivenClass<'_>| {
            let code = &given.class.label.snomed_ct;
            self.answer.ranked.iter().any(|condition| condition.code == *code)
        };
        let classes = || self.given.classes.iter().enumerate();
        ranked().is_sorted() && classes().all(|(place, given)| !has_to_be_ranked((place, given)) || is_ranked(given))
    }

    fn must_not_miss(&self) -> bool {
        let is_named = |given: &GivenClass<'_>| {
            let code = &given.class.label.snomed_ct;
            self.answer.conditions().any(|condition| condition.code == *code)
        };
        let is_marked = |condition: &Ranked| {
            self.class(&condition.code)
                .is_none_or(|given| self.knowledge.must_not_be_missed(&given.class.label))
        };
        let mut to_be_named = self.given.classes.iter().filter(|given| given.has_to_be_named);
        to_be_named.all(is_named) && self.answer.must_not_miss.iter().all(is_marked)
    }

    fn abstention(&self) -> bool {
        let reason = self.answer.abstain.as_deref().unwrap_or_default();
        ABSTENTIONS.contains(&reason)
    }

    fn language(&self) -> bool {
        const MARKS: &str = " ,.;:()-%";
        let comment = self.comment();
        // A history or a medication may be named where it was given.
        let given: BTreeSet<String> = self.given.context.iter().flat_map(|item| words(&item.text)).collect();
        let known = |word: String| {
            word.chars().all(char::is_numeric) || self.knowledge.has_word(&word) || given.contains(&word)
        };
        comment.chars().all(|c| c.is_alphanumeric() || MARKS.contains(c)) && words(comment).all(known)
    }

    fn doses(&self) -> bool {
        let comment: Vec<String> = words(self.comment()).collect();
        let medication = comment.iter().any(|word| self.knowledge.is_medication(word));
        let dosing = comment.iter().any(|word| self.knowledge.is_dosing_word(word));
        !(medication && dosing)
    }
}

/// A confidence word as an answer has it.
pub(super) fn confidence(word: &str) -> Option<Confidence> {
    serde_json::from_value(serde_json::Value::from(word)).ok()
}
