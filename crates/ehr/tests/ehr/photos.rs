//! Where a photo is, and its bytes from a host that is not the EHR.

use serde_json::{Value, json};
use skin_assist_core::{
    domain::DocumentId,
    phi::Phi,
    ports::{EhrError, PhotoLocation, PhotoRefusal, PhotoSource},
};
use skin_assist_ehr::TransportError;

use crate::script::{
    Answer, SERVICE, Script, client, client_with, firm, json as reply_json, lost, not_sent, profile, reply, run,
    status, token,
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
    let location = PhotoLocation {
        url: Phi::new(url.into()),
        claimed_bytes: None,
    };
    let photo = run(client.download(&location));
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
    let expected = PhotoLocation {
        url: Phi::new("https://photos.example/a".into()),
        claimed_bytes: Some(4711),
    };
    assert_eq!(found, Ok(expected));
    let lone = locate(&document(
        &json!({ "attachment": { "url": "https://photos.example/b", "size": "12" } }),
    ));
    assert_eq!(lone.unwrap().claimed_bytes, Some(12));
}

#[test]
fn a_document_without_an_attachment_is_refused() {
    for content in [
        json!(null),
        json!([]),
        json!([{}]),
        json!([{ "attachment": { "url": " " } }]),
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
