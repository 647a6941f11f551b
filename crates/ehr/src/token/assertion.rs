//! Client assertions: `private_key_jwt`.
//!
//! By RFC 7523, section 2.2, as SMART App Launch 2.2 profiles it ("Client Authentication: Asymmetric", section 5.2.2.1):
//! the header has `alg`, `kid` and `typ`; the claims are `iss` and `sub` (the client id), `aud` (the endpoint's URL),
//! `exp` (at most five minutes ahead) and `jti` (never twice). `iat` and `nbf` are not asked for, and a server whose clock
//! is behind refuses an assertion for them.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;
use skin_assist_core::{domain::Credential, phi::Secret, ports::EhrError, time::Timestamp};
use url::Url;

use super::SigningAlgorithm;
use crate::client_key::{ClientKey, KeyError};

/// `client_assertion_type` (RFC 7523, section 2.2).
pub(super) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How long an assertion holds: SMART allows five minutes, and the clocks need not agree to the second.
const LIFE: Duration = Duration::from_secs(240);

/// An assertion that this credential's client is who it says, to this endpoint, by the endpoint's clock.
pub(super) fn assertion(
    credential: &Credential,
    algorithm: SigningAlgorithm,
    endpoint: &Url,
    server_now: Timestamp,
) -> Result<Secret, EhrError> {
    let key = ClientKey::read_for(&credential.client_secret, algorithm).map_err(unusable)?;
    let key_id = credential.key_id.as_deref().ok_or(EhrError::CredentialUnusable {
        what: "its key has no id",
    })?;
    let header = json!({ "alg": algorithm.as_str(), "kid": key_id, "typ": "JWT" });
    let claims = json!({
        "iss": credential.client_id,
        "sub": credential.client_id,
        "aud": endpoint.as_str(),
        "exp": (server_now + LIFE).as_millis() / 1000,
        "jti": fresh_id()?,
    });
    let part = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let message = format!("{}.{}", part(&header), part(&claims));
    let signature = key.sign(message.as_bytes()).map_err(unusable)?;
    Ok(Secret::new(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))))
}

/// 128 random bits: no two are the same, in whatever process.
fn fresh_id() -> Result<String, EhrError> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| unusable(KeyError::NoRandomNumbers))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What a key that signs nothing means to the firm. The error's own text is for whoever gives the key.
const fn unusable(error: KeyError) -> EhrError {
    let what = match error {
        KeyError::OtherAlgorithm { .. } => "its private key is not one for the profile's algorithm",
        KeyError::NoRandomNumbers => {
            return EhrError::Unavailable {
                what: "the system has no random numbers to sign with",
            };
        }
        KeyError::NotPem | KeyError::Public | KeyError::Sec1 | KeyError::Encrypted | KeyError::Unusable => {
            "its private key cannot be read"
        }
    };
    EhrError::CredentialUnusable { what }
}
