//! `cargo xtask aws-check`: the template and the state machine, read by the tools of others. Each finding is of a rule in
//! [`EXCEPTIONS`], with a reason, or a failure; an exception that excuses nothing is a failure too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    pinned::{self, empty},
    process::{program, root, run, succeeds},
    steps::Steps,
};

/// The template.
pub(crate) const TEMPLATE: &str = "deploy/aws/template.yaml";

/// The state machine.
const STATE_MACHINE: &str = "deploy/aws/state-machine.asl.json";

/// What the tools are installed from, and what they are told.
pub(crate) const HOME: &str = "deploy/aws/checks";

/// Where they are installed.
pub(crate) const INSTALLED: &str = "target/tools/aws";

/// Rules that are not kept, each with a reason.
const EXCEPTIONS: &str = "deploy/aws/checks/exceptions.json";

/// More exceptions than this are no exceptions.
const MOST_EXCEPTIONS: usize = 10;

/// What the template refers to and what a build writes.
const CODE: &str = "target/lambda/function";

/// Enough to ask a tool for its version.
const MOMENT: Duration = Duration::from_secs(30);

/// Runs nothing else.
pub(crate) fn alone() -> Result<(), String> {
    let mut steps = Steps::begin();
    check(&mut steps, true);
    steps.end("cargo xtask aws-check")
}

/// Runs the step, or says why it cannot be run.
pub(crate) fn check(steps: &mut Steps, all: bool) {
    match Tools::install() {
        Ok(tools) => tools.check(steps),
        Err(why) => steps.lacking(
            &format!("checks of the AWS deployment ({why}; node 20 or newer with npm and python3 with venv install what {HOME} pins)"),
            all,
        ),
    }
}

/// A Python environment under [`INSTALLED`] with what `requirements` of [`HOME`] pins. Gives its folder of programs.
pub(crate) fn environment(name: &str) -> Result<PathBuf, String> {
    let requirements = format!("{name}-requirements.txt");
    pinned::environment(HOME, &requirements, &format!("{INSTALLED}/{name}"), true)
}

/// The tools, installed.
struct Tools {
    lint: PathBuf,
    checkov: PathBuf,
    node: PathBuf,
}

/// One finding: the rule and what it is about.
type Finding = (String, String);

impl Tools {
    fn install() -> Result<Self, String> {
        for (tool, lacking) in [("node", "node is not there"), ("npm", "npm is not there")] {
            if !succeeds(program(tool).arg("--version"), MOMENT) {
                return Err(lacking.to_owned());
            }
        }
        let node = root().join(INSTALLED).join("node");
        pinned::npm(&root().join(HOME), &node)?;
        // A module is looked for from where the script is.
        pinned::copy(&root().join(HOME).join("nag.js"), &node.join("nag.js"))?;
        Ok(Self {
            lint: environment("lint")?,
            checkov: environment("checkov")?,
            node,
        })
    }

    fn check(&self, steps: &mut Steps) {
        // What is to be packaged has to be there, built or not.
        let code = fs::create_dir_all(root().join(CODE)).map_err(|error| format!("{CODE} cannot be made: {error}"));
        steps.step("cfn-lint", || {
            code?;
            run(tool(&self.lint, "cfn-lint").args(["--template", TEMPLATE]))
        });
        steps.step("sam validate --lint", || {
            run(tool(&self.lint, "sam")
                .env("SAM_CLI_TELEMETRY", "0")
                .env("AWS_DEFAULT_REGION", "us-east-1")
                .args(["validate", "--lint", "--template", TEMPLATE]))
        });
        steps.step("asl-validator", || {
            let validator = self.node.join("node_modules/asl-validator/dist/bin/asl-validator.js");
            run(program("node").arg(validator).args(["--json-path", STATE_MACHINE]))
        });
        let mut found = BTreeSet::new();
        steps.step("checkov", || {
            let findings = self.checkov()?;
            found.extend(findings.iter().map(|(rule, _)| rule.clone()));
            excused(&exceptions()?, &findings)
        });
        steps.step("cdk-nag, HIPAA", || {
            let findings = self.nag()?;
            found.extend(findings.iter().map(|(rule, _)| rule.clone()));
            excused(&exceptions()?, &findings)
        });
        steps.step("exceptions", || needed(&exceptions()?, &found));
    }

    fn checkov(&self) -> Result<BTreeSet<Finding>, String> {
        let mut command = tool(&self.checkov, "checkov");
        // A finding is not an error here; whether it may be is decided by the exceptions.
        command.args([
            "--framework",
            "cloudformation",
            "--output",
            "json",
            "--quiet",
            "--soft-fail",
        ]);
        let report = json(command.args(["--file", TEMPLATE]))?;
        let passed = report["summary"]["passed"].as_u64().unwrap_or_default();
        if passed == 0 || report["summary"]["parsing_errors"] != 0 {
            return Err("checkov did not read the template".to_owned());
        }
        println!("{passed} checks passed");
        let failed = report["results"]["failed_checks"].as_array();
        let failed = failed.ok_or("checkov printed no list of failed checks")?;
        failed
            .iter()
            .map(|check| finding(&check["check_id"], &check["resource"]))
            .collect()
    }

    fn nag(&self) -> Result<BTreeSet<Finding>, String> {
        let folder = root().join(INSTALLED).join("nag");
        empty(&folder)?;
        let plain = folder.join("plain.json");
        run(tool(&self.lint, "python")
            .arg(root().join(HOME).join("plain.py"))
            .arg(TEMPLATE)
            .arg(&plain))?;
        let mut command = program("node");
        // It warns about its own age and about names of parameters; what counts is the report.
        command.stderr(Stdio::null());
        let report = json(
            command
                .arg(self.node.join("nag.js"))
                .arg(&plain)
                .arg(folder.join("out")),
        )?;
        println!("{} verdicts", report["rules"]);
        let findings = report["findings"].as_array().ok_or("cdk-nag printed no findings")?;
        if report["rules"].as_u64().unwrap_or_default() == 0 {
            return Err("cdk-nag did not read the template".to_owned());
        }
        findings.iter().map(|line| finding(&line[0], &line[1])).collect()
    }
}

fn finding(rule: &Value, about: &Value) -> Result<Finding, String> {
    match (rule.as_str(), about.as_str()) {
        (Some(rule), Some(about)) => Ok((rule.to_owned(), about.to_owned())),
        _ => Err("a finding without rule or resource".to_owned()),
    }
}

fn tool(programs: &Path, name: &str) -> Command {
    program(&programs.join(name).to_string_lossy())
}

/// Runs to the end and reads its standard output.
fn json(command: &mut Command) -> Result<Value, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("`{name}` cannot be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{name}` failed ({})", output.status));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("`{name}` did not print JSON: {error}"))
}

/// The rules that are excused, each with the reason.
fn exceptions() -> Result<BTreeMap<String, String>, String> {
    let text =
        fs::read_to_string(root().join(EXCEPTIONS)).map_err(|error| format!("{EXCEPTIONS} cannot be read: {error}"))?;
    read_exceptions(&text)
}

fn read_exceptions(text: &str) -> Result<BTreeMap<String, String>, String> {
    let wrong = || format!("{EXCEPTIONS} is a list of {{\"rules\": [...], \"reason\": \"...\"}}");
    let list: Value = serde_json::from_str(text).map_err(|_| wrong())?;
    let list = list.as_array().ok_or_else(wrong)?;
    if list.len() > MOST_EXCEPTIONS {
        return Err(format!("{} exceptions, more than {MOST_EXCEPTIONS}", list.len()));
    }
    let mut exceptions = BTreeMap::new();
    for exception in list {
        let reason = exception["reason"].as_str().filter(|reason| !reason.is_empty());
        let (Some(rules), Some(reason)) = (exception["rules"].as_array(), reason) else {
            return Err(wrong());
        };
        for rule in rules {
            let rule = rule.as_str().ok_or_else(wrong)?;
            exceptions.insert(rule.to_owned(), reason.to_owned());
        }
    }
    Ok(exceptions)
}

fn excused(exceptions: &BTreeMap<String, String>, findings: &BTreeSet<Finding>) -> Result<(), String> {
    let problems: Vec<_> = findings
        .iter()
        .filter(|(rule, _)| !exceptions.contains_key(rule))
        .map(|(rule, about)| format!("{rule}: {about}"))
        .collect();
    if problems.is_empty() {
        println!("{} findings, all of them excused in {EXCEPTIONS}", findings.len());
        Ok(())
    } else {
        Err(problems.join("\n"))
    }
}

fn needed(exceptions: &BTreeMap<String, String>, found: &BTreeSet<String>) -> Result<(), String> {
    let idle: Vec<_> = exceptions
        .keys()
        .filter(|rule| !found.contains(*rule))
        .cloned()
        .collect();
    if idle.is_empty() {
        Ok(())
    } else {
        Err(format!("{EXCEPTIONS} excuses what nothing finds: {}", idle.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(findings: &[(&str, &str)]) -> BTreeSet<Finding> {
        findings
            .iter()
            .map(|(rule, about)| ((*rule).to_owned(), (*about).to_owned()))
            .collect()
    }

    #[test]
    fn only_what_has_a_reason_is_excused() {
        let exceptions = read_exceptions(r#"[{"rules": ["A", "B"], "reason": "because"}]"#).unwrap();
        assert_eq!(excused(&exceptions, &found(&[("A", "x"), ("B", "y")])), Ok(()));
        assert_eq!(
            excused(&exceptions, &found(&[("A", "x"), ("C", "y")])),
            Err("C: y".to_owned())
        );
        assert!(read_exceptions(r#"[{"rules": ["A"], "reason": ""}]"#).is_err());
    }

    #[test]
    fn an_idle_exception_and_too_many_are_refused() {
        let exceptions = read_exceptions(r#"[{"rules": ["A", "B"], "reason": "because"}]"#).unwrap();
        let rules = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(needed(&exceptions, &rules(&["A", "B", "C"])), Ok(()));
        assert!(needed(&exceptions, &rules(&["A"])).is_err());
        let many = [r#"{"rules": ["A"], "reason": "because"}"#; MOST_EXCEPTIONS + 1].join(",");
        assert!(read_exceptions(&format!("[{many}]")).is_err());
    }

    #[test]
    fn the_shipped_exceptions_can_be_read() {
        assert!(!exceptions().unwrap().is_empty());
    }
}
