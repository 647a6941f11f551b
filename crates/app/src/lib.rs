//! The `skin-assist` binary as a library: configuration, wiring, the driver, the commands.

pub mod cli;
pub mod clock;
mod commands;
pub mod config;
pub mod driver;
pub mod failure;
mod telemetry;
pub mod wiring;
