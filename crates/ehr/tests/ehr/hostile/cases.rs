//! What a hostile server answers, and what becomes of each answer: one table for the test and for the measurement of memory.

use std::{
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};

/// How a server answers a request.
pub(crate) type Answer = fn(&mut TcpStream) -> io::Result<()>;

/// One kind of attack.
pub(crate) struct Case {
    /// What is sent.
    pub(crate) name: &'static str,
    /// How.
    pub(crate) answer: Answer,
    /// How it is refused, in the words of the error.
    pub(crate) refused: &'static str,
}

const LARGER: &str = "it is larger than allowed";
const DEEP: &str = "its JSON is nested too deeply";
const MANY: &str = "its JSON has more values than allowed";
const SLOW: &str = "it took too long";
const BROKE: &str = "the connection broke";
const HEAD: &str = "its head is not HTTP, or longer than allowed";
const MARKUP: &str = "it is HTML or XML, not JSON";

/// All of them.
pub(crate) const CASES: &[Case] = &[
    case(
        "an honest answer of two bytes",
        |s| whole(s, b"{}"),
        "it is not a Bundle",
    ),
    case("JSON a million deep", |s| repeated(s, "[", 1_000_000), DEEP),
    case(
        "JSON of objects a million deep",
        |s| repeated(s, "{\"a\":", 1_000_000),
        DEEP,
    ),
    case("JSON of two million values", |s| repeated(s, "{},", 2_000_000), MANY),
    case("the costliest JSON that is read", costliest, "it is not a Bundle"),
    case(
        "a string of more than all that is read",
        |s| repeated(s, "\"\\u0000", 2_000_000),
        LARGER,
    ),
    case(
        "a length of a terabyte",
        |s| s.write_all(&head("Content-Length: 1000000000000")),
        LARGER,
    ),
    case("chunks without an end", endless_chunks, LARGER),
    case("gzip of 256 MB of zeros", |s| encoded(s, &ZEROS), LARGER),
    case("gzip of JSON of millions of values", |s| encoded(s, &VALUES), MANY),
    case("gzip of gzip", |s| encoded(s, &TWICE), "it is not JSON"),
    case(
        "what claims to be gzip and is not",
        |s| encoded(s, b"{\"resourceType\":\"Bundle\"}"),
        BROKE,
    ),
    case("entities of entities (XML)", billion_laughs, MARKUP),
    case(
        "XHTML nested a million deep",
        |s| repeated(s, "<div>", 1_000_000),
        MARKUP,
    ),
    case("ten thousand headers", many_headers, HEAD),
    case("a header without an end", endless_header, HEAD),
    case("interim replies without an end", endless_interim, SLOW),
    case("a reply of which a byte comes now and then", trickling_body, SLOW),
    case("headers of which a byte comes now and then", trickling_head, SLOW),
    case("silence", |_| wait(6), SLOW),
    case("the end, at once", |_| Ok(()), BROKE),
    case(
        "an end amidst the headers",
        |s| s.write_all(b"HTTP/1.1 200 OK\r\nContent-"),
        BROKE,
    ),
    case(
        "less than its length",
        |s| s.write_all(&with_body("Content-Length: 100", b"{}")),
        BROKE,
    ),
    case(
        "more than its length",
        |s| s.write_all(&with_body("Content-Length: 2", b"{}[]")),
        "it is not a Bundle",
    ),
    case(
        "two lengths",
        |s| s.write_all(&with_body("Content-Length: 2\r\nContent-Length: 3", b"{}")),
        HEAD,
    ),
    case(
        "a length that is no number",
        |s| s.write_all(&with_body("Content-Length: -1", b"{}")),
        HEAD,
    ),
    case(
        "a chunk of more than there are addresses",
        |s| s.write_all(&with_body(CHUNKED, b"FFFFFFFFFFFFFFFFF\r\n")),
        BROKE,
    ),
    case("a chunk's extension without an end", endless_extension, BROKE),
    case("another protocol", |s| s.write_all(b"220 mail.example ESMTP\r\n"), HEAD),
];

const CHUNKED: &str = "Transfer-Encoding: chunked";

const fn case(name: &'static str, answer: Answer, refused: &'static str) -> Case {
    Case { name, answer, refused }
}

#[allow(clippy::unnecessary_wraps, reason = "as all answers do")]
fn wait(seconds: u64) -> io::Result<()> {
    thread::sleep(Duration::from_secs(seconds));
    Ok(())
}

fn head(headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nDate: Mon, 05 Jan 2026 10:00:00 GMT\r\n{headers}\r\n\r\n").into_bytes()
}

fn with_body(headers: &str, body: &[u8]) -> Vec<u8> {
    [head(headers).as_slice(), body].concat()
}

fn whole(stream: &mut TcpStream, body: &[u8]) -> io::Result<()> {
    stream.write_all(&with_body(&format!("Content-Length: {}", body.len()), body))
}

fn repeated(stream: &mut TcpStream, text: &str, times: usize) -> io::Result<()> {
    stream.write_all(&head(&format!("Content-Length: {}", text.len() * times)))?;
    let piece = text.repeat(1_000);
    (0..times / 1_000).try_for_each(|_| stream.write_all(piece.as_bytes()))
}

/// As many small objects as may be: each takes a hundred times the memory of its text.
fn costliest(stream: &mut TcpStream) -> io::Result<()> {
    let objects = vec!["{\"\":0}"; 99_000];
    whole(stream, format!("[{}]", objects.join(",")).as_bytes())
}

fn endless_chunks(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(&head(CHUNKED))?;
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    loop {
        stream.write_all(chunk.as_bytes())?;
    }
}

fn gzip(piece: &[u8], times: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..times {
        encoder.write_all(piece).unwrap();
    }
    encoder.finish().unwrap()
}

fn encoded(stream: &mut TcpStream, body: &[u8]) -> io::Result<()> {
    let headers = format!("Content-Encoding: gzip\r\nContent-Length: {}", body.len());
    stream.write_all(&with_body(&headers, body))
}

static ZEROS: LazyLock<Vec<u8>> = LazyLock::new(|| gzip(&[0; 1_000_000], 256));
static VALUES: LazyLock<Vec<u8>> = LazyLock::new(|| gzip("{},".repeat(100_000).as_bytes(), 25));
static TWICE: LazyLock<Vec<u8>> = LazyLock::new(|| gzip(&gzip(&[0; 1_000_000], 64), 1));

/// Makes what takes long to make, so that no client has to wait for it.
pub(crate) fn prepare() {
    for bomb in [&ZEROS, &VALUES, &TWICE] {
        LazyLock::force(bomb);
    }
}

fn billion_laughs(stream: &mut TcpStream) -> io::Result<()> {
    let mut text = "<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY a0 \"ha\">".to_owned();
    for number in 1..30 {
        let of = format!("&a{};", number - 1).repeat(10);
        text = [text, format!("<!ENTITY a{number} \"{of}\">")].concat();
    }
    whole(stream, format!("{text}]><a>&a29;</a>").as_bytes())
}

fn many_headers(stream: &mut TcpStream) -> io::Result<()> {
    let headers: Vec<_> = (0..10_000).map(|number| format!("X-{number}: 1")).collect();
    stream.write_all(&with_body(&headers.join("\r\n"), b"{}"))
}

fn endless_header(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nX-Long: ")?;
    loop {
        stream.write_all(&[b'a'; 4096])?;
    }
}

fn endless_interim(stream: &mut TcpStream) -> io::Result<()> {
    loop {
        stream.write_all(&b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n".repeat(10))?;
        thread::sleep(Duration::from_millis(5));
    }
}

fn trickle(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    for byte in bytes {
        stream.write_all(&[*byte])?;
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn trickling_body(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(&head("Content-Length: 100"))?;
    trickle(stream, &[b' '; 100])
}

fn trickling_head(stream: &mut TcpStream) -> io::Result<()> {
    trickle(stream, &head("X-Header: of a reply that never comes to its end"))
}

fn endless_extension(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(&with_body(CHUNKED, b"1;"))?;
    loop {
        stream.write_all(&[b'a'; 4096])?;
    }
}

/// A server on this machine that answers every request in one way, until the process ends; where, and how many connections it had.
pub(crate) fn serve(answer: Answer) -> io::Result<(u16, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            counter.fetch_add(1, Ordering::SeqCst);
            // A client that has seen enough goes: writing fails then, as it should.
            thread::spawn(move || answer_one(stream, answer).unwrap_or(()));
        }
    });
    Ok((port, connections))
}

fn answer_one(mut stream: TcpStream, answer: Answer) -> io::Result<()> {
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => head.extend_from_slice(&buffer[..read]),
        }
    }
    answer(&mut stream)
}
