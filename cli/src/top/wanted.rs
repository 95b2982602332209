//! What the filter that was typed lets through.

use rowbus::Filter;

/// The text behind `/`: a filter if it has a wildcard, and else a part of what is looked for, in capitals or not.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    text: String,
    lower: String,
    filter: Option<Filter>,
}

impl Wanted {
    pub(super) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let filter = text.contains(['*', '>']).then(|| Filter::new(&text).ok()).flatten();
        Self { lower: text.to_lowercase(), text, filter }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether a subject or a name is wanted.
    pub(super) fn has(&self, name: &str) -> bool {
        match &self.filter {
            Some(filter) => filter.matches(name),
            None => self.lower.is_empty() || name.to_lowercase().contains(&self.lower),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_makes_a_filter_and_anything_else_is_a_part() {
        let has = |text: &str, name: &str| Wanted::new(text).has(name);
        assert!(
            has("", "orders.eu.created") && has("EU", "orders.eu.created") && has("s.e", "orders.eu.created")
        );
        assert!(has("orders.*.created", "orders.eu.created") && has("orders.>", "orders.eu.created"));
        assert!(!has("*.created", "orders.eu.created") && !has("us", "orders.eu.created"));
        // What is no filter yet, as while it is typed, is a part that nothing has.
        assert!(!has("orders.>.", "orders.eu.created"));
    }
}
