//! Files that commands write: their owner's alone, whole or not there, never through a link and never over what lies there.

use super::Failed;
use haechi_model::why;
use std::{
    fs::File,
    path::{Path, PathBuf},
};

/// A file in the making. It gets its name when it is whole; until then, and when it fails, nothing is there.
pub(super) struct Outfile {
    file: PathBuf,
    part: PathBuf,
}

impl Outfile {
    /// Where nothing is yet.
    pub(super) fn new(file: &Path) -> Result<Self, Failed> {
        // Not followed: a link is something, too.
        if file.symlink_metadata().is_ok() {
            return Err(Failed::Said(format!("{} is there already; name another file", file.display())));
        }
        if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
            return Err(Failed::Said(format!("the folder {} is not there", folder.display())));
        }
        Ok(Self { file: file.to_owned(), part: beside(file, "part") })
    }

    /// Where it is written.
    pub(super) fn part(&self) -> &Path {
        &self.part
    }

    /// Opens it for writing.
    pub(super) fn create(&self) -> Result<File, Failed> {
        haechi::app::folder::private_file(&self.part).map_err(|error| {
            let folder = self.part.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Failed::Said(format!("no file can be made in {}: {}", folder.display(), why(error.kind())))
        })
    }

    /// Gives it its name, never over another file.
    pub(super) fn put(self) -> Result<(), Failed> {
        let file = &self.file;
        let put = File::open(&self.part).and_then(|part| part.sync_all()).and_then(|()| std::fs::hard_link(&self.part, file));
        put.map_err(|error| format!("{} could not be put in its place: {}", file.display(), why(error.kind())))?;
        // The name is safe when its folder is: without that nothing may be deleted for it.
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        Ok(synced.map_err(|error| format!("{} could not be made safe: {}", folder.display(), why(error.kind())))?)
    }
}

impl Drop for Outfile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.part);
    }
}

/// A new name beside a file: no existing file is ever replaced or removed.
pub(super) fn beside(file: &Path, what: &str) -> PathBuf {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    file.with_file_name(format!(".{name}.{}.{what}", haechi_gate::random_hex::<8>()))
}
