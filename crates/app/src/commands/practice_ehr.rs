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
    ClinicScript, Credentials, Dialect, ExpectedRoute, Options, PracticeEhr, PublicKey, ScriptOptions,
    http_server::{Server, ServerOptions},
};

use super::{
    key::{random, write_secret},
    run::Signals,
};
use crate::{
    cli::{EhrArgument, PracticeEhrArguments},
    clock::SystemClock,
    failure::{Failure, Hinted as _, WithHint as _},
};

/// Serves a practice EHR alone.
pub(crate) async fn practice_ehr(arguments: PracticeEhrArguments) -> Result<ExitCode, Failure> {
    let mut signals = Signals::listen()?;
    let dialect = dialect(arguments.profile);
    let ehr = PracticeEhr::new(Options {
        seed: arguments.seed,
        quota_per_minute: arguments.calls_per_minute,
        dialect: dialect.clone(),
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
    let mut script = ClinicScript::generate(
        arguments.seed,
        &ScriptOptions {
            firms: arguments.firms,
            visits_per_firm: arguments.visits,
            duration: Duration::from_secs(u64::from(arguments.minutes) * 60),
            ..ScriptOptions::default()
        },
    );
    if let Some(file) = &arguments.register {
        let key = registered(file)?;
        for firm in &mut script.firms {
            firm.public_key = Some(key.clone());
        }
    }
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
        write_connection(folder, &firms, arguments.profile, arguments.calls_per_minute)?;
        say!("\n{}", connection_steps(folder, &firms, arguments.profile, &dialect));
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

fn dialect(ehr: EhrArgument) -> Dialect {
    match ehr {
        EhrArgument::ModmedEma => Dialect::modmed_ema(),
        EhrArgument::FhirR4 => Dialect::fhir_r4(),
        EhrArgument::UscoreR4 => Dialect::uscore_r4(),
    }
}

/// The key that a client gives to be registered.
fn registered(file: &Path) -> Result<PublicKey, Failure> {
    let text = std::fs::read_to_string(file).failed(|| format!("the file {} cannot be read", file.display()))?;
    PublicKey::from_jwk_set(&text)
        .failed(|| format!("the file {} has no key that can be registered", file.display()))
        .hint("it is what `skin-assist key client` printed")
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
fn write_connection(
    folder: &Path,
    firms: &[Credentials],
    ehr: EhrArgument,
    calls_per_minute: u32,
) -> Result<(), Failure> {
    std::fs::create_dir(folder)
        .failed(|| format!("the folder {} cannot be made", folder.display()))
        .hint("it must not exist yet, and the folder that it goes into must")?;
    let Some(first) = firms.first() else { return Ok(()) };
    let kind = match ehr {
        EhrArgument::ModmedEma => format!(
            "token_url = \"{}\"\napi_key_file = \"api.key\"\nphoto_hosts = [\"127.0.0.1\"]\n",
            first.token_url
        ),
        // They say themselves where their token endpoint is, and their photos are Binary resources.
        EhrArgument::FhirR4 => "profile = \"fhir-r4\"\n".to_owned(),
        EhrArgument::UscoreR4 => "profile = \"uscore-r4\"\n".to_owned(),
    };
    let config = format!(
        "[state]\nkey_file = \"state.key\"\n\n[ehr]\nbase_url = \"{}\"\n{kind}calls_per_minute = {calls_per_minute}\n\
         allow_loopback_http = true\n",
        first.api_base
    );
    let path = folder.join("skin-assist.toml");
    std::fs::write(&path, config).failed(|| format!("the file {} cannot be written", path.display()))?;
    write_secret(&folder.join("state.key"), random()?.to_text().expose())?;
    if ehr == EhrArgument::ModmedEma {
        write_secret(&folder.join("api.key"), &first.api_key)?;
    }
    if ehr != EhrArgument::UscoreR4 {
        for firm in firms {
            write_secret(&folder.join(format!("{}.secret", firm.firm)), &firm.client_secret)?;
        }
    }
    Ok(())
}

/// The commands that connect to it, to be copied.
fn connection_steps(folder: &Path, firms: &[Credentials], ehr: EhrArgument, dialect: &Dialect) -> String {
    let folder = folder.display();
    let command = format!("skin-assist --config {folder}/skin-assist.toml");
    let mut text = format!("Connect from another terminal:\n  export SKIN_ASSIST_CONFIG={folder}/skin-assist.toml\n");
    for firm in firms {
        let id = &firm.firm;
        let service = dialect.service_of(id);
        let prefix = match ehr {
            EhrArgument::ModmedEma => id.as_str(),
            EhrArgument::FhirR4 | EhrArgument::UscoreR4 => service.trim_start_matches('/'),
        };
        let proof = match ehr {
            EhrArgument::UscoreR4 => "--private-key-file KEY --key-id KID".to_owned(),
            EhrArgument::ModmedEma | EhrArgument::FhirR4 => format!("--client-secret-file {folder}/{id}.secret"),
        };
        _ = writeln!(
            text,
            "  skin-assist firm add {id} --url-prefix {prefix} --client-id {} {proof}",
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
