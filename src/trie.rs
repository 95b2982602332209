//! From filters to their listeners: the cost of a lookup depends on the subject's tokens and the
//! filters that match, never on the filters that do not.

use std::collections::HashMap;

use crate::filter::Filter;

/// A set of listeners, each under a filter, that a subject is looked up in.
#[derive(Debug)]
pub(crate) struct Trie<T> {
    root: Node<T>,
    len: usize,
}

#[derive(Debug)]
struct Node<T> {
    literal: HashMap<Box<str>, Node<T>>,
    /// The branch below `*`.
    any: Option<Box<Node<T>>>,
    /// Listeners whose filter ends here.
    ends: Vec<(u64, T)>,
    /// Listeners whose filter ends here with `>`.
    rest: Vec<(u64, T)>,
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Self { root: Node::default(), len: 0 }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literal: HashMap::new(), any: None, ends: Vec::new(), rest: Vec::new() }
    }
}

impl<T> Trie<T> {
    /// How many listeners there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a listener; `id` is what [`remove`](Self::remove) knows it by.
    pub(crate) fn insert(&mut self, filter: &Filter, id: u64, listener: T) {
        let mut node = &mut self.root;
        let mut tokens = filter.tokens().peekable();
        while let Some(token) = tokens.next() {
            if token == ">" && tokens.peek().is_none() {
                node.rest.push((id, listener));
                self.len += 1;
                return;
            }
            node = match token {
                "*" => node.any.get_or_insert_default(),
                literal => node.literal.entry(literal.into()).or_default(),
            };
        }
        node.ends.push((id, listener));
        self.len += 1;
    }

    /// Takes a listener out, and the branches that nobody needs any more with it.
    pub(crate) fn remove(&mut self, filter: &Filter, id: u64) -> Option<T> {
        let tokens: Vec<&str> = filter.tokens().collect();
        let removed = self.root.remove(&tokens, id);
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// Calls `found` for each listener whose filter matches the subject.
    pub(crate) fn each_match<'a>(&'a self, subject: &str, mut found: impl FnMut(u64, &'a T)) {
        self.root.each_match(Some(subject), &mut found);
    }

    /// Calls `found` for each listener there is.
    pub(crate) fn each<'a>(&'a self, mut found: impl FnMut(u64, &'a T)) {
        self.root.each(&mut found);
    }
}

impl<T> Node<T> {
    fn is_empty(&self) -> bool {
        self.literal.is_empty() && self.any.is_none() && self.ends.is_empty() && self.rest.is_empty()
    }

    fn remove(&mut self, tokens: &[&str], id: u64) -> Option<T> {
        let take = |list: &mut Vec<(u64, T)>| {
            let at = list.iter().position(|(other, _)| *other == id)?;
            Some(list.swap_remove(at).1)
        };
        match tokens {
            [] => take(&mut self.ends),
            [">"] => take(&mut self.rest),
            ["*", below @ ..] => {
                let node = self.any.as_mut()?;
                let removed = node.remove(below, id);
                if node.is_empty() {
                    self.any = None;
                }
                removed
            }
            [literal, below @ ..] => {
                let node = self.literal.get_mut(*literal)?;
                let removed = node.remove(below, id);
                if node.is_empty() {
                    self.literal.remove(*literal);
                }
                removed
            }
        }
    }

    fn each_match<'a>(&'a self, subject: Option<&str>, found: &mut impl FnMut(u64, &'a T)) {
        let Some(subject) = subject else {
            for (id, listener) in &self.ends {
                found(*id, listener);
            }
            return;
        };
        for (id, listener) in &self.rest {
            found(*id, listener);
        }
        let (token, below) = match subject.split_once('.') {
            Some((token, below)) => (token, Some(below)),
            None => (subject, None),
        };
        if let Some(node) = self.literal.get(token) {
            node.each_match(below, found);
        }
        if let Some(node) = &self.any {
            node.each_match(below, found);
        }
    }

    fn each<'a>(&'a self, found: &mut impl FnMut(u64, &'a T)) {
        for (id, listener) in self.ends.iter().chain(&self.rest) {
            found(*id, listener);
        }
        for node in self.literal.values().chain(self.any.as_deref()) {
            node.each(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> impl Strategy<Value = String> {
        prop_oneof![Just("a".to_owned()), Just("b".to_owned()), Just("*".to_owned()), Just("c".to_owned())]
    }

    fn filter() -> impl Strategy<Value = Filter> {
        (prop::collection::vec(token(), 1..4), any::<bool>()).prop_map(|(mut tokens, rest)| {
            if rest {
                tokens.push(">".to_owned());
            }
            Filter::new(&tokens.join(".")).unwrap()
        })
    }

    fn subject() -> impl Strategy<Value = String> {
        prop::collection::vec("[abc]", 1..5).prop_map(|tokens| tokens.join("."))
    }

    proptest! {
        #[test]
        fn the_trie_finds_exactly_what_each_filter_matches(
            filters in prop::collection::vec(filter(), 0..20),
            removed in prop::collection::vec(any::<bool>(), 20),
            subject in subject(),
        ) {
            let mut trie = Trie::default();
            for (id, filter) in filters.iter().enumerate() {
                trie.insert(filter, id as u64, id);
            }
            let mut kept = Vec::new();
            for (id, filter) in filters.iter().enumerate() {
                if removed[id] {
                    prop_assert_eq!(trie.remove(filter, id as u64), Some(id));
                    prop_assert_eq!(trie.remove(filter, id as u64), None);
                } else {
                    kept.push(id);
                }
            }
            prop_assert_eq!(trie.len(), kept.len());
            let mut found = Vec::new();
            trie.each_match(&subject, |_, id| found.push(*id));
            found.sort_unstable();
            let expected: Vec<_> = kept.into_iter().filter(|id| filters[*id].matches(&subject)).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn removing_every_listener_leaves_no_branch_behind(filters in prop::collection::vec(filter(), 0..20)) {
            let mut trie = Trie::default();
            for (id, filter) in filters.iter().enumerate() {
                trie.insert(filter, id as u64, ());
            }
            for (id, filter) in filters.iter().enumerate() {
                trie.remove(filter, id as u64);
            }
            prop_assert!(trie.root.is_empty());
        }
    }
}
