//! The people of a house, and the list of them that `haechi token` reads.

use crate::{House, app::folder};
use futures_util::future::BoxFuture;
use haechi_model::{Collection, Failure, person};
use std::{io::Write, path::Path};

/// The list's file in the data directory.
const FILE: &str = "people.json";

/// One of the people.
pub struct Person {
    /// Id.
    pub id: String,
    /// The part of the address before the @.
    pub name: String,
    /// Address.
    pub email: String,
}

/// As many are listed; more are not kept in memory.
pub const MOST: usize = 10_000;

fn shown(row: &haechi_model::Row) -> Person {
    let id = row[Collection::ID].as_text().unwrap_or_default().to_owned();
    let email = row[person::EMAIL].as_text().unwrap_or_default().to_owned();
    let name = email.split('@').next().filter(|name| !name.is_empty()).unwrap_or(&id).to_owned();
    Person { id, name, email }
}

/// People that may sign in: the first [`MOST`].
///
/// # Errors
/// When the database cannot be read.
pub fn list<'a>(house: &'a House) -> BoxFuture<'a, Result<Vec<Person>, Failure>> {
    Box::pin(async move {
        let mut found = Vec::new();
        house
            .gate
            .people(&house.keys.import, |row| {
                found.push(shown(row));
                found.len() < MOST
            })
            .await?;
        Ok(found)
    })
}

/// The person of this name, address or id, among all that may sign in.
///
/// # Errors
/// When the database cannot be read.
pub fn find<'a>(house: &'a House, name: &'a str) -> BoxFuture<'a, Result<Option<Person>, Failure>> {
    Box::pin(async move {
        let mut found = None;
        house
            .gate
            .people(&house.keys.import, |row| {
                let person = shown(row);
                if person.name == name || person.email == name || person.id == name {
                    found = Some(person);
                }
                found.is_none()
            })
            .await?;
        Ok(found)
    })
}

/// Writes the list of people, readable only for its owner.
///
/// # Errors
/// When the file cannot be written.
pub fn write(people: &[Person], data: &Path) -> std::io::Result<()> {
    let people: Vec<serde_json::Value> =
        people.iter().map(|person| serde_json::json!({ "id": person.id, "name": person.name, "email": person.email })).collect();
    let (path, part) = (data.join(FILE), data.join("people.tmp"));
    match std::fs::remove_file(&part) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    folder::private_file(&part)?.write_all(serde_json::Value::from(people).to_string().as_bytes())?;
    std::fs::rename(&part, &path)
}

/// The written list; `None` before the first `dev`.
#[must_use]
pub fn read(data: &Path) -> Option<Vec<Person>> {
    let text = std::fs::read_to_string(data.join(FILE)).ok()?;
    let people: Vec<serde_json::Value> = serde_json::from_str(&text).ok()?;
    let text = |person: &serde_json::Value, key: &str| person[key].as_str().map(str::to_owned);
    people.iter().map(|person| Some(Person { id: text(person, "id")?, name: text(person, "name")?, email: text(person, "email")? })).collect()
}
