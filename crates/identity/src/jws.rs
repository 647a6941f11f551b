//! Signatures of ID tokens: JWS in its compact form (RFC 7515) with the algorithms of public keys (RFC 7518, RFC 8037), and the
//! provider's keys as a JWK Set (RFC 7517).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;
use serde_json::Value;

use crate::error::TokenRefusal;

/// A provider publishes a handful: one in use, the next, the former.
const MOST_KEYS: usize = 50;

/// How one algorithm's signatures are verified.
enum Verification {
    Rsa(&'static RsaParameters),
    /// On this curve, with coordinates of so many bytes.
    Elliptic(&'static str, usize, &'static dyn VerificationAlgorithm),
    Edwards(&'static dyn VerificationAlgorithm),
}

/// What is believed. Whoever asks for anything else, `none` and shared secrets (`HS…`) among it, is refused before a key is looked for.
const ALGORITHMS: [(&str, Verification); 9] = [
    ("RS256", Verification::Rsa(&RSA_PKCS1_2048_8192_SHA256)),
    ("RS384", Verification::Rsa(&RSA_PKCS1_2048_8192_SHA384)),
    ("RS512", Verification::Rsa(&RSA_PKCS1_2048_8192_SHA512)),
    ("PS256", Verification::Rsa(&RSA_PSS_2048_8192_SHA256)),
    ("PS384", Verification::Rsa(&RSA_PSS_2048_8192_SHA384)),
    ("PS512", Verification::Rsa(&RSA_PSS_2048_8192_SHA512)),
    ("ES256", Verification::Elliptic("P-256", 32, &ECDSA_P256_SHA256_FIXED)),
    ("ES384", Verification::Elliptic("P-384", 48, &ECDSA_P384_SHA384_FIXED)),
    ("EdDSA", Verification::Edwards(&ED25519)),
];

/// The keys that a provider signs with.
#[derive(Debug, Deserialize)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
}

/// One key, as it is published; members of kinds that are not known are left out.
#[derive(Debug, Deserialize)]
struct Key {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    for_use: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that have to be understood: none is.
    crit: Option<Value>,
}

fn decoded(text: &str) -> Result<Vec<u8>, TokenRefusal> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenRefusal::Malformed)
}

/// What a token claims, after its signature was verified.
///
/// # Errors
/// [`TokenRefusal::UnknownKey`] where other keys may help: the one that is named is not there, or none is named and none fits.
pub(crate) fn verified(token: &str, keys: &KeySet) -> Result<Value, TokenRefusal> {
    let (message, signature) = token.rsplit_once('.').ok_or(TokenRefusal::Malformed)?;
    let (header, claims) = message.split_once('.').ok_or(TokenRefusal::Malformed)?;
    let header: Header = serde_json::from_slice(&decoded(header)?).map_err(|_| TokenRefusal::Malformed)?;
    let (_, verification) = ALGORITHMS
        .iter()
        .find(|(name, _)| *name == header.alg)
        .ok_or(TokenRefusal::Algorithm)?;
    if header.crit.is_some() {
        return Err(TokenRefusal::Malformed);
    }
    let (signature, claims) = (decoded(signature)?, decoded(claims)?);
    let mut candidates = keys
        .keys
        .iter()
        .take(MOST_KEYS)
        .filter(|key| key.fits(&header))
        .peekable();
    let is_known = header.kid.is_some() && candidates.peek().is_some();
    if candidates.any(|key| key.signed(verification, message.as_bytes(), &signature)) {
        return serde_json::from_slice(&claims).map_err(|_| TokenRefusal::Malformed);
    }
    Err(if is_known {
        TokenRefusal::Signature
    } else {
        TokenRefusal::UnknownKey
    })
}

impl Key {
    /// Whether it may have signed a token of this header.
    fn fits(&self, header: &Header) -> bool {
        self.for_use.as_deref().is_none_or(|what| what == "sig")
            && self.alg.as_deref().is_none_or(|alg| alg == header.alg)
            && header.kid.as_deref().is_none_or(|kid| self.kid.as_deref() == Some(kid))
    }

    fn signed(&self, verification: &Verification, message: &[u8], signature: &[u8]) -> bool {
        let part = |text: &Option<String>| decoded(text.as_deref()?).ok();
        let verify = || match (self.kty.as_str(), verification) {
            ("RSA", Verification::Rsa(parameters)) => {
                let key = RsaPublicKeyComponents {
                    n: part(&self.n)?,
                    e: part(&self.e)?,
                };
                key.verify(parameters, message, signature).ok()
            }
            ("EC", Verification::Elliptic(curve, size, algorithm)) if self.crv.as_deref() == Some(*curve) => {
                let (x, y) = (part(&self.x)?, part(&self.y)?);
                if x.len() != *size || y.len() != *size {
                    return None;
                }
                // An uncompressed point: 4, then both coordinates.
                let point = [&[4], x.as_slice(), &y].concat();
                UnparsedPublicKey::new(*algorithm, point)
                    .verify(message, signature)
                    .ok()
            }
            ("OKP", Verification::Edwards(algorithm)) if self.crv.as_deref() == Some("Ed25519") => {
                UnparsedPublicKey::new(*algorithm, part(&self.x)?)
                    .verify(message, signature)
                    .ok()
            }
            _ => None,
        };
        verify().is_some()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// RFC 7515, appendix A.3 (ES256); RFC 8037, appendix A.4 (EdDSA).
    #[test]
    fn the_examples_of_the_standards_are_verified() {
        let keys = json!({"keys": [
            {"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"},
            {"kty": "EC", "crv": "P-256",
             "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
            {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        ]});
        let keys: KeySet = serde_json::from_value(keys).unwrap();
        let example = "eyJhbGciOiJFUzI1NiJ9.\
             eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
             DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        assert_eq!(verified(example, &keys).unwrap()["iss"], "joe");
        let changed = example.replace("DtEh", "DtEi");
        assert_eq!(
            verified(&changed, &keys),
            Err(TokenRefusal::UnknownKey),
            "no key was named"
        );
        // Its claims are no JSON: "Example of Ed25519 signing".
        let edwards = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
             hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        assert_eq!(
            verified(edwards, &keys),
            Err(TokenRefusal::Malformed),
            "signed, and no claims"
        );
    }
}
