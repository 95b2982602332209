//! Searching what others have stored in a stream for the bridge's own last message.

use std::sync::Arc;

use crate::bridge::look::Own;
use crate::bridge::note::StreamId;
use crate::error::Result;
use crate::future::join_all;

/// Messages that are asked for together, at first and after an error,
const LEAST: u64 = 32;
/// and where they are small: a line with a long way to the server is to carry a search as well.
const MOST: u64 = 256;
/// More than this at once is too much.
const BYTES: usize = 1 << 20;

/// How far a search has come. It goes upwards, so what is stored meanwhile takes nothing from what was seen, and what fails need not
/// begin anew: a stream that many share would never be searched through.
#[derive(Debug)]
pub(super) struct Search {
    stream: Arc<StreamId>,
    /// Every message up to here was looked at.
    through: u64,
    /// The bridge's last one of them.
    own: Option<Own>,
    stride: u64,
}

/// A message that was looked at.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) own: Option<Own>,
    pub(super) bytes: usize,
}

impl Search {
    /// One that begins behind this message, or goes on with another that has come further.
    pub(super) fn behind(stream: &Arc<StreamId>, sequence: u64, last: u64, before: Option<Self>) -> Self {
        match before.filter(|before| before.stream == *stream && before.through <= last) {
            Some(before) => Self { through: before.through.max(sequence), ..before },
            None => Self { stream: Arc::clone(stream), through: sequence, own: None, stride: LEAST },
        }
    }

    /// Looks at every message up to this one, and gives the bridge's last.
    pub(super) async fn up_to<F>(&mut self, last: u64, look_at: impl Fn(u64) -> F) -> Result<Option<Own>>
    where
        F: Future<Output = Result<Seen>>,
    {
        while self.through < last {
            let to = last.min(self.through.saturating_add(self.stride));
            let seen = join_all((self.through + 1..=to).map(&look_at)).await;
            let seen: Result<Vec<Seen>> = seen.into_iter().collect();
            let seen = seen.inspect_err(|_| self.stride = LEAST)?;
            let bytes: usize = seen.iter().map(|seen| seen.bytes).sum();
            self.stride = if bytes > BYTES { self.stride / 2 } else { self.stride * 2 }.clamp(LEAST, MOST);
            self.own = seen.into_iter().filter_map(|seen| seen.own).next_back().or(self.own.take());
            self.through = to;
        }
        Ok(self.own.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::error::{Error, ErrorKind};

    fn stream() -> Arc<StreamId> {
        Arc::new(StreamId { name: "S".to_owned(), created: 1 })
    }

    #[tokio::test]
    async fn a_search_that_fails_goes_on_where_it_was_and_finds_the_last_one() {
        let asked = RefCell::new(Vec::new());
        let fails_at = RefCell::new(Some(5000));
        let look_at = |sequence: u64| {
            asked.borrow_mut().push(sequence);
            let fails = fails_at.borrow_mut().take_if(|at| *at == sequence).is_some();
            let own = [40, 70].contains(&sequence).then(|| Own::with_sequence(sequence));
            std::future::ready(if fails {
                Err(Error::new(ErrorKind::Disconnected, "cut"))
            } else {
                Ok(Seen { own, bytes: 100 })
            })
        };
        let mut search = Search::behind(&stream(), 10, 9000, None);
        assert!(search.up_to(9000, look_at).await.is_err());
        asked.borrow_mut().clear();
        // Others have stored more meanwhile.
        let mut search = Search::behind(&stream(), 10, 9500, Some(search));
        let found = search.up_to(9500, look_at).await.unwrap();
        assert_eq!(found.map(|own| own.sequence), Some(70));
        let asked = asked.borrow();
        assert!(asked[0] > 5000 - MOST && asked[0] <= 5000, "{}", asked[0]);
        assert_eq!((asked.last(), asked.len() as u64), (Some(&9500), 9501 - asked[0]));
    }

    #[tokio::test]
    async fn another_stream_or_one_that_was_cut_is_searched_from_its_beginning() {
        let none = |_: u64| std::future::ready(Ok(Seen::default()));
        let searched = async || {
            let mut search = Search::behind(&stream(), 0, 1000, None);
            search.up_to(1000, none).await.unwrap();
            search
        };
        assert_eq!(Search::behind(&stream(), 0, 1000, Some(searched().await)).through, 1000);
        assert_eq!(Search::behind(&stream(), 0, 999, Some(searched().await)).through, 0);
        let other = Arc::new(StreamId { name: "S".to_owned(), created: 2 });
        assert_eq!(Search::behind(&other, 0, 1000, Some(searched().await)).through, 0);
    }
}
