//! The statement by which somebody's rows are found, and how the database would answer it.

use super::Asker;
use crate::{
    gate::Gate,
    system::{Import, System},
};
use haechi_model::{Collection, CollectionId, Comparison, Failure, Mask, Operand, Order, Output, Predicate, Select, Value};
use haechi_policy::{ActionId, Written};
use haechi_store::Plan;

/// Rows of the page that is planned.
const ROWS: u32 = 20;

impl Gate {
    /// The statement of a page of the rows on which somebody may do this, or of one of them, and its plan. Nothing is read. Without
    /// rows there is no statement.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn plan_of(
        &self,
        _: &System<Import>,
        asker: &Asker,
        (action, collection): (ActionId, CollectionId),
        id: Option<&str>,
    ) -> Result<Option<Plan>, Failure> {
        let (revision, now_ms, principal) = (self.revision(), self.clock().now_ms(), asker.principal());
        let rows = |action| revision.effective(&principal, action, collection, (now_ms, Written::Some));
        let one = id.map(|id| Predicate::Compare(Operand::Column(Collection::ID), Comparison::Equal, Operand::Constant(Value::text(id))));
        let filter = Predicate::all(one.into_iter().chain([rows(action), rows(revision.verbs.read)]));
        // `create` looks up no row.
        if filter == Predicate::False || action == revision.verbs.create {
            return Ok(None);
        }
        let fields = 0..revision.app.collections[collection].fields.len();
        let select = Select {
            outputs: fields.map(|field| Output { field, mask: Mask::Shown }).collect(),
            order: if id.is_some() { Vec::new() } else { vec![Order::new(Collection::ID, false)] },
            ..Select::new(collection, filter, if id.is_some() { 1 } else { ROWS })
        };
        self.shared.store.plan_of(select).await.map(Some)
    }
}
