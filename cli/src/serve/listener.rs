//! What a command says on its standard error.

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::status::Status;

/// Bytes of a line that are kept.
const LINE: usize = 4 << 10;

/// Passes lines on when they are there, and keeps the last one that says something.
pub(super) struct Listener<'a> {
    status: &'a Status,
    line: Vec<u8>,
    last: Vec<u8>,
}

impl<'a> Listener<'a> {
    pub(super) fn new(status: &'a Status) -> Self {
        Self { status, line: Vec::new(), last: Vec::new() }
    }

    /// Listens to the end. Dropped before, it has heard what there was.
    pub(super) async fn listen(&mut self, mut pipe: impl AsyncRead + Unpin) {
        let mut chunk = vec![0; LINE];
        // A pipe that cannot be read any more is at its end.
        while let Ok(read @ 1..) = pipe.read(&mut chunk).await {
            self.hear(&chunk[..read]);
        }
        self.end_line();
    }

    fn hear(&mut self, heard: &[u8]) {
        for piece in heard.split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n");
            let rest = text.unwrap_or(piece);
            let room = LINE.saturating_sub(self.line.len()).min(rest.len());
            self.line.extend_from_slice(&rest[..room]);
            if text.is_some() {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = line.trim_ascii_end();
        if !line.is_empty() {
            self.status.say_bytes(line);
            self.last = line.to_owned();
        }
    }

    /// The last line that says something.
    pub(super) fn last(mut self) -> Option<String> {
        self.end_line();
        let last = String::from_utf8_lossy(&self.last).trim().to_owned();
        (!last.is_empty()).then_some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(pieces: &[&[u8]]) -> Option<String> {
        let status = Status::new(true, "x");
        let mut listener = Listener::new(&status);
        pieces.iter().for_each(|piece| listener.hear(piece));
        listener.last()
    }

    #[test]
    fn the_last_line_that_says_something_is_kept() {
        assert_eq!(last(&[b"one\ntw", b"o\r\n", b"\n  \n"]).as_deref(), Some("two"));
        assert_eq!(last(&[b"one\n", b"open end"]).as_deref(), Some("open end"));
        assert_eq!(last(&[b"\n\n"]), None);
    }

    #[test]
    fn a_line_without_end_takes_no_more_than_its_room() {
        let long = vec![b'x'; LINE];
        assert_eq!(last(&[&long, &long, b"\n"]).unwrap().len(), LINE);
    }
}
