//! A host that fails again and again is left alone: nothing is sent, and nobody takes a draft for posted.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use skin_assist_core::{
    circuit::{FAILURES_TO_OPEN, FIRST_OPEN},
    ports::{CallKind, ChartReader as _, DraftError, DraftWriter as _, EhrError, EncounterQuery},
    time::{Clock as _, Timestamp, VirtualClock},
};
use skin_assist_ehr::EhrClient;

use crate::{
    drafts::{draft, note},
    script::{
        Answer, Script, at, client_with, firm, json as reply_json, lost, not_sent, profile, reply, run, status, token,
    },
};

const LEFT_ALONE: EhrError = EhrError::Unavailable {
    what: "its host failed again and again and is left alone for a while",
};

fn guarded(answers: impl IntoIterator<Item = Answer>) -> (EhrClient, Arc<Script>, VirtualClock) {
    let clock = VirtualClock::new(at("2026-01-05T10:00:00Z"));
    let script = Script::of(answers);
    let client = client_with(profile(), &script, &Script::of([])).with_circuits(Arc::new(clock.clone()));
    (client, script, clock)
}

fn poll(client: &EhrClient) -> Result<usize, EhrError> {
    let query = EncounterQuery {
        changed_since: at("2026-01-05T09:00:00Z"),
    };
    let page = run(client.encounters(&firm("derm-a"), &token(), &query, None));
    page.map(|page| page.items.len())
}

fn post(client: &EhrClient) -> DraftError {
    run(client.post(&firm("derm-a"), &token(), &draft(note()))).unwrap_err()
}

fn pass(clock: &VirtualClock, duration: Duration) {
    clock.run(clock.sleep_until(clock.now() + duration));
}

fn rests(client: &EhrClient, kind: CallKind, now: Timestamp) -> bool {
    client.rests_until(&firm("derm-a"), kind, now).is_some()
}

#[test]
fn a_host_that_fails_is_left_alone_and_a_draft_is_not_the_one_to_try_it() {
    let empty = || reply_json(&json!({ "resourceType": "Bundle" }));
    let failures = [not_sent(), lost(), status(500), status(502), status(503)];
    assert_eq!(failures.len(), FAILURES_TO_OPEN as usize);
    let answers = failures.into_iter().chain([not_sent(), empty(), empty()]);
    let (client, script, clock) = guarded(answers);
    for _ in 0..FAILURES_TO_OPEN {
        assert!(!rests(&client, CallKind::Draft, clock.now()));
        assert!(poll(&client).is_err());
    }
    let sent = script.count();
    assert_eq!(poll(&client), Err(LEFT_ALONE));
    assert_eq!(post(&client), DraftError::NotTaken(LEFT_ALONE), "certainly not taken");
    assert!(rests(&client, CallKind::Read, clock.now()) && rests(&client, CallKind::Draft, clock.now()));
    assert_eq!(client.resting_hosts(clock.now())[0].host, "ehr.example");
    assert_eq!(script.count(), sent, "nothing was sent");

    // Half-open: a read may try, a draft may not. The first try fails, the second does not.
    pass(&clock, FIRST_OPEN);
    assert_eq!(post(&client), DraftError::NotTaken(LEFT_ALONE));
    assert!(!rests(&client, CallKind::Read, clock.now()) && rests(&client, CallKind::Draft, clock.now()));
    assert!(poll(&client).is_err());
    assert_eq!(script.count(), sent + 1);
    assert_eq!(poll(&client), Err(LEFT_ALONE));
    pass(&clock, 2 * FIRST_OPEN);
    assert_eq!(poll(&client), Ok(0));
    assert!(!rests(&client, CallKind::Draft, clock.now()));
    assert_eq!(poll(&client), Ok(0));
    assert_eq!(script.count(), sent + 3);
    assert!(client.resting_hosts(clock.now()).is_empty());
}

#[test]
fn a_host_that_refuses_is_there() {
    let refusals = [401, 403, 404, 429, 400, 302].map(status);
    let others = [reply(200, &[], "{"), not_sent(), not_sent(), not_sent(), not_sent()];
    let (client, script, _) = guarded(refusals.into_iter().chain(others).chain([status(404)]));
    for _ in 0..12 {
        assert_ne!(poll(&client), Err(LEFT_ALONE));
    }
    assert_eq!(script.count(), 12);
}
