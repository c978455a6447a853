//! `haechi backup` and `haechi restore`.

use super::{
    Done, Failed, Place,
    outfile::{Outfile, beside},
    words::{path, say},
};
use clap::Args;
use haechi::{
    DataDir, House, Mode,
    app::{database, house::HouseError},
};
use haechi_gate::OpenError;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(Args)]
pub(crate) struct Backup {
    /// The file to write; it must not be there.
    file: PathBuf,
}

#[derive(Args)]
pub(crate) struct Restore {
    /// A file that `backup` wrote.
    file: PathBuf,
}

impl Backup {
    pub(crate) async fn on(self, house: &House, place: &Place) -> Done {
        let file = path(&self.file);
        let out = Outfile::new(&file)?;
        house.gate.settle().await;
        let made = house.gate.backup(&house.keys.backup, out.part(), &super::words::operator()).await;
        made.map_err(|failure| format!("the backup could not be made: {failure}"))?;
        let entries = check(out.part(), place).await?.entries;
        out.put()?;
        say!("{}: {entries} ledger entries, verified", file.display());
        Ok(ExitCode::SUCCESS)
    }
}

impl Restore {
    pub(crate) async fn run(self, place: &Place) -> Done {
        let (revision, _) = place.load()?;
        if !self.file.is_file() {
            return Err(Failed::Said(format!("{} is no file", self.file.display())));
        }
        let verified = check(&self.file, place).await?;
        let data = DataDir::open(place.data())?;
        let target = database::database(&revision.app.config, &data.path)?;
        haechi_gate::restore(&verified.file, &target, haechi_identity::ISSUED).await.map_err(|error| Failed::Said(error.to_string()))?;
        let house = House::open(&place.folder, &data, Mode::Dev).await?;
        house.identity.operator(&super::words::operator()).restored().await?;
        let works = !house.gate.revision().app.jobs.is_empty();
        if works {
            house.jobs.operator(&super::words::operator()).after_restore().await.map_err(|error| error.to_string())?;
        }
        house.gate.settle().await;
        house.close().await;
        say!("{} ledger entries restored; all sessions, keys and codes have ended", verified.entries);
        if works {
            say!(
                "work is paused, because some of it may have been done since the backup: look at `haechi job list`, then run `haechi job resume everything`"
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A private copy of a backup that was verified: what is restored is what was looked at.
struct Verified {
    folder: PathBuf,
    file: PathBuf,
    entries: i64,
}

impl Drop for Verified {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Copies a backup and verifies the copy's ledger and rows.
async fn check(file: &Path, place: &Place) -> Result<Verified, Failed> {
    let (revision, warnings) = place.load()?;
    let folder = beside(file, "verify");
    let mut verified = Verified { file: folder.join("backup.db"), folder, entries: 0 };
    let _private = DataDir::open(verified.folder.clone())?;
    std::fs::copy(file, &verified.file)?;
    let none = |why: &str| Failed::Said(format!("{} is no backup of this app: {why}", file.display()));
    let house = House::over_file(revision, warnings, &verified.file, &place.data()).await.map_err(|error| match error {
        HouseError::Open(OpenError::Database(_, why) | OpenError::Away(_, why)) => none(&why),
        other => other.into(),
    })?;
    if house.gate.applied(&house.keys.schema).await.is_ok_and(|applied| applied.is_empty()) {
        return Err(none("it holds no tables"));
    }
    let plan = house.gate.plan(&house.keys.schema).await;
    let plan = plan.map_err(|error| none(&error.to_string()))?;
    if !plan.is_empty() && !plan.only_remembers() {
        return Err(Failed::Said(format!("{} was made with another model: take the folder that it was made with", file.display())));
    }
    let report = house.gate.verify(&house.keys.audit, &[], true).await;
    let report = report.map_err(|failure| Failed::Said(format!("{} cannot be read: {failure}", file.display())))?;
    if let Some(finding) = report.findings.first() {
        return Err(Failed::Said(format!("{} does not verify: {} ({} findings)", file.display(), finding.what, report.count)));
    }
    verified.entries = report.entries;
    house.close().await;
    Ok(verified)
}
