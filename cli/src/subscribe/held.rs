//! What was only looked at, until it is given back.

use std::collections::VecDeque;

use futures_util::future::join_all;
use rowbus::{Delivery, defaults};

/// Bytes of payloads that are held on to: what is beyond comes again by itself, if later.
const BYTES: usize = 16 << 20;

/// Deliveries that were written and are not to be acknowledged, the newest of them.
#[derive(Default)]
pub(super) struct Held {
    deliveries: VecDeque<Delivery>,
    bytes: usize,
}

impl Held {
    pub(super) fn add(&mut self, batch: Vec<Delivery>) {
        for delivery in batch {
            self.bytes += delivery.payload().len();
            self.deliveries.push_back(delivery);
        }
        while self.bytes > BYTES || self.deliveries.len() > defaults::MAX_ACK_PENDING {
            let Some(oldest) = self.deliveries.pop_front() else { return };
            self.bytes -= oldest.payload().len();
        }
    }

    /// Whoever works on these gets them at once, as if nobody had looked.
    pub(super) async fn give_back(self) {
        // What has gone to another member meanwhile is that one's.
        join_all(self.deliveries.iter().map(Delivery::release)).await;
    }
}
