//! Signing in to the console with an identity provider: the whole way by HTTP, and each thing that must not get anybody in.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

#[path = "support/process.rs"]
mod process;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use http::Request;
use process::Installation;
use serde_json::{Value, json};
use skin_assist::{
    config::{Config, Environment},
    console::{AccessOptions, Bounds, Console, ConsoleOptions, Role, Serving},
    wiring,
};
use skin_assist_core::{
    audit::installation,
    phi::Secret,
    ports::{AuditAction, AuditTrail as _},
    time::{Clock, Timestamp},
};
use skin_assist_store::{SqliteStore, StateKey};
use skin_assist_testkit::identity_provider::{Conduct, IdentityProvider, Signing, Twist};

const CLIENT: &str = "skin-assist-console";
const SECRET: &str = "a secret of the client";

/// A clock that a test moves.
struct MovedClock(AtomicI64);

#[async_trait]
impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }

    async fn sleep_until(&self, _: Timestamp) {}
}

impl MovedClock {
    fn forward(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

/// What was answered to one request.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The values of cookies that it sets.
    fn cookies(&self) -> Vec<(String, String, String)> {
        let set = self.head.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
        set.map(|line| {
            let (pair, rest) = line.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            (name.to_owned(), value.to_owned(), rest.to_owned())
        })
        .collect()
    }

    /// Where it leads, with or without a stop.
    fn leads_to(&self) -> &str {
        let refresh = self.header("refresh").and_then(|value| value.strip_prefix("0; url="));
        refresh.or(self.header("location")).unwrap_or_default()
    }
}

fn exchange(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// Serves the provider over HTTP.
async fn serve(listener: tokio::net::TcpListener, provider: IdentityProvider) {
    let handler = axum::routing::any(async move |request: axum::extract::Request| {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        provider
            .handle(&Request::from_parts(parts, body))
            .map(axum::body::Body::from)
    });
    axum::serve(listener, axum::Router::new().fallback(handler))
        .await
        .unwrap();
}

/// A console with a provider beside it.
struct World {
    provider: IdentityProvider,
    provider_address: SocketAddr,
    console: SocketAddr,
    /// Under which browsers reach the console.
    url: String,
    clock: Arc<MovedClock>,
    state: Arc<SqliteStore>,
    _serving: Serving,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new(further: &str, client_secret: Option<&'static str>) -> Self {
        Self::at(None, further, client_secret).await
    }

    /// Under this address, or its own.
    async fn at(url: Option<&str>, further: &str, client_secret: Option<&'static str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(MovedClock(AtomicI64::new(1_800_000_000_000)));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let provider_address = listener.local_addr().unwrap();
        let issuer = url::Url::parse(&format!("http://{provider_address}")).unwrap();
        let provider = IdentityProvider::new(issuer, CLIENT, client_secret, clock.clone());
        tokio::spawn(serve(listener, provider.clone()));

        // Its port has to be known to the provider before it listens.
        let console = std::net::TcpListener::bind(("127.0.0.1", 0))
            .unwrap()
            .local_addr()
            .unwrap();
        let url = url.map_or_else(|| format!("http://{console}"), str::to_owned);
        let secret = match client_secret {
            Some(secret) => {
                std::fs::write(folder.path().join("client.secret"), secret).unwrap();
                "client_secret_file = \"client.secret\""
            }
            None => "",
        };
        let text = format!(
            "[openid_connect]\nissuer = \"{}\"\nclient_id = \"{CLIENT}\"\n{secret}\nconsole_url = \"{url}\"\n\
             viewers = [\"clinic\"]\noperators = [\"repair\"]\nadmins = [\"rule\", \"cn=admins,ou=clinic\"]\n{further}\n",
            provider.issuer()
        );
        let file = folder.path().join("skin-assist.toml");
        std::fs::write(&file, text).unwrap();
        let config = Config::read(Some(&file), &Environment::new()).unwrap();
        let state = SqliteStore::open(&folder.path().join("state.sqlite"), &StateKey::from_bytes([3; 32])).unwrap();
        let state = Arc::new(state);
        let options = ConsoleOptions {
            listen: console,
            access: AccessOptions {
                openid_connect: wiring::identity_provider(&config).unwrap(),
                tokens: vec![(Role::Admin, Secret::new("a token".to_owned()))],
                ..AccessOptions::default()
            },
            standing_for: Duration::from_secs(5),
            bounds: Bounds::default(),
            config,
        };
        let served = Console::new(state.clone(), clock.clone(), options).unwrap();
        let mut serving = Serving::start(served, console, |_| {});
        serving.address().await.unwrap();
        Self {
            provider,
            provider_address,
            console,
            url,
            clock,
            state,
            _serving: serving,
            _folder: folder,
        }
    }

    /// From now on somebody with these claims signs in.
    fn person(&self, claims: Value) {
        self.provider.conduct(Conduct {
            claims,
            ..Conduct::default()
        });
    }

    fn browser(&self) -> Browser<'_> {
        Browser {
            world: self,
            cookies: Vec::new(),
        }
    }

    /// Who signed in as what, by the audit trail.
    async fn signed_in(&self) -> Vec<String> {
        let page = self.state.audit_entries(&installation(), 0, 100).await.unwrap();
        let entries = page.entries.into_iter();
        entries
            .filter(|entry| entry.action == AuditAction::SignedIn.as_str())
            .map(|entry| entry.actor)
            .collect()
    }
}

/// A browser: it keeps cookies, and sends those that are for this site's own pages alone only from there.
struct Browser<'a> {
    world: &'a World,
    cookies: Vec<(String, String, String)>,
}

impl Browser<'_> {
    async fn ask(&mut self, method: &str, path: &str, body: &str, from_elsewhere: bool) -> Answer {
        let address = self.world.console;
        let sent = self
            .cookies
            .iter()
            .filter(|(_, value, rules)| !value.is_empty() && (!from_elsewhere || rules.contains("SameSite=Lax")));
        let cookies: Vec<_> = sent.map(|(name, value, _)| format!("{name}={value}")).collect();
        let (cookies, length) = (cookies.join("; "), body.len());
        let (_, host) = self.world.url.split_once("://").unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAccept: text/html\r\n\
             Cookie: {cookies}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let answer = tokio::task::spawn_blocking(move || exchange(address, &request))
            .await
            .unwrap();
        for cookie in answer.cookies() {
            self.cookies.retain(|(name, ..)| *name != cookie.0);
            self.cookies.push(cookie);
        }
        answer
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, "", false).await
    }

    /// Follows to the provider, and gives where that leads back.
    async fn at_provider(&self, url: &str) -> String {
        let address = self.world.provider_address;
        let path = url.strip_prefix(&format!("http://{address}")).unwrap().to_owned();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        let answer = tokio::task::spawn_blocking(move || exchange(address, &request))
            .await
            .unwrap();
        assert_eq!(answer.status, 302, "{}", answer.body);
        self.here(answer.leads_to())
    }

    /// The path of an address of the console.
    fn here(&self, url: &str) -> String {
        let path = url.strip_prefix(&self.world.url);
        path.unwrap_or_else(|| panic!("{url} leads elsewhere")).to_owned()
    }

    /// Goes to the provider and agrees there; gives the address that leads back.
    async fn away(&mut self, next: &str) -> String {
        let left = self.get(&format!("/sign-in/openid-connect?next={next}")).await;
        assert_eq!(left.status, 303, "{}", left.body);
        self.at_provider(left.leads_to()).await
    }

    /// The whole way. The answer to who comes back from the provider.
    async fn sign_in(&mut self, next: &str) -> Answer {
        let back = self.away(next).await;
        self.ask("GET", &back, "", true).await
    }

    /// Signs out with the form of the page, as a person does.
    async fn sign_out(&mut self) -> Answer {
        let page = self.get("/").await;
        let (_, rest) = page.body.split_once("name=\"form\" value=\"").unwrap();
        let form = format!("form={}", rest.split_once('"').unwrap().0);
        self.ask("POST", "/sign-out", &form, false).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_and_out_with_the_provider() {
    for (client_secret, signing) in [(Some(SECRET), Signing::Es256), (None, Signing::Rs256)] {
        let world = World::new("", client_secret).await;
        world.provider.conduct(Conduct {
            claims: json!({"groups": ["staff", "repair", "clinic"], "email": "ada@example.org", "name": "Ada Roe"}),
            signing,
            issuer_in_answer: None,
            ..Conduct::default()
        });
        let mut browser = world.browser();
        let asked = browser.get("/photos?practice=elm").await;
        assert_eq!(asked.leads_to(), "/sign-in?next=%2Fphotos%3Fpractice%3Delm");
        let form = browser.get(asked.leads_to()).await;
        let link = "/sign-in/openid-connect?next=%2Fphotos%3Fpractice%3Delm";
        assert!(form.body.contains(&format!("href=\"{link}\"")), "{}", form.body);
        assert!(form.body.contains("Token or code"), "both ways are offered");

        let left = browser.get(link).await;
        let cookie = &left.cookies()[0];
        assert!(cookie.2.contains("HttpOnly; SameSite=Lax; Max-Age=600"), "{}", cookie.2);
        let back = browser.at_provider(left.leads_to()).await;
        assert!(back.starts_with("/sign-in/return?"));
        let arrived = browser.ask("GET", &back, "", true).await;
        assert_eq!(arrived.status, 200, "{}", arrived.body);
        assert_eq!(arrived.leads_to(), "/photos?practice=elm");
        let session = arrived
            .cookies()
            .into_iter()
            .find(|(name, ..)| name == "skin-assist-session")
            .unwrap();
        assert!(
            session.2.contains("HttpOnly; SameSite=Strict; Max-Age=43200"),
            "{}",
            session.2
        );

        let page = browser.get("/queues").await;
        assert_eq!(page.status, 200);
        assert!(
            page.body.contains("sub:248289761001, operator"),
            "the highest of two roles"
        );
        assert!(!page.body.contains("Ada Roe") && !page.body.contains("ada@example.org"));
        assert_eq!(world.signed_in().await, ["console operator sub:248289761001"]);

        let mut other = world.browser();
        other.cookies.clone_from(&browser.cookies);
        let out = browser.sign_out().await;
        assert_eq!(out.status, 200);
        let end = url::Url::parse(out.leads_to()).unwrap();
        assert_eq!(end.path(), "/logout");
        let told: std::collections::HashMap<_, _> = end.query_pairs().collect();
        assert_eq!(told["post_logout_redirect_uri"], format!("http://{}/", world.console));
        assert_eq!(told["client_id"], CLIENT);
        assert_eq!(told["id_token_hint"].split('.').count(), 3);
        assert_eq!(other.get("/queues").await.status, 303, "the session of who signed out");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_for_this_sign_in_gets_nobody_in() {
    fn claim(name: &'static str, value: impl Into<Value>) -> Twist {
        let value = value.into();
        Box::new(move |claims| claims[name] = value.clone())
    }
    let world = World::new("", Some(SECRET)).await;
    let now = world.clock.now().as_millis() / 1000;
    let twists: Vec<(&str, Twist)> = vec![
        ("it is of another sign-in", claim("nonce", "another")),
        ("it is of another sign-in", claim("nonce", Value::Null)),
        ("it is for another client", claim("aud", "another-client")),
        (
            "it is for another client",
            claim("aud", json!([CLIENT, "another-client"])),
        ),
        ("it is for another client", claim("azp", "another-client")),
        ("it is of another issuer", claim("iss", "https://elsewhere.example")),
        ("it has expired", claim("exp", now - 61)),
        ("it is not valid yet", claim("iat", now + 120)),
        ("it is not a token as OpenID Connect has it", claim("exp", "tomorrow")),
        ("it is not a token as OpenID Connect has it", claim("sub", "")),
    ];
    let signings = [
        (
            "it is not signed with one of the algorithms that are allowed",
            Signing::Unsigned,
        ),
        (
            "it is not signed with one of the algorithms that are allowed",
            Signing::Hs256ByPublicKey,
        ),
        ("its signature is wrong", Signing::Stranger),
    ];
    let twisted = twists
        .into_iter()
        .map(|(said, twist)| (said, Signing::Es256, Some(twist)));
    let signed = signings.into_iter().map(|(said, signing)| (said, signing, None));
    for (said, signing, twist) in twisted.chain(signed) {
        world.provider.conduct(Conduct {
            claims: json!({"groups": ["rule"]}),
            signing,
            twist,
            ..Conduct::default()
        });
        let mut browser = world.browser();
        let refused = browser.sign_in("/").await;
        assert_eq!(refused.status, 502, "{said}");
        assert!(
            refused.body.contains(said) && refused.body.contains("hint: "),
            "{}",
            refused.body
        );
        assert_eq!(browser.get("/").await.status, 303, "{said}");
    }
    assert!(world.signed_in().await.is_empty());
    // The same without a twist gets in: it was none of the rest.
    world.person(json!({"groups": ["rule"]}));
    assert_eq!(world.browser().sign_in("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_good_once_in_its_own_browser_and_soon() {
    let world = World::new("", Some(SECRET)).await;
    world.person(json!({"groups": "rule"}));
    let mut ada = world.browser();
    let back = ada.away("/").await;
    let expected = "this sign-in is over, was begun in another browser, or was used already";
    let refused = async |browser: &mut Browser<'_>, path: &str, why: &str| {
        let answer = browser.ask("GET", path, "", true).await;
        assert_eq!(answer.status, 400, "{why}");
        assert!(
            answer.body.contains(expected) && answer.body.contains("hint: "),
            "{why}"
        );
        assert!(
            answer.cookies().iter().all(|(name, ..)| name != "skin-assist-session"),
            "{why}"
        );
    };
    refused(&mut ada, &back.replace("state=", "state=0"), "another state").await;
    refused(&mut ada, "/sign-in/return", "nothing at all").await;
    assert_eq!(ada.ask("GET", &back, "", true).await.status, 200);
    let again = back.clone();
    refused(&mut ada, &again, "a second time").await;

    let mut eve = world.browser();
    let back = ada.away("/").await;
    refused(&mut eve, &back, "in a browser that was never sent").await;
    let back = ada.away("/").await;
    _ = eve.away("/").await;
    refused(&mut eve, &back, "in a browser that was sent otherwise").await;

    let back = ada.away("/").await;
    world.clock.forward(601);
    refused(&mut ada, &back, "too late").await;

    // A code that somebody used before is refused by the provider, which is told.
    let first = ada.away("/").await;
    let code = first
        .split("code=")
        .nth(1)
        .unwrap()
        .split('&')
        .next()
        .unwrap()
        .to_owned();
    assert_eq!(ada.ask("GET", &first, "", true).await.status, 200);
    let second = ada.away("/").await;
    let (before, _) = second.split_once("code=").unwrap();
    let reused = ada.ask("GET", &format!("{before}code={code}"), "", true).await;
    assert_eq!(reused.status, 502);
    assert!(reused.body.contains("refused: invalid_grant"), "{}", reused.body);
    assert!(!reused.body.contains(&code));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_what_the_provider_says_at_the_sign_in() {
    let further = "role_claim = \"realm_access.roles\"\nname_claim = \"email\"";
    let world = World::new(further, Some(SECRET)).await;
    let mut browser = world.browser();
    for roles in [json!([]), json!(["staff"]), json!(["Rule"]), json!(7)] {
        world.person(json!({"realm_access": {"roles": roles}, "groups": ["rule"]}));
        let refused = browser.sign_in("/").await;
        assert_eq!(refused.status, 403, "{roles}");
        assert!(refused.body.contains("you have no role here"), "{}", refused.body);
        assert!(
            refused.body.contains("hint: ask for a group or role"),
            "{}",
            refused.body
        );
        assert_eq!(browser.get("/").await.status, 303);
    }
    assert!(world.signed_in().await.is_empty());
    for (role, verified, named) in [
        ("clinic", true, "email:ada@example.org, viewer"),
        ("cn=admins,ou=clinic", true, "email:ada@example.org, admin"),
        ("repair", false, "sub:248289761001, operator"),
    ] {
        let claims = json!({"realm_access": {"roles": [role]}, "email": "ada@example.org", "email_verified": verified});
        world.person(claims);
        assert_eq!(browser.sign_in("/").await.status, 200);
        assert!(browser.get("/").await.body.contains(named), "{named}");
    }
    // What the ID token lacks the provider is asked for, of the same person.
    let of = |subject: &str| Conduct {
        user_info: Some(json!({"sub": subject, "realm_access": {"roles": ["rule"]}, "email": "eve@example.org"})),
        ..Conduct::default()
    };
    world.provider.conduct(of("248289761001"));
    assert_eq!(browser.sign_in("/").await.status, 200);
    assert!(browser.get("/").await.body.contains("email:eve@example.org, admin"));
    world.provider.conduct(of("another"));
    let refused = browser.sign_in("/").await;
    assert!(refused.body.contains("is of another one"), "{}", refused.body);
    // A session ends, and with it the role that it had.
    world.person(json!({"realm_access": {"roles": ["rule"]}}));
    browser.sign_in("/").await;
    world.clock.forward(30 * 60);
    assert_eq!(browser.get("/").await.status, 303, "nobody used it for half an hour");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_changed_are_read_again_and_not_too_often() {
    let world = World::new("", Some(SECRET)).await;
    world.person(json!({"groups": ["rule"]}));
    let mut browser = world.browser();
    assert_eq!(browser.sign_in("/").await.status, 200);
    assert_eq!(browser.sign_in("/").await.status, 200);
    assert_eq!(world.provider.asked("/keys"), 1, "what was read is kept");
    assert_eq!(world.provider.asked("/.well-known/openid-configuration"), 1);
    world.provider.rotate();
    assert_eq!(browser.sign_in("/").await.status, 200, "a key that was not known");
    assert_eq!(world.provider.asked("/keys"), 2);
    world.provider.rotate();
    let refused = browser.sign_in("/").await;
    assert_eq!(refused.status, 502);
    assert!(
        refused.body.contains("a key that the provider does not publish"),
        "{}",
        refused.body
    );
    assert_eq!(world.provider.asked("/keys"), 2, "not again within half a minute");
    world.clock.forward(31);
    assert_eq!(browser.sign_in("/").await.status, 200);
    assert_eq!(world.provider.asked("/keys"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_says_of_itself_has_to_hold() {
    let cases: [(&str, Twist); 4] = [
        (
            "calls itself otherwise",
            Box::new(|metadata| metadata["issuer"] = json!("https://elsewhere.example")),
        ),
        (
            "neither https nor this very machine",
            Box::new(|metadata| metadata["token_endpoint"] = json!("http://elsewhere.example/")),
        ),
        (
            "neither https nor this very machine",
            Box::new(|metadata| metadata["jwks_uri"] = json!("file:///etc/passwd")),
        ),
        (
            "not JSON as OpenID Connect has it",
            Box::new(|metadata| metadata["jwks_uri"] = Value::Null),
        ),
    ];
    for (said, change) in cases {
        let world = World::new("", Some(SECRET)).await;
        world.provider.conduct(Conduct {
            metadata: Some(change),
            ..Conduct::default()
        });
        for _ in 0..2 {
            let refused = world.browser().get("/sign-in/openid-connect").await;
            assert_eq!(refused.status, 502);
            assert!(
                refused.body.contains(said) && refused.body.contains("hint: "),
                "{}",
                refused.body
            );
        }
        let discovery = "/.well-known/openid-configuration";
        assert_eq!(world.provider.asked(discovery), 1, "it is left alone for a moment");
        world.person(json!({"groups": ["rule"]}));
        world.clock.forward(6);
        assert_eq!(world.browser().sign_in("/").await.status, 200, "and asked again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_provider_and_foreign_addresses_lead_nowhere() {
    let world = World::new("", Some(SECRET)).await;
    for (error, status, said) in [
        ("access_denied", 403, "did not let you in (access_denied)"),
        (
            "temporarily_unavailable",
            502,
            "cannot sign you in (temporarily_unavailable)",
        ),
        ("made_up", 502, "cannot sign you in (for a reason of its own)"),
    ] {
        world.provider.conduct(Conduct {
            denies: Some(error),
            ..Conduct::default()
        });
        let refused = world.browser().sign_in("/").await;
        assert_eq!(refused.status, status, "{error}");
        assert!(
            refused.body.contains(said) && refused.body.contains("hint: "),
            "{}",
            refused.body
        );
        assert!(!refused.body.contains("said by the provider") && !refused.body.contains("made_up"));
    }
    for next in [
        "https%3A%2F%2Felsewhere.example",
        "%2F%2Felsewhere.example",
        "%2F%5Celsewhere.example",
        "%2Fx%2F..%2F%2Felsewhere.example",
    ] {
        world.person(json!({"groups": ["rule"]}));
        let arrived = world.browser().sign_in(next).await;
        assert_eq!((arrived.status, arrived.leads_to()), (200, "/"), "{next}");
        assert!(!arrived.body.contains("elsewhere"));
        let form = format!("name=Ada&token=a+token&next={next}");
        let arrived = world.browser().ask("POST", "/sign-in", &form, false).await;
        assert_eq!((arrived.status, arrived.leads_to()), (303, "/"), "{next}");
    }
    // RFC 9207: where the answer names another issuer, the code is not for here.
    world.provider.conduct(Conduct {
        claims: json!({"groups": ["rule"]}),
        issuer_in_answer: Some("https://elsewhere.example"),
        ..Conduct::default()
    });
    let before = world.provider.asked("/token");
    let refused = world.browser().sign_in("/").await;
    assert!(refused.body.contains("it is of another issuer"), "{}", refused.body);
    assert_eq!(world.provider.asked("/token"), before, "the code was shown to nobody");
    world.provider.conduct(Conduct {
        claims: json!({"groups": ["rule"]}),
        metadata: Some(Box::new(|metadata| {
            metadata["authorization_response_iss_parameter_supported"] = json!(true);
        })),
        ..Conduct::default()
    });
    world.clock.forward(601);
    assert_eq!(
        world.browser().sign_in("/").await.status,
        502,
        "it says that it always names itself"
    );
    // Nothing of it is an answer where nobody is signed in, nor is the provider's token one of ours.
    let address = world.console;
    let request = format!(
        "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer for-user-info\r\n\r\n"
    );
    let answer = tokio::task::spawn_blocking(move || exchange(address, &request))
        .await
        .unwrap();
    assert_eq!(answer.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_the_console_has_its_own_name_and_cookies_go_over_https_alone() {
    let world = World::at(Some("https://console.example.org"), "", Some(SECRET)).await;
    world.person(json!({"groups": ["rule"]}));
    let mut browser = world.browser();
    let arrived = browser.sign_in("%2Fphotos").await;
    assert_eq!((arrived.status, arrived.leads_to()), (200, "/photos"));
    assert_eq!(browser.cookies.len(), 2);
    for (name, _, rules) in &browser.cookies {
        assert!(rules.ends_with("; Secure"), "{name}: {rules}");
    }
    assert_eq!(browser.get("/photos").await.status, 200);
    let address = world.console;
    let request = "GET /sign-in HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: close\r\n\r\n";
    let answer = tokio::task::spawn_blocking(move || exchange(address, request))
        .await
        .unwrap();
    assert_eq!(answer.status, 421, "a name that was made to lead here");
}

#[test]
fn a_configuration_that_would_let_nobody_or_anybody_in_is_refused() {
    let installation = Installation::new();
    let ehr =
        "profile = \"fhir-r4\"\nbase_url = \"https://ehr.example.org\"\ntoken_url = \"https://ehr.example.org/token\"";
    let status = |console: &str, openid_connect: &str| {
        let state = "[state]\nkey_file = \"state.key\"";
        let config = format!("{state}\n[ehr]\n{ehr}\n[console]\n{console}\n[openid_connect]\n{openid_connect}\n");
        std::fs::write(&installation.config, config).unwrap();
        installation.output(&["config", "check"])
    };
    let sound = [
        "issuer = \"https://identity.example.org\"",
        "client_id = \"console\"",
        "console_url = \"https://console.example.org/\"",
        "admins = [\"rule\"]",
    ];
    let with = |changed: &str| {
        let key = changed.split(' ').next().unwrap();
        let rest = sound.iter().filter(|line| !line.starts_with(&format!("{key} ")));
        rest.copied().chain([changed]).collect::<Vec<_>>().join("\n")
    };
    for (changed, problem) in [
        (
            "issuer = \"http://identity.example.org\"",
            "openid_connect.issuer is not safe",
        ),
        (
            "issuer = \"identity.example.org\"",
            "openid_connect.issuer is no issuer",
        ),
        (
            "issuer = \"https://identity.example.org?a=b\"",
            "openid_connect.issuer is no issuer",
        ),
        ("issuer = \"\"", "the section openid_connect names no provider"),
        ("client_id = \"\"", "openid_connect.client_id is missing"),
        (
            "console_url = \"http://console.example.org\"",
            "openid_connect.console_url is no address of the console",
        ),
        (
            "console_url = \"https://console.example.org/below\"",
            "openid_connect.console_url is no address of the console",
        ),
        ("admins = []", "nobody has a role by the identity provider"),
        ("admins = [\"\"]", "an empty value gives a role"),
        (
            "scopes = [\"two words\"]",
            "openid_connect.scopes has an entry that is no scope",
        ),
        ("role_claim = \"\"", "a claim of the section openid_connect has no name"),
        ("owners = [\"rule\"]", "unknown key `openid_connect.owners`"),
        (
            "client_secret_file = \"missing\"",
            "the client's secret for the identity provider cannot be read",
        ),
        ("ca_file = \"state.key\"", "has no certificate"),
    ] {
        let refused = status("", &with(changed));
        assert_eq!(refused.status.code(), Some(1), "{changed}");
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains(problem) && said.contains("hint: "), "{changed}: {said}");
    }
    let open = "listen = \"0.0.0.0:8470\"";
    assert_eq!(
        status(open, "").status.code(),
        Some(1),
        "with neither token nor provider"
    );
    let checked = status(open, &sound.join("\n"));
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(
        said.contains("sign-in        https://identity.example.org as console"),
        "{said}"
    );
}
