//! The deployment on AWS: what is checked without an account.

pub(crate) mod check;
pub(crate) mod cost;
pub(crate) mod end_to_end;
