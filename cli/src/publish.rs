//! `rowbus pub`.

use std::ffi::OsString;
use std::io::{self, Write};

use clap::Args;
use futures_util::future::join_all;
use rowbus::{Error, Headers, Messenger, MessengerExt, PubAck, Publish, Subject, defaults};
use tokio::task::unconstrained;

use crate::content::{self, HeaderArgs, SendOn};
use crate::failure::{Failure, Result};
use crate::json;
use crate::signals::{STOPPED, Stop};
use crate::status::Status;
use crate::stdin;
use crate::stdout::Output;

const EXAMPLES: &str = "\
Examples:
  rowbus pub orders.created '{\"pizza\": 1}'
  rowbus pub orders.created -H 'Trace: 7f2c' --message-id order-17 < order.json
  tail -f app.log | rowbus pub logs.app --send-on newline";

/// Publish a message, or each line of standard input as one
///
/// A message is acknowledged when it would survive a power cut; on a NATS server, when the server has passed it on to whoever
/// listens, and nobody keeps it.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PubArgs {
    /// What the messages are about, as in orders.eu.created
    pub(crate) subject: String,

    /// The body; standard input if it is not given
    pub(crate) body: Option<OsString>,

    #[command(flatten)]
    pub(crate) headers: HeaderArgs,

    /// Send each line of standard input when it is there, without its line end
    #[arg(long, value_name = "WHEN", conflicts_with_all = ["body", "count"])]
    pub(crate) send_on: Option<SendOn>,

    /// Send the message this many times
    #[arg(long, value_name = "N", default_value = "1", hide_default_value = true)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,

    /// An id against duplicates: within 2 minutes it is published once only
    #[arg(long, value_name = "ID", conflicts_with_all = ["count", "send_on"])]
    pub(crate) message_id: Option<String>,

    /// Do not wait for the disk: a power cut may take the newest messages
    #[arg(long)]
    pub(crate) relaxed: bool,

    /// Write a JSON object to standard output for each message published
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is to be published, checked as far as that can be done without the file.
pub(crate) struct Task {
    subject: Subject,
    headers: Headers,
    relaxed: bool,
    json: bool,
    source: Source,
}

enum Source {
    /// One message, and how often.
    Message(Publish, u64),
    /// Each line of standard input.
    Lines,
}

impl PubArgs {
    pub(crate) fn check(self) -> Result<Task> {
        let subject = Subject::new(&self.subject)?;
        let headers = self.headers.read()?;
        let mut task =
            Task { subject, headers, relaxed: self.relaxed, json: self.json, source: Source::Lines };
        if self.send_on != Some(SendOn::Newline) {
            // An id is checked before a body is waited for.
            let with_id = |message: Publish| match &self.message_id {
                Some(id) => message.message_id(id.as_str()),
                None => message,
            };
            with_id(task.message(Vec::new())).into_parts()?;
            let body = content::body(self.body)?;
            task.source = Source::Message(with_id(task.message(body)), self.count);
        }
        Ok(task)
    }
}

impl Task {
    fn message(&self, body: Vec<u8>) -> Publish {
        let message = Publish::new(&self.subject, body).headers(self.headers.clone());
        if self.relaxed { message.relaxed() } else { message }
    }
}

pub(crate) async fn run(bus: &dyn Messenger, task: Task, stop: &Stop, status: &Status) -> Result<()> {
    let mut publisher = Publisher { bus, stop, acks: task.json.then(Output::new), done: Done::default() };
    let outcome = match &task.source {
        Source::Message(message, count) => publisher.repeat(message, *count).await,
        Source::Lines => publisher.lines(&task).await,
    };
    let done = publisher.done;
    match outcome {
        Ok(()) => {
            status.say(&done.tell(&task.subject));
            Ok(())
        }
        Err(failure) if done.messages > 0 => {
            Err(failure.after(&format!("before it: {}", done.tell(&task.subject))))
        }
        Err(failure) => Err(failure),
    }
}

struct Publisher<'a> {
    bus: &'a dyn Messenger,
    stop: &'a Stop,
    acks: Option<Output>,
    done: Done,
}

/// Said where the bus had something that it has not acknowledged.
const UNKNOWN: &str = "told to stop before it was known whether what was under way is published";

impl Publisher<'_> {
    async fn repeat(&mut self, message: &Publish, count: u64) -> Result<()> {
        let mut left = count;
        while left > 0 {
            if self.stop.is_told() {
                return Err(Failure::failed(STOPPED));
            }
            let batch = left.min(defaults::BATCH as u64);
            self.publish((0..batch).map(|_| message.clone()).collect()).await?;
            left -= batch;
        }
        Ok(())
    }

    /// Publishes what is there and does not wait for more: a line typed by hand is on its way at once, and those of a
    /// fast writer, which gather while a transaction is flushed, share the next one.
    async fn lines(&mut self, task: &Task) -> Result<()> {
        let limit = defaults::MAX_PAYLOAD.saturating_sub(task.headers.encoded_len());
        let mut input = stdin::lines(limit)?;
        while let Some(group) = self.stop.unless_told(input.recv()).await? {
            let mut lines = group?.into_iter().map(|line| task.message(line)).peekable();
            while lines.peek().is_some() {
                self.publish(lines.by_ref().take(defaults::BATCH).collect()).await?;
            }
        }
        Ok(())
    }

    async fn publish(&mut self, batch: Vec<Publish>) -> Result<()> {
        // What is dropped under way is published as a whole or not at all, and nothing says which.
        let sent = self.stop.unless_told(send(self.bus, batch)).await;
        let (acks, failed) = sent.map_err(|_| Failure::failed(UNKNOWN))?;
        self.done.add(&acks);
        if let Some(out) = &mut self.acks
            && !(out.write(|out| write_acks(out, &acks))? && out.flush()?)
        {
            // Whoever asked for acknowledgements and left would never know what of the rest was published.
            return Err(Failure::failed("nobody reads the acknowledgements any more"));
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Publishes all of them, in one step where the bus can. Else they are on their way one behind the other, and those behind one that
/// fails may be published.
async fn send(bus: &dyn Messenger, batch: Vec<Publish>) -> (Vec<PubAck>, Option<Error>) {
    if bus.capabilities().atomic_batches {
        return match bus.publish_all(batch).await {
            Ok(acks) => (acks, None),
            Err(error) => (Vec::new(), Some(error)),
        };
    }
    let (mut acks, mut failed) = (Vec::new(), None);
    // A task that has had its share of time is put back, and those of a crowd would go on in another order.
    let sending = batch.into_iter().map(|message| unconstrained(bus.send(message)));
    for sent in join_all(sending).await {
        match sent {
            Ok(ack) => acks.push(ack),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    (acks, failed)
}

fn write_acks(out: &mut impl Write, acks: &[PubAck]) -> io::Result<()> {
    for ack in acks {
        out.write_all(b"{\"sequence\":")?;
        json::sequence(out, ack.sequence)?;
        writeln!(out, ",\"duplicate\":{}}}", ack.duplicate)?;
    }
    Ok(())
}

/// What has been acknowledged so far.
#[derive(Clone, Copy, Default)]
struct Done {
    messages: u64,
    first: u64,
    last: u64,
    /// The sequence of the message that was there already; only a single message can have an id.
    duplicate_of: Option<u64>,
}

impl Done {
    fn add(&mut self, acks: &[PubAck]) {
        for ack in acks {
            if ack.duplicate {
                self.duplicate_of = Some(ack.sequence);
                continue;
            }
            if self.messages == 0 {
                self.first = ack.sequence;
            }
            self.last = ack.sequence;
            self.messages += 1;
        }
    }

    fn tell(&self, subject: &Subject) -> String {
        match (self.messages, self.duplicate_of) {
            (0, Some(sequence)) => {
                format!("published 0 messages to {subject} (duplicate of sequence {sequence})")
            }
            (0, None) => format!("published 0 messages to {subject}"),
            // No log has given them a number.
            (1, _) if self.last == 0 => format!("published 1 message to {subject}"),
            (many, _) if self.last == 0 => format!("published {many} messages to {subject}"),
            (1, _) => format!("published 1 message to {subject} (sequence {})", self.first),
            (many, _) => {
                format!("published {many} messages to {subject} (sequence {} to {})", self.first, self.last)
            }
        }
    }
}
