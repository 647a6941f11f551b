//! What can happen to visits and documents after they were made.

use super::*;

fn photo(seed: u64) -> PhotoSpec {
    PhotoSpec::synthetic("PHOTO-LESION", seed, Some(Condition::Melanoma))
}

#[test]
fn a_replaced_document_is_superseded_by_one_that_says_so() {
    let practice = Practice::new();
    let (patient, _, old) = visit_with_photo(&practice);
    let new = practice.ehr.replace_photo(later(90), "alpha", &old, photo(8)).unwrap();
    let bundle = practice.read(later(100), &format!("DocumentReference?patient={patient}"));
    assert_eq!(ids(&bundle), [old.as_str(), &new]);
    let (before, after) = (&bundle["entry"][0]["resource"], &bundle["entry"][1]["resource"]);
    assert_eq!(before["status"], "superseded");
    assert_eq!(before["meta"]["lastUpdated"], later(90).to_string());
    assert_eq!(before["date"], later(60).to_string());
    assert_eq!(after["status"], "current");
    assert_eq!(after["relatesTo"][0]["code"], "replaces");
    let target = after["relatesTo"][0]["target"]["reference"].as_str().unwrap();
    assert!(target.ends_with("/DocumentReference/file%7C139977"));
    let report = practice.ehr.report();
    assert_eq!(report.photos[0].replaced_by.as_deref(), Some(new.as_str()));
    let missing: Vec<&str> = report.missing().map(|photo| photo.document.as_str()).collect();
    assert_eq!(missing, [new.as_str()], "nobody waits for a draft on the old one");
}

#[test]
fn a_retracted_document_stays_listed_as_entered_in_error() {
    let practice = Practice::speaking(Dialect::fhir_r4());
    let (_, encounter, document) = visit_with_photo(&practice);
    practice.ehr.retract_document(later(90), "alpha", &document).unwrap();
    let query = format!("DocumentReference?encounter={encounter}&_lastUpdated=ge{}", later(90));
    let bundle = practice.read(later(100), &query);
    assert_eq!(bundle["entry"][0]["resource"]["status"], "entered-in-error");
    assert_eq!(bundle["entry"][0]["resource"]["meta"]["versionId"], "2");
    let read = practice.read(later(100), &format!("DocumentReference/{document}"));
    assert_eq!(read["status"], "entered-in-error");
    let report = practice.ehr.report();
    assert_eq!(report.photos[0].retracted_at, Some(later(90)));
    assert_eq!((report.missing().count(), report.expected().count()), (0, 1));
    assert!(practice.ehr.retract_document(later(91), "alpha", "file|1").is_err());
}

#[test]
fn a_removed_visit_is_gone_with_its_documents() {
    let practice = Practice::speaking(Dialect::fhir_r4());
    let (patient, encounter, document) = visit_with_photo(&practice);
    let url = {
        let resource = practice.read(later(70), &format!("DocumentReference/{document}"));
        resource["content"][0]["attachment"]["url"].as_str().unwrap().to_owned()
    };
    practice.ehr.remove_encounter(later(90), "alpha", &encounter).unwrap();
    assert_eq!(ids(&practice.read(later(100), "Encounter")), [""; 0]);
    let documents = practice.read(later(100), &format!("DocumentReference?patient={patient}"));
    assert_eq!(ids(&documents), [""; 0]);
    for gone in [
        format!("Encounter/{encounter}"),
        format!("DocumentReference/{document}"),
        url,
    ] {
        assert_eq!(practice.get(later(100), &gone).0, StatusCode::NOT_FOUND, "{gone}");
    }
    let draft = note(&patient, &encounter, &document);
    let refused = practice.create(later(101), &draft, None);
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let report = practice.ehr.report();
    assert_eq!(report.photos[0].removed_at, Some(later(90)));
    assert_eq!(report.missing().count(), 0);
}

#[test]
fn a_visit_may_be_entered_in_error_and_reopen() {
    let practice = Practice::new();
    let encounter = practice.open(morning());
    let set = |second: u64, status: EncounterStatus| {
        practice
            .ehr
            .set_encounter_status(later(second), "alpha", &encounter, status)
            .unwrap();
        practice.read(later(second), "Encounter")["entry"][0]["resource"]["status"].clone()
    };
    assert_eq!(set(10, EncounterStatus::EnteredInError), "entered-in-error");
    assert_eq!(set(20, EncounterStatus::Cancelled), "cancelled");
    assert_eq!(set(30, EncounterStatus::InProgress), "in-progress");
    let errors = practice.read(later(40), "Encounter?status=entered-in-error");
    assert_eq!(ids(&errors), [""; 0]);
}
