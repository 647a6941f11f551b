//! Values that must not be printed or serialised by accident: patient data and secrets.

use std::fmt;

use zeroize::Zeroize;

/// Protected health information. Its `Debug` is redacted, it has no `Display` and no `Serialize`: whoever needs the
/// value writes [`Phi::expose`], which a reviewer can search for.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Phi<T>(T);

impl<T> Phi<T> {
    /// Marks `value` as protected.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for a use that is allowed to see it.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The value itself, for a use that is allowed to see it.
    pub fn into_exposed(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for Phi<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[protected]")
    }
}

/// A secret text (a client secret, a token, a key): redacted in `Debug`, wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Takes the text over.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that sends or derives from it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Phi::new("Jane Roe")), "[protected]");
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2".into()))), "Some([secret])");
    }

    /// Looked for where it was, in this process's own memory, once it is gone.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_secret_is_wiped_when_it_is_dropped() {
        use std::{fs::File, os::unix::fs::FileExt as _};

        let memory = File::open("/proc/self/mem").unwrap();
        let text: String = std::iter::repeat_n("hunter2-", 64).collect();
        let secret = Secret::new(text.clone());
        let place = secret.expose().as_ptr() as u64;
        // What was freed begins with what the allocator writes there.
        let ours = || {
            let mut bytes = [0; 512];
            memory.read_exact_at(&mut bytes, place).unwrap();
            bytes[64..].windows(8).any(|window| window == b"hunter2-")
        };
        assert!(ours());
        drop(secret);
        assert!(!ours());
        drop(text);
    }
}
