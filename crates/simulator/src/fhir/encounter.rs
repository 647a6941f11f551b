//! `GET Encounter`.
//!
//! Results are in the order in which the visits were opened; no `_sort` is offered. The vendor promises no order at all.

use serde_json::{Value, json};

use crate::{
    reply::Refusal,
    specification::EncounterStatus,
    state::{Encounter, Firm, State},
};

use super::{
    bundle::{on_page, searchset},
    parameters::Parameters,
    referenced_id,
};

/// The most entries on a page.
const MAX_COUNT: usize = 50;

impl State {
    pub(crate) fn search_encounters(
        &self,
        prefix: &str,
        parameters: &Parameters,
        exact_totals: bool,
    ) -> Result<Value, Refusal> {
        parameters.only(&["_count", "page", "patient", "status", "date", "_lastUpdated"])?;
        let base = self.fhir_base(prefix);
        let page = parameters.page(MAX_COUNT)?;
        let granularity = self.options.encounter_search;
        let last_updated = parameters.dates("_lastUpdated", granularity)?;
        let dates = parameters.dates("date", granularity)?;
        let patient = parameters
            .one("patient")?
            .map(|reference| referenced_id(&base, "Patient", reference).unwrap_or_default());
        let status = parameters
            .one("status")?
            .map(|code| {
                EncounterStatus::from_code(code).ok_or_else(|| Refusal::bad(format!("unknown status {code:?}")))
            })
            .transpose()?;
        let Some(firm) = self.firm(prefix) else {
            return Err(Refusal::not_found("no such firm"));
        };
        let matches: Vec<&Encounter> = firm
            .encounters
            .all()
            .iter()
            .filter(|encounter| {
                status.is_none_or(|status| encounter.status == status)
                    && patient.as_ref().is_none_or(|id| encounter.patient == *id)
                    && last_updated
                        .iter()
                        .all(|condition| condition.holds(encounter.last_updated))
                    && dates.iter().all(|condition| condition.holds(encounter.opened_at))
            })
            .collect();
        let entries = on_page(&matches, page)
            .into_iter()
            .map(|encounter| {
                (
                    self.reference(prefix, "Encounter", &encounter.id),
                    self.encounter_resource(firm, encounter),
                )
            })
            .collect();
        Ok(searchset(
            &format!("{base}/Encounter"),
            parameters,
            page,
            matches.len(),
            exact_totals,
            entries,
        ))
    }

    fn encounter_resource(&self, firm: &Firm, encounter: &Encounter) -> Value {
        let prefix = &firm.spec.prefix;
        let mut period = json!({ "start": encounter.opened_at });
        if let Some(finished_at) = encounter.finished_at {
            period["end"] = json!(finished_at);
        }
        json!({
            "resourceType": "Encounter",
            "id": encounter.id,
            "meta": { "lastUpdated": encounter.last_updated },
            "status": encounter.status.code(),
            "class": {
                "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode",
                "code": "AMB",
                "display": "ambulatory",
            },
            "subject": { "reference": self.reference(prefix, "Patient", &encounter.patient) },
            "participant": [{
                "type": [{
                    "coding": [{
                        "system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType",
                        "code": "PPRF",
                        "display": "primary performer",
                    }],
                }],
                "individual": {
                    "reference": self.reference(prefix, "Practitioner", &encounter.practitioner),
                    "display": firm.practitioner_name(&encounter.practitioner),
                },
            }],
            "period": period,
        })
    }
}
