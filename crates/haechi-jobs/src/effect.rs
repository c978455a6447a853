//! What a job does to rows, as its folder declares it: through the gate, as the caller as whom it runs.

use crate::{input::Input, queue::Fault};
use haechi_gate::{Ask, Create, Delete, Update, Work, WriteError};
use haechi_model::{Effect, Failure, Field, FieldId, Job, Slot, Value, parse_json};

/// Failures that another attempt does not mend.
pub(crate) const fn never(code: &'static str) -> Fault {
    Fault { code, again: false, wait_ms: None }
}

/// Failures that may be gone at another attempt.
pub(crate) const fn again(code: &'static str) -> Fault {
    Fault { code, again: true, wait_ms: None }
}

pub(crate) const REFUSED: Fault = never("refused");
pub(crate) const BAD_INPUT: Fault = never("bad-input");
pub(crate) const TIMEOUT: Fault = again("timeout");
pub(crate) const PANIC: Fault = again("panic");
pub(crate) const NO_HANDLER: Fault = again("no-handler");
const INVALID: Fault = never("invalid-fields");
const NOT_FOUND: Fault = never("not-found");

/// Adds the steps of a job to a change.
pub(crate) fn add(ask: &Ask, job: &Job, input: &Input, work: &mut Work) -> Result<(), Fault> {
    let wrong = |error: WriteError| fault(&error);
    match &job.effect {
        Effect::Create { collection, data } => {
            let grant = ask.on::<Create>(*collection).map_err(|_| REFUSED)?;
            let mut values = values(ask, job, *collection, data, input)?;
            values.retain(|(_, value)| !value.is_null());
            grant.insert(work, values).map_err(wrong)?;
        }
        Effect::Update { collection, id, data } => {
            let grant = ask.on::<Update>(*collection).map_err(|_| REFUSED)?;
            let id = row_id(id, input)?;
            grant.update(work, &id, values(ask, job, *collection, data, input)?, None).map_err(wrong)?;
        }
        Effect::Delete { collection, id } => {
            let grant = ask.on::<Delete>(*collection).map_err(|_| REFUSED)?;
            grant.delete(work, &row_id(id, input)?, None);
        }
        Effect::Call { .. } | Effect::Handler => {}
    }
    Ok(())
}

fn values(ask: &Ask, job: &Job, collection: usize, data: &[(FieldId, Slot)], input: &Input) -> Result<Vec<(FieldId, Value)>, Fault> {
    let fields = &ask.app().collections[collection].fields;
    data.iter().map(|(at, slot)| Ok((*at, value(ask, job, &fields[*at], slot, input)?))).collect()
}

/// A value for a field. One from the input has the input's type, so it is read again as the field's.
fn value(ask: &Ask, job: &Job, field: &Field, slot: &Slot, input: &Input) -> Result<Value, Fault> {
    let value = match slot {
        Slot::Fixed(value) => value.clone(),
        Slot::Now => Value::Int(ask.now_ms()),
        Slot::Input(at) => match input.iter().find(|(known, _)| known == at) {
            None | Some((_, Value::Null)) => Value::Null,
            Some((_, value)) => {
                let mut json = Vec::new();
                job.input.fields[*at].ty.write(value, &mut json);
                parse_json(&json).ok().and_then(|json| field.read(&json).ok()).ok_or(INVALID)?
            }
        },
    };
    if value.is_null() && field.required { Err(INVALID) } else { Ok(value) }
}

fn row_id(slot: &Slot, input: &Input) -> Result<String, Fault> {
    let value = match slot {
        Slot::Fixed(value) => Some(value),
        Slot::Input(at) => input.iter().find(|(known, _)| known == at).map(|(_, value)| value),
        Slot::Now => None,
    };
    value.and_then(Value::as_text).map(str::to_owned).ok_or(BAD_INPUT)
}

/// Why a change was not made, as a job sees it.
pub(crate) fn fault(error: &WriteError) -> Fault {
    match error {
        WriteError::NotFound => NOT_FOUND,
        WriteError::Forbidden | WriteError::FieldForbidden(_) => REFUSED,
        WriteError::Required(_)
        | WriteError::WriteOnce(_)
        | WriteError::NotInitial(_)
        | WriteError::Check { .. }
        | WriteError::Reference(_)
        | WriteError::Listed { .. } => INVALID,
        WriteError::NotATransition { .. } => never("not-a-transition"),
        WriteError::NotUnique(_) => never("not-unique"),
        WriteError::Referenced(_) => never("referenced"),
        WriteError::TooManyChildren => never("too-many-children"),
        WriteError::VersionMismatch | WriteError::Moved => again("changed-meanwhile"),
        WriteError::KeyReused => never("key-reused"),
        WriteError::Beside(_) => again("lost"),
        WriteError::Store(failure) => again(match failure {
            Failure::Busy | Failure::Contended | Failure::Costly => "busy",
            Failure::Full => "storage-full",
            Failure::Unavailable => "unavailable",
            Failure::Unknown => "unknown-outcome",
            _ => "internal",
        }),
    }
}
