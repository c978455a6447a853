//! Rows of a select straight to JSON bytes: no value in between.

use crate::render::Layout;
use haechi_model::{Collection, FieldType, Mask, RowPage, Select, Value};

/// A row of a driver.
pub(crate) trait Cells {
    fn int(&self, at: usize) -> Option<i64>;
    fn real(&self, at: usize) -> Option<f64>;
    fn text(&self, at: usize) -> Option<&str>;
}

/// Builds a page row by row.
pub(crate) struct PageWriter<'a> {
    select: &'a Select,
    collection: &'a Collection,
    layout: Layout,
    /// `,"name":` per output, ready to copy.
    keys: Vec<Vec<u8>>,
    /// Whether any output may be hidden.
    masks: bool,
    pub(crate) page: RowPage,
    last_order: Vec<Value>,
}

impl<'a> PageWriter<'a> {
    pub(crate) fn new(select: &'a Select, collection: &'a Collection, layout: Layout) -> Self {
        let keys = select.outputs.iter().map(|output| {
            // Names of fields are plain ASCII: nothing to escape.
            let name = &collection.fields[output.field].name;
            let mut key = Vec::with_capacity(name.len() + 4);
            key.extend_from_slice(b",\"");
            key.extend_from_slice(name.as_bytes());
            key.extend_from_slice(b"\":");
            key
        });
        let bytes = Vec::with_capacity(if select.limit > 1 { 8192 } else { 512 });
        Self {
            keys: keys.collect(),
            masks: select.outputs.iter().any(|output| output.mask != Mask::Shown),
            select,
            collection,
            layout,
            page: RowPage { bytes, ..RowPage::default() },
            last_order: Vec::new(),
        }
    }

    /// Adds a row; `false` when the page is full and the row only says that there are more.
    pub(crate) fn row(&mut self, cells: &impl Cells) -> bool {
        if self.page.ids.len() == self.select.limit as usize {
            self.page.next = Some(std::mem::take(&mut self.last_order));
            return false;
        }
        if !self.page.ids.is_empty() {
            self.page.bytes.push(b',');
        }
        self.page.ids.push(cells.text(0).unwrap_or_default().into());
        self.page.versions.push(cells.int(1).unwrap_or_default());
        self.object(cells);
        self.page.ends.push(self.page.bytes.len());
        if self.page.ids.len() == self.select.limit as usize {
            self.last_order = (0..self.select.order.len()).map(|at| self.order_value(cells, at)).collect();
        }
        if !self.select.follow.is_empty() {
            let followed: Vec<Option<Box<str>>> = (0..self.select.follow.len()).map(|at| self.followed(cells, at)).collect();
            self.page.followed.push(followed);
        }
        true
    }

    /// The id in a reference that is followed: only where the row shows it.
    fn followed(&self, cells: &impl Cells, at: usize) -> Option<Box<str>> {
        let output = self.select.outputs.iter().position(|output| output.field == self.select.follow[at])?;
        if !self.shows(cells, output) {
            return None;
        }
        cells.text(self.layout.follow[at]).map(Into::into)
    }

    fn shows(&self, cells: &impl Cells, output: usize) -> bool {
        match (&self.select.outputs[output].mask, self.layout.flags[output]) {
            (Mask::Shown, _) => true,
            (Mask::When(_), Some(flag)) => cells.int(flag) == Some(1),
            _ => false,
        }
    }

    fn object(&mut self, cells: &impl Cells) {
        let mut out = std::mem::take(&mut self.page.bytes);
        out.push(b'{');
        let start = out.len();
        for (at, output) in self.select.outputs.iter().enumerate() {
            let Some(cell) = self.layout.cells[at].filter(|_| self.shows(cells, at)) else { continue };
            // Each key starts with its comma; the first one's is left out.
            let key = &self.keys[at];
            out.extend_from_slice(if out.len() == start { &key[1..] } else { key });
            write_cell(&self.collection.fields[output.field].ty, cells, cell, &mut out);
            self.page.shown |= 1 << at;
        }
        if self.masks {
            self.masked(cells, start, &mut out);
        }
        out.push(b'}');
        self.page.bytes = out;
    }

    /// The names of the fields that this row does not show.
    fn masked(&self, cells: &impl Cells, start: usize, out: &mut Vec<u8>) {
        let mut first = true;
        for at in (0..self.select.outputs.len()).filter(|at| !self.shows(cells, *at)) {
            let opening: &[u8] = match (first, out.len() == start) {
                (true, true) => b"\"_masked\":[\"",
                (true, false) => b",\"_masked\":[\"",
                (false, _) => b",\"",
            };
            first = false;
            out.extend_from_slice(opening);
            out.extend_from_slice(self.collection.fields[self.select.outputs[at].field].name.as_bytes());
            out.push(b'"');
        }
        if !first {
            out.push(b']');
        }
    }

    fn order_value(&self, cells: &impl Cells, at: usize) -> Value {
        let cell = self.layout.order[at];
        let column = &self.collection.table.columns[self.select.order[at].column];
        match column.storage {
            haechi_model::Storage::Int => cells.int(cell).map_or(Value::Null, Value::Int),
            haechi_model::Storage::Real => cells.real(cell).map_or(Value::Null, Value::Real),
            _ => cells.text(cell).map_or(Value::Null, Value::text),
        }
    }
}

fn write_cell(ty: &FieldType, cells: &impl Cells, at: usize, out: &mut Vec<u8>) {
    let written = match ty.storage() {
        haechi_model::Storage::Int => cells.int(at).map(|int| ty.write_int(int, out)),
        haechi_model::Storage::Real => cells.real(at).map(|real| ty.write(&Value::Real(real), out)),
        _ => cells.text(at).map(|text| ty.write_text(text, out)),
    };
    if written.is_none() {
        out.extend_from_slice(b"null");
    }
}
