//! `skin-assist config`.

use std::process::ExitCode;

use crate::{
    config::{Config, DEFAULT},
    failure::Failure,
    wiring,
};

/// Prints the documented defaults.
pub(crate) fn default() -> Result<ExitCode, Failure> {
    print!("{DEFAULT}");
    Ok(ExitCode::SUCCESS)
}

/// Checks the configuration and everything it names. Nothing is opened for writing and nothing is sent.
pub(crate) fn check(config: &Config) -> Result<ExitCode, Failure> {
    match &config.surroundings.file {
        Some(file) => println!("configuration  {}", file.display()),
        None => println!("configuration  the defaults and the environment (no file)"),
    }
    config.state_key()?;
    println!("state          {} (key given)", config.state_file().display());
    wiring::ehr(config)?;
    let quota = wiring::quota(config)?;
    println!(
        "EHR            {} at {}, {} calls a minute",
        quota.name, config.ehr.base_url, quota.calls_per_minute
    );
    println!("polling        {}", config.polling.policy);
    let packs = wiring::packs(config)?;
    for pack in &packs {
        println!("models         {} for {} photos", pack.version(), pack.route());
    }
    println!("runtime        {}", wiring::runtime(config)?.describe());
    println!("The configuration is sound.");
    Ok(ExitCode::SUCCESS)
}
