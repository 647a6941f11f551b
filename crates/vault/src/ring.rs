//! The keys of all firms, and which were destroyed; as a text, each key wrapped.
//!
//! The text has a root key, wrapped under what is derived from the store's key; every firm's key is wrapped under the root. So
//! that the store's key can be changed, the root may be wrapped twice for a while, under the old and the new.

use std::{collections::BTreeMap, fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::sealing::{DataKey, KEY_BYTES, Siv, Unreadable, random_key};

const FORMAT: &str = "skin-assist firm keys";
const EDITION: u32 = 1;
/// What the wrapped root is authenticated as.
const ROOT: &[u8] = b"skin-assist root of firm keys";
/// What the text's authentication code is about.
const WHOLE: &[u8] = b"skin-assist ring of firm keys";

/// What a ring's root key is wrapped under: derived from the key of the store that the ring belongs to.
pub struct WrappingKey(Siv);

impl WrappingKey {
    /// Derived from 32 random bytes (HKDF-SHA256), which it does not give away.
    pub fn derive(secret: &[u8; 32]) -> Self {
        Self(Siv::new(&expand(
            secret,
            b"skin-assist wrapping of firm keys, first edition",
        )))
    }
}

impl fmt::Debug for WrappingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

fn expand(secret: &[u8], purpose: &[u8]) -> Zeroizing<[u8; KEY_BYTES]> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    // It fails for more than 255 hashes, and this is two.
    let expanded = Hkdf::<Sha256>::new(None, secret).expand(purpose, &mut *key);
    debug_assert!(expanded.is_ok());
    key
}

/// The ring cannot be read, or a key not be made.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The text is something else.
    #[error("it is no ring of firm keys")]
    NotARing,
    /// A newer version of this program wrote it.
    #[error("it has edition {0}, which this program does not know")]
    Newer(u32),
    /// It belongs to the store of another key.
    #[error("it was made with another state key")]
    OfAnotherStore,
    /// Somebody changed it, or it is damaged.
    #[error("it was changed after it was written")]
    Changed,
    /// The system has no random numbers.
    #[error("the system has no random numbers")]
    NoRandomNumbers(#[source] getrandom::Error),
}

/// A firm's key that was destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destroyed {
    /// Whose it was.
    pub firm: String,
    /// Its name.
    pub key: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FirmKey {
    firm: String,
    key: String,
    wrapped: String,
}

/// What is authenticated as a whole.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    firms: Vec<FirmKey>,
    destroyed: Vec<Destroyed>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    edition: u32,
    root: Vec<String>,
    content: Content,
    authentic: String,
}

#[derive(Clone)]
struct Held {
    key: Arc<DataKey>,
    wrapped: String,
}

/// The data keys of firms. A copy shares them.
#[derive(Clone)]
pub struct KeyRing {
    root: Arc<Root>,
    firms: BTreeMap<String, Held>,
    destroyed: Vec<Destroyed>,
}

struct Root {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    siv: Siv,
}

impl Root {
    fn new(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Arc<Self> {
        let siv = Siv::new(&bytes);
        Arc::new(Self { bytes, siv })
    }
}

/// What a firm's wrapped key is authenticated as.
fn about(firm: &str, key: &str) -> Vec<u8> {
    let mut about = Vec::with_capacity(firm.len() + key.len() + 9);
    about.extend((firm.len() as u64).to_be_bytes());
    about.extend(firm.as_bytes());
    about.extend(key.as_bytes());
    about
}

fn bytes_of(opened: Vec<u8>) -> Result<Zeroizing<[u8; KEY_BYTES]>, Unreadable> {
    let opened = Zeroizing::new(opened);
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    if opened.len() != KEY_BYTES {
        return Err(Unreadable);
    }
    key.copy_from_slice(&opened);
    Ok(key)
}

fn unwrap(siv: &Siv, about: &[u8], wrapped: &str) -> Result<Zeroizing<[u8; KEY_BYTES]>, Unreadable> {
    let wrapped = URL_SAFE_NO_PAD.decode(wrapped).map_err(|_| Unreadable)?;
    bytes_of(siv.decrypt(about, &wrapped)?)
}

fn wrap(siv: &Siv, about: &[u8], key: &[u8; KEY_BYTES]) -> String {
    URL_SAFE_NO_PAD.encode(siv.encrypt(about, key).unwrap_or_default())
}

impl KeyRing {
    /// A new ring without a key.
    ///
    /// # Errors
    /// [`RingError::NoRandomNumbers`].
    pub fn new() -> Result<Self, RingError> {
        Ok(Self::with_root(random_key().map_err(RingError::NoRandomNumbers)?))
    }

    /// A ring whose keys all follow from `secret`: for states that live in memory, whose order must not depend on chance.
    pub fn derived_from(secret: &[u8; 32]) -> Self {
        Self::with_root(expand(secret, b"skin-assist ring in memory"))
    }

    fn with_root(root: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        Self {
            root: Root::new(root),
            firms: BTreeMap::new(),
            destroyed: Vec::new(),
        }
    }

    /// Reads a ring.
    ///
    /// # Errors
    /// See [`RingError`]; nothing of the text is quoted.
    pub fn read(text: &str, wrapping: &WrappingKey) -> Result<Self, RingError> {
        let document: Document = serde_json::from_str(text).map_err(|_| RingError::NotARing)?;
        if document.format != FORMAT {
            return Err(RingError::NotARing);
        }
        if document.edition > EDITION {
            return Err(RingError::Newer(document.edition));
        }
        let content = document.content;
        let root = document
            .root
            .iter()
            .find_map(|wrapped| unwrap(&wrapping.0, ROOT, wrapped).ok());
        let root = Root::new(root.ok_or(RingError::OfAnotherStore)?);
        if authentication_code(&root.siv, &content)? != document.authentic {
            return Err(RingError::Changed);
        }
        let mut firms = BTreeMap::new();
        for FirmKey { firm, key, wrapped } in content.firms {
            let bytes = unwrap(&root.siv, &about(&firm, &key), &wrapped).map_err(|_| RingError::Changed)?;
            let key = Arc::new(DataKey::new(key, &bytes));
            firms.insert(firm, Held { key, wrapped });
        }
        Ok(Self {
            root,
            firms,
            destroyed: content.destroyed,
        })
    }

    /// The ring as text, to be read with any of the `wrapping` keys.
    ///
    /// # Errors
    /// [`RingError::NotARing`] when it cannot be written as JSON, which does not happen.
    pub fn write(&self, wrapping: &[&WrappingKey]) -> Result<String, RingError> {
        let firms = self.firms.iter().map(|(firm, held)| FirmKey {
            firm: firm.clone(),
            key: held.key.id().to_owned(),
            wrapped: held.wrapped.clone(),
        });
        let content = Content {
            firms: firms.collect(),
            destroyed: self.destroyed.clone(),
        };
        let authentic = authentication_code(&self.root.siv, &content)?;
        let document = Document {
            format: FORMAT.to_owned(),
            edition: EDITION,
            root: wrapping
                .iter()
                .map(|key| wrap(&key.0, ROOT, &self.root.bytes))
                .collect(),
            content,
            authentic,
        };
        let mut text = serde_json::to_string_pretty(&document).map_err(|_| RingError::NotARing)?;
        text.push('\n');
        Ok(text)
    }

    /// The firm's key.
    pub fn key(&self, firm: &str) -> Option<&Arc<DataKey>> {
        self.firms.get(firm).map(|held| &held.key)
    }

    /// The firms that have a key, in order.
    pub fn firms(&self) -> impl Iterator<Item = &str> {
        self.firms.keys().map(String::as_str)
    }

    /// Keys that were destroyed, oldest first.
    pub fn destroyed(&self) -> &[Destroyed] {
        &self.destroyed
    }

    /// Makes a random key for a firm that has none. Whether one was made.
    ///
    /// # Errors
    /// [`RingError::NoRandomNumbers`].
    pub fn add(&mut self, firm: &str) -> Result<bool, RingError> {
        if self.firms.contains_key(firm) {
            return Ok(false);
        }
        let key = random_key().map_err(RingError::NoRandomNumbers)?;
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(RingError::NoRandomNumbers)?;
        self.hold(firm, URL_SAFE_NO_PAD.encode(id), &key);
        Ok(true)
    }

    /// The same, with a key that follows from the root: see [`KeyRing::derived_from`]. A firm that had a key gets another.
    pub fn add_derived(&mut self, firm: &str) {
        if !self.firms.contains_key(firm) {
            let turn = self.destroyed.iter().filter(|destroyed| destroyed.firm == firm).count();
            let key = expand(&*self.root.bytes, format!("firm {turn} {firm}").as_bytes());
            self.hold(firm, format!("derived-{turn}"), &key);
        }
    }

    fn hold(&mut self, firm: &str, id: String, key: &[u8; KEY_BYTES]) {
        let wrapped = wrap(&self.root.siv, &about(firm, &id), key);
        let key = Arc::new(DataKey::new(id, key));
        self.firms.insert(firm.to_owned(), Held { key, wrapped });
    }

    /// Destroys a firm's key, and notes that it was. Whether there was one.
    pub fn destroy(&mut self, firm: &str, at_ms: i64) -> bool {
        let Some(held) = self.firms.remove(firm) else {
            return false;
        };
        self.destroyed.push(Destroyed {
            firm: firm.to_owned(),
            key: held.key.id().to_owned(),
            at_ms,
        });
        true
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.firms.keys()).finish()
    }
}

/// The tag of the root's cipher over the whole content.
fn authentication_code(root: &Siv, content: &Content) -> Result<String, RingError> {
    let mut about = WHOLE.to_vec();
    about.extend(serde_json::to_vec(content).map_err(|_| RingError::NotARing)?);
    let tag = root.encrypt(&about, b"").ok_or(RingError::NotARing)?;
    Ok(URL_SAFE_NO_PAD.encode(tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    const NOTE: Kind = Kind::named("note");

    fn wrapping(byte: u8) -> WrappingKey {
        WrappingKey::derive(&[byte; 32])
    }

    #[test]
    fn a_ring_that_was_written_has_the_same_keys() {
        let mut ring = KeyRing::new().unwrap();
        assert!(ring.add("elm").unwrap() && ring.add("oak").unwrap());
        assert!(!ring.add("elm").unwrap(), "it has one");
        let sealed = ring.key("elm").unwrap().seal(NOTE, "text");
        assert_ne!(sealed, ring.key("oak").unwrap().seal(NOTE, "text"));
        let text = ring.write(&[&wrapping(1), &wrapping(2)]).unwrap();
        for byte in [1, 2] {
            let read = KeyRing::read(&text, &wrapping(byte)).unwrap();
            assert_eq!(read.key("elm").unwrap().open(NOTE, &sealed).unwrap(), "text");
            assert_eq!(read.firms().collect::<Vec<_>>(), ["elm", "oak"]);
        }
        let refused = KeyRing::read(&text, &wrapping(3)).unwrap_err();
        assert!(matches!(refused, RingError::OfAnotherStore), "{refused:?}");
    }

    /// Nothing of the key is in the text of the ring any more, and another key for the same firm is another.
    #[test]
    fn a_destroyed_key_is_gone_and_noted() {
        let mut ring = KeyRing::new().unwrap();
        ring.add("elm").unwrap();
        let key = ring.key("elm").unwrap();
        let (id, sealed) = (key.id().to_owned(), key.seal(NOTE, "text"));
        let wrapped = ring.firms["elm"].wrapped.clone();
        assert!(ring.write(&[&wrapping(1)]).unwrap().contains(&wrapped));
        assert!(ring.destroy("elm", 17));
        assert!(!ring.destroy("elm", 18));
        let text = ring.write(&[&wrapping(1)]).unwrap();
        assert!(!text.contains(&wrapped));
        let mut ring = KeyRing::read(&text, &wrapping(1)).unwrap();
        assert!(ring.key("elm").is_none());
        let firm = "elm".to_owned();
        assert_eq!(
            ring.destroyed(),
            [Destroyed {
                firm,
                key: id,
                at_ms: 17
            }]
        );
        ring.add("elm").unwrap();
        assert_eq!(ring.key("elm").unwrap().open(NOTE, &sealed), Err(Unreadable));
    }

    #[test]
    fn what_was_changed_is_refused() {
        let mut ring = KeyRing::new().unwrap();
        ring.add("elm").unwrap();
        ring.add("oak").unwrap();
        ring.destroy("oak", 17);
        let text = ring.write(&[&wrapping(1)]).unwrap();
        for (change, to) in [("\"elm\"", "\"ash\""), ("17", "18"), ("\"oak\"", "\"elm\"")] {
            assert!(text.contains(change));
            let refused = KeyRing::read(&text.replace(change, to), &wrapping(1)).unwrap_err();
            assert!(matches!(refused, RingError::Changed), "{change}: {refused:?}");
        }
        let newer = KeyRing::read(&text.replace("\"edition\": 1", "\"edition\": 2"), &wrapping(1));
        assert!(matches!(newer.unwrap_err(), RingError::Newer(2)));
        for other in ["", "{}", "0707", &text[..text.len() / 2]] {
            let refused = KeyRing::read(other, &wrapping(1)).unwrap_err();
            assert!(matches!(refused, RingError::NotARing), "{other:?}");
        }
    }

    #[test]
    fn derived_keys_are_the_same_each_time() {
        let sealed = |ring: &mut KeyRing| {
            ring.add_derived("elm");
            ring.key("elm").unwrap().seal(NOTE, "text")
        };
        let (mut one, mut other) = (KeyRing::derived_from(&[1; 32]), KeyRing::derived_from(&[1; 32]));
        let first = sealed(&mut one);
        assert_eq!(first, sealed(&mut other));
        one.destroy("elm", 0);
        assert_ne!(first, sealed(&mut one), "another key after the first was destroyed");
    }
}
