//! Drafts: made, found again, never deduplicated unless the client asks for it.
//!
//! What is posted twice is there twice; `If-None-Exist` prevents that where the dialect heeds it. A Composition is changed in the
//! version that `If-Match` names and in no other. Elements that the EHR
//! does not know are kept as they came.

use http::StatusCode;
use serde_json::{Value, json};
use skin_assist_core::time::Timestamp;

use crate::{
    dialect::{DraftTarget, EncounterSearchGranularity, SearchRules},
    ehr::Prepared,
    reply::Refusal,
    report::Placement,
    specification::{EncounterStatus, Review},
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

/// The resource that a client sent.
fn sent(call: &Call) -> Result<Value, Refusal> {
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
    serde_json::from_slice(call.body).map_err(|error| Refusal::bad(format!("the body is not JSON: {error}")))
}

impl State {
    pub(crate) fn create_draft(
        &mut self,
        now: Timestamp,
        prefix: &str,
        target: DraftTarget,
        call: &Call,
    ) -> Result<Prepared, Refusal> {
        let resource = sent(call)?;
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

    /// Changes a Composition that is in the version of `If-Match`.
    pub(crate) fn update_draft(
        &mut self,
        now: Timestamp,
        prefix: &str,
        id: &str,
        call: &Call,
    ) -> Result<Prepared, Refusal> {
        let mut resource = sent(call)?;
        let base = self.fhir_base(prefix);
        let firm = self.firm(prefix).ok_or_else(|| Refusal::not_found("no such firm"))?;
        let known = firm
            .drafts
            .iter()
            .position(|draft| draft.reference() == format!("Composition/{id}"));
        let known = known.ok_or_else(|| Refusal::not_found(format!("Composition {id} is not known")))?;
        if resource["resourceType"] != "Composition" || resource["id"] != id {
            return Err(Refusal::bad("the body is not the Composition at this address"));
        }
        let expected = call
            .header("if-match")
            .ok_or_else(|| Refusal::bad("If-Match is to name the version that is changed"))?;
        if expected != format!("W/\"{}\"", firm.drafts[known].version) {
            return Err(Refusal {
                status: StatusCode::PRECONDITION_FAILED,
                ..Refusal::bad("it is not in this version any more")
            });
        }
        composition::validate(&self.options.dialect.drafts, &base, firm, &resource)?;
        if let Some(meta) = resource["meta"].as_object_mut() {
            meta.remove("versionId");
            meta.remove("lastUpdated");
        }
        let (images, provenance) = (
            validation::images(&resource),
            validation::provenance_sources(&base, &resource),
        );
        let Ok(firm) = self.firm_mut(prefix) else {
            return Err(Refusal::not_found("no such firm"));
        };
        let draft = &mut firm.drafts[known];
        draft.version += 1;
        draft.changed_at = now;
        draft.images = images;
        draft.provenance = provenance;
        draft.resource = resource;
        let draft = draft.clone();
        if self.faults.take_dropped_reply() {
            return Ok(Prepared::Dropped);
        }
        Ok(Prepared::Answer(self.draft_answer(&draft)))
    }

    /// What a clinician does with a draft.
    pub(crate) fn review_draft(&mut self, now: Timestamp, prefix: &str, reference: &str, review: Review) -> bool {
        let Ok(firm) = self.firm_mut(prefix) else {
            return false;
        };
        let Some(known) = firm.drafts.iter().position(|draft| draft.reference() == reference) else {
            return false;
        };
        let draft = &mut firm.drafts[known];
        (draft.version, draft.changed_at) = (draft.version + 1, now);
        match review {
            Review::Sign => draft.resource["status"] = json!("final"),
            Review::Edit => draft.resource["title"] = json!("Edited by the clinician"),
            Review::Remove => drop(firm.drafts.remove(known)),
        }
        true
    }

    /// A draft as it is handed out, by its reference.
    pub(crate) fn draft(&self, prefix: &str, reference: &str) -> Option<Value> {
        let mut drafts = self.firm(prefix)?.drafts.iter();
        let draft = drafts.find(|draft| draft.reference() == reference)?;
        Some(self.draft_resource(draft))
    }

    fn draft_answer(&self, draft: &StoredDraft) -> Answer {
        Answer {
            version: self.options.dialect.version_ids.then_some(draft.version),
            ..Answer::ok(self.draft_resource(draft))
        }
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
                        ..self.draft_answer(draft)
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
            changed_at: now,
            version: 1,
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
            ..self.draft_answer(&draft)
        };
        if let Ok(firm) = self.firm_mut(prefix) {
            firm.drafts.push(draft);
        }
        Ok(answer)
    }

    /// A draft as it is handed out.
    pub(crate) fn draft_resource(&self, draft: &StoredDraft) -> Value {
        let mut resource = draft.resource.clone();
        self.stamp(&mut resource, draft.changed_at, draft.version);
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
            .map(|draft| self.draft_answer(draft))
            .ok_or_else(|| Refusal::not_found(format!("{} {id} is not known", target.name())))
    }
}
