//! `cargo xtask model-servers`: the packs with their models on a model server that we did not write, mlserver, against the packs
//! in process: the same photos, the same findings. docs/remote-models.md says what that proves.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    interop::{
        engine,
        http::{Message, exchange, free_port},
        servers::Process,
    },
    pinned::{self, empty},
    process::{output, program, root},
    steps::Steps,
};

/// Where what the server needs is pinned.
const HOME: &str = "interop/model-servers";
const REQUIREMENTS: &str = "requirements.txt";
const INSTALLED: &str = "target/tools/model-servers";
/// Where everything of a run is.
const RUN: &str = "target/model-servers";

/// How long the server may take until it is ready.
const START: Duration = Duration::from_secs(120);

const PICTURES: usize = 6;

/// Two runtimes do not add in the same order: by so much numbers may differ.
const TOLERANCE: f64 = 2e-3;

/// The packs' models as the server names them: name, pack and file.
const MODELS: [(&str, &str, &str); 3] = [
    ("reference-solitary-detector", "reference-solitary", "detector.onnx"),
    ("reference-solitary-classifier", "reference-solitary", "classifier.onnx"),
    (
        "reference-widespread-classifier",
        "reference-widespread",
        "classifier.onnx",
    ),
];

/// Runs nothing else.
pub(crate) fn alone() -> Result<(), String> {
    let mut steps = Steps::begin();
    match pinned::environment(HOME, REQUIREMENTS, INSTALLED, true) {
        Ok(programs) => steps.step("model servers of others", || compare(&programs)),
        Err(why) => steps.lacking(
            &format!("model servers of others ({why}; python3 with venv installs what {HOME} pins)"),
            true,
        ),
    }
    steps.end("cargo xtask model-servers")
}

fn compare(programs: &Path) -> Result<(), String> {
    let folder = root().join(RUN);
    empty(&folder)?;
    let skin_assist = engine::build()?;
    engine::pictures(&folder.join("pictures"), PICTURES)?;
    let port = free_port()?;
    let mut server = serve(programs, &folder, port)?;
    let outcome = findings_agree(&skin_assist, &folder, port, &mut server);
    outcome.map_err(|problem| format!("{problem}\n{RUN} has what was said"))
}

/// Starts mlserver with the models of the reference packs.
fn serve(programs: &Path, folder: &Path, port: u16) -> Result<Process, String> {
    let write = |path: &Path, document: &Value| {
        fs::write(path, document.to_string()).map_err(|error| format!("{} cannot be written: {error}", path.display()))
    };
    let models = folder.join("models");
    for (name, pack, file) in MODELS {
        let onnx = root().join("models").join(pack).join(file);
        empty(&models.join(name))?;
        let settings = json!({
            "name": name, "implementation": "onnx_model.OnnxModel",
            "parameters": { "uri": onnx, "version": "1" },
        });
        write(&models.join(name).join("model-settings.json"), &settings)?;
    }
    let settings = json!({
        "host": "127.0.0.1", "http_port": port, "grpc_port": free_port()?, "metrics_endpoint": null,
        "metrics_port": free_port()?, "parallel_workers": 0, "debug": false,
    });
    write(&models.join("settings.json"), &settings)?;
    let mut start = program(&programs.join("mlserver").to_string_lossy());
    start
        .arg("start")
        .arg(&models)
        .env("PYTHONPATH", root().join(HOME))
        .current_dir(folder);
    let mut server = Process::start("mlserver", &mut start, &folder.join("mlserver.log"))?;
    let begin = Instant::now();
    let ready = Message::request("GET", "/v2/health/ready");
    loop {
        server.check()?;
        if exchange(([127, 0, 0, 1], port).into(), &ready).is_ok_and(|reply| reply.status() == 200) {
            return Ok(server);
        }
        if begin.elapsed() > START {
            return Err("mlserver is not ready".to_owned());
        }
        thread::sleep(Duration::from_millis(200));
    }
}

fn findings_agree(skin_assist: &Path, folder: &Path, port: u16, server: &mut Process) -> Result<(), String> {
    let mut pictures: Vec<PathBuf> = fs::read_dir(folder.join("pictures"))
        .map_err(|error| error.to_string())?
        .flatten()
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jpg"))
        .collect();
    pictures.sort();
    for route in ["solitary", "widespread"] {
        let assess = |url: &str| -> Result<Value, String> {
            let mut assess = program(&skin_assist.to_string_lossy());
            assess.args(["assess", "--json", "--route", route]).args(&pictures);
            assess.env("SKIN_ASSIST_MODELS__TENSOR_URL", url).current_dir(folder);
            serde_json::from_str(&output(&mut assess)?).map_err(|error| error.to_string())
        };
        let here = assess("")?;
        let there = assess(&format!("http://127.0.0.1:{port}"))?;
        server.check()?;
        let count = here.as_array().map_or(0, Vec::len);
        if count != PICTURES || here[0]["findings"].is_null() {
            return Err(format!("the packs have findings of {count} photos"));
        }
        if let Some(place) = difference(&here, &there) {
            return Err(format!("{route}: the findings differ at {place}"));
        }
        println!("{route}: {count} photos, the same findings from mlserver as in process");
    }
    Ok(())
}

/// Where two documents differ by more than the tolerance, if they do.
fn difference(one: &Value, other: &Value) -> Option<String> {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (one.as_f64()?, other.as_f64()?);
            ((one - other).abs() > TOLERANCE).then(|| format!(": {one} and {other}"))
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => one
            .iter()
            .zip(other)
            .enumerate()
            .find_map(|(index, (one, other))| Some(format!("[{index}]{}", difference(one, other)?))),
        (Value::Object(one), Value::Object(other)) if one.len() == other.len() => {
            one.iter().find_map(|(key, value)| {
                let other = other.get(key).unwrap_or(&Value::Null);
                Some(format!(".{key}{}", difference(value, other)?))
            })
        }
        (one, other) => (one != other).then(|| format!(": {one} and {other}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::difference;

    #[test]
    fn differences_are_found_wherever_they_are() {
        let one = json!({ "a": [1.0, { "b": "x" }], "c": null });
        assert_eq!(difference(&one, &one), None);
        assert_eq!(
            difference(&one, &json!({ "a": [1.0001, { "b": "x" }], "c": null })),
            None
        );
        let cases = [
            (json!({ "a": [1.1, { "b": "x" }], "c": null }), ".a[0]: 1 and 1.1"),
            (
                json!({ "a": [1.0, { "b": "y" }], "c": null }),
                ".a[1].b: \"x\" and \"y\"",
            ),
            (json!({ "a": [1.0, { "b": "x" }], "d": 1, "c": null }), ": "),
            (json!({ "a": [1.0], "c": null }), ".a: "),
            (json!({ "a": [1.0, { "b": "x" }], "c": 0 }), ".c: null and 0"),
        ];
        for (other, place) in cases {
            let found = difference(&one, &other);
            assert!(
                found.as_deref().is_some_and(|found| found.starts_with(place)),
                "{found:?} {place}"
            );
        }
    }
}
