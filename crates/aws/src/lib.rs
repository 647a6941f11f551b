//! Skin Assist on AWS.

pub mod dynamodb;
