//! Who looks at the console: pages in turn at a steady rate. A delay is counted from when a page was to be asked for, so that a slow
//! answer is not made up for by asking less.

use std::{
    collections::BTreeMap,
    fmt,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// How long after one page the next is asked for.
const EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Page {
    Overview,
    Practice,
    Photo,
    Queues,
    Photos,
    Subscriptions,
    Trust,
    Models,
}

impl fmt::Display for Page {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Overview => "overview",
            Self::Practice => "a practice",
            Self::Photo => "a photo",
            Self::Queues => "queues",
            Self::Photos => "photos",
            Self::Subscriptions => "subscriptions",
            Self::Trust => "trust",
            Self::Models => "models",
        })
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Console(SocketAddr);

impl Console {
    pub(crate) const fn at(address: SocketAddr) -> Self {
        Self(address)
    }

    /// The body of a page.
    fn get(self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.0)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.0
        )?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply)?;
        let reply = String::from_utf8_lossy(&reply);
        match reply.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
            _ => Err(std::io::Error::other(
                reply.lines().next().unwrap_or_default().to_owned(),
            )),
        }
    }

    /// How many visits are watched, in all; none before it answers.
    pub(crate) fn watched(self) -> Option<u64> {
        let practices: serde_json::Value = serde_json::from_str(&self.get("/api/v1/practices").ok()?).ok()?;
        let watched = practices
            .as_array()?
            .iter()
            .map(|one| one["watched_encounters"].as_u64());
        watched.sum()
    }

    /// Asks for pages for so long; how long each answer took, in milliseconds.
    pub(crate) fn ask_for(self, length: Duration, pages: impl Fn() -> Vec<(Page, String)>) -> BTreeMap<Page, Vec<f64>> {
        let mut answers: BTreeMap<Page, Vec<f64>> = BTreeMap::new();
        let began = Instant::now();
        let mut due = began;
        while began.elapsed() < length {
            for (page, path) in pages() {
                due += EVERY;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                self.get(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
                answers
                    .entry(page)
                    .or_default()
                    .push(due.elapsed().as_secs_f64() * 1000.0);
            }
        }
        answers
    }
}
