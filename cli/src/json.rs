//! Fields of JSON objects, written by hand, so that they have a stable order: it is what people see, and diffs of
//! recordings depend on it.

use std::io::{self, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rowbus::Headers;

pub(crate) fn string(out: &mut impl Write, text: &str) -> io::Result<()> {
    serde_json::to_writer(out, text).map_err(io::Error::from)
}

/// `,"headers":[["Name","value"],…]`, or nothing if there are none.
pub(crate) fn headers(out: &mut impl Write, headers: &Headers) -> io::Result<()> {
    if headers.is_empty() {
        return Ok(());
    }
    let mut separator = ",\"headers\":[[";
    for (name, value) in headers.iter() {
        out.write_all(separator.as_bytes())?;
        string(out, name)?;
        out.write_all(b",")?;
        string(out, value)?;
        separator = "],[";
    }
    out.write_all(b"]]")
}

/// `,"data":"text"`, or `,"data_base64":"…"` of what is no text.
pub(crate) fn data(out: &mut impl Write, data: &[u8]) -> io::Result<()> {
    match std::str::from_utf8(data) {
        Ok(text) => {
            out.write_all(b",\"data\":")?;
            string(out, text)
        }
        Err(_) => write!(out, ",\"data_base64\":\"{}\"", BASE64_STANDARD.encode(data)),
    }
}

/// The number of a message; `null` of one that no log has numbered.
pub(crate) fn sequence(out: &mut impl Write, sequence: u64) -> io::Result<()> {
    match sequence {
        0 => out.write_all(b"null"),
        sequence => write!(out, "{sequence}"),
    }
}
