//! The deployment as it is shipped: the roles against the stages, the tables against the store's schema, and what an emulator
//! does not show.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

mod methods;
mod permissions;
mod resources;
mod stages;
mod template;
