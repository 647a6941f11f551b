use super::*;

#[test]
fn every_shipped_profile_is_sound_and_named_as_its_file() {
    for name in Profile::shipped_names() {
        assert_eq!(Profile::shipped(name).unwrap().name, name);
    }
    let error = Profile::shipped("modmed").unwrap_err().to_string();
    assert!(error.contains("modmed-ema"), "{error}");
}

#[test]
fn unknown_keys_and_impossible_values_are_refused() {
    let text = Profile::shipped_text("modmed-ema").unwrap();
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        Profile::from_toml(&text.replacen(from, to, 1))
    };
    assert!(matches!(
        changed("page_size = 50", "page_sise = 50"),
        Err(ProfileError::Unreadable(_))
    ));
    assert!(matches!(
        changed("\"preliminary\"", "\"final\""),
        Err(ProfileError::Unreadable(_))
    ));
    assert!(matches!(
        changed("*.s3.amazonaws.com", "https://s3"),
        Err(ProfileError::Unreadable(_))
    ));
    for (from, to, key) in [
        ("{base}/firm", "https://example.com/firm", "urls.service"),
        ("{firm}/ema", "{tenant}/ema", "urls.service"),
        ("/fhir/v2\"", "/fhir/v2/\"", "urls.service"),
        ("page_size = 50", "page_size = 0", "encounters.page_size"),
        ("page_size = 10", "page_size = 0", "documents.page_size"),
        (
            "calls = 1000\nper = \"minute\"",
            "calls = 9\nper = \"hour\"",
            "quota.calls",
        ),
        ("x-api-key", "x api key", "request.api_key_header"),
        ("[\"PPRF\"]", "[]", "encounters.treating_participant"),
        (
            "[photos]",
            "[context]\nreads = [\"patient\", \"prior-results\", \"document\"]\n[photos]",
            "context.reads",
        ),
    ] {
        match changed(from, to) {
            Err(ProfileError::Invalid { key: found, .. }) => assert_eq!(found, key),
            other => panic!("{to}: {other:?}"),
        }
    }
}

/// A resource that is read and not in the scope is a 403 for each photo.
#[test]
fn a_scope_covers_everything_that_is_asked() {
    for name in ["fhir-r4", "uscore-r4"] {
        let profile = Profile::shipped(name).unwrap();
        let scope = profile.token.scope.unwrap();
        let draft = match profile.draft.target {
            DraftTarget::Composition => "Composition.crs",
            _ => "DocumentReference.crs",
        };
        for asked in ["Encounter.rs", "Binary.r", "Patient.rs", "DocumentReference.", draft] {
            assert!(scope.contains(&format!("system/{asked}")), "{name}: {asked}");
        }
    }
}
