//! Who is in a group, for conditions that are evaluated in memory; and which rows have too many ancestors for an inherited one.

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
