//! `GET Encounter` and, where it is offered, `GET Encounter/{id}`.
//!
//! Results are in the order in which the visits were opened, unless `_sort` or a quirk says otherwise; the first vendor
//! promises no order at all.

use serde_json::{Value, json};
use skin_assist_core::time::Timestamp;

use crate::{
    dialect::EncounterSearchGranularity,
    reply::Refusal,
    specification::EncounterStatus,
    state::{Encounter, Firm, Horizon, State},
};

use super::{
    Call,
    answer::Answer,
    bundle::{Listing, SortKeys, on_page},
    referenced_ids,
};

impl State {
    pub(crate) fn search_encounters(&self, now: Timestamp, prefix: &str, call: &Call) -> Result<Answer, Refusal> {
        let mut rules = self.options.dialect.encounters.clone();
        if self.options.encounter_search == EncounterSearchGranularity::Instant {
            rules.granularity = EncounterSearchGranularity::Instant;
        }
        call.parameters.only(&rules.parameters)?;
        self.check_session(now, &call.parameters)?;
        let parameters = call.parameters.without(&self.quirks.ignored_parameters);
        let base = self.fhir_base(prefix);
        let page = parameters.page(&rules)?;
        let sort = parameters.sort()?;
        let last_updated = parameters.dates("_lastUpdated", &rules, self.calendar())?;
        let dates = parameters.dates("date", &rules, self.calendar())?;
        let ids = parameters.any("_id", &rules.lists)?;
        let patients = parameters
            .any("patient", &rules.lists)?
            .map(|references| referenced_ids(&base, "Patient", &references));
        let statuses = parameters
            .any("status", &rules.lists)?
            .map(|codes| {
                let status = |code: &String| {
                    EncounterStatus::from_code(code).ok_or_else(|| Refusal::bad(format!("unknown status {code:?}")))
                };
                codes.iter().map(status).collect::<Result<Vec<_>, _>>()
            })
            .transpose()?;
        let Some(firm) = self.firm(prefix) else {
            return Err(Refusal::not_found("no such firm"));
        };
        let horizon = self.horizon(now);
        let mut matches: Vec<(&Encounter, usize)> = firm
            .encounters
            .all()
            .iter()
            .filter(|encounter| encounter.removed_at.is_none())
            .filter_map(|encounter| encounter.as_seen(horizon))
            .filter(|(encounter, _)| {
                let updated = self.shown(encounter.last_updated);
                let opened = self.shown(encounter.opened_at);
                statuses
                    .as_ref()
                    .is_none_or(|statuses| statuses.contains(&encounter.status))
                    && ids.as_ref().is_none_or(|ids| ids.contains(&encounter.id))
                    && patients.as_ref().is_none_or(|ids| ids.contains(&encounter.patient))
                    && last_updated.iter().all(|condition| condition.holds(updated))
                    && dates.iter().all(|condition| condition.holds(opened))
            })
            .collect();
        self.put_in_order(&mut matches, sort, |(encounter, _)| SortKeys {
            id: &encounter.id,
            last_updated: encounter.last_updated,
            date: encounter.opened_at,
        });
        let entries = on_page(&matches, self.page_shown(page, matches.len()))
            .into_iter()
            .map(|(encounter, version)| {
                (
                    self.address(prefix, "Encounter", &encounter.id),
                    self.encounter_resource(firm, encounter, version),
                )
            })
            .collect();
        let listing = Listing {
            now,
            firm: prefix,
            resource: "Encounter",
            parameters: &call.parameters,
            page,
            matches: matches.len(),
            exact_totals: call.exact_totals(),
        };
        Ok(Answer::ok(self.searchset(&listing, entries)))
    }

    pub(crate) fn read_encounter(&self, prefix: &str, id: &str) -> Result<Answer, Refusal> {
        let not_found = || Refusal::not_found(format!("Encounter {id} is not known"));
        let firm = self.firm(prefix).ok_or_else(not_found)?;
        let encounter = firm.encounters.get(id).filter(|found| found.removed_at.is_none());
        let (encounter, version) = encounter
            .and_then(|found| found.as_seen(Horizon::EVERYTHING))
            .ok_or_else(not_found)?;
        Ok(Answer::ok(self.encounter_resource(firm, encounter, version)))
    }

    fn encounter_resource(&self, firm: &Firm, encounter: &Encounter, version: usize) -> Value {
        let prefix = &firm.spec.prefix;
        let mut period = json!({ "start": self.shown(encounter.opened_at) });
        if let Some(finished_at) = encounter.finished_at {
            period["end"] = json!(self.shown(finished_at));
        }
        let mut resource = json!({
            "resourceType": "Encounter",
            "id": encounter.id,
            "meta": {},
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
        });
        self.stamp(&mut resource, encounter.last_updated, version);
        resource
    }
}
