//! What an ID token claims, and whether it is meant for this sign-in.

use std::time::Duration;

use serde_json::{Map, Value};
use skin_assist_core::time::Timestamp;

use crate::error::TokenRefusal;

/// By so much clocks may differ.
const LEEWAY: Duration = Duration::from_secs(60);

/// OpenID Connect Core 1.0, section 2.
const LONGEST_SUBJECT: usize = 255;

/// What a provider says of a person.
#[derive(Clone)]
pub struct Claims(Map<String, Value>);

/// For whom a token has to be.
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) nonce: &'a str,
}

impl Claims {
    /// The claims of a token whose signature was verified, if it is of this sign-in (OpenID Connect Core 1.0, section 3.1.3.7).
    pub(crate) fn checked(claims: Value, expected: &Expected<'_>, now: Timestamp) -> Result<Self, TokenRefusal> {
        let Value::Object(claims) = claims else {
            return Err(TokenRefusal::Malformed);
        };
        let claims = Self(claims);
        if claims.text("iss") != Some(expected.issuer) {
            return Err(TokenRefusal::Issuer);
        }
        claims.is_for(expected.client_id)?;
        if claims.time("exp")?.ok_or(TokenRefusal::Malformed)? + LEEWAY <= now {
            return Err(TokenRefusal::Expired);
        }
        let issued = claims.time("iat")?.ok_or(TokenRefusal::Malformed)?;
        if issued > now + LEEWAY || claims.time("nbf")?.is_some_and(|from| from > now + LEEWAY) {
            return Err(TokenRefusal::NotYetValid);
        }
        if claims.text("nonce") != Some(expected.nonce) {
            return Err(TokenRefusal::Nonce);
        }
        let subject = claims.subject();
        let is_fit =
            (1..=LONGEST_SUBJECT).contains(&subject.len()) && subject.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_fit {
            return Err(TokenRefusal::Malformed);
        }
        Ok(claims)
    }

    /// `aud` names this client; with others beside it, or wherever `azp` says for whom it is, that has to be this client, too.
    fn is_for(&self, client_id: &str) -> Result<(), TokenRefusal> {
        let (is_named, are_others) = match self.0.get("aud") {
            Some(Value::String(audience)) => (audience == client_id, false),
            Some(Value::Array(audiences)) => (
                audiences.iter().any(|audience| audience == client_id),
                audiences.len() > 1,
            ),
            _ => return Err(TokenRefusal::Malformed),
        };
        let is_authorized = match self.0.get("azp") {
            Some(party) => party == client_id,
            None => !are_others,
        };
        (is_named && is_authorized).then_some(()).ok_or(TokenRefusal::Audience)
    }

    /// Who it is: the one name that never goes to somebody else.
    pub fn subject(&self) -> &str {
        self.text("sub").unwrap_or_default()
    }

    /// A claim that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// Whether a claim says that something is not so.
    pub fn denies(&self, name: &str) -> bool {
        matches!(self.0.get(name), Some(Value::Bool(false)))
    }

    /// Whether there is such a claim.
    pub(crate) fn has(&self, path: &str) -> bool {
        found(&self.0, path).is_some()
    }

    /// The values of a claim: a text, a list of texts, or the names of an object's members. Its name may be a path with dots
    /// (`realm_access.roles`); a claim whose own name has dots goes before.
    pub fn values(&self, path: &str) -> Vec<&str> {
        match found(&self.0, path) {
            Some(Value::String(value)) => vec![value],
            Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
            Some(Value::Object(members)) => members.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// Takes further claims over about the same person; what is known already stays.
    pub(crate) fn extend(&mut self, further: Map<String, Value>) {
        for (name, value) in further {
            self.0.entry(name).or_insert(value);
        }
    }

    /// A time in seconds since the Unix epoch, with or without a fraction (RFC 7519, section 2).
    fn time(&self, name: &str) -> Result<Option<Timestamp>, TokenRefusal> {
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        let seconds = value.as_f64().ok_or(TokenRefusal::Malformed)?;
        Ok(Some(Timestamp::from_millis((seconds * 1000.0) as i64)))
    }
}

fn found<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    claims.get(path).or_else(|| {
        let mut dots = path.match_indices('.').map(|(at, _)| at);
        dots.find_map(|at| found(claims.get(&path[..at])?.as_object()?, &path[at + 1..]))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn sound() -> Value {
        json!({
            "iss": "https://identity.example.org", "sub": "248289761001", "aud": "console", "nonce": "n",
            "exp": 1_800_000_300, "iat": 1_800_000_000,
        })
    }

    fn checked(change: impl FnOnce(&mut Value)) -> Result<Claims, TokenRefusal> {
        let mut claims = sound();
        change(&mut claims);
        let expected = Expected {
            issuer: "https://identity.example.org",
            client_id: "console",
            nonce: "n",
        };
        Claims::checked(claims, &expected, NOW)
    }

    #[test]
    fn each_claim_has_to_be_right() {
        assert_eq!(checked(|_| {}).ok().unwrap().subject(), "248289761001");
        let refused = |name: &str, value: Value, expected| {
            let outcome = checked(|claims| claims[name] = value.clone());
            assert_eq!(outcome.err(), expected, "{name} = {value}");
        };
        refused(
            "iss",
            json!("https://identity.example.org/"),
            Some(TokenRefusal::Issuer),
        );
        refused("iss", json!(1), Some(TokenRefusal::Issuer));
        refused("aud", json!("another"), Some(TokenRefusal::Audience));
        refused("aud", json!(["console"]), None);
        refused("aud", json!(["console", "another"]), Some(TokenRefusal::Audience));
        refused("aud", json!([]), Some(TokenRefusal::Audience));
        refused("aud", Value::Null, Some(TokenRefusal::Malformed));
        refused("azp", json!("another"), Some(TokenRefusal::Audience));
        refused("azp", json!("console"), None);
        refused("nonce", json!("m"), Some(TokenRefusal::Nonce));
        refused("sub", json!(""), Some(TokenRefusal::Malformed));
        refused("sub", json!("a b"), Some(TokenRefusal::Malformed));
        refused("sub", json!("x".repeat(256)), Some(TokenRefusal::Malformed));
        refused("exp", json!(1_799_999_940), Some(TokenRefusal::Expired));
        refused("exp", json!(1_799_999_941), None);
        // A time that is no number is no time: it must not pass for a missing one.
        refused("exp", json!("1900000000"), Some(TokenRefusal::Malformed));
        refused("iat", json!(1_800_000_061), Some(TokenRefusal::NotYetValid));
        refused("iat", json!(1_800_000_060), None);
        refused("iat", json!("now"), Some(TokenRefusal::Malformed));
        refused("nbf", json!(1_800_000_061), Some(TokenRefusal::NotYetValid));
        refused("nbf", json!("tomorrow"), Some(TokenRefusal::Malformed));
        for missing in ["iss", "sub", "aud", "exp", "iat", "nonce"] {
            let without = checked(|claims| drop(claims.as_object_mut().unwrap().remove(missing)));
            assert!(without.is_err(), "without {missing}");
        }
        let both = checked(|claims| {
            claims["aud"] = json!(["console", "another"]);
            claims["azp"] = json!("console");
        });
        assert!(both.is_ok());
    }

    #[test]
    fn a_claim_is_found_by_its_name_or_its_path() {
        let claims = checked(|claims| {
            claims["groups"] = json!(["a", "b", 3]);
            claims["realm_access"] = json!({"roles": ["c"]});
            claims["https://example.org/roles"] = json!("d");
            claims["resource_access"] = json!({"skin.assist": {"roles": ["e"]}});
            claims["urn:roles"] = json!({"f": {"1": "org"}});
        });
        let claims = claims.ok().unwrap();
        for (path, expected) in [
            ("groups", vec!["a", "b"]),
            ("realm_access.roles", vec!["c"]),
            ("https://example.org/roles", vec!["d"]),
            ("resource_access.skin.assist.roles", vec!["e"]),
            ("urn:roles", vec!["f"]),
            ("realm_access.groups", vec![]),
            ("exp", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(claims.values(path), expected, "{path}");
        }
    }
}
