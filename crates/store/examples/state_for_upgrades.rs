//! Makes a state file with something of everything in it, as this version writes it: `crates/store/tests/states` keeps one of each edition, and
//! `crates/store/tests/upgrade.rs` opens them. Run before the schema gets another edition:
//!
//!     cargo run -p skin-assist-store --example state_for_upgrades -- crates/store/tests/states/edition-7.state

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{path::PathBuf, sync::Arc};

use skin_assist_store::{SqliteStore, StateKey};
use skin_assist_testkit::conformance;

fn main() {
    let file = PathBuf::from(std::env::args().nth(1).unwrap());
    let store = SqliteStore::open(&file, &StateKey::from_bytes([7; 32])).unwrap();
    futures::executor::block_on(conformance::busy(&(Arc::new(store) as Arc<_>)));
}
