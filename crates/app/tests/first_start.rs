//! The first start: no EHR is configured yet, and the console says what is missing.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

#[path = "support/process.rs"]
mod process;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use process::{Installation, Running};

/// Status, headers and body of one request.
fn ask(address: &str, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        head.to_owned(),
        body.to_owned(),
    )
}

/// Where the console of the running program is, and the code of this machine.
fn console(installation: &Installation, running: &mut Running) -> (String, String) {
    for _ in 0..300 {
        assert!(running.is_running(), "{}", installation.log());
        let consoles = installation.json(&["console", "--json"]);
        if let Some(console) = consoles.as_array().unwrap().first() {
            let word = |name: &str| console[name].as_str().unwrap().to_owned();
            return (word("address"), word("code"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("no console:\n{}", installation.log());
}

fn reasons(address: &str) -> (u16, String) {
    let (status, _, ready) = ask(address, "GET", "/readyz", "", "");
    (status, ready)
}

#[test]
fn without_an_ehr_the_console_says_what_to_write_into_the_configuration() {
    let installation = Installation::new();
    let config = "[state]\nkey_file = \"state.key\"\n[console]\nlisten = \"127.0.0.1:0\"\n";
    std::fs::write(&installation.config, config).unwrap();
    let mut running = installation.start();
    let (address, code) = console(&installation, &mut running);
    assert_eq!(ask(&address, "GET", "/healthz", "", "").0, 200);
    let not_configured = "{\"ready\":false,\"reasons\":[\"not-configured\"]}";
    assert_eq!(reasons(&address), (503, not_configured.to_owned()));

    let connect = "/connect?profile=fhir-r4&base_url=http%3A%2F%2F127.0.0.1%3A9%2F%22fhir%22";
    let (_, _, page) = ask(&address, "GET", connect, "", "");
    assert!(
        !page.contains("base_url ="),
        "files are looked for: not by whoever comes"
    );
    let (_, head, _) = ask(&address, "POST", "/sign-in", "", &format!("name=Ada&token={code}"));
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    let section = |query: &str| {
        let (status, _, page) = ask(&address, "GET", &format!("/connect?{query}"), &cookie, "");
        assert_eq!(status, 200);
        let section = page.split("<pre tabindex=\"0\">").nth(1).unwrap_or_default();
        let section = section.split("</pre>").next().unwrap().replace("&quot;", "\"");
        (page.contains("It can be used"), section)
    };
    assert_eq!(
        section(""),
        (false, String::new()),
        "the form, and nothing to write yet"
    );
    let (is_good, _) = section("profile=fhir-r4&base_url=ftp%3A%2F%2Fehr.example");
    assert!(!is_good);
    let (is_good, section) =
        section("profile=fhir-r4&base_url=https%3A%2F%2Fehr.example%2Ffhir&photo_hosts=a.example%2C+b.example");
    assert!(is_good);
    let wanted = "[ehr]\nprofile = \"fhir-r4\"\nbase_url = \"https://ehr.example/fhir\"\nphoto_hosts = [\"a.example\", \"b.example\"]\n";
    assert_eq!(section, wanted);
    assert_eq!(running.terminate(), Some(0));

    std::fs::write(&installation.config, config.to_owned() + &section).unwrap();
    let mut running = installation.start();
    let (address, _) = console(&installation, &mut running);
    assert!(!reasons(&address).1.contains("not-configured"));
    assert_eq!(running.terminate(), Some(0));
}
