//! The binary as a library: configuration, wiring, the driver, the commands.

pub mod driver;
