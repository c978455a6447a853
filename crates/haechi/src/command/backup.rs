//! `haechi backup` and `haechi restore`.

use super::{
    Done, Failed, Place,
    live::{path, say},
};
use clap::Args;
use haechi::{DataDir, House, Mode, database, folder};
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
        if file.exists() {
            return Err(Failed::Said(format!("{} is there already; name another file", file.display())));
        }
        let part = beside(&file, "part");
        house.gate.settle().await;
        house
            .gate
            .backup(&house.keys.backup, &part, &super::live::operator())
            .await
            .map_err(|failure| format!("the backup could not be made: {failure:?}"))?;
        folder::private(&part, 0o600)?;
        let checked = check(&part, place).await;
        let entries = match checked {
            Ok(entries) => entries,
            Err(failed) => {
                let _ = std::fs::remove_file(&part);
                return Err(failed);
            }
        };
        std::fs::hard_link(&part, &file).map_err(|error| format!("{} could not be put in its place: {}", file.display(), error.kind()))?;
        let _ = std::fs::remove_file(&part);
        if let Some(folder) = file.parent().and_then(|folder| std::fs::File::open(folder).ok()) {
            folder.sync_all()?;
        }
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
        let entries = check(&self.file, place).await?;
        let data = DataDir::open(place.data())?;
        let target = database::database(&revision.app.config, &data.path)?;
        haechi_gate::restore(&self.file, &target, haechi_identity::ISSUED).await.map_err(|error| Failed::Said(error.to_string()))?;
        let house = House::open(&place.folder, &data, Mode::Dev).await?;
        house.identity.operator(&super::live::operator()).restored().await?;
        house.gate.settle().await;
        house.close().await;
        println!("{entries} ledger entries restored; all sessions, keys and codes have ended");
        Ok(ExitCode::SUCCESS)
    }
}

/// A name of its own beside a file: nothing that lies there is ever replaced or removed.
fn beside(file: &Path, what: &str) -> PathBuf {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    file.with_file_name(format!(".{name}.{}.{what}", haechi_gate::random_hex::<8>()))
}

/// Opens a copy of a backup and verifies its ledger and rows.
async fn check(file: &Path, place: &Place) -> Result<i64, Failed> {
    let (revision, warnings) = place.load()?;
    let beside = beside(file, "verify");
    let verified = async {
        let _private = DataDir::open(beside.clone())?;
        std::fs::copy(file, beside.join("backup.db"))?;
        let house = House::over_file(revision, warnings, &beside.join("backup.db"), &place.data()).await?;
        let plan = house
            .gate
            .plan(&house.keys.schema)
            .await
            .map_err(|error| Failed::Said(format!("{} is no backup of this app: {error}", file.display())))?;
        if !plan.is_empty() {
            return Err(Failed::Said(format!("{} was made with another model: take the folder that it was made with", file.display())));
        }
        let report = house
            .gate
            .verify(&house.keys.audit, &[], true)
            .await
            .map_err(|failure| Failed::Said(format!("{} cannot be read: {failure:?}", file.display())))?;
        match report.findings.first() {
            None => Ok(report.entries),
            Some(finding) => Err(Failed::Said(format!("{} does not verify: {} ({} findings)", file.display(), finding.what, report.count))),
        }
    };
    let verified = verified.await;
    let _ = std::fs::remove_dir_all(&beside);
    verified
}
