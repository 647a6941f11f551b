//! The programs: `serve-models` in one process, `run` in another, and a practice whose photos become drafts by way of both.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use skin_assist::clock::SystemClock;
use skin_assist_core::time::Clock as _;
use skin_assist_simulator::{ClinicScript, Options, PracticeEhr, ScriptOptions};

use crate::process::{Installation, Served, write_photo};

const CALLS_PER_MINUTE: u32 = 6_000;

/// A folder with a pack for each route.
const PACKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models");

/// `skin-assist serve-models` in the background, on a port that the system chose.
struct ModelServer {
    child: Child,
    url: String,
}

impl ModelServer {
    fn start(installation: &Installation) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_skin-assist"))
            .args(["serve-models", "--models", PACKS, "--listen", "127.0.0.1:0"])
            .current_dir(installation.folder.path())
            .env_remove("SKIN_ASSIST_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line.split_whitespace().find(|word| word.starts_with("http://"));
        let url = url.unwrap().trim_end_matches('.').to_owned();
        Self { child, url }
    }

    /// SIGTERM, and the exit code.
    fn terminate(mut self) -> Option<i32> {
        let kill = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(kill.success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn photos_become_drafts_by_way_of_a_model_server() {
    // A quota that nobody has to wait for, and a policy that asks for everything at once: when photos are looked for is the matter of
    // other tests.
    let ehr = PracticeEhr::new(Options {
        seed: 5,
        quota_per_minute: CALLS_PER_MINUTE,
        ..Options::default()
    });
    let served = Served::start(ehr.clone());
    let script = ClinicScript::generate(
        5,
        &ScriptOptions {
            firms: 1,
            visits_per_firm: 4,
            duration: Duration::from_secs(120),
            photo_width: 320,
            photo_height: 240,
            ..ScriptOptions::default()
        },
    );
    for firm in &script.firms {
        ehr.add_firm(firm.clone()).unwrap();
    }
    let installation = Installation::connected(&ehr);
    let models = ModelServer::start(&installation);
    let config = std::fs::read_to_string(&installation.config).unwrap();
    let config = config.replace("[ehr]\n", &format!("[ehr]\ncalls_per_minute = {CALLS_PER_MINUTE}\n"));
    let config = format!(
        "{config}[polling]\npolicy = \"round-robin\"\n[models]\nremote_url = \"{}\"\n",
        models.url
    );
    std::fs::write(&installation.config, config).unwrap();
    assert!(installation.succeed(&["config", "check"]).contains(&models.url));

    ehr.play(&script, SystemClock.now(), 60.0).unwrap();
    let since = SystemClock.now();
    let until = |is_done: &dyn Fn() -> bool, complaint: &str| {
        while !is_done() {
            assert!(SystemClock.now().since(since) < Duration::from_secs(90), "{complaint}");
            served.sleep(Duration::from_millis(100));
        }
    };
    // The clinic first: so the engine finds all of it at its first polls, and the test waits for no other.
    until(&|| ehr.script_progress().is_over(), "the clinic does not end");
    let engine = installation.start();
    until(
        &|| ehr.report().missing().next().is_none(),
        "not every photo has its draft",
    );
    assert_eq!(engine.terminate(), Some(0));
    let report = ehr.report();
    assert!(report.expected().count() >= 2, "too few photos prove nothing");
    assert!(report.expected().all(|photo| photo.drafts.len() == 1));

    // And one photo without an EHR; and what is said when nobody is there.
    let photo = installation.path("photo.jpg");
    write_photo(&photo, 3);
    let assess = ["assess", "--route", "solitary", photo.to_str().unwrap()];
    assert!(installation.succeed(&assess).contains("models: reference-solitary"));
    assert_eq!(models.terminate(), Some(0), "SIGTERM ends it cleanly");
    let error = installation.fail(&assess);
    assert!(
        error.contains("does not answer") && error.contains("hint: check the address"),
        "{error}"
    );
}
