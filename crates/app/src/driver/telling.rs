//! Tells subscribers, beside the pipeline and apart from it: whatever happens to a subscriber, photos go on.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use skin_assist_core::{
    domain::{Subscription, SubscriptionId},
    lease::Lease,
    ports::{StateError, StateStore, Subscribers},
    stages::{Ending, TellSubscribers},
    time::Clock,
};

use super::{Event, LOOK_EVERY, Observer, STATE_PAUSE, StopSignal, meanwhile::meanwhile};

/// How many subscribers are told at once.
const WIDTH: usize = 16;

/// Tells subscribers what happened. Several on one state share the work.
#[derive(Clone)]
pub struct Telling {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Our own state.
    pub state: Arc<dyn StateStore>,
    /// The way to subscribers.
    pub subscribers: Arc<dyn Subscribers>,
    /// For how long a subscriber may fail to take a notice.
    pub give_up_after: Duration,
    /// Who is told what came of it.
    pub observer: Observer,
}

impl Telling {
    /// Runs until `stop`, then finishes what was begun and returns.
    pub async fn run(&self, stop: StopSignal) {
        let stage = TellSubscribers {
            subscriptions: &*self.state,
            subscribers: &*self.subscribers,
            clock: &*self.clock,
            give_up_after: self.give_up_after,
        };
        let mut running = FuturesUnordered::new();
        loop {
            let mut look_again = self.clock.now() + LOOK_EVERY;
            if stop.is_stopping() {
                if running.is_empty() {
                    return;
                }
            } else if running.len() < WIDTH {
                let acquired = stage.acquire(WIDTH - running.len());
                match meanwhile(&mut running, drop, acquired).await {
                    Ok(leases) => running.extend(leases.into_iter().map(|lease| self.one(stage, lease).boxed())),
                    Err(error) => {
                        trouble(&error);
                        look_again = self.clock.now() + STATE_PAUSE;
                    }
                }
            }
            tokio::select! {
                biased;
                Some(()) = running.next() => {}
                () = stop.stopped(), if !stop.is_stopping() => {}
                () = self.clock.sleep_until(look_again), if !stop.is_stopping() => {}
            }
        }
    }

    async fn one(&self, stage: TellSubscribers<'_>, lease: Lease<Subscription>) {
        let (subscription, attempt) = (lease.item().id.clone(), lease.attempt());
        match stage.run(lease).await {
            Ok(told) => {
                say(&subscription, attempt, &told.ending);
                (self.observer)(&Event::SubscriberTold { subscription, told });
            }
            Err(error) => trouble(&error),
        }
    }
}

fn say(subscription: &SubscriptionId, attempt: u32, ending: &Ending) {
    match ending {
        Ending::Waiting(reason) if attempt == 1 => {
            let (reason, hint) = (reason.code(), reason.hint());
            tracing::warn!(event = "subscriber.waiting", %subscription, reason, hint);
        }
        Ending::GivenUp(reason) => {
            let (reason, hint) = (reason.code(), reason.hint());
            tracing::error!(event = "subscriber.given-up", %subscription, reason, hint);
        }
        Ending::Taken | Ending::Waiting(_) | Ending::LeaseLost => {}
    }
}

fn trouble(error: &StateError) {
    tracing::error!(event = "state.unavailable", stage = "tell-subscribers", error = %error, cause = ?std::error::Error::source(error));
}
