//! The table of a collection: its columns, their compared forms, its indexes and references.

use crate::{
    collection::{Collection, ListTable},
    declared::Declared,
    field::{DefaultValue, FieldType, INDEX_BYTES},
    positions::FieldId,
    table::{Column, Index, ORGANISATION, Reference, Table, hidden_name, index_name},
    value::{Storage, Value},
};

/// An index as the folder declares it.
pub(crate) struct WantedIndex {
    pub(crate) fields: Vec<FieldId>,
    pub(crate) unique: bool,
}

/// Lays out the table of a collection whose fields are read; `names` are those of all collections.
pub(crate) fn lay_out(collection: &mut Collection, wanted: &[WantedIndex], names: &[String]) {
    let fixed = |default: &Option<DefaultValue>| match default {
        Some(DefaultValue::Fixed(value)) => Some(value.clone()),
        _ => None,
    };
    let mut columns: Vec<Column> = collection
        .fields
        .iter()
        .map(|field| Column {
            name: field.name.clone(),
            storage: field.ty.storage(),
            nullable: !field.required,
            default: fixed(&field.default),
            was: field.was.clone(),
            declared: Some(Declared::of(&field.ty, names)),
            by: field.by.clone(),
        })
        .collect();
    let organisation = columns.len();
    columns.push(Column { default: Some(Value::text("")), ..Column::required(ORGANISATION, Storage::Text) });
    for field in &mut collection.fields {
        if let Some(storage) = field.ty.shadow() {
            field.shadow = Some(columns.len());
            let default = fixed(&field.default).map(|value| field.ty.folded(value));
            columns.push(Column {
                name: format!("_fold_{}", field.name),
                storage,
                nullable: !field.required,
                default,
                was: field.was.as_ref().map(|was| format!("_fold_{was}")),
                declared: None,
                by: None,
            });
        }
    }
    let column_of = |field: FieldId| collection.fields[field].shadow.unwrap_or(field);
    let mut indexes = Vec::new();
    for (at, field) in collection.fields.iter().enumerate().skip(1) {
        if field.unique {
            indexes.push(Index {
                name: index_name(&collection.name, &[&field.name], "key"),
                columns: vec![organisation, column_of(at)],
                unique: true,
            });
        }
    }
    for wanted in wanted {
        let name: Vec<&str> = wanted.fields.iter().map(|field| collection.fields[*field].name.as_str()).collect();
        let suffix = if wanted.unique { "key" } else { "idx" };
        let mut columns: Vec<usize> = wanted.fields.iter().map(|field| column_of(*field)).collect();
        if wanted.unique {
            columns.insert(0, organisation);
        }
        indexes.push(Index { name: index_name(&collection.name, &name, suffix), columns, unique: wanted.unique });
    }
    let mut references = Vec::new();
    for (at, field) in collection.fields.iter().enumerate() {
        if let FieldType::Ref { to, .. } = field.ty {
            references.push(Reference { column: at, table: names.get(to).cloned().unwrap_or_default(), cascades: false });
            let led = indexes.iter().any(|index| index.columns.first() == Some(&at));
            if !led {
                indexes.push(Index { name: index_name(&collection.name, &[&field.name], "ref"), columns: vec![at], unique: false });
            }
        }
    }
    bound_texts(collection, &indexes);
    collection.table =
        Table { name: collection.name.clone(), was: collection.was.clone(), columns, key: 1, indexes, references, checks: Vec::new(), lists: None };
    collection.layout = collection.table.layout();
    let lists = collection.fields.iter().enumerate().filter_map(|(at, field)| Some((at, field.ty.lists()?.0)));
    collection.lists = lists.map(|(field, to)| ListTable { field, to, table: list_table(collection, field, names.get(to)) }).collect();
}

/// The hidden table of a list of references: a row for each, so that the database keeps and finds them.
fn list_table(collection: &Collection, field: FieldId, to: Option<&String>) -> Table {
    let (own, field) = (&collection.name, &collection.fields[field]);
    let name = hidden_name(&format!("_{own}__{}", field.name), "list");
    Table {
        was: None,
        columns: vec![Column::required("row", Storage::Text), Column::required("target", Storage::Text)],
        key: 2,
        indexes: vec![Index { name: hidden_name(&format!("{name}__target__idx"), "target"), columns: vec![1, 0], unique: false }],
        references: vec![
            Reference { column: 0, table: own.clone(), cascades: true },
            Reference { column: 1, table: to.cloned().unwrap_or_default(), cascades: false },
        ],
        checks: Vec::new(),
        lists: Some(field.name.clone()),
        name,
    }
}

/// Whether a text of this type may be longer than what an index holds.
fn is_long(ty: &FieldType) -> bool {
    matches!(ty, FieldType::Text { .. } | FieldType::Email | FieldType::Url)
}

/// Indexed texts are at most as long as their indexes can hold.
fn bound_texts(collection: &mut Collection, indexes: &[Index]) {
    for index in indexes {
        let Some(most) = index_bytes(collection, index) else { continue };
        for (at, field) in collection.fields.iter_mut().enumerate().filter(|(_, field)| is_long(&field.ty)) {
            if index.columns.contains(&field.shadow.unwrap_or(at)) {
                field.index_bytes = Some(field.index_bytes.map_or(most, |before| before.min(most)));
            }
        }
    }
}

/// Most bytes of each long text in an index; `None` when there is none in it.
fn index_bytes(collection: &Collection, index: &Index) -> Option<usize> {
    /// What PostgreSQL takes besides the texts, and the most of a column that is no long text.
    const ROOM: usize = INDEX_BYTES + 90;
    const SHORT: usize = 40;
    let shadow = |at: usize| collection.fields.iter().any(|field| field.shadow == Some(at) && is_long(&field.ty));
    let long = |at: &usize| collection.fields.get(*at).map_or_else(|| shadow(*at), |field| is_long(&field.ty));
    let texts = index.columns.iter().filter(|at| long(at)).count();
    let room = INDEX_BYTES.min(ROOM.saturating_sub((index.columns.len() - texts) * SHORT));
    room.checked_div(texts)
}
