//! `skin-assist doctor`: what is installed, what runs, what is wrong.

use std::process::ExitCode;

use serde::Serialize;
use skin_assist_core::{
    domain::Route,
    time::{Clock as _, Timestamp},
};
use skin_assist_transport::{HttpOptions, ReqwestTransport, Transport as _};

use super::print_json;
use crate::{
    clock::SystemClock,
    config::{Config, StoreName},
    failure::Failure,
    wiring,
};

/// The build of this software is later than this; a clock that is not, is wrong. 2026-01-01.
const EARLIEST: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// A clock that differs by more from the EHR's is worth a word. Nothing depends on it: lists are read by the EHR's clock.
const TOLERATED_SKEW_S: f64 = 30.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Well,
    NotConfigured,
    Wrong,
}

#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    verdict: Verdict,
    says: String,
}

/// Checks this machine. Exits with 1 when something is wrong.
pub(crate) async fn doctor(config: Result<Config, Failure>, json: bool) -> Result<ExitCode, Failure> {
    let mut checks = vec![
        check("version", Ok(env!("CARGO_PKG_VERSION").to_owned())),
        check("clock", clock()),
    ];
    match &config {
        Err(failure) => checks.push(Check {
            what: "configuration",
            verdict: Verdict::Wrong,
            says: failure.report(),
        }),
        Ok(config) => {
            let file = config
                .surroundings
                .file
                .as_ref()
                .map_or_else(|| "defaults".to_owned(), |file| file.display().to_string());
            checks.push(check("configuration", Ok(file)));
            checks.push(check(
                "inference runtime",
                wiring::runtime(config).map(|runtime| runtime.describe().to_string()),
            ));
            checks.push(check("models", models(config).await));
            checks.push(state(config).await);
            checks.extend(ehr(config).await);
            checks.extend(identity_provider(config).await);
        }
    }
    let wrong = checks.iter().any(|check| check.verdict == Verdict::Wrong);
    if json {
        print_json(&checks)?;
    } else {
        for check in &checks {
            let mark = match check.verdict {
                Verdict::Well => "ok",
                Verdict::NotConfigured => "--",
                Verdict::Wrong => "!!",
            };
            say!(
                "{mark}  {:<18} {}",
                check.what,
                check.says.replace('\n', "\n                       ")
            );
        }
    }
    Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn check(what: &'static str, outcome: Result<String, Failure>) -> Check {
    match outcome {
        Ok(says) => Check {
            what,
            verdict: Verdict::Well,
            says,
        },
        Err(failure) => Check {
            what,
            verdict: Verdict::Wrong,
            says: failure.report(),
        },
    }
}

fn clock() -> Result<String, Failure> {
    let now = SystemClock.now();
    if now < EARLIEST {
        return Err(Failure::new(format!("the clock shows {now}")).with_hint("set it, for example with an NTP client"));
    }
    Ok(now.to_string())
}

/// Loads every pack and makes a trial run of each model, or asks who has them, as `run` does.
async fn models(config: &Config) -> Result<String, Failure> {
    let vision = wiring::models(config).await?;
    let of = |route| {
        let versions = vision.versions(route).into_iter();
        versions.map(move |version| format!("{version} ({route})"))
    };
    Ok(Route::ALL.into_iter().flat_map(of).collect::<Vec<_>>().join(", "))
}

async fn state(config: &Config) -> Check {
    const WHAT: &str = "state";
    let (file, shown) = match config.state.store {
        StoreName::Sqlite => (Some(config.state_file()), config.state_file().display().to_string()),
        StoreName::Dynamodb => (None, format!("DynamoDB, tables {}*,", config.aws.table_prefix)),
    };
    if let Some(file) = file.filter(|file| !file.exists()) {
        let says = format!(
            "{} does not exist yet; it is made by the first command that needs it",
            file.display()
        );
        return Check {
            what: WHAT,
            verdict: Verdict::NotConfigured,
            says,
        };
    }
    let outcome = match wiring::state(config).await {
        Err(failure) => Err(failure),
        Ok(state) => match state.overview(SystemClock.now()).await {
            Ok(firms) => Ok(format!("{shown} can be read, {} practices", firms.len())),
            Err(error) => Err(Failure::new("the state cannot be read").because(error)),
        },
    };
    check(WHAT, outcome)
}

/// Whether the identity provider answers, and what has to be registered with it. Nothing is shown to it.
async fn identity_provider(config: &Config) -> Option<Check> {
    let section = &config.openid_connect;
    let answer = async {
        let Some(options) = wiring::identity_provider(config)? else {
            return Ok(None);
        };
        let checked = options.provider.check(SystemClock.now()).await;
        checked.map_err(|error| {
            Failure::new(format!("{} cannot be used", section.issuer))
                .because(error)
                .with_hint(error.hint())
        })?;
        let back = section.return_address().map(String::from).unwrap_or_default();
        Ok(Some(format!("{} answers; people come back to {back}", section.issuer)))
    };
    let says = answer.await.transpose()?;
    Some(check("identity provider", says))
}

/// Whether the EHR answers at all, and how its clock differs. One request without credentials.
async fn ehr(config: &Config) -> Vec<Check> {
    const WHAT: &str = "EHR";
    if config.ehr.base_url.is_empty() {
        let says = "ehr.base_url is not configured".to_owned();
        return vec![Check {
            what: WHAT,
            verdict: Verdict::NotConfigured,
            says,
        }];
    }
    let sound = wiring::ehr(config).map(|_| ());
    let answer = async {
        sound?;
        let options = HttpOptions {
            allow_loopback_http: config.ehr.allow_loopback_http,
            ..HttpOptions::default()
        };
        let transport = ReqwestTransport::for_api(&options)
            .map_err(|error| Failure::new("HTTP cannot be set up").because(error))?;
        let request = http::Request::get(&config.ehr.base_url).body(bytes::Bytes::new());
        let request = request.map_err(|error| Failure::new("ehr.base_url is not a URL").because(error))?;
        transport.send(request, 1 << 20).await.map_err(|error| {
            Failure::new(format!("{} does not answer", config.ehr.base_url))
                .because(error)
                .with_hint("check ehr.base_url, the network and the firewall")
        })
    };
    match answer.await {
        Err(failure) => vec![check(WHAT, Err(failure))],
        Ok(reply) => {
            let date = reply
                .headers()
                .get(http::header::DATE)
                .and_then(|date| date.to_str().ok());
            let theirs = date
                .and_then(|date| jiff::fmt::rfc2822::parse(date).ok())
                .map(|date| date.timestamp());
            let says = format!("{} answers ({})", config.ehr.base_url, reply.status().as_u16());
            let mut checks = vec![check(WHAT, Ok(says))];
            if let Some(theirs) = theirs {
                let skew = (SystemClock.now().as_millis() - theirs.as_millisecond()) as f64 / 1000.0;
                let says = format!("{skew:+.0} s against the EHR's");
                let verdict = if skew.abs() > TOLERATED_SKEW_S {
                    Verdict::Wrong
                } else {
                    Verdict::Well
                };
                checks.push(Check {
                    what: "clock skew",
                    verdict,
                    says,
                });
            }
            checks
        }
    }
}
