//! The chart page.

use super::*;

fn page(practice: &Practice, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).body(Bytes::new()).unwrap();
    let response = practice
        .ehr
        .handle(later(200), Host::Api, &request)
        .into_response()
        .unwrap();
    let text = String::from_utf8_lossy(response.body()).into_owned();
    (response.status(), text)
}

#[test]
fn a_person_sees_visit_photo_region_and_draft() {
    let practice = Practice::new();
    let (patient, encounter, document) = visit_with_photo(&practice);
    let (_, index) = page(&practice, "/chart");
    assert!(index.contains("1 waiting"));
    let draft = composition(&practice, &patient, &encounter, &document);
    practice.post(later(67), &draft);
    let (status, index) = page(&practice, "/chart");
    assert_eq!(status, StatusCode::OK);
    assert!(index.contains("/chart/alpha/5001") && index.contains("1 AI draft"));
    let (status, visit) = page(&practice, "/chart/alpha/5001");
    assert_eq!(status, StatusCode::OK);
    assert!(visit.contains("<rect class=\"region\" x=\"120.0\" y=\"180.0\" width=\"60.0\" height=\"90.0\""));
    assert!(visit.contains(">AI draft<") && !visit.contains("no AI label"));
    assert!(visit.contains("7.0 s") && visit.contains("preliminary"));
    assert!(visit.contains("&lt;b&gt;one&lt;/b&gt;"), "a draft's text is escaped");
    assert!(!visit.contains("Melanoma"), "the truth is not told unasked");
    assert!(page(&practice, "/chart/alpha/5001?truth=1").1.contains("Melanoma"));
    assert_eq!(page(&practice, "/chart/photo/alpha/file%7C139977").0, StatusCode::OK);
    let report = practice.ehr.report();
    assert_eq!(report.photos[0].photo_downloaded_at, None, "looking is not downloading");
    assert_eq!(report.calls.total(), 1);
}

#[test]
fn text_from_outside_cannot_become_markup() {
    let practice = Practice::new();
    let (patient, encounter, document) = visit_with_photo(&practice);
    let mut draft = composition(&practice, &patient, &encounter, &document);
    draft["title"] = json!("<script>alert(1)</script>");
    draft["section"][0]["text"] = json!({
        "div": "<div onclick='x()'><script>alert(1)</script><img src=x onerror=x()><p>kept</p></div>",
    });
    practice.post(later(67), &draft);
    let (_, visit) = page(&practice, "/chart/alpha/5001");
    assert!(visit.contains("&lt;script&gt;alert(1)"));
    assert!(visit.contains("<div><p>kept</p></div>"));
    assert!(!visit.contains("onerror") && !visit.contains("onclick"));
    assert_eq!(visit.matches("<script").count(), 1, "the page's own");
}

/// Each part of a draft that another was added to is there to be read, whether the EHR shows plain text or markup.
#[test]
fn all_of_a_draft_that_was_added_to_is_shown() {
    let part = |code: &str, text: &str| {
        json!({
            "code": { "coding": [{ "system": "http://loinc.org", "code": code }] },
            "text": { "status": "generated", "div": format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{text}</div>") },
        })
    };
    for with_plain_text in [false, true] {
        let practice = Practice::speaking(Dialect::fhir_r4());
        let (patient, encounter, document) = visit_with_photo(&practice);
        let mut draft = composition(&practice, &patient, &encounter, &document);
        draft.as_object_mut().unwrap().remove("author");
        let mut sections = vec![
            part("18776-5", "the first photo"),
            part("69730-0", "the first note"),
            part("18776-5", "the later photo"),
            part("69730-0", "the later note"),
        ];
        if with_plain_text {
            for section in &mut sections {
                section["code"]["text"] = section["text"]["div"].clone();
            }
        }
        draft["section"] = json!(sections[..2]);
        let posted = practice.create(later(67), &draft, None);
        assert_eq!(posted.status(), StatusCode::CREATED);
        let mut added = practice.read(later(70), "Composition/700001");
        added["section"] = json!(sections);
        let mut request = practice.request("PUT", "Composition/700001", Bytes::from(added.to_string()));
        request.headers_mut().insert("if-match", "W/\"1\"".parse().unwrap());
        let changed = practice.ehr.handle(later(80), Host::Api, &request).into_response();
        assert_eq!(changed.unwrap().status(), StatusCode::OK);
        let (_, visit) = page(&practice, "/chart/alpha/5001");
        let shown = |words: &str| visit.matches(words).count();
        for words in ["the first photo", "the later photo"] {
            assert_eq!(shown(words), 1 + usize::from(with_plain_text), "{words}: {visit}");
        }
        for words in ["the first note", "the later note"] {
            assert_eq!(shown(words), 1, "{words}: {visit}");
        }
    }
}

#[test]
fn what_is_not_there_is_said_so() {
    let practice = Practice::new();
    for path in [
        "/chart/alpha/1",
        "/chart/none/5001",
        "/chart/photo/alpha/file%7C1",
        "/chart/a/b/c/d",
    ] {
        let (status, text) = page(&practice, path);
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(text.contains("All visits"));
    }
    assert_eq!(page(&practice, "/").0, StatusCode::SEE_OTHER);
    assert_eq!(page(&practice, "/chart/style.css").0, StatusCode::OK);
    assert_eq!(page(&practice, "/chart/refresh.js").0, StatusCode::OK);
}
