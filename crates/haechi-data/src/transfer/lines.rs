//! Line numbers of what a parser reads: noted as the bytes pass.

use std::{
    collections::VecDeque,
    io::Read,
    sync::{Arc, Mutex, PoisonError},
};

/// Where lines that are not empty begin: by offset, the number of the line.
#[derive(Clone, Default)]
pub(super) struct Begins(Arc<Mutex<VecDeque<(u64, usize)>>>);

impl Begins {
    /// The line of the first row at or after an offset; offsets only grow.
    pub(super) fn line_at(&self, offset: u64) -> usize {
        let mut begins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while begins.len() > 1 && begins.front().is_some_and(|(begin, _)| *begin < offset) {
            begins.pop_front();
        }
        begins.front().map_or(0, |(_, line)| *line)
    }
}

/// A reader that notes lines.
pub(super) struct Lines<R> {
    inner: R,
    begins: Begins,
    offset: u64,
    line: usize,
    at_begin: bool,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(inner: R) -> (Self, Begins) {
        let begins = Begins::default();
        (Self { inner, begins: begins.clone(), offset: 0, line: 1, at_begin: true }, begins)
    }
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let mut begins = self.begins.0.lock().unwrap_or_else(PoisonError::into_inner);
        for byte in &buffer[..count] {
            match byte {
                b'\n' => {
                    self.line += 1;
                    self.at_begin = true;
                }
                b'\r' => {}
                _ if self.at_begin => {
                    begins.push_back((self.offset, self.line));
                    self.at_begin = false;
                }
                _ => {}
            }
            self.offset += 1;
        }
        Ok(count)
    }
}
