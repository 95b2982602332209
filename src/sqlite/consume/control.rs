//! What deliveries do when they are settled.

use std::sync::Arc;
use std::time::Duration;

use crate::delivery::{DeliveryControl, Settlement};
use crate::error::{Error, ErrorKind, Result};
use crate::future::BoxFuture;
use crate::message::Message;
use crate::retry::millis;
use crate::sqlite::consume::Consumers;
use crate::sqlite::consume::member::Member;
use crate::sqlite::consume::place::Say;
use crate::sqlite::consume::settle::{Extend, Settle};

/// Of an explicit consumer.
pub(super) struct Leased {
    pub(super) consumers: Arc<Consumers>,
    pub(super) member: Arc<Member>,
    pub(super) epoch: i64,
}

impl DeliveryControl for Leased {
    fn settle<'a>(
        &'a self,
        message: &'a Message,
        attempt: u32,
        settlement: Settlement,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let settle = Settle {
                consumers: Arc::clone(&self.consumers),
                member: Arc::clone(&self.member),
                epoch: self.epoch,
                message: message.clone(),
                attempt: i64::from(attempt),
                settlement,
            };
            self.consumers.writer()?.run(settle).await.map(|_| ())
        })
    }

    fn extend(&self, sequence: u64, attempt: u32, by: Duration) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let until = self.consumers.awake_millis().saturating_add(millis(by));
            let (member, epoch) = (Arc::clone(&self.member), self.epoch);
            let (sequence, attempt) = (sequence.cast_signed(), i64::from(attempt));
            let until = self.member.not_before(sequence.cast_unsigned(), until);
            self.consumers.writer()?.run(Extend { member, epoch, sequence, attempt, until }).await
        })
    }
}

/// Of a cumulative consumer.
pub(super) struct InPlace {
    pub(super) consumers: Arc<Consumers>,
    pub(super) member: Arc<Member>,
    pub(super) epoch: i64,
    pub(super) token: i64,
}

impl DeliveryControl for InPlace {
    fn settle<'a>(
        &'a self,
        message: &'a Message,
        _: u32,
        settlement: Settlement,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let say = Say {
                consumers: Arc::clone(&self.consumers),
                member: Arc::clone(&self.member),
                epoch: self.epoch,
                token: self.token,
                message: message.clone(),
                settlement,
            };
            let said = self.consumers.writer()?.run(say).await;
            if said.as_ref().is_err_and(|error| error.kind() == ErrorKind::LeaseLost) {
                // Perhaps another has its place.
                self.member.reload();
            }
            said.map(|_| ())
        })
    }

    /// The active member has its place until it leaves or dies.
    fn extend(&self, sequence: u64, _: u32, _: Duration) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.consumers.check_open()?;
            let held = self.member.state().token == Some(self.token);
            if held { Ok(()) } else { Err(Error::delivery_lost(sequence)) }
        })
    }
}

/// Of what is handled in a transaction.
pub(super) struct InTransaction;

fn by_transaction() -> Error {
    let message = "this delivery is settled by its transaction: return Ok to acknowledge it, or an error";
    Error::new(ErrorKind::InvalidOption, message)
}

impl DeliveryControl for InTransaction {
    fn settle<'a>(&'a self, _: &'a Message, _: u32, _: Settlement) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Err(by_transaction()) })
    }

    fn extend(&self, _: u64, _: u32, _: Duration) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Err(by_transaction()) })
    }
}
