//! The URL of a bus: `scheme:where?option=value&…`. Its only parser; each backend says which options it understands.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::error::{Error, ErrorKind, Result};

/// What to do where a URL with a password is not read as it was meant.
pub(crate) const ESCAPE: &str = "in a password, escape , and ? (as %2C and %3F)";

/// A URL taken apart. Options are taken out one by one, and [`finish`](Self::finish) refuses what is left.
#[derive(Clone)]
pub(crate) struct BusUrl {
    scheme: String,
    /// Between the scheme's colon and the question mark, as it was written.
    place: String,
    options: Vec<(String, String)>,
    /// What was asked for so far, for who has to be told what is understood.
    understood: Vec<&'static str>,
}

impl BusUrl {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut options = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                // Beside an `@`, it may be a piece of a password.
                return Err(invalid(match query.contains('@') {
                    true => format!("an option of the URL has no value: it is to be name=value; {ESCAPE}"),
                    false => format!("the URL's option {pair:?} has no value: it is to be name=value"),
                }));
            };
            options.push((decode(name)?, decode(value)?));
        }
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            place: place.to_owned(),
            options,
            understood: Vec::new(),
        })
    }

    pub(crate) fn scheme(&self) -> &str {
        &self.scheme
    }

    /// As it was written, `//` and escapes included.
    #[cfg(feature = "nats")]
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// A path or a name: without the `//` that may stand before it, escapes resolved.
    pub(crate) fn name(&self) -> Result<String> {
        decode(self.place.strip_prefix("//").unwrap_or(&self.place))
    }

    /// Takes an option out. A second one of its name is left, and refused by [`finish`](Self::finish).
    pub(crate) fn take(&mut self, name: &'static str) -> Option<String> {
        self.understood.push(name);
        let at = self.options.iter().position(|(other, _)| other == name)?;
        Some(self.options.remove(at).1)
    }

    /// The same as a number, `true` or `false`, or whatever else can be read from text.
    pub(crate) fn take_parsed<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Result<Option<T>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let parsed = value.parse().map_err(|error| invalid(format!("the URL's {name}={value}: {error}")));
        parsed.map(Some)
    }

    /// The same as a duration: `500ms`, `5s`, `2m`, `1h`, `7d`.
    pub(crate) fn take_duration(&mut self, name: &'static str) -> Result<Option<Duration>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let read = duration(&value);
        read.map(Some).ok_or_else(|| {
            invalid(format!("the URL's {name}={value}: a duration is a number and ms, s, m, h or d"))
        })
    }

    /// The same as one of these words, each with what it stands for.
    pub(crate) fn take_word<T: Copy>(
        &mut self,
        name: &'static str,
        words: &[(&str, T)],
    ) -> Result<Option<T>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let found = words.iter().find(|(word, _)| *word == value);
        found.map(|(_, meaning)| Some(*meaning)).ok_or_else(|| {
            let words = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(" or ");
            invalid(format!("the URL's {name}={value}: it is {words}"))
        })
    }

    /// Nothing is left that was not understood.
    pub(crate) fn finish(self) -> Result<()> {
        let Some((name, _)) = self.options.first() else { return Ok(()) };
        if self.understood.contains(&&**name) {
            return Err(invalid(format!("the URL's option {name:?} is given twice")));
        }
        let understood = self.understood.join(", ");
        Err(invalid(format!("a {}: URL has no option {name:?}; it has {understood}", self.scheme)))
    }
}

/// Without percent-escapes.
pub(crate) fn decode(text: &str) -> Result<String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|error| {
        Error::with_source(ErrorKind::InvalidOption, "the URL's escapes are not UTF-8", error)
    })
}

fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..unit].parse().ok()?;
    let millis = match &text[unit..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOption, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_taken_and_escapes_resolved() {
        let mut url = BusUrl::parse("SQLITE:a%20b.db?name=x%26y&wait=500ms&create=false").unwrap();
        assert_eq!((url.scheme(), url.name().unwrap().as_str()), ("sqlite", "a b.db"));
        assert_eq!(url.take("name").as_deref(), Some("x&y"));
        assert_eq!(url.take_duration("wait").unwrap(), Some(Duration::from_millis(500)));
        assert_eq!(url.take_parsed::<bool>("create").unwrap(), Some(false));
        assert_eq!(url.take("other"), None);
        url.finish().unwrap();
    }

    #[test]
    fn what_is_left_is_refused_with_what_is_understood() {
        let mut url = BusUrl::parse("memory:?wrong=1").unwrap();
        url.take("right");
        let error = url.finish().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOption);
        assert_eq!(error.to_string(), "a memory: URL has no option \"wrong\"; it has right");
        let mut twice = BusUrl::parse("memory:?a=1&a=2").unwrap();
        twice.take("a");
        assert!(twice.finish().unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn values_that_cannot_be_read_are_refused_by_name() {
        for wrong in ["s", "5", "5y", "-1s", "99999999999999999999s", "18446744073709551615d"] {
            let mut url = BusUrl::parse(&format!("nats://h?wait={wrong}")).unwrap();
            let error = url.take_duration("wait").unwrap_err();
            assert!(error.to_string().contains(&format!("wait={wrong}")), "{error}");
        }
        let alone = BusUrl::parse("nats://h?alone").map(drop).unwrap_err().to_string();
        assert!(alone.contains("alone"), "{alone}");
        assert!(BusUrl::parse("nats://h?a=%ff").is_err());
    }
}
