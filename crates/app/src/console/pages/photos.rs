//! Photos and their ways. What the models saw and what the draft says is shown to who gives a reason, which is recorded.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{Path, Query},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use maud::{Markup, html};
use serde::Deserialize;
use skin_assist_core::{
    domain::{AssistResult, Delivery, DocumentId, Findings, FirmId, Journey, JourneyState, Route},
    ports::AuditAction,
    time::Timestamp,
};

use super::{Answer, Place, Trouble, View, figure, lasting, photo_path, practice_path};
use crate::{
    commands::{
        Operator, known_firm,
        photos::{self, Because, seen_on},
    },
    console::{access::Role, pictures},
    failure::Failure,
};

/// Photos that one page lists.
const LISTED: usize = 200;

/// How long a page waits for a photo: the quota may be used up, and the EHR may hang.
const PHOTO_PATIENCE: Duration = Duration::from_secs(30);

/// What is asked for.
#[derive(Debug, Deserialize)]
pub(in crate::console) struct Wanted {
    practice: Option<String>,
    state: Option<String>,
}

/// The look of a state's word.
const fn class(state: JourneyState) -> &'static str {
    match state {
        JourneyState::Download | JourneyState::Infer | JourneyState::WriteBack | JourneyState::Withheld => "word",
        JourneyState::Delivered => "word good",
        JourneyState::Uncertain => "word warn",
        JourneyState::Retracted | JourneyState::Discarded => "word faint",
        JourneyState::DeadLetter => "word bad",
    }
}

/// The latest photos.
pub(in crate::console) async fn list(view: View, Query(wanted): Query<Wanted>) -> Answer {
    let practice = wanted.practice.as_deref().filter(|practice| !practice.is_empty());
    let state = wanted.state.as_deref().filter(|state| !state.is_empty());
    let firm = practice.map(FirmId::new);
    let firms = view.console.state.firms().await?;
    // Of one state, as many as may be among the latest.
    let read = if state.is_some() { 20 * LISTED } else { LISTED };
    let mut journeys = view
        .console
        .state
        .journeys(firm.as_ref(), Timestamp::ALWAYS, read)
        .await?;
    if let Some(state) = state {
        journeys.retain(|journey| journey.state.as_str() == state);
    }
    journeys.truncate(LISTED);
    let content = html! {
        form.line method="get" action="/photos" role="search" {
            label { "Practice " select name="practice" {
                option value="" { "all" }
                @for known in &firms { option value=(known.id) selected[practice == Some(known.id.as_str())] { (known.id) } }
            } }
            label { "State " select name="state" {
                option value="" { "all" }
                @for known in JourneyState::ALL { option value=(known.as_str()) selected[state == Some(known.as_str())] { (known.as_str()) } }
            } }
            button { "Show" }
        }
        (table(&view, &journeys))
        @if journeys.len() == LISTED { p.faint { "The latest " (LISTED) " are listed." } }
    };
    Ok(view.page(Place::Photos, "Photos", &content))
}

/// Photos with the times of their ways.
pub(super) fn table(view: &View, journeys: &[Journey]) -> Markup {
    let after = |from: Option<Timestamp>, to: Option<Timestamp>| match (from, to) {
        (Some(from), Some(to)) => lasting(to.since(from)),
        _ => String::from("-"),
    };
    html! {
        @if journeys.is_empty() { p { "No photo." } } @else {
            div.wide tabindex="0" role="region" aria-label="Photos" { table {
                thead { tr {
                    th scope="col" { "Photo" } th scope="col" { "Practice" } th scope="col" { "Route" } th scope="col" { "State" } th scope="col" { "Found" }
                    th.number scope="col" { "Filed to found" } th.number scope="col" { "Found to draft" }
                } }
                tbody { @for journey in journeys {
                    @let (state, class) = (journey.state.as_str(), class(journey.state));
                    tr {
                        th scope="row" { a href=(photo_path(&journey.firm, &journey.document)) { (journey.document) } }
                        td { a href=(practice_path(&journey.firm)) { (journey.firm) } }
                        td { (journey.route) }
                        td { span class=(class) { (state) } }
                        td { (view.ago(journey.detected_at)) }
                        td.number { (after(journey.attached_at, Some(journey.detected_at))) }
                        td.number { (after(Some(journey.detected_at), journey.delivered_at)) }
                    }
                } }
            } }
        }
    }
}

async fn journey(view: &View, firm: &FirmId, document: &DocumentId) -> Result<Journey, Trouble> {
    let found = view.console.state.journey(firm, document).await?;
    found.ok_or_else(|| Trouble::not_found("photo"))
}

/// One photo: its way.
pub(in crate::console) async fn page(view: View, Path((firm, document)): Path<(String, String)>) -> Answer {
    let (firm, document) = (FirmId::new(firm), DocumentId::new(document));
    let journey = journey(&view, &firm, &document).await?;
    let result = view.console.state.result(&firm, &journey.assessment).await?;
    let content = html! {
        (way(&journey, result.as_ref()))
        @if let Some(result) = &result {
            (made_with(result))
            h2 { "What the models saw, and the draft" }
            @if view.person.may(Role::Operator) {
                p { "These are a patient's data. Say why you read them; it is recorded. Photos are not kept: with the photo, it is read anew from the EHR, for a call or two." }
                form.line method="post" action=(format!("{}/read", photo_path(&firm, &document))) {
                    (view.form_secret())
                    (super::why())
                    button { "Read" }
                    button name="photo" value="shown" { "Read, with the photo" }
                }
            } @else { p { "Reading them needs the role operator. " a href="/sign-in" { "Sign in" } "." } }
        }
    };
    Ok(view.page(Place::Photos, &format!("Photo {document}"), &content))
}

/// The way of a photo, step by step.
fn way(journey: &Journey, result: Option<&AssistResult>) -> Markup {
    let (state, class) = (journey.state.as_str(), class(journey.state));
    let steps = [
        ("Filed, by the EHR's clock", journey.attached_at),
        ("Found", Some(journey.detected_at)),
        ("Downloaded", journey.downloaded_at),
        ("Assessed", journey.assessed_at),
        ("Draft in the chart", journey.delivered_at),
    ];
    let begin = journey.attached_at.unwrap_or(journey.detected_at);
    html! {
        p { a href=(practice_path(&journey.firm)) { (journey.firm) } ", " (journey.route) ", " span class=(class) { (state) }
            @if journey.state == JourneyState::DeadLetter { " - " a href="/queues#dead-letters" { "put it back" } }
            @if journey.state == JourneyState::Uncertain { " - " a href="/queues#uncertain" { "resolve it" } }
        }
        ol.way {
            @for (what, at) in steps {
                @match at {
                    Some(at) => li { strong { (what) } " " time datetime=(at) { (at) } " - " (lasting(at.since(begin))) " after it was filed" },
                    None => li.todo { (what) ": not yet" },
                }
            }
        }
        p { "Assessment " code { (journey.assessment) }
            @if let Some(reference) = &journey.reference { ", draft " code { (reference) } }
            @if let Some(result) = result { ", reference code " code { (result.assessment.reference_code()) } }
        }
        @if let Some(result) = result {
            @match &result.delivery {
                Delivery::Withheld { reason, .. } | Delivery::Uncertain { reason, .. } => p { (reason) ": " (reason.hint()) },
                Delivery::Discarded { .. } => p { "An operator found that the draft is not in the chart and shall not be." },
                _ => {}
            }
            @if result.photos.len() > 1 {
                p { "Judged together with "
                    @for photo in result.photos.iter().filter(|photo| photo.document != journey.document) {
                        a href=(photo_path(&journey.firm, &photo.document)) { (photo.document) } " "
                    }
                }
            }
        }
    }
}

fn made_with(result: &AssistResult) -> Markup {
    let versions = &result.versions;
    html! {
        h2 { "Made with" }
        dl.figures {
            @for model in &versions.models { (figure("Model pack", &model.pack, &model.version)) }
            (figure("Synthesis", &versions.synthesis, ""))
            (figure("Skin Assist", &versions.pipeline, ""))
            @if let Some(language) = &versions.language {
                (figure("Language model", &language.model, &format!("{} calls", language.calls)))
                (figure("Prompt", &language.prompt, ""))
            }
        }
        @if let Some(language) = &versions.language {
            p { "SHA-256 of the prompt: " code { (language.prompt_sha256) }
                @if let Some(reason) = &language.fallback { ". Its answers were not used: " (reason) ". " (reason.hint()) } }
        }
    }
}

/// What the models saw and what the clinician reads, after it was recorded that somebody reads it and why.
pub(in crate::console) async fn read(
    view: View,
    Path((firm, document)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let fields = view.fields(Role::Operator, body)?;
    let because = Because::of(fields.text("reason"), fields.text("ticket"))?;
    let (firm, document) = (FirmId::new(firm), DocumentId::new(document));
    let journey = journey(&view, &firm, &document).await?;
    let result = view.console.state.result(&firm, &journey.assessment).await?;
    let result = result.ok_or_else(|| Trouble::not_found("result"))?;
    let operator = view.person.operator();
    let subject = because.subject(journey.assessment.as_str());
    let entry = operator.entry(&firm, AuditAction::ResultRead, subject);
    view.console.state.record(&entry).await?;
    let (_, findings) = seen_on(&result, &document);
    let drawn = if fields.text("photo").is_empty() {
        None
    } else {
        Some(drawn(&view, &firm, &document, &result, &operator, &because).await)
    };
    let note = result.note.expose();
    let content = html! {
        p { a href=(photo_path(&firm, &document)) { "Back to its way" } " - it is recorded that you read this: " (because.said) "." }
        h2 { "What the models saw" }
        (seen(findings, drawn))
        h2 { "The draft, as the clinician sees it" }
        article.draft {
            h3 { (note.title) }
            @for section in &note.sections {
                h4 { (section.heading) }
                @for paragraph in &section.paragraphs { p { (paragraph) } }
            }
        }
    };
    Ok(view.answer_page(Place::Photos, &format!("Photo {document}"), &content))
}

/// The photo with what the models saw on it. One is drawn at a time: each takes memory by its size.
async fn drawn(
    view: &View,
    firm: &FirmId,
    document: &DocumentId,
    result: &AssistResult,
    operator: &Operator,
    because: &Because,
) -> Result<Vec<u8>, Failure> {
    let (config, state) = (&view.console.config, &view.console.state);
    let firm = known_firm(&**state, firm.as_str()).await?;
    let drawn = async {
        let _place = view.console.drawing.lock().await;
        photos::drawn(config, state, &firm, document, result, operator, because).await
    };
    let in_time = tokio::time::timeout(PHOTO_PATIENCE, drawn).await;
    in_time.unwrap_or_else(|_| {
        let failure = Failure::new("the photo did not come in time");
        Err(failure.with_hint("the EHR is slow, or its calls are used up; try again"))
    })
}

fn seen(findings: &Findings, drawn: Option<Result<Vec<u8>, Failure>>) -> Markup {
    let percent = |probability: f32| format!("{:.1} %", f64::from(probability) * 100.0);
    let areas: Vec<_> = findings
        .regions
        .iter()
        .map(|region| {
            let class = region.classes.first();
            let said = class.map_or_else(
                || format!("score {:.2}", region.score),
                |class| format!("{}, {}", class.label.display, percent(class.probability)),
            );
            (region.area, said)
        })
        .collect();
    html! {
        @match drawn {
            Some(Ok(png)) => {
                img.photo src=(format!("data:image/png;base64,{}", STANDARD.encode(png))) alt="The photo, with what the models saw drawn on it";
                p.faint { "Read from the EHR just now, and the same to the last bit as the models saw. It is not kept." }
            }
            not_drawn => {
                @if let Some(Err(failure)) = not_drawn { div.banner.bad role="alert" { pre { (failure.report()) } } }
                @if findings.route == Route::Solitary {
                    (pictures::areas(findings.image.width, findings.image.height, &areas))
                    p.faint { "The photo itself is not kept." }
                }
            }
        }
        @if let Some(abstention) = findings.abstention { p.word.warn { "The models gave no finding: " (format!("{abstention:?}")) } }
        @for concern in &findings.concerns { p { "Speaks against relying on it: " (concern.display()) } }
        div.wide tabindex="0" role="region" aria-label="Classes" { table {
            thead { tr { th scope="col" { "Class" } th scope="col" { "SNOMED CT" } th.number scope="col" { "Probability" } } }
            tbody { @for class in &findings.ranked {
                tr { td { (class.label.display) @if class.label.must_not_miss { " " span.word.warn { "must not be missed" } } } td { (class.label.snomed_ct) } td.number { (percent(class.probability)) } }
            } }
        } }
    }
}
