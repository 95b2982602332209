//! Who is to be woken: what changed and what is waited for, as bits.

use crate::filter::Filter;
use crate::subject::Subject;

/// A set of things that change, coarse: a kind and the first token of a subject share one of 63 bits with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WakeBits(u64);

/// What kind of row changed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Event = 1,
    /// Something of a subject may be taken, or its time is another.
    Request = 2,
    /// Something that a peer waits for or holds: a reply, a cancellation.
    Peer = 3,
    /// A job that somebody asks for.
    Job = 4,
    /// A consumer that its members have to look at.
    Consumer = 5,
}

const BITS: u64 = 63;

impl WakeBits {
    pub(crate) const NOTHING: Self = Self(0);
    pub(crate) const EVERYTHING: Self = Self((1 << BITS) - 1);

    pub(crate) fn event(subject: &Subject) -> Self {
        Self::of(Kind::Event, first_token(subject.as_str()).as_bytes())
    }

    pub(crate) fn request(subject: &str) -> Self {
        Self::of(Kind::Request, first_token(subject).as_bytes())
    }

    /// By the peer's slot.
    pub(crate) fn peer(slot: i64) -> Self {
        Self::of(Kind::Peer, &slot.to_le_bytes())
    }

    /// By the job's sequence.
    pub(crate) fn job(sequence: i64) -> Self {
        Self::of(Kind::Job, &sequence.to_le_bytes())
    }

    /// By the consumer's id.
    pub(crate) fn consumer(id: i64) -> Self {
        Self::of(Kind::Consumer, &id.to_le_bytes())
    }

    /// What a server of this filter waits for.
    pub(crate) fn served(filter: &Filter) -> Self {
        match first_token(filter.as_str()) {
            "*" | ">" => Self::EVERYTHING,
            token => Self::request(token),
        }
    }

    pub(crate) fn overlap(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The same in every process and version: FNV-1a.
    fn of(kind: Kind, token: &[u8]) -> Self {
        let hash = std::iter::once(kind as u8)
            .chain(token.iter().copied())
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        Self(1 << (hash % BITS))
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    #[cfg_attr(not(target_os = "linux"), allow(dead_code))] // for doorbells
    pub(crate) fn get(self) -> u64 {
        self.0
    }
}

fn first_token(text: &str) -> &str {
    text.split('.').next().unwrap_or_default()
}

/// What the streams of a bus wait for, kept up as they come and go.
#[derive(Debug)]
pub(crate) struct Interest {
    /// How many wait for each bit.
    counts: [u32; BITS as usize],
    /// How many begin with a wildcard.
    everything: u32,
}

impl Interest {
    pub(crate) fn add(&mut self, filter: &Filter) {
        let count = self.count(filter);
        *count = count.saturating_add(1);
    }

    pub(crate) fn remove(&mut self, filter: &Filter) {
        let count = self.count(filter);
        *count = count.saturating_sub(1);
    }

    pub(crate) fn bits(&self) -> WakeBits {
        if self.everything > 0 {
            return WakeBits::EVERYTHING;
        }
        let set = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        WakeBits(set.fold(0, |bits, (bit, _)| bits | 1 << bit))
    }

    fn count(&mut self, filter: &Filter) -> &mut u32 {
        match first_token(filter.as_str()) {
            "*" | ">" => &mut self.everything,
            token => {
                &mut self.counts[WakeBits::of(Kind::Event, token.as_bytes()).0.trailing_zeros() as usize]
            }
        }
    }
}

impl Default for Interest {
    fn default() -> Self {
        Self { counts: [0; BITS as usize], everything: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Filter {
        Filter::new(text).unwrap()
    }

    fn wakes(subject: &str, interest: &Interest) -> bool {
        WakeBits::event(&Subject::new(subject).unwrap()).get() & interest.bits().get() != 0
    }

    #[test]
    fn interest_covers_what_its_filters_match_until_they_go() {
        let mut interest = Interest::default();
        assert_eq!(interest.bits(), WakeBits::NOTHING);
        for text in ["orders.eu.*", "orders.>", "tray"] {
            interest.add(&filter(text));
        }
        assert!(wakes("orders.eu.created", &interest) && wakes("tray", &interest));
        assert!(!wakes("mail.sent", &interest), "an unlucky pair of words");
        interest.remove(&filter("orders.>"));
        assert!(wakes("orders.us", &interest));
        interest.remove(&filter("orders.eu.*"));
        assert!(!wakes("orders.us", &interest) && wakes("tray", &interest));
        for wildcard in [">", "*.created"] {
            interest.add(&filter(wildcard));
            assert_eq!(interest.bits(), WakeBits::EVERYTHING);
            interest.remove(&filter(wildcard));
        }
        interest.remove(&filter("tray"));
        assert_eq!(interest.bits(), WakeBits::NOTHING);
    }

    #[test]
    fn bits_are_the_same_in_every_version() {
        // Processes of several versions share the file: these may never change.
        let bits = |subject: &str| WakeBits::event(&Subject::new(subject).unwrap()).get().trailing_zeros();
        assert_eq!(["a", "orders.created", "jobs.x.y"].map(bits), [22, 1, 29]);
        let of = |bits: WakeBits| bits.get().trailing_zeros();
        assert_eq!(
            [WakeBits::request("orders.created"), WakeBits::peer(7), WakeBits::job(7)].map(of),
            [36, 61, 10]
        );
    }
}
