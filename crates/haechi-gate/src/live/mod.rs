//! Live changes: reads the log and decides for each stream, on the row before and after.

pub(crate) mod feed;
pub(crate) mod hub;
pub(crate) mod image;
mod log;
mod stream;
mod told;
mod view;

pub use stream::Stream;
pub use told::{EndReason, Hold, OpenStream, Told, ToldKind, WatchError, WatchItem};
pub use view::WatchQuery;

use crate::{caller::Caller, gate::Gate};
use std::sync::{Arc, atomic::Ordering};

impl Gate {
    /// Raised when a credential or account may have changed: streams are checked then.
    #[must_use]
    pub fn doubt(&self) -> u64 {
        self.shared.doubt.load(Ordering::Acquire)
    }

    /// The credentials of open streams, each once, with the caller when the stream was opened.
    #[must_use]
    pub fn watching(&self) -> Vec<(Arc<str>, Caller)> {
        self.hub.credentials()
    }

    /// The same, for streams that were opened since the last call.
    #[must_use]
    pub fn newly_watching(&self) -> Vec<(Arc<str>, Caller)> {
        self.hub.fresh()
    }

    /// Ends the streams of a credential: because it is no longer good, has another caller now, or cannot be looked up.
    pub fn end_streams(&self, credential: &str, reason: EndReason) {
        self.hub.end_credential(credential, reason);
    }

    /// Ends all streams; none is opened any more.
    pub fn close_streams(&self) {
        self.hub.close();
    }

    /// Whether all streams have ended for good: the process ends.
    #[must_use]
    pub fn streams_are_closed(&self) -> bool {
        self.hub.is_closed()
    }

    /// Deletes images that are too old or too many. `false` when it could not.
    pub async fn forget_images(&self) -> bool {
        let live = &self.shared.revision.load().app.config.live;
        // Ids of entries tell their time.
        let oldest = (self.shared.clock.now_ms() - live.keep_hours * 3_600_000).max(0).unsigned_abs();
        let before = uuid::Builder::from_unix_timestamp_millis(oldest, &[0; 10]).into_uuid().hyphenated().to_string();
        let forgotten = self.shared.store.forget_images(&before, live.keep_bytes).await;
        self.shared.keeping.fares(crate::Writer::Changes, forgotten.is_ok());
        if let Err(failure) = forgotten {
            tracing::warn!(target: "haechi::live", %failure, "old changes could not be forgotten");
            return false;
        }
        true
    }
}
