//! Rows to files.

use super::Format;
use haechi_model::{Collection, FieldId, FieldType, Row, Value, write_json_text};

/// The header of an export.
#[must_use]
pub fn write_header(collection: &Collection, format: Format) -> Vec<u8> {
    match format {
        Format::Csv => {
            let names: Vec<&str> = exported(collection).map(|field| collection.fields[field].name.as_str()).collect();
            format!("{}\r\n", names.join(",")).into_bytes()
        }
        Format::Json => b"[".to_vec(),
        Format::JsonLines => Vec::new(),
    }
}

/// The end of an export.
#[must_use]
pub fn write_footer(format: Format) -> &'static [u8] {
    if format == Format::Json { b"\n]\n" } else { b"" }
}

/// Appends rows.
pub fn write_rows(collection: &Collection, format: Format, rows: &[Row], first: bool, out: &mut Vec<u8>) {
    for (at, row) in rows.iter().enumerate() {
        match format {
            Format::Csv => write_csv(collection, row, out),
            Format::Json | Format::JsonLines => {
                if format == Format::Json {
                    out.extend_from_slice(if first && at == 0 { b"\n" } else { b",\n" });
                }
                write_object(collection, row, out);
                if format == Format::JsonLines {
                    out.push(b'\n');
                }
            }
        }
    }
}

fn exported(collection: &Collection) -> impl Iterator<Item = FieldId> {
    std::iter::once(Collection::ID).chain(Collection::FIRST_DECLARED..collection.fields.len())
}

fn write_object(collection: &Collection, row: &Row, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut first = true;
    for field in exported(collection).filter(|field| !row[*field].is_null()) {
        if !first {
            out.push(b',');
        }
        first = false;
        write_json_text(&collection.fields[field].name, out);
        out.push(b':');
        collection.fields[field].ty.write(&row[field], out);
    }
    out.push(b'}');
}

fn write_csv(collection: &Collection, row: &Row, out: &mut Vec<u8>) {
    for (at, field) in exported(collection).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let ty = &collection.fields[field].ty;
        let cell = match (&row[field], ty) {
            (Value::Null, _) => continue,
            (Value::Text(text), FieldType::Text { .. } | FieldType::Enum { .. } | FieldType::Email | FieldType::Url) => guarded(text),
            (value, ty) => {
                let mut json = Vec::new();
                ty.write(value, &mut json);
                let text = String::from_utf8_lossy(&json).into_owned();
                text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).map_or(text.clone(), str::to_owned)
            }
        };
        if cell.contains(['"', ',', '\n', '\r']) || cell.starts_with(' ') || cell.ends_with(' ') {
            out.push(b'"');
            out.extend_from_slice(cell.replace('"', "\"\"").as_bytes());
            out.push(b'"');
        } else {
            out.extend_from_slice(cell.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// A cell that a spreadsheet would take for a formula gets a quote in front; import takes it off again.
fn guarded(text: &str) -> String {
    if text.starts_with(FORMULA) { format!("'{text}") } else { text.to_owned() }
}

pub(super) fn unguarded(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|rest| rest.starts_with(FORMULA)).unwrap_or(cell)
}

const FORMULA: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\''];
