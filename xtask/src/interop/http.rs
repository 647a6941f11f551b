//! As much HTTP/1.1 as two programs on one machine need: a request with its reply, and a server of such requests.
//!
//! One exchange for each connection, everything in memory. What is not understood is an error, never a guess.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use serde_json::Value;

/// Nothing on one machine takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request or a reply.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// `GET /Patient HTTP/1.1`, or `HTTP/1.1 200 OK`.
    first_line: String,
    headers: Vec<(String, String)>,
    /// The body, without what framed it.
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// A request of this method for this path.
    pub(crate) fn request(method: &str, path: &str) -> Self {
        Self {
            first_line: format!("{method} {path} HTTP/1.1"),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// A reply.
    pub(crate) fn reply(status: u16, media_type: &str, body: Vec<u8>) -> Self {
        Self {
            first_line: format!("HTTP/1.1 {status} Said"),
            headers: Vec::new(),
            body,
        }
        .with("content-type", media_type)
    }

    /// With a header more.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body of JSON.
    pub(crate) fn with_json(mut self, media_type: &str, body: &Value) -> Self {
        self.body = body.to_string().into_bytes();
        self.with("content-type", media_type)
    }

    fn word(&self, number: usize) -> &str {
        self.first_line.split(' ').nth(number).unwrap_or_default()
    }

    /// A request's method.
    pub(crate) fn method(&self) -> &str {
        self.word(0)
    }

    /// A request's path with its query.
    pub(crate) fn path(&self) -> &str {
        self.word(1)
    }

    /// A reply's status; 0 where there is none.
    pub(crate) fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null where it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// What a person wants to see of a reply that is not as it should be.
    pub(crate) fn told(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        format!("{}: {}", self.first_line, text.chars().take(600).collect::<String>())
    }

    fn read(stream: &TcpStream) -> Result<Self, String> {
        let mut reader = BufReader::new(stream);
        let mut line = || -> Result<String, String> {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(0) => Err("the connection ended early".to_owned()),
                Ok(_) => Ok(line.trim_end().to_owned()),
                Err(error) => Err(error.to_string()),
            }
        };
        let mut message = Self {
            first_line: line()?,
            headers: Vec::new(),
            body: Vec::new(),
        };
        loop {
            let line = line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or("a header without a colon")?;
            message.headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let is_reply = message.first_line.starts_with("HTTP/");
        let length = message.header("content-length").map(str::parse::<usize>);
        if message.header("transfer-encoding").is_some() {
            message.body = chunks(&mut reader)?;
        } else if let Some(length) = length {
            let length = length.map_err(|_| "a content-length that is no number")?;
            message.body = vec![0; length];
            reader
                .read_exact(&mut message.body)
                .map_err(|error| error.to_string())?;
        } else if is_reply && !matches!(message.status(), 204 | 304) {
            reader
                .read_to_end(&mut message.body)
                .map_err(|error| error.to_string())?;
        }
        Ok(message)
    }

    /// Writes it with a framing of its own, and as the last of its connection.
    fn write(&self, mut stream: &TcpStream) -> Result<(), String> {
        let mut text = format!("{}\r\n", self.first_line);
        for (name, value) in &self.headers {
            let framing = ["content-length", "transfer-encoding", "connection", "keep-alive"];
            if !framing.contains(&name.to_ascii_lowercase().as_str()) {
                text.extend([name, ": ", value, "\r\n"]);
            }
        }
        text.extend(["content-length: ", &self.body.len().to_string()]);
        text.push_str("\r\nconnection: close\r\n\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        stream.write_all(&bytes).map_err(|error| error.to_string())
    }
}

fn chunks(reader: &mut BufReader<&TcpStream>) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).map_err(|error| error.to_string())?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| "a chunk without a size")?;
        // Each chunk, the last one too, ends with a line break; trailers are not expected.
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).map_err(|error| error.to_string())?;
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

/// Sends a request and waits for the reply.
pub(crate) fn exchange(address: SocketAddr, request: &Message) -> Result<Message, String> {
    let attempt = || {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| error.to_string())?;
        patient(&stream)?;
        let mut request = request.clone();
        if request.header("host").is_none() {
            request = request.with("host", &address.to_string());
        }
        request.write(&stream)?;
        Message::read(&stream)
    };
    attempt().map_err(|problem: String| format!("{}: {problem}", request.first_line))
}

fn patient(stream: &TcpStream) -> Result<(), String> {
    let set = stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
    set.map_err(|error| error.to_string())
}

/// Serves on a free port until the program ends. Where `answer` has none, the connection is closed without a reply.
pub(crate) fn serve(
    answer: impl Fn(&Message) -> Option<Message> + Send + Sync + 'static,
) -> Result<SocketAddr, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| format!("no free port: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || {
                let served = patient(&stream).and_then(|()| Message::read(&stream));
                if let Some(reply) = served.ok().as_ref().and_then(|request| answer(request)) {
                    // Whoever asked may have gone.
                    _ = reply.write(&stream);
                }
            });
        }
    });
    Ok(address)
}

/// A port that was free a moment ago, for a server that cannot choose one itself.
pub(crate) fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| format!("no free port: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    Ok(address.port())
}

/// Base64 (RFC 4648, section 4).
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let character = if place <= group.len() {
                char::from(ALPHABET[bits >> (18 - 6 * place) & 63])
            } else {
                '='
            };
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives() {
        let address = serve(|request| {
            (request.path() != "/lost").then(|| {
                Message::reply(201, "text/plain", request.body.clone()).with("location", request.header("x-a").unwrap())
            })
        })
        .unwrap();
        let mut request = Message::request("POST", "/a?b=c").with("X-A", "d");
        request.body = vec![7; 100_000];
        let reply = exchange(address, &request).unwrap();
        assert_eq!((reply.status(), reply.header("Location")), (201, Some("d")));
        assert_eq!(reply.body, request.body);
        assert!(exchange(address, &Message::request("POST", "/lost")).is_err());
    }

    #[test]
    fn chunks_are_joined() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            Message::read(&stream).unwrap();
            let text = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
            stream.write_all(text.as_bytes()).unwrap();
        });
        let reply = exchange(address, &Message::request("GET", "/")).unwrap();
        served.join().unwrap();
        assert_eq!(reply.body, b"abcde");
    }

    #[test]
    fn base64_as_everybody_writes_it() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
