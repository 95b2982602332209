//! Where the bus is that a verb concerns: in a file, or at what a URL names.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use rowbus::sqlite::{Migrate, SqliteBuilder};
use rowbus::{Messenger, SqliteBus};

use crate::args::GLOBAL;
use crate::failure::{Failure, Result};

const DB: &str = "ROWBUS_DB";
const URL: &str = "ROWBUS_URL";
const DEFAULT: &str = "rowbus.db";

/// What the command line says of it.
#[derive(Args)]
pub(crate) struct AddressArgs {
    /// The file, made if there is none; ROWBUS_DB or rowbus.db unless given
    #[arg(long, value_name = "FILE", global = true, help_heading = GLOBAL)]
    db: Option<PathBuf>,

    /// In place of a file, the bus by its URL, as in nats://host:4222; ROWBUS_URL unless given
    #[arg(long, value_name = "URL", global = true, help_heading = GLOBAL)]
    url: Option<String>,
}

/// A bus's place, and how it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    File {
        path: PathBuf,
        /// The `sqlite:` URL that it was given by, with its options.
        url: Option<String>,
    },
    Server(String),
}

impl AddressArgs {
    /// What is said on the command line counts before what the environment says.
    pub(crate) fn find(self) -> Result<Address> {
        match (self.db, self.url) {
            (Some(_), Some(_)) => Err(Failure::usage("--db and --url each name a bus: give one of them")),
            (Some(path), None) => Ok(Address::file(path)),
            (None, Some(url)) => Address::by_url(url),
            (None, None) => Address::of_environment(env::var_os(DB), env::var_os(URL)),
        }
    }
}

impl Address {
    fn file(path: PathBuf) -> Self {
        Self::File { path, url: None }
    }

    fn by_url(url: String) -> Result<Self> {
        match url.split(':').next().map(str::to_ascii_lowercase).as_deref() {
            Some("sqlite") => {
                let path = SqliteBuilder::from_url(&url)?.path().to_owned();
                Ok(Self::File { path, url: Some(url) })
            }
            Some("memory") => {
                Err(Failure::usage("what is in memory ends with this command: name a file or a server"))
            }
            _ => Ok(Self::Server(url)),
        }
    }

    fn of_environment(db: Option<OsString>, url: Option<OsString>) -> Result<Self> {
        match (db, url) {
            (Some(_), Some(_)) => Err(Failure::usage(format!(
                "{DB} and {URL} each name a bus: unset one, or give --db or --url"
            ))),
            (Some(path), None) if path.is_empty() => Err(Failure::usage(format!("{DB} is empty"))),
            (Some(path), None) => Ok(Self::file(path.into())),
            (None, Some(url)) => match url.into_string() {
                Ok(url) => Self::by_url(url),
                Err(_) => Err(Failure::usage(format!("{URL} is no UTF-8"))),
            },
            (None, None) => Ok(Self::file(DEFAULT.into())),
        }
    }

    pub(crate) fn is_server(&self) -> bool {
        matches!(self, Self::Server(_))
    }

    /// Opens the bus, and makes its file where there is none yet. The file of another program is never migrated in
    /// passing: that is for the program to do.
    pub(crate) async fn open(&self) -> Result<Arc<dyn Messenger>> {
        match self {
            Self::File { path, url } => Ok(Arc::new(builder(path, url.as_deref())?.open().await?)),
            Self::Server(url) => connect(url).await,
        }
    }

    /// Opens the bus for a verb that only concerns what is there: looking makes no file, and no stream.
    pub(crate) async fn open_existing(&self) -> Result<Arc<dyn Messenger>> {
        match self {
            Self::File { path, url } => {
                Ok(Arc::new(builder(path, url.as_deref())?.create(false).open().await?))
            }
            Self::Server(url) => connect(&of_existing_stream(url)).await,
        }
    }

    /// The same for a verb that has a meaning on files alone.
    pub(crate) async fn open_file(&self, verb: &str) -> Result<SqliteBus> {
        match self {
            Self::File { path, url } => Ok(builder(path, url.as_deref())?.create(false).open().await?),
            Self::Server(_) => Err(self.is_no_file(verb)),
        }
    }

    /// The same, which makes the file where there is none yet.
    pub(crate) async fn make_file(&self, verb: &str) -> Result<SqliteBus> {
        match self {
            Self::File { path, url } => Ok(builder(path, url.as_deref())?.open().await?),
            Self::Server(_) => Err(self.is_no_file(verb)),
        }
    }

    /// The file, for a verb that has a meaning on files alone and opens them in its own way.
    pub(crate) fn path(&self, verb: &str) -> Result<&Path> {
        match self {
            Self::File { path, .. } => Ok(path),
            Self::Server(_) => Err(self.is_no_file(verb)),
        }
    }

    fn is_no_file(&self, verb: &str) -> Failure {
        let bus = self.shown();
        Failure::usage(format!("{verb} is for a bus in a file, which --db names; {bus} is on a server"))
    }

    /// As the user named it, without what is nobody else's to know.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::File { path, .. } => path.display().to_string(),
            Self::Server(url) => {
                let (servers, options) = url.split_once('?').unwrap_or((url, ""));
                let (scheme, servers) = servers
                    .split_once("//")
                    .map_or((String::new(), servers), |(scheme, rest)| (format!("{scheme}//"), rest));
                // A password may hold what should have been escaped: only what is behind the last `@` is none for certain.
                let servers = servers.rsplit('@').next().unwrap_or_default();
                if options.contains('@') { format!("{scheme}…") } else { scheme + servers }
            }
        }
    }

    /// The variable by which a `rowbus` that this one starts finds the same bus, its value, and the variable that would contradict.
    pub(crate) fn variables(&self) -> (&'static str, OsString, &'static str) {
        match self {
            // It may be started in another folder.
            Self::File { path, .. } => {
                (DB, path.canonicalize().unwrap_or_else(|_| path.clone()).into_os_string(), URL)
            }
            Self::Server(url) => (URL, OsStr::new(url).to_owned(), DB),
        }
    }
}

async fn connect(url: &str) -> Result<Arc<dyn Messenger>> {
    let bus = rowbus::connect(url).await?;
    // Where the URL names a stream, what is published is to be kept in it.
    Ok(bus.as_durable().map_or(bus, |durable| durable as Arc<dyn Messenger>))
}

/// The same URL, whose stream is taken as it is and has to be there, if it names one.
fn of_existing_stream(url: &str) -> String {
    const EXISTING: &str = "stream_existing=";
    let Some((place, options)) = url.split_once('?') else { return url.to_owned() };
    // Behind an `@` it may be a piece of a password, of which the library has something to say.
    if options.contains('@') || !options.split('&').any(|option| option.starts_with("stream=")) {
        return url.to_owned();
    }
    let said =
        options.split('&').any(|option| option.starts_with(EXISTING) && option != "stream_existing=false");
    if said {
        return url.to_owned();
    }
    let others: Vec<_> = options.split('&').filter(|option| !option.starts_with(EXISTING)).collect();
    format!("{place}?{}&{EXISTING}true", others.join("&"))
}

fn builder(path: &Path, url: Option<&str>) -> Result<SqliteBuilder> {
    let builder = match url {
        Some(url) => SqliteBuilder::from_url(url)?,
        None => SqliteBus::builder(path),
    };
    Ok(builder.migrate(Migrate::NewFiles))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(db: Option<&str>, url: Option<&str>) -> Result<Address> {
        AddressArgs { db: db.map(Into::into), url: url.map(Into::into) }.find()
    }

    #[test]
    fn a_sqlite_url_is_a_file_with_options() {
        let Address::File { path, url } = found(None, Some("sqlite:an%20app.db?durability=relaxed")).unwrap()
        else {
            panic!("no file")
        };
        assert_eq!((path.to_str(), url.is_some()), (Some("an app.db"), true));
        assert!(found(None, Some("sqlite:a.db?colour=red")).unwrap_err().message().contains("busy_deadline"));
    }

    #[test]
    fn the_environment_names_one_bus() {
        let of = |db: Option<&str>, url: Option<&str>| {
            Address::of_environment(db.map(Into::into), url.map(Into::into))
        };
        assert_eq!(of(None, None).unwrap(), Address::file("rowbus.db".into()));
        assert_eq!(of(Some("a.db"), None).unwrap(), Address::file("a.db".into()));
        assert_eq!(of(None, Some("nats://h")).unwrap(), Address::Server("nats://h".into()));
        for (db, url) in [(Some("a.db"), Some("nats://h")), (Some(""), None), (None, Some("memory:"))] {
            assert!(of(db, url).is_err(), "{db:?} {url:?}");
        }
        assert!(found(Some("a.db"), Some("nats://h")).is_err());
    }

    #[test]
    fn a_stream_that_is_looked_at_is_one_that_is_there() {
        for (url, looked) in [
            ("nats://h", "nats://h"),
            ("nats://h?prefix=a", "nats://h?prefix=a"),
            ("nats://h?stream=S&prefix=a", "nats://h?stream=S&prefix=a&stream_existing=true"),
            ("nats://h?stream_existing=false&stream=S", "nats://h?stream=S&stream_existing=true"),
            // The library says what is wrong with these.
            ("nats://h?stream=S&stream_existing=yes", "nats://h?stream=S&stream_existing=yes"),
            ("nats://h?stream_under=a", "nats://h?stream_under=a"),
            ("nats://ann:s3?stream=cret@h", "nats://ann:s3?stream=cret@h"),
        ] {
            assert_eq!(of_existing_stream(url), looked);
        }
    }

    #[test]
    fn what_is_shown_has_no_password_and_no_options() {
        let shown = |url: &str| Address::Server(url.to_owned()).shown();
        assert_eq!(shown("nats://ann:s@cret@one:4222,two?creds=/x"), "nats://one:4222,two");
        assert_eq!(shown("nats://ann:s3cret,x@one,two"), "nats://one,two");
        assert_eq!(shown("nats://ann:s3cret,@x,y@one"), "nats://one");
        assert_eq!(shown("nats://ann:s3?cret@one"), "nats://…");
        assert_eq!(shown("token@one"), "one");
        assert_eq!(shown("one:4222,two"), "one:4222,two");
    }
}
