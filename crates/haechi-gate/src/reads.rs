//! How the database is read for a request. The log reports slow reads: whose request it was, and which policies decide about its rows.

use crate::ask::Ask;
use haechi_model::CollectionId;
use haechi_store::{For, Purpose, Reads, Slow};
use std::sync::Arc;

impl Ask {
    /// How the database is read for it.
    pub(crate) fn reads(&self, scan: bool, action: &'static str, collection: CollectionId) -> Reads {
        let caller = self.caller.turn(self.came.as_ref().map(|came| came.network));
        Reads { caller, scan, request_id: Some(self.request_id.clone()), purpose: SlowRead::purpose(self, action, collection) }
    }
}

/// A caller's read of a collection.
pub(crate) struct SlowRead {
    ask: Ask,
    action: &'static str,
    collection: CollectionId,
}

impl SlowRead {
    /// Empty unless the folder asks for slow statements in the log.
    pub(crate) fn purpose(ask: &Ask, action: &'static str, collection: CollectionId) -> For {
        For((ask.app().config.log.slow_ms > 0).then(|| Arc::new(Self { ask: ask.clone(), action, collection }) as Arc<dyn Purpose>))
    }

    /// The policies that may let the caller do this, or forbid it.
    fn policies(&self) -> String {
        let policies = &self.ask.revision.policies;
        let Some(action) = policies.action(self.action) else { return String::new() };
        let principal = self.ask.caller.principal();
        let outlook = policies.outlook(&principal, action, self.collection, self.ask.now_ms);
        outlook.filter(|reason| reason.applies != Some(false)).map(|reason| reason.policy.id.as_str()).collect::<Vec<_>>().join(",")
    }
}

impl Purpose for SlowRead {
    fn tell(&self, slow: &Slow<'_>) {
        let (ms, policies) = (slow.took.as_secs_f64() * 1000.0, self.policies());
        tracing::warn!(
            target: "haechi::slow",
            ms,
            request_id = &*self.ask.request_id,
            table = slow.table,
            action = self.action,
            policies,
            rows = slow.rows,
            statement = slow.statement,
            "a statement of the database took long"
        );
    }
}
