//! One firm's data key, and values sealed with it.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use aes_siv::{KeyInit as _, siv::Aes256Siv};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::{Zeroize as _, Zeroizing};

/// The bytes of an AES-256-SIV key: one half authenticates, the other encrypts.
pub(crate) const KEY_BYTES: usize = 64;

/// What kind of value is sealed. Values of one kind can be compared with each other, wherever they are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(&'static str);

impl Kind {
    /// A kind by its name, which is a part of everything sealed as it and never changes.
    pub const fn named(name: &'static str) -> Self {
        Self(name)
    }
}

/// The value was not sealed with this key as this kind, or somebody changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sealed value does not open with the key of its firm")]
pub struct Unreadable;

/// AES-256-SIV with one key. Its state is reset after each use, which is why it asks to be alone.
pub(crate) struct Siv(Mutex<Aes256Siv>);

impl Siv {
    pub(crate) fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self(Mutex::new(Aes256Siv::new(key.into())))
    }

    /// The tag, then the ciphertext. `None` only for texts beyond the cipher's limit, which no memory holds.
    pub(crate) fn encrypt(&self, about: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
        let mut siv = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        siv.encrypt([about], plain).ok()
    }

    pub(crate) fn decrypt(&self, about: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let mut siv = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        siv.decrypt([about], sealed).map_err(|_| Unreadable)
    }
}

/// The key that everything of one firm is sealed with. Wiped from memory when dropped.
pub struct DataKey {
    id: String,
    siv: Siv,
}

impl DataKey {
    pub(crate) fn new(id: String, key: &[u8; KEY_BYTES]) -> Self {
        Self { id, siv: Siv::new(key) }
    }

    /// Its name. It says nothing about the key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A value sealed, as text. The same value gives the same text.
    pub fn seal(&self, kind: Kind, plain: &str) -> String {
        let sealed = self.siv.encrypt(kind.0.as_bytes(), plain.as_bytes());
        URL_SAFE_NO_PAD.encode(sealed.unwrap_or_default())
    }

    /// Bytes sealed, as bytes.
    pub fn seal_bytes(&self, kind: Kind, plain: &[u8]) -> Vec<u8> {
        self.siv.encrypt(kind.0.as_bytes(), plain).unwrap_or_default()
    }

    /// The bytes that [`Self::seal_bytes`] sealed.
    ///
    /// # Errors
    /// [`Unreadable`] when they were not sealed with this key as this kind.
    pub fn open_bytes(&self, kind: Kind, sealed: &[u8]) -> Result<Vec<u8>, Unreadable> {
        self.siv.decrypt(kind.0.as_bytes(), sealed)
    }

    /// The value of a sealed text.
    ///
    /// # Errors
    /// [`Unreadable`] when it was not sealed with this key as this kind.
    pub fn open(&self, kind: Kind, sealed: &str) -> Result<String, Unreadable> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| Unreadable)?;
        let plain = self.siv.decrypt(kind.0.as_bytes(), &sealed)?;
        String::from_utf8(plain).map_err(|error| {
            error.into_bytes().zeroize();
            Unreadable
        })
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DataKey({})", self.id)
    }
}

/// Random bytes for a key.
pub(crate) fn random_key() -> Result<Zeroizing<[u8; KEY_BYTES]>, getrandom::Error> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    getrandom::fill(&mut *bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENT: Kind = Kind::named("patient");
    const NOTE: Kind = Kind::named("note");

    /// A tag of 16 bytes in front, and nothing else added.
    #[test]
    fn a_value_opens_with_its_key_as_its_kind_and_in_no_other_way() {
        let key = DataKey::new("one".into(), &[7; KEY_BYTES]);
        let other = DataKey::new("two".into(), &[8; KEY_BYTES]);
        for plain in ["", "patient-4711", "Grüße, Übelkeit, 漢字", &"long ".repeat(20_000)] {
            let sealed = key.seal(PATIENT, plain);
            assert_eq!(key.open(PATIENT, &sealed).unwrap(), plain);
            assert_eq!(
                URL_SAFE_NO_PAD.decode(&sealed).unwrap().len(),
                plain.len() + 16,
                "a tag and as many bytes"
            );
            assert_eq!(sealed, key.seal(PATIENT, plain), "it can be looked up");
            assert_ne!(sealed, key.seal(NOTE, plain));
            assert_ne!(sealed, other.seal(PATIENT, plain));
            assert_eq!(key.open(NOTE, &sealed), Err(Unreadable));
            assert_eq!(other.open(PATIENT, &sealed), Err(Unreadable));
        }
        for never_sealed in ["", "patient-4711", "AAAA", "!"] {
            assert_eq!(key.open(PATIENT, never_sealed), Err(Unreadable));
        }
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let key = DataKey::new("one".into(), &[7; KEY_BYTES]);
        let bytes = URL_SAFE_NO_PAD.decode(key.seal(NOTE, "erythematous plaque")).unwrap();
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert_eq!(key.open(NOTE, &URL_SAFE_NO_PAD.encode(changed)), Err(Unreadable));
        }
    }

    #[test]
    fn a_key_does_not_show_itself() {
        assert_eq!(
            format!("{:?}", DataKey::new("one".into(), &[7; KEY_BYTES])),
            "DataKey(one)"
        );
    }
}
