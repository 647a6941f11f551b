//! `cargo xtask sbom`: what the program is made of, as a CycloneDX 1.6 document.
//!
//! It has every crate that is compiled into the program or into what builds it, by `cargo metadata` and Cargo.lock, and the C
//! code and the models inside: SQLCipher, OpenSSL, the reference packs. Tests' dependencies are not in it. Nothing in it is
//! of the day or the machine: the same commit gives the same document.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    pinned,
    process::{cargo, output, program, root, run},
    steps::Steps,
};

/// Where it is written.
const FILE: &str = "target/sbom/skin-assist.cdx.json";

/// Where the validator is pinned and told what to do.
const HOME: &str = "interop/sbom";
const INSTALLED: &str = "target/sbom/validator";

/// The program.
const PROGRAM: &str = "skin-assist";

/// The model packs that are in the program.
const PACKS: [&str; 2] = ["models/reference-solitary", "models/reference-widespread"];

/// Writes it, and has it validated where that is possible.
pub(crate) fn alone(arguments: &[&str]) -> Result<(), String> {
    if let [file] = arguments {
        let path = std::env::current_dir().unwrap_or_default().join(file);
        return write(&path);
    }
    let mut steps = Steps::begin();
    check(&mut steps, true);
    steps.end("cargo xtask sbom")
}

/// The step of `cargo xtask test`.
pub(crate) fn check(steps: &mut Steps, all: bool) {
    let path = root().join(FILE);
    steps.step("SBOM", || write(&path));
    match pinned::environment(HOME, "requirements.txt", INSTALLED, true) {
        Ok(programs) => steps.step("SBOM against CycloneDX's schema", || {
            run(program(&programs.join("python").to_string_lossy())
                .arg(root().join(HOME).join("validate.py"))
                .arg(&path))
        }),
        Err(why) => steps.lacking(&format!("SBOM against CycloneDX's schema ({why})"), all),
    }
}

/// Writes the document.
pub(crate) fn write(path: &Path) -> Result<(), String> {
    let document = document()?;
    let text = format!("{document:#}\n");
    let written = path
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(path, text));
    written.map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    let count = document["components"].as_array().map_or(0, Vec::len);
    println!("{}: {count} components", path.display());
    Ok(())
}

fn document() -> Result<Value, String> {
    let metadata = output(&mut cargo("metadata --format-version 1 --locked --all-features"))?;
    let metadata: Value =
        serde_json::from_str(&metadata).map_err(|error| format!("cargo metadata cannot be read: {error}"))?;
    let lock = fs::read_to_string(root().join("Cargo.lock")).map_err(|error| format!("Cargo.lock: {error}"))?;
    let mut inside = Vec::new();
    for pack in PACKS {
        inside.push(model_pack(pack)?);
    }
    of(&metadata, &checksums(&lock), inside, &|path| {
        fs::read_to_string(path).ok()
    })
}

/// The checksums that Cargo.lock has, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |package: &str, key: &str| {
        let line = package
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
        line.map(|rest| rest.trim_end_matches('"').to_owned())
    };
    let packages = lock.split("[[package]]").skip(1);
    let found = packages.filter_map(|package| {
        let key = (value(package, "name")?, value(package, "version")?);
        Some((key, value(package, "checksum")?))
    });
    found.collect()
}

/// The document, from what `cargo metadata` says.
fn of(
    metadata: &Value,
    checksums: &BTreeMap<(String, String), String>,
    inside: Vec<Value>,
    read: &dyn Fn(&Path) -> Option<String>,
) -> Result<Value, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let packages: BTreeMap<String, Value> = list(&metadata["packages"])
        .into_iter()
        .map(|package| (text(&package["id"]), package))
        .collect();
    let nodes: BTreeMap<String, Value> = list(&metadata["resolve"]["nodes"])
        .into_iter()
        .map(|node| (text(&node["id"]), node))
        .collect();
    let root = packages.iter().find(|(_, package)| package["name"] == PROGRAM);
    let (root, _) = root.ok_or("cargo metadata does not list the program")?;

    // What tests alone need is not reached.
    let dependencies = |id: &str| -> BTreeSet<String> {
        let reached = list(&nodes.get(id).cloned().unwrap_or_default()["deps"]);
        let ships = |dependency: &Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
        let reached = reached.into_iter().filter(ships);
        reached.map(|dependency| text(&dependency["pkg"])).collect()
    };
    let (mut found, mut left) = (BTreeSet::new(), vec![root.clone()]);
    while let Some(id) = left.pop() {
        if found.insert(id.clone()) {
            left.extend(dependencies(&id));
        }
    }

    let reference = |id: &str| {
        let package = &packages[id];
        format!("pkg:cargo/{}@{}", text(&package["name"]), text(&package["version"]))
    };
    let (mut components, mut relations) = (Vec::new(), Vec::new());
    for id in &found {
        let package = packages
            .get(id)
            .ok_or_else(|| format!("cargo metadata does not list {id}"))?;
        let mut depends: Vec<String> = dependencies(id).iter().map(|id| reference(id)).collect();
        let of_c = native(package, read)?;
        depends.extend(of_c.iter().map(|component| text(&component["bom-ref"])));
        if id == root {
            depends.extend(inside.iter().map(|component| text(&component["bom-ref"])));
        } else {
            components.push(component(package, checksums));
        }
        components.extend(of_c);
        depends.sort();
        relations.push(json!({ "ref": reference(id), "dependsOn": depends }));
    }
    components.extend(inside);
    components.sort_by_key(|component| text(&component["bom-ref"]));
    let mut program = component(&packages[root], checksums);
    program["type"] = "application".into();
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": program },
        "components": components,
        "dependencies": relations,
    }))
}

fn component(package: &Value, checksums: &BTreeMap<(String, String), String>) -> Value {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let (name, version) = (text("name"), text("version"));
    let package_url = format!("pkg:cargo/{name}@{version}");
    let mut component = json!({
        "type": "library",
        "bom-ref": package_url,
        "name": name,
        "version": version,
        "purl": package_url,
    });
    if let Some(license) = package["license"].as_str() {
        // Before SPDX expressions, a slash stood for "or".
        let expression = license.replace(" / ", "/").replace('/', " OR ");
        component["licenses"] = json!([{ "expression": expression }]);
    } else if package["license_file"].is_string() {
        component["licenses"] = json!([{ "license": { "name": "in the package's own license file" } }]);
    }
    if let Some(checksum) = checksums.get(&(name, version)) {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

/// The C code that a crate brings along.
fn native(package: &Value, read: &dyn Fn(&Path) -> Option<String>) -> Result<Vec<Value>, String> {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let folder = PathBuf::from(text("manifest_path"));
    let folder = folder.parent().unwrap_or(Path::new(""));
    let library = |name: &str, version: &str, license: Value| {
        json!({
            "type": "library",
            "bom-ref": format!("pkg:generic/{name}@{version}"),
            "name": name,
            "version": version,
            "purl": format!("pkg:generic/{name}@{version}"),
            "licenses": [license],
        })
    };
    // In their headers: `#define SQLITE_VERSION "3.50.4"`, `#define CIPHER_VERSION_NUMBER 4.9.0`.
    let defined = |file: &str, name: &str| {
        let source = read(&folder.join(file)).ok_or_else(|| format!("{file} of libsqlite3-sys cannot be read"))?;
        let words = source.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("#define") && words.next() == Some(name)).then(|| words.next())?
        });
        let version = words.map(|version| version.trim_matches('"').to_owned());
        version.ok_or_else(|| format!("{file} of libsqlite3-sys does not say its {name}"))
    };
    match text("name").as_str() {
        // Its version is 300.6.1+3.6.3: the crate's, and OpenSSL's.
        "openssl-src" => {
            let version = text("version");
            let (_, version) = version
                .split_once('+')
                .ok_or("openssl-src does not say OpenSSL's version")?;
            Ok(vec![library(
                "openssl",
                version,
                json!({ "license": { "id": "Apache-2.0" } }),
            )])
        }
        "libsqlite3-sys" => Ok(vec![
            library(
                "sqlcipher",
                &defined("sqlcipher/sqlite3.c", "CIPHER_VERSION_NUMBER")?,
                json!({ "license": { "id": "BSD-3-Clause" } }),
            ),
            library(
                "sqlite",
                &defined("sqlcipher/sqlite3.h", "SQLITE_VERSION")?,
                json!({ "license": { "name": "public domain" } }),
            ),
        ]),
        _ => Ok(Vec::new()),
    }
}

/// A pack of models with the digest of each file.
fn model_pack(folder: &str) -> Result<Value, String> {
    let manifest = fs::read_to_string(root().join(folder).join("pack.toml"))
        .map_err(|error| format!("{folder}/pack.toml cannot be read: {error}"))?;
    let value = |key: &str| {
        let line = manifest
            .lines()
            .find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='));
        let value = line.map(|value| value.trim().trim_matches('"').to_owned());
        value.ok_or_else(|| format!("{folder}/pack.toml does not say its {key}"))
    };
    let (name, version) = (value("id")?, value("version")?);
    let mut files = Vec::new();
    for file in ["classifier.onnx", "detector.onnx"] {
        let path = root().join(folder).join(file);
        if path.is_file() {
            let digest = output(program("sha256sum").arg(&path))?;
            let digest = digest.split_whitespace().next().unwrap_or_default().to_owned();
            files.push(json!({
                "type": "file",
                "name": file,
                "hashes": [{ "alg": "SHA-256", "content": digest }],
            }));
        }
    }
    Ok(json!({
        "type": "machine-learning-model",
        "bom-ref": format!("model:{name}@{version}"),
        "name": name,
        "version": version,
        "components": files,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Value {
        let package = |id: &str, name: &str, version: &str, license: Option<&str>| {
            json!({ "id": id, "name": name, "version": version, "license": license, "license_file": null,
                "manifest_path": format!("/registry/{name}/Cargo.toml") })
        };
        let to = |id: &str, kind: Option<&str>| json!({ "pkg": id, "dep_kinds": [{ "kind": kind }] });
        json!({
            "packages": [
                package("0", "skin-assist", "0.1.0", Some("Apache-2.0")),
                package("1", "libsqlite3-sys", "0.36.0", Some("MIT")),
                package("2", "openssl-src", "300.6.1+3.6.3", Some("MIT/Apache-2.0")),
                package("3", "insta", "1.0.0", Some("Apache-2.0")),
                package("4", "cc", "1.0.0", None),
            ],
            "resolve": { "nodes": [
                { "id": "0", "deps": [to("1", None), to("3", Some("dev"))] },
                { "id": "1", "deps": [to("2", Some("build"))] },
                { "id": "2", "deps": [to("4", None)] },
            ] },
        })
    }

    fn read(path: &Path) -> Option<String> {
        let text = match path.file_name()?.to_str()? {
            "sqlite3.c" => "#define CIPHER_VERSION_NUMBER 4.9.0\n",
            "sqlite3.h" => "/* */\n#define SQLITE_VERSION        \"3.50.4\"\n",
            _ => return None,
        };
        Some(text.to_owned())
    }

    #[test]
    fn it_has_what_ships_and_the_c_code_inside() {
        let lock = "version = 4\n[[package]]\nname = \"cc\"\nversion = \"1.0.0\"\nchecksum = \"00ff\"\n";
        let model = json!({ "bom-ref": "model:m@1", "name": "m" });
        let document = of(&metadata(), &checksums(lock), vec![model], &read).unwrap();
        let components = document["components"].as_array().unwrap();
        let names: Vec<&str> = components
            .iter()
            .filter_map(|component| component["bom-ref"].as_str())
            .collect();
        assert_eq!(
            names,
            [
                "model:m@1",
                "pkg:cargo/cc@1.0.0",
                "pkg:cargo/libsqlite3-sys@0.36.0",
                "pkg:cargo/openssl-src@300.6.1+3.6.3",
                "pkg:generic/openssl@3.6.3",
                "pkg:generic/sqlcipher@4.9.0",
                "pkg:generic/sqlite@3.50.4",
            ]
        );
        assert_eq!(components[1]["hashes"][0]["content"], "00ff");
        assert_eq!(components[3]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(document["metadata"]["component"]["type"], "application");
        let relations = document["dependencies"].as_array().unwrap();
        assert_eq!(
            relations[0]["dependsOn"],
            json!(["model:m@1", "pkg:cargo/libsqlite3-sys@0.36.0"])
        );
        assert_eq!(
            relations[1]["dependsOn"],
            json!([
                "pkg:cargo/openssl-src@300.6.1+3.6.3",
                "pkg:generic/sqlcipher@4.9.0",
                "pkg:generic/sqlite@3.50.4"
            ])
        );
    }

    #[test]
    fn c_code_whose_version_is_not_found_is_an_error() {
        let error = of(&metadata(), &BTreeMap::new(), Vec::new(), &|_| None).unwrap_err();
        assert!(error.contains("libsqlite3-sys"), "{error}");
        assert!(of(&json!({}), &BTreeMap::new(), Vec::new(), &read).is_err());
    }
}
