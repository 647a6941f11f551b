//! The way to the FHIR server: everything that the engine asks of it passes here, is written down, and can be lost.
//!
//! It changes nothing. A reply is lost after the server has done what was asked, as a broken connection loses it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use super::http::{Message, exchange, serve};

/// What passed: a request's method and path, and the status of its reply.
#[derive(Debug, Clone)]
pub(crate) struct Passed {
    /// The method.
    pub(crate) method: String,
    /// The path with its query.
    pub(crate) path: String,
    /// What the server answered; 0 where it did not.
    pub(crate) status: u16,
}

#[derive(Debug, Default)]
struct State {
    passed: Vec<Passed>,
    /// The end of the path whose next successful POST gets no reply.
    to_lose: Option<String>,
}

/// A gateway in front of a server.
#[derive(Clone)]
pub(crate) struct Gateway {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Gateway {
    /// Opens one to a server that need not serve yet.
    pub(crate) fn open(server: SocketAddr) -> Result<Self, String> {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let address = serve(move |request| {
            let reply = exchange(server, request).ok();
            let status = reply.as_ref().map_or(0, Message::status);
            let path = request.path().split('?').next().unwrap_or_default();
            let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
            state.passed.push(Passed {
                method: request.method().to_owned(),
                path: request.path().to_owned(),
                status,
            });
            let is_lost = request.method() == "POST"
                && (200..300).contains(&status)
                && state.to_lose.as_deref().is_some_and(|end| path.ends_with(end));
            if is_lost {
                state.to_lose = None;
                return None;
            }
            reply
        })?;
        Ok(Self { address, state })
    }

    /// The base URL of what is behind it.
    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Loses the reply to the next successful POST to a path that ends so.
    pub(crate) fn lose_reply_to_post(&self, end: &str) {
        self.locked(|state| state.to_lose = Some(end.to_owned()));
    }

    /// How much has passed so far.
    pub(crate) fn mark(&self) -> usize {
        self.locked(|state| state.passed.len())
    }

    /// What passed since.
    pub(crate) fn since(&self, mark: usize) -> Vec<Passed> {
        self.locked(|state| state.passed[mark..].to_vec())
    }

    fn locked<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reply_is_lost_and_everything_is_written_down() {
        let server = serve(|request| Some(Message::reply(201, "text/plain", request.path().into()))).unwrap();
        let gateway = Gateway::open(server).unwrap();
        let post = |path| exchange(gateway.address, &Message::request("POST", path));
        gateway.lose_reply_to_post("/Composition");
        let mark = gateway.mark();
        assert_eq!(post("/a/Encounter").unwrap().body, b"/a/Encounter");
        assert!(post("/a/Composition?b=c").is_err());
        assert_eq!(post("/a/Composition").unwrap().status(), 201);
        let passed = gateway.since(mark);
        assert_eq!(
            (passed.len(), passed[1].path.as_str(), passed[1].status),
            (3, "/a/Composition?b=c", 201)
        );
    }
}
