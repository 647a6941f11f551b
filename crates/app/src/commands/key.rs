//! `skin-assist key`.

use std::{path::Path, process::ExitCode};

use serde_json::json;
use skin_assist_ehr::{ClientKey, KeyError};
use skin_assist_store::StateKey;
use zeroize::Zeroizing;

use super::{print_changed, print_json};
use crate::{
    cli::{AlgorithmArgument, JsonFlag, KeyCommand},
    config::read_secret,
    failure::{Failure, Hinted as _, WithHint as _},
};

/// Makes keys.
pub(crate) fn key(command: &KeyCommand) -> Result<ExitCode, Failure> {
    match command {
        KeyCommand::Generate { file, json } => generate(file, *json),
        // It needs a configuration, which the others do not.
        KeyCommand::Rotate(_) => Ok(ExitCode::SUCCESS),
        KeyCommand::Client { file, algorithm } => client(file, *algorithm),
        KeyCommand::Public { file, key_id } => public(file, key_id.as_deref()),
    }
}

/// A new random key.
pub(crate) fn random() -> Result<StateKey, Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).failed(|| "the system has no random numbers".to_owned())?;
    Ok(StateKey::from_bytes(bytes))
}

/// Writes a secret into a new file that only its owner can read.
pub(crate) fn write_secret(file: &Path, text: &str) -> Result<(), Failure> {
    super::write_private(file, Zeroizing::new(format!("{text}\n")).as_bytes())
        .failed(|| format!("the file {} cannot be written", file.display()))
        .hint("its folder must exist, and it must not exist itself: a key is never overwritten")
}

/// Writes a new key into a new file.
fn generate(file: &Path, json: JsonFlag) -> Result<ExitCode, Failure> {
    write_secret(file, random()?.to_text().expose())?;
    let line = format!(
        "A new key is in {}. Keep a copy of it apart from the state file and its backups.",
        file.display()
    );
    print_changed(json, &json!({ "key_file": file }), &line)?;
    Ok(ExitCode::SUCCESS)
}

/// Makes a client's key. What is printed is the JWK Set alone, so that it can be piped to where it is registered.
fn client(file: &Path, algorithm: AlgorithmArgument) -> Result<ExitCode, Failure> {
    if algorithm == AlgorithmArgument::Rs384 {
        let file = file.display();
        return Err(Failure::new("RSA keys are not made here").with_hint(format!(
            "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out {file} && skin-assist key public {file}"
        )));
    }
    let (key, pem) = ClientKey::generate().map_err(unusable)?;
    write_secret(file, pem.expose())?;
    print_json(&key.jwk_set(&key.thumbprint()))?;
    Ok(ExitCode::SUCCESS)
}

/// Shows the public half of a client's key.
fn public(file: &Path, key_id: Option<&str>) -> Result<ExitCode, Failure> {
    let key = ClientKey::read(&read_secret(file, "the private key")?).map_err(unusable)?;
    let thumbprint = key.thumbprint();
    print_json(&key.jwk_set(key_id.unwrap_or(&thumbprint)))?;
    Ok(ExitCode::SUCCESS)
}

fn unusable(error: KeyError) -> Failure {
    Failure::new("the private key cannot be used")
        .because(error)
        .with_hint(error.hint())
}
