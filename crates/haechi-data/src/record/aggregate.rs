//! Counts, sums, extremes and means of the records that the caller may read, all of them or by the values of up to two fields.

use super::{
    actions,
    error::RecordError,
    query::{QueryInput, equality, names},
};
use haechi_gate::{AggregateQuery, Ask};
use haechi_model::filter::read_filter_through;
use haechi_model::{AggregateFunction, App, Collection, CollectionId, FieldId, FieldType, Predicate, Value, write_json_text};

/// Most fields whose values make groups.
pub const MAX_GROUP_BY: usize = 2;
/// Most groups of a reply.
const MAX_GROUPS: u32 = 1_000;
/// Most fields of one function.
const MAX_FIELDS: usize = 16;
/// The parameters, and what they compute.
const FUNCTIONS: [(&str, AggregateFunction); 4] =
    [("sum", AggregateFunction::Sum), ("avg", AggregateFunction::Average), ("min", AggregateFunction::Min), ("max", AggregateFunction::Max)];

/// What is asked: per function its fields.
pub struct Question {
    filter: Predicate,
    /// The fields whose values make groups.
    pub group_by: Vec<FieldId>,
    /// Each function with its parameter and its fields.
    pub wanted: Vec<(&'static str, AggregateFunction, Vec<FieldId>)>,
}

/// What a question asks, and the answer: for each group the values of the fields that make it, the count, and the results in their order.
///
/// # Errors
/// When policy says no, the question is not well formed, or there are more groups than a reply has.
pub async fn answer(ask: &Ask, collection: CollectionId, input: &QueryInput) -> Result<(Question, Vec<Vec<Value>>), RecordError> {
    let declared = &ask.app().collections[collection];
    let me = (!ask.caller().is_anonymous()).then(|| ask.caller().id());
    let question = resolve(input, ask.app(), declared, me)?;
    let count = (AggregateFunction::Count, None);
    let fields = question.wanted.iter().flat_map(|(_, function, fields)| fields.iter().map(|field| (*function, Some(*field))));
    let parts = std::iter::once(count).chain(fields).collect();
    let groups = groups(ask, collection, question.filter.clone(), question.group_by.clone(), parts).await?;
    Ok((question, groups))
}

/// The results as JSON: `{"groups": [{"key": {…}, "count": …, "sum": {…}}]}`.
///
/// # Errors
/// When policy says no, the question is not well formed, or there are more groups than a reply has.
pub(crate) async fn aggregate(ask: &Ask, collection: CollectionId, input: &QueryInput) -> Result<Vec<u8>, RecordError> {
    let declared = &ask.app().collections[collection];
    let (question, groups) = answer(ask, collection, input).await?;
    let mut out = b"{\"groups\":[".to_vec();
    for (at, values) in groups.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        group(declared, &question, values, &mut out);
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

/// The results of parts for each group of records: first the values of the fields that make groups. Without such fields all are one group.
///
/// # Errors
/// As for [`actions::aggregate`], or when there are more groups than a reply has.
pub async fn groups(
    ask: &Ask,
    collection: CollectionId,
    filter: Predicate,
    group_by: Vec<FieldId>,
    parts: Vec<(AggregateFunction, Option<FieldId>)>,
) -> Result<Vec<Vec<Value>>, RecordError> {
    let found = actions::aggregate(ask, collection, AggregateQuery { filter, parts, group_by, limit: MAX_GROUPS + 1 }).await?;
    if found.len() > MAX_GROUPS as usize { Err(RecordError::TooManyGroups) } else { Ok(found) }
}

fn group(declared: &Collection, question: &Question, values: &[Value], out: &mut Vec<u8>) {
    let mut values = values.iter();
    let mut next = || values.next().unwrap_or(&Value::Null);
    out.extend_from_slice(b"{\"key\":{");
    for (at, field) in question.group_by.iter().enumerate() {
        key(declared, *field, at, out);
        declared.fields[*field].ty.write(next(), out);
    }
    out.extend_from_slice(b"},\"count\":");
    out.extend_from_slice(next().as_int().unwrap_or_default().to_string().as_bytes());
    for (name, function, fields) in &question.wanted {
        out.extend_from_slice(format!(",\"{name}\":{{").as_bytes());
        for (at, field) in fields.iter().enumerate() {
            key(declared, *field, at, out);
            write_result(&declared.fields[*field].ty, *function, next(), out);
        }
        out.push(b'}');
    }
    out.push(b'}');
}

fn key(declared: &Collection, field: FieldId, at: usize, out: &mut Vec<u8>) {
    if at > 0 {
        out.push(b',');
    }
    write_json_text(&declared.fields[field].name, out);
    out.push(b':');
}

fn resolve(input: &QueryInput, app: &App, collection: &Collection, me: Option<&str>) -> Result<Question, RecordError> {
    let mut question = Question { filter: Predicate::True, group_by: Vec::new(), wanted: Vec::new() };
    let (mut filters, mut used, mut through) = (Vec::new(), Vec::new(), Vec::new());
    for (name, value) in &input.parameters {
        let refuse = |what| RecordError::Parameter { name: name.clone(), what };
        if name == "filter" {
            let filter = read_filter_through(value, &app.collections, collection, me).map_err(RecordError::Filter)?;
            used.extend(filter.fields);
            through.extend(filter.through);
            filters.push(filter.predicate);
        } else if name == "group_by" {
            question.group_by = names(name, value, collection, &|ty| ty.comparable(), MAX_GROUP_BY)?;
        } else if let Some((name, function)) = FUNCTIONS.iter().find(|(known, _)| known == name) {
            let fits: &dyn Fn(&FieldType) -> bool =
                if matches!(function, AggregateFunction::Sum | AggregateFunction::Average) { &summable } else { &extreme };
            question.wanted.push((name, *function, names(name, value, collection, fits, MAX_FIELDS)?));
        } else if matches!(name.as_str(), "order_by" | "page_size" | "page_token" | "fields" | "expand" | "count") {
            return Err(refuse("has no meaning here: filter, group_by, sum, avg, min and max have"));
        } else {
            let (field, predicate) = equality(name, value, collection, me)?;
            used.push(field);
            filters.push(predicate);
        }
    }
    used.extend(question.group_by.iter().copied());
    used.extend(question.wanted.iter().flat_map(|(_, _, fields)| fields.iter().copied()));
    input.not_personal(app, collection, &used, &through)?;
    question.filter = Predicate::all(filters);
    Ok(question)
}

/// Whether a field can be summed up.
#[must_use]
pub fn summable(ty: &FieldType) -> bool {
    matches!(ty, FieldType::Int { .. } | FieldType::Int64 { .. } | FieldType::Decimal { .. } | FieldType::Float { .. })
}

/// Whether a field has a smallest and a largest value.
#[must_use]
pub fn extreme(ty: &FieldType) -> bool {
    ty.comparable() && !matches!(ty, FieldType::Bool | FieldType::Ref { .. } | FieldType::Uuid)
}

/// Appends a result as JSON. Sums of whole numbers are strings: they are exact, and may be larger than a number that every reader keeps.
pub fn write_result(ty: &FieldType, function: AggregateFunction, value: &Value, out: &mut Vec<u8>) {
    match (function, value, ty) {
        (_, Value::Null, _) => out.extend_from_slice(b"null"),
        (AggregateFunction::Average, Value::Real(mean), FieldType::Decimal { scale, .. }) => {
            FieldType::Float { min: f64::MIN, max: f64::MAX }.write(&Value::Real(mean / 10f64.powi(i32::try_from(*scale).unwrap_or_default())), out);
        }
        (_, Value::Real(real), _) => FieldType::Float { min: f64::MIN, max: f64::MAX }.write(&Value::Real(*real), out),
        (AggregateFunction::Sum, Value::Text(digits), FieldType::Decimal { scale, .. }) => write_json_text(&scaled(digits, *scale as usize), out),
        (AggregateFunction::Sum, Value::Text(digits), _) => write_json_text(digits, out),
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
