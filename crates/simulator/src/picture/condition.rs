//! The conditions a picture can show.

/// A condition, by the route that judges it: solitary lesions are found and classified one by one, widespread ones as a
/// whole picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Condition {
    /// Melanoma (solitary).
    Melanoma,
    /// Melanocytic nevus, a mole (solitary).
    MelanocyticNevus,
    /// Basal cell carcinoma (solitary).
    BasalCellCarcinoma,
    /// Seborrheic keratosis (solitary).
    SeborrheicKeratosis,
    /// Actinic keratosis (solitary).
    ActinicKeratosis,
    /// Atopic dermatitis (widespread).
    AtopicDermatitis,
    /// Psoriasis (widespread).
    Psoriasis,
    /// Urticaria, hives (widespread).
    Urticaria,
    /// Tinea corporis, ringworm (widespread).
    TineaCorporis,
}

impl Condition {
    /// The conditions that show as single lesions, in the order of the reference pack's labels.
    pub const SOLITARY: &[Self] = &[
        Self::Melanoma,
        Self::MelanocyticNevus,
        Self::BasalCellCarcinoma,
        Self::SeborrheicKeratosis,
        Self::ActinicKeratosis,
    ];

    /// The conditions that cover an area, in the order of the reference pack's labels.
    pub const WIDESPREAD: &[Self] = &[
        Self::AtopicDermatitis,
        Self::Psoriasis,
        Self::Urticaria,
        Self::TineaCorporis,
    ];

    /// Whether the condition shows as single lesions.
    pub fn is_solitary(self) -> bool {
        Self::SOLITARY.contains(&self)
    }

    /// The identifier, the same as the label's in the reference model packs.
    pub fn id(self) -> &'static str {
        match self {
            Self::Melanoma => "melanoma",
            Self::MelanocyticNevus => "melanocytic-nevus",
            Self::BasalCellCarcinoma => "basal-cell-carcinoma",
            Self::SeborrheicKeratosis => "seborrheic-keratosis",
            Self::ActinicKeratosis => "actinic-keratosis",
            Self::AtopicDermatitis => "atopic-dermatitis",
            Self::Psoriasis => "psoriasis",
            Self::Urticaria => "urticaria",
            Self::TineaCorporis => "tinea-corporis",
        }
    }

    /// The name for people.
    pub fn display(self) -> &'static str {
        match self {
            Self::Melanoma => "Melanoma",
            Self::MelanocyticNevus => "Melanocytic nevus",
            Self::BasalCellCarcinoma => "Basal cell carcinoma",
            Self::SeborrheicKeratosis => "Seborrheic keratosis",
            Self::ActinicKeratosis => "Actinic keratosis",
            Self::AtopicDermatitis => "Atopic dermatitis",
            Self::Psoriasis => "Psoriasis",
            Self::Urticaria => "Urticaria",
            Self::TineaCorporis => "Tinea corporis",
        }
    }
}
