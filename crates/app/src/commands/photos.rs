//! `skin-assist photos`, `picture` and `queue`: photos and their ways, what the models saw on one, and what waits or is worked on.

use std::{process::ExitCode, sync::Arc};

use serde_json::json;
use skin_assist_core::{
    domain::{AssistResult, DeadLetterSubject, DocumentId, Findings, Firm, Journey, PhotoDigest},
    ports::{AuditAction, StateStore},
    stages::ReadPhoto,
    time::{Clock as _, Timestamp},
};
use skin_assist_models::explain;

use super::{Operator, chart_access::ChartAccess, known_firm, print_json, state_failed, table::table};
use crate::{
    cli::{PhotosArguments, PictureArguments, QueueArguments, WhyArguments},
    clock::SystemClock,
    config::Config,
    failure::{Failure, Hinted as _},
    wiring,
};

/// Why somebody may read what a draft says or the models saw.
pub(crate) const REASONS: [(&str, &str); 4] = [
    ("clinical-question", "a clinician asks about this draft"),
    ("quality-review", "review of the quality of drafts"),
    ("complaint", "a complaint or an incident"),
    ("fault", "looking for a fault"),
];

/// Why somebody reads a patient's data: one of [`REASONS`], and perhaps the number of a ticket.
#[derive(Debug)]
pub(crate) struct Because {
    reason: &'static str,
    /// The reason in words.
    pub(crate) said: &'static str,
    ticket: String,
}

impl Because {
    /// A reason as it was given.
    pub(crate) fn of(reason: &str, ticket: &str) -> Result<Self, Failure> {
        let known = REASONS.iter().find(|(known, _)| *known == reason);
        let (reason, said) = known.ok_or_else(|| {
            let known = REASONS.map(|(known, _)| known).join(", ");
            Failure::new("say why you read it").with_hint(format!("reasons are {known}"))
        })?;
        let is_ticket = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'-';
        if ticket.len() > 32 || !ticket.bytes().all(is_ticket) {
            return Err(Failure::new(
                "a ticket has letters, digits and - alone, at most 32 of them",
            ));
        }
        let ticket = ticket.to_owned();
        Ok(Self { reason, said, ticket })
    }

    /// The reason that a command was given.
    pub(crate) fn given(why: &WhyArguments) -> Result<Self, Failure> {
        Self::of(&why.because, why.ticket.as_deref().unwrap_or_default())
    }

    /// What is read, as the audit trail has it.
    pub(crate) fn subject(&self, what: &str) -> String {
        format!("{what} because {} {}", self.reason, self.ticket)
            .trim_end()
            .to_owned()
    }
}

/// What the models saw on one photo of a result, and which bytes they looked at.
pub(crate) fn seen_on<'a>(result: &'a AssistResult, document: &DocumentId) -> (Option<&'a PhotoDigest>, &'a Findings) {
    let mut of_photos = result.photo_findings.expose().iter();
    let of_photo = of_photos.find(|one| one.document == *document);
    let photo = result.photos.iter().find(|photo| photo.document == *document);
    (
        photo.map(|photo| &photo.digest),
        of_photo.map_or_else(|| result.findings.expose(), |one| &one.findings),
    )
}

/// The photo with what the models saw drawn on it, a PNG. It is read anew from the EHR, since photos are not kept, and is the one that the
/// models saw to the last bit, or is refused. That it is read is recorded before; nothing of it is kept.
pub(crate) async fn drawn(
    config: &Config,
    state: &Arc<dyn StateStore>,
    firm: &Firm,
    document: &DocumentId,
    result: &AssistResult,
    operator: &Operator,
    because: &Because,
) -> Result<Vec<u8>, Failure> {
    let (digest, findings) = seen_on(result, document);
    let access = ChartAccess::open(config, state, firm).await?;
    let read = ReadPhoto {
        token: &access.token,
        source: &*access.ehr,
        quota: access.quota(),
    };
    let entry = operator.entry(&firm.id, AuditAction::PhotoRead, because.subject(document.as_str()));
    state.record(&entry).await.map_err(state_failed)?;
    let failed = |error| ChartAccess::failure(format!("the photo {document} cannot be read from the EHR"), error);
    let photo = read.run(firm, document).await.map_err(failed)?;
    if digest != Some(&PhotoDigest::of(&photo)) {
        return Err(Failure::new("the EHR gives another photo now than the models saw")
            .with_hint("it was replaced or re-encoded in the chart since; what was seen cannot be drawn on it"));
    }
    let (limits, findings) = (wiring::photo_limits(config), findings.clone());
    let drawing = tokio::task::spawn_blocking(move || explain::draw(photo.expose(), limits, &findings));
    let drawn = drawing.await.failed(|| "the picture was not finished".to_owned())?;
    drawn.failed(|| format!("what was seen on the photo {document} cannot be drawn"))
}

/// Writes the picture of a photo with what the models saw on it.
pub(crate) async fn picture(config: &Config, arguments: PictureArguments) -> Result<ExitCode, Failure> {
    let because = Because::given(&arguments.of.why)?;
    let state = wiring::state(config).await?;
    let firm = known_firm(&*state, &arguments.of.firm).await?;
    let document = DocumentId::new(arguments.of.photo);
    let unknown = || Failure::new(format!("there is no result of a photo `{document}` of `{}`", firm.id));
    let unknown = || unknown().with_hint("`skin-assist photos` lists photos and how far each is");
    let journey = state.journey(&firm.id, &document).await.map_err(state_failed)?;
    let assessment = journey.ok_or_else(unknown)?.assessment;
    let result = state.result(&firm.id, &assessment).await.map_err(state_failed)?;
    let result = result.ok_or_else(unknown)?;
    let operator = Operator::of_the_command();
    let drawn = drawn(config, &state, &firm, &document, &result, &operator, &because).await?;
    super::write_picture(&arguments.out, &drawn)?;
    if arguments.json {
        print_json(&json!({ "photo": document, "assessment": assessment, "picture": arguments.out }))?;
    } else {
        say!(
            "{} shows the patient's photo: keep it where photos may be kept.",
            arguments.out.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists the latest photos: ids, times and states. What the models saw is a patient's, and not in it.
pub(crate) async fn photos(config: &Config, arguments: PhotosArguments) -> Result<ExitCode, Failure> {
    let state = wiring::state(config).await?;
    let mut journeys = latest(&*state, arguments.firm.as_deref(), arguments.limit).await?;
    for journey in &mut journeys {
        journey.top_finding = None;
    }
    if arguments.json {
        print_json(&journeys)?;
        return Ok(ExitCode::SUCCESS);
    }
    let seconds = |from: Option<Timestamp>, to: Option<Timestamp>| match (from, to) {
        (Some(from), Some(to)) => format!("{:.1} s", to.since(from).as_secs_f64()),
        _ => "-".to_owned(),
    };
    let rows: Vec<_> = journeys
        .iter()
        .map(|journey| {
            [
                journey.document.to_string(),
                journey.firm.to_string(),
                journey.route.to_string(),
                journey.state.as_str().to_owned(),
                journey.detected_at.to_string(),
                seconds(journey.attached_at, Some(journey.detected_at)),
                seconds(Some(journey.detected_at), journey.delivered_at),
            ]
        })
        .collect();
    let heading = [
        "PHOTO",
        "PRACTICE",
        "ROUTE",
        "STATE",
        "FOUND",
        "FILED TO FOUND",
        "FOUND TO DRAFT",
    ];
    super::print(&table(heading, &rows));
    Ok(ExitCode::SUCCESS)
}

async fn latest(state: &dyn StateStore, firm: Option<&str>, limit: usize) -> Result<Vec<Journey>, Failure> {
    let firm = match firm {
        Some(firm) => Some(known_firm(state, firm).await?.id),
        None => None,
    };
    state
        .journeys(firm.as_ref(), Timestamp::ALWAYS, limit)
        .await
        .map_err(state_failed)
}

/// Lists what waits for a step of the pipeline, or is worked on.
pub(crate) async fn queue(config: &Config, arguments: QueueArguments) -> Result<ExitCode, Failure> {
    let state = wiring::state(config).await?;
    let queued = state.queued(arguments.limit).await.map_err(state_failed)?;
    if arguments.json {
        print_json(&queued)?;
        return Ok(ExitCode::SUCCESS);
    }
    if queued.is_empty() {
        say!("Nothing waits.");
        return Ok(ExitCode::SUCCESS);
    }
    let now = SystemClock.now();
    let rows: Vec<_> = queued
        .iter()
        .map(|item| {
            [
                match &item.subject {
                    DeadLetterSubject::Document(document) => format!("photo {document}"),
                    DeadLetterSubject::Result(assessment) => format!("result {assessment}"),
                },
                item.firm.to_string(),
                item.stage.to_string(),
                if item.available_at > now {
                    format!("in {:.0} s", item.available_at.since(now).as_secs_f64())
                } else {
                    format!("due for {:.0} s", now.since(item.available_at).as_secs_f64())
                },
                item.attempts.to_string(),
                item.fence.to_string(),
            ]
        })
        .collect();
    let heading = [
        "WHAT",
        "PRACTICE",
        "STEP",
        "DUE, OR ITS LEASE ENDS",
        "ATTEMPTS",
        "FENCE",
    ];
    super::print(&table(heading, &rows));
    Ok(ExitCode::SUCCESS)
}
