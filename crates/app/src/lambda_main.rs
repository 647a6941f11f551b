//! All functions of the deployment on AWS, in one binary: `skin-assist-lambda`.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    skin_assist::lambda::serve().await
}
