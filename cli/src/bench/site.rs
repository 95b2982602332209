//! What is measured: a bus of its own in a folder of its own, or the one on a server that a URL names.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rowbus::{Durability, Messenger, SqliteBus};

use crate::address::Address;
use crate::bench::SUBJECT;
use crate::bench::place::Place;
use crate::failure::Result;

pub(crate) struct Site {
    pub(crate) bus: Arc<dyn Messenger>,
    /// Where a second process finds it.
    pub(crate) address: Address,
    /// The subject of every message.
    pub(crate) subject: String,
}

impl Site {
    /// Opens the bus in this folder, which is new.
    pub(crate) async fn in_folder(place: &Place, durability: Durability) -> Result<Self> {
        let bus = SqliteBus::builder(place.db()).durability(durability).open().await?;
        let address = Address::File { path: place.db(), url: None };
        Ok(Self { bus: Arc::new(bus), address, subject: SUBJECT.to_owned() })
    }

    /// Connects with a server, where others may be: nobody else has the subject.
    pub(crate) async fn on_server(address: &Address) -> Result<Self> {
        let bus = address.open().await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let subject = format!("rowbus.bench.{}-{}", std::process::id(), now.as_nanos());
        Ok(Self { bus, address: address.clone(), subject })
    }
}
