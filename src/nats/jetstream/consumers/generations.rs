//! A consumer under its name on the server. JetStream moves none: one that is moved is made anew, under the next name.
//!
//! The first is `name`, and then `name~2`, `name~3` and on. The one that counts is the lowest there is: a move first makes the
//! next, and takes effect when it removes the one before. So what members hold of that one is lost with it, as the server knows no
//! such consumer any more, and a move that was broken off has changed nothing.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy as ServerAck, Info};

use crate::error::{Error, ErrorKind, Result};
use crate::nats::jetstream::api::{Api, Refusal};
use crate::nats::jetstream::failure;

/// Between a name and the number of its moves.
const MARK: char = '~';

pub(super) fn check_name(name: &str) -> Result<()> {
    if name.contains(MARK) {
        let message =
            format!("a consumer's name on JetStream has no {MARK:?}, which counts its moves; got {name:?}");
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    Ok(())
}

/// The name behind what the server calls it, and its number.
pub(super) fn of(called: &str) -> (&str, u64) {
    match called.split_once(MARK).map(|(name, number)| (name, number.parse())) {
        Some((name, Ok(number))) => (name, number),
        _ => (called, 1),
    }
}

/// What the server calls the one behind this one.
pub(super) fn next(called: &str) -> String {
    let (name, number) = of(called);
    format!("{name}{MARK}{}", number + 1)
}

/// Whether it is one of ours, or as ours are: kept by name, pulled, acknowledged one by one.
pub(super) fn is_consumer(info: &Info) -> bool {
    let config = &info.config;
    config.durable_name.is_some()
        && config.deliver_subject.is_none()
        && config.ack_policy == ServerAck::Explicit
}

/// The consumer of this name, if there is one.
pub(super) async fn current(events: &Api, name: &str) -> Result<Option<Info>> {
    match events.consumer_info(name).await {
        Ok(info) => return Ok(Some(info)),
        Err(refusal) if is_missing(&refusal) => {}
        Err(refusal) => return Err(failure::refused(&format!("consumer {name:?} was asked for"), refusal)),
    }
    // It was moved, perhaps.
    Ok(all(events).await?.into_iter().find(|info| of(&info.name).0 == name))
}

/// The same; `NotFound` if there is none.
pub(super) async fn existing(events: &Api, name: &str) -> Result<Info> {
    current(events, name).await?.ok_or_else(|| Error::no_such_consumer(name))
}

/// All consumers that count, by name.
pub(super) async fn all(events: &Api) -> Result<Vec<Info>> {
    let all = events.consumers().await;
    let mut all = all.map_err(|refusal| failure::refused("consumers were asked for", refusal))?;
    all.retain(is_consumer);
    all.sort_by(|one, other| of(&one.name).cmp(&of(&other.name)));
    all.dedup_by(|later, first| of(&later.name).0 == of(&first.name).0);
    Ok(all)
}

pub(super) fn is_missing(refusal: &Refusal) -> bool {
    refusal.is(ErrorCode::CONSUMER_NOT_FOUND) || refusal.is(ErrorCode::CONSUMER_DOES_NOT_EXIST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_its_moves() {
        assert_eq!((of("c"), of("c~2"), of("a~b")), (("c", 1), ("c", 2), ("a~b", 1)));
        assert_eq!((next("c").as_str(), next("c~9").as_str()), ("c~2", "c~10"));
        assert_eq!(check_name("a~2").unwrap_err().kind(), ErrorKind::InvalidOption);
    }
}
