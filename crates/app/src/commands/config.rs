//! `skin-assist config`.

use std::process::ExitCode;

use crate::{
    config::{Config, DEFAULT, LanguageKind, StoreName},
    failure::Failure,
    wiring,
};

/// Prints the documented defaults.
pub(crate) fn default() {
    super::print(DEFAULT);
}

/// Checks the configuration and everything it names. Nothing is opened for writing and nothing is sent.
pub(crate) async fn check(config: &Config) -> Result<ExitCode, Failure> {
    match &config.surroundings.file {
        Some(file) => say!("configuration  {}", file.display()),
        None => say!("configuration  the defaults and the environment (no file)"),
    }
    match config.state.store {
        StoreName::Sqlite => {
            config.state_key()?;
            say!("state          {} (key given)", config.state_file().display());
            say!("firm keys      {}", config.firm_keys_file().display());
        }
        StoreName::Dynamodb => say!("state          DynamoDB, tables {}*", config.aws.table_prefix),
    }
    if wiring::identity_provider(config)?.is_some() {
        let section = &config.openid_connect;
        say!("sign-in        {} as {}", section.issuer, section.client_id);
    }
    wiring::ehr(config)?;
    let quotas = wiring::quotas(config)?;
    say!(
        "EHR            {} at {}, {} calls in {} s for each {}",
        quotas.name,
        config.ehr.base_url,
        quotas.calls,
        quotas.window.as_secs(),
        if quotas.each_firm { "practice" } else { "API key" }
    );
    say!("polling        {}", config.polling.policy);
    wiring::language(config).await?;
    match config.language.kind {
        LanguageKind::None => say!("language       the composer"),
        LanguageKind::OpenAi => say!("language       {} at {}", config.language.model, config.language.url),
        LanguageKind::Bedrock => say!("language       {} on Bedrock", config.language.model),
    }
    let endpoints = config.models.sagemaker_endpoints();
    for (route, endpoint) in &endpoints {
        say!("models         the SageMaker endpoint {endpoint} for {route} photos");
    }
    if config.models.remote_url.is_empty() {
        for pack in wiring::packs(config)? {
            if !endpoints.contains_key(&pack.route()) {
                say!("models         {} for {} photos", pack.version(), pack.route());
            }
        }
        say!("runtime        {}", wiring::runtime(config)?.describe());
    } else {
        say!("models         those of {}", config.models.remote_url);
    }
    say!("The configuration is sound.");
    Ok(ExitCode::SUCCESS)
}
