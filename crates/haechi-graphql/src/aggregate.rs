//! Counts, extremes, sums and means: only over fields that the caller may read, in the records that they may list.

use crate::{
    error::{GraphqlError, Path},
    execute::{Condition, Run},
    input,
    plan::{AggregatePart, GroupPart, Groups, Keyed, write_object},
};
use async_graphql_value::Value as Argument;
use haechi_data::{
    actions,
    aggregate::{self, MAX_GROUP_BY, write_result},
};
use haechi_gate::AggregateQuery;
use haechi_model::{AggregateFunction, Collection, CollectionId, FieldId, Json, Order, Value};

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
        let wanted = wanted(parts.iter().filter_map(Keyed::what));
        let used: Vec<Order> = wanted.iter().filter_map(|(_, field)| Some(Order::new((*field)?, false))).collect();
        self.not_personal(collection, &filter, &used).map_err(|problem| GraphqlError::at(path, problem))?;
        let mut by_groups = Vec::new();
        for part in parts.iter().filter_map(Keyed::what) {
            if let AggregatePart::Groups(groups) = part {
                by_groups.push(self.groups(collection, &filter, groups, path).await?);
            }
        }
        let query = AggregateQuery { filter: filter.predicate, parts: wanted, group_by: Vec::new(), limit: 1 };
        let found = actions::aggregate(self.ask, at, query).await.map_err(|error| GraphqlError::record(path, &error))?;
        let mut out = Vec::new();
        let (mut values, mut by_groups) = (found.first().map_or(&[][..], Vec::as_slice).iter(), by_groups.into_iter());
        write_object(parts, &mut out, |part, out| match part {
            AggregatePart::Groups(_) => out.extend(by_groups.next().unwrap_or_default()),
            part => computed(collection, part, &mut values, out),
        });
        Ok(out)
    }

    /// The groups by some fields, as a list.
    async fn groups(&self, collection: &Collection, filter: &Condition<'_>, groups: &Groups, path: &Path<'_>) -> Result<Vec<u8>, GraphqlError> {
        let wrong = |what: String| GraphqlError::input(path, what);
        let names =
            input::typed_list(self.types, groups.by.as_ref(), self.variables, &format!("{}OrderField", collection.singular)).map_err(wrong)?;
        let field = |name: &Json| if let Json::Text(name) = name { collection.field(name) } else { None };
        let by: Vec<FieldId> = names.iter().filter_map(field).collect();
        let twice = by.iter().enumerate().any(|(at, field)| by[..at].contains(field));
        if twice || by.is_empty() || by.len() > MAX_GROUP_BY || by.len() != names.len() {
            return Err(wrong(format!("`by` names one to {MAX_GROUP_BY} fields, each once.")));
        }
        let of = groups.parts.iter().filter_map(Keyed::what).filter_map(|part| if let GroupPart::Of(part) = part { Some(part) } else { None });
        let parts = wanted(of);
        let used: Vec<Order> = by.iter().copied().chain(parts.iter().filter_map(|(_, field)| *field)).map(|field| Order::new(field, false)).collect();
        self.not_personal(collection, filter, &used).map_err(|problem| GraphqlError::at(path, problem))?;
        let found = aggregate::groups(self.ask, collection.id, filter.predicate.clone(), by.clone(), parts).await;
        let found = found.map_err(|error| GraphqlError::record(path, &error))?;
        let mut out = vec![b'['];
        for (at, group) in found.iter().enumerate() {
            out.extend_from_slice(if at > 0 { b"," } else { b"" });
            let (key, values) = group.split_at(by.len().min(group.len()));
            let mut values = values.iter();
            write_object(&groups.parts, &mut out, |part, out| match part {
                GroupPart::Of(part) => computed(collection, part, &mut values, out),
                GroupPart::Key(members) => write_object(members, out, |field, out| match by.iter().position(|known| known == field) {
                    Some(at) => collection.fields[*field].ty.write(&key[at], out),
                    None => out.extend_from_slice(b"null"),
                }),
            });
        }
        out.push(b']');
        Ok(out)
    }
}

/// The computations in the order in which they are written.
fn wanted<'p>(parts: impl Iterator<Item = &'p AggregatePart>) -> Vec<(AggregateFunction, Option<FieldId>)> {
    let mut wanted = Vec::new();
    for part in parts {
        match part {
            AggregatePart::Count => wanted.push((AggregateFunction::Count, None)),
            AggregatePart::Of(function, of) => wanted.extend(of.iter().filter_map(Keyed::what).map(|field| (*function, Some(*field)))),
            AggregatePart::Groups(_) => {}
        }
    }
    if wanted.is_empty() {
        wanted.push((AggregateFunction::Count, None));
    }
    wanted
}

/// Writes one of the computations; its values come next.
fn computed<'v>(collection: &Collection, part: &AggregatePart, values: &mut impl Iterator<Item = &'v Value>, out: &mut Vec<u8>) {
    match part {
        AggregatePart::Count => out.extend_from_slice(values.next().and_then(Value::as_int).unwrap_or_default().to_string().as_bytes()),
        AggregatePart::Of(function, of) => write_object(of, out, |field, out| {
            write_result(&collection.fields[*field].ty, *function, values.next().unwrap_or(&Value::Null), out);
        }),
        AggregatePart::Groups(_) => {}
    }
}
