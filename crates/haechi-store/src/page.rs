//! Writes rows of a select directly as bytes, without values in between.

use crate::render::Layout;
use haechi_model::{Cells, Collection, Mask, RowForm, RowPage, Select, Storage, Value, Written};
use std::collections::HashMap;

/// Builds a page row by row.
pub(crate) struct PageWriter<'a> {
    select: &'a Select,
    most: usize,
    collection: &'a Collection,
    layout: Layout,
    form: RowForm<'a>,
    /// Whether rows stand between commas.
    commas: bool,
    written: Written,
    page: RowPage,
    /// For pages of parents: the number of each, and how many rows the present one has.
    parents: HashMap<&'a str, usize>,
    of_parent: u32,
    last_order: Vec<Value>,
}

impl<'a> PageWriter<'a> {
    /// A writer whose page ends with the row that reaches `most` bytes.
    pub(crate) fn new(select: &'a Select, most: usize, collection: &'a Collection, layout: Layout) -> Self {
        let bytes = Vec::with_capacity(if select.limit > 1 { 8192 } else { 512 });
        let ids = select.per.iter().flat_map(|per| per.ids.iter().enumerate());
        Self {
            parents: ids.map(|(at, id)| (&**id, at)).collect(),
            form: RowForm::new(collection, &select.outputs, &select.shape),
            commas: !matches!(select.shape, haechi_model::Shape::Message(_)),
            written: Written { bytes, ..Written::default() },
            page: RowPage { more: vec![false; select.per.as_ref().map_or(0, |per| per.ids.len())], ..RowPage::default() },
            select,
            most,
            collection,
            layout,
            of_parent: 0,
            last_order: Vec::new(),
        }
    }

    /// Adds a row; `false` when the page is full and the row only shows that there are more.
    pub(crate) fn row(&mut self, cells: &impl Cells) -> bool {
        if let Some(parent) = self.layout.parent {
            return self.row_of_parent(cells, parent);
        }
        if self.is_full() {
            self.page.cut = self.page.ids.len() < self.select.limit as usize;
            self.page.next = Some(std::mem::take(&mut self.last_order));
            return false;
        }
        self.add(cells);
        if self.is_full() {
            self.last_order = self.place(cells);
        }
        true
    }

    /// A page always has at least one whole row.
    fn is_full(&self) -> bool {
        self.page.ids.len() == self.select.limit as usize || self.written.bytes.len() >= self.most && !self.page.ids.is_empty()
    }

    /// Rows of a parent come together; the row beyond its page only shows that there are more.
    fn row_of_parent(&mut self, cells: &impl Cells, column: usize) -> bool {
        let Some(parent) = cells.text(column).and_then(|id| self.parents.get(id)).copied() else { return true };
        self.of_parent = if self.page.parents.last() == Some(&parent) { self.of_parent + 1 } else { 1 };
        if self.written.bytes.len() >= self.most {
            self.page.cut = true;
            return false;
        }
        if self.of_parent > self.select.limit {
            self.page.more[parent] = true;
            return true;
        }
        self.page.parents.push(parent);
        self.add(cells);
        true
    }

    fn add(&mut self, cells: &impl Cells) {
        if self.commas && !self.page.ids.is_empty() {
            self.written.bytes.push(b',');
        }
        self.page.ids.push(cells.text(0).unwrap_or_default().into());
        self.page.versions.push(cells.int(1).unwrap_or_default());
        let (select, layout) = (self.select, &self.layout);
        self.form.write(cells, |output| layout.cells[output].filter(|_| shows(select, layout, cells, output)), &mut self.written);
        self.page.ends.push(self.written.bytes.len());
        if self.select.places {
            let place = self.place(cells);
            self.page.places.push(place);
        }
        if !self.select.follow.is_empty() {
            let followed: Vec<Option<Box<str>>> = (0..self.select.follow.len()).map(|at| self.followed(cells, at)).collect();
            self.page.followed.push(followed);
            // An expanded reference counts as shown, also where the reply leaves its id out.
            for (output, _) in self.select.outputs.iter().enumerate().filter(|(_, output)| self.select.follow.contains(&output.field)) {
                if self.layout.cells[output].is_some_and(|cell| shows(self.select, &self.layout, cells, output) && cells.text(cell).is_some()) {
                    self.written.shown |= 1 << output;
                }
            }
        }
    }

    /// The page, finished.
    pub(crate) fn finish(self) -> RowPage {
        RowPage { bytes: self.written.bytes, holes: self.written.holes, shown: self.written.shown, ..self.page }
    }

    /// The id in a followed reference, only where the row shows it.
    fn followed(&self, cells: &impl Cells, at: usize) -> Option<Box<str>> {
        let output = self.select.outputs.iter().position(|output| output.field == self.select.follow[at])?;
        if !shows(self.select, &self.layout, cells, output) {
            return None;
        }
        cells.text(self.layout.follow[at]).map(Into::into)
    }

    /// The order's values of a row.
    fn place(&self, cells: &impl Cells) -> Vec<Value> {
        let value = |at: usize| {
            let cell = self.layout.order[at];
            match self.collection.table.columns[self.select.order[at].column].storage {
                Storage::Int => cells.int(cell).map_or(Value::Null, Value::Int),
                Storage::Real => cells.real(cell).map_or(Value::Null, Value::Real),
                _ => cells.text(cell).map_or(Value::Null, Value::text),
            }
        };
        (0..self.select.order.len()).map(value).collect()
    }
}

fn shows(select: &Select, layout: &Layout, cells: &impl Cells, output: usize) -> bool {
    match (&select.outputs[output].mask, layout.flags[output]) {
        (Mask::Shown, _) => true,
        (Mask::When(_), Some(flag)) => cells.int(flag) == Some(1),
        _ => false,
    }
}
