//! Drafts: made, found again, never deduplicated unless the client asks for it.
//!
//! What is posted twice is there twice; `If-None-Exist` prevents that where the dialect heeds it. Elements that the EHR
//! does not know are kept as they came.

use http::StatusCode;
use serde_json::{Value, json};
use skin_assist_core::time::Timestamp;

use crate::{
    dialect::{DraftTarget, EncounterSearchGranularity, SearchRules},
    ehr::Prepared,
    reply::Refusal,
    report::Placement,
    specification::EncounterStatus,
    state::{Firm, State, StoredDraft},
};

use super::{
    Call, answer::Answer, bundle::Listing, bundle::on_page, composition, note, parameters::Parameters, referenced_id,
    validation,
};

/// How Compositions are searched, where they are.
pub(crate) fn composition_search() -> SearchRules {
    SearchRules {
        parameters: vec![
            "_count",
            "page",
            "_id",
            "identifier",
            "patient",
            "subject",
            "encounter",
            "status",
        ],
        lists: vec!["_id", "identifier"],
        granularity: EncounterSearchGranularity::Instant,
        prefixes: Vec::new(),
        max_count: 100,
        clamps_count: true,
        default_count: 20,
    }
}

impl State {
    pub(crate) fn create_draft(
        &mut self,
        now: Timestamp,
        prefix: &str,
        target: DraftTarget,
        call: &Call,
    ) -> Result<Prepared, Refusal> {
        let media_type = call.header("content-type").unwrap_or_default();
        if !["application/fhir+json", "application/json"]
            .iter()
            .any(|known| media_type.starts_with(known))
        {
            return Err(Refusal {
                status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
                ..Refusal::bad("the body is to be application/fhir+json")
            });
        }
        let resource: Value = serde_json::from_slice(call.body)
            .map_err(|error| Refusal::bad(format!("the body is not JSON: {error}")))?;
        let condition = call
            .header("if-none-exist")
            .filter(|_| self.options.dialect.drafts.conditional_create)
            .map(|query| Parameters::of(query.trim_start_matches('?')));
        let answer = self.create_once(now, prefix, target, resource.clone(), condition.as_ref())?;
        if answer.status != StatusCode::CREATED {
            return Ok(Prepared::Answer(answer));
        }
        if self.quirks.take_duplicate_post() {
            self.create_once(now, prefix, target, resource, condition.as_ref())?;
        }
        if self.faults.take_dropped_reply() {
            return Ok(Prepared::Dropped);
        }
        Ok(Prepared::Answer(answer))
    }

    fn create_once(
        &mut self,
        now: Timestamp,
        prefix: &str,
        target: DraftTarget,
        mut resource: Value,
        condition: Option<&Parameters>,
    ) -> Result<Answer, Refusal> {
        let base = self.fhir_base(prefix);
        let firm = self.firm(prefix).ok_or_else(|| Refusal::not_found("no such firm"))?;
        if let Some(condition) = condition {
            condition.only(&composition_search().parameters)?;
            let existing: Vec<&StoredDraft> = self.drafts_matching(firm, target, condition)?;
            match existing.as_slice() {
                [] => {}
                [draft] => {
                    return Ok(Answer {
                        location: Some(self.address(prefix, target.name(), &draft.id)),
                        ..Answer::ok(self.draft_resource(draft))
                    });
                }
                _ => {
                    return Err(Refusal {
                        status: StatusCode::PRECONDITION_FAILED,
                        ..Refusal::bad("several resources match If-None-Exist")
                    });
                }
            }
        }
        if resource["resourceType"] != target.name() {
            return Err(Refusal::bad(format!("the resourceType is to be {}", target.name())));
        }
        let rules = &self.options.dialect.drafts;
        let links = match target {
            DraftTarget::Composition => composition::validate(rules, &base, firm, &resource)?,
            DraftTarget::DocumentReference => note::validate(rules, &base, firm, &resource)?,
        };
        let number = firm.drafts.iter().filter(|draft| draft.target == target).count() + 1;
        let id = match target {
            DraftTarget::Composition => format!("{}", 700_000 + number),
            DraftTarget::DocumentReference => format!("note|{number}"),
        };
        let placement = links
            .encounter
            .as_deref()
            .and_then(|encounter| firm.encounters.get(encounter))
            .map_or(Placement::ChartNote, |encounter| match encounter.status {
                EncounterStatus::Finished | EncounterStatus::Cancelled | EncounterStatus::EnteredInError => {
                    Placement::ChartNote
                }
                _ => Placement::VisitNote,
            });
        resource["id"] = json!(id);
        if !resource["meta"].is_object() {
            resource["meta"] = json!({});
        }
        let identifier = validation::identifiers(&resource)
            .next()
            .map(|(_, value)| value.to_owned());
        let draft = StoredDraft {
            target,
            id: id.clone(),
            patient: links.patient,
            posted_at: now,
            identifier,
            placement,
            encounter: links.encounter,
            images: validation::images(&resource),
            provenance: validation::provenance_sources(&base, &resource),
            resource,
        };
        let answer = Answer {
            status: StatusCode::CREATED,
            location: Some(self.address(prefix, target.name(), &id)),
            ..Answer::ok(self.draft_resource(&draft))
        };
        if let Ok(firm) = self.firm_mut(prefix) {
            firm.drafts.push(draft);
        }
        Ok(answer)
    }

    /// A draft as it is handed out.
    pub(crate) fn draft_resource(&self, draft: &StoredDraft) -> Value {
        let mut resource = draft.resource.clone();
        self.stamp(&mut resource, draft.posted_at, 1);
        resource
    }

    /// Whether a search that is made now finds this draft.
    pub(crate) fn is_draft_visible(&self, now: Timestamp, draft: &StoredDraft) -> bool {
        let delay = self.quirks.draft_visibility_delay;
        delay.is_zero() || draft.posted_at + delay <= now
    }

    fn drafts_matching<'firm>(
        &self,
        firm: &'firm Firm,
        target: DraftTarget,
        parameters: &Parameters,
    ) -> Result<Vec<&'firm StoredDraft>, Refusal> {
        let lists = composition_search().lists;
        let base = self.fhir_base(&firm.spec.prefix);
        let ids = parameters.any("_id", &lists)?;
        let identifiers = parameters.tokens("identifier", &lists)?;
        let statuses = parameters.any("status", &lists)?;
        let reference = |name: &str, resource: &str| {
            let stated = parameters.one(name)?;
            Ok::<_, Refusal>(stated.map(|stated| referenced_id(&base, resource, stated).unwrap_or_default()))
        };
        let patient = reference("patient", "Patient")?.or(reference("subject", "Patient")?);
        let encounter = reference("encounter", "Encounter")?;
        Ok(firm
            .drafts
            .iter()
            .filter(|draft| {
                draft.target == target
                    && ids.as_ref().is_none_or(|ids| ids.contains(&draft.id))
                    && identifiers.as_ref().is_none_or(|tokens| {
                        validation::identifiers(&draft.resource)
                            .any(|(system, value)| tokens.iter().any(|token| token.matches(system, value)))
                    })
                    && statuses
                        .as_ref()
                        .is_none_or(|statuses| statuses.iter().any(|status| draft.resource["status"] == **status))
                    && patient.as_ref().is_none_or(|id| draft.patient == *id)
                    && encounter.as_ref().is_none_or(|id| draft.encounter.as_ref() == Some(id))
            })
            .collect())
    }

    pub(crate) fn search_compositions(&self, now: Timestamp, prefix: &str, call: &Call) -> Result<Answer, Refusal> {
        let rules = composition_search();
        call.parameters.only(&rules.parameters)?;
        self.check_session(now, &call.parameters)?;
        let page = call.parameters.page(&rules)?;
        let firm = self.firm(prefix).ok_or_else(|| Refusal::not_found("no such firm"))?;
        let asked = call.parameters.without(&self.quirks.ignored_parameters);
        let mut matches = self.drafts_matching(firm, DraftTarget::Composition, &asked)?;
        matches.retain(|draft| self.is_draft_visible(now, draft));
        let listed = on_page(&matches, self.page_shown(page, matches.len()));
        let entries = listed.into_iter().map(|draft| {
            let address = self.address(prefix, "Composition", &draft.id);
            (address, self.draft_resource(draft))
        });
        Ok(Answer::ok(self.searchset(
            &Listing {
                now,
                firm: prefix,
                resource: "Composition",
                parameters: &call.parameters,
                page,
                matches: matches.len(),
                exact_totals: call.exact_totals(),
            },
            entries.collect(),
        )))
    }

    pub(crate) fn read_draft(&self, prefix: &str, target: DraftTarget, id: &str) -> Result<Answer, Refusal> {
        let mut drafts = self.firm(prefix).into_iter().flat_map(|firm| &firm.drafts);
        drafts
            .find(|draft| draft.target == target && draft.id == id)
            .map(|draft| Answer::ok(self.draft_resource(draft)))
            .ok_or_else(|| Refusal::not_found(format!("{} {id} is not known", target.name())))
    }
}
