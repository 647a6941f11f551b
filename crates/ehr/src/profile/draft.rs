//! What an EHR wants a draft to be.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use skin_assist_core::ports::{DraftAbilities, FinishedVisit, Settlement};

use super::ProfileError;

/// Writing drafts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DraftRules {
    /// What is created.
    pub target: DraftTarget,
    /// Its status. There is no `final`: what nobody has reviewed is not final.
    pub status: DraftStatus,
    /// For a Composition: whether a section's text goes into `section.code.text`.
    pub text_in_section_code: bool,
    /// For a Composition: whether a section's text goes into `section.text`, as FHIR means it.
    pub text_in_section_narrative: bool,
    /// For a DocumentReference: what its attachment is.
    pub content: Option<DraftContent>,
    /// Who is named as author.
    pub author: AuthorRule,
    /// Whether the draft brings its Provenance along.
    #[serde(default)]
    pub provenance: ProvenanceRule,
    /// How other resources are named.
    pub references: ReferenceForm,
    /// How a draft can be looked for.
    pub search: DraftSearchRule,
    /// How long after it was taken a draft may be missing from that search, in seconds.
    pub visible_within_s: u32,
    /// Whether `If-None-Exist` on the identifier is honoured.
    pub conditional_create: bool,
    /// Where an addendum names the draft that it is added to.
    #[serde(default)]
    pub addendum: AddendumRule,
    /// What becomes of a draft whose visit was finished meanwhile.
    pub finished_visit: FinishedVisitRule,
}

/// Where an addendum names the draft that it is added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddendumRule {
    /// In its text alone.
    #[default]
    Text,
    /// For a Composition: in `relatesTo` too, by its identifier.
    RelatesTo,
    /// For a Composition: in no draft of its own, but in the earlier one, which it is added to as long as that is preliminary and in the
    /// version that was written. The EHR has versions and heeds `If-Match`. Otherwise as `relates-to`.
    Update,
}

/// What a draft becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DraftTarget {
    /// `Composition`.
    Composition,
    /// `DocumentReference`: a clinical note.
    DocumentReference,
    /// Nothing: the EHR cannot hold a draft (final only, or no such API), so the result stays with us.
    None,
}

/// The media type of a DocumentReference's attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum DraftContent {
    /// Plain lines.
    #[serde(rename = "text/plain")]
    Plain,
    /// A whole XHTML page.
    #[serde(rename = "application/xhtml+xml")]
    Xhtml,
}

/// `Composition.status`, or `DocumentReference.docStatus`, of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DraftStatus {
    /// preliminary.
    Preliminary,
}

impl DraftStatus {
    /// The code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preliminary => "preliminary",
        }
    }
}

/// Who is named as the author of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthorRule {
    /// The treating practitioner, because the EHR forces one; the text then says that they did not write it.
    Practitioner,
    /// This software, as a contained `Device`.
    Device,
    /// Nobody: for EHRs that set it themselves.
    Omit,
}

/// Whether a draft brings its Provenance along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProvenanceRule {
    /// No: the EHR takes none, or nobody knows whether it does.
    #[default]
    None,
    /// In the draft itself, as a contained resource.
    Contained,
}

/// How a draft names other resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReferenceForm {
    /// `Patient/12`.
    Relative,
    /// With the firm's service in front.
    Absolute,
}

/// How a draft can be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DraftSearchRule {
    /// Not at all.
    Unsupported,
    /// By `identifier`.
    Identifier,
}

/// What becomes of a draft whose visit was finished meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FinishedVisitRule {
    /// It is posted all the same.
    Post,
    /// It is posted without naming the visit. Costs a call before each post.
    PostWithoutVisit,
    /// It stays with us. Costs a call before each post.
    Hold,
}

impl DraftRules {
    /// What the stages need to know.
    pub(crate) fn abilities(&self) -> DraftAbilities {
        DraftAbilities {
            holds_drafts: self.target != DraftTarget::None,
            updates_drafts: self.updates(),
            settlement: match (self.search, self.conditional_create) {
                (DraftSearchRule::Identifier, _) => Settlement::Search {
                    visible_within: Duration::from_secs(self.visible_within_s.into()),
                },
                (DraftSearchRule::Unsupported, true) => Settlement::PostAgain,
                (DraftSearchRule::Unsupported, false) => Settlement::Operator,
            },
            finished_visit: match self.finished_visit {
                FinishedVisitRule::Post => FinishedVisit::Post,
                FinishedVisitRule::PostWithoutVisit => FinishedVisit::PostWithoutVisit,
                FinishedVisitRule::Hold => FinishedVisit::Hold,
            },
        }
    }

    /// Whether a draft may be added to an earlier one.
    pub(crate) fn updates(&self) -> bool {
        self.addendum == AddendumRule::Update
    }

    pub(super) fn check(&self) -> Result<(), ProfileError> {
        let invalid = |key, problem| Err(ProfileError::Invalid { key, problem });
        match (self.target, self.content) {
            (DraftTarget::Composition, _) if !(self.text_in_section_code || self.text_in_section_narrative) => {
                invalid("draft.text_in_section_narrative", "the text has to go somewhere")
            }
            (DraftTarget::DocumentReference, None) => invalid(
                "draft.content",
                "a DocumentReference needs to know its attachment's type",
            ),
            (target, _) if self.updates() && target != DraftTarget::Composition => {
                invalid("draft.addendum", "only a Composition is updated")
            }
            _ => Ok(()),
        }
    }
}
