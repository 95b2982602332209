use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::*;
use crate::call::Call;
use crate::error::Result;
use crate::future::BoxFuture;
use crate::handler::handler_fn;
use crate::headers::Headers;
use crate::message::Message;
use crate::reply::Response;
use crate::serve::{Serve, ServeParts};
use crate::subject::Subject;

/// Gives one request, and tells what becomes of it.
struct OneRequest {
    pump: OnceLock<Weak<Pump>>,
    given: Mutex<bool>,
    /// The request is cancelled while it is being given.
    cancelled: bool,
    finished: UnboundedSender<Verdict>,
}

const TICKET: Ticket = Ticket { sequence: 1, attempt: 1 };

impl OneRequest {
    async fn settle_now(&self, finished: &[Finished], most: usize) -> Settled {
        for finished in finished {
            let _ = self.finished.send(finished.verdict.clone());
        }
        while self.pump.get().is_none() {
            tokio::task::yield_now().await;
        }
        let given = most > 0 && !std::mem::replace(&mut self.given.lock().unwrap(), true);
        if !given {
            return Settled::default();
        }
        if self.cancelled {
            self.pump.get().unwrap().upgrade().unwrap().cancel(TICKET);
        }
        let subject = Subject::new("a").unwrap();
        let message = Message::new(subject, Bytes::new(), Headers::new(), 1, 0);
        let traits = Traits::default();
        let claimed = Claimed { ticket: TICKET, id: "id".into(), message, taken_at: 0, lease: 1_000, traits };
        Settled { claimed: vec![claimed], ..Settled::default() }
    }
}

impl Desk for OneRequest {
    fn settle(
        &self,
        _: &Arc<ServeParts>,
        finished: Arc<Vec<Finished>>,
        most: usize,
    ) -> BoxFuture<'_, Result<Settled>> {
        Box::pin(async move { Ok(self.settle_now(&finished, most).await) })
    }

    fn part(&self, _: Ticket, _: u32, _: Response) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn extend(&self, _: Ticket, _: i64) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn awake_millis(&self) -> i64 {
        0
    }

    fn max_payload(&self) -> usize {
        1_024
    }
}

#[tokio::test]
async fn a_call_that_is_cancelled_while_it_is_taken_is_told() {
    let (finished, mut verdicts) = unbounded_channel();
    let desk = OneRequest { pump: OnceLock::new(), given: Mutex::new(false), cancelled: true, finished };
    let desk = Arc::new(desk);
    let handler = handler_fn(|call: Call| async move {
        call.cancelled().await;
        Ok("told")
    });
    let serve = Serve::on("a").into_parts().unwrap();
    let pump = Pump::start(Arc::clone(&desk) as _, serve, Arc::new(handler));
    desk.pump.set(Arc::downgrade(&pump)).unwrap();
    let verdict = tokio::time::timeout(Duration::from_secs(20), verdicts.recv()).await.unwrap();
    assert!(matches!(verdict, Some(Verdict::Answered(_))), "{verdict:?}");
    assert!(pump.stop().await.is_none());
}
