//! The HTTP transports against real sockets on this machine.

// In a test, a panic is the report.
#![allow(clippy::unwrap_used)]

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use skin_assist_transport::{HttpOptions, ReqwestTransport, Transport, TransportError};

/// Serves connections with a function each, on a free port; counts the requests.
struct Server {
    port: u16,
    requests: Arc<AtomicUsize>,
}

fn serve(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(AtomicUsize::new(0));
    let (counter, answer) = (Arc::clone(&requests), Arc::new(answer));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (counter, answer) = (Arc::clone(&counter), Arc::clone(&answer));
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut head = Vec::new();
                let mut buffer = [0; 4096];
                while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                    match stream.read(&mut buffer) {
                        Ok(read) if read > 0 => head.extend_from_slice(&buffer[..read]),
                        _ => return,
                    }
                }
                counter.fetch_add(1, Ordering::SeqCst);
                answer(&String::from_utf8_lossy(&head), &mut stream);
            });
        }
    });
    Server { port, requests }
}

fn options() -> HttpOptions {
    HttpOptions {
        connect_timeout: Duration::from_secs(1),
        // The transport takes this for a little more than connecting may take.
        read_timeout: Duration::ZERO,
        total_timeout: Duration::from_secs(10),
        allow_loopback_http: true,
        ..HttpOptions::default()
    }
}

fn api() -> ReqwestTransport {
    ReqwestTransport::for_api(&options()).unwrap()
}

fn send(transport: &ReqwestTransport, method: &str, url: &str) -> Result<Response<Bytes>, TransportError> {
    let request = Request::builder()
        .method(method)
        .uri(url)
        .header("x-ours", "yes")
        .body(Bytes::from("{}"))
        .unwrap();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(transport.send(request, 1000))
}

fn url(server: &Server) -> String {
    format!("http://127.0.0.1:{}/a?patient=7", server.port)
}

#[test]
fn a_reply_comes_whole() {
    let server = serve(|head, stream| {
        assert!(head.starts_with("GET /a?patient=7 HTTP/1.1\r\n"), "{head}");
        assert!(
            head.contains("accept-encoding: gzip") && head.contains("x-ours: yes"),
            "{head}"
        );
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nX-Theirs: 1\r\n\r\nhello");
    });
    let reply = send(&api(), "GET", &url(&server)).unwrap();
    assert_eq!(
        (reply.status(), &reply.body()[..]),
        (StatusCode::NOT_FOUND, &b"hello"[..])
    );
    assert_eq!(reply.headers()["x-theirs"], "1");
}

#[test]
fn gzip_is_decoded_and_the_limit_is_on_what_it_becomes() {
    // gzip of 2,000 zero bytes.
    const ZEROS: &[u8] = &[
        0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x63, 0x60, 0x18, 0x05, 0xa3, 0x60, 0x14, 0x8c,
        0x82, 0x51, 0x30, 0x0a, 0x46, 0xc1, 0x50, 0x07, 0x00, 0x44, 0xf4, 0xc9, 0x02, 0xd0, 0x07, 0x00, 0x00,
    ];
    let server = serve(|_, stream| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
            ZEROS.len()
        );
        let _ = stream.write_all(&[head.as_bytes(), ZEROS].concat());
    });
    assert_eq!(
        send(&api(), "GET", &url(&server)).unwrap_err(),
        TransportError::TooLarge { status: StatusCode::OK }
    );
}

#[test]
fn a_body_over_the_limit_is_not_read_to_its_end() {
    let declared = serve(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n");
        thread::sleep(Duration::from_secs(8));
    });
    let endless = serve(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n");
        while stream.write_all(b"4\r\nmore\r\n").is_ok() {}
    });
    assert_eq!(
        send(&api(), "GET", &url(&declared)).unwrap_err(),
        TransportError::TooLarge { status: StatusCode::OK }
    );
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    assert_eq!(
        send(&api(), "GET", &url(&endless)).unwrap_err(),
        TransportError::TooLarge { status }
    );
}

#[test]
fn a_dropped_or_late_or_broken_reply_leaves_the_outcome_unknown() {
    let dropped = serve(|_, _| {});
    let broken = serve(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\nhalf");
    });
    let late = serve(|_, _| thread::sleep(Duration::from_secs(8)));
    for (server, what, status) in [
        (&dropped, "the connection broke", None),
        (&broken, "the connection broke", Some(StatusCode::CREATED)),
        (&late, "it took too long", None),
    ] {
        for method in ["POST", "GET"] {
            assert_eq!(
                send(&api(), method, &url(server)).unwrap_err(),
                TransportError::Unknown { what, status }
            );
        }
        // Nothing was sent again.
        assert_eq!(server.requests.load(Ordering::SeqCst), 2);
    }
}

#[test]
fn without_a_connection_nothing_was_sent() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = send(&api(), "POST", &format!("http://127.0.0.1:{port}/a"));
    assert_eq!(
        refused.unwrap_err(),
        TransportError::NotSent {
            what: "the connection was refused"
        }
    );
    // TLS with somebody who says nothing, and with somebody who speaks something else.
    let silent = serve(|_, _| {});
    let no_tls = send(&api(), "POST", &format!("https://127.0.0.1:{}/a", silent.port));
    assert_eq!(
        no_tls.unwrap_err(),
        TransportError::NotSent {
            what: "connecting took too long"
        }
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = stream.read(&mut [0; 4096]);
    });
    let no_tls = send(&api(), "POST", &format!("https://127.0.0.1:{port}/a"));
    let what = "TLS failed: the certificate or the protocol is not accepted";
    assert_eq!(no_tls.unwrap_err(), TransportError::NotSent { what });
}

#[test]
fn redirects_are_not_followed() {
    let target = serve(|_, _| {});
    let port = target.port;
    let server = serve(move |_, stream| {
        let head = format!("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{port}/\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.write_all(head.as_bytes());
    });
    assert_eq!(send(&api(), "GET", &url(&server)).unwrap().status(), StatusCode::FOUND);
    assert_eq!(target.requests.load(Ordering::SeqCst), 0);
}

#[test]
fn plain_http_goes_to_this_machine_only_and_only_where_allowed() {
    let server = serve(|_, _| {});
    let strict = ReqwestTransport::for_api(&HttpOptions {
        allow_loopback_http: false,
        ..options()
    })
    .unwrap();
    for (transport, url) in [(&strict, url(&server)), (&api(), "http://192.0.2.1/a".to_owned())] {
        let refused = send(transport, "GET", &url);
        assert_eq!(
            refused.unwrap_err(),
            TransportError::NotSent {
                what: "only https is allowed"
            },
            "{url}"
        );
    }
    assert_eq!(server.requests.load(Ordering::SeqCst), 0);
}

#[test]
fn photos_go_to_public_addresses_with_no_header_but_the_callers() {
    let server = serve(|head, stream| {
        assert!(
            !head.contains("user-agent") && !head.contains("gzip") && !head.contains("authorization"),
            "{head}"
        );
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\njpeg");
    });
    let photos = |allow_loopback_http| {
        ReqwestTransport::for_photos(&HttpOptions {
            allow_loopback_http,
            ..options()
        })
        .unwrap()
    };
    for host in ["127.0.0.1", "localhost"] {
        let reply = send(&photos(true), "GET", &format!("http://{host}:{}/a", server.port)).unwrap();
        assert_eq!(reply.body(), "jpeg");
    }
    // Literal addresses, which are never resolved, and names, which are: this one leads to this machine.
    for (allowed, host) in [
        (false, "127.0.0.1"),
        (false, "localhost"),
        (true, "10.0.0.1"),
        (true, "169.254.169.254"),
        (true, "[fd00:ec2::254]"),
    ] {
        let refused = send(&photos(allowed), "GET", &format!("https://{host}:{}/a", server.port));
        assert_eq!(refused.unwrap_err(), TransportError::AddressRefused, "{host}");
    }
    assert_eq!(server.requests.load(Ordering::SeqCst), 2);
}
