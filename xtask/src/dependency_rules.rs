//! Who may know whom. ARCHITECTURE.md states the rules; this is what makes them true.
//!
//! Checked are the direct dependencies of every crate of the workspace as `cargo metadata` lists them: ordinary, build
//! and dev, of every platform and feature.

use serde_json::Value;

use crate::process::{cargo, output};

/// Whom a crate of the workspace may know. A crate that is not listed is refused until somebody decides.
struct Room {
    name: &'static str,
    /// Crates of the workspace that it may depend on.
    knows: &'static [&'static str],
    /// Further ones that only its tests, examples and benchmarks may use.
    dev: &'static [&'static str],
}

const CORE: &str = "skin-assist-core";
const APP: &str = "skin-assist";
const AWS: &str = "skin-assist-aws";
const EHR: &str = "skin-assist-ehr";
const ENDPOINTS: &str = "skin-assist-endpoints";
const EVALUATION: &str = "skin-assist-evaluation";
const FUZZING: &str = "skin-assist-fuzzing";
const FAULTS: &str = "skin-assist-faults";
const IDENTITY: &str = "skin-assist-identity";
const MODELS: &str = "skin-assist-models";
const SIMULATOR: &str = "skin-assist-simulator";
const STORE: &str = "skin-assist-store";
const SUBSCRIBERS: &str = "skin-assist-subscribers";
const TESTKIT: &str = "skin-assist-testkit";
const TRANSPORT: &str = "skin-assist-transport";
const VAULT: &str = "skin-assist-vault";

const ROOMS: &[Room] = &[
    Room {
        name: CORE,
        knows: &[],
        dev: &[],
    },
    Room {
        name: TRANSPORT,
        knows: &[],
        dev: &[],
    },
    Room {
        name: EHR,
        knows: &[CORE, TRANSPORT],
        dev: &[],
    },
    Room {
        name: ENDPOINTS,
        knows: &[CORE, TRANSPORT],
        dev: &[],
    },
    Room {
        name: SUBSCRIBERS,
        knows: &[CORE, TRANSPORT],
        dev: &[],
    },
    Room {
        name: IDENTITY,
        knows: &[CORE, TRANSPORT],
        dev: &[],
    },
    Room {
        name: EVALUATION,
        knows: &[CORE],
        dev: &[],
    },
    Room {
        name: MODELS,
        knows: &[CORE],
        dev: &[],
    },
    Room {
        name: VAULT,
        knows: &[],
        dev: &[],
    },
    Room {
        name: STORE,
        knows: &[CORE, VAULT],
        dev: &[TESTKIT],
    },
    Room {
        name: AWS,
        knows: &[CORE, VAULT],
        dev: &[TESTKIT],
    },
    Room {
        name: SIMULATOR,
        knows: &[CORE],
        dev: &[],
    },
    // The practice transport joins the EHR client to the simulator in process.
    Room {
        name: TESTKIT,
        knows: &[CORE, SIMULATOR, EHR, TRANSPORT],
        dev: &[],
    },
    Room {
        name: APP,
        knows: &[
            CORE,
            EHR,
            ENDPOINTS,
            EVALUATION,
            IDENTITY,
            MODELS,
            STORE,
            AWS,
            SIMULATOR,
            SUBSCRIBERS,
            TRANSPORT,
        ],
        dev: &[TESTKIT],
    },
    // It leads bytes to every reader of bytes, and nobody knows it.
    Room {
        name: FUZZING,
        knows: &[CORE, EHR, ENDPOINTS, IDENTITY, MODELS, STORE, TRANSPORT],
        dev: &[],
    },
    // The whole engine in one process, with faults on purpose: for tests only, and nobody knows it.
    Room {
        name: FAULTS,
        knows: &[APP, CORE, EHR, SIMULATOR, STORE, TESTKIT, TRANSPORT],
        dev: &[],
    },
    Room {
        name: "xtask",
        knows: &[],
        dev: &[],
    },
];

/// Packages from outside that only these crates may depend on. A name that ends in `-` stands for all that begin so.
const VENDORS: &[(&str, &[&str])] = &[
    ("reqwest", &[TRANSPORT]),
    ("hyper", &[TRANSPORT]),
    // The testkit signs as an identity provider does.
    ("ring", &[EHR, IDENTITY, SIMULATOR, TESTKIT]),
    // The fuzz targets damage rows past the store.
    ("rusqlite", &[STORE, FUZZING]),
    ("libsqlite3-sys", &[STORE]),
    ("ort", &[MODELS]),
    ("ort-sys", &[MODELS]),
    ("rten", &[MODELS]),
    ("rten-", &[MODELS]),
    ("axum", &[SIMULATOR, APP]),
    ("aws-", &[AWS]),
    ("lambda_runtime", &[APP]),
    ("rustix", &[APP]),
    ("rustls", &[TRANSPORT]),
    ("aes-siv", &[VAULT]),
    ("hkdf", &[VAULT]),
];

/// What would bring I/O, a clock or chance into the core.
const NOT_IN_CORE: &[&str] = &[
    "tokio",
    "async-std",
    "smol",
    "mio",
    "hyper",
    "socket2",
    "getrandom",
    "rand",
    "chrono",
];

/// How one crate depends on a package.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Dependency {
    name: String,
    dev: bool,
}

/// A crate of the workspace.
#[derive(Debug, Clone)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

/// Checks the workspace.
pub(crate) fn check() -> Result<(), String> {
    let metadata = output(&mut cargo("metadata --format-version 1 --no-deps --locked"))?;
    let packages = read(&metadata)?;
    let violations = violations(&packages);
    if violations.is_empty() {
        println!("{} crates keep to the rules", packages.len());
        Ok(())
    } else {
        Err(format!(
            "{}\nhint: ARCHITECTURE.md says who may know whom, and why",
            violations.join("\n")
        ))
    }
}

fn read(metadata: &str) -> Result<Vec<Package>, String> {
    let metadata: Value =
        serde_json::from_str(metadata).map_err(|error| format!("cargo metadata cannot be read: {error}"))?;
    let text = |value: &Value| {
        value
            .as_str()
            .map(str::to_owned)
            .ok_or("cargo metadata lacks a name".to_owned())
    };
    let list = |value: &Value| {
        value
            .as_array()
            .cloned()
            .ok_or("cargo metadata lacks a list".to_owned())
    };
    let packages = list(&metadata["packages"])?;
    let package = |package: &Value| {
        let dependencies = list(&package["dependencies"])?;
        let dependency = |dependency: &Value| {
            let dev = dependency["kind"].as_str() == Some("dev");
            Ok(Dependency {
                name: text(&dependency["name"])?,
                dev,
            })
        };
        let dependencies = dependencies.iter().map(dependency).collect::<Result<_, String>>()?;
        Ok(Package {
            name: text(&package["name"])?,
            dependencies,
        })
    };
    packages.iter().map(package).collect()
}

/// Everything that breaks a rule, in words.
fn violations(packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    let members: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    for Package { name, dependencies } in packages {
        let Some(room) = ROOMS.iter().find(|room| room.name == name) else {
            found.push(format!(
                "{name} is not in xtask/src/dependency_rules.rs: say whom it may know"
            ));
            continue;
        };
        for Dependency { name: other, dev } in dependencies {
            let other = other.as_str();
            if members.contains(&other) {
                let known = room.knows.contains(&other) || (*dev && room.dev.contains(&other));
                if !known && other != name {
                    let how = if *dev { " in its tests" } else { "" };
                    found.push(format!("{name} must not know {other}{how}"));
                }
            }
            let owners = VENDORS
                .iter()
                .find(|(vendor, _)| is_of(other, vendor))
                .map(|(_, owners)| *owners);
            if owners.is_some_and(|owners| !owners.contains(&name.as_str())) {
                found.push(format!(
                    "{name} must not depend on {other}: {} does",
                    owners.unwrap_or_default().join(", ")
                ));
            }
            if name == CORE && NOT_IN_CORE.contains(&other) {
                found.push(format!(
                    "{name} must not depend on {other}: it does no I/O and reads no clock"
                ));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Whether a package is the vendor's.
fn is_of(package: &str, vendor: &str) -> bool {
    package == vendor || (vendor.ends_with('-') && package.starts_with(vendor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[&str], dev: &[&str]) -> Package {
        let all = dependencies
            .iter()
            .map(|name| (name, false))
            .chain(dev.iter().map(|name| (name, true)));
        let dependencies = all
            .map(|(name, dev)| Dependency {
                name: (*name).to_owned(),
                dev,
            })
            .collect();
        Package {
            name: name.to_owned(),
            dependencies,
        }
    }

    /// A workspace that keeps to the rules, with `changed` in place of its namesake.
    fn workspace_with(changed: Package) -> Vec<Package> {
        let mut packages = vec![
            package(CORE, &["serde"], &["proptest"]),
            package(TRANSPORT, &["reqwest", "tokio"], &[]),
            package(EHR, &[CORE, TRANSPORT, "ring"], &[]),
            package(ENDPOINTS, &[CORE, TRANSPORT], &[]),
            package(MODELS, &[CORE, "ort", "rten", "rten-tensor"], &[]),
            package(STORE, &[CORE, "rusqlite"], &[TESTKIT, "tempfile"]),
            package(SIMULATOR, &[CORE, "axum"], &[]),
            package(TESTKIT, &[CORE, SIMULATOR, EHR], &[]),
            package(
                APP,
                &[CORE, EHR, ENDPOINTS, MODELS, STORE, SIMULATOR, "axum"],
                &[TESTKIT],
            ),
            package("xtask", &["serde_json"], &[]),
        ];
        packages.retain(|package| package.name != changed.name);
        packages.push(changed);
        packages
    }

    #[test]
    fn a_workspace_by_the_rules_passes() {
        assert_eq!(
            violations(&workspace_with(package("xtask", &["serde_json"], &[]))),
            [""; 0]
        );
    }

    #[test]
    fn each_broken_rule_is_named() {
        let broken = [
            (
                package(CORE, &[STORE], &[]),
                "skin-assist-core must not know skin-assist-store",
            ),
            (
                package(CORE, &[], &[TESTKIT]),
                "skin-assist-core must not know skin-assist-testkit in its tests",
            ),
            (
                package(CORE, &["tokio"], &[]),
                "skin-assist-core must not depend on tokio: it does no I/O and reads no clock",
            ),
            (
                package(EHR, &[CORE, STORE], &[]),
                "skin-assist-ehr must not know skin-assist-store",
            ),
            (
                package(ENDPOINTS, &[CORE, EHR], &[]),
                "skin-assist-endpoints must not know skin-assist-ehr",
            ),
            (
                package(EHR, &[CORE], &[SIMULATOR]),
                "skin-assist-ehr must not know skin-assist-simulator in its tests",
            ),
            (
                package(STORE, &[CORE, TESTKIT], &[]),
                "skin-assist-store must not know skin-assist-testkit",
            ),
            (
                package(TESTKIT, &[], &[STORE]),
                "skin-assist-testkit must not know skin-assist-store in its tests",
            ),
            (
                package(TESTKIT, &[CORE, STORE], &[]),
                "skin-assist-testkit must not know skin-assist-store",
            ),
            (
                package(APP, &[CORE, TESTKIT], &[]),
                "skin-assist must not know skin-assist-testkit",
            ),
            (package("xtask", &[APP], &[]), "xtask must not know skin-assist"),
            (
                package(APP, &["reqwest"], &[]),
                "skin-assist must not depend on reqwest: skin-assist-transport does",
            ),
            (
                package(TESTKIT, &[], &["rusqlite"]),
                "skin-assist-testkit must not depend on rusqlite: skin-assist-store, skin-assist-fuzzing does",
            ),
            (
                package(APP, &["rten-tensor"], &[]),
                "skin-assist must not depend on rten-tensor: skin-assist-models does",
            ),
            (
                package(APP, &["aws-sdk-s3"], &[]),
                "skin-assist must not depend on aws-sdk-s3: skin-assist-aws does",
            ),
            (
                package(STORE, &[CORE, "axum"], &[]),
                "skin-assist-store must not depend on axum: skin-assist-simulator, skin-assist does",
            ),
            (
                package("skin-assist-new", &[], &[]),
                "skin-assist-new is not in xtask/src/dependency_rules.rs: say whom it may know",
            ),
        ];
        for (package, violation) in broken {
            assert_eq!(violations(&workspace_with(package)), [violation]);
        }
    }

    #[test]
    fn metadata_is_read_with_every_kind_of_dependency() {
        let metadata = r#"{"packages": [{"name": "skin-assist-store", "dependencies": [
            {"name": "rusqlite", "kind": null, "target": "cfg(unix)"}, {"name": "cc", "kind": "build"},
            {"name": "skin-assist-testkit", "kind": "dev"}]}]}"#;
        let packages = read(metadata).unwrap();
        let dependencies: Vec<_> = packages[0]
            .dependencies
            .iter()
            .map(|found| (found.name.as_str(), found.dev))
            .collect();
        assert_eq!(
            dependencies,
            [("rusqlite", false), ("cc", false), ("skin-assist-testkit", true)]
        );
        assert!(read("{}").is_err(), "what cannot be read must not pass");
    }
}
