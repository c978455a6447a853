//! Files to rows, a row at a time.

use super::{
    Format, MAX_ROW_BYTES,
    json_list::Items,
    lines::{Begins, Lines},
    write::{plain, unguarded},
};
use haechi_gate::{ImportError, ImportRow, Named, ReadRow};
use haechi_model::{Collection, FieldError, FieldId, FieldType, Json, Value, parse_json, suggest};
use jiff::{civil::DateTime, tz::TimeZone};
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use thiserror::Error;

/// How to read files of other programs.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Words in CSV that stand for no value, beside the empty cell.
    pub null: Vec<String>,
    /// Words in CSV that stand for true, beside `true`.
    pub yes: Vec<String>,
    /// Words in CSV that stand for false, beside `false`.
    pub no: Vec<String>,
    /// The zone of times without a zone.
    pub zone: Option<Zone>,
    /// Whether `create_time`, `update_time` and `version` of the file are used. Otherwise they are ignored, and the import sets its own.
    pub exact: bool,
    /// Columns by the field that they fill; `None` leaves a column out.
    pub columns: HashMap<String, Option<String>>,
}

/// A time zone.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

/// An option that is not valid.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OptionsError {
    /// No such zone.
    #[error("`{0}` is no time zone: write a name such as Asia/Seoul, or an offset such as +09:00")]
    Zone(String),
}

impl Zone {
    /// A zone by its IANA name or its offset.
    ///
    /// # Errors
    /// When there is none of the name.
    pub fn named(name: &str) -> Result<Self, OptionsError> {
        if let Ok(zone) = TimeZone::get(name) {
            return Ok(Self(zone));
        }
        let wrong = || OptionsError::Zone(name.to_owned());
        let (sign, rest) = match name.split_at_checked(1) {
            Some(("+", rest)) => (1, rest),
            Some(("-", rest)) => (-1, rest),
            _ => return Err(wrong()),
        };
        let (hours, minutes) = rest.split_once(':').ok_or_else(wrong)?;
        let number = |text: &str, most: i32| text.parse::<i32>().ok().filter(|number| text.len() == 2 && (0..=most).contains(number));
        let (hours, minutes) = (number(hours, 23).ok_or_else(wrong)?, number(minutes, 59).ok_or_else(wrong)?);
        let offset = jiff::tz::Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).map_err(|_| wrong())?;
        Ok(Self(TimeZone::fixed(offset)))
    }

    /// A local time of the zone as RFC 3339 in UTC. Where the clocks show a time twice, the first is used. A time that the clocks skip is
    /// moved forward by the length of the gap.
    fn universal(&self, local: &str) -> Option<String> {
        let time: DateTime = local.parse().ok()?;
        let zoned = self.0.to_ambiguous_zoned(time).compatible().ok()?;
        Some(zoned.timestamp().to_string())
    }
}

/// Reads a file: each item is a row, or what is wrong with it.
pub struct Reader {
    left_out: Arc<AtomicBool>,
    collection: Collection,
    options: Options,
    source: Source,
    line: usize,
}

type Input = Box<dyn BufRead + Send>;

enum Source {
    Csv { reader: Box<csv::Reader<Lines<Input>>>, begins: Begins, fields: Vec<Option<FieldId>>, record: csv::StringRecord },
    Json(Items<BufReader<Input>>),
    JsonLines(Input),
    Ended,
}

impl Reader {
    /// Begins to read.
    ///
    /// # Errors
    /// The error in the header.
    pub fn new(input: impl Read + Send + 'static, format: Format, collection: &Collection, options: Options) -> Result<Self, Vec<ImportError>> {
        let input = without_mark(input).map_err(|error| vec![fault(0, format!("the file cannot be read: {}", error.kind()))])?;
        let mut reader = Self { left_out: Arc::default(), collection: collection.clone(), options, source: Source::Ended, line: 0 };
        reader.source = match format {
            Format::Csv => reader.csv(input)?,
            Format::Json => Source::Json(Items::new(BufReader::new(input))),
            Format::JsonLines => Source::JsonLines(input),
        };
        Ok(reader)
    }

    /// Whether times and versions of the file were left out, so far.
    #[must_use]
    pub fn left_out(&self) -> Arc<AtomicBool> {
        self.left_out.clone()
    }

    fn csv(&self, input: Input) -> Result<Source, Vec<ImportError>> {
        let (lines, begins) = Lines::new(input);
        let mut reader = Box::new(csv::ReaderBuilder::new().flexible(false).from_reader(lines));
        let header = reader.headers().map_err(|_| vec![fault(1, "the header cannot be read")])?.clone();
        let mut errors = Vec::new();
        let mut fields: Vec<Option<FieldId>> = Vec::with_capacity(header.len());
        for name in header.iter().map(str::trim) {
            let field = match self.field(name) {
                Ok(field) => field,
                Err(what) => {
                    errors.push(fault(1, what));
                    continue;
                }
            };
            if field.is_some() && fields.contains(&field) {
                errors.push(fault(1, format!("two columns fill one field; the second is `{name}`")));
            }
            fields.push(field);
        }
        for named in self.options.columns.keys().filter(|named| !header.iter().any(|name| name.trim() == *named)) {
            errors.push(fault(1, format!("no column is named `{named}`")));
        }
        if errors.is_empty() { Ok(Source::Csv { reader, begins, fields, record: csv::StringRecord::new() }) } else { Err(errors) }
    }

    /// The field that a column fills; `None` when it is left out.
    fn field(&self, column: &str) -> Result<Option<FieldId>, String> {
        let name = match self.options.columns.get(column) {
            Some(None) => return Ok(None),
            Some(Some(field)) => field,
            None => column,
        };
        let found = self.collection.field(name);
        if !self.options.exact && found.is_some_and(|field| OWN.contains(&field)) {
            self.left_out.store(true, Ordering::Relaxed);
            return Ok(None);
        }
        found.map(Some).ok_or_else(|| {
            let near = suggest(name, self.collection.fields.iter().map(|field| field.name.as_str()))
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            format!("`{name}` is no field of `{}`{near}", self.collection.name)
        })
    }

    fn object(&self, line: usize, json: &Json) -> Result<ReadRow, Vec<ImportError>> {
        let Json::Object(members) = json else { return Err(vec![fault(line, "must be an object")]) };
        let mut row = begun(line, members.len());
        for (name, json) in members {
            let field = match self.field(name) {
                Ok(Some(field)) => field,
                Ok(None) => continue,
                Err(what) => {
                    row.faults.push(fault(line, what));
                    continue;
                }
            };
            let ty = &self.collection.fields[field].ty;
            if let Some(names) = names(ty, json) {
                row.named.push(Named { field, names });
                continue;
            }
            let read = match json {
                Json::Text(text) if matches!(ty, FieldType::Datetime(_)) => self.time(ty, text),
                json => self.collection.fields[field].read(json),
            };
            put(&mut row, field, read);
        }
        Ok(self.complete(row))
    }

    /// A row that is imported exactly must have its times and its version.
    fn complete(&self, mut row: ReadRow) -> ReadRow {
        if self.options.exact {
            let line = row.row.line;
            let has = |own: FieldId| row.row.values.iter().any(|(field, value)| *field == own && !value.is_null());
            let missing: Vec<FieldId> =
                OWN.into_iter().filter(|own| !has(*own) && !row.faults.iter().any(|fault| fault.field == Some(*own))).collect();
            let what = "a value is required: an exact import takes what an export has written";
            row.faults.extend(missing.into_iter().map(|own| ImportError { line, field: Some(own), what: what.to_owned() }));
        }
        row
    }

    fn cell(&self, field: FieldId, cell: &str) -> Result<Value, FieldError> {
        let is = |words: &[String]| words.iter().any(|word| word == cell);
        if cell.is_empty() || is(&self.options.null) {
            return Ok(Value::Null);
        }
        let declared = &self.collection.fields[field];
        let ty = &declared.ty;
        match ty {
            FieldType::Bool if is(&self.options.yes) => Ok(Value::Int(1)),
            FieldType::Bool if is(&self.options.no) => Ok(Value::Int(0)),
            FieldType::Datetime(_) => self.time(ty, cell),
            ty if plain(ty) => ty.read_text(&unguarded(cell)).and_then(|value| declared.admit(value)),
            ty => ty.read_text(cell).and_then(|value| declared.admit(value)),
        }
    }

    /// A time; one without a zone uses the zone of the options.
    fn time(&self, ty: &FieldType, text: &str) -> Result<Value, FieldError> {
        let read = ty.read_text(text);
        match &self.options.zone {
            Some(zone) if read.is_err() => zone.universal(text).map_or(read, |universal| ty.read_text(&universal)),
            _ => read,
        }
    }

    fn record(&self, line: usize, fields: &[Option<FieldId>], record: &csv::StringRecord) -> ReadRow {
        let mut row = begun(line, fields.len());
        for (field, cell) in fields.iter().zip(record) {
            let Some(field) = *field else { continue };
            let declared = &self.collection.fields[field];
            if let Some(names) = names_of_cell(&declared.ty, cell) {
                row.named.push(Named { field, names });
                continue;
            }
            match self.cell(field, cell) {
                // A CSV cell cannot be absent.
                Ok(Value::Null) if declared.required && declared.default.is_some() => {}
                read => put(&mut row, field, read),
            }
        }
        self.complete(row)
    }

    /// The next line that is not blank, with its end.
    fn json_line(&mut self, input: &mut Input) -> Option<Result<ReadRow, Vec<ImportError>>> {
        loop {
            let mut line = Vec::new();
            let read = input.by_ref().take(MAX_ROW_BYTES as u64).read_until(b'\n', &mut line);
            self.line += 1;
            match read {
                Err(error) => return Some(Err(vec![fault(self.line, format!("the file cannot be read: {}", error.kind()))])),
                Ok(0) => return None,
                Ok(_) if line.len() >= MAX_ROW_BYTES && line.last() != Some(&b'\n') => {
                    return Some(Err(vec![fault(self.line, format!("the line has more than {MAX_ROW_BYTES} bytes"))]));
                }
                Ok(_) if line.trim_ascii().is_empty() => {}
                Ok(_) => return Some(self.parsed(line.trim_ascii())),
            }
        }
    }

    fn parsed(&self, json: &[u8]) -> Result<ReadRow, Vec<ImportError>> {
        match parse_json(json) {
            Ok(json) => self.object(self.line, &json),
            Err(error) => Err(vec![fault(self.line, error.to_string())]),
        }
    }

    fn csv_row(
        &self,
        reader: &mut csv::Reader<Lines<Input>>,
        begins: &Begins,
        fields: &[Option<FieldId>],
        record: &mut csv::StringRecord,
    ) -> Option<Result<ReadRow, Vec<ImportError>>> {
        match reader.read_record(record) {
            Ok(false) => None,
            Ok(true) => {
                let line = record.position().map_or(0, |place| begins.line_at(place.byte()));
                Some(Ok(self.record(line, fields, record)))
            }
            Err(error) => {
                let line = error.position().map_or(0, |place| begins.line_at(place.byte()));
                Some(Err(vec![fault(line, "the line does not have as many cells as the header, or is not UTF-8")]))
            }
        }
    }
}

impl Iterator for Reader {
    type Item = Result<ReadRow, Vec<ImportError>>;

    fn next(&mut self) -> Option<Self::Item> {
        // Taken out while it is read, and put back unless it ended.
        let mut source = std::mem::replace(&mut self.source, Source::Ended);
        let next = match &mut source {
            Source::Csv { reader, begins, fields, record } => self.csv_row(reader, begins, fields, record),
            Source::Json(items) => items.next().map(|item| match item {
                Ok(item) => {
                    self.line += 1;
                    self.parsed(&item)
                }
                Err(why) => Err(vec![fault(0, why)]),
            }),
            Source::JsonLines(input) => self.json_line(input),
            Source::Ended => None,
        };
        if next.is_some() {
            self.source = source;
        }
        next
    }
}

/// Fields that Haechi sets itself.
const OWN: [FieldId; 3] = [Collection::CREATE_TIME, Collection::UPDATE_TIME, Collection::VERSION];

/// The input without a byte order mark.
fn without_mark(input: impl Read + Send + 'static) -> std::io::Result<Input> {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    let mut input = BufReader::with_capacity(1 << 16, input);
    let mut begin = Vec::with_capacity(MARK.len());
    input.by_ref().take(MARK.len() as u64).read_to_end(&mut begin)?;
    if begin == MARK {
        begin.clear();
    }
    Ok(Box::new(std::io::Cursor::new(begin).chain(input)))
}

fn fault(line: usize, what: impl Into<String>) -> ImportError {
    ImportError { line, field: None, what: what.into() }
}

fn begun(line: usize, values: usize) -> ReadRow {
    ImportRow { line, id: None, values: Vec::with_capacity(values) }.into()
}

fn put(row: &mut ReadRow, field: FieldId, read: Result<Value, FieldError>) {
    match (field, read) {
        (_, Err(error)) => row.faults.push(ImportError { line: row.row.line, field: Some(field), what: error.detail }),
        (Collection::ID, Ok(Value::Text(id))) => row.row.id = Some(id),
        (Collection::ID, Ok(_)) => {}
        (field, Ok(value)) => row.row.values.push((field, value)),
    }
}

/// The texts of a reference or a list of references in which a name stands, such as `@code:P-7`: no id begins like that.
fn names(ty: &FieldType, json: &Json) -> Option<Vec<Box<str>>> {
    let is_name = |text: &str| text.starts_with('@');
    match json {
        Json::Text(text) if matches!(ty, FieldType::Ref { .. }) && is_name(text) => Some(vec![text.clone()]),
        Json::List(items) if ty.lists().is_some() => {
            let text = |item: &Json| if let Json::Text(text) = item { Some(text.clone()) } else { None };
            let texts: Vec<Box<str>> = items.iter().map(text).collect::<Option<_>>()?;
            texts.iter().any(|text| is_name(text)).then_some(texts)
        }
        _ => None,
    }
}

fn names_of_cell(ty: &FieldType, cell: &str) -> Option<Vec<Box<str>>> {
    match ty {
        FieldType::Ref { .. } if cell.starts_with('@') => Some(vec![cell.into()]),
        ty if ty.lists().is_some() && cell.contains('@') => names(ty, &parse_json(cell.as_bytes()).ok()?),
        _ => None,
    }
}
