//! TLS against real sockets on this machine: the floor, whose certificates are taken, and ours.

// In a test, a panic is the report.
#![allow(clippy::unwrap_used)]

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use ::http::{Request, StatusCode};
use bytes::Bytes;
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use skin_assist_transport::{ClientIdentity, HttpOptions, ReqwestTransport, Transport, TransportError};

const AUTHORITY: &[u8] = include_bytes!("tls/authority.pem");
const OTHER: &[u8] = include_bytes!("tls/other.pem");

/// A certificate with its key.
type Pair = (&'static [u8], &'static [u8]);

const SERVER: Pair = (include_bytes!("tls/server.pem"), include_bytes!("tls/server.key"));
const ELSEWHERE: Pair = (include_bytes!("tls/elsewhere.pem"), include_bytes!("tls/elsewhere.key"));
const EXPIRED: Pair = (include_bytes!("tls/expired.pem"), include_bytes!("tls/expired.key"));
const CLIENT: Pair = (include_bytes!("tls/client.pem"), include_bytes!("tls/client.key"));
const STRANGER: Pair = (include_bytes!("tls/stranger.pem"), include_bytes!("tls/stranger.key"));

const NO_TLS: TransportError = TransportError::NotSent {
    what: "TLS failed: the certificate or the protocol is not accepted",
};

/// A server of HTTPS on a free port that counts whole requests.
struct Server {
    port: u16,
    requests: Arc<AtomicUsize>,
}

fn roots(pem: &[u8]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
    roots
}

/// Shows this certificate; asks for one of `clients`, where that is given.
fn serve((certificate, key): Pair, clients: Option<&[u8]>) -> Server {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots(authority)), provider)
                .build()
                .unwrap(),
        ),
    };
    let certificate = CertificateDer::from_pem_slice(certificate).unwrap();
    let config = builder
        .with_single_cert(vec![certificate], PrivateKeyDer::from_pem_slice(key).unwrap())
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            let mut head = Vec::new();
            let mut buffer = [0; 4096];
            while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(read) if read > 0 => head.extend_from_slice(&buffer[..read]),
                    _ => break,
                }
            }
            if !head.is_empty() {
                counter.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
                let _ = stream.flush();
            }
        }
    });
    Server { port, requests }
}

fn options() -> HttpOptions {
    HttpOptions {
        connect_timeout: Duration::from_secs(5),
        total_timeout: Duration::from_secs(10),
        // Whatever may be allowed of this machine: TLS is TLS.
        allow_loopback_http: true,
        ..HttpOptions::default()
    }
}

fn send(transport: &ReqwestTransport, port: u16) -> Result<StatusCode, TransportError> {
    let request = Request::get(format!("https://localhost:{port}/a"))
        .body(Bytes::new())
        .unwrap();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(transport.send(request, 1000))
        .map(|reply| reply.status())
}

fn api(options: &HttpOptions) -> ReqwestTransport {
    ReqwestTransport::for_api(options).unwrap()
}

fn trusting(authority: &[u8]) -> HttpOptions {
    HttpOptions {
        private_ca: Some(authority.to_vec()),
        ..options()
    }
}

/// A certificate that is not of a known authority, not for this host, or ended, is not taken, whatever is configured; nothing of a
/// request is sent.
#[test]
fn a_certificate_that_does_not_hold_is_never_taken() {
    let (unknown, elsewhere, expired) = (serve(SERVER, None), serve(ELSEWHERE, None), serve(EXPIRED, None));
    let with_all = HttpOptions {
        identity: Some(ClientIdentity::new(CLIENT.0, CLIENT.1)),
        ..trusting(AUTHORITY)
    };
    for (server, options, why) in [
        (&unknown, options(), "of nobody"),
        (&unknown, trusting(OTHER), "of another authority"),
        (&elsewhere, with_all.clone(), "for another host"),
        (&expired, with_all.clone(), "ended"),
    ] {
        assert_eq!(send(&api(&options), server.port), Err(NO_TLS), "{why}");
        let photos = ReqwestTransport::for_photos(&options).unwrap();
        assert_eq!(send(&photos, server.port), Err(NO_TLS), "{why}");
    }
    for server in [unknown, elsewhere, expired] {
        assert_eq!(server.requests.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn a_private_authority_is_trusted_by_services_alone() {
    let server = serve(SERVER, None);
    let options = trusting(AUTHORITY);
    assert_eq!(send(&api(&options), server.port), Ok(StatusCode::OK));
    let photos = ReqwestTransport::for_photos(&options).unwrap();
    assert_eq!(send(&photos, server.port), Err(NO_TLS), "photo hosts are public");
    assert_eq!(server.requests.load(Ordering::SeqCst), 1);
    let broken = HttpOptions {
        private_ca: Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec()),
        ..options
    };
    assert!(ReqwestTransport::for_api(&broken).is_err());
}

#[test]
fn a_client_certificate_is_shown_to_services_that_ask() {
    let server = serve(SERVER, Some(AUTHORITY));
    let with = |(certificate, key): Pair| HttpOptions {
        identity: Some(ClientIdentity::new(certificate, key)),
        ..trusting(AUTHORITY)
    };
    assert_eq!(send(&api(&with(CLIENT)), server.port), Ok(StatusCode::OK));
    for (options, who) in [(trusting(AUTHORITY), "nobody"), (with(STRANGER), "a stranger")] {
        // In TLS 1.3 the server says no when it was sent the request already: it is not known to be unseen.
        let refused = send(&api(&options), server.port);
        assert!(refused.is_err(), "{who}: {refused:?}");
    }
    assert_eq!(server.requests.load(Ordering::SeqCst), 1, "no other request was read");
    // To one that does not ask it makes no difference.
    let open = serve(SERVER, None);
    assert_eq!(send(&api(&with(CLIENT)), open.port), Ok(StatusCode::OK));
    let shown = format!("{:?}", with(CLIENT));
    assert!(shown.contains("[secret]") && !shown.contains("PRIVATE"), "{shown}");
    assert!(
        ReqwestTransport::for_api(&with((CLIENT.0, b"no key"))).is_err(),
        "what is no key is refused at the start"
    );
}

/// What the client says first, and what it makes of a server that takes TLS 1.1 at the most.
#[test]
fn nothing_below_tls_1_2_is_offered_or_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let hello = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&hello);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            let mut head = [0; 5];
            stream.read_exact(&mut head).unwrap();
            let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
            stream.read_exact(&mut body).unwrap();
            *kept.lock().unwrap() = body;
            // ServerHello: TLS 1.1, a random, no session, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, no compression.
            let mut reply = vec![0x02, 0, 0, 38, 0x03, 0x02];
            reply.extend([7; 32]);
            reply.extend([0, 0xc0, 0x13, 0]);
            let mut record = vec![0x16, 0x03, 0x02, 0, reply.len() as u8];
            record.extend(reply);
            let _ = stream.write_all(&record);
            let _ = stream.read(&mut [0; 64]);
        }
    });
    assert_eq!(send(&api(&trusting(AUTHORITY)), port), Err(NO_TLS));
    assert_eq!(offered(&hello.lock().unwrap()), [0x0304, 0x0303]);
}

/// The versions in a ClientHello (RFC 8446, sections 4.1.2 and 4.2.1).
fn offered(hello: &[u8]) -> Vec<u16> {
    let number = |at: usize| u16::from_be_bytes([hello[at], hello[at + 1]]);
    // Type and length, version, random.
    let mut at = 4 + 2 + 32;
    at += 1 + usize::from(hello[at]);
    at += 2 + usize::from(number(at));
    at += 1 + usize::from(hello[at]);
    let end = at + 2 + usize::from(number(at));
    at += 2;
    while at < end {
        let (kind, length) = (number(at), usize::from(number(at + 2)));
        if kind == 43 {
            return hello[at + 5..at + 4 + length]
                .chunks(2)
                .map(|version| u16::from_be_bytes([version[0], version[1]]))
                .collect();
        }
        at += 4 + length;
    }
    Vec::new()
}
