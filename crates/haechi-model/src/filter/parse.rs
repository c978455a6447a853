//! Tokens to a tree, by the grammar of AIP-160: OR binds closer than AND, a space between terms is AND.

use super::{
    FilterError, MAX_DEPTH, MAX_TERMS,
    lex::{Spanned, Token},
};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tree {
    And(Vec<Tree>),
    Or(Vec<Tree>),
    Not(Box<Tree>),
    Restriction { field: String, column: usize, operator: &'static str, value: Literal },
}

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
        self.terms += 1;
        if self.terms > MAX_TERMS {
            return self.wrong("the filter has too many comparisons");
        }
        let Some(Spanned { token: Token::Word(field), column }) = self.peek() else { return self.wrong("a field is missing") };
        self.at += 1;
        let Some(Spanned { token: Token::Operator(operator), .. }) = self.peek() else {
            return Err(FilterError { column: *column, what: format!("`{field}` needs a comparison such as `{field} = \"…\"`") });
        };
        self.at += 1;
        let value = match self.peek() {
            Some(Spanned { token: Token::Word(text), column }) => Literal { text: text.clone(), quoted: false, column: *column },
            Some(Spanned { token: Token::Quoted(text), column }) => Literal { text: text.clone(), quoted: true, column: *column },
            _ => return self.wrong("a value is missing"),
        };
        self.at += 1;
        Ok(Tree::Restriction { field: field.clone(), column: *column, operator, value })
    }
}
