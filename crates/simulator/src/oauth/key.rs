//! A client's registered public key.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::signature::{ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA384, UnparsedPublicKey};

/// A client's public key, for one algorithm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// A point on P-384, uncompressed: what `ring`'s key pair gives as its public key.
    Es384(Vec<u8>),
    /// An `RSAPublicKey` in DER (PKCS #1): what `ring`'s key pair gives as its public key.
    Rs384(Vec<u8>),
}

/// The text is no public key that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a public key: PEM (SubjectPublicKeyInfo) for RSA or P-384, or a JWK Set with one key on P-384")]
pub struct KeyError;

/// 1.2.840.113549.1.1.1.
const RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
/// 1.2.840.10045.2.1.
const ELLIPTIC_CURVE: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
/// An uncompressed point on P-384: 4, and two coordinates.
const POINT_BYTES: usize = 97;

impl PublicKey {
    /// From `-----BEGIN PUBLIC KEY-----`.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let begun = pem.split_once("-----BEGIN PUBLIC KEY-----").ok_or(KeyError)?.1;
        let text = begun.split_once("-----END PUBLIC KEY-----").ok_or(KeyError)?.0;
        let text: String = text.split_whitespace().collect();
        let der = STANDARD.decode(text).map_err(|_| KeyError)?;
        Self::from_spki(&der).ok_or(KeyError)
    }

    /// From a JWK Set with one key, on P-384 (RFC 7517, RFC 7518 section 6.2.1): what a client gives to be registered.
    pub fn from_jwk_set(text: &str) -> Result<Self, KeyError> {
        let set: serde_json::Value = serde_json::from_str(text).map_err(|_| KeyError)?;
        let key = set["keys"].as_array().and_then(|keys| keys.first()).ok_or(KeyError)?;
        if key["kty"] != "EC" || key["crv"] != "P-384" {
            return Err(KeyError);
        }
        let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap_or_default());
        let (Ok(x), Ok(y)) = (coordinate("x"), coordinate("y")) else {
            return Err(KeyError);
        };
        // An uncompressed point: SEC 1, section 2.3.3.
        let point = [vec![4], x, y].concat();
        if point.len() == POINT_BYTES {
            Ok(Self::Es384(point))
        } else {
            Err(KeyError)
        }
    }

    fn from_spki(der: &[u8]) -> Option<Self> {
        let (body, _) = element(der, 0x30)?;
        let (algorithm, rest) = element(body, 0x30)?;
        let (name, _) = element(algorithm, 0x06)?;
        let (bits, _) = element(rest, 0x03)?;
        let (unused, key) = bits.split_first()?;
        match name {
            _ if *unused != 0 => None,
            RSA => Some(Self::Rs384(key.to_vec())),
            ELLIPTIC_CURVE if key.len() == POINT_BYTES => Some(Self::Es384(key.to_vec())),
            _ => None,
        }
    }

    /// The JWT's name for it.
    pub const fn algorithm(&self) -> &'static str {
        match self {
            Self::Es384(_) => "ES384",
            Self::Rs384(_) => "RS384",
        }
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Es384(key) => UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key).verify(message, signature),
            Self::Rs384(key) => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA384, key).verify(message, signature),
        }
        .is_ok()
    }
}

/// The content of the DER element with this tag that comes first, and what comes after it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
        let fits = bytes.len() <= 4;
        let length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        (fits.then_some(length)?, rest)
    };
    (*found == tag).then(|| rest.split_at_checked(length)).flatten()
}
