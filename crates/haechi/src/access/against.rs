//! The state that a folder is compared with: another folder, or the same one at a commit.

use crate::app::folder::{self, FolderError};
use haechi_gate::Revision;
use std::{
    path::{Component, Path, PathBuf},
    process::{Command, Stdio},
};
use thiserror::Error;

/// The parts of a folder's model; other files of a commit are not read.
const PARTS: [&str; 5] = ["haechi.toml", "collections", "policies", "graphql", "jobs"];
/// So many files of a commit are read at most.
const MAX_FILES: usize = 5_000;

/// What to compare with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Against {
    /// Another folder.
    Folder(PathBuf),
    /// A commit, as git names it.
    Commit(String),
}

/// It cannot be compared with.
#[derive(Debug, Error)]
pub enum AgainstError {
    /// There is no git.
    #[error("`{0}` is no folder, and to read a commit the program git must be on the path")]
    NoGit(String),
    /// git does not know it.
    #[error("`{0}` is neither a folder nor a commit of the repository that holds {1}")]
    Unknown(String, String),
    /// It holds no app folder.
    #[error("{0} holds no haechi.toml in this folder: there is nothing to compare with")]
    NoFolder(String),
    /// A file in it cannot be taken out.
    #[error("{0} in {1} is no plain file: compare with a folder instead")]
    NotPlain(String, String),
    /// It has more files than are read.
    #[error("{0} has more than {MAX_FILES} files in this folder: compare with a folder instead")]
    TooMany(String),
    /// The folder of it has errors.
    #[error("{0} has errors: mend them there, or compare with another state")]
    Errors(String, FolderError),
    /// The commit cannot be written down.
    #[error("a folder for the commit's files cannot be made: {}", haechi_model::why(*.0))]
    Scratch(std::io::ErrorKind),
}

impl Against {
    /// A folder, when there is one of this name; otherwise a commit.
    #[must_use]
    pub fn of(text: &str) -> Self {
        if Path::new(text).is_dir() { Self::Folder(text.into()) } else { Self::Commit(text.to_owned()) }
    }

    /// Its name in messages.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Folder(path) => format!("the folder {}", path.display()),
            Self::Commit(commit) => format!("the commit {commit}"),
        }
    }

    /// Reads and compiles it.
    ///
    /// # Errors
    /// When it is not there, or has errors.
    pub fn load(&self, root: &Path) -> Result<Revision, AgainstError> {
        let errors = |error| AgainstError::Errors(self.name(), error);
        match self {
            Self::Folder(path) if !path.join("haechi.toml").is_file() => Err(AgainstError::NoFolder(self.name())),
            Self::Folder(path) => Ok(folder::load(path).map_err(errors)?.0),
            Self::Commit(commit) => {
                let scratch = Scratch::new()?;
                self.take_out(commit, root, &scratch.0)?;
                Ok(folder::load(&scratch.0).map_err(errors)?.0)
            }
        }
    }

    /// Writes the folder's files of a commit to another place.
    fn take_out(&self, commit: &str, root: &Path, to: &Path) -> Result<(), AgainstError> {
        let unknown = || AgainstError::Unknown(commit.to_owned(), root.display().to_string());
        // Uses the commit's hash: a name that begins with a dash could be taken for an option.
        let found = git(root, &["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{commit}^{{commit}}")], commit)?;
        let number = found.and_then(|out| String::from_utf8(out).ok()).map(|text| text.trim().to_owned()).ok_or_else(unknown)?;
        let mut arguments = vec!["ls-tree", "-r", "-z", &number, "--"];
        arguments.extend(PARTS);
        let listed = git(root, &arguments, commit)?.ok_or_else(unknown)?;
        let listed = String::from_utf8_lossy(&listed);
        let entries: Vec<&str> = listed.split('\0').filter(|entry| !entry.is_empty()).collect();
        if entries.len() > MAX_FILES {
            return Err(AgainstError::TooMany(self.name()));
        }
        for entry in entries {
            let Some((about, path)) = entry.split_once('\t') else { continue };
            let mut about = about.split(' ');
            let (mode, _, object) = (about.next().unwrap_or_default(), about.next(), about.next().unwrap_or_default());
            let plain = mode.starts_with("100") && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
            if !plain {
                return Err(AgainstError::NotPlain(path.to_owned(), self.name()));
            }
            let text = git(root, &["cat-file", "blob", object], commit)?.ok_or_else(unknown)?;
            let target = to.join(path);
            let write = || -> std::io::Result<()> {
                std::fs::create_dir_all(target.parent().unwrap_or(to))?;
                std::fs::write(&target, text)
            };
            write().map_err(|error| AgainstError::Scratch(error.kind()))?;
        }
        if to.join("haechi.toml").is_file() { Ok(()) } else { Err(AgainstError::NoFolder(self.name())) }
    }
}

/// The output of git in a folder; `None` when git fails.
fn git(root: &Path, arguments: &[&str], commit: &str) -> Result<Option<Vec<u8>>, AgainstError> {
    let run = Command::new("git").arg("-C").arg(root).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output();
    match run {
        Ok(output) => Ok(output.status.success().then_some(output.stdout)),
        Err(_) => Err(AgainstError::NoGit(commit.to_owned())),
    }
}

/// A folder that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, AgainstError> {
        let path = std::env::temp_dir().join(format!("haechi-against-{}", haechi_gate::random_hex::<16>()));
        let made = std::fs::create_dir(&path).and_then(|()| folder::private(&path, 0o700));
        made.map_err(|error| AgainstError::Scratch(error.kind()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
