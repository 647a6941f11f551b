//! Tolerant views on FHIR JSON: everything is optional, unknown elements and codes are passed over, and a wrong type is
//! the same as an absent element. One odd element must not lose a page, so no full model of FHIR is used for reading.

use std::{borrow::Cow, str::FromStr};

use serde_json::Value;
use skin_assist_core::{
    domain::{
        AgeBand, CategoryCode, DocumentCategory, DocumentId, DocumentStatus, DocumentSummary, Encounter, EncounterId,
        EncounterStatus, PatientFacts, PatientId, PractitionerId, Sex,
    },
    ports::{DocumentQuery, Visit},
    time::Timestamp,
};

use crate::{
    profile::{DocumentRules, DocumentSearch, EncounterRules},
    urls::reference_id,
};

/// A place in a JSON document that may not exist.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a>(Option<&'a Value>);

impl<'a> View<'a> {
    pub(crate) const fn of(value: &'a Value) -> Self {
        Self(Some(value))
    }

    pub(crate) fn get(self, key: &str) -> Self {
        Self(self.0.and_then(|value| value.get(key)))
    }

    /// The elements of a list. A lone value counts as a list of one, as some servers write it.
    pub(crate) fn each(self, key: &str) -> impl Iterator<Item = View<'a>> + use<'a> {
        let value = self.get(key).0;
        let list = match value {
            Some(Value::Array(list)) => list.as_slice(),
            Some(Value::Null) | None => &[],
            Some(lone) => std::slice::from_ref(lone),
        };
        list.iter().map(View::of)
    }

    /// What is there, as it is.
    pub(crate) fn value(self, key: &str) -> Option<&'a Value> {
        self.get(key).0
    }

    /// A text, or a number as text: some servers write ids as numbers.
    pub(crate) fn text(self, key: &str) -> Option<Cow<'a, str>> {
        match self.get(key).0? {
            Value::String(text) => Some(Cow::Borrowed(text)),
            Value::Number(number) => Some(Cow::Owned(number.to_string())),
            _ => None,
        }
    }

    pub(crate) fn unsigned(self, key: &str) -> Option<u64> {
        match self.get(key).0? {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Whether it is this code, in whatever case.
    pub(crate) fn is(self, code: &str) -> bool {
        self.0
            .and_then(Value::as_str)
            .is_some_and(|text| text.eq_ignore_ascii_case(code))
    }

    fn id<T: FromStr>(self) -> Option<T> {
        self.text("id")?.parse().ok()
    }

    pub(crate) fn instant(self, key: &str) -> Option<Timestamp> {
        Timestamp::parse_rfc3339(&self.text(key)?).ok()
    }

    /// The id that a Reference element leads to.
    pub(crate) fn reference<T: FromStr>(self, key: &str, resource: &str) -> Option<T> {
        reference_id(&self.get(key).text("reference")?, resource)?.parse().ok()
    }

    /// The codes of a list of CodeableConcepts.
    pub(crate) fn codes(self, key: &str) -> impl Iterator<Item = Cow<'a, str>> + use<'a> {
        self.each(key)
            .flat_map(|concept| concept.each("coding"))
            .filter_map(|coding| coding.text("code"))
    }
}

/// An encounter; none without an id or a patient.
pub(crate) fn encounter(resource: View<'_>, rules: &EncounterRules) -> Option<Encounter> {
    let treats = |participant: &View<'_>| {
        let mut codes = participant.codes("type");
        codes.any(|code| {
            rules
                .treating_participant
                .iter()
                .any(|treating| treating.eq_ignore_ascii_case(&code))
        })
    };
    let practitioner = |participant: View<'_>| -> Option<PractitionerId> {
        // R4 calls it individual, R5 actor.
        participant
            .reference("individual", "Practitioner")
            .or_else(|| participant.reference("actor", "Practitioner"))
    };
    Some(Encounter {
        id: resource.id::<EncounterId>()?,
        patient: resource.reference::<PatientId>("subject", "Patient")?,
        practitioner: resource.each("participant").filter(treats).find_map(practitioner),
        status: status(resource),
        last_updated: resource.get("meta").instant("lastUpdated"),
    })
}

/// What is not known to be over is open: watching too long costs calls, watching too short loses photos.
pub(crate) fn status(encounter: View<'_>) -> EncounterStatus {
    match encounter.text("status").as_deref() {
        Some("planned") => EncounterStatus::Planned,
        // completed and discharged are R5's.
        Some("finished" | "completed" | "discharged") => EncounterStatus::Finished,
        Some("cancelled" | "entered-in-error" | "discontinued") => EncounterStatus::Cancelled,
        _ => EncounterStatus::Open,
    }
}

/// What an entry of a search turns out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry<T> {
    Item(T),
    /// It belongs to the answer, and is none of our business.
    PassedOver,
    /// It is of one of several visits that were asked for, and does not say of which.
    OfSomeVisit,
    /// Another patient's or another encounter's: the server ignores what it was asked.
    NotAskedFor,
    Unreadable,
}

/// A document of the query's visits.
pub(crate) fn document(resource: View<'_>, query: &DocumentQuery, rules: &DocumentRules) -> Entry<DocumentSummary> {
    let Some(id) = resource.id::<DocumentId>() else {
        return Entry::Unreadable;
    };
    let patient = resource.reference::<PatientId>("subject", "Patient");
    let attached_at = resource.instant("date");
    // R4 has it in context, and several may be named; R5 has it at the top, among others.
    let mut named = resource
        .get("context")
        .each("encounter")
        .filter_map(|encounter| {
            reference_id(&encounter.text("reference")?, "Encounter")?
                .parse::<EncounterId>()
                .ok()
        })
        .peekable();
    let names_none = named.peek().is_none();
    let is_of = |visit: &Visit| patient.as_ref().is_none_or(|patient| *patient == visit.patient);
    let encounters = match query {
        DocumentQuery::Visit(visit) if !is_of(visit) => return Entry::NotAskedFor,
        DocumentQuery::Visit(visit) if names_none => match rules.search {
            // All of the patient's were asked for. One that says neither to which visit nor to which day it belongs may
            // be years old; whether one that is dated can be of this visit, the visit's time says.
            DocumentSearch::Patient if attached_at.is_none() => return Entry::PassedOver,
            DocumentSearch::Patient => Vec::new(),
            _ => vec![visit.encounter.clone()],
        },
        DocumentQuery::Visit(visit) => match (named.any(|named| named == visit.encounter), rules.search) {
            (true, _) => vec![visit.encounter.clone()],
            (false, DocumentSearch::Patient) => return Entry::PassedOver,
            (false, _) => return Entry::NotAskedFor,
        },
        DocumentQuery::Visits(visits) => {
            let asked = |named: EncounterId| visits.iter().find(|visit| visit.encounter == named);
            match named.find_map(asked) {
                Some(visit) if is_of(visit) => vec![visit.encounter.clone()],
                // Whose it is, only a search for each visit alone can tell.
                None if names_none => return Entry::OfSomeVisit,
                _ => return Entry::NotAskedFor,
            }
        }
        // Nobody can say whose it is; a profile of an EHR whose documents name no visits has no such search.
        DocumentQuery::ChangedSince(_) if names_none => return Entry::PassedOver,
        DocumentQuery::ChangedSince(_) => named.collect(),
    };
    let status = if resource.get("status").is("entered-in-error") || resource.get("docStatus").is("entered-in-error") {
        DocumentStatus::EnteredInError
    } else if resource.get("status").is("superseded") {
        DocumentStatus::Superseded
    } else {
        DocumentStatus::Current
    };
    let in_attachment = || {
        let mut attachments = resource.each("content").map(|content| content.get("attachment"));
        attachments.find_map(|attachment| media_type(&attachment.text("contentType")?))
    };
    let in_type_text = || media_type(&resource.get("type").text("text")?);
    let content_type = rules.entries_carry_attachment.then(in_attachment).flatten();
    Entry::Item(DocumentSummary {
        id,
        patient,
        encounters,
        status,
        categories: resource
            .codes("category")
            .filter_map(|code| CategoryCode::from_str(&code).ok())
            .collect(),
        content_type: content_type.or_else(|| rules.media_type_in_type_text.then(in_type_text).flatten()),
        attached_at,
        last_updated: resource.get("meta").instant("lastUpdated"),
    })
}

/// A MIME type without parameters, lower case; none for other texts ("Clinical photo / left arm").
pub(crate) fn media_type(text: &str) -> Option<String> {
    let essence = text.split(';').next()?.trim().to_ascii_lowercase();
    let (kind, subtype) = essence.split_once('/')?;
    let token = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "!#$&-^_.+".contains(c))
    };
    (token(kind) && token(subtype)).then_some(essence)
}

/// Where a document's bytes are said to be.
pub(crate) enum Attachment<'a> {
    /// Here, in base64.
    Data(Cow<'a, str>),
    Url {
        url: Cow<'a, str>,
        size: Option<u64>,
    },
}

/// The attachment to take: the first that claims to be an image, or else the first that claims nothing, or else the first
/// that has anything. Where one has both data and a URL they are the same by definition, and the data is here already.
pub(crate) fn attachment(document: View<'_>) -> Option<Attachment<'_>> {
    let rank = |attachment: View<'_>| match attachment.text("contentType").as_deref().and_then(media_type) {
        Some(media_type) if media_type.starts_with("image/") => 0,
        None => 1,
        Some(_) => 2,
    };
    let with_bytes = document.each("content").filter_map(|content| {
        let attachment = content.get("attachment");
        let given = |key| attachment.text(key).filter(|text| !text.trim().is_empty());
        let place = match given("data") {
            Some(data) => Attachment::Data(data),
            None => Attachment::Url {
                url: given("url")?,
                size: attachment.unsigned("size"),
            },
        };
        Some((rank(attachment), place))
    });
    with_bytes
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, attachment)| attachment)
}

/// Age band and sex. The birth date goes no further than this function.
pub(crate) fn patient_facts(patient: View<'_>, now: Option<Timestamp>) -> PatientFacts {
    let sex = match patient
        .text("gender")
        .map(|gender| gender.to_ascii_lowercase())
        .as_deref()
    {
        Some("female") => Some(Sex::Female),
        Some("male") => Some(Sex::Male),
        Some("other") => Some(Sex::Other),
        _ => None,
    };
    let age = patient
        .text("birthDate")
        .zip(now)
        .and_then(|(birth, now)| age_band(&birth, now));
    PatientFacts {
        age,
        sex,
        ..PatientFacts::default()
    }
}

/// The band of someone born on that day, month or year; none when a partial date leaves two bands possible.
fn age_band(birth: &str, now: Timestamp) -> Option<AgeBand> {
    const OLDEST: i16 = 130;
    let today = jiff::Timestamp::from_millisecond(now.as_millis())
        .ok()?
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    let number = |text: Option<&str>| text.map(str::parse::<i8>).transpose().ok();
    let mut parts = birth.split('T').next()?.splitn(3, '-');
    let year: i16 = parts.next()?.parse().ok()?;
    let (month, day) = (number(parts.next())?, number(parts.next())?);
    let first = jiff::civil::Date::new(year, month.unwrap_or(1), day.unwrap_or(1)).ok()?;
    let last = match (month, day) {
        (_, Some(_)) => first,
        (Some(_), None) => first.last_of_month(),
        (None, None) => first.last_of_year(),
    };
    let band = |born: jiff::civil::Date| {
        let had_birthday = (today.month(), today.day()) >= (born.month(), born.day());
        let years = today.year() - born.year() - i16::from(!had_birthday);
        (0..=OLDEST)
            .contains(&years)
            .then(|| u32::try_from(years).map(AgeBand::of_years).ok())
            .flatten()
    };
    // Born this very year, not necessarily before today.
    let youngest = band(last.min(today))?;
    (band(first)? == youngest && first <= today).then_some(youngest)
}

/// The entries of a value set: what it is composed of, or what it expands to, each code once.
pub(crate) fn categories(value_set: View<'_>) -> Vec<DocumentCategory> {
    fn collect<'a>(concepts: impl Iterator<Item = View<'a>>, into: &mut Vec<DocumentCategory>) {
        for concept in concepts {
            if let Some(code) = concept.text("code").and_then(|code| CategoryCode::from_str(&code).ok())
                && !into.iter().any(|known| known.code == code)
            {
                let display = concept.text("display").filter(|display| !display.trim().is_empty());
                let display = display.map_or_else(|| code.to_string(), Cow::into_owned);
                into.push(DocumentCategory { code, display });
            }
            let nested: Vec<_> = concept.each("contains").collect();
            collect(nested.into_iter(), into);
        }
    }
    let mut found = Vec::new();
    collect(value_set.get("expansion").each("contains"), &mut found);
    collect(
        value_set
            .get("compose")
            .each("include")
            .flat_map(|include| include.each("concept")),
        &mut found,
    );
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn ages_by_the_servers_clock() {
        let now = at("2026-01-05T10:00:00Z");
        for (birth, expected) in [
            ("2026-01-05", Some(AgeBand::Infant)),
            ("2024-01-06", Some(AgeBand::Infant)),
            ("2024-01-05", Some(AgeBand::Child)),
            ("1986-01-05", Some(AgeBand::MiddleAged)),
            ("1986-01-06", Some(AgeBand::YoungAdult)),
            ("1950", Some(AgeBand::Older)),
            ("1950-07", Some(AgeBand::Older)),
            ("2026", Some(AgeBand::Infant)),
            // 39 or 40 years.
            ("1986-01", None),
            ("1985", Some(AgeBand::MiddleAged)),
            ("1986", None),
            ("2026-01-06", None),
            ("2030", None),
            ("1800-01-01", None),
            ("1986-02-30", None),
            ("unknown", None),
            ("", None),
        ] {
            assert_eq!(age_band(birth, now), expected, "{birth}");
        }
    }

    #[test]
    fn sex_as_far_as_it_is_known() {
        for (gender, expected) in [
            ("female", Some(Sex::Female)),
            ("Male", Some(Sex::Male)),
            ("other", Some(Sex::Other)),
            ("unknown", None),
        ] {
            let patient = json!({ "gender": gender, "birthDate": "1950-01-01" });
            assert_eq!(
                patient_facts(View::of(&patient), None),
                PatientFacts {
                    sex: expected,
                    ..PatientFacts::default()
                }
            );
        }
    }

    #[test]
    fn media_types_and_other_texts() {
        assert_eq!(media_type("image/jpeg").as_deref(), Some("image/jpeg"));
        assert_eq!(
            media_type(" Image/SVG+xml; charset=utf-8").as_deref(),
            Some("image/svg+xml")
        );
        for text in ["Clinical photo", "left / right", "photo/", "/png", ""] {
            assert_eq!(media_type(text), None, "{text}");
        }
    }

    #[test]
    fn value_sets_of_both_forms() {
        let set = json!({
            "compose": { "include": [{ "concept": [{ "code": "12", "display": "Lesion photo" }, { "code": 13 }, {}] }] },
            "expansion": { "contains": [{ "code": "12", "display": "Lesion photo" },
                { "abstract": true, "contains": [{ "code": "14", "display": "Rash" }] }] },
        });
        let found = categories(View::of(&set));
        let codes: Vec<_> = found
            .iter()
            .map(|entry| (entry.code.as_str(), entry.display.as_str()))
            .collect();
        assert_eq!(codes, [("12", "Lesion photo"), ("14", "Rash"), ("13", "13")]);
    }
}
