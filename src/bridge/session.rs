//! A bridge from when it takes its place on the file, or stands by for it, until it leaves.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::bridge::forward::Route;
use crate::bridge::handover::Handover;
use crate::bridge::identity::Identity;
use crate::bridge::link::Link;
use crate::bridge::reader::{Reader, both};
use crate::bridge::sender::{End, Sender};
use crate::bridge::status::Board;
use crate::durable::Durable;
use crate::error::{Error, ErrorKind, Result};
use crate::inbox::Inbox;
use crate::sqlite::SqliteBus;

/// Before a session begins anew that has failed on the file.
const PAUSE: Duration = Duration::from_millis(500);

/// What a bridge is made of.
pub(super) struct Parts {
    pub(super) bus: SqliteBus,
    pub(super) link: Link,
    pub(super) route: Arc<Route>,
    pub(super) handover: Arc<Handover>,
    pub(super) board: Arc<Board>,
}

/// Opens the bridge's consumer: where there is none, with the start that was asked for.
pub(super) async fn open(bus: &SqliteBus, route: &Route) -> Result<Inbox> {
    let is_new = match bus.consumer_info(&route.consumer_name()).await {
        Ok(_) => false,
        Err(error) if error.kind() == ErrorKind::NotFound => true,
        Err(error) => return Err(error),
    };
    let consumer = route.consumer();
    bus.consumer(if is_new { consumer.from(route.start) } else { consumer }).await
}

/// Session after session, until the bridge is stopped or the bus closed, or the file can no longer be used.
pub(super) async fn run(parts: Parts, inbox: Inbox) -> Result<()> {
    let mut inbox = Some(inbox);
    loop {
        let ended = match inbox.take() {
            Some(inbox) => {
                parts.handover.begin();
                one(&parts, inbox).await
            }
            None => again(&parts, &mut inbox).await,
        };
        if parts.handover.is_stopping() {
            return Ok(());
        }
        match ended {
            Ok(End::Done) if inbox.is_some() => {}
            Ok(End::Done) => return Ok(()),
            Ok(End::MovedBack) => {}
            Err(error) if error.kind() == ErrorKind::Closed => return Ok(()),
            Err(error) if is_last(&error) => return Err(error),
            Err(error) => {
                parts.board.waits(&error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Opens the consumer for another session.
async fn again(parts: &Parts, inbox: &mut Option<Inbox>) -> Result<End> {
    *inbox = Some(open(&parts.bus, &parts.route).await?);
    Ok(End::Done)
}

async fn one(parts: &Parts, inbox: Inbox) -> Result<End> {
    let Parts { bus, link, route, handover, board } = parts;
    let info = bus.consumer_info(&route.consumer_name()).await?;
    board.change(|status| status.position = info.ack_floor);
    let identity = Identity { lineage: bus.lineage().await?, bridge: route.name.clone() };
    let mut sender = Sender::new(
        (bus.clone(), link.clone()),
        (Arc::clone(route), identity),
        (Arc::clone(handover), Arc::clone(board)),
    );
    let mut reader = Reader {
        bus: bus.clone(),
        bridge: route.name.clone(),
        inbox,
        handover: Arc::clone(handover),
        board: Arc::clone(board),
        gap: None,
        failed: None,
    };
    let (out, batches) = mpsc::channel(1);
    let reading = async {
        let read = reader.run(out).await;
        if read.is_err() {
            handover.end();
        }
        read
    };
    let sending = async {
        let sent = sender.run(batches).await;
        sender.hand_over();
        handover.end();
        sent
    };
    let (read, sent) = both(reading, sending).await;
    let written = reader.write(false).await;
    let left = reader.inbox.leave().await;
    let ended = sent?;
    // At the end of the bus there is nobody left to write to.
    read.and(written).and(left)?;
    Ok(ended)
}

/// Whether another session would fail in the same way.
fn is_last(error: &Error) -> bool {
    error.is_final()
        || matches!(
            error.kind(),
            ErrorKind::CursorAhead { .. }
                | ErrorKind::NotFound
                | ErrorKind::ConsumerMismatch { .. }
                | ErrorKind::InvalidOption
        )
}
