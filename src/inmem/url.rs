//! `memory:` URLs.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use crate::error::{Error, ErrorKind, Result};
use crate::inmem::{Handles, InMemBus};
use crate::url::BusUrl;

/// The buses that were named, as long as somebody holds them.
static NAMED: LazyLock<Mutex<HashMap<String, Weak<Handles>>>> = LazyLock::new(Mutex::default);

impl InMemBus {
    /// The bus of this URL: one of its own without a name, else the one that all in this process share who name it.
    pub(crate) fn by_url(mut url: BusUrl) -> Result<Self> {
        let name = url.name()?;
        let mut builder = Self::builder();
        let mut has_options = false;
        if let Some(bytes) = url.take_parsed("max_payload")? {
            (builder, has_options) = (builder.max_payload(bytes), true);
        }
        if let Some(window) = url.take_duration("dedup_window")? {
            (builder, has_options) = (builder.dedup_window(window), true);
        }
        if let Some(messages) = url.take_parsed("log_capacity")? {
            (builder, has_options) = (builder.log_capacity(messages), true);
        }
        if let Some(bytes) = url.take_parsed("log_bytes")? {
            (builder, has_options) = (builder.log_bytes(bytes), true);
        }
        url.finish()?;
        if name.is_empty() {
            return builder.build();
        }
        let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
        named.retain(|_, bus| bus.strong_count() > 0);
        let there = named.get(&name).and_then(Weak::upgrade).filter(|bus| !bus.shared.is_closed());
        match there {
            Some(_) if has_options => {
                let message =
                    format!("memory:{name} is there already: options are for the first who names it");
                Err(Error::new(ErrorKind::InvalidOption, message))
            }
            Some(handles) => Ok(Self { handles }),
            None => {
                let bus = builder.build()?;
                named.insert(name, Arc::downgrade(&bus.handles));
                Ok(bus)
            }
        }
    }
}
