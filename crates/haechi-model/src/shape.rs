//! The byte forms of a row: as in REST, as an object with the parts of a query, or as a protobuf message.

use crate::{
    collection::Collection,
    field::FieldType,
    json::write_json_text,
    message::{MASKED_FIELDS, write_field, write_text},
    output::{Cells, Output},
    value::{Storage, Value},
};
use std::sync::Arc;

/// How a row is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Shape {
    /// A JSON object of the outputs that are shown, by name, and `_masked` with the names of the others.
    #[default]
    Record,
    /// A JSON object of these parts, in this order; hidden values are null.
    Object(Arc<[Part]>),
    /// A protobuf message with a field for each output, by these numbers.
    Message(Arc<[u32]>),
}

/// A part of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The key, as JSON with its colon.
    pub key: Box<str>,
    /// The value.
    pub content: Content,
}

/// The value of a part.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// An output, by its place among the outputs.
    Output(usize),
    /// The names of the outputs that this row does not show.
    Masked,
    /// This JSON.
    Literal(Box<str>),
    /// Empty: its place is recorded, and the caller fills it in.
    Hole,
}

/// Writes rows of one select.
pub struct RowForm<'a> {
    collection: &'a Collection,
    outputs: &'a [Output],
    shape: &'a Shape,
    /// `,"name":` per output, ready to copy; only for records.
    keys: Vec<Vec<u8>>,
}

/// The destination of written rows.
#[derive(Default)]
pub struct Written {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Where in the bytes each hole is.
    pub holes: Vec<usize>,
    /// Bit *n* is set when a row showed output *n*.
    pub shown: u64,
}

impl<'a> RowForm<'a> {
    /// Rows of a collection with these outputs in this shape.
    #[must_use]
    pub fn new(collection: &'a Collection, outputs: &'a [Output], shape: &'a Shape) -> Self {
        let key = |output: &Output| {
            // Names of fields are plain ASCII: nothing to escape.
            let name = &collection.fields[output.field].name;
            let mut key = Vec::with_capacity(name.len() + 4);
            key.extend_from_slice(b",\"");
            key.extend_from_slice(name.as_bytes());
            key.extend_from_slice(b"\":");
            key
        };
        let keys = if *shape == Shape::Record { outputs.iter().map(key).collect() } else { Vec::new() };
        Self { collection, outputs, shape, keys }
    }

    /// Writes a row. `cell`: where an output's cell is, when this row shows it.
    pub fn write(&self, cells: &(impl Cells + ?Sized), cell: impl Fn(usize) -> Option<usize>, to: &mut Written) {
        match self.shape {
            Shape::Record => self.record(cells, cell, to),
            Shape::Object(parts) => self.object(cells, cell, parts, to),
            Shape::Message(numbers) => self.message(cells, cell, numbers, to),
        }
    }

    fn ty(&self, output: usize) -> &FieldType {
        &self.collection.fields[self.outputs[output].field].ty
    }

    fn record(&self, cells: &(impl Cells + ?Sized), cell: impl Fn(usize) -> Option<usize>, to: &mut Written) {
        to.bytes.push(b'{');
        let start = to.bytes.len();
        let mut whole = true;
        for output in 0..self.outputs.len() {
            let Some(at) = cell(output) else {
                whole = false;
                continue;
            };
            // Each key starts with its comma; the first one's is left out.
            let key = &self.keys[output];
            to.bytes.extend_from_slice(if to.bytes.len() == start { &key[1..] } else { key });
            write_cell(self.ty(output), cells, at, &mut to.bytes);
            to.shown |= 1 << output;
        }
        if !whole {
            to.bytes.extend_from_slice(if to.bytes.len() == start { b"\"_masked\":" } else { b",\"_masked\":" });
            self.masked(cell, &mut to.bytes);
        }
        to.bytes.push(b'}');
    }

    /// The names of the outputs that the row does not show.
    fn masked(&self, cell: impl Fn(usize) -> Option<usize>, out: &mut Vec<u8>) {
        out.push(b'[');
        let mut first = true;
        for output in (0..self.outputs.len()).filter(|output| cell(*output).is_none()) {
            if !first {
                out.push(b',');
            }
            first = false;
            write_json_text(&self.collection.fields[self.outputs[output].field].name, out);
        }
        out.push(b']');
    }

    fn object(&self, cells: &(impl Cells + ?Sized), cell: impl Fn(usize) -> Option<usize>, parts: &[Part], to: &mut Written) {
        to.bytes.push(b'{');
        for (place, part) in parts.iter().enumerate() {
            if place > 0 {
                to.bytes.push(b',');
            }
            to.bytes.extend_from_slice(part.key.as_bytes());
            match &part.content {
                Content::Output(output) => match cell(*output) {
                    Some(at) => {
                        write_cell(self.ty(*output), cells, at, &mut to.bytes);
                        to.shown |= 1 << output;
                    }
                    None => to.bytes.extend_from_slice(b"null"),
                },
                Content::Masked => self.masked(&cell, &mut to.bytes),
                Content::Literal(text) => to.bytes.extend_from_slice(text.as_bytes()),
                Content::Hole => to.holes.push(to.bytes.len()),
            }
        }
        to.bytes.push(b'}');
    }

    fn message(&self, cells: &(impl Cells + ?Sized), cell: impl Fn(usize) -> Option<usize>, numbers: &[u32], to: &mut Written) {
        for (output, number) in numbers.iter().enumerate() {
            match cell(output) {
                Some(at) => {
                    write_field(self.ty(output), *number, cells, at, &mut to.bytes);
                    to.shown |= 1 << output;
                }
                None => write_text(MASKED_FIELDS, &self.collection.fields[self.outputs[output].field].name, &mut to.bytes),
            }
        }
    }
}

fn write_cell(ty: &FieldType, cells: &(impl Cells + ?Sized), at: usize, out: &mut Vec<u8>) {
    let written = match ty.storage() {
        Storage::Int => cells.int(at).map(|int| ty.write_int(int, out)),
        Storage::Real => cells.real(at).map(|real| ty.write(&Value::Real(real), out)),
        _ => cells.text(at).map(|text| ty.write_text(text, out)),
    };
    if written.is_none() {
        out.extend_from_slice(b"null");
    }
}
