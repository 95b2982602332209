//! Replies on standard output, as they come.

use std::io::{self, Write};

use clap::Args;
use rowbus::{Error, ErrorKind, Replies, Reply};
use tokio::time::Instant;

use crate::escape::Escaped;
use crate::failure::{Failure, Result};
use crate::format::{Format, write_headers};
use crate::json;
use crate::signals::Stop;
use crate::stdout::{self, Output};
use crate::wait;

/// How replies are written.
#[derive(Args)]
pub(crate) struct PrintArgs {
    /// Write the body as it is and nothing behind it; with --parts, a newline behind each
    #[arg(long, conflicts_with = "json")]
    raw: bool,

    /// Write one JSON object a line, also of the error of a handler
    #[arg(long)]
    json: bool,

    /// Write each part of the reply when it comes, and then the final one unless it is empty
    #[arg(long)]
    parts: bool,
}

/// Writes replies.
pub(crate) struct Printer {
    out: Output,
    format: Format,
    parts: bool,
}

/// Why following replies came to its end without the final one.
pub(crate) enum Cut {
    /// The time is up.
    TimeIsUp,
    /// The user wants no more.
    Stopped,
}

impl PrintArgs {
    pub(crate) fn printer(&self) -> Printer {
        Printer { out: Output::new(), format: Format::of(self.raw, self.json), parts: self.parts }
    }
}

impl Printer {
    /// One for final replies only.
    pub(crate) fn of_last(out: Output, format: Format) -> Self {
        Self { out, format, parts: false }
    }

    /// Whether parts are wanted as well.
    pub(crate) fn wants_parts(&self) -> bool {
        self.parts
    }

    /// Writes replies up to the final one, or up to the end of the time. A reader of the parts that has gone ends it as well.
    pub(crate) async fn follow(
        &mut self,
        mut replies: Replies,
        stop: &Stop,
        deadline: Option<Instant>,
    ) -> Result<Option<Cut>> {
        // Without parts it is one reply, and who asked for it may have wanted what is done for it and no more.
        let parts = self.parts;
        let gone = async move {
            match parts {
                true => stdout::reader_gone().await,
                false => std::future::pending().await,
            }
        };
        tokio::pin!(gone);
        loop {
            let reply = tokio::select! {
                biased;
                () = stop.told() => return Ok(Some(Cut::Stopped)),
                () = &mut gone => return Ok(None),
                reply = replies.next() => reply,
                () = wait::until(deadline) => return Ok(Some(Cut::TimeIsUp)),
            };
            match reply {
                Some(Ok(reply)) => {
                    let is_read = self.write(&reply)?;
                    if reply.is_final() || !is_read {
                        return Ok(None);
                    }
                }
                Some(Err(error)) => return Err(self.failed(&error)),
                None => return Err(Failure::failed("the replies ended without a final one")),
            }
        }
    }

    /// Writes one if it is wanted; `false` if nobody reads any more.
    pub(crate) fn write(&mut self, reply: &Reply) -> Result<bool> {
        let (format, parts) = (self.format, self.parts);
        if !is_shown(reply, format, parts) {
            return Ok(true);
        }
        Ok(self.out.write(|out| write_reply(out, reply, format, parts))? && self.out.flush()?)
    }

    /// The failure that this error of a request or job is. A program that reads JSON gets what its handler said as JSON.
    pub(crate) fn failed(&mut self, error: &Error) -> Failure {
        let failure = Failure::from(error.clone());
        if self.format == Format::Json && error.kind() == ErrorKind::Handler {
            let written = self.out.write(|out| write_error(out, error));
            if let Err(unwritten) = written.and_then(|_| self.out.flush()) {
                return failure.after(unwritten.message());
            }
        }
        failure
    }
}

/// An empty final reply behind parts says no more than that it is the end.
fn is_shown(reply: &Reply, format: Format, parts: bool) -> bool {
    let says_something = !reply.payload().is_empty() || !reply.headers().is_empty();
    if reply.is_final() { !parts || says_something || format == Format::Json } else { parts }
}

fn write_reply(out: &mut impl Write, reply: &Reply, format: Format, parts: bool) -> io::Result<()> {
    match format {
        Format::People => write_for_people(out, reply),
        Format::Raw | Format::Null => {
            out.write_all(reply.payload())?;
            if parts { out.write_all(b"\n") } else { Ok(()) }
        }
        Format::Json => {
            write!(out, "{{\"attempt\":{},\"final\":{}", reply.attempt(), reply.is_final())?;
            json::headers(out, reply.headers())?;
            json::data(out, reply.payload())?;
            out.write_all(b"}\n")
        }
    }
}

/// Line by line: what commands answer mostly is lines. Within each, all that a terminal would act on is spelled out.
fn write_for_people(out: &mut impl Write, reply: &Reply) -> io::Result<()> {
    let body = reply.payload();
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    for line in body.split(|byte| *byte == b'\n') {
        writeln!(out, "{}", Escaped(line))?;
    }
    write_headers(out, reply.headers())
}

fn write_error(out: &mut impl Write, error: &Error) -> io::Result<()> {
    out.write_all(b"{\"error\":")?;
    json::string(out, &error.to_string())?;
    if let Some(code) = error.code() {
        out.write_all(b",\"code\":")?;
        json::string(out, code)?;
    }
    if !error.body().is_empty() {
        json::data(out, error.body())?;
    }
    out.write_all(b"}\n")
}

#[cfg(test)]
mod tests {
    use rowbus::Response;

    use super::*;

    fn written(reply: &Reply, format: Format, parts: bool) -> String {
        let mut out = Vec::new();
        if is_shown(reply, format, parts) {
            write_reply(&mut out, reply, format, parts).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    fn last(body: &'static str) -> Reply {
        Reply::last(Response::new(body), 1)
    }

    #[test]
    fn people_get_lines_on_which_no_terminal_acts() {
        let response = Response::new("one\x1b[2J\ntwo\r\n").header("A", "\x07").unwrap();
        let shown = written(&Reply::last(response, 1), Format::People, false);
        assert_eq!(shown, "one\\u{1b}[2J\ntwo\\r\n    A: \\u{7}\n");
        assert_eq!(written(&last(""), Format::People, false), "\n");
    }

    #[test]
    fn a_raw_reply_is_its_bytes_and_parts_are_told_apart() {
        assert_eq!(written(&last("one\n"), Format::Raw, false), "one\n");
        assert_eq!(written(&last("one"), Format::Raw, false), "one");
        assert_eq!(written(&last("one"), Format::Raw, true), "one\n");
    }

    #[test]
    fn parts_are_shown_if_they_are_wanted() {
        let part = Reply::part(Response::new("half"), 1);
        assert_eq!(written(&part, Format::People, false), "");
        assert_eq!(written(&part, Format::People, true), "half\n");
    }

    #[test]
    fn an_empty_final_reply_behind_parts_is_shown_in_json_only() {
        assert_eq!(written(&last(""), Format::People, true), "");
        assert_eq!(written(&last(""), Format::Raw, true), "");
        let json = "{\"attempt\":1,\"final\":true,\"data\":\"\"}\n";
        assert_eq!(written(&last(""), Format::Json, true), json);
    }

    #[test]
    fn json_has_what_a_handler_said() {
        let error = Error::handler("no \"stock\"", Some("E_STOCK".into()), b"\xff".to_vec().into());
        let mut out = Vec::new();
        write_error(&mut out, &error).unwrap();
        let expected = "{\"error\":\"no \\\"stock\\\"\",\"code\":\"E_STOCK\",\"data_base64\":\"/w==\"}\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
