//! The database's model: applied migrations, the tables that a version needs, and the migration between them.

use crate::{
    Catalog, Driver, Reads, Store,
    migrate::{self, Applied, MigrateError, Migration, breaks, history, plan},
    render::Dialect,
    schema,
    schema::Strange,
    sqlite,
    system::wanted_tables,
};
use futures_util::future::BoxFuture;
use haechi_model::{Column, Failure, Table};

impl Store {
    /// Which SQL it speaks.
    pub(crate) fn dialect(&self) -> Dialect {
        match self.driver {
            Driver::Sqlite(_) => Dialect::Sqlite,
            Driver::Postgres(_) => Dialect::Postgres,
        }
    }

    /// The tables that this version needs: its own and the collections'.
    #[must_use]
    pub fn wanted_tables(&self) -> Vec<Table> {
        wanted_tables(self.dialect(), &self.catalog)
    }

    /// Checks whether this version can serve over a database's tables. If so, it reads whole rows with the columns that it does not know,
    /// which are returned by table.
    ///
    /// # Errors
    /// Why it cannot, a line each.
    pub fn meet(&self, there: &[Table]) -> Result<Vec<Vec<Column>>, Vec<String>> {
        let breaks = breaks(&self.wanted_tables(), there);
        if breaks.is_empty() { Ok(self.catalog.meet(there)) } else { Err(breaks) }
    }

    /// Migrations that were applied, oldest first.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn applied(&self) -> BoxFuture<'_, Result<Vec<Applied>, Failure>> {
        Box::pin(async move {
            match &self.driver {
                Driver::Sqlite(sqlite) => sqlite.readers.run(Reads::SCAN, sqlite::applied).await,
                Driver::Postgres(postgres) => postgres.applied().await,
            }
        })
    }

    /// Plans the migration from what was applied last to what this version needs.
    ///
    /// # Errors
    /// When the database cannot be reached or an applied migration was altered.
    pub fn plan(&self) -> BoxFuture<'_, Result<Migration, MigrateError>> {
        self.plan_to(self.wanted_tables())
    }

    /// The tables that a catalog needs.
    #[must_use]
    pub fn tables_of(&self, catalog: &Catalog) -> Vec<Table> {
        wanted_tables(self.dialect(), catalog)
    }

    /// Plans the migration from what was applied last to these tables.
    ///
    /// # Errors
    /// When the database cannot be reached or an applied migration was altered.
    pub fn plan_to(&self, wanted: Vec<Table>) -> BoxFuture<'_, Result<Migration, MigrateError>> {
        Box::pin(async move {
            let applied = self.applied().await.map_err(|_| MigrateError::Database)?;
            let before = migrate::tables_after(&applied)?;
            let after = applied.last().map_or(0, |last| last.version);
            Ok(Migration { after, breaks: breaks(&before, &wanted), ..plan(self.dialect(), &before, &wanted) })
        })
    }

    /// The migration from one set of tables to another.
    #[must_use]
    pub fn plan_between(&self, before: &[Table], after: &[Table]) -> Migration {
        plan(self.dialect(), before, after)
    }

    /// As [`Store::plan_to`], but keeps everything that nodes of the last applied model need.
    ///
    /// # Errors
    /// When the database cannot be reached or an applied migration was altered.
    pub fn plan_beside(&self, wanted: Vec<Table>) -> BoxFuture<'_, Result<Migration, MigrateError>> {
        Box::pin(async move {
            let applied = self.applied().await.map_err(|_| MigrateError::Database)?;
            let before = migrate::tables_after(&applied)?;
            let after = applied.last().map_or(0, |last| last.version);
            let tables = migrate::expanded(&before, &wanted).map_err(|wrong| MigrateError::Impossible(wrong.join("\n")))?;
            let breaks = breaks(&before, &tables);
            if !breaks.is_empty() {
                return Err(MigrateError::Impossible(breaks.join("\n")));
            }
            Ok(Migration { after, ..plan(self.dialect(), &before, &tables) })
        })
    }

    /// Why running nodes could not serve after a migration, a line each.
    ///
    /// # Errors
    /// When the database cannot be reached or an applied migration was altered.
    pub fn left_behind<'a>(&'a self, migration: &'a Migration) -> BoxFuture<'a, Result<Vec<String>, MigrateError>> {
        Box::pin(async move {
            let Driver::Postgres(postgres) = &self.driver else { return Ok(Vec::new()) };
            let applied = self.applied().await.map_err(|_| MigrateError::Database)?;
            let (history, to) = (history(&applied), migrate::model_number(&migration.tables));
            let mut left = Vec::new();
            for (model, nodes) in postgres.living().await.map_err(|_| MigrateError::Database)? {
                let nodes = if nodes == 1 { "a node".to_owned() } else { format!("{nodes} nodes") };
                match history.iter().find(|tables| migrate::model_number(tables) == model) {
                    _ if model == to => {}
                    Some(own) => left.extend(breaks(own, &migration.tables).into_iter().map(|why| format!("{nodes}: {why}"))),
                    None => left.push(format!("{nodes}: what they serve was never applied here")),
                }
            }
            Ok(left)
        })
    }

    /// Objects in the database that no migration made.
    ///
    /// # Errors
    /// When the database cannot be reached or an applied migration was altered.
    pub fn strange(&self) -> BoxFuture<'_, Result<Strange, MigrateError>> {
        Box::pin(async move {
            let applied = self.applied().await.map_err(|_| MigrateError::Database)?;
            if applied.is_empty() {
                return Ok(Strange::default());
            }
            let tables = migrate::tables_after(&applied)?;
            let found = match &self.driver {
                Driver::Sqlite(sqlite) => sqlite.readers.run(Reads::SCAN, move |connection| schema::found_in_sqlite(connection, &tables)).await,
                Driver::Postgres(postgres) => match postgres.client().await {
                    Ok(client) => schema::found_in_postgres(&client, &tables).await,
                    Err(failure) => Err(failure),
                },
            };
            found.map_err(|_| MigrateError::Database)
        })
    }

    /// Rows that do not fit their tables after a migration, a line each.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn misfits<'a>(&'a self, migration: &'a Migration) -> BoxFuture<'a, Result<Vec<String>, Failure>> {
        Box::pin(async move {
            if migration.checks.is_empty() {
                return Ok(Vec::new());
            }
            let checks = migration.checks.clone();
            match &self.driver {
                Driver::Sqlite(sqlite) => sqlite.readers.run(Reads::SCAN, move |connection| sqlite::misfits(connection, &checks)).await,
                Driver::Postgres(postgres) => postgres.misfits(&checks).await,
            }
        })
    }

    /// Applies a migration: all or nothing.
    ///
    /// # Errors
    /// When it drops data without permission, is impossible, or rows do not fit; nothing was changed then.
    pub fn migrate(&self, migration: Migration, allow_drop: bool, now_ms: i64) -> BoxFuture<'_, Result<(), MigrateError>> {
        Box::pin(async move {
            self.finish().await?;
            let strange = self.strange().await?.wrong;
            if !strange.is_empty() {
                return Err(MigrateError::Strange(strange));
            }
            if !migration.refusals.is_empty() {
                return Err(MigrateError::Impossible(migration.refusals.join("\n")));
            }
            if !allow_drop && !migration.drops.is_empty() {
                return Err(MigrateError::DropsData(migration.drops));
            }
            match &self.driver {
                Driver::Sqlite(sqlite) => {
                    let work = move |connection: &mut rusqlite::Connection| sqlite::apply_migration(connection, &migration, now_ms);
                    sqlite.writer.alone(work).await.map_err(|_| MigrateError::Database)?
                }
                Driver::Postgres(postgres) => {
                    postgres.migrate(&migration, now_ms).await?;
                    self.finish().await
                }
            }
        })
    }

    /// Does the work that the last migration left for afterwards, unless it is done.
    ///
    /// # Errors
    /// When rows do not fit, or the database cannot be reached.
    pub fn finish(&self) -> BoxFuture<'_, Result<(), MigrateError>> {
        Box::pin(async move {
            let Driver::Postgres(postgres) = &self.driver else { return Ok(()) };
            let applied = self.applied().await.map_err(|_| MigrateError::Database)?;
            let mut history = history(&applied);
            let Some(last) = history.pop() else { return Ok(()) };
            postgres.finish(&last).await
        })
    }
}
