//! `GET metadata`: the dialect as a CapabilityStatement; as a quirk, another dialect.

use serde_json::{Value, json};

use crate::{
    dialect::{Dialect, DraftTarget, SearchRules},
    state::State,
};

use super::{draft::composition_search, observation::observation_search};

/// FHIR's type of a search parameter.
fn parameter_type(name: &str) -> &'static str {
    match name {
        "patient" | "subject" | "encounter" => "reference",
        "date" | "_lastUpdated" => "date",
        "description" => "string",
        _ => "token",
    }
}

/// A resource's entry. What only steers the result (`_count`, `_sort`, `page`) is no search parameter.
fn resource(name: &str, interactions: &[&str], search: Option<&SearchRules>) -> Value {
    let interaction: Vec<Value> = interactions.iter().map(|code| json!({ "code": code })).collect();
    let mut value = json!({ "type": name, "interaction": interaction });
    if let Some(rules) = search {
        value["searchParam"] = rules
            .parameters
            .iter()
            .filter(|name| !["_count", "_sort", "page"].contains(name))
            .map(|name| json!({ "name": name, "type": parameter_type(name) }))
            .collect();
    }
    value
}

fn statement(dialect: &Dialect, base: &str, token_url: &str) -> Value {
    let drafts = &dialect.drafts;
    let taken = |target: DraftTarget| drafts.targets.contains(&target);
    let mut encounter = vec!["search-type"];
    if dialect.encounter_read {
        encounter.insert(0, "read");
    }
    let mut document = vec!["read", "search-type"];
    if taken(DraftTarget::DocumentReference) {
        document.push("create");
    }
    let mut resources = vec![
        resource("Encounter", &encounter, Some(&dialect.encounters)),
        resource("DocumentReference", &document, Some(&dialect.documents.search)),
    ];
    if taken(DraftTarget::DocumentReference) {
        resources[1]["conditionalCreate"] = json!(drafts.conditional_create);
    }
    if taken(DraftTarget::Composition) {
        let search = composition_search();
        let mut composition = if drafts.readable {
            let update = drafts.updatable.then_some("update");
            let interactions: Vec<&str> = ["create", "read", "search-type"].into_iter().chain(update).collect();
            resource("Composition", &interactions, Some(&search))
        } else {
            resource("Composition", &["create"], None)
        };
        composition["conditionalCreate"] = json!(drafts.conditional_create);
        if drafts.updatable {
            composition["versioning"] = json!("versioned-update");
        }
        resources.push(composition);
    }
    if dialect.laboratory {
        resources.push(resource("Observation", &["search-type"], Some(&observation_search())));
    }
    let binary = dialect.has_binaries().then_some("Binary");
    for name in ["Patient", "Practitioner", "ValueSet"].into_iter().chain(binary) {
        resources.push(resource(name, &["read"], None));
    }
    let mut rest = json!({ "mode": "server", "resource": resources });
    if dialect.batch {
        rest["interaction"] = json!([{ "code": "batch" }]);
    }
    if dialect.token.discovery {
        rest["security"] = json!({
            "service": [{ "coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
                "code": "SMART-on-FHIR",
            }] }],
            "extension": [{
                "url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris",
                "extension": [{ "url": "token", "valueUri": token_url }],
            }],
        });
    }
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "kind": "instance",
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json"],
        "software": { "name": "Skin Assist practice EHR", "version": env!("CARGO_PKG_VERSION") },
        "implementation": {
            "description": "A simulated EHR with made-up patients",
            "url": base,
        },
        "rest": [rest],
    })
}

impl State {
    pub(crate) fn read_metadata(&self, prefix: &str) -> Value {
        let dialect = self.quirks.claimed.as_ref().unwrap_or(&self.options.dialect);
        statement(dialect, &self.fhir_base(prefix), &self.token_url())
    }
}
