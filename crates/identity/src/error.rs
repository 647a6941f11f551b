//! Why nobody is known to have signed in.

/// An attempt to sign in failed at the provider, or by what it sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not answer, or not within the limits.
    #[error("the identity provider cannot be reached: {what}")]
    Unavailable {
        /// What happened.
        what: &'static str,
    },
    /// What it says of itself, or answers, cannot be used.
    #[error("the identity provider's answer cannot be used: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// It does not take the code, or this client.
    #[error("the identity provider refused: {code}")]
    Refused {
        /// Its word (RFC 6749, section 5.2).
        code: &'static str,
    },
    /// The ID token does not prove anything.
    #[error("the ID token is refused: {0}")]
    Token(#[from] TokenRefusal),
    /// The system gave no random numbers.
    #[error("the system has no random numbers")]
    NoRandomNumbers,
}

/// Why an ID token is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// Not a signed token in three parts, or a claim that has to be there is missing or of the wrong type.
    #[error("it is not a token as OpenID Connect has it")]
    Malformed,
    /// `none`, a shared secret, or something unknown.
    #[error("it is not signed with one of the algorithms that are allowed")]
    Algorithm,
    /// Signed with a key that the provider does not publish.
    #[error("it is signed with a key that the provider does not publish")]
    UnknownKey,
    /// The signature is wrong.
    #[error("its signature is wrong")]
    Signature,
    /// Of another issuer.
    #[error("it is of another issuer")]
    Issuer,
    /// For another client.
    #[error("it is for another client")]
    Audience,
    /// Over.
    #[error("it has expired")]
    Expired,
    /// Issued in the future.
    #[error("it is not valid yet")]
    NotYetValid,
    /// Of another sign-in.
    #[error("it is of another sign-in")]
    Nonce,
}

impl Error {
    /// A stable code, for logs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "provider-unavailable",
            Self::Malformed { .. } => "provider-malformed",
            Self::Refused { .. } => "provider-refused",
            Self::Token(refusal) => match refusal {
                TokenRefusal::Malformed => "token-malformed",
                TokenRefusal::Algorithm => "token-algorithm",
                TokenRefusal::UnknownKey => "token-unknown-key",
                TokenRefusal::Signature => "token-signature",
                TokenRefusal::Issuer => "token-issuer",
                TokenRefusal::Audience => "token-audience",
                TokenRefusal::Expired => "token-expired",
                TokenRefusal::NotYetValid => "token-not-yet-valid",
                TokenRefusal::Nonce => "token-nonce",
            },
            Self::NoRandomNumbers => "no-random-numbers",
        }
    }

    /// What a person can do about it.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "try again in a moment; `skin-assist doctor` asks the provider, too",
            Self::Malformed { .. } => {
                "compare openid_connect.issuer with the issuer that the provider names, letter by letter"
            }
            Self::Refused { code } => match code.as_bytes() {
                b"invalid_client" | b"unauthorized_client" => {
                    "compare openid_connect.client_id and client_secret_file with what the provider has registered"
                }
                b"invalid_grant" => "begin again: a code is good once, and for a short time",
                _ => "look at what the provider has registered for this client",
            },
            Self::Token(TokenRefusal::Expired | TokenRefusal::NotYetValid) => {
                "compare the clocks of this machine and of the provider"
            }
            Self::Token(TokenRefusal::Algorithm) => {
                "have the provider sign ID tokens of this client with RS256, ES256 or another algorithm of public keys"
            }
            Self::Token(_) => "begin again; if it stays so, tell who runs the identity provider",
            Self::NoRandomNumbers => "check the operating system",
        }
    }
}
