//! The small reads: Patient, Practitioner, the firm's document categories.

use serde_json::{Value, json};

use crate::{reply::Refusal, state::State};

use super::{category_coding, category_system};

impl State {
    pub(crate) fn read_patient(&self, prefix: &str, id: &str) -> Result<Value, Refusal> {
        let patient = self
            .firm(prefix)
            .and_then(|firm| firm.patients.get(id))
            .ok_or_else(|| Refusal::not_found(format!("Patient {id} is not known")))?;
        let mut resource = json!({
            "resourceType": "Patient",
            "id": patient.id,
            "meta": {},
            "identifier": [{
                "type": {
                    "coding": [{
                        "system": "http://terminology.hl7.org/CodeSystem/v2-0203",
                        "code": "MR",
                    }],
                },
                "value": format!("MM{:0>10}", patient.id),
            }],
            "active": true,
            "name": [{ "use": "official", "family": patient.family, "given": [patient.given] }],
            "gender": patient.gender,
            "birthDate": patient.birth_date,
        });
        self.stamp(&mut resource, patient.last_updated, 1);
        Ok(resource)
    }

    pub(crate) fn read_practitioner(&self, prefix: &str, id: &str) -> Result<Value, Refusal> {
        let practitioner = self
            .firm(prefix)
            .into_iter()
            .flat_map(|firm| &firm.spec.practitioners)
            .find(|practitioner| practitioner.id == id)
            .ok_or_else(|| Refusal::not_found(format!("Practitioner {id} is not known")))?;
        Ok(json!({
            "resourceType": "Practitioner",
            "id": practitioner.id,
            "active": true,
            "name": [{
                "use": "official",
                "family": practitioner.family,
                "given": [practitioner.given],
                "suffix": ["MD"],
            }],
        }))
    }

    pub(crate) fn read_document_categories(&self, prefix: &str) -> Result<Value, Refusal> {
        let firm = self.firm(prefix).ok_or_else(|| Refusal::not_found("no such firm"))?;
        let base = self.fhir_base(prefix);
        let system = category_system(&base);
        let concepts: Vec<Value> = firm
            .spec
            .categories
            .iter()
            .map(|category| json!({ "code": category.code, "display": category.display }))
            .collect();
        let contains: Vec<Value> = firm
            .spec
            .categories
            .iter()
            .map(|category| category_coding(&base, category))
            .collect();
        Ok(json!({
            "resourceType": "ValueSet",
            "id": "document-category",
            "url": system,
            "name": "document-category",
            "status": "active",
            "compose": { "include": [{ "system": system, "concept": concepts }] },
            "expansion": { "total": contains.len(), "contains": contains },
        }))
    }
}
