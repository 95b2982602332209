//! A private `nats-server`.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::program;
use super::watchdog::Watched;

const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// A `nats-server` of one test: on a free port of this machine, with its configuration, its log and its JetStream store in a
/// temporary folder of its own. It is killed when this is dropped, and when the test's process ends in any way.
///
/// The program is the one that `ROWBUS_NATS_SERVER` names, the one that `scripts/test setup` has put into the target folder,
/// or one on the PATH of at least version 2.10. It is started by a shell, so these tests run on Unix.
///
/// ```no_run
/// use rowbus::testing::NatsServer;
///
/// let Some(server) = NatsServer::builder().jetstream(true).max_payload(8 << 20).start() else { return };
/// println!("a bus by {}", server.url());
/// ```
#[derive(Debug)]
pub struct NatsServer {
    running: Option<Watched>,
    program: PathBuf,
    port: u16,
    scheme: &'static str,
    user_info: String,
    // Dropped last, when nobody writes to it any more.
    folder: TempDir,
}

/// What a [`NatsServer`] is to be like.
#[derive(Clone, Debug, Default)]
#[must_use = "nothing runs before `start`"]
pub struct NatsServerBuilder {
    jetstream: bool,
    max_payload: Option<usize>,
    user: Option<(String, String)>,
    token: Option<String>,
    tls: Option<Tls>,
    extra: String,
}

#[derive(Clone, Debug)]
struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    client_roots: Option<PathBuf>,
}

impl NatsServerBuilder {
    /// Whether it keeps streams: it does not unless set.
    pub fn jetstream(mut self, jetstream: bool) -> Self {
        self.jetstream = jetstream;
        self
    }

    /// The largest message in bytes, headers as the protocol writes them included: 1 MiB unless set.
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = Some(bytes);
        self
    }

    /// The only user who may connect.
    pub fn user(mut self, user: &str, password: &str) -> Self {
        self.user = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// The token that whoever connects has to give.
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// TLS with this certificate and its key, both PEM files.
    pub fn tls(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls = Some(Tls { certificate: certificate.into(), key: key.into(), client_roots: None });
        self
    }

    /// Clients have to show a certificate that one of these, a PEM file, has signed; for after [`tls`](Self::tls).
    pub fn client_roots(mut self, roots: impl Into<PathBuf>) -> Self {
        if let Some(tls) = &mut self.tls {
            tls.client_roots = Some(roots.into());
        }
        self
    }

    /// More text for the configuration file.
    pub fn config(mut self, text: &str) -> Self {
        self.extra.push_str(text);
        self.extra.push('\n');
        self
    }

    /// Starts it, and returns when it takes connections. `None` where there is no such program, which is said loudly.
    ///
    /// # Panics
    /// Where there is no such program and `ROWBUS_REQUIRE_NATS` is `1`; if the server does not start.
    pub fn start(self) -> Option<NatsServer> {
        let program = program::nats_server()?.to_owned();
        let folder = tempfile::Builder::new().prefix("rowbus-nats-").tempdir().expect("a temporary folder");
        let mut server = NatsServer {
            running: None,
            program,
            port: 0,
            scheme: if self.tls.is_some() { "tls" } else { "nats" },
            user_info: self.user_info(),
            folder,
        };
        fs::write(server.file("rest.conf"), self.text(server.folder.path())).expect("a configuration file");
        server.run();
        Some(server)
    }

    fn user_info(&self) -> String {
        match (&self.user, &self.token) {
            (Some((user, password)), _) => format!("{user}:{password}@"),
            (None, Some(token)) => format!("{token}@"),
            (None, None) => String::new(),
        }
    }

    /// All of the configuration but the port.
    fn text(&self, folder: &Path) -> String {
        let mut text = format!("log_file: {:?}\nports_file_dir: {folder:?}\n", folder.join("log"));
        if self.jetstream {
            text += &format!("jetstream {{ store_dir: {:?} }}\n", folder.join("store"));
        }
        if let Some(bytes) = self.max_payload {
            text += &format!("max_payload: {bytes}\n");
        }
        if let Some((user, password)) = &self.user {
            text += &format!("authorization {{ user: {user:?}, password: {password:?} }}\n");
        }
        if let Some(token) = &self.token {
            text += &format!("authorization {{ token: {token:?} }}\n");
        }
        if let Some(Tls { certificate, key, client_roots }) = &self.tls {
            let verify = client_roots.as_ref().map(|roots| format!("ca_file: {roots:?}, verify: true"));
            let verify = verify.unwrap_or_default();
            text += &format!("tls {{ cert_file: {certificate:?}, key_file: {key:?}, {verify} }}\n");
        }
        text + &self.extra
    }
}

impl NatsServer {
    /// One with the default options: no JetStream, anybody may connect. `None` where there is no such program, which is
    /// said loudly.
    ///
    /// # Panics
    /// As [`NatsServerBuilder::start`].
    pub fn start() -> Option<Self> {
        Self::builder().start()
    }

    /// Options.
    pub fn builder() -> NatsServerBuilder {
        NatsServerBuilder::default()
    }

    /// Whether there is such a program; said loudly where there is none.
    ///
    /// # Panics
    /// Where there is none and `ROWBUS_REQUIRE_NATS` is `1`.
    pub fn is_there() -> bool {
        program::nats_server().is_some()
    }

    /// The URL to connect to, with the user and password or the token that were set.
    pub fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.user_info, self.address())
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The port, which stays the same when it is restarted.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(Watched::pid)
    }

    /// The folder that its streams are kept in, for what befalls a disk.
    pub fn store(&self) -> PathBuf {
        self.file("store")
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    /// Kills it with SIGKILL, as a crash would, and waits until it is dead.
    pub fn kill(&mut self) {
        self.end("KILL");
    }

    /// Ends it in good order, and waits until it has ended.
    pub fn stop(&mut self) {
        self.end("TERM");
    }

    /// Starts it again on the same port and the same store; kills it before if it still runs.
    ///
    /// # Panics
    /// If it does not start, for instance since another program has taken the port meanwhile.
    pub fn restart(&mut self) {
        self.kill();
        self.run();
    }

    fn end(&mut self, signal: &str) {
        if let Some(running) = self.running.take() {
            // What it wrote is of a process that is no more.
            let _ = fs::remove_file(self.ports_file(running.pid()));
            running.end(signal);
        }
    }

    fn run(&mut self) {
        // The system picks the first port: -1.
        let port = if self.port == 0 { "-1".to_owned() } else { self.port.to_string() };
        let config = self.file("server.conf");
        let text = format!("listen: \"127.0.0.1:{port}\"\ninclude \"rest.conf\"\n");
        fs::write(&config, text).expect("a configuration file");
        let running = Watched::start(&self.program, &[Path::new("-c"), &config]);
        let ports = self.ports_file(running.pid());
        let began = Instant::now();
        self.running = Some(running);
        self.port = loop {
            // The file appears when the server listens, and may be half written.
            match port_in(&ports) {
                Some(port) => break port,
                None if began.elapsed() < STARTS_WITHIN => sleep(Duration::from_millis(2)),
                None => panic!("the nats-server did not start within {STARTS_WITHIN:?}: {}", self.log()),
            }
        };
    }

    fn ports_file(&self, pid: u32) -> PathBuf {
        self.file(&format!("nats-server_{pid}.ports"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The port of `{"nats":["nats://127.0.0.1:4222"]}`.
fn port_in(file: &Path) -> Option<u16> {
    let ports: serde_json::Value = serde_json::from_str(&fs::read_to_string(file).ok()?).ok()?;
    let url = ports["nats"][0].as_str()?;
    url.rsplit(':').next()?.parse().ok()
}
