//! Policy files to policies: each statement by itself, so that every finding has its place.

use cedar_policy::{Policy, PolicyId};
use haechi_model::{Findings, PolicyFile, Source};
use miette::Diagnostic;
use std::{ops::Range, sync::Arc};

/// The longest policy that is read. How deep it nests is bounded by it.
const MAX_STATEMENT_BYTES: usize = 64 << 10;

/// A policy and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) policy: Policy,
    pub(crate) source: Arc<Source>,
    pub(crate) start: usize,
    /// Length without leading and trailing blanks.
    pub(crate) length: usize,
}

impl Statement {
    /// The text in one line, without comments.
    pub(crate) fn words(&self) -> String {
        let lines = self.source.text[self.span()].lines();
        let code = lines.filter(|line| !line.trim_start().starts_with("//"));
        code.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn span(&self) -> Range<usize> {
        self.start..self.start + self.length
    }
}

/// Parses every statement of every file. A policy's id is its `@id`, else `file:line`.
pub(crate) fn parse(files: &[PolicyFile], findings: &mut Findings) -> Vec<Statement> {
    let mut statements: Vec<Statement> = Vec::new();
    for file in files {
        for range in split(&file.source.text) {
            let text = &file.source.text[range.clone()];
            let line = file.source.text[..range.start].matches('\n').count() + 1;
            let id = format!("{}:{line}", file.source.path.display());
            if text.len() > MAX_STATEMENT_BYTES {
                let message = format!("the policy has {} bytes; at most {MAX_STATEMENT_BYTES} are read", text.len());
                findings.error(&file.source, Some(range.start..range.start), "policy-too-long", message, "split it into several policies".to_owned());
                continue;
            }
            match Policy::parse(Some(PolicyId::new(&id)), text) {
                Ok(policy) => {
                    let policy = match policy.annotation("id") {
                        Some(named) if !named.is_empty() => policy.new_id(PolicyId::new(named)),
                        _ => policy,
                    };
                    if let Some(other) = statements.iter().find(|other| other.policy.id() == policy.id()) {
                        let message = format!("the policy `{}` stands twice; the other is in {}", policy.id(), other.source.path.display());
                        findings.error(&file.source, Some(range.clone()), "clash", message, "give one of them another @id".to_owned());
                        continue;
                    }
                    statements.push(Statement { policy, source: file.source.clone(), start: range.start, length: range.len() });
                }
                Err(errors) => {
                    for error in errors.iter() {
                        report(error, &file.source, range.clone(), "policy-syntax", findings);
                    }
                }
            }
        }
    }
    statements
}

/// Turns one of Cedar's diagnostics into a finding at its place in the file.
pub(crate) fn report(error: &(impl Diagnostic + ?Sized), source: &Arc<Source>, statement: Range<usize>, code: &'static str, findings: &mut Findings) {
    let span = label(error, statement);
    let message = plain(&without_head(&error.to_string()));
    let help = error.help().map(|help| without_head(&help.to_string()));
    let help = match help {
        Some(help) => help,
        None if message.contains("policy is impossible") => {
            "no caller and no record make its conditions true together: look for a field that is none, or kinds of callers that exclude each other"
                .to_owned()
        }
        None if message.contains("unexpected end of input") => "a policy ends with `;`".to_owned(),
        None => "see \"What can be a condition\" in docs/policies.md".to_owned(),
    };
    findings.error(source, Some(span), code, message, help);
}

/// Without Cedar's name for the policy: its place is reported separately.
fn without_head(text: &str) -> String {
    text.split_once("`, ").filter(|(head, _)| head.starts_with("for policy `")).map_or(text, |(_, rest)| rest).to_owned()
}

/// Replaces Cedar's names of types by those of the folder.
fn plain(text: &str) -> String {
    let words = [
        ("__cedar::internal::AnyEntity", "a record"),
        ("__cedar::internal::OpenRecord{}", "a record"),
        ("__cedar::internal::True", "true"),
        ("__cedar::internal::False", "false"),
        ("the types Long and String are", "a number and a text are"),
        ("the types String and Long are", "a text and a number are"),
    ];
    words.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// The place in the file that a diagnostic points at; the whole statement when it names none.
pub(crate) fn label(error: &(impl Diagnostic + ?Sized), statement: Range<usize>) -> Range<usize> {
    let label = error.labels().and_then(|mut labels| labels.next());
    label.map_or(statement.clone(), |label| {
        let start = (statement.start + label.offset()).min(statement.end);
        start..(start + label.len()).min(statement.end)
    })
}

/// Ranges of the statements of a file: up to each `;` that is outside strings and comments.
fn split(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut ranges = Vec::new();
    let (mut start, mut at) = (None, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    at += 1;
                }
                continue;
            }
            b'"' => {
                start.get_or_insert(at);
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
            }
            b';' => {
                let from = start.take().unwrap_or(at);
                ranges.push(from..at + 1);
            }
            byte if !byte.is_ascii_whitespace() => {
                start.get_or_insert(at);
            }
            _ => {}
        }
        at += 1;
    }
    if let Some(from) = start {
        ranges.push(from..text.len());
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_outside_strings_and_comments() {
        let text = "// a; b\npermit(principal, action, resource) when { resource.a == \"x;\\\";\" };\n\nforbid(a); rest";
        let parts: Vec<&str> = split(text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(parts, ["permit(principal, action, resource) when { resource.a == \"x;\\\";\" };", "forbid(a);", "rest"]);
    }
}
