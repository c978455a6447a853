//! Files to rows and rows to files: CSV, JSON and JSON lines.

use haechi_gate::{ImportError, ImportRow};
use haechi_model::{Collection, FieldId, FieldType, Json, Row, Value, parse_json, suggest, write_json_text};

/// The largest file that is read.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// Formats of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values with a header (RFC 4180).
    Csv,
    /// One list of objects.
    Json,
    /// An object a line.
    JsonLines,
}

impl Format {
    /// By the ending of a file's name.
    #[must_use]
    pub fn of(path: &std::path::Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "csv" => Some(Self::Csv),
            "json" => Some(Self::Json),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            _ => None,
        }
    }
}

/// Reads a file. Every bad row is listed by line and field.
///
/// # Errors
/// What is wrong, by line and field.
pub fn read_rows(text: &str, format: Format, collection: &Collection) -> Result<Vec<ImportRow>, Vec<ImportError>> {
    let mut reader = Reader { collection, rows: Vec::new(), errors: Vec::new() };
    match format {
        Format::Csv => reader.csv(text),
        Format::Json => match parse_json(text.as_bytes()) {
            Ok(Json::List(items)) => items.iter().enumerate().for_each(|(at, item)| reader.object(at + 1, item)),
            Ok(_) => reader.error(0, None, "the file must hold one list of objects"),
            Err(error) => reader.error(0, None, error.to_string()),
        },
        Format::JsonLines => {
            for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                match parse_json(line.as_bytes()) {
                    Ok(json) => reader.object(at + 1, &json),
                    Err(error) => reader.error(at + 1, None, error.to_string()),
                }
            }
        }
    }
    if reader.errors.is_empty() { Ok(reader.rows) } else { Err(reader.errors) }
}

struct Reader<'a> {
    collection: &'a Collection,
    rows: Vec<ImportRow>,
    errors: Vec<ImportError>,
}

impl Reader<'_> {
    fn error(&mut self, line: usize, field: Option<FieldId>, what: impl Into<String>) {
        self.errors.push(ImportError { line, field, what: what.into() });
    }

    /// The field of a column; times and version are the import's own.
    fn field(&mut self, line: usize, name: &str) -> Option<FieldId> {
        let found = self.collection.field(name).filter(|field| *field == Collection::ID || *field >= Collection::FIRST_DECLARED);
        if found.is_none() {
            let near = suggest(name, self.collection.fields.iter().map(|field| field.name.as_str()))
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            self.error(line, None, format!("`{name}` is no field of `{}` that an import sets{near}", self.collection.name));
        }
        found
    }

    fn object(&mut self, line: usize, json: &Json) {
        let Json::Object(members) = json else { return self.error(line, None, "must be an object") };
        let mut row = ImportRow { line, id: None, values: Vec::with_capacity(members.len()) };
        for (name, json) in members {
            let Some(field) = self.field(line, name) else { continue };
            match self.collection.fields[field].ty.read(json) {
                Ok(value) => put(&mut row, field, value),
                Err(error) => self.error(line, Some(field), error.detail),
            }
        }
        self.rows.push(row);
    }

    fn csv(&mut self, text: &str) {
        let mut reader = csv::ReaderBuilder::new().flexible(false).from_reader(text.as_bytes());
        let header: Vec<String> = match reader.headers() {
            Ok(header) => header.iter().map(str::to_owned).collect(),
            Err(_) => return self.error(1, None, "the header cannot be read"),
        };
        let fields: Vec<Option<FieldId>> = header.iter().map(|name| self.field(1, name.trim())).collect();
        let mut record = csv::StringRecord::new();
        let mut lines = Lines { text: text.as_bytes(), at: 0, line: 1 };
        loop {
            match reader.read_record(&mut record) {
                Ok(false) => break,
                Ok(true) => {
                    let line = record.position().map_or(0, |place| lines.of(place.byte()));
                    let mut row = ImportRow { line, id: None, values: Vec::with_capacity(fields.len()) };
                    for (field, cell) in fields.iter().zip(&record) {
                        let Some(field) = *field else { continue };
                        self.cell(&mut row, field, cell);
                    }
                    self.rows.push(row);
                }
                Err(error) => {
                    let line = error.position().map_or(0, |place| lines.of(place.byte()));
                    self.error(line, None, "the line does not have as many cells as the header, or is not UTF-8");
                }
            }
        }
    }

    fn cell(&mut self, row: &mut ImportRow, field: FieldId, cell: &str) {
        let ty = &self.collection.fields[field].ty;
        if cell.is_empty() {
            return;
        }
        match ty.read_text(unguarded(cell)) {
            Ok(value) => put(row, field, value),
            Err(error) => self.error(row.line, Some(field), error.detail),
        }
    }
}

/// Line numbers of growing offsets: the reader's own lag behind where lines end with CR LF.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
}

impl Lines<'_> {
    fn of(&mut self, byte: u64) -> usize {
        let byte = usize::try_from(byte).unwrap_or(usize::MAX).min(self.text.len());
        let blank = self.text[byte..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let end = byte + blank;
        self.line += self.text.get(self.at..end).map_or(0, |passed| passed.iter().filter(|byte| **byte == b'\n').count());
        self.at = self.at.max(end);
        self.line
    }
}

fn put(row: &mut ImportRow, field: FieldId, value: Value) {
    match (field, value) {
        (Collection::ID, Value::Text(id)) => row.id = Some(id),
        (Collection::ID, _) => {}
        (_, Value::Null) => {}
        (field, value) => row.values.push((field, value)),
    }
}

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

fn unguarded(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|rest| rest.starts_with(FORMULA)).unwrap_or(cell)
}

const FORMULA: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\''];

#[cfg(test)]
mod tests {
    use super::*;

    fn collection() -> Collection {
        let root = std::env::temp_dir().join(format!("haechi-transfer-{}-{:?}", std::process::id(), std::thread::current().id()));
        std::fs::create_dir_all(root.join("collections")).unwrap();
        std::fs::write(root.join("haechi.toml"), "").unwrap();
        std::fs::write(
            root.join("collections/things.toml"),
            "[fields]\ntext = { type = \"text\" }\nn = { type = \"int\" }\ntags = { type = \"list\", of = \"text\" }\n",
        )
        .unwrap();
        let app = haechi_model::App::load(&root, &[]).map_err(|findings| format!("{findings:?}")).unwrap().0;
        std::fs::remove_dir_all(root).unwrap();
        app.collections[1].clone()
    }

    #[test]
    fn every_bad_row_is_listed_by_its_line() {
        for end in ["\n", "\r\n"] {
            let text = ["text,n", "a,1", "\"two\nlines\",x", "b,2", "c,y", "d"].join(end);
            let errors = read_rows(&text, Format::Csv, &collection()).unwrap_err();
            let lines: Vec<usize> = errors.iter().map(|error| error.line).collect();
            assert_eq!(lines, [3, 6, 7], "{errors:?}");
        }
        let errors = read_rows("[{\"n\":1},{\"n\":\"x\",\"nope\":1}]", Format::Json, &collection()).unwrap_err();
        assert_eq!(errors.len(), 2);
        assert!(read_rows("{\"n\":1}\n\n{\"n\":}\n", Format::JsonLines, &collection()).is_err_and(|errors| errors[0].line == 3));
    }

    /// INJ-11 [V1.2.10]: what a spreadsheet would run is quoted, and comes back as it was.
    #[test]
    fn exports_come_back_as_they_were() {
        let collection = collection();
        let texts = ["=1+1", "+1", "-1", "@x", "\tx", "'=x", "'x", "a,b", "a\"b", "a\nb", " a ", "é"];
        let rows: Vec<Row> = texts
            .iter()
            .enumerate()
            .map(|(at, text)| {
                let mut row: Row = collection.table.columns.iter().map(|_| Value::Null).collect();
                row[0] = Value::text(format!("01920000-0000-7000-8000-{at:012x}"));
                row[collection.field("text").unwrap()] = Value::text(*text);
                row[collection.field("n").unwrap()] = Value::Int(-5);
                row[collection.field("tags").unwrap()] = Value::text("[\"=x\",\"a,b\"]");
                row
            })
            .collect();
        for format in [Format::Csv, Format::Json, Format::JsonLines] {
            let mut out = write_header(&collection, format);
            write_rows(&collection, format, &rows, true, &mut out);
            out.extend_from_slice(write_footer(format));
            let text = String::from_utf8(out).unwrap();
            assert!(format != Format::Csv || text.contains("'=1+1"));
            let read = read_rows(&text, format, &collection).unwrap();
            for (row, read) in rows.iter().zip(&read) {
                for (field, value) in &read.values {
                    assert_eq!(row[*field], *value);
                }
                assert_eq!((read.values.len(), read.id.as_deref()), (3, row[0].as_text()));
            }
        }
    }
}
