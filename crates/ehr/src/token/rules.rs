//! How a token is asked for, as data of a profile, and which combinations cannot be.

use serde::{Deserialize, Serialize};

use crate::profile::{ProfileError, RequestRules};

/// How a token is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRules {
    /// OAuth2 grant.
    pub grant: Grant,
    /// How the client proves itself.
    pub client_authentication: ClientAuthentication,
    /// What a private key signs with; with [`ClientAuthentication::PrivateKeyJwt`] and only there.
    pub signing_algorithm: Option<SigningAlgorithm>,
    /// Where the endpoint is: starts with `{base}` or `https://`, with `{firm}` where the firm's URL prefix goes. What the
    /// operator configures goes before it.
    pub url: Option<String>,
    /// Whether the EHR says itself where the endpoint is: `{service}/.well-known/smart-configuration` (SMART App Launch
    /// 2.2, section 5.1, "Conformance").
    #[serde(default)]
    pub discovery: bool,
    /// Whether the endpoint is behind the API key as well.
    #[serde(default)]
    pub api_key: bool,
    /// `scope`, where the endpoint wants one; SMART's for a system are such as `system/DocumentReference.rs`.
    pub scope: Option<String>,
    /// The life assumed when the reply has no `expires_in`, in seconds.
    pub default_lifetime_s: u32,
}

/// OAuth2 grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grant {
    /// RFC 6749, section 4.4.
    ClientCredentials,
    /// A user's name and password, RFC 6749, section 4.3. Legacy, and gone from OAuth 2.1. A refresh token that comes
    /// with the token is used first from then on (section 6).
    Password,
}

/// OAuth2 client authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuthentication {
    /// Id and secret in the body, RFC 6749, section 2.3.1.
    ClientSecretPost,
    /// Id and secret in the `Authorization` header, each form-encoded first, RFC 6749, section 2.3.1.
    ClientSecretBasic,
    /// A signed assertion, RFC 7523, section 2.2, as SMART App Launch 2.2, section 4.1.5, profiles it ("Backend
    /// Services", "Client Authentication: Asymmetric").
    PrivateKeyJwt,
    /// None beside the user's name and password of [`Grant::Password`].
    None,
}

impl ClientAuthentication {
    /// Its name in the registry of "OAuth Token Endpoint Authentication Methods" (RFC 7591, section 2).
    pub(crate) const fn registered_name(self) -> &'static str {
        match self {
            Self::ClientSecretPost => "client_secret_post",
            Self::ClientSecretBasic => "client_secret_basic",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::None => "none",
        }
    }
}

/// What a client assertion is signed with: the two that SMART asks every server to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum SigningAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-384 (RFC 7518, section 3.3).
    #[serde(rename = "RS384")]
    Rs384,
    /// ECDSA with P-384 and SHA-384 (RFC 7518, section 3.4).
    #[serde(rename = "ES384")]
    Es384,
}

impl SigningAlgorithm {
    /// Its name in a JWT's `alg`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs384 => "RS384",
            Self::Es384 => "ES384",
        }
    }
}

/// Which kind of proof a profile asks of a firm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// A client id and its secret.
    ClientSecret,
    /// A client id, a private key for this algorithm and the key's id.
    PrivateKey(SigningAlgorithm),
    /// A user's name and password.
    Password,
}

impl TokenRules {
    /// Which kind of proof a firm needs.
    pub fn credential_kind(&self) -> CredentialKind {
        match (self.grant, self.client_authentication, self.signing_algorithm) {
            (Grant::Password, ..) => CredentialKind::Password,
            (Grant::ClientCredentials, ClientAuthentication::PrivateKeyJwt, Some(algorithm)) => {
                CredentialKind::PrivateKey(algorithm)
            }
            (Grant::ClientCredentials, ..) => CredentialKind::ClientSecret,
        }
    }

    /// Refuses what cannot work.
    pub(crate) fn check(&self, request: &RequestRules) -> Result<(), ProfileError> {
        let invalid = |key, problem| Err(ProfileError::Invalid { key, problem });
        let authentication = self.client_authentication;
        match self.grant {
            Grant::Password if authentication != ClientAuthentication::None => {
                return invalid(
                    "token.client_authentication",
                    "the password grant has the user's password and no other secret: it is \"none\"",
                );
            }
            Grant::ClientCredentials if authentication == ClientAuthentication::None => {
                return invalid(
                    "token.client_authentication",
                    "\"none\" is for the password grant: a client without a proof could be anybody",
                );
            }
            Grant::Password | Grant::ClientCredentials => {}
        }
        match (authentication, self.signing_algorithm) {
            (ClientAuthentication::PrivateKeyJwt, None) => {
                return invalid(
                    "token.signing_algorithm",
                    "a private key signs with \"RS384\" or \"ES384\"",
                );
            }
            (ClientAuthentication::PrivateKeyJwt, Some(_)) | (_, None) => {}
            (_, Some(_)) => {
                return invalid(
                    "token.signing_algorithm",
                    "nothing is signed without \"private-key-jwt\"",
                );
            }
        }
        if let Some(url) = &self.url {
            if self.discovery {
                return invalid(
                    "token.discovery",
                    "where token.url is given, nothing is left to find out",
                );
            }
            let rest = url.strip_prefix("{base}/").or_else(|| url.strip_prefix("https://"));
            let Some(rest) = rest else {
                return invalid("token.url", "it has to start with {base}/ or https://");
            };
            if rest.replace("{firm}", "").contains(['{', '}', '#']) {
                return invalid(
                    "token.url",
                    "only {base} and {firm} are filled in, and it has no fragment",
                );
            }
        }
        if self.api_key && request.api_key_header.is_none() {
            return invalid(
                "token.api_key",
                "request.api_key_header does not say which header it goes into",
            );
        }
        if self.api_key && self.discovery {
            return invalid("token.api_key", "the key does not go to an address that was found out");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::profile::{Profile, ProfileError};

    const GRANT: &str = "grant = \"client-credentials\"";
    const METHOD: &str = "client_authentication = \"client-secret-post\"";

    fn read(grant: &str, method: &str, further: &str) -> Result<Profile, ProfileError> {
        let text = Profile::shipped_text("modmed-ema").unwrap();
        assert!(text.contains(GRANT) && text.contains(METHOD));
        Profile::from_toml(&text.replacen(GRANT, &format!("grant = \"{grant}\""), 1).replacen(
            METHOD,
            &format!("client_authentication = \"{method}\"\n{further}"),
            1,
        ))
    }

    #[test]
    fn every_possible_combination_is_taken() {
        for (grant, method, further) in [
            ("client-credentials", "client-secret-post", "discovery = true"),
            ("client-credentials", "client-secret-basic", "scope = \"system/*.rs\""),
            (
                "client-credentials",
                "private-key-jwt",
                "signing_algorithm = \"RS384\"\ndiscovery = true",
            ),
            ("client-credentials", "private-key-jwt", "signing_algorithm = \"ES384\""),
            (
                "password",
                "none",
                "api_key = true\nurl = \"{base}/firm/{firm}/ema/ws/oauth2/grant\"",
            ),
            (
                "password",
                "none",
                "url = \"https://login.example/{firm}/token?realm=a\"",
            ),
        ] {
            read(grant, method, further).unwrap();
        }
    }

    #[test]
    fn impossible_combinations_are_refused_with_their_key() {
        let key = "signing_algorithm = \"ES384\"";
        for (grant, method, further, expected) in [
            ("client-credentials", "none", "", "token.client_authentication"),
            ("password", "client-secret-post", "", "token.client_authentication"),
            ("password", "private-key-jwt", key, "token.client_authentication"),
            ("client-credentials", "private-key-jwt", "", "token.signing_algorithm"),
            (
                "client-credentials",
                "client-secret-basic",
                key,
                "token.signing_algorithm",
            ),
            ("password", "none", key, "token.signing_algorithm"),
            (
                "password",
                "none",
                "url = \"{base}/a\"\ndiscovery = true",
                "token.discovery",
            ),
            ("password", "none", "url = \"http://login.example/a\"", "token.url"),
            ("password", "none", "url = \"{base}.evil.example/a\"", "token.url"),
            ("password", "none", "url = \"{base}/{tenant}/a\"", "token.url"),
            ("password", "none", "url = \"{base}/a#b\"", "token.url"),
            ("password", "none", "discovery = true\napi_key = true", "token.api_key"),
        ] {
            match read(grant, method, further) {
                Err(ProfileError::Invalid { key, .. }) => assert_eq!(key, expected, "{method} {further}"),
                other => panic!("{grant} {method} {further}: {other:?}"),
            }
        }
        for (grant, method, further) in [
            ("implicit", "none", ""),
            ("client-credentials", "private-key-jwt", "signing_algorithm = \"HS256\""),
        ] {
            let outcome = read(grant, method, further);
            assert!(matches!(outcome, Err(ProfileError::Unreadable(_))), "{outcome:?}");
        }
    }

    #[test]
    fn an_api_key_needs_its_header() {
        let text = Profile::shipped_text("modmed-ema").unwrap();
        let text = text.replacen("api_key_header = \"x-api-key\"", "", 1).replacen(
            METHOD,
            &format!("{METHOD}\napi_key = true"),
            1,
        );
        let outcome = Profile::from_toml(&text);
        assert!(
            matches!(
                outcome,
                Err(ProfileError::Invalid {
                    key: "token.api_key",
                    ..
                })
            ),
            "{outcome:?}"
        );
    }
}
