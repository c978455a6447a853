//! The people of `dev` and their tokens.

use super::{Done, Failed, Place};
use clap::Args;
use haechi::{House, folder};
use haechi_gate::{Clock, SystemClock, dev_token};
use haechi_model::{Collection, USERS};
use std::{path::Path, process::ExitCode};

#[derive(Args)]
pub(crate) struct Token {
    /// The name before the @ of the address, the address, or the id.
    name: String,
    /// So many tokens, each other bytes: for load tests.
    #[arg(long, default_value_t = 1)]
    count: i64,
}

/// One of the people.
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) email: String,
}

/// All people that may sign in.
pub(crate) async fn list(house: &House) -> Result<Vec<Person>, Failed> {
    let revision = house.gate.revision();
    let users = &revision.app.collections[USERS];
    let email = users.field("email").unwrap_or_default();
    let rows = house.gate.people(&house.keys.import).await.map_err(|failure| format!("the people cannot be read: {failure:?}"))?;
    let person = |row: &haechi_model::Row| {
        let id = row[Collection::ID].as_text().unwrap_or_default().to_owned();
        let email = row[email].as_text().unwrap_or_default().to_owned();
        let name = email.split('@').next().filter(|name| !name.is_empty()).unwrap_or(&id).to_owned();
        Person { id, name, email }
    };
    Ok(rows.iter().map(person).collect())
}

/// Writes the people down for `haechi token`.
pub(crate) async fn write(house: &House, data: &Path) -> Result<(), Failed> {
    let people: Vec<serde_json::Value> =
        list(house).await?.iter().map(|person| serde_json::json!({ "id": person.id, "name": person.name, "email": person.email })).collect();
    let path = data.join("people.json");
    std::fs::write(&path, serde_json::Value::from(people).to_string())?;
    folder::private(&path, 0o600)?;
    Ok(())
}

impl Token {
    pub(crate) fn run(&self, place: &Place) -> Done {
        let data = place.data();
        let text = std::fs::read_to_string(data.join("people.json")).map_err(|_| "no people yet: start `haechi dev` first".to_owned())?;
        let people: Vec<serde_json::Value> =
            serde_json::from_str(&text).map_err(|_| "the list of people cannot be read; start `haechi dev` again".to_owned())?;
        let found = people.iter().find(|person| ["name", "email", "id"].iter().any(|key| person[key].as_str() == Some(&self.name)));
        let Some(id) = found.and_then(|person| person["id"].as_str()) else {
            let names: Vec<&str> = people.iter().filter_map(|person| person["name"].as_str()).take(20).collect();
            return Err(Failed::Said(format!("nobody is named `{}`; people: {}", self.name, names.join(", "))));
        };
        let (revision, _) = place.load()?;
        let master = folder::master_key(&revision.app.config, &data, true)?;
        let now = SystemClock.now_ms();
        for number in 0..self.count {
            println!("{}", dev_token(&master, id, now - number));
        }
        Ok(ExitCode::SUCCESS)
    }
}
