//! Headers: short named texts beside a payload.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

/// The headers of a message: names and values, in the order given, a name as often as it was given.
///
/// Names are told apart by case, as in NATS. A name is visible ASCII without `:`; a value is any text without line
/// breaks or NUL.
///
/// ```
/// use rowbus::Headers;
///
/// let mut headers = Headers::new();
/// headers.append("Trace", "7f2c")?;
/// headers.append("Trace", "91aa")?;
/// assert_eq!(headers.get("Trace"), Some("7f2c"));
/// assert_eq!(headers.get_all("Trace").collect::<Vec<_>>(), ["7f2c", "91aa"]);
/// # Ok::<(), rowbus::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    // Most messages have none; those that do are cloned once a stream.
    entries: Option<Arc<Vec<Entry>>>,
}

/// A name and a value.
type Entry = (Box<str>, Box<str>);

impl Headers {
    /// No headers.
    pub const fn new() -> Self {
        Self { entries: None }
    }

    /// Adds a value, behind those that the name already has.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidHeader`] for a name or value that cannot be carried.
    pub fn append(&mut self, name: &str, value: &str) -> Result<()> {
        check(name, value)?;
        let entries = self.entries.get_or_insert_default();
        Arc::make_mut(entries).push((name.into(), value.into()));
        Ok(())
    }

    /// The first value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// Every value of a name, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.iter().filter(move |(other, _)| *other == name).map(|(_, value)| value)
    }

    /// Every name and value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().flat_map(|entries| entries.iter()).map(|(name, value)| (&**name, &**value))
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.entries.as_ref().map_or(0, |entries| entries.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that [`encode`](Self::encode) takes, which count toward the payload limit.
    pub fn encoded_len(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len() + 3).sum()
    }

    /// The text kept in a row: a line `Name: value` for each value, each ended by a line feed. `None` for no headers.
    pub fn encode(&self) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let mut text = String::with_capacity(self.encoded_len());
        for (name, value) in self.iter() {
            text.extend([name, ": ", value, "\n"]);
        }
        Some(text)
    }

    /// Reads what [`encode`](Self::encode) or a hand wrote: lines may end in CR LF, the last need not
    /// end at all, empty lines are passed over, and one blank after the colon is not part of the value.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidHeader`], naming the line.
    pub fn decode(text: &str) -> Result<Self> {
        let mut headers = Self::new();
        for (at, line) in text.split('\n').enumerate() {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            let Some((name, value)) = line.split_once(':') else {
                return Err(invalid(format!("header line {} has no colon", at + 1)));
            };
            headers.append(name, value.strip_prefix(' ').unwrap_or(value))?;
        }
        Ok(headers)
    }
}

fn check(name: &str, value: &str) -> Result<()> {
    if name.is_empty() {
        return Err(invalid("a header has an empty name".to_owned()));
    }
    if let Some(bad) = name.chars().find(|c| !c.is_ascii_graphic() || *c == ':') {
        return Err(invalid(format!("header name {name:?} contains {bad:?}")));
    }
    if let Some(bad) = value.chars().find(|c| matches!(c, '\n' | '\r' | '\0')) {
        return Err(invalid(format!("the value of header {name:?} contains {bad:?}")));
    }
    Ok(())
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidHeader, message)
}

/// Names only: values may be secrets.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_that_cannot_be_carried_are_refused() {
        let mut headers = Headers::new();
        for (name, value) in
            [("", "x"), ("a b", "x"), ("a:b", "x"), ("ä", "x"), ("a", "x\ny"), ("a", "x\r"), ("a", "\0")]
        {
            assert_eq!(headers.append(name, value).unwrap_err().kind(), ErrorKind::InvalidHeader);
        }
        assert!(headers.is_empty());
    }

    #[test]
    fn hand_written_lines_are_understood() {
        let headers = Headers::decode("A:1\r\nB:  2\n\nA: drei").unwrap();
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("A", "1"), ("B", " 2"), ("A", "drei")]);
        assert!(Headers::decode("no colon").unwrap_err().to_string().contains("line 1"));
    }

    #[test]
    fn debug_shows_names_and_no_values() {
        let mut headers = Headers::new();
        headers.append("Authorization", "secret").unwrap();
        assert_eq!(format!("{headers:?}"), "[\"Authorization\"]");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_the_same(entries in prop::collection::vec(("[!-9;-~]{1,8}", "[^\r\n\0]{0,12}"), 0..6)) {
            let mut headers = Headers::new();
            for (name, value) in &entries {
                headers.append(name, value).unwrap();
            }
            let text = headers.encode();
            prop_assert_eq!(text.as_ref().map_or(0, String::len), headers.encoded_len());
            prop_assert_eq!(Headers::decode(&text.unwrap_or_default()).unwrap(), headers);
        }

        #[test]
        fn decoding_anything_never_panics(text in ".*") {
            let _ = Headers::decode(&text);
        }
    }
}
