//! `skin-assist config`.

use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use super::print_json;
use crate::{
    config::{Config, DEFAULT, LanguageKind, StoreName},
    failure::Failure,
    wiring,
};

/// Prints the documented defaults.
pub(crate) fn default() {
    super::print(DEFAULT);
}

/// What a part of the configuration comes to.
#[derive(Debug, Serialize)]
struct Setting {
    part: &'static str,
    says: String,
}

/// Checks the configuration and everything it names. Nothing is opened for writing and nothing is sent.
pub(crate) async fn check(config: &Config, json: bool) -> Result<ExitCode, Failure> {
    let settings = settings(config).await?;
    if json {
        print_json(&json!({ "sound": true, "settings": settings }))?;
        return Ok(ExitCode::SUCCESS);
    }
    for Setting { part, says } in settings {
        say!("{part:<14} {says}");
    }
    say!("The configuration is sound.");
    Ok(ExitCode::SUCCESS)
}

async fn settings(config: &Config) -> Result<Vec<Setting>, Failure> {
    let mut settings = Vec::new();
    let mut told = |part, says| settings.push(Setting { part, says });
    let file = config.surroundings.file.as_ref();
    told(
        "configuration",
        file.map_or_else(
            || "the defaults and the environment (no file)".to_owned(),
            |file| file.display().to_string(),
        ),
    );
    match config.state.store {
        StoreName::Sqlite => {
            config.state_key()?;
            told("state", format!("{} (key given)", config.state_file().display()));
            told("firm keys", config.firm_keys_file().display().to_string());
        }
        StoreName::Dynamodb => told("state", format!("DynamoDB, tables {}*", config.aws.table_prefix)),
    }
    if wiring::identity_provider(config)?.is_some() {
        let section = &config.openid_connect;
        told("sign-in", format!("{} as {}", section.issuer, section.client_id));
    }
    wiring::ehr(config)?;
    let quotas = wiring::quotas(config)?;
    told(
        "EHR",
        format!(
            "{} at {}, {} calls in {} s for each {}",
            quotas.name,
            config.ehr.base_url,
            quotas.calls,
            quotas.window.as_secs(),
            if quotas.each_firm { "practice" } else { "API key" }
        ),
    );
    told("polling", config.polling.policy.to_string());
    wiring::language(config).await?;
    let (model, url) = (&config.language.model, &config.language.url);
    told(
        "language",
        match config.language.kind {
            LanguageKind::None => "the composer".to_owned(),
            LanguageKind::OpenAi => format!("{model} at {url}"),
            LanguageKind::Bedrock => format!("{model} on Bedrock"),
        },
    );
    let endpoints = config.models.sagemaker_endpoints();
    for (route, endpoint) in &endpoints {
        told(
            "models",
            format!("the SageMaker endpoint {endpoint} for {route} photos"),
        );
    }
    if config.models.remote_url.is_empty() {
        for pack in wiring::packs(config)? {
            if !endpoints.contains_key(&pack.route()) {
                told("models", format!("{} for {} photos", pack.version(), pack.route()));
            }
        }
        told("runtime", wiring::runtime(config)?.describe().to_string());
    } else {
        told("models", format!("those of {}", config.models.remote_url));
    }
    Ok(settings)
}
