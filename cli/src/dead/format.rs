//! Dead letters on standard output.

use std::io::{self, Write};

use rowbus::{DeadLetter, DeadSource};

use crate::colour;
use crate::escape::Escaped;
use crate::failures::{self, write_failures};
use crate::format::write_headers;
use crate::json;
use crate::start::rfc3339;

/// One in a list, for people.
pub(super) fn write_line(out: &mut impl Write, letter: &DeadLetter) -> io::Result<()> {
    let (id, time, attempts) = (letter.id, rfc3339(letter.died_at), letter.attempts);
    let (subject, reason) = (Escaped(letter.subject.as_bytes()), Escaped(letter.reason.as_bytes()));
    let (id, time, subject) = (colour::faint(id), colour::faint(time), colour::subject(subject));
    write!(out, "{id}  {time}  {subject}  {reason} after {attempts} ")?;
    match &letter.source {
        DeadSource::Event { consumer, sequence, .. } => {
            let consumer = Escaped(consumer.as_bytes());
            let times = if attempts == 1 { "delivery" } else { "deliveries" };
            write!(out, "{times} of event {sequence} to {consumer}")?;
        }
        _ => out.write_all(if attempts == 1 { b"attempt" } else { b"attempts" })?,
    }
    if let Some(last) = letter.failures.last() {
        write!(out, ": {}", Escaped(last.message.as_bytes()))?;
    }
    writeln!(out)
}

/// One alone, for people.
pub(super) fn write_for_people(out: &mut impl Write, letter: &DeadLetter) -> io::Result<()> {
    writeln!(out, "id        {}", letter.id)?;
    let mut created = "created";
    match &letter.source {
        DeadSource::Job(job) => writeln!(out, "job       {}", Escaped(job.as_str().as_bytes()))?,
        DeadSource::Event { consumer, sequence, .. } => {
            writeln!(out, "consumer  {}\nsequence  {sequence}", Escaped(consumer.as_bytes()))?;
            created = "published";
        }
        // What later versions of the library give up on.
        _ => {}
    }
    writeln!(out, "subject   {}", Escaped(letter.subject.as_bytes()))?;
    writeln!(out, "reason    {}", Escaped(letter.reason.as_bytes()))?;
    writeln!(out, "attempts  {}", letter.attempts)?;
    writeln!(out, "{created:<9} {}", rfc3339(letter.created_at))?;
    writeln!(out, "died      {}", rfc3339(letter.died_at))?;
    write_failures(out, 10, &letter.failures)?;
    writeln!(out, "body      {}", Escaped(&letter.payload))?;
    write_headers(out, &letter.headers)
}

/// One object, its fields in one order; a job has a `job`, an event a `consumer` and a `sequence`.
pub(crate) fn write_json(out: &mut impl Write, letter: &DeadLetter) -> io::Result<()> {
    write!(out, "{{\"id\":{}", letter.id)?;
    match &letter.source {
        DeadSource::Job(job) => {
            out.write_all(b",\"job\":")?;
            json::string(out, job.as_str())?;
        }
        DeadSource::Event { consumer, sequence, .. } => {
            out.write_all(b",\"consumer\":")?;
            json::string(out, consumer)?;
            write!(out, ",\"sequence\":{sequence}")?;
        }
        _ => {}
    }
    out.write_all(b",\"subject\":")?;
    json::string(out, &letter.subject)?;
    out.write_all(b",\"reason\":")?;
    json::string(out, &letter.reason)?;
    let (created, died) = (rfc3339(letter.created_at), rfc3339(letter.died_at));
    let attempts = letter.attempts;
    write!(out, ",\"attempts\":{attempts},\"created_at\":\"{created}\",\"died_at\":\"{died}\"")?;
    failures::write_json(out, &letter.failures)?;
    json::headers(out, &letter.headers)?;
    json::data(out, &letter.payload)?;
    out.write_all(b"}\n")
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use rowbus::{Failure, Subject};

    use super::*;

    type Write = fn(&mut Vec<u8>, &DeadLetter) -> io::Result<()>;

    fn written(write: Write) -> String {
        written_of(DeadSource::Job("an-id".into()), "exhausted", write)
    }

    fn written_of(source: DeadSource, reason: &str, write: Write) -> String {
        let time = DateTime::from_timestamp_millis(1_795_417_500_123).unwrap();
        let mut letter = DeadLetter::new(7, source, Subject::new("mail.send").unwrap(), reason);
        (letter.attempts, letter.created_at, letter.died_at) = (1, time, time);
        letter.failures = vec![Failure::new(1, time, "no\x1broute")];
        letter.payload = b"to: \x07ada\n".to_vec().into();
        letter.headers.append("Trace", "7\x1b").unwrap();
        let mut out = Vec::new();
        write(&mut out, &letter).unwrap();
        String::from_utf8(out).unwrap()
    }

    const TIME: &str = "2026-11-23T07:05:00.123Z";

    #[test]
    fn a_list_has_one_line_for_each() {
        let expected = format!("7  {TIME}  mail.send  exhausted after 1 attempt: no\\u{{1b}}route\n");
        assert_eq!(written(write_line), expected);
    }

    #[test]
    fn people_see_escapes_where_a_terminal_would_act() {
        let shown = written(write_for_people);
        let end = format!(
            "died      {TIME}\nfailed    attempt 1, {TIME}: no\\u{{1b}}route\n\
             body      to: \\u{{7}}ada\\n\n    Trace: 7\\u{{1b}}\n"
        );
        assert!(shown.starts_with("id        7\njob       an-id\n") && shown.ends_with(&end), "{shown}");
    }

    #[test]
    fn json_has_the_whole_letter() {
        let expected = format!(
            "{{\"id\":7,\"job\":\"an-id\",\"subject\":\"mail.send\",\"reason\":\"exhausted\",\"attempts\":1,\
             \"created_at\":\"{TIME}\",\"died_at\":\"{TIME}\",\"failures\":[{{\"attempt\":1,\"at\":\"{TIME}\",\
             \"message\":\"no\\u001broute\"}}],\"headers\":[[\"Trace\",\"7\\u001b\"]],\
             \"data\":\"to: \\u0007ada\\n\"}}\n"
        );
        assert_eq!(written(write_json), expected);
    }

    #[test]
    fn an_event_has_its_consumer_and_sequence_in_place_of_a_job() {
        let event = |write| written_of(DeadSource::event("mailer\x1b", 17), "not \x1b today", write);
        let line = event(write_line);
        let said = "not \\u{1b} today after 1 delivery of event 17 to mailer\\u{1b}: no\\u{1b}route\n";
        assert_eq!(line, format!("7  {TIME}  mail.send  {said}"));
        let shown = event(write_for_people);
        let start = "id        7\nconsumer  mailer\\u{1b}\nsequence  17\nsubject   mail.send\n";
        assert!(shown.starts_with(start) && shown.contains(&format!("\npublished {TIME}\n")), "{shown}");
        let json = event(write_json);
        let start = "{\"id\":7,\"consumer\":\"mailer\\u001b\",\"sequence\":17,\"subject\":\"mail.send\",";
        assert!(json.starts_with(start) && !json.contains("\"job\""), "{json}");
    }
}
