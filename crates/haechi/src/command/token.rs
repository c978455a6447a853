//! `haechi token`: a developer's token for one of the people.

use super::{Done, Failed, Place, words::say};
use clap::Args;
use haechi::app::{folder, people};
use haechi_gate::{Clock, SystemClock, dev_token};
use std::process::ExitCode;

#[derive(Args)]
pub(crate) struct Token {
    /// The name before the @ of the address, the address, or the id.
    name: String,
    /// So many tokens, each other bytes: for load tests.
    #[arg(long, default_value_t = 1)]
    count: i64,
}

impl Token {
    pub(crate) fn run(&self, place: &Place) -> Done {
        let (revision, _) = place.load()?;
        let data = place.data();
        let people = people::read(&data).ok_or("no people yet: start `haechi dev`, or a program of your own in development, on this folder first")?;
        let Some(person) = people.iter().find(|person| [&person.name, &person.email, &person.id].contains(&&self.name)) else {
            let names: Vec<&str> = people.iter().map(|person| person.name.as_str()).take(20).collect();
            return Err(Failed::Said(format!("nobody is named `{}`; people: {}", self.name, names.join(", "))));
        };
        let master = folder::master_key(&revision.app.config, &data, true)?;
        let now = SystemClock.now_ms();
        for number in 0..self.count {
            say!("{}", dev_token(&master, &person.id, now - number));
        }
        Ok(ExitCode::SUCCESS)
    }
}
