//! What proves us to an EHR, in Secrets Manager.
//!
//! A firm's credential in the state names a secret there by its ARN, in the place of the proof; [`VaultedTokenEndpoint`] puts the
//! proof in when a token is asked for. So the state holds tokens, which end within the hour, and no proof.
//!
//! # Rotation
//! A secret is remembered for [`REMEMBERED_FOR`]. When the endpoint refuses what was sent, the secret is read anew, and if it is
//! another by now, it is sent once more: a rotation costs one refused request, and an endpoint that refuses the current proof
//! is not asked twice.
//!
//! # When it fails
//! What an error says never quotes the secret or an answer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use aws_sdk_secretsmanager::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
};
use serde::Deserialize;
use skin_assist_core::{
    domain::{Credential, Firm, IssuedToken},
    phi::Secret,
    ports::{EhrError, TokenEndpoint},
    time::{Clock, Timestamp},
};
use zeroize::Zeroize as _;

use crate::connection::Connection;

/// For how long a secret that was read is used without looking again.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(5 * 60);

/// The fewest characters of what keys are wrapped under: 32 random bytes, as base64.
const FEWEST_OF_A_KEY: usize = 43;

/// What is wrong with a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is none of this name, or it is being deleted.
    #[error("Secrets Manager has no such secret")]
    NotFound,
    /// We may not read it, or not decrypt it with its key.
    #[error("Secrets Manager does not give us the secret ({code})")]
    Denied {
        /// The service's own code.
        code: String,
    },
    /// It does not have the form that is asked for.
    #[error("the secret does not have the right form: {what}")]
    WrongShape {
        /// What is wrong, in our words.
        what: &'static str,
    },
    /// It could not be asked.
    #[error("Secrets Manager cannot be reached: {what}")]
    Unavailable {
        /// What happened: our words, or the service's own code.
        what: String,
    },
}

impl Error {
    /// A stable name, by which a state machine can tell one from another.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NotFound => "SecretNotFound",
            Self::Denied { .. } => "SecretDenied",
            Self::WrongShape { .. } => "SecretWrongShape",
            Self::Unavailable { .. } => "SecretsUnavailable",
        }
    }
}

impl From<Error> for EhrError {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound => Self::CredentialUnusable {
                what: "Secrets Manager has no such secret",
            },
            Error::Denied { .. } => Self::CredentialUnusable {
                what: "Secrets Manager does not give us the secret",
            },
            Error::WrongShape { what } => Self::CredentialUnusable { what },
            Error::Unavailable { .. } => Self::Unavailable {
                what: "Secrets Manager cannot be reached",
            },
        }
    }
}

/// A firm's proof, as its secret has it: a JSON object with `client_secret`, or `private_key` and `key_id`, or `password`; and
/// with `client_id` where that is kept there too.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proof {
    /// OAuth2 `client_id`, where the secret names one.
    pub client_id: Option<String>,
    /// The proof itself.
    pub secret: Secret,
    /// The name of a private key.
    pub key_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    client_id: Option<String>,
    client_secret: Option<String>,
    private_key: Option<String>,
    password: Option<String>,
    key_id: Option<String>,
    api_key: Option<String>,
}

fn form(text: &Secret) -> Result<Form, Error> {
    // The decoder's own words may quote what it could not read.
    serde_json::from_str(text.expose()).map_err(|_| Error::WrongShape {
        what: "it is no JSON object of the known keys",
    })
}

/// The firm's proof in a secret.
fn proof(text: &Secret) -> Result<Proof, Error> {
    let form = form(text)?;
    drop(form.api_key.map(Secret::new));
    let mut proofs = [form.client_secret, form.private_key, form.password]
        .into_iter()
        .flatten()
        .map(Secret::new);
    match (proofs.next(), proofs.next()) {
        (Some(secret), None) if !secret.is_empty() => Ok(Proof {
            client_id: form.client_id,
            secret,
            key_id: form.key_id,
        }),
        (Some(_), None) => Err(Error::WrongShape {
            what: "its proof is empty",
        }),
        (None, _) => Err(Error::WrongShape {
            what: "it has none of client_secret, private_key and password",
        }),
        (Some(_), Some(_)) => Err(Error::WrongShape {
            what: "it has more than one of client_secret, private_key and password",
        }),
    }
}

/// The EHR's API key in a secret: `{"api_key": "..."}`.
fn api_key(text: &Secret) -> Result<Secret, Error> {
    form(text)?
        .api_key
        .map(Secret::new)
        .filter(|key| !key.is_empty())
        .ok_or(Error::WrongShape {
            what: "it has no api_key",
        })
}

/// Whether a proof in the state is the name of a secret.
pub fn is_name(proof: &Secret) -> bool {
    let mut parts = proof.expose().split(':');
    parts.next() == Some("arn") && parts.nth(1) == Some("secretsmanager")
}

/// Secrets by their ARN.
pub struct Secrets {
    client: Client,
    clock: Arc<dyn Clock>,
    remembered: Mutex<HashMap<String, (Timestamp, Secret)>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secrets")
    }
}

impl Secrets {
    /// Nothing is sent yet.
    pub fn new(connection: &Connection, clock: Arc<dyn Clock>) -> Self {
        Self {
            client: Client::new(&connection.config),
            clock,
            remembered: Mutex::default(),
        }
    }

    /// A firm's proof.
    pub async fn proof(&self, arn: &str) -> Result<Proof, Error> {
        proof(&self.text(arn).await?)
    }

    /// The EHR's API key.
    pub async fn api_key(&self, arn: &str) -> Result<Secret, Error> {
        api_key(&self.text(arn).await?)
    }

    /// What the keys of practices are wrapped under: the secret's text as it is.
    pub async fn firm_keys(&self, arn: &str) -> Result<Secret, Error> {
        let text = self.text(arn).await?;
        if text.expose().len() < FEWEST_OF_A_KEY {
            return Err(Error::WrongShape {
                what: "it has fewer than 43 characters",
            });
        }
        Ok(text)
    }

    /// Looks again at the next asking: what was read was refused.
    pub fn forget(&self, arn: &str) {
        self.remembered().remove(arn);
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Timestamp, Secret)>> {
        // Nothing that can panic runs under the lock.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn text(&self, arn: &str) -> Result<Secret, Error> {
        let now = self.clock.now();
        if let Some((read_at, secret)) = self.remembered().get(arn)
            && now.since(*read_at) < REMEMBERED_FOR
        {
            return Ok(secret.clone());
        }
        let sent = self.client.get_secret_value().secret_id(arn).send().await;
        let mut answer = sent.map_err(|error| meaning(&error))?;
        if let Some(binary) = answer.secret_binary.take() {
            let mut bytes = binary.into_inner();
            bytes.zeroize();
        }
        let secret = answer.secret_string.take().map(Secret::new).ok_or(Error::WrongShape {
            what: "it is binary, not text",
        })?;
        self.remembered().insert(arn.to_owned(), (now, secret.clone()));
        Ok(secret)
    }
}

fn meaning<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Error {
    let SdkError::ServiceError(answer) = error else {
        let what = match error {
            SdkError::TimeoutError(_) => "a time-out",
            SdkError::DispatchFailure(_) => "no connection, or no credentials",
            _ => "the answer cannot be read",
        };
        return Error::Unavailable { what: what.to_owned() };
    };
    let code = answer.err().code().unwrap_or("an error without a code").to_owned();
    match code.as_str() {
        "ResourceNotFoundException" | "InvalidRequestException" => Error::NotFound,
        "AccessDeniedException" | "DecryptionFailure" | "InvalidParameterException" => Error::Denied { code },
        _ => Error::Unavailable { what: code },
    }
}

/// A token endpoint that is given the proofs from Secrets Manager.
pub struct VaultedTokenEndpoint {
    endpoint: Arc<dyn TokenEndpoint>,
    secrets: Arc<Secrets>,
}

impl VaultedTokenEndpoint {
    /// In front of `endpoint`.
    pub fn new(endpoint: Arc<dyn TokenEndpoint>, secrets: Arc<Secrets>) -> Self {
        Self { endpoint, secrets }
    }
}

fn with(credential: &Credential, proof: Proof) -> Credential {
    let mut proved = credential.clone();
    proved.client_secret = proof.secret;
    if let Some(client_id) = proof.client_id {
        proved.client_id = client_id;
    }
    proved.key_id = proof.key_id.or(proved.key_id);
    proved
}

#[async_trait]
impl TokenEndpoint for VaultedTokenEndpoint {
    async fn request_token(
        &self,
        firm: &Firm,
        credential: &Credential,
        now: Timestamp,
    ) -> Result<IssuedToken, EhrError> {
        if !is_name(&credential.client_secret) {
            return self.endpoint.request_token(firm, credential, now).await;
        }
        let arn = credential.client_secret.expose();
        let proof = self.secrets.proof(arn).await?;
        let answer = self
            .endpoint
            .request_token(firm, &with(credential, proof.clone()), now)
            .await;
        let Err(EhrError::CredentialRefused { .. } | EhrError::Unauthorized) = answer else {
            return answer;
        };
        self.secrets.forget(arn);
        let current = self.secrets.proof(arn).await?;
        if current == proof {
            return answer;
        }
        self.endpoint.request_token(firm, &with(credential, current), now).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn each_kind_of_proof_is_read() {
        let read = |json: &str| proof(&text(json)).unwrap();
        let secret = read(r#"{"client_id": "c", "client_secret": "s"}"#);
        assert_eq!((secret.client_id.as_deref(), secret.secret.expose()), (Some("c"), "s"));
        let key = read(r#"{"private_key": "PEM", "key_id": "k"}"#);
        assert_eq!((key.key_id.as_deref(), key.secret.expose()), (Some("k"), "PEM"));
        assert_eq!(read(r#"{"password": "p"}"#).secret.expose(), "p");
        assert_eq!(api_key(&text(r#"{"api_key": "a"}"#)).unwrap().expose(), "a");
    }

    #[test]
    fn a_wrong_form_is_named_and_never_quoted() {
        for json in [
            "hunter2",
            r#"{"client_secret": 7, "note": "hunter2"}"#,
            r#"{"secret": "hunter2"}"#,
            r#"{"client_secret": "hunter2", "password": "hunter2"}"#,
            r#"{"client_secret": ""}"#,
            r#"{"api_key": "hunter2"}"#,
        ] {
            let error = proof(&text(json)).unwrap_err();
            assert_eq!(error.name(), "SecretWrongShape", "{json}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
        assert!(api_key(&text(r#"{"client_secret": "s"}"#)).is_err());
    }

    #[test]
    fn the_name_of_a_secret_is_told_from_a_proof() {
        assert!(is_name(&text(
            "arn:aws:secretsmanager:eu-central-1:123456789012:secret:ehr/derma-AbCdEf"
        )));
        assert!(is_name(&text("arn:aws-us-gov:secretsmanager:us-gov-west-1:1:secret:x")));
        for proof in ["s3cret", "arn:aws:iam::1:role/x", "-----BEGIN PRIVATE KEY-----"] {
            assert!(!is_name(&text(proof)));
        }
    }
}
