//! `rowbus pub`.

use std::ffi::OsString;
use std::io::{self, Write};

use rowbus::{Headers, MessengerExt, PubAck, Publish, SqliteBus, Subject, defaults};

use crate::args::{PubArgs, SendOn};
use crate::failure::{Failure, Result};
use crate::status::Status;
use crate::stdin;
use crate::stdout::Output;

/// What is to be published, checked as far as that can be done without the file.
pub(crate) struct Job {
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
    pub(crate) fn check(self) -> Result<Job> {
        let subject = Subject::new(&self.subject)?;
        let mut headers = Headers::new();
        for header in &self.headers {
            let Some((name, value)) = header.split_once(':') else {
                return Err(Failure::usage(format!(
                    "header {header:?} has no colon; a header is 'Name: value'"
                )));
            };
            headers.append(name, value.strip_prefix(' ').unwrap_or(value))?;
        }
        let mut job = Job { subject, headers, relaxed: self.relaxed, json: self.json, source: Source::Lines };
        if self.send_on != Some(SendOn::Newline) {
            // An id is checked before a body is waited for.
            let with_id = |message: Publish| match &self.message_id {
                Some(id) => message.message_id(id.as_str()),
                None => message,
            };
            with_id(job.message(Vec::new())).into_parts()?;
            let body = match self.body {
                Some(body) => bytes(body)?,
                None => stdin::whole(defaults::MAX_PAYLOAD)?,
            };
            job.source = Source::Message(with_id(job.message(body)), self.count);
        }
        Ok(job)
    }
}

impl Job {
    fn message(&self, body: Vec<u8>) -> Publish {
        let message = Publish::new(&self.subject, body).headers(self.headers.clone());
        if self.relaxed { message.relaxed() } else { message }
    }
}

#[cfg(unix)]
fn bytes(body: OsString) -> Result<Vec<u8>> {
    Ok(std::os::unix::ffi::OsStringExt::into_vec(body))
}

#[cfg(not(unix))]
fn bytes(body: OsString) -> Result<Vec<u8>> {
    let text =
        body.into_string().map_err(|_| Failure::usage("the body is no text; give it on standard input"))?;
    Ok(text.into_bytes())
}

pub(crate) async fn run(bus: &SqliteBus, job: Job, status: &Status) -> Result<()> {
    let mut publisher = Publisher { bus, acks: job.json.then(Output::new), done: Done::default() };
    let outcome = match &job.source {
        Source::Message(message, count) => publisher.repeat(message, *count).await,
        Source::Lines => publisher.lines(&job).await,
    };
    let done = publisher.done;
    match outcome {
        Ok(()) => {
            status.say(&done.tell(&job.subject));
            Ok(())
        }
        Err(failure) if done.messages > 0 => {
            Err(failure.after(&format!("before it: {}", done.tell(&job.subject))))
        }
        Err(failure) => Err(failure),
    }
}

struct Publisher<'a> {
    bus: &'a SqliteBus,
    acks: Option<Output>,
    done: Done,
}

impl Publisher<'_> {
    async fn repeat(&mut self, message: &Publish, count: u64) -> Result<()> {
        let mut left = count;
        while left > 0 {
            let batch = left.min(defaults::BATCH as u64);
            self.publish((0..batch).map(|_| message.clone()).collect()).await?;
            left -= batch;
        }
        Ok(())
    }

    /// Publishes what is there and does not wait for more: a line typed by hand is on its way at once, and those of a
    /// fast writer, which gather while a transaction is flushed, share the next one.
    async fn lines(&mut self, job: &Job) -> Result<()> {
        let limit = defaults::MAX_PAYLOAD.saturating_sub(job.headers.encoded_len());
        let mut input = stdin::lines(limit)?;
        while let Some(group) = input.recv().await {
            let mut lines = group?.into_iter().map(|line| job.message(line)).peekable();
            while lines.peek().is_some() {
                self.publish(lines.by_ref().take(defaults::BATCH).collect()).await?;
            }
        }
        Ok(())
    }

    async fn publish(&mut self, batch: Vec<Publish>) -> Result<()> {
        let acks = self.bus.publish_all(batch).await?;
        self.done.add(&acks);
        if let Some(out) = &mut self.acks
            && !(out.write(|out| write_acks(out, &acks))? && out.flush()?)
        {
            // Whoever asked for acknowledgements and left would never know what of the rest was published.
            return Err(Failure::failed("nobody reads the acknowledgements any more"));
        }
        Ok(())
    }
}

fn write_acks(out: &mut impl Write, acks: &[PubAck]) -> io::Result<()> {
    for ack in acks {
        writeln!(out, "{{\"sequence\":{},\"duplicate\":{}}}", ack.sequence, ack.duplicate)?;
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
            (1, _) => format!("published 1 message to {subject} (sequence {})", self.first),
            (many, _) => {
                format!("published {many} messages to {subject} (sequence {} to {})", self.first, self.last)
            }
        }
    }
}
