//! A key pair for `private_key_jwt`: the private half for a client, the public half for the practice EHR.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
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
    let jwk = &key.jwk_set("test")["keys"][0];
    let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    // An uncompressed point: SEC 1, section 2.3.3.
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    (pem, PublicKey::Es384(point))
}
