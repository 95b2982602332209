//! The page `docs/sql.md`, and a bus for its examples.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use chrono::DateTime;
use rowbus::rusqlite::Connection;
use rowbus::{
    Call, DurableExt, HandlerError, Message, Messenger, MessengerExt, Publish, Reply, Response, Result,
    Service, SqliteBus, StartAt, Subscribe,
};

use crate::PATIENCE;

pub(crate) const SQL_DOC: &str = include_str!("../../docs/sql.md");

/// An example of `docs/sql.md`: a fenced block, and the name in the comment above it.
pub(crate) struct Block {
    pub(crate) name: &'static str,
    pub(crate) language: &'static str,
    pub(crate) code: String,
}

pub(crate) fn blocks() -> Vec<Block> {
    let (mut blocks, mut name, mut lines) = (Vec::new(), None, SQL_DOC.lines());
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let name = name.take().unwrap_or_else(|| panic!("an example without a name: {line}"));
            let code = lines.by_ref().take_while(|line| *line != "```").collect::<Vec<_>>().join("\n");
            blocks.push(Block { name, language, code });
        } else if let Some(named) = line.strip_prefix("<!-- example: ") {
            name = named.strip_suffix(" -->");
        }
    }
    blocks
}

/// A folder with a bus in `app.db`, the file that the examples name.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) bus: SqliteBus,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bus = SqliteBus::open(folder.path().join("app.db")).await.unwrap();
        Self { folder, bus }
    }

    pub(crate) fn sql(&self) -> Connection {
        let conn = Connection::open(self.path()).unwrap();
        conn.busy_timeout(PATIENCE).unwrap();
        conn
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("app.db")
    }

    /// What a reader of the library gets first.
    pub(crate) async fn first(&self, count: usize) -> Vec<Message> {
        let mut stream = self.bus.subscribe(Subscribe::to(">").from(StartAt::Oldest)).await.unwrap();
        let mut messages = Vec::new();
        for _ in 0..count {
            let item = tokio::time::timeout(PATIENCE, stream.next()).await.expect("a message in time");
            messages.push(item.unwrap().unwrap());
        }
        messages
    }

    /// What a reader of the library gets first, as texts, when nothing else has been published.
    pub(crate) async fn bodies(&self, count: usize) -> Vec<String> {
        self.bus.publish("the.end", "end").await.unwrap();
        let messages = self.first(count + 1).await;
        assert_eq!(messages[count].subject(), "the.end");
        messages[..count].iter().map(|message| message.text().unwrap().to_owned()).collect()
    }

    /// Who is called bob is not there at first, and nobody never is.
    pub(crate) async fn serve_mail(&self) -> Service {
        let mail = self.bus.serve("mail.*", |call: Call| async move {
            call.part("on its way").await?;
            match (call.text().unwrap_or_default(), call.attempt()) {
                ("to: bob", 1) if call.headers().is_empty() => {
                    Err(HandlerError::new("not yet").with_code("E_SOON").retry_at(DateTime::UNIX_EPOCH))
                }
                ("to: nobody", _) => Err(HandlerError::new("there is nobody").fatal()),
                (to, _) => Ok(Response::new(format!("sent {to}")).with_headers(call.headers().clone())),
            }
        });
        mail.await.unwrap()
    }

    pub(crate) async fn reply(&self, id: &str) -> Result<Reply> {
        tokio::time::timeout(PATIENCE, self.bus.reply(id.into())).await.expect("a reply in time")
    }

    pub(crate) async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < PATIENCE, "{what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn publish(
        &self,
        events: &[(&str, &str)],
    ) -> impl Future<Output = Result<Vec<rowbus::PubAck>>> {
        self.bus.publish_all(events.iter().map(|(subject, body)| Publish::new(*subject, body.to_string())))
    }
}
