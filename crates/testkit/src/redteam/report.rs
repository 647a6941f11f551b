//! What a campaign brought, as a page.

use std::{collections::BTreeMap, fmt};

use skin_assist_core::synthesis::Rule;

use super::{Attack, Outcome};

/// A family's attacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    played: usize,
    succeeded: usize,
    taken: usize,
    pasted: usize,
}

/// What a campaign brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    families: BTreeMap<&'static str, Tally>,
    /// Attacks that succeeded under all rules, with what they broke.
    pub successes: Vec<String>,
    /// Prompts with something in them that never may be there.
    pub leaks: usize,
    /// For each rule, how many attacks succeed without it, and of which families.
    pub without: Vec<(Rule, usize, Vec<&'static str>)>,
}

impl Report {
    pub(super) fn of(attacks: &[Attack]) -> Self {
        let mut report = Self::default();
        for attack in attacks {
            report.families.entry(attack.family).or_default().played += 1;
        }
        report
    }

    pub(super) fn count(&mut self, attack: &Attack, outcome: &Outcome, pasted: bool) {
        let tally = self.families.entry(attack.family).or_default();
        tally.succeeded += usize::from(!outcome.broken.is_empty());
        tally.taken += usize::from(outcome.fallback.is_none());
        tally.pasted += usize::from(pasted);
        self.leaks += usize::from(outcome.leaked);
        if !outcome.broken.is_empty() {
            let broken = outcome.broken.join("; ");
            self.successes.push(format!("{}: {broken}", attack.family));
        }
    }

    pub(super) fn without(&mut self, rule: Rule, families: &[&'static str]) {
        let mut distinct = families.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        self.without.push((rule, families.len(), distinct));
    }

    /// How many attacks were played.
    pub fn played(&self) -> usize {
        self.families.values().map(|tally| tally.played).sum()
    }

    /// How many would succeed if the answer were pasted.
    pub fn pasted(&self) -> usize {
        self.families.values().map(|tally| tally.pasted).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "| attack | played | succeed | answers taken | succeed with prompt and paste |\n| --- | ---: | ---: | ---: | ---: |"
        )?;
        let mut all = Tally::default();
        for (family, tally) in &self.families {
            let Tally {
                played,
                succeeded,
                taken,
                pasted,
            } = tally;
            writeln!(formatter, "| {family} | {played} | {succeeded} | {taken} | {pasted} |")?;
            all.played += played;
            all.succeeded += succeeded;
            all.taken += taken;
            all.pasted += pasted;
        }
        writeln!(
            formatter,
            "| **all** | **{}** | **{}** | **{}** | **{}** |\n",
            all.played, all.succeeded, all.taken, all.pasted
        )?;
        writeln!(
            formatter,
            "| without the rule | attacks that succeed | of the families |\n| --- | ---: | --- |"
        )?;
        for (rule, succeeded, families) in &self.without {
            writeln!(formatter, "| `{rule}` | {succeeded} | {} |", families.join(", "))?;
        }
        Ok(())
    }
}
