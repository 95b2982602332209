//! Subjects: what a message is about, as dot-separated tokens.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use crate::defaults::MAX_SUBJECT;
use crate::error::{Error, ErrorKind, Result};

/// The name that a message is published under: `orders.eu.created`.
///
/// One or more non-empty tokens with dots between them, at most 255 bytes of UTF-8, case-sensitive, with no
/// whitespace or control characters. `*` and `>` are wildcards as whole tokens and belong in a
/// [`Filter`](crate::Filter), so that a subject has none; inside a token they are ordinary characters.
///
/// A `Subject` is valid because it exists, and is cheap to clone.
///
/// ```
/// use rowbus::Subject;
///
/// let subject = Subject::new("orders.eu.created")?;
/// assert_eq!(subject.tokens().collect::<Vec<_>>(), ["orders", "eu", "created"]);
/// assert!(Subject::new("orders.*").is_err());
/// # Ok::<(), rowbus::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(Arc<str>);

impl Subject {
    /// Checks the text and keeps a copy of it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidSubject`], naming the offending token.
    pub fn new(text: &str) -> Result<Self> {
        check(text, "subject")?;
        match text.split('.').position(|token| token == "*" || token == ">") {
            None => Ok(Self(text.into())),
            Some(at) => Err(invalid(
                "subject",
                text,
                &format!("token {} is a wildcard, which only a filter may have", at + 1),
            )),
        }
    }

    /// The subject as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tokens between the dots.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }
}

/// The rules that subjects and filters share.
pub(crate) fn check(text: &str, what: &str) -> Result<()> {
    if text.is_empty() {
        return Err(invalid(what, text, "it is empty"));
    }
    if text.len() > MAX_SUBJECT {
        let shown: String = text.chars().take(32).collect();
        return Err(invalid(
            what,
            &format!("{shown}…"),
            &format!("{} bytes, and at most {MAX_SUBJECT} are allowed", text.len()),
        ));
    }
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    for (at, token) in text.split('.').enumerate() {
        if token.is_empty() {
            return Err(invalid(what, text, &format!("token {} is empty", at + 1)));
        }
        if !plain && let Some(bad) = token.chars().find(|c| c.is_whitespace() || c.is_control()) {
            return Err(invalid(what, text, &format!("token {} {token:?} contains {bad:?}", at + 1)));
        }
    }
    Ok(())
}

pub(crate) fn invalid(what: &str, text: &str, why: &str) -> Error {
    Error::new(ErrorKind::InvalidSubject, format!("invalid {what} {text:?}: {why}"))
}

impl Deref for Subject {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Subject {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Subject {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl PartialEq<str> for Subject {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for Subject {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl FromStr for Subject {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<&str> for Subject {
    type Error = Error;
    fn try_from(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<String> for Subject {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::new(&text)
    }
}

impl TryFrom<&String> for Subject {
    type Error = Error;
    fn try_from(text: &String) -> Result<Self> {
        Self::new(text)
    }
}

impl From<&Subject> for Subject {
    fn from(subject: &Subject) -> Self {
        subject.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let error = Subject::new(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSubject);
        error.to_string()
    }

    #[test]
    fn ordinary_and_exotic_tokens_are_accepted() {
        for text in
            ["a", "a.b", "A.b", "orders.eu.created", "$SYS.x", "tür.größe", "a-b_c.1", "a*b.c>d", "'\";--"]
        {
            assert_eq!(Subject::new(text).unwrap(), *text);
        }
        assert!(Subject::new(&"x".repeat(255)).is_ok());
    }

    #[test]
    fn each_refusal_names_the_offending_token() {
        assert!(refusal("").contains("it is empty"));
        assert!(refusal(".a").contains("token 1 is empty"));
        assert!(refusal("a..b").contains("token 2 is empty"));
        assert!(refusal("a.").contains("token 2 is empty"));
        assert!(refusal("a.b c").contains("token 2 \"b c\" contains ' '"));
        assert!(refusal("a\t.b").contains("token 1"));
        assert!(refusal("a.b\0").contains("token 2"));
        assert!(refusal("a.\u{2003}b").contains("token 2"));
        assert!(refusal("a.*").contains("token 2 is a wildcard"));
        assert!(refusal(">").contains("token 1 is a wildcard"));
        assert!(refusal(&"x".repeat(256)).contains("256 bytes"));
    }

    #[test]
    fn case_is_kept_and_told_apart() {
        assert_ne!(Subject::new("Orders").unwrap(), Subject::new("orders").unwrap());
    }
}
