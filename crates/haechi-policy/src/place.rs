//! Finds the place of a part of a policy in its text.

use crate::source::Statement;
use cedar_policy::{
    Policy,
    pst::{Clause, Expr},
};
use std::ops::Range;

/// Most words of a part that is looked for.
const MAX_WORDS: usize = 200;
/// Most bytes that are parsed again; a part that is not found by then is reported with its whole policy.
const MAX_BYTES_READ: usize = 1 << 20;

/// The place of a part in its file. Cedar's public tree has no places, so the shortest text that parses as the part is taken; conditions
/// are tried before the head.
pub(crate) fn of(part: &Expr, statement: &Statement) -> Option<Range<usize>> {
    let text = &statement.source.text[statement.span()];
    let words = words(text);
    let head = words.iter().position(|word| &text[word.clone()] == "{").unwrap_or(words.len());
    let found = shortest(text, &words[head..], part).or_else(|| shortest(text, &words[..head], part))?;
    Some(statement.start + found.start..statement.start + found.end)
}

fn shortest(text: &str, words: &[Range<usize>], part: &Expr) -> Option<Range<usize>> {
    let mut pieces = Vec::new();
    for first in 0..words.len() {
        let mut open = 0;
        for last in &words[first..words.len().min(first + MAX_WORDS)] {
            match &text[last.clone()] {
                "(" | "[" | "{" => open += 1,
                ")" | "]" | "}" => open -= 1,
                _ => {}
            }
            // Text that closes more brackets than it opens is no expression.
            if open < 0 {
                break;
            }
            if open == 0 {
                pieces.push(words[first].start..last.end);
            }
        }
    }
    pieces.sort_by_key(|piece| piece.len());
    let mut bytes = 0;
    pieces
        .into_iter()
        .take_while(|piece| {
            bytes += piece.len() + 64;
            bytes <= MAX_BYTES_READ
        })
        .find(|piece| reads_as(&text[piece.clone()], part))
}

fn reads_as(piece: &str, part: &Expr) -> bool {
    let Ok(policy) = Policy::parse(None, format!("permit(principal, action, resource) when {{ {piece}\n}};")) else { return false };
    let Ok(parsed) = policy.to_pst() else { return false };
    matches!(&parsed.body().clauses()[..], [Clause::When(found)] if **found == *part)
}

/// The words of a text: names, numbers, strings, signs. Comments and blanks are left out.
fn words(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut words = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += bytes[at..].iter().take_while(|byte| **byte != b'\n').count();
                continue;
            }
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at = (at + 1).min(bytes.len());
            }
            byte if byte.is_ascii_alphanumeric() || byte == b'_' => {
                at += bytes[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
            }
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b':' | b'=' | b'!' | b'<' | b'>' | b'&' | b'|' => {
                at += bytes[at..].iter().take(2).take_while(|byte| b":=!<>&|".contains(byte)).count();
            }
            _ => at += text[at..].chars().next().map_or(1, char::len_utf8),
        }
        words.push(start..at);
    }
    words
}
