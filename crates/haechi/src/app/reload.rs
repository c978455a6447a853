//! SIGHUP: the policies anew, all or nothing.

use crate::{House, app::folder};
use std::{path::PathBuf, sync::Arc};

/// SIGHUP: policies anew, all or nothing; the model changes with a restart only.
pub(crate) async fn reload_on_hangup(house: Arc<House>, root: PathBuf) {
    #[cfg(unix)]
    {
        let Ok(mut hangup) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) else { return };
        while hangup.recv().await.is_some() {
            let loaded = folder::load(&root);
            let gate = &house.gate;
            let old = gate.revision();
            match loaded {
                Err(error) => tracing::error!(target: "haechi", %error, "the folder was not reloaded; the old policies go on"),
                Ok((revision, _)) if !revision.undeclared_reach().is_empty() => {
                    tracing::error!(target: "haechi", "the folder was not reloaded: a policy opens more than [anonymous] reach declares")
                }
                Ok((revision, _)) if !house.jobs.handlers().mismatches(&revision.app).0.is_empty() => {
                    tracing::error!(target: "haechi", "the folder was not reloaded: a job with handler = true has no handler")
                }
                Ok((revision, _)) => {
                    if old.app.same_model(&revision.app) {
                        gate.replace(revision);
                        if let Err(failure) = gate.record(&house.keys.schema, "reload").await {
                            tracing::error!(target: "haechi", %failure, "that policies were reloaded stands in no entry");
                        }
                        tracing::info!(target: "haechi", "policies reloaded");
                    } else {
                        tracing::error!(target: "haechi", "the folder was not reloaded: the model changed, which needs a restart");
                    }
                }
            }
        }
    }
    #[cfg(not(unix))]
    drop((house, root));
}
