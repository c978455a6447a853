//! Opens files below the folder. No link is followed on the way, so that nothing outside of the folder is served, whatever is put into it.

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, open, openat, statat},
    io::Errno,
};
use std::{
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
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
    /// When its content was changed, which programs may set, and when anything of it was, which nobody sets.
    modified: (i64, i64),
    changed: (i64, i64),
    place: (u64, u64),
}

/// A file that is open.
pub(crate) struct Opened {
    file: File,
    pub(crate) stamp: Stamp,
}

impl Stamp {
    fn of(stat: &Stat) -> Self {
        let time = |seconds: i64, nanos: u64| (seconds, i64::try_from(nanos).unwrap_or_default());
        Self {
            bytes: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: time(stat.st_mtime, stat.st_mtime_nsec),
            changed: time(stat.st_ctime, stat.st_ctime_nsec),
            place: (stat.st_dev, stat.st_ino),
        }
    }

    /// A tag of a file whose content is not read for it: of another file, or another state of this one, it is another tag.
    pub(crate) fn tag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        (self.modified, self.changed, self.place).hash(&mut hasher);
        format!("\"{:x}-{:016x}\"", self.bytes, hasher.finish())
    }
}

const STEP: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK);

/// Opens what stands below the folder. The folder itself may be a link: so a new release takes the place of an old one at once.
pub(crate) fn find(root: &Path, names: &str) -> std::io::Result<Found> {
    let found = (|| {
        let mut at: OwnedFd = open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let mut left = names.split('/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = left.next() {
            let flags = if left.peek().is_some() { STEP | OFlags::DIRECTORY } else { STEP };
            // A pipe and a device are not even opened: that may wake somebody, or have effects.
            if left.peek().is_none() && !is_plain(&at, name)? {
                return Err(Errno::NXIO);
            }
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

/// Whether a name is that of a file or a folder.
fn is_plain(folder: &OwnedFd, name: &str) -> Result<bool, Errno> {
    let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(matches!(FileType::from_raw_mode(stat.st_mode), FileType::RegularFile | FileType::Directory))
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
