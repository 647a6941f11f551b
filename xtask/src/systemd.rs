//! The service's unit: that it denies what it says, as data, and what systemd makes of it.
//!
//! The directives are checked on every machine. Where systemd's own tools are, they read the unit and rate it; where `strace` is, the
//! demonstration is run under it, and every system call that it makes has to be one that the unit's filter lets through.

use std::{collections::BTreeSet, fs, process::Command, time::Duration};

use crate::{
    process::{self, program, root, succeeds},
    steps::Steps,
};

const UNIT: &str = "deploy/systemd/skin-assist.service";

/// Enough for systemd's tools.
const MOMENT: Duration = Duration::from_secs(20);

/// Most of the exposure that `systemd-analyze security` finds, in tenths: 2.0 of 10, "OK".
const MOST_EXPOSURE: &str = "20";

/// What has to stand in the unit.
const DIRECTIVES: &[(&str, &str)] = &[
    ("AmbientCapabilities", ""),
    ("CapabilityBoundingSet", ""),
    ("DynamicUser", "yes"),
    ("KeyringMode", "private"),
    ("LimitCORE", "0"),
    ("LockPersonality", "yes"),
    ("MemoryDenyWriteExecute", "yes"),
    ("NoNewPrivileges", "yes"),
    ("PrivateDevices", "yes"),
    ("PrivateTmp", "yes"),
    ("PrivateUsers", "yes"),
    ("ProtectClock", "yes"),
    ("ProtectControlGroups", "yes"),
    ("ProtectHome", "yes"),
    ("ProtectHostname", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("ProtectProc", "invisible"),
    ("ProtectSystem", "strict"),
    ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("StateDirectory", "skin-assist skin-assist-keys"),
    ("StateDirectoryMode", "0700"),
    ("SystemCallArchitectures", "native"),
    ("SystemCallFilter", "@system-service"),
    ("UMask", "0077"),
];

/// What would let it write elsewhere, or become more than it is.
const NOT_IN_IT: &[&str] = &[
    "ReadWritePaths",
    "BindPaths",
    "User",
    "PermissionsStartOnly",
    "AmbientCapabilities=CAP",
    "Environment",
    "EnvironmentFile",
];

/// Checks the unit, and what systemd's tools and a run say, where they are.
pub(crate) fn check(steps: &mut Steps) {
    steps.step("the systemd unit", || directives(&read()?));
    if succeeds(Command::new("systemd-analyze").arg("--version"), MOMENT) {
        steps.step("the systemd unit, read and rated by systemd", by_systemd);
    } else {
        steps.not_run("the systemd unit read and rated by systemd (systemd-analyze is not installed)");
    }
}

/// All of it, with the demonstration under `strace`.
pub(crate) fn alone() -> Result<(), String> {
    let mut steps = Steps::begin();
    check(&mut steps);
    if succeeds(Command::new("strace").arg("--version"), MOMENT)
        && succeeds(Command::new("systemd-analyze").arg("--version"), MOMENT)
    {
        steps.step(
            "the demonstration makes no system call that the unit denies",
            demonstration,
        );
    } else {
        steps.not_run("the demonstration's system calls (strace or systemd-analyze is not installed)");
    }
    let has = |tool: &str| succeeds(Command::new(tool).arg("--version"), MOMENT);
    let may_make_namespaces = || succeeds(Command::new("unshare").args(["--mount", "true"]), MOMENT);
    if has("unshare") && has("setpriv") && may_make_namespaces() {
        steps.step(
            "the service without rights, on a file system that cannot be written, with an operator beside it",
            || {
                process::run(&mut process::cargo("build --package skin-assist --locked"))?;
                process::run(
                    program("unshare")
                        .args(["--mount", "--fork", "sh", "-c", WITHOUT_RIGHTS])
                        .env("PROGRAM", root().join("target/debug/skin-assist"))
                        .env("UNIT", root().join(UNIT))
                        .env("FOLDER", root().join("target/systemd")),
                )
            },
        );
    } else {
        steps.not_run("the service without rights (it needs root, unshare and setpriv)");
    }
    steps.end("cargo xtask systemd")
}

/// What the unit does with other means: nothing but two folders can be written, there are no capabilities and none to be had, and while it
/// works no memory is mapped that can be both written and run; and an operator connects the practice as root. What cannot be shown so is
/// the filter of system calls at work.
const WITHOUT_RIGHTS: &str = include_str!("systemd/without_rights.sh");

fn read() -> Result<String, String> {
    fs::read_to_string(root().join(UNIT)).map_err(|error| format!("{UNIT}: {error}"))
}

/// The directives of the section `Service`, in order.
fn settings(unit: &str) -> Vec<(&str, &str)> {
    let lines = unit.lines().map(str::trim);
    let lines = lines.filter(|line| !line.starts_with('#'));
    let mut section = "";
    let mut settings = Vec::new();
    for line in lines {
        if line.starts_with('[') {
            section = line;
        } else if let (Some((key, value)), "[Service]") = (line.split_once('='), section) {
            settings.push((key.trim(), value.trim()));
        }
    }
    settings
}

fn directives(unit: &str) -> Result<(), String> {
    let settings = settings(unit);
    let mut problems = Vec::new();
    for wanted in DIRECTIVES {
        if !settings.contains(wanted) {
            problems.push(format!("{}={} is missing", wanted.0, wanted.1));
        }
        let other = settings
            .iter()
            .find(|(key, value)| *key == wanted.0 && *value != wanted.1 && wanted.0 != "SystemCallFilter");
        if let Some((key, value)) = other {
            problems.push(format!("{key}={value} takes a restriction back"));
        }
    }
    for (key, value) in &settings {
        if NOT_IN_IT.contains(key) {
            problems.push(format!("{key}={value} is not to be in it"));
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(format!("{UNIT}:\n  {}", problems.join("\n  ")))
    }
}

/// systemd's own reading of the unit, whose program need not be installed here, and its rating.
fn by_systemd() -> Result<(), String> {
    let folder = root().join("target/systemd");
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let copy = folder.join("skin-assist.service");
    let lines = read()?;
    let lines = lines.lines().map(|line| {
        if line.starts_with("ExecStart=") {
            "ExecStart=/bin/true"
        } else {
            line
        }
    });
    let text: Vec<&str> = lines.collect();
    fs::write(&copy, text.join("\n")).map_err(|error| error.to_string())?;
    process::run(program("systemd-analyze").args(["verify", "--man=no"]).arg(&copy))?;
    process::run(
        program("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", "--threshold", MOST_EXPOSURE])
            .arg(root().join(UNIT)),
    )
}

/// Every system call of the demonstration, against what the unit's filter lets through.
fn demonstration() -> Result<(), String> {
    process::run(&mut process::cargo("build --package skin-assist --locked"))?;
    let counts = root().join("target/systemd/calls");
    process::run(
        program("strace")
            .args(["-f", "-c", "-o"])
            .arg(&counts)
            .arg(root().join("target/debug/skin-assist"))
            .args(["demo", "--exit-when-done", "--json", "--speed", "40", "--minutes", "5"]),
    )?;
    let made = calls(&fs::read_to_string(&counts).map_err(|error| error.to_string())?);
    if made.len() < 20 {
        return Err(format!(
            "only {} system calls were seen: strace did not see the run",
            made.len()
        ));
    }
    let allowed = allowed(&read()?)?;
    let denied: Vec<&str> = made
        .iter()
        .map(String::as_str)
        .filter(|call| !allowed.contains(*call))
        .collect();
    if denied.is_empty() {
        println!("{} system calls, all of them let through", made.len());
        return Ok(());
    }
    Err(format!("the unit denies what the program does: {}", denied.join(" ")))
}

/// The calls in a table of `strace -c`.
fn calls(table: &str) -> BTreeSet<String> {
    let rows = table.lines().skip_while(|line| !line.starts_with("------")).skip(1);
    let rows = rows.take_while(|line| !line.starts_with("------"));
    rows.filter_map(|line| line.split_whitespace().last())
        .map(str::to_owned)
        .collect()
}

/// What the filter lets through: lines in their order, each adding or, with `~`, taking away.
fn allowed(unit: &str) -> Result<BTreeSet<String>, String> {
    let mut allowed = BTreeSet::new();
    for (_, line) in settings(unit).into_iter().filter(|(key, _)| *key == "SystemCallFilter") {
        let (takes, names) = line.strip_prefix('~').map_or((false, line), |names| (true, names));
        for name in names.split_whitespace() {
            let members = if name.starts_with('@') {
                group(name)?
            } else {
                BTreeSet::from([name.to_owned()])
            };
            if takes {
                allowed = &allowed - &members;
            } else {
                allowed.extend(members);
            }
        }
    }
    // systemd always lets through what a program needs to be started and ended.
    allowed.extend(group("@default")?);
    Ok(allowed)
}

/// The calls of one of systemd's groups, and of the groups in it.
fn group(name: &str) -> Result<BTreeSet<String>, String> {
    let output = program("systemd-analyze")
        .args(["--no-pager", "syscall-filter", name])
        .output()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut calls = BTreeSet::new();
    for line in text
        .lines()
        .skip(1)
        .map(str::trim)
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        if line.starts_with('@') {
            calls.extend(group(line)?);
        } else {
            calls.insert(line.to_owned());
        }
    }
    if calls.is_empty() {
        return Err(format!("systemd-analyze knows no system calls of {name}"));
    }
    Ok(calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_denies_what_it_says() {
        directives(&read().unwrap()).unwrap();
    }

    /// Each directive by itself: without it, and taken back after it.
    #[test]
    fn a_unit_that_denies_less_is_noticed() {
        let unit = read().unwrap();
        for (key, value) in DIRECTIVES {
            let line = format!("{key}={value}\n");
            assert!(unit.contains(&line), "{line}");
            assert!(directives(&unit.replace(&line, "")).is_err(), "without {line}");
            let weaker = unit.replace("[Install]", &format!("{key}=no\n[Install]"));
            assert!(
                *key == "SystemCallFilter" || directives(&weaker).is_err(),
                "{key} taken back"
            );
        }
        let writes = unit.replace("[Install]", "ReadWritePaths=/\n[Install]");
        assert!(directives(&writes).is_err());
        assert!(directives(&unit.replace("[Service]", "[Other]")).is_err());
    }

    #[test]
    fn calls_are_read_from_the_table() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ------\n \
                     60.00    0.100000          10        10         1 futex\n \
                     40.00    0.000100           1         1           prctl\n\
                     ------ ----------- ----------- --------- --------- ------\n\
                     100.00    0.100100                  11         1 total\n";
        assert_eq!(calls(table).into_iter().collect::<Vec<_>>(), ["futex", "prctl"]);
    }
}
