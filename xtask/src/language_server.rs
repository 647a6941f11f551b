//! A language model's server that none of us wrote, and the test that goes through it. interop/language/README.md has the rest.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use crate::{
    pinned,
    process::{cargo, program, root, run},
};

/// Where it is described and pinned.
const HOME: &str = "interop/language";

/// Where it is installed, and where its model is written.
const INSTALLED: &str = "target/tools/language";

/// What pip is given.
const REQUIREMENTS: &str = "requirements.txt";

/// Names the server, for the test.
const VARIABLE: &str = "TEST_LANGUAGE_SERVER";

/// Installs the server, starts it, runs the test, and ends it.
pub(crate) fn alone() -> Result<(), String> {
    let programs = pinned::environment(HOME, REQUIREMENTS, INSTALLED, false)?;
    let mut server = program(&programs.join("python").to_string_lossy())
        .arg(root().join(HOME).join("serve.py"))
        .arg(root().join(INSTALLED).join("model"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("the server cannot be started: {error}"))?;
    let lines = server.stdout.take().map(|output| BufReader::new(output).lines());
    let address = lines
        .into_iter()
        .flatten()
        .map_while(Result::ok)
        .find(|line| line.starts_with("http://127.0.0.1:"));
    let outcome = match address {
        None => Err("the server did not come up".to_owned()),
        Some(address) => {
            let mut test = cargo(
                "test --locked -p skin-assist-endpoints --features servers --test language_server -- --nocapture",
            );
            run(test.env(VARIABLE, address))
        }
    };
    // It ends with its standard input, or now.
    drop(server.stdin.take());
    _ = server.kill();
    _ = server.wait();
    outcome
}
