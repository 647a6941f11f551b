//! Single values: ranges, names, codes, digests.

use serde::Deserialize;
use skin_assist_core::{
    domain::{Label, is_icd_10_cm, is_snomed_ct},
    wire::is_display,
};

use super::ModelFile;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLabel {
    id: String,
    display: String,
    snomed_ct: String,
    icd_10_cm: Option<String>,
    #[serde(default)]
    must_not_miss: bool,
}

/// A field that does not do, before the pack's name is put to it.
pub(super) struct Wrong {
    pub(super) field: String,
    pub(super) problem: String,
    pub(super) hint: &'static str,
}

pub(super) fn wrong(field: impl Into<String>, problem: impl Into<String>, hint: &'static str) -> Wrong {
    Wrong {
        field: field.into(),
        problem: problem.into(),
        hint,
    }
}

impl RawLabel {
    pub(super) fn check(self, at: &str) -> Result<Label, Wrong> {
        name(&self.id, &format!("{at}.id"))?;
        if self.display.trim().is_empty() {
            return Err(wrong(
                format!("{at}.display"),
                "is empty",
                "what a person reads in the draft",
            ));
        }
        if !is_display(&self.display) {
            return Err(wrong(
                format!("{at}.display"),
                "is no short line",
                "at most 120 characters, none of them a line break or another control character",
            ));
        }
        if !is_snomed_ct(&self.snomed_ct) {
            return Err(wrong(
                format!("{at}.snomed_ct"),
                format!("is {:?}, no SNOMED CT identifier", self.snomed_ct),
                "6 to 18 digits of which the last is a check digit",
            ));
        }
        if let Some(code) = &self.icd_10_cm
            && !is_icd_10_cm(code)
        {
            return Err(wrong(
                format!("{at}.icd_10_cm"),
                format!("is {code:?}, no ICD-10-CM code"),
                "a letter, a digit, a letter or digit, and up to four more after a point",
            ));
        }
        Ok(Label {
            id: self.id,
            display: self.display,
            snomed_ct: self.snomed_ct,
            icd_10_cm: self.icd_10_cm,
            must_not_miss: self.must_not_miss,
        })
    }
}

pub(super) fn required<T>(value: Option<T>, at: &str, field: &str) -> Result<T, Wrong> {
    value.ok_or_else(|| wrong(format!("{at}.{field}"), "is missing", "the model's task needs it"))
}

pub(super) fn absent(at: &str, field: &str, present: bool, hint: &'static str) -> Result<(), Wrong> {
    if present {
        Err(wrong(format!("{at}.{field}"), "does not belong here", hint))
    } else {
        Ok(())
    }
}

pub(super) fn within(value: f32, least: f32, most: f32, field: &str) -> Result<(), Wrong> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(wrong(
        field,
        format!("is {value}, not in {least} to {most}"),
        "a number in that range",
    ))
}

/// Names end up in tables, drafts and logs.
pub(super) fn name(value: &str, field: &str) -> Result<(), Wrong> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.' | '+');
    if !value.is_empty() && value.len() <= 100 && value.chars().all(allowed) {
        return Ok(());
    }
    Err(wrong(
        field,
        format!("is {value:?}"),
        "1 to 100 letters, digits, '-', '_', '.' or '+'",
    ))
}

pub(super) fn model_file(name: String, sha256: String, output: String, at: &str) -> Result<ModelFile, Wrong> {
    is_file(&name, &format!("{at}.file"))?;
    is_digest(&sha256, &format!("{at}.sha256"))?;
    Ok(ModelFile { name, sha256, output })
}

/// The name of a file in the pack's own folder.
pub(super) fn is_file(name: &str, field: &str) -> Result<(), Wrong> {
    let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', ':', '\0']);
    if plain {
        return Ok(());
    }
    Err(wrong(
        field,
        format!("is {name:?}"),
        "the name of a file beside the manifest",
    ))
}

pub(super) fn is_digest(sha256: &str, field: &str) -> Result<(), Wrong> {
    if sha256.len() == 64 && sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(());
    }
    Err(wrong(
        field,
        format!("is {sha256:?}"),
        "64 hexadecimal digits in small letters, as sha256sum prints them",
    ))
}
