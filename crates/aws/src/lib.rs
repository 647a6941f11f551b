//! Skin Assist on AWS: the state in DynamoDB, photos in S3, credentials in Secrets Manager, models behind SageMaker and
//! language models on Bedrock.
//!
//! # What it owns
//! Everything that speaks to AWS, and the only use of its SDK. Knows the ports of `skin-assist-core` and nothing else of this
//! workspace.

pub mod bedrock;
pub mod connection;
pub mod dynamodb;
#[cfg(feature = "inline")]
pub mod inline;
pub mod photos;
pub mod sagemaker;
pub mod secrets;
