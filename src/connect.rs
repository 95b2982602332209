//! A bus by its URL.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::inmem::InMemBus;
use crate::messenger::Messenger;
use crate::url::BusUrl;

/// Opens or connects the bus that a URL names: a program that outgrows one machine changes its URL.
///
/// | URL | bus | options |
/// | --- | --- | --- |
/// | `sqlite:app.db`, `sqlite:/var/app.db` | the file, by `SqliteBuilder::from_url` | those of its builder: `name`, `durability` (`full`, `relaxed`), `busy_deadline`, `dedup_window`, `max_payload`, `create`, `convert_to_wal`, `migrate` (`auto`, `new_files`, `manual`), `prune`, `keep_dead_letters`; and for every subject `max_age`, `max_messages`, `max_bytes`, `max_per_subject` |
/// | `memory:` | one of its own, by [`InMemBus`](crate::InMemBus) | those of its builder: `max_payload`, `dedup_window`, `log_capacity`, `log_bytes` |
/// | `memory:NAME` | the same for all in this process that name it, as long as one of them holds it | for the first of them |
/// | `nats://one:4222,two:4222`, `tls://user:password@one` | the servers, by `NatsBus` (feature `nats`) | those of its builder: `name`, `prefix`, `creds` and `nkey` (files), `tls` (`true`), `tls_roots`, `tls_certificate`, `tls_key`, `inbox_prefix`, `max_payload`, `wait`, `retry_first_connect`, `max_reconnects`; and the stream of `as_durable`: `stream`, `stream_subjects` (with commas between them), `stream_under`, `stream_existing` (`true`) |
///
/// Options follow a question mark and are joined by `&`, as in `sqlite:app.db?durability=relaxed&busy_deadline=500ms`. A duration is a
/// number and `ms`, `s`, `m`, `h` or `d`; what has a meaning in URLs is percent-escaped.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> rowbus::Result<()> {
/// use rowbus::MessengerExt;
///
/// let bus = rowbus::connect("memory:?log_capacity=1000").await?;
/// bus.publish("orders.created", "one pizza").await?;
///
/// let error = rowbus::connect("carrier-pigeon:").await.unwrap_err();
/// assert!(error.to_string().contains("sqlite:, memory:, nats: or tls:"));
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`ErrorKind::InvalidOption`] for a URL that is not understood, which says what is; `Unsupported` if this build has no such
/// backend; what opening or connecting meets.
pub async fn connect(url: &str) -> Result<Arc<dyn Messenger>> {
    let parsed = BusUrl::parse(url)?;
    match parsed.scheme() {
        "sqlite" => sqlite(parsed).await,
        "memory" => Ok(Arc::new(InMemBus::by_url(parsed)?)),
        "nats" | "tls" => nats(url).await,
        _ => {
            // The rest may hold a password, and so may what is no scheme.
            let scheme = parsed.scheme();
            let is_scheme =
                !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
            let message = format!(
                "a bus's URL begins with sqlite:, memory:, nats: or tls:; got {}",
                if is_scheme { format!("{scheme}:") } else { "no scheme".to_owned() }
            );
            Err(Error::new(ErrorKind::InvalidOption, message))
        }
    }
}

#[cfg(feature = "sqlite")]
async fn sqlite(url: BusUrl) -> Result<Arc<dyn Messenger>> {
    Ok(Arc::new(crate::sqlite::SqliteBuilder::by_url(url)?.open().await?))
}

#[cfg(not(feature = "sqlite"))]
async fn sqlite(_url: BusUrl) -> Result<Arc<dyn Messenger>> {
    Err(Error::new(
        ErrorKind::Unsupported,
        "this build has no sqlite: buses: rowbus' feature `sqlite` is off",
    ))
}

#[cfg(feature = "nats")]
async fn nats(url: &str) -> Result<Arc<dyn Messenger>> {
    Ok(Arc::new(crate::nats::NatsBus::connect(url).await?))
}

#[cfg(not(feature = "nats"))]
async fn nats(_url: &str) -> Result<Arc<dyn Messenger>> {
    let message = "this build has no nats: and tls: buses: rowbus' feature `nats` is off";
    Err(Error::new(ErrorKind::Unsupported, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ext::MessengerExt;

    async fn refused(url: &str) -> Error {
        connect(url).await.map(drop).unwrap_err()
    }

    #[tokio::test]
    async fn a_bus_in_memory_is_shared_by_its_name() {
        let own = [connect("memory:").await.unwrap(), connect("memory:").await.unwrap()];
        assert_eq!(own[0].publish("a", "").await.unwrap().sequence, 1);
        assert_eq!(own[1].publish("a", "").await.unwrap().sequence, 1);
        let one = connect("memory:shared?log_capacity=10").await.unwrap();
        let other = connect("memory:shared").await.unwrap();
        assert_eq!(one.publish("a", "").await.unwrap().sequence, 1);
        assert_eq!(other.publish("a", "").await.unwrap().sequence, 2);
        assert_eq!(refused("memory:shared?log_capacity=10").await.kind(), ErrorKind::InvalidOption);
        drop((one, other));
        let anew = connect("memory:shared").await.unwrap();
        assert_eq!(anew.publish("a", "").await.unwrap().sequence, 1);
        anew.close().await.unwrap();
        assert!(connect("memory:shared").await.unwrap().publish("a", "").await.is_ok());
    }

    #[tokio::test]
    async fn what_is_not_understood_is_refused_with_what_is() {
        for url in ["", "app.db", "http://x", "SQLITE"] {
            let error = refused(url).await;
            assert_eq!(error.kind(), ErrorKind::InvalidOption, "{url}");
            assert!(error.to_string().contains("sqlite:, memory:, nats: or tls:"), "{error}");
        }
        let unknown = refused("memory:?log_bites=1").await.to_string();
        assert!(unknown.contains("log_bites") && unknown.contains("log_bytes"), "{unknown}");
        for url in ["amqp://user:secret@host", "secret@host:4222"] {
            assert!(!refused(url).await.to_string().contains("secret"), "{url}");
        }
    }

    /// What is said to be understood is what the documentation says, word for word.
    #[tokio::test]
    async fn the_documentation_has_every_option_and_no_other() {
        let mut rows = vec![("memory:", "memory:")];
        rows.extend(cfg!(feature = "sqlite").then_some(("sqlite:app.db", "sqlite:")));
        rows.extend(cfg!(feature = "nats").then_some(("nats://127.0.0.1:1", "nats:")));
        for (url, scheme) in rows {
            let refused = refused(&format!("{url}?no_such_option=1")).await.to_string();
            let (_, understood) = refused.split_once("; it has ").unwrap();
            let row =
                include_str!("connect.rs").lines().find(|line| line.starts_with(&format!("/// | `{scheme}")));
            let (_, options) = row.unwrap().split_once("those of its builder: ").unwrap();
            // Values of options are in brackets.
            let words = |text: &'static str| text.split('`').skip(1).step_by(2);
            let outside = options.split('(').enumerate().map(|(at, part)| match at {
                0 => part,
                _ => part.split_once(')').unwrap().1,
            });
            let mut documented: Vec<_> =
                outside.flat_map(words).filter(|word| *word != "as_durable").collect();
            let mut understood: Vec<_> = understood.split(", ").collect();
            documented.sort_unstable();
            understood.sort_unstable();
            assert_eq!(understood, documented, "{scheme}");
        }
    }

    #[cfg(feature = "sqlite")]
    #[tokio::test]
    async fn a_file_is_opened_with_the_options_of_its_url() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("an app.db");
        let path = path.to_str().unwrap().replace(' ', "%20");
        assert_eq!(refused(&format!("sqlite:{path}?create=false")).await.kind(), ErrorKind::InvalidPath);
        assert_eq!(refused(&format!("sqlite:{path}?durability=some")).await.kind(), ErrorKind::InvalidOption);
        let url =
            format!("sqlite://{path}?durability=relaxed&max_payload=10&max_age=1d&max_messages=5&name=x");
        let bus = connect(&url).await.unwrap();
        let too_large = bus.publish("a", "eleven bytes").await.unwrap_err();
        assert!(matches!(too_large.kind(), ErrorKind::PayloadTooLarge { limit: 10, .. }));
        assert!(bus.as_durable().is_ok());
        bus.close().await.unwrap();
        assert!(folder.path().join("an app.db").is_file());
    }
}
