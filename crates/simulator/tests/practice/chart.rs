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
