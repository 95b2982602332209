//! A host's own connections: what they commit rings as well.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rusqlite::Connection;
use rusqlite::hooks::{CheckpointMode, Wal};

use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::SqliteBus;
use crate::sqlite::core::Core;
use crate::sqlite::fault;

/// Pages in the WAL from which a commit is followed by a checkpoint: SQLite's own default.
const CHECKPOINT_AT: i32 = 1_000;

/// What the hook needs, of all buses of the process: it is a bare function that does not know whose it is.
static REGISTRY: Mutex<Option<Registry>> = Mutex::new(None);

#[derive(Default)]
struct Registry {
    /// Buses that look when any attached connection commits, and how many attachments each has. A needless look costs a few
    /// microseconds.
    buses: Vec<(Weak<Core>, usize)>,
    /// Connections with our hook, which hides what `wal_autocheckpoint` was: attachments, and that setting. One that was
    /// not detached stays: its hook does as well.
    hooked: HashMap<Handle, (usize, i64)>,
}

/// Tells connections apart.
type Handle = usize;

/// A connection of the host whose commits wake the bus's readers; from [`SqliteBus::attach`].
#[must_use = "commits of the connection wake readers at once only until this is dropped"]
#[derive(Debug)]
pub struct Attachment {
    core: Weak<Core>,
    handle: Handle,
}

impl SqliteBus {
    /// Has the commits of a connection of your own wake the bus's readers at once, in this process and in others. Without it
    /// they are noticed as those of any program that writes plain SQL: within 20 ms on Linux, else within 250 ms. Every commit
    /// of the connection rings, whatever it was of.
    ///
    /// It sets the connection's WAL hook, and replaces one that is there, SQLite's automatic checkpoint included: the hook
    /// goes on with that, every 1,000 pages, unless `wal_autocheckpoint` was 0. `PRAGMA wal_autocheckpoint` on the
    /// connection ends the ringing. The update hook is left alone.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("app.db");
    /// use rowbus::{MessengerExt, SqliteBus, rusqlite::Connection};
    ///
    /// let bus = SqliteBus::open(&path).await?;
    /// let mut orders = bus.stream("orders.>").await?;
    /// let conn = Connection::open(&path).unwrap();
    /// let attachment = bus.attach(&conn)?;
    /// conn.execute("INSERT INTO bus_events (subject, data) VALUES ('orders.created', 'x')", []).unwrap();
    /// assert_eq!(orders.next().await.unwrap()?.text(), Some("x"));
    /// attachment.detach(&conn)
    /// # }
    /// ```
    ///
    /// # Errors
    /// `InvalidOption` if the connection is open on another file; `Database` if it does not answer.
    pub fn attach(&self, conn: &Connection) -> Result<Attachment> {
        let theirs = conn.path().and_then(|path| std::fs::canonicalize(Path::new(path)).ok());
        if theirs.as_deref() != Some(self.path()) {
            let message = format!(
                "the connection is open on {}, and the bus on {}; attach a connection of the bus's own file",
                conn.path().filter(|path| !path.is_empty()).unwrap_or("no file with a name"),
                self.path().display()
            );
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        let setting: i64 = conn
            .pragma_query_value(None, "wal_autocheckpoint", |row| row.get(0))
            .map_err(|e| fault::error("reading wal_autocheckpoint", e))?;
        let (core, handle) = (self.downgrade(), handle(conn));
        let mut registry = registry();
        let registry = registry.get_or_insert_default();
        let (attachments, pages) = registry.hooked.entry(handle).or_insert((0, setting));
        *attachments += 1;
        if setting > 0 {
            // It was set anew meanwhile, which took the hook away.
            *pages = setting;
        }
        conn.wal_hook(Some(if *pages > 0 { ring_and_checkpoint } else { ring }));
        match registry.buses.iter_mut().find(|(bus, _)| bus.ptr_eq(&core)) {
            Some((_, attachments)) => *attachments += 1,
            None => registry.buses.push((core.clone(), 1)),
        }
        Ok(Attachment { core, handle })
    }

    /// Has every reader of the file look for something new, in this process and in others: for commits of connections that
    /// are not attached. It neither waits nor fails, and costs a few microseconds.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("app.db");
    /// # let bus = rowbus::SqliteBus::open(&path).await?;
    /// // After another library of this program has written to the file:
    /// bus.nudge();
    /// # Ok(()) }
    /// ```
    pub fn nudge(&self) {
        self.core().nudge();
    }
}

impl Attachment {
    /// Ends it. The last one of a connection gives it its automatic checkpoint back, as it was set. Dropping the attachment
    /// ends the ringing alone; the connection's hook then does nothing but to checkpoint.
    ///
    /// # Errors
    /// `InvalidOption` if it is not this connection that was attached; `Database` if it does not answer.
    pub fn detach(self, conn: &Connection) -> Result<()> {
        if handle(conn) != self.handle {
            let message = "another connection was attached; detach with that one";
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        let handle = self.handle;
        drop(self);
        let unhooked = {
            let mut registry = registry();
            let hooked = &mut registry.get_or_insert_default().hooked;
            if hooked.get(&handle).is_some_and(|(attachments, _)| *attachments == 0) {
                hooked.remove(&handle)
            } else {
                None
            }
        };
        match unhooked {
            Some((_, pages)) => conn
                .pragma_update(None, "wal_autocheckpoint", pages)
                .map_err(|e| fault::error("setting wal_autocheckpoint", e)),
            None => Ok(()),
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let mut registry = registry();
        let registry = registry.get_or_insert_default();
        if let Some((attachments, _)) = registry.hooked.get_mut(&self.handle) {
            *attachments = attachments.saturating_sub(1);
        }
        registry.buses.retain_mut(|(bus, attachments)| {
            if bus.ptr_eq(&self.core) {
                *attachments -= 1;
            }
            *attachments > 0
        });
    }
}

fn registry() -> MutexGuard<'static, Option<Registry>> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

#[allow(unsafe_code)]
fn handle(conn: &Connection) -> Handle {
    // SAFETY: the address is looked at and nothing is done through it.
    unsafe { conn.handle() as Handle }
}

/// SQLite calls it after a commit can be seen, on the thread that committed; never after a rollback.
fn ring(_: &Wal, _: i32) -> rusqlite::Result<()> {
    let attached: Vec<Arc<Core>> =
        registry().iter().flat_map(|registry| &registry.buses).filter_map(|(bus, _)| bus.upgrade()).collect();
    attached.iter().for_each(|bus| bus.nudge());
    Ok(())
}

fn ring_and_checkpoint(wal: &Wal, pages: i32) -> rusqlite::Result<()> {
    ring(wal, pages)?;
    if pages >= CHECKPOINT_AT {
        // As SQLite does: a checkpoint that fails is made by a later commit, and does not concern this one.
        let _ = wal.checkpoint_v2(CheckpointMode::PASSIVE);
    }
    Ok(())
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sqlite::wake::{Bell, WakeBits};

    const INSERT: &str = "INSERT INTO bus_events (subject, data) VALUES ('a', 'x')";

    /// A commit rings all attached buses of the process, so that each test has the process to itself.
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    /// A bus that publishes nothing, another bell on its file, and a connection of the host.
    async fn bus() -> (tempfile::TempDir, SqliteBus, Bell, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let bus = SqliteBus::open(folder.path().join("a.db")).await.unwrap();
        let (bell, conn) = (Bell::open(bus.path()), Connection::open(bus.path()).unwrap());
        conn.busy_timeout(Duration::from_secs(60)).unwrap();
        (folder, bus, bell, conn)
    }

    fn rings(bell: &Bell, work: impl FnOnce()) -> bool {
        let armed = bell.arm(WakeBits::EVERYTHING);
        work();
        armed.sleep(Duration::ZERO)
    }

    fn setting(conn: &Connection) -> i64 {
        conn.pragma_query_value(None, "wal_autocheckpoint", |row| row.get(0)).unwrap()
    }

    #[tokio::test]
    async fn a_commit_rings_and_a_rollback_does_not_and_neither_does_one_that_was_detached() {
        let _alone = ALONE.lock().await;
        let (_folder, bus, bell, conn) = bus().await;
        let insert = || assert_eq!(conn.execute(INSERT, []).unwrap(), 1);
        assert!(!rings(&bell, insert));
        let attachment = bus.attach(&conn).unwrap();
        assert!(rings(&bell, insert));
        let run = |sql: &str| conn.execute_batch(sql).unwrap();
        assert!(!rings(&bell, || run(&format!("BEGIN; {INSERT}; ROLLBACK"))));
        assert!(rings(&bell, || run(&format!("BEGIN; {INSERT}; COMMIT"))));
        drop(attachment);
        assert!(!rings(&bell, insert));
        let attachment = bus.attach(&conn).unwrap();
        assert!(rings(&bell, insert));
        attachment.detach(&conn).unwrap();
        assert!(!rings(&bell, insert));
        assert!(rings(&bell, || bus.nudge()));
    }

    #[tokio::test]
    async fn of_two_attachments_each_lasts_until_it_is_ended_and_the_last_restores_the_setting() {
        let _alone = ALONE.lock().await;
        let (_folder, bus, bell, conn) = bus().await;
        let insert = || assert_eq!(conn.execute(INSERT, []).unwrap(), 1);
        conn.pragma_update(None, "wal_autocheckpoint", 77).unwrap();
        let (first, second) = (bus.attach(&conn).unwrap(), bus.attach(&conn).unwrap());
        first.detach(&conn).unwrap();
        assert!(rings(&bell, insert));
        // Attached again after it was dropped, it is still known what the setting was.
        drop(second);
        let third = bus.attach(&conn).unwrap();
        assert!(rings(&bell, insert));
        let other = Connection::open(bus.path()).unwrap();
        assert_eq!(bus.attach(&other).unwrap().detach(&conn).unwrap_err().kind(), ErrorKind::InvalidOption);
        third.detach(&conn).unwrap();
        assert_eq!(setting(&conn), 77);
    }
}
