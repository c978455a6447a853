//! `haechi import` and `haechi export`.

use super::{
    Done, Failed, collection, counted,
    outfile::Outfile,
    words::{self, note, say},
};
use clap::Args;
use haechi::{
    House,
    app::rows::{Imported, import_files},
};
use haechi_data::transfer::{Format, Options, Zone, write_footer, write_header, write_rows};
use haechi_model::{Collection, FieldId};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    collections::HashMap,
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

#[derive(Args)]
pub(crate) struct Import {
    /// A collection and its .csv, .json or .jsonl file; several of them when their rows refer to each other.
    #[arg(required = true, num_args = 2.., value_names = ["COLLECTION", "FILE"])]
    files: Vec<String>,
    /// A word in CSV that stands for no value, e.g. NA. May stand several times.
    #[arg(long, value_name = "WORD")]
    null: Vec<String>,
    /// A word in CSV that stands for true. May stand several times.
    #[arg(long = "true", value_name = "WORD")]
    yes: Vec<String>,
    /// A word in CSV that stands for false. May stand several times.
    #[arg(long = "false", value_name = "WORD")]
    no: Vec<String>,
    /// The zone of times that say none, e.g. Asia/Seoul or +09:00.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Take `create_time`, `update_time` and `version` as the file has them. The collection must be empty.
    #[arg(long)]
    exact: bool,
    /// Which field a column fills, e.g. Species=species; `Species=` leaves the column out. May stand several times; for one file only.
    #[arg(long, value_name = "COLUMN=FIELD")]
    map: Vec<String>,
    /// Change the stored row that has the same values in these fields, which are a unique key, e.g. code; other rows are new. For one file only.
    #[arg(long, value_name = "FIELD,…", value_delimiter = ',', conflicts_with = "exact")]
    upsert: Vec<String>,
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
    fn options(&self) -> Result<Options, Failed> {
        let mut columns = HashMap::new();
        for map in &self.map {
            let (column, field) = map.split_once('=').ok_or_else(|| format!("--map {map}: write COLUMN=FIELD, e.g. --map Species=species"))?;
            if columns.insert(column.to_owned(), Some(field.to_owned()).filter(|field| !field.is_empty())).is_some() {
                return Err(Failed::Said(format!("--map names the column `{column}` twice")));
            }
        }
        let zone = self.zone.as_deref().map(Zone::named).transpose().map_err(|error| error.to_string())?;
        if let Some(word) = self.yes.iter().find(|word| self.no.contains(word)) {
            return Err(Failed::Said(format!("`{word}` cannot stand for true and for false")));
        }
        Ok(Options { null: self.null.clone(), yes: self.yes.clone(), no: self.no.clone(), zone, exact: self.exact, columns })
    }

    pub(crate) async fn on(&self, house: &House, as_json: bool) -> Done {
        let options = self.options()?;
        let (pairs, alone) = self.files.as_chunks::<2>();
        if let [file] = alone {
            return Err(Failed::Said(format!(
                "import takes collections and files in turn, and `{file}` is one too many: write COLLECTION FILE COLLECTION FILE"
            )));
        }
        if pairs.len() > 1 && !self.map.is_empty() {
            return Err(Failed::Said("--map is for the columns of one file: import that file alone, or name its columns as the fields".to_owned()));
        }
        if pairs.len() > 1 && !self.upsert.is_empty() {
            return Err(Failed::Said("--upsert is for the rows of one file: import that file alone".to_owned()));
        }
        let revision = house.gate.revision();
        let mut files = Vec::with_capacity(pairs.len());
        for [name, file] in pairs {
            files.push((collection(&revision.app, name)?, words::path(Path::new(file))));
        }
        let upsert = self.key(files[0].0)?;
        super::migrated(house).await?;
        for (declared, _) in files.iter().filter(|_| self.exact) {
            if !house.gate.is_empty(&house.keys.import, declared.id).await.map_err(|failure| format!("the rows cannot be read: {failure}"))? {
                return Err(Failed::Said(format!("--exact needs an empty collection, and {} has rows", declared.name)));
            }
        }
        let bar =
            progress(&format!("{}: reading and writing", files.iter().map(|(_, file)| file.display().to_string()).collect::<Vec<_>>().join(", ")));
        let imported = import_files(house, &files, &options, upsert).await;
        bar.finish_and_clear();
        let imported = imported?;
        if as_json {
            say!("{}", told(&files, &imported))
        } else {
            for ((declared, _), Imported { rows, .. }) in files.iter().zip(&imported) {
                let what = if self.upsert.is_empty() {
                    String::new()
                } else {
                    format!(": {} new, {} changed, {} as they were", rows.new, rows.changed, rows.unchanged)
                };
                say!("{} imported into {}{what}", counted(rows.count(), "row", "rows"), declared.name);
            }
            if imported.iter().any(|imported| imported.left_out) {
                let of = if files.len() > 1 { "files were" } else { "file were" };
                say!("create_time, update_time and version of the {of} left out: with --exact they are taken");
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The fields of the unique key by which stored rows are found.
    fn key(&self, declared: &Collection) -> Result<Option<Vec<FieldId>>, Failed> {
        if self.upsert.is_empty() {
            return Ok(None);
        }
        let fields: Option<Vec<FieldId>> = self.upsert.iter().map(|name| declared.field(name.trim())).collect();
        match fields.filter(|fields| haechi_gate::is_key(declared, fields)) {
            Some(fields) => Ok(Some(fields)),
            None => {
                let name = |field: &FieldId| declared.fields[*field].name.as_str();
                let keys = haechi_data::record::many::keys(declared).map(|key| key.iter().map(name).collect::<Vec<_>>().join(","));
                let known = std::iter::once("id".to_owned()).chain(keys).collect::<Vec<_>>().join("; ");
                Err(Failed::Said(format!("--upsert {} is no unique key of {}: its keys are {known}", self.upsert.join(","), declared.name)))
            }
        }
    }
}

/// One file is told as it is; of several each with its collection.
fn told(files: &[(&Collection, PathBuf)], imported: &[Imported]) -> serde_json::Value {
    let one = |imported: &Imported| {
        serde_json::json!({
            "imported": imported.rows.count(), "new": imported.rows.new, "changed": imported.rows.changed, "unchanged": imported.rows.unchanged,
            "left_out": imported.left_out
        })
    };
    match imported {
        [alone] => one(alone),
        several => files.iter().zip(several).map(|((declared, _), imported)| (declared.name.clone(), one(imported))).collect(),
    }
}

/// A moving line on a terminal; nothing elsewhere.
fn progress(message: &str) -> ProgressBar {
    if words::forwarded() || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner().with_message(message.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

impl Export {
    pub(crate) async fn on(&self, house: &House) -> Done {
        let revision = house.gate.revision();
        let declared = collection(&revision.app, &self.collection)?;
        super::migrated(house).await?;
        let format = match (self.format.as_deref(), self.file.as_deref().and_then(Format::of)) {
            (Some("csv"), _) => Format::Csv,
            (Some("json"), _) => Format::Json,
            (Some(_), _) => Format::JsonLines,
            (None, Some(format)) => format,
            (None, None) => Format::JsonLines,
        };
        let out = self.file.as_deref().map(|file| Outfile::new(&words::path(file))).transpose()?;
        let mut file = out.as_ref().map(Outfile::create).transpose()?;
        let mut put = |bytes: &[u8]| match &mut file {
            Some(file) => file.write_all(bytes),
            None => {
                words::put(&String::from_utf8_lossy(bytes));
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
                .map_err(|failure| format!("the rows cannot be read: {failure}"))?;
            let Some(last) = rows.last() else { break };
            after = last[Collection::ID].as_text().unwrap_or_default().to_owned();
            let mut out = Vec::new();
            write_rows(declared, format, &rows, count == 0, &mut out);
            put(&out)?;
            count += rows.len();
            // Nobody reads it any more.
            if !words::sent().await {
                return Ok(ExitCode::FAILURE);
            }
        }
        put(write_footer(format))?;
        drop(file);
        if let Some(out) = out {
            out.put()?;
            note!("{} exported from {}", counted(count, "row", "rows"), declared.name);
        }
        Ok(ExitCode::SUCCESS)
    }
}
