//! Clinics to play.

use skin_assist_simulator::{ClinicScript, Error, ScriptOptions};

use super::*;

fn small() -> ScriptOptions {
    ScriptOptions {
        photo_width: 160,
        photo_height: 120,
        ..ScriptOptions::default()
    }
}

#[test]
fn a_seed_gives_the_same_clinic_each_time() {
    let clinic = |seed| format!("{:?}", ClinicScript::generate(seed, &small()));
    assert_eq!(clinic(3), clinic(3));
    assert_ne!(clinic(3), clinic(4));
}

#[test]
fn every_clinic_is_in_order_and_shows_both_routes_in_every_firm() {
    for seed in 0..50 {
        let script = ClinicScript::generate(seed, &small());
        assert!(script.events.is_sorted_by_key(|event| event.at));
        let ehr = PracticeEhr::new(Options::default());
        ehr.play(&script, morning(), 1.0).unwrap();
        ehr.advance(later(3_600));
        let progress = ehr.script_progress();
        assert!(progress.is_over(), "seed {seed}");
        let report = ehr.report();
        assert_eq!(report.expected().count(), script.expected_photos());
        for firm in ehr.firms() {
            for route in ["Solitary", "Widespread"] {
                let shown = report
                    .photos
                    .iter()
                    .any(|photo| photo.firm == firm && photo.route.name() == route);
                assert!(shown, "seed {seed}, {firm}, {route}");
            }
        }
    }
}

#[test]
fn speed_maps_the_clinics_time_onto_real_time() {
    let script = ClinicScript::generate(1, &small());
    let ehr = PracticeEhr::new(Options::default());
    ehr.play(&script, morning(), 60.0).unwrap();
    let last = script.events.last().unwrap().at;
    let ends_at = ehr.script_progress().ends_at.unwrap();
    let off = ends_at
        .since(morning() + last / 60)
        .max((morning() + last / 60).since(ends_at));
    assert!(off <= Duration::from_millis(1));
    assert_eq!(ehr.script_progress().happened, 0);
    ehr.advance(ends_at);
    assert!(ehr.script_progress().is_over());
    for photo in ehr.report().photos {
        assert!(photo.attached_at > morning() && photo.attached_at <= ends_at);
    }
    assert_eq!(ehr.play(&script, morning(), 0.0), Err(Error::Speed("0".to_owned())));
}

#[test]
fn events_happen_before_the_request_that_comes_after_them() {
    let script = ClinicScript::generate(1, &small());
    let ehr = PracticeEhr::new(Options::default());
    ehr.play(&script, morning(), 10.0).unwrap();
    let credentials = ehr.credentials("harborview").unwrap();
    let practice = Practice {
        token: token(&ehr, morning(), &credentials).unwrap(),
        ehr,
        credentials,
    };
    let (_, before) = practice.get(morning(), "Encounter");
    let (_, after) = practice.get(later(360), "Encounter");
    assert_eq!((&before["total"], &after["total"]), (&json!(0), &json!(6)));
}
