//! `skin-assist practice-ehr`.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use skin_assist_core::time::Clock as _;
use skin_assist_simulator::{
    ClinicScript, Credentials, ExpectedRoute, Options, PracticeEhr, ScriptOptions,
    http_server::{Server, ServerOptions},
};

use super::{
    key::{random, write_secret},
    run::Signals,
};
use crate::{
    cli::PracticeEhrArguments,
    clock::SystemClock,
    failure::{Failure, Hinted as _, WithHint as _},
};

/// Serves a practice EHR alone.
pub(crate) async fn practice_ehr(arguments: PracticeEhrArguments) -> Result<ExitCode, Failure> {
    let mut signals = Signals::listen()?;
    let ehr = PracticeEhr::new(Options {
        seed: arguments.seed,
        quota_per_minute: arguments.calls_per_minute,
        ..Options::default()
    });
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let options = ServerOptions {
        api: address(arguments.port),
        photos: address(arguments.photo_port),
    };
    let server = Server::start(ehr.clone(), options)
        .await
        .failed(|| "the practice EHR cannot be served".to_owned())
        .hint("another program may have the port: choose one with --port, or 0")?;
    let script = ClinicScript::generate(
        arguments.seed,
        &ScriptOptions {
            firms: arguments.firms,
            visits_per_firm: arguments.visits,
            duration: Duration::from_secs(u64::from(arguments.minutes) * 60),
            ..ScriptOptions::default()
        },
    );
    let photos = script.expected_photos();
    ehr.play(&script, SystemClock.now(), arguments.speed)
        .failed(|| "the clinic cannot be played".to_owned())
        .hint("--speed is a number above 0")?;
    let firms = ehr
        .firms()
        .iter()
        .map(|firm| ehr.credentials(firm))
        .collect::<Result<Vec<_>, _>>()
        .failed(|| "the practices have no credentials".to_owned())?;

    say!("A practice EHR is served on this machine.");
    say!("  chart page      {}", server.chart_url());
    say!("  base_url        {}", server.endpoints().api);
    for firm in &firms {
        say!(
            "  practice        {} ({}), client_id {}",
            firm.firm,
            firm.name,
            firm.client_id
        );
    }
    say!("  photos to come  {photos}");
    if let Some(folder) = &arguments.connect {
        write_connection(folder, &firms, arguments.calls_per_minute)?;
        say!("\n{}", connection_steps(folder, &firms));
    }
    say!("Ctrl-C ends it.");
    match &arguments.report {
        None => signals.asked_to_stop().await,
        Some(file) => tokio::select! {
            () = signals.asked_to_stop() => {}
            failure = report_into(&ehr, file) => return Err(failure),
        },
    }
    server.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// Writes the report again and again, each time as a whole. Ends when that is not possible.
async fn report_into(ehr: &PracticeEhr, file: &Path) -> Failure {
    let new = file.with_extension("new");
    loop {
        ehr.advance(SystemClock.now());
        let report = serde_json::json!({ "is_over": ehr.script_progress().is_over(), "report": ehr.report() });
        let written = std::fs::write(&new, report.to_string()).and_then(|()| std::fs::rename(&new, file));
        if let Err(error) = written {
            return Failure::new(format!("the report cannot be written to {}", file.display())).because(error);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Writes everything that `run` needs into a new folder.
fn write_connection(folder: &Path, firms: &[Credentials], calls_per_minute: u32) -> Result<(), Failure> {
    std::fs::create_dir(folder)
        .failed(|| format!("the folder {} cannot be made", folder.display()))
        .hint("it must not exist yet, and the folder that it goes into must")?;
    let Some(first) = firms.first() else { return Ok(()) };
    let mut config = String::new();
    _ = write!(
        config,
        "[state]\nkey_file = \"state.key\"\n\n[ehr]\nbase_url = \"{}\"\ntoken_url = \"{}\"\napi_key_file = \"api.key\"\n\
         photo_hosts = [\"127.0.0.1\"]\ncalls_per_minute = {calls_per_minute}\nallow_loopback_http = true\n",
        first.api_base, first.token_url
    );
    let path = folder.join("skin-assist.toml");
    std::fs::write(&path, config).failed(|| format!("the file {} cannot be written", path.display()))?;
    write_secret(&folder.join("state.key"), random()?.to_text().expose())?;
    write_secret(&folder.join("api.key"), &first.api_key)?;
    for firm in firms {
        write_secret(&folder.join(format!("{}.secret", firm.firm)), &firm.client_secret)?;
    }
    Ok(())
}

/// The commands that connect to it, to be copied.
fn connection_steps(folder: &Path, firms: &[Credentials]) -> String {
    let folder = folder.display();
    let command = format!("skin-assist --config {folder}/skin-assist.toml");
    let mut text = format!("Connect from another terminal:\n  export SKIN_ASSIST_CONFIG={folder}/skin-assist.toml\n");
    for firm in firms {
        let id = &firm.firm;
        _ = writeln!(
            text,
            "  skin-assist firm add {id} --url-prefix {id} --client-id {} --client-secret-file {folder}/{id}.secret",
            firm.client_id
        );
        let uses = firm.categories.iter().filter_map(|category| match category.route {
            ExpectedRoute::Solitary => Some(format!(" {}=solitary", category.code)),
            ExpectedRoute::Widespread => Some(format!(" {}=widespread", category.code)),
            ExpectedRoute::Ignored => None,
        });
        _ = writeln!(text, "  skin-assist categories set {id}{}", uses.collect::<String>());
    }
    _ = write!(text, "  skin-assist run\nOr with {command} instead of the variable.");
    text
}
