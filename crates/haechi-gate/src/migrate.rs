//! Plans and applies migrations, and tells older data about them.

use crate::{
    gate::Gate,
    ledger::beside::migration_digest,
    system::{Schema, System},
};
use futures_util::future::BoxFuture;
use haechi_model::{App, Failure, Table, write_json_text};
use haechi_store::{Analyse, Applied, Catalog, MigrateError, Migration, Strange, history};
use std::sync::{Arc, atomic::Ordering};

impl Gate {
    /// Plans the migration that the folder needs.
    ///
    /// # Errors
    /// When the database cannot be reached or an applied migration was altered.
    pub fn plan<'a>(&'a self, _: &'a System<Schema>) -> BoxFuture<'a, Result<Migration, MigrateError>> {
        Box::pin(async move { self.shared.store.plan().await })
    }

    /// Plans the migration that another state of the folder needs, with these tables of features beside its own.
    ///
    /// # Errors
    /// As for [`Gate::plan`].
    pub fn plan_to<'a>(&'a self, _: &'a System<Schema>, app: &'a App, beside: Vec<Table>) -> BoxFuture<'a, Result<Migration, MigrateError>> {
        Box::pin(async move { self.shared.store.plan_to(self.shared.store.tables_of(&Catalog::new(app, beside))).await })
    }

    /// As [`Gate::plan_to`], but keeps everything that nodes of the older model need; a later migration drops it.
    ///
    /// # Errors
    /// When that is impossible, or the database cannot be reached.
    pub fn plan_beside<'a>(&'a self, _: &'a System<Schema>, app: &'a App, beside: Vec<Table>) -> BoxFuture<'a, Result<Migration, MigrateError>> {
        Box::pin(async move { self.shared.store.plan_beside(self.shared.store.tables_of(&Catalog::new(app, beside))).await })
    }

    /// Why running nodes could not serve after a migration, a line each.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn left_behind<'a>(&'a self, _: &'a System<Schema>, migration: &'a Migration) -> BoxFuture<'a, Result<Vec<String>, MigrateError>> {
        Box::pin(async move { self.shared.store.left_behind(migration).await })
    }

    /// Learns the database's current model. Returns why this version cannot serve with it, a line each.
    ///
    /// # Errors
    /// When the database cannot be reached or an applied migration was altered.
    pub async fn meet(&self) -> Result<Vec<String>, MigrateError> {
        let applied = self.shared.store.applied().await.map_err(|_| MigrateError::Database)?;
        self.shared.migrations.store(applied.last().map_or(0, |last| last.version), Ordering::Relaxed);
        let Some(there) = history(&applied).pop() else { return Ok(Vec::new()) };
        match self.shared.store.meet(&there) {
            Ok(newer) => {
                self.shared.journal.meet(&there, &newer);
                self.learn(&applied);
                self.shared.outdated.store(Arc::default());
                Ok(Vec::new())
            }
            Err(breaks) => {
                self.shared.outdated.store(Arc::new(breaks.clone()));
                Ok(breaks)
            }
        }
    }

    /// Whether the database had tables of a folder at the last check.
    #[must_use]
    pub fn is_migrated(&self) -> bool {
        self.shared.migrations.load(Ordering::Relaxed) > 0
    }

    /// Why this node cannot serve with the current database; empty when it can.
    #[must_use]
    pub fn outdated(&self) -> Arc<Vec<String>> {
        self.shared.outdated.load_full()
    }

    /// Checks again when the database has been migrated.
    pub(crate) async fn follow(&self, migrations: i64) {
        if self.shared.migrations.load(Ordering::Relaxed) == migrations {
            return;
        }
        match self.meet().await {
            Ok(breaks) if breaks.is_empty() => {
                tracing::info!(target: "haechi", migration = migrations, "the database was migrated; this node goes on over it");
            }
            Ok(breaks) => {
                let why = breaks.join("; ");
                tracing::error!(target: "haechi", migration = migrations, why, "the database was migrated, and this node does not go on over it");
            }
            Err(error) => tracing::warn!(target: "haechi", %error, "the database was migrated, and cannot be looked at"),
        }
    }

    /// Objects in the database that no migration made.
    ///
    /// # Errors
    /// When the database cannot be reached or an applied migration was altered.
    pub fn strange<'a>(&'a self, _: &'a System<Schema>) -> BoxFuture<'a, Result<Strange, MigrateError>> {
        Box::pin(async move { self.shared.store.strange().await })
    }

    /// Rows that do not fit their tables after a migration, a line each.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn misfits<'a>(&'a self, _: &'a System<Schema>, migration: &'a Migration) -> BoxFuture<'a, Result<Vec<String>, Failure>> {
        Box::pin(async move { self.shared.store.misfits(migration).await })
    }

    /// Makes the tables of a database that has none, which loses nothing. When several nodes start at once, one makes them and the others
    /// wait. Returns whether it was this one.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn make<'a>(&'a self, key: &'a System<Schema>) -> BoxFuture<'a, Result<bool, MigrateError>> {
        Box::pin(async move {
            if !self.shared.store.applied().await.map_err(|_| MigrateError::Database)?.is_empty() {
                return Ok(false);
            }
            let plan = self.plan(key).await?;
            match self.migrate(key, plan, false).await {
                Ok(()) => Ok(true),
                Err(MigrateError::Overtaken) => {
                    self.learn(&self.shared.store.applied().await.map_err(|_| MigrateError::Database)?);
                    Ok(false)
                }
                Err(error) => Err(error),
            }
        })
    }

    /// Applies a migration and records it in the ledger.
    ///
    /// # Errors
    /// When it would drop data without permission, or rows do not fit; nothing was changed then.
    pub fn migrate<'a>(&'a self, key: &'a System<Schema>, migration: Migration, allow_drop: bool) -> BoxFuture<'a, Result<(), MigrateError>> {
        Box::pin(async move {
            if migration.is_empty() {
                self.shared.store.finish().await?;
                let strange = self.shared.store.strange().await?.wrong;
                return if strange.is_empty() { Ok(()) } else { Err(MigrateError::Strange(strange)) };
            }
            let (summary, remembers) = (migration.summary(), migration.remembers());
            let altered: Vec<String> = migration.altered().into_iter().map(str::to_owned).collect();
            let before = self.shared.store.applied().await.map_err(|_| MigrateError::Database)?.len();
            self.shared.store.migrate(migration, allow_drop, self.shared.clock.now_ms()).await?;
            // Columns that this folder does not know may be gone now, or stay until a later migration drops them.
            self.meet().await?;
            let applied = self.shared.store.applied().await.map_err(|_| MigrateError::Database)?;
            if remembers {
                self.state_system(key, None).await.map_err(|_| MigrateError::Database)?;
            }
            self.state(key, &summary, &altered, applied.get(before..).unwrap_or_default()).await.map_err(|_| MigrateError::Database)?;
            self.learn(&applied);
            self.analyse(Analyse::Everything).await;
            Ok(())
        })
    }

    /// Writes new digests of rows whose form has changed, then the migrations: a migration without an entry was interrupted.
    async fn state(&self, key: &System<Schema>, summary: &[String], altered: &[String], applied: &[Applied]) -> Result<(), Failure> {
        self.rebase(key, altered).await?;
        let mut extra = Vec::from(&b"\"changes\":["[..]);
        for (at, line) in summary.iter().enumerate() {
            if at > 0 {
                extra.push(b',');
            }
            write_json_text(line, &mut extra);
        }
        let stated: Vec<String> = applied.iter().map(|applied| format!("[{},\"{}\"]", applied.version, migration_digest(applied))).collect();
        extra.extend_from_slice(format!("],\"migrations\":[{}]", stated.join(",")).as_bytes());
        let entry = self.shared.system_entry("migrate", None, String::from_utf8_lossy(&extra).into_owned());
        self.shared.commit(self.shared.system_change(key, vec![entry])).await.map(|_| ())
    }

    /// Migrations that were applied but interrupted before their ledger entry. This reads the whole ledger.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn interrupted<'a>(&'a self, _: &'a System<Schema>) -> BoxFuture<'a, Result<Vec<Applied>, Failure>> {
        Box::pin(async move {
            let applied = self.shared.store.applied().await?;
            if applied.is_empty() {
                return Ok(Vec::new());
            }
            let Some(last) = self.last_stated_migration().await? else { return Ok(Vec::new()) };
            let same = |at: usize| at > 0 && haechi_store::same_tables(&applied[at - 1], &applied[at]);
            let unstated = applied.iter().enumerate().filter(|(at, migration)| migration.version > last && !same(*at));
            Ok(unstated.map(|(_, migration)| migration.clone()).collect())
        })
    }

    /// Completes interrupted migrations. Returns whether there were any.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn complete<'a>(&'a self, key: &'a System<Schema>) -> BoxFuture<'a, Result<bool, Failure>> {
        Box::pin(async move {
            let unstated = self.interrupted(key).await?;
            let Some(last) = unstated.first().map(|first| first.version - 1) else { return Ok(false) };
            let applied = self.shared.store.applied().await?;
            let history = history(&applied);
            let mut altered = Vec::new();
            for at in (1..applied.len().min(history.len())).filter(|at| applied[*at].version > last) {
                let between = self.shared.store.plan_between(&history[at - 1], &history[at]);
                altered.extend(between.altered().into_iter().map(str::to_owned));
            }
            self.state(key, &["completed what was interrupted".to_owned()], &altered, &unstated).await?;
            self.learn(&applied);
            Ok(true)
        })
    }

    /// Migrations that were applied.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn applied<'a>(&'a self, _: &'a System<Schema>) -> BoxFuture<'a, Result<Vec<Applied>, Failure>> {
        Box::pin(async move { self.shared.store.applied().await })
    }

    /// Learns older row layouts from the migrations, for images sealed then.
    pub(crate) fn learn(&self, applied: &[Applied]) {
        self.shared.images.learn(&self.shared.revision.load().app.collections, &history(applied));
    }
}
