//! The time of an event in JSON, and back.

use std::io::{self, Write};

use chrono::{DateTime, Datelike};
use rowbus::Message;

use crate::start::rfc3339;

/// `,"time":"…"`; of a time that this cannot express, as a row written by hand may have, `,"millis":N`.
pub(crate) fn write_time(out: &mut impl Write, event: &Message) -> io::Result<()> {
    let millis = event.unix_millis();
    match DateTime::from_timestamp_millis(millis) {
        Some(time) if (0..=9999).contains(&time.year()) => write!(out, ",\"time\":\"{}\"", rfc3339(time)),
        _ => write!(out, ",\"millis\":{millis}"),
    }
}
