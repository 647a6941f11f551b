//! Tells open pages that something has happened, as server-sent events. Nothing of what happened is in them: the page is read again.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use futures::stream::{self, Stream};

use super::Console;

/// A page is told at most so often.
const AT_MOST_EVERY: Duration = Duration::from_secs(2);

/// The stream of a page. It ends when the system stops.
pub(super) async fn stream(State(console): State<Arc<Console>>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let happened = console.happened.subscribe();
    let stopping = console.stopping.subscribe();
    let events = stream::unfold((happened, stopping), |(mut happened, mut stopping)| async move {
        tokio::select! {
            changed = happened.changed() => changed.ok()?,
            _ = stopping.wait_for(|stop| *stop) => return None,
        }
        tokio::time::sleep(AT_MOST_EVERY).await;
        let number = *happened.borrow_and_update();
        Some((
            Ok(Event::default().event("changed").data(number.to_string())),
            (happened, stopping),
        ))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}
