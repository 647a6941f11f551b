//! The binary as its user runs it: a folder with a configuration, a practice EHR over HTTP, commands.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]
#![allow(dead_code, reason = "shared by tests of which none needs all")]

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use skin_assist_simulator::{
    ExpectedRoute, PracticeEhr,
    http_server::{Server, ServerOptions},
};
use tempfile::TempDir;

pub(crate) struct Installation {
    pub(crate) folder: TempDir,
    pub(crate) config: PathBuf,
}

impl Installation {
    /// A folder with a key and a configuration that names no EHR yet.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("skin-assist.toml");
        let installation = Self { folder, config };
        std::fs::write(&installation.config, "[state]\nkey_file = \"state.key\"\n").unwrap();
        let key = installation.path("state.key");
        installation.succeed(&["key", "generate", key.to_str().unwrap()]);
        installation
    }

    /// Connected to all practices of a served practice EHR, with the commands that an operator would use.
    pub(crate) fn connected(ehr: &PracticeEhr) -> Self {
        Self::connected_on(ehr, "key_file = \"state.key\"")
    }

    /// The same, on the state that these keys of the section `state` name (and what follows them).
    pub(crate) fn connected_on(ehr: &PracticeEhr, state: &str) -> Self {
        let installation = Self::new();
        let firms: Vec<_> = ehr.firms().iter().map(|firm| ehr.credentials(firm).unwrap()).collect();
        let config = format!(
            "[state]\n{state}\n[ehr]\nbase_url = \"{}\"\ntoken_url = \"{}\"\napi_key_file = \"api.key\"\n\
             photo_hosts = [\"127.0.0.1\"]\nallow_loopback_http = true\n\
             [assessments]\nwidespread_window_seconds = 1\n[console]\nlisten = \"127.0.0.1:0\"\n[log]\nlevel = \"warn\"\n",
            firms[0].api_base, firms[0].token_url
        );
        std::fs::write(&installation.config, config).unwrap();
        std::fs::write(installation.path("api.key"), &firms[0].api_key).unwrap();
        std::fs::write(installation.path("intended-use.txt"), "for this test").unwrap();
        for firm in &firms {
            let (id, secret) = (firm.firm.as_str(), installation.path("client.secret"));
            std::fs::write(&secret, &firm.client_secret).unwrap();
            let secret = secret.to_str().unwrap().to_owned();
            let intended_use = installation.path("intended-use.txt").to_str().unwrap().to_owned();
            installation.succeed(&[
                "firm",
                "add",
                id,
                "--url-prefix",
                id,
                "--client-id",
                &firm.client_id,
                "--client-secret-file",
                &secret,
            ]);
            let mut set = vec!["categories".to_owned(), "set".to_owned(), id.to_owned()];
            for category in &firm.categories {
                match category.route {
                    ExpectedRoute::Solitary => set.push(format!("{}=solitary", category.code)),
                    ExpectedRoute::Widespread => set.push(format!("{}=widespread", category.code)),
                    ExpectedRoute::Ignored => {}
                }
            }
            installation.succeed(&set.iter().map(String::as_str).collect::<Vec<_>>());
            installation.succeed(&[
                "firm",
                "mode",
                id,
                "draft",
                "--intended-use",
                &intended_use,
                "--recorded-by",
                "Test Operator",
            ]);
        }
        installation
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skin-assist"));
        command
            .args(arguments)
            .env("SKIN_ASSIST_CONFIG", &self.config)
            // For an emulator, which takes any; and nobody is asked for others.
            .env("AWS_ACCESS_KEY_ID", "emulator")
            .env("AWS_SECRET_ACCESS_KEY", "emulator")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Standard output of a command that has to succeed.
    pub(crate) fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "skin-assist {} failed:\n{error}",
            arguments.join(" ")
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard error of a command that has to fail with exit code 1.
    pub(crate) fn fail(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert_eq!(
            output.status.code(),
            Some(1),
            "skin-assist {} did not fail",
            arguments.join(" ")
        );
        String::from_utf8(output.stderr).unwrap()
    }

    /// `skin-assist run`, in the background, its log appended to a file.
    pub(crate) fn start(&self) -> Running {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("run.log"))
            .unwrap();
        Running(
            self.command(&["run"])
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .unwrap(),
        )
    }

    /// The same, whose writes beyond a limit on the size of files fail instead of ending it, as on a full disk.
    pub(crate) fn start_on_a_disk_that_may_fill(&self) -> Running {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("run.log"))
            .unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", "trap '' XFSZ; exec \"$0\" run", env!("CARGO_BIN_EXE_skin-assist")])
            .env("SKIN_ASSIST_CONFIG", &self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        Running(command.spawn().unwrap())
    }

    /// The same on a file system on which it can only read; none where that cannot be had of this machine.
    pub(crate) fn start_where_it_can_only_read(&self) -> Option<Running> {
        let apart = ["--user", "--map-root-user", "--mount"];
        let script = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && exec \"$0\" \"$2\"";
        let start = |program: &str, argument: &str| {
            let mut command = Command::new("unshare");
            command
                .args(apart)
                .args(["sh", "-c", script, program])
                .arg(self.folder.path())
                .arg(argument)
                .env("SKIN_ASSIST_CONFIG", &self.config)
                .stdin(Stdio::null())
                .stdout(Stdio::null());
            command
        };
        let is_possible = start("true", "").stderr(Stdio::null()).status().ok()?.success();
        let log = std::fs::File::create(self.path("read-only.log")).unwrap();
        let start = || {
            start(env!("CARGO_BIN_EXE_skin-assist"), "run")
                .stderr(log)
                .spawn()
                .unwrap()
        };
        is_possible.then(start).map(Running)
    }

    /// What running engines have logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("run.log")).unwrap()
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.succeed(arguments)).unwrap()
    }
}

/// A running engine; killed when the test ends.
pub(crate) struct Running(Child);

impl Running {
    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn terminate(self) -> Option<i32> {
        self.ask_to_stop();
        self.exit_code()
    }

    /// SIGTERM, without waiting.
    pub(crate) fn ask_to_stop(&self) {
        let kill = Command::new("kill").arg(self.0.id().to_string()).status().unwrap();
        assert!(kill.success());
    }

    /// Waits for its end.
    pub(crate) fn exit_code(mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }

    /// Limits the size that its files may have: writes beyond it fail. Without a limit they go well again.
    #[cfg(target_os = "linux")]
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        let prlimit = Command::new("prlimit")
            .args(["--pid", &self.0.id().to_string(), &format!("--fsize={limit}:")])
            .status()
            .expect("prlimit is a part of util-linux; install that");
        assert!(prlimit.success());
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already waited for, or the test failed: either way nothing more can be done.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Serves a practice EHR until the value is dropped.
pub(crate) struct Served {
    pub(crate) ehr: PracticeEhr,
    _server: Server,
    runtime: tokio::runtime::Runtime,
}

impl Served {
    pub(crate) fn start(ehr: PracticeEhr) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let server = runtime
            .block_on(Server::start(ehr.clone(), ServerOptions::default()))
            .unwrap();
        Self {
            ehr,
            _server: server,
            runtime,
        }
    }

    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub(crate) fn sleep(&self, duration: std::time::Duration) {
        self.runtime.block_on(async { tokio::time::sleep(duration).await });
    }
}

/// A picture as a camera writes it, in a file.
pub(crate) fn write_photo(path: &Path, seed: u64) {
    use skin_assist_simulator::picture::{Condition, PictureParameters, render};
    let picture = render(&PictureParameters::new(seed, Some(Condition::Melanoma), 640, 480));
    std::fs::write(path, picture.to_jpeg(90, 6)).unwrap();
}
