//! The attempts of a job or deliveries of an event that failed, on standard output.

use std::io::{self, Write};

use rowbus::Failure;

use crate::escape::Escaped;
use crate::json;
use crate::start::rfc3339;

/// A line each, for people, below others whose names take this width.
pub(crate) fn write_failures(out: &mut impl Write, width: usize, failures: &[Failure]) -> io::Result<()> {
    for Failure { attempt, at, message, .. } in failures {
        writeln!(
            out,
            "{:<width$}attempt {attempt}, {}: {}",
            "failed",
            rfc3339(*at),
            Escaped(message.as_bytes())
        )?;
    }
    Ok(())
}

/// `,"failures":[{…},…]`.
pub(crate) fn write_json(out: &mut impl Write, failures: &[Failure]) -> io::Result<()> {
    out.write_all(b",\"failures\":[")?;
    for (index, Failure { attempt, at, message, .. }) in failures.iter().enumerate() {
        let separator = if index == 0 { "" } else { "," };
        write!(out, "{separator}{{\"attempt\":{attempt},\"at\":\"{}\",\"message\":", rfc3339(*at))?;
        json::string(out, message)?;
        out.write_all(b"}")?;
    }
    out.write_all(b"]")
}
