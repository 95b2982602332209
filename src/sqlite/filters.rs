//! What a reader of the log wants: what any of some filters matches.

use std::sync::Arc;

use crate::filter::Filter;
use crate::subject::Subject;

/// Filters of which no two match the same subject; at least one. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filters(Arc<[Filter]>);

impl Filters {
    /// Filters that do not overlap.
    pub(crate) fn new(filters: &[Filter]) -> Self {
        Self(filters.into())
    }

    pub(crate) fn everything() -> Self {
        Self::from(Filter::everything())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Filter> {
        self.0.iter()
    }

    pub(crate) fn matches(&self, subject: &str) -> bool {
        self.iter().any(|filter| filter.matches(subject))
    }

    pub(crate) fn are_everything(&self) -> bool {
        self.iter().any(|filter| filter.as_str() == ">")
    }

    /// The subject, if nothing else is wanted.
    pub(crate) fn as_subject(&self) -> Option<Subject> {
        match &*self.0 {
            [alone] => alone.as_subject(),
            _ => None,
        }
    }
}

impl From<Filter> for Filters {
    fn from(filter: Filter) -> Self {
        Self(Arc::new([filter]))
    }
}
