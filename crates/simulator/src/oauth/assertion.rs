//! `private_key_jwt`: a client's signed assertion (RFC 7523, as SMART Backend Services narrows it).

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use serde_json::Value;
use skin_assist_core::time::Timestamp;

use crate::state::State;

use super::Refused;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How far ahead an assertion may expire.
const LONGEST: Duration = Duration::from_mins(5);
/// How far clocks may be apart.
const SKEW: Duration = Duration::from_secs(30);

const fn refused(description: &'static str) -> Refused {
    Refused::client(StatusCode::BAD_REQUEST, description)
}

/// An assertion taken apart, not yet believed.
struct Parts<'text> {
    signed: &'text str,
    header: Value,
    claims: Value,
    signature: Vec<u8>,
}

fn parse(assertion: &str) -> Option<Parts<'_>> {
    let (signed, signature) = assertion.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let json = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    Some(Parts {
        signed,
        header: json(header)?,
        claims: json(claims)?,
        signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
    })
}

fn seconds(claims: &Value, name: &str) -> Option<Timestamp> {
    let seconds = claims[name].as_i64()?;
    Some(Timestamp::from_millis(seconds.saturating_mul(1_000)))
}

impl State {
    /// The firm whose client signed this, when everything about it is right. It is good once.
    pub(super) fn client_of_assertion(
        &mut self,
        now: Timestamp,
        kind: &str,
        assertion: &str,
    ) -> Result<String, Refused> {
        if kind != ASSERTION_TYPE {
            return Err(refused("client_assertion_type is to be jwt-bearer"));
        }
        let parts = parse(assertion).ok_or(refused("the client_assertion is no JWT"))?;
        let claims = &parts.claims;
        let issuer = claims["iss"].as_str().unwrap_or_default();
        let firm = self
            .firms
            .iter()
            .find(|firm| firm.client_id == issuer)
            .ok_or(refused("iss is no client"))?;
        if claims["sub"] != claims["iss"] {
            return Err(refused("sub is to be iss"));
        }
        let key = firm.spec.public_key.as_ref();
        let key = key
            .filter(|_| !firm.secret_revoked)
            .ok_or(refused("no key is registered"))?;
        if parts.header["alg"] != key.algorithm() {
            return Err(refused("alg is not the registered key's"));
        }
        if !key.verifies(parts.signed.as_bytes(), &parts.signature) {
            return Err(refused("the signature is wrong"));
        }
        let audience = &claims["aud"];
        let token_url = self.token_url();
        let is_meant = match audience.as_array() {
            Some(several) => several.iter().any(|one| *one == *token_url),
            None => *audience == *token_url,
        };
        if !is_meant {
            return Err(refused("aud is to be the token endpoint"));
        }
        let clock = self.shown(now);
        let expires_at = seconds(claims, "exp").ok_or(refused("exp is missing"))?;
        if expires_at + SKEW < clock {
            return Err(refused("the assertion has expired"));
        }
        if expires_at > clock + LONGEST + SKEW {
            return Err(refused("exp is more than five minutes ahead"));
        }
        if seconds(claims, "nbf").is_some_and(|from| from > clock + SKEW) {
            return Err(refused("nbf is ahead"));
        }
        let id = claims["jti"].as_str().filter(|id| !id.is_empty());
        let id = id.ok_or(refused("jti is missing"))?.to_owned();
        let prefix = firm.spec.prefix.clone();
        if !self.assertions_seen.insert((prefix.clone(), id)) {
            return Err(refused("jti was used before"));
        }
        Ok(prefix)
    }
}
