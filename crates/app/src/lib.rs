//! The `skin-assist` binary as a library: configuration, wiring, the driver, the commands.

pub mod cli;
pub mod clock;
mod commands;
pub mod config;
pub mod console;
pub mod driver;
pub mod failure;
pub mod functions;
#[cfg(feature = "aws")]
pub mod lambda;
pub mod model_server;
pub mod process;
mod retention;
mod silence;
mod telemetry;
pub mod wiring;
