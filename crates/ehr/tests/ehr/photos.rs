//! Where a photo is, and its bytes from a host that is not the EHR.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use skin_assist_core::{
    domain::DocumentId,
    phi::Phi,
    ports::{EhrError, PhotoLocation, PhotoRefusal, PhotoSource},
};
use skin_assist_ehr::{EhrClient, Limits};
use skin_assist_transport::TransportError;

use crate::script::{
    Answer, SERVICE, Script, client, client_with, connection, firm, json as reply_json, lost, not_sent, profile,
    profile_with, reply, run, status, token,
};

fn locate(document: &Value) -> Result<PhotoLocation, EhrError> {
    let (client, script) = client([reply_json(document)]);
    let located = run(client.locate(&firm("derm-a"), &token(), &DocumentId::new("file|139977")));
    assert_eq!(script.urls(), [format!("{SERVICE}/DocumentReference/file%7C139977")]);
    located
}

fn document(content: &Value) -> Value {
    json!({ "resourceType": "DocumentReference", "id": "file|139977", "content": content })
}

/// Downloads from this URL, with the answer to the one request, if there is to be one.
fn download(url: &str, answer: Option<Answer>) -> Result<usize, EhrError> {
    let (api, photos) = (Script::of([]), Script::of(answer));
    let client = client_with(profile(), &api, &photos);
    let photo = run(client.download(&Phi::new(url.into())));
    assert_eq!(api.count(), 0);
    if photos.count() > 0 {
        let request = photos.request();
        assert_eq!(request.uri().to_string(), url);
        assert!(
            request.headers().is_empty(),
            "the photo host is told nothing but the URL"
        );
    }
    photo.map(|photo| photo.expose().len())
}

const URL: &str = "https://clinic.s3.us-east-1.amazonaws.com/a%7Cb.jpg?X-Amz-Signature=0a&X-Amz-Expires=300";

#[test]
fn a_document_says_where_its_photo_is() {
    let found = locate(&document(&json!([
        { "attachment": { "contentType": "application/pdf", "url": "https://photos.example/pdf" } },
        { "attachment": { "contentType": "image/jpeg" } },
        { "attachment": { "contentType": "image/jpeg", "url": "https://photos.example/a", "size": 4711 } },
    ])));
    let expected = PhotoLocation::Url {
        url: Phi::new("https://photos.example/a".into()),
        claimed_bytes: Some(4711),
    };
    assert_eq!(found, Ok(expected));
    let lone = locate(&document(
        &json!({ "attachment": { "url": "https://photos.example/b", "size": "12" } }),
    ));
    assert!(matches!(
        lone.unwrap(),
        PhotoLocation::Url {
            claimed_bytes: Some(12),
            ..
        }
    ));
}

#[test]
fn a_document_without_an_attachment_is_refused() {
    for content in [
        json!(null),
        json!([]),
        json!([{}]),
        json!([{ "attachment": { "url": " " } }]),
        json!([{ "attachment": { "data": "", "url": "" } }]),
    ] {
        assert_eq!(
            locate(&document(&content)),
            Err(PhotoRefusal::NoAttachment.into()),
            "{content}"
        );
    }
}

#[test]
fn another_document_than_the_one_asked_for_is_not_believed() {
    let other = json!({ "resourceType": "DocumentReference", "id": "file|1",
        "content": [{ "attachment": { "url": URL } }] });
    assert!(matches!(locate(&other), Err(EhrError::Malformed { .. })));
}

#[test]
fn a_photo_comes_from_a_listed_host_and_carries_nothing_of_ours() {
    assert_eq!(download(URL, Some(reply(200, &[], "jpeg"))), Ok(4));
    assert_eq!(
        download("https://photos.example/a", Some(reply(200, &[], "jpeg"))),
        Ok(4)
    );
}

#[test]
fn hostile_urls_are_refused_before_anything_is_sent() {
    for url in [
        "http://photos.example/a",
        "https://evil.example/a",
        "https://photos.example.evil.example/a",
        "https://photos.example@evil.example/a",
        "https://token@photos.example/a",
        "https://photos.example:8443/a",
        "https://127.0.0.1/a",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:169.254.169.254]/latest",
        "file:///etc/passwd",
        "/relative",
        "",
    ] {
        assert_eq!(download(url, None), Err(PhotoRefusal::UrlNotAllowed.into()), "{url}");
    }
}

#[test]
fn an_address_refused_after_resolution_is_a_url_that_is_not_allowed() {
    assert_eq!(
        download(URL, Some(Err(TransportError::AddressRefused))),
        Err(PhotoRefusal::UrlNotAllowed.into())
    );
}

#[test]
fn what_a_photo_host_may_answer() {
    for (answer, expected) in [
        (status(403), EhrError::PhotoUrlExpired),
        (status(400), EhrError::PhotoUrlExpired),
        (status(404), EhrError::NotFound { status: 404 }),
        (status(302), PhotoRefusal::UrlNotAllowed.into()),
        (reply(200, &[], ""), PhotoRefusal::Empty.into()),
        (
            Err(TransportError::TooLarge {
                status: ::http::StatusCode::OK,
            }),
            PhotoRefusal::TooManyBytes.into(),
        ),
        (
            Err(TransportError::TooLarge {
                status: ::http::StatusCode::FORBIDDEN,
            }),
            EhrError::PhotoUrlExpired,
        ),
        // Its 429 is not the EHR's quota: nobody else has to hold still.
        (
            status(429),
            EhrError::Unavailable {
                what: "the photo host asks to try again later",
            },
        ),
        (
            status(503),
            EhrError::Unavailable {
                what: "the photo host is failing",
            },
        ),
        (
            lost(),
            EhrError::Unavailable {
                what: "the connection broke",
            },
        ),
        (
            not_sent(),
            EhrError::Unavailable {
                what: "the connection was refused",
            },
        ),
    ] {
        assert_eq!(download(URL, Some(answer)), Err(expected));
    }
}

fn attachment(attachment: &Value) -> Value {
    document(&json!([{ "attachment": attachment }]))
}

/// A client that takes photos of at most ten bytes.
fn small(answer: Answer) -> (EhrClient, Arc<Script>) {
    let script = Script::of([answer]);
    let mut connection = connection(profile());
    connection.limits = Limits {
        photo_bytes: 10,
        ..Limits::default()
    };
    let client = EhrClient::new(connection, Arc::clone(&script) as _, Script::of([])).unwrap();
    (client, script)
}

#[test]
fn a_photo_in_the_document_itself_needs_no_further_request() {
    let bytes = [0xff, 0xd8, 0xfb, 0xff, 0x00];
    let data = STANDARD.encode(bytes);
    let broken_up = format!(" {}\r\n{} ", &data[..3], &data[3..]);
    let unpadded = data.trim_end_matches('=').to_owned();
    for data in [data, broken_up, unpadded] {
        let found = locate(&attachment(&json!({ "data": data, "url": "https://photos.example/a" })));
        assert_eq!(found, Ok(PhotoLocation::Inline(Phi::new(bytes.to_vec().into()))));
    }
    // The url-safe alphabet is not FHIR's.
    for data in ["/9j7_w==", "not base64!", "A"] {
        let found = locate(&attachment(&json!({ "data": data })));
        assert_eq!(found, Err(PhotoRefusal::Broken.into()), "{data}");
    }
}

#[test]
fn a_photo_in_the_document_has_the_same_limit() {
    for (bytes, expected) in [(10, Ok(10)), (11, Err(PhotoRefusal::TooManyBytes.into()))] {
        let data = STANDARD.encode(vec![b'x'; bytes]);
        let (client, _) = small(reply_json(&attachment(&json!({ "data": data }))));
        let found = run(client.locate(&firm("derm-a"), &token(), &DocumentId::new("file|139977")));
        let found = found.map(|found| match found {
            PhotoLocation::Inline(photo) => photo.expose().len(),
            other => panic!("{other:?}"),
        });
        assert_eq!(found, expected);
    }
    let too_large = Err(TransportError::TooLarge {
        status: ::http::StatusCode::OK,
    });
    let (client, _) = small(too_large);
    let found = run(client.locate(&firm("derm-a"), &token(), &DocumentId::new("file|139977")));
    assert_eq!(found, Err(PhotoRefusal::TooManyBytes.into()));
}

#[test]
fn a_binary_of_the_same_firm_is_one() {
    for url in [
        "Binary/b|1",
        "Binary/b%7C1/_history/3",
        &format!("{SERVICE}/Binary/b%7C1"),
        &format!("{SERVICE}/Binary/b|1/_history/3"),
    ] {
        let found = locate(&attachment(&json!({ "url": url })));
        assert_eq!(found, Ok(PhotoLocation::Binary { id: "b|1".into() }), "{url}");
    }
}

#[test]
fn a_binary_of_another_firm_is_not_read_with_this_firms_token() {
    for url in [
        "https://ehr.example/base/firm/derm-b/ema/fhir/v2/Binary/1",
        &format!("{SERVICE}/../../../../derm-b/ema/fhir/v2/Binary/1"),
        "https://evil.example/base/firm/derm-a/ema/fhir/v2/Binary/1",
        &format!("{SERVICE}/Patient/1"),
    ] {
        let found = locate(&attachment(&json!({ "url": url }))).unwrap();
        let PhotoLocation::Url { url, .. } = found else {
            panic!("{url}: {found:?}");
        };
        // What is left is a photo host's URL, of a host that is not allowed.
        assert_eq!(download(url.expose(), None), Err(PhotoRefusal::UrlNotAllowed.into()));
    }
}

fn binary(answer: Answer) -> Result<usize, EhrError> {
    let (client, script) = small(answer);
    let photo = run(client.read_binary(&firm("derm-a"), &token(), "b|1"));
    assert_eq!(script.urls(), [format!("{SERVICE}/Binary/b%7C1")]);
    photo.map(|photo| photo.expose().len())
}

#[test]
fn a_binary_is_asked_for_as_the_profile_says_and_with_the_token() {
    for (profile, accept) in [
        (profile(), "image/*, application/octet-stream;q=0.5"),
        (
            profile_with("[photos]\n", "[photos]\nbinary_accept = \"fhir-json\"\n"),
            "application/fhir+json",
        ),
    ] {
        let script = Script::of([reply(200, &[("content-type", "image/jpeg")], "jpeg")]);
        let client = client_with(profile, &script, &Script::of([]));
        run(client.read_binary(&firm("derm-a"), &token(), "1")).unwrap();
        let request = script.request();
        assert_eq!(request.headers()["accept"], accept);
        assert_eq!(request.headers()["authorization"], "Bearer the-token");
        assert_eq!(request.headers()["x-api-key"], "the-api-key");
    }
}

#[test]
fn what_a_binary_may_be_answered_with() {
    let resource =
        |data: &Value| json!({ "resourceType": "Binary", "id": "b|1", "contentType": "image/jpeg", "data": data });
    let outcome =
        json!({ "resourceType": "OperationOutcome", "issue": [{ "severity": "error", "code": "not-found" }] });
    for (answer, expected) in [
        (reply(200, &[("content-type", "image/jpeg")], "\u{7f}jpeg"), Ok(5)),
        (reply(200, &[], "0123456789"), Ok(10)),
        (reply(200, &[], "0123456789a"), Err(PhotoRefusal::TooManyBytes.into())),
        (reply(200, &[], ""), Err(PhotoRefusal::Empty.into())),
        // A resource, whatever was asked for.
        (reply_json(&resource(&json!(STANDARD.encode("jpeg")))), Ok(4)),
        (
            reply_json(&resource(&json!(STANDARD.encode("0123456789a")))),
            Err(PhotoRefusal::TooManyBytes.into()),
        ),
        (reply_json(&resource(&json!(null))), Err(PhotoRefusal::Empty.into())),
        (reply_json(&resource(&json!("?"))), Err(PhotoRefusal::Broken.into())),
        (
            reply_json(&json!({ "resourceType": "Binary", "id": "other", "data": "AAAA" })),
            Err(EhrError::Malformed {
                what: "it is not the resource that was asked for",
            }),
        ),
        (reply_json(&outcome), Err(EhrError::NotFound { status: 404 })),
        (
            reply(200, &[("content-type", "Text/HTML; charset=utf-8")], "<p>Log in"),
            Err(EhrError::Malformed {
                what: "a web page in place of the photo",
            }),
        ),
        (
            Err(TransportError::TooLarge {
                status: ::http::StatusCode::OK,
            }),
            Err(PhotoRefusal::TooManyBytes.into()),
        ),
        (status(401), Err(EhrError::Unauthorized)),
        (status(429), Err(EhrError::OverQuota { retry_after: None })),
        (
            status(302),
            Err(EhrError::Malformed {
                what: "it redirects, which is not followed",
            }),
        ),
    ] {
        assert_eq!(binary(answer), expected);
    }
}

/// Downloads where these answers come, one for each hop; and the URLs that were asked.
fn follow(answers: impl IntoIterator<Item = Answer>) -> (Result<usize, EhrError>, Vec<String>) {
    let (api, photos) = (Script::of([]), Script::of(answers));
    let client = client_with(profile(), &api, &photos);
    let photo = run(client.download(&Phi::new("https://photos.example/a/b?c#d".into())));
    assert_eq!(api.count(), 0);
    for request in photos.requests() {
        assert!(
            request.headers().is_empty(),
            "neither token nor API key go to a photo host"
        );
    }
    (photo.map(|photo| photo.expose().len()), photos.urls())
}

fn sent_on(status: u16, location: &str) -> Answer {
    reply(status, &[("location", location)], "")
}

#[test]
fn a_photo_host_may_send_on_within_the_allowed_hosts() {
    let jpeg = || reply(200, &[], "jpeg");
    for status in [301, 302, 303, 307, 308] {
        let (photo, urls) = follow([sent_on(status, URL), jpeg()]);
        assert_eq!((photo, urls[1].as_str()), (Ok(4), URL), "{status}");
    }
    let (photo, urls) = follow([
        sent_on(302, "../x?y#z"),
        sent_on(302, "//photos.example/w"),
        sent_on(302, "/v"),
        jpeg(),
    ]);
    assert_eq!(photo, Ok(4));
    assert_eq!(
        urls[1..],
        ["x?y", "w", "v"].map(|path| format!("https://photos.example/{path}"))
    );
}

#[test]
fn every_hop_is_checked_like_the_first() {
    let refused = Err(PhotoRefusal::UrlNotAllowed.into());
    for location in [
        "http://photos.example/a",
        "https://evil.example/a",
        "//evil.example/a",
        "https://ehr.example/base/firm/derm-a/ema/fhir/v2/Binary/1",
        "https://photos.example:8443/a",
        "https://user@photos.example/a",
        "https://10.0.0.1/a",
        "https://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "https://",
        // Where it is already.
        "/a/b?c#other",
    ] {
        let (photo, urls) = follow([sent_on(302, location)]);
        assert_eq!((photo, urls.len()), (refused.clone(), 1), "{location}");
    }
    let (photo, urls) = follow([status(302)]);
    assert_eq!((photo, urls.len()), (refused.clone(), 1), "a redirect to nowhere");
    // An allowed name that leads to a private address.
    let (photo, _) = follow([sent_on(302, "/x"), Err(TransportError::AddressRefused)]);
    assert_eq!(photo, refused);
    // Two places that send to each other, and a way without an end.
    let (photo, urls) = follow([sent_on(302, "/x"), sent_on(302, "/a/b?c")]);
    assert_eq!((photo, urls.len()), (refused.clone(), 2));
    let (photo, urls) = follow(["/1", "/2", "/3", "/4"].map(|location| sent_on(302, location)));
    assert_eq!((photo, urls.len()), (refused, 4));
}

#[test]
fn what_the_last_hop_answers_counts() {
    for (answer, expected) in [
        (status(403), EhrError::PhotoUrlExpired),
        (status(404), EhrError::NotFound { status: 404 }),
        (reply(200, &[], ""), PhotoRefusal::Empty.into()),
    ] {
        assert_eq!(follow([sent_on(307, "/x"), answer]).0, Err(expected));
    }
}
