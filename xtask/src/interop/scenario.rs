//! A scenario: two practices of one kind of EHR, from the first connection to a credential that is refused.
//!
//! Each practice is a tenant of Helios. What is counted is counted in Helios; that the engine says the same is asked of its
//! own commands. Where an EHR has no search for drafts, one whose reply was lost is listed as uncertain, and the harness
//! does what an operator would: it looks into the chart and says what it found.

use std::{
    path::Path,
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    Proofs, World,
    chart::{Chart, Place, Visit},
    engine::{Installation, shipped_profile},
    gateway::Passed,
    servers::{Client, Process},
    wait,
};

/// From a photo to its draft, on a busy machine.
const SOON: Duration = Duration::from_secs(120);

/// What a killed engine held is picked up when its leases expire.
const AFTER_A_KILL: Duration = Duration::from_secs(240);

/// A token's life, and time for the refusal to show.
const REFUSAL: Duration = Duration::from_secs(120);

/// How long a second draft would have had to come.
const QUIET: Duration = Duration::from_secs(8);

/// Every character in it has to be encoded in a form, or means something in a URL.
const AWKWARD: &str = "s+e c/r:e=t&%-0123456789";

/// How the practices prove themselves, each in its own way of one profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Basic,
    Post,
    PrivateKey,
}

/// Two practices of one kind of EHR.
pub(super) struct Scenario {
    /// Its name in the table.
    pub(super) title: &'static str,
    /// The shipped profile.
    profile: &'static str,
    /// Lines of it that are others, as they are and as they have to be; none where the shipped one is used by its name.
    changes: &'static [(&'static str, &'static str)],
    method: Method,
    /// Whether the EHR says where tokens are issued; otherwise the operator does.
    discovery: bool,
    /// The resource that a draft becomes.
    draft: &'static str,
    /// Whether a draft whose reply was lost is found by a search.
    settles: bool,
    firms: [&'static str; 2],
}

const AT_THE_ROOT: (&str, &str) = ("service = \"{base}/{firm}\"", "service = \"{base}\"");

/// The scenarios, after a look at whether the profiles still read as they expect.
pub(super) fn all() -> Result<Vec<Scenario>, String> {
    let scenarios = vec![
        Scenario {
            title: "fhir-r4, client_secret_basic",
            profile: "fhir-r4",
            changes: &[],
            method: Method::Basic,
            // Under a practice's path Helios shows its SMART configuration to nobody without a token.
            discovery: false,
            draft: "Composition",
            settles: true,
            firms: ["basic-north", "basic-south"],
        },
        Scenario {
            title: "fhir-r4, client_secret_post",
            profile: "fhir-r4",
            changes: &[
                AT_THE_ROOT,
                (
                    "client_authentication = \"client-secret-basic\"",
                    "client_authentication = \"client-secret-post\"",
                ),
            ],
            method: Method::Post,
            discovery: true,
            draft: "Composition",
            settles: true,
            firms: ["post-north", "post-south"],
        },
        Scenario {
            title: "uscore-r4, private_key_jwt",
            profile: "uscore-r4",
            changes: &[AT_THE_ROOT],
            method: Method::PrivateKey,
            discovery: true,
            draft: "DocumentReference",
            settles: false,
            firms: ["signed-north", "signed-south"],
        },
    ];
    for scenario in &scenarios {
        scenario.profile_text()?;
    }
    Ok(scenarios)
}

impl Scenario {
    /// Plays it from beginning to end.
    pub(super) fn play(&self, world: &mut World, proofs: &mut Proofs) -> Result<(), String> {
        proofs.begin(self.title);
        let mut play = Play::begin(self, world)?;
        play.photos_that_were_there(proofs)?;
        play.while_it_runs(proofs)?;
        play.a_lost_reply(proofs)?;
        play.a_kill(proofs)?;
        play.a_refused_credential(proofs)?;
        play.end(proofs)
    }

    fn profile_text(&self) -> Result<String, String> {
        let mut text = shipped_profile(self.profile)?;
        for (from, to) in self.changes {
            if text.matches(from).count() != 1 {
                return Err(format!("the profile {} has no line `{from}`", self.profile));
            }
            text = text.replacen(from, to, 1);
        }
        Ok(text)
    }

    /// The scope that the profile asks for: what the client is granted.
    fn scope(&self) -> Result<String, String> {
        let text = self.profile_text()?;
        // The quota's scope is a word without a slash.
        let mut scopes = text.lines().filter_map(|line| line.strip_prefix("scope = "));
        let scope = scopes.find(|scope| scope.contains('/'));
        let scope = scope.map(|scope| scope.trim_matches('"').to_owned());
        scope.ok_or_else(|| format!("the profile {} asks for no scope", self.profile))
    }

    fn configuration(&self, world: &World) -> String {
        let profile = if self.changes.is_empty() {
            self.profile
        } else {
            "ehr.toml"
        };
        let token_url = if self.discovery {
            String::new()
        } else {
            format!("token_url = \"{}\"\n", world.tokens.token_endpoint())
        };
        format!(
            "[state]\nkey_file = \"state.key\"\n[ehr]\nprofile = \"{profile}\"\nbase_url = \"{}\"\n{token_url}\
             photo_hosts = [\"127.0.0.1\"]\nallow_loopback_http = true\n[log]\nformat = \"json\"\n",
            world.gateway.base(),
        )
    }
}

/// A scenario under way.
struct Play<'a> {
    scenario: &'a Scenario,
    world: &'a mut World,
    installation: Installation,
    engine: Option<Process>,
    charts: Vec<Chart>,
    visits: Vec<Visit>,
    /// Where in the gateway's record it began.
    mark: usize,
    /// How many drafts the harness found in the chart for the engine.
    resolved: usize,
}

impl<'a> Play<'a> {
    /// Connects both practices.
    fn begin(scenario: &'a Scenario, world: &'a mut World) -> Result<Self, String> {
        let folder = world.folder.join(scenario.firms[0]);
        let installation = Installation::new(&world.program, &folder, &scenario.configuration(world))?;
        installation.write("ehr.toml", &scenario.profile_text()?)?;
        let mut play = Self {
            mark: world.gateway.mark(),
            scenario,
            world,
            installation,
            engine: None,
            charts: Vec::new(),
            visits: Vec::new(),
            resolved: 0,
        };
        for firm in scenario.firms {
            let proof = play.registered(firm, "first")?;
            play.installation.connect(firm, &proof)?;
            let chart = play.world.chart(firm)?;
            play.visits.push(chart.begin_visit()?);
            play.charts.push(chart);
        }
        Ok(play)
    }

    /// Registers a firm's client with a fresh proof, and gives the options by which the program takes it.
    fn registered(&mut self, firm: &str, which: &str) -> Result<Vec<String>, String> {
        let scope = self.scenario.scope()?;
        let options = |options: [&str; 4]| {
            ["--client-id", firm]
                .iter()
                .chain(&options)
                .map(|&o| o.to_owned())
                .collect()
        };
        let file = format!("{firm}.{which}");
        if self.scenario.method == Method::PrivateKey {
            let jwks = self.installation.json(&["key", "client", &file])?;
            let key_id = jwks["keys"][0]["kid"].as_str().unwrap_or_default().to_owned();
            self.world
                .register(Client::with_keys(firm, &jwks, &scope).of_tenant(firm))?;
            return Ok(options(["--private-key-file", &file, "--key-id", &key_id]));
        }
        let method = match self.scenario.method {
            Method::Basic => "client_secret_basic",
            _ => "client_secret_post",
        };
        let secret = format!("{AWKWARD}{which}");
        self.installation.write(&file, &secret)?;
        self.world
            .register(Client::with_secret(firm, method, &secret, &scope).of_tenant(firm))?;
        let mut proof: Vec<String> = options(["--client-secret-file", &file, "", ""]);
        proof.truncate(4);
        Ok(proof)
    }

    /// Photos in the chart before the engine was started.
    fn photos_that_were_there(&mut self, proofs: &mut Proofs) -> Result<(), String> {
        for (chart, visit) in self.charts.iter_mut().zip(&self.visits) {
            chart.attach(visit, Place::Url)?;
            chart.attach(visit, Place::Inline)?;
            chart.attach_what_is_none_of_our_business(visit)?;
        }
        self.engine = Some(self.installation.start()?);
        self.all_answered("photos that were there", SOON)?;
        let found = self.passed(|passed| passed.path.ends_with("/.well-known/smart-configuration"));
        let (claim, evidence) = match (self.scenario.discovery, found) {
            (true, true) => ("the token endpoint", "SMART configuration"),
            (false, _) => ("the token endpoint", "`ehr.token_url`"),
            (true, false) => return Err("nobody asked where tokens are issued".to_owned()),
        };
        proofs.holds(claim, evidence.to_owned());
        proofs.holds("photos that were there at the start, by URL and inline", self.counted());
        Ok(())
    }

    /// Visits and photos that come while it runs.
    fn while_it_runs(&mut self, proofs: &mut Proofs) -> Result<(), String> {
        for (chart, visit) in self.charts.iter_mut().zip(&self.visits) {
            let new = chart.begin_visit()?;
            chart.attach(&new, Place::Binary)?;
            chart.attach(visit, Place::Url)?;
        }
        let took = self.all_answered("a new visit, and a photo more in the old one", SOON)?;
        proofs.holds(
            "new visits and photos, also as a `Binary`, found while it runs",
            format!("{} within {} s", self.counted(), took.as_secs() + 1),
        );
        Ok(())
    }

    /// The reply to a draft is lost: the draft is there, and the engine does not know.
    fn a_lost_reply(&mut self, proofs: &mut Proofs) -> Result<(), String> {
        let mark = self.world.gateway.mark();
        let kind = format!("/{}", self.scenario.draft);
        self.world.gateway.lose_reply_to_post(&kind);
        self.charts[0].attach(&self.visits[0], Place::Inline)?;
        self.all_answered("a draft whose reply was lost", SOON)?;
        let firm = self.scenario.firms[0];
        let known = |play: &Self| Ok(play.delivered(firm)? == play.charts[0].expected());
        if self.scenario.settles {
            self.until("the engine knows that it is there", SOON, known)?;
            let passed = self.world.gateway.since(mark);
            let searched = |passed: &Passed| {
                passed.method == "GET" && passed.path.contains("Composition?identifier=") && passed.status == 200
            };
            let posts = passed.iter().filter(|passed| self.is_draft(passed)).count();
            let settled = match (passed.iter().any(searched), posts) {
                (true, _) => "found by search, one draft",
                (false, 2..) => "found by `If-None-Exist`, one draft",
                (false, _) => return Err("nobody asked whether the draft was there".to_owned()),
            };
            proofs.holds("a draft whose reply was lost", settled.to_owned());
        } else {
            let listed = |play: &Self| Ok(play.uncertain()?.len() == 1);
            self.until("it is listed as uncertain", SOON, listed)?;
            self.look_into_the_charts()?;
            self.until("the engine knows that it is there", SOON, known)?;
            proofs.holds(
                "a draft whose reply was lost",
                "listed as uncertain, one draft".to_owned(),
            );
        }
        Ok(())
    }

    /// kill -9 in the midst of drafts, photos meanwhile, and a start.
    fn a_kill(&mut self, proofs: &mut Proofs) -> Result<(), String> {
        let mark = self.world.gateway.mark();
        for (chart, visit) in self.charts.iter_mut().zip(&self.visits) {
            chart.attach(visit, Place::Url)?;
            chart.attach(visit, Place::Binary)?;
        }
        let begun = |play: &Self| {
            Ok(play
                .world
                .gateway
                .since(mark)
                .iter()
                .any(|passed| play.is_draft(passed)))
        };
        self.until("a draft is posted", SOON, begun)?;
        if let Some(engine) = self.engine.take() {
            engine.kill();
        }
        let before: usize = self.answered()?;
        for (chart, visit) in self.charts.iter_mut().zip(&self.visits) {
            let new = chart.begin_visit()?;
            chart.attach(&new, Place::Inline)?;
            chart.attach(visit, Place::Url)?;
        }
        let missed = self.expected() - before;
        self.engine = Some(self.installation.start()?);
        self.all_answered("photos from before the kill and since", AFTER_A_KILL)?;
        proofs.holds(
            "after `kill -9` between drafts, photos filed meanwhile, and a start",
            format!("{}, {missed} of them after the start", self.counted()),
        );
        Ok(())
    }

    /// One practice's credential is no longer good: it alone stands still, says so, and goes on with the next one.
    fn a_refused_credential(&mut self, proofs: &mut Proofs) -> Result<(), String> {
        let [north, south] = self.scenario.firms;
        let proof = self.registered(north, "second")?;
        let mut reason = String::new();
        let scenario = self.scenario.title;
        let refused = |play: &Self| {
            let found = play.refusal(north)?;
            if let Some(code) = &found {
                reason.clone_from(code);
            }
            Ok(found.is_some())
        };
        self.until("the practice stands still", REFUSAL, refused)?;
        if let Some(code) = self.refusal(south)? {
            return Err(format!("{scenario}: the other practice stands still as well: {code}"));
        }
        let before = self.charts[0].answered()?;
        for (chart, visit) in self.charts.iter_mut().zip(&self.visits) {
            chart.attach(visit, Place::Inline)?;
        }
        let served = |play: &Self| Ok(play.charts[1].answered()? == play.charts[1].expected());
        self.until("the other practice is served", SOON, served)?;
        if self.charts[0].answered()? != before {
            return Err("the practice whose credential was refused has a new draft".to_owned());
        }
        proofs.holds(
            "a refused credential stops that practice alone",
            format!("`{reason}` in `status`"),
        );

        let mut replace = vec!["firm", "credential", north];
        replace.extend(proof.iter().map(String::as_str));
        self.installation.succeed(&replace)?;
        self.all_answered("with the next credential", SOON)?;
        if let Some(code) = self.refusal(north)? {
            return Err(format!("the practice still stands still: {code}"));
        }
        proofs.holds("`firm credential` lets it go on", self.counted());
        Ok(())
    }

    /// Nothing comes after that, and everything that is there is as it should be.
    fn end(mut self, proofs: &mut Proofs) -> Result<(), String> {
        thread::sleep(QUIET);
        self.look_into_the_charts()?;
        self.all_answered("nothing more", SOON)?;
        let known = |play: &Self| {
            let mut delivered = 0;
            for firm in play.scenario.firms {
                delivered += play.delivered(firm)?;
            }
            Ok(delivered == play.expected())
        };
        self.until("the engine says the same", SOON, known)?;
        let letters = self.installation.json(&["dead-letters", "list", "--json"])?;
        if letters != json!([]) {
            return Err(format!("dead letters: {letters}"));
        }
        let ended = self.engine.take().map(Process::terminate).transpose()?;
        if ended.is_none_or(|status| status.code() != Some(0)) {
            return Err(format!("SIGTERM ended the engine with {ended:?}"));
        }

        let mut drafts = 0;
        for chart in &self.charts {
            for draft in chart.drafts()? {
                let problems = chart.validate(&draft.resource)?;
                if !problems.is_empty() {
                    return Err(format!("{} is not valid:\n{}", draft.reference(), problems.join("\n")));
                }
                drafts += 1;
            }
        }
        let refused = |passed: &Passed| self.is_post_of_draft(passed) && passed.status == 422;
        if drafts != self.expected() || self.passed(refused) {
            return Err(format!("{drafts} drafts for {} photos", self.expected()));
        }
        let shown = self.world.credentials_shown.load(Ordering::Relaxed);
        if shown > 0 {
            return Err(format!("the photo server was shown {shown} credentials"));
        }
        let uncertain = self.resolved;
        proofs.holds(
            "photos, and drafts in their charts",
            format!("{} and {drafts}", self.expected()),
        );
        proofs.holds(
            "drafts listed as uncertain and found by the operator",
            uncertain.to_string(),
        );
        proofs.holds(
            "valid by Helios on the way in and by `$validate`",
            format!("{drafts} of {drafts}"),
        );
        proofs.holds("credentials shown to the photo server", shown.to_string());
        let calls = self.world.gateway.since(self.mark);
        let failed = calls.iter().filter(|passed| passed.status >= 400).count();
        proofs.holds(
            "calls to Helios, and refused ones",
            format!("{} and {failed}", calls.len()),
        );
        Ok(())
    }

    fn expected(&self) -> usize {
        self.charts.iter().map(Chart::expected).sum()
    }

    fn answered(&self) -> Result<usize, String> {
        let mut answered = 0;
        for chart in &self.charts {
            answered += chart.answered()?;
        }
        Ok(answered)
    }

    fn counted(&self) -> String {
        let expected = self.expected();
        format!("{expected} of {expected}")
    }

    fn is_post_of_draft(&self, passed: &Passed) -> bool {
        passed.method == "POST" && passed.path.ends_with(&format!("/{}", self.scenario.draft))
    }

    fn is_draft(&self, passed: &Passed) -> bool {
        self.is_post_of_draft(passed) && (200..300).contains(&passed.status)
    }

    fn passed(&self, what: impl Fn(&Passed) -> bool) -> bool {
        self.world.gateway.since(self.mark).iter().any(what)
    }

    /// How a practice stands, by `skin-assist status`.
    fn standing(&self, firm: &str) -> Result<Value, String> {
        let status = self.installation.json(&["status", "--json"])?;
        let firms = status["firms"].as_array().into_iter().flatten();
        let found = firms.clone().find(|known| known["firm"]["id"] == firm);
        found.cloned().ok_or_else(|| format!("status does not name {firm}"))
    }

    fn delivered(&self, firm: &str) -> Result<usize, String> {
        let delivered = self.standing(firm)?["delivered"].as_u64();
        delivered
            .and_then(|delivered| usize::try_from(delivered).ok())
            .ok_or_else(|| "status does not count drafts".to_owned())
    }

    fn refusal(&self, firm: &str) -> Result<Option<String>, String> {
        let standing = self.standing(firm)?;
        Ok(standing["credential_refused"]["code"].as_str().map(str::to_owned))
    }

    fn uncertain(&self) -> Result<Vec<Value>, String> {
        let listed = self.installation.json(&["uncertain", "list", "--json"])?;
        Ok(listed.as_array().cloned().unwrap_or_default())
    }

    /// Does what an operator does with drafts that are listed as uncertain.
    fn look_into_the_charts(&mut self) -> Result<(), String> {
        for entry in self.uncertain()? {
            let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            let (firm, assessment) = (text("firm"), text("assessment"));
            let chart = self.charts.iter().find(|chart| chart.tenant() == firm);
            let drafts = chart.ok_or_else(|| format!("uncertain: {entry}"))?.drafts()?;
            let found = drafts
                .iter()
                .find(|draft| entry["documents"][0] == draft.document.as_str());
            let reference = found.map(super::chart::Draft::reference);
            let answer = reference
                .as_deref()
                .map_or(vec!["--post-again"], |reference| vec!["--delivered", reference]);
            self.installation
                .succeed(&[&["uncertain", "resolve", &firm, &assessment][..], &answer].concat())?;
            self.resolved += 1;
        }
        Ok(())
    }

    fn until(
        &mut self,
        what: &str,
        most: Duration,
        mut holds: impl FnMut(&Self) -> Result<bool, String>,
    ) -> Result<Duration, String> {
        wait(what, most, || {
            if let Some(engine) = &mut self.engine {
                engine.check()?;
            }
            Ok(if holds(self)? { Ok(()) } else { Err(self.engine_said()) })
        })
    }

    /// Waits until each photo has a draft. A photo with two, or a draft where none belongs, ends the wait.
    fn all_answered(&mut self, what: &str, most: Duration) -> Result<Duration, String> {
        let since = Instant::now();
        wait(what, most, || {
            if let Some(engine) = &mut self.engine {
                engine.check()?;
            }
            let (answered, expected) = (self.answered()?, self.expected());
            if answered == expected {
                return Ok(Ok(()));
            }
            // An EHR without a search: what a kill left open is an operator's business.
            if !self.scenario.settles && since.elapsed() > most / 2 {
                self.look_into_the_charts()?;
            }
            Ok(Err(format!(
                "{answered} of {expected} photos have a draft\n{}",
                self.engine_said()
            )))
        })
    }

    /// The end of the engine's log.
    fn engine_said(&self) -> String {
        last_lines(&self.installation.log(), 12)
    }
}

fn last_lines(file: &Path, count: usize) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_profiles_read_as_the_scenarios_expect() {
        for scenario in all().unwrap() {
            assert!(scenario.scope().unwrap().starts_with("system/"), "{}", scenario.title);
        }
    }
}
