//! The client's errors as ours.

use async_nats::ConnectErrorKind;

use crate::error::{Error, ErrorKind};

/// Why there is no connection.
pub(super) fn connect(error: async_nats::ConnectError) -> Error {
    let (kind, message) = match error.kind() {
        ConnectErrorKind::ServerParse => (ErrorKind::InvalidOption, "the server's address cannot be read"),
        ConnectErrorKind::Authentication => (ErrorKind::NotPermitted, "the credentials cannot be used"),
        ConnectErrorKind::AuthorizationViolation => {
            (ErrorKind::NotPermitted, "the server does not accept these credentials")
        }
        ConnectErrorKind::Dns => (ErrorKind::Disconnected, "the server's name is not known"),
        ConnectErrorKind::TimedOut => (ErrorKind::Disconnected, "the server did not answer in time"),
        ConnectErrorKind::Tls => (ErrorKind::Disconnected, "TLS with the server failed"),
        _ => (ErrorKind::Disconnected, "the server cannot be reached"),
    };
    Error::with_source(kind, format!("{message}: {error}"), error)
}

/// The client takes nothing any more.
pub(super) fn gone() -> Error {
    Error::new(
        ErrorKind::Disconnected,
        "there is no connection to the server, and none will be made any more",
    )
}

/// The client has stopped trying.
pub(super) fn given_up() -> Error {
    let message = "the connection to the server was lost, and all attempts to make a new one failed";
    Error::new(ErrorKind::Disconnected, message)
}

/// Why an attempt has failed, of which the client tells no more than the words of a kind.
pub(super) fn unconnected(words: &str) -> Error {
    let refused = [ConnectErrorKind::AuthorizationViolation, ConnectErrorKind::Authentication];
    let is_refused = refused.iter().any(|kind| kind.to_string() == words);
    let kind = if is_refused { ErrorKind::NotPermitted } else { ErrorKind::Disconnected };
    let message = "there is no connection to the NATS server";
    // That it is not there is all that there is to say.
    let is_away = ConnectErrorKind::Io.to_string() == words;
    Error::new(kind, if is_away { message.to_owned() } else { format!("{message}: {words}") })
}

/// No connection within the time that there was.
pub(super) fn disconnected() -> Error {
    let message = "there is no connection to the server, and none was made in time; nothing was sent";
    Error::new(ErrorKind::Disconnected, message)
}

/// The server refuses what every bus needs.
pub(super) fn no_inbox(refused: &Error) -> Error {
    let message =
        format!("{refused}; a bus publishes and subscribes below its inbox, which inbox_prefix sets");
    Error::new(ErrorKind::NotPermitted, message)
}

/// It was sent, and not confirmed.
pub(super) fn unconfirmed() -> Error {
    let message = "the server has not confirmed it before the connection was lost or the time was over: \
                   it may or may not have been passed on";
    Error::new(ErrorKind::Indeterminate, message)
}

/// An item of a stream.
pub(super) fn interrupted() -> Error {
    let message = "the connection was lost and made anew; what was published in between is missing here";
    Error::new(ErrorKind::Disconnected, message)
}
