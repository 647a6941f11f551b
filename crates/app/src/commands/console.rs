//! `skin-assist console`: where the console is, and how to sign in to it on this machine.

use std::process::ExitCode;

use super::print_json;
use crate::{
    config::{Config, StoreName},
    console::LocalCode,
    failure::Failure,
};

/// Prints the address of each console that runs on the configured state, and the code to sign in with.
pub(crate) fn console(config: &Config, json: bool) -> Result<ExitCode, Failure> {
    let running = match config.state.store {
        StoreName::Sqlite => LocalCode::running(&config.state_file()),
        StoreName::Dynamodb => {
            return Err(Failure::new("with the state in DynamoDB there is no code")
                .with_hint("sign in with the token of console.operator_token_file or console.admin_token_file"));
        }
    };
    if json {
        print_json(&running)?;
        return Ok(ExitCode::SUCCESS);
    }
    if running.is_empty() {
        return Err(Failure::new("no console runs on this state")
            .with_hint("start `skin-assist run`; console.listen says where it answers"));
    }
    for console in &running {
        say!("http://{}/sign-in with the code {}", console.address, console.code);
    }
    say!("Whoever has the code may do everything there until that process ends.");
    Ok(ExitCode::SUCCESS)
}
