//! Who a job runs as: people and services with the rights that they have when it runs.

use futures_util::future::BoxFuture;
use haechi_gate::Caller;
use haechi_identity::{AuthError, Identity};
use haechi_jobs::Who;
use haechi_model::Failure;

/// Asks the crate that verifies credentials.
pub(crate) struct Callers(pub(crate) Identity);

impl haechi_jobs::Callers for Callers {
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
}
