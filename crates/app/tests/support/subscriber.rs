//! A subscriber on this machine, as the real program tells it of what happens: CloudEvents over HTTP.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]
#![allow(dead_code, reason = "shared by tests of which none needs all")]

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use skin_assist_simulator::PhotoReport;

/// What one POST brings.
fn read(stream: &TcpStream) -> Option<Value> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.to_lowercase();
        if let Some(told) = line.strip_prefix("content-length:") {
            length = told.trim().parse().unwrap();
        } else if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}

/// Says that it was taken. Whoever asked may be gone.
fn answer(mut stream: &TcpStream) {
    let answer = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    _ = stream.write_all(answer.as_bytes());
}

/// What a subscriber was told.
#[derive(Default)]
pub(crate) struct Told {
    /// Every message that it took, in the order in which they came.
    pub(crate) messages: Vec<Value>,
    /// Of those the events, by their numbers. The same one may come twice, and says the same.
    pub(crate) events: BTreeMap<u64, Value>,
    /// How often it was killed.
    pub(crate) kills: u32,
}

/// A subscriber that keeps what it is told before it answers.
pub(crate) struct Subscriber {
    pub(crate) endpoint: String,
    told: Arc<Mutex<Told>>,
}

impl Subscriber {
    /// Listens until the test ends. One message in `killed_one_in` kills it (none, where that is 0), before it keeps the message or after.
    pub(crate) fn start(seed: u64, killed_one_in: u32) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let endpoint = format!("http://{}/hook", listener.local_addr().unwrap());
        let told = Arc::<Mutex<Told>>::default();
        let keeper = Arc::clone(&told);
        let mut random = StdRng::seed_from_u64(seed);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let Some(message) = read(&stream) else { continue };
                let is_killed = killed_one_in > 0 && random.random_range(0..killed_one_in) == 0;
                let mut told = keeper.lock().unwrap();
                told.kills += u32::from(is_killed);
                if !is_killed || random.random_bool(0.5) {
                    told.keep(message);
                }
                drop(told);
                if !is_killed {
                    answer(&stream);
                }
            }
        });
        Self { endpoint, told }
    }

    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn keep(&mut self, message: Value) {
        if let Some(number) = message["data"]["number"].as_u64() {
            let known = self.events.entry(number).or_insert_with(|| message.clone());
            assert_eq!(*known, message, "number {number} says something else now");
        }
        self.messages.push(message);
    }

    /// The data of the events of a type.
    pub(crate) fn of_type(&self, kind: &str) -> Vec<&Value> {
        let kind = format!("example.skin-assist.{kind}");
        let of_kind = self.events.values().filter(|event| event["type"] == kind.as_str());
        of_kind.map(|event| &event["data"]).collect()
    }

    /// How often it was told of a photo: that it was found, that its draft is there, that this is in doubt.
    pub(crate) fn of_photo(&self, photo: &PhotoReport) -> [usize; 3] {
        let name = Value::from(format!("DocumentReference/{}", photo.document));
        ["photo-detected", "draft-delivered", "draft-uncertain"].map(|kind| {
            let names = |data: &&&Value| {
                let mut named = data["context"].as_array().unwrap().iter().chain([&data["focus"]]);
                data["practice"] == photo.firm && named.any(|reference| *reference == name)
            };
            self.of_type(kind).iter().filter(names).count()
        })
    }
}
