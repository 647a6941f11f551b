//! Skin Assist on AWS.

pub mod connection;
pub mod dynamodb;
