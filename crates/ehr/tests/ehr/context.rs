//! What of a patient comes through.

use serde_json::{Value, json};
use skin_assist_core::{
    domain::{AgeBand, ContextTerm, DocumentId, EncounterId, Laterality, PatientFacts, PatientId, PriorResult, Sex},
    phi::Phi,
    ports::{ContextPart, ContextSubject, EhrError, PatientContext as _},
};
use skin_assist_ehr::EhrClient;

use crate::script::{Answer, SERVICE, client, firm, json as reply_json, reply, run, status, token};

fn bundle(entries: &[Value]) -> Value {
    json!({ "resourceType": "Bundle", "type": "searchset", "entry": entries })
}

/// One photo of one visit of this patient.
fn context(
    client: &EhrClient,
    patient: &str,
    part: ContextPart,
) -> (Result<Phi<PatientFacts>, EhrError>, Option<Phi<PatientFacts>>) {
    let (patient, encounter, document) = (
        PatientId::new(patient),
        EncounterId::new("e|1"),
        DocumentId::new("file|7"),
    );
    let subject = ContextSubject {
        patient: &patient,
        encounter: &encounter,
        document: &document,
    };
    let firm = firm("derm-a");
    let read = run(client.read_context(&firm, &token(), &subject, part));
    (read, client.remembered(&firm.id, &subject, part))
}

#[test]
fn of_lists_only_terms_of_our_own_come_through() {
    let subject = json!({ "reference": "Patient/7" });
    let condition = |system: &str, code: &str, whose: &Value| {
        json!({ "resource": { "resourceType": "Condition", "subject": whose,
            "code": { "text": "ask Jane Roe", "coding": [{ "system": system, "code": code, "display": "Jane Roe" }] } } })
    };
    let icd = "http://hl7.org/fhir/sid/icd-10-cm";
    let other = json!({ "reference": "Patient/8" });
    let problems = [
        condition(icd, "Z85.820", &subject),
        condition(icd, "C44.311", &subject),
        condition(icd, "I10", &subject),
        condition(icd, "L40.0", &other),
    ];
    let (client, script) = client([reply_json(&bundle(&problems))]);
    let (facts, remembered) = context(&client, "7", ContextPart::Problems);
    let expected = PatientFacts {
        history: Some(vec![ContextTerm("history of skin cancer".to_owned())]),
        ..PatientFacts::default()
    };
    assert_eq!(*facts.unwrap().expose(), expected);
    assert_eq!(remembered, Some(Phi::new(expected)));
    let query = "patient=7&clinical-status=active&_count=100";
    assert_eq!(script.urls(), [format!("{SERVICE}/Condition?{query}")]);

    let medication = json!({ "resource": { "resourceType": "MedicationStatement", "subject": subject,
        "medicationCodeableConcept": { "text": "Amoxicillin 500 MG Oral Capsule, for Jane" } } });
    let (client, _) = self::client([reply_json(&bundle(&[medication]))]);
    let (facts, _) = context(&client, "7", ContextPart::MedicationStatements);
    let medications = facts.unwrap().into_exposed().medications;
    assert_eq!(medications, Some(vec![ContextTerm("amoxicillin".to_owned())]));

    // What cannot be read is not remembered as nothing.
    let (client, _) = self::client([status(403)]);
    assert_eq!(
        context(&client, "7", ContextPart::Problems),
        (Err(EhrError::Forbidden), None)
    );
}

#[test]
fn of_a_patient_only_age_band_and_sex_come_through() {
    let patient = json!({ "resourceType": "Patient", "id": "p|7", "gender": "female", "birthDate": "1980-02-29",
        "name": [{ "family": "Roe" }] });
    let read = |answer: Answer, id: &str| {
        let (client, script) = client([answer]);
        let (facts, _) = context(&client, id, ContextPart::Patient);
        (facts, script.urls().remove(0))
    };
    let (facts, url) = read(reply_json(&patient), "p|7");
    assert_eq!(url, format!("{SERVICE}/Patient/p%7C7"));
    let expected = PatientFacts {
        age: Some(AgeBand::MiddleAged),
        sex: Some(Sex::Female),
        ..PatientFacts::default()
    };
    assert_eq!(*facts.unwrap().expose(), expected);
    // No clock, no age.
    let (facts, _) = read(reply(200, &[], patient.to_string()), "p|7");
    assert_eq!(
        *facts.unwrap().expose(),
        PatientFacts {
            sex: Some(Sex::Female),
            ..PatientFacts::default()
        }
    );
    // Another patient's record is nobody's.
    let (facts, _) = read(reply_json(&patient), "8");
    assert_eq!(
        facts.unwrap_err(),
        EhrError::Malformed {
            what: "it is not the resource that was asked for"
        }
    );
}

#[test]
fn of_earlier_results_site_and_condition_come_through_as_our_own_terms() {
    let icd = "http://hl7.org/fhir/sid/icd-10-cm";
    let snomed = "http://snomed.info/sct";
    let result = |whose: &str, status: &str, site: Value, system: &str, code: &str| {
        json!({ "resource": { "resourceType": "Observation", "status": status, "subject": { "reference": whose },
            "code": { "text": "Jane Roe's biopsy" }, "bodySite": site, "effectiveDateTime": "2024-02-03",
            "note": [{ "text": "call Jane" }],
            "valueCodeableConcept": { "text": "no melanoma, Jane Roe", "coding": [{ "system": system, "code": code }] } } })
    };
    let coded = |codes: &[&str]| {
        let coding = |code: &&str| json!({ "system": snomed, "code": code });
        json!({ "coding": codes.iter().map(coding).collect::<Vec<_>>() })
    };
    let words = |text: &str| json!({ "text": text });
    let results = [
        result("Patient/7", "final", coded(&["14975008", "7771000"]), icd, "D22.61"),
        result("Patient/7", "amended", words("back, Jane"), snomed, "254701007"),
        // Taken back, of nobody knows where, of what is not known here, denied in words alone, of somebody else.
        result("Patient/7", "entered-in-error", words("back"), icd, "C43.59"),
        result("Patient/7", "final", words("on Jane"), icd, "C43.59"),
        result("Patient/7", "final", words("back"), icd, "I10"),
        result("Patient/7", "final", words("back"), "", ""),
        result("Patient/8", "final", words("back"), icd, "C43.59"),
    ];
    let (client, script) = client([reply_json(&bundle(&results))]);
    let (facts, remembered) = context(&client, "7", ContextPart::PriorResults);
    let term = |text: &str| ContextTerm(text.to_owned());
    let expected = PatientFacts {
        prior_results: Some(vec![
            PriorResult {
                site: term("forearm"),
                laterality: Some(Laterality::Left),
                finding: term("melanocytic nevus"),
            },
            PriorResult {
                site: term("back"),
                laterality: None,
                finding: term("basal cell carcinoma"),
            },
        ]),
        // The one of nobody knows where.
        prior_results_incomplete: true,
        ..PatientFacts::default()
    };
    assert_eq!(*facts.unwrap().expose(), expected);
    assert_eq!(remembered, Some(Phi::new(expected)));
    assert_eq!(
        script.urls(),
        [format!(
            "{SERVICE}/Observation?patient=7&category=laboratory&_count=100"
        )]
    );
}

#[test]
fn of_a_site_there_are_no_earlier_results_only_where_all_of_them_are_known() {
    let result = |site: &str| {
        json!({ "resource": { "resourceType": "Observation", "status": "final", "subject": { "reference": "Patient/7" },
            "bodySite": { "text": site },
            "valueCodeableConcept": { "coding": [{ "system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "C43.59" }] } } })
    };
    let at = |site: &str, page: Value| {
        let (client, _) = client([reply_json(&page)]);
        let (facts, _) = context(&client, "7", ContextPart::PriorResults);
        let facts = PatientFacts {
            site: Some(ContextTerm(site.to_owned())),
            ..facts.unwrap().into_exposed()
        };
        facts.results_at_site().map(|results| results.len())
    };
    let all = bundle(&[result("back")]);
    assert_eq!((at("back", all.clone()), at("forearm", all)), (Some(1), Some(0)));
    let mut first_page = bundle(&[result("back")]);
    first_page["link"] = json!([{ "relation": "next", "url": format!("{SERVICE}/Observation?page=2") }]);
    assert_eq!(
        (at("back", first_page.clone()), at("forearm", first_page)),
        (Some(1), None)
    );
    let one_of_nowhere = bundle(&[result("back"), result("see the form")]);
    assert_eq!(at("forearm", one_of_nowhere), None);
}
