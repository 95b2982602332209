//! What a message carries, as the command line says it.

use std::ffi::OsString;

use clap::{Args, ValueEnum};
use rowbus::{Headers, defaults};

use crate::failure::{Failure, Result};
use crate::stdin;

#[derive(Args)]
pub(crate) struct HeaderArgs {
    /// A header; as often as needed
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
}

impl HeaderArgs {
    pub(crate) fn read(&self) -> Result<Headers> {
        let mut headers = Headers::new();
        for header in &self.headers {
            let Some((name, value)) = header.split_once(':') else {
                return Err(Failure::usage(format!(
                    "header {header:?} has no colon; a header is 'Name: value'"
                )));
            };
            headers.append(name, value.strip_prefix(' ').unwrap_or(value))?;
        }
        Ok(headers)
    }
}

/// When what was read is taken for a message.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SendOn {
    /// At the end of each line
    Newline,
}

/// The body that was given; all of standard input if there was none.
pub(crate) fn body(given: Option<OsString>) -> Result<Vec<u8>> {
    match given {
        Some(body) => bytes(body),
        None => stdin::whole(defaults::MAX_PAYLOAD),
    }
}

#[cfg(unix)]
fn bytes(body: OsString) -> Result<Vec<u8>> {
    Ok(std::os::unix::ffi::OsStringExt::into_vec(body))
}

#[cfg(not(unix))]
fn bytes(body: OsString) -> Result<Vec<u8>> {
    let text =
        body.into_string().map_err(|_| Failure::usage("the body is no text; give it on standard input"))?;
    Ok(text.into_bytes())
}
