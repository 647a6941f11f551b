//! Signatures as Standard Webhooks has them: `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use skin_assist_core::phi::Secret;

/// How long a key is: 24 to 64 bytes are allowed.
pub const KEY_BYTES: usize = 32;

const PREFIX: &str = "whsec_";

/// The text is no signing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signing key is `whsec_` and base64")]
pub struct InvalidKey;

/// A key as subscribers know it.
pub fn encode_key(bytes: &[u8; KEY_BYTES]) -> Secret {
    Secret::new(format!("{PREFIX}{}", STANDARD.encode(bytes)))
}

/// The header `webhook-signature` of a message that is sent at `timestamp`, in seconds since the Unix epoch.
///
/// # Errors
/// [`InvalidKey`] when the key is none.
pub fn sign(key: &Secret, id: &str, timestamp: i64, body: &[u8]) -> Result<String, InvalidKey> {
    let encoded = key.expose().strip_prefix(PREFIX).ok_or(InvalidKey)?;
    let bytes = STANDARD.decode(encoded).map_err(|_| InvalidKey)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&bytes).map_err(|_| InvalidKey)?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's libraries.
    #[test]
    fn signs_as_others_do() {
        let key = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let signed = sign(
            &key,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            b"{\"test\": 2432232314}",
        );
        assert_eq!(signed.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(sign(&Secret::new("whsec_?".to_owned()), "", 0, b"").is_err());
        assert!(sign(&Secret::new("MfKQ".to_owned()), "", 0, b"").is_err());
        let made = encode_key(&[7; KEY_BYTES]);
        assert!(sign(&made, "", 0, b"").is_ok());
    }
}
