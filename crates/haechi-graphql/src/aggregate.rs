//! Counts, extremes, sums and means: only over fields that the caller may read, in the records that they may list.

use crate::{
    error::{GraphqlError, Path},
    execute::Run,
    input,
    plan::{AggregatePart, Keyed, write_object},
    schema::sum_type,
};
use async_graphql_value::Value as Argument;
use haechi_data::actions;
use haechi_model::{AggregateFunction, Collection, CollectionId, FieldId, FieldType, Value, write_json_text};

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
        let used: Vec<(FieldId, bool)> = wanted.iter().filter_map(|(_, field)| Some(((*field)?, false))).collect();
        self.not_personal(collection, &filter, &used).map_err(|problem| GraphqlError::at(path, problem))?;
        let values = actions::aggregate(self.ask, at, filter, wanted).await.map_err(|error| GraphqlError::record(path, &error))?;
        Ok(write(collection, parts, &values))
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
            write_value(&collection.fields[*field].ty, *function, values.next().unwrap_or(&Value::Null), out);
        }),
    });
    out
}

fn write_value(ty: &FieldType, function: AggregateFunction, value: &Value, out: &mut Vec<u8>) {
    match (function, value, ty) {
        (_, Value::Null, _) => out.extend_from_slice(b"null"),
        (AggregateFunction::Average, Value::Real(mean), FieldType::Decimal { scale, .. }) => {
            FieldType::Float { min: f64::MIN, max: f64::MAX }.write(&Value::Real(mean / 10f64.powi(i32::try_from(*scale).unwrap_or_default())), out);
        }
        (_, Value::Real(real), _) => FieldType::Float { min: f64::MIN, max: f64::MAX }.write(&Value::Real(*real), out),
        (AggregateFunction::Sum, Value::Text(digits), FieldType::Decimal { scale, .. }) => write_json_text(&scaled(digits, *scale as usize), out),
        (AggregateFunction::Sum, Value::Text(digits), _) if sum_type(ty) == "Int64" => write_json_text(digits, out),
        (_, value, ty) => ty.write(value, out),
    }
}

/// Digits with the decimal point at the scale, without trailing zeros.
fn scaled(digits: &str, scale: usize) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, part) = padded.split_at(padded.len() - scale);
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") }
}

#[cfg(test)]
mod tests {
    use super::scaled;

    #[test]
    fn sums_are_written_with_their_scale() {
        assert_eq!(scaled("1250", 2), "12.50");
        assert_eq!(scaled("-5", 2), "-0.05");
        assert_eq!(scaled("7", 0), "7");
        assert_eq!(scaled("123456789012345678901", 2), "1234567890123456789.01");
    }
}
