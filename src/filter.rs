//! Filters: subjects with wildcards.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::subject::{Subject, check, invalid};

/// A subject with wildcards: `*` stands for one whole token, `>` at the end for one or more.
///
/// The rules of NATS: `orders.*` matches `orders.eu` and neither `orders` nor `orders.eu.paid`; `orders.>` matches both
/// `orders.eu` and `orders.eu.paid`, and not `orders`. A filter without wildcards matches its own subject.
///
/// ```
/// use rowbus::{Filter, Subject};
///
/// let filter = Filter::new("orders.*.paid")?;
/// assert!(filter.matches(&Subject::new("orders.eu.paid")?));
/// assert!(!filter.matches(&Subject::new("orders.eu.shipped")?));
/// # Ok::<(), rowbus::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Filter(Arc<str>);

impl Filter {
    /// Checks the text and keeps a copy of it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidSubject`](crate::ErrorKind::InvalidSubject), naming the offending token.
    pub fn new(text: &str) -> Result<Self> {
        check(text, "filter")?;
        let last = text.split('.').count();
        match text.split('.').position(|token| token == ">") {
            Some(at) if at + 1 != last => Err(invalid(
                "filter",
                text,
                &format!("token {} is \">\", which may only be the last token", at + 1),
            )),
            _ => Ok(Self(text.into())),
        }
    }

    /// The filter that every subject passes: `>`.
    pub fn everything() -> Self {
        Self(">".into())
    }

    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tokens between the dots, wildcards among them.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// The subject, if the filter has no wildcard and so matches nothing else.
    pub fn as_subject(&self) -> Option<Subject> {
        Subject::new(&self.0).ok()
    }

    /// Whether a message of this subject passes.
    pub fn matches(&self, subject: &str) -> bool {
        let mut tokens = subject.split('.');
        for wanted in self.tokens() {
            match (wanted, tokens.next()) {
                (_, None) => return false,
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (literal, Some(token)) if literal == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }

    /// Whether some subject passes both filters.
    pub fn overlaps(&self, other: &Filter) -> bool {
        let (mut left, mut right) = (self.tokens(), other.tokens());
        loop {
            match (left.next(), right.next()) {
                (None, None) => return true,
                (None, _) | (_, None) => return false,
                (Some(">"), _) | (_, Some(">")) => return true,
                (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
                _ => return false,
            }
        }
    }

    /// The literal text that every matching subject begins with, up to the first wildcard.
    pub(crate) fn literal_prefix(&self) -> &str {
        let mut end = 0;
        for token in self.tokens() {
            if token == "*" || token == ">" {
                return &self.0[..end];
            }
            end = (end + token.len() + 1).min(self.0.len());
        }
        &self.0
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl FromStr for Filter {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<&str> for Filter {
    type Error = Error;
    fn try_from(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<String> for Filter {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::new(&text)
    }
}

impl From<Subject> for Filter {
    fn from(subject: Subject) -> Self {
        Self(subject.as_str().into())
    }
}

impl From<&Filter> for Filter {
    fn from(filter: &Filter) -> Self {
        filter.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(filter: &str, subject: &str) -> bool {
        Filter::new(filter).unwrap().matches(&Subject::new(subject).unwrap())
    }

    #[test]
    fn a_star_is_exactly_one_token() {
        assert!(matches("a.*", "a.b"));
        assert!(matches("*.b", "a.b"));
        assert!(!matches("a.*", "a"));
        assert!(!matches("a.*", "a.b.c"));
        assert!(!matches("*", "a.b"));
    }

    #[test]
    fn a_greater_than_is_one_token_or_more() {
        assert!(matches("a.>", "a.b"));
        assert!(matches("a.>", "a.b.c"));
        assert!(matches(">", "a"));
        assert!(!matches("a.>", "a"));
        assert!(!matches("a.>", "b.a"));
    }

    #[test]
    fn wildcards_inside_a_token_are_ordinary_characters() {
        assert!(matches("a*.b>", "a*.b>"));
        assert!(!matches("a*.b", "ax.b"));
    }

    #[test]
    fn letters_match_by_case() {
        assert!(!matches("Orders.>", "orders.eu"));
    }

    #[test]
    fn a_greater_than_before_the_end_is_refused() {
        let error = Filter::new("a.>.b").unwrap_err();
        assert!(error.to_string().contains("token 2"), "{error}");
        assert!(Filter::new("").is_err());
        assert!(Filter::new("a..>").is_err());
    }

    #[test]
    fn overlap_is_told_without_a_subject_at_hand() {
        let overlap = |a: &str, b: &str| Filter::new(a).unwrap().overlaps(&Filter::new(b).unwrap());
        assert!(overlap("a.*", "*.b"));
        assert!(overlap(">", "a"));
        assert!(overlap("a.>", "a.b.c"));
        assert!(!overlap("a.>", "a"));
        assert!(!overlap("a.b", "a.c"));
        assert!(!overlap("a.*", "a.*.c"));
    }

    #[test]
    fn the_literal_prefix_ends_before_the_first_wildcard() {
        let prefix = |text: &str| Filter::new(text).unwrap().literal_prefix().to_owned();
        assert_eq!(prefix("a.b"), "a.b");
        assert_eq!(prefix("a.b.>"), "a.b.");
        assert_eq!(prefix("a.*.c"), "a.");
        assert_eq!(prefix(">"), "");
    }
}
