//! What jobs need of the program around them: people and services with the rights of now, and secrets.

use crate::app::folder;
use futures_util::future::BoxFuture;
use haechi_gate::Caller;
use haechi_identity::{AuthError, Identity};
use haechi_jobs::Who;
use haechi_model::{Egress, Failure};

/// Asks the crate that verifies credentials, and reads what the configuration refers to.
pub(crate) struct Around(pub(crate) Identity);

impl haechi_jobs::Around for Around {
    fn now<'a>(&'a self, who: &'a Who) -> BoxFuture<'a, Result<Option<Caller>, Failure>> {
        Box::pin(async move {
            match self.0.again(&who.kind, &who.id, who.credential.as_deref()).await {
                Ok(caller) => Ok(Some(caller)),
                Err(AuthError::Invalid) => Ok(None),
                Err(AuthError::Unavailable) => Err(Failure::Unavailable),
            }
        })
    }

    fn service(&self, name: &str, roles: &[String]) -> Caller {
        self.0.declared_service(name, roles)
    }

    fn bearer(&self, egress: &Egress) -> Result<Option<String>, ()> {
        egress.bearer.as_ref().map(|reference| folder::secret(reference, "bearer")).transpose().map_err(|error| {
            tracing::error!(target: "haechi::jobs", egress = egress.name, %error, "the credential of another service cannot be read");
        })
    }
}
