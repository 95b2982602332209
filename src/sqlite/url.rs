//! `sqlite:` URLs.

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::publish::Durability;
use crate::retention::Retention;
use crate::sqlite::builder::SqliteBuilder;
use crate::sqlite::schema::Migrate;
use crate::url::BusUrl;

impl SqliteBuilder {
    /// The options of a `sqlite:` URL, as [`connect`](crate::connect) reads them: for a program that is told a URL, and needs what only a
    /// bus on a file can do.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap(); let url = format!("sqlite:{}/app.db?durability=relaxed", folder.path().display());
    /// use rowbus::sqlite::SqliteBuilder;
    ///
    /// let bus = SqliteBuilder::from_url(&url)?.open().await?; // sqlite:app.db?durability=relaxed
    /// let stats = bus.stats().await?;
    /// # drop((bus, stats)); Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `InvalidOption` for a URL of another scheme, and for what is not understood.
    pub fn from_url(url: &str) -> Result<Self> {
        let url = BusUrl::parse(url)?;
        if url.scheme() != "sqlite" {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                "the URL of a bus on a file begins with sqlite:",
            ));
        }
        Self::by_url(url)
    }

    /// The file, as it was named.
    pub fn path(&self) -> &Path {
        self.path.as_path()
    }

    /// The options of this URL.
    pub(crate) fn by_url(mut url: BusUrl) -> Result<Self> {
        let mut builder = Self::new(url.name()?.into());
        if let Some(name) = url.take("name") {
            builder = builder.name(name);
        }
        let durabilities = [("full", Durability::Full), ("relaxed", Durability::Relaxed)];
        if let Some(durability) = url.take_word("durability", &durabilities)? {
            builder = builder.durability(durability);
        }
        if let Some(deadline) = url.take_duration("busy_deadline")? {
            builder = builder.busy_deadline(deadline);
        }
        if let Some(window) = url.take_duration("dedup_window")? {
            builder = builder.dedup_window(window);
        }
        if let Some(bytes) = url.take_parsed("max_payload")? {
            builder = builder.max_payload(bytes);
        }
        if let Some(create) = url.take_parsed("create")? {
            builder = builder.create(create);
        }
        if let Some(convert) = url.take_parsed("convert_to_wal")? {
            builder = builder.convert_to_wal(convert);
        }
        let migrations =
            [("auto", Migrate::Auto), ("new_files", Migrate::NewFiles), ("manual", Migrate::Manual)];
        if let Some(migrate) = url.take_word("migrate", &migrations)? {
            builder = builder.migrate(migrate);
        }
        if let Some(prune) = url.take_parsed("prune")? {
            builder = builder.prune(prune);
        }
        if let Some(age) = url.take_duration("keep_dead_letters")? {
            builder = builder.keep_dead_letters(Some(age));
        }
        if let Some(retention) = retention(&mut url)? {
            builder = builder.retention(">", retention);
        }
        url.finish()?;
        Ok(builder)
    }
}

/// How long events of any subject are kept, if the URL says so.
fn retention(url: &mut BusUrl) -> Result<Option<Retention>> {
    let (mut retention, mut is_said) = (Retention::new(), false);
    if let Some(age) = url.take_duration("max_age")? {
        (retention, is_said) = (retention.max_age(age), true);
    }
    if let Some(messages) = url.take_parsed("max_messages")? {
        (retention, is_said) = (retention.max_messages(messages), true);
    }
    if let Some(bytes) = url.take_parsed("max_bytes")? {
        (retention, is_said) = (retention.max_bytes(bytes), true);
    }
    if let Some(messages) = url.take_parsed("max_per_subject")? {
        (retention, is_said) = (retention.max_per_subject(messages), true);
    }
    Ok(is_said.then_some(retention))
}
