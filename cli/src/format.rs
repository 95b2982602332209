//! Messages on standard output: for people, for programs, and as they are.

use std::io::{self, Write};

use rowbus::{Headers, Message};

use crate::escape::Escaped;
use crate::json;
use crate::start::rfc3339;

/// How a message, a reply or a dead letter is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    People,
    Raw,
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

    pub(crate) fn write(self, out: &mut impl Write, message: &Message) -> io::Result<()> {
        match self {
            Self::People => write_for_people(out, message),
            Self::Raw => {
                out.write_all(message.payload())?;
                out.write_all(b"\n")
            }
            Self::Json => write_json(out, message),
        }
    }
}

fn write_for_people(out: &mut impl Write, message: &Message) -> io::Result<()> {
    let (sequence, time) = (message.sequence(), rfc3339(message.time()));
    let (subject, body) = (Escaped(message.subject().as_bytes()), Escaped(message.payload()));
    writeln!(out, "{sequence}  {time}  {subject}  {body}")?;
    write_headers(out, message.headers())
}

/// A line for each header, below what it belongs to.
pub(crate) fn write_headers(out: &mut impl Write, headers: &Headers) -> io::Result<()> {
    for (name, value) in headers.iter() {
        writeln!(out, "    {name}: {}", Escaped(value.as_bytes()))?;
    }
    Ok(())
}

fn write_json(out: &mut impl Write, message: &Message) -> io::Result<()> {
    write!(out, "{{\"sequence\":{},\"subject\":", message.sequence())?;
    json::string(out, message.subject())?;
    write!(out, ",\"time\":\"{}\"", rfc3339(message.time()))?;
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

    fn written(format: Format, payload: &[u8], headers: &[(&str, &str)]) -> String {
        let mut all = Headers::new();
        for (name, value) in headers {
            all.append(name, value).unwrap();
        }
        let (subject, payload) = (Subject::new("orders.created").unwrap(), payload.to_vec());
        let message = Message::new(subject, payload.into(), all, 17, 1_795_417_500_123);
        let message = message.with_message_id((!headers.is_empty()).then(|| "order-\"17".into()));
        let mut out = Vec::new();
        format.write(&mut out, &message).unwrap();
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
}
