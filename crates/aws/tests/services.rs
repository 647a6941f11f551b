//! Photos in S3 and proofs in Secrets Manager, against an emulator.

// Helpers of tests, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use skin_assist_aws::{
    connection::Connection,
    photos::{S3Photos, object_name},
    secrets::{REMEMBERED_FOR, Secrets, VaultedTokenEndpoint},
};
use skin_assist_core::{
    domain::{
        AccessToken, Credential, CredentialState, DocumentId, Firm, FirmId, FirmStatus, IssuedToken, Mode, PhotoBytes,
    },
    phi::{Phi, Secret},
    ports::{EhrError, Photos as _, StateError, TokenEndpoint},
    time::{Clock as _, Timestamp, VirtualClock},
};
use skin_assist_testkit::servers::Server;

const BUCKET: &str = "photos-of-this-test";

fn photo(bytes: usize) -> PhotoBytes {
    Phi::new(Bytes::from(vec![7; bytes]))
}

/// A client of the SDK, as an administrator of the emulator has it.
fn s3(server: &Server) -> aws_sdk_s3::Client {
    let config = Connection::to_emulator(server.endpoint());
    aws_sdk_s3::Client::from_conf(
        aws_sdk_s3::config::Builder::from(config.sdk())
            .force_path_style(true)
            .build(),
    )
}

#[tokio::test]
async fn a_photo_is_kept_encrypted_under_a_name_that_tells_nothing() {
    let server = Server::ministack();
    let administrator = s3(&server);
    administrator.create_bucket().bucket(BUCKET).send().await.unwrap();
    let key = "arn:aws:kms:us-east-1:000000000000:key/11111111-2222-3333-4444-555555555555";
    let photos = S3Photos::new(&Connection::to_emulator(server.endpoint()), BUCKET, key);
    let (firm, other) = (FirmId::new("derma"), FirmId::new("other"));
    let document = DocumentId::new("file|139977");

    assert_eq!(photos.get(&firm, &document).await.unwrap(), None, "not there");
    photos.delete(&firm, &document).await.unwrap();
    photos.put(&firm, &document, photo(3_000_000)).await.unwrap();
    photos.put(&firm, &document, photo(5)).await.unwrap();
    assert_eq!(
        photos.get(&firm, &document).await.unwrap(),
        Some(photo(5)),
        "the last one"
    );
    assert_eq!(photos.get(&other, &document).await.unwrap(), None, "each firm's own");
    photos.put(&other, &document, photo(6)).await.unwrap();

    let head = administrator
        .head_object()
        .bucket(BUCKET)
        .key(object_name(&firm, &document))
        .send()
        .await
        .unwrap();
    assert_eq!(head.server_side_encryption().unwrap().as_str(), "aws:kms");
    assert_eq!(head.ssekms_key_id(), Some(key));
    assert!(head.metadata().is_none_or(std::collections::HashMap::is_empty));

    photos.delete(&firm, &document).await.unwrap();
    assert_eq!(photos.get(&firm, &document).await.unwrap(), None);
    assert_eq!(photos.get(&other, &document).await.unwrap(), Some(photo(6)));

    let elsewhere = S3Photos::new(&Connection::to_emulator(server.endpoint()), "no-such-bucket", key);
    let error = elsewhere.get(&firm, &document).await.unwrap_err();
    assert!(matches!(error, StateError::Unavailable(_)), "{error:?}");
    assert!(!format!("{error:?}").contains("139977"), "{error:?}");
}

/// A token endpoint that takes one proof, and counts.
#[derive(Default)]
struct Endpoint {
    takes: Mutex<String>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl TokenEndpoint for Endpoint {
    async fn request_token(&self, _: &Firm, credential: &Credential, now: Timestamp) -> Result<IssuedToken, EhrError> {
        let proof = credential.client_secret.expose().to_owned();
        self.asked.lock().unwrap().push(proof.clone());
        if *self.takes.lock().unwrap() != proof {
            return Err(EhrError::CredentialRefused { status: 401 });
        }
        Ok(IssuedToken {
            access: AccessToken {
                secret: Secret::new("token".to_owned()),
                issued_at: now,
                expires_at: now + REMEMBERED_FOR,
            },
            refresh_token: None,
        })
    }
}

fn credential(proof: &str) -> Credential {
    Credential {
        firm: FirmId::new("derma"),
        client_id: "client".to_owned(),
        client_secret: Secret::new(proof.to_owned()),
        key_id: None,
        token: None,
        refresh_token: None,
        state: CredentialState::Usable,
    }
}

fn firm() -> Firm {
    Firm {
        id: FirmId::new("derma"),
        url_prefix: "derma".to_owned(),
        status: FirmStatus::Active,
        mode: Mode::Silent,
        intended_use: None,
        categories: std::collections::BTreeMap::new(),
        api_key: None,
        connected_at: Timestamp::from_millis(0),
        photos_since: Timestamp::from_millis(0),
    }
}

#[tokio::test]
async fn a_rotated_secret_is_read_anew_when_the_old_one_is_refused() {
    let server = Server::ministack();
    let connection = Connection::to_emulator(server.endpoint());
    let administrator = aws_sdk_secretsmanager::Client::new(connection.sdk());
    let form = |proof: &str| format!(r#"{{"client_secret": "{proof}"}}"#);
    let made = administrator
        .create_secret()
        .name("ehr/derma")
        .secret_string(form("old"))
        .send()
        .await
        .unwrap();
    let arn = made.arn().unwrap().to_owned();
    let rotate = async |text: String| {
        let put = administrator.put_secret_value().secret_id(&arn).secret_string(text);
        put.send().await.unwrap();
    };
    let clock = VirtualClock::new(Timestamp::from_millis(1_000));
    let endpoint = Arc::new(Endpoint::default());
    let secrets = Arc::new(Secrets::new(&connection, Arc::new(clock.clone())));
    let vaulted = VaultedTokenEndpoint::new(endpoint.clone(), secrets.clone());
    let ask = async |proof: &str| vaulted.request_token(&firm(), &credential(proof), clock.now()).await;
    let asked = || std::mem::take(&mut *endpoint.asked.lock().unwrap());

    *endpoint.takes.lock().unwrap() = "old".to_owned();
    ask(&arn).await.unwrap();
    ask(&arn).await.unwrap();
    assert_eq!(asked(), ["old", "old"]);

    // Rotated here and there: one refused request, no more.
    rotate(form("new")).await;
    *endpoint.takes.lock().unwrap() = "new".to_owned();
    ask(&arn).await.unwrap();
    assert_eq!(asked(), ["old", "new"]);
    ask(&arn).await.unwrap();
    assert_eq!(asked(), ["new"]);

    // Refused, and there is no other: not asked twice.
    *endpoint.takes.lock().unwrap() = "yet another".to_owned();
    let refused = ask(&arn).await.unwrap_err();
    assert_eq!(refused, EhrError::CredentialRefused { status: 401 });
    assert_eq!(asked(), ["new"]);

    // A proof that is none of Secrets Manager's goes through as it is.
    *endpoint.takes.lock().unwrap() = "plain".to_owned();
    ask("plain").await.unwrap();
    assert_eq!(asked(), ["plain"]);

    // What was read before is used for its time, and then looked at again.
    rotate("hunter2, which is no JSON".to_owned()).await;
    assert!(secrets.proof(&arn).await.is_ok());
    clock.run(clock.sleep_until(clock.now() + REMEMBERED_FOR));
    let error = secrets.proof(&arn).await.unwrap_err();
    assert_eq!(error.name(), "SecretWrongShape");
    let refused = ask(&arn).await.unwrap_err();
    assert!(matches!(refused, EhrError::CredentialUnusable { .. }), "{refused:?}");
    assert!(!format!("{error:?}{refused:?}").contains("hunter2"));
    assert!(asked().is_empty());

    let missing = secrets.proof(&arn.replace("derma", "nobody")).await.unwrap_err();
    assert_eq!(missing.name(), "SecretNotFound");
}
