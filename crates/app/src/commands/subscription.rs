//! `skin-assist subscription`.

use std::{collections::BTreeSet, process::ExitCode};

use serde_json::json;
use sha2::{Digest as _, Sha256};
use skin_assist_core::{
    audit::installation,
    domain::{FirmId, Subscription, SubscriptionFormat, SubscriptionId},
    phi::Secret,
    ports::{AuditAction, AuditRecord, StateError, StateStore},
    time::{Clock as _, Timestamp},
};
use skin_assist_subscribers::{EndpointRefused, KEY_BYTES, check_endpoint, encode_key};

use super::{Operator, known_firm, print_changed, print_json, state_failed, table::table};
use crate::{
    cli::{AddSubscriptionArguments, JsonFlag, SubscriptionCommand},
    clock::SystemClock,
    config::Config,
    failure::{Failure, Hinted as _},
    wiring,
};

/// Makes, lists and ends subscriptions to what happens in charts.
pub(crate) async fn subscription(config: &Config, command: SubscriptionCommand) -> Result<ExitCode, Failure> {
    let state = wiring::state(config).await?;
    let (state, operator) = (&*state, Operator::of_the_command());
    match command {
        SubscriptionCommand::Add(arguments) => add(config, state, &operator, arguments).await?,
        SubscriptionCommand::List(JsonFlag { json }) => {
            let all = state.subscriptions().await.map_err(state_failed)?;
            if json {
                print_json(&all)?;
            } else if all.is_empty() {
                say!("There is no subscription.");
            } else {
                print(&all);
            }
        }
        SubscriptionCommand::Show { id, json } => {
            let subscription = known(state, &id).await?;
            if json.json {
                print_json(&subscription)?;
            } else {
                show(&subscription);
            }
        }
        SubscriptionCommand::Pause { id, json } => {
            change(state, &operator, &id, Change::Pause).await?;
            let line = format!("Paused {id}. What happens meanwhile is kept for seven days.");
            print_changed(json, &known(state, &id).await?, &line)?;
        }
        SubscriptionCommand::Resume { id, json } => {
            change(state, &operator, &id, Change::Resume).await?;
            let line = format!("Resumed {id}: it begins with a handshake.");
            print_changed(json, &known(state, &id).await?, &line)?;
        }
        SubscriptionCommand::Remove { id, json } => {
            change(state, &operator, &id, Change::Remove).await?;
            print_changed(json, &json!({ "removed": id }), &format!("Removed {id}."))?;
        }
        SubscriptionCommand::DeadLetters(JsonFlag { json }) => {
            let given_up = state.given_up_notifications().await.map_err(state_failed)?;
            if json {
                print_json(&given_up)?;
            } else if given_up.is_empty() {
                say!("No notification was given up.");
            } else {
                let rows: Vec<_> = given_up
                    .iter()
                    .map(|letter| {
                        [
                            letter.subscription.to_string(),
                            letter.number.to_string(),
                            letter.kind.to_string(),
                            letter.at.to_string(),
                            letter.reason.code().to_owned(),
                        ]
                    })
                    .collect();
                super::print(&table(["SUBSCRIPTION", "NUMBER", "EVENT", "GIVEN UP", "REASON"], &rows));
            }
        }
        SubscriptionCommand::Replay { id, number, json } => {
            replay(state, &operator, &id, number).await?;
            let document = json!({ "subscription": id, "replayed": number });
            print_changed(
                json,
                &document,
                &format!("Notification {number} is sent before what waits."),
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What an operator does to a subscription that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing is sent any more.
    Pause,
    /// It begins anew, with a handshake.
    Resume,
    /// It ends.
    Remove,
}

/// Pauses, resumes or ends a subscription.
pub(crate) async fn change(
    state: &dyn StateStore,
    operator: &Operator,
    id: &str,
    change: Change,
) -> Result<(), Failure> {
    let id = known(state, id).await?.id;
    let word = match change {
        Change::Pause => "paused",
        Change::Resume => "resumed",
        Change::Remove => "removed",
    };
    let audited = state.audited(entry(operator, format!("{id} {word}")));
    let changed = match change {
        Change::Pause => audited.pause_subscription(&id).await,
        Change::Resume => audited.resume_subscription(&id, SystemClock.now()).await,
        Change::Remove => audited.remove_subscription(&id).await,
    };
    changed.map_err(state_failed)
}

/// Puts a notification that was given up back among those that wait.
pub(crate) async fn replay(state: &dyn StateStore, operator: &Operator, id: &str, number: u64) -> Result<(), Failure> {
    let id = known(state, id).await?.id;
    let audited = state.audited(entry(operator, format!("{id} replays {number}")));
    audited.replay_notification(&id, number).await.map_err(state_failed)
}

fn entry(operator: &Operator, subject: impl Into<String>) -> AuditRecord {
    operator.entry(&installation(), AuditAction::SubscriptionChanged, subject)
}

async fn known(state: &dyn StateStore, id: &str) -> Result<Subscription, Failure> {
    let known = state
        .subscription(&SubscriptionId::new(id))
        .await
        .map_err(state_failed)?;
    known.ok_or_else(|| {
        Failure::new(format!("there is no subscription `{id}`")).with_hint("`skin-assist subscription list` lists them")
    })
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).failed(|| "the system has no random numbers".to_owned())?;
    Ok(bytes)
}

fn refused(error: EndpointRefused) -> Failure {
    let hint = match error {
        EndpointRefused::NotAUrl | EndpointRefused::Parts => "such as https://subscriber.example/hook",
        EndpointRefused::NotHttps => {
            "to this very machine, plain http can be allowed: subscriptions.allow_loopback_http"
        }
        EndpointRefused::Private => "it can be allowed: subscriptions.allow_private_addresses",
    };
    Failure::new("the endpoint cannot be used")
        .because(error)
        .with_hint(hint)
}

/// A subscription to everything, with a key of its own, and the token with which its subscriber may ask.
pub(super) fn requested(
    config: &Config,
    endpoint: &str,
    format: SubscriptionFormat,
) -> Result<(Subscription, Secret), Failure> {
    let rules = &config.subscriptions;
    let (loopback, private) = (rules.allow_loopback_http, rules.allow_private_addresses);
    let endpoint = check_endpoint(endpoint, loopback, private).map_err(refused)?;
    let (key, token) = (random::<KEY_BYTES>()?, hex::encode(random::<32>()?));
    let subscription = Subscription::requested(
        SubscriptionId::new(hex::encode(random::<6>()?)),
        endpoint.into(),
        format,
        encode_key(&key),
        token_digest(&token),
        SystemClock.now(),
    );
    Ok((subscription, Secret::new(token)))
}

async fn add(
    config: &Config,
    state: &dyn StateStore,
    operator: &Operator,
    arguments: AddSubscriptionArguments,
) -> Result<(), Failure> {
    let mut firms = BTreeSet::<FirmId>::new();
    for firm in &arguments.firms {
        firms.insert(known_firm(state, firm).await?.id);
    }
    let (subscription, token) = requested(config, &arguments.endpoint, arguments.format)?;
    let subscription = Subscription {
        firms,
        kinds: arguments.kinds.into_iter().collect(),
        heartbeat_seconds: arguments.heartbeat_seconds,
        ..subscription
    };
    let audited = state.audited(entry(operator, format!("{} added", subscription.id)));
    audited
        .add_subscription(&subscription)
        .await
        .map_err(|error| match error {
            StateError::NotKept { .. } => Failure::new("a subscription cannot be made")
                .because(error)
                .with_hint("events are kept with the state in a file (state.store = \"sqlite\"), not in DynamoDB"),
            error => state_failed(error),
        })?;
    if arguments.json.json {
        return print_json(&json!({
            "subscription": subscription,
            "signing_key": subscription.signing_key.expose(),
            "token": token.expose(),
        }));
    }
    say!(
        "Made the subscription {}. `skin-assist run` begins with a handshake.",
        subscription.id
    );
    say!("These are shown this once. What is sent is signed with");
    say!("    {}", subscription.signing_key.expose());
    say!("and the subscriber asks for what it missed with the token");
    say!("    {}", token.expose());
    Ok(())
}

/// What is kept of a token.
fn token_digest(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

/// Words of a list; none stands for all.
pub(crate) fn listed<T: std::fmt::Display>(words: &BTreeSet<T>) -> String {
    if words.is_empty() {
        return "all".to_owned();
    }
    words.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn time(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "never".to_owned(), |at| at.to_string())
}

pub(super) fn print(all: &[Subscription]) {
    let rows: Vec<_> = all
        .iter()
        .map(|subscription| {
            [
                subscription.id.to_string(),
                subscription.status.to_string(),
                subscription.format.to_string(),
                listed(&subscription.firms),
                subscription.events.to_string(),
                subscription.waiting.to_string(),
                time(subscription.answered_at),
                subscription.endpoint.clone(),
            ]
        })
        .collect();
    super::print(&table(
        [
            "SUBSCRIPTION",
            "STATUS",
            "FORMAT",
            "PRACTICES",
            "EVENTS",
            "WAITING",
            "ANSWERED",
            "ENDPOINT",
        ],
        &rows,
    ));
}

fn show(subscription: &Subscription) {
    print(std::slice::from_ref(subscription));
    say!("Events: {}.", listed(&subscription.kinds));
    match subscription.heartbeat_seconds {
        0 => say!("A silence is not told."),
        seconds => say!("A silence is told after {seconds} s."),
    }
    if let (Some(since), Some(reason)) = (subscription.failing_since, &subscription.reason) {
        say!("Nothing was taken since {since}: {reason}");
    }
}
