//! Any bytes as a model's file.

use std::sync::LazyLock;

use skin_assist_models::runtime::{Names, Runtime, RuntimeChoice};

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Runtime::open(&RuntimeChoice::Rten).expect("the built-in runtime is built in"));

/// An ONNX file, by the built-in runtime.
pub fn any_model(bytes: &[u8]) {
    let names = Names {
        input: "image",
        output: "logits",
    };
    // Either it is a model or it is refused.
    drop(RUNTIME.load(bytes, names));
}
