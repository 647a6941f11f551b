//! Configuration: the documented default file, then the user's, then the environment. Unknown keys are refused. This is
//! the one place that reads the environment.

mod openid_connect;
mod sections;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use skin_assist_core::{phi::Secret, quota::SMALLEST_BUDGET};
use skin_assist_store::StateKey;
use skin_assist_transport::{ClientIdentity, is_loopback_host};
use toml::{Table, Value};
use url::Url;

use crate::failure::{Failure, Hinted as _, WithHint as _};
pub use openid_connect::RETURN_PATH;
pub use sections::*;

/// The documented default file.
pub const DEFAULT: &str = include_str!("config/default.toml");

/// Names the configuration file when no option does.
const FILE_VARIABLE: &str = "SKIN_ASSIST_CONFIG";
/// For longer than this what is past its watch is not kept.
const MOST_RECONCILE_DAYS: u64 = 4;

/// An assessment is open for four windows at most: photos in memory are kept for ten minutes.
const LONGEST_WINDOW_S: u64 = 120;

/// Two answers and the context's patience are less than the lease of a photo at the models.
const LONGEST_ANSWER_S: u64 = 20;

/// Less than the week for which events are kept.
const LONGEST_FAILING_H: u64 = 167;

/// Seconds that a collector may wait for news.
const LONGEST_UNTOLD_S: u64 = 300;

/// A century.
const LONGEST_KEPT_DAYS: u64 = 36_500;

const STATE_KEY_VARIABLE: &str = "SKIN_ASSIST_STATE_KEY";
const API_KEY_VARIABLE: &str = "SKIN_ASSIST_EHR_API_KEY";
const PREFIX: &str = "SKIN_ASSIST_";
/// Taken when it lies in the working folder and nothing else is named.
const USUAL_FILE: &str = "skin-assist.toml";

/// Everything that can be configured. The keys are documented in [`DEFAULT`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The state file.
    pub state: StateConfig,
    /// The EHR.
    pub ehr: EhrConfig,
    /// Polling.
    pub polling: PollingConfig,
    /// Which photos are judged together.
    pub assessments: AssessmentsConfig,
    /// Limits of photos.
    pub photos: PhotosConfig,
    /// Vision models.
    pub models: ModelsConfig,
    /// The language model.
    pub language: LanguageConfig,
    /// What is on AWS.
    pub aws: AwsConfig,
    /// How much is done at once.
    pub workers: WorkersConfig,
    /// Who is told of what happens in charts.
    pub subscriptions: SubscriptionsConfig,
    /// For how long what is finished is kept.
    pub retention: RetentionConfig,
    /// What operators and their tools ask.
    pub console: ConsoleConfig,
    /// Signing in to it by an identity provider.
    pub openid_connect: OpenIdConnectConfig,
    /// Logs.
    pub log: LogConfig,
    /// What a collector is told.
    pub telemetry: TelemetryConfig,
    /// Secrets that the environment brought, and where relative paths start.
    #[serde(skip)]
    pub surroundings: Surroundings,
}

/// What a configuration has around it.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// SHA-256 of all keys with their values, secrets not among them: by it the audit trail says with what was run.
    pub digest: String,
    state_key: Option<Secret>,
    pub(crate) api_key: Option<Secret>,
}

/// The environment, read once.
pub type Environment = BTreeMap<String, String>;

/// Reads the environment. Variables that are not Unicode cannot be ours and are left out.
pub fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

impl Config {
    /// The documented defaults alone.
    pub fn defaults() -> Result<Self, Failure> {
        Self::layered(None, &Environment::new())
    }

    /// Reads the configuration: the defaults, then `file` (or the one that the environment names, or the usual one in
    /// the working folder), then the environment.
    pub fn read(file: Option<&Path>, environment: &Environment) -> Result<Self, Failure> {
        let named = file
            .map(Path::to_owned)
            .or_else(|| environment.get(FILE_VARIABLE).map(PathBuf::from));
        let file = named.or_else(|| Some(PathBuf::from(USUAL_FILE)).filter(|usual| usual.is_file()));
        Self::layered(file.as_deref(), environment)
    }

    fn layered(file: Option<&Path>, environment: &Environment) -> Result<Self, Failure> {
        let defaults: Table = DEFAULT
            .parse()
            .map_err(|error| Failure::new("the built-in defaults").because(error))?;
        let mut merged = defaults.clone();
        if let Some(path) = file {
            let shown = path.display();
            let text = fs::read_to_string(path)
                .failed(|| format!("the configuration file {shown} cannot be read"))
                .hint("name one with --config, or begin with `skin-assist config default > skin-assist.toml`")?;
            let table: Table = text
                .parse()
                .failed(|| format!("the configuration file {shown} is not TOML"))
                .hint("compare it with `skin-assist config default`")?;
            merge(&mut merged, table, &format!("the configuration file {shown}"))?;
        }
        let mut surroundings = Surroundings {
            file: file.map(Path::to_owned),
            ..Surroundings::default()
        };
        for (name, value) in environment.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            match name.as_str() {
                FILE_VARIABLE => {}
                STATE_KEY_VARIABLE => surroundings.state_key = Some(Secret::new(value.clone())),
                API_KEY_VARIABLE => surroundings.api_key = Some(Secret::new(value.clone())),
                _ => merge(
                    &mut merged,
                    from_variable(&defaults, name, value)?,
                    &format!("the variable {name}"),
                )?,
            }
        }
        surroundings.digest = hex::encode(Sha256::digest(merged.to_string()));
        let mut config: Self = merged
            .try_into()
            .failed(|| "a value in the configuration has the wrong type or is not one of those allowed".to_owned())
            .hint("compare it with `skin-assist config default`")?;
        config.surroundings = surroundings;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), Failure> {
        let calls = self.ehr.calls_per_minute;
        let language = &self.language;
        let prices = [
            language.input_price,
            language.output_price,
            language.budget_per_firm_and_day,
        ];
        let rules = [
            (
                calls == 0 || calls >= SMALLEST_BUDGET,
                "ehr.calls_per_minute is too small",
                "it is 0 (the profile's quota) or at least 10",
            ),
            (
                self.workers.poll > 0 && self.workers.download > 0 && self.workers.write_back > 0,
                "a number of workers is 0",
                "each of workers.poll, workers.download and workers.write_back is at least 1",
            ),
            (
                self.polling.least_price.is_finite() && self.polling.least_price > 0.0,
                "polling.least_price is no price",
                "it is above 0: 0.00001 makes the most of the quota, 0.004 is thrifty",
            ),
            (
                (1..=MOST_RECONCILE_DAYS).contains(&self.polling.reconcile_days),
                "polling.reconcile_days is out of range",
                "it is 1 to 4",
            ),
            (
                self.assessments
                    .solitary_window_seconds
                    .max(self.assessments.widespread_window_seconds)
                    <= LONGEST_WINDOW_S,
                "a window of assessments is out of range",
                "each of assessments.solitary_window_seconds and assessments.widespread_window_seconds is 0 to 120",
            ),
            (
                self.console.listen.is_empty() || self.console.address().is_some(),
                "console.listen is no address",
                "it is an address and a port such as 127.0.0.1:8470, or empty for none",
            ),
            (
                self.console.address().is_none_or(|address| address.ip().is_loopback())
                    || !self.console.token_file.is_empty()
                    || self.openid_connect.is_configured(),
                "console.listen is open to other machines, and there is no token and no identity provider",
                "name a file with a token in console.token_file or a provider in openid_connect.issuer, or listen at 127.0.0.1",
            ),
            (
                language.kind == LanguageKind::None || !language.model.is_empty(),
                "language.model is not configured",
                "name the model as its endpoint calls it, or set language.kind = \"none\"",
            ),
            (
                (1..=LONGEST_ANSWER_S).contains(&language.timeout_seconds),
                "language.timeout_seconds is out of range",
                "it is 1 to 20: two answers have to fit into the time that a photo has at the models",
            ),
            (
                prices.iter().all(|price| (0.0..1e6).contains(price)),
                "a price or the budget of the section language is no amount",
                "each is 0 or more",
            ),
            (
                prices[2] == 0.0 || prices[0] > 0.0 || prices[1] > 0.0,
                "language.budget_per_firm_and_day has no price to count with",
                "set language.input_price and language.output_price",
            ),
            (
                self.photos.max_megabytes > 0 && self.photos.max_megapixels > 0 && self.photos.memory_megabytes > 0,
                "a limit of photos is 0",
                "each key of the section photos is at least 1",
            ),
            (
                [
                    self.models.remote_url.is_empty(),
                    self.models.tensor_url.is_empty(),
                    self.models.sagemaker_endpoints().is_empty(),
                ]
                .iter()
                .filter(|is_empty| !**is_empty)
                .count()
                    <= 1,
                "more than one place is configured where models run",
                "a photo is looked at in one place: models.remote_url, models.tensor_url or SageMaker endpoints",
            ),
            (
                self.retention.results_days.max(self.retention.audit_days) <= LONGEST_KEPT_DAYS,
                "a limit of the section retention is out of range",
                "each is 0 (for ever) to 36500 days",
            ),
            (
                (1..=LONGEST_FAILING_H).contains(&self.subscriptions.give_up_hours),
                "subscriptions.give_up_hours is out of range",
                "it is 1 to 167: events are kept for a week",
            ),
            (
                self.telemetry.otlp_endpoint.is_empty() || is_collector(&self.telemetry),
                "telemetry.otlp_endpoint is no address of a collector",
                "it is such as https://collector.example:4318, without a user or a query; http is for this very machine, with \
                 telemetry.allow_loopback_http",
            ),
            (
                (1..=LONGEST_UNTOLD_S).contains(&self.telemetry.otlp_every_seconds),
                "telemetry.otlp_every_seconds is out of range",
                "it is 1 to 300",
            ),
            (
                self.models.remote_timeout_seconds > 0,
                "models.remote_timeout_seconds is 0",
                "it is at least 1; 60 suits most",
            ),
        ];
        match rules.into_iter().find(|(sound, ..)| !sound) {
            Some((_, problem, hint)) => Err(Failure::new(problem).with_hint(hint)),
            None => self.openid_connect.check(),
        }
    }

    /// A path of the configuration, relative ones from the folder of the configuration file.
    pub fn path(&self, text: &str) -> PathBuf {
        let folder = self.surroundings.file.as_deref().and_then(Path::parent);
        folder.map_or_else(|| PathBuf::from(text), |folder| folder.join(text))
    }

    /// The state file's path.
    pub fn state_file(&self) -> PathBuf {
        self.path(&self.state.file)
    }

    /// The file of the practices' own keys: where it is configured, else beside the file of the state's key, else (with a key from the
    /// environment) beside the state file.
    pub fn firm_keys_file(&self) -> PathBuf {
        let beside = |path: PathBuf| {
            let mut name = path.into_os_string();
            name.push(".firm-keys");
            PathBuf::from(name)
        };
        match (self.state.firm_keys.as_str(), self.state_key_file()) {
            ("", Some(key_file)) => beside(key_file),
            ("", None) => beside(self.state_file()),
            (named, _) => self.path(named),
        }
    }

    /// The file that the state's key is in; nothing when it comes from the environment, or is not configured.
    pub fn state_key_file(&self) -> Option<PathBuf> {
        let in_file = self.surroundings.state_key.is_none() && !self.state.key_file.is_empty();
        in_file.then(|| self.path(&self.state.key_file))
    }

    /// The key of the state file, from the environment or its file. There is no default.
    pub fn state_key(&self) -> Result<StateKey, Failure> {
        parse_state_key(&self.state_key_text()?)
    }

    /// The same, as it is written: what the keys of practices are wrapped under where the state is in DynamoDB and no secret is named for
    /// that.
    pub fn state_key_text(&self) -> Result<Secret, Failure> {
        let text = match &self.surroundings.state_key {
            Some(text) => text.clone(),
            None if self.state.key_file.is_empty() => {
                return Err(Failure::new("there is no key for the state file").with_hint(
                    "make one with `skin-assist key generate FILE` and name it as state.key_file, or set \
                     SKIN_ASSIST_STATE_KEY",
                ));
            }
            None => read_secret(&self.path(&self.state.key_file), "the key of the state file")?,
        };
        parse_state_key(&text)?;
        Ok(text)
    }

    /// The EHR's API key, from the environment or its file; empty when neither is given.
    pub fn api_key(&self) -> Result<Secret, Failure> {
        match &self.surroundings.api_key {
            Some(key) => Ok(key.clone()),
            None if self.ehr.api_key_file.is_empty() => Ok(Secret::default()),
            None => read_secret(&self.path(&self.ehr.api_key_file), "the EHR's API key"),
        }
    }

    /// Certificates of a private authority, as PEM, from a file that `key` names, where it names one.
    pub fn certificates(&self, key: &str, file: &str) -> Result<Option<Vec<u8>>, Failure> {
        if file.is_empty() {
            return Ok(None);
        }
        let path = self.path(file);
        let read = fs::read_to_string(&path)
            .failed(|| format!("{key} {} cannot be read", path.display()))
            .hint("it is a text file: PEM")?;
        if !read.contains("-----BEGIN CERTIFICATE-----") {
            return Err(Failure::new(format!("{key} {} has no certificate", path.display()))
                .with_hint("it holds certificates as PEM, each from -----BEGIN CERTIFICATE----- on"));
        }
        Ok(Some(read.into_bytes()))
    }

    /// What this client proves itself with to the EHR in TLS, where it is configured.
    pub fn ehr_identity(&self) -> Result<Option<ClientIdentity>, Failure> {
        let (certificate, key) = (&self.ehr.client_certificate_file, &self.ehr.client_key_file);
        match (certificate.as_str(), key.as_str()) {
            ("", "") => Ok(None),
            ("", _) | (_, "") => Err(Failure::new("a client certificate and its key belong together")
                .with_hint("set both of ehr.client_certificate_file and ehr.client_key_file, or none")),
            (certificate, key) => {
                let certificate = self.path(certificate);
                let key = read_secret(&self.path(key), "the key of the client certificate")?;
                let certificate = fs::read(&certificate)
                    .failed(|| format!("ehr.client_certificate_file {} cannot be read", certificate.display()))?;
                Ok(Some(ClientIdentity::new(&certificate, key.expose().as_bytes())))
            }
        }
    }

    /// Further API keys by name.
    pub fn further_api_keys(&self) -> Result<BTreeMap<String, Secret>, Failure> {
        let read = |entry: &String| {
            let (name, file) = entry
                .split_once('=')
                .filter(|(name, file)| !name.is_empty() && !file.is_empty())
                .ok_or_else(|| {
                    Failure::new(format!("ehr.further_api_key_files has the entry `{entry}`"))
                        .with_hint("an entry is NAME=FILE; a firm is given the key with `firm add --api-key NAME`")
                })?;
            let secret = read_secret(&self.path(file), "a further API key")?;
            Ok((name.to_owned(), secret))
        };
        let mut keys = BTreeMap::new();
        for entry in &self.ehr.further_api_key_files {
            let (name, key) = read(entry)?;
            // One key under two names would be given two quotas.
            let is_known = keys.values().any(|known: &Secret| known.expose() == key.expose());
            if is_known || keys.insert(name, key).is_some() {
                return Err(Failure::new(format!(
                    "ehr.further_api_key_files names a key or a name twice: `{entry}`"
                ))
                .with_hint("each key is listed once"));
            }
        }
        Ok(keys)
    }

    /// For wiring without a file or an environment: the secrets given directly.
    #[must_use]
    pub fn with_secrets(mut self, state_key: Secret, api_key: Secret) -> Self {
        self.surroundings.state_key = Some(state_key);
        self.surroundings.api_key = Some(api_key);
        self
    }
}

fn parse_state_key(text: &Secret) -> Result<StateKey, Failure> {
    StateKey::parse(text).map_err(|error| {
        Failure::new("the key of the state file is no key")
            .because(error)
            .with_hint(error.hint())
    })
}

/// Reads a state key from a file.
pub fn read_state_key(path: &Path) -> Result<StateKey, Failure> {
    parse_state_key(&read_secret(path, "the key of the state file")?)
}

/// Reads a secret from a file; white space around it is dropped.
pub fn read_secret(path: &Path, what: &str) -> Result<Secret, Failure> {
    let text = fs::read_to_string(path)
        .failed(|| format!("{what} cannot be read from {}", path.display()))
        .hint("check the path and that this user may read the file")?;
    let secret = Secret::new(text.trim().to_owned());
    drop(Secret::new(text));
    if secret.is_empty() {
        return Err(Failure::new(format!("{what}: the file {} is empty", path.display())));
    }
    Ok(secret)
}

/// Whether a collector may be told: over TLS, or on this very machine where that is allowed.
fn is_collector(section: &TelemetryConfig) -> bool {
    let Ok(url) = Url::parse(&section.otlp_endpoint) else {
        return false;
    };
    let is_safe = match url.scheme() {
        "https" => true,
        "http" => section.allow_loopback_http && is_loopback_host(&url),
        _ => false,
    };
    is_safe
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
}

/// Lays `over` on `base`, whose keys are all there are.
fn merge(base: &mut Table, over: Table, source: &str) -> Result<(), Failure> {
    for (section, value) in over {
        let Some(Value::Table(known)) = base.get_mut(&section) else {
            return Err(unknown(source, &section, base.keys()));
        };
        let Value::Table(keys) = value else {
            return Err(Failure::new(format!("{source}: `{section}` is a section, not a value"))
                .with_hint(format!("write [{section}] and its keys below it")));
        };
        for (key, value) in keys {
            let Some(slot) = known.get_mut(&key) else {
                let name = format!("{section}.{key}");
                let keys: Vec<_> = known.keys().map(|key| format!("{section}.{key}")).collect();
                return Err(unknown(source, &name, keys.iter()));
            };
            *slot = value;
        }
    }
    Ok(())
}

fn unknown<'a>(source: &str, name: &str, known: impl Iterator<Item = &'a String>) -> Failure {
    let known: Vec<_> = known.map(|key| format!("`{key}`")).collect();
    Failure::new(format!("{source} has the unknown key `{name}`")).with_hint(format!("there are {}", known.join(", ")))
}

/// A variable as a piece of configuration, in the type that the default has.
fn from_variable(defaults: &Table, name: &str, value: &str) -> Result<Table, Failure> {
    let lower = name[PREFIX.len()..].to_ascii_lowercase();
    let Some((section, key)) = lower.split_once("__") else {
        return Err(Failure::new(format!("the variable {name} is not known")).with_hint(format!(
            "variables are {PREFIX}<SECTION>__<KEY> with two underscores, {STATE_KEY_VARIABLE}, {API_KEY_VARIABLE} and \
             {FILE_VARIABLE}"
        )));
    };
    let default = defaults.get(section).and_then(|section| section.get(key));
    let wrong = || Failure::new(format!("the variable {name} has a value of the wrong type"));
    let value = match default {
        Some(Value::Integer(_)) => Value::Integer(i64::from_str(value).map_err(|_| wrong())?),
        Some(Value::Float(_)) => Value::Float(f64::from_str(value).map_err(|_| wrong())?),
        Some(Value::Boolean(_)) => Value::Boolean(bool::from_str(value).map_err(|_| wrong())?),
        Some(Value::Array(_)) => Value::Array(
            value
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Value::String(item.to_owned()))
                .collect(),
        ),
        _ => Value::String(value.to_owned()),
    };
    let section_table = Table::from_iter([(key.to_owned(), value)]);
    Ok(Table::from_iter([(section.to_owned(), Value::Table(section_table))]))
}

#[cfg(test)]
mod tests {
    use skin_assist_core::polling::PolicyName;

    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn with_file(text: &str, variables: &[(&str, &str)]) -> Result<Config, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("skin-assist.toml");
        fs::write(&path, text).unwrap();
        Config::read(Some(&path), &environment(variables))
    }

    #[test]
    fn the_defaults_are_whole() {
        let config = Config::defaults().unwrap();
        assert_eq!(config.polling.policy, PolicyName::Adaptive);
        assert_eq!(config.photos.max_megapixels, 100);
        let windows = config.assessments;
        assert_eq!(
            (windows.solitary_window_seconds, windows.widespread_window_seconds),
            (0, 30)
        );
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
        let config = with_file(
            "[ehr]\nbase_url = \"https://a.example\"\ncalls_per_minute = 100\n",
            &[
                ("SKIN_ASSIST_EHR__BASE_URL", "https://b.example"),
                ("SKIN_ASSIST_EHR__PHOTO_HOSTS", "c.example, d.example"),
            ],
        )
        .unwrap();
        assert_eq!(config.ehr.base_url, "https://b.example");
        assert_eq!(config.ehr.calls_per_minute, 100);
        assert_eq!(config.ehr.photo_hosts, ["c.example", "d.example"]);
        assert_eq!(config.ehr.profile, "modmed-ema");
    }

    #[test]
    fn unknown_keys_and_wrong_values_are_refused_with_a_hint() {
        for (text, variables, expected) in [
            ("[ehr]\nbase = 1\n", &[][..], "unknown key `ehr.base`"),
            ("[her]\nbase_url = \"\"\n", &[], "unknown key `her`"),
            ("ehr = 1\n", &[], "`ehr` is a section"),
            ("[ehr\n", &[], "is not TOML"),
            (
                "[polling]\npolicy = \"psychic\"\n",
                &[],
                "wrong type or is not one of those allowed",
            ),
            (
                "[ehr]\ncalls_per_minute = 3\n",
                &[],
                "ehr.calls_per_minute is too small",
            ),
            ("[workers]\npoll = 0\n", &[], "a number of workers is 0"),
            (
                "[assessments]\nwidespread_window_seconds = 121\n",
                &[],
                "a window of assessments is out of range",
            ),
            ("", &[("SKIN_ASSIST_EHR__BASEURL", "x")], "unknown key `ehr.baseurl`"),
            (
                "",
                &[("SKIN_ASSIST_EHR_BASE_URL", "x")],
                "SKIN_ASSIST_EHR_BASE_URL is not known",
            ),
            (
                "",
                &[("SKIN_ASSIST_PHOTOS__MAX_MEGABYTES", "many")],
                "value of the wrong type",
            ),
        ] {
            let failure = with_file(text, variables).unwrap_err();
            assert!(failure.to_string().contains(expected), "{failure}");
        }
    }

    #[test]
    fn there_is_no_default_key() {
        let config = with_file("", &[]).unwrap();
        assert!(
            config
                .state_key()
                .unwrap_err()
                .to_string()
                .contains("no key for the state file")
        );
        let config = with_file("", &[(STATE_KEY_VARIABLE, "secret")]).unwrap();
        assert!(!format!("{config:?}").contains("\"secret\""));
        assert!(config.state_key().unwrap_err().to_string().contains("is no key"));
    }
}
