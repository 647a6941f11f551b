//! A server that behaves as DynamoDB does, for a test process of its own.
//!
//! It is a program, not a library: its library links another SQLite than this workspace does. `cargo xtask` installs it and says
//! where it is.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Names the program, as `cargo xtask` sets it.
pub const VARIABLE: &str = "SKIN_ASSIST_DYNOXIDE";

/// How long a server may take until it answers, in turns of [`TURN`].
const TURNS: u32 = 400;

const TURN: Duration = Duration::from_millis(25);

/// A server of one's own, in memory, on a port that the system chose. It ends with this value.
#[derive(Debug)]
pub struct Dynoxide {
    child: Child,
    endpoint: String,
}

impl Dynoxide {
    /// Starts one.
    ///
    /// # Panics
    /// When there is none to start: a test that needs it must not pass without it.
    #[allow(clippy::disallowed_methods)] // A test's environment is not the program's configuration.
    pub fn start() -> Self {
        let program = std::env::var(VARIABLE).unwrap_or_else(|_| {
            panic!(
                "{VARIABLE} does not name the dynoxide program\n\
                 hint: `cargo xtask dynoxide` installs it and prints where it is; `cargo xtask test --all` does all by itself"
            )
        });
        // Between choosing a port and using it, another may take it: then another one.
        for _ in 0..10 {
            if let Some(server) = Self::start_on(&program, free_port()) {
                return server;
            }
        }
        panic!("{program} does not answer");
    }

    fn start_on(program: &str, port: u16) -> Option<Self> {
        let port_text = port.to_string();
        let child = Command::new(program)
            .args(["serve", "--host", "127.0.0.1", "--log", "quiet", "--port", &port_text])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
        let mut server = Self {
            child,
            endpoint: format!("http://127.0.0.1:{port}"),
        };
        for _ in 0..TURNS {
            // Ended: the port was taken.
            if !matches!(server.child.try_wait(), Ok(None)) {
                return None;
            }
            if answers(port) {
                return Some(server);
            }
            std::thread::sleep(TURN);
        }
        None
    }

    /// Where it is: a URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl Drop for Dynoxide {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the system has a free port");
    listener.local_addr().expect("a listener has an address").port()
}

/// Whether something there speaks HTTP.
fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    let mut first = [0_u8; 5];
    _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    stream.write_all(request).is_ok() && stream.read_exact(&mut first).is_ok() && &first == b"HTTP/"
}
