//! Sessions end when nobody uses the console, also behind an open page.

use std::sync::atomic::{AtomicI64, Ordering};

use skin_assist_core::time::Timestamp;

use super::*;

/// A clock that somebody sets.
pub(crate) struct SetClock(AtomicI64);

impl SetClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(SystemClock.now().as_millis())))
    }

    pub(crate) fn go_on(&self, minutes: i64) {
        self.0.fetch_add(minutes * 60_000, Ordering::Relaxed);
    }
}

#[async_trait::async_trait]
impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }

    async fn sleep_until(&self, instant: Timestamp) {
        while self.now() < instant {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// What the script of a page puts into what it asks.
const BY_ITSELF: &str = "skin-assist-refresh: page\r\n";

/// Opens the stream of a page, and gives the status.
async fn open_stream(address: SocketAddr, session: &str) -> u16 {
    let request = format!("GET /live HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{session}\r\n");
    let opened = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        std::str::from_utf8(&head[9..]).unwrap().parse().unwrap()
    };
    tokio::task::spawn_blocking(opened).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_stands_open_keeps_no_session() {
    let folder = tempfile::tempdir().unwrap();
    let (state, _) = with_a_practice(folder.path()).await;
    let clock = SetClock::new();
    let (_serving, address) = served(&state, clock.clone(), |options| options.access.everybody = None).await;
    let session: &'static str = sign_in(address, "operate").await.leak();
    let refresh: &'static str = format!("{session}{BY_ITSELF}").leak();
    // Somebody reads: pages, one after the other.
    for _ in 0..3 {
        clock.go_on(20);
        assert_eq!(ask(address, "/", session).await.0, 200);
    }
    // Nobody does: the page alone is there, and asks.
    for _ in 0..4 {
        clock.go_on(7);
        assert_eq!(ask(address, "/", refresh).await.0, 200);
        assert_eq!(ask(address, "/session", refresh).await.0, 204);
        assert_eq!(open_stream(address, session).await, 200);
    }
    clock.go_on(2);
    for path in ["/", "/session", "/practices/elm"] {
        assert_eq!(ask(address, path, refresh).await.0, 401, "{path}");
    }
    assert_eq!(open_stream(address, session).await, 401);
    let (status, head, _) = ask(address, "/", format!("{session}Accept: text/html\r\n").leak()).await;
    assert_eq!(status, 303);
    assert!(head.contains("location: /sign-in"));
}

/// Where everybody may look, too, the page is told that it is not that person's any more.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_signed_out_is_told_so_where_everybody_may_look() {
    let folder = tempfile::tempdir().unwrap();
    let (state, _) = with_a_practice(folder.path()).await;
    let clock = SetClock::new();
    let (_serving, address) = served(&state, clock.clone(), |_| {}).await;
    let session: &'static str = sign_in(address, "operate").await.leak();
    assert_eq!(ask(address, "/session", session).await.0, 204);
    clock.go_on(30);
    assert_eq!(ask(address, "/session", session).await.0, 401);
    assert_eq!(ask(address, "/", session).await.0, 200);
    // What the script does with that is tried in a browser (interop/console/check.py).
    let (_, _, script) = ask(address, "/assets/console.js", "").await;
    let header = BY_ITSELF.split(':').next().unwrap();
    assert!(
        script.contains(header) && script.contains("/session"),
        "the script asks otherwise than the console expects"
    );
}
