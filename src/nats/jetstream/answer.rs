//! What the server is told of a message that it has delivered, and that it has heard it.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::jetstream::Context as JetStream;
use async_nats::{Request, Subject};

use crate::error::{Error, Result};
use crate::nats::jetstream::failure;

/// How long the server may take to hear it.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// What is kept of a failure's message, in bytes: a record has room for many.
const LINE: usize = 1_000;

/// How a delivery goes on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer<'a> {
    Done,
    /// It is to come again after this time.
    Again(Duration),
    /// It is not to come again, for this reason.
    Never(&'a str),
    /// It is held for as long again as at the beginning.
    InProgress,
}

/// Tells the server, and waits until it has heard it. `None` where its consumer is no more.
pub(super) async fn tell(jetstream: &JetStream, reply: &Subject, answer: Answer<'_>) -> Result<Option<()>> {
    let said = match answer {
        Answer::Done => "+ACK".to_owned(),
        Answer::Again(delay) => format!(r#"-NAK {{"delay":{}}}"#, delay.as_nanos()),
        Answer::Never(reason) => format!("+TERM {}", one_line(reason)),
        Answer::InProgress => "+WPI".to_owned(),
    };
    let request = Request::new().payload(said.into()).timeout(Some(HEARD_WITHIN));
    match jetstream.client().send_request(reply.clone(), request).await {
        Ok(_) => Ok(Some(())),
        Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(None),
        Err(error) => Err(failure::unsure("it has heard how a delivery ended", error)),
    }
}

/// Of a delivery whose consumer may be gone: then it is lost.
pub(super) fn held(told: Option<()>, sequence: u64) -> Result<()> {
    told.ok_or_else(|| Error::delivery_lost(sequence))
}

/// What is kept as one line.
pub(super) fn one_line(text: &str) -> String {
    let mut line = text.lines().collect::<Vec<_>>().join(" ");
    let end = (0..=LINE).rev().find(|end| line.is_char_boundary(*end));
    line.truncate(end.unwrap_or_default());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_failure_is_one_line_and_not_too_long() {
        assert_eq!(one_line("it\nfailed"), "it failed");
        assert_eq!(one_line(&"ü".repeat(LINE)).len(), LINE);
        assert_eq!(one_line(&format!("a{}", "ü".repeat(LINE))).len(), LINE - 1);
    }
}
