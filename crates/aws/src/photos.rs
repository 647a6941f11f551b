//! Photos in S3, between download and inference.
//!
//! # Invariants
//! - An object is encrypted with the deployment's own key, named in every request that puts one: a bucket whose default was
//!   changed, or that is another, does not weaken it. No access list is sent, and the bucket is private.
//! - An object's name is made of digests of the firm and the document: names are not encrypted, and stand in access logs.
//! - Putting a photo twice is harmless: the same document, the same name, the same bytes.
//!
//! # When it fails
//! Everything but an object that is not there is transient: the step is tried again. What an error says never quotes an
//! answer. An object that nobody deletes is deleted by the bucket's lifecycle after a day.

use async_trait::async_trait;
use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::get_object::GetObjectError,
    primitives::ByteStream,
    types::ServerSideEncryption,
};
use sha2::{Digest as _, Sha256};
use skin_assist_core::{
    domain::{DocumentId, FirmId, PhotoBytes},
    phi::Phi,
    ports::{Photos, StateError},
};

use crate::connection::Connection;

/// How the names of all photos begin: what the bucket's lifecycle and the event rules name.
pub const PREFIX: &str = "photos/";

/// Photos in a bucket.
#[derive(Debug)]
pub struct S3Photos {
    client: Client,
    bucket: String,
    key: String,
}

/// S3 did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Failure {
    #[error("S3 answered {code}")]
    Answered { code: String },
    #[error("S3 cannot be reached: {what}")]
    Unreachable { what: &'static str },
}

fn unavailable(failure: Failure) -> StateError {
    StateError::Unavailable(Box::new(failure))
}

fn meaning<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> StateError {
    unavailable(match error {
        SdkError::ServiceError(answer) => Failure::Answered {
            code: answer.err().code().unwrap_or("an error without a code").to_owned(),
        },
        SdkError::TimeoutError(_) => Failure::Unreachable { what: "a time-out" },
        SdkError::DispatchFailure(_) => Failure::Unreachable {
            what: "no connection, or no credentials",
        },
        _ => Failure::Unreachable {
            what: "the answer cannot be read",
        },
    })
}

/// The name of a photo's object: `photos/{digest of the firm}/{digest of firm and document}`.
pub fn object_name(firm: &FirmId, document: &DocumentId) -> String {
    // The firm's length keeps two pairs of ids that read the same in a row apart.
    let digest = |texts: &[&str]| {
        let mut hash = Sha256::new();
        for text in texts {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        hex::encode(&hash.finalize()[..16])
    };
    let of_firm = digest(&[firm.as_str()]);
    let of_document = digest(&[firm.as_str(), document.as_str()]);
    format!("{PREFIX}{of_firm}/{of_document}")
}

impl S3Photos {
    /// In `bucket`, encrypted with the customer-managed key `key` (its ARN or id). Nothing is sent yet.
    pub fn new(connection: &Connection, bucket: impl Into<String>, key: impl Into<String>) -> Self {
        let mut config = aws_sdk_s3::config::Builder::from(&connection.config);
        if connection.is_emulator() {
            // Names of buckets are no names of hosts there.
            config = config.force_path_style(true);
        }
        Self {
            client: Client::from_conf(config.build()),
            bucket: bucket.into(),
            key: key.into(),
        }
    }
}

#[async_trait]
impl Photos for S3Photos {
    async fn put(&self, firm: &FirmId, document: &DocumentId, photo: PhotoBytes) -> Result<(), StateError> {
        let sent = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(object_name(firm, document))
            .server_side_encryption(ServerSideEncryption::AwsKms)
            .ssekms_key_id(&self.key)
            // Not the type that the EHR claims: an object that is opened by mistake is not shown by a browser.
            .content_type("application/octet-stream")
            .body(ByteStream::from(photo.into_exposed()))
            .send()
            .await;
        sent.map(drop).map_err(|error| meaning(&error))
    }

    async fn get(&self, firm: &FirmId, document: &DocumentId) -> Result<Option<PhotoBytes>, StateError> {
        let sent = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(object_name(firm, document))
            .send()
            .await;
        let object = match sent {
            Ok(object) => object,
            Err(error) => {
                return match error.as_service_error() {
                    Some(GetObjectError::NoSuchKey(_)) => Ok(None),
                    _ => Err(meaning(&error)),
                };
            }
        };
        let body = object.body.collect().await.map_err(|_| {
            unavailable(Failure::Unreachable {
                what: "the object was not read to its end",
            })
        })?;
        Ok(Some(Phi::new(body.into_bytes())))
    }

    async fn delete(&self, firm: &FirmId, document: &DocumentId) -> Result<(), StateError> {
        let sent = self
            .client
            .delete_object()
            .bucket(&self.bucket)
            .key(object_name(firm, document))
            .send()
            .await;
        sent.map(drop).map_err(|error| meaning(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_nothing_and_is_no_others() {
        let name = |firm: &str, document: &str| object_name(&FirmId::new(firm), &DocumentId::new(document));
        let one = name("derma", "file|139977");
        assert!(one.starts_with(PREFIX) && !one.contains("139977") && !one.contains("derma"));
        assert_eq!(one, name("derma", "file|139977"));
        for other in [
            name("derm", "afile|139977"),
            name("derma", "file|139978"),
            name("other", "file|139977"),
        ] {
            assert_ne!(one, other);
        }
    }
}
