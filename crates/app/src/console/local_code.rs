//! The code by which whoever may read the folder of the state signs in to a console on this machine.
//!
//! They hold the state already: its file, and mostly its key. The code is good as long as the process runs, and lies beside the
//! state in a file that its owner alone can read.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use skin_assist_core::phi::Secret;

use crate::{
    commands::key::write_secret,
    failure::{Failure, Hinted as _},
};

/// A console that does not answer within this time is not there any more.
const ANSWERS_WITHIN: Duration = Duration::from_millis(500);

/// A console that runs on this machine.
#[derive(Debug, Serialize, Deserialize)]
pub struct Running {
    /// Where.
    pub address: SocketAddr,
    /// What to sign in with.
    pub code: String,
}

/// The file of a running console, removed when it is dropped.
pub struct LocalCode {
    code: String,
    file: PathBuf,
}

/// What the files of the consoles on a state begin with.
fn prefix(state_file: &Path) -> PathBuf {
    let mut name = state_file.as_os_str().to_owned();
    name.push(".console-");
    PathBuf::from(name)
}

impl LocalCode {
    /// A code for a console of this process, on this state.
    pub fn new(state_file: &Path) -> Result<Self, Failure> {
        let mut bytes = [0_u8; 20];
        getrandom::fill(&mut bytes).failed(|| "the system has no random numbers".to_owned())?;
        let mut file = prefix(state_file).into_os_string();
        file.push(std::process::id().to_string());
        Ok(Self {
            code: hex::encode(bytes),
            file: PathBuf::from(file),
        })
    }

    /// The code.
    pub fn secret(&self) -> Secret {
        Secret::new(self.code.clone())
    }

    /// Says where the console is. One of an earlier process of the same number is overwritten.
    pub fn announce(&self, address: SocketAddr) -> Result<(), Failure> {
        let running = Running {
            address,
            code: self.code.clone(),
        };
        let text = serde_json::to_string(&running).failed(|| "the console's code cannot be written".to_owned())?;
        _ = fs::remove_file(&self.file);
        write_secret(&self.file, &text)
    }

    /// The consoles that run on a state of this machine. What a killed process left is removed.
    pub fn running(state_file: &Path) -> Vec<Running> {
        let prefix = prefix(state_file);
        let folder = match prefix.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let name = prefix
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let files = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
        let of_consoles = files.filter(|file| file.file_name().to_string_lossy().starts_with(&name));
        let mut running: Vec<Running> = of_consoles
            .filter_map(|file| {
                let text = fs::read_to_string(file.path()).ok()?;
                let running: Running = serde_json::from_str(&text).ok()?;
                if std::net::TcpStream::connect_timeout(&running.address, ANSWERS_WITHIN).is_err() {
                    _ = fs::remove_file(file.path());
                    return None;
                }
                Some(running)
            })
            .collect();
        running.sort_by_key(|running| running.address);
        running
    }
}

impl Drop for LocalCode {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.file);
    }
}
