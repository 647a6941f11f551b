//! The arguments of commands.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::Shell;
use skin_assist_core::{
    domain::{ChartEventKind, Route, SubscriptionFormat},
    polling::{AdaptivePart, PolicyName, PolicySettings},
};
use skin_assist_simulator::clinic_days::SearchKind;

use super::WhyArguments;
use crate::commands::{backfill::Backfill, credential::CredentialArguments, simulate::BurstArgument};

#[derive(Debug, Args)]
pub(crate) struct CompletionsArguments {
    /// The shell; the text goes where it looks for completions.
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArguments {
    /// A folder that is there; a page for each command is written into it.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
}

/// A switch that several commands have.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct JsonFlag {
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// The same seed plays the same clinic.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// End when every photo has its draft, instead of serving the chart page until Ctrl-C.
    #[arg(long)]
    pub(crate) exit_when_done: bool,
    /// Print one JSON document at the end instead of lines.
    #[arg(long)]
    pub(crate) json: bool,
    /// How to poll.
    #[arg(long, default_value_t = PolicyName::Adaptive)]
    pub(crate) policy: PolicyName,
    /// How many times faster than real time the clinic is played.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) speed: f64,
    /// How many minutes of clinic are played.
    #[arg(long, default_value_t = 6)]
    pub(crate) minutes: u32,
    /// Tell the subscriber at this address what happens, as CloudEvents; plain http to this machine is allowed.
    #[arg(long, value_name = "URL")]
    pub(crate) subscriber: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PracticeEhrArguments {
    /// The same seed plays the same clinic.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// The port of API, token endpoint and chart page; 0 lets the system choose.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// The port of the photo host; 0 lets the system choose.
    #[arg(long, default_value_t = 0)]
    pub(crate) photo_port: u16,
    /// How many practices.
    #[arg(long, default_value_t = 2)]
    pub(crate) firms: usize,
    /// How many visits each of them has.
    #[arg(long, default_value_t = 12)]
    pub(crate) visits: usize,
    /// How many minutes the clinic lasts, before it is sped up.
    #[arg(long, default_value_t = 60)]
    pub(crate) minutes: u32,
    /// How many times faster than real time it is played.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) speed: f64,
    /// Calls a minute that the EHR allows for all practices together.
    #[arg(long, default_value_t = 1000)]
    pub(crate) calls_per_minute: u32,
    /// What kind of EHR: one that this profile fits.
    #[arg(long, value_enum, default_value = "modmed-ema")]
    pub(crate) profile: EhrArgument,
    /// The public key that its clients sign with, as `key client` prints it (JWK Set).
    #[arg(long, value_name = "FILE", required_if_eq("profile", "uscore-r4"))]
    pub(crate) register: Option<PathBuf>,
    /// Write a configuration, a state key and the practices' secrets into this new folder, ready for `run`.
    #[arg(long, value_name = "DIR")]
    pub(crate) connect: Option<PathBuf>,
    /// Writes what became of each photo into this file, as JSON, every second.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

/// A kind of EHR, on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EhrArgument {
    /// ModMed EMA.
    #[value(name = "modmed-ema")]
    ModmedEma,
    /// A FHIR R4 server with everything.
    #[value(name = "fhir-r4")]
    FhirR4,
    /// An EHR that offers what US Core asks for, and SMART Backend Services.
    #[value(name = "uscore-r4")]
    UscoreR4,
}

/// A part of the adaptive policy.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum WithoutArgument {
    /// Whoever has the most undetected photos comes next.
    Index,
    /// A changed `lastUpdated` tells nothing about photos.
    Hints,
    /// Rates stay as they are assumed at first.
    Learning,
    /// All for the mean, nothing for small practices.
    Fairness,
}

impl From<WithoutArgument> for AdaptivePart {
    fn from(part: WithoutArgument) -> Self {
        match part {
            WithoutArgument::Index => Self::Index,
            WithoutArgument::Hints => Self::Hints,
            WithoutArgument::Learning => Self::Learning,
            WithoutArgument::Fairness => Self::Fairness,
        }
    }
}

/// How documents are searched for, on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum SearchArgument {
    /// One visit with each call.
    Patient,
    /// Up to 20 visits of a practice in a list.
    EncounterList,
    /// Up to 20 searches in a batch.
    Batch,
    /// All that changed in a practice.
    System,
}

impl From<SearchArgument> for SearchKind {
    fn from(search: SearchArgument) -> Self {
        match search {
            SearchArgument::Patient => Self::Patient,
            SearchArgument::EncounterList => Self::EncounterList,
            SearchArgument::Batch => Self::Batch,
            SearchArgument::System => Self::System,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct SimulateArguments {
    /// The clinic days to play: JSON lines, compressed with gzip or not. See docs/simulate.md for what is in them.
    #[arg(long, value_name = "FILE", required_unless_present = "generate")]
    pub(crate) trace: Option<PathBuf>,
    /// Calls a minute that the EHR allows for all practices together; at least 10.
    #[arg(long, value_name = "CALLS_PER_MINUTE", required_unless_present = "generate")]
    pub(crate) budget: Option<u32>,
    /// The share of photos that bump their visit's `lastUpdated`, from 0 to 1. No policy is told.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub(crate) hint: f64,
    /// How to poll: `adaptive`, `reference` or `round-robin`. Several, separated by commas, are compared.
    #[arg(long, value_name = "POLICY", value_delimiter = ',', default_value = "adaptive")]
    pub(crate) policy: Vec<PolicyName>,
    /// How documents are searched for.
    #[arg(long, value_enum, default_value = "patient")]
    pub(crate) search: SearchArgument,
    /// What a call costs at least, in photos times seconds. 0.004 saves calls where there are plenty, for a little more delay.
    #[arg(long, value_name = "PRICE", default_value_t = PolicySettings::USE_THE_QUOTA)]
    pub(crate) least_price: f64,
    /// Poll in sweeps that begin each time so many seconds have passed, as the deployment on AWS does, instead of all the time.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) sweep_seconds: Option<u64>,
    /// With --sweep-seconds: for how long a sweep begins calls.
    #[arg(long, value_name = "SECONDS", requires = "sweep_seconds", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) sweep_lasting: u64,
    /// Take a part of `adaptive` away, to see what it is worth.
    #[arg(long, value_name = "PART")]
    pub(crate) without: Option<WithoutArgument>,
    /// The same seed gives the same result, or the same clinic days.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Print one JSON document instead of tables: an object for one policy, an array for several.
    #[arg(long)]
    pub(crate) json: bool,
    /// Draw the delays, and the calls over the day, into this file.
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
    /// Make clinic days up instead, and write them as a trace.
    #[arg(
        long,
        requires = "firms",
        conflicts_with_all = ["trace", "budget", "hint", "policy", "search", "least_price", "sweep_seconds", "without", "json", "plot"]
    )]
    pub(crate) generate: bool,
    /// With --generate: how many practices.
    #[arg(long, requires = "generate", conflicts_with = "trace", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) firms: Option<u32>,
    /// With --generate: how many days. Day 0 is for learning and day 1 is measured, so two are enough.
    #[arg(
        long,
        requires = "generate",
        conflicts_with = "trace",
        default_value_t = 2,
        value_parser = clap::value_parser!(u32).range(1..=366)
    )]
    pub(crate) days: u32,
    /// With --generate: the file to write, compressed if its name ends with .gz. Without it: standard output.
    #[arg(long, requires = "generate", conflicts_with = "trace", value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// With --generate: one practice has so many times its visits on one day; both are counted from 0.
    #[arg(
        long,
        requires = "generate",
        conflicts_with = "trace",
        value_name = "FIRM:DAY:FACTOR"
    )]
    pub(crate) burst: Option<BurstArgument>,
}

/// A route, on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum RouteArgument {
    /// Single lesions: a detector finds them, a classifier judges each.
    Solitary,
    /// Rashes: a classifier judges the whole image.
    Widespread,
}

impl From<RouteArgument> for Route {
    fn from(route: RouteArgument) -> Self {
        match route {
            RouteArgument::Solitary => Self::Solitary,
            RouteArgument::Widespread => Self::Widespread,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct AssessArguments {
    /// Photos: JPEG, PNG, TIFF or WebP.
    #[arg(required = true, value_name = "PHOTO")]
    pub(crate) photos: Vec<PathBuf>,
    /// Which models look.
    #[arg(long)]
    pub(crate) route: RouteArgument,
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// Lists the packs that the configuration names.
    List(JsonFlag),
    /// Checks packs: manifest, hashes, shapes, golden image, and that both runtimes agree.
    Verify {
        /// A pack's folder, or a folder of packs.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Print one JSON document instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Draws what the models see on a photo: boxes and labels, and with --saliency what the first class depends on.
    Explain(ExplainArguments),
    /// Shows how the models' answers to a practice's photos, and the photos, change over weeks: from results that are kept, by the
    /// population stability index.
    Drift(DriftArguments),
}

#[derive(Debug, Args)]
pub(crate) struct DriftArguments {
    /// The practice.
    pub(crate) firm: String,
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArguments {
    /// A photo: JPEG, PNG, TIFF or WebP.
    #[arg(value_name = "PHOTO")]
    pub(crate) photo: PathBuf,
    /// Which models look.
    #[arg(long)]
    pub(crate) route: RouteArgument,
    /// The picture to write, a new file. It shows the photo.
    #[arg(long, value_name = "FILE.png")]
    pub(crate) out: PathBuf,
    /// Also cover the image piece by piece, and tint red what the first class depends on: about 100 looks.
    #[arg(long)]
    pub(crate) saliency: bool,
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EvalArguments {
    /// A folder with model packs. Without it: those of the configuration (models.directory).
    #[arg(long, value_name = "DIR")]
    pub(crate) models: Option<PathBuf>,
    /// The collection: a folder with photos and a table of what they show. See docs/evaluation.md for the columns that are known.
    #[arg(long, value_name = "DIR")]
    pub(crate) dataset: PathBuf,
    /// The table, where it is not the only .csv in the collection's folder.
    #[arg(long, value_name = "FILE.csv")]
    pub(crate) table: Option<PathBuf>,
    /// Which models, where there are packs for both routes.
    #[arg(long)]
    pub(crate) route: Option<RouteArgument>,
    /// What a condition of the table is called in the pack, as FROM=TO in the form `basal-cell-carcinoma`. May be given again.
    #[arg(long, value_name = "FROM=TO", value_parser = renaming)]
    pub(crate) label: Vec<(String, String)>,
    /// Where results are kept as they come, so that an evaluation that was ended goes on. Without it: in the collection's folder.
    #[arg(long, value_name = "FILE.jsonl")]
    pub(crate) results: Option<PathBuf>,
    /// The same seed gives the same intervals.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write a report with plots into this file.
    #[arg(long, value_name = "FILE.html")]
    pub(crate) report: Option<PathBuf>,
}

/// FROM=TO, both in the form of labels.
fn renaming(text: &str) -> Result<(String, String), String> {
    let (from, to) = text
        .split_once('=')
        .filter(|(from, to)| !from.is_empty() && !to.is_empty())
        .ok_or("a renaming is FROM=TO")?;
    Ok((
        skin_assist_evaluation::dataset::label(from, &BTreeMap::new()),
        to.to_owned(),
    ))
}

#[derive(Debug, Args)]
pub(crate) struct ServeModelsArguments {
    /// A folder with model packs. Without it: those of the configuration (models.directory).
    #[arg(long, value_name = "DIR")]
    pub(crate) models: Option<PathBuf>,
    /// Where to listen; port 0 lets the system choose. There is no login: other machines reach only another address than this
    /// machine's own, and then whoever reaches it may have photos looked at.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Photos held at a time, in work or waiting; who comes when all are taken is told to come again. Without it: four for
    /// each worker.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) slots: Option<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct ProbeArguments {
    /// The practice to ask with.
    #[arg(long, value_name = "ID")]
    pub(crate) firm: String,
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the profile with what differs put right into this new file.
    #[arg(long, value_name = "FILE")]
    pub(crate) profile_out: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FirmCommand {
    /// Connects a practice. It starts in silent mode, with no category chosen, from now on.
    Add {
        /// Our name for it.
        id: String,
        /// Its segment in the EHR's URLs.
        #[arg(long)]
        url_prefix: String,
        /// Its proof.
        #[command(flatten)]
        credential: CredentialArguments,
        /// Which of the configured API keys its calls carry (ehr.further_api_key_files); without it the first one.
        #[arg(long, value_name = "NAME")]
        api_key: Option<String>,
        /// Also take photos that were filed in the last days or hours (2d, 36h). Shows what that costs, and connects with --yes.
        #[arg(long, value_name = "TIME")]
        backfill: Option<Backfill>,
        /// Connect with the backfill.
        #[arg(long, requires = "backfill")]
        yes: bool,
        /// Then ask its EHR what it really does, as `probe` does.
        #[arg(long, conflicts_with = "json")]
        probe: bool,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Lists the practices.
    List(JsonFlag),
    /// Stops serving a practice; nothing is forgotten.
    Pause {
        /// Which.
        id: String,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Serves it again.
    Resume {
        /// Which.
        id: String,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Removes a practice and everything that is stored for it. What backups hold of it stays readable.
    Remove {
        /// Which. With --shred, one that was removed before, too.
        id: String,
        /// Also destroy its key: nobody can read what backups hold of it any more. This cannot be taken back.
        #[arg(long)]
        shred: bool,
        /// Really.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Replaces the OAuth2 credential, for example after a refusal.
    Credential {
        /// Which.
        id: String,
        /// Its proof.
        #[command(flatten)]
        credential: CredentialArguments,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Changes what happens to results: `silent` keeps them back, `draft` writes them into the chart; `off` has nothing run at all.
    Mode {
        /// Which.
        id: String,
        /// The new mode.
        mode: ModeArgument,
        /// For `draft`: the intended-use document that permits it. Its SHA-256 is recorded.
        #[arg(long, value_name = "FILE", required_if_eq("mode", "draft"))]
        intended_use: Option<PathBuf>,
        /// For `draft`: who records it.
        #[arg(long, value_name = "NAME", required_if_eq("mode", "draft"))]
        recorded_by: Option<String>,
        #[command(flatten)]
        json: JsonFlag,
    },
}

/// A mode, on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ModeArgument {
    /// Everything runs, nothing is written.
    Silent,
    /// Drafts are written back.
    Draft,
    /// Nothing runs: nothing is read, judged or written.
    Off,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CategoriesCommand {
    /// Lists the practice's categories from its EHR, with what is done with each.
    List {
        /// The practice.
        firm: String,
        /// Print one JSON document instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Says what is done with categories: CODE=solitary, CODE=widespread or CODE=ignored. Others stay as they are.
    Set {
        /// The practice.
        firm: String,
        /// CODE=USE
        #[arg(required = true, value_name = "CODE=USE")]
        uses: Vec<String>,
        /// Take codes that the EHR does not list, or while it cannot be asked.
        #[arg(long)]
        unchecked: bool,
        #[command(flatten)]
        json: JsonFlag,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// Lists what was given up, with reason and hint.
    List(JsonFlag),
    /// Shows one.
    Show {
        /// Its number; see the list.
        id: i64,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Puts it back where it failed. Of many, ten are due at once and the others one after the other, so that photos of today
    /// are not kept waiting.
    Replay(ReplayArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArguments {
    /// Its number; see the list.
    #[arg(required_unless_present = "all")]
    pub(crate) id: Option<i64>,
    /// All of them, those first that were given up first.
    #[arg(long, conflicts_with = "id")]
    pub(crate) all: bool,
    /// Of all, only so many.
    #[arg(long, requires = "all", value_name = "NUMBER")]
    pub(crate) limit: Option<usize>,
    /// Seconds between two of them; left out, as many as take a tenth of the EHR's calls.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) every: Option<u64>,
    /// Change nothing: say what would be put back, and when it would be due.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UncertainCommand {
    /// Lists drafts that may or may not be in a chart.
    List(JsonFlag),
    /// Says what you found in the chart.
    Resolve {
        /// The practice.
        firm: String,
        /// The assessment; see the list.
        assessment: String,
        /// What you found.
        #[command(flatten)]
        found: Found,
        #[command(flatten)]
        json: JsonFlag,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReviewCommand {
    /// Lists results that are kept back.
    List {
        /// The practice.
        firm: String,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Shows what one says. That it was read, and why, is noted in the audit trail.
    Show {
        /// The practice.
        firm: String,
        /// The assessment, or the reference code; see the list.
        assessment: String,
        #[command(flatten)]
        why: WhyArguments,
        #[command(flatten)]
        json: JsonFlag,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Checks every chain, entry by entry. Exit code 1 and the entries by number when one was touched.
    Verify {
        /// What `audit head` printed earlier, kept where nobody reaches it who can write the state: only by it a missing end is
        /// found. May be given more than once.
        #[arg(long, value_name = "FILE")]
        anchor: Vec<PathBuf>,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Prints where each chain ends, one JSON document a line: an anchor, to be kept elsewhere.
    Head,
    /// Prints the entries, one JSON document a line. That they were exported is noted in the trail.
    Export {
        /// From this time on, such as 2026-01-31T00:00:00Z.
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// One practice's chain alone, also of one that was removed.
        #[arg(long, value_name = "ID")]
        firm: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum RetentionCommand {
    /// Shows the limits and what there is.
    Show(JsonFlag),
    /// Removes what is past its limit now; `run` does so once a day.
    Apply(JsonFlag),
}

#[derive(Debug, Args)]
pub(crate) struct SilentReportArguments {
    /// The practice.
    pub(crate) firm: String,
    /// Coded diagnoses of visits: lines of `encounter,system,code` and perhaps `,group`; docs/silent-trial.md has the form.
    #[arg(long, value_name = "FILE.csv")]
    pub(crate) diagnoses: PathBuf,
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RetractionsCommand {
    /// Lists drafts that stand in a chart, or may, although their photo was entered in error or replaced.
    List(JsonFlag),
    /// Says that the practice knows: it is listed no more.
    Acknowledge {
        /// The practice.
        firm: String,
        /// The assessment; see the list.
        assessment: String,
        #[command(flatten)]
        json: JsonFlag,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SubscriptionCommand {
    /// Makes a subscription. Prints, this once, what its notifications are signed with, and the token to ask for missed ones with.
    Add(AddSubscriptionArguments),
    /// Lists subscriptions and how each stands.
    List(JsonFlag),
    /// Shows one.
    Show {
        /// The subscription; see the list.
        id: String,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Sends nothing until it is resumed.
    Pause {
        /// The subscription.
        id: String,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Begins anew with a handshake, after a pause or when it is in error.
    Resume {
        /// The subscription.
        id: String,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Ends it.
    Remove {
        /// The subscription.
        id: String,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Lists notifications that were given up.
    DeadLetters(JsonFlag),
    /// Sends one that was given up again, before what waits.
    Replay {
        /// The subscription.
        id: String,
        /// The number of the notification.
        number: u64,
        #[command(flatten)]
        json: JsonFlag,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AddSubscriptionArguments {
    /// Where notifications are sent: https.
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: String,
    /// How they are written: fhir-r4-backport or cloudevents.
    #[arg(long)]
    pub(crate) format: SubscriptionFormat,
    /// Of this practice alone; may be given more than once.
    #[arg(long = "firm", value_name = "ID")]
    pub(crate) firms: Vec<String>,
    /// This kind of event alone: encounter-found, encounter-changed, photo-detected, photo-retracted, draft-delivered, draft-uncertain or given-up;
    /// may be given more than once.
    #[arg(long = "event", value_name = "KIND")]
    pub(crate) kinds: Vec<ChartEventKind>,
    /// Tell of a silence after so many seconds; 0 for never.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) heartbeat_seconds: u32,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Found {
    /// It is in the chart, under this name.
    #[arg(long, value_name = "REFERENCE")]
    pub(crate) delivered: Option<String>,
    /// It is not there: post it again.
    #[arg(long)]
    pub(crate) post_again: bool,
    /// It is not there, and shall not be.
    #[arg(long)]
    pub(crate) discard: bool,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Reads the configuration and everything it names, and says what is wrong with it.
    Check(JsonFlag),
    /// Prints the documented defaults: the beginning of a file of your own.
    Default,
}

#[derive(Debug, Args)]
pub(crate) struct BackupArguments {
    /// The file; it must not exist yet, and not be where the practices' keys are.
    pub(crate) file: PathBuf,
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArguments {
    /// The backup.
    pub(crate) file: PathBuf,
    /// Give up the state that is there.
    #[arg(long)]
    pub(crate) replace: bool,
    /// The file with the backup's key, if the state's key was changed since.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Writes a new random key into a new file that only you can read.
    Generate {
        /// The file; it must not exist yet.
        file: PathBuf,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Changes the state file's key: makes a new one, encrypts the state file with it, proves that it opens, and puts it into
    /// state.key_file. The old key is kept beside it, for backups. Nothing else may use the state file meanwhile.
    Rotate(JsonFlag),
    /// Writes a new private key for client assertions (private_key_jwt) into a new file that only you can read, and
    /// prints the public half to register with the EHR.
    Client {
        /// The file; it must not exist yet.
        file: PathBuf,
        /// What the key signs with.
        #[arg(long, value_name = "NAME", default_value = "ES384")]
        algorithm: AlgorithmArgument,
    },
    /// Prints the public half of a private key, to register with the EHR.
    Public {
        /// The private key's file.
        file: PathBuf,
        /// The name (kid) that it is registered under; a digest of the key itself where none is given.
        #[arg(long, value_name = "ID")]
        key_id: Option<String>,
    },
}

/// A signing algorithm, on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AlgorithmArgument {
    /// ECDSA on P-384.
    #[value(name = "ES384")]
    Es384,
    /// RSA; OpenSSL makes the key.
    #[value(name = "RS384")]
    Rs384,
}
