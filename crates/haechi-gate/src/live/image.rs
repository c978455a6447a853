//! Images: a row before and after a change, sealed, as they are kept beside the log.

use crate::keys::{MasterKey, Purpose, Sealer};
use arc_swap::ArcSwap;
use haechi_model::{Collection, CollectionId, Column, FieldType, Row, Table, TypeChange, Value};
use std::collections::HashMap;

const VERSION: u8 = 2;

/// A row before and after a change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Image {
    pub(crate) before: Option<Row>,
    pub(crate) after: Option<Row>,
}

/// Seals images, and opens them.
pub(crate) struct Images {
    sealer: Sealer,
    /// Layouts of rows that were sealed under older models, by the hash in their images.
    layouts: ArcSwap<HashMap<u64, Layout>>,
}

/// How to build a row of today's layout from an older one.
#[derive(Clone, Debug, PartialEq)]
struct Layout {
    collection: CollectionId,
    /// How many values a sealed row has.
    columns: usize,
    /// Per column of today, where its value is; columns that came later have none.
    from: Vec<Option<usize>>,
}

impl Images {
    pub(crate) fn new(master: &MasterKey) -> Option<Self> {
        Some(Self { sealer: Sealer::new(master, Purpose::LiveImage)?, layouts: ArcSwap::default() })
    }

    /// Learns the tables' layout after each migration, oldest first, so that older images open. An added, dropped or renamed column does
    /// not keep an image from opening; a column whose values were converted does.
    pub(crate) fn learn(&self, collections: &[Collection], history: &[Vec<Table>]) {
        let mut layouts = HashMap::new();
        for collection in collections {
            let (mut table, mut from) = (&collection.table, (0..collection.table.columns.len()).map(Some).collect::<Vec<_>>());
            for before in history.iter().rev() {
                let was = table.was.as_deref();
                let Some(old) = before.iter().find(|old| old.name == table.name).or_else(|| before.iter().find(|old| Some(old.name.as_str()) == was))
                else {
                    break;
                };
                let old_place = |column: &Column| old.former(column);
                if table.columns.iter().any(|column| old_place(column).is_some_and(|at| !means_the_same(&old.columns[at], column))) {
                    break;
                }
                from = from.iter().map(|at| at.and_then(|at| old_place(&table.columns[at]))).collect();
                layouts.insert(old.layout(), Layout { collection: collection.id, columns: old.columns.len(), from: from.clone() });
                table = old;
            }
        }
        self.layouts.store(layouts.into());
    }

    /// An image is bound to its entry, so images cannot be swapped.
    pub(crate) fn seal(&self, entry: &str, collection: &Collection, before: Option<&Row>, after: Option<&Row>) -> Vec<u8> {
        let mut plain = Vec::with_capacity(512);
        plain.push(VERSION);
        plain.extend_from_slice(&collection.layout.to_be_bytes());
        for row in [before, after] {
            plain.push(u8::from(row.is_some()));
            row.into_iter().flatten().for_each(|value| value.write_canonical(&mut plain));
        }
        self.sealer.seal(&plain, entry.as_bytes())
    }

    /// `None` when it was not sealed for this entry, or values have changed their type since.
    pub(crate) fn open(&self, entry: &str, collection: &Collection, sealed: &[u8]) -> Option<Image> {
        let plain = self.sealer.open(sealed, entry.as_bytes())?;
        let (version, rest) = plain.split_first()?;
        let (sealed_as, mut rest) = rest.split_first_chunk::<8>()?;
        if *version != VERSION {
            return None;
        }
        let sealed_as = u64::from_be_bytes(*sealed_as);
        let layouts = self.layouts.load();
        let known = layouts.get(&sealed_as).filter(|known| known.collection == collection.id);
        let columns = match known {
            _ if sealed_as == collection.layout => collection.table.columns.len(),
            Some(known) => known.columns,
            None => return None,
        };
        let (before, after) = (row(&mut rest, columns)?, row(&mut rest, columns)?);
        let laid_out = |row: Option<Row>| match known {
            Some(known) if sealed_as != collection.layout => row.map(|row| known.row_of_today(collection, &row)),
            _ => row,
        };
        rest.is_empty().then(|| Image { before: laid_out(before), after: laid_out(after) })
    }
}

impl Layout {
    fn row_of_today(&self, collection: &Collection, sealed: &Row) -> Row {
        let mut row: Row = Row::with_capacity(self.from.len());
        for (column, from) in collection.table.columns.iter().zip(&self.from) {
            let found = from.and_then(|at| sealed.get(at).cloned());
            let filled = match found {
                Some(value) if !value.is_null() || column.nullable => value,
                _ => column.default.clone().unwrap_or(Value::Null),
            };
            row.push(filled);
        }
        // The compared form of a value that was stored without one then, or by other places of its words.
        for (at, field) in collection.fields.iter().enumerate() {
            let moves = matches!(field.ty, FieldType::Enum { .. });
            if let Some(shadow) = field.shadow.filter(|shadow| moves || self.from[*shadow].is_none()) {
                row[shadow] = field.ty.folded(row[at].clone());
            }
        }
        row
    }
}

/// Whether a value of the old column means the same in the new one.
fn means_the_same(old: &Column, new: &Column) -> bool {
    match (&old.declared, &new.declared) {
        (Some(was), Some(is)) => matches!(was.change(is, false), TypeChange::Wider | TypeChange::Narrower),
        _ => old.storage == new.storage,
    }
}

fn row(rest: &mut &[u8], columns: usize) -> Option<Option<Row>> {
    let (there, left) = rest.split_first()?;
    *rest = left;
    if *there == 0 {
        return Some(None);
    }
    let mut row = Row::with_capacity(columns);
    for _ in 0..columns {
        row.push(Value::read_canonical(rest)?);
    }
    Some(Some(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_open_for_their_entry_and_columns_alone() {
        let root = std::env::temp_dir().join(format!("haechi-image-{}", std::process::id()));
        std::fs::create_dir_all(root.join("collections")).unwrap();
        std::fs::write(root.join("haechi.toml"), "").unwrap();
        let load = |fields: &str| {
            std::fs::write(root.join("collections/notes.toml"), fields).unwrap();
            haechi_model::App::load(&root, &[]).unwrap().0
        };
        let app = load("[fields]\ntitle = { type = \"text\" }\nratio = { type = \"float\" }\n");
        let notes = app.collection("notes").unwrap();
        let images = Images::new(&MasterKey::from_hex(&MasterKey::generate_hex()).unwrap()).unwrap();
        let mut before: Row = vec![Value::text("id"), Value::Int(1), Value::Int(-2), Value::Int(3), Value::text("é"), Value::Real(0.5)];
        before.resize(notes.table.columns.len(), Value::Null);
        let sealed = images.seal("e1", notes, Some(&before), None);
        assert!(!sealed.windows(2).any(|part| part == "é".as_bytes()), "sealed");
        assert_eq!(images.open("e1", notes, &sealed), Some(Image { before: Some(before.clone()), after: None }));
        assert_eq!(images.open("e2", notes, &sealed), None);
        let wider = load("[fields]\ntitle = { type = \"text\" }\nratio = { type = \"float\" }\nmore = { type = \"int\" }\n");
        assert_eq!(images.open("e1", wider.collection("notes").unwrap(), &sealed), None);
        std::fs::remove_dir_all(root).unwrap();
    }
}
