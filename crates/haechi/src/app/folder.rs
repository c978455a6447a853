//! The app folder on disk: what it declares, its data directory, its lock and its secrets.

use haechi_gate::{MasterKey, Revision};
use haechi_model::{App, Config, DatabaseUrl, Finding, Findings, SecretRef, Severity, why};
use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Why a folder cannot be used.
#[derive(Debug, Error)]
pub enum FolderError {
    /// It has errors; they were rendered.
    #[error("the folder has errors")]
    Findings(Findings),
    /// The data directory cannot be made or written.
    #[error("the data directory {} cannot be used: {}", .0.display(), if *.1 == std::io::ErrorKind::AlreadyExists { "it is a file, not a folder".to_owned() } else { why(*.1) })]
    Data(PathBuf, std::io::ErrorKind),
    /// The data directory is below the folder of pages.
    #[error("the data directory {} is below the folder that [site] serves to everybody: keep it elsewhere (--data)", .0.display())]
    Served(PathBuf),
    /// A file in it cannot be read or written.
    #[error("{} cannot be read or written: {}", .0.display(), why(*.1))]
    File(PathBuf, std::io::ErrorKind),
    /// Another process has it open.
    #[error("another process uses {}, probably `haechi dev` or `haechi serve`: stop it, then try again", .0.display())]
    Locked(PathBuf),
    /// A secret cannot be read.
    #[error("{0}")]
    Secret(String),
    /// The database URL cannot be used.
    #[error("{0}")]
    Database(String),
}

/// Reads a folder and compiles its policies; warnings come beside.
///
/// # Errors
/// All findings of the folder.
pub fn load(root: &Path) -> Result<(Revision, Findings), FolderError> {
    let environment: Vec<(String, String)> = std::env::vars().filter(|(name, _)| name.starts_with("HAECHI__")).collect();
    let (app, mut findings) = App::load(root, &environment).map_err(FolderError::Findings)?;
    doors(&app, &mut findings);
    crate::site::faults(&app, &mut findings);
    if findings.has_errors() {
        return Err(FolderError::Findings(findings));
    }
    let (revision, more) = Revision::new(app).map_err(|error| FolderError::Findings(error.0))?;
    findings.append(more);
    Ok((revision, findings))
}

/// Reports the parts of an app that the doors beside REST cannot serve.
fn doors(app: &App, findings: &mut Findings) {
    for (at, what) in haechi_grpc::faults(app) {
        let help = "see docs/grpc.md, \"Names and numbers\"".to_owned();
        let source = app.collections[at].source.clone();
        findings.push(Finding { severity: Severity::Error, code: "grpc", message: what, help, source, span: None });
    }
    for fault in haechi_graphql::faults(app) {
        let source = match (fault.collection, fault.document) {
            (Some(at), _) => app.collections[at].source.clone(),
            (None, at) => at.map(|at| app.documents[at].clone()),
        };
        let help = if fault.document.is_some() {
            "mend the document: `haechi generate graphql` prints the schema"
        } else {
            "see docs/graphql.md, \"Names\""
        };
        let finding = Finding { severity: Severity::Error, code: "graphql", message: fault.what, help: help.to_owned(), source, span: None };
        findings.push(finding);
    }
}

/// A data directory, locked for this process as long as this lives.
#[derive(Debug)]
pub struct DataDir {
    /// Its path.
    pub path: PathBuf,
    _lock: File,
}

/// How often, and how far apart, locking a data directory is tried.
const LOCK_TRIES: usize = 10;
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(30);

impl DataDir {
    /// Opens a folder's data directory, making it when it is not there.
    ///
    /// # Errors
    /// When it cannot be made, or another process has it.
    pub fn open(path: PathBuf) -> Result<Self, FolderError> {
        let fail = |error: std::io::Error| FolderError::Data(path.clone(), error.kind());
        std::fs::create_dir_all(&path).map_err(fail)?;
        private(&path, 0o700).map_err(fail)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join("lock")).map_err(fail)?;
        private(&path.join("lock"), 0o600).map_err(fail)?;
        // A process that is just ending releases it in a moment.
        for _ in 0..LOCK_TRIES {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { path, _lock: lock }),
                Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
                Err(std::fs::TryLockError::Error(error)) => return Err(fail(error)),
            }
        }
        Err(FolderError::Locked(path))
    }
}

/// The data directory of a folder when none is named.
#[must_use]
pub fn default_data(root: &Path) -> PathBuf {
    root.join(".haechi")
}

/// Restricts a path to its owner.
///
/// # Errors
/// When the operating system refuses.
pub fn private(path: &Path, mode: u32) -> std::io::Result<()> {
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    #[cfg(not(unix))]
    let _ = (path, mode);
    Ok(())
}

/// Makes a file that only its owner may read, from the beginning.
///
/// # Errors
/// When the file exists already, or the operating system refuses.
pub fn private_file(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Whether others than its owner may read a file. As in PostgreSQL, a group may read files of root: secrets are given to services that way.
pub(crate) fn is_open_to_others(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let open = |meta: std::fs::Metadata| meta.permissions().mode() & if meta.uid() == 0 { 0o027 } else { 0o077 } != 0;
        std::fs::metadata(path).is_ok_and(open)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

/// The master key that the folder names. Without one, `dev` keeps its own in the data directory.
///
/// # Errors
/// When it is named and cannot be read, or is missing and required.
pub fn master_key(config: &Config, data: &Path, may_make: bool) -> Result<MasterKey, FolderError> {
    let bad = || {
        let place = master_key_place(config, data);
        FolderError::Secret(format!(
            "the master key in {place} must be 64 hex digits: put back the one that the data was made with; only for a new database make one with `haechi secret`"
        ))
    };
    if let Some(reference) = &config.master_key {
        return MasterKey::from_hex(&secret(reference, "master_key")?).ok_or_else(bad);
    }
    if !may_make {
        return Err(FolderError::Secret(
            "no master key: set master_key = { env = \"HAECHI_MASTER_KEY\" } at the top of haechi.toml, before the first [section], and make one with `haechi secret`"
                .to_owned(),
        ));
    }
    let path = data.join("master.key");
    match std::fs::read_to_string(&path) {
        Ok(text) => return MasterKey::from_hex(&text).ok_or_else(bad),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(FolderError::File(path, error.kind())),
        Err(_) => {}
    }
    // A new key cannot open data that another key has sealed: none is made where there is data.
    if let DatabaseUrl::Sqlite(file) = &config.database.url
        && std::fs::metadata(data.join(file)).is_ok_and(|meta| meta.len() > 0)
    {
        return Err(FolderError::Secret(format!(
            "{} is gone, and {} was made with it: put it back from your copy; a new one cannot open this database",
            path.display(),
            data.join(file).display()
        )));
    }
    let text = MasterKey::generate_hex();
    let write = || -> std::io::Result<()> {
        let mut file = private_file(&path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| FolderError::File(path.clone(), error.kind()))?;
    MasterKey::from_hex(&text).ok_or_else(bad)
}

/// Where the master key is, in words.
#[must_use]
pub fn master_key_place(config: &Config, data: &Path) -> String {
    match &config.master_key {
        Some(SecretRef::Env(name)) => format!("the environment variable {name}"),
        Some(SecretRef::File(path)) => path.display().to_string(),
        None => data.join("master.key").display().to_string(),
    }
}

/// Reads a secret by reference.
pub(crate) fn secret(reference: &SecretRef, key: &str) -> Result<String, FolderError> {
    match reference {
        SecretRef::Env(name) => {
            std::env::var(name).map_err(|_| FolderError::Secret(format!("`{key}` names the environment variable {name}, which is not set")))
        }
        SecretRef::File(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|_| FolderError::Secret(format!("`{key}` names the file {}, which cannot be read", path.display())))?;
            if is_open_to_others(path) {
                return Err(FolderError::Secret(format!("{} may be read by others; run `chmod 600 {}`", path.display(), path.display())));
            }
            Ok(text.trim().to_owned())
        }
    }
}
