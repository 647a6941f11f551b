//! Keys that a client signs with, for `private_key_jwt`: reading them, making one, and their public half as a JWK.
//!
//! Private keys are PEM texts: PKCS#8 (RFC 5958), or PKCS#1 (RFC 8017) for RSA. What is decoded of one is wiped when it is
//! dropped, and no error quotes it.

use std::fmt;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::{
    digest,
    rand::SystemRandom,
    signature::{
        ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA384, RsaKeyPair,
        RsaPublicKeyComponents,
    },
};
use serde_json::{Value, json};
use skin_assist_core::phi::Secret;
use zeroize::Zeroizing;

use crate::token::SigningAlgorithm;

/// Bytes of a coordinate of P-384.
const COORDINATE: usize = 48;

/// A private key to sign client assertions with.
pub struct ClientKey(Pair);

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

/// A text is not a private key that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No `-----BEGIN … PRIVATE KEY-----`, or no base64 in it.
    #[error("it is not a private key in PEM")]
    NotPem,
    /// The public half.
    #[error("it is a public key or a certificate, and the private key is needed")]
    Public,
    /// `EC PRIVATE KEY` (SEC 1, RFC 5915), which lacks what PKCS#8 says around it.
    #[error("it is an EC key in the form of SEC 1, and PKCS#8 is needed")]
    Sec1,
    /// With a passphrase.
    #[error("it is encrypted with a passphrase")]
    Encrypted,
    /// Neither RSA nor P-384, too small, or damaged.
    #[error("it is neither an RSA key of 2048 to 4096 bits nor an EC key on P-384, or it is damaged")]
    Unusable,
    /// A sound key of the other kind.
    #[error("it is not a key for {}", needed.as_str())]
    OtherAlgorithm {
        /// What the profile signs with.
        needed: SigningAlgorithm,
    },
    /// The system gave no random numbers.
    #[error("nothing can be signed: the system has no random numbers")]
    NoRandomNumbers,
}

impl KeyError {
    /// What a person can do about it.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::NotPem | Self::Public => "give the private key's file, which begins with -----BEGIN PRIVATE KEY-----",
            Self::Sec1 => "convert it: openssl pkcs8 -topk8 -nocrypt -in KEY -out NEW",
            Self::Encrypted => "write it without the passphrase: openssl pkcs8 -topk8 -nocrypt -in KEY -out NEW",
            Self::Unusable => "make one with `skin-assist key client FILE`",
            Self::OtherAlgorithm {
                needed: SigningAlgorithm::Es384,
            } => "make one with `skin-assist key client FILE`, or change token.signing_algorithm of the profile",
            Self::OtherAlgorithm {
                needed: SigningAlgorithm::Rs384,
            } => {
                "make one with openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out FILE, or change \
                 token.signing_algorithm of the profile"
            }
            Self::NoRandomNumbers => "check the operating system",
        }
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("ClientKey").field(&self.algorithm()).finish()
    }
}

impl ClientKey {
    /// A new key for ES384: itself, and as PEM (PKCS#8) to be kept.
    ///
    /// ```
    /// use skin_assist_ehr::ClientKey;
    ///
    /// let (key, pem) = ClientKey::generate()?;
    /// assert_eq!(ClientKey::read(&pem)?.thumbprint(), key.thumbprint());
    /// # Ok::<(), skin_assist_ehr::KeyError>(())
    /// ```
    ///
    /// # Errors
    /// [`KeyError::NoRandomNumbers`].
    pub fn generate() -> Result<(Self, Secret), KeyError> {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| KeyError::NoRandomNumbers)?;
        let body = Zeroizing::new(STANDARD.encode(made.as_ref()));
        let mut pem = String::with_capacity(body.len() + 128);
        pem.push_str("-----BEGIN PRIVATE KEY-----\n");
        for (place, character) in body.char_indices() {
            pem.push(character);
            if place % 64 == 63 {
                pem.push('\n');
            }
        }
        if !pem.ends_with('\n') {
            pem.push('\n');
        }
        pem.push_str("-----END PRIVATE KEY-----");
        let pem = Secret::new(pem);
        Ok((Self::read(&pem)?, pem))
    }

    /// Reads a key of either kind.
    ///
    /// # Errors
    /// [`KeyError`] says what it is instead.
    pub fn read(pem: &Secret) -> Result<Self, KeyError> {
        let (label, der) = private_block(pem.expose())?;
        let rsa = |outcome: Result<RsaKeyPair, _>| outcome.map(Pair::Rsa).map_err(|_| KeyError::Unusable);
        let pair = match label {
            "RSA PRIVATE KEY" => rsa(RsaKeyPair::from_der(&der))?,
            "PRIVATE KEY" => {
                match EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &der, &SystemRandom::new()) {
                    Ok(pair) => Pair::Ec(pair),
                    Err(_) => rsa(RsaKeyPair::from_pkcs8(&der))?,
                }
            }
            "EC PRIVATE KEY" => return Err(KeyError::Sec1),
            "ENCRYPTED PRIVATE KEY" => return Err(KeyError::Encrypted),
            _ => return Err(KeyError::NotPem),
        };
        Ok(Self(pair))
    }

    /// Reads a key that has to be one for this algorithm.
    ///
    /// # Errors
    /// As [`Self::read`], and [`KeyError::OtherAlgorithm`].
    pub fn read_for(pem: &Secret, needed: SigningAlgorithm) -> Result<Self, KeyError> {
        let key = Self::read(pem)?;
        if key.algorithm() == needed {
            Ok(key)
        } else {
            Err(KeyError::OtherAlgorithm { needed })
        }
    }

    /// What it signs with.
    pub const fn algorithm(&self) -> SigningAlgorithm {
        match self.0 {
            Pair::Rsa(_) => SigningAlgorithm::Rs384,
            Pair::Ec(_) => SigningAlgorithm::Es384,
        }
    }

    /// The signature as a JWS has it (RFC 7518, sections 3.3 and 3.4).
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        match &self.0 {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA384, &random, message, &mut signature)
                    .map(|()| signature)
            }
            Pair::Ec(pair) => pair.sign(&random, message).map(|signature| signature.as_ref().to_vec()),
        }
        .map_err(|_| KeyError::NoRandomNumbers)
    }

    /// The members of the public half that make it what it is (RFC 7638, section 3.2), in the order of their names.
    fn members(&self) -> Value {
        match &self.0 {
            Pair::Rsa(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({
                    "e": URL_SAFE_NO_PAD.encode(public.e),
                    "kty": "RSA",
                    "n": URL_SAFE_NO_PAD.encode(public.n),
                })
            }
            Pair::Ec(pair) => {
                // An uncompressed point: 4, then both coordinates.
                let point = pair.public_key().as_ref();
                let (x, y) = point[1..].split_at(COORDINATE);
                json!({
                    "crv": "P-384",
                    "kty": "EC",
                    "x": URL_SAFE_NO_PAD.encode(x),
                    "y": URL_SAFE_NO_PAD.encode(y),
                })
            }
        }
    }

    /// A name for the key that follows from it: the SHA-256 thumbprint (RFC 7638).
    pub fn thumbprint(&self) -> String {
        // A map of serde_json writes its members in the order of their names, without white space.
        let members = self.members().to_string();
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, members.as_bytes()))
    }

    /// The public half under this name, as a JWK Set (RFC 7517, section 5): what is registered with the EHR.
    pub fn jwk_set(&self, key_id: &str) -> Value {
        let mut key = self.members();
        key["alg"] = self.algorithm().as_str().into();
        key["kid"] = key_id.into();
        key["key_ops"] = json!(["verify"]);
        json!({ "keys": [key] })
    }
}

/// The first private block of a PEM text (RFC 7468): its label and bytes. OpenSSL writes a block of parameters before some
/// keys.
fn private_block(text: &str) -> Result<(&str, Zeroizing<Vec<u8>>), KeyError> {
    let mut rest = text;
    let mut found_other = false;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let (label, after) = after.split_once("-----").ok_or(KeyError::NotPem)?;
        let (body, after) = after
            .split_once(&format!("-----END {label}-----"))
            .ok_or(KeyError::NotPem)?;
        if label.ends_with("PRIVATE KEY") {
            // An encrypted block of the older form has headers.
            if body.contains("ENCRYPTED") {
                return Err(KeyError::Encrypted);
            }
            let body = Zeroizing::new(body.split_ascii_whitespace().collect::<String>());
            let bytes = STANDARD.decode(body.as_bytes()).map_err(|_| KeyError::NotPem)?;
            return Ok((label, Zeroizing::new(bytes)));
        }
        found_other |= label.ends_with("PUBLIC KEY") || label == "CERTIFICATE";
        rest = after;
    }
    Err(if found_other {
        KeyError::Public
    } else {
        KeyError::NotPem
    })
}
