//! Options of a bus on a NATS server.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr};

use crate::defaults::{CONNECTION_WAIT, MAX_PAYLOAD, MAX_ROW};
use crate::error::{Error, ErrorKind, Result};
use crate::nats::NatsBus;
use crate::nats::connection::Connection;
use crate::nats::jetstream::{EventStream, EventStreamParts, Streams};
use crate::nats::{tls, url};
use crate::subject::Subject;

/// Options of a [`NatsBus`], checked when it is connected.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
/// use rowbus::NatsBus;
///
/// let bus = NatsBus::builder("tls://one.example:4222,two.example:4222")
///     .credentials_file("/etc/app/app.creds")
///     .prefix("app")
///     .connect()
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "nothing is connected before `connect` is awaited"]
pub struct NatsBuilder {
    options: Result<Options>,
}

/// What a bus is connected with.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) servers: Vec<ServerAddr>,
    pub(crate) name: Option<String>,
    pub(crate) prefix: Option<Subject>,
    pub(crate) credentials: Credentials,
    pub(crate) tls: tls::Tls,
    pub(crate) inbox_prefix: Option<Subject>,
    pub(crate) max_payload: usize,
    pub(crate) wait: Duration,
    pub(crate) retry_first: bool,
    pub(crate) max_reconnects: Option<usize>,
    pub(crate) stream: Option<EventStreamParts>,
}

/// Who this program is.
#[derive(Clone, Default)]
pub(crate) enum Credentials {
    #[default]
    None,
    User {
        user: String,
        password: String,
    },
    Token(String),
    /// The seed.
    Nkey(String),
    /// Where the seed is.
    NkeyFile(PathBuf),
    File(PathBuf),
}

impl Options {
    pub(crate) fn new(servers: Vec<ServerAddr>) -> Self {
        Self {
            servers,
            name: None,
            prefix: None,
            credentials: Credentials::None,
            tls: tls::Tls::default(),
            inbox_prefix: None,
            max_payload: MAX_PAYLOAD,
            wait: CONNECTION_WAIT,
            retry_first: false,
            max_reconnects: None,
            stream: None,
        }
    }

    fn check(&self) -> Result<()> {
        let invalid = |message: String| Err(Error::new(ErrorKind::InvalidOption, message));
        if self.max_payload > MAX_ROW {
            return invalid(format!("max_payload is at most {MAX_ROW} bytes; got {}", self.max_payload));
        }
        if self.wait.is_zero() || self.wait > Duration::from_secs(3600) {
            return invalid(format!("wait is more than 0 and at most 1 h; got {:?}", self.wait));
        }
        if let Some(name) = &self.name
            && (name.is_empty() || name.len() > 255 || name.chars().any(char::is_control))
        {
            return invalid(format!(
                "name has 1 to 255 bytes and no control characters; got {} bytes, {name:?}",
                name.len()
            ));
        }
        if self.retry_first && self.stream.is_some() {
            let message = "retry_first_connect and a stream do not go together: a stream is made or verified by the server \
                           before connect returns";
            return invalid(message.to_owned());
        }
        self.tls.check()
    }

    /// The same for the client.
    pub(super) async fn connect_options(&self) -> Result<ConnectOptions> {
        // An answer of the server to a program's own timeouts is waited for by us.
        let mut client = ConnectOptions::new().request_timeout(None).connection_timeout(self.wait);
        if let Some(name) = &self.name {
            client = client.name(name);
        }
        if let Some(prefix) = &self.inbox_prefix {
            client = client.custom_inbox_prefix(prefix);
        }
        if self.retry_first {
            client = client.retry_on_initial_connect();
        }
        client = client.max_reconnects(self.max_reconnects);
        client = match &self.credentials {
            Credentials::None => client,
            Credentials::User { user, password } => client.user_and_password(user.clone(), password.clone()),
            Credentials::Token(token) => client.token(token.clone()),
            Credentials::Nkey(seed) => client.nkey(seed.clone()),
            Credentials::NkeyFile(path) => client.nkey(seed(path.clone()).await?),
            Credentials::File(path) => {
                let read = client.credentials_file(path).await;
                read.map_err(|error| {
                    let message = format!("the credentials in {} cannot be read: {error}", path.display());
                    Error::with_source(ErrorKind::InvalidOption, message, error)
                })?
            }
        };
        let wants_tls = self.servers.iter().any(ServerAddr::tls_required);
        match self.tls.config(wants_tls).await? {
            Some(config) => Ok(client.require_tls(true).tls_client_config(config)),
            None => Ok(client),
        }
    }
}

impl NatsBuilder {
    pub(crate) fn new(url: &str) -> Self {
        Self { options: url::options(url) }
    }

    /// What the server's operators see this connection as. 1 to 255 bytes without control characters.
    pub fn name(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.and(|options| options.name = Some(name))
    }

    /// A subject that all subjects of this bus live under on the server: with `app`, what is `orders.created` here is
    /// `app.orders.created` there, and is `orders.created` again for whoever reads it by a bus with this prefix. None unless set, so
    /// that plain NATS clients and this bus see the same subjects.
    pub fn prefix<S>(self, prefix: S) -> Self
    where
        S: TryInto<Subject>,
        Error: From<S::Error>,
    {
        let prefix = prefix.try_into().map_err(Error::from);
        self.and_try(|options| {
            options.prefix = Some(prefix?);
            Ok(())
        })
    }

    /// A user and a password.
    pub fn user(self, user: impl Into<String>, password: impl Into<String>) -> Self {
        let (user, password) = (user.into(), password.into());
        self.and(|options| options.credentials = Credentials::User { user, password })
    }

    /// A token.
    pub fn token(self, token: impl Into<String>) -> Self {
        let token = token.into();
        self.and(|options| options.credentials = Credentials::Token(token))
    }

    /// An nkey, by its seed (`SU…`), which does not leave this process: the server is sent a signature.
    pub fn nkey(self, seed: impl Into<String>) -> Self {
        let seed = seed.into();
        self.and(|options| options.credentials = Credentials::Nkey(seed))
    }

    /// The same by a file that holds nothing but the seed.
    pub fn nkey_file(self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        self.and(|options| options.credentials = Credentials::NkeyFile(path))
    }

    /// A `.creds` file with a JWT and its seed.
    pub fn credentials_file(self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        self.and(|options| options.credentials = Credentials::File(path))
    }

    /// The roots to trust, a PEM file, in place of the system's. TLS is required then.
    pub fn tls_roots(self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        self.and(|options| options.tls.roots = Some(path))
    }

    /// The certificate that this program shows to the server, and its key, both PEM files. TLS is required then.
    pub fn tls_certificate(self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        let (certificate, key) = (certificate.into(), key.into());
        self.and(|options| {
            options.tls.certificate = Some(certificate);
            options.tls.key = Some(key);
        })
    }

    /// Whether a connection without TLS is refused: it is not unless set, or the scheme is `tls:`. A server that asks for TLS
    /// gets it in any case.
    pub fn require_tls(self, require: bool) -> Self {
        self.and(|options| options.tls.required = require)
    }

    /// The stream of JetStream that holds the events of this bus: [`as_durable`](crate::Messenger::as_durable) gives a bus on it,
    /// which keeps events, jobs and consumers. It is made where there is none of its name, or verified; one that is only named
    /// is used as it is.
    pub fn stream(self, stream: EventStream) -> Self {
        let parts = stream.into_parts();
        self.and_try(|options| {
            options.stream = Some(parts?);
            Ok(())
        })
    }

    /// What the subjects of replies and confirmations begin with, for users with limited permissions, who need to publish and
    /// subscribe below it: `_INBOX` unless set.
    pub fn inbox_prefix<S>(self, prefix: S) -> Self
    where
        S: TryInto<Subject>,
        Error: From<S::Error>,
    {
        let prefix = prefix.try_into().map_err(Error::from);
        self.and_try(|options| {
            options.inbox_prefix = Some(prefix?);
            Ok(())
        })
    }

    /// The largest payload with headers, in bytes: 1 MiB unless set, at most 64 MiB. The server's own limit holds as well, which
    /// counts headers as the protocol writes them.
    pub fn max_payload(self, bytes: usize) -> Self {
        self.and(|options| options.max_payload = bytes)
    }

    /// How long connecting may take, and how long each verb waits for a lost connection to be there again and for the server to
    /// confirm what was sent: 5 s unless set, at most 1 h.
    pub fn wait(self, wait: Duration) -> Self {
        self.and(|options| options.wait = wait)
    }

    /// Whether `connect` returns a bus although no server can be reached, which goes on trying: it fails unless set.
    /// Not with a [stream](Self::stream), which the server makes or verifies before `connect` returns.
    pub fn retry_first_connect(self, retry: bool) -> Self {
        self.and(|options| options.retry_first = retry)
    }

    /// How often a lost connection is tried to be made anew, one server after the other, before the bus gives up: for ever
    /// unless set. At first at once, then with growing pauses of up to 4 s.
    pub fn max_reconnects(self, attempts: usize) -> Self {
        self.and_try(|options| {
            if attempts == 0 {
                let message = "max_reconnects is at least 1 attempt; got 0";
                return Err(Error::new(ErrorKind::InvalidOption, message));
            }
            options.max_reconnects = Some(attempts);
            Ok(())
        })
    }

    /// Connects, and returns when the server has answered.
    ///
    /// # Errors
    /// `InvalidOption` and `InvalidSubject` for the first mistake in the URL or an option; `Disconnected` if no server can be
    /// reached or TLS fails; `NotPermitted` if it does not accept the credentials; `StreamMismatch` for a setting of a
    /// [stream](Self::stream) that is another, and `InvalidOption` if it is to be made and nothing says what it is to keep.
    pub async fn connect(self) -> Result<NatsBus> {
        let options = self.options?;
        options.check()?;
        let (stream, prefix) = (options.stream.clone(), options.prefix.clone());
        let connection = Connection::open(options).await?;
        let Some(stream) = stream else { return Ok(NatsBus::over(connection, None)) };
        match Streams::open(&connection, prefix.as_deref(), &stream).await {
            Ok(streams) => Ok(NatsBus::over(connection, Some(Arc::new(streams)))),
            Err(error) => {
                connection.close().await;
                Err(error)
            }
        }
    }

    fn and(self, set: impl FnOnce(&mut Options)) -> Self {
        self.and_try(|options| {
            set(options);
            Ok(())
        })
    }

    fn and_try(mut self, set: impl FnOnce(&mut Options) -> Result<()>) -> Self {
        if let Ok(options) = &mut self.options
            && let Err(error) = set(options)
        {
            self.options = Err(error);
        }
        self
    }
}

async fn seed(path: PathBuf) -> Result<String> {
    let named = path.display().to_string();
    let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
    match read.map_err(std::io::Error::other).flatten() {
        Ok(seed) => Ok(seed.trim().to_owned()),
        Err(error) => {
            let message = format!("the seed in {named} cannot be read: {error}");
            Err(Error::with_source(ErrorKind::InvalidOption, message, error))
        }
    }
}

/// No credentials.
impl fmt::Debug for NatsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.options {
            Ok(options) => f
                .debug_struct("NatsBuilder")
                .field("servers", &options.servers.iter().map(ServerAddr::host).collect::<Vec<_>>())
                .field("prefix", &options.prefix)
                .finish_non_exhaustive(),
            Err(error) => f.debug_tuple("NatsBuilder").field(error).finish(),
        }
    }
}
