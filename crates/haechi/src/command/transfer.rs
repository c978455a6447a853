//! `haechi import`, `haechi export`, and the seed rows of `dev`.

use super::{Done, Failed, Place, collection, print};
use clap::Args;
use haechi::House;
use haechi_data::transfer::{Format, MAX_FILE_BYTES, read_rows, write_footer, write_header, write_rows};
use haechi_gate::ImportError;
use haechi_model::{App, Collection, FieldType};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

/// Most bad rows that are printed; the count goes on.
const MAX_SHOWN: usize = 200;

#[derive(Args)]
pub(crate) struct Import {
    /// The collection.
    collection: String,
    /// A .csv, .json or .jsonl file.
    file: PathBuf,
}

#[derive(Args)]
pub(crate) struct Export {
    /// The collection.
    collection: String,
    /// A .csv, .json or .jsonl file; standard output when not given.
    file: Option<PathBuf>,
    /// csv, json or jsonl.
    #[arg(long, value_parser = ["csv", "json", "jsonl"])]
    format: Option<String>,
}

impl Import {
    pub(crate) async fn run(&self, place: &Place) -> Done {
        let (house, _data) = place.open().await?;
        let revision = house.gate.revision();
        let declared = collection(&revision.app, &self.collection)?;
        ready(&house).await?;
        let count = read_file(&house, declared, &self.file).await?;
        house.gate.settle().await;
        if place.json {
            println!("{{\"imported\":{count}}}")
        } else {
            println!("{count} rows imported into {}", declared.name)
        }
        house.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

/// Refuses to work on tables that the folder does not describe.
async fn ready(house: &House) -> Result<(), Failed> {
    let plan = house.gate.plan(&house.keys.schema).await.map_err(|error| error.to_string())?;
    if plan.is_empty() {
        Ok(())
    } else {
        Err(Failed::Said("the database is not as the folder describes it: run `haechi migrate apply` first".to_owned()))
    }
}

async fn read_file(house: &House, declared: &Collection, path: &Path) -> Result<usize, Failed> {
    let unreadable = |error: std::io::Error| Failed::Said(format!("{} cannot be read: {error}", path.display()));
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE_BYTES {
        return Err(Failed::Said(format!("{} is larger than {MAX_FILE_BYTES} bytes", path.display())));
    }
    let format = Format::of(path).ok_or_else(|| format!("{}: the name must end in .csv, .json or .jsonl", path.display()))?;
    let bar = progress(&format!("{}: reading", path.display()));
    let text = String::from_utf8(std::fs::read(path).map_err(unreadable)?).map_err(|_| format!("{} is not UTF-8", path.display()))?;
    let rows = read_rows(text.strip_prefix('\u{feff}').unwrap_or(&text), format, declared).map_err(|errors| listed(declared, path, &errors))?;
    bar.set_message(format!("{}: writing {} rows", path.display(), rows.len()));
    let imported = house.gate.import(&house.keys.import, declared.id, rows).await;
    bar.finish_and_clear();
    imported.map_err(|errors| listed(declared, path, &errors))
}

/// A moving line on a terminal; nothing elsewhere.
fn progress(message: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner().with_message(message.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn listed(declared: &Collection, path: &Path, errors: &[ImportError]) -> Failed {
    let mut out = String::new();
    for error in errors.iter().take(MAX_SHOWN) {
        let field = error.field.map_or_else(String::new, |field| format!("{}: ", declared.fields[field].name));
        let line = if error.line == 0 { String::new() } else { format!("{}:", error.line) };
        out.push_str(&format!("{}:{line} {field}{}\n", path.display(), error.what));
    }
    let rows: std::collections::BTreeSet<usize> = errors.iter().map(|error| error.line).collect();
    Failed::Said(format!("nothing was imported; {} errors in {} rows\n{out}", errors.len(), rows.len()))
}

impl Export {
    pub(crate) async fn run(&self, place: &Place) -> Done {
        let (house, _data) = place.open().await?;
        let revision = house.gate.revision();
        let declared = collection(&revision.app, &self.collection)?;
        ready(&house).await?;
        let format = match (self.format.as_deref(), self.file.as_deref().and_then(Format::of)) {
            (Some("csv"), _) => Format::Csv,
            (Some("json"), _) => Format::Json,
            (Some(_), _) => Format::JsonLines,
            (None, Some(format)) => format,
            (None, None) => Format::JsonLines,
        };
        let mut file = self.file.as_ref().map(std::fs::File::create).transpose()?;
        let mut put = |bytes: &[u8]| match &mut file {
            Some(file) => file.write_all(bytes),
            None => {
                print(bytes);
                Ok(())
            }
        };
        put(&write_header(declared, format))?;
        let (mut after, mut count) = (String::new(), 0);
        loop {
            let rows = house
                .gate
                .stored_rows(&house.keys.import, declared.id, &after)
                .await
                .map_err(|failure| format!("the rows cannot be read: {failure:?}"))?;
            let Some(last) = rows.last() else { break };
            after = last[Collection::ID].as_text().unwrap_or_default().to_owned();
            let mut out = Vec::new();
            write_rows(declared, format, &rows, count == 0, &mut out);
            put(&out)?;
            count += rows.len();
        }
        put(write_footer(format))?;
        if let Some(file) = file {
            file.sync_all()?;
            eprintln!("{count} rows exported from {}", declared.name);
        }
        house.gate.settle().await;
        house.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

/// Imports `seed/` into collections that have no rows, in the order of their references.
pub(crate) async fn seed(house: &House, root: &Path) -> Result<(), Failed> {
    let revision = house.gate.revision();
    for declared in by_reference(&revision.app) {
        let file =
            ["csv", "json", "jsonl"].iter().map(|ending| root.join("seed").join(format!("{}.{ending}", declared.name))).find(|path| path.exists());
        let Some(file) = file else { continue };
        let empty =
            house.gate.is_empty(&house.keys.import, declared.id).await.map_err(|failure| format!("{} cannot be read: {failure:?}", declared.name))?;
        if empty {
            let count = read_file(house, declared, &file).await?;
            println!("  seeded {} with {count} rows", declared.name);
        }
    }
    Ok(())
}

/// Collections so that what is referred to comes first, as far as there is such an order.
fn by_reference(app: &App) -> Vec<&Collection> {
    let mut left: Vec<&Collection> = app.collections.iter().collect();
    let mut ordered: Vec<&Collection> = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let ready = |collection: &&Collection| {
            collection.fields.iter().all(|field| match field.ty {
                FieldType::Ref { to, .. } => to == collection.id || ordered.iter().any(|done| done.id == to),
                _ => true,
            })
        };
        let at = left.iter().position(ready).unwrap_or(0);
        ordered.push(left.remove(at));
    }
    ordered
}
