//! A language model's answer, as it came. Nothing in it counts before the rules have passed it.

use serde::Deserialize;
use serde_json::Value;

/// Why a language model may decline to rank. The reader is told so in a sentence of ours.
pub(super) const ABSTENTIONS: [&str; 2] = ["context-contradicts-findings", "out-of-scope"];

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    pub(super) abstain: Option<String>,
    pub(super) ranked: Vec<Ranked>,
    pub(super) must_not_miss: Vec<Ranked>,
    pub(super) also_consider: Vec<Further>,
    pub(super) next_steps: Vec<String>,
    pub(super) questions: Vec<String>,
    pub(super) comment: Option<String>,
}

/// A condition of an answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ranked {
    pub(super) code: String,
    pub(super) confidence: String,
    pub(super) evidence: Vec<String>,
    pub(super) supporting: Vec<String>,
    pub(super) opposing: Vec<String>,
}

/// A condition of the pack's allow-list, without evidence, since nobody classified it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Further {
    pub(super) code: String,
    pub(super) supporting: Vec<String>,
    pub(super) opposing: Vec<String>,
}

impl Answer {
    /// All conditions, ranked ones first.
    pub(super) fn conditions(&self) -> impl Iterator<Item = &Ranked> {
        self.ranked.iter().chain(&self.must_not_miss)
    }

    /// Exactly one JSON object of exactly the schema's keys.
    pub(super) fn strictly(text: &str) -> Option<Self> {
        // The decoder's own words would quote the answer.
        serde_json::from_str(text).ok()
    }

    /// Whatever can be made of it: what a trusting program would do. For the red team, which has to show what the schema
    /// is worth; no program that serves anybody comes here.
    pub(super) fn trustingly(text: &str) -> Option<Self> {
        let (begin, end) = (text.find('{')?, text.rfind('}')?);
        let value: Value = serde_json::from_str(text.get(begin..=end)?).ok()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let texts =
            |value: &Value| -> Vec<String> { value.as_array().into_iter().flatten().filter_map(text).collect() };
        let ranked = |value: &Value| -> Vec<Ranked> {
            let list = value.as_array().into_iter().flatten();
            list.map(|entry| Ranked {
                code: text(&entry["code"]).unwrap_or_default(),
                confidence: text(&entry["confidence"]).unwrap_or_default(),
                evidence: texts(&entry["evidence"]),
                supporting: texts(&entry["supporting"]),
                opposing: texts(&entry["opposing"]),
            })
            .collect()
        };
        let further = |value: &Value| -> Vec<Further> {
            let list = value.as_array().into_iter().flatten();
            list.map(|entry| Further {
                code: text(&entry["code"]).unwrap_or_default(),
                supporting: texts(&entry["supporting"]),
                opposing: texts(&entry["opposing"]),
            })
            .collect()
        };
        Some(Self {
            abstain: text(&value["abstain"]),
            ranked: ranked(&value["ranked"]),
            must_not_miss: ranked(&value["must_not_miss"]),
            also_consider: further(&value["also_consider"]),
            next_steps: texts(&value["next_steps"]),
            questions: texts(&value["questions"]),
            comment: text(&value["comment"]),
        })
    }
}
