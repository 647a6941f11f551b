//! A key pair for `private_key_jwt`: the private half for a client, the public half for the practice EHR.

use skin_assist_core::phi::Secret;
use skin_assist_ehr::ClientKey;
use skin_assist_simulator::PublicKey;

/// A fresh ES384 key pair.
///
/// # Panics
/// When the system has no random numbers, or the client does not give its public half as RFC 7518 says.
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
pub fn client_key_pair() -> (Secret, PublicKey) {
    let (key, pem) = ClientKey::generate().unwrap();
    (pem, PublicKey::from_jwk_set(&key.jwk_set("test").to_string()).unwrap())
}
