//! Counts, extremes, sums and means: only over fields that the caller may read, in the records that they may list.

use crate::{
    error::{GraphqlError, Path},
    execute::Run,
    input,
    plan::{AggregatePart, Keyed, write_object},
};
use async_graphql_value::Value as Argument;
use haechi_data::{actions, write_result};
use haechi_gate::AggregateQuery;
use haechi_model::{AggregateFunction, Collection, CollectionId, FieldId, Order, Value};

impl Run<'_> {
    /// The result of an aggregate; on failure `None`, and the error is recorded.
    pub(crate) async fn aggregate(
        &self,
        at: CollectionId,
        filter: Option<&Argument>,
        parts: &[Keyed<AggregatePart>],
        path: &Path<'_>,
    ) -> Option<Vec<u8>> {
        match self.try_aggregate(at, filter, parts, path).await {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.fail(error);
                None
            }
        }
    }

    async fn try_aggregate(
        &self,
        at: CollectionId,
        filter: Option<&Argument>,
        parts: &[Keyed<AggregatePart>],
        path: &Path<'_>,
    ) -> Result<Vec<u8>, GraphqlError> {
        let collection = &self.ask.app().collections[at];
        let wrong = |what: String| GraphqlError::input(path, what);
        let filter = input::typed(self.types, filter, self.variables, &format!("{}Filter", collection.singular)).map_err(wrong)?;
        let filter = self.condition(collection, filter.as_ref()).map_err(wrong)?;
        let wanted = wanted(parts);
        let used: Vec<Order> = wanted.iter().filter_map(|(_, field)| Some(Order::new((*field)?, false))).collect();
        self.not_personal(collection, &filter, &used).map_err(|problem| GraphqlError::at(path, problem))?;
        let query = AggregateQuery { filter, parts: wanted, group_by: Vec::new(), limit: 1 };
        let found = actions::aggregate(self.ask, at, query).await.map_err(|error| GraphqlError::record(path, &error))?;
        Ok(write(collection, parts, found.first().map_or(&[], Vec::as_slice)))
    }
}

/// Each computation once, even if it is selected several times.
fn wanted(parts: &[Keyed<AggregatePart>]) -> Vec<(AggregateFunction, Option<FieldId>)> {
    let mut wanted = Vec::new();
    for part in parts.iter().filter_map(Keyed::what) {
        match part {
            AggregatePart::Count => wanted.push((AggregateFunction::Count, None)),
            AggregatePart::Of(function, of) => wanted.extend(of.iter().filter_map(Keyed::what).map(|field| (*function, Some(*field)))),
        }
    }
    if wanted.is_empty() {
        wanted.push((AggregateFunction::Count, None));
    }
    wanted
}

fn write(collection: &Collection, parts: &[Keyed<AggregatePart>], values: &[Value]) -> Vec<u8> {
    let mut values = values.iter();
    let mut out = Vec::new();
    write_object(parts, &mut out, |part, out| match part {
        AggregatePart::Count => out.extend_from_slice(values.next().and_then(Value::as_int).unwrap_or_default().to_string().as_bytes()),
        AggregatePart::Of(function, of) => write_object(of, out, |field, out| {
            write_result(&collection.fields[*field].ty, *function, values.next().unwrap_or(&Value::Null), out);
        }),
    });
    out
}
