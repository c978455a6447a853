//! Images: a row before and after a change, sealed, as they are kept beside the log.

use crate::keys::{MasterKey, Sealer};
use haechi_model::{Collection, Row, Value};

const VERSION: u8 = 1;

/// A row before and after a change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Image {
    pub(crate) before: Option<Row>,
    pub(crate) after: Option<Row>,
}

/// Seals images, and opens them.
pub(crate) struct Images(Sealer);

impl Images {
    pub(crate) fn new(master: &MasterKey) -> Option<Self> {
        Sealer::new(master, "live image").map(Self)
    }

    /// Bound to the entry that they belong to: images cannot change places.
    pub(crate) fn seal(&self, entry: &str, collection: &Collection, before: Option<&Row>, after: Option<&Row>) -> Vec<u8> {
        let mut plain = Vec::with_capacity(512);
        plain.push(VERSION);
        plain.extend_from_slice(&layout(collection).to_be_bytes());
        for row in [before, after] {
            plain.push(u8::from(row.is_some()));
            row.into_iter().flatten().for_each(|value| value.write_canonical(&mut plain));
        }
        self.0.seal(&plain, entry.as_bytes())
    }

    /// `None` when it was not sealed for this entry, or the collection had other columns then.
    pub(crate) fn open(&self, entry: &str, collection: &Collection, sealed: &[u8]) -> Option<Image> {
        let plain = self.0.open(sealed, entry.as_bytes())?;
        let (version, rest) = plain.split_first()?;
        let (columns, rest) = rest.split_first_chunk::<8>()?;
        if *version != VERSION || u64::from_be_bytes(*columns) != layout(collection) {
            return None;
        }
        let mut rest = rest;
        let image = Image { before: row(&mut rest, collection)?, after: row(&mut rest, collection)? };
        rest.is_empty().then_some(image)
    }
}

/// Tells the columns of a collection from other columns.
fn layout(collection: &Collection) -> u64 {
    let names = std::iter::once(collection.name.as_str()).chain(collection.table.columns.iter().map(|column| column.name.as_str()));
    names
        .flat_map(|name| name.bytes().chain([0]))
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn row(rest: &mut &[u8], collection: &Collection) -> Option<Option<Row>> {
    let (there, left) = rest.split_first()?;
    *rest = left;
    if *there == 0 {
        return Some(None);
    }
    let mut row = Row::with_capacity(collection.table.columns.len());
    for _ in &collection.table.columns {
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
