//! Earlier results of tissue: Observations of the laboratory.

use serde_json::{Value, json};
use skin_assist_core::time::Timestamp;

use crate::{
    dialect::{EncounterSearchGranularity, SearchRules},
    reply::Refusal,
    specification::{Error, ResultSpec},
    state::{LaboratoryResult, State},
};

use super::{Call, answer::Answer, bundle::Listing, bundle::on_page, referenced_id};

const SNOMED_CT: &str = "http://snomed.info/sct";
const CATEGORIES: &str = "http://terminology.hl7.org/CodeSystem/observation-category";

/// How results are searched, where they are.
pub(crate) fn observation_search() -> SearchRules {
    SearchRules {
        parameters: vec!["_count", "page", "_id", "patient", "category"],
        lists: vec!["_id", "category"],
        granularity: EncounterSearchGranularity::Instant,
        prefixes: Vec::new(),
        max_count: 100,
        clamps_count: true,
        default_count: 20,
    }
}

impl State {
    pub(crate) fn file_result(&mut self, now: Timestamp, prefix: &str, spec: ResultSpec) -> Result<(), Error> {
        let firm = self.firm_mut(prefix)?;
        let id = format!("result-{}", firm.results.len() + 1);
        let filed_at = now;
        firm.results.push(LaboratoryResult { id, spec, filed_at });
        Ok(())
    }

    pub(crate) fn search_observations(&self, now: Timestamp, prefix: &str, call: &Call) -> Result<Answer, Refusal> {
        let rules = observation_search();
        call.parameters.only(&rules.parameters)?;
        self.check_session(now, &call.parameters)?;
        let page = call.parameters.page(&rules)?;
        let firm = self.firm(prefix).ok_or_else(|| Refusal::not_found("no such firm"))?;
        let base = self.fhir_base(prefix);
        let patient = call.parameters.one("patient")?;
        let patient = patient.ok_or_else(|| Refusal::bad("patient is to be given"))?;
        let patient = referenced_id(&base, "Patient", patient).unwrap_or_default();
        let ids = call.parameters.any("_id", &rules.lists)?;
        let categories = call.parameters.tokens("category", &rules.lists)?;
        let asked = |result: &&LaboratoryResult| {
            let of_category = |token: &super::parameters::Token| token.matches(CATEGORIES, "laboratory");
            result.spec.patient == patient
                && ids.as_ref().is_none_or(|ids| ids.contains(&result.id))
                && categories.as_ref().is_none_or(|tokens| tokens.iter().any(of_category))
        };
        let matches: Vec<&LaboratoryResult> = firm.results.iter().filter(asked).collect();
        let listed = on_page(&matches, self.page_shown(page, matches.len()));
        let entries = listed.into_iter().map(|result| {
            let address = self.address(prefix, "Observation", &result.id);
            (address, self.observation(prefix, result))
        });
        Ok(Answer::ok(self.searchset(
            &Listing {
                now,
                firm: prefix,
                resource: "Observation",
                parameters: &call.parameters,
                page,
                matches: matches.len(),
                exact_totals: call.exact_totals(),
            },
            entries.collect(),
        )))
    }

    fn observation(&self, prefix: &str, result: &LaboratoryResult) -> Value {
        let concept = |system: &str, code: &str| json!({ "coding": [{ "system": system, "code": code }] });
        let mut resource = json!({
            "resourceType": "Observation",
            "id": result.id,
            "meta": {},
            "status": "final",
            "category": [concept(CATEGORIES, "laboratory")],
            "code": { "text": "Pathology, final diagnosis" },
            "subject": { "reference": self.reference(prefix, "Patient", &result.spec.patient) },
            "effectiveDateTime": result.filed_at.to_string(),
            "valueCodeableConcept": concept(SNOMED_CT, &result.spec.finding),
            "bodySite": concept(SNOMED_CT, &result.spec.site),
            "note": [{ "text": result.spec.text }],
        });
        resource["valueCodeableConcept"]["text"] = json!(result.spec.text);
        self.stamp(&mut resource, result.filed_at, 1);
        resource
    }
}
