//! What waits, what was given up, what nobody knows, what was kept back; and putting it right.

use axum::body::Bytes;
use http::StatusCode;
use maud::{Markup, html};
use skin_assist_core::{
    domain::{DeadLetter, DeadLetterSubject, Journey, JourneyState},
    ports::{Queued, RetractedDraft, UncertainResolution},
    time::Timestamp,
};

use super::{Answer, Place, Trouble, View, lasting, photo_path, photos, practice_path, to};
use crate::{
    commands::{dead_letters, retractions, uncertain},
    console::access::Role,
};

/// Items of one list.
const LISTED: usize = 200;
/// Photos among which results that are kept back are looked for, the latest.
const MOST_PHOTOS: usize = 20 * LISTED;

/// The page.
pub(in crate::console) async fn page(view: View) -> Answer {
    let state = &*view.console.state;
    let queued = state.queued(LISTED).await?;
    let letters = state.dead_letters().await?;
    let entries = uncertain::entries(state).await?;
    let retracted = state.retracted_drafts().await?;
    let latest = state.journeys(None, Timestamp::ALWAYS, MOST_PHOTOS).await?;
    let are_all = latest.len() < MOST_PHOTOS;
    let withheld: Vec<Journey> = latest
        .into_iter()
        .filter(|journey| journey.state == JourneyState::Withheld)
        .take(LISTED)
        .collect();
    let content = html! {
        h2 id="retractions" { "Drafts whose photo was retracted (" (retracted.len()) ")" }
        (retractions_of(&view, &retracted))
        h2 id="uncertain" { "Uncertain drafts (" (entries.len()) ")" }
        (uncertain_drafts(&view, &entries))
        h2 id="dead-letters" { "Given up (" (letters.len()) ")" }
        (letters_of(&view, &letters))
        h2 id="queue" { "Under way (" (queued.len()) @if queued.len() == LISTED { " and more" } ")" }
        (under_way(&view, &queued))
        h2 id="review" { "Review inbox (" (withheld.len()) @if withheld.len() == LISTED { " and more" } ")" }
        p.faint { "Results that are kept back: in silent mode, or because the EHR holds no draft." }
        @if !are_all { p.word.warn { "Of the latest " (MOST_PHOTOS) " photos. " code { "skin-assist review list" } " lists all of a practice." } }
        (photos::table(&view, &withheld))
    };
    Ok(view.page(Place::Queues, "Queues", &content))
}

fn subject(firm: &impl std::fmt::Display, subject: &DeadLetterSubject) -> Markup {
    html! {
        @match subject {
            DeadLetterSubject::Document(document) => { "photo " a href=(photo_path(firm, document)) { (document) } },
            DeadLetterSubject::Result(assessment) => { "result " code { (assessment) } },
        }
    }
}

fn under_way(view: &View, queued: &[Queued]) -> Markup {
    html! {
        @if queued.is_empty() { p { "Nothing waits." } } @else {
            div.wide tabindex="0" role="region" aria-label="Under way" { table {
                thead { tr {
                    th scope="col" { "What" } th scope="col" { "Practice" } th scope="col" { "Step" } th scope="col" { "Due, or its lease ends" }
                    th.number scope="col" { "Attempts" } th.number scope="col" { "Fence" }
                } }
                tbody { @for item in queued {
                    tr {
                        td { (subject(&item.firm, &item.subject)) } td { a href=(practice_path(&item.firm)) { (item.firm) } } td { (item.stage) }
                        td { @if item.available_at > view.now { (view.ago(item.available_at)) } @else { "due for " (lasting(view.now.since(item.available_at))) } }
                        td.number { (item.attempts) } td.number { (item.fence) }
                    }
                } }
            } }
        }
    }
}

fn letters_of(view: &View, letters: &[DeadLetter]) -> Markup {
    html! {
        @if letters.is_empty() { p { "Nothing was given up." } } @else {
            p { (view.button(Role::Operator, "/dead-letters/replay", &[("letter", "all"), ("dry", "yes")], "Show what putting all back would do")) }
            div.wide tabindex="0" role="region" aria-label="Given up" { table {
                thead { tr {
                    th scope="col" { "No." } th scope="col" { "What" } th scope="col" { "Practice" } th scope="col" { "Step" } th scope="col" { "Why" } th scope="col" { "When" } th scope="col" { "Repair" }
                } }
                tbody { @for letter in letters.iter().take(LISTED) {
                    tr {
                        td.number { (letter.id) } td { (subject(&letter.firm, &letter.subject)) } td { a href=(practice_path(&letter.firm)) { (letter.firm) } }
                        td { (letter.stage) } td.text { strong { (letter.reason) } ", after " (letter.attempts) " attempts. " (letter.reason.hint()) } td { (view.ago(letter.at)) }
                        td { (view.button(Role::Operator, "/dead-letters/replay", &[("letter", &letter.id.to_string())], "Put back")) }
                    }
                } }
            } }
        }
    }
}

fn uncertain_drafts(view: &View, entries: &[uncertain::Entry]) -> Markup {
    html! {
        @if entries.is_empty() { p { "No draft is uncertain." } }
        @for entry in entries {
            section aria-label=(format!("Uncertain draft {}", entry.reference_code)) {
                p {
                    strong { (entry.reference_code) } " of " a href=(practice_path(&entry.firm)) { (entry.firm) } ", visit " code { (entry.encounter) }
                    ", since " (view.ago(entry.since)) ": " (entry.reason) ". " (entry.reason.hint())
                }
                @if view.person.may(Role::Operator) {
                    p { "Look into the chart for the reference code, then say what you found:" }
                    form.line method="post" action="/uncertain/resolve" {
                        (view.form_secret())
                        input type="hidden" name="firm" value=(entry.firm); input type="hidden" name="assessment" value=(entry.assessment);
                        label { "It is there, as " input name="reference" placeholder="Composition/123" required; }
                        button name="found" value="delivered" { "Delivered" }
                    }
                    " "
                    (view.button(Role::Operator, "/uncertain/resolve", &[("firm", entry.firm.as_str()), ("assessment", entry.assessment.as_str()), ("found", "post-again")], "It is not: post it again"))
                    " "
                    (view.button(Role::Operator, "/uncertain/resolve", &[("firm", entry.firm.as_str()), ("assessment", entry.assessment.as_str()), ("found", "discard")], "It is not, and shall not be"))
                }
            }
        }
    }
}

fn retractions_of(view: &View, drafts: &[RetractedDraft]) -> Markup {
    html! {
        @if drafts.is_empty() { p { "No draft stands whose photo was retracted." } } @else {
            div.wide tabindex="0" role="region" aria-label="Retracted" { table {
                thead { tr { th scope="col" { "Reference code" } th scope="col" { "Practice" } th scope="col" { "Draft" } th scope="col" { "Photo" } th scope="col" { "Noticed" } th scope="col" { "Done" } } }
                tbody { @for draft in drafts {
                    tr {
                        td { (draft.reference_code) } td { a href=(practice_path(&draft.firm)) { (draft.firm) } }
                        td { @match &draft.reference { Some(reference) => code { (reference) }, None => "uncertain" } }
                        td { a href=(photo_path(&draft.firm, &draft.document)) { (draft.document) } } td { (view.ago(draft.noticed_at)) }
                        td { (view.button(Role::Operator, "/retractions/acknowledge", &[("firm", draft.firm.as_str()), ("assessment", draft.assessment.as_str())], "The practice knows")) }
                    }
                } }
            } }
        }
    }
}

/// Puts one letter back, or all of them, spread over time; or shows what that would do.
pub(in crate::console) async fn replay(view: View, body: Bytes) -> Answer {
    let fields = view.fields(Role::Operator, body)?;
    let letters = view.console.state.dead_letters().await?;
    let chosen: Vec<&DeadLetter> = match fields.text("letter") {
        "all" => letters.iter().collect(),
        number => letters
            .iter()
            .filter(|letter| letter.id.to_string() == number)
            .collect(),
    };
    if chosen.is_empty() {
        return Err(Trouble::not_found("dead letter").hint("it may have been put back meanwhile"));
    }
    let every = dead_letters::spacing(&view.console.config, chosen.len())?;
    let due: Vec<_> = chosen
        .into_iter()
        .zip(dead_letters::due_times(view.now, every))
        .collect();
    if fields.text("dry") == "yes" {
        let content = html! {
            p { (due.len()) " items would be put back:" }
            ul { @for (letter, due_at) in &due { li { (dead_letters::subject(letter)) " of " (letter.firm) " to " (letter.stage) ", due " (view.ago(*due_at)) } } }
            (view.button(Role::Operator, "/dead-letters/replay", &[("letter", "all")], "Put them back"))
            p { a href="/queues#dead-letters" { "Leave them" } }
        };
        return Ok(view.answer_page(Place::Queues, "What would be put back", &content));
    }
    for (letter, due_at) in due {
        dead_letters::put_one_back(&*view.console.state, &view.person.operator(), letter, due_at).await?;
    }
    view.console.changed();
    Ok(to("/queues#dead-letters"))
}

/// Says what somebody found in the chart.
pub(in crate::console) async fn resolve(view: View, body: Bytes) -> Answer {
    let fields = view.fields(Role::Operator, body)?;
    let resolution = match (fields.text("found"), fields.text("reference")) {
        ("delivered", reference) if !reference.is_empty() => {
            UncertainResolution::Delivered(uncertain::found_in_the_chart(reference.to_owned()))
        }
        ("post-again", _) => UncertainResolution::PostAgain,
        ("discard", _) => UncertainResolution::Discard,
        _ => {
            let said = "say what you found: the draft's name in the chart, or that it is not there";
            return Err(Trouble::new(StatusCode::UNPROCESSABLE_ENTITY, said));
        }
    };
    let (firm, assessment) = (fields.text("firm"), fields.text("assessment"));
    uncertain::resolve(
        &*view.console.state,
        &view.person.operator(),
        firm,
        assessment,
        &resolution,
    )
    .await?;
    view.console.changed();
    Ok(to("/queues#uncertain"))
}

/// Takes note of a retraction.
pub(in crate::console) async fn acknowledge(view: View, body: Bytes) -> Answer {
    let fields = view.fields(Role::Operator, body)?;
    let (firm, assessment) = (fields.text("firm"), fields.text("assessment"));
    retractions::acknowledge(&*view.console.state, &view.person.operator(), firm, assessment).await?;
    view.console.changed();
    Ok(to("/queues#retractions"))
}
