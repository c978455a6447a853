//! Checks the callers of open streams and exports again, and ends what they read when a credential or account has ended or changed.

use haechi_gate::{Ask, Caller, EndReason, Gate, Known};
use haechi_identity::{AuthError, Identity};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// How soon a possible change is checked.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often all callers are checked, even without a change: credentials also expire.
const ALL_EVERY: Duration = Duration::from_secs(10);

/// Runs until `stop` turns true.
pub(crate) async fn run(gate: Gate, identity: Identity, mut stop: watch::Receiver<bool>) {
    let (mut doubt, mut looked) = (gate.doubt(), Instant::now());
    while tokio::time::timeout(LOOK_EVERY, stop.changed()).await.is_err() {
        let (now, fresh) = (gate.doubt(), gate.newly_watching());
        if now == doubt && looked.elapsed() < ALL_EVERY {
            look(&gate, &identity, fresh).await;
            continue;
        }
        (doubt, looked) = (now, Instant::now());
        look(&gate, &identity, gate.watching()).await;
    }
}

async fn look(gate: &Gate, identity: &Identity, watching: Vec<(Arc<str>, Caller)>) {
    for (credential, caller) in watching {
        match caller_of(identity, &credential).await {
            Ok(found) if found.is_still(&caller) => {}
            Ok(_) | Err(AuthError::Invalid) => gate.end_streams(&credential, EndReason::Caller),
            // A caller who cannot be checked is not served, as with requests. They may come back with the same credential.
            Err(AuthError::Unavailable) => gate.end_streams(&credential, EndReason::Busy),
        }
    }
}

/// Whose credential it is now.
async fn caller_of(identity: &Identity, credential: &str) -> Result<Caller, AuthError> {
    match identity.known(credential) {
        Known::Caller(found) => Ok(found),
        Known::Unknown(pending) => Box::pin(identity.verify(credential, pending)).await,
    }
}

/// Says whether a credential still is that of the same caller; a caller who cannot be checked is not served.
pub(crate) fn still(identity: Identity) -> haechi_data::Still {
    Arc::new(move |ask: Ask| {
        let identity = identity.clone();
        Box::pin(async move {
            // A request without a credential has none that could end.
            let Some(credential) = ask.credential() else { return true };
            caller_of(&identity, credential).await.is_ok_and(|found| found.is_still(ask.caller()))
        })
    })
}
