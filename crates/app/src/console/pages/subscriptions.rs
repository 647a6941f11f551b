//! Who is told what happens: how far each subscriber is, what was given up; and putting it right.

use axum::body::Bytes;
use http::StatusCode;
use maud::{Markup, html};
use skin_assist_core::domain::{
    GivenUpNotification, Subscription, SubscriptionFormat, SubscriptionId, SubscriptionStatus,
};

use super::{Answer, Place, Trouble, View, lasting, to};
use crate::{
    commands::subscription::{Change, change as make, listed, replay as put_back},
    config::StoreName,
    console::{access::Role, subscribers::whereabouts},
};

/// Dead letters that the page lists.
const LISTED: usize = 200;

/// The page.
pub(in crate::console) async fn page(view: View) -> Answer {
    let state = &*view.console.state;
    let subscriptions = state.subscriptions().await?;
    let given_up = state.given_up_notifications().await?;
    let content = html! {
        @if subscriptions.is_empty() { (none(&view)) } @else {
            p.faint { "Each gets its events in the order of their numbers; what waits is kept for seven days." }
            (table(&view, &subscriptions))
            h2 id="dead-letters" { "Given up (" (given_up.len()) ")" }
            (letters(&view, &given_up))
        }
    };
    Ok(view.page(Place::Subscriptions, "Subscriptions", &content))
}

/// How to make the first.
fn none(view: &View) -> Markup {
    html! {
        p { "Nobody is told what happens. Other systems can be: by FHIR R4 Subscriptions Backport or as CloudEvents, signed, in order and at least once." }
        @if view.console.config.state.store == StoreName::Dynamodb {
            p.word.warn { "Not here: events are kept with the state in a file, not in DynamoDB." }
        } @else {
            p { "A subscription is made by a command, which prints its signing key and its token this once:" }
            pre { "skin-assist subscription add --endpoint https://subscriber.example/hook --format cloudevents" }
        }
    }
}

const fn look(status: SubscriptionStatus) -> &'static str {
    match status {
        SubscriptionStatus::Active => "word good",
        SubscriptionStatus::Requested => "word warn",
        SubscriptionStatus::Error => "word bad",
        SubscriptionStatus::Off => "word faint",
    }
}

const fn channel(format: SubscriptionFormat) -> &'static str {
    match format {
        SubscriptionFormat::FhirR4Backport => "FHIR R4 rest-hook, id-only",
        SubscriptionFormat::CloudEvents => "CloudEvents webhook",
    }
}

fn table(view: &View, subscriptions: &[Subscription]) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Subscriptions" { table {
            thead { tr {
                th scope="col" { "Subscription" } th scope="col" { "Status" } th scope="col" { "Subscriber" } th scope="col" { "Of which events" }
                th scope="col" { "Told" } th scope="col" { "Behind" } th scope="col" { "Answered" } th scope="col" { "Last trouble" } th scope="col" { "Change" }
            } }
            tbody { @for subscription in subscriptions {
                tr {
                    td { code { (subscription.id) } }
                    td { span class=(look(subscription.status)) { (subscription.status) } }
                    td { (whereabouts(subscription)) br; small.faint { (channel(subscription.format)) } }
                    td.text { (listed(&subscription.kinds)) br; small.faint { "practices: " (listed(&subscription.firms)) } }
                    td { "up to " (subscription.told_up_to()) " of " (subscription.events) }
                    td { @match subscription.waiting_since {
                        Some(since) => { (lasting(view.now.since(since))) br; small.faint { (subscription.waiting) " wait" } },
                        None => "nothing waits",
                    } }
                    td { @match subscription.answered_at { Some(at) => (view.ago(at)), None => "never" } }
                    td.text { @match &subscription.reason {
                        Some(reason) => {
                            strong { (reason) } ". " (reason.hint()) "."
                            @if let Some(since) = subscription.failing_since { " Since " (view.ago(since)) "." }
                        },
                        None => "-",
                    } }
                    td { (changes(view, subscription)) }
                }
            } }
        } }
    }
}

fn changes(view: &View, subscription: &Subscription) -> Markup {
    let button = |role, change, label| {
        let fields = [("subscription", subscription.id.as_str()), ("change", change)];
        view.button(role, "/subscriptions/change", &fields, label)
    };
    html! {
        @match subscription.status {
            SubscriptionStatus::Active | SubscriptionStatus::Requested => (button(Role::Operator, "pause", "Pause")),
            SubscriptionStatus::Error | SubscriptionStatus::Off => (button(Role::Operator, "resume", "Resume")),
        }
        " "
        (button(Role::Admin, "ask", "Remove"))
    }
}

fn letters(view: &View, given_up: &[GivenUpNotification]) -> Markup {
    html! {
        @if given_up.is_empty() { p { "No notification was given up." } } @else {
            div.wide tabindex="0" role="region" aria-label="Given up" { table {
                thead { tr {
                    th scope="col" { "Subscription" } th.number scope="col" { "Number" } th scope="col" { "Event" } th scope="col" { "Why" } th scope="col" { "When" } th scope="col" { "Repair" }
                } }
                tbody { @for letter in given_up.iter().take(LISTED) {
                    @let number = letter.number.to_string();
                    tr {
                        td { code { (letter.subscription) } } td.number { (number) } td { (letter.kind) }
                        td.text { strong { (letter.reason) } ". " (letter.reason.hint()) "." } td { (view.ago(letter.at)) }
                        td { (view.button(Role::Operator, "/subscriptions/replay", &[("subscription", letter.subscription.as_str()), ("number", &number)], "Put back")) }
                    }
                } }
            } }
            @if given_up.len() > LISTED { p { "And more: " code { "skin-assist subscription dead-letters" } " lists all." } }
        }
    }
}

/// Pauses, resumes or removes a subscription; or asks whether it is to be removed.
pub(in crate::console) async fn change(view: View, body: Bytes) -> Answer {
    let fields = view.fields(Role::Operator, body)?;
    let id = fields.text("subscription");
    let wanted = match fields.text("change") {
        "pause" => Change::Pause,
        "resume" => Change::Resume,
        "ask" => return ask(&view, id).await,
        "remove" => {
            view.needs(Role::Admin)?;
            Change::Remove
        }
        _ => {
            return Err(Trouble::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "say what is to be changed",
            ));
        }
    };
    make(&*view.console.state, &view.person.operator(), id, wanted).await?;
    view.console.changed();
    Ok(to("/subscriptions"))
}

/// What would be gone.
async fn ask(view: &View, id: &str) -> Answer {
    view.needs(Role::Admin)?;
    let subscription = view.console.state.subscription(&SubscriptionId::new(id)).await?;
    let subscription = subscription.ok_or_else(|| Trouble::not_found("subscription"))?;
    let content = html! {
        p { code { (subscription.id) } " of " (whereabouts(&subscription)) " would end: its signing key, its token and its numbers are gone then, and what waits for it ("
            (subscription.waiting) " events) is not sent. To stop for a while, pause it." }
        (view.button(Role::Admin, "/subscriptions/change", &[("subscription", subscription.id.as_str()), ("change", "remove")], "Remove it"))
        p { a href="/subscriptions" { "Leave it" } }
    };
    Ok(view.answer_page(Place::Subscriptions, "What would be removed", &content))
}

/// Puts a notification that was given up back among those that wait.
pub(in crate::console) async fn replay(view: View, body: Bytes) -> Answer {
    let fields = view.fields(Role::Operator, body)?;
    let number = fields.text("number").parse();
    let number = number.map_err(|_| Trouble::not_found("notification"))?;
    let id = fields.text("subscription");
    put_back(&*view.console.state, &view.person.operator(), id, number).await?;
    view.console.changed();
    Ok(to("/subscriptions#dead-letters"))
}
