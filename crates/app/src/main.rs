//! The `skin-assist` binary.
fn main() {}
