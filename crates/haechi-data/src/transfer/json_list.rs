//! The items of a JSON list, one at a time: a list of any length is read in the memory of its longest item.

use super::MAX_ROW_BYTES;
use std::io::{BufRead, ErrorKind};

/// Reads items. Each is JSON by itself; its reader checks whether it is well formed.
pub(super) struct Items<R> {
    inner: R,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Before,
    /// Behind `[` or a comma.
    Wanted {
        first: bool,
    },
    /// Behind an item.
    Behind,
    Ended,
}

/// The error for a file that is no list.
pub(super) const NO_LIST: &str = "the file must hold one list of objects";

impl<R: BufRead> Items<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, state: State::Before }
    }

    /// The bytes of the next item.
    pub(super) fn next(&mut self) -> Option<Result<Vec<u8>, String>> {
        loop {
            let byte = match self.past_blanks() {
                Ok(byte) => byte,
                Err(why) => return self.end(why),
            };
            match (self.state, byte) {
                (State::Ended, None) => return None,
                (State::Ended, Some(_)) => return self.end("there is something behind the list".to_owned()),
                (State::Before, Some(b'[')) => self.state = State::Wanted { first: true },
                (State::Wanted { first: true } | State::Behind, Some(b']')) => self.state = State::Ended,
                (State::Behind, Some(b',')) => self.state = State::Wanted { first: false },
                (State::Wanted { .. }, Some(first)) if !matches!(first, b',' | b']') => {
                    self.state = State::Behind;
                    let item = self.item(first);
                    return match item {
                        Ok(item) => Some(Ok(item)),
                        Err(why) => self.end(why),
                    };
                }
                (State::Before, _) => return self.end(NO_LIST.to_owned()),
                _ => return self.end("the list is not well formed: an item, a comma or `]` is missing".to_owned()),
            }
        }
    }

    fn end(&mut self, why: String) -> Option<Result<Vec<u8>, String>> {
        self.state = State::Ended;
        self.drain();
        Some(Err(why))
    }

    /// Input after an error is not read.
    fn drain(&mut self) {
        let _ = std::io::copy(&mut self.inner, &mut std::io::sink());
    }

    fn byte(&mut self) -> Result<Option<u8>, String> {
        let mut byte = [0];
        match self.inner.read_exact(&mut byte) {
            Ok(()) => Ok(Some(byte[0])),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(format!("the file cannot be read: {}", error.kind())),
        }
    }

    fn past_blanks(&mut self) -> Result<Option<u8>, String> {
        loop {
            match self.byte()? {
                Some(b' ' | b'\t' | b'\n' | b'\r') => {}
                other => return Ok(other),
            }
        }
    }

    /// Bytes up to the end of the value that begins with `first`. What ends a number or a word is left.
    fn item(&mut self, first: u8) -> Result<Vec<u8>, String> {
        let mut item = vec![first];
        let (mut depth, mut text) = (0usize, false);
        let mut byte = first;
        loop {
            match byte {
                b'"' if !text => text = true,
                b'"' => text = false,
                b'\\' if text => item.push(self.byte()?.ok_or("the file ends within a text")?),
                b'{' | b'[' if !text => depth += 1,
                b'}' | b']' if !text => depth = depth.saturating_sub(1),
                _ => {}
            }
            let closed = depth == 0 && !text && matches!(byte, b'}' | b']' | b'"');
            if closed || depth == 0 && !text && self.at_word_end()? {
                return Ok(item);
            }
            if item.len() >= MAX_ROW_BYTES {
                return Err(format!("an item has more than {MAX_ROW_BYTES} bytes"));
            }
            byte = self.byte()?.ok_or("the file ends within an item")?;
            item.push(byte);
        }
    }

    fn at_word_end(&mut self) -> Result<bool, String> {
        let ahead = self.inner.fill_buf().map_err(|error| format!("the file cannot be read: {}", error.kind()))?;
        Ok(ahead.first().is_none_or(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b']')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> Vec<Result<String, String>> {
        let mut reader = Items::new(text.as_bytes());
        std::iter::from_fn(|| reader.next()).map(|item| item.map(|bytes| String::from_utf8(bytes).unwrap())).collect()
    }

    #[test]
    fn items_are_taken_one_at_a_time() {
        let all = items(" [ {\"a\":[1,{\"]\":\"}\\\"\"}]} , 12, \"x]\\\\\",null ]\n");
        let expected = ["{\"a\":[1,{\"]\":\"}\\\"\"}]}", "12", "\"x]\\\\\"", "null"];
        assert_eq!(all, expected.map(|item| Ok(item.to_owned())));
        assert!(items("[]").is_empty());
        for bad in ["", "{}", "[1", "[1,]", "[,1]", "[1 2]", "[{\"a\":1}", "[1] x", "[\"a", "[1,,2]"] {
            assert!(items(bad).last().unwrap().is_err(), "{bad}: {:?}", items(bad));
        }
    }
}
