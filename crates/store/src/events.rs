//! Events of charts: written by the transitions that they tell of, in their transactions, and numbered for every subscription to them.

use rusqlite::params;
use skin_assist_core::{
    domain::{Assessment, ChartEvent, ChartEventKind, EVENT_LIFE, FirmId, ResourceReference},
    time::Timestamp,
};

use crate::{
    Outcome,
    codec::{Columns, Millis, damaged, to_json, whole},
    execute, first, rows,
    sealed::{EVENT, Row, State},
};

pub(crate) const TABLE: &str = "events";

/// Subscriptions to an event of the firm ?2 and the kind ?3.
const SUBSCRIBED: &str = "(firms = '[]' OR EXISTS (SELECT 1 FROM json_each(firms) WHERE value = ?2))
     AND (kinds = '[]' OR EXISTS (SELECT 1 FROM json_each(kinds) WHERE value = ?3))";

/// What happened in the chart, in the caller's transaction. Of a firm that is not there any more nothing is told.
pub(crate) fn append(
    state: &State<'_>,
    firm: &FirmId,
    kind: ChartEventKind,
    focus: &ResourceReference,
    context: &[ResourceReference],
    now: Timestamp,
) -> Outcome<()> {
    let seal = state.sealer(firm);
    let event = first(
        state,
        "UPDATE firms SET events = events + 1 WHERE firm = ?1 RETURNING events",
        [firm.as_str()],
        |row| Columns { table: "firms", row }.get::<i64>("events"),
    )?;
    let Some(number) = event else { return Ok(()) };
    execute(
        state,
        "INSERT INTO events (firm, number, at, kind, focus, context) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            firm.as_str(),
            number,
            Millis(now),
            kind.as_str(),
            seal.seal(EVENT, focus.as_str()),
            seal.seal(EVENT, &to_json(&context)?)
        ],
    )?;
    let of = params![state.last_insert_rowid(), firm.as_str(), kind.as_str()];
    execute(
        state,
        &format!(
            "INSERT INTO notifications (subscription, number, event, state)
             SELECT subscription, events + 1, ?1, 'waiting' FROM subscriptions WHERE {SUBSCRIBED}"
        ),
        of,
    )?;
    execute(
        state,
        &format!("UPDATE subscriptions SET events = events + 1 WHERE ?1 IS NOT NULL AND {SUBSCRIBED}"),
        of,
    )?;
    Ok(())
}

/// What happened to an assessment's draft. It is about the draft where that has a name, about the first photo otherwise; the encounter
/// and the other photos belong to it.
pub(crate) fn append_of_draft(
    state: &State<'_>,
    assessment: &Assessment,
    kind: ChartEventKind,
    draft: Option<ResourceReference>,
    now: Timestamp,
) -> Outcome<()> {
    let mut resources: Vec<_> = draft.into_iter().collect();
    resources.extend(assessment.documents.iter().map(ResourceReference::document));
    let Some((focus, others)) = resources.split_first() else {
        return Ok(());
    };
    let mut context = vec![ResourceReference::encounter(&assessment.encounter)];
    context.extend_from_slice(others);
    append(state, &assessment.firm, kind, focus, &context, now)
}

/// An event, from a row with the columns of its table; its own number is called `event_number` there.
pub(crate) fn read_event(row: &Row<'_>) -> Outcome<ChartEvent> {
    let columns = Columns { table: TABLE, row };
    let context = columns.text("context", std::convert::identity)?;
    Ok(ChartEvent {
        firm: columns.text("firm", FirmId::new)?,
        number: columns.count("event_number")?,
        at: columns.time("at")?,
        kind: columns.word("kind")?,
        focus: columns.text("focus", ResourceReference::recorded)?,
        context: serde_json::from_str(&context).map_err(|_| damaged(TABLE, "context"))?,
    })
}

pub(crate) fn of_firm(state: &State<'_>, firm: &FirmId, after: u64, limit: i64) -> Outcome<Vec<ChartEvent>> {
    rows(
        state,
        "SELECT firm, number AS event_number, at, kind, focus, context FROM events
         WHERE firm = ?1 AND number > ?2 ORDER BY number LIMIT ?3",
        params![firm.as_str(), whole(after), limit],
        read_event,
    )
}

/// Forgets events whose time has come, and the notifications of them. How many events.
pub(crate) fn forget(state: &State<'_>, now: Timestamp) -> Outcome<usize> {
    execute(
        state,
        "DELETE FROM events WHERE at <= ?1",
        params![Millis(now - EVENT_LIFE)],
    )
}
