//! `skin-assist key`.

use std::{fs::OpenOptions, io::Write as _, path::Path, process::ExitCode};

use skin_assist_store::StateKey;

use crate::failure::{Failure, Hinted as _, WithHint as _};

/// A new random key.
pub(crate) fn random() -> Result<StateKey, Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).failed(|| "the system has no random numbers".to_owned())?;
    Ok(StateKey::from_bytes(bytes))
}

/// Writes a secret into a new file that only its owner can read.
pub(crate) fn write_secret(file: &Path, text: &str) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(file)
        .and_then(|mut file| {
            writeln!(file, "{text}")?;
            file.sync_all()
        })
        .failed(|| format!("the file {} cannot be written", file.display()))
        .hint("its folder must exist, and it must not exist itself: a key is never overwritten")
}

/// Writes a new key into a new file.
pub(crate) fn generate(file: &Path) -> Result<ExitCode, Failure> {
    write_secret(file, random()?.to_text().expose())?;
    say!(
        "A new key is in {}. Keep a copy of it apart from the state file and its backups.",
        file.display()
    );
    Ok(ExitCode::SUCCESS)
}
