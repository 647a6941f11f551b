//! The network between the engines and the practice EHR: it loses, doubles, delays and reorders. What has been sent arrives, also when
//! the process that sent it is gone.

use std::{pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    FutureExt as _, StreamExt as _,
    channel::{mpsc, oneshot},
    future::BoxFuture,
    stream::FuturesUnordered,
};
use http::{Request, Response};
use skin_assist_core::time::{Clock as _, Timestamp};
use skin_assist_simulator::{Host, PracticeEhr};
use skin_assist_testkit::PracticeTransport;
use skin_assist_transport::{Transport, TransportError};

use crate::process::{Process, Shared, lock};

type Answer = Result<Response<Bytes>, TransportError>;

/// A request on its way.
pub(crate) struct Flight {
    process: Arc<Process>,
    request: Request<Bytes>,
    limit_bytes: usize,
    reply: oneshot::Sender<Answer>,
}

/// The connections of one process.
pub(crate) struct Connections {
    pub(crate) process: Arc<Process>,
    pub(crate) departures: mpsc::UnboundedSender<Flight>,
}

const BROKEN: TransportError = TransportError::Unknown {
    what: "the connection broke",
    status: None,
};

#[async_trait]
impl Transport for Connections {
    async fn send(&self, request: Request<Bytes>, limit_bytes: usize) -> Answer {
        self.process.passes("send").await;
        let (reply, answer) = oneshot::channel();
        let flight = Flight {
            process: Arc::clone(&self.process),
            request,
            limit_bytes,
            reply,
        };
        if self.departures.unbounded_send(flight).is_err() {
            return Err(TransportError::NotSent {
                what: "there is no network any more",
            });
        }
        let answer = answer.await.unwrap_or(Err(BROKEN));
        self.process.passes("receive").await;
        answer
    }
}

/// The network of a run.
pub(crate) struct Network {
    pub(crate) shared: Arc<Shared>,
    pub(crate) ehr: PracticeEhr,
    pub(crate) practice: PracticeTransport,
    /// Calls that may arrive in any 60 s.
    pub(crate) most_calls: usize,
}

impl Network {
    /// Carries what departs, for ever.
    pub(crate) async fn run(&self, departures: mpsc::UnboundedReceiver<Flight>) {
        let mut departures = pin!(departures.fuse());
        let mut flights: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        loop {
            futures::select_biased! {
                flight = departures.next() => match flight {
                    Some(flight) => flights.push(self.carry(flight).boxed()),
                    None => return,
                },
                () = flights.select_next_some() => {}
            }
        }
    }

    async fn carry(&self, flight: Flight) {
        let Flight {
            process,
            request,
            limit_bytes,
            reply,
        } = flight;
        let now = self.shared.now();
        let url = url::Url::parse(&request.uri().to_string()).ok();
        let host = url.and_then(|url| self.ehr.host_of(&url));
        // A draft that the EHR would take twice is not doubled by the network: nobody could help that.
        let repeatable = request.method() == http::Method::GET
            || host != Some(Host::Api)
            || request.headers().contains_key("if-none-exist");
        let (lost, doubled, delays) = {
            let mut weather = lock(&self.shared.weather);
            let lost = weather.losses > 0;
            weather.losses = weather.losses.saturating_sub(1);
            let doubled = !lost && repeatable && weather.duplicates > 0;
            weather.duplicates -= u32::from(doubled);
            (lost, doubled, (now < weather.delays.0).then_some(weather.delays.1))
        };
        let (mut there, mut back) = (Duration::ZERO, Duration::ZERO);
        if let Some(most) = delays {
            self.shared.truth().fault("reply delayed, and overtaken by others");
            back = self.shared.up_to(most);
            // A draft may arrive when the process that sent it is long gone.
            let is_read = host == Some(Host::Api) && request.method() == http::Method::GET;
            there = self.shared.up_to(if is_read { LATE } else { most });
        }
        let never_arrives = lost && self.shared.below(3) == 0;
        if never_arrives {
            self.shared.truth().fault("request lost");
            self.wait(Duration::from_secs(5)).await;
            drop(reply.send(Err(BROKEN)));
            return;
        }
        // What the network held up for longer than `core::quota` allows for counts from when it was sent.
        if there <= LATE {
            self.wait(there).await;
        }
        // Finding out where the token endpoint is asks for no grant.
        let is_discovery = request.uri().path().ends_with("/.well-known/smart-configuration");
        if host == Some(Host::Api) && !is_discovery {
            let firms = self.ehr.firms();
            let is_of = |firm: &&String| request.uri().path().split('/').any(|part| part == firm.as_str());
            let firm = firms.iter().find(is_of).map(String::as_str);
            let now = self.shared.now();
            // A process that stood still acts on what it knew before, and on grants that it took before.
            let firm = firm.filter(|_| !process.has_stood_still());
            if !process.is_late() {
                self.shared.truth().call_arrives(firm, now, self.most_calls);
            }
        }
        if there > LATE {
            self.wait(there).await;
        }
        if doubled {
            self.shared.truth().fault("request doubled");
            drop(self.practice.send(request.clone(), limit_bytes).await);
        }
        let answer = self.practice.send(request, limit_bytes).await;
        self.wait(back).await;
        if lost {
            self.shared.truth().fault("reply lost");
            let silence = self.shared.up_to(Duration::from_secs(20));
            self.wait(silence).await;
            drop(reply.send(Err(BROKEN)));
            return;
        }
        // Whoever waited may be gone.
        drop(reply.send(answer));
    }

    async fn wait(&self, duration: Duration) {
        if !duration.is_zero() {
            let until: Timestamp = self.shared.now() + duration;
            self.shared.clock.sleep_until(until).await;
        }
    }
}

/// How long a call may be on its way: what `core::quota` allows for, but for how late a process may be woken up.
const LATE: Duration = Duration::from_millis(200);
