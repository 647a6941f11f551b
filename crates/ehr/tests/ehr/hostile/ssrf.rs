//! Where a photo's URL may not lead, however it is written; and where a name may not lead, however often it changes its mind.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use ::http::{Request, Response};
use async_trait::async_trait;
use bytes::Bytes;
use skin_assist_core::{
    phi::{Phi, Secret},
    ports::{EhrError, PhotoRefusal, PhotoSource as _},
};
use skin_assist_ehr::{EhrClient, EhrConnection, HostPattern, Limits};
use skin_assist_transport::{Names, ReqwestTransport, Transport, TransportError};
use url::Url;

use super::{cases::serve, impatient};
use crate::script::{connection, profile, run};

/// A name for each kind of address and of writing, and URLs of it.
pub(crate) const CORPUS: &[(&str, &[&str])] = &[
    (
        "loopback",
        &["https://127.0.0.1/", "https://127.255.255.254/", "https://[::1]/"],
    ),
    (
        "loopback by name",
        &["https://localhost/", "https://LOCALHOST/", "https://localhost./"],
    ),
    (
        "decimal",
        &["https://2130706433/", "https://3232235777/", "https://2852039166/"],
    ),
    (
        "hexadecimal",
        &[
            "https://0x7f000001/",
            "https://0x7f.0x0.0x0.0x1/",
            "https://0xa9fea9fe/",
        ],
    ),
    (
        "octal",
        &[
            "https://0177.0.0.1/",
            "https://017700000001/",
            "https://0251.0376.0251.0376/",
        ],
    ),
    (
        "short forms",
        &["https://127.1/", "https://10.1/", "https://192.168.257/", "https://0/"],
    ),
    (
        "mixed bases",
        &["https://0x7f.1/", "https://0251.254.0xa9fe/", "https://10.0x0.1/"],
    ),
    (
        "zeros before numbers",
        &["https://012.0.0.1/", "https://0000012.0.0.1/", "https://0300.0250.0.1/"],
    ),
    (
        "private",
        &[
            "https://10.0.0.1/",
            "https://172.31.255.255/",
            "https://192.168.0.1/",
            "https://[fd00::1]/",
        ],
    ),
    (
        "link-local",
        &["https://169.254.0.1/", "https://[fe80::1]/", "https://[febf::1]/"],
    ),
    (
        "shared by carriers",
        &["https://100.64.0.1/", "https://100.127.255.255/"],
    ),
    (
        "unspecified",
        &["https://0.0.0.0/", "https://[::]/", "https://0.1.2.3/"],
    ),
    (
        "multicast",
        &["https://224.0.0.1/", "https://239.255.255.255/", "https://[ff02::1]/"],
    ),
    (
        "broadcast and reserved",
        &["https://255.255.255.255/", "https://240.0.0.1/"],
    ),
    (
        "for documents and benchmarks",
        &[
            "https://192.0.2.1/",
            "https://198.51.100.1/",
            "https://203.0.113.1/",
            "https://198.18.0.1/",
            "https://[2001:db8::1]/",
            "https://[3fff::1]/",
        ],
    ),
    (
        "special protocols",
        &[
            "https://192.0.0.192/",
            "https://192.88.99.1/",
            "https://[2001:10::1]/",
            "https://[100::1]/",
            "https://[5f00::1]/",
        ],
    ),
    (
        "metadata of AWS",
        &[
            "https://169.254.169.254/latest/meta-data/",
            "https://[fd00:ec2::254]/latest/",
            "https://169.254.170.2/v2/credentials",
        ],
    ),
    (
        "metadata of Azure",
        &[
            "https://169.254.169.254/metadata/instance",
            "https://168.63.129.16/machine",
        ],
    ),
    (
        "metadata of Google",
        &["https://169.254.169.254/computeMetadata/v1/", "https://[fd20:ce::254]/"],
    ),
    (
        "metadata of others",
        &[
            "https://100.100.100.200/latest/",
            "https://192.0.0.192/opc/v2/",
            "https://169.254.42.42/",
        ],
    ),
    (
        "IPv4-mapped IPv6",
        &[
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:a9fe:a9fe]/",
            "https://[::FFFF:10.0.0.1]/",
            "https://[0:0:0:0:0:ffff:0a00:0001]/",
            "https://[::ffff:8.8.8.8]/",
        ],
    ),
    (
        "IPv4-compatible IPv6",
        &["https://[::127.0.0.1]/", "https://[::a9fe:a9fe]/"],
    ),
    (
        "NAT64",
        &[
            "https://[64:ff9b::7f00:1]/",
            "https://[64:ff9b::169.254.169.254]/",
            "https://[64:ff9b:1::a00:1]/",
        ],
    ),
    (
        "6to4 and Teredo",
        &[
            "https://[2002:7f00:1::]/",
            "https://[2002:a9fe:a9fe::1]/",
            "https://[2001:0:7f00:1::]/",
        ],
    ),
    ("site-local", &["https://[fec0::1]/", "https://[feff::1]/"]),
    (
        "zones",
        &[
            "https://[fe80::1%25eth0]/",
            "https://[fe80::1%eth0]/",
            "https://[::1%25lo]/",
        ],
    ),
    (
        "a dot at the end",
        &["https://127.0.0.1./", "https://10.0.0.1./", "https://2130706433./"],
    ),
    (
        "digits of other scripts",
        &["https://１２７.０.０.１/", "https://①②⑦.⓪.⓪.①/", "https://𝟏𝟐𝟕.𝟎.𝟎.𝟏/"],
    ),
    (
        "dots of other scripts",
        &[
            "https://127。0。0。1/",
            "https://10．0．0．1/",
            "https://169｡254｡169｡254/",
        ],
    ),
    (
        "letters of other scripts",
        &["https://ｌｏｃａｌｈｏｓｔ/", "https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/"],
    ),
    (
        "percent-encoded",
        &[
            "https://%31%32%37.0.0.1/",
            "https://%6c%6fcalhost/",
            "https://10%2e0%2e0%2e1/",
            "https://%5B::1%5D/",
        ],
    ),
    (
        "users in front",
        &[
            "https://photos.example@127.0.0.1/",
            "https://photos.example:443@10.0.0.1/",
            "https://photos.example%2f@[::1]/",
        ],
    ),
    (
        "slashes turned around",
        &[
            "https:\\\\127.0.0.1\\",
            "https://evil.example\\@photos.example/",
            "https:/\\169.254.169.254/",
        ],
    ),
    (
        "fewer and more slashes",
        &["https:127.0.0.1/", "https:/10.0.0.1/", "https://///[::1]/"],
    ),
    (
        "blanks and line breaks",
        &[
            "https://127.0.\n0.1/",
            " https://10.0.0.1/ ",
            "ht\ttps://[::1]/",
            "https://169.254.169.254\r\nHost: a/",
        ],
    ),
    (
        "other schemes",
        &[
            "http://photos.example/",
            "ftp://photos.example/",
            "file:///etc/passwd",
            "gopher://127.0.0.1:25/",
            "data:image/png;base64,AA==",
            "javascript:1",
            "unix:/run/docker.sock",
            "jar:https://photos.example/a!/",
        ],
    ),
    (
        "no host",
        &[
            "https://",
            "https:///",
            "//127.0.0.1/",
            "/etc/passwd",
            "",
            "https://[]/",
            "https://[::1/",
        ],
    ),
    (
        "other ports",
        &[
            "https://photos.example:22/",
            "https://photos.example:80/",
            "https://photos.example:0/",
        ],
    ),
    (
        "other hosts",
        &[
            "https://evil.example/",
            "https://photos.example.evil.example/",
            "https://evilphotos.example/",
            "https://evil.example#@photos.example/",
            "https://evil.example/photos.example",
            "https://photos.examp\u{200b}le.evil.example/",
        ],
    ),
];

/// Photos from nowhere: who asks for one has been let through.
#[derive(Default)]
struct LetThrough(AtomicUsize, Option<String>);

#[async_trait]
impl Transport for LetThrough {
    async fn send(&self, request: Request<Bytes>, _: usize) -> Result<Response<Bytes>, TransportError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let mut reply = Response::new(Bytes::from_static(b"jpeg"));
        if let Some(location) = &self.1
            && request.uri().host() == Some("photos.example")
        {
            *reply.status_mut() = ::http::StatusCode::FOUND;
            let location = ::http::HeaderValue::from_bytes(location.as_bytes()).unwrap();
            reply.headers_mut().insert("location", location);
        }
        Ok(reply)
    }
}

/// A client of an EHR whose operator allows photos from the very host of this URL, so that no list of hosts refuses it.
fn credulous(url: &str, photos: Arc<dyn Transport>) -> EhrClient {
    let mut hosts = vec![HostPattern::parse("photos.example").unwrap()];
    let own = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
    if !url.contains("evil") {
        hosts.extend(own.and_then(|host| HostPattern::parse(&host).ok()));
    }
    let connection = EhrConnection {
        photo_hosts: hosts,
        ..connection(profile())
    };
    EhrClient::new(connection, crate::script::Script::of([]), photos).unwrap()
}

fn refusal() -> Result<usize, EhrError> {
    Err(PhotoRefusal::UrlNotAllowed.into())
}

#[test]
fn no_writing_of_an_address_gets_past_and_no_redirect_to_it() {
    assert_eq!(PhotoRefusal::UrlNotAllowed.reason().code(), "photo.url-not-allowed");
    for url in CORPUS.iter().flat_map(|(_, urls)| *urls) {
        let network = Arc::new(LetThrough::default());
        let photo = run(credulous(url, network.clone()).download(&Phi::new((*url).to_owned())));
        assert_eq!(photo.map(|photo| photo.expose().len()), refusal(), "{url:?}");
        assert_eq!(network.0.load(Ordering::SeqCst), 0, "{url:?} was asked");

        // What no header takes cannot be sent; and what is relative stays on the host.
        let sendable = ::http::HeaderValue::from_bytes(url.as_bytes()).is_ok();
        let stays = Url::parse("https://photos.example/a")
            .unwrap()
            .join(url)
            .is_ok_and(|next| next.as_str().starts_with("https://photos.example/"));
        if !sendable || stays {
            continue;
        }
        let network = Arc::new(LetThrough(AtomicUsize::new(0), Some((*url).to_owned())));
        let photo = run(credulous(url, network.clone()).download(&Phi::new("https://photos.example/a".to_owned())));
        assert_eq!(
            photo.map(|photo| photo.expose().len()),
            refusal(),
            "a redirect to {url:?}"
        );
        assert_eq!(network.0.load(Ordering::SeqCst), 1, "{url:?} was asked");
    }
}

/// A resolver that gives these answers, one after the other, and the last one for ever.
struct Script(Mutex<VecDeque<Vec<IpAddr>>>, AtomicUsize);

impl Script {
    fn of(answers: &[&[&str]]) -> Arc<Self> {
        let parsed = |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Self(
            Mutex::new(answers.iter().map(parsed).collect()),
            AtomicUsize::new(0),
        ))
    }
}

#[async_trait]
impl Names for Script {
    async fn addresses(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.0.lock().unwrap();
        let answer = answers.pop_front().unwrap();
        if answers.is_empty() {
            answers.push_back(answer.clone());
        }
        Ok(answer)
    }
}

/// Downloads from these URLs in turn, with one client and names that lead where the script says.
fn download(urls: &[String], names: &Arc<Script>) -> Vec<Result<usize, EhrError>> {
    let photos = ReqwestTransport::for_photos_by(&impatient(), Arc::clone(names) as _).unwrap();
    let hosts = urls.iter().map(|url| {
        let url = Url::parse(url).unwrap();
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        HostPattern::parse(&format!("{}{port}", url.host_str().unwrap())).unwrap()
    });
    let connection = EhrConnection {
        further_api_keys: BTreeMap::new(),
        api_key: Secret::new("the-api-key".into()),
        photo_hosts: hosts.collect(),
        allow_loopback_http: true,
        limits: Limits::default(),
        ..connection(profile())
    };
    let client = EhrClient::new(connection, crate::script::Script::of([]), Arc::new(photos)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut outcomes = Vec::new();
    for url in urls {
        let photo = runtime.block_on(client.download(&Phi::new(url.clone())));
        outcomes.push(photo.map(|photo| photo.expose().len()));
    }
    outcomes
}

#[test]
fn a_name_that_leads_into_the_network_is_refused_and_nothing_connects() {
    let (port, connections) = serve(|_| Ok(())).unwrap();
    for answer in [
        &["127.0.0.1"][..],
        &["::1"],
        &["10.0.0.1"],
        &["169.254.169.254"],
        &["fd00:ec2::254"],
        &["::ffff:127.0.0.1"],
        &["64:ff9b::7f00:1"],
        &["0.0.0.0"],
        // One of them is enough.
        &["8.8.8.8", "127.0.0.1"],
        &["127.0.0.1", "8.8.8.8"],
    ] {
        for name in [
            "photos.example",
            "metadata.google.internal",
            "a.localhost",
            "127.0.0.1.nip.io",
        ] {
            let names = Script::of(&[answer]);
            let url = format!("https://{name}:{port}/");
            assert_eq!(download(&[url], &names), [refusal()], "{name} {answer:?}");
            assert_eq!(names.1.load(Ordering::SeqCst), 1, "it was looked up");
        }
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[test]
fn a_name_that_changes_its_mind_is_connected_to_as_it_was_checked() {
    let (port, connections) = serve(|stream| {
        io::Write::write_all(
            stream,
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\njpeg",
        )
    })
    .unwrap();
    // The one name that may lead to this machine stands for one that may lead to the internet. It is looked up once for each
    // connection: what was checked is what is connected to, and there is no second answer to be given in between.
    let names = Script::of(&[
        &["127.0.0.1"],
        &["127.0.0.1"],
        &["10.0.0.1"],
        &["127.0.0.1", "10.0.0.1"],
    ]);
    let url = format!("http://localhost:{port}/");
    let outcomes = download(&[url.clone(), url.clone(), url.clone(), url], &names);
    assert_eq!(outcomes, [Ok(4), Ok(4), refusal(), refusal()]);
    assert_eq!(names.1.load(Ordering::SeqCst), 4);
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}
