//! `haechi add`: edits the folder's files in place; comments and order stay.

use super::{Done, Failed, Place, words::say};
use clap::Subcommand;
use std::{path::Path, process::ExitCode};
use toml_edit::{DocumentMut, InlineTable, Value, value};

#[derive(Subcommand)]
pub(crate) enum Add {
    /// A collection, with fields such as title:text.
    Collection {
        /// Its name.
        name: String,
        /// NAME:TYPE, or NAME:ref:COLLECTION.
        fields: Vec<String>,
    },
    /// A field of a collection.
    Field {
        /// The collection.
        collection: String,
        /// NAME:TYPE, or NAME:ref:COLLECTION.
        field: String,
        /// Its class.
        #[arg(long)]
        class: Option<String>,
        /// Every row must have a value.
        #[arg(long)]
        required: bool,
        /// No two rows may share a value.
        #[arg(long)]
        unique: bool,
    },
    /// A role.
    Role {
        /// Its name.
        name: String,
    },
}

impl Add {
    pub(crate) fn run(&self, place: &Place) -> Done {
        // The folder must be one, and a name must be one before it is part of a path.
        drop(place.load()?);
        let (Self::Collection { name, .. } | Self::Field { collection: name, .. } | Self::Role { name }) = self;
        if let Some(problem) = haechi_model::name_problem(name) {
            return Err(Failed::Said(problem));
        }
        let file = |name: &str| place.folder.join("collections").join(format!("{name}.toml"));
        match self {
            Self::Collection { name, fields } => {
                let path = file(name);
                if path.exists() {
                    return Err(Failed::Said(format!("{} is there already", path.display())));
                }
                let mut document = DocumentMut::new();
                document["fields"] = toml_edit::table();
                for field in fields {
                    let (name, table) = field_table(field)?;
                    document["fields"][&name] = value(table);
                }
                std::fs::create_dir_all(place.folder.join("collections"))?;
                save(place, &path, None, &document.to_string())
            }
            Self::Field { collection, field, class, required, unique } => {
                let path = file(collection);
                // People are a collection without a file, until they have fields of the folder's own.
                let there = path.exists();
                let before = if collection == "users" && !there { Ok(String::new()) } else { std::fs::read_to_string(&path) };
                let before = before.map_err(|_| format!("no collection is named `{collection}`: {} is not there", path.display()))?;
                let mut document: DocumentMut = before.parse().map_err(|error| format!("{}: {error}", path.display()))?;
                let (name, mut table) = field_table(field)?;
                if let Some(class) = class {
                    table.insert("class", class.as_str().into());
                }
                for (key, flag) in [("required", required), ("unique", unique)] {
                    if *flag {
                        table.insert(key, Value::from(true));
                    }
                }
                let fields = document.entry("fields").or_insert_with(toml_edit::table);
                let fields = fields.as_table_like_mut().ok_or("`fields` is not a table")?;
                if fields.contains_key(&name) {
                    return Err(Failed::Said(format!("`{collection}` has a field `{name}` already")));
                }
                fields.insert(&name, value(table));
                std::fs::create_dir_all(place.folder.join("collections"))?;
                save(place, &path, there.then_some(before.as_str()), &document.to_string())
            }
            Self::Role { name } => {
                let path = place.folder.join("haechi.toml");
                let before = std::fs::read_to_string(&path).map_err(|_| format!("{} is not there", path.display()))?;
                let mut document: DocumentMut = before.parse().map_err(|error| format!("{}: {error}", path.display()))?;
                let roles = document.entry("roles").or_insert_with(|| value(toml_edit::Array::new()));
                let roles = roles.as_array_mut().ok_or("`roles` is not a list")?;
                if roles.iter().any(|role| role.as_str() == Some(name)) {
                    return Err(Failed::Said(format!("the role `{name}` is there already")));
                }
                roles.push(name.as_str());
                save(place, &path, Some(&before), &document.to_string())
            }
        }
    }
}

/// `NAME:TYPE` or `NAME:ref:COLLECTION`.
fn field_table(text: &str) -> Result<(String, InlineTable), Failed> {
    let mut parts = text.split(':');
    let (Some(name), Some(ty)) = (parts.next(), parts.next()) else {
        return Err(Failed::Said(format!("`{text}`: write NAME:TYPE, e.g. title:text")));
    };
    let mut table = InlineTable::new();
    table.insert("type", ty.into());
    let (third, more) = (parts.next(), parts.next());
    if more.is_some() {
        return Err(Failed::Said(format!("`{text}` has more than three parts: write NAME:TYPE or NAME:ref:COLLECTION")));
    }
    match (ty, third) {
        ("ref", Some(to)) => drop(table.insert("to", to.into())),
        ("ref", None) => return Err(Failed::Said(format!("`{text}`: write NAME:ref:COLLECTION"))),
        (_, None) => {}
        (_, Some(_)) => return Err(Failed::Said(format!("`{text}`: only a reference has a third part"))),
    }
    Ok((name.to_owned(), table))
}

/// Writes the file; when the folder has errors then, puts it back as it was.
fn save(place: &Place, path: &Path, before: Option<&str>, text: &str) -> Done {
    std::fs::write(path, text)?;
    match place.load() {
        Ok(_) => {
            say!("  {}", path.display());
            Ok(ExitCode::SUCCESS)
        }
        Err(failed) => {
            match before {
                Some(before) => std::fs::write(path, before)?,
                None => std::fs::remove_file(path)?,
            }
            Err(failed)
        }
    }
}

impl From<&str> for Failed {
    fn from(text: &str) -> Self {
        Self::Said(text.to_owned())
    }
}
