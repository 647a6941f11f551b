//! The composer: a draft as the EHR's profile wants it.
//!
//! A FHIR R4 Composition, or a DocumentReference, that is valid everywhere and whose text is complete on its own, since
//! EHRs strip codes, identifiers and extensions. It never has an attester: nobody has reviewed it. The label comes first in the text,
//! whatever the note says, and the reference code is in it.

mod document_reference;
mod provenance;
mod update;

use serde::Serialize;
use serde_json::Value;
use skin_assist_core::{
    domain::{Draft, NormalisedBox, NoteRegion, ReferenceCode},
    ports::EhrError,
};

use crate::{
    narrative::{self, Block},
    profile::{AddendumRule, AuthorRule, DraftRules, DraftTarget, ProvenanceRule, ReferenceForm},
    urls::encode_segment,
};
use document_reference::document_reference;
use provenance::{PROVENANCE, provenance};
pub(crate) use update::{has, updated};

/// `Composition.identifier.system` of our drafts; the value is the reference code.
pub const IDENTIFIER_SYSTEM: &str = "https://skin-assist.example/fhir/draft";

/// The extension that names an assessed image and the regions on it.
pub const ASSESSED_IMAGE: &str = "https://skin-assist.example/fhir/StructureDefinition/assessed-image";

/// The first line of every draft.
pub const LABEL: &str = "AI-generated draft, not reviewed by a clinician.";

/// The second line where the EHR forces the practitioner's name on it.
pub const NOT_BY_THE_AUTHOR: &str = "Drafted by AI software, not by the author named on this document.";

const LOINC: &str = "http://loinc.org";

/// The draft as JSON, as the profile wants it. `service` is the firm's FHIR service, for absolute references.
pub(crate) fn body(draft: &Draft, rules: &DraftRules, service: &str) -> Result<Vec<u8>, EhrError> {
    let json = match rules.target {
        DraftTarget::Composition => serde_json::to_vec(&composition(draft, rules, service)?),
        DraftTarget::DocumentReference => serde_json::to_vec(&document_reference(draft, rules, service)?),
        DraftTarget::None => return Err(EhrError::DraftsNotHeld),
    };
    json.map_err(|_| EhrError::Malformed {
        what: "the draft cannot be written as JSON",
    })
}

/// Names other resources as the profile wants it.
struct References<'a> {
    form: ReferenceForm,
    service: &'a str,
}

impl References<'_> {
    fn to(&self, resource: &str, id: &str) -> Result<Reference, EhrError> {
        let id = encode_segment(id).ok_or(EhrError::Malformed {
            what: "an id cannot be a part of a reference",
        })?;
        Ok(Reference {
            reference: match self.form {
                ReferenceForm::Relative => format!("{resource}/{id}"),
                ReferenceForm::Absolute => format!("{}/{resource}/{id}", self.service),
            },
        })
    }

    /// The author, with what is contained: this software where it is the author or the Provenance names it, and the
    /// Provenance.
    fn author(&self, draft: &Draft, rules: &DraftRules) -> Result<(Vec<Value>, Vec<Reference>), EhrError> {
        let author = match rules.author {
            AuthorRule::Practitioner => {
                let practitioner = draft.practitioner.as_ref().ok_or(EhrError::NoAuthor)?;
                vec![self.to("Practitioner", practitioner.as_str())?]
            }
            AuthorRule::Device => vec![Reference {
                reference: format!("#{DEVICE}"),
            }],
            AuthorRule::Omit => vec![],
        };
        let mut contained = Vec::new();
        if rules.author == AuthorRule::Device || rules.provenance == ProvenanceRule::Contained {
            contained.push(device(&draft.versions.pipeline));
        }
        if rules.provenance == ProvenanceRule::Contained {
            contained.push(provenance(draft, self, PROVENANCE)?);
        }
        Ok((contained, author))
    }

    fn encounter(&self, draft: &Draft) -> Result<Option<Reference>, EhrError> {
        let encounter = draft.encounter.as_ref();
        encounter
            .map(|encounter| self.to("Encounter", encounter.as_str()))
            .transpose()
    }
}

/// AI asserted: HL7 AI Transparency on FHIR.
const AI_ASSERTED: Meta = Meta {
    security: [Coding {
        system: "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
        code: "AIAST",
        display: "Artificial Intelligence asserted",
    }],
};

fn composition(draft: &Draft, rules: &DraftRules, service: &str) -> Result<Composition, EhrError> {
    let references = References {
        form: rules.references,
        service,
    };
    let (contained, author) = references.author(draft, rules)?;
    let note = draft.note.expose();
    Ok(Composition {
        resource_type: "Composition",
        meta: AI_ASSERTED,
        contained,
        extension: note.regions.iter().map(assessed_image).collect(),
        identifier: Identifier {
            system: IDENTIFIER_SYSTEM,
            value: draft.reference_code.to_string(),
        },
        status: rules.status.as_str(),
        kind: CodeableConcept::loinc("11488-4", "Consult note"),
        category: [CodeableConcept::loinc("LP173421-1", "Report")],
        subject: references.to("Patient", draft.patient.as_str())?,
        encounter: references.encounter(draft)?,
        date: draft.date.to_string(),
        author,
        relates_to: match rules.addendum {
            AddendumRule::Text => Vec::new(),
            AddendumRule::RelatesTo | AddendumRule::Update => draft.appends.iter().map(appends).collect(),
        },
        title: Block::paragraph(&note.title).text().to_owned(),
        section: [
            section(rules, "18776-5", "Plan of treatment (narrative)", &text(draft, rules)),
            section(rules, "69730-0", "Instructions", &instructions(draft)),
        ],
    })
}

/// The label, who did not write it, the note's sections, the reference code.
fn text(draft: &Draft, rules: &DraftRules) -> Vec<Block> {
    let mut blocks = vec![Block::paragraph(LABEL)];
    if rules.author == AuthorRule::Practitioner {
        blocks.push(Block::paragraph(NOT_BY_THE_AUTHOR));
    }
    // The note's own label, as heading or paragraph of its first section, is the one above.
    let is_said = |block: &Block| block.text() == LABEL || block.text() == NOT_BY_THE_AUTHOR;
    for section in &draft.note.expose().sections {
        let paragraphs: Vec<_> = section
            .paragraphs
            .iter()
            .map(|paragraph| Block::paragraph(paragraph))
            .collect();
        if !paragraphs.is_empty() && paragraphs.iter().all(is_said) {
            continue;
        }
        let heading = std::iter::once(Block::heading(&section.heading));
        blocks.extend(heading.chain(paragraphs).filter(|block| !is_said(block)));
    }
    let code = draft.reference_code.as_str();
    if !blocks.iter().any(|block| block.text().contains(code)) {
        blocks.push(Block::paragraph(&format!("Reference code: {code}")));
    }
    blocks
}

/// Notes for whoever files the draft. Never empty, since a section without text is not valid (cmp-1).
fn instructions(draft: &Draft) -> Vec<Block> {
    let mut blocks: Vec<_> = draft
        .note
        .expose()
        .instructions
        .iter()
        .map(|text| Block::paragraph(text))
        .collect();
    if blocks.iter().all(|block| block.text().is_empty()) {
        blocks.push(Block::paragraph(
            "Draft by AI software: to be reviewed by a clinician before it is filed.",
        ));
    }
    blocks
}

fn section(rules: &DraftRules, code: &'static str, display: &'static str, blocks: &[Block]) -> Section {
    let concept = CodeableConcept::loinc(code, display);
    Section {
        title: display,
        code: CodeableConcept {
            text: rules.text_in_section_code.then(|| narrative::plain(blocks)),
            ..concept
        },
        text: rules.text_in_section_narrative.then(|| Narrative {
            status: "generated",
            div: narrative::xhtml(blocks),
        }),
    }
}

fn assessed_image(region: &NoteRegion) -> Extension {
    let document = Extension::leaf("document", ExtensionValue::String(region.document.to_string()));
    let areas = region.areas.iter().filter_map(area);
    Extension::branch(ASSESSED_IMAGE, std::iter::once(document).chain(areas).collect())
}

/// A rectangle in fractions of the image's sides; none when it is not a rectangle at all.
fn area(area: &NormalisedBox) -> Option<Extension> {
    let sides = [
        ("x", area.x),
        ("y", area.y),
        ("width", area.width),
        ("height", area.height),
    ];
    let finite = sides.iter().all(|(_, side)| side.is_finite());
    let decimal = |(name, side): &(&'static str, f32)| {
        // Adding zero turns a negative zero into zero.
        let rounded = (f64::from(side.clamp(0.0, 1.0)) * 10_000.0).round() / 10_000.0 + 0.0;
        Extension::leaf(name, ExtensionValue::Decimal(rounded))
    };
    finite.then(|| Extension::branch("region", sides.iter().map(decimal).collect()))
}

/// The id of this software where it is contained.
const DEVICE: &str = "skin-assist";

/// This software as a Device, of the type that HL7 AI Transparency on FHIR gives to all kinds of artificial intelligence.
fn device(pipeline: &str) -> Value {
    serde_json::json!({
        "resourceType": "Device",
        "id": DEVICE,
        "type": {
            "coding": [{
                "system": "http://hl7.org/fhir/uv/aitransparency/CodeSystem/AIdeviceTypeCS",
                "code": "Artificial-Intelligence",
            }],
            "text": "AI software",
        },
        "deviceName": [{ "name": "Skin Assist", "type": "user-friendly-name" }],
        "version": [{ "value": pipeline }],
    })
}

/// The earlier draft that an addendum is added to, by its identifier: not every EHR told how it names it.
fn appends(earlier: &ReferenceCode) -> RelatesTo {
    RelatesTo {
        code: "appends",
        target_identifier: Identifier {
            system: IDENTIFIER_SYSTEM,
            value: earlier.to_string(),
        },
    }
}

/// FHIR R4 `Composition`, as far as a draft needs it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Composition {
    resource_type: &'static str,
    meta: Meta,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    contained: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    extension: Vec<Extension>,
    identifier: Identifier,
    status: &'static str,
    #[serde(rename = "type")]
    kind: CodeableConcept,
    category: [CodeableConcept; 1],
    subject: Reference,
    #[serde(skip_serializing_if = "Option::is_none")]
    encounter: Option<Reference>,
    date: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    author: Vec<Reference>,
    title: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    relates_to: Vec<RelatesTo>,
    section: [Section; 2],
}

/// `Composition.relatesTo`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RelatesTo {
    code: &'static str,
    target_identifier: Identifier,
}

#[derive(Debug, Serialize)]
struct Meta {
    security: [Coding; 1],
}

#[derive(Debug, Serialize)]
struct Coding {
    system: &'static str,
    code: &'static str,
    display: &'static str,
}

#[derive(Debug, Serialize)]
struct CodeableConcept {
    coding: [Coding; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl CodeableConcept {
    const fn loinc(code: &'static str, display: &'static str) -> Self {
        Self {
            coding: [Coding {
                system: LOINC,
                code,
                display,
            }],
            text: None,
        }
    }
}

#[derive(Debug, Serialize)]
struct Identifier {
    system: &'static str,
    value: String,
}

#[derive(Debug, Serialize)]
struct Reference {
    reference: String,
}

#[derive(Debug, Serialize)]
struct Section {
    title: &'static str,
    code: CodeableConcept,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Narrative>,
}

#[derive(Debug, Serialize)]
struct Narrative {
    status: &'static str,
    div: String,
}

/// Either parts or a value, never both (ext-1).
#[derive(Debug, Serialize)]
struct Extension {
    url: &'static str,
    #[serde(flatten)]
    content: ExtensionContent,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum ExtensionContent {
    Parts { extension: Vec<Extension> },
    Value(ExtensionValue),
}

#[derive(Debug, Serialize)]
enum ExtensionValue {
    #[serde(rename = "valueString")]
    String(String),
    #[serde(rename = "valueDecimal")]
    Decimal(f64),
}

impl Extension {
    const fn leaf(url: &'static str, value: ExtensionValue) -> Self {
        Self {
            url,
            content: ExtensionContent::Value(value),
        }
    }

    const fn branch(url: &'static str, extension: Vec<Self>) -> Self {
        Self {
            url,
            content: ExtensionContent::Parts { extension },
        }
    }
}
