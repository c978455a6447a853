//! Migrations: planned, applied, and told to what was kept before them.

use crate::{
    gate::Gate,
    ledger::beside::migration_digest,
    system::{Schema, System},
};
use futures_util::future::BoxFuture;
use haechi_model::{Failure, write_json_text};
use haechi_store::{Analyse, Applied, MigrateError, Migration, Strange, history};

impl Gate {
    /// Plans the migration that the folder needs.
    ///
    /// # Errors
    /// When the database cannot be reached or an applied migration was altered.
    pub fn plan<'a>(&'a self, _: &'a System<Schema>) -> BoxFuture<'a, Result<Migration, MigrateError>> {
        Box::pin(async move { self.0.store.plan().await })
    }

    /// What is in the database that no migration made.
    ///
    /// # Errors
    /// When the database cannot be reached or an applied migration was altered.
    pub fn strange<'a>(&'a self, _: &'a System<Schema>) -> BoxFuture<'a, Result<Strange, MigrateError>> {
        Box::pin(async move { self.0.store.strange().await })
    }

    /// Which rows do not fit what a migration would make of their tables, a line each.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn misfits<'a>(&'a self, _: &'a System<Schema>, migration: &'a Migration) -> BoxFuture<'a, Result<Vec<String>, Failure>> {
        Box::pin(async move { self.0.store.misfits(migration).await })
    }

    /// Makes the tables of a database that has none: there is nothing to lose. Of nodes that begin at once one makes them, and the others
    /// wait for it. Returns whether it was this one.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn make<'a>(&'a self, key: &'a System<Schema>) -> BoxFuture<'a, Result<bool, MigrateError>> {
        Box::pin(async move {
            if !self.0.store.applied().await.map_err(|_| MigrateError::Database)?.is_empty() {
                return Ok(false);
            }
            let plan = self.plan(key).await?;
            match self.migrate(key, plan, false).await {
                Ok(()) => Ok(true),
                Err(MigrateError::Overtaken) => {
                    self.learn(&self.0.store.applied().await.map_err(|_| MigrateError::Database)?);
                    Ok(false)
                }
                Err(error) => Err(error),
            }
        })
    }

    /// Applies a migration and records it in the ledger.
    ///
    /// # Errors
    /// When it would drop data without leave, or rows do not fit; nothing was changed then.
    pub fn migrate<'a>(&'a self, key: &'a System<Schema>, migration: Migration, allow_drop: bool) -> BoxFuture<'a, Result<(), MigrateError>> {
        Box::pin(async move {
            if migration.is_empty() {
                let strange = self.0.store.strange().await?.wrong;
                return if strange.is_empty() { Ok(()) } else { Err(MigrateError::Strange(strange)) };
            }
            let (summary, remembers) = (migration.summary(), migration.remembers());
            let altered: Vec<String> = migration.altered().into_iter().map(str::to_owned).collect();
            let before = self.0.store.applied().await.map_err(|_| MigrateError::Database)?.len();
            self.0.store.migrate(migration, allow_drop, self.0.clock.now_ms()).await?;
            let applied = self.0.store.applied().await.map_err(|_| MigrateError::Database)?;
            if remembers {
                self.state_system(key, None).await.map_err(|_| MigrateError::Database)?;
            }
            self.state(key, &summary, &altered, applied.get(before..).unwrap_or_default()).await.map_err(|_| MigrateError::Database)?;
            self.learn(&applied);
            self.analyse(Analyse::Everything).await;
            Ok(())
        })
    }

    /// States rows whose form has changed, then the migrations themselves: one that is not stated was interrupted.
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
        let entry = self.0.system_entry("migrate", None, String::from_utf8_lossy(&extra).into_owned());
        self.0.commit(self.0.system_change(key, vec![entry])).await.map(|_| ())
    }

    /// Migrations that were applied, but interrupted before the ledger said so. The whole ledger is read for it.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn interrupted<'a>(&'a self, _: &'a System<Schema>) -> BoxFuture<'a, Result<Vec<Applied>, Failure>> {
        Box::pin(async move {
            let applied = self.0.store.applied().await?;
            if applied.is_empty() {
                return Ok(Vec::new());
            }
            let Some(last) = self.last_stated_migration().await? else { return Ok(Vec::new()) };
            let same = |at: usize| at > 0 && haechi_store::same_tables(&applied[at - 1], &applied[at]);
            let unstated = applied.iter().enumerate().filter(|(at, migration)| migration.version > last && !same(*at));
            Ok(unstated.map(|(_, migration)| migration.clone()).collect())
        })
    }

    /// Completes what was interrupted. Returns whether there was something.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn complete<'a>(&'a self, key: &'a System<Schema>) -> BoxFuture<'a, Result<bool, Failure>> {
        Box::pin(async move {
            let unstated = self.interrupted(key).await?;
            let Some(last) = unstated.first().map(|first| first.version - 1) else { return Ok(false) };
            let applied = self.0.store.applied().await?;
            let history = history(&applied);
            let mut altered = Vec::new();
            for at in (1..applied.len().min(history.len())).filter(|at| applied[*at].version > last) {
                let between = haechi_store::plan(self.0.store.dialect(), &history[at - 1], &history[at]);
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
        Box::pin(async move { self.0.store.applied().await })
    }

    /// Learns from the migrations how rows lay before, for what was kept then.
    pub(crate) fn learn(&self, applied: &[Applied]) {
        self.0.images.learn(&self.0.revision.load().app.collections, &history(applied));
    }
}
