//! Where a draft comes from: a Provenance inside it (HL7 AI Transparency on FHIR).
//!
//! Inside, so that it is written by the very request that writes the draft: there is never one without the other, a post that is
//! repeated brings no second one, and the version that it is about is the one that it is in (`#`).
//!
//! It names nobody as verifier: nobody has reviewed the draft. Of a prompt it has the hash, never the text.

use serde_json::{Value, json};
use skin_assist_core::{domain::Draft, ports::EhrError};

use super::{AI_ASSERTED, DEVICE, References};

/// `identifier.system` of a model's card; the value is the pack's id and version.
const MODEL_CARD: &str = "https://skin-assist.example/fhir/model-card";

/// `identifier.system` of a prompt; the value is the SHA-256 of the whole prompt, hexadecimal.
const PROMPT_SHA256: &str = "https://skin-assist.example/fhir/prompt-sha256";

/// Its id in a draft.
pub(super) const PROVENANCE: &str = "provenance";

pub(super) fn provenance(draft: &Draft, references: &References<'_>, id: &str) -> Result<Value, EhrError> {
    let mut entities = Vec::new();
    for document in &draft.documents {
        let image = references.to("DocumentReference", document.as_str())?;
        entities.push(json!({ "role": "source", "what": image }));
    }
    // What the draft was derived from besides, known by what it is and not by where.
    let mut derived = |system: &str, value: &str, display: String| {
        let identifier = json!({ "system": system, "value": value });
        entities.push(json!({ "role": "derivation", "what": { "identifier": identifier, "display": display } }));
    };
    for model in &draft.versions.models {
        derived(MODEL_CARD, &model.to_string(), format!("Model card of {model}"));
    }
    // Where the composer wrote the draft after all, nothing of it comes from the prompt.
    if let Some(language) = &draft.versions.language
        && language.fallback.is_none()
    {
        let display = format!("Prompt {} to {}, by its SHA-256", language.prompt, language.model);
        derived(PROMPT_SHA256, &language.prompt_sha256, display);
    }
    let date = draft.date.to_string();
    Ok(json!({
        "resourceType": "Provenance",
        "id": id,
        "target": [{ "reference": "#" }],
        "occurredDateTime": date,
        "recorded": date,
        "reason": [{ "coding": AI_ASSERTED.security }],
        "agent": [{
            "type": {
                "coding": [{
                    "system": "http://terminology.hl7.org/CodeSystem/provenance-participant-type",
                    "code": "author",
                    "display": "Author",
                }],
            },
            "who": { "reference": format!("#{DEVICE}") },
        }],
        "entity": entities,
    }))
}
