//! Subjects as the bus knows them, and as the server knows them.

use crate::subject::Subject;

/// The subject that all subjects of a bus live under, if there is one.
#[derive(Clone, Debug)]
pub(super) struct Prefix {
    /// With the dot behind it; empty without a prefix.
    text: String,
}

impl Prefix {
    pub(super) fn new(prefix: Option<Subject>) -> Self {
        Self { text: prefix.map(|prefix| format!("{prefix}.")).unwrap_or_default() }
    }

    /// A subject or filter as the server knows it.
    pub(super) fn wire(&self, subject: &str) -> String {
        format!("{}{subject}", self.text)
    }

    /// A subject of the server as the bus knows it. `None` for what is not of this bus: it lies elsewhere, breaks our grammar, or
    /// is one of the server's and its clients' own (`$JS.…`, `_INBOX.…`) that a filter meets by a wildcard in its first place.
    pub(super) fn subject(&self, wire: &str, wildcard: bool) -> Option<Subject> {
        let text = wire.strip_prefix(self.text.as_str())?;
        if wildcard && self.text.is_empty() && (text.starts_with('$') || text.starts_with("_INBOX.")) {
            return None;
        }
        Subject::new(text).ok()
    }
}

/// Whether a filter's first token is a wildcard.
pub(super) fn begins_with_wildcard(filter: &str) -> bool {
    matches!(filter.split('.').next(), Some("*" | ">"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_the_prefix_is_cut_off_again() {
        let prefix = Prefix::new(Some(Subject::new("app.one").unwrap()));
        assert_eq!(prefix.wire("orders.>"), "app.one.orders.>");
        assert_eq!(prefix.subject("app.one.orders.eu", false).unwrap(), "orders.eu");
        for other in ["app.one", "app.two.a", "orders.eu", "app.one.", "app.one.a..b", "app.one.a.*"] {
            assert!(prefix.subject(other, false).is_none(), "{other}");
        }
    }

    #[test]
    fn what_is_the_servers_own_is_met_by_no_wildcard() {
        let plain = Prefix::new(None);
        for own in ["$JS.API.INFO", "_INBOX.abc.r1"] {
            assert!(plain.subject(own, true).is_none());
            assert_eq!(plain.subject(own, false).unwrap(), own);
        }
        let prefix = Prefix::new(Some(Subject::new("app").unwrap()));
        assert_eq!(prefix.subject("app.$own", true).unwrap(), "$own");
        assert!(begins_with_wildcard("*.a") && begins_with_wildcard(">") && !begins_with_wildcard("a.*"));
    }
}
