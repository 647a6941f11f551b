//! The credential of a practice, from the options of `firm add` and `firm credential`. Which kind it has to be, the
//! profile says.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use clap::Args;
use skin_assist_core::{domain::NewCredential, phi::Secret};
use skin_assist_ehr::{ClientKey, CredentialKind, Profile};

use crate::{
    config::{Config, read_secret},
    failure::{Failure, Hinted as _},
    wiring,
};

/// The proof of a practice: a secret, a private key or a password, whichever the EHR's profile asks for.
#[derive(Debug, Args)]
pub(crate) struct CredentialArguments {
    /// OAuth2 client_id.
    #[arg(long, value_name = "ID", conflicts_with = "user_name")]
    client_id: Option<String>,
    /// A file with the OAuth2 client_secret; `-` reads it from standard input.
    #[arg(long, value_name = "FILE", group = "proof")]
    client_secret_file: Option<PathBuf>,
    /// A file with the private key that signs instead of a secret: PEM, PKCS#8 (or PKCS#1 for RSA).
    #[arg(long, value_name = "FILE", group = "proof", requires = "key_id")]
    private_key_file: Option<PathBuf>,
    /// The name (kid) under which the key's public half is registered with the EHR.
    #[arg(long, value_name = "ID", requires = "private_key_file")]
    key_id: Option<String>,
    /// The user's name, for an EHR with the legacy password grant.
    #[arg(long, value_name = "NAME", requires = "password_file")]
    user_name: Option<String>,
    /// A file with the user's password; `-` reads it from standard input.
    #[arg(long, value_name = "FILE", group = "proof", requires = "user_name")]
    password_file: Option<PathBuf>,
}

impl CredentialArguments {
    /// Reads the credential, if it is of the kind that the configured EHR takes.
    pub(crate) fn read(self, config: &Config) -> Result<NewCredential, Failure> {
        let profile = wiring::profile(config)?;
        let kind = profile.token.credential_kind();
        let (client_id, file, what, key_id) = match (kind, self) {
            (
                CredentialKind::ClientSecret,
                Self {
                    client_id: Some(client_id),
                    client_secret_file: Some(file),
                    ..
                },
            ) => (client_id, file, "the client secret", None),
            (
                CredentialKind::PrivateKey(_),
                Self {
                    client_id: Some(client_id),
                    private_key_file: Some(file),
                    key_id: Some(key_id),
                    ..
                },
            ) => (client_id, file, "the private key", Some(key_id)),
            (
                CredentialKind::Password,
                Self {
                    user_name: Some(user_name),
                    password_file: Some(file),
                    ..
                },
            ) => (user_name, file, "the password", None),
            (kind, _) => return Err(not_of(&profile, kind)),
        };
        checked(config, client_id, secret_of(&file, what)?, key_id)
    }
}

/// A credential, if it is of the kind that the configured EHR takes: a private key has to be one for its algorithm, which is
/// better refused here than by the first refresh.
pub(crate) fn checked(
    config: &Config,
    client_id: String,
    secret: Secret,
    key_id: Option<String>,
) -> Result<NewCredential, Failure> {
    let profile = wiring::profile(config)?;
    let kind = profile.token.credential_kind();
    let is_key = matches!(kind, CredentialKind::PrivateKey(_));
    if client_id.is_empty() || secret.is_empty() || is_key != key_id.is_some() {
        return Err(not_of(&profile, kind));
    }
    if let CredentialKind::PrivateKey(algorithm) = kind {
        ClientKey::read_for(&secret, algorithm).map_err(|error| {
            let hint = error.hint();
            Failure::new("the private key cannot be used")
                .because(error)
                .with_hint(hint)
        })?;
    }
    Ok(NewCredential {
        client_id,
        client_secret: secret,
        key_id,
    })
}

fn not_of(profile: &Profile, kind: CredentialKind) -> Failure {
    let (needed, options) = match kind {
        CredentialKind::ClientSecret => ("a client id and its secret", "--client-id ID --client-secret-file FILE"),
        CredentialKind::PrivateKey(_) => (
            "a client id, a private key and the key's id",
            "--client-id ID --private-key-file FILE --key-id ID",
        ),
        CredentialKind::Password => ("a user's name and password", "--user-name NAME --password-file FILE"),
    };
    Failure::new(format!("the EHR profile `{}` takes {needed}", profile.name)).with_hint(format!("give {options}"))
}

fn secret_of(file: &Path, what: &str) -> Result<Secret, Failure> {
    if file != Path::new("-") {
        return read_secret(file, what);
    }
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .failed(|| format!("{what} cannot be read from standard input"))?;
    let secret = Secret::new(text.trim().to_owned());
    drop(Secret::new(text));
    if secret.is_empty() {
        Err(Failure::new(format!("{what} on standard input is empty")))
    } else {
        Ok(secret)
    }
}
