//! `cargo xtask containers`: what describes the program to a container runtime says what is so: variables are keys of the configuration, paths
//! are served, users, folders and versions are the same in all of them. Where Python is, hadolint reads the Containerfile, and Helm's own
//! library lints and renders the chart.
//!
//! Nothing here builds or runs an image. A test of the program (`crates/app/tests/compose.rs`) starts the services of the Compose file as processes.

use std::{collections::BTreeSet, fs};

use crate::{
    docs, documented, house, pinned,
    process::{output, program, root, run},
    steps::Steps,
};

const CONTAINERFILE: &str = "deploy/container/Containerfile";
const CHART: &str = "deploy/helm/skin-assist/Chart.yaml";
const STATEFUL_SET: &str = "deploy/helm/skin-assist/templates/statefulset.yaml";
const COMPOSE: &str = "deploy/compose/compose.yaml";

/// Where the checkers are pinned and told what to do.
const HOME: &str = "deploy/container/checks";
const INSTALLED: &str = "target/tools/containers";

/// Variables that are no keys.
const NO_KEYS: [&str; 3] = ["SKIN_ASSIST_CONFIG", "SKIN_ASSIST_STATE_KEY", "SKIN_ASSIST_EHR_API_KEY"];

/// What the files say alike: a text, and where it stands.
const ALIKE: &[(&str, &[&str])] = &[
    ("65532:65532", &[CONTAINERFILE]),
    ("runAsUser: 65532", &[STATEFUL_SET]),
    ("/var/lib/skin-assist", &[CONTAINERFILE, STATEFUL_SET, COMPOSE]),
    ("/usr/local/lib/libonnxruntime.so", &[CONTAINERFILE]),
    ("path: /healthz", &[STATEFUL_SET]),
    ("path: /readyz", &[STATEFUL_SET]),
];

/// Paths that the program answers whoever asks.
const CONSOLE: &str = "crates/app/src/console.rs";

/// The steps of `cargo xtask test`.
pub(crate) fn check(steps: &mut Steps, all: bool) {
    steps.step("container files", of_the_program);
    match pinned::environment(HOME, "requirements.txt", INSTALLED, true) {
        Ok(programs) => {
            steps.step("the Containerfile, read by hadolint", || {
                run(program(&programs.join("hadolint").to_string_lossy()).arg(CONTAINERFILE))
            });
            steps.step("the chart, rendered by Helm's library", || {
                let lines = output(
                    program(&programs.join("python").to_string_lossy()).arg(root().join(HOME).join("chart.py")),
                )?;
                docs::are_taken(&lines)
            });
        }
        Err(why) => steps.lacking(
            &format!("the Containerfile and the chart, by tools of others ({why})"),
            all,
        ),
    }
}

/// These alone.
pub(crate) fn alone() -> Result<(), String> {
    let mut steps = Steps::begin();
    check(&mut steps, true);
    steps.end("cargo xtask containers")
}

fn of_the_program() -> Result<(), String> {
    let mut problems = Vec::new();
    let keys = variables_of_keys(&read("crates/app/src/config/default.toml")?);
    let mut count = 0;
    for file in house::files()? {
        let Some(name) = file.to_str().filter(|name| is_of_containers(name)) else {
            continue;
        };
        for variable in variables(&read(name)?) {
            count += 1;
            if !keys.contains(&variable) {
                problems.push(format!("{name}: {variable} is no key of the configuration"));
            }
        }
    }
    for (text, files) in ALIKE {
        for file in *files {
            if !read(file)?.contains(text) {
                problems.push(format!("{file} does not say `{text}`"));
            }
        }
    }
    let served = read(CONSOLE)?;
    for path in ["/healthz", "/readyz"] {
        if !served.contains(&format!("\"{path}\",")) {
            problems.push(format!("{CONSOLE} does not serve {path} to whoever asks"));
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    for (file, text) in [
        (CHART, format!("\nversion: {version}\n")),
        (CHART, format!("\nappVersion: \"{version}\"\n")),
        (COMPOSE, format!("image: skin-assist:{version}\n")),
        ("docs/containers.md", format!("--tag skin-assist:{version} ")),
    ] {
        if !read(file)?.contains(&text) {
            problems.push(format!("{file} does not say `{}`", text.trim()));
        }
    }
    if problems.is_empty() {
        println!("{count} variables, all of them keys");
        Ok(())
    } else {
        Err(problems.join("\n"))
    }
}

fn is_of_containers(name: &str) -> bool {
    ["deploy/container/", "deploy/compose/", "deploy/helm/"]
        .iter()
        .any(|folder| name.starts_with(folder))
}

fn read(file: &str) -> Result<String, String> {
    fs::read_to_string(root().join(file)).map_err(|error| format!("{file} cannot be read: {error}"))
}

/// The variable of each key, and those that are no keys.
fn variables_of_keys(defaults: &str) -> BTreeSet<String> {
    let of_key = |key: String| format!("SKIN_ASSIST_{}", key.replace('.', "__").to_uppercase());
    let keys = documented::keys(defaults).into_iter().map(of_key);
    keys.chain(NO_KEYS.map(str::to_owned)).collect()
}

fn variables(text: &str) -> impl Iterator<Item = String> {
    let begin = "SKIN_ASSIST_";
    text.split(begin).skip(1).map(move |rest| {
        let end = rest
            .find(|c: char| !c.is_ascii_uppercase() && c != '_')
            .unwrap_or(rest.len());
        format!("{begin}{}", &rest[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_say_what_is_so() {
        of_the_program().unwrap();
    }

    #[test]
    fn a_variable_that_is_no_key_is_noticed() {
        let keys = variables_of_keys("[state]\nkey_file = \"\"\n");
        let told: Vec<String> =
            variables("SKIN_ASSIST_STATE__KEY_FILE=a SKIN_ASSIST_CONFIG: b\nSKIN_ASSIST_STATE__KEYFILE").collect();
        let known: Vec<bool> = told.iter().map(|variable| keys.contains(variable)).collect();
        assert_eq!(known, [true, true, false], "{told:?}");
    }
}
