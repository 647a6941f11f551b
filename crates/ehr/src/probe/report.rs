//! What a probe found, in words that name no patient.

use serde::Serialize;

use super::proposal;
use crate::profile::Profile;

/// The stable name of a finding. docs/probe.md lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Code(pub(super) &'static str);

impl Code {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

/// What a finding means for the profile in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Seen, and nothing is to be done.
    Well,
    /// It contradicts the profile: see the differences.
    Differs,
    /// Something works that the profile does not use.
    Offered,
    /// Worth knowing; no profile can change it.
    Notice,
    /// It could not be found out, and nothing is guessed.
    NotKnown,
}

/// One thing that was found out, or could not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its stable name.
    pub code: Code,
    /// What it means.
    pub verdict: Verdict,
    /// What was seen, for people.
    pub seen: String,
    /// The calls that it was seen by, and what came. Ids are left out.
    pub evidence: Vec<String>,
}

/// The profile says one thing, the EHR does another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The profile's key.
    pub key: &'static str,
    /// The finding that it rests on.
    pub code: Code,
    /// What the profile says.
    pub profile: String,
    /// What the EHR does.
    pub ehr: String,
    /// Whether the proposed profile answers it. Where it does not, there is no value that would.
    pub answered: bool,
}

/// How long the EHR took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Half of the calls were faster.
    pub median_ms: u64,
    /// The slowest call.
    pub worst_ms: u64,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProbeReport {
    /// The name of the profile in use.
    pub profile: String,
    /// How many calls were made to the EHR, each against the quota.
    pub calls: u32,
    /// How long they took.
    pub latency: Option<Latency>,
    /// Everything that was looked at.
    pub findings: Vec<Finding>,
    /// What contradicts the profile.
    pub differences: Vec<Difference>,
    #[serde(skip)]
    proposed: Profile,
}

impl ProbeReport {
    /// Whether nothing contradicts the profile.
    pub fn fits(&self) -> bool {
        self.differences.is_empty()
    }

    /// The profile in use with what differs put right, as TOML that [`Profile::from_toml`] reads. Each change has a
    /// comment, and so has each difference that no value answers.
    pub fn proposed_profile(&self) -> String {
        proposal::text(&self.proposed, self)
    }
}

/// A report that is being written.
#[derive(Debug)]
pub(super) struct Notes {
    in_use: Profile,
    proposed: Profile,
    findings: Vec<Finding>,
    differences: Vec<Difference>,
}

impl Notes {
    pub(super) fn new(profile: &Profile) -> Self {
        Self {
            in_use: profile.clone(),
            proposed: profile.clone(),
            findings: Vec::new(),
            differences: Vec::new(),
        }
    }

    /// The profile in use.
    pub(super) fn profile(&self) -> &Profile {
        &self.in_use
    }

    pub(super) fn find(&mut self, code: Code, verdict: Verdict, seen: impl Into<String>, evidence: Vec<String>) {
        self.findings.push(Finding {
            code,
            verdict,
            seen: seen.into(),
            evidence,
        });
    }

    /// Adds a difference, and what would answer it. A change that makes no sound profile is not proposed.
    pub(super) fn differ(
        &mut self,
        code: Code,
        key: &'static str,
        profile: impl Into<String>,
        ehr: impl Into<String>,
        change: impl FnOnce(&mut Profile),
    ) {
        let mut changed = self.proposed.clone();
        change(&mut changed);
        let answered = changed != self.proposed && changed.is_sound();
        if answered {
            self.proposed = changed;
        }
        let (profile, ehr) = (profile.into(), ehr.into());
        self.differences.push(Difference {
            key,
            code,
            profile,
            ehr,
            answered,
        });
    }

    pub(super) fn into_report(self, calls: u32, latency: Option<Latency>) -> ProbeReport {
        ProbeReport {
            profile: self.in_use.name,
            calls,
            latency,
            findings: self.findings,
            differences: self.differences,
            proposed: self.proposed,
        }
    }
}

/// The change that is none: there is no value that would answer the difference.
pub(super) fn nothing(_: &mut Profile) {}
