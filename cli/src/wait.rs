//! How long something is waited for.

use tokio::time::Instant;

/// Returns at this time; never if there is none.
pub(crate) async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
