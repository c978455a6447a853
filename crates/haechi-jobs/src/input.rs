//! The input of a job: sealed while it waits, read anew when it runs.

use crate::Inner;
use base64::{Engine, engine::general_purpose::STANDARD};
use haechi_model::{FieldId, Job, Json, Value, parse_json, write_json_text};

/// Longest input, result or progress of a job, in bytes of JSON.
pub(crate) const MAX_BYTES: usize = 64 << 10;

/// The input of a job that runs.
pub(crate) type Input = Vec<(FieldId, Value)>;

/// The input as JSON, by the names of the fields.
pub(crate) fn to_json(job: &Job, input: &[(FieldId, Value)]) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (at, (field, value)) in input.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let field = &job.input.fields[*field];
        write_json_text(&field.name, &mut out);
        out.push(b':');
        if value.is_null() {
            out.extend_from_slice(b"null");
        } else {
            field.ty.write(value, &mut out);
        }
    }
    out.push(b'}');
    out
}

/// Reads an input as the folder declares it now; `None` when it does not fit any more.
pub(crate) fn from_json(job: &Job, bytes: &[u8]) -> Option<Input> {
    let Json::Object(members) = parse_json(bytes).ok()? else { return None };
    let mut input = Input::new();
    for (name, json) in &members {
        let field = job.input.field(name).filter(|at| !job.input.fields[*at].read_only)?;
        input.push((field, job.input.fields[field].read(json).ok()?));
    }
    let there = |at: usize| input.iter().any(|(field, value)| *field == at && !value.is_null());
    job.input.declared().all(|(at, field)| !field.required || there(at)).then_some(input)
}

impl Inner {
    /// Seals a text for a job, so that it opens for that job alone.
    pub(crate) fn seal(&self, id: &str, what: &str, plain: &[u8]) -> String {
        STANDARD.encode(self.sealer.seal(plain, format!("{what}\0{id}").as_bytes()))
    }

    /// Opens what was sealed for a job.
    pub(crate) fn open(&self, id: &str, what: &str, sealed: &str) -> Option<Vec<u8>> {
        self.sealer.open(&STANDARD.decode(sealed).ok()?, format!("{what}\0{id}").as_bytes())
    }

    /// The name of a key in the table: it does not tell the value.
    pub(crate) fn key_of(&self, job: &Job, input: &[(FieldId, Value)]) -> Option<Box<str>> {
        let field = job.key?;
        let (_, value) = input.iter().find(|(at, value)| *at == field && !value.is_null())?;
        let mut canonical = Vec::new();
        value.write_canonical(&mut canonical);
        Some(self.keys.hex(&[job.name.as_bytes(), b"\0", &canonical].concat()).into())
    }
}
