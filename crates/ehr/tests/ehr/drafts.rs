//! Posting a draft: its form, and what each outcome says about it.

use serde_json::{Value, json};
use skin_assist_core::{
    domain::{
        DocumentId, Draft, DraftNote, DraftReference, FirmId, NormalisedBox, NoteRegion, NoteSection, Reason,
        ReferenceCode,
    },
    phi::Phi,
    ports::{DraftError, DraftSearch, DraftWriter, EarlierInChart, EhrError, Settlement, WrittenDraft},
};
use skin_assist_ehr::{AddendumRule, LABEL, NOT_BY_THE_AUTHOR, Profile};
use skin_assist_transport::TransportError;

use crate::script::{
    Answer, SERVICE, Script, client, client_with, firm, json as reply_json, lost, not_sent, profile, profile_with,
    reply, run, status, token,
};

pub(crate) fn note() -> DraftNote {
    DraftNote {
        title: "Skin lesion photo assessment (AI draft)".into(),
        sections: vec![
            NoteSection {
                heading: LABEL.into(),
                paragraphs: vec!["Images used: file|139977.".into()],
            },
            NoteSection {
                heading: "Findings".into(),
                paragraphs: vec![
                    "Melanocytic nevus 0.62 & others < 0.2".into(),
                    "A low score does not exclude malignancy.".into(),
                ],
            },
        ],
        instructions: vec!["Review before filing.".into()],
        regions: vec![NoteRegion {
            document: DocumentId::new("file|139977"),
            areas: vec![
                NormalisedBox {
                    x: 0.123_456,
                    y: 0.2,
                    width: 0.333_33,
                    height: -0.0,
                },
                NormalisedBox {
                    x: f32::NAN,
                    y: 0.2,
                    width: 0.3,
                    height: 0.1,
                },
            ],
        }],
        bands: skin_assist_core::domain::Bands::default(),
    }
}

/// The golden one, without a language model.
pub(crate) fn draft(note: DraftNote) -> Draft {
    let mut draft = crate::golden::draft(note, None);
    draft.versions.language = None;
    draft
}

fn post(answer: Answer) -> Result<DraftReference, DraftError> {
    let (client, script) = client([answer]);
    let outcome = run(client.post(&firm("derm-a"), &token(), &draft(note())));
    assert_eq!(script.count(), 1, "posted once and never again by itself");
    outcome
}

/// What is posted under this profile.
fn posted(profile: Profile, draft: &Draft) -> Value {
    let script = Script::of([reply(201, &[("location", "Composition/1")], "")]);
    run(client_with(profile, &script, &Script::of([])).post(&firm("derm-a"), &token(), draft)).unwrap();
    serde_json::from_slice(script.request().body()).unwrap()
}

#[test]
fn the_composition() {
    let (client, script) = client([reply(201, &[("location", "Composition/1")], "")]);
    run(client.post(&firm("derm-a"), &token(), &draft(note()))).unwrap();
    let request = script.request();
    assert_eq!(
        (request.method().as_str(), request.uri().to_string()),
        ("POST", format!("{SERVICE}/Composition"))
    );
    assert_eq!(request.headers()["content-type"], "application/fhir+json");
    assert!(!request.headers().contains_key("if-none-exist"));
    let composition: Value = serde_json::from_slice(request.body()).unwrap();
    insta::assert_json_snapshot!(composition);
}

fn body_of(composition: &Value) -> &str {
    composition["section"][0]["code"]["text"].as_str().unwrap()
}

#[test]
fn the_label_is_the_first_line_and_said_once() {
    let composition = posted(profile(), &draft(note()));
    let body = body_of(&composition);
    assert_eq!(body.lines().take(2).collect::<Vec<_>>(), [LABEL, NOT_BY_THE_AUTHOR]);
    assert_eq!(body.matches(LABEL).count(), 1);
    // Whatever the note says: its first line is not its own.
    let empty = DraftNote {
        title: "x".into(),
        sections: vec![],
        instructions: vec![],
        regions: vec![],
        bands: skin_assist_core::domain::Bands::default(),
    };
    let draft = draft(empty);
    let composition = posted(profile(), &draft);
    let body = body_of(&composition);
    assert!(body.starts_with(LABEL));
    assert!(
        body.contains(draft.reference_code.as_str()),
        "the reference code can be read by eye"
    );
    assert!(!composition["section"][1]["code"]["text"].as_str().unwrap().is_empty());
    assert_eq!(composition.get("attester"), None);
}

#[test]
fn a_reference_code_that_the_note_has_is_not_repeated() {
    let mut note = note();
    let code = draft(note.clone()).reference_code;
    note.sections[1]
        .paragraphs
        .push(format!("Reference {code}; report errors to the vendor."));
    let composition = posted(profile(), &draft(note));
    assert_eq!(body_of(&composition).matches(code.as_str()).count(), 1);
}

#[test]
fn the_author_is_by_the_profile() {
    let mut without = draft(note());
    without.practitioner = None;
    let device = posted(
        profile_with("author = \"practitioner\"", "author = \"device\""),
        &without,
    );
    assert_eq!(device["author"], json!([{ "reference": "#skin-assist" }]));
    assert_eq!(device["contained"][0]["resourceType"], "Device");
    assert!(!body_of(&device).contains(NOT_BY_THE_AUTHOR));
    let omitted = posted(profile_with("author = \"practitioner\"", "author = \"omit\""), &without);
    assert_eq!(omitted.get("author"), None);
    // Where a practitioner is forced and none is known, nothing is sent.
    let (client, script) = client([]);
    let refused = run(client.post(&firm("derm-a"), &token(), &without));
    assert_eq!(refused, Err(DraftError::NotTaken(EhrError::NoAuthor)));
    assert_eq!(script.count(), 0);
}

#[test]
fn where_a_draft_comes_from_is_in_it_where_the_ehr_takes_it() {
    let mut draft = crate::golden::draft(note(), None);
    assert_eq!(posted(profile(), &draft).get("contained"), None);
    let contained = posted(
        profile_with("provenance = \"none\"", "provenance = \"contained\""),
        &draft,
    );
    let [device, provenance] = contained["contained"].as_array().unwrap().as_slice() else {
        panic!("{contained}");
    };
    assert_eq!(device["type"]["coding"][0]["code"], "Artificial-Intelligence");
    assert_eq!(
        contained["author"][0]["reference"],
        format!("{SERVICE}/Practitioner/201")
    );
    insta::assert_json_snapshot!("provenance", provenance);
    // Nobody has reviewed it, and of the prompt there is the hash alone.
    assert!(!provenance.to_string().contains("verifier"));
    let language = draft.versions.language.as_mut().unwrap();
    language.fallback = Some(Reason::new(
        "language-model.unavailable",
        "the composer wrote the draft",
    ));
    let without = posted(
        profile_with("provenance = \"none\"", "provenance = \"contained\""),
        &draft,
    );
    assert_eq!(without["contained"][1]["entity"].as_array().unwrap().len(), 2);
}

#[test]
fn references_and_text_go_where_the_profile_says() {
    let relative = posted(
        profile_with("references = \"absolute\"", "references = \"relative\""),
        &draft(note()),
    );
    assert_eq!(relative["encounter"]["reference"], "Encounter/e%7C1");
    let absolute = posted(profile(), &draft(note()));
    assert_eq!(absolute["encounter"]["reference"], format!("{SERVICE}/Encounter/e%7C1"));
    let narrative = posted(
        profile_with("text_in_section_code = true", "text_in_section_code = false"),
        &draft(note()),
    );
    assert_eq!(narrative["section"][0]["code"].get("text"), None);
    assert!(narrative["section"][0]["text"]["div"].as_str().unwrap().contains("<p>"));
    let code = posted(
        profile_with("text_in_section_narrative = true", "text_in_section_narrative = false"),
        &draft(note()),
    );
    assert_eq!(code["section"][0].get("text"), None);
}

#[test]
fn what_was_taken_is_named_by_location_or_body() {
    let created = |location: &str, body: &str| {
        let headers = [("location", location)];
        post(reply(
            201,
            if location.is_empty() { &[] } else { &headers },
            body.to_owned(),
        ))
    };
    let expected = Ok(DraftReference("Composition/81".into()));
    for location in [
        "https://ehr.example/base/firm/derm-a/ema/fhir/v2/Composition/81",
        "https://ehr.example/base/firm/derm-a/ema/fhir/v2/Composition/81/_history/1",
        "/base/firm/derm-a/ema/fhir/v2/Composition/81",
        "Composition/81",
    ] {
        assert_eq!(created(location, "<html>"), expected, "{location}");
    }
    let body = r#"{"resourceType":"Composition","id":"81"}"#;
    assert_eq!(created("", body), expected);
    assert_eq!(created("https://ehr.example/somewhere", body), expected);
    assert_eq!(post(reply(200, &[], body)), expected);
    assert_eq!(
        post(reply(201, &[], r#"{"resourceType":"Composition","id":81}"#)),
        expected
    );
}

#[test]
fn a_refusal_and_a_request_that_was_not_sent_say_that_it_was_not_taken() {
    for (answer, expected) in [
        (status(400), EhrError::Rejected { status: 400 }),
        (status(401), EhrError::Unauthorized),
        (status(403), EhrError::Forbidden),
        (status(404), EhrError::NotFound { status: 404 }),
        (status(409), EhrError::Rejected { status: 409 }),
        (status(422), EhrError::Rejected { status: 422 }),
        (status(429), EhrError::OverQuota { retry_after: None }),
        (
            not_sent(),
            EhrError::Unavailable {
                what: "the connection was refused",
            },
        ),
    ] {
        assert_eq!(post(answer), Err(DraftError::NotTaken(expected)));
    }
    // The refusal was read, its text was not.
    let broken = Err(TransportError::Unknown {
        what: "the connection broke",
        status: Some(::http::StatusCode::UNPROCESSABLE_ENTITY),
    });
    assert_eq!(
        post(broken),
        Err(DraftError::NotTaken(EhrError::Rejected { status: 422 }))
    );
    // A redirect that asks for the same request elsewhere.
    assert!(matches!(post(status(308)), Err(DraftError::NotTaken(_))));
}

#[test]
fn everything_else_leaves_it_unknown() {
    let whole = r#"{"resourceType":"Composition","id":"81"}"#;
    for (name, answer) in [
        ("reply lost", lost()),
        ("500", status(500)),
        ("502", status(502)),
        ("503", status(503)),
        ("504", status(504)),
        ("408", status(408)),
        ("499", status(499)),
        (
            "302 to a page",
            reply(302, &[("location", "https://login.example/")], ""),
        ),
        ("303 to the created", reply(303, &[("location", "Composition/81")], "")),
        ("201, body cut off", reply(201, &[], &whole[..20])),
        ("201, HTML", reply(201, &[], "<html>ok</html>")),
        ("201, empty", reply(201, &[], "")),
        (
            "200, an OperationOutcome",
            reply(200, &[], r#"{"resourceType":"OperationOutcome","id":"x","issue":[]}"#),
        ),
        ("202", reply(202, &[], "{}")),
        (
            "200, then broken",
            Err(TransportError::Unknown {
                what: "it took too long",
                status: Some(::http::StatusCode::OK),
            }),
        ),
        (
            "201, too large",
            Err(TransportError::TooLarge {
                status: ::http::StatusCode::CREATED,
            }),
        ),
    ] {
        assert!(matches!(post(answer), Err(DraftError::Unknown(_))), "{name}");
    }
}

#[test]
fn where_drafts_cannot_be_searched_nobody_asks() {
    let (client, script) = client([]);
    assert_eq!(client.abilities().settlement, Settlement::Operator);
    let found = run(client.find(&firm("derm-a"), &token(), &draft(note())));
    assert_eq!((found, script.count()), (Ok(DraftSearch::Unsupported), 0));
}

#[test]
fn where_they_can_only_the_identifier_counts() {
    let draft = draft(note());
    let composition = |id: &str, code: &str| {
        json!({ "resource": { "resourceType": "Composition", "id": id,
            "identifier": { "system": "https://skin-assist.example/fhir/draft", "value": code } } })
    };
    let find = |answer: Answer| {
        let script = Script::of([answer]);
        let client = client_with(
            profile_with("search = \"unsupported\"", "search = \"identifier\""),
            &script,
            &Script::of([]),
        );
        assert_eq!(
            client.abilities().settlement,
            Settlement::Search {
                visible_within: std::time::Duration::ZERO
            }
        );
        let found = run(client.find(&firm("derm-a"), &token(), &draft));
        let code = &draft.reference_code;
        let query = format!("identifier=https%3A%2F%2Fskin-assist.example%2Ffhir%2Fdraft%7C{code}");
        assert_eq!(script.urls(), [format!("{SERVICE}/Composition?{query}")]);
        found
    };
    let own = composition("81", draft.reference_code.as_str());
    let others = composition("80", "SA-0000-0000-0000");
    let bundle = |entries: &[&Value]| reply_json(&json!({ "resourceType": "Bundle", "entry": entries }));
    assert_eq!(find(bundle(&[])), Ok(DraftSearch::Absent));
    assert_eq!(
        find(bundle(&[&others, &own])),
        Ok(DraftSearch::Found(DraftReference("Composition/81".into())))
    );
    // The parameter was ignored: what is listed proves nothing about what is not.
    assert!(find(bundle(&[&others])).is_err());
    assert!(find(status(500)).is_err());
}

#[test]
fn a_conditional_create_names_the_identifier() {
    let script = Script::of([reply(200, &[("location", "Composition/81")], "")]);
    let profile = profile_with("conditional_create = false", "conditional_create = true");
    let draft = draft(note());
    run(client_with(profile, &script, &Script::of([])).post(&firm("derm-a"), &token(), &draft)).unwrap();
    let condition = script.request().headers()["if-none-exist"].to_str().unwrap().to_owned();
    assert_eq!(
        condition,
        format!(
            "identifier=https%3A%2F%2Fskin-assist.example%2Ffhir%2Fdraft%7C{}",
            draft.reference_code
        )
    );
}

/// What a clinician reads under the first vendor's profile, in each case.
#[test]
fn the_eleven_cases_read_as_they_were_released() {
    let cases = crate::golden::cases::cases();
    assert_eq!(cases.len(), 11);
    for golden in crate::golden::drafts() {
        let case = golden
            .name
            .strip_prefix("modmed-ema.case.")
            .and_then(|name| name.strip_suffix(".0"));
        if let Some(case) = case {
            let body = body_of(&golden.resource);
            // The chart's own words are data, and in no draft.
            assert!(!body.contains("Jane Roe") && !body.contains("benign."), "{case}");
            assert_eq!(golden.resource.get("encounter").is_none(), case == "visit-finished");
            insta::assert_snapshot!(format!("case-{case}"), body);
        }
    }
}

/// An addendum names the draft that it is added to where the profile takes that, and nothing else names one.
#[test]
fn an_addendum_relates_to_the_earlier_draft() {
    let mut addenda = 0;
    for golden in crate::golden::drafts() {
        let relates_to = golden.resource.get("relatesTo");
        if golden.name == "fhir-r4.case.addendum.0" {
            addenda += 1;
            let expected = serde_json::json!([{
                "code": "appends",
                "targetIdentifier": {
                    "system": "https://skin-assist.example/fhir/draft",
                    "value": earlier_code(),
                },
            }]);
            assert_eq!(relates_to, Some(&expected));
        } else {
            assert_eq!(relates_to, None, "{}", golden.name);
        }
        if golden.name.contains("case.addendum") && golden.resource["resourceType"] == "Composition" {
            let sections = golden.resource["section"].to_string();
            assert!(sections.contains(&earlier_code()), "the text names it in any case");
        }
    }
    assert_eq!(addenda, 1);
}

fn earlier_code() -> String {
    let earlier = crate::golden::cases::earlier();
    ReferenceCode::of(&FirmId::new("derm"), &earlier.assessment).to_string()
}

#[test]
fn what_was_written_stays_when_a_draft_is_added_to_it() {
    let added = crate::golden::added().resource;
    let posted = |case: &str| {
        let name = format!("fhir-r4.case.{case}.0");
        let mut drafts = crate::golden::drafts().into_iter();
        drafts.find(|golden| golden.name == name).unwrap().resource
    };
    let (earlier, addendum) = (posted("benign"), posted("addendum"));
    let list = |resource: &Value, key: &str| resource[key].as_array().cloned().unwrap_or_default();
    let before = list(&earlier, "section").len();
    let sections = earlier["section"].to_string();
    let sections = sections.replace(earlier["identifier"]["value"].as_str().unwrap(), &earlier_code());
    let sections: Vec<Value> = serde_json::from_str(&sections).unwrap();
    assert_eq!(list(&added, "section")[..before], sections);
    assert_eq!(list(&added, "section").len(), before + list(&addendum, "section").len());
    let told = list(&added, "section")[before].to_string();
    assert!(told.contains(LABEL) && told.contains("Added to the AI-generated draft") && !told.contains("Addendum"));
    let images = |resource: &Value| list(resource, "extension").len();
    assert_eq!(images(&added), images(&earlier) + images(&addendum));
    // The earlier one's identity; the new one's date; one author, and a Provenance for each, with ids of their own.
    assert_eq!(added["identifier"]["value"], earlier_code());
    assert_eq!(added["date"], addendum["date"]);
    let ids: Vec<Value> = list(&added, "contained")
        .iter()
        .map(|inner| inner["id"].clone())
        .collect();
    let code = addendum["identifier"]["value"].as_str().unwrap();
    assert_eq!(
        ids,
        [
            json!("skin-assist"),
            json!("provenance"),
            json!(format!("provenance-{code}"))
        ]
    );
    assert_eq!((&added["status"], &added["id"]), (&json!("preliminary"), &json!("81")));
}

fn updating() -> Profile {
    let mut profile = profile();
    profile.draft.addendum = AddendumRule::Update;
    profile
}

#[test]
fn only_what_was_written_and_nobody_touched_is_added_to() {
    let draft = draft(note());
    let written = DraftReference("Composition/81".into()).in_version("3");
    let look = |answer: Answer| {
        let script = Script::of([answer]);
        let client = client_with(updating(), &script, &Script::of([]));
        let found = run(client.look_at_earlier(&firm("derm-a"), &token(), &written, &draft));
        assert_eq!(script.urls(), [format!("{SERVICE}/Composition/81")]);
        found
    };
    let chart = |version: Value, status: &str, text: &str| {
        json!({ "resourceType": "Composition", "id": "81", "meta": { "versionId": version }, "status": status,
            "section": [{ "text": { "div": text } }] })
    };
    let as_written = chart(json!("3"), "preliminary", "its text");
    let EarlierInChart::AsWritten(found) = look(reply_json(&as_written)).unwrap() else {
        panic!("it is as it was written")
    };
    let resource: Value = serde_json::from_str(found.resource.expose()).unwrap();
    assert_eq!((found.reference, resource), (written.clone(), as_written));
    for (version, status) in [
        (json!("4"), "preliminary"),
        (json!("3"), "final"),
        (json!("3"), "entered-in-error"),
        (Value::Null, "preliminary"),
    ] {
        let touched = reply_json(&chart(version, status, "its text"));
        assert_eq!(look(touched), Ok(EarlierInChart::Changed));
    }
    // Whoever changed it since: what was added is there, and nothing is added to it any more.
    let code = format!("Reference code {}.", draft.reference_code);
    let has = chart(json!("9"), "final", &code);
    let named = DraftReference("Composition/81".into());
    assert_eq!(look(reply_json(&has)), Ok(EarlierInChart::HasIt(named)));
    assert_eq!(look(status(410)), Ok(EarlierInChart::Gone));
    assert!(look(status(500)).is_err());
    let another =
        json!({ "resourceType": "Composition", "id": "82", "meta": { "versionId": "3" }, "status": "preliminary" });
    assert!(
        look(reply_json(&another)).is_err(),
        "it is not the one that was asked for"
    );
}

#[test]
fn a_draft_is_added_in_the_version_that_was_read_alone() {
    let draft = draft(note());
    let reference = |version: Option<&str>| {
        let reference = DraftReference("Composition/81".into());
        version.map_or(reference.clone(), |version| reference.in_version(version))
    };
    let earlier = WrittenDraft {
        reference: reference(Some("3")),
        resource: Phi::new(r#"{"resourceType":"Composition","id":"81","section":[{"title":"kept"}]}"#.to_owned()),
    };
    let update = |answer: Answer| {
        let script = Script::of([answer]);
        let client = client_with(updating(), &script, &Script::of([]));
        let outcome = run(client.update(&firm("derm-a"), &token(), &earlier, &draft));
        let request = script.request();
        assert_eq!(
            (request.method().as_str(), request.uri().to_string()),
            ("PUT", format!("{SERVICE}/Composition/81"))
        );
        assert_eq!(request.headers()["if-match"], "W/\"3\"");
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(body["section"][0]["title"], "kept");
        outcome
    };
    let version = |text: &str| reply(200, &[("etag", text)], "");
    assert_eq!(update(version("W/\"4\"")), Ok(reference(Some("4"))));
    assert_eq!(update(reply(200, &[], "")), Ok(reference(None)), "nobody knows which");
    let contradiction = reply(200, &[("etag", "W/\"4\"")], r#"{"meta":{"versionId":"5"}}"#);
    assert_eq!(update(contradiction), Ok(reference(None)));
    for refused in [409, 412, 404, 410] {
        let outcome = update(status(refused));
        let expected = Err(DraftError::NotTaken(EhrError::Changed { status: refused }));
        assert_eq!(outcome, expected);
    }
    assert!(matches!(update(status(403)), Err(DraftError::NotTaken(_))));
    for unknown in [status(502), status(202), status(408), lost()] {
        assert!(matches!(update(unknown), Err(DraftError::Unknown(_))));
    }
    assert!(matches!(update(not_sent()), Err(DraftError::NotTaken(_))));
}

#[test]
fn the_version_that_was_written_is_kept_where_a_draft_may_be_added_to() {
    for (answer, version) in [
        (reply(201, &[("location", "Composition/81/_history/7")], ""), Some("7")),
        (
            reply(201, &[("location", "Composition/81"), ("etag", "W/\"8\"")], ""),
            Some("8"),
        ),
        (
            reply(201, &[("location", "Composition/81")], r#"{"meta":{"versionId":"9"}}"#),
            Some("9"),
        ),
        (reply(201, &[("location", "Composition/81")], ""), None),
        (
            reply(201, &[("location", "Composition/81"), ("etag", "\"a b\"")], ""),
            None,
        ),
    ] {
        let script = Script::of([answer.clone(), answer]);
        for (profile, version) in [(updating(), version), (profile(), None)] {
            let client = client_with(profile, &script, &Script::of([]));
            let reference = run(client.post(&firm("derm-a"), &token(), &draft(note()))).unwrap();
            assert_eq!((reference.resource(), reference.version()), ("Composition/81", version));
        }
    }
}
