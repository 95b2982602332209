//! Why the command ends with another code than 0.

use std::io::Write;
use std::process::ExitCode;

use rowbus::ErrorKind;

use crate::colour::bad_on_stderr;
use crate::escape::Escaped;

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// An exit code and the one line that explains it.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into() }
    }

    pub(crate) fn nothing_there(message: impl Into<String>) -> Self {
        Self { code: 3, message: message.into() }
    }

    /// The same failure, with what it concerns.
    pub(crate) fn after(self, what: &str) -> Self {
        Self { message: format!("{} ({what})", self.message), ..self }
    }

    /// The one line.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Says it on standard error, in one line whatever the message quotes.
    pub(crate) fn report(self) -> ExitCode {
        line(&self.message);
        ExitCode::from(self.code)
    }
}

impl From<rowbus::Error> for Failure {
    fn from(error: rowbus::Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidSubject
            | ErrorKind::InvalidHeader
            | ErrorKind::InvalidOption
            | ErrorKind::Unsupported => Self::usage(error.to_string()),
            ErrorKind::RequestTimeout | ErrorKind::NoResponders | ErrorKind::NotFound => {
                Self::nothing_there(error.to_string())
            }
            // The code of a handler's error, which no other has.
            _ => match error.code() {
                Some(code) => Self::failed(format!("{error} ({code})")),
                None => Self::failed(error.to_string()),
            },
        }
    }
}

/// Says on standard error what went wrong without ending the command.
pub(crate) fn line(message: &str) {
    // Where standard error is gone, the exit code is what is left to tell.
    let _ =
        writeln!(std::io::stderr().lock(), "{} {}", bad_on_stderr("rowbus:"), Escaped(message.as_bytes()));
}
