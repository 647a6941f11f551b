//! Servers of others that stand for AWS, each for a test process of its own: in memory, on a port that the system chose, on this
//! machine alone.
//!
//! They are programs. `cargo xtask` installs them and says where they are, in variables whose names do not begin as the
//! program's own do: it refuses those it does not know. A test that needs a server fails without it.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// How long a server may take until it answers, in turns of [`TURN`].
const TURNS: u32 = 800;

const TURN: Duration = Duration::from_millis(25);

/// A server under way. It ends with this value.
#[derive(Debug)]
pub struct Server {
    child: Child,
    endpoint: String,
}

impl Server {
    /// dynoxide: DynamoDB. A program, since its library links another SQLite than this workspace does.
    ///
    /// # Panics
    /// When there is none to start.
    pub fn dynoxide() -> Self {
        Self::start("TEST_DYNOXIDE", |command, port| {
            command.args([
                "serve",
                "--host",
                "127.0.0.1",
                "--log",
                "quiet",
                "--port",
                &port.to_string(),
            ]);
        })
    }

    /// ministack: S3, Secrets Manager and more.
    ///
    /// # Panics
    /// When there is none to start.
    pub fn ministack() -> Self {
        Self::ministack_with(&[])
    }

    /// The same with further variables in its environment.
    ///
    /// # Panics
    /// When there is none to start.
    pub fn ministack_with(variables: &[(&str, &str)]) -> Self {
        Self::start("TEST_MINISTACK", |command, port| {
            command
                .env("GATEWAY_PORT", port.to_string())
                .env("BIND_HOST", "127.0.0.1")
                .envs(variables.iter().copied())
                .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"));
        })
    }

    /// Starts the program that `variable` names, with what `prepare` tells it.
    #[allow(clippy::disallowed_methods)] // A test's environment is not the program's configuration.
    fn start(variable: &str, prepare: impl Fn(&mut Command, u16)) -> Self {
        let program = std::env::var(variable).unwrap_or_else(|_| {
            panic!(
                "{variable} does not name a program\n\
                 hint: `cargo xtask servers` installs it and prints how to name it; `cargo xtask test --all` does all by itself"
            )
        });
        // Between choosing a port and using it, another may take it: then another one.
        for _ in 0..10 {
            let port = free_port();
            let mut command = Command::new(&program);
            prepare(&mut command, port);
            let child = command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
            let mut server = Self {
                child,
                endpoint: format!("http://127.0.0.1:{port}"),
            };
            if server.comes_up(port) {
                return server;
            }
        }
        panic!("{program} does not answer");
    }

    /// Whether it answers before it ends (the port was taken) and in time.
    fn comes_up(&mut self, port: u16) -> bool {
        for _ in 0..TURNS {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return false;
            }
            if answers(port) {
                return true;
            }
            std::thread::sleep(TURN);
        }
        false
    }

    /// Where it is: a URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl Drop for Server {
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
    _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    stream.write_all(request).is_ok() && stream.read_exact(&mut first).is_ok() && &first == b"HTTP/"
}
