//! What a command says, where it goes, and who asked: this process's terminal, or a caller of the control socket.

use std::path::{Path, PathBuf};
use tokio::sync::{mpsc, oneshot};

tokio::task_local! {
    /// For a command that another process sent: where its output goes, and who sent it.
    pub(super) static FORWARDED: Forwarded;
}

pub(super) struct Forwarded {
    pub(super) words: mpsc::UnboundedSender<Word>,
    pub(super) folder: PathBuf,
    pub(super) user: String,
}

/// A line for the process that sent the command.
pub(super) enum Word {
    Said(String),
    Warned(String),
    /// Answered when all before it are sent.
    Sent(oneshot::Sender<()>),
}

/// Prints a line for the process that sent the command.
macro_rules! say {
    ($($words:tt)*) => { $crate::command::words::said(&format!($($words)*)) };
}

/// Prints a line that is no result.
macro_rules! note {
    ($($words:tt)*) => { $crate::command::words::warned(&format!($($words)*)) };
}

pub(crate) use {note, say};

pub(crate) fn said(line: &str) {
    put(&format!("{line}\n"));
}

/// Puts out a part of a result as it is.
pub(crate) fn put(text: &str) {
    // It is dropped when the process that sent the command is gone.
    if FORWARDED.try_with(|asked| drop(asked.words.send(Word::Said(text.to_owned())))).is_err() {
        super::print(text.as_bytes());
    }
}

/// Whether another process sent the command.
pub(crate) fn forwarded() -> bool {
    FORWARDED.try_with(|_| ()).is_ok()
}

pub(crate) fn warned(line: &str) {
    if FORWARDED.try_with(|asked| drop(asked.words.send(Word::Warned(format!("{line}\n"))))).is_err() {
        eprintln!("{line}");
    }
}

/// Waits until what was said has gone out: long answers are never gathered. `false` when nobody listens any more.
pub(crate) async fn sent() -> bool {
    let (sent, all) = oneshot::channel();
    match FORWARDED.try_with(|asked| asked.words.send(Word::Sent(sent)).is_ok()) {
        Err(_) => true,
        Ok(going) => going && all.await.is_ok(),
    }
}

/// A path, relative to the folder in which the command was typed.
pub(crate) fn path(path: &Path) -> PathBuf {
    FORWARDED.try_with(|asked| asked.folder.join(path)).unwrap_or_else(|_| path.to_owned())
}

/// The operating system's user who asked.
pub(crate) fn operator() -> String {
    FORWARDED.try_with(|asked| asked.user.clone()).unwrap_or_else(|_| own_user())
}

fn own_user() -> String {
    use std::os::unix::fs::MetadataExt;
    // The owner of what this process is: the user it runs as.
    std::fs::metadata("/proc/self").map_or_else(|_| "unknown".to_owned(), |meta| format!("uid {}", meta.uid()))
}
