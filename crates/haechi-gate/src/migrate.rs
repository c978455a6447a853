//! Migrations: planned, applied, and told to what was kept before them.

use crate::{
    gate::Gate,
    system::{Schema, System},
};
use haechi_model::{Failure, write_json_text};
use haechi_store::{Analyse, Applied, MigrateError, Migration};

impl Gate {
    /// Plans the migration that the folder needs.
    ///
    /// # Errors
    /// When the database cannot be had or an applied migration was altered.
    pub async fn plan(&self, _: &System<Schema>) -> Result<Migration, MigrateError> {
        self.0.store.plan().await
    }

    /// Which rows do not fit what a migration would make of their tables, a line each.
    ///
    /// # Errors
    /// When the database cannot be had.
    pub async fn misfits(&self, _: &System<Schema>, migration: &Migration) -> Result<Vec<String>, Failure> {
        self.0.store.misfits(migration).await
    }

    /// Applies a migration and records it in the ledger.
    ///
    /// # Errors
    /// When it would drop data without leave, or rows do not fit; nothing was changed then.
    pub async fn migrate(&self, key: &System<Schema>, migration: Migration, allow_drop: bool) -> Result<(), MigrateError> {
        if migration.is_empty() {
            return Ok(());
        }
        let summary = migration.summary();
        let altered: Vec<String> = migration.altered().into_iter().map(str::to_owned).collect();
        self.0.store.migrate(migration, allow_drop, self.0.clock.now_ms()).await?;
        let mut extra = Vec::from(&b"\"changes\":["[..]);
        for (at, line) in summary.iter().enumerate() {
            if at > 0 {
                extra.push(b',');
            }
            write_json_text(line, &mut extra);
        }
        extra.push(b']');
        let entry = self.0.system_entry("migrate", None, String::from_utf8_lossy(&extra).into_owned());
        let _ = self.0.commit(self.0.system_change(key, vec![entry])).await.map_err(|_| MigrateError::Database)?;
        self.rebase(key, &altered).await.map_err(|_| MigrateError::Database)?;
        self.learn().await;
        self.analyse(Analyse::Everything).await;
        Ok(())
    }

    /// Migrations that were applied.
    ///
    /// # Errors
    /// When the database cannot be had.
    pub async fn applied(&self, _: &System<Schema>) -> Result<Vec<Applied>, Failure> {
        self.0.store.applied().await
    }

    /// Learns from the migrations how rows lay before, for what was kept then.
    pub(crate) async fn learn(&self) {
        let history = self.0.store.history().await.unwrap_or_default();
        self.0.images.learn(&self.0.revision.load().app.collections, &history);
    }
}
