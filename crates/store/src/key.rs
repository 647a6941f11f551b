//! The key that the state file is encrypted with.

use std::fmt;

use skin_assist_core::phi::Secret;
use skin_assist_vault::WrappingKey;
use zeroize::{Zeroize, Zeroizing};

/// A 256-bit key, used as it is: no passphrase, no derivation, no default. Wiped from memory when dropped.
pub struct StateKey([u8; 32]);

/// The text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the state key is not 64 hexadecimal digits")]
pub struct InvalidKey;

impl InvalidKey {
    /// What a person can do about it.
    pub const fn hint(self) -> &'static str {
        "a state key is 32 random bytes written as 64 hexadecimal digits; `openssl rand -hex 32` makes one"
    }
}

impl StateKey {
    /// From 32 bytes, which must come from a cryptographic random generator.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads a key from 64 hexadecimal digits; white space around them (a file's last newline) is ignored.
    ///
    /// # Errors
    /// [`InvalidKey`] for anything else. The error does not quote the text.
    pub fn parse(text: &Secret) -> Result<Self, InvalidKey> {
        // A key from the start, so that what was read of a text that is none is wiped too.
        let mut key = Self([0; 32]);
        hex::decode_to_slice(text.expose().trim(), &mut key.0).map_err(|_| InvalidKey)?;
        Ok(key)
    }

    /// The 64 hexadecimal digits, to be written to a key file.
    pub fn to_text(&self) -> Secret {
        Secret::new(hex::encode(self.0))
    }

    /// What the root of the firm keys is wrapped under in their file.
    pub(crate) fn wrapping(&self) -> WrappingKey {
        WrappingKey::derive(&self.0)
    }

    /// The statement that hands the raw key to SQLCipher.
    pub(crate) fn pragma(&self) -> Zeroizing<String> {
        self.statement("PRAGMA key = \"x'")
    }

    /// The statement that has SQLCipher encrypt the file anew, with this key.
    pub(crate) fn rekey(&self) -> Zeroizing<String> {
        self.statement("PRAGMA rekey = \"x'")
    }

    fn statement(&self, begin: &str) -> Zeroizing<String> {
        let digits = self.to_text();
        // Filled in place: a `format!` that grows would leave copies of the key behind.
        let mut statement = Zeroizing::new(String::with_capacity(128));
        statement.push_str(begin);
        statement.push_str(digits.expose());
        statement.push_str("'\";");
        statement
    }
}

impl fmt::Debug for StateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

impl Drop for StateKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_64_hexadecimal_digits_and_nothing_else() {
        let digits = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
        let key = StateKey::parse(&Secret::new(format!("{digits}\n"))).unwrap();
        assert_eq!(key.to_text().expose(), digits.to_ascii_lowercase());
        for wrong in [
            "",
            "secret",
            &digits[1..],
            &format!("{digits}0"),
            &digits.replace('0', "g"),
        ] {
            assert_eq!(StateKey::parse(&Secret::new(wrong.to_owned())).unwrap_err(), InvalidKey);
        }
    }

    #[test]
    fn a_key_does_not_show_itself() {
        assert_eq!(format!("{:?}", StateKey::from_bytes([7; 32])), "[secret]");
    }
}
