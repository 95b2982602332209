//! Messages from standard input.

use std::io::{self, ErrorKind, Read};

use tokio::sync::mpsc;

use crate::failure::{Failure, Result};
use crate::stdout::is_stand_in;

/// Bytes taken at once; a pipe holds as much on most systems.
const CHUNK: usize = 64 << 10;
/// Chunks read ahead of what has been published: enough to read while the disk works, and little to lose.
const AHEAD: usize = 2;

/// Fails where standard input was closed, which would be taken for an empty one.
pub(crate) fn must_be_open() -> Result<()> {
    if is_stand_in(io::stdin()) {
        return Err(Failure::usage(
            "standard input is closed, or /dev/null opened for writing as well; say '' for an empty body",
        ));
    }
    Ok(())
}

/// Standard input to its end, as one body of at most `limit` bytes.
pub(crate) fn whole(limit: usize) -> Result<Vec<u8>> {
    must_be_open()?;
    let mut body = Vec::new();
    // One byte more tells what is too large, without reading what may never end.
    io::stdin().lock().take(limit as u64 + 1).read_to_end(&mut body).map_err(unreadable)?;
    if body.len() > limit {
        return Err(Failure::failed(format!(
            "standard input is larger than a message may be, {limit} bytes"
        )));
    }
    Ok(body)
}

/// The lines of standard input as they come, in groups that were there together. Ends after a failure.
pub(crate) fn lines(limit: usize) -> Result<mpsc::Receiver<Result<Vec<Vec<u8>>>>> {
    must_be_open()?;
    let (send, receive) = mpsc::channel(AHEAD);
    // A thread of its own: a read from a terminal may never return, and nothing must wait for it at the end.
    let reader = move || {
        let group = |lines| send.blocking_send(Ok(lines)).is_ok();
        if let Err(failure) = split(io::stdin().lock(), limit, group) {
            let _ = send.blocking_send(Err(failure));
        }
    };
    let thread = std::thread::Builder::new().name("stdin".to_owned()).spawn(reader);
    thread.map_err(|error| Failure::failed(format!("starting a thread: {error}")))?;
    Ok(receive)
}

/// Splits what is read into lines of at most `limit` bytes, and gives each group to `publish` before it reads on, until
/// that returns `false`.
fn split(mut input: impl Read, limit: usize, mut publish: impl FnMut(Vec<Vec<u8>>) -> bool) -> Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut begun = Vec::new();
    let mut number = 1_u64;
    loop {
        let read = match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(error)),
        };
        let mut lines = Vec::new();
        let mut too_long = false;
        for piece in chunk[..read].split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n");
            begun.extend_from_slice(text.unwrap_or(piece));
            too_long = begun.len() > limit;
            if too_long {
                break;
            }
            if text.is_some() {
                lines.push(std::mem::take(&mut begun));
                number += 1;
            }
        }
        if !lines.is_empty() && !publish(lines) {
            return Ok(());
        }
        if too_long {
            let message =
                format!("line {number} of standard input is larger than a message may be, {limit} bytes");
            return Err(Failure::failed(message));
        }
    }
    if !begun.is_empty() {
        publish(vec![begun]);
    }
    Ok(())
}

fn unreadable(error: io::Error) -> Failure {
    Failure::failed(format!("reading standard input: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one of the pieces at each read.
    struct Pieces<'a>(Vec<&'a [u8]>);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let piece = self.0.remove(0);
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    fn groups(pieces: &[&[u8]], limit: usize) -> (Vec<Vec<String>>, Result<()>) {
        let mut groups = Vec::new();
        let outcome = split(Pieces(pieces.to_vec()), limit, |lines| {
            groups.push(lines.into_iter().map(|line| String::from_utf8(line).unwrap()).collect());
            true
        });
        (groups, outcome)
    }

    #[test]
    fn a_line_is_given_when_its_end_is_read() {
        let (groups, outcome) = groups(&[b"a\nb", b"c\n", b"d\ne\n"], 9);
        assert_eq!(groups, [vec!["a"], vec!["bc"], vec!["d", "e"]]);
        assert!(outcome.is_ok());
    }

    #[test]
    fn empty_lines_carriage_returns_and_an_open_end_are_kept() {
        let (groups, _) = groups(&[b"\n\r\n\nlast"], 9);
        assert_eq!(groups, [vec!["", "\r", ""], vec!["last"]]);
    }

    #[test]
    fn a_line_of_the_limit_is_accepted_and_a_longer_one_named() {
        assert!(groups(&[b"1234\n", b"12", b"34\n1234"], 4).1.is_ok());
        for pieces in [&[&b"a\nb\n12345\nc\n"[..]][..], &[b"a\nb\n123", b"45"]] {
            let (groups, outcome) = groups(pieces, 4);
            assert_eq!(groups, [["a", "b"]]);
            assert!(format!("{:?}", outcome.unwrap_err()).contains("line 3 "));
        }
    }

    #[test]
    fn nothing_is_read_once_nobody_takes_it() {
        let mut taken = 0;
        let outcome = split(Pieces(vec![b"a\n", b"b\n", b"c\n"]), 9, |lines| {
            taken += lines.len();
            taken < 2
        });
        assert!(outcome.is_ok());
        assert_eq!(taken, 2);
    }
}
