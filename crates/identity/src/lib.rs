//! Who somebody is, by an OpenID provider: OpenID Connect Core 1.0, the authorization code flow with PKCE (RFC 7636), over an
//! injectable transport.
//!
//! # Invariants
//! - An ID token counts only with a signature by one of the provider's published keys, from the configured issuer, for this client, of
//!   this very sign-in (`nonce`), and within its time. An unsigned one never counts, nor one signed with a shared secret.
//! - Each attempt has a `state`, a `nonce` and a PKCE verifier of its own, and whoever keeps an [`Attempt`] uses it once.
//! - Nothing that a provider says is quoted in an error: texts are of this software. Codes, tokens and secrets are in none.
//!
//! A provider that fails is asked again at most every few seconds, whoever tries to sign in.

mod claims;
mod error;
mod jws;
mod provider;

pub use claims::Claims;
pub use error::{Error, TokenRefusal};
pub use provider::{Attempt, Identity, IssuerRefused, Provider, Settings, check_issuer, is_secure};
