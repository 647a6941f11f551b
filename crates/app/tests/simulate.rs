//! `skin-assist simulate` as its user meets it: clinic days are made up, played, compared and drawn; bad input is named.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

use std::{
    fs,
    process::{Command, Output},
};

use serde_json::Value;
use skin_assist_simulator::clinic_days::{EventKind, Trace};
use tempfile::TempDir;

/// Runs in the folder.
fn simulate(folder: &TempDir, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_skin-assist"))
        .arg("simulate")
        .args(arguments.split_whitespace())
        .current_dir(folder.path())
        .output()
        .unwrap()
}

/// Standard output of a command that has to succeed and says nothing on standard error.
fn succeed(folder: &TempDir, arguments: &str) -> String {
    let output = simulate(folder, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "simulate {arguments} failed:\n{error}");
    assert_eq!(error, "", "progress is for terminals");
    String::from_utf8(output.stdout).unwrap()
}

/// Two practices, small enough to be played in a second or two.
fn two_practices() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    succeed(&folder, "--generate --firms 2 --seed 3 --out days.jsonl.gz");
    folder
}

#[test]
fn made_up_days_are_the_same_whichever_way_they_are_written() {
    let folder = two_practices();
    let compressed = fs::read(folder.path().join("days.jsonl.gz")).unwrap();
    assert!(compressed.starts_with(&[0x1f, 0x8b]));
    let trace = Trace::read(compressed.as_slice()).unwrap();
    assert_eq!(trace.firms(), 2);
    let printed = succeed(&folder, "--generate --firms 2 --seed 3");
    assert_eq!(Trace::read(printed.as_bytes()).unwrap(), trace);
    succeed(&folder, "--generate --firms 2 --seed 3 --out plain.jsonl");
    assert_eq!(fs::read_to_string(folder.path().join("plain.jsonl")).unwrap(), printed);
    let busier = succeed(&folder, "--generate --firms 2 --seed 3 --burst 1:1:3");
    let visits = |trace: &Trace, firm| {
        let opened = |event: &&skin_assist_simulator::clinic_days::TraceEvent| {
            event.kind == EventKind::Open && event.firm == firm
        };
        trace.events.iter().filter(opened).count()
    };
    let busier = Trace::read(busier.as_bytes()).unwrap();
    assert_eq!(visits(&busier, 0), visits(&trace, 0));
    assert!(visits(&busier, 1) > visits(&trace, 1) * 3 / 2);
}

#[test]
fn one_policy_gives_one_object_with_all_figures() {
    let folder = two_practices();
    let play = |more: &str| -> Value {
        let arguments = format!("--trace days.jsonl.gz --budget 100 --json {more}");
        serde_json::from_str(&succeed(&folder, &arguments)).unwrap()
    };
    let outcome = play("");
    let fields: Vec<_> = outcome.as_object().unwrap().keys().map(String::as_str).collect();
    for field in [
        "policy",
        "search",
        "firms",
        "budget_per_minute",
        "hint",
        "live",
        "weighted_mean_s",
        "lower_bound_s",
        "missed",
        "detected_in_progress",
        "calls",
        "calls_per_document",
        "over_quota",
        "worst_over_median_firm",
        "wall_s",
    ] {
        assert!(fields.contains(&field), "{field} is not in {fields:?}");
    }
    assert_eq!(
        (&outcome["policy"], &outcome["search"], &outcome["firms"]),
        (&"adaptive".into(), &"patient".into(), &2.into())
    );
    assert_eq!(outcome["budget_per_minute"], 100);
    for field in ["mean_s", "p50_s", "p90_s", "p99_s"] {
        assert!(outcome["live"][field].as_f64().unwrap() > 0.0, "{field}");
    }
    for kind in ["encounter", "document", "read", "draft"] {
        assert!(outcome["calls"][kind].as_u64().unwrap() > 0, "{kind}");
    }
    let weighted = outcome["weighted_mean_s"].as_f64().unwrap();
    assert!(outcome["lower_bound_s"].as_f64().unwrap() < weighted);
    // The same again, but for how long it took.
    let mut again = play("--seed 1 --policy adaptive --search patient");
    again["wall_s"] = outcome["wall_s"].clone();
    assert_eq!(again, outcome);
    // The bound knows no hints, and no searches for several visits.
    assert!(play("--hint 1 --policy round-robin")["lower_bound_s"].is_null());
    assert!(play("--search batch --policy round-robin")["lower_bound_s"].is_null());
}

#[test]
fn policies_are_compared_and_drawn() {
    let folder = two_practices();
    let arguments =
        "--trace days.jsonl.gz --budget 100 --policy round-robin,adaptive --policy adaptive --plot days.svg";
    let outcomes: Value = serde_json::from_str(&succeed(&folder, &format!("{arguments} --json"))).unwrap();
    let policies: Vec<_> = outcomes
        .as_array()
        .unwrap()
        .iter()
        .map(|each| &each["policy"])
        .collect();
    assert_eq!(policies, ["round-robin", "adaptive"]);
    let picture = fs::read_to_string(folder.path().join("days.svg")).unwrap();
    for text in ["<svg", "2 practices on 100 calls a minute", "round-robin", "adaptive"] {
        assert!(picture.contains(text), "{text}");
    }
    let tables = succeed(&folder, arguments);
    for text in ["WEIGHTED MEAN", "BOUND", "DOCUMENT POLLS", "round-robin", "adaptive"] {
        assert!(tables.contains(text), "{text} is not in\n{tables}");
    }
}

#[test]
fn bad_input_is_named_with_a_hint() {
    let folder = two_practices();
    fs::write(folder.path().join("words.txt"), "no trace\n").unwrap();
    succeed(&folder, "--generate --firms 1 --days 1 --out short.jsonl");
    let cases = [
        ("--trace absent.gz --budget 100", "absent.gz cannot be opened"),
        ("--trace words.txt --budget 100", "words.txt is not a trace"),
        (
            "--trace short.jsonl --budget 100 --plot short.svg",
            "no photo of short.jsonl",
        ),
        ("--trace days.jsonl.gz --budget 9", "a budget of 9"),
        ("--trace days.jsonl.gz --budget 100 --hint 1.1", "1.1 is no share"),
        ("--trace days.jsonl.gz --budget 100 --hint=-0.1", "-0.1 is no share"),
        ("--trace days.jsonl.gz --budget 100 --hint NaN", "NaN is no share"),
        ("--trace days.jsonl.gz --budget 100 --least-price 0", "0 is no price"),
        (
            "--trace days.jsonl.gz --budget 100 --plot no/such/days.svg",
            "cannot be written",
        ),
        ("--generate --firms 2 --out no/such/days.jsonl", "cannot be written"),
        ("--generate --firms 2 --burst 2:0:3", "no day 0 of practice 2"),
    ];
    for (arguments, expected) in cases {
        let output = simulate(&folder, arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments}: {error}");
        assert!(
            error.starts_with("error: ") && error.contains(expected) && error.contains("hint: "),
            "{arguments}:\n{error}"
        );
        assert!(output.stdout.is_empty(), "{arguments}");
    }
    assert!(!folder.path().join("short.svg").exists(), "an empty picture is left");
    for arguments in [
        "",
        "--budget 100",
        "--trace days.jsonl.gz",
        "--trace days.jsonl.gz --budget many",
        "--trace days.jsonl.gz --budget 100 --policy best",
        "--trace days.jsonl.gz --budget 100 --search all",
        "--trace days.jsonl.gz --budget 100 --firms 2",
        "--generate",
        "--generate --firms 0",
        "--generate --firms 2 --trace days.jsonl.gz",
        "--generate --firms 2 --policy adaptive",
        "--generate --firms 2 --burst 1:1",
    ] {
        let output = simulate(&folder, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
    }
}
