//! Headers on the way through NATS.
//!
//! A NATS client gives names in no order, and values without the blanks around them. So where that would change what was sent, one
//! more header says how it was: the names in their order, and behind a colon a value that would be trimmed. Clients that do
//! not know it see the other headers as they are, and messages that need none have none.

use async_nats::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::error::{Error, ErrorKind, Result};
use crate::headers::Headers;

/// The names in their order: `Trace Empty Trace Blank:%20x%20`.
const ORDER: &str = "Rowbus-Headers";
/// What a publisher says against duplicates.
pub(super) const MESSAGE_ID: &str = "Nats-Msg-Id";
/// A caller's id for its request; who has none is a plain NATS client.
pub(super) const REQUEST: &str = "Rowbus-Request";
/// How long its caller waits from when it was sent, in milliseconds.
pub(super) const TIMEOUT: &str = "Rowbus-Timeout";
/// Which attempt it is, if not the first.
pub(super) const ATTEMPT: &str = "Rowbus-Attempt";
/// In a request: its caller wants parts. In the final reply: how many there were.
pub(super) const PARTS: &str = "Rowbus-Parts";
/// In a part of a reply: its number, from 1.
pub(super) const PART: &str = "Rowbus-Part";
/// A server has the request: where to send a message to if it is wanted no more.
pub(super) const CANCEL: &str = "Rowbus-Cancel";
/// A server gives the request back.
pub(super) const RELEASED: &str = "Rowbus-Released";
/// What a handler said when it failed, for any NATS client, in the words of its services.
pub(super) const ERROR: &str = "Nats-Service-Error";
/// Its code.
pub(super) const ERROR_CODE: &str = "Nats-Service-Error-Code";
/// The same exactly, percent-encoded.
pub(super) const SAID: &str = "Rowbus-Error";
/// The same exactly, if there is a code, percent-encoded.
pub(super) const SAID_CODE: &str = "Rowbus-Error-Code";

/// What the names begin with that are instructions to JetStream, in whatever case: a server that minds the case now need not
/// always.
const SERVERS: &str = "Nats-";

const RESERVED_PREFIX: &str = "Rowbus-";
const RESERVED: [&str; 3] = [MESSAGE_ID, ERROR, ERROR_CODE];

const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// The headers as the client takes them.
///
/// # Errors
/// [`ErrorKind::InvalidHeader`] for a name that has a meaning of its own there.
pub(crate) fn to_wire(headers: &Headers) -> Result<HeaderMap> {
    let mut map = HeaderMap::new();
    let (mut order, mut names) = (String::new(), Vec::new());
    let mut is_plain = true;
    for (name, value) in headers.iter() {
        if name.starts_with(RESERVED_PREFIX) || RESERVED.contains(&name) {
            let message = format!("header {name:?} has a meaning of its own on NATS, and cannot be set");
            return Err(Error::new(ErrorKind::InvalidHeader, message));
        }
        let trimmed = value.trim() != value;
        // Values of one name keep their order.
        is_plain &= !trimmed && names.iter().all(|other| *other == name);
        names.push(name);
        order.push_str(if order.is_empty() { "" } else { " " });
        order.push_str(name);
        if trimmed {
            order.push(':');
            order.extend(utf8_percent_encode(value, ESCAPED));
        }
        append(&mut map, name, value)?;
    }
    if !is_plain {
        append(&mut map, ORDER, &order)?;
    }
    Ok(map)
}

/// Whether it is, or may be, an instruction to JetStream, which could have it replace or refuse what is kept.
pub(crate) fn is_servers(name: &str) -> bool {
    name.get(..SERVERS.len()).is_some_and(|start| start.eq_ignore_ascii_case(SERVERS))
}

/// Adds a header of our own, whose value has no line break.
pub(crate) fn append(map: &mut HeaderMap, name: &str, value: &str) -> Result<()> {
    let value: HeaderValue = value.parse().map_err(|error| {
        let message = format!("the value of header {name:?} cannot be carried");
        Error::with_source(ErrorKind::InvalidHeader, message, error)
    })?;
    // The name is one of ours, or of `Headers`, which is as strict.
    map.append(name, value);
    Ok(())
}

/// What was sent, without what has a meaning of its own there.
pub(crate) fn from_wire(map: Option<&HeaderMap>) -> Headers {
    let mut headers = Headers::new();
    let Some(map) = map else { return headers };
    let mut rest: Vec<(&str, std::slice::Iter<'_, HeaderValue>)> = Vec::new();
    for (name, values) in map.iter() {
        let name: &str = name.as_ref();
        if !name.starts_with(RESERVED_PREFIX) && !RESERVED.contains(&name) {
            rest.push((name, values.iter()));
        }
    }
    rest.sort_unstable_by_key(|(name, _)| *name);
    let mut add = |name: &str, value: &str| {
        if let Err(error) = headers.append(name, value) {
            tracing::warn!(%error, "a header of another client was left out");
        }
    };
    for entry in text(map, ORDER).unwrap_or_default().split(' ') {
        let (name, exact) = entry.split_once(':').map_or((entry, None), |(name, exact)| (name, Some(exact)));
        let Ok(at) = rest.binary_search_by_key(&name, |(name, _)| *name) else { continue };
        let Some(value) = rest[at].1.next() else { continue };
        match exact.map(|exact| percent_decode_str(exact).decode_utf8_lossy()) {
            Some(exact) => add(name, &exact),
            None => add(name, value.as_str()),
        }
    }
    // Those that somebody added on the way, or all where the order does not matter.
    for (name, values) in rest {
        values.for_each(|value| add(name, value.as_str()));
    }
    headers
}

/// The first value of a name.
pub(crate) fn text<'a>(map: &'a HeaderMap, name: &str) -> Option<&'a str> {
    map.get(name).map(HeaderValue::as_str)
}

/// The first value of a name as a number.
pub(super) fn number(map: &HeaderMap, name: &str) -> Option<u64> {
    text(map, name)?.parse().ok()
}

/// A text of any kind as a value that arrives as it was sent.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

pub(super) fn decode(value: &str) -> String {
    percent_decode_str(value).decode_utf8_lossy().into_owned()
}

/// The bytes of headers as the server counts them.
pub(crate) fn wire_len(map: &HeaderMap) -> usize {
    if map.is_empty() {
        return 0;
    }
    let lines = map.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    let lines = lines.map(|(name, value)| AsRef::<str>::as_ref(name).len() + value.as_str().len() + 4);
    "NATS/1.0\r\n\r\n".len() + lines.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the client makes of the lines that it reads.
    fn arrived(map: &HeaderMap) -> HeaderMap {
        let mut read = HeaderMap::new();
        for (name, values) in map.iter() {
            for value in values {
                read.append(name.clone(), value.as_str().trim().to_owned());
            }
        }
        read
    }

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in pairs {
            headers.append(name, value).unwrap();
        }
        headers
    }

    #[test]
    fn headers_of_one_name_go_as_they_are() {
        for plain in [headers(&[]), headers(&[("A", "1"), ("A", "2")])] {
            let map = to_wire(&plain).unwrap();
            assert!(map.get(ORDER).is_none());
            assert_eq!(from_wire(Some(&arrived(&map))), plain);
        }
    }

    #[test]
    fn what_has_a_meaning_of_its_own_is_refused_and_left_out() {
        for name in ["Nats-Msg-Id", "Rowbus-Headers", "Rowbus-X", "Nats-Service-Error"] {
            assert_eq!(to_wire(&headers(&[(name, "")])).unwrap_err().kind(), ErrorKind::InvalidHeader);
        }
        let mut map = HeaderMap::new();
        append(&mut map, MESSAGE_ID, "1").unwrap();
        append(&mut map, "Other", "2").unwrap();
        assert_eq!(from_wire(Some(&map)), headers(&[("Other", "2")]));
    }

    #[test]
    fn an_instruction_to_the_server_is_one_in_any_case() {
        assert!(["Nats-Rollup", "nats-rollup", "NATS-TTL"].into_iter().all(is_servers));
        assert!(!["Nats", "Natsy", "X-Nats-TTL", "Rowbus-X"].into_iter().any(is_servers));
    }

    #[test]
    fn what_is_added_on_the_way_comes_behind() {
        let mut map = arrived(&to_wire(&headers(&[("B", " x"), ("A", "1")])).unwrap());
        append(&mut map, "Added", "2").unwrap();
        assert_eq!(from_wire(Some(&map)), headers(&[("B", " x"), ("A", "1"), ("Added", "2")]));
    }

    proptest! {
        #[test]
        fn headers_arrive_in_their_order_and_as_often(pairs in prop::collection::vec(("[AaBb:!~-]{1,2}", any::<String>()), 0..8)) {
            let mut sent = Headers::new();
            for (name, value) in &pairs {
                let _ = sent.append(name, value);
            }
            let map = to_wire(&sent).unwrap();
            prop_assert_eq!(from_wire(Some(&arrived(&map))).encode(), sent.encode());
        }
    }
}
