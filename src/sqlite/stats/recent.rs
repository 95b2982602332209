//! What has come lately: bounded looks at the newest rows, which cost the same however large the file is.

use std::collections::HashMap;

use crate::dead_letter::DeadLetter;
use crate::defaults::ACTIVITY_SAMPLED;
use crate::error::Result;
use crate::message::Message;
use crate::sqlite::stats::inspect::Inspector;
use crate::sqlite::tables::{dead_letters, events, recent};
use crate::sqlite::work::dead;
use crate::sqlite::{fault, log};
use crate::subject::Subject;

/// Bytes of payload at which a list of messages or letters ends: 1 MiB.
const BYTES: usize = 1 << 20;

/// What was published behind a sequence, by subject; from [`Inspector::activity`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Activity {
    /// The newest sequence that was given out: where to go on from.
    pub through: u64,
    /// Sequences given out since.
    pub published: u64,
    /// Of these events, how many were looked at; where it is less than `published`, they are the newest of them, or the others have
    /// been removed.
    pub sampled: u64,
    /// The subjects of those that were looked at, in no order.
    pub subjects: Vec<SubjectActivity>,
}

/// What was published on one subject; from [`Inspector::activity`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubjectActivity {
    /// As the rows say it, which those of plain SQL clients may say wrongly.
    pub subject: String,
    /// How many of the events that were looked at.
    pub events: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

impl Inspector {
    /// What was published behind the sequence `after`. Blocks.
    ///
    /// It reads subjects and lengths of the newest [10,000](ACTIVITY_SAMPLED) events at most, and no payload. Who asks again and
    /// again, each time from `through` on, has the rates of all subjects.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap(); let path = folder.path().join("app.db");
    /// # use rowbus::{Messenger, MessengerExt}; let bus = rowbus::SqliteBus::open(&path).await?;
    /// bus.publish_all(["a", "b"].map(|body| rowbus::Publish::new("orders.created", body))).await?;
    /// let activity = rowbus::sqlite::Inspector::open(&path)?.activity(0)?;
    /// assert_eq!((activity.through, activity.subjects[0].events), (2, 2));
    /// # bus.close().await }
    /// ```
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn activity(&self, after: u64) -> Result<Activity> {
        self.look("reading what was published", |conn| {
            let through = events::newest(conn)?;
            let mut by_subject = HashMap::<String, (u64, u64)>::new();
            let mut sampled = 0;
            recent::published(conn, after, ACTIVITY_SAMPLED, |subject, bytes| {
                sampled += 1;
                let found = match by_subject.get_mut(subject) {
                    Some(found) => found,
                    None => by_subject.entry(subject.to_owned()).or_default(),
                };
                *found = (found.0 + 1, found.1.saturating_add(bytes));
            })?;
            let subjects = by_subject.into_iter();
            let subjects =
                subjects.map(|(subject, (events, bytes))| SubjectActivity { subject, events, bytes });
            let published = through.saturating_sub(after);
            Ok(Activity { through, published, sampled, subjects: subjects.collect() })
        })
    }

    /// The newest events of a subject, the newest first: at most `limit`, and no further than 1 MiB of payload. Blocks. Rows that
    /// cannot be read are left out.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn newest(&self, subject: &Subject, limit: usize) -> Result<Vec<Message>> {
        self.look("reading the newest events", |conn| recent::of_subject(conn, subject, (limit, BYTES)))
    }

    /// The newest dead letters, the newest first: at most `limit`, and no further than 1 MiB of payload. Blocks.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn newest_dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>> {
        self.look("reading the newest dead letters", |conn| {
            let (mut found, mut bytes) = (Vec::<DeadLetter>::new(), 0);
            for id in recent::dead(conn, limit)? {
                if bytes >= BYTES {
                    break;
                }
                if let Some(letter) = dead_letters::get(conn, id)?.and_then(dead::letter) {
                    bytes += letter.payload.len();
                    found.push(letter);
                }
            }
            Ok(found)
        })
    }

    /// Reads on one snapshot.
    fn look<T>(
        &self,
        doing: &str,
        read: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        log::in_transaction(&self.opened.conn, read).map_err(|e| fault::error(doing, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DurableExt, Job, MessengerExt, Publish, SqliteBus};

    async fn with<T>(fill: impl AsyncFnOnce(&SqliteBus), look: impl FnOnce(&Inspector) -> T) -> T {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let bus = SqliteBus::open(&path).await.unwrap();
        fill(&bus).await;
        let found = look(&Inspector::open(&path).unwrap());
        crate::Messenger::close(&bus).await.unwrap();
        found
    }

    #[tokio::test]
    async fn activity_is_counted_by_subject_from_where_it_was_asked_last() {
        let fill = async |bus: &SqliteBus| {
            for (subject, body) in [("a", "x"), ("a", "xy"), ("b", "")] {
                bus.publish(subject, body).await.unwrap();
            }
        };
        let (all, rest) = with(fill, |file| (file.activity(0).unwrap(), file.activity(1).unwrap())).await;
        assert_eq!((all.through, all.published, all.sampled), (3, 3, 3));
        let of = |activity: &Activity, subject: &str| {
            let found = activity.subjects.iter().find(|found| found.subject == subject).unwrap();
            (found.events, found.bytes)
        };
        assert_eq!((of(&all, "a"), of(&all, "b")), ((2, 3), (1, 0)));
        assert_eq!((of(&rest, "a"), rest.published), ((1, 2), 2));
    }

    #[tokio::test]
    async fn of_more_events_than_are_sampled_the_newest_are() {
        let more = ACTIVITY_SAMPLED + 5;
        let fill = async |bus: &SqliteBus| {
            bus.publish("old", "").await.unwrap();
            bus.publish_all((0..more).map(|_| Publish::new("new", ""))).await.unwrap();
        };
        let activity = with(fill, |file| file.activity(0).unwrap()).await;
        assert_eq!((activity.published, activity.sampled), (more + 1, ACTIVITY_SAMPLED));
        assert_eq!(activity.subjects.len(), 1);
        assert_eq!((&*activity.subjects[0].subject, activity.subjects[0].events), ("new", ACTIVITY_SAMPLED));
    }

    #[tokio::test]
    async fn the_newest_events_of_a_subject_come_first_and_a_large_one_ends_the_list() {
        let subject = Subject::new("a").unwrap();
        let fill = async |bus: &SqliteBus| {
            bus.publish("a", "oldest").await.unwrap();
            bus.publish("a", vec![b'x'; BYTES - 100]).await.unwrap();
            bus.publish("b", "another").await.unwrap();
            bus.publish("a", vec![b'y'; 200]).await.unwrap();
        };
        let (all, two) =
            with(fill, |file| (file.newest(&subject, 100).unwrap(), file.newest(&subject, 1).unwrap())).await;
        assert_eq!(all.iter().map(Message::sequence).collect::<Vec<_>>(), [4, 2]);
        assert_eq!(two.len(), 1);
    }

    #[tokio::test]
    async fn the_newest_dead_letters_come_first() {
        let fill = async |bus: &SqliteBus| {
            for body in ["one", "two"] {
                let job = bus.enqueue(Job::new("mail", body).max_attempts(1)).await.unwrap();
                let fail = |_: crate::Call| async { Err::<String, _>(crate::HandlerError::new("no")) };
                let service = bus.serve("mail", fail).await.unwrap();
                assert!(job.reply().await.is_err());
                service.stop().await.unwrap();
            }
        };
        let letters = with(fill, |file| file.newest_dead_letters(10).unwrap()).await;
        let bodies: Vec<_> = letters.iter().map(|letter| &letter.payload[..]).collect();
        assert_eq!(bodies, [b"two", b"one"]);
    }
}
