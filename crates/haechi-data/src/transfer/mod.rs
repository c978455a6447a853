//! Files to rows and rows to files: CSV, JSON and JSON lines.

mod json_list;
mod lines;
mod read;
mod write;

pub use read::{Options, OptionsError, Reader, Zone};
pub(crate) use write::{members, write_cell};
pub use write::{write_footer, write_header, write_rows};

/// The longest row of a JSON file, and the longest line of a file of JSON lines.
const MAX_ROW_BYTES: usize = 16 << 20;

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
    /// The ending of a file's name.
    pub(crate) fn ending(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::JsonLines => "jsonl",
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use haechi_gate::{ImportError, ImportRow};
    use haechi_model::{Collection, Row, Value};

    fn read_with(text: &str, format: Format, collection: &Collection, options: Options) -> Result<Vec<ImportRow>, Vec<ImportError>> {
        let reader = Reader::new(std::io::Cursor::new(text.as_bytes().to_vec()), format, collection, options)?;
        let (mut rows, mut errors) = (Vec::new(), Vec::new());
        for row in reader {
            match row {
                Ok(mut row) => {
                    errors.append(&mut row.faults);
                    rows.push(row.row);
                }
                Err(found) => errors.extend(found),
            }
        }
        if errors.is_empty() { Ok(rows) } else { Err(errors) }
    }

    fn read_rows(text: &str, format: Format, collection: &Collection) -> Result<Vec<ImportRow>, Vec<ImportError>> {
        read_with(text, format, collection, Options::default())
    }

    fn collection() -> Collection {
        let root = std::env::temp_dir().join(format!("haechi-transfer-{}-{:?}", std::process::id(), std::thread::current().id()));
        std::fs::create_dir_all(root.join("collections")).unwrap();
        std::fs::write(root.join("haechi.toml"), "").unwrap();
        std::fs::write(
            root.join("collections/things.toml"),
            "[fields]\ntext = { type = \"text\" }\nn = { type = \"int\" }\ntags = { type = \"list\", of = \"text\" }\nflag = { type = \"bool\" }\nat = { type = \"datetime\" }\n",
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

    #[test]
    fn what_other_programs_write_is_read_as_they_mean_it() {
        let options = |zone: &str| Options {
            null: vec!["NA".to_owned(), "-".to_owned()],
            yes: vec!["yes".to_owned()],
            no: vec!["no".to_owned()],
            zone: Some(Zone::named(zone).unwrap()),
            exact: false,
            columns: [("When", Some("at")), ("Text", Some("text")), ("junk", None)]
                .map(|(column, field)| (column.to_owned(), field.map(str::to_owned)))
                .into(),
        };
        let collection = collection();
        let text = "Text,n,flag,When,junk\nNA,-,yes,2026-07-01 12:00:00,x\nb,1,no,2026-01-01T12:00:00,\nc,2,true,2026-01-01T12:00:00Z,y\n";
        let rows = read_with(text, Format::Csv, &collection, options("Europe/Berlin")).unwrap();
        let field = |name: &str| collection.field(name).unwrap();
        let value = |row: usize, name: &str| rows[row].values.iter().find(|(at, _)| *at == field(name)).map(|(_, value)| value.clone());
        let ms = |text: &str| Some(Value::Int(haechi_model::parse_datetime(text).unwrap()));
        assert_eq!((value(0, "text"), value(0, "n"), value(0, "flag")), (Some(Value::Null), Some(Value::Null), Some(Value::Int(1))));
        // Summer and winter; a time that says its zone keeps it.
        assert_eq!(value(0, "at"), ms("2026-07-01T10:00:00Z"));
        assert_eq!((value(1, "at"), value(1, "flag")), (ms("2026-01-01T11:00:00Z"), Some(Value::Int(0))));
        assert_eq!(value(2, "at"), ms("2026-01-01T12:00:00Z"));
        let fixed = read_with("[{\"When\":\"2026-07-01T12:00:00\"}]", Format::Json, &collection, options("+09:00")).unwrap();
        assert_eq!(Some(fixed[0].values[0].1.clone()), ms("2026-07-01T03:00:00Z"));
        // Without a zone such a time is refused, and so is a word that no option names.
        let errors = read_rows("n,at\nNA,2026-07-01 12:00:00\n", Format::Csv, &collection).unwrap_err();
        assert_eq!(errors.len(), 2, "{errors:?}");
        for zone in ["Nowhere/City", "9", "+9:00", "+24:00", ""] {
            assert!(Zone::named(zone).is_err(), "{zone}");
        }
    }

    #[test]
    fn headers_that_say_too_much_or_too_little_are_refused() {
        let collection = collection();
        let columns = |pairs: &[(&str, &str)]| Options {
            columns: pairs.iter().map(|(from, to)| ((*from).to_owned(), Some((*to).to_owned()))).collect(),
            ..Options::default()
        };
        for (text, options) in [
            ("text,text\na,b\n", Options::default()),
            ("text,Name\na,b\n", columns(&[("Name", "text")])),
            ("text\na\n", columns(&[("Missing", "text")])),
            ("Name\na\n", columns(&[("Name", "nope")])),
            ("text,versions\na,1\n", Options::default()),
        ] {
            let errors = read_with(text, Format::Csv, &collection, options).unwrap_err();
            assert_eq!(errors[0].line, 1, "{text}: {errors:?}");
        }
    }

    /// INJ-11 [V1.2.10]: what a spreadsheet would run is quoted, and comes back as it was.
    #[test]
    fn exports_come_back_as_they_were() {
        let collection = collection();
        let texts = [
            "",
            "=1+1",
            "+1",
            "-1",
            "@x",
            "\tx",
            "\rx",
            "'=x",
            "'x",
            "\"",
            "\"x\"",
            "\"\\u0041\"",
            "a,b",
            "a\"b",
            "a\nb",
            "a\r\nb",
            " a ",
            "é",
            "null",
        ];
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
            assert!(format != Format::Csv || text.contains("\"\"\"=1+1\"\"\""), "{text}");
            let read = read_rows(&text, format, &collection).unwrap();
            for (row, read) in rows.iter().zip(&read) {
                for (field, value) in &read.values {
                    assert_eq!(row[*field], *value);
                }
                assert_eq!((read.values.len(), read.id.as_deref()), (5, row[0].as_text()));
            }
        }
    }
}
