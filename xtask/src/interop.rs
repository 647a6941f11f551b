//! `cargo xtask interop`: discovery, photo and draft against software that we did not write.
//!
//! Helios FHIR Server holds the charts and npm's `oidc-provider` issues the tokens. The program itself runs against them as
//! its operator runs it, and what is asserted is what Helios then has. docs/interop.md says what this proves and what not.
//! Each wait is bounded, everything that is started ends with this, and what was said is in `target/interop/run`.

mod chart;
mod controls;
pub(crate) mod engine;
mod gateway;
pub(crate) mod http;
mod scenario;
pub(crate) mod servers;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{process::root, steps::Steps};
use gateway::Gateway;
use http::Message;
use servers::{Client, Helios, Installed, TokenServer};

/// Where everything of a run is.
const FOLDER: &str = "target/interop/run";

/// How many different photos there are.
const PICTURES: usize = 12;

/// The secret and the scope of the clients by which the harness files charts and reads drafts, one for each practice:
/// Helios takes no token without a tenant.
const LOADER: (&str, &str) = ("loader-secret", "system/*.cruds");

/// Everything that a scenario runs in.
struct World {
    folder: PathBuf,
    program: PathBuf,
    pictures: Vec<Vec<u8>>,
    photo_server: SocketAddr,
    /// Requests to the photo server that carried a credential.
    credentials_shown: Arc<AtomicUsize>,
    gateway: Gateway,
    tokens: TokenServer,
    clients: Vec<Client>,
    helios: Helios,
    versions: String,
}

/// Runs everything.
pub(crate) fn run() -> Result<(), String> {
    let mut steps = Steps::begin();
    let (mut world, mut proofs) = (None, Proofs::default());
    steps.step("servers", || {
        world = Some(World::build()?);
        Ok(())
    });
    if let Some(world) = &mut world {
        println!("{}\n", world.versions);
        steps.step("controls", || controls::check(world));
        for scenario in scenario::all()? {
            steps.step(scenario.title, || {
                let played = scenario.play(world, &mut proofs);
                played.map_err(|problem| format!("{problem}\nWhat was said is in {}", world.folder.display()))
            });
        }
        proofs.print();
    }
    steps.end("cargo xtask interop")
}

impl World {
    fn build() -> Result<Self, String> {
        let folder = root().join(FOLDER);
        crate::pinned::empty(&folder)?;
        let installed = Installed::new()?;
        let program = engine::build()?;
        let pictures = engine::pictures(&folder.join("pictures"), PICTURES)?;

        let credentials_shown = Arc::new(AtomicUsize::new(0));
        let photo_server = serve_photos(pictures.clone(), &credentials_shown)?;
        let address = Helios::choose_address()?;
        let gateway = Gateway::open(address)?;
        let tokens = TokenServer::start(&installed, &folder, &gateway.base(), &[])?;
        let helios = Helios::start(&installed, &folder, address, &gateway.base(), &tokens)?;
        let mut versions = vec![helios.version().to_owned()];
        versions.extend(installed.versions()?);
        Ok(Self {
            folder,
            program,
            pictures,
            photo_server,
            credentials_shown,
            gateway,
            tokens,
            clients: Vec::new(),
            helios,
            versions: versions.join(", "),
        })
    }

    /// Registers one more client, or the same one anew, with the token server.
    fn register(&mut self, client: Client) -> Result<(), String> {
        self.clients
            .retain(|known| known.0["client_id"] != client.0["client_id"]);
        self.clients.push(client);
        self.tokens.register(&self.clients)
    }

    fn chart(&mut self, tenant: &str) -> Result<chart::Chart, String> {
        let ((secret, scope), id) = (LOADER, format!("loader-{tenant}"));
        let client = Client::with_secret(&id, "client_secret_basic", secret, scope);
        self.register(client.of_tenant(tenant).with_long_lives())?;
        chart::Chart::open(
            self.helios.address(),
            tenant,
            &self.tokens.token(&id, secret, scope)?,
            self.photo_server,
            self.pictures.clone(),
        )
    }
}

/// Serves the pictures as `/0.jpg`, `/1.jpg`, to whoever shows no credential.
fn serve_photos(pictures: Vec<Vec<u8>>, credentials_shown: &Arc<AtomicUsize>) -> Result<SocketAddr, String> {
    let shown = Arc::clone(credentials_shown);
    http::serve(move |request| {
        if ["authorization", "x-api-key", "cookie"]
            .iter()
            .any(|name| request.header(name).is_some())
        {
            shown.fetch_add(1, Ordering::Relaxed);
        }
        let number = request.path().trim_start_matches('/').strip_suffix(".jpg");
        let picture = number
            .and_then(|number| number.parse::<usize>().ok())
            .and_then(|number| pictures.get(number));
        Some(match picture {
            Some(picture) => Message::reply(200, "image/jpeg", picture.clone()),
            None => Message::reply(404, "text/plain", b"no such photo".to_vec()),
        })
    })
}

/// Waits until something holds; an error ends the wait.
fn wait(
    what: &str,
    most: Duration,
    mut holds: impl FnMut() -> Result<Result<(), String>, String>,
) -> Result<Duration, String> {
    let begin = Instant::now();
    loop {
        match holds()? {
            Ok(()) => {
                println!("    {what}: after {:.1} s", begin.elapsed().as_secs_f64());
                return Ok(begin.elapsed());
            }
            Err(still) if begin.elapsed() > most => {
                return Err(format!("{what}: not within {} s: {still}", most.as_secs()));
            }
            Err(_) => thread::sleep(Duration::from_millis(500)),
        }
    }
}

/// What was proved, by claim, in the order in which it first was; a column for each scenario.
#[derive(Debug, Default)]
struct Proofs {
    scenarios: Vec<&'static str>,
    rows: Vec<(&'static str, Vec<(usize, String)>)>,
}

impl Proofs {
    fn begin(&mut self, scenario: &'static str) {
        self.scenarios.push(scenario);
    }

    /// Notes what shows that a claim holds in the scenario that began last.
    fn holds(&mut self, claim: &'static str, evidence: String) {
        let column = self.scenarios.len().saturating_sub(1);
        match self.rows.iter_mut().find(|(known, _)| *known == claim) {
            Some((_, cells)) => cells.push((column, evidence)),
            None => self.rows.push((claim, vec![(column, evidence)])),
        }
    }

    fn print(&self) {
        print!("{}", self.table());
        println!();
    }

    fn table(&self) -> String {
        let line = |cells: &[&str]| format!("| {} |\n", cells.join(" | "));
        let heading: Vec<&str> = std::iter::once("what was proved")
            .chain(self.scenarios.iter().copied())
            .collect();
        let mut text = line(&heading) + &line(&vec!["---"; heading.len()]);
        for (claim, found) in &self.rows {
            let mut cells = vec![*claim];
            for column in 0..self.scenarios.len() {
                let cell = found.iter().find(|(of, _)| *of == column);
                cells.push(cell.map_or("-", |(_, evidence)| evidence));
            }
            text += &line(&cells);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_column_for_each_scenario() {
        let mut proofs = Proofs::default();
        proofs.begin("a");
        proofs.holds("one", "1".into());
        proofs.begin("b");
        proofs.holds("one", "2".into());
        proofs.holds("two", "3".into());
        let expected = "| what was proved | a | b |\n| --- | --- | --- |\n| one | 1 | 2 |\n| two | - | 3 |\n";
        assert_eq!(proofs.table(), expected);
    }

    #[test]
    fn a_wait_ends() {
        let never = wait("never", Duration::ZERO, || Ok(Err("not yet".into())));
        assert_eq!(never.unwrap_err(), "never: not within 0 s: not yet");
        assert_eq!(
            wait("broken", Duration::ZERO, || Err("broken".into())).unwrap_err(),
            "broken"
        );
        wait("at once", Duration::ZERO, || Ok(Ok(()))).unwrap();
    }
}
