//! Rows to files.

use super::Format;
use haechi_model::{Collection, FieldId, FieldType, Json, Row, Value, parse_json, write_json_text};
use std::borrow::Cow;

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

/// All fields: `id`, the declared fields, then the fields that every row has.
fn exported(collection: &Collection) -> impl Iterator<Item = FieldId> {
    let own = [Collection::CREATE_TIME, Collection::UPDATE_TIME, Collection::VERSION];
    std::iter::once(Collection::ID).chain(Collection::FIRST_DECLARED..collection.fields.len()).chain(own)
}

fn write_object(collection: &Collection, row: &Row, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut first = true;
    // Null is written, too: left out, it would be a default when it comes back.
    for field in exported(collection) {
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
        match (&row[field], ty) {
            (Value::Null, _) => continue,
            (Value::Text(text), ty) if plain(ty) => quoted(&guarded(text), out),
            (value, ty) => {
                let mut json = Vec::new();
                ty.write(value, &mut json);
                quoted(bare(ty, &String::from_utf8_lossy(&json)), out);
            }
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a value of a finished record, as it stands there, as a cell.
pub(crate) fn write_cell(ty: &FieldType, json: &[u8], out: &mut Vec<u8>) {
    match json {
        b"null" => {}
        // Ids, times and exact numbers stand without the quotation marks that they have in JSON; a text that is a JSON value keeps them.
        [b'"', text @ .., b'"'] if !matches!(ty, FieldType::Json { .. }) => {
            let text = if text.contains(&b'\\') {
                match parse_json(json) {
                    Ok(Json::Text(text)) => Cow::Owned(text.into()),
                    _ => Cow::Borrowed(""),
                }
            } else {
                String::from_utf8_lossy(text)
            };
            if plain(ty) { quoted(&guarded(&text), out) } else { quoted(&text, out) }
        }
        json => quoted(&String::from_utf8_lossy(json), out),
    }
}

/// The members of a finished record, each as it stands there: name and value. Nothing is read beyond where the record is not well formed.
pub(crate) fn members(record: &[u8]) -> Members<'_> {
    Members(record.strip_prefix(b"{").unwrap_or_default())
}

#[derive(Clone)]
pub(crate) struct Members<'a>(&'a [u8]);

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let name = &self.0[..value_end(self.0)?];
        let value = self.0[name.len()..].strip_prefix(b":")?;
        let (value, rest) = value.split_at(value_end(value)?);
        self.0 = rest.strip_prefix(b",").unwrap_or_default();
        Some((name.strip_prefix(b"\"")?.strip_suffix(b"\"")?, value))
    }
}

/// Where the value that the bytes begin with ends.
fn value_end(json: &[u8]) -> Option<usize> {
    let (mut depth, mut text, mut escaped) = (0usize, false, false);
    for (at, byte) in json.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => {
                text = !text;
                if !text && depth == 0 {
                    return Some(at + 1);
                }
            }
            _ if text => {}
            b'{' | b'[' => depth += 1,
            b',' | b'}' | b']' if depth == 0 => return (at > 0).then_some(at),
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// JSON values keep their quotation marks; times, ids and numbers need none.
fn bare<'a>(ty: &FieldType, text: &'a str) -> &'a str {
    let bare = if matches!(ty, FieldType::Json { .. }) { None } else { text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) };
    bare.unwrap_or(text)
}

/// A cell, in quotation marks where it needs them.
fn quoted(cell: &str, out: &mut Vec<u8>) {
    let needs = |byte: u8| matches!(byte, b'"' | b',' | b'\n' | b'\r');
    if !cell.bytes().any(needs) && !cell.starts_with(' ') && !cell.ends_with(' ') {
        return out.extend_from_slice(cell.as_bytes());
    }
    out.push(b'"');
    for (at, part) in cell.split('"').enumerate() {
        out.extend_from_slice(if at > 0 { b"\"\"" } else { b"" });
        out.extend_from_slice(part.as_bytes());
    }
    out.push(b'"');
}

/// Whether values are texts as people write them.
pub(super) fn plain(ty: &FieldType) -> bool {
    matches!(ty, FieldType::Text { .. } | FieldType::Enum { .. } | FieldType::Email | FieldType::Url)
}

/// A text as a cell. Empty text would read as no value, and a spreadsheet would run a formula: both become JSON strings.
fn guarded(text: &str) -> Cow<'_, str> {
    if !text.is_empty() && !text.starts_with(GUARDED) {
        return Cow::Borrowed(text);
    }
    let mut json = Vec::new();
    write_json_text(text, &mut json);
    Cow::Owned(String::from_utf8_lossy(&json).into_owned())
}

/// A cell as a text. A cell that begins with a quotation mark and is no JSON string stays as it is.
pub(super) fn unguarded(cell: &str) -> Cow<'_, str> {
    match cell.starts_with('"').then(|| parse_json(cell.as_bytes())) {
        Some(Ok(Json::Text(text))) => Cow::Owned(text.into()),
        _ => Cow::Borrowed(cell),
    }
}

const GUARDED: [char; 7] = ['"', '=', '+', '-', '@', '\t', '\r'];

#[cfg(test)]
mod tests {
    use super::members;

    #[test]
    fn members_stand_as_they_were_written() {
        let found = |text: &str| -> Vec<(String, String)> {
            let text_of = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            members(text.as_bytes()).map(|(name, value)| (text_of(name), text_of(value))).collect()
        };
        let text = r#"{"a":1,"b":"x,}\"\\","c":null,"d":[1,"]"],"e":{"f":{"g":"}"}},"h":true,"i":-1.5}"#;
        let expected =
            [("a", "1"), ("b", r#""x,}\"\\""#), ("c", "null"), ("d", r#"[1,"]"]"#), ("e", r#"{"f":{"g":"}"}}"#), ("h", "true"), ("i", "-1.5")];
        assert_eq!(found(text), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for broken in ["", "{}", "{", "x", r#"{"a""#, r#"{"a":"#, r#"{"a":"x"#] {
            assert_eq!(found(broken), [], "{broken}");
        }
    }
}
