//! Tokens to a tree, by the grammar of AIP-160: OR binds closer than AND, a space between terms is AND.

use super::{
    FilterError, MAX_DEPTH, MAX_TERMS,
    lex::{Spanned, Token},
};
use crate::name::suggest;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tree {
    And(Vec<Tree>),
    Or(Vec<Tree>),
    Not(Box<Tree>),
    Restriction { field: String, column: usize, operator: &'static str, values: Vec<Literal> },
}

/// What is asked of one field by a function: `contains(title, "x")`.
const FUNCTIONS: &[&str] = &["contains", "starts_with"];
/// Names that are known and not built yet.
const LATER: &[&str] = &["search", "matches"];

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Literal {
    pub(super) text: String,
    pub(super) quoted: bool,
    pub(super) column: usize,
}

pub(super) fn parse(tokens: &[Spanned], end_column: usize) -> Result<Tree, FilterError> {
    let mut parser = Parser { tokens, at: 0, terms: 0, end_column };
    let tree = parser.expression(0)?;
    match parser.peek() {
        None => Ok(tree),
        Some(token) => Err(FilterError { column: token.column, what: "this closes nothing or stands alone".to_owned() }),
    }
}

struct Parser<'a> {
    tokens: &'a [Spanned],
    at: usize,
    terms: usize,
    end_column: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Spanned> {
        self.tokens.get(self.at)
    }

    fn wrong<T>(&self, what: &str) -> Result<T, FilterError> {
        Err(FilterError { column: self.peek().map_or(self.end_column, |token| token.column), what: what.to_owned() })
    }

    fn word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Spanned { token: Token::Word(found), .. }) if found == word);
        self.at += usize::from(found);
        found
    }

    fn expression(&mut self, depth: usize) -> Result<Tree, FilterError> {
        if depth > MAX_DEPTH {
            return self.wrong("the filter is nested too deeply");
        }
        let mut parts = vec![self.factor(depth)?];
        loop {
            let explicit = self.word("AND");
            let more = explicit || !matches!(self.peek().map(|token| &token.token), None | Some(Token::Close));
            if !more {
                break;
            }
            parts.push(self.factor(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Tree::And(parts) })
    }

    fn factor(&mut self, depth: usize) -> Result<Tree, FilterError> {
        let mut parts = vec![self.term(depth)?];
        while self.word("OR") {
            parts.push(self.term(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Tree::Or(parts) })
    }

    fn term(&mut self, depth: usize) -> Result<Tree, FilterError> {
        if depth > MAX_DEPTH {
            return self.wrong("the filter is nested too deeply");
        }
        if self.word("NOT") {
            return Ok(Tree::Not(Box::new(self.term(depth + 1)?)));
        }
        match self.peek().map(|token| &token.token) {
            Some(Token::Minus) => {
                self.at += 1;
                Ok(Tree::Not(Box::new(self.term(depth + 1)?)))
            }
            Some(Token::Open) => {
                self.at += 1;
                let inner = self.expression(depth + 1)?;
                if !matches!(self.peek().map(|token| &token.token), Some(Token::Close)) {
                    return self.wrong("a closing bracket is missing");
                }
                self.at += 1;
                Ok(inner)
            }
            Some(Token::Word(_)) => self.restriction(),
            None => self.wrong("a comparison is missing"),
            Some(_) => self.wrong("a comparison starts with the name of a field"),
        }
    }

    fn restriction(&mut self) -> Result<Tree, FilterError> {
        self.term_more()?;
        let Some(Spanned { token: Token::Word(field), column }) = self.peek() else { return self.wrong("a field is missing") };
        self.at += 1;
        let (field, column) = (field.clone(), *column);
        match self.peek().map(|token| &token.token) {
            Some(Token::Operator(operator)) => {
                self.at += 1;
                Ok(Tree::Restriction { field, column, operator, values: vec![self.value()?] })
            }
            Some(Token::Open) => self.function(&field, column),
            Some(Token::Word(word)) if word == "IN" || word == "NOT" && self.next_is("IN") => {
                let negated = self.word("NOT");
                self.at += 1;
                let values = self.values()?;
                let among = Tree::Restriction { field, column, operator: "IN", values };
                Ok(if negated { Tree::Not(Box::new(among)) } else { among })
            }
            Some(Token::Word(word)) if word == "IS" => {
                self.at += 1;
                let operator = if self.word("NOT") { "!=" } else { "=" };
                let place = self.peek().map_or(self.end_column, |token| token.column);
                if !self.word("NULL") && !self.word("null") {
                    return self.wrong("write IS NULL or IS NOT NULL");
                }
                Ok(Tree::Restriction { field, column, operator, values: vec![Literal { text: "null".to_owned(), quoted: false, column: place }] })
            }
            _ => Err(FilterError { column, what: format!("`{field}` needs a comparison such as `{field} = \"…\"`") }),
        }
    }

    /// `contains(field, value)`.
    fn function(&mut self, name: &str, column: usize) -> Result<Tree, FilterError> {
        if LATER.contains(&name) {
            return Err(FilterError { column, what: format!("full-text search (`{name}`) is not built yet; use contains(FIELD, \"…\")") });
        }
        let Some(operator) = FUNCTIONS.iter().find(|known| **known == name) else {
            let near = suggest(name, FUNCTIONS.iter().copied()).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            return Err(FilterError { column, what: format!("no function is named `{name}`{near}") });
        };
        self.at += 1;
        let Some(Spanned { token: Token::Word(field), column }) = self.peek() else { return self.wrong("the name of a field is missing") };
        self.at += 1;
        self.expect(&Token::Comma, "a comma and a value are missing")?;
        let values = vec![self.value()?];
        self.expect(&Token::Close, "a closing bracket is missing")?;
        Ok(Tree::Restriction { field: field.clone(), column: *column, operator, values })
    }

    /// `(value, value)`.
    fn values(&mut self) -> Result<Vec<Literal>, FilterError> {
        self.expect(&Token::Open, "write IN (value, value)")?;
        let mut values = vec![self.value()?];
        while self.peek().is_some_and(|token| token.token == Token::Comma) {
            self.at += 1;
            self.term_more()?;
            values.push(self.value()?);
        }
        self.expect(&Token::Close, "a comma or a closing bracket is missing")?;
        Ok(values)
    }

    fn value(&mut self) -> Result<Literal, FilterError> {
        let value = match self.peek() {
            Some(Spanned { token: Token::Word(text), column }) => Literal { text: text.clone(), quoted: false, column: *column },
            Some(Spanned { token: Token::Quoted(text), column }) => Literal { text: text.clone(), quoted: true, column: *column },
            _ => return self.wrong("a value is missing"),
        };
        self.at += 1;
        Ok(value)
    }

    /// Each value that a row is compared with counts.
    fn term_more(&mut self) -> Result<(), FilterError> {
        self.terms += 1;
        if self.terms > MAX_TERMS { self.wrong("the filter has too many comparisons") } else { Ok(()) }
    }

    fn expect(&mut self, token: &Token, what: &str) -> Result<(), FilterError> {
        if self.peek().is_none_or(|found| found.token != *token) {
            return self.wrong(what);
        }
        self.at += 1;
        Ok(())
    }

    fn next_is(&self, word: &str) -> bool {
        matches!(self.tokens.get(self.at + 1), Some(Spanned { token: Token::Word(found), .. }) if found == word)
    }
}
