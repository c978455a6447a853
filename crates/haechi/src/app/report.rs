//! Findings as a person reads them: file, line, column, caret and remedy.

use haechi_model::{Finding, Findings, Severity, Source};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use std::fmt;

#[derive(Debug)]
struct Shown<'a> {
    finding: &'a Finding,
    source: Option<NamedSource<String>>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.finding.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn code<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        Some(Box::new(self.finding.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(if self.finding.severity == Severity::Error { miette::Severity::Error } else { miette::Severity::Warning })
    }

    fn help<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        Some(Box::new(&self.finding.help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.finding.span.clone()?;
        Some(Box::new(std::iter::once(LabeledSpan::underline(span))))
    }
}

/// The findings as text, with carets.
#[must_use]
pub fn render(findings: &Findings) -> String {
    let theme = if std::io::IsTerminal::is_terminal(&std::io::stderr()) { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false);
    let mut out = String::new();
    for finding in findings.list() {
        let source = finding.source.as_ref().map(|source| NamedSource::new(source.path.display().to_string(), without_secrets(findings, source)));
        let place = source.is_some() && finding.span.is_none();
        if place {
            out.push_str(&format!("{}: ", finding.source.as_ref().map(|source| source.path.display().to_string()).unwrap_or_default()));
        }
        let _ = handler.render_report(&mut out, &Shown { finding, source: source.filter(|_| !place) });
    }
    out
}

/// The text of a file without misplaced secrets, so that no finding shows them.
fn without_secrets(findings: &Findings, source: &Source) -> String {
    let mut bytes = source.text.clone().into_bytes();
    for finding in findings.list().iter().filter(|finding| matches!(finding.code, "literal-secret" | "database-url")) {
        let here = finding.source.as_ref().is_some_and(|other| other.path == source.path);
        if let Some(range) = finding.span.clone().filter(|_| here).and_then(|span| bytes.get_mut(span)) {
            range.fill(b'*');
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// The findings as JSON lines.
#[must_use]
pub fn json(findings: &Findings) -> String {
    let line = |finding: &Finding| {
        let place = finding.line_column();
        serde_json::json!({
            "severity": if finding.severity == Severity::Error { "error" } else { "warning" },
            "code": finding.code, "message": finding.message, "help": finding.help,
            "file": finding.source.as_ref().map(|source| source.path.display().to_string()),
            "line": place.map(|place| place.0), "column": place.map(|place| place.1),
        })
        .to_string()
    };
    findings.list().iter().map(|finding| line(finding) + "\n").collect()
}
