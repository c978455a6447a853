//! How deep JSON is nested, read piece by piece without parsing it.

use http::{HeaderMap, header};

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct JsonDepth {
    depth: u32,
    deepest: u32,
    in_text: bool,
    escaped: bool,
}

impl JsonDepth {
    /// The deepest place so far.
    pub(crate) fn read(&mut self, piece: &[u8]) -> u32 {
        for byte in piece {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_text => self.escaped = true,
                b'"' => self.in_text = !self.in_text,
                b'[' | b'{' if !self.in_text => {
                    self.depth += 1;
                    self.deepest = self.deepest.max(self.depth);
                }
                b']' | b'}' if !self.in_text => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        self.deepest
    }
}

/// Whether a body is declared as JSON.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.to_ascii_lowercase().contains("json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_read_across_pieces() {
        for (pieces, deepest) in [
            (&["[[", "]]"][..], 2),
            (&["{\"a\":[", "{\"[[[[\":1}", "]}"], 3),
            (&["\"[[\\\"[[\"", "[]"], 1),
            (&["\"\\", "\"[[", "\"[]"], 1),
            (&["]]]][["], 2),
        ] {
            let mut depth = JsonDepth::default();
            assert_eq!(pieces.iter().map(|piece| depth.read(piece.as_bytes())).max(), Some(deepest), "{pieces:?}");
        }
    }
}
