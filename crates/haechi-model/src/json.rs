//! Strict JSON (RFC 8259): duplicate keys are errors, depth is bounded, numbers keep their digits until a field reads them.

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use thiserror::Error;

/// The deepest nesting of a body.
const MAX_DEPTH: usize = 64;

/// A parsed value. Objects keep the order of their keys.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number with the digits that it was written with.
    Number(Box<str>),
    /// A string.
    Text(Box<str>),
    /// An array.
    List(Vec<Json>),
    /// An object.
    Object(Vec<(Box<str>, Json)>),
}

/// Why a text is not acceptable JSON.
#[derive(Debug, Error)]
#[error("{message} at line {line} column {column}")]
pub struct JsonError {
    message: String,
    line: usize,
    column: usize,
}

/// Reads one JSON text.
///
/// # Errors
/// When the bytes are not UTF-8 or not JSON, a key stands twice in an object, or the nesting is too deep.
pub fn parse_json(bytes: &[u8]) -> Result<Json, JsonError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let json = Seed { depth: 0 }.deserialize(&mut reader).and_then(|json| reader.end().map(|()| json));
    json.map_err(|error| {
        let text = error.to_string();
        let message = text.split(" at line ").next().unwrap_or("not JSON").to_owned();
        JsonError { message, line: error.line(), column: error.column() }
    })
}

struct Seed {
    depth: usize,
}

impl Json {
    /// A number with its digits. Equal spellings get one form: `1E+5` is `1e5`, `-0` is `-0.0`. Some readers know only these.
    #[must_use]
    pub fn number(text: &str) -> Self {
        if text == "-0" {
            return Self::Number("-0.0".into());
        }
        let spelt = text.bytes().any(|byte| matches!(byte, b'E' | b'+'));
        Self::Number(if spelt { text.replace('E', "e").replace('+', "").into() } else { text.into() })
    }
}

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        read(raw.get(), self.depth).map_err(de::Error::custom)
    }
}

fn read(text: &str, depth: usize) -> Result<Json, serde_json::Error> {
    match text.as_bytes().first() {
        Some(b'{' | b'[') => {
            if depth >= MAX_DEPTH {
                return Err(de::Error::custom(format_args!("nested deeper than {MAX_DEPTH}")));
            }
            serde_json::Deserializer::from_str(text).deserialize_any(Nested { depth })
        }
        Some(b'"') => serde_json::from_str::<Box<str>>(text).map(Json::Text),
        Some(b't') => Ok(Json::Bool(true)),
        Some(b'f') => Ok(Json::Bool(false)),
        Some(b'n') => Ok(Json::Null),
        _ => Ok(Json::number(text)),
    }
}

struct Nested {
    depth: usize,
}

impl<'de> Visitor<'de> for Nested {
    type Value = Json;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object or a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = access.next_element_seed(Seed { depth: self.depth + 1 })? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut object: Vec<(Box<str>, Json)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        while let Some(key) = access.next_key::<Box<str>>()? {
            if !seen.insert(key.clone()) {
                return Err(de::Error::custom(format_args!("the key {key:?} stands twice")));
            }
            let value = access.next_value_seed(Seed { depth: self.depth + 1 })?;
            object.push((key, value));
        }
        Ok(Json::Object(object))
    }
}

impl Json {
    /// Appends compact JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Number(digits) => out.extend_from_slice(digits.as_bytes()),
            Self::Text(text) => write_json_text(text, out),
            Self::List(list) => {
                out.push(b'[');
                for (at, item) in list.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Object(object) => {
                out.push(b'{');
                for (at, (key, value)) in object.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    write_json_text(key, out);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }

    /// Its kind, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    /// Whether any string or key in it holds NUL.
    #[must_use]
    pub fn has_nul(&self) -> bool {
        match self {
            Self::Text(text) => text.contains('\0'),
            Self::List(list) => list.iter().any(Self::has_nul),
            Self::Object(object) => object.iter().any(|(key, value)| key.contains('\0') || value.has_nul()),
            _ => false,
        }
    }
}

/// Appends a JSON string. Eight bytes are checked together; runs without characters to escape are copied whole.
pub fn write_json_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut start = 0;
    while let Some(at) = next_escape(bytes, start) {
        out.extend_from_slice(&bytes[start..at]);
        start = at + 1;
        escape(bytes[at], out);
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}

/// The position of the next byte that JSON escapes.
fn next_escape(bytes: &[u8], from: usize) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // The high bit of each byte that is zero (the lowest such bit is exact).
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let (words, _) = bytes[from..].as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let below_space = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let found = below_space | zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return Some(from + at * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let tail = from + words.len() * 8;
    bytes[tail..].iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')).map(|at| tail + at)
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_rfc_8259_refuses_and_duplicates() {
        for bad in
            ["", "{", "{\"a\":1,\"a\":2}", "{\"a\":{\"b\":1,\"b\":2}}", "[1,]", "\u{feff}{}", "{\"a\":01}", "\"\\ud800\"", "nul", "1 2", "{'a':1}"]
        {
            assert!(parse_json(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse_json(b"\"\xff\"").is_err());
        assert!(parse_json("[".repeat(100_000).as_bytes()).is_err());
        let deep = format!("{}1{}", "[".repeat(65), "]".repeat(65));
        assert!(parse_json(deep.as_bytes()).is_err());
    }

    #[test]
    fn escapes_wherever_the_byte_stands() {
        for length in 0..40 {
            for at in 0..length {
                for byte in (0..128u8).chain([0xc3]) {
                    let mut text = "é".repeat(length / 2) + &"a".repeat(length % 2);
                    if byte < 128 && text.is_char_boundary(at) && text.is_char_boundary(at + 1) {
                        text.replace_range(at..=at, std::str::from_utf8(&[byte]).unwrap());
                    }
                    let mut out = Vec::new();
                    write_json_text(&text, &mut out);
                    assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
                    let mut plain = "a".repeat(length);
                    if byte < 128 {
                        plain.replace_range(at..=at, std::str::from_utf8(&[byte]).unwrap());
                    }
                    out.clear();
                    write_json_text(&plain, &mut out);
                    assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), plain);
                }
            }
        }
    }

    #[test]
    fn keeps_digits_and_order() {
        let mut out = Vec::new();
        let text = r#"{"b":12345678901234567890.10,"a":["é\u0001\"",null,true]}"#;
        parse_json(text.as_bytes()).unwrap().write(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }
}
