//! A practice EHR to work against: OAuth2, FHIR, pre-signed photo URLs, a call quota, and generated clinic days.
//!
//! Deterministic from a seed. The logic is sans-I/O (a request and the time go in, a response comes out), so that it
//! runs over HTTP in real time and in process under virtual time with the same code.

pub mod picture;
