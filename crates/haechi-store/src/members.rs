//! Ids that questions beside the rows are answered with: who is in a group, which rows have too many ancestors for an inherited one, and
//! what the hidden table of a list of references holds.

use crate::{Driver, Reads, Store, render::Sql, sqlite::bound};
use futures_util::future::BoxFuture;
use haechi_model::{Failure, Group};
use std::{collections::HashSet, sync::Arc};

impl Store {
    /// The ids of all whom joining rows put into the group of this very row. Inheritance is not looked at.
    ///
    /// # Errors
    /// When the database is busy or unavailable.
    pub fn members<'a>(&'a self, group: &'a Arc<Group>, of: &'a str) -> BoxFuture<'a, Result<HashSet<Box<str>>, Failure>> {
        self.texts(move |sql| sql.members(group, of))
    }

    /// Ids of rows of which nobody can say who is outside of an inherited group, at most so many.
    ///
    /// # Errors
    /// When the database is busy or unavailable.
    pub fn too_deep<'a>(&'a self, group: &'a Arc<Group>, most: u32) -> BoxFuture<'a, Result<HashSet<Box<str>>, Failure>> {
        self.texts(move |sql| sql.too_deep(group, most))
    }

    /// What the hidden table holds of a list of references, for the rows after an id up to another: `ROW/TARGET`.
    ///
    /// # Errors
    /// When the database is busy or unavailable.
    pub fn listed_between<'a>(
        &'a self,
        collection: usize,
        field: usize,
        after: &'a str,
        until: Option<&'a str>,
    ) -> BoxFuture<'a, Result<HashSet<Box<str>>, Failure>> {
        let Some(hidden) = self.catalog.hidden(collection, field) else { return Box::pin(std::future::ready(Ok(HashSet::new()))) };
        self.texts(move |sql| sql.listed_between(hidden, after, until))
    }

    /// The ids in which a row's list of references and the hidden table differ, as one statement sees both.
    ///
    /// # Errors
    /// When the database is busy or unavailable.
    pub fn astray<'a>(&'a self, collection: usize, field: usize, id: &'a str) -> BoxFuture<'a, Result<HashSet<Box<str>>, Failure>> {
        let Some(list) = self.catalog.lists(collection).iter().find(|list| list.column == field).copied() else {
            return Box::pin(std::future::ready(Ok(HashSet::new())));
        };
        self.texts(move |sql| sql.astray(collection, &list, id))
    }

    /// The texts of a statement's only column.
    fn texts<'a>(&'a self, write: impl Fn(&mut Sql<'_>) + Send + 'a) -> BoxFuture<'a, Result<HashSet<Box<str>>, Failure>> {
        Box::pin(async move {
            let mut sql = Sql::new(self.dialect(), &self.catalog);
            write(&mut sql);
            let (text, values) = (sql.text, sql.values);
            match &self.driver {
                Driver::Sqlite(sqlite) => {
                    let read = move |connection: &rusqlite::Connection| {
                        let mut statement = connection.prepare_cached(&text)?;
                        statement.query_map(bound(&values), |row| row.get::<_, Box<str>>(0))?.collect()
                    };
                    sqlite.readers.run(Reads::SYSTEM, read).await
                }
                Driver::Postgres(postgres) => postgres.texts(&text, &values).await,
            }
        })
    }
}
