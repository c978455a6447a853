//! Opens files below the folder. No link is followed on the way, so that nothing outside of the folder is served, whatever is put into it.

use rustix::{
    fs::{FileType, Mode, OFlags, Stat, fstat, open, openat},
    io::Errno,
};
use std::{
    fs::File,
    io::Read,
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::Path,
};

/// What stands at a path.
pub(crate) enum Found {
    File(Opened),
    Folder,
    Nothing,
}

/// When a file is another one, or has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) bytes: u64,
    pub(crate) changed: (i64, i64),
    inode: u64,
}

/// A file that is open.
pub(crate) struct Opened {
    file: File,
    pub(crate) stamp: Stamp,
}

impl Stamp {
    fn of(stat: &Stat) -> Self {
        let changed = (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or_default());
        Self { bytes: u64::try_from(stat.st_size).unwrap_or_default(), changed, inode: stat.st_ino }
    }
}

const STEP: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK);

/// Opens what stands below the folder. The folder itself may be a link: so a new release takes the place of an old one at once.
pub(crate) fn find(root: &Path, names: &str) -> std::io::Result<Found> {
    let found = (|| {
        let mut at: OwnedFd = open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let mut left = names.split('/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = left.next() {
            // `NONBLOCK`: opening a pipe would wait for its writer.
            let flags = if left.peek().is_some() { STEP | OFlags::DIRECTORY } else { STEP };
            at = openat(&at, name, flags, Mode::empty())?;
        }
        let stat = fstat(&at)?;
        Ok((at, stat))
    })();
    let (opened, stat) = match found {
        Ok(found) => found,
        // Nothing, a link, a file where a folder should be, a socket, a name that is too long.
        Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO | Errno::NAMETOOLONG | Errno::MLINK) => return Ok(Found::Nothing),
        Err(error) => return Err(error.into()),
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(Found::File(Opened { file: File::from(opened), stamp: Stamp::of(&stat) })),
        FileType::Directory => Ok(Found::Folder),
        _ => Ok(Found::Nothing),
    }
}

impl Opened {
    /// All of it. `None`: it changed meanwhile.
    pub(crate) fn read(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let length = usize::try_from(self.stamp.bytes).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(length + 1);
        (&mut self.file).take(self.stamp.bytes + 1).read_to_end(&mut bytes)?;
        Ok((bytes.len() == length).then_some(bytes))
    }

    /// Whether it is still as it was opened: its bytes may have been written over.
    pub(crate) fn is_same(&self) -> bool {
        fstat(&self.file).is_ok_and(|stat| Stamp::of(&stat) == self.stamp)
    }

    /// A part of it; shorter at the end.
    pub(crate) fn part(&self, from: u64, most: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; most];
        let read = self.file.read_at(&mut bytes, from)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}
