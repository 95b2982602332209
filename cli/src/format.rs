//! Messages on standard output: for people, for programs, and as they are.

use std::io::{self, Write};

use rowbus::{Headers, Message};

use crate::colour;
use crate::escape::Escaped;
use crate::json;
use crate::start::rfc3339;
use crate::time::write_time;

/// How a message, a reply or a dead letter is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    People,
    /// The bodies, each with a newline behind it.
    Raw,
    /// The bodies, each with a NUL behind it.
    Null,
    Json,
}

impl Format {
    /// What `--raw` and `--json` ask for, of which there is one at most.
    pub(crate) fn of(raw: bool, json: bool) -> Self {
        match (raw, json) {
            (true, _) => Self::Raw,
            (_, true) => Self::Json,
            _ => Self::People,
        }
    }

    /// The same with `--null`, which says of the bodies how they end.
    pub(crate) fn with_null(raw: bool, null: bool, json: bool) -> Self {
        if null { Self::Null } else { Self::of(raw, json) }
    }

    pub(crate) fn write(self, out: &mut impl Write, message: &Message) -> io::Result<()> {
        self.write_attempt(out, message, None)
    }

    /// The same with which delivery of it this is, from 1.
    pub(crate) fn write_delivery(
        self,
        out: &mut impl Write,
        message: &Message,
        attempt: u32,
    ) -> io::Result<()> {
        self.write_attempt(out, message, Some(attempt))
    }

    fn write_attempt(self, out: &mut impl Write, message: &Message, attempt: Option<u32>) -> io::Result<()> {
        match self {
            Self::People => write_for_people(out, message, attempt),
            Self::Raw => {
                out.write_all(message.payload())?;
                out.write_all(b"\n")
            }
            Self::Null => {
                out.write_all(message.payload())?;
                out.write_all(b"\0")
            }
            Self::Json => write_json(out, message, attempt),
        }
    }
}

fn write_for_people(out: &mut impl Write, message: &Message, attempt: Option<u32>) -> io::Result<()> {
    let time = rfc3339(message.time());
    let sequence = match message.sequence() {
        // No log has numbered it.
        0 => "-".to_owned(),
        sequence => sequence.to_string(),
    };
    let (subject, body) = (Escaped(message.subject().as_bytes()), Escaped(message.payload()));
    let (sequence, time) = (colour::faint(sequence), colour::faint(time));
    writeln!(out, "{sequence}  {time}  {}  {body}", colour::subject(subject))?;
    // In parentheses, since no header can look like that.
    if let Some(attempt @ 2..) = attempt {
        writeln!(out, "    {}", colour::odd(format!("(redelivered, attempt {attempt})")))?;
    }
    write_headers(out, message.headers())
}

/// A line for each header, below what it belongs to.
pub(crate) fn write_headers(out: &mut impl Write, headers: &Headers) -> io::Result<()> {
    for (name, value) in headers.iter() {
        writeln!(out, "    {} {}", colour::faint(format!("{name}:")), Escaped(value.as_bytes()))?;
    }
    Ok(())
}

fn write_json(out: &mut impl Write, message: &Message, attempt: Option<u32>) -> io::Result<()> {
    out.write_all(b"{\"sequence\":")?;
    json::sequence(out, message.sequence())?;
    out.write_all(b",\"subject\":")?;
    json::string(out, message.subject())?;
    write_time(out, message)?;
    if let Some(attempt) = attempt {
        write!(out, ",\"attempt\":{attempt},\"redelivered\":{}", attempt > 1)?;
    }
    json::headers(out, message.headers())?;
    if let Some(id) = message.message_id() {
        out.write_all(b",\"message_id\":")?;
        json::string(out, id)?;
    }
    json::data(out, message.payload())?;
    out.write_all(b"}\n")
}

#[cfg(test)]
mod tests {
    use rowbus::{Headers, Subject};

    use super::*;

    fn message(payload: &[u8], headers: &[(&str, &str)]) -> Message {
        let mut all = Headers::new();
        for (name, value) in headers {
            all.append(name, value).unwrap();
        }
        let (subject, payload) = (Subject::new("orders.created").unwrap(), payload.to_vec());
        let message = Message::new(subject, payload.into(), all, 17, 1_795_417_500_123);
        message.with_message_id((!headers.is_empty()).then(|| "order-\"17".into()))
    }

    fn written(format: Format, payload: &[u8], headers: &[(&str, &str)]) -> String {
        let mut out = Vec::new();
        format.write(&mut out, &message(payload, headers)).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn delivered(format: Format, attempt: u32) -> String {
        let mut out = Vec::new();
        format.write_delivery(&mut out, &message(b"one", &[("A", "1")]), attempt).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn people_get_one_line_and_one_for_each_header() {
        let line = written(Format::People, b"one\x1b[2J\n", &[("A", "1"), ("B", "\x07")]);
        let expected =
            "17  2026-11-23T07:05:00.123Z  orders.created  one\\u{1b}[2J\\n\n    A: 1\n    B: \\u{7}\n";
        assert_eq!(line, expected);
    }

    #[test]
    fn bodies_are_told_apart_by_what_they_cannot_hold() {
        assert_eq!(written(Format::Raw, b"one\ntwo", &[("A", "1")]), "one\ntwo\n");
        assert_eq!(written(Format::Null, b"one\ntwo", &[("A", "1")]), "one\ntwo\0");
    }

    #[test]
    fn json_has_its_fields_in_one_order_and_only_those_that_say_something() {
        let head = "{\"sequence\":17,\"subject\":\"orders.created\",\"time\":\"2026-11-23T07:05:00.123Z\"";
        assert_eq!(
            written(Format::Json, b"a\"\n\0", &[]),
            format!("{head},\"data\":\"a\\\"\\n\\u0000\"}}\n")
        );
        let rich = written(Format::Json, b"\xff", &[("A", "1"), ("A", "2")]);
        let rest = "\"headers\":[[\"A\",\"1\"],[\"A\",\"2\"]],\"message_id\":\"order-\\\"17\",\"data_base64\":\"/w==\"";
        assert_eq!(rich, format!("{head},{rest}}}\n"));
    }

    #[test]
    fn a_delivery_says_which_it_is() {
        assert_eq!(delivered(Format::People, 1), written(Format::People, b"one", &[("A", "1")]));
        let again = delivered(Format::People, 3);
        assert!(again.ends_with("  one\n    (redelivered, attempt 3)\n    A: 1\n"), "{again}");
        assert_eq!(delivered(Format::Raw, 3), "one\n");
        for (attempt, said) in
            [(1, ",\"attempt\":1,\"redelivered\":false,"), (2, ",\"attempt\":2,\"redelivered\":true,")]
        {
            assert!(delivered(Format::Json, attempt).contains(said));
        }
    }
}
