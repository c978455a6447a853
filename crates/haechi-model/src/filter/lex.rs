//! A filter's text to tokens with their places.

use super::FilterError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    Quoted(String),
    Operator(&'static str),
    Open,
    Close,
    Comma,
    Minus,
}

#[derive(Clone, Debug)]
pub(super) struct Spanned {
    pub(super) token: Token,
    pub(super) column: usize,
}

const OPERATORS: &[&str] = &["<=", ">=", "!=", "=", "<", ">", ":"];

pub(super) fn lex(text: &str) -> Result<Vec<Spanned>, FilterError> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let column = at + 1;
        let c = chars[at];
        let operator = OPERATORS.iter().find(|operator| operator.chars().enumerate().all(|(offset, c)| chars.get(at + offset) == Some(&c)));
        let token = match c {
            c if c.is_whitespace() => {
                at += 1;
                continue;
            }
            '"' | '\'' => {
                let (quoted, end) = quoted(&chars, at)?;
                at = end;
                tokens.push(Spanned { token: Token::Quoted(quoted), column });
                continue;
            }
            '(' => Token::Open,
            ')' => Token::Close,
            ',' => Token::Comma,
            '-' if !chars.get(at + 1).is_some_and(char::is_ascii_digit) => Token::Minus,
            _ if operator.is_some() => {
                let operator = operator.copied().unwrap_or_default();
                at += operator.len();
                tokens.push(Spanned { token: Token::Operator(operator), column });
                continue;
            }
            c if word_char(c) || c == '-' => {
                let start = at;
                at += 1;
                while at < chars.len() && (word_char(chars[at]) || chars[at] == '-') {
                    at += 1;
                }
                tokens.push(Spanned { token: Token::Word(chars[start..at].iter().collect()), column });
                continue;
            }
            c => return Err(FilterError { column, what: format!("`{c}` does not belong here; put values in double quotes") }),
        };
        tokens.push(Spanned { token, column });
        at += 1;
    }
    Ok(tokens)
}

fn word_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '+' | '*' | '@' | '/')
}

fn quoted(chars: &[char], start: usize) -> Result<(String, usize), FilterError> {
    let quote = chars[start];
    let mut out = String::new();
    let mut at = start + 1;
    while let Some(c) = chars.get(at) {
        match c {
            c if *c == quote => return Ok((out, at + 1)),
            '\\' => {
                let escaped = match chars.get(at + 1) {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('r') => '\r',
                    Some(c @ ('"' | '\'' | '\\')) => *c,
                    _ => return Err(FilterError { column: at + 1, what: "`\\` must be followed by a quote, `\\`, n, t or r".to_owned() }),
                };
                out.push(escaped);
                at += 2;
            }
            c => {
                out.push(*c);
                at += 1;
            }
        }
    }
    Err(FilterError { column: start + 1, what: "the quotation does not end".to_owned() })
}
