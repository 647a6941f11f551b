//! The program itself, as its operator runs it: a folder with a configuration, commands, `skin-assist run`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use super::servers::Process;
use crate::process::{cargo, program, root};

/// Builds the program, and says where it is.
pub(crate) fn build() -> Result<PathBuf, String> {
    let mut build = cargo("build --locked -p skin-assist --bin skin-assist --message-format json-render-diagnostics");
    let messages = crate::process::output(&mut build)?;
    let executable = |line: &str| -> Option<PathBuf> {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    };
    let built = messages.lines().rev().find_map(executable);
    built.ok_or_else(|| "cargo built no skin-assist".to_owned())
}

/// Draws synthetic photos, as JPEG files.
pub(crate) fn pictures(folder: &Path, count: usize) -> Result<Vec<Vec<u8>>, String> {
    let mut draw = cargo("run --quiet --locked -p skin-assist-simulator --example pictures -- --jpeg --route solitary");
    draw.args([
        "--width",
        "480",
        "--height",
        "360",
        "--count",
        &count.to_string(),
        "--out",
    ]);
    crate::process::run(draw.arg(folder))?;
    let files = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<_> = files
        .flatten()
        .map(|file| file.path())
        .filter(|file| file.extension().is_some_and(|extension| extension == "jpg"))
        .collect();
    files.sort();
    if files.len() != count {
        return Err(format!("{} pictures were drawn instead of {count}", files.len()));
    }
    let read = |file: PathBuf| fs::read(&file).map_err(|error| format!("{}: {error}", file.display()));
    files.into_iter().map(read).collect()
}

/// The text of a shipped profile.
pub(crate) fn shipped_profile(name: &str) -> Result<String, String> {
    let file = root().join("crates/ehr/profiles").join(format!("{name}.toml"));
    fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))
}

/// A folder with a state, a configuration and secrets.
pub(crate) struct Installation {
    program: PathBuf,
    folder: PathBuf,
}

impl Installation {
    /// A new one with this configuration, in an empty folder.
    pub(crate) fn new(program: &Path, folder: &Path, configuration: &str) -> Result<Self, String> {
        crate::pinned::empty(folder)?;
        let installation = Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
        };
        installation.write("skin-assist.toml", configuration)?;
        installation.write("intended-use.txt", "to try the program against servers of others")?;
        installation.succeed(&["key", "generate", "state.key"])?;
        Ok(installation)
    }

    /// Puts a file beside the configuration.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), String> {
        let file = self.folder.join(name);
        fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(&self.program.to_string_lossy());
        let foreign = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SKIN_ASSIST_"));
        for (name, _) in foreign {
            command.env_remove(name);
        }
        command.args(arguments).current_dir(&self.folder);
        command
    }

    /// The standard output of a command that has to succeed.
    pub(crate) fn succeed(&self, arguments: &[&str]) -> Result<String, String> {
        let named = arguments.join(" ");
        let output = self.command(arguments).stderr(Stdio::piped()).output();
        let output = output.map_err(|error| format!("skin-assist {named}: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("skin-assist {named} failed:\n{said}"));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The same as JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Result<Value, String> {
        let text = self.succeed(arguments)?;
        serde_json::from_str(&text).map_err(|error| format!("skin-assist {}: {error}", arguments.join(" ")))
    }

    /// Connects a practice with the options of its proof, chooses its photos, and lets drafts be written.
    pub(crate) fn connect(&self, firm: &str, proof: &[String]) -> Result<(), String> {
        let mut add = vec!["firm", "add", firm, "--url-prefix", firm];
        add.extend(proof.iter().map(String::as_str));
        self.succeed(&add)?;
        let photos = format!("{}=solitary", super::chart::PHOTO);
        self.succeed(&["categories", "set", firm, &photos, "--unchecked"])?;
        let mode = ["firm", "mode", firm, "draft", "--intended-use", "intended-use.txt"];
        self.succeed(&[&mode[..], &["--recorded-by", "Interop"]].concat())?;
        Ok(())
    }

    /// `skin-assist run`, its log appended to a file.
    pub(crate) fn start(&self) -> Result<Process, String> {
        Process::start("skin-assist run", &mut self.command(&["run"]), &self.log())
    }

    /// The engine's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("run.log")
    }
}
