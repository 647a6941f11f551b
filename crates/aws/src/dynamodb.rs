//! The state of all firms in DynamoDB.

pub mod schema;
