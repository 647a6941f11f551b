//! The resources that we write, validated by libraries that know nothing of this project, in Node and in Python; and the
//! validators themselves tested on resources that are broken on purpose. interop/validators/README.md has the rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    pinned::{self, copy, empty},
    process::{cargo, program, root, run, succeeds},
    steps::Steps,
};

/// Where they and what they are to be told apart by live.
const HOME: &str = "interop/validators";

/// Where they are installed.
const INSTALLED: &str = "target/validators";

/// Where the golden drafts are written.
const DRAFTS: &str = "target/validators/drafts";

/// Where what subscribers get is written.
const NOTICES: &str = "target/validators/notices";

/// Whose codes are checked.
const KNOWLEDGE: &str = "crates/core/src/synthesis/knowledge.toml";
const PACKS: &str = "models";

/// What pip is given.
const REQUIREMENTS: &str = "requirements.txt";

/// Enough to ask a tool for its version.
const MOMENT: Duration = Duration::from_secs(30);

/// The libraries, by the name in front of each line of theirs.
const LIBRARIES: [&str; 3] = ["fhir", "medplum", "fhir.resources"];

/// What the example `drafts` writes: a folder, and the libraries that have to refuse each file of it. What some EHRs want
/// is not valid, and a validator that finds nothing wrong with it does not work.
const WRITTEN: [(&str, &[&str]); 3] = [
    ("valid", &[]),
    ("without-author", &LIBRARIES),
    ("without-section-text", &["medplum"]),
];

/// The two programs, installed.
struct Validators {
    python: PathBuf,
    script: PathBuf,
}

/// Which libraries refused a file, and what they said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Verdict {
    heard: BTreeSet<String>,
    refused_by: BTreeSet<String>,
    said: Vec<String>,
}

/// Runs nothing else.
pub(crate) fn alone() -> Result<(), String> {
    let mut steps = Steps::begin();
    check(&mut steps, true);
    steps.end("cargo xtask validators")
}

/// Runs the step, or says why it cannot be run.
pub(crate) fn check(steps: &mut Steps, all: bool) {
    match install() {
        Ok(validators) => {
            steps.step("validators", || validate(&validators));
            steps.step("codes", || validators.check_codes());
        }
        Err(why) => steps.lacking(
            &format!(
                "FHIR validators ({why}; node 18 or newer with npm and python3 with venv install what {HOME} pins)"
            ),
            all,
        ),
    }
}

fn install() -> Result<Validators, String> {
    for tool in ["node", "npm"] {
        if !succeeds(program(tool).arg("--version"), MOMENT) {
            return Err(format!("{tool} is not there"));
        }
    }
    let node = root().join(INSTALLED).join("node");
    pinned::npm(&root().join(HOME), &node)?;
    // A module is looked for from where the script is.
    let script = node.join("validate.js");
    copy(&home("validate.js"), &script)?;

    let programs = pinned::environment(HOME, REQUIREMENTS, &format!("{INSTALLED}/venv"), false)?;
    let python = programs.join("python");
    Ok(Validators { python, script })
}

fn home(file: &str) -> PathBuf {
    root().join(HOME).join(file)
}

fn validate(validators: &Validators) -> Result<(), String> {
    let drafts = root().join(DRAFTS);
    empty(&drafts)?;
    let mut write = cargo("run --quiet --locked -p skin-assist-ehr --example drafts --");
    run(write.arg(&drafts))?;

    let mut problems = Vec::new();
    for (folder, refused_by) in WRITTEN {
        let verdicts = validators.judge(&drafts.join(folder))?;
        println!("{folder}: {} drafts", verdicts.len());
        let expected = verdicts.keys().map(|file| (file.clone(), set(refused_by))).collect();
        problems.extend(differences(folder, &expected, &verdicts));
    }

    let notices = root().join(NOTICES);
    empty(&notices)?;
    run(cargo("run --quiet --locked -p skin-assist-subscribers --example notices --").arg(&notices))?;
    let verdicts = validators.judge(&notices)?;
    println!("notices: {} resources", verdicts.len());
    let expected = verdicts.keys().map(|file| (file.clone(), set(&[]))).collect();
    problems.extend(differences("notices", &expected, &verdicts));

    let broken = home("broken.json");
    let expected =
        fs::read_to_string(&broken).map_err(|error| format!("{} cannot be read: {error}", broken.display()))?;
    let expected = expectations(&expected)?;
    let verdicts = validators.judge(&home("broken"))?;
    println!("broken: {} resources", verdicts.len());
    problems.extend(differences("broken", &expected, &verdicts));
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.join("\n"))
    }
}

impl Validators {
    /// Has the codes of the knowledge file and of the reference packs looked up in the table of ICD-10-CM.
    fn check_codes(&self) -> Result<(), String> {
        let mut python = program(&self.python.to_string_lossy());
        python.arg(home("codes.py")).arg(KNOWLEDGE).current_dir(root());
        let packs = fs::read_dir(root().join(PACKS)).map_err(|error| format!("{PACKS} cannot be read: {error}"))?;
        let mut manifests: Vec<PathBuf> = packs
            .flatten()
            .map(|entry| PathBuf::from(PACKS).join(entry.file_name()).join("pack.toml"))
            .filter(|manifest| root().join(manifest).is_file())
            .collect();
        manifests.sort();
        if manifests.is_empty() {
            return Err(format!("{PACKS} has no pack"));
        }
        run(python.args(manifests))
    }

    /// What each library says about each file of a folder.
    fn judge(&self, folder: &Path) -> Result<BTreeMap<String, Verdict>, String> {
        let mut node = program("node");
        let mut python = program(&self.python.to_string_lossy());
        python.arg(home("validate.py"));
        let mut said = lines(node.arg(&self.script).arg(folder))?;
        said += &lines(python.arg(folder))?;
        let verdicts = verdicts(&said)?;
        let files = files(folder)?;
        if verdicts.keys().ne(&files) {
            return Err(format!("{}: the validators did not read every file", folder.display()));
        }
        match verdicts.iter().find(|(_, verdict)| verdict.heard != set(&LIBRARIES)) {
            None => Ok(verdicts),
            Some((file, verdict)) => Err(format!("{file}: only {:?} were heard", verdict.heard)),
        }
    }
}

/// The names of the JSON files of a folder.
fn files(folder: &Path) -> Result<BTreeSet<String>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{} cannot be read: {error}", folder.display()))?;
    let names = entries
        .flatten()
        .map(|entry| PathBuf::from(entry.file_name()))
        .filter(|name| name.extension().is_some_and(|extension| extension == "json"));
    Ok(names.map(|name| name.to_string_lossy().into_owned()).collect())
}

/// What a validator prints: 0 when all is well, 1 when something is wrong; anything else is its own failure.
fn lines(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("`{name}` cannot be started: {error}"))?;
    let text = String::from_utf8(output.stdout).map_err(|_| format!("`{name}` printed something that is not text"))?;
    let wrong = verdicts(&text)?.values().any(|verdict| !verdict.refused_by.is_empty());
    if output.status.code() == Some(i32::from(wrong)) {
        Ok(text)
    } else {
        Err(format!(
            "`{name}` ended with {}, which is not what it printed",
            output.status
        ))
    }
}

/// Reads `LIBRARY FILE: ok` and `LIBRARY FILE: problem`.
fn verdicts(text: &str) -> Result<BTreeMap<String, Verdict>, String> {
    let mut found = BTreeMap::<String, Verdict>::new();
    for line in text.lines() {
        let parts = line
            .split_once(": ")
            .and_then(|(head, said)| Some((head.split_once(' ')?, said)));
        let Some(((library, file), said)) = parts else {
            return Err(format!("a validator printed {line:?}"));
        };
        let verdict = found.entry(file.to_owned()).or_default();
        verdict.heard.insert(library.to_owned());
        if said != "ok" {
            verdict.refused_by.insert(library.to_owned());
            verdict.said.push(line.to_owned());
        }
    }
    Ok(found)
}

/// Which libraries have to refuse which broken resource. One that none refuses tests nothing.
fn expectations(text: &str) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let unreadable = |what: &str| format!("{HOME}/broken.json: {what}");
    let list: Value = serde_json::from_str(text).map_err(|error| unreadable(&error.to_string()))?;
    let mut found = BTreeMap::new();
    for (file, entry) in list.as_object().ok_or_else(|| unreadable("it is not an object"))? {
        let refused_by = entry["refused_by"].as_array().into_iter().flatten();
        let refused_by: BTreeSet<String> = refused_by.filter_map(Value::as_str).map(str::to_owned).collect();
        if refused_by.is_empty() || !entry["what"].is_string() {
            return Err(unreadable(&format!(
                "{file} does not say what it is and who refuses it"
            )));
        }
        found.insert(file.clone(), refused_by);
    }
    Ok(found)
}

/// Where the libraries did otherwise than they should have.
fn differences(
    folder: &str,
    expected: &BTreeMap<String, BTreeSet<String>>,
    found: &BTreeMap<String, Verdict>,
) -> Vec<String> {
    let mut told = Vec::new();
    for file in expected.keys().filter(|file| !found.contains_key(*file)) {
        told.push(format!("{folder}/{file} is listed and does not exist"));
    }
    for (file, verdict) in found {
        let Some(expected) = expected.get(file) else {
            told.push(format!("{folder}/{file} is not listed"));
            continue;
        };
        for library in expected.difference(&verdict.refused_by) {
            told.push(format!("{folder}/{file}: {library} has to refuse it and does not"));
        }
        for library in verdict.refused_by.difference(expected) {
            let own = format!("{library} ");
            let said = verdict.said.iter().filter(|said| said.starts_with(&own));
            told.extend(said.map(|said| format!("{folder}/{file}: refused by {said}")));
        }
    }
    told
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_validators_print_is_read() {
        let said = verdicts("fhir a.json: ok\nmedplum a.json: x: y\nmedplum a.json: z\nfhir b.json: ok\n").unwrap();
        assert_eq!(said["a.json"].heard, set(&["fhir", "medplum"]));
        assert_eq!(said["a.json"].refused_by, set(&["medplum"]));
        assert_eq!(said["a.json"].said, ["medplum a.json: x: y", "medplum a.json: z"]);
        assert!(said["b.json"].refused_by.is_empty());
        assert!(verdicts("Traceback\n").is_err());
    }

    #[test]
    fn every_difference_is_told() {
        let found = verdicts("fhir a.json: ok\nfhir b.json: wrong\nfhir c.json: ok\n").unwrap();
        let expected = [("a.json", "fhir"), ("b.json", ""), ("d.json", "fhir")];
        let expected = expected.map(|(file, library)| {
            let refused_by: &[&str] = if library.is_empty() { &[] } else { &[library] };
            (file.to_owned(), set(refused_by))
        });
        assert_eq!(
            differences("broken", &BTreeMap::from(expected), &found),
            [
                "broken/d.json is listed and does not exist",
                "broken/a.json: fhir has to refuse it and does not",
                "broken/b.json: refused by fhir b.json: wrong",
                "broken/c.json is not listed",
            ]
        );
    }

    #[test]
    fn every_broken_resource_is_listed_with_who_refuses_it() {
        let listed = expectations(&fs::read_to_string(home("broken.json")).unwrap()).unwrap();
        assert!(listed.keys().eq(&files(&home("broken")).unwrap()));
        let known = set(&LIBRARIES);
        assert!(listed.values().all(|libraries| libraries.is_subset(&known)));
        for library in LIBRARIES {
            let alone = listed.values().any(|libraries| *libraries == set(&[library]));
            assert!(alone, "{library} finds nothing that the others do not");
        }
        assert!(expectations(r#"{"a.json": {"what": "x", "refused_by": []}}"#).is_err());
    }

    #[test]
    fn the_pins_name_no_host() {
        assert!(!fs::read_to_string(home(REQUIREMENTS)).unwrap().contains("://"));
    }
}
