//! A draft that is added to an earlier one, where the EHR allows that.
//!
//! What was read from the chart stays as it is; the draft's sections, regions and Provenance come behind, and the date is its. The earlier one keeps its identifier, and the code of the one that was added stands in its text: by
//! that it is recognised.

use serde_json::Value;
use skin_assist_core::{domain::Draft, ports::EhrError};

use super::{Composition, DEVICE, PROVENANCE, References, composition, provenance};
use crate::{
    profile::{DraftRules, ProvenanceRule},
    view::View,
};

/// Whether a resource has the draft of this reference code in it.
pub(crate) fn has(resource: &Value, code: &str) -> bool {
    match resource {
        Value::String(text) => text.contains(code),
        Value::Array(values) => values.iter().any(|value| has(value, code)),
        Value::Object(fields) => fields.values().any(|value| has(value, code)),
        _ => false,
    }
}

/// The earlier draft, as it was read, with this one added.
pub(crate) fn updated(earlier: &str, draft: &Draft, rules: &DraftRules, service: &str) -> Result<Vec<u8>, EhrError> {
    let unwritable = |_| EhrError::Malformed {
        what: "the draft cannot be written as JSON",
    };
    let mut resource: Value = serde_json::from_str(earlier).map_err(unwritable)?;
    let references = References {
        form: rules.references,
        service,
    };
    let Composition {
        section,
        extension,
        date,
        ..
    } = composition(draft, rules, service)?;
    let mut contained = Vec::new();
    if rules.provenance == ProvenanceRule::Contained {
        let known = View::of(&resource);
        if !known.each("contained").any(|found| found.get("id").is(DEVICE)) {
            contained.push(super::device(&draft.versions.pipeline));
        }
        let id = format!("{PROVENANCE}-{}", draft.reference_code);
        contained.push(provenance(draft, &references, &id)?);
    }
    append(&mut resource, "contained", contained)?;
    append(
        &mut resource,
        "extension",
        values(extension.iter()).map_err(unwritable)?,
    )?;
    append(&mut resource, "section", values(section.iter()).map_err(unwritable)?)?;
    resource["date"] = Value::String(date);
    serde_json::to_vec(&resource).map_err(unwritable)
}

fn values<'a, T: serde::Serialize + 'a>(of: impl Iterator<Item = &'a T>) -> serde_json::Result<Vec<Value>> {
    of.map(serde_json::to_value).collect()
}

/// Adds to a list, which is made where there is none.
fn append(resource: &mut Value, list: &'static str, further: Vec<Value>) -> Result<(), EhrError> {
    if further.is_empty() {
        return Ok(());
    }
    let malformed = EhrError::Malformed {
        what: "the draft in the chart is not a Composition",
    };
    let fields = resource.as_object_mut().ok_or(malformed.clone())?;
    let known = fields.entry(list).or_insert_with(|| Value::Array(Vec::new()));
    known.as_array_mut().ok_or(malformed)?.extend(further);
    Ok(())
}
